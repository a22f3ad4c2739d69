/** What a person prefers, kept in the browser. */

export type Quality = 'low' | 'medium' | 'high';
/** `fit`: the desktop follows the window, or is scaled to it. `actual`: a pixel is a pixel, and one scrolls. */
export type Scaling = 'fit' | 'actual';

interface Kept {
  quality: Quality;
  scaling: Scaling;
  /** The toolbar stays. */
  isPinned: boolean;
}

const KEY = 'gpubox:desktop';
const DEFAULT: Kept = { quality: 'medium', scaling: 'fit', isPinned: false };

export class Preferences {
  constructor() {
    try {
      this._kept = { ...DEFAULT, ...(JSON.parse(window.localStorage.getItem(KEY) ?? '{}') as Partial<Kept>) };
    } catch {
      /* kept by another version, or not to be had: the default */
    }
  }

  readonly changed: (() => void)[] = [];

  get quality(): Quality {
    return this._kept.quality;
  }

  get scaling(): Scaling {
    return this._kept.scaling;
  }

  get isPinned(): boolean {
    return this._kept.isPinned;
  }

  set(kept: Partial<Kept>): void {
    this._kept = { ...this._kept, ...kept };
    try {
      window.localStorage.setItem(KEY, JSON.stringify(this._kept));
    } catch {
      /* a browser that keeps nothing */
    }
    this.changed.forEach(tell => tell());
  }

  private _kept = DEFAULT;
}
