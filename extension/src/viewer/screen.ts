/** The picture of the desktop, and what is sent to it: noVNC, one object a connection. */

import RFB from '@novnc/novnc';

import { make } from '../dom';
import type { Preferences } from './preferences';

/** A desktop may be black: so long after it stands its picture is shown whatever it is. */
const BLACK_MS = 2500;
const LOOK_MS = 500;
const SAMPLE = 32;
/** Of the picture, for it to be one: while a desktop starts its panel comes first. */
const DRAWN_SHARE = 0.25;
const QUALITY = { low: 2, medium: 6, high: 9 } as const;

export interface ScreenEvents {
  /** The first picture is there. */
  drawn(): void;
  /** Somebody copied on the desktop. */
  copied(text: string): void;
}

export class Screen {
  constructor(
    private readonly _preferences: Preferences,
    private readonly _isViewOnly: boolean,
    private readonly _events: ScreenEvents
  ) {
    this.node.append(this._last);
    this._last.hidden = true;
    _preferences.changed.push(() => this._settle());
    // Keys that are down when the focus leaves would stay down: noVNC lets go of them when the window loses it.
    this.node.addEventListener('focusout', () => window.dispatchEvent(new Event('blur')));
  }

  readonly node = make('div', 'gd-Screen');

  /** Show what comes through a socket that is being opened. */
  attach(socket: WebSocket): void {
    this.detach();
    const rfb = new RFB(this.node, socket, { shared: true });
    this._rfb = rfb;
    rfb.background = 'transparent';
    rfb.viewOnly = this._isViewOnly;
    rfb.showDotCursor = !this._isViewOnly;
    rfb.addEventListener('connect', () => this._awaitPicture(rfb, socket));
    rfb.addEventListener('clipboard', event => {
      this._events.copied((event as CustomEvent<{ text: string }>).detail.text);
    });
    this._settle();
  }

  /** Let go of the connection; its last picture stays, until there is another. */
  detach(): void {
    const rfb = this._rfb;
    this._rfb = null;
    if (rfb) {
      if (this._isDrawn) {
        this._keep(rfb);
      }
      rfb.disconnect();
    }
    this._isDrawn = false;
  }

  /** Whether the desktop follows this window's size. */
  set controls(controls: boolean) {
    this._controls = controls;
    this._settle();
  }

  /** Whether the desktop stands, or is still being started. */
  set stands(stands: boolean) {
    this._stoodAt = stands ? Math.min(this._stoodAt, performance.now()) : Infinity;
  }

  focus(): void {
    this._rfb?.focus({ preventScroll: true });
  }

  key(keysym: number, code: string | null, isDown?: boolean): void {
    this._rfb?.sendKey(keysym, code, isDown);
  }

  /** Make a text the desktop's clipboard. */
  paste(text: string): void {
    this._rfb?.clipboardPasteFrom(text);
  }

  private _settle(): void {
    const rfb = this._rfb;
    if (rfb) {
      const { quality, scaling } = this._preferences;
      rfb.scaleViewport = scaling === 'fit' || !this._controls;
      rfb.resizeSession = this._controls && scaling === 'fit';
      rfb.qualityLevel = QUALITY[quality];
      rfb.compressionLevel = quality === 'low' ? 6 : 2;
    }
  }

  private _awaitPicture(rfb: RFB, socket: WebSocket): void {
    const canvas = this.node.querySelector<HTMLCanvasElement>(':scope > div > canvas');
    const begun = performance.now();
    let frame = 0;
    const look = (): void => {
      frame ||= window.requestAnimationFrame(() => {
        frame = 0;
        if (this._rfb !== rfb || this._isDrawn) {
          end();
        } else if ((canvas && hasPicture(canvas)) || performance.now() - Math.max(begun, this._stoodAt) > BLACK_MS) {
          this._isDrawn = true;
          this._last.hidden = true;
          end();
          this._events.drawn();
        }
      });
    };
    const clock = window.setInterval(look, LOOK_MS);
    const end = (): void => {
      window.clearInterval(clock);
      socket.removeEventListener('message', look);
    };
    socket.addEventListener('message', look);
  }

  private _keep(rfb: RFB): void {
    const picture = rfb.getImageData();
    this._last.width = picture.width;
    this._last.height = picture.height;
    this._last.getContext('2d')?.putImageData(picture, 0, 0);
    this._last.hidden = false;
  }

  private readonly _last = make('canvas', 'gd-Screen-last');
  private _rfb: RFB | null = null;
  private _controls = false;
  private _isDrawn = false;
  private _stoodAt = Infinity;
}

/** Whether enough is drawn that is not black. */
function hasPicture(canvas: HTMLCanvasElement): boolean {
  if (!canvas.width || !canvas.height) {
    return false;
  }
  const sample = make('canvas');
  sample.width = sample.height = SAMPLE;
  const paper = sample.getContext('2d', { willReadFrequently: true });
  paper?.drawImage(canvas, 0, 0, SAMPLE, SAMPLE);
  const pixels = paper?.getImageData(0, 0, SAMPLE, SAMPLE).data ?? [];
  let drawn = 0;
  for (let place = 0; place < pixels.length; place += 4) {
    drawn += Number(Math.max(pixels[place]!, pixels[place + 1]!, pixels[place + 2]!) > 0);
  }
  return drawn > DRAWN_SHARE * SAMPLE * SAMPLE;
}
