import { Dialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { Context } from '../context';
import { make, setWords } from '../dom';
import type { Save } from '../records';
import { duration, fileSize } from '../units';

const TICK_MS = 1000;

/** Show how far a save is until it has ended; false where its user did not wait for that. */
export async function showProgress(context: Context, id: string, name: string, over: Promise<Save>): Promise<boolean> {
  const { trans, store } = context;
  const body = new Progress(context, id);
  const cancel = Dialog.cancelButton({ label: trans.__('Cancel the save') });
  const dialog = new Dialog<unknown>({
    title: trans.__('Saving %1', name),
    body,
    buttons: [cancel, Dialog.okButton({ label: trans.__('Work on meanwhile') })]
  });
  let isOver = false;
  void over.then(() => {
    isOver = true;
    dialog.isDisposed || dialog.reject();
  });
  const { button } = await dialog.launch();
  if (isOver) {
    return true;
  }
  if (button === cancel) {
    await store.api.cancelSave(id).catch(() => undefined);
    return true;
  }
  return false;
}

/** What it does now, how much it is, for how long already. */
class Progress extends Widget {
  constructor(
    private readonly _context: Context,
    private readonly _id: string
  ) {
    super({ node: make('div', 'gb-Save') });
    this._words.setAttribute('role', 'status');
    const bar = make('progress', 'gb-Save-bar');
    bar.setAttribute('aria-label', _context.trans.__('Saving'));
    this.node.append(bar, this._words, this._facts);
    _context.store.savesChanged.connect(this._show, this);
    this._clock = window.setInterval(() => this._show(), TICK_MS);
    this._show();
  }

  override dispose(): void {
    window.clearInterval(this._clock);
    this._context.store.savesChanged.disconnect(this._show, this);
    super.dispose();
  }

  private _show(): void {
    const { store, trans } = this._context;
    const save = store.saves.find(one => one.id === this._id);
    setWords(this._words, save ? `${save.words}…` : trans.__('The hub begins…'));
    const facts = save ? [save.size_bytes ? fileSize(save.size_bytes) : '', duration(store.now - save.began_at)] : [];
    setWords(this._facts, facts.filter(Boolean).join(' · '));
  }

  private readonly _words = make('p', 'gb-Save-words');
  private readonly _facts = make('p', 'gb-Save-room');
  private readonly _clock: number;
}
