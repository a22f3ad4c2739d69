// @ts-check
// Which month or year is shown: a list, and the buttons beside it.
import { h } from "./dom.js";

const MONTHS = 24;
const YEARS = 3;
const monthFormat = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric" });

const two = (/** @type {number} */ number) => String(number).padStart(2, "0");

/**
 * @param {HTMLElement} parent
 * @param {() => void} changed
 */
export function periods(parent, changed) {
  const today = new Date();
  const select = h("select", { class: "form-select", "aria-label": "Period" });
  for (let back = 0; back < MONTHS; back++) {
    const month = new Date(today.getFullYear(), today.getMonth() - back, 1);
    select.append(h("option", { value: `${month.getFullYear()}-${two(month.getMonth() + 1)}`, text: monthFormat.format(month) }));
  }
  for (let back = 0; back < YEARS; back++) {
    const year = String(today.getFullYear() - back);
    select.append(h("option", { value: year, text: `All of ${year}` }));
  }
  const isYear = () => select.value.length === 4;
  // The newest stands first.
  const before = h("button", { type: "button", class: "gb-step", "aria-label": "The period before", text: "‹", onclick: () => turn(1) });
  const after = h("button", { type: "button", class: "gb-step", "aria-label": "The period after", text: "›", onclick: () => turn(-1) });
  parent.append(before, select, after);

  /** @param {number} by */
  function turn(by) {
    select.selectedIndex += by;
    update();
    changed();
  }

  function update() {
    const [first, last] = isYear() ? [MONTHS, MONTHS + YEARS - 1] : [0, MONTHS - 1];
    before.disabled = select.selectedIndex >= last;
    after.disabled = select.selectedIndex <= first;
  }

  select.addEventListener("change", () => {
    update();
    changed();
  });
  update();

  return {
    isYear,
    name: () => select.value,
    /** As the API takes it. */
    query: () => (isYear() ? `from=${select.value}-01-01&to=${select.value}-12-31` : `month=${select.value}`),
    /** All days or months of the period, as the API names them. */
    steps() {
      const year = Number(select.value.slice(0, 4));
      const month = Number(select.value.slice(5));
      if (isYear()) return Array.from({ length: 12 }, (_, index) => `${select.value}-${two(index + 1)}`);
      return Array.from({ length: new Date(year, month, 0).getDate() }, (_, index) => `${select.value}-${two(index + 1)}`);
    },
  };
}
