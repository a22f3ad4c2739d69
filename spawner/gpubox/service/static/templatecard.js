// @ts-check
// A template as a card: what it is, what it adds, its versions, who has it, and what its manager may do.
import { sentenceOf } from "./api.js";
import { h, isResting, keyed, nameOf, setAttribute, setResting, setText } from "./dom.js";
import { menuButton } from "./menu.js";
import { clear, describe, remove, share, unsharedWith, wordsOf } from "./templateactions.js";
import { clock, count, size } from "./words.js";

/** @typedef {import("./types").Template} Template */
/** @typedef {import("./types").Version} Version */
/** @typedef {import("./types").Share} Share */
/** @typedef {{groups: string[], titleOf: (machine: string) => string, startAt: (reference: string) => string, changed: () => void}} Context */

const PATHS_SHOWN = 5;

/** @param {Context} context @returns {(template: Template) => import("./types").Part<Template>} */
export function cardMaker(context) {
  return (first) => {
    let template = first;
    const act = (/** @type {Promise<boolean>} */ question) => question.then((isDone) => isDone && context.changed());
    const start = h("a", { class: "btn btn-primary gb-template-start", text: "Start" });
    const more = menuButton(`Actions for ${first.name}`, () => [
      { words: "Share…", run: () => act(share(template, context.groups)) },
      { words: "Rename…", run: () => act(describe(template)) },
      { words: "Delete…", danger: true, run: () => act(remove(template)) },
    ]);
    const note = h("p", { class: "gb-template-note" });
    const facts = h("p", { class: "gb-template-facts" });
    const secrets = secretsPart(() => act(clear(template)));
    const shares = sharesPart(context, () => template, () => act(share(template, context.groups)));
    const versions = h("ul", { class: "gb-version-list" });
    const older = h("details", {}, h("summary"), versions);
    const title = h("h3", {}, h("bdi", { text: first.name }));
    if (!first.mine) title.append(h("span", { class: "gb-template-owner" }, "by ", nameOf(first.owner)));
    const element = h("li", { class: "gb-panel gb-template", "data-template": first.reference },
      h("div", { class: "gb-template-head" }, title, h("div", { class: "gb-template-actions" }, start, more)),
      note, facts, secrets.element, shares.element, older);
    const makeVersion = (/** @type {Version} */ version) => versionPart(version, context, () => template, (number) => act(remove(template, number)));
    return {
      element,
      update(/** @type {Template} */ now) {
        template = now;
        const newest = now.versions.filter((version) => now.startable.includes(version.number)).at(-1) ?? now.versions.at(-1);
        const isStartable = newest !== undefined && now.startable.includes(newest.number);
        start.hidden = !isStartable;
        if (isStartable) setAttribute(start, "href", context.startAt(`${now.reference}:${newest.number}`));
        setAttribute(start, "aria-label", `Start a machine from ${now.reference}`);
        more.hidden = !now.manageable;
        setText(note, now.note);
        note.hidden = now.note === "";
        setText(facts, newest ? factsOf(newest, context, now.versions.length > 1) : "");
        secrets.update(now);
        shares.update(now);
        older.hidden = now.versions.length < 2;
        setText(/** @type {HTMLElement} */ (older.firstElementChild), count(now.versions.length, "version"));
        keyed(versions, [...now.versions].reverse(), (version) => version.number, makeVersion);
      },
    };
  };
}

/** @param {Version} version @param {Context} context @param {boolean} isNumbered */
function factsOf(version, context, isNumbered) {
  const on = version.machine ? ` on ${context.titleOf(version.machine)}` : "";
  const facts = [isNumbered ? `Version ${version.number}` : "", madeOf(version), `saved ${clock(version.saved_at)}${on}`];
  const words = facts.filter(Boolean).join(" · ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A container's image holds what differs; a virtual machine's disk holds all. @param {Version} version */
const madeOf = (version) =>
  version.engine ? `virtual machine, ${size(version.size_bytes)}, made from ${version.base}` : `adds ${size(version.size_bytes)} to ${version.base}`;

/** @param {Version} first @param {Context} context @param {() => Template} templateOf @param {(number: number) => void} drop */
function versionPart(first, context, templateOf, drop) {
  const words = h("span", { class: "gb-version-words" });
  const start = h("a", { class: "gb-quiet", text: "Start" });
  const away = h("button", { type: "button", class: "gb-quiet", text: "Delete…", onclick: () => drop(first.number) });
  const element = h("li", {}, words, h("span", { class: "gb-version-actions" }, start, away));
  return {
    element,
    update(/** @type {Version} */ version) {
      const template = templateOf();
      const reference = `${template.reference}:${version.number}`;
      setText(words, factsOf(version, context, true));
      start.hidden = !template.startable.includes(version.number);
      setAttribute(start, "href", context.startAt(reference));
      setAttribute(start, "aria-label", `Start a machine from ${reference}`);
      away.hidden = !template.manageable;
      setAttribute(away, "aria-label", `Delete ${reference}…`);
    },
  };
}

/** What looks like a secret, and is seen by nobody else until its owner has said that it is none. @param {() => void} accept */
function secretsPart(accept) {
  const words = h("p");
  const paths = h("ul");
  const element = h("div", { class: "gb-secrets", hidden: true }, words, paths,
    h("button", { type: "button", class: "gb-quiet", text: "These are none…", onclick: accept }));
  return {
    element,
    /** @param {Template} template */
    update(template) {
      const open = template.versions.filter((version) => !version.cleared);
      const found = [...new Set(open.flatMap((version) => version.secrets))].sort();
      element.hidden = !template.manageable || found.length === 0;
      const of = open.map((version) => version.number).join(" and ");
      setText(words, `${open.length > 1 ? "Versions" : "Version"} ${of}: these files look like secrets. Nobody else sees ${open.length > 1 ? "them" : "it"} before you say that they are none.`);
      const shown = found.slice(0, PATHS_SHOWN);
      const key = found.join("\n");
      if (paths.dataset.drawn === key) return;
      paths.dataset.drawn = key;
      paths.replaceChildren(...shown.map((path) => h("li", {}, h("code", { text: path }))));
      if (found.length > shown.length) paths.append(h("li", { text: `and ${found.length - shown.length} more` }));
    },
  };
}

/** Who has it. @param {Context} context @param {() => Template} templateOf @param {() => void} ask */
function sharesPart(context, templateOf, ask) {
  const list = h("ul", { class: "gb-share-list", "aria-label": "Shared with" });
  const said = h("p", { class: "gb-said is-error", role: "status" });
  const add = h("button", { type: "button", class: "gb-quiet", text: "Share…", onclick: ask });
  const label = h("span", { class: "gb-share-label" });
  const element = h("div", { class: "gb-shares" }, label, list, add, said);
  const make = (/** @type {Share} */ first) => {
    const away = h("button", { type: "button", class: "gb-share-away", text: "×", "aria-label": `Share with ${wordsOf(first)} no more`, title: "Share no more" });
    away.addEventListener("click", async () => {
      if (isResting(away)) return;
      setResting(away, true);
      try {
        await unsharedWith(templateOf(), first);
        setText(said, "");
        context.changed();
      } catch (error) {
        setText(said, sentenceOf(error));
      }
      setResting(away, false);
    });
    const name = first.kind === "everyone" ? "everyone" : first.name;
    const kind = first.kind === "group" ? [h("span", { class: "gb-share-kind", text: "group " })] : [];
    return { element: h("li", {}, ...kind, h("bdi", { text: name }), away), update() {} };
  };
  return {
    element,
    /** @param {Template} template */
    update(template) {
      element.hidden = !template.manageable;
      setText(label, template.shares.length ? "Shared with" : "Shared with nobody");
      setAttribute(add, "aria-label", `Share ${template.name}…`);
      keyed(list, template.shares, (one) => `${one.kind} ${one.name}`, make);
    },
  };
}
