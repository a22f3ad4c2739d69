import { COMMANDS, type Context } from '../context';
import { make, safeUrl, setWords } from '../dom';
import type { Box } from '../records';
import { duration, precisely } from '../units';

/** What machine this is, what it cost so far and how long it lasts; nothing outside a gpubox server. */
export class BoxHead {
  constructor(private readonly _context: Context) {
    const { trans } = _context;
    this._home.target = '_blank';
    this._home.rel = 'noopener';
    this._home.textContent = trans.__('Stop or change');
    this._home.title = trans.__('Stop this machine or choose another one, on the hub’s page');
    this.node.setAttribute('aria-label', trans.__('This machine'));
    const desktop = this._command(COMMANDS.openDesktop, trans.__('Desktop'));
    const terminal = this._command(COMMANDS.openTerminal, trans.__('Terminal'));
    this._ssh = this._command(COMMANDS.showSsh, trans.__('SSH'));
    this._save = this._command(COMMANDS.saveTemplate, '');
    this.node.append(
      make('header', 'gb-Box-head', this._title, make('div', 'gb-Box-buttons', this._extend, this._home)),
      this._contents,
      make('div', 'gb-Box-buttons gb-Box-ways', desktop, terminal, this._ssh, this._save),
      this._facts,
      this._said
    );
    this._extend.setAttribute('aria-label', trans.__('Let this machine run longer'));
    this._extend.addEventListener('change', () => void this._ask(Number(this._extend.value)));
    this._said.setAttribute('role', 'status');
    this.node.hidden = true;
  }

  readonly node = make('section', 'gb-Box');

  show(): void {
    const { store } = this._context;
    const box = store.box;
    this.node.hidden = !box;
    if (box) {
      const home = safeUrl(box.hub_url);
      this._home.hidden = !home;
      this._home.href = home;
      this._ssh.hidden = !box.ssh;
      this._save.hidden = !box.has_service;
      this.showSaves();
      setWords(this._title, box.title || box.machine);
      setWords(this._contents, box.contents);
      this._contents.title = box.contents;
      this._offer();
      const facts = this._tell(box, store.now);
      this._facts.replaceChildren(
        ...facts.map(([label, words]) =>
          make('div', 'gb-Cell', make('dt', 'gb-Label', label), typeof words === 'string' ? make('dd', 'gb-Value', words) : words)
        )
      );
    }
    this._count();
  }

  /** The button tells of a save under way, and shows it. */
  showSaves(): void {
    const { store, trans } = this._context;
    const save = store.saves.find(one => one.state === 'running');
    setWords(this._save, save ? trans.__('Saving %1…', save.name) : trans.__('Save as template'));
    this._save.classList.toggle('gb-mod-busy', Boolean(save));
  }

  /** The panel can be seen, or no longer: nobody counts down for nobody. */
  set isSeen(isSeen: boolean) {
    this._isSeen = isSeen;
    this._count();
  }

  /** Minute by minute; in the last hour second by second. */
  private _count(): void {
    window.clearTimeout(this._clock);
    const { store, trans } = this._context;
    const ends = store.box?.ends;
    if (!ends) {
      return;
    }
    const left = ends - store.now;
    const isNear = left < HOUR;
    setWords(this._left, left <= 0 ? trans.__('none') : isNear ? precisely(left) : minutes(left));
    this.node.classList.toggle('gb-mod-ending', left < NEAR_SECONDS);
    if (this._isSeen && left > 0) {
      this._clock = window.setTimeout(() => this._count(), 1000 * (isNear ? 1 : Math.min(60, left - HOUR)));
    }
  }

  private _tell(box: Box, now: number): [string, string | HTMLElement][] {
    const { trans } = this._context;
    const facts: [string, string | HTMLElement][] = [[trans.__('Used'), minutes(now - box.started)]];
    if (box.price_per_hour || box.cost) {
      facts.push([trans.__('Cost so far'), money(box.cost, box.currency)]);
    }
    if (box.ends !== null) {
      facts.push([trans.__('Time left'), this._left], [trans.__('Stops at'), moment(box.ends)]);
    }
    return facts;
  }

  /** More time, as far as it may be put off; the choice is made anew each time. */
  private _offer(): void {
    const { store, trans } = this._context;
    const lease = store.lease;
    const most = lease?.ends_at ? (lease.latest_end ?? Infinity) - lease.ends_at : 0;
    const offered = EXTENSIONS.filter(hours => hours * HOUR <= most).map(hours =>
      option(hours * HOUR, trans._n('%1 hour more', '%1 hours more', hours))
    );
    if (most > 60 && most < Infinity && !EXTENSIONS.includes(most / HOUR)) {
      offered.push(option(Math.floor(most), trans.__('until %1, the latest', moment(lease?.latest_end ?? 0))));
    }
    this._extend.hidden = !offered.length;
    const key = offered.map(choice => choice.text + choice.value).join();
    if (key !== this._offered) {
      this._offered = key;
      this._extend.replaceChildren(option('', trans.__('Extend')), ...offered);
    }
  }

  private async _ask(seconds: number): Promise<void> {
    this._extend.value = '';
    if (!seconds) {
      return;
    }
    this._extend.disabled = true;
    try {
      await this._context.store.api.extend(seconds);
      setWords(this._said, '');
    } catch (error) {
      setWords(this._said, error instanceof Error ? error.message : String(error));
    } finally {
      this._extend.disabled = false;
    }
  }

  /** A button for a command, whose words say what opens. */
  private _command(name: string, words: string): HTMLButtonElement {
    const { commands } = this._context;
    const node = make('button', 'gb-Button', words);
    node.type = 'button';
    node.title = commands.caption(name);
    node.addEventListener('click', () => void commands.execute(name));
    return node;
  }

  private readonly _ssh: HTMLButtonElement;
  private readonly _save: HTMLButtonElement;
  private readonly _extend = make('select', 'gb-Button gb-Box-extend');
  private readonly _said = make('p', 'gb-Box-said');
  private _offered = '';
  private _isSeen = false;
  private _clock = 0;
  private readonly _left = make('dd', 'gb-Value gb-Box-left');
  private readonly _title = make('h2', 'gb-Box-title');
  private readonly _contents = make('p', 'gb-Box-contents');
  private readonly _facts = make('dl', 'gb-Cells');
  private readonly _home = make('a', 'gb-Button');
}

const HOUR = 3600;
const NEAR_SECONDS = 600;
/** In hours. */
const EXTENSIONS = [1, 6, 24];

function option(value: number | '', words: string): HTMLOptionElement {
  const node = make('option', '', words);
  node.value = String(value);
  return node;
}

/** Whole minutes: seconds that run would only draw the eye. */
function minutes(seconds: number): string {
  return seconds < 60 ? '< 1\u00a0min' : duration(Math.max(90, 60 * Math.floor(seconds / 60)));
}

/** As the hub's form writes prices: "$5.28", "EUR 5.28". */
function money(amount: number, currency: string): string {
  return currency + (/\p{L}$/u.test(currency) ? '\u00a0' : '') + amount.toFixed(2);
}

/** Such as "18:40" today, "Tue 18:40" later. */
function moment(at: number): string {
  const date = new Date(1000 * at);
  const isToday = date.toDateString() === new Date().toDateString();
  const isThisWeek = Math.abs(date.getTime() - Date.now()) < 6 * 24 * HOUR * 1000;
  const day: Intl.DateTimeFormatOptions = isThisWeek ? { weekday: 'short' } : { month: 'short', day: 'numeric' };
  return date.toLocaleString([], { ...(isToday ? {} : day), hour: '2-digit', minute: '2-digit' });
}
