/** The one WebSocket of a page: opened and closed on demand, and again by itself when it breaks. */

import type { Frame } from './records';

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
const WATCH_MS = 5000;

export interface Listener {
  /** The first frame says that it works, not the opening: a proxy opens, too. */
  onFrame(frame: Frame): void;
  onDown(): void;
  /** Seconds without a frame after which the connection counts as dead. */
  readonly patience: number;
}

export class Stream {
  constructor(
    private readonly _connect: () => WebSocket,
    private readonly _listener: Listener
  ) {
    // A network that is back is no reason to wait any longer.
    window.addEventListener('online', () => {
      if (this._retry) {
        this._open();
      }
    });
  }

  get isWanted(): boolean {
    return this._isWanted;
  }

  set isWanted(isWanted: boolean) {
    if (isWanted === this._isWanted) {
      return;
    }
    this._isWanted = isWanted;
    if (isWanted) {
      this._wait = FIRST_WAIT_MS;
      this._open();
    } else {
      this._drop();
    }
  }

  /** Tell the server, now or once it is there: the last words are said again after each break. */
  say(words: Record<string, boolean>): void {
    this._words = JSON.stringify(words);
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(this._words);
    }
  }

  private _open(): void {
    this._drop();
    const socket = this._connect();
    this._socket = socket;
    this._heardAt = performance.now();
    this._watch = window.setInterval(() => this._check(), WATCH_MS);
    socket.onopen = () => {
      if (this._words) {
        socket.send(this._words);
      }
    };
    socket.onmessage = event => {
      this._wait = FIRST_WAIT_MS;
      this._heardAt = performance.now();
      this._listener.onFrame(JSON.parse(String(event.data)) as Frame);
    };
    socket.onclose = () => this._again();
  }

  private _again(): void {
    this._drop();
    // Pages that lost the same server do not come back all at once.
    const wait = this._wait * (0.75 + Math.random() / 2);
    this._wait = Math.min(2 * this._wait, LONGEST_WAIT_MS);
    this._retry = window.setTimeout(() => this._open(), wait);
    this._listener.onDown();
  }

  private _check(): void {
    if (performance.now() - this._heardAt > 1000 * this._listener.patience) {
      this._again();
    }
  }

  private _drop(): void {
    window.clearTimeout(this._retry);
    window.clearInterval(this._watch);
    this._retry = 0;
    const socket = this._socket;
    if (socket) {
      this._socket = null;
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  private _socket: WebSocket | null = null;
  private _isWanted = false;
  private _wait = FIRST_WAIT_MS;
  private _retry = 0;
  private _watch = 0;
  private _heardAt = 0;
  private _words = '';
}
