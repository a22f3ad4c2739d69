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
      make('header', 'gb-Box-head', this._title, make('div', 'gb-Box-buttons', this._home)),
      this._contents,
      this._facts
    );
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

  private readonly _title = make('h2', 'gb-Box-title');
  private readonly _contents = make('p', 'gb-Box-contents');
  private readonly _facts = make('dl', 'gb-Cells');
  private readonly _home = make('a', 'gb-Button');
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
