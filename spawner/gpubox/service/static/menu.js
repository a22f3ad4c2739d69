// @ts-check
// A button with a small menu, by the keyboard's rules of https://www.w3.org/WAI/ARIA/apg/patterns/menu-button/.
import { h, isResting } from "./dom.js";

const MARGIN = 8;

/**
 * @param {string} label for those who do not see the three dots
 * @param {() => import("./types").MenuItem[]} itemsOf asked each time it opens
 */
export function menuButton(label, itemsOf) {
  const button = h("button", { class: "gb-more", type: "button", "aria-haspopup": "menu", "aria-expanded": "false", "aria-label": label, title: "More" });
  button.append(h("span", { class: "gb-more-dots", "aria-hidden": true }));
  // A press outside closes an open menu by itself; one on its button is not to open it again.
  let wasOpen = false;
  button.addEventListener("pointerdown", () => (wasOpen = button.getAttribute("aria-expanded") === "true"));
  button.addEventListener("click", () => {
    if (!wasOpen) open(button, itemsOf(), 0);
    wasOpen = false;
  });
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    open(button, itemsOf(), event.key === "ArrowDown" ? 0 : -1);
  });
  return button;
}

/** @param {HTMLElement} button @param {import("./types").MenuItem[]} items @param {number} first which has the focus */
function open(button, items, first) {
  if (!items.length || isResting(button) || button.getAttribute("aria-expanded") === "true") return;
  const menu = h("div", { class: "gb-menu", role: "menu", popover: "auto", "aria-label": button.getAttribute("aria-label") });
  const entries = items.map((item) =>
    h("button", { type: "button", role: "menuitem", tabindex: -1, class: item.danger ? "is-danger" : "", text: item.words,
      onclick: () => { menu.hidePopover(); button.focus(); item.run(button); } }),
  );
  menu.append(...entries);
  menu.addEventListener("keydown", (event) => move(event, menu, entries, button));
  // Before, for that comes at once: who opens it again right away finds it closed.
  menu.addEventListener("beforetoggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "open") return;
    button.setAttribute("aria-expanded", "false");
    removeEventListener("scroll", follow, true);
  });
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "closed") menu.remove();
  });
  const follow = () => place(menu, button.getBoundingClientRect());
  document.body.append(menu);
  menu.showPopover();
  button.setAttribute("aria-expanded", "true");
  follow();
  entries.at(first)?.focus({ preventScroll: true });
  addEventListener("scroll", follow, true);
}

/** @param {HTMLElement} menu @param {DOMRect} at */
function place(menu, at) {
  const { width, height } = menu.getBoundingClientRect();
  const left = Math.max(MARGIN, Math.min(at.right - width, innerWidth - width - MARGIN));
  const below = at.bottom + 4;
  const top = below + height < innerHeight - MARGIN ? below : Math.max(MARGIN, at.top - height - 4);
  menu.style.translate = `${Math.round(left)}px ${Math.round(top)}px`;
}

/** @param {KeyboardEvent} event @param {HTMLElement} menu @param {HTMLElement[]} entries @param {HTMLElement} button */
function move(event, menu, entries, button) {
  const at = entries.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    entries.at(to % entries.length)?.focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    if (event.key === "Escape") event.preventDefault();
    menu.hidePopover();
    button.focus();
  }
}
