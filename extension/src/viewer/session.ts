/** A viewer's connection: made, watched, made again; what cannot be is told with its reason. */

import { afterClose, afterLook, type Condition, type Look } from './condition';
import { Control, type Told } from './control';
import { Patience } from './patience';
import type { Place } from './place';
import type { Desktop } from './records';
import type { Screen } from './screen';

/** From here on a connection counts as one that works. */
const STEADY_MS = 5000;
const LOOK_MS = 8000;

export class Session {
  constructor(
    private readonly _place: Place,
    private readonly _screen: Screen,
    query: string,
    told: Told,
    private readonly _show: (condition: Condition) => void
  ) {
    this._query = query;
    this.control = new Control(_place, query, { ...told, state: desktop => this._onState(desktop, told) });
  }

  readonly control: Control;

  /** Connect, and start the desktop where it does not run. */
  connect(): void {
    this._patience.rest();
    const isBack = this._condition.phase === 'waiting';
    this._set('connecting', isBack ? this._condition.words : this._place.trans.__('Connecting…'));
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
    window.setTimeout(() => socket === this._socket && this._patience.succeed(), STEADY_MS);
  }

  /** Somebody wants another start. */
  async restart(): Promise<void> {
    this._set('connecting', this._place.trans.__('Starting the desktop…'));
    try {
      await this._place.ask('gpubox/api/desktop/start', { method: 'POST', body: '{}' });
    } catch {
      /* where nothing answers the connection fails, too, and tells */
    }
    this.connect();
  }

  dispose(): void {
    this._socket = null;
    this._patience.dispose();
    this._screen.detach();
    this.control.close();
  }

  private _onState(desktop: Desktop, told: Told): void {
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
    const wasLive = this._condition.phase === 'live';
    this._screen.detach();
    const known = afterClose(this._place.trans, event.code, event.reason);
    if (known) {
      this._stay(known);
      return;
    }
    this._set('waiting', this._place.trans.__('The connection is gone. It is tried again…'));
    const next = afterLook(this._place.trans, await this._look());
    if (this._socket) {
      return;
    }
    if (next.phase === 'failed' && wasLive) {
      // What worked a moment ago deserves another start.
      await this.restart();
    } else if (next.phase === 'waiting') {
      this._set(next.phase, next.words);
      this._patience.wait(() => this.connect());
    } else {
      this._stay(next);
    }
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

  /** Nothing is tried until somebody says so. */
  private _stay(condition: Condition): void {
    this.control.close();
    this._set(condition.phase, condition.words);
  }

  private _set(phase: Condition['phase'], words: string): void {
    this._condition = { phase, words };
    this._show(this._condition);
  }

  private readonly _patience = new Patience(() => this._wake());
  private readonly _query: string;
  private _condition: Condition = { phase: 'connecting', words: '' };
  private _socket: WebSocket | null = null;
}
