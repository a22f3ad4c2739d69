// @ts-check
// Details of what the pointer or the focus is on, in a box beside it; and arrows that walk between such things,
// so that all of them are one stop of the tabulator key.
import { h } from "./dom.js";

const MARGIN = 8;
const GAP = 6;

/**
 * Show what an element's `aria-label` says while it is pointed at: its first part is the heading.
 * @param {HTMLElement} parent
 * @param {string} selector of the elements within
 */
export function tips(parent, selector) {
  const tip = h("div", { class: "gb-tip", popover: "manual", "aria-hidden": true });
  parent.append(tip);
  /** @type {Element | null} */
  let shown = null;
  const hide = () => {
    shown = null;
    tip.hidePopover();
  };
  /** @param {Event} event */
  function show(event) {
    const one = event.target instanceof Element ? event.target.closest(selector) : null;
    if (!one || !parent.contains(one)) return hide();
    const [heading = "", ...facts] = (one.getAttribute("aria-label") ?? "").split(", ");
    tip.replaceChildren(h("strong", {}, h("bdi", { text: heading })), h("span", { text: facts.join(" · ") }));
    tip.showPopover();
    shown = one;
    place();
  }
  function place() {
    if (!shown) return;
    const [at, size] = [shown.getBoundingClientRect(), tip.getBoundingClientRect()];
    const left = Math.max(MARGIN, Math.min((at.left + at.right - size.width) / 2, innerWidth - size.width - MARGIN));
    const above = at.top - size.height - GAP;
    tip.style.translate = `${Math.round(left)}px ${Math.round(above > 0 ? above : at.bottom + GAP)}px`;
  }
  parent.addEventListener("pointerover", show);
  parent.addEventListener("focusin", show);
  parent.addEventListener("pointerleave", hide);
  parent.addEventListener("focusout", hide);
  addEventListener("scroll", place, { capture: true, passive: true });
}

/**
 * Arrows go from one to the next in a row, and from row to row.
 * @param {HTMLElement} parent
 * @param {() => HTMLElement[][]} rowsOf
 */
export function walking(parent, rowsOf) {
  parent.addEventListener("keydown", (event) => {
    const here = /** @type {HTMLElement} */ (document.activeElement);
    const rows = rowsOf().filter((row) => row.length);
    const row = rows.findIndex((one) => one.includes(here));
    const column = rows[row]?.indexOf(here) ?? -1;
    if (row < 0) return;
    const beside = (/** @type {HTMLElement[] | undefined} */ other) => other?.[Math.min(column, other.length - 1)];
    const next = {
      ArrowRight: rows[row]?.[column + 1],
      ArrowLeft: rows[row]?.[column - 1],
      ArrowDown: beside(rows[row + 1]),
      ArrowUp: beside(rows[row - 1]),
    }[event.key];
    if (event.key.startsWith("Arrow")) event.preventDefault();
    if (!next) return;
    here.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

/** Let the first be where the tabulator key stops, if none is. @param {HTMLElement[]} all */
export function oneStop(all) {
  if (all[0] && !all.some((one) => one.tabIndex === 0)) all[0].tabIndex = 0;
}
