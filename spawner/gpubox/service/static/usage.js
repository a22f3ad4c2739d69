// @ts-check
// The usage page, put together: which period, by what, of whom; sums, a chart of days, a table, budgets, rules.
import { ask, here, headers, sentenceOf } from "./api.js";
import { budgets } from "./budgets.js";
import { byId, embedded, h, keyed, setAttribute, setText } from "./dom.js";
import { notices } from "./notices.js";
import { periods } from "./periods.js";
import { columns } from "./usagechart.js";
import { table, tiles } from "./usagetable.js";

/** @typedef {import("./types").Usage} Usage */
/** @typedef {"user" | "group" | "machine" | "day" | "month"} By */
/** @typedef {{by: "user" | "group", name: string}} Only one user or group alone */

/** @type {import("./types").Viewer} */
const viewer = embedded("gb-viewer");
const seesOthers = viewer.is_admin || viewer.groups_managed.length > 0;
const said = byId("gb-usage-said");
const drawChart = columns(byId("gb-chart"));
const drawTable = table(byId("gb-table"), embedded("gb-titles") ?? {}, (by, name) => choose({ by, name }));
const drawTiles = tiles(byId("gb-tiles"));
const period = periods(byId("gb-period"), load);
/** @type {By} */
let by = seesOthers ? "user" : "machine";
/** @type {Only | null} */
let only = null;
let turn = 0;

/** What can be asked for in the period that is shown. @returns {[By, string][]} */
function groupings() {
  /** @type {[By, string][]} */
  const own = [["machine", "Machine"], period.isYear() ? ["month", "Month"] : ["day", "Day"]];
  return seesOthers ? [["user", "User"], ["group", "Group"], ...own] : own;
}

/** @param {By} grouping @param {string} [more] */
function pathOf(grouping, more = "") {
  const who = only ? `&${only.by}=${encodeURIComponent(only.name)}` : "";
  return `api/usage?${period.query()}&by=${grouping}${who}${more}`;
}

async function load() {
  const now = ++turn;
  if (!groupings().some(([one]) => one === by)) by = period.isYear() ? "month" : "day";
  drawChoices();
  byId("gb-usage").setAttribute("aria-busy", "true");
  try {
    /** @type {[Usage, Usage]} */
    const [sums, days] = await Promise.all([ask("GET", pathOf(by)), ask("GET", pathOf(period.isYear() ? "month" : "day"))]);
    if (now !== turn) return;
    setText(said, "");
    drawTiles(sums);
    drawChart(days, period.steps());
    drawTable(sums, only === null);
  } catch (error) {
    if (now === turn) setText(said, sentenceOf(error));
  }
  if (now === turn) byId("gb-usage").removeAttribute("aria-busy");
}

function drawChoices() {
  keyed(byId("gb-by"), groupings(), ([key]) => key, ([key, words]) => {
    const element = h("button", { type: "button", class: "gb-choice", text: words });
    element.addEventListener("click", () => {
      by = key;
      load();
    });
    return { element, update: () => setAttribute(element, "aria-pressed", String(by === key)) };
  });
  const chosen = byId("gb-only");
  chosen.hidden = only === null;
  if (only) chosen.replaceChildren("Only ", h("bdi", { text: only.name }), " ", h("button", { type: "button", class: "gb-quiet", text: "Show all", onclick: () => choose(null) }));
  for (const format of ["csv", "json"]) setAttribute(byId(`gb-${format}`), "href", here + pathOf(by, `&format=${format}`));
}

/** @param {Only | null} wanted */
function choose(wanted) {
  only = wanted;
  if (wanted) by = "machine";
  else by = seesOthers ? "user" : "machine";
  load();
}

// A link of its own would bring no token of JupyterHub's along.
for (const format of ["csv", "json"]) {
  byId(`gb-${format}`).addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      const answer = await fetch(here + pathOf(by, `&format=${format}`), { headers, cache: "no-store" });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).message || "That did not work.");
      const address = URL.createObjectURL(await answer.blob());
      h("a", { href: address, download: `gpubox-usage-${period.name()}-by-${by}.${format}` }).click();
      URL.revokeObjectURL(address);
    } catch (error) {
      setText(said, sentenceOf(error));
    }
  });
}

load();
budgets(embedded("gb-currency") ?? "");
notices();
