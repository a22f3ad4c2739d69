/** Elements, made and changed with as little work as a tick each second can afford. */

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) {
    node.className = className;
  }
  node.append(...children);
  return node;
}

/** Set the words of an element that holds nothing else, if they are others. */
export function setWords(node: HTMLElement, words: string): void {
  if (node.textContent !== words) {
    node.textContent = words;
  }
}

export function setAttribute(node: Element, name: string, value: string | null): void {
  if (value === null) {
    node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) {
    node.setAttribute(name, value);
  }
}

/** Have exactly these children, leaving alone those that are in their place. */
export function setChildren(parent: Element, children: Node[]): void {
  children.forEach((child, index) => {
    if (parent.childNodes[index] !== child) {
      parent.insertBefore(child, parent.childNodes[index] ?? null);
    }
  });
  while (parent.childNodes.length > children.length) {
    parent.lastChild?.remove();
  }
}

/** A link that somebody told; '' where it is none that a click should follow. */
export function safeUrl(told: string): string {
  try {
    const url = new URL(told, window.location.href);
    return /^https?:$/.test(url.protocol) && told ? url.href : '';
  } catch {
    return '';
  }
}
