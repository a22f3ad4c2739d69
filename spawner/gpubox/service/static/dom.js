// @ts-check
// Elements, made and kept up to date. Words go in as text alone: names come from outside.

/**
 * An element. `class`, `text` and listeners (`onclick`) are set as such, all else as attributes; false, null
 * and undefined set nothing.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/**
 * An element of SVG.
 * @param {string} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * Somebody's name: kept apart from the words around it, so that one written from right to left turns nothing else.
 * @param {string} name
 * @param {string} [className]
 */
export function nameOf(name, className = "") {
  return h("bdi", { class: `gb-name ${className}`.trim(), text: name, title: name.length > 24 ? name : null });
}

/** @param {Element} element @param {string} words */
export function setText(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** @param {Element} element @param {string} name @param {string | null} value null takes the attribute away */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Whether a button rests: what it does is under way. It keeps the focus, which one that is disabled would lose.
 * @param {HTMLElement} button
 * @param {boolean} rests
 */
export function setResting(button, rests) {
  setAttribute(button, "aria-disabled", rests ? "true" : null);
}

/** @param {HTMLElement} button */
export const isResting = (button) => button.getAttribute("aria-disabled") === "true";

// The focus of what goes moves to what it was in, and not to the top of the page.
/** @param {HTMLElement} element */
function remove(element) {
  const refuge = element.contains(document.activeElement) && element.parentElement?.closest("article, section, main");
  element.remove();
  if (!(refuge instanceof HTMLElement)) return;
  refuge.tabIndex = -1;
  refuge.focus({ preventScroll: true });
}

/** @type {WeakMap<Element, Map<any, import("./types").Part<any>>>} */
const partsOf = new WeakMap();

/**
 * Have the parent's children be one part for each item, in this order. Parts that stay are not touched but for
 * their `update`, so focus and open menus stay, too.
 * @template T
 * @param {Element} parent
 * @param {T[]} items
 * @param {(item: T) => string | number} keyOf
 * @param {(item: T) => import("./types").Part<T>} make
 */
export function keyed(parent, items, keyOf, make) {
  const before = partsOf.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) after.set(keyOf(item), before.get(keyOf(item)) ?? make(item));
  for (const [key, part] of before) if (!after.has(key)) remove(part.element);
  let next = parent.firstElementChild;
  for (const item of items) {
    const part = after.get(keyOf(item));
    part.update(item);
    if (next && part.element === next) next = next.nextElementSibling;
    else parent.insertBefore(part.element, next);
  }
  partsOf.set(parent, after);
}

/**
 * The element with that id, which the page's template has.
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}.`);
  return element;
}

/**
 * What the template has put into the page as JSON.
 * @param {string} id
 * @returns {any}
 */
export function embedded(id) {
  return JSON.parse(document.getElementById(id)?.textContent || "null");
}
