// @ts-check
// The GPUs page, put together: the first state is in the page, what changes comes by the service's events.
import { Actions } from "./actions.js";
import { boardsOf, tagsOf } from "./boards.js";
import { cardMaker } from "./cards.js";
import { daySection } from "./day.js";
import { byId, embedded, keyed, setText } from "./dom.js";
import { lineSection } from "./line.js";
import { notices } from "./notices.js";
import { Store } from "./store.js";
import { follow } from "./stream.js";
import { summary } from "./summary.js";

// Cards shrink to tiles above so many: a large lab is to be seen at a glance, too.
const ROOMY = 24;
const TICK = 20_000;

/** @type {import("./types").View & {viewer: import("./types").Viewer}} */
const first = embedded("gb-state");
const store = new Store(first.viewer, draw);
const actions = new Actions(store);
const grid = byId("gb-cards");
const makeCard = cardMaker({ store, actions });
const counts = summary(byId("gb-counts"), () => store.changed());
const line = lineSection({ store, actions });
/** @type {ReturnType<typeof daySection> | null} */
let day = null;

function draw() {
  const boards = boardsOf(store);
  counts.update(boards, store);
  grid.classList.toggle("is-dense", boards.length > ROOMY);
  keyed(grid, boards, (board) => board.key, makeCard);
  for (const [index, board] of boards.entries()) {
    /** @type {HTMLElement} */ (grid.children[index]).hidden = !counts.shows(tagsOf(board, store));
  }
  byId("gb-none").hidden = boards.length > 0;
  setText(byId("gb-none"), store.isKnown ? "This machine has no GPU that the hub knows of. Machines without one can be started from Home." : "The hub is starting…");
  byId("gb-day").hidden = boards.length === 0;
  line.update();
  day?.update(boards);
}

store.takeState(first);
draw();
day = daySection(store);
notices();

const connection = byId("gb-connection");
follow(
  "api/events",
  (name, told) => {
    if (name === "state") store.takeState(told);
    else if (name === "change") store.takeChange(told);
    else if (name === "figures") store.takeFigures(told);
    else if (name === "mine") store.takeMine(told);
  },
  (now) => {
    const words = { connected: "", reconnecting: "Reconnecting…", "logged out": "You are logged out: load this page again." };
    setText(connection, words[now]);
    document.body.classList.toggle("gb-is-stale", now !== "connected");
  },
);

// "for 12 min" goes on though nothing else happens.
setInterval(() => document.hidden || store.changed(), TICK);
document.addEventListener("visibilitychange", () => document.hidden || store.changed());
