// @ts-check
// The lab in one line: how many GPUs are free, in use, idle, out of service, and how many people wait. Each
// number shows the GPUs that it counts.
import { h, keyed, setAttribute, setText } from "./dom.js";
import { tagsOf } from "./boards.js";

/** @typedef {{tag: string, words: string, number: number}} Count */

const COUNTED = [
  ["free", "free"],
  ["partly", "partly free"],
  ["leased", "in use"],
  ["drained", "drained"],
  ["lost", "lost"],
  // These are counted above already.
  ["idle", "idle"],
  ["mine", "yours"],
];
const ALWAYS = new Set(["free", "leased"]);

/** @param {HTMLElement} parent @param {() => void} changed */
export function summary(parent, changed) {
  let chosen = "";
  const make = (/** @type {Count} */ first) => {
    const number = h("strong");
    const words = h("span");
    const element = h("button", { type: "button", class: "gb-count", "data-tag": first.tag }, number, " ", words);
    element.addEventListener("click", () => {
      chosen = chosen === first.tag ? "" : first.tag;
      changed();
    });
    return {
      element,
      update(/** @type {Count} */ count) {
        setText(number, String(count.number));
        setText(words, count.words);
        setAttribute(element, "aria-pressed", String(chosen === count.tag));
        setAttribute(element, "title", chosen === count.tag ? "Show all GPUs" : `Show only those ${count.words}`);
      },
    };
  };
  return {
    /** Whether a board is shown. @param {string[]} tags */
    shows: (tags) => chosen === "" || tags.includes(chosen),
    /** @param {import("./boards.js").Board[]} boards @param {import("./store").Store} store */
    update(boards, store) {
      const tags = boards.map((board) => tagsOf(board, store));
      const counts = COUNTED.map(([tag = "", words = ""]) => ({ tag, words, number: tags.filter((one) => one.includes(tag)).length }))
        .filter((count) => count.number > 0 || ALWAYS.has(count.tag));
      if (!counts.some((count) => count.tag === chosen)) chosen = "";
      keyed(parent, boards.length ? counts : [], (count) => count.tag, make);
    },
  };
}
