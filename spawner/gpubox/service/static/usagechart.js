// @ts-check
// GPU-hours of each day (or month) as a column: what was used below, what idled above, pale and hatched.
import { h, keyed, setAttribute, setText } from "./dom.js";
import { oneStop, tips, walking } from "./tip.js";
import { dayOf, hoursOf, money, percent } from "./words.js";

/** @typedef {import("./types").Usage} Usage */
/** @typedef {{step: string, row: import("./types").UsageRow | undefined, most: number, currency: string}} Column */

const NICE = [1, 2, 2.5, 5, 10];
const LINES = 4;
const LEAST = 2; // hours: of less, the lines would tell nothing

/** @param {HTMLElement} parent @returns {(usage: Usage, steps: string[]) => void} */
export function columns(parent) {
  const grid = h("div", { class: "gb-chart-grid", "aria-hidden": true });
  const bars = h("div", { class: "gb-chart-bars", role: "group", "aria-label": "GPU-hours by day" });
  parent.append(grid, bars);
  tips(parent, ".gb-column");
  const all = () => /** @type {HTMLElement[]} */ ([...bars.children]);
  walking(bars, () => [all()]);
  return (usage, steps) => {
    const rows = new Map(usage.rows.map((row) => [row.name, row]));
    const most = niceAbove(Math.max(LEAST, ...usage.rows.map((row) => row.gpu_hours)));
    const lines = Array.from({ length: LINES + 1 }, (_, index) => (most * (LINES - index)) / LINES);
    grid.replaceChildren(...lines.map((hours) => h("span", {}, h("i", { text: `${Number(hours.toFixed(2))}` }))));
    setAttribute(bars, "aria-label", `GPU-hours by ${usage.by}`);
    keyed(bars, steps.map((step) => ({ step, row: rows.get(step), most, currency: usage.currency })), (column) => column.step, makeColumn);
    oneStop(all());
  };
}

/** @returns {import("./types").Part<Column>} */
function makeColumn() {
  const idle = h("span", { class: "gb-column-idle" });
  const busy = h("span", { class: "gb-column-busy" });
  const label = h("span", { class: "gb-column-label", "aria-hidden": true });
  const element = h("button", { type: "button", class: "gb-column", tabindex: -1 }, h("span", { class: "gb-column-stack" }, idle, busy), label);
  return {
    element,
    update({ step, row, most, currency }) {
      const [hours, idled] = [row?.gpu_hours ?? 0, row?.idle_gpu_hours ?? 0];
      busy.style.height = `${(100 * Math.max(0, hours - idled)) / most}%`;
      idle.style.height = `${(100 * idled) / most}%`;
      const isDay = step.length === 10;
      const begin = Date.parse(`${step}${isDay ? "" : "-01"}T12:00:00`) / 1000;
      setText(label, isDay ? String(Number(step.slice(8))) : new Date(begin * 1000).toLocaleDateString("en-GB", { month: "short" }));
      const name = isDay ? dayOf(begin) : new Date(begin * 1000).toLocaleDateString("en-GB", { month: "long", year: "numeric" });
      const facts = hours ? [`${hoursOf(hours)} GPU-hours`, `idle ${hoursOf(idled)} (${percent(idled / hours)})`, ...(row?.cost ? [money(row.cost, currency)] : [])] : ["nothing was used"];
      setAttribute(element, "aria-label", [name, ...facts].join(", "));
    },
  };
}

/** The next round number. @param {number} value more than 0 */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return (NICE.find((step) => step * power >= value) ?? 10) * power;
}
