// @ts-check
// A card for each board: what it is, what it does now, who holds it, and what may be done about that.
import { freeOf, IDLE_NEWS_SECONDS, tagsOf } from "./boards.js";
import { colourOf } from "./colours.js";
import { h, keyed, nameOf, setAttribute, setResting, setText } from "./dom.js";
import { menuButton } from "./menu.js";
import { clock, duration, memory, now } from "./words.js";

/** @typedef {import("./boards.js").Board} Board */
/** @typedef {import("./boards.js").Seat} Seat */
/** @typedef {{store: import("./store").Store, actions: import("./actions").Actions}} Context */

const LONGER_SECONDS = 3600;
/** @type {Record<import("./boards.js").BoardState, string>} */
const STATE_WORDS = { free: "Free", partly: "", leased: "In use", draining: "Draining", drained: "Drained", lost: "Lost" };

/** @param {Context} context @returns {(board: Board) => import("./types").Part<Board>} */
export function cardMaker(context) {
  return (first) => {
    let board = first;
    const title = h("h3", { class: "gb-gpu-name", id: `gpu-${first.key}` });
    const model = h("span", { class: "gb-gpu-model" });
    const state = h("span", { class: "gb-gpu-state" });
    const more = menuButton(`Actions for ${first.name}`, () => boardItems(context, board));
    const meter = meterOf(first.name);
    const reason = h("p", { class: "gb-gpu-reason" });
    const said = h("p", { class: "gb-said", role: "status" });
    const parts = h("div", { class: "gb-parts", "aria-hidden": true });
    const seats = h("ul", { class: "gb-seats" });
    const start = h("a", { class: "gb-quiet gb-gpu-start", href: `${window.jhdata.base_url}spawn`, text: "Start a machine" });
    const element = h("article", { class: "gb-gpu", "aria-labelledby": title.id },
      h("header", { class: "gb-gpu-head" }, title, model, state, more), meter.element, parts, reason, seats, said, start);
    const makeSeat = seatMaker(context);
    return {
      element,
      update(/** @type {Board} */ now) {
        board = now;
        setText(title, board.name);
        setText(model, board.model);
        const doing = board.gpus.map((gpu) => context.actions.doing(gpu.uuid)).find(Boolean);
        const { free, all } = freeOf(board);
        setText(state, doing ?? (board.state === "partly" ? `${free} of ${all} free` : STATE_WORDS[board.state]));
        setAttribute(element, "data-state", board.state);
        element.dataset.tags = tagsOf(board, context.store).join(" ");
        more.hidden = boardItems(context, board).length === 0;
        setResting(more, doing !== undefined);
        meter.update(board, context.store);
        drawParts(parts, board, context.store);
        start.hidden = board.state !== "free" || board.isMig;
        setText(reason, board.reason);
        reason.hidden = !board.reason;
        keyed(seats, board.seats.filter((seat) => seat.lease !== null || board.isMig), (seat) => seat.key, makeSeat);
        sayIn(said, context.actions.said(board.key));
      },
    };
  };
}

// --- what it does now -----------------------------------------------------------------------------

/** @param {string} name */
function meterOf(name) {
  const fill = h("span", { class: "gb-meter-fill" });
  const bar = h("span", { class: "gb-meter", role: "meter", "aria-label": `Utilisation of ${name}`, "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const percent = h("span", { class: "gb-meter-percent" });
  const figures = h("span", { class: "gb-gpu-figures" });
  const element = h("div", { class: "gb-gpu-now" }, bar, percent, figures);
  return {
    element,
    /** @param {Board} board @param {import("./store").Store} store */
    update(board, store) {
      const told = store.figures[board.key] ?? {};
      const busy = told.utilisation_percent ?? null;
      // A card in slices tells no utilisation of its own; its memory is the slices' to tell.
      const total = board.isMig ? null : (board.gpus[0]?.memory_mib ?? null);
      const used = board.isMig ? null : (told.memory_used_mib ?? null);
      setAttribute(bar, "aria-valuenow", busy === null ? null : String(Math.round(busy)));
      setAttribute(bar, "aria-valuetext", busy === null ? "not told" : `${Math.round(busy)} %`);
      setText(percent, busy === null ? "–" : `${Math.round(busy)} %`);
      fill.style.width = `${busy ?? 0}%`;
      const facts = [memory(used, total)];
      if (told.temperature_c != null) facts.push(`${Math.round(told.temperature_c)} °C`);
      if (told.power_watts != null) facts.push(`${Math.round(told.power_watts)} W`);
      setText(figures, facts.filter(Boolean).join(" · "));
      element.hidden = busy === null && (board.isMig || board.state === "lost");
    },
  };
}

/** Slots and slices as parts of the card. @param {HTMLElement} parts @param {Board} board @param {import("./store").Store} store */
function drawParts(parts, board, store) {
  const wanted = board.seats.flatMap((seat) => {
    const lease = seat.lease === null ? undefined : store.lease(seat.lease);
    const colour = lease ? colourOf(lease.holder, store.isMine(lease.id)) : "";
    return Array.from({ length: seat.slots }, () => ({ colour, weight: seat.weight / seat.slots, state: seat.gpu.state }));
  });
  parts.hidden = wanted.length < 2;
  const key = parts.hidden ? "" : JSON.stringify(wanted);
  if (parts.dataset.drawn === key) return;
  parts.dataset.drawn = key;
  parts.replaceChildren(...wanted.map(({ colour, weight, state }) => {
    const part = h("span", { class: colour ? "is-held" : "", "data-state": state });
    part.style.flexGrow = String(weight);
    if (colour) part.style.setProperty("--gb-colour", colour);
    return part;
  }));
}

// --- who holds it ---------------------------------------------------------------------------------

/** @param {Context} context @returns {(seat: Seat) => import("./types").Part<Seat>} */
function seatMaker(context) {
  const { store, actions } = context;
  return (first) => {
    let seat = first;
    const who = h("span", { class: "gb-seat-who" });
    const facts = h("span", { class: "gb-seat-facts" });
    const idle = h("span", { class: "gb-seat-idle" });
    const action = h("button", { type: "button", class: "gb-quiet", onclick: () => primary(context, seat) });
    const more = menuButton("", () => seatItems(context, seat));
    const said = h("p", { class: "gb-said", role: "status" });
    const element = h("li", { class: "gb-seat" }, h("span", { class: "gb-swatch", "aria-hidden": true }), who,
      h("span", { class: "gb-seat-actions" }, action, more), facts, idle, said);
    return {
      element,
      update(/** @type {Seat} */ fresh) {
        seat = fresh;
        const lease = seat.lease === null ? undefined : store.lease(seat.lease);
        const isMine = lease !== undefined && store.isMine(lease.id);
        element.classList.toggle("is-mine", isMine);
        element.classList.toggle("is-free", seat.lease === null);
        drawWho(who, seat, lease, isMine);
        if (lease) element.style.setProperty("--gb-colour", colourOf(lease.holder, isMine));
        setText(facts, lease ? factsOf(seat, lease) : "");
        setText(idle, seat.idle >= IDLE_NEWS_SECONDS ? `idle for ${duration(seat.idle)}` : "");
        const doing = lease ? actions.doing(lease.id) : "";
        action.hidden = !lease;
        setText(action, doing || (isMine ? "Stop" : "Ask to let go"));
        setResting(action, doing !== "");
        setResting(more, doing !== "" || actions.doing(seat.gpu.uuid) !== "");
        setAttribute(action, "aria-label", !lease || doing ? null : isMine ? `Stop your ${lease.title}` : `Ask ${lease.user || "the holder"} to let go of ${wordsFor(seat)}`);
        const items = seatItems(context, seat);
        more.hidden = items.length === 0;
        // On a roomy card the one thing that can be done has its button already.
        more.classList.toggle("is-spare", items.length === 1 && !action.hidden);
        setAttribute(more, "aria-label", `Actions for ${wordsFor(seat)}${lease ? `, held by ${isMine ? "you" : lease.holder}` : ""}`);
        sayIn(said, actions.said(seat.key));
      },
    };
  };
}

/** @param {HTMLElement} who @param {Seat} seat @param {import("./types").Lease | undefined} lease @param {boolean} isMine */
function drawWho(who, seat, lease, isMine) {
  const name = lease ? lease.holder : "";
  const outside = seat.gpu.state === "lost" ? "lost" : "drained";
  const free = seat.gpu.state === "ready" || seat.gpu.state === "leased" ? "free" : outside;
  const key = `${seat.label}|${isMine}|${name}|${free}`;
  if (who.dataset.drawn === key) return;
  who.dataset.drawn = key;
  who.replaceChildren(lease ? nameOf(name) : h("span", { class: "gb-seat-free", text: free }));
  if (isMine) who.append(h("span", { class: "gb-you", text: "you" }));
  if (seat.label) who.prepend(h("span", { class: "gb-seat-label", text: seat.label }));
}

/** @param {Seat} seat @param {import("./types").Lease} lease */
function factsOf(seat, lease) {
  const facts = [];
  if (seat.slots > 1) facts.push(`${seat.slots} of ${seat.gpu.slots} slots`);
  if (!lease.is_ready) facts.push("starting");
  else if (lease.granted_at !== null) facts.push(`for ${duration(now() - lease.granted_at)}`);
  if (lease.ends_at !== null) facts.push(`ends ${clock(lease.ends_at)}${lease.ends_because === "budget" ? ": the budget is used up" : ""}`);
  // A time is not broken over two lines; a title may be.
  return [lease.title, ...facts.map((fact) => fact.replaceAll(" ", "\u00a0"))].join(" · ");
}

// --- what may be done -----------------------------------------------------------------------------

/** @param {Seat} seat */
const wordsFor = (seat) => `GPU ${seat.gpu.index}${seat.label ? ` ${seat.label}` : ""}`;

/** @param {Context} context @param {Seat} seat */
function primary({ store, actions }, seat) {
  const lease = seat.lease === null ? undefined : store.lease(seat.lease);
  if (!lease || actions.doing(lease.id)) return;
  if (store.isMine(lease.id)) actions.stop(lease, seat.key);
  else actions.askToLetGo(lease, seat.key);
}

/** @param {Context} context @param {Seat} seat @returns {import("./types").MenuItem[]} */
function seatItems(context, seat) {
  const { store, actions } = context;
  const lease = seat.lease === null ? undefined : store.lease(seat.lease);
  /** @type {import("./types").MenuItem[]} */
  const items = [];
  if (lease) {
    const isMine = store.isMine(lease.id);
    items.push({ words: isMine ? "Stop…" : "Ask to let go…", danger: isMine, run: () => primary(context, seat) });
    const longer = isMine || lease.may_manage ? longerBy(lease) : 0;
    if (longer) items.push({ words: `${duration(longer)} longer`, run: () => actions.extend(lease, longer, seat.key) });
    if (!isMine && lease.may_manage) items.push({ words: "End…", danger: true, run: () => actions.end(lease) });
  }
  if (seat.label) items.push(...gpuItems(context, seat.gpu, seat.key));
  return items;
}

/** By how much its end may be put off now: an hour, or what the rules leave. @param {import("./types").Lease} lease */
function longerBy(lease) {
  if (lease.ends_at === null) return 0;
  const left = lease.latest_end === null ? LONGER_SECONDS : lease.latest_end - lease.ends_at;
  return left < 60 ? 0 : Math.min(LONGER_SECONDS, Math.floor(left));
}

/** @param {Context} context @param {Board} board */
function boardItems(context, board) {
  const gpu = board.gpus[0];
  return gpu && !board.isMig ? gpuItems(context, gpu, board.key) : [];
}

/** @param {Context} context @param {import("./types").GPU} gpu @param {string} place @returns {import("./types").MenuItem[]} */
function gpuItems({ store, actions }, gpu, place) {
  if (!store.viewer.is_admin) return [];
  if (gpu.state === "drained" || gpu.state === "draining") {
    return [{ words: "Serve again", run: () => actions.serveAgain(gpu, place) }];
  }
  if (gpu.state === "lost") return [];
  const name = `GPU ${gpu.index}${gpu.mig_profile ? ` ${gpu.mig_profile}` : ""}`;
  return [{ words: "Drain…", run: () => actions.drain(gpu, name) }];
}

/** @param {HTMLElement} element @param {{words: string, isError: boolean} | undefined} said */
export function sayIn(element, said) {
  setText(element, said?.words ?? "");
  element.classList.toggle("is-error", said?.isError ?? false);
}
