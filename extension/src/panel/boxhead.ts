import type { Context } from '../context';
import { make, setWords } from '../dom';
import type { Box } from '../records';
import { duration } from '../units';

/** What machine this is, what it cost so far and how long it lasts; nothing outside a gpubox server. */
export class BoxHead {
  constructor(private readonly _context: Context) {
    const { trans } = _context;
    this._home.target = '_blank';
    this._home.rel = 'noopener';
    this._home.textContent = trans.__('Stop or change');
    this._home.title = trans.__('Stop this machine or choose another one, on the hub’s page');
    this.node.setAttribute('aria-label', trans.__('This machine'));
    this.node.append(
      make('header', 'gb-Box-head', this._title, make('div', 'gb-Box-buttons', this._extend, this._home)),
      this._contents,
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
      setWords(this._title, box.title || box.machine);
      setWords(this._contents, box.contents);
      this._contents.title = box.contents;
      this._offer();
      const facts = this._tell(box, Date.now() / 1000);
      this._facts.replaceChildren(
        ...facts.map(([label, words]) =>
          make('div', 'gb-Cell', make('dt', 'gb-Label', label), make('dd', 'gb-Value', words))
        )
      );
    }
  }

  private _tell(box: Box, now: number): [string, string][] {
    const { trans } = this._context;
    const facts: [string, string][] = [[trans.__('Used'), minutes(now - box.started)]];
    if (box.price_per_hour || box.cost) {
      facts.push([trans.__('Cost so far'), money(box.cost, box.currency)]);
    }
    if (box.ends !== null) {
      facts.push([trans.__('Time left'), minutes(box.ends - now)]);
    }
    return facts;
  }

  /** More time, as far as it may be put off; the choice is made anew each time. */
  private _offer(): void {
    const { store, trans } = this._context;
    const lease = store.lease;
    const most = lease?.ends_at ? (lease.latest_end ?? Infinity) - lease.ends_at : 0;
    const offered = EXTENSIONS.filter(seconds => seconds <= most);
    // A remainder shorter than the shortest is all that can be had.
    if (!offered.length && most > 60) {
      offered.push(most);
    }
    this._extend.hidden = !offered.length;
    const key = offered.join();
    if (key !== this._offered) {
      this._offered = key;
      this._extend.replaceChildren(
        option('', trans.__('Extend')),
        ...offered.map(seconds => option(String(seconds), trans.__('%1 more', duration(seconds))))
      );
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

  private readonly _extend = make('select', 'gb-Button gb-Box-extend');
  private readonly _said = make('p', 'gb-Box-said');
  private _offered = '';
  private readonly _title = make('h2', 'gb-Box-title');
  private readonly _contents = make('p', 'gb-Box-contents');
  private readonly _facts = make('dl', 'gb-Cells');
  private readonly _home = make('a', 'gb-Button');
}

const HOUR = 3600;
const EXTENSIONS = [HOUR, 6 * HOUR, 24 * HOUR];

function option(value: string, words: string): HTMLOptionElement {
  const node = make('option', '', words);
  node.value = value;
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

function safeUrl(told: string): string {
  try {
    const url = new URL(told, window.location.href);
    return /^https?:$/.test(url.protocol) && told ? url.href : '';
  } catch {
    return '';
  }
}
