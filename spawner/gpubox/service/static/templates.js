// @ts-check
// The Templates page, put together: what there is is asked for; that it changed comes by the service's events.
import { ask, sentenceOf } from "./api.js";
import { byId, embedded, keyed, setText } from "./dom.js";
import { savesSection } from "./saves.js";
import { quota, spaceByUser } from "./space.js";
import { follow } from "./stream.js";
import { cardMaker } from "./templatecard.js";

/** @typedef {import("./types").Template} Template */
/** @typedef {"mine" | "shared" | "others"} Part */

/** Fewer are seen at a glance. */
const SEARCHED_FROM = 8;

/** @type {{name: string, is_admin: boolean, groups: string[]}} */
const viewer = embedded("gb-viewer");
const search = /** @type {HTMLInputElement} */ (byId("gb-search"));
/** @type {import("./types").Templates | null} */
let told = null;
/** What machine types are called. @type {Map<string, string>} */
const titles = new Map();
/** Whether the viewer's first machine runs or waits: then a start goes by the page that lists all of them. */
let isRunning = false;
let isAsking = false;
let isAskedAgain = false;

const makeCard = cardMaker({
  groups: viewer.groups,
  titleOf: (machine) => titles.get(machine) ?? machine,
  startAt: (reference) => `${window.jhdata.base_url}${isRunning ? "home" : "spawn"}#template=${encodeURIComponent(reference)}`,
  changed: load,
});
const saves = savesSection(viewer.name);

/** Ask for all of it; asked while it is on its way, once more afterwards. */
async function load() {
  if (isAsking) {
    isAskedAgain = true;
    return;
  }
  isAsking = true;
  do {
    isAskedAgain = false;
    try {
      told = await ask("GET", "api/templates");
      say("");
    } catch (error) {
      say(sentenceOf(error));
    }
  } while (isAskedAgain);
  isAsking = false;
  draw();
}

/** @param {string} words */
function say(words) {
  byId("gb-templates-said").hidden = words === "";
  setText(byId("gb-templates-said"), words);
}

/** @param {Template} template @returns {Part} */
const partOf = (template) => (template.mine ? "mine" : template.startable.length ? "shared" : "others");

/** @param {Template} template */
function isFound(template) {
  const words = search.value.toLowerCase().split(/\s+/);
  const all = `${template.reference} ${template.note}`.toLowerCase();
  return words.every((word) => all.includes(word));
}

function draw() {
  if (!told) return;
  const { templates } = told;
  for (const part of /** @type {Part[]} */ (["mine", "shared", "others"])) {
    const all = templates.filter((template) => partOf(template) === part);
    keyed(byId(`gb-${part}-list`), all.filter(isFound), (template) => template.reference, makeCard);
    byId(`gb-${part}`).hidden = all.length === 0;
  }
  search.hidden = templates.length < SEARCHED_FROM && search.value === "";
  byId("gb-none").hidden = templates.some((template) => partOf(template) !== "others");
  quota(byId("gb-quota"), told);
  if (viewer.is_admin) spaceByUser(byId("gb-space"), templates);
}

search.addEventListener("input", draw);
load();
follow(
  "api/events",
  (name, event) => {
    if (name === "templates") load();
    else if (name === "saves") saves.update(event);
    else if (name === "mine") {
      isRunning = event.leases.some((/** @type {import("./types").Lease} */ lease) => lease.server === "");
      draw();
    } else if (name === "state" || (name === "change" && event.machines)) {
      for (const machine of event.machines) titles.set(machine.name, machine.title);
      draw();
    }
  },
  (now) => {
    const words = { connected: "", reconnecting: "Reconnecting…", "logged out": "You are logged out: load this page again." };
    setText(byId("gb-connection"), words[now]);
  },
);
