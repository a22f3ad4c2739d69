import type { Colours } from '../colours';
import type { Context } from '../context';
import { make, setWords } from '../dom';
import type { Gpu } from '../records';
import { memoryPercent, shortName } from '../units';
import { cells, meters, troubles, type Figure } from './figures';
import { ProcessList } from './processlist';
import { Reading } from './reading';
import { Sparkline } from './sparkline';

/** One GPU or MIG slice. */
export class Card {
  constructor(
    private readonly _context: Context,
    private _gpu: Gpu
  ) {
    const { trans, settings } = _context;
    const chosen = (figure: Figure) => settings.shows(figure.name);
    const bars = meters(trans).filter(chosen);
    const rest = cells(trans).filter(chosen);
    this._readings = [...bars, ...rest].map(figure => new Reading(figure, trans));
    this._processes = new ProcessList(_context);
    this._message.setAttribute('role', 'status');
    this.node.setAttribute('aria-label', `${shortName(_gpu)} ${_gpu.name}`);
    this.node.append(this._head(), this._message, ...this._readings.slice(0, bars.length).map(one => one.node));
    if (settings.shows('history')) {
      this._sparkline = new Sparkline(trans.__('Utilisation and memory of the last ten minutes'));
      this.node.append(this._sparkline.node);
    }
    if (rest.length) {
      this.node.append(make('div', 'gb-Cells', ...this._readings.slice(bars.length).map(one => one.node)));
    }
    this.node.append(this._troubles, this._processes.node);
    this.show(_gpu);
    this.showProcesses();
  }

  readonly node = make('article', 'gb-Card');
  /** Those that are scrolled away are not kept up with. */
  isOnScreen = false;

  show(gpu: Gpu): void {
    this._gpu = gpu;
    this.node.classList.toggle('gb-mod-lost', gpu.state === 'lost');
    this.node.classList.toggle('gb-mod-stale', gpu.state === 'stale');
    setWords(this._message, gpu.message);
    this._message.hidden = !gpu.message;
    const found = troubles(gpu, this._context.trans);
    const words = found.map(trouble => trouble.words).join('|');
    if (words !== this._troublesSaid) {
      this._troublesSaid = words;
      this._troubles.replaceChildren(
        ...found.map(trouble => make('span', trouble.isBad ? 'gb-Tag gb-mod-bad' : 'gb-Tag', trouble.words))
      );
    }
    this._readings.forEach(reading => reading.show(gpu));
    this._markFull();
  }

  /** The values of a tick; the GPU's record is the one shown last, with new figures in it. */
  tick(colours: Colours): void {
    this._readings.forEach(reading => reading.show(this._gpu));
    this._markFull();
    const { history } = this._context.store;
    this._sparkline?.draw(history, this._gpu.id, this._gpu.memory_total_mib, colours);
  }

  showProcesses(): void {
    const { processes, others } = this._context.store.processes;
    this._processes.show(
      processes.filter(process => process.gpu === this._gpu.id),
      others.find(sum => sum.gpu === this._gpu.id)
    );
  }

  private _markFull(): void {
    const isFull = (memoryPercent(this._gpu) ?? 0) >= this._context.settings.memoryThreshold;
    this.node.classList.toggle('gb-mod-full', isFull);
  }

  private _head(): HTMLElement {
    const { trans } = this._context;
    const gpu = this._gpu;
    const name = make('h3', 'gb-Card-name', gpu.mig_profile ?? gpu.name);
    name.title = `${gpu.name}\n${gpu.id}`;
    const index = make('span', 'gb-Card-index', String(gpu.index));
    index.title = shortName(gpu);
    const head = make('header', 'gb-Card-head', index, name);
    if (gpu.is_shared) {
      const shared = make('span', 'gb-Tag', trans.__('shared'));
      shared.title = trans.__('Other users have a part of this GPU.');
      head.append(shared);
    }
    return head;
  }

  private readonly _readings: Reading[];
  private readonly _sparkline?: Sparkline;
  private readonly _processes: ProcessList;
  private readonly _message = make('p', 'gb-Message');
  private readonly _troubles = make('div', 'gb-Troubles');
  private _troublesSaid = '';
}
