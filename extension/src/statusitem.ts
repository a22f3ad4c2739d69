import { Signal } from '@lumino/signaling';

import { COMMANDS, type Context } from './context';
import { gpuIcon } from './icon';
import type { Gpu } from './records';
import { NOT_AVAILABLE, gigabytes, memory, memoryOf, memoryPercent, shortName } from './units';
import { WatchingWidget } from './watching';

/** Utilisation and memory of all the server's GPUs, in the status bar; a countdown in its last minutes. */
export class StatusItem extends WatchingWidget {
  constructor(private readonly _context: Context) {
    super(_context.store);
    const { store, settings, commands, trans } = _context;
    this.addClass('gb-Status');
    this._button.type = 'button';
    this._button.append(gpuIcon.element({ tag: 'span', width: '14px', height: '14px' }), this._words);
    this._button.addEventListener('click', () => void commands.execute(COMMANDS.openPanel));
    // Made when somebody points at it, not with every tick.
    this._button.addEventListener('mouseenter', () => {
      this._button.title = [...store.gpus.map(gpu => this._line(gpu)), trans.__('Open the GPU panel')].join('\n');
    });
    this.node.append(this._button);

    store.gpusChanged.connect(this._decide, this);
    store.countdownChanged.connect(this._decide, this);
    store.connectionChanged.connect(this._update, this);
    store.ticked.connect(this._update, this);
    settings.changed.connect(this._decide, this);
  }

  readonly activeStateChanged = new Signal<this, void>(this);

  get isActive(): boolean {
    return this._isActive;
  }

  private _decide(): void {
    const { store, settings } = this._context;
    const isActive = settings.statusBar && (store.hasGpus || store.countdown !== '');
    if (isActive !== this._isActive) {
      this._isActive = isActive;
      this.activeStateChanged.emit();
    }
    this._update();
  }

  private _update(): void {
    const { store, settings } = this._context;
    const words = store.countdown || this._summary(store.gpus);
    if (words !== this._said) {
      this._said = words;
      this._words.textContent = words;
      this._button.setAttribute('aria-label', `${words}. ${this._context.trans.__('Open the GPU panel')}`);
    }
    this.toggleClass('gb-mod-ending', store.countdown !== '');
    this.toggleClass('gb-mod-full', store.gpus.some(gpu => (memoryPercent(gpu) ?? 0) >= settings.memoryThreshold));
    this.toggleClass('gb-mod-old', store.connection === 'down');
  }

  private _summary(gpus: Gpu[]): string {
    const { trans } = this._context;
    const busy = numbers(gpus.map(gpu => gpu.figures['utilisation_percent']));
    const known = gpus.filter(gpu => memoryPercent(gpu) !== null);
    const used = sum(numbers(known.map(gpu => gpu.figures['memory_used_mib'])));
    const total = sum(numbers(known.map(gpu => gpu.memory_total_mib)));
    return [
      gpus.length > 1 ? trans._n('%1 GPU', '%1 GPUs', gpus.length) : trans.__('GPU'),
      busy.length ? `${Math.round(sum(busy) / busy.length)}\u00a0%` : NOT_AVAILABLE,
      known.length ? memoryOf(used, total) : NOT_AVAILABLE
    ].join('\u2002');
  }

  private _line(gpu: Gpu): string {
    const { utilisation_percent: busy, memory_used_mib: used } = gpu.figures;
    const total = gpu.memory_total_mib;
    return [
      `${shortName(gpu)}:`,
      typeof busy === 'number' ? `${busy} %,` : `${NOT_AVAILABLE},`,
      typeof used === 'number' && total ? `${gigabytes(used)} / ${memory(total)}` : NOT_AVAILABLE
    ].join(' ');
  }

  private readonly _button = document.createElement('button');
  private readonly _words = document.createElement('span');
  private _said = '';
  private _isActive = false;
}

function numbers(values: unknown[]): number[] {
  return values.filter(value => typeof value === 'number');
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
