/** The small parts that toolbar and panels are made of. */

import { make } from '../dom';
import { icon, type IconName } from './icons';

export function button(words: string, act: () => void, className = 'gd-Button'): HTMLButtonElement {
  const node = make('button', className, words);
  node.type = 'button';
  node.addEventListener('click', act);
  return node;
}

/** A button that shows an icon; its words are told to who points at it, and to who hears it. */
export function iconButton(name: IconName, words: string, act: () => void): HTMLButtonElement {
  const node = button('', act, 'gd-IconButton');
  node.append(icon(name));
  node.title = words;
  node.setAttribute('aria-label', words);
  return node;
}

/** One of several, with the words that stand before it. */
export function choice<T extends string>(
  label: string,
  options: readonly (readonly [T, string])[],
  value: T,
  changed: (value: T) => void
): HTMLLabelElement {
  const select = make('select', 'gd-Input');
  for (const [name, words] of options) {
    const option = make('option', '', words);
    option.value = name;
    select.append(option);
  }
  select.value = value;
  select.addEventListener('change', () => changed(select.value as T));
  return make('label', 'gd-Field', make('span', '', label), select);
}

export function check(label: string, value: boolean, changed: (value: boolean) => void): HTMLLabelElement {
  const box = make('input');
  box.type = 'checkbox';
  box.checked = value;
  box.addEventListener('change', () => changed(box.checked));
  return make('label', 'gd-Check', box, label);
}
