/** The control socket: the server's state, who controls, and what the desktop asks of the page. */

import type { Desktop, Role } from './records';
import type { Place } from './place';

export interface Told {
  state(desktop: Desktop): void;
  role(role: Role): void;
  open(what: string): void;
  /** The connection is gone. */
  lost(): void;
}

type Frame =
  | ({ type: 'state' } & Desktop)
  | ({ type: 'role' } & Role)
  | { type: 'open'; what: string };

export class Control {
  constructor(
    private readonly _place: Place,
    private readonly _query: string,
    private readonly _told: Told
  ) {}

  /** Have a connection; one that is open is kept. */
  connect(): void {
    if (this._socket && this._socket.readyState <= WebSocket.OPEN) {
      return;
    }
    const socket = this._place.socket(`gpubox/api/desktop/control?${this._query}`);
    this._socket = socket;
    socket.addEventListener('message', event => {
      if (socket === this._socket) {
        this._receive(JSON.parse(event.data as string) as Frame);
      }
    });
    socket.addEventListener('close', () => socket === this._socket && this._told.lost());
  }

  close(): void {
    this._socket?.close();
    this._socket = null;
  }

  takeControl(): void {
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify({ type: 'take-control' }));
    }
  }

  private _receive(frame: Frame): void {
    switch (frame.type) {
      case 'state':
        this._told.state(frame);
        break;
      case 'role':
        this._told.role(frame);
        break;
      case 'open':
        this._told.open(frame.what);
        break;
    }
  }

  private _socket: WebSocket | null = null;
}
