// @ts-check
// GPUs as they are seen: a board is one card in the machine, a seat what one lease may have of it - the whole
// card, slots of a shared one, or a MIG slice.
import { idleKey } from "./store.js";
import { modelOf } from "./words.js";

/** @typedef {import("./types").GPU} GPU */
/** @typedef {{key: string, gpu: GPU, lease: number | null, slots: number, weight: number, label: string, idle: number}} Seat */
/** @typedef {"free" | "partly" | "leased" | "draining" | "drained" | "lost"} BoardState */
/** @typedef {{key: string, name: string, model: string, gpus: GPU[], isMig: boolean, seats: Seat[], state: BoardState, reason: string}} Board */

const MIG_PARTS = /^(\d+)g\./;
/** Idle for less than this is no news: people think, and data loads. */
export const IDLE_NEWS_SECONDS = 900;

/** @param {import("./store").Store} store @returns {Board[]} */
export function boardsOf(store) {
  /** @type {Map<string, GPU[]>} */
  const cards = new Map();
  const gpus = [...store.gpus.values()].sort((a, b) => a.index - b.index);
  for (const gpu of gpus) {
    const key = gpu.parent ?? gpu.uuid;
    const there = cards.get(key);
    if (there) there.push(gpu);
    else cards.set(key, [gpu]);
  }
  return [...cards].map(([key, parts]) => boardOf(key, parts, store));
}

/** @param {string} key @param {GPU[]} gpus @param {import("./store").Store} store @returns {Board} */
function boardOf(key, gpus, store) {
  const first = /** @type {GPU} */ (gpus[0]);
  const seats = gpus.flatMap((gpu) => seatsOf(gpu, store));
  const state = stateOf(gpus, seats);
  const reasons = new Set(gpus.filter((gpu) => gpu.state !== "ready" && gpu.state !== "leased").map((gpu) => gpu.reason));
  return {
    key,
    name: `GPU ${first.index}`,
    model: modelOf(first.model),
    gpus,
    isMig: first.parent !== null,
    seats,
    state,
    reason: [...reasons].filter(Boolean).join(" "),
  };
}

/** @param {GPU} gpu @param {import("./store").Store} store @returns {Seat[]} */
function seatsOf(gpu, store) {
  const label = gpu.mig_profile ?? "";
  const weight = Number(MIG_PARTS.exec(label)?.[1] ?? 1);
  // What a quarter of an hour says is older than what the GPU does now.
  const isBusy = gpu.slots === 1 && (store.figures[gpu.uuid]?.utilisation_percent ?? 0) > 5;
  const seats = gpu.holders.map(({ lease, slots }) => ({
    key: `${gpu.uuid} ${lease}`,
    gpu,
    lease,
    slots: slots.length,
    weight: (weight * slots.length) / gpu.slots,
    label,
    idle: isBusy ? 0 : (store.idle.get(idleKey(gpu.uuid, lease)) ?? 0),
  }));
  const taken = gpu.holders.reduce((sum, holder) => sum + holder.slots.length, 0);
  const free = gpu.slots - taken;
  if (free <= 0) return seats;
  return [...seats, { key: gpu.uuid, gpu, lease: null, slots: free, weight: (weight * free) / gpu.slots, label, idle: 0 }];
}

/** @param {GPU[]} gpus @param {Seat[]} seats @returns {BoardState} */
function stateOf(gpus, seats) {
  const all = (/** @type {GPU["state"][]} */ ...states) => gpus.every((gpu) => states.includes(gpu.state));
  if (all("lost")) return "lost";
  if (all("drained", "lost")) return "drained";
  if (all("drained", "draining", "lost")) return "draining";
  const open = seats.filter((seat) => seat.lease === null && (seat.gpu.state === "ready" || seat.gpu.state === "leased"));
  if (open.length === 0) return "leased";
  return seats.some((seat) => seat.lease !== null) || open.length < seats.length ? "partly" : "free";
}

/** How many seats somebody could have now, and how many there are: slots and slices, whole cards as one. */
/** @param {Board} board */
export function freeOf(board) {
  const parts = (/** @type {Seat} */ seat) => seat.slots;
  const open = board.seats.filter((seat) => seat.lease === null && (seat.gpu.state === "ready" || seat.gpu.state === "leased"));
  const sum = (/** @type {Seat[]} */ seats) => seats.reduce((total, seat) => total + parts(seat), 0);
  return { free: sum(open), all: sum(board.seats) };
}

/** What the page's filters know a board by. @param {Board} board @param {import("./store").Store} store */
export function tagsOf(board, store) {
  /** @type {string[]} */
  const tags = [board.state === "draining" ? "drained" : board.state];
  if (board.seats.some((seat) => seat.idle >= IDLE_NEWS_SECONDS)) tags.push("idle");
  if (board.seats.some((seat) => seat.lease !== null && store.isMine(seat.lease))) tags.push("mine");
  return tags;
}
