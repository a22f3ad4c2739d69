/** Notifications: nearly full memory, a lost GPU, time that runs out. Each once a crossing. */

import { Notification } from '@jupyterlab/apputils';

import { COMMANDS, type Context } from './context';
import type { Gpu } from './records';
import { memoryPercent, shortName } from './units';

/** It counts as crossed again only after it was this much below. */
const HYSTERESIS_PERCENT = 5;
/** Pages of one browser each wait up to this long; the first to speak keeps the others silent. */
const TURN_MS = 400;
const MINUTE_MS = 60_000;

export class Notices {
  constructor(private readonly _context: Context) {
    const { store, settings } = _context;
    store.gpusChanged.connect(this._checkGpus, this);
    store.ticked.connect(this._checkGpus, this);
    store.boxChanged.connect(this._schedule, this);
    settings.changed.connect(this._schedule, this);
    this._pages.onmessage = event => this._told.add(String(event.data));
  }

  private _checkGpus(): void {
    const { store, settings } = this._context;
    for (const gpu of store.gpus) {
      const percent = memoryPercent(gpu);
      if (percent !== null && percent >= settings.memoryThreshold) {
        if (settings.notifyMemory) {
          void this._tell(`memory ${gpu.id}`, () => this._memoryIsFull(gpu));
        }
      } else if (percent !== null && percent < settings.memoryThreshold - HYSTERESIS_PERCENT) {
        this._told.delete(`memory ${gpu.id}`);
      }
      if (gpu.state !== 'lost') {
        this._told.delete(`lost ${gpu.id}`);
      } else if (settings.notifyLost) {
        void this._tell(`lost ${gpu.id}`, () => this._isLost(gpu));
      }
    }
  }

  private _memoryIsFull(gpu: Gpu): void {
    const { trans } = this._context;
    const percent = Math.floor(memoryPercent(gpu) ?? 0);
    this._emit(
      trans.__('%1: %2 % of the memory is in use. The next allocation may fail.', shortName(gpu), percent),
      'warning'
    );
  }

  private _isLost(gpu: Gpu): void {
    const { trans } = this._context;
    this._emit(trans.__('%1 is lost. %2', shortName(gpu), gpu.message).trim(), 'error');
  }

  /** Wake up at the next warning; the end may have moved until then, so it is asked for again; unanswered, the old one counts. */
  private _schedule(): void {
    window.clearTimeout(this._alarm);
    const { store, settings } = this._context;
    // Where the hub tells notices, it tells of the end, too, and of how to put it off.
    const ends = store.box?.has_service ? null : store.box?.ends;
    if (!ends || !settings.notifyTime) {
      return;
    }
    const left = 1000 * ends - Date.now();
    const reached = settings.timeWarnings.filter(minutes => left <= minutes * MINUTE_MS);
    // Who opens the page late is told once: how long it really is.
    const nearest = Math.min(...reached);
    if (left > 0 && reached.length) {
      void this._tell(`time ${ends} ${nearest}`, () => this._timeEnds(Math.ceil(left / MINUTE_MS)));
    }
    const ahead = settings.timeWarnings.map(minutes => left - minutes * MINUTE_MS).filter(wait => wait > 0);
    if (ahead.length) {
      const wait = Math.min(...ahead, LONGEST_TIMEOUT_MS);
      this._alarm = window.setTimeout(() => void store.lookAtBox().then(() => this._schedule()), wait);
    }
  }

  private _timeEnds(minutes: number): void {
    const { trans } = this._context;
    this._emit(
      trans._n(
        'This machine stops in %1 minute. Save your work.',
        'This machine stops in %1 minutes. Save your work.',
        minutes
      ),
      'warning'
    );
  }

  private async _tell(what: string, emit: () => void): Promise<void> {
    if (this._told.has(what) || this._waiting.has(what)) {
      return;
    }
    this._waiting.add(what);
    await new Promise(resolve => window.setTimeout(resolve, Math.random() * TURN_MS));
    this._waiting.delete(what);
    if (!this._told.has(what)) {
      this._told.add(what);
      this._pages.postMessage(what);
      emit();
    }
  }

  private _emit(message: string, type: 'warning' | 'error'): void {
    const { commands, trans } = this._context;
    Notification.emit(message, type, {
      autoClose: false,
      actions: [{ label: trans.__('Open the GPU panel'), callback: () => void commands.execute(COMMANDS.openPanel) }]
    });
  }

  private readonly _told = new Set<string>();
  private readonly _waiting = new Set<string>();
  private readonly _pages = new BroadcastChannel('gpubox-notices');
  private _alarm = 0;
}

/** setTimeout counts in 31 bits. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;
