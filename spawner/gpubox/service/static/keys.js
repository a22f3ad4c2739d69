// @ts-check
// The SSH page: what to type, one's keys, one more.
import { ask, sentenceOf } from "./api.js";
import { confirm } from "./dialogs.js";
import { byId, h, isResting, keyed, nameOf, setResting, setText } from "./dom.js";
import { clock, dayOf } from "./words.js";

/** @typedef {import("./types").Key} Key */
/** @typedef {import("./types").Gateway} Gateway */

const said = byId("gb-keys-said");
const list = byId("gb-keys");
const form = byId("gb-add-key");
const field = /** @type {HTMLTextAreaElement} */ (byId("gb-key"));
const nameField = /** @type {HTMLInputElement} */ (byId("gb-key-name"));
const refused = byId("gb-key-said");
const add = byId("gb-add");
const user = window.jhdata.user;
let newest = 0;

async function load() {
  try {
    const told = await ask("GET", "api/keys");
    setText(said, "");
    draw(told.keys);
    tellHow(told.gateway);
  } catch (error) {
    setText(said, sentenceOf(error));
  }
}

/** @param {Key[]} keys */
function draw(keys) {
  keyed(list, keys, (key) => key.id, make);
  byId("gb-none").hidden = keys.length > 0;
}

/** @param {Key} key */
function make(key) {
  const facts = h("span", { class: "gb-key-facts" });
  const remove = h("button", { type: "button", class: "gb-quiet", text: "Delete…", "aria-label": `Delete ${key.name}…` });
  remove.addEventListener("click", async () => {
    const isDone = await confirm({
      title: "Delete this key?",
      words: [nameOf(key.name), " opens nothing any more, and connections that it opened are closed at once."],
      action: "Delete",
      doing: "Deleting…",
      danger: true,
      run: () => ask("DELETE", `api/keys/${key.id}`),
    });
    if (isDone) await load();
  });
  const element = h("li", { class: `gb-panel gb-key${key.id === newest ? " is-new" : ""}` },
    h("div", { class: "gb-key-words" }, h("strong", {}, h("bdi", { text: key.name })), facts, h("code", { text: key.fingerprint })),
    remove,
  );
  return { element, update: (/** @type {Key} */ now) => setText(facts, factsOf(now)) };
}

/** @param {Key} key */
function factsOf(key) {
  const used = key.last_used_at === null ? "never used" : `last used ${clock(key.last_used_at)}`;
  return `${key.kind} · added ${dayOf(key.created_at)} · ${used}`;
}

/** @param {Gateway | null} gateway */
function tellHow(gateway) {
  byId("gb-ssh-off").hidden = gateway !== null;
  byId("gb-connect").hidden = gateway === null;
  if (!gateway) return;
  const host = gateway.host || location.hostname;
  const port = gateway.port === 22 ? "" : `-p ${gateway.port} `;
  setText(byId("gb-command"), `ssh ${port}${quoted(`${user}@${host}`)}`);
  setText(byId("gb-named"), `ssh ${port}${quoted(`${user}+training@${host}`)}`);
  setText(byId("gb-config"), `Host gpubox\n    HostName ${host}\n    Port ${gateway.port}\n    User ${/[\s"#]/.test(user) ? JSON.stringify(user) : user}\n    ServerAliveInterval 60\n`);
  setText(byId("gb-fingerprint"), gateway.fingerprint);
  byId("gb-fingerprint-line").hidden = !gateway.fingerprint;
}

/** For a shell, where it would not take the word as it is. @param {string} word */
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (isResting(add)) return;
  setResting(add, true);
  setText(refused, "");
  refused.hidden = true;
  try {
    const key = await ask("POST", "api/keys", { key: field.value, name: nameField.value.trim() });
    newest = key.id;
    field.value = nameField.value = "";
    await load();
  } catch (error) {
    refused.hidden = false;
    setText(refused, sentenceOf(error));
    // A private key does not stay on the screen.
    if (/PRIVATE/.test(field.value)) field.value = "";
    field.focus();
  }
  setResting(add, false);
});

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = byId(button.getAttribute("data-copy") ?? "");
    try {
      await navigator.clipboard.writeText(text.textContent ?? "");
      setText(button, "Copied");
    } catch {
      // Without HTTPS a page may not copy: what is marked can be, with the keyboard.
      getSelection()?.selectAllChildren(text);
      setText(button, "Marked");
    }
    setTimeout(() => setText(button, "Copy"), 2000);
  });
}

load();
