// @ts-check
// Budgets as bars, and the rules that hold for the viewer in words.
import { ask, sentenceOf } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { dayOf, money, percent } from "./words.js";

/** @typedef {import("./types").Budget} Budget */

const WARNING = 0.8;

/** @param {string} currency */
export async function budgets(currency) {
  const section = byId("gb-budgets");
  const told = await Promise.allSettled([ask("GET", "api/budgets"), ask("GET", "api/rules")]);
  const [sums, rules] = told;
  if (sums.status === "fulfilled") byId("gb-budget-list").replaceChildren(...sums.value.budgets.map((/** @type {Budget} */ one) => draw(one, currency)));
  if (rules.status === "fulfilled") byId("gb-rule-list").replaceChildren(...rules.value.rules.map((/** @type {string} */ words) => h("li", { text: words })));
  const failed = told.find((one) => one.status === "rejected");
  setText(byId("gb-budgets-said"), failed ? sentenceOf(failed.reason) : "");
  byId("gb-rules").hidden = byId("gb-rule-list").childElementCount === 0;
  section.hidden = !failed && byId("gb-budget-list").childElementCount === 0 && byId("gb-rules").hidden;
}

/** @param {Budget} budget @param {string} currency */
function draw(budget, currency) {
  const amount = (/** @type {number} */ value) => (budget.unit === "money" ? money(value, currency) : value.toLocaleString("en", { maximumFractionDigits: 1 }));
  const unit = budget.unit === "money" ? "" : " GPU-hours";
  const fill = h("span", { class: "gb-budget-fill" });
  fill.style.width = `${Math.min(100, 100 * budget.share)}%`;
  const mark = h("span", { class: "gb-budget-mark" });
  mark.style.left = `${100 * WARNING}%`;
  const state = budget.share >= 1 ? "over" : budget.share >= WARNING ? "warning" : "fine";
  const used = `${amount(budget.used)} of ${amount(budget.limit)}${unit}`;
  const end = `until ${dayOf(budget.period.end - 1)}`;
  return h("li", { class: "gb-budget", "data-state": state },
    h("div", { class: "gb-budget-head" }, h("strong", {}, h("bdi", { text: budget.who })), h("span", { text: `${used} · ${percent(budget.share)}` })),
    h("div", { class: "gb-budget-bar", role: "meter", "aria-label": `Budget of ${budget.who}`, "aria-valuemin": 0, "aria-valuemax": 100,
      "aria-valuenow": Math.round(Math.min(1, budget.share) * 100), "aria-valuetext": `${used}, ${percent(budget.share)}` }, fill, mark),
    h("p", { text: `${capital(budget.period.name)}, ${end}. ${limitWords(budget)}` }),
    ...(budget.words ? [h("p", { text: budget.words })] : []),
  );
}

/** @param {string} words */
const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** @param {Budget} budget */
function limitWords(budget) {
  if (budget.share >= 1) return budget.at_limit === "stop" ? "It is used up: nothing starts, and what runs is stopped." : "It is used up: nothing new starts.";
  return budget.at_limit === "stop" ? "At 100 % nothing starts, and what runs is stopped." : "At 100 % nothing new starts.";
}
