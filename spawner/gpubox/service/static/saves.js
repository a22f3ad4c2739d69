// @ts-check
// Machines that are being saved now, with how far that is, and those of which it failed lately.
import { ask, sentenceOf } from "./api.js";
import { byId, h, isResting, keyed, nameOf, setAttribute, setResting, setText } from "./dom.js";
import { duration, now, size } from "./words.js";

/** @typedef {import("./types").Save} Save */

const TICK = 1000;

/** @param {string} viewer the viewer's name: whose save it is, is said of those of others */
export function savesSection(viewer) {
  const list = byId("gb-saves");
  /** @type {Save[]} */
  let saves = [];
  const make = (/** @type {Save} */ first) => makeSave(first, viewer);

  function draw() {
    // What was saved is among the templates, and who cancels knows.
    keyed(list, saves.filter((save) => save.state === "running" || save.state === "failed"), (save) => save.id, make);
  }

  setInterval(() => document.hidden || draw(), TICK);
  return {
    /** @param {Save[]} told */
    update(told) {
      saves = told;
      draw();
    },
  };
}

/** @param {Save} first @param {string} viewer @returns {import("./types").Part<Save>} */
function makeSave(first, viewer) {
  const words = h("span", { class: "gb-save-words", role: "status" });
  const since = h("span", { class: "gb-save-since" });
  const said = h("span", { class: "gb-said is-error", role: "status" });
  const cancel = h("button", { type: "button", class: "gb-quiet", text: "Cancel", "aria-label": `Cancel saving ${first.name}` });
  cancel.addEventListener("click", async () => {
    if (isResting(cancel)) return;
    setResting(cancel, true);
    try {
      await ask("POST", "api/templates/cancel", { save: first.id });
      setText(said, "");
    } catch (error) {
      setText(said, sentenceOf(error));
    }
    setResting(cancel, false);
  });
  const whose = first.owner === viewer ? [] : [nameOf(first.owner), "’s "];
  const head = h("strong", {}, ...whose, h("bdi", { text: first.server || "machine" }), " → ", h("bdi", { text: first.name }));
  const element = h("li", { class: "gb-panel gb-save" }, h("div", { class: "gb-save-head" }, head, since, cancel), words, said);
  return {
    element,
    update(/** @type {Save} */ save) {
      const isOver = save.ended_at !== null;
      setAttribute(element, "data-state", save.state);
      setText(words, isOver ? save.words : `${save.words}${save.size_bytes ? ` (${size(save.size_bytes)})` : ""}…`);
      setText(since, isOver ? "" : seconds(now() - save.began_at));
      cancel.hidden = isOver;
    },
  };
}

/** @param {number} passed */
const seconds = (passed) => (passed < 60 ? `${Math.max(0, Math.floor(passed))} s` : duration(passed));
