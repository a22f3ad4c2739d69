/** Short words over the picture, that go by themselves, and rows that stay while something goes on. */

import { make } from '../dom';
import { button } from './parts';
import type { Words } from './place';

const STAY_MS = 8000;

export class Toasts {
  constructor(private readonly _trans: Words) {
    this.node.setAttribute('role', 'status');
  }

  readonly node = make('div', 'gd-Toasts');

  /** A row that stays until it is closed. */
  add(className: string, ...children: (Node | string)[]): HTMLElement {
    const row = make('div', `gd-Toast ${className}`, ...children);
    this.node.append(row);
    return row;
  }

  /** Words that go again. */
  say(words: string, ...children: Node[]): void {
    const row = this.add('', make('span', 'gd-Toast-words', words), ...children);
    row.append(this.closer(row));
    window.setTimeout(() => row.remove(), STAY_MS);
  }

  /** An error stays until it is closed. */
  complain(words: string): void {
    const row = this.add('gd-mod-error', make('span', 'gd-Toast-words', words));
    row.setAttribute('role', 'alert');
    row.append(this.closer(row));
  }

  closer(row: HTMLElement): HTMLButtonElement {
    const close = button('×', () => row.remove(), 'gd-Toast-close');
    close.setAttribute('aria-label', this._trans.__('Close'));
    return close;
  }
}
