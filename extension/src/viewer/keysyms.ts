/** Names of keys as X11 numbers them (X.Org's keysymdef.h), and as browsers name their places. */

/** Its number, and its place on a keyboard. */
export type Key = readonly [number, string];

export type KeyName =
  | 'BackSpace'
  | 'Tab'
  | 'Return'
  | 'Escape'
  | 'Insert'
  | 'Delete'
  | 'Print'
  | 'Shift'
  | 'Control'
  | 'Alt'
  | 'Super'
  | 'c'
  | 'v'
  | 'x';

export const KEYS: Readonly<Record<KeyName, Key>> = {
  BackSpace: [0xff08, 'Backspace'],
  Tab: [0xff09, 'Tab'],
  Return: [0xff0d, 'Enter'],
  Escape: [0xff1b, 'Escape'],
  Insert: [0xff63, 'Insert'],
  Delete: [0xffff, 'Delete'],
  Print: [0xff61, 'PrintScreen'],
  Shift: [0xffe1, 'ShiftLeft'],
  Control: [0xffe3, 'ControlLeft'],
  Alt: [0xffe9, 'AltLeft'],
  Super: [0xffeb, 'MetaLeft'],
  c: [0x63, 'KeyC'],
  v: [0x76, 'KeyV'],
  x: [0x78, 'KeyX']
};

const F1 = 0xffbe;
const UNICODE = 0x01000000;

export function functionKey(number: number): Key {
  return [F1 + number - 1, `F${number}`];
}

/** A character's key: Latin-1 has its own numbers, all else is marked as Unicode. */
export function keysymOf(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  if (character === '\n') {
    return KEYS.Return[0];
  }
  return point < 0x100 ? point : UNICODE | point;
}
