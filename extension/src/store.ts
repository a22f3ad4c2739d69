/** All that this page knows of the GPUs, in one place: who shows something reads it here. */

import { DisposableDelegate, type IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { Refused, type Api } from './api';
import { History } from './history';
import type { Box, Driver, Frame, Gpu, Gpus, Lease, Notice, Processes, Save, Tick } from './records';
import { Stream, type Listener } from './stream';

/** `idle`: nobody looks. `down`: somebody looks, and there is no connection; `message` may say why. */
export type Connection = 'idle' | 'connecting' | 'live' | 'down';

const FIRST_FRAME_SECONDS = 30;
const SLOWEST_FRAME_SECONDS = 12;

export class Store implements Listener {
  constructor(readonly api: Api) {
    this._stream = new Stream(() => api.stream(), this);
    document.addEventListener('visibilitychange', () => this._decide());
  }

  drivers: Driver[] = [];
  gpus: Gpu[] = [];
  processes: Processes = { processes: [], others: [], message: '' };
  box: Box | null = null;
  lease: Lease | null = null;
  /** What the hub has told and nobody has closed, by number. */
  readonly notices = new Map<number, Notice>();
  /** Saves of this machine as a template: under way, and lately ended. */
  saves: Save[] = [];
  history = new History();
  /** The server's clock at the last frame, Unix seconds; 0 before the first. */
  time = 0;
  connection: Connection = 'idle';
  message = '';

  /** GPUs, drivers or health figures are others; comes with each first frame. */
  readonly gpusChanged = new Signal<this, void>(this);
  /** The values of the core tick are new. */
  readonly ticked = new Signal<this, void>(this);
  readonly processesChanged = new Signal<this, void>(this);
  readonly connectionChanged = new Signal<this, void>(this);
  readonly boxChanged = new Signal<this, void>(this);
  readonly noticesChanged = new Signal<this, void>(this);
  readonly savesChanged = new Signal<this, void>(this);
  readonly countdownChanged = new Signal<this, void>(this);

  /** What the status bar says in the machine's last minutes; '' before. */
  get countdown(): string {
    return this._countdown;
  }

  set countdown(words: string) {
    if (words !== this._countdown) {
      this._countdown = words;
      this.countdownChanged.emit();
    }
  }

  /** The server's clock, Unix seconds: who counts down by their own may be minutes wrong. */
  get now(): number {
    return Date.now() / 1000 + this._ahead;
  }

  /** Whether GPUs are there, or may be once the driver wakes up. */
  get hasGpus(): boolean {
    return this.gpus.length > 0 || this.drivers.some(driver => driver.state === 'asleep');
  }

  /** Have the stream open until this is disposed, but for the times when the page is hidden. */
  need(): IDisposable {
    this._needs += 1;
    this._decide();
    return new DisposableDelegate(() => {
      this._needs -= 1;
      this._decide();
    });
  }

  /** Have the link counters read until this is disposed. */
  needLinks(): IDisposable {
    this._linkNeeds += 1;
    this._stream.say({ links: true });
    return new DisposableDelegate(() => {
      this._linkNeeds -= 1;
      this._stream.say({ links: this._linkNeeds > 0 });
    });
  }

  /** Ask once what is there, with no stream: who has no GPU pays for one question a page. */
  async look(): Promise<void> {
    try {
      this._takeGpus(await this.api.gpus());
    } catch (error) {
      this._explain(error);
    }
  }

  async lookAtBox(): Promise<void> {
    try {
      this.box = await this.api.box();
      this._ahead = (this.box?.now ?? Date.now() / 1000) - Date.now() / 1000;
      this.boxChanged.emit();
    } catch {
      // It keeps what it knew: the connection's own state says that the server is away.
    }
  }

  onFrame(frame: Frame): void {
    if (frame.type === 'gpus') {
      const isFirst = this.connection !== 'live';
      this._takeGpus(frame);
      if (isFirst) {
        this._connect('live');
        void this._loadHistory();
      }
    } else if (frame.type === 'tick') {
      this._takeTick(frame);
    } else if (frame.type === 'processes') {
      this.processes = frame;
      this.processesChanged.emit();
    } else if (frame.type === 'lease') {
      this._takeLease(frame);
    } else if (frame.type === 'notice') {
      this.notices.set(frame.id, frame);
      this.noticesChanged.emit();
    } else if (frame.type === 'saves') {
      this.saves = frame.saves;
      this.savesChanged.emit();
    } else if (frame.type === 'closed' || frame.type === 'open') {
      this._close(frame.type === 'open' ? id => !frame.notices.includes(id) : id => id === frame.id);
    }
  }

  onDown(): void {
    this._connect('down');
    // A WebSocket does not say why it was refused; a plain question is answered with a sentence.
    void this.look();
  }

  get patience(): number {
    if (this.connection !== 'live') {
      return FIRST_FRAME_SECONDS;
    }
    // Where no GPU is well, the server may have nothing to tell.
    const isTicking = this.gpus.some(gpu => gpu.state === 'ok');
    return isTicking ? Math.max(SLOWEST_FRAME_SECONDS, 5 * this.history.interval) : Infinity;
  }

  private _decide(): void {
    const isWanted = this._needs > 0 && !document.hidden;
    if (isWanted !== this._stream.isWanted) {
      this._connect(isWanted ? 'connecting' : 'idle');
      this._stream.isWanted = isWanted;
    }
  }

  private _connect(connection: Connection): void {
    if (connection === 'live') {
      this.message = '';
    }
    if (connection !== this.connection) {
      this.connection = connection;
      this.connectionChanged.emit();
    }
  }

  private _explain(error: unknown): void {
    this.message = error instanceof Refused && error.status !== 404 ? error.message : '';
    this.isMissing = error instanceof Refused && error.status === 404;
    this.connectionChanged.emit();
  }

  /** Whether the Jupyter server has no such API: our server extension is not enabled. */
  isMissing = false;

  private _takeGpus(told: Gpus): void {
    this.isMissing = false;
    this.time = told.time;
    this.drivers = told.drivers;
    this.gpus = told.gpus;
    this._columns = told.columns;
    this.history.interval = told.intervals.core_seconds;
    this.gpusChanged.emit();
  }

  private _takeLease(lease: Lease): void {
    this.lease = lease;
    if (this.box) {
      this.box.ends = lease.ends_at;
    }
    this.boxChanged.emit();
  }

  private _close(isClosed: (id: number) => boolean): void {
    const closed = [...this.notices.keys()].filter(isClosed);
    closed.forEach(id => this.notices.delete(id));
    closed.length && this.noticesChanged.emit();
  }

  private _takeTick(tick: Tick): void {
    this.time = tick.time;
    this.gpus.forEach((gpu, index) => {
      const row = tick.values[index];
      if (row) {
        this._columns.forEach((column, place) => {
          gpu.figures[column] = row[place] ?? null;
        });
      }
      Object.assign(gpu.figures, tick.links?.[index]);
      gpu.stale = tick.stale?.[index] ?? NOTHING;
    });
    const ids = this.gpus.map(gpu => gpu.id);
    const isNext = this.history.append(tick.time, this._columns, ids, tick.values);
    this.ticked.emit();
    if (!isNext) {
      void this._loadHistory();
    }
  }

  private async _loadHistory(): Promise<void> {
    try {
      this.history.load(await this.api.history('fine'));
      this.ticked.emit();
    } catch {
      // The curve then starts now; the next break asks again.
    }
  }

  private readonly _stream: Stream;
  private _columns: string[] = [];
  private _countdown = '';
  /** How far the server's clock is ahead of this page's, in seconds. */
  private _ahead = 0;
  private _needs = 0;
  private _linkNeeds = 0;
}

const NOTHING: Record<string, number> = Object.freeze({});
