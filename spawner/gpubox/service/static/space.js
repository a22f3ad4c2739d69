// @ts-check
// How much room templates take: the viewer's own against what they may have, and for admins everybody's.
import { byId, h, nameOf, setAttribute, setText } from "./dom.js";
import { count, percent, size } from "./words.js";

/** @typedef {import("./types").Template} Template */

const WARNING = 0.8;

/** @param {HTMLElement} place @param {import("./types").Templates} told */
export function quota(place, { used_bytes: used, limit_bytes: limit }) {
  place.hidden = used === 0 && limit === null;
  const words = limit === null ? `Yours take ${size(used)}` : `Yours take ${size(used)} of ${size(limit)}`;
  if (place.dataset.drawn === words) return;
  place.dataset.drawn = words;
  const share = limit === null ? 0 : limit === 0 ? 1 : used / limit;
  place.replaceChildren(h("span", { text: words }));
  setAttribute(place, "data-state", share >= 1 ? "over" : share >= WARNING ? "warning" : "fine");
  if (limit === null) return;
  const fill = h("span", { class: "gb-quota-fill" });
  fill.style.width = `${Math.min(100, 100 * share)}%`;
  place.append(h("span", { class: "gb-quota-bar", role: "meter", "aria-label": "Room of your templates", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(100 * Math.min(1, share)), "aria-valuetext": `${words}, ${percent(share)}` }, fill));
}

/** @param {HTMLElement} section @param {Template[]} templates */
export function spaceByUser(section, templates) {
  /** @type {Map<string, {templates: number, versions: number, bytes: number}>} */
  const users = new Map();
  for (const { owner, versions } of templates) {
    const of = users.get(owner) ?? { templates: 0, versions: 0, bytes: 0 };
    const bytes = versions.reduce((sum, version) => sum + version.size_bytes, 0);
    users.set(owner, { templates: of.templates + 1, versions: of.versions + versions.length, bytes: of.bytes + bytes });
  }
  const rows = [...users].sort(([, a], [, b]) => b.bytes - a.bytes);
  const all = rows.reduce((sum, [, of]) => sum + of.bytes, 0);
  section.hidden = rows.length === 0;
  setText(byId("gb-space-sum"), `${count(templates.length, "template")} of ${count(rows.length, "user")} take ${size(all)}`);
  const most = Math.max(1, ...rows.map(([, of]) => of.bytes));
  const head = h("tr", {}, ...["User", "Templates", "Versions", "Room"].map((words) => h("th", { scope: "col", text: words })));
  section.querySelector("table")?.replaceChildren(
    h("thead", {}, head),
    h("tbody", {}, ...rows.map(([owner, of]) => {
      const bar = h("span", { class: "gb-space-bar", "aria-hidden": true });
      bar.style.width = `${(100 * of.bytes) / most}%`;
      return h("tr", {}, h("th", { scope: "row" }, nameOf(owner)), h("td", { text: String(of.templates) }), h("td", { text: String(of.versions) }),
        h("td", {}, h("span", { class: "gb-space-track", "aria-hidden": true }, bar), h("span", { class: "gb-space-size", text: size(of.bytes) })));
    })),
  );
}
