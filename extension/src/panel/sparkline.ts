import type { Colours } from '../colours';
import { make } from '../dom';
import { HISTORY_SECONDS, type History } from '../history';

const HEIGHT = 40;

/** From the left to the right; null where nothing is known of that time. */
type Heights = (number | null)[];

/** Utilisation and memory of the last ten minutes, on one small canvas. */
export class Sparkline {
  constructor(label: string) {
    this._canvas.setAttribute('role', 'img');
    this._canvas.setAttribute('aria-label', label);
    this.node.title = label;
    this.node.append(this._canvas);
    // To ask for the width between two changes of words would have the page laid out for each card.
    new ResizeObserver(entries => {
      this._width = entries[0]?.contentRect.width ?? 0;
    }).observe(this.node);
  }

  readonly node = make('div', 'gb-Sparkline');

  draw(history: History, gpu: string, memoryTotal: number | null, colours: Colours): void {
    const width = this._width;
    const paper = width ? this._paper(width) : null;
    if (!paper) {
      return;
    }
    paper.clearRect(0, 0, width, HEIGHT);
    grid(paper, width, colours);
    const busy = byPixel(history, history.series(gpu, 'utilisation_percent'), 100, width);
    fill(paper, busy, width, colours.utilisation);
    stroke(paper, busy, width, colours.utilisation);
    if (memoryTotal) {
      const used = byPixel(history, history.series(gpu, 'memory_used_mib'), memoryTotal, width);
      stroke(paper, used, width, colours.memory);
    }
  }

  private _paper(width: number): CanvasRenderingContext2D | null {
    const scale = window.devicePixelRatio || 1;
    const paper = this._canvas.getContext('2d');
    if (this._canvas.width !== Math.round(width * scale)) {
      this._canvas.width = Math.round(width * scale);
      this._canvas.height = Math.round(HEIGHT * scale);
      paper?.scale(scale, scale);
    }
    return paper;
  }

  private readonly _canvas = make('canvas');
  private _width = 0;
}

/** The mean of each pixel column. */
function byPixel(history: History, values: (number | null)[], full: number, width: number): Heights {
  const { times, end, interval } = history;
  // A pixel as wide as two rows or more has one for certain, so that an empty one is a gap.
  const count = Math.max(1, Math.floor(Math.min(width, HISTORY_SECONDS / (2 * interval))));
  const sums = new Float64Array(count);
  const rows = new Uint16Array(count);
  times.forEach((time, index) => {
    const value = values[index];
    const pixel = Math.floor((count - 1) * (1 - (end - time) / HISTORY_SECONDS));
    if (typeof value === 'number' && pixel >= 0) {
      sums[pixel]! += value;
      rows[pixel]! += 1;
    }
  });
  return Array.from(sums, (sum, pixel) => {
    const share = sum / (rows[pixel]! * full);
    return rows[pixel] ? 1 + (HEIGHT - 2) * (1 - Math.min(1, Math.max(0, share))) : null;
  });
}

function stroke(paper: CanvasRenderingContext2D, heights: Heights, width: number, colour: string): void {
  const step = width / Math.max(1, heights.length - 1);
  paper.strokeStyle = colour;
  paper.lineWidth = 1.25;
  paper.lineJoin = 'round';
  paper.beginPath();
  heights.forEach((y, pixel) => {
    if (y !== null) {
      const isStart = heights[pixel - 1] === null || pixel === 0;
      isStart ? paper.moveTo(pixel * step, y) : paper.lineTo(pixel * step, y);
    }
  });
  paper.stroke();
}

function fill(paper: CanvasRenderingContext2D, heights: Heights, width: number, colour: string): void {
  const step = width / Math.max(1, heights.length - 1);
  paper.fillStyle = colour;
  paper.globalAlpha = 0.14;
  paper.beginPath();
  heights.forEach((y, pixel) => {
    if (y === null) {
      return;
    }
    if (pixel === 0 || heights[pixel - 1] === null) {
      paper.moveTo(pixel * step, HEIGHT);
    }
    paper.lineTo(pixel * step, y);
    if (pixel === heights.length - 1 || heights[pixel + 1] === null) {
      paper.lineTo(pixel * step, HEIGHT);
    }
  });
  paper.fill();
  paper.globalAlpha = 1;
}

function grid(paper: CanvasRenderingContext2D, width: number, colours: Colours): void {
  paper.strokeStyle = colours.grid;
  paper.lineWidth = 1;
  paper.beginPath();
  for (const y of [0.5, HEIGHT / 2 + 0.5, HEIGHT - 0.5]) {
    paper.moveTo(0, y);
    paper.lineTo(width, y);
  }
  paper.stroke();
}
