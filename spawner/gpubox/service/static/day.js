// @ts-check
// A day of every GPU: which day is shown, and when it is asked for anew.
import { ask, sentenceOf } from "./api.js";
import { bars } from "./daybars.js";
import { byId, setText } from "./dom.js";
import { idleKey } from "./store.js";
import { dayOf, now } from "./words.js";

/** @typedef {import("./types").Day} Day */

const AGAIN = 120_000;
const AFTER_A_CHANGE = 2_000;
// Of a quarter of an hour, as good as all of it.
const IDLE_SHARE = 0.95;

/** @param {import("./store").Store} store */
export function daySection(store) {
  const title = byId("gb-day-title");
  const said = byId("gb-day-said");
  const [before, after] = ["gb-day-before", "gb-day-after"].map((id) => /** @type {HTMLButtonElement} */ (byId(id)));
  const draw = bars(byId("gb-day-bars"));
  let today = "";
  let chosen = "";
  /** @type {Day | null} */
  let shown = null;
  /** Who holds something, as it was seen last. @type {string | null} */
  let leases = null;
  let asked = 0;
  let timer = 0;

  async function load() {
    const turn = ++asked;
    try {
      /** @type {Day} */
      const day = await ask("GET", chosen ? `api/history?day=${chosen}` : "api/history");
      if (!chosen) {
        today = day.day;
        takeIdle(day, store);
      }
      if (turn !== asked) return;
      for (const gpu of day.gpus) for (const span of gpu.spans) span.machine = store.machines.get(span.machine)?.title ?? span.machine;
      shown = day;
      setText(said, "");
      setText(title, day.day === today ? `Today, ${dayOf(day.begin + 43200)}` : dayOf(day.begin + 43200));
    } catch (error) {
      if (turn === asked) setText(said, sentenceOf(error));
    }
    if (after) after.disabled = !chosen || chosen >= today;
    store.changed();
  }

  /** @param {number} by days */
  function turn(by) {
    const at = chosen || today;
    if (!at) return;
    const day = new Date(Date.parse(`${at}T12:00:00Z`) + by * 86_400_000).toISOString().slice(0, 10);
    chosen = day >= today ? "" : day;
    load();
  }

  before?.addEventListener("click", () => turn(-1));
  after?.addEventListener("click", () => turn(1));
  setInterval(() => document.hidden || load(), AGAIN);
  load();

  return {
    /** @param {import("./boards.js").Board[]} boards */
    update(boards) {
      const held = [...store.leases.values()].filter((lease) => lease.granted_at !== null).map((lease) => lease.id).join();
      if (held !== leases) {
        clearTimeout(timer);
        if (leases !== null && !chosen) timer = setTimeout(load, AFTER_A_CHANGE);
        leases = held;
      }
      draw(boards, shown);
    },
  };
}

/** How long who holds a GPU now has not used it, by today's quarters of an hour. @param {Day} day @param {import("./store").Store} store */
function takeIdle(day, store) {
  store.idle.clear();
  for (const gpu of day.gpus) {
    for (const lease of new Set(gpu.use.map((use) => use.lease))) {
      const rows = gpu.use.filter((use) => use.lease === lease && use.measured_seconds > 0).sort((a, b) => b.begin - a.begin);
      let since = 0;
      for (const [index, use] of rows.entries()) {
        const isNext = index === 0 ? now() - use.begin < 2 * day.step : (rows[index - 1]?.begin ?? 0) - use.begin <= day.step;
        if (!isNext || use.idle_seconds < IDLE_SHARE * use.measured_seconds) break;
        since = use.begin;
      }
      const begin = gpu.spans.find((span) => span.lease === lease)?.begin ?? 0;
      if (since) store.idle.set(idleKey(gpu.uuid, lease), now() - Math.max(since, begin));
    }
  }
}
