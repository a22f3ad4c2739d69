/** One clipboard for both: what is copied on the desktop is here, and what is pasted from here is there.
 *
 * Pasting with keys needs no permission: the browser hands the text over with its own paste event. What a menu of
 * the desktop pastes must be there before: it is read when the window gets the focus, where that was allowed.
 */

import { make, setWords } from '../dom';
import { KEYS, keysymOf, type Key } from './keysyms';
import { button } from './parts';
import type { Place } from './place';
import type { Screen } from './screen';

/** A browser that will not hand the text over sends no paste event: then the key goes alone. */
const PASTE_MS = 150;

export class Clipboard {
  constructor(
    private readonly _place: Place,
    private readonly _screen: Screen,
    private readonly _isViewOnly: boolean
  ) {
    this._text.rows = 5;
    this._text.setAttribute('aria-label', _place.trans.__('The desktop’s clipboard'));
    this._text.readOnly = _isViewOnly;
    this._text.addEventListener('input', () => this._give(this._text.value));
    this._allow = button(_place.trans.__('Let it be read'), () => void this._read());
    this.panel.append(this._text, this._note, this._allow);
    if (!_isViewOnly) {
      _screen.node.addEventListener('keydown', this._onKey, true);
      document.addEventListener('paste', this._onPaste);
      window.addEventListener('focus', this._onFocus);
      document.addEventListener('pointerdown', this._retry, true);
    }
  }

  /** The panel "Clipboard": works where nothing is allowed, too. */
  readonly panel = make('div', 'gd-Stack');

  dispose(): void {
    document.removeEventListener('paste', this._onPaste);
    window.removeEventListener('focus', this._onFocus);
    document.removeEventListener('pointerdown', this._retry, true);
  }

  /** The panel is opened. */
  async show(): Promise<void> {
    const { trans } = this._place;
    const state = await permission();
    this._allow.hidden = state !== 'prompt' || this._isViewOnly;
    const notes = {
      insecure: trans.__(
        'Ctrl+V pastes from this computer. Elsewhere the browser keeps its clipboard to itself, because this page does not come over https: type or paste here, and copy from here.'
      ),
      prompt: trans.__('Ctrl+V pastes from this computer. For the desktop’s own menus the browser must be allowed to read its clipboard.'),
      denied: trans.__('Ctrl+V pastes from this computer. The browser was told not to let this page read its clipboard: its settings for this site can allow it. Until then type or paste here.'),
      granted: trans.__('What is copied here is there, and the other way round.'),
      unknown: trans.__('Ctrl+V pastes from this computer. For the desktop’s own menus type or paste here.')
    };
    setWords(this._note, notes[state]);
  }

  /** Somebody copied on the desktop. */
  async copied(text: string): Promise<void> {
    this._known = text;
    this._text.value = text;
    this._waiting = (await write(text)) ? null : text;
  }

  private _give(text: string): void {
    this._known = text;
    this._screen.paste(text);
  }

  /** Keys that paste: the text goes first, then the key. */
  private readonly _onKey = (event: KeyboardEvent): void => {
    this._retry();
    const isV = event.code === 'KeyV' && (event.ctrlKey || event.metaKey) && !event.altKey;
    const isInsert = event.code === 'Insert' && event.shiftKey && !event.ctrlKey;
    if (event.metaKey && (event.code === 'KeyC' || event.code === 'KeyX')) {
      event.stopPropagation();
      event.preventDefault();
      this._withControl(event.code === 'KeyC' ? KEYS.c : KEYS.x);
    } else if (isV || isInsert) {
      // noVNC would keep the browser from pasting.
      event.stopPropagation();
      window.clearTimeout(this._timer);
      // A large V with Shift: the desktop would let go of Shift for a small one.
      const key: Key = isInsert ? KEYS.Insert : [keysymOf(event.key), event.code];
      this._pressed = () => (event.metaKey ? this._withControl(KEYS.v) : this._screen.key(...key));
      this._timer = window.setTimeout(() => this._pasteNow(''), PASTE_MS);
    }
  };

  private readonly _onPaste = (event: ClipboardEvent): void => {
    if (this._pressed) {
      event.preventDefault();
      this._pasteNow(event.clipboardData?.getData('text/plain') ?? '');
    }
  };

  private _pasteNow(text: string): void {
    window.clearTimeout(this._timer);
    const pressed = this._pressed;
    this._pressed = null;
    if (text && text !== this._known) {
      this._text.value = text;
      this._give(text);
    }
    pressed?.();
  }

  /** A Mac's command key, which is down there as Alt, is Ctrl on the desktop. */
  private _withControl(key: Key): void {
    this._screen.key(...KEYS.Alt, false);
    this._screen.key(...KEYS.Control, true);
    this._screen.key(...key);
    this._screen.key(...KEYS.Control, false);
  }

  private readonly _onFocus = (): void => {
    this._retry();
    void permission().then(state => (state === 'granted' ? this._read() : undefined));
  };

  private async _read(): Promise<void> {
    try {
      const text = await navigator.clipboard.readText();
      if (text && text !== this._known) {
        this._text.value = text;
        this._give(text);
      }
    } catch {
      /* it was not allowed, which the panel tells */
    }
    await this.show();
  }

  /** What could not be written, as when the window did not have the focus. */
  private readonly _retry = (): void => {
    const text = this._waiting;
    if (text !== null) {
      this._waiting = null;
      void write(text);
    }
  };

  private readonly _text = make('textarea', 'gd-Input');
  private readonly _note = make('p', 'gd-Note');
  private readonly _allow: HTMLButtonElement;
  private _known = '';
  private _waiting: string | null = null;
  private _pressed: (() => void) | null = null;
  private _timer = 0;
}

type Allowed = 'insecure' | 'prompt' | 'denied' | 'granted' | 'unknown';

async function permission(): Promise<Allowed> {
  if (!window.isSecureContext || !navigator.clipboard) {
    return 'insecure';
  }
  try {
    const name = 'clipboard-read' as PermissionName;
    return (await navigator.permissions.query({ name })).state;
  } catch {
    return 'unknown';
  }
}

/** Make a text this computer's clipboard: whether that was possible. */
export async function write(text: string): Promise<boolean> {
  if (window.isSecureContext && navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false;
    }
  }
  return writeAsUser(text);
}

/** Without https only what follows a key or a click may copy, and only what is selected. */
function writeAsUser(text: string): boolean {
  const focused = document.activeElement;
  const field = make('textarea', 'gd-TouchKeyboard');
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand('copy');
  field.remove();
  if (focused instanceof HTMLElement) {
    focused.focus({ preventScroll: true });
  }
  return isDone;
}
