import type { Colours } from '../colours';
import { make, setAttribute } from '../dom';
import { HISTORY_SECONDS, type History } from '../history';

const HEIGHT = 40;

/** Utilisation and memory of the last ten minutes, on one small canvas. */
export class Sparkline {
  constructor(label: string) {
    this.node.append(this._canvas);
    setAttribute(this._canvas, 'role', 'img');
    setAttribute(this._canvas, 'aria-label', label);
    this.node.title = label;
  }

  readonly node = make('div', 'gb-Sparkline');

  draw(history: History, gpu: string, memoryTotal: number | null, colours: Colours): void {
    const width = this.node.clientWidth;
    const scale = window.devicePixelRatio || 1;
    if (this._canvas.width !== Math.round(width * scale)) {
      this._canvas.width = Math.round(width * scale);
      this._canvas.height = Math.round(HEIGHT * scale);
    }
    const paper = this._canvas.getContext('2d');
    if (!paper || !width) {
      return;
    }
    paper.setTransform(scale, 0, 0, scale, 0, 0);
    paper.clearRect(0, 0, width, HEIGHT);
    this._grid(paper, width, colours);

    const { times, end } = history;
    const x = (time: number) => width * (1 - (end - time) / HISTORY_SECONDS);
    const busy = history.series(gpu, 'utilisation_percent');
    paper.strokeStyle = paper.fillStyle = colours.utilisation;
    this._curve(paper, times, busy, x, 100);
    this._fill(paper, times, busy, x, 100);
    if (memoryTotal) {
      paper.strokeStyle = colours.memory;
      this._curve(paper, times, history.series(gpu, 'memory_used_mib'), x, memoryTotal);
    }
  }

  private _grid(paper: CanvasRenderingContext2D, width: number, colours: Colours): void {
    paper.strokeStyle = colours.grid;
    paper.lineWidth = 1;
    paper.globalAlpha = 0.6;
    paper.beginPath();
    for (const y of [0.5, HEIGHT / 2, HEIGHT - 0.5]) {
      paper.moveTo(0, Math.round(y) === y ? y + 0.5 : y);
      paper.lineTo(width, Math.round(y) === y ? y + 0.5 : y);
    }
    paper.stroke();
    paper.globalAlpha = 1;
  }

  private _curve(
    paper: CanvasRenderingContext2D,
    times: number[],
    values: (number | null)[],
    x: (time: number) => number,
    full: number
  ): void {
    paper.lineWidth = 1.25;
    paper.lineJoin = 'round';
    paper.beginPath();
    let isDown = false;
    for (let index = 0; index < times.length; index += 1) {
      const value = values[index];
      if (typeof value !== 'number') {
        isDown = false;
      } else if (isDown) {
        paper.lineTo(x(times[index] ?? 0), height(value, full));
      } else {
        paper.moveTo(x(times[index] ?? 0), height(value, full));
        isDown = true;
      }
    }
    paper.stroke();
  }

  private _fill(
    paper: CanvasRenderingContext2D,
    times: number[],
    values: (number | null)[],
    x: (time: number) => number,
    full: number
  ): void {
    paper.globalAlpha = 0.14;
    paper.beginPath();
    let last: number | null = null;
    for (let index = 0; index <= times.length; index += 1) {
      const value = values[index];
      const time = times[index];
      if (typeof value === 'number' && time !== undefined) {
        if (last === null) {
          paper.moveTo(x(time), HEIGHT);
        }
        paper.lineTo(x(time), height(value, full));
        last = time;
      } else if (last !== null) {
        paper.lineTo(x(last), HEIGHT);
        last = null;
      }
    }
    paper.fill();
    paper.globalAlpha = 1;
  }

  private readonly _canvas = make('canvas');
}

function height(value: number, full: number): number {
  return 1 + (HEIGHT - 2) * (1 - Math.min(1, Math.max(0, value / full)));
}
