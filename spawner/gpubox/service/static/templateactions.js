// @ts-check
// What is done to templates: the questions, and the requests.
import { ask } from "./api.js";
import { confirm } from "./dialogs.js";
import { h } from "./dom.js";
import { count, size } from "./words.js";

/** @typedef {import("./types").Template} Template */
/** @typedef {import("./types").Share} Share */

const LONGEST_NAME = 40;
const LONGEST_NOTE = 500;
const LONGEST_WHO = 255;

/** `everyone`, `ben`, `the group students` @param {Share} share */
export const wordsOf = (share) => ({ everyone: "everyone", user: share.name, group: `the group ${share.name}` })[share.kind];

/** @param {Template} template */
const nameIn = (template) => h("bdi", { class: "gb-name", text: template.mine ? template.name : template.reference });

/** Paths that look like secrets and of which nobody has said yet that they are none. @param {Template} template */
const openSecrets = (template) => [...new Set(template.versions.filter((one) => !one.cleared).flatMap((one) => one.secrets))].sort();

/** @param {string[]} paths */
const listOf = (paths) => h("ul", { class: "gb-secret-paths" }, ...paths.map((path) => h("li", {}, h("code", { text: path }))));

/** Ask with whom. @param {Template} template @param {string[]} groups the viewer's own, to choose from */
export function share(template, groups) {
  const who = h("input", { class: "form-control", id: "gb-share-name", maxlength: LONGEST_WHO, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const label = h("label", { for: who.id });
  const known = h("datalist", { id: "gb-share-groups" }, ...groups.map((group) => h("option", { value: group })));
  const kind = h("select", { class: "form-select", id: "gb-share-kind" },
    h("option", { value: "user", text: "A person" }), h("option", { value: "group", text: "A group" }), h("option", { value: "everyone", text: "Everyone on this hub" }));
  const named = h("div", {}, label, who, known);
  const show = () => {
    named.hidden = kind.value === "everyone";
    label.textContent = kind.value === "group" ? "The group’s name" : "Their name at this hub";
    if (kind.value === "group") who.setAttribute("list", known.id);
    else who.removeAttribute("list");
  };
  kind.addEventListener("change", show);
  show();
  const fields = h("div", { class: "gb-dialog-fields" }, h("div", {}, h("label", { for: kind.id, text: "With" }), kind), named);
  const paths = openSecrets(template);
  const accept = h("input", { type: "checkbox", id: "gb-share-accept", class: "form-check-input" });
  if (paths.length) {
    fields.append(h("div", { class: "gb-secrets" }, h("p", { text: "These files look like secrets, and whoever starts from it can read them:" }), listOf(paths),
      h("label", { class: "gb-check", for: accept.id }, accept, "They are none")));
  }
  return confirm({
    title: "Share",
    words: [nameIn(template), ": all its versions, those that are saved later among them. They may start from it, and change nothing of it."],
    fields,
    action: "Share",
    doing: "Sharing…",
    run: () => {
      const name = kind.value === "everyone" ? "" : who.value.trim();
      return ask("POST", "api/templates/share", { template: template.reference, kind: kind.value, name, accept: accept.checked });
    },
  });
}

/** @param {Template} template @param {Share} share */
export const unsharedWith = (template, share) => ask("POST", "api/templates/unshare", { template: template.reference, ...share });

/** Say that what looks like a secret is none. @param {Template} template */
export function clear(template) {
  const others = template.shares.length ? `It is shared with ${template.shares.map(wordsOf).join(", ")}: they see it at once.` : "With whom you share it, they can read all of it.";
  return confirm({
    title: "None of these is a secret?",
    words: [others],
    fields: listOf(openSecrets(template)),
    action: "They are none",
    doing: "Telling the hub…",
    danger: true,
    run: () => ask("POST", "api/templates/clear", { template: template.reference }),
  });
}

/** Give it another name and note. @param {Template} template */
export function describe(template) {
  const name = h("input", { class: "form-control", id: "gb-name", maxlength: LONGEST_NAME, value: template.name, autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  const note = h("input", { class: "form-control", id: "gb-note", maxlength: LONGEST_NOTE, value: template.note, autocomplete: "off" });
  return confirm({
    title: "Rename",
    words: ["Machines that run go on. Who starts by its old name, in a link or a program, does not find it any more."],
    fields: h("div", { class: "gb-dialog-fields" }, h("div", {}, h("label", { for: name.id, text: "Name" }), name), h("div", {}, h("label", { for: note.id, text: "Note" }), note)),
    action: "Rename",
    doing: "Renaming…",
    run: () => ask("POST", "api/templates/describe", { template: template.reference, name: name.value.trim(), note: note.value }),
  });
}

/** @param {Template} template @param {number} [number] of the version; left out, all of them */
export function remove(template, number) {
  const gone = template.versions.filter((version) => number === undefined || version.number === number);
  const bytes = gone.reduce((sum, version) => sum + version.size_bytes, 0);
  const what = number === undefined ? count(gone.length, "version") : `Version ${number}`;
  return confirm({
    title: number === undefined ? "Delete this template?" : "Delete this version?",
    words: [nameIn(template), `: ${what}, ${size(bytes)}. Nobody can start from it any more, and it cannot be had back. Homes stay as they are.`],
    action: "Delete",
    doing: "Deleting…",
    danger: true,
    run: () => ask("POST", "api/templates/remove", { template: number === undefined ? template.reference : `${template.reference}:${number}` }),
  });
}
