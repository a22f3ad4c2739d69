/** The link to the desktop's fast lane: shown where the image has one and the page is in a secure context. */

import { make } from '../dom';
import type { Place } from './place';
import type { Desktop } from './records';

export class FastLane {
  constructor(place: Place) {
    const { trans } = place;
    this.node = make('a', 'gd-IconButton', trans.__('Fast'));
    this.node.href = place.link('gpubox/desktop/fast/');
    this.node.target = '_blank';
    this.node.rel = 'noopener';
    this.node.title = trans.__('Fast lane: this desktop as video, for moving pictures on a slow line');
    this.node.setAttribute('aria-label', trans.__('Fast lane'));
    this.node.hidden = true;
  }

  readonly node: HTMLAnchorElement;

  show(desktop: Desktop): void {
    // Browsers decode video in secure contexts alone: over plain HTTP its page stays black.
    this.node.hidden = !desktop.fast_lane || desktop.state !== 'on' || !window.isSecureContext;
  }
}
