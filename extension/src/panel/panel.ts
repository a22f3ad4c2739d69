import { lineChartIcon } from './icons';
import type { IDisposable } from '@lumino/disposable';

import '../../style/panel.css';

import { readColours, type Colours } from '../colours';
import { COMMANDS, type Context } from '../context';
import { make, setChildren, setWords } from '../dom';
import type { Gpu } from '../records';
import { WatchingWidget } from '../watching';
import { BoxHead } from './boxhead';
import { Card } from './card';
import { wordsForNothing } from './empty';

const BOX_SECONDS = 30;

/** The panel: the machine, then a card for each GPU. */
export class GpuPanel extends WatchingWidget {
  constructor(private readonly _context: Context) {
    super(_context.store);
    this.addClass('gb-Panel');
    const { store, settings, themes } = _context;
    this._box = new BoxHead(_context);
    this._status.setAttribute('role', 'status');
    this._emptyTitle.classList.add('gb-Empty-title');
    this.node.append(
      this._box.node,
      this._header(),
      this._status,
      make('div', 'gb-Empty', this._emptyTitle, this._emptyWords),
      this._cardList
    );
    this._sight = new IntersectionObserver(entries => this._onSight(entries));
    this._size = new ResizeObserver(() => this._draw());
    this._size.observe(this._cardList);

    store.gpusChanged.connect(this._showGpus, this);
    store.processesChanged.connect(this._showProcesses, this);
    store.connectionChanged.connect(this._showState, this);
    store.boxChanged.connect(this._showBox, this);
    store.savesChanged.connect(() => this._box.showSaves(), this);
    store.ticked.connect(this._draw, this);
    settings.changed.connect(this._rebuild, this);
    themes?.themeChanged.connect(this._onTheme, this);
  }

  override dispose(): void {
    this._sight.disconnect();
    this._size.disconnect();
    window.clearInterval(this._clock);
    super.dispose();
  }

  protected override onSeen(isSeen: boolean): void {
    this._isSeen = this._box.isSeen = isSeen;
    window.clearInterval(this._clock);
    this._needLinks();
    if (isSeen) {
      this._colours = readColours(this.node);
      this._clock = window.setInterval(() => void this.store.lookAtBox(), 1000 * BOX_SECONDS);
      void this.store.lookAtBox();
      this._showGpus();
      this._showProcesses();
    }
  }

  private _header(): HTMLElement {
    const { trans, commands } = this._context;
    const button = make('button', 'gb-IconButton', lineChartIcon.element({ tag: 'span', width: '16px', height: '16px' }));
    button.type = 'button';
    button.title = trans.__('Open the GPU dashboard');
    button.setAttribute('aria-label', button.title);
    button.addEventListener('click', () => void commands.execute(COMMANDS.openDashboard));
    return make('header', 'gb-Panel-head', make('h2', 'gb-Panel-title', trans.__('GPUs')), this._driver, button);
  }

  private _showGpus(): void {
    if (!this._isSeen) {
      return;
    }
    this._showState();
    const { gpus, drivers } = this.store;
    setWords(
      this._driver,
      drivers
        .filter(driver => driver.state === 'ok' && driver.version)
        .map(driver => `${driver.vendor === 'amd' ? 'AMD' : 'NVIDIA'} ${driver.version}` + (driver.cuda ? ` · CUDA ${driver.cuda}` : ''))
        .join(', ')
    );
    const cards = new Map<string, Card>();
    for (const gpu of gpus) {
      const card = this._cards.get(gpu.id) ?? this._newCard(gpu);
      card.show(gpu);
      cards.set(gpu.id, card);
    }
    for (const [id, card] of this._cards) {
      if (!cards.has(id)) {
        this._sight.unobserve(card.node);
      }
    }
    this._cards = cards;
    setChildren(this._cardList, this._arranged(gpus));
    this._draw();
  }

  /** Slices stand under one heading of their card. */
  private _arranged(gpus: Gpu[]): Node[] {
    const nodes: Node[] = [];
    const done = new Set<string>();
    for (const gpu of gpus) {
      if (gpu.parent === null) {
        nodes.push(this._cards.get(gpu.id)!.node);
      } else if (!done.has(gpu.parent)) {
        done.add(gpu.parent);
        const slices = gpus.filter(other => other.parent === gpu.parent);
        nodes.push(this._heading(gpu, slices.length), ...slices.map(slice => this._cards.get(slice.id)!.node));
      }
    }
    return nodes;
  }

  private _heading(gpu: Gpu, count: number): Node {
    const { trans } = this._context;
    const heading = this._headings.get(gpu.parent!) ?? make('h3', 'gb-Heading');
    this._headings.set(gpu.parent!, heading);
    const name = gpu.name.replace(/\s*MIG.*$/, '');
    setWords(heading, `${name} · ${trans._n('%1 slice', '%1 slices', count)}`);
    heading.title = gpu.parent!;
    return heading;
  }

  private _newCard(gpu: Gpu): Card {
    const card = new Card(this._context, gpu);
    this._sight.observe(card.node);
    return card;
  }

  private _showState(): void {
    const { store, trans } = this._context;
    const isDown = store.connection === 'down' && store.gpus.length > 0;
    this.toggleClass('gb-mod-down', isDown);
    const when = new Date(1000 * store.time).toLocaleTimeString();
    const sentences = [
      ...store.drivers.filter(driver => driver.state === 'trouble').map(driver => driver.message),
      isDown ? trans.__('No connection to the server; it is tried again. This is how it was at %1.', when) : '',
      isDown ? store.message : '',
      store.processes.message
    ].filter(Boolean);
    if (sentences.join('\n') !== this._said) {
      this._said = sentences.join('\n');
      this._status.replaceChildren(...sentences.map(sentence => make('p', 'gb-Message', sentence)));
    }
    const nothing = wordsForNothing(this._context);
    this.toggleClass('gb-mod-empty', nothing !== null);
    setWords(this._emptyTitle, nothing?.title ?? '');
    setWords(this._emptyWords, nothing?.sentence ?? '');
  }

  private _showProcesses(): void {
    if (this._isSeen) {
      this._cards.forEach(card => card.showProcesses());
      this._showState();
    }
  }

  private _showBox(): void {
    this._box.show();
    this._showState();
  }

  /** Other figures are asked for: new cards. */
  private _rebuild(): void {
    this._needLinks();
    this._sight.disconnect();
    this._cards.clear();
    this._showGpus();
  }

  private _needLinks(): void {
    const { settings } = this._context;
    const isNeeded = this._isSeen && (settings.shows('PCIe') || settings.shows('NVLink'));
    if (isNeeded && !this._links) {
      this._links = this.store.needLinks();
    } else if (!isNeeded) {
      this._links?.dispose();
      this._links = null;
    }
  }

  private _onTheme(): void {
    this._colours = readColours(this.node);
    this._draw();
  }

  private _onSight(entries: IntersectionObserverEntry[]): void {
    const seen = new Map(entries.map(entry => [entry.target, entry.isIntersecting]));
    this._cards.forEach(card => {
      card.isOnScreen = seen.get(card.node) ?? card.isOnScreen;
    });
    this._draw();
  }

  /** Once a frame at most, however many reasons there are. */
  private _draw(): void {
    if (this._isSeen && !this._frame) {
      this._frame = window.requestAnimationFrame(() => {
        this._frame = 0;
        this._cards.forEach(card => card.isOnScreen && this._colours && card.tick(this._colours));
      });
    }
  }

  private readonly _box: BoxHead;
  private readonly _driver = make('span', 'gb-Panel-driver');
  private readonly _status = make('div', 'gb-Panel-status');
  private readonly _emptyTitle = make('h3');
  private readonly _emptyWords = make('p');
  private readonly _cardList = make('div', 'gb-Cards');
  private readonly _headings = new Map<string, HTMLElement>();
  private readonly _sight: IntersectionObserver;
  private readonly _size: ResizeObserver;
  private _cards = new Map<string, Card>();
  private _colours: Colours | null = null;
  private _links: IDisposable | null = null;
  private _isSeen = false;
  private _said = '';
  private _frame = 0;
  private _clock = 0;
}
