// What the service's API answers (openapi.json), as the pages use it. Times are Unix seconds.

export interface Holder { lease: number; slots: number[] }

export interface GPU {
  uuid: string; index: number; model: string; memory_mib: number | null;
  mig_profile: string | null; parent: string | null;
  state: "ready" | "leased" | "draining" | "drained" | "lost";
  reason: string; slots: number; holders: Holder[];
}

export interface Lease {
  id: number; user: string; server: string; machine: string; title: string; groups: string[];
  gpus: string[]; share: number; price_per_hour: number | null; requested_at: number;
  granted_at: number | null; ends_at: number | null; ends_because: string | null;
  latest_end: number | null; rank: number; is_ready: boolean; holder: string; may_manage: boolean;
}

export interface Place {
  lease: number; position: number; waiting: number; expected_at: number | null; basis: string; blocked: string;
}

export interface Machine { name: string; title: string; problem: string; total: number; free: number }

export interface Figures {
  utilisation_percent?: number | null; memory_used_mib?: number | null;
  temperature_c?: number | null; power_watts?: number | null;
}

export interface Viewer { name: string; is_admin: boolean; groups_managed: string[] }

export interface View {
  viewer?: Viewer; currency: string; gpus: GPU[]; leases: Lease[]; line: Place[]; waiting: number; machines: Machine[];
  mine?: Mine; figures?: Record<string, Figures>; hub_answers?: boolean;
}

/** The viewer's own leases as the hub tells them: with no `holder`, for it is they. */
export interface Mine { leases: Omit<Lease, "holder" | "may_manage">[]; line: Place[] }

export interface Change {
  gpus?: GPU[]; leases?: Lease[]; machines?: Machine[]; line?: Place[]; waiting?: number;
  gone?: { gpus?: string[]; leases?: number[]; machines?: string[] };
}

export interface Span { lease: number; holder: string; machine: string; begin: number; end: number; is_mine: boolean }
export interface Use { begin: number; lease: number; measured_seconds: number; idle_seconds: number; utilisation: number | null }
export interface GPUDay { uuid: string; spans: Span[]; use: Use[] }
export interface Day { day: string; begin: number; end: number; step: number; gpus: GPUDay[] }

export interface UsageRow {
  name: string; leases: number; hours: number; gpu_hours: number; idle_gpu_hours: number;
  measured_share: number | null; cost: number; idle_cost: number;
}
export interface Usage {
  period: { name: string; begin: number; end: number }; by: string; currency: string; rows: UsageRow[]; total: UsageRow;
}
export interface Budget {
  rule: number; who: string; together: boolean; used: number; limit: number; unit: "GPU-hours" | "money"; share: number;
  period: { name: string; begin: number; end: number }; at_limit: "refuse" | "stop"; words: string;
}
export interface Notice { id: number; kind: string; sentence: string; told_at: number; due_at: number | null }

/** A public SSH key of the viewer's. */
export interface Key { id: number; name: string; kind: string; fingerprint: string; created_at: number; last_used_at: number | null }
/** The SSH gateway; `host` is empty where it is the page's own. */
export interface Gateway { host: string; port: number; fingerprint: string }

export interface Version {
  number: number; base: string; machine: string; size_bytes: number; saved_at: number;
  /** Paths that look like secrets; others than the owner see the version once it is `cleared`. */
  secrets: string[]; cleared: boolean;
  /** Empty for containers; `libvirt`: it is a virtual machine's disk. */
  engine: string;
}
export interface Share { kind: "user" | "group" | "everyone"; name: string }
export interface Template {
  reference: string; owner: string; name: string; note: string; created_at: number;
  mine: boolean; manageable: boolean; startable: number[]; versions: Version[]; shares: Share[];
}
/** A machine that is being saved as a template, or was in the last quarter of an hour. */
export interface Save {
  id: string; owner: string; server: string; name: string; state: "running" | "done" | "failed" | "cancelled"; words: string;
  size_bytes: number; version: number | null; began_at: number; ended_at: number | null; secrets: string[];
}
export interface Templates { templates: Template[]; used_bytes: number; limit_bytes: number | null }

/** Something that can be drawn again: an element, and what brings it up to date. */
export interface Part<T> { element: HTMLElement; update(item: T): void }

export interface MenuItem { words: string; danger?: boolean; run(button: HTMLElement): void }

declare global {
  interface Window { jhdata: { xsrf_token: string; prefix: string; base_url: string; user: string } }
}
