import uPlot from 'uplot';

import type { Colours } from '../colours';
import { make, setWords } from '../dom';
import type { Gpu } from '../records';
import { NOT_AVAILABLE } from '../units';
import type { Curve } from './curves';

export type Values = (number | null)[];

export interface ChartData {
  times: number[];
  values: Values;
  /** The highest value behind each mean; null where each value was one reading. */
  peaks: Values | null;
}

/** The time that all charts show, Unix seconds. */
export interface Span {
  start: number;
  end: number;
}

const HEIGHT = 150;
const SYNC = 'gpubox';
const MINUTE = 60;
const HOUR = 3600;
const TIME_STEPS = [
  ...[1, 2, 5, 10, 15, 30].map(minutes => minutes * MINUTE),
  ...[1, 2, 3, 4, 6, 12].map(hours => hours * HOUR)
];
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const CLOCK_SECONDS = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium', hourCycle: 'h23' });

/** One curve of one GPU over time; the cursors of all charts move together. */
export class Chart {
  constructor(
    private readonly _gpu: Gpu,
    private readonly _curve: Curve,
    label: string
  ) {
    this._plotNode.setAttribute('role', 'img');
    this._plotNode.setAttribute('aria-label', label);
    this.node.append(
      make('header', 'gb-Chart-head', make('span', 'gb-Label', _curve.label), this._when, this._words),
      this._plotNode
    );
  }

  readonly node = make('div', 'gb-Chart');
  isOnScreen = false;

  show(data: ChartData, span: Span, colours: Colours): void {
    this._span = span;
    this._data = data;
    const columns: [number[], Values, Values] = [data.times, data.values, data.peaks ?? []];
    if (this._plot) {
      this._plot.setData(columns);
    } else if (this._plotNode.clientWidth) {
      this._plot = new uPlot(this._options(colours), columns, this._plotNode);
    }
    this._tell();
  }

  resize(): void {
    const width = this._plotNode.clientWidth;
    if (this._plot && width && width !== this._plot.width) {
      this._plot.setSize({ width, height: HEIGHT });
    }
  }

  /** Drawn anew with the next data, in other colours. */
  clear(): void {
    this._plot?.destroy();
    this._plot = null;
  }

  /** The value under the cursor, or the last one. */
  private _tell(): void {
    const { times, values, peaks } = this._data;
    const index = this._plot?.cursor.idx ?? null;
    const value = index === null ? values[values.length - 1] : values[index];
    const peak = index === null ? null : peaks?.[index];
    const { words, unit } = this._curve;
    const said = typeof value === 'number' ? `${words(value)}\u00a0${unit}` : NOT_AVAILABLE;
    setWords(this._words, typeof peak === 'number' ? `${said} (\u2264\u00a0${words(peak)})` : said);
    const time = index === null ? undefined : times[index];
    setWords(this._when, time === undefined ? '' : CLOCK_SECONDS.format(1000 * time));
  }

  private _options(colours: Colours): uPlot.Options {
    const stroke = colours[this._curve.colour];
    const axis: uPlot.Axis = {
      stroke: colours.text,
      font: '11px system-ui, sans-serif',
      grid: { stroke: colours.grid, width: 1 },
      ticks: { show: false }
    };
    return {
      width: this._plotNode.clientWidth,
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC }, drag: { x: false, y: false }, points: { size: 6 }, y: false },
      scales: {
        x: { range: () => [this._span.start, this._span.end] },
        y: { range: (_plot, _low, high) => [0, this._curve.top(this._gpu) ?? Math.max(1, 1.1 * (high ?? 0))] }
      },
      axes: [
        { ...axis, size: 28, gap: 6, incrs: TIME_STEPS, values: (_plot, splits) => splits.map(time => CLOCK.format(1000 * time)) },
        {
          ...axis,
          size: 44,
          gap: 4,
          space: 28,
          ...(this._curve.steps ? { incrs: this._curve.steps } : {}),
          values: (_plot, splits) => splits.map(value => `${Math.round(value / (this._curve.steps ? 1024 : 1))}`)
        }
      ],
      series: [
        {},
        { stroke, width: 1.5, fill: faint(stroke), points: { show: false } },
        { stroke, width: 0.75, alpha: 0.6, points: { show: false } }
      ],
      hooks: { setCursor: [() => this._tell()] }
    };
  }

  private readonly _words = make('span', 'gb-Value');
  private readonly _when = make('span', 'gb-Chart-when');
  private readonly _plotNode = make('div', 'gb-Chart-plot');
  private _plot: uPlot | null = null;
  private _span: Span = { start: 0, end: 1 };
  private _data: ChartData = { times: [], values: [], peaks: null };
}

function faint(colour: string): string {
  return `color-mix(in srgb, ${colour} 16%, transparent)`;
}
