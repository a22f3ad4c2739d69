/** What the hub tells of this machine: it stays until it is closed, here or in another page, or is no longer true. */

import { Dialog, Notification, showDialog } from '@jupyterlab/apputils';

import type { Context } from './context';
import { safeUrl } from './dom';
import { Ending } from './ending';
import type { Notice } from './records';
import { duration } from './units';

/** The words of a countdown are looked at this often; they change seldom, so that nobody is read to all day. */
const LOOK_MS = 5000;
/** JupyterLab cuts what is longer. */
const LONGEST_MESSAGE = 140;
const HOUR = 3600;
const LEAST = 60;

export class HubNotices {
  constructor(private readonly _context: Context) {
    const { store } = _context;
    store.noticesChanged.connect(this._show, this);
    // They come with the stream: a machine that may be stopped has it open, whoever looks.
    store.need();
    new Ending(_context);
    Notification.manager.changed.connect(this._closedByHand, this);
    window.setInterval(() => this._show(), LOOK_MS);
  }

  private _show(): void {
    const { notices } = this._context.store;
    for (const [id, shown] of this._shown) {
      if (!notices.has(id)) {
        this._shown.delete(id);
        Notification.dismiss(shown.id);
      }
    }
    for (const notice of notices.values()) {
      const words = this._words(notice);
      const shown = this._shown.get(notice.id);
      if (!shown) {
        this._shown.set(notice.id, { id: this._emit(notice, words), words });
      } else if (shown.words !== words) {
        shown.words = words;
        // It is read out when it comes, and not again with every minute that passes.
        document.getElementById(shown.id)?.querySelector('[role=alert]')?.setAttribute('aria-live', 'off');
        Notification.update({ id: shown.id, message: words });
      }
    }
  }

  private _emit(notice: Notice, words: string): string {
    return Notification.emit(words, notice.kind === 'free' ? 'info' : 'warning', {
      autoClose: false,
      actions: this._actions(notice)
    });
  }

  /** How long until then (in minutes, and in seconds at the very end), and as many sentences as fit. */
  private _words(notice: Notice): string {
    const { trans } = this._context;
    let words = '';
    if (notice.due_at !== null) {
      const left = notice.due_at - this._context.store.now;
      words = left > 0 ? trans.__('Stops in %1.', countdown(left)) : trans.__('Stops now.');
    }
    for (const sentence of notice.sentence.split(/(?<=[.!?]) /)) {
      if (words && words.length + sentence.length >= LONGEST_MESSAGE) {
        break;
      }
      words = words ? `${words} ${sentence}` : sentence;
    }
    return words;
  }

  private _actions(notice: Notice): Notification.IAction[] {
    const { trans } = this._context;
    const answers = this._answers(notice);
    if (notice.sentence.length < LONGEST_MESSAGE) {
      return answers;
    }
    const body = notice.sentence;
    const read = (event: MouseEvent): void => {
      event.preventDefault();
      void showDialog({ title: trans.__('The hub says'), body, buttons: [Dialog.okButton()] });
    };
    return [{ label: trans.__('Read it all'), callback: read }, ...answers];
  }

  private _answers(notice: Notice): Notification.IAction[] {
    const { trans, store } = this._context;
    const hub = safeUrl(store.box?.hub_url ?? '');
    switch (notice.kind) {
      case 'idle':
        return [this._action(trans.__('Keep my machine'), () => store.api.keep())];
      case 'end':
        return this._more();
      case 'ask':
        return [
          ...(hub ? [{ label: trans.__('Stop my machine…'), callback: () => this._leave(hub) }] : []),
          this._action(trans.__('Keep it'), () => store.api.closeNotice(notice.id))
        ];
      default:
        return [this._action(trans.__('Close'), () => store.api.closeNotice(notice.id))];
    }
  }

  /** An hour, or what there is of it. */
  private _more(): Notification.IAction[] {
    const { trans, store } = this._context;
    const { lease } = store;
    const most = lease?.latest_end && lease.ends_at ? lease.latest_end - lease.ends_at : Infinity;
    if (most < LEAST) {
      return [];
    }
    const label = most < HOUR ? trans.__('%1 more', duration(most)) : trans.__('One hour more');
    return [this._action(label, () => store.api.extend(Math.min(HOUR, most)))];
  }

  private _leave(hub: string): void {
    window.open(hub, '_blank', 'noopener');
  }

  /** A button whose refusal is shown as the hub says it. */
  private _action(label: string, act: () => Promise<unknown>): Notification.IAction {
    return {
      label,
      displayType: 'accent',
      callback: event => {
        // The notice goes when the hub says so, not with the click.
        event.preventDefault();
        act().catch((error: Error) => Notification.error(error.message, { autoClose: 10_000 }));
      }
    };
  }

  /** Who dismisses it has seen it: it goes from the other pages, too. */
  private _closedByHand(_: unknown, change: Notification.IChange): void {
    if (change.type !== 'removed') {
      return;
    }
    for (const [id, shown] of this._shown) {
      if (shown.id === change.notification.id) {
        this._shown.delete(id);
        this._context.store.notices.delete(id);
        this._context.store.api.closeNotice(id).catch(() => undefined);
      }
    }
  }

  private readonly _shown = new Map<number, { id: string; words: string }>();
}

/** "12 min"; the last minute in steps of ten seconds. */
export function countdown(seconds: number): string {
  return duration(seconds < 90 ? 10 * Math.ceil(seconds / 10) : seconds);
}
