// @ts-check
// Questions before something is done, with fields to fill in where it needs some: one <dialog> at a time, which stays until it is done or given up.
import { sentenceOf } from "./api.js";
import { h, setText } from "./dom.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {(string | Node)[]} words what will happen, and what is lost
 * @property {{label: string, hint?: string, longest: number}} [field] one line that may be written along
 * @property {HTMLElement} [fields] what else is to be filled in or chosen; `run` reads it
 * @property {string} action what the button says
 * @property {string} doing what it says while the request runs
 * @property {boolean} [danger]
 * @property {(text: string) => Promise<unknown>} run
 */

/**
 * Ask, and do it. Resolves to whether it was done; what the hub refuses is said in the dialog, which stays.
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function confirm(question) {
  const field = question.field && h("input", { class: "form-control", id: "gb-ask-field", maxlength: question.field.longest, autocomplete: "off" });
  const said = h("p", { class: "gb-error gb-dialog-said", role: "alert", hidden: true });
  const go = h("button", { class: `btn ${question.danger ? "gb-btn-danger" : "btn-primary"}`, type: "submit", text: question.action });
  const back = h("button", { class: "btn btn-outline-secondary", type: "button", text: "Back" });
  const form = h("form", { method: "dialog" }, h("h2", { id: "gb-ask-title", text: question.title }), h("p", { id: "gb-ask-words" }, ...question.words));
  if (field && question.field) {
    form.append(h("label", { for: field.id, text: question.field.label }), field);
    if (question.field.hint) {
      form.append(h("p", { class: "gb-hint", id: "gb-ask-hint", text: question.field.hint }));
      field.setAttribute("aria-describedby", "gb-ask-hint");
    }
  }
  if (question.fields) form.append(question.fields);
  form.append(said, h("div", { class: "gb-dialog-actions" }, back, go));
  const dialog = h("dialog", { class: "gb-dialog", "aria-labelledby": "gb-ask-title", "aria-describedby": "gb-ask-words" }, form);
  document.body.append(dialog);

  return new Promise((resolve) => {
    let isRunning = false;
    let isDone = false;
    back.addEventListener("click", () => isRunning || dialog.close());
    dialog.addEventListener("cancel", (event) => isRunning && event.preventDefault());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(isDone);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (isRunning) return;
      isRunning = true;
      go.setAttribute("aria-disabled", "true");
      back.disabled = true;
      setText(go, question.doing);
      said.hidden = true;
      try {
        await question.run(field ? field.value.trim() : "");
        isDone = true;
        dialog.close();
      } catch (error) {
        said.hidden = false;
        setText(said, sentenceOf(error));
      }
      isRunning = false;
      go.removeAttribute("aria-disabled");
      back.disabled = false;
      setText(go, question.action);
    });
    dialog.showModal();
    // What can be undone by nobody is not under the finger that opened this.
    const first = /** @type {HTMLElement | null | undefined} */ (question.fields?.querySelector("input, select"));
    (field ?? first ?? (question.danger ? back : go)).focus();
  });
}
