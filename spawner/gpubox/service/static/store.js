// @ts-check
// What the page knows: the state as it was told, and changes put into it. Who draws is told that it changed.

/** @typedef {import("./types").View} View */

export class Store {
  /** @type {Map<string, import("./types").GPU>} */
  gpus = new Map();
  /** @type {Map<number, import("./types").Lease>} */
  leases = new Map();
  /** @type {Map<string, import("./types").Machine>} */
  machines = new Map();
  /** @type {import("./types").Place[]} */
  line = [];
  waiting = 0;
  /** @type {Record<string, import("./types").Figures>} */
  figures = {};
  /** @type {import("./types").Mine} */
  mine = { leases: [], line: [] };
  /** How long each holder's GPU has idled, in seconds, by `idleKey`. @type {Map<string, number>} */
  idle = new Map();
  /** Whether the state is known at all: a service that has just started is told it by the hub. */
  isKnown = false;
  #pending = false;

  /** @param {import("./types").Viewer} viewer @param {() => void} draw */
  constructor(viewer, draw) {
    this.viewer = viewer;
    this.draw = draw;
  }

  /** @param {View | null} view the whole state */
  takeState(view) {
    if (!view) return;
    this.gpus = new Map(view.gpus.map((gpu) => [gpu.uuid, gpu]));
    this.leases = new Map(view.leases.map((lease) => [lease.id, lease]));
    this.machines = new Map(view.machines.map((machine) => [machine.name, machine]));
    this.line = view.line;
    this.waiting = view.waiting;
    if (view.mine) this.mine = view.mine;
    if (view.figures) this.figures = view.figures;
    this.isKnown = view.gpus.length > 0 || view.machines.length > 0;
    this.changed();
  }

  /** @param {import("./types").Change} change */
  takeChange(change) {
    for (const gpu of change.gpus ?? []) this.gpus.set(gpu.uuid, gpu);
    for (const lease of change.leases ?? []) this.leases.set(lease.id, lease);
    for (const machine of change.machines ?? []) this.machines.set(machine.name, machine);
    for (const uuid of change.gone?.gpus ?? []) this.gpus.delete(uuid);
    for (const id of change.gone?.leases ?? []) this.leases.delete(id);
    for (const name of change.gone?.machines ?? []) this.machines.delete(name);
    if (change.line) this.line = change.line;
    if (change.waiting !== undefined) this.waiting = change.waiting;
    this.isKnown = true;
    this.changed();
  }

  /** @param {Record<string, import("./types").Figures>} figures those that changed */
  takeFigures(figures) {
    Object.assign(this.figures, figures);
    this.changed();
  }

  /** @param {import("./types").Mine} mine */
  takeMine(mine) {
    this.mine = mine;
    this.changed();
  }

  /** @param {number} lease */
  isMine(lease) {
    return this.mine.leases.some((one) => one.id === lease);
  }

  /**
   * A lease as it is shown. The viewer's own is known also where the line is too long for it to be in the state.
   * @param {number} id
   * @returns {import("./types").Lease | undefined}
   */
  lease(id) {
    const known = this.leases.get(id);
    if (known) return known;
    const own = this.mine.leases.find((one) => one.id === id);
    return own && { ...own, holder: own.user, may_manage: this.viewer.is_admin };
  }

  /** Draw, once for all that changes together. */
  changed() {
    if (this.#pending) return;
    this.#pending = true;
    setTimeout(() => {
      this.#pending = false;
      this.draw();
    }, 20);
  }
}

/** @param {string} uuid @param {number} lease */
export const idleKey = (uuid, lease) => `${uuid} ${lease}`;
