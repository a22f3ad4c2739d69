// @ts-check
// The bars of a day: time from left to right, who held the GPU by colour, how much of it was used as a filled
// area. What is held and not used stays pale, and is hatched where it idled.
import { colourOf } from "./colours.js";
import { h, keyed, setAttribute, svg } from "./dom.js";
import { oneStop, tips, walking } from "./tip.js";
import { duration, now, percent, timeOf } from "./words.js";

/** @typedef {import("./types").Day} Day */
/** @typedef {import("./types").Span} Span */
/** @typedef {import("./types").GPUDay} GPUDay */
/** @typedef {{uuid: string, name: string, part: string, model: string, gpu: GPUDay | undefined, day: Day | null}} Row */

const IDLE_SHARE = 0.9;
const NO_DAY = { day: "", begin: 0, end: 86400, step: 900, gpus: [] };

/** @param {HTMLElement} parent @returns {(boards: import("./boards.js").Board[], day: Day | null) => void} */
export function bars(parent) {
  const rows = h("div", { class: "gb-day-rows" });
  const axis = h("div", { class: "gb-day-axis", "aria-hidden": true });
  parent.append(rows, axis);
  tips(parent, ".gb-span");
  const spansOf = (/** @type {Element} */ within) => /** @type {HTMLElement[]} */ ([...within.querySelectorAll(".gb-span")]);
  walking(rows, () => [...rows.children].map(spansOf));
  let drawn = "";
  return (boards, day) => {
    const known = new Map((day?.gpus ?? []).map((gpu) => [gpu.uuid, gpu]));
    /** @type {Row[]} */
    const wanted = boards.flatMap((board) => board.gpus.map((gpu) => ({
      uuid: gpu.uuid, name: board.name, part: gpu.mig_profile ?? "", model: board.model, gpu: known.get(gpu.uuid), day,
    })));
    const shown = new Set(wanted.map((row) => row.uuid));
    for (const gpu of known.values()) {
      if (!shown.has(gpu.uuid) && gpu.spans.length) wanted.push({ uuid: gpu.uuid, name: "Former GPU", part: "", model: gpu.uuid, gpu, day });
    }
    parent.classList.toggle("is-dense", wanted.length > 24);
    keyed(rows, wanted, (row) => row.uuid, makeRow);
    const key = `${day?.begin} ${day?.end}`;
    if (key !== drawn) drawAxis(axis, day ?? NO_DAY, day !== null);
    drawn = key;
    const at = day ? (now() - day.begin) / (day.end - day.begin) : 2;
    parent.style.setProperty("--gb-now", String(at));
    parent.classList.toggle("is-today", at >= 0 && at <= 1);
    oneStop(spansOf(rows));
  };
}

/** @param {Row} first @returns {import("./types").Part<Row>} */
function makeRow(first) {
  const name = h("span", { class: "gb-day-name" });
  const track = h("div", { class: "gb-day-track", role: "group" });
  const element = h("div", { class: "gb-day-row" }, name, track);
  /** @type {unknown} */
  let drawn = first;
  return {
    element,
    update(row) {
      const words = `${row.name} ${row.part}`.trim();
      if (name.textContent !== words) name.replaceChildren(row.name, row.part && " ", h("small", { text: row.part }));
      setAttribute(name, "title", row.model);
      setAttribute(track, "aria-label", `${words}, ${row.model}: ${row.gpu?.spans.length ? "who held it" : "nobody held it"}`);
      if (drawn === row.gpu) return;
      drawn = row.gpu;
      const at = [...track.children].indexOf(/** @type {Element} */ (document.activeElement));
      const lanes = lanesOf(row.gpu?.spans ?? []);
      track.style.setProperty("--gb-lanes", String(lanes.count));
      track.replaceChildren(...(row.gpu?.spans ?? []).map((span) => drawSpan(span, /** @type {GPUDay} */ (row.gpu), row.day ?? NO_DAY, lanes)));
      if (at >= 0) /** @type {HTMLElement | undefined} */ (track.children[at])?.focus();
    },
  };
}

/** Leases of a shared GPU at the same time, one above the other. @param {Span[]} spans */
function lanesOf(spans) {
  /** @type {number[]} */
  const ends = [];
  /** @type {Map<Span, number>} */
  const of = new Map();
  for (const span of [...spans].sort((a, b) => a.begin - b.begin)) {
    let lane = ends.findIndex((end) => end <= span.begin + 1);
    if (lane < 0) lane = ends.length;
    ends[lane] = span.end;
    of.set(span, lane);
  }
  return { of, count: Math.max(1, ends.length) };
}

/** @param {Span} span @param {GPUDay} gpu @param {Day} day @param {{of: Map<Span, number>, count: number}} lanes */
function drawSpan(span, gpu, day, lanes) {
  const [begin, end] = [Math.max(span.begin, day.begin), Math.min(span.end, day.end)];
  const use = gpu.use.filter((one) => one.lease === span.lease && one.begin + day.step > begin && one.begin < end);
  const element = h("button", { type: "button", class: `gb-span${span.is_mine ? " is-mine" : ""}`, tabindex: -1 });
  const whole = day.end - day.begin;
  element.style.left = `${(100 * (begin - day.begin)) / whole}%`;
  element.style.width = `${(100 * (end - begin)) / whole}%`;
  element.style.top = `${(100 * (lanes.of.get(span) ?? 0)) / lanes.count}%`;
  element.style.height = `${100 / lanes.count}%`;
  element.style.setProperty("--gb-colour", colourOf(span.holder, span.is_mine));
  if (lanes.count === 1) element.append(h("bdi", { class: "gb-span-name", text: span.is_mine ? "you" : span.holder, "aria-hidden": true }));
  element.append(areaOf(use, begin, end, day.step), ...idleOf(use, begin, end, day.step));
  element.setAttribute("aria-label", sentencesOf(span, use).join(", "));
  return element;
}

/** @param {import("./types").Use[]} use @param {number} begin @param {number} end @param {number} step */
function areaOf(use, begin, end, step) {
  const length = Math.max(1, end - begin);
  const path = use.filter((one) => one.utilisation).map((one) => {
    const [from, to] = [Math.max(one.begin, begin) - begin, Math.min(one.begin + step, end) - begin];
    return `M${from} 1V${(1 - Math.min(1, one.utilisation ?? 0)).toFixed(3)}H${to}V1Z`;
  });
  return svg("svg", { viewBox: `0 0 ${length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { d: path.join("") || "M0 1" }));
}

/** @param {import("./types").Use[]} use @param {number} begin @param {number} end @param {number} step */
function idleOf(use, begin, end, step) {
  /** @type {[number, number][]} */
  const times = [];
  for (const one of [...use].sort((a, b) => a.begin - b.begin)) {
    if (!one.measured_seconds || one.idle_seconds < IDLE_SHARE * one.measured_seconds) continue;
    const [from, to] = [Math.max(one.begin, begin), Math.min(one.begin + step, end)];
    const last = times.at(-1);
    if (last && last[1] === from) last[1] = to;
    else times.push([from, to]);
  }
  return times.map(([from, to]) => {
    const element = h("span", { class: "gb-span-idle" });
    element.style.left = `${(100 * (from - begin)) / (end - begin)}%`;
    element.style.width = `${(100 * (to - from)) / (end - begin)}%`;
    return element;
  });
}

/** @param {Span} span @param {import("./types").Use[]} use */
function sentencesOf(span, use) {
  const measured = use.reduce((sum, one) => sum + one.measured_seconds, 0);
  const busy = use.reduce((sum, one) => sum + (one.utilisation ?? 0) * one.measured_seconds, 0);
  const idle = use.reduce((sum, one) => sum + one.idle_seconds, 0);
  const isOpen = span.end > now() - 90;
  return [
    span.is_mine ? `${span.holder} (you)` : span.holder,
    span.machine,
    `${timeOf(span.begin)} to ${isOpen ? "now" : timeOf(span.end)}, ${duration(span.end - span.begin)}`,
    measured ? `busy ${percent(busy / measured)}${idle >= 60 ? `, idle for ${duration(idle)}` : ""}` : "not measured",
  ];
}

/** @param {HTMLElement} axis @param {Day} day @param {boolean} isKnown */
function drawAxis(axis, day, isKnown) {
  const whole = day.end - day.begin;
  const hours = Array.from({ length: Math.ceil(whole / 10800) }, (_, index) => index * 10800);
  axis.replaceChildren(...hours.map((second, index) => {
    const tick = h("span", { text: isKnown ? timeOf(day.begin + second) : "", class: index % 2 ? "is-minor" : "" });
    tick.style.left = `${(100 * second) / whole}%`;
    return tick;
  }));
}
