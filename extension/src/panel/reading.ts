import type { TranslationBundle } from '@jupyterlab/translation';

import { make, setAttribute, setWords } from '../dom';
import type { Gpu } from '../records';
import { duration } from '../units';
import { age, type Figure } from './figures';

/** One figure of a card: its name and its words, above a bar where it has a percentage. */
export class Reading {
  constructor(
    private readonly _figure: Figure,
    private readonly _trans: TranslationBundle
  ) {
    this.node = make(
      'div',
      `${_figure.percent ? 'gb-Meter' : 'gb-Cell'} gb-mod-${_figure.name.replace(' ', '-')}`,
      make('span', 'gb-Label', _figure.label),
      make('span', 'gb-Value', this._words, this._age)
    );
    if (_figure.percent) {
      this._track.append(this._bar);
      setAttribute(this._track, 'aria-label', _figure.label);
      this.node.append(this._track);
    }
  }

  readonly node: HTMLElement;

  show(gpu: Gpu): void {
    const words = this._figure.words(gpu);
    setWords(this._words, words);
    const seconds = age(this._figure, gpu);
    setWords(this._age, seconds === null ? '' : this._trans.__('%1 old', duration(seconds)));
    this.node.classList.toggle('gb-mod-old', seconds !== null);
    if (this._figure.percent) {
      this._showBar(this._figure.percent(gpu), words);
    }
  }

  private _showBar(percent: number | null, words: string): void {
    // A meter must have a value: where there is none it is only a line.
    setAttribute(this._track, 'role', percent === null ? 'presentation' : 'meter');
    setAttribute(this._track, 'aria-valuenow', percent === null ? null : String(Math.round(percent)));
    setAttribute(this._track, 'aria-valuetext', percent === null ? null : words);
    const share = Math.min(100, Math.max(0, percent ?? 0)).toFixed(1);
    if (share !== this._share) {
      this._share = share;
      this._bar.style.transform = `scaleX(${Number(share) / 100})`;
    }
  }

  private readonly _words = make('span');
  private readonly _age = make('span', 'gb-Age');
  private readonly _track = make('div', 'gb-Track');
  private readonly _bar = make('div', 'gb-Bar');
  private _share = '';
}
