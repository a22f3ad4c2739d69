/** What the server tells, as docs/panel-api.md has it. Fields that we do not know are ignored. */

/** null: the GPU or its driver has no such figure. */
export type Value = number | string[] | null;

/** Values by figure. A figure that has not been read yet is absent. */
export type Figures = Record<string, Value | undefined>;

export interface Driver {
  vendor: string;
  state: 'ok' | 'none' | 'trouble' | 'asleep';
  version: string | null;
  cuda: string | null;
  message: string;
}

export interface Gpu {
  id: string;
  index: number;
  name: string;
  parent: string | null;
  mig_profile: string | null;
  memory_total_mib: number | null;
  is_shared?: boolean;
  state: 'ok' | 'stale' | 'lost';
  message: string;
  figures: Figures;
  /** The figures that could not be read anew, with their age in seconds. */
  stale: Record<string, number>;
}

export interface Gpus {
  time: number;
  drivers: Driver[];
  columns: string[];
  intervals: { core_seconds: number };
  gpus: Gpu[];
}

export interface Tick {
  time: number;
  /** A row a GPU in the order of the last `Gpus`, a value a column. */
  values: (number | null)[][];
  stale?: Record<string, Record<string, number>>;
  /** The link counters, an entry a GPU, while somebody asks for them. */
  links?: Figures[];
}

export interface Owner {
  kind: 'kernel' | 'terminal' | 'server' | 'unknown';
  id: string;
  name: string;
  path: string;
}

export interface Process {
  gpu: string;
  pid: number;
  name: string;
  memory_mib: number | null;
  is_estimated: boolean;
  owner: Owner;
}

export interface Others {
  gpu: string;
  count: number;
  memory_mib: number | null;
}

export interface Processes {
  processes: Process[];
  others: Others[];
  message: string;
}

export type Frame =
  | ({ type: 'gpus' } & Gpus)
  | ({ type: 'tick' } & Tick)
  | ({ type: 'processes' } & Processes)
  | ({ type: 'lease' } & Lease)
  | ({ type: 'notice' } & Notice)
  | { type: 'saves'; saves: Save[] }
  | { type: 'closed'; id: number }
  /** The notices that are open when a page begins to listen: any other was closed meanwhile. */
  | { type: 'open'; notices: number[] };

/** What the hub says of this machine: until when it runs, and how far that may be put off (null: no bound). */
export interface Lease {
  id: number;
  ends_at: number | null;
  latest_end: number | null;
}

/** What the hub tells its user; `due_at` is when what it warns of happens. */
export interface Notice {
  id: number;
  kind: string;
  sentence: string;
  due_at: number | null;
}

/** This machine as it is saved as a template, and how that ended. */
export interface Save {
  id: string;
  name: string;
  state: 'running' | 'done' | 'failed' | 'cancelled';
  /** What it does, or how it ended. */
  words: string;
  size_bytes: number;
  version: number | null;
  began_at: number;
  ended_at: number | null;
  /** Paths in it that look like secrets. */
  secrets: string[];
}

/** The user's own templates, each with its newest version, and how much room they have. */
export interface Templates {
  templates: { name: string; note: string; version: number }[];
  used_bytes: number;
  limit_bytes: number | null;
}

/** Values by GPU and column, a value a time. */
export type Series = Record<string, Record<string, (number | null)[] | undefined> | undefined>;

export interface Rows {
  times: number[];
  columns: string[];
  gpus: Series;
  peaks: Series;
}

export interface Box {
  machine: string;
  title: string;
  contents: string;
  started: number;
  price_per_hour: number;
  currency: string;
  cost: number;
  ends: number | null;
  hub_url: string;
  /** How to reach it by SSH; an empty host is the page's own, null: the hub has no gateway. */
  ssh?: { user: string; host: string; port: number } | null;
  /** The server's clock. */
  now?: number;
  /** Whether its hub tells notices, and can be asked for more time. */
  has_service?: boolean;
}
