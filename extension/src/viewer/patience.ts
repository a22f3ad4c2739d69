/** When to try again: soon, then less and less often; at once where there is a reason to hope. */

const FIRST_MS = 400;
const LONGEST_MS = 15_000;
const LOOK_MS = 5000;
/** Browsers let a page in the background look once a minute: only a longer silence was a sleep. */
const SLEPT_MS = 90_000;

export class Patience {
  /** `woke` is told that the machine slept: what was open before may be dead without knowing. */
  constructor(private readonly _woke: () => void) {
    window.addEventListener('online', this._hope);
    document.addEventListener('visibilitychange', this._hope);
    this._clock = window.setInterval(() => this._look(), LOOK_MS);
  }

  dispose(): void {
    this.rest();
    window.clearInterval(this._clock);
    window.removeEventListener('online', this._hope);
    document.removeEventListener('visibilitychange', this._hope);
  }

  /** Have it tried after a while, each time a longer one. */
  wait(attempt: () => void): void {
    const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** this._tries);
    this._tries += 1;
    this._attempt = attempt;
    window.clearTimeout(this._timer);
    // Not all pages of a server that comes back in the same moment.
    this._timer = window.setTimeout(() => this._try(), wait * (0.75 + Math.random() / 2));
  }

  /** It works: the next wait is a short one again. */
  succeed(): void {
    this._tries = 0;
  }

  /** Nothing is to be tried. */
  rest(): void {
    window.clearTimeout(this._timer);
    this._attempt = null;
  }

  private _try(): void {
    const attempt = this._attempt;
    this.rest();
    attempt?.();
  }

  private readonly _hope = (): void => {
    this._look();
    if (!document.hidden && this._attempt) {
      this._tries = 0;
      this._try();
    }
  };

  private _look(): void {
    const now = Date.now();
    const slept = now - this._looked > SLEPT_MS;
    this._looked = now;
    if (slept) {
      this._woke();
    }
  }

  private readonly _clock: number;
  private _looked = Date.now();
  private _attempt: (() => void) | null = null;
  private _timer = 0;
  private _tries = 0;
}
