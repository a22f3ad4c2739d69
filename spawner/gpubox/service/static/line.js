// @ts-check
// The line: who waits for what, in the order of serving; one's own places first.
import { ask } from "./api.js";
import { sayIn } from "./cards.js";
import { colourOf } from "./colours.js";
import { byId, h, keyed, nameOf, setAttribute, setResting, setText } from "./dom.js";
import { menuButton } from "./menu.js";
import { clock, count, duration, now, ordinal } from "./words.js";

/** @typedef {import("./types").Place} Place */
/** @typedef {import("./cards.js").Context} Context */

const SHOWN = 20;
const ASK_AGAIN = 5_000;

/** @param {Context} context */
export function lineSection(context) {
  const { store } = context;
  const list = byId("gb-line-list");
  const all = /** @type {HTMLButtonElement} */ (byId("gb-line-all"));
  const said = byId("gb-line-said");
  const make = placeMaker(context);
  let isWhole = false;
  let isAsking = false;
  /** The part of the line that the state does not have. @type {Place[]} */
  let rest = [];
  let askedAt = 0;

  /** A long line is not in the state: it is asked for, and again when it has moved. */
  async function load() {
    if (isAsking) return;
    isAsking = true;
    askedAt = Date.now();
    setText(all, "Loading…");
    all.setAttribute("aria-disabled", "true");
    try {
      const whole = await ask("GET", "api/state?line=all");
      for (const lease of whole.leases) if (!store.leases.has(lease.id)) store.leases.set(lease.id, lease);
      rest = whole.line.slice(store.line.length);
      isWhole = true;
      setText(said, "");
    } catch (error) {
      setText(said, error instanceof Error ? error.message : "");
    }
    isAsking = false;
    all.removeAttribute("aria-disabled");
    store.changed();
  }

  all.addEventListener("click", () => {
    if (isWhole) {
      isWhole = false;
      store.changed();
    } else if (store.line.length < store.waiting) load();
    else {
      isWhole = true;
      store.changed();
    }
  });

  let lastLine = store.line;
  return {
    update() {
      if (isWhole && store.line !== lastLine && store.line.length < store.waiting && Date.now() - askedAt > ASK_AGAIN) load();
      lastLine = store.line;
      const known = [...store.line, ...(isWhole ? rest.slice(0, Math.max(0, store.waiting - store.line.length)) : [])];
      const own = store.mine.line;
      const mine = new Set(own.map((place) => place.lease));
      const others = known.filter((place) => !mine.has(place.lease));
      const shown = [...own, ...(isWhole ? others : others.slice(0, Math.max(0, SHOWN - own.length)))];
      keyed(list, shown.filter((place) => store.lease(place.lease)), (place) => place.lease, make);
      byId("gb-line").hidden = store.waiting === 0;
      byId("gb-waiting").hidden = store.waiting === 0;
      setText(byId("gb-waiting"), `${store.waiting.toLocaleString("en")} waiting`);
      setText(byId("gb-line-count"), `${count(store.waiting, "machine is", "machines are")} waited for`);
      all.hidden = store.waiting <= SHOWN;
      if (!isAsking) setText(all, isWhole ? `Show the first ${SHOWN}` : `Show all ${store.waiting.toLocaleString("en")}`);
    },
  };
}

/** @param {Context} context @returns {(place: Place) => import("./types").Part<Place>} */
function placeMaker(context) {
  const { store, actions } = context;
  return (first) => {
    let place = first;
    const id = first.lease;
    const where = `place ${id}`;
    const lease = () => /** @type {import("./types").Lease} */ (store.lease(id));
    const position = h("span", { class: "gb-place-number" });
    const who = h("span", { class: "gb-place-who" });
    const machine = h("span", { class: "gb-place-machine" });
    const since = h("span", { class: "gb-place-since" });
    const expected = h("span", { class: "gb-place-expected" });
    const leave = h("button", { type: "button", class: "gb-quiet", onclick: () => actions.doing(id) || actions.leave(lease()) });
    const more = menuButton("", () => placeItems(context, place, where));
    const said = h("p", { class: "gb-said", role: "status" });
    const element = h("li", { class: "gb-place-row" }, position, who, machine, since, expected,
      h("span", { class: "gb-seat-actions" }, leave, more), said);
    return {
      element,
      update(/** @type {Place} */ fresh) {
        place = fresh;
        const ticket = lease();
        if (!ticket) return;
        const isMine = store.isMine(id);
        element.classList.toggle("is-mine", isMine);
        element.style.setProperty("--gb-colour", colourOf(ticket.holder, isMine));
        setText(position, ordinal(place.position));
        if (who.dataset.drawn !== ticket.holder + isMine) {
          who.dataset.drawn = ticket.holder + isMine;
          who.replaceChildren(h("span", { class: "gb-swatch", "aria-hidden": true }), nameOf(ticket.holder));
          if (isMine) who.append(h("span", { class: "gb-you", text: "you" }));
        }
        setText(machine, ticket.title);
        setText(since, `since ${clock(ticket.requested_at)} (${duration(now() - ticket.requested_at)})`);
        setText(expected, expectationOf(place));
        element.classList.toggle("is-blocked", place.blocked !== "");
        const doing = actions.doing(id);
        leave.hidden = !isMine;
        setResting(leave, doing !== "");
        setResting(more, doing !== "");
        setText(leave, doing || "Leave the line");
        more.hidden = placeItems(context, place, where).length === 0;
        setAttribute(more, "aria-label", `Actions for ${ticket.holder}'s place in line`);
        sayIn(said, doing && !isMine ? { words: doing, isError: false } : actions.said(where));
      },
    };
  };
}

/** @param {Place} place */
function expectationOf(place) {
  if (place.blocked) return place.blocked;
  if (place.expected_at === null) return "no time can be told: nobody has set an end";
  if (place.expected_at < now() + 60) return "any moment";
  const at = clock(place.expected_at);
  return place.basis === "time limits" ? `by ${at} at the latest` : `about ${at}`;
}

/** @param {Context} context @param {Place} place @param {string} where @returns {import("./types").MenuItem[]} */
function placeItems({ store, actions }, place, where) {
  const lease = store.lease(place.lease);
  if (!lease) return [];
  /** @type {import("./types").MenuItem[]} */
  const items = [];
  if (store.viewer.is_admin) {
    items.push({ words: "Move to the front", run: () => actions.move(lease, "first", where) });
    items.push({ words: "Move to the end", run: () => actions.move(lease, "last", where) });
    if (lease.rank) items.push({ words: "Back to the fair order", run: () => actions.move(lease, "fair", where) });
  }
  if (lease.may_manage && !store.isMine(lease.id)) {
    items.push({ words: "Take out of the line…", danger: true, run: () => actions.leave(lease) });
  }
  return items;
}
