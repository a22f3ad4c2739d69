/** What stands before the picture: that it is on its way, or why there is none and what can be done. */

import { make, setWords } from '../dom';
import type { Condition } from './condition';
import { button } from './parts';
import type { Place } from './place';

export class Cover {
  constructor(
    private readonly _place: Place,
    acts: { restart(): void; connect(): void }
  ) {
    const { trans } = _place;
    this._retry = button(trans.__('Try again'), acts.restart, 'gd-Button gd-mod-main');
    this._now = button(trans.__('Try now'), acts.connect);
    this._logIn = make('a', 'gd-Button gd-mod-main', trans.__('Log in'));
    this._home = make('a', 'gd-Button', trans.__('JupyterLab'));
    this._home.href = _place.link('lab');
    this._words.setAttribute('role', 'status');
    this.node.append(
      make('div', 'gd-Cover-card', this._spinner, this._title, this._words,
        make('div', 'gd-Cover-buttons', this._retry, this._now, this._logIn, this._home))
    );
  }

  readonly node = make('div', 'gd-Cover');

  show(condition: Condition): void {
    const { trans } = this._place;
    const { phase, words } = condition;
    const titles = {
      connecting: '',
      live: '',
      waiting: '',
      failed: trans.__('The desktop does not run'),
      missing: trans.__('No desktop here'),
      ended: trans.__('The desktop was ended'),
      loggedOut: trans.__('Your log-in has expired')
    };
    this.node.hidden = phase === 'live';
    this.node.dataset.phase = phase;
    this._spinner.hidden = phase !== 'connecting' && phase !== 'waiting';
    this._retry.hidden = phase !== 'failed' && phase !== 'ended' && phase !== 'missing';
    setWords(this._retry, phase === 'ended' ? trans.__('Start it again') : trans.__('Try again'));
    this._now.hidden = phase !== 'waiting';
    this._logIn.hidden = phase !== 'loggedOut';
    // Jupyter's log-in leads back to where one came from.
    this._logIn.href = window.location.href;
    this._home.hidden = !this._place.isPage || !this._spinner.hidden;
    setWords(this._title, titles[phase]);
    this._title.hidden = !titles[phase];
    setWords(this._words, words);
  }

  private readonly _spinner = make('div', 'gd-Spinner');
  private readonly _title = make('h1', 'gd-Cover-title');
  private readonly _words = make('p', 'gd-Cover-words');
  private readonly _retry: HTMLButtonElement;
  private readonly _now: HTMLButtonElement;
  private readonly _logIn: HTMLAnchorElement;
  private readonly _home: HTMLAnchorElement;
}
