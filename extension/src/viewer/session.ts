/** A viewer's connection: made, watched, made again; what cannot be is told with its reason. */

import { afterDrop, type Condition, type Look } from './condition';
import { Control, type Told } from './control';
import { Patience } from './patience';
import type { Place } from './place';
import { CLOSED, type Desktop } from './records';
import type { Screen } from './screen';

/** From here on a connection counts as one that works. */
const STEADY_MS = 3000;
const CONTROL_MS = 2000;
const LOOK_MS = 8000;
/** Programs on a desktop that ends have some seconds to do so. */
const END_MS = 400;
const END_TRIES = 20;

export class Session {
  constructor(
    private readonly _place: Place,
    private readonly _screen: Screen,
    query: string,
    told: Omit<Told, 'lost'>,
    private readonly _show: (condition: Condition) => void
  ) {
    this._query = query;
    this.control = new Control(_place, query, {
      ...told,
      state: desktop => this._onState(desktop, told),
      lost: () => window.setTimeout(() => this._condition.phase === 'live' && this.control.connect(), CONTROL_MS)
    });
  }

  readonly control: Control;

  /** Connect, and start the desktop where it does not run. */
  connect(): void {
    this._patience.rest();
    this._set('connecting', this._condition.words || this._place.trans.__('Connecting…'));
    const socket = this._place.socket(`gpubox/api/desktop/vnc?${this._query}`);
    socket.binaryType = 'arraybuffer';
    this._socket = socket;
    socket.addEventListener('close', event => void this._onClose(socket, event));
    this._screen.attach(socket);
    this.control.connect();
  }

  /** The picture is there. */
  drawn(): void {
    this._set('live', '');
    const socket = this._socket;
    window.setTimeout(() => {
      if (socket && socket === this._socket) {
        this._wasSteady = true;
        this._patience.succeed();
      }
    }, STEADY_MS);
  }

  /** Somebody wants another start. */
  async restart(words = this._place.trans.__('Starting the desktop…')): Promise<void> {
    this._wasSteady = false;
    this._set('connecting', words);
    try {
      await this._place.ask('gpubox/api/desktop/start', { method: 'POST', body: '{}' });
    } catch {
      /* where nothing answers the connection fails, too, and tells */
    }
    this.connect();
  }

  dispose(): void {
    this._isDisposed = true;
    this._socket = null;
    this._patience.dispose();
    this._screen.detach();
    this.control.close();
  }

  private _onState(desktop: Desktop, told: Omit<Told, 'lost'>): void {
    if (this._condition.phase === 'connecting' && desktop.state === 'starting' && desktop.phase) {
      this._set('connecting', desktop.phase);
    }
    told.state(desktop);
  }

  private async _onClose(socket: WebSocket, event: CloseEvent): Promise<void> {
    if (socket !== this._socket) {
      return;
    }
    this._socket = null;
    this._screen.detach();
    const { trans } = this._place;
    this._set('waiting', trans.__('The connection is gone. It is tried again…'));
    const look = await (event.code === CLOSED.ended ? this._lookAtItsEnd() : this._look());
    if (this._socket || this._isDisposed) {
      return;
    }
    const next = afterDrop(trans, event.code, event.reason, look);
    if (next.phase === 'failed' && this._wasSteady) {
      // What worked deserves another start; where that fails, too, its reason is shown.
      await this.restart(trans.__('The desktop stopped working. It is started again…'));
      return;
    }
    this._set(next.phase, next.words);
    if (next.phase === 'waiting') {
      this._patience.wait(() => this.connect());
    } else {
      // Nothing is tried until somebody says so.
      this.control.close();
    }
  }

  /** How it ended is known once all of it has. */
  private async _lookAtItsEnd(): Promise<Look | null> {
    let look = await this._look();
    for (let tries = 0; look?.desktop?.state === 'on' && tries < END_TRIES; tries += 1) {
      await new Promise(resolve => window.setTimeout(resolve, END_MS));
      look = await this._look();
    }
    return look;
  }

  private async _look(): Promise<Look | null> {
    try {
      const answer = await this._place.ask('gpubox/api/desktop', { signal: AbortSignal.timeout(LOOK_MS) });
      // A page where JSON was asked for is the log-in's.
      const isPage = answer.ok && !answer.headers.get('Content-Type')?.includes('json');
      return { status: isPage ? 401 : answer.status, desktop: answer.ok && !isPage ? ((await answer.json()) as Desktop) : null };
    } catch {
      return null;
    }
  }

  /** A laptop that slept may hold a connection that is dead and does not know. */
  private _wake(): void {
    if (this._socket) {
      const socket = this._socket;
      this._socket = null;
      this._screen.detach();
      socket.close();
      this.control.close();
      this._set('waiting', this._place.trans.__('Welcome back. Connecting…'));
      this.connect();
    }
  }

  private _set(phase: Condition['phase'], words: string): void {
    this._condition = { phase, words };
    this._show(this._condition);
  }

  private readonly _patience = new Patience(() => this._wake());
  private readonly _query: string;
  private _condition: Condition = { phase: 'connecting', words: '' };
  private _socket: WebSocket | null = null;
  /** Since its last start. */
  private _wasSteady = false;
  private _isDisposed = false;
}
