import 'uplot/dist/uPlot.min.css';

import '../../style/panel.css';
import '../../style/dashboard.css';

import { readColours, type Colours } from '../colours';
import type { Context } from '../context';
import { make, setWords } from '../dom';
import { wordsForNothing } from '../panel/empty';
import type { Gpu, Rows } from '../records';
import { shortName } from '../units';
import { WatchingWidget } from '../watching';
import { Chart, type ChartData, type Span } from './chart';
import { curves, type Curve } from './curves';
import { makeToolbar, timeRanges, type TimeRange } from './toolbar';

const COARSE_MS = 60_000;

interface Entry {
  chart: Chart;
  gpu: string;
  curve: Curve;
}

/** Charts of every GPU, in a tab of their own. */
export class Dashboard extends WatchingWidget {
  constructor(private readonly _context: Context) {
    super(_context.store);
    const { store, trans, themes } = _context;
    this.addClass('gb-Dashboard');
    const ranges = timeRanges(trans);
    this._range = ranges[0]!;
    this._curves = curves(trans);
    const toolbar = makeToolbar(
      trans,
      ranges,
      this._curves,
      this._chosen,
      range => void this._setRange(range),
      () => this._rebuild()
    );
    this._empty.setAttribute('role', 'status');
    this.node.append(toolbar, this._empty, this._body);
    this._sight = new IntersectionObserver(entries => this._onSight(entries));
    this._size = new ResizeObserver(() => this._entries.forEach(({ chart }) => chart.resize()));
    this._size.observe(this._body);

    store.gpusChanged.connect(this._onGpus, this);
    store.connectionChanged.connect(this._showState, this);
    store.ticked.connect(this._onTick, this);
    themes?.themeChanged.connect(this._onTheme, this);
  }

  override dispose(): void {
    this._sight.disconnect();
    this._size.disconnect();
    window.clearInterval(this._clock);
    this._entries.forEach(({ chart }) => chart.clear());
    super.dispose();
  }

  protected override onSeen(isSeen: boolean): void {
    this._isSeen = isSeen;
    window.clearInterval(this._clock);
    if (isSeen) {
      this._colours = readColours(this.node);
      this._clock = window.setInterval(() => void this._loadCoarse(), COARSE_MS);
      this._onGpus();
      void this._loadCoarse();
    }
  }

  private async _setRange(range: TimeRange): Promise<void> {
    this._range = range;
    this._coarse = null;
    this._draw();
    await this._loadCoarse();
  }

  private async _loadCoarse(): Promise<void> {
    if (this._range.source === 'coarse') {
      try {
        this._coarse = await this.store.api.history('coarse');
      } catch {
        // The old curve stays; it is asked for again in a minute.
      }
      this._draw();
    }
  }

  private _onGpus(): void {
    if (!this._isSeen) {
      return;
    }
    this._showState();
    const key = this.store.gpus.map(gpu => `${gpu.id} ${gpu.memory_total_mib}`).join();
    if (key !== this._built) {
      this._built = key;
      this._rebuild();
    }
  }

  private _showState(): void {
    const nothing = wordsForNothing(this._context);
    const sentences = [nothing?.title, nothing?.sentence, ...this.store.drivers.map(driver => driver.message)];
    if (this.store.connection === 'down' && !nothing) {
      sentences.push(this._context.trans.__('No connection to the server; it is tried again.'));
    }
    setWords(this._empty, sentences.filter(Boolean).join(' '));
    this._empty.hidden = !this._empty.textContent;
    this.toggleClass('gb-mod-down', this.store.connection === 'down');
  }

  private _rebuild(): void {
    this._sight.disconnect();
    this._entries.forEach(({ chart }) => chart.clear());
    const chosen = this._curves.filter(curve => this._chosen.has(curve.column));
    this._entries = [];
    this._body.replaceChildren(...this.store.gpus.map(gpu => this._section(gpu, chosen)));
  }

  private _section(gpu: Gpu, chosen: Curve[]): HTMLElement {
    const { trans } = this._context;
    const grid = make('div', 'gb-Charts');
    for (const curve of chosen) {
      const label = trans.__('%1 of %2 over time', curve.label, shortName(gpu));
      const chart = new Chart(gpu, curve, label);
      this._entries.push({ chart, gpu: gpu.id, curve });
      grid.append(chart.node);
      this._sight.observe(chart.node);
    }
    const name = make('h2', 'gb-Dashboard-gpu', make('span', 'gb-Card-index', String(gpu.index)), gpu.name);
    if (gpu.mig_profile) {
      name.append(make('span', 'gb-Tag', gpu.mig_profile));
    }
    return make('section', 'gb-Dashboard-section', name, grid);
  }

  private _onTick(): void {
    if (this._range.source === 'fine') {
      this._draw();
    }
  }

  private _onTheme(): void {
    this._colours = readColours(this.node);
    this._entries.forEach(({ chart }) => chart.clear());
    this._draw();
  }

  private _onSight(entries: IntersectionObserverEntry[]): void {
    const seen = new Map(entries.map(entry => [entry.target, entry.isIntersecting]));
    for (const { chart } of this._entries) {
      chart.isOnScreen = seen.get(chart.node) ?? chart.isOnScreen;
    }
    this._draw();
  }

  private _draw(): void {
    if (!this._isSeen || this._frame) {
      return;
    }
    this._frame = window.requestAnimationFrame(() => {
      this._frame = 0;
      const end = this.store.time || Date.now() / 1000;
      const span: Span = { start: end - this._range.seconds, end };
      for (const { chart, gpu, curve } of this._entries) {
        if (chart.isOnScreen && this._colours) {
          chart.show(this._data(gpu, curve.column), span, this._colours);
        }
      }
    });
  }

  private _data(gpu: string, column: string): ChartData {
    if (this._range.source === 'coarse') {
      return {
        times: this._coarse?.times ?? [],
        values: this._coarse?.gpus[gpu]?.[column] ?? [],
        peaks: this._coarse?.peaks[gpu]?.[column] ?? null
      };
    }
    const { history } = this.store;
    return { times: history.times, values: history.series(gpu, column), peaks: null };
  }

  private readonly _curves: Curve[];
  private readonly _chosen = new Set(['utilisation_percent', 'memory_used_mib']);
  private readonly _body = make('div', 'gb-Dashboard-body');
  private readonly _empty = make('p', 'gb-Empty');
  private readonly _sight: IntersectionObserver;
  private readonly _size: ResizeObserver;
  private _range: TimeRange;
  private _coarse: Rows | null = null;
  private _entries: Entry[] = [];
  private _colours: Colours | null = null;
  private _built = '';
  private _isSeen = false;
  private _frame = 0;
  private _clock = 0;
}
