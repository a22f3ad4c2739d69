// @ts-check
// Sums as tiles, and a row for each user, group, machine, day or month.
import { h, setText } from "./dom.js";
import { hoursOf, money, percent } from "./words.js";

/** @typedef {import("./types").Usage} Usage */
/** @typedef {import("./types").UsageRow} Row */

const HEADS = { user: "User", group: "Group", machine: "Machine", day: "Day", month: "Month" };
const NO_NAME = { user: "nobody", group: "in no group", machine: "a former machine", day: "", month: "" };

// As the service calls those who were in none (books/bill.py): there is no such group to ask for.
const NO_GROUP = "(no group)";

/** @param {HTMLElement} parent @returns {(usage: Usage) => void} */
export function tiles(parent) {
  const make = (/** @type {string} */ words) => {
    const [value, note] = [h("strong", { text: "–" }), h("small")];
    parent.append(h("div", { class: "gb-tile" }, h("span", { text: words }), value, note));
    return { value, note };
  };
  const [hours, idle, machines, cost] = ["GPU-hours", "of them idle", "Machines", "Cost"].map(make);
  return ({ total, currency }) => {
    if (!hours || !idle || !machines || !cost) return;
    setText(hours.value, hoursOf(total.gpu_hours));
    setText(hours.note, `${hoursOf(total.hours)} hours of machines`);
    const isMeasured = (total.measured_share ?? 0) > 0;
    setText(idle.value, isMeasured && total.gpu_hours ? percent(total.idle_gpu_hours / total.gpu_hours) : "–");
    setText(idle.note, isMeasured ? `${hoursOf(total.idle_gpu_hours)} GPU-hours${seen(total) && `, ${seen(total)}`}` : "not measured");
    setText(machines.value, total.leases.toLocaleString("en"));
    setText(machines.note, "started or running");
    setText(cost.value, money(total.cost, currency));
    setText(cost.note, total.idle_cost ? `${money(total.idle_cost, currency)} of it idle` : "");
  };
}

/**
 * @param {HTMLElement} parent
 * @param {Record<string, string>} titles of machine types, by name
 * @param {(by: "user" | "group", name: string) => void} choose
 */
export function table(parent, titles, choose) {
  const [caption, head, body, foot] = [h("caption", { class: "visually-hidden" }), h("thead"), h("tbody"), h("tfoot")];
  parent.append(h("table", { class: "gb-usage-table" }, caption, head, body, foot));
  /** @param {Usage} usage @param {boolean} mayChoose */
  return (usage, mayChoose) => {
    const by = /** @type {keyof typeof HEADS} */ (usage.by);
    setText(caption, `Usage by ${by}, ${usage.period.name}`);
    head.replaceChildren(h("tr", {}, ...[HEADS[by] ?? by, "Machines", "Hours", "GPU-hours", "Idle", "Cost"].map((words) => h("th", { scope: "col", text: words }))));
    const all = by === "machine" ? usage.rows.map((row) => ({ ...row, name: titles[row.name] ?? row.name })) : usage.rows;
    const rows = by === "day" || by === "month" ? all : [...all].sort((a, b) => b.gpu_hours - a.gpu_hours);
    const most = Math.max(1e-9, ...rows.map((row) => row.gpu_hours));
    body.replaceChildren(...rows.map((row) => drawRow(row, usage, most, mayChoose && (by === "user" || by === "group") ? () => choose(by, row.name) : null)));
    if (!rows.length) body.append(h("tr", {}, h("td", { colspan: 6, class: "gb-usage-none", text: "Nothing was used in this time." })));
    foot.replaceChildren(...(rows.length > 1 ? [drawRow({ ...usage.total, name: "All" }, usage, 0, null)] : []));
  };
}

/** @param {Row} row @param {Usage} usage @param {number} most GPU-hours of the longest bar; 0: none @param {(() => void) | null} choose */
function drawRow(row, usage, most, choose) {
  const by = /** @type {keyof typeof HEADS} */ (usage.by);
  const words = h("bdi", { text: row.name || NO_NAME[by] });
  const name = choose && row.name && row.name !== NO_GROUP ? h("button", { type: "button", class: "gb-usage-name", title: "Show this alone", onclick: choose }, words) : words;
  const cell = (/** @type {string} */ label, /** @type {(Node | string)[]} */ ...children) => h("td", { "data-label": label }, ...children);
  return h("tr", {},
    h("th", { scope: "row" }, name),
    cell("Machines", row.leases.toLocaleString("en")),
    cell("Hours", hoursOf(row.hours)),
    cell("GPU-hours", h("span", { class: "gb-usage-hours", text: hoursOf(row.gpu_hours) }), bar(row, most)),
    cell("Idle", ...idleOf(row)),
    cell("Cost", money(row.cost, usage.currency)),
  );
}

/** @param {Row} row @param {number} most 0: an empty place */
function bar(row, most) {
  const [busy, idle] = [h("span", { class: "gb-usage-busy" }), h("span", { class: "gb-usage-idle" })];
  busy.style.width = `${(100 * Math.max(0, row.gpu_hours - row.idle_gpu_hours)) / (most || 1)}%`;
  idle.style.width = `${(100 * row.idle_gpu_hours) / (most || 1)}%`;
  return h("span", { class: `gb-usage-bar${most ? "" : " is-none"}`, "aria-hidden": true }, busy, idle);
}

/** @param {Row} row */
function idleOf(row) {
  if (!row.gpu_hours) return ["–"];
  if (!row.measured_share) return [h("small", { text: "not measured" })];
  return [`${hoursOf(row.idle_gpu_hours)} (${percent(row.idle_gpu_hours / row.gpu_hours)})`, ...(seen(row) ? [h("small", { text: seen(row) })] : [])];
}

/** Idle time of hours that nobody looked at is not known. @param {Row} row */
function seen(row) {
  return row.measured_share !== null && row.measured_share < 0.985 ? `${percent(row.measured_share)} measured` : "";
}
