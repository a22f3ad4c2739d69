/** The last minutes of each GPU: one list of times, and one of values for each GPU and column. */

import type { Rows } from './records';

export const HISTORY_SECONDS = 600;

/** Longer than this many intervals between two rows, and it is drawn as a gap. */
const GAP_INTERVALS = 3;
const CLOCK_SET_BACK_SECONDS = 30;

type Row = (number | null)[];

export class History {
  readonly times: number[] = [];
  interval = 1;

  get end(): number {
    return this.times[this.times.length - 1] ?? 0;
  }

  /** The values of a GPU's column, one for each of `times`; empty where there is none. */
  series(gpu: string, column: string): Row {
    return this._series.get(gpu)?.get(column) ?? [];
  }

  /** Add a row for each GPU; false where rows are missing between the last one and this. */
  append(time: number, columns: string[], gpus: string[], rows: Row[]): boolean {
    if (time <= this.end) {
      if (time > this.end - CLOCK_SET_BACK_SECONDS) {
        return true;
      }
      this.times.length = 0;
      this._series.clear();
    }
    const isNext = !this.times.length || time - this.end < GAP_INTERVALS * this.interval;
    if (!isNext) {
      this._add(this.end + this.interval, () => null);
    }
    const row = new Map(gpus.map((gpu, index) => [gpu, rows[index]]));
    const place = new Map(columns.map((column, index) => [column, index]));
    this._know(gpus, columns);
    this._add(time, (gpu, column) => row.get(gpu)?.[place.get(column) ?? -1] ?? null);
    this._forget(time - HISTORY_SECONDS);
    return isNext;
  }

  /** Take what the server remembers; what came since it was asked stays behind it. */
  load(rows: Rows): void {
    const since = this.times.findIndex(time => time > (rows.times[rows.times.length - 1] ?? 0));
    const later = since < 0 ? [] : this.times.splice(since);
    const values = this._series;
    this._series = new Map();
    this.times.length = 0;

    this._know(Object.keys(rows.gpus), rows.columns);
    rows.times.forEach((time, index) => {
      if (this.times.length && time - this.end >= GAP_INTERVALS * this.interval) {
        this._add(this.end + this.interval, () => null);
      }
      this._add(time, (gpu, column) => rows.gpus[gpu]?.[column]?.[index] ?? null);
    });
    for (const [gpu, columns] of values) {
      this._know([gpu], [...columns.keys()]);
    }
    later.forEach((time, index) =>
      this._add(time, (gpu, column) => values.get(gpu)?.get(column)?.[since + index] ?? null)
    );
    this._forget(this.end - HISTORY_SECONDS);
  }

  private _know(gpus: string[], columns: string[]): void {
    for (const gpu of gpus) {
      const known = this._series.get(gpu) ?? new Map<string, Row>();
      this._series.set(gpu, known);
      for (const column of columns) {
        if (!known.has(column)) {
          known.set(column, new Array<null>(this.times.length).fill(null));
        }
      }
    }
  }

  private _add(time: number, value: (gpu: string, column: string) => number | null): void {
    this.times.push(time);
    for (const [gpu, columns] of this._series) {
      for (const [column, values] of columns) {
        values.push(value(gpu, column));
      }
    }
  }

  private _forget(before: number): void {
    let count = 0;
    while ((this.times[count] ?? before) < before) {
      count += 1;
    }
    if (count) {
      this.times.splice(0, count);
      for (const columns of this._series.values()) {
        for (const values of columns.values()) {
          values.splice(0, count);
        }
      }
    }
  }

  private _series = new Map<string, Map<string, Row>>();
}
