// @ts-check
// What people do to GPUs, leases and places in line: the questions, the requests, and what is said afterwards.
import { ask, sentenceOf } from "./api.js";
import { confirm } from "./dialogs.js";
import { nameOf } from "./dom.js";

const SAID_FOR = 12_000;
const LONGEST = 300;

/** @typedef {import("./types").Lease} Lease */
/** @typedef {import("./types").GPU} GPU */

export class Actions {
  /** What is being done to what: its words by the lease or GPU. @type {Map<string | number, string>} */
  #doing = new Map();
  /** What was said last, by the place on the page where the click was. @type {Map<string, {words: string, isError: boolean}>} */
  #said = new Map();

  /** @param {import("./store").Store} store */
  constructor(store) {
    this.store = store;
  }

  /** What is being done to a lease or GPU, in words. @param {string | number} what */
  doing(what) {
    return this.#doing.get(what) ?? "";
  }

  /** @param {string} place */
  said(place) {
    return this.#said.get(place);
  }

  /** Ask the holder to let go. @param {Lease} lease @param {string} place */
  async askToLetGo(lease, place) {
    const isNamed = lease.user !== "";
    const done = await confirm({
      title: "Ask to let go",
      words: [isNamed ? nameOf(lease.holder) : "The holder", ` is shown a notice in JupyterLab that somebody waits for ${lease.gpus.length > 1 ? "these GPUs" : "this GPU"}. Nothing is stopped.`],
      field: { label: "Your words (optional)", hint: "Your name is told.", longest: LONGEST },
      action: "Ask",
      doing: "Asking…",
      run: (words) => ask("POST", `api/leases/${lease.id}/ask`, words ? { words } : {}),
    });
    if (done) this.#say(place, "Asked. They see it in their JupyterLab.");
  }

  /** Stop one's own machine. @param {Lease} lease @param {string} place */
  async stop(lease, place) {
    await confirm({
      title: "Stop your machine?",
      words: [`${lease.title}${lease.server ? ` “${lease.server}”` : ""}: what runs in it ends, and what is in memory is lost. Your home directory stays.`],
      action: "Stop it",
      doing: "Stopping…",
      danger: true,
      run: () => this.#run(lease.id, "Stopping…", ask("POST", `api/leases/${lease.id}/end`, {})),
    });
    this.#say(place, "");
  }

  /** End somebody else's machine. @param {Lease} lease */
  async end(lease) {
    await confirm({
      title: "End this machine?",
      words: [nameOf(lease.holder), ` holds it: ${lease.title}${lease.server ? ` “${lease.server}”` : ""}. What runs in it ends, and what is in memory is lost. Their home directory stays.`],
      field: { label: "Reason (optional)", hint: "It is written down.", longest: LONGEST },
      action: "End it",
      doing: "Ending…",
      danger: true,
      run: (reason) => this.#run(lease.id, "Ending…", ask("POST", `api/leases/${lease.id}/end`, reason ? { reason } : {})),
    });
  }

  /** Take a ticket out of the line. @param {Lease} lease */
  async leave(lease) {
    const isMine = this.store.isMine(lease.id);
    await confirm({
      title: isMine ? "Leave the line?" : "Take out of the line?",
      words: isMine
        ? [`Your place for ${lease.title} is given up. Who comes back stands at the end.`]
        : [nameOf(lease.holder), ` loses the place for ${lease.title}.`],
      action: isMine ? "Leave the line" : "Take out",
      doing: isMine ? "Leaving…" : "Taking out…",
      danger: true,
      run: () => this.#run(lease.id, "Leaving…", ask("POST", `api/leases/${lease.id}/end`, {})),
    });
  }

  /** @param {Lease} lease @param {"first" | "last" | "fair"} to @param {string} place */
  move(lease, to, place) {
    return this.#now(place, lease.id, "Moving…", () => ask("POST", `api/leases/${lease.id}/move`, { to }));
  }

  /** Let a machine end later. @param {Lease} lease @param {number} seconds @param {string} place */
  extend(lease, seconds, place) {
    return this.#now(place, lease.id, "Extending…", () => ask("POST", `api/leases/${lease.id}/extend`, { seconds }));
  }

  /** Take a GPU out of service. @param {GPU} gpu @param {string} name what the page calls it */
  async drain(gpu, name) {
    await confirm({
      title: `Drain ${name}?`,
      words: [gpu.holders.length ? "Who holds it keeps it until they stop; nobody gets it after that." : "Nobody gets it until it serves again."],
      field: { label: "Reason", hint: "Everybody sees it.", longest: LONGEST },
      action: "Drain",
      doing: "Draining…",
      run: (reason) => this.#run(gpu.uuid, "Draining…", ask("POST", `api/gpus/${gpu.uuid}/drain`, reason ? { reason } : {})),
    });
  }

  /** @param {GPU} gpu @param {string} place */
  serveAgain(gpu, place) {
    return this.#now(place, gpu.uuid, "Taking back into service…", () => ask("DELETE", `api/gpus/${gpu.uuid}/drain`));
  }

  /** Do something at once, once, and say at that place why where it cannot be. */
  /** @param {string} place @param {string | number} what @param {string} words @param {() => Promise<unknown>} run */
  async #now(place, what, words, run) {
    if (this.#doing.has(what)) return;
    this.#say(place, "");
    try {
      await this.#run(what, words, run());
    } catch (error) {
      this.#say(place, sentenceOf(error), true);
    }
  }

  /** @param {string | number} what @param {string} words @param {Promise<unknown>} request */
  async #run(what, words, request) {
    this.#doing.set(what, words);
    this.store.changed();
    try {
      await request;
    } finally {
      this.#doing.delete(what);
      this.store.changed();
    }
  }

  /** @param {string} place @param {string} words @param {boolean} [isError] */
  #say(place, words, isError = false) {
    const said = { words, isError };
    if (words) this.#said.set(place, said);
    else this.#said.delete(place);
    this.store.changed();
    if (!words || isError) return;
    setTimeout(() => {
      if (this.#said.get(place) === said) this.#say(place, "");
    }, SAID_FOR);
  }
}
