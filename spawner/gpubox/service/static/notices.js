// @ts-check
// What the viewer has been told and has not closed yet, on top of the page.
import { ask, sentenceOf } from "./api.js";
import { byId, h, keyed, setText } from "./dom.js";
import { clock } from "./words.js";

/** @typedef {import("./types").Notice} Notice */

const AGAIN = 60_000;

/** Show them, and look for new ones for as long as the page is open. */
export function notices() {
  const list = byId("gb-notices");
  /** @type {Set<number>} */
  const closed = new Set();

  async function load() {
    if (document.hidden) return;
    try {
      const told = await ask("GET", "api/notices");
      show(told.notices);
    } catch {
      // They are also in JupyterLab; the page works without.
    }
  }

  /** @param {Notice[]} open */
  function show(open) {
    keyed(list, open.filter((notice) => !closed.has(notice.id)), (notice) => notice.id, make);
  }

  /** @param {Notice} notice @returns {import("./types").Part<Notice>} */
  function make(notice) {
    const close = h("button", { type: "button", class: "btn-close", "aria-label": `Close: ${notice.sentence}` });
    const said = h("span", { class: "gb-said is-error", role: "status" });
    const element = h("li", { class: "gb-notice" },
      h("span", { class: "gb-notice-words" }, h("bdi", { text: notice.sentence }), h("time", { text: clock(notice.told_at) }), said), close);
    close.addEventListener("click", async () => {
      if (close.disabled) return;
      close.disabled = true;
      try {
        await ask("POST", `api/notices/${notice.id}/close`, {});
        closed.add(notice.id);
        element.remove();
      } catch (error) {
        setText(said, sentenceOf(error));
      }
      close.disabled = false;
    });
    return { element, update() {} };
  }

  load();
  setInterval(load, AGAIN);
  document.addEventListener("visibilitychange", load);
}
