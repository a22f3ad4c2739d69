// @ts-check
// A colour for each holder: always the same for a name, on every page and day. The viewer's own is the accent.

const COLOURS = 10; // --gb-holder-0 … in pages.css

/** @param {string} name @param {boolean} isMine @returns {string} a CSS colour */
export function colourOf(name, isMine) {
  if (isMine) return "var(--gb-accent)";
  let hash = 2166136261; // FNV-1a
  for (let index = 0; index < name.length; index++) {
    hash = Math.imul(hash ^ name.charCodeAt(index), 16777619) >>> 0;
  }
  return `var(--gb-holder-${((hash ^ (hash >>> 15)) >>> 0) % COLOURS})`;
}
