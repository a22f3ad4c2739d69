/** A terminal of the server's (jupyter_server_terminals), on xterm.js: found again after a drop or a reload. */

import { FitAddon } from '@xterm/addon-fit';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal, type ITheme } from '@xterm/xterm';

import { make, setWords } from '../dom';
import { button } from '../viewer/parts';
import { Patience } from '../viewer/patience';
import { sentenceOf, type Place } from '../viewer/place';

const SCROLLBACK_LINES = 20_000;
const DARK: ITheme = { background: '#101317', foreground: '#e7eaef', cursor: '#e7eaef', selectionBackground: '#3a4a78' };
const LIGHT: ITheme = { background: '#ffffff', foreground: '#1a1f29', cursor: '#1a1f29', selectionBackground: '#c9d5ff' };

type Frame = ['setup', object] | ['stdout', string] | ['disconnect', number];

export class TerminalView {
  constructor(
    private readonly _place: Place,
    private _name: string,
    private readonly _named: (name: string) => void
  ) {
    const { trans } = _place;
    this._words.setAttribute('role', 'status');
    this._which.setAttribute('aria-label', trans.__('Terminal'));
    this._which.addEventListener('change', () => void this._go(this._which.value));
    const bar = make('header', 'gt-Bar', this._which, button(trans.__('New'), () => void this._go('')), this._words);
    for (const [path, words] of [['lab', trans.__('JupyterLab')], ['gpubox/desktop', trans.__('Desktop')]] as const) {
      const link = make('a', 'gt-Link', words);
      link.href = _place.link(path);
      bar.append(link);
    }
    this.node.append(bar, this._screen);
    this._terminal.loadAddon(this._fit);
    this._terminal.loadAddon(new WebLinksAddon());
    this._terminal.onData(data => this._send(['stdin', data]));
    this._terminal.onResize(({ rows, cols }) => this._send(['set_size', rows, cols]));
    this._terminal.attachCustomKeyEventHandler(event => this._onKey(event));
    this._colours.addEventListener('change', () => this._paint());
  }

  readonly node = make('div', 'gt-Terminal');

  async start(): Promise<void> {
    this._paint();
    this._terminal.open(this._screen);
    new ResizeObserver(() => this._fit.fit()).observe(this._screen);
    await this._find();
  }

  /** Another terminal, or with no name a new one. */
  private async _go(name: string): Promise<void> {
    this._leave();
    this._name = name;
    this._terminal.reset();
    await this._find();
  }

  /** Have a terminal of that name on the server, then connect to it. */
  private async _find(): Promise<void> {
    const { trans } = this._place;
    this._patience.rest();
    setWords(this._words, trans.__('Connecting…'));
    try {
      const running = await this._ask<{ name: string }[]>('api/terminals');
      if (!running.some(({ name }) => name === this._name)) {
        const body = JSON.stringify(this._name ? { name: this._name } : {});
        this._name = (await this._ask<{ name: string }>('api/terminals', { method: 'POST', body })).name;
        running.push({ name: this._name });
      }
      this._list(running.map(({ name }) => name));
      this._named(this._name);
      this._connect();
    } catch (error) {
      this._lost(error instanceof Refused ? error.message : '');
    }
  }

  private async _ask<T>(path: string, details: RequestInit = {}): Promise<T> {
    const answer = await this._place.ask(path, { cache: 'no-store', ...details });
    if (!answer.ok || !answer.headers.get('Content-Type')?.includes('json')) {
      const isOut = answer.ok || answer.status === 401 || answer.status === 403;
      throw new Refused(isOut ? this._place.trans.__('Your log-in has expired: load this page again.') : await sentenceOf(answer));
    }
    return (await answer.json()) as T;
  }

  private _list(names: string[]): void {
    const order = names.sort((one, other) => one.localeCompare(other, [], { numeric: true }));
    this._which.replaceChildren(
      ...order.map(name => {
        const option = make('option', '', this._place.trans.__('Terminal %1', name));
        option.value = name;
        return option;
      })
    );
    this._which.value = this._name;
  }

  private _connect(): void {
    const socket = this._place.socket(`terminals/websocket/${this._name}`);
    this._socket = socket;
    socket.addEventListener('open', () => {
      // The server tells all again that it kept.
      this._terminal.reset();
      setWords(this._words, '');
      this._fit.fit();
      this._send(['set_size', this._terminal.rows, this._terminal.cols]);
      this._terminal.focus();
      this._patience.succeed();
    });
    socket.addEventListener('message', event => {
      if (socket === this._socket) {
        this._receive(JSON.parse(event.data as string) as Frame);
      }
    });
    socket.addEventListener('close', () => socket === this._socket && this._lost(''));
  }

  private _receive([kind, told]: Frame): void {
    if (kind === 'stdout') {
      this._terminal.write(told as string);
    } else if (kind === 'disconnect') {
      this._leave();
      setWords(this._words, this._place.trans.__('This terminal has ended. Enter opens a new one.'));
      this._isOver = true;
    }
  }

  private _send(frame: (string | number)[]): void {
    if (this._isOver && frame[0] === 'stdin') {
      if (frame[1] === '\r') {
        this._isOver = false;
        void this._go('');
      }
      return;
    }
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify(frame));
    }
  }

  private _lost(why: string): void {
    this._leave();
    setWords(this._words, why || this._place.trans.__('The connection is gone. It is tried again…'));
    this._patience.wait(() => void this._find());
  }

  private _leave(): void {
    const socket = this._socket;
    this._socket = null;
    this._isOver = false;
    this._patience.rest();
    socket?.close();
  }

  /** Ctrl+C is the program's; with Shift it copies, as terminals do. */
  private _onKey(event: KeyboardEvent): boolean {
    if (event.type === 'keydown' && event.ctrlKey && event.shiftKey && event.code === 'KeyC') {
      event.preventDefault();
      void navigator.clipboard?.writeText(this._terminal.getSelection()).catch(() => undefined);
      return false;
    }
    // The browser pastes by itself.
    return !(event.ctrlKey && event.shiftKey && event.code === 'KeyV');
  }

  private _paint(): void {
    this._terminal.options.theme = this._colours.matches ? DARK : LIGHT;
  }

  private readonly _screen = make('div', 'gt-Screen');
  private readonly _which = make('select', 'gt-Which');
  private readonly _words = make('span', 'gt-Words');
  private readonly _colours = window.matchMedia('(prefers-color-scheme: dark)');
  private readonly _fit = new FitAddon();
  private readonly _terminal = new Terminal({
    scrollback: SCROLLBACK_LINES,
    fontFamily: 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: 14,
    minimumContrastRatio: 4.5,
    cursorBlink: true
  });
  private readonly _patience = new Patience(() => this._lost(''));
  private _socket: WebSocket | null = null;
  private _isOver = false;
}

/** The server's word why there is no terminal. */
class Refused extends Error {}
