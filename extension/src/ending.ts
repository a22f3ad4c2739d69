/** The countdown of a machine's last minutes, for the status bar. */

import type { Context } from './context';
import { precisely } from './units';

const NEAR_SECONDS = 600;
/** What should have happened so long ago will not: whoever said so is gone. */
const OVER_SECONDS = 120;
/** Notices of these kinds say when the machine will be stopped. */
const STOPS = ['idle', 'end', 'budget'];

export class Ending {
  constructor(private readonly _context: Context) {
    const { store } = _context;
    store.boxChanged.connect(this._look, this);
    store.noticesChanged.connect(this._look, this);
    this._look();
  }

  private _look(): void {
    window.clearTimeout(this._timer);
    const { store, trans } = this._context;
    const left = this._ends() - store.now;
    const isNear = left <= NEAR_SECONDS && left > -OVER_SECONDS;
    if (!isNear) {
      store.countdown = '';
    } else {
      store.countdown = left > 0 ? trans.__('Stops in %1', precisely(left)) : trans.__('Stops now');
    }
    if (isNear || left > NEAR_SECONDS) {
      const wait = isNear ? 1 : Math.min(left - NEAR_SECONDS, LONGEST_WAIT_SECONDS);
      this._timer = window.setTimeout(() => this._look(), 1000 * wait);
    }
  }

  /** The first moment at which it will be stopped, as things stand. */
  private _ends(): number {
    const { box, notices } = this._context.store;
    const due = [...notices.values()].filter(notice => STOPS.includes(notice.kind)).map(notice => notice.due_at);
    return Math.min(...[box?.ends, ...due].map(at => at ?? Infinity));
  }

  private _timer = 0;
}

/** setTimeout counts in 31 bits of milliseconds. */
const LONGEST_WAIT_SECONDS = 24 * 3600;
