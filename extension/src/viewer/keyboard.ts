/** Keys that a browser keeps for itself, keys that a phone does not have, and the on-screen keyboard. */

import { make } from '../dom';
import { functionKey, KEYS, keysymOf, type KeyName } from './keysyms';
import { button } from './parts';
import type { Place } from './place';
import type { Screen } from './screen';

const HELD: readonly KeyName[] = ['Control', 'Alt', 'Shift', 'Super'];
const COMBINATIONS: readonly (readonly KeyName[])[] = [
  ['Control', 'Alt', 'Delete'],
  ['Alt', 'Tab'],
  ['Super'],
  ['Escape'],
  ['Tab'],
  ['Delete'],
  ['Insert'],
  ['Print']
];
const WORDS: Partial<Record<KeyName, string>> = { Control: 'Ctrl', Delete: 'Del', Escape: 'Esc', Insert: 'Ins' };

/** Press several at once, and let go. */
export function press(screen: Screen, names: readonly KeyName[]): void {
  names.forEach(name => screen.key(...KEYS[name], true));
  [...names].reverse().forEach(name => screen.key(...KEYS[name], false));
}

/** The panel "Keys". */
export function keysPanel({ trans }: Place, screen: Screen): HTMLElement {
  const held = make('div', 'gd-Keys', ...HELD.map(name => holdButton(screen, name)));
  held.setAttribute('role', 'group');
  held.setAttribute('aria-label', trans.__('Held until pressed again'));
  const combinations = COMBINATIONS.map(names =>
    button(names.map(name => WORDS[name] ?? name).join('+'), () => press(screen, names))
  );
  const functions = Array.from({ length: 12 }, (_, index) =>
    button(`F${index + 1}`, () => screen.key(...functionKey(index + 1)))
  );
  return make('div', 'gd-Stack',
    make('p', 'gd-Note', trans.__('Held until pressed again:')), held,
    make('div', 'gd-Keys', ...combinations), make('div', 'gd-Keys', ...functions)
  );
}

function holdButton(screen: Screen, name: KeyName): HTMLButtonElement {
  const node = button(WORDS[name] ?? name, () => {
    const isDown = node.getAttribute('aria-pressed') !== 'true';
    node.setAttribute('aria-pressed', String(isDown));
    screen.key(...KEYS[name], isDown);
  });
  node.setAttribute('aria-pressed', 'false');
  return node;
}

/** What a hidden text field is filled with: phones send no key for "delete" where there is nothing to delete. */
const FILL = '_'.repeat(64);

/** A text field out of sight: who focuses it gets the phone's keyboard, and what is typed there goes to the desktop. */
export function touchKeyboard({ trans }: Place, screen: Screen): HTMLTextAreaElement {
  const field = make('textarea', 'gd-TouchKeyboard');
  field.setAttribute('aria-label', trans.__('Type on the desktop'));
  field.autocapitalize = 'off';
  field.setAttribute('autocomplete', 'off');
  field.setAttribute('autocorrect', 'off');
  field.spellcheck = false;
  field.tabIndex = -1;
  let before = FILL;
  const fill = (): void => {
    field.value = before = FILL;
    field.setSelectionRange(FILL.length, FILL.length);
  };
  field.addEventListener('focus', fill);
  field.addEventListener('input', event => {
    type(screen, before, field.value);
    before = field.value;
    // In the middle of a word that is being composed the field must be left alone.
    if (!(event as InputEvent).isComposing) {
      fill();
    }
  });
  return field;
}

/** Send what makes one text of the other: deletions at its end, then what was typed. */
function type(screen: Screen, before: string, after: string): void {
  const old = [...before];
  const now = [...after];
  let same = 0;
  while (same < old.length && old[same] === now[same]) {
    same += 1;
  }
  for (let place = same; place < old.length; place += 1) {
    screen.key(...KEYS.BackSpace);
  }
  now.slice(same).forEach(character => screen.key(keysymOf(character), null));
}
