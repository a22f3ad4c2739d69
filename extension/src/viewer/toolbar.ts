/** The bar on top of the picture: it hides by itself, and comes back at its handle or with Ctrl+Alt+Shift. */

import { make } from '../dom';
import { icon, type IconName } from './icons';
import { iconButton } from './parts';
import type { Words } from './place';
import type { Preferences } from './preferences';

const HIDE_MS = 3000;

interface Panel {
  readonly button: HTMLButtonElement;
  readonly content: HTMLElement;
}

export class Toolbar {
  constructor(
    private readonly _trans: Words,
    private readonly _preferences: Preferences,
    private readonly _leave: () => void
  ) {
    this._handle = iconButton('show', _trans.__('Show the toolbar (Ctrl+Alt+Shift)'), () => this.show(true));
    this._handle.classList.add('gd-Bar-handle');
    this._bar.setAttribute('role', 'toolbar');
    this._bar.setAttribute('aria-label', _trans.__('Desktop'));
    this._sheet.hidden = true;
    this.node.append(this._handle, this._bar, this._sheet);
    this.node.addEventListener('pointerenter', () => this._stay());
    this.node.addEventListener('pointerleave', () => this._hideSoon());
    this.node.addEventListener('focusin', () => this._stay());
    this.node.addEventListener('focusout', () => this._hideSoon());
    this.node.addEventListener('keydown', event => this._onKey(event));
    _preferences.changed.push(() => this.show());
    this.show();
  }

  readonly node = make('div', 'gd-Toolbar');

  add(...nodes: HTMLElement[]): void {
    this._bar.append(...nodes);
  }

  addButton(name: IconName, words: string, act: () => void): HTMLButtonElement {
    const node = iconButton(name, words, act);
    this.add(node);
    return node;
  }

  /** A button that opens a panel below the bar; what it shows is looked at each time. */
  addPanel(name: IconName, words: string, content: HTMLElement, opened: () => void = () => undefined): void {
    const node = this.addButton(name, words, () => this._toggle({ button: node, content }, opened));
    node.setAttribute('aria-expanded', 'false');
    content.setAttribute('role', 'region');
    content.setAttribute('aria-label', words);
  }

  addHide(): void {
    this.addButton('hide', this._trans.__('Hide the toolbar'), () => {
      this._hide();
      this._leave();
    });
  }

  show(hasFocus = false): void {
    window.clearTimeout(this._timer);
    this.node.classList.remove('gd-mod-hidden');
    this._handle.hidden = true;
    this._bar.hidden = false;
    if (hasFocus) {
      this._buttons()[0]?.focus();
    } else {
      this._hideSoon();
    }
  }

  private _toggle(panel: Panel, opened: () => void): void {
    const wasOpen = this._open?.button === panel.button;
    this._close();
    if (!wasOpen) {
      this._open = panel;
      panel.button.setAttribute('aria-expanded', 'true');
      this._sheet.replaceChildren(panel.content);
      this._sheet.hidden = false;
      opened();
    }
  }

  private _close(): void {
    this._open?.button.setAttribute('aria-expanded', 'false');
    this._open = null;
    this._sheet.hidden = true;
    this._sheet.replaceChildren();
  }

  private _onKey(event: KeyboardEvent): void {
    if (event.key === 'Escape') {
      const opener = this._open?.button;
      this._close();
      opener ? opener.focus() : this._leave();
    } else if ((event.key === 'ArrowLeft' || event.key === 'ArrowRight') && this._bar.contains(event.target as Node)) {
      const buttons = this._buttons();
      const place = buttons.indexOf(event.target as HTMLButtonElement);
      const step = event.key === 'ArrowLeft' ? -1 : 1;
      buttons[(place + step + buttons.length) % buttons.length]?.focus();
    }
    event.stopPropagation();
  }

  private _buttons(): HTMLElement[] {
    return [...this._bar.querySelectorAll<HTMLElement>('button, a')].filter(node => node.offsetParent !== null);
  }

  private _stay(): void {
    window.clearTimeout(this._timer);
  }

  private _hideSoon(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => {
      const isInUse = this._open || this.node.matches(':hover') || this.node.contains(document.activeElement);
      if (!isInUse && !this._preferences.isPinned) {
        this._hide();
      }
    }, HIDE_MS);
  }

  private _hide(): void {
    this._close();
    this._bar.hidden = true;
    this._handle.hidden = false;
    this.node.classList.add('gd-mod-hidden');
  }

  private readonly _bar = make('div', 'gd-Bar');
  private readonly _sheet = make('div', 'gd-Sheet');
  private readonly _handle: HTMLButtonElement;
  private _open: Panel | null = null;
  private _timer = 0;
}

/** Words in the bar, with an icon where they tell of something. */
export function badge(className: string, words: string, name?: IconName): HTMLElement {
  return make('span', `gd-Badge ${className}`, ...(name ? [icon(name)] : []), words);
}
