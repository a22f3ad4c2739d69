/** Save this machine as a template: what it is to be called, how far it is, where it is found. Loaded when asked for. */

import { Notification } from '@jupyterlab/apputils';
import '../../style/box.css';
import '../../style/saving.css';

import type { Context } from '../context';
import type { Save, Templates } from '../records';
import { askWhat, type Wanted } from './form';
import { showProgress } from './progress';
import { showResult } from './result';

/** Counts what was shown: who shows a save again is told of its end, and nobody twice. */
let turn = 0;

/** Ask, save and tell; where a save is under way already, show that one. */
export async function saveTemplate(context: Context): Promise<void> {
  const running = context.store.saves.find(save => save.state === 'running');
  if (running) {
    await follow(context, running.id, running.name);
    return;
  }
  let wanted: Wanted = { name: '', note: '' };
  let refusal = '';
  for (;;) {
    const told = await look(context);
    const answer = await askWhat(context, wanted, told.templates, refusal || told.refusal);
    if (!answer) {
      return;
    }
    wanted = answer;
    try {
      const save = await context.store.api.save(wanted.name, wanted.note);
      await follow(context, save.id, save.name);
      return;
    } catch (error) {
      refusal = sentence(error);
    }
  }
}

/** The user's templates; what keeps the hub from telling them is said in the form. */
async function look({ store }: Context): Promise<{ templates: Templates; refusal: string }> {
  try {
    return { templates: await store.api.templates(), refusal: '' };
  } catch (error) {
    return { templates: { templates: [], used_bytes: 0, limit_bytes: null }, refusal: sentence(error) };
  }
}

/** Show a save until it has ended, then how; who does not wait is told by a notification. */
async function follow(context: Context, id: string, name: string): Promise<void> {
  const { store, trans } = context;
  const own = ++turn;
  const stream = store.need();
  const over = ended(context, id).finally(() => stream.dispose());
  const isSeen = await showProgress(context, id, name, over);
  const save = await over;
  if (own !== turn) {
    return;
  }
  if (save.state === 'cancelled') {
    Notification.info(save.words, { autoClose: 5000 });
  } else if (isSeen) {
    await showResult(context, save);
  } else {
    const options = { autoClose: false as const, actions: [{ label: trans.__('Show'), callback: () => void showResult(context, save) }] };
    save.state === 'done' ? Notification.success(save.words, options) : Notification.error(save.words, options);
  }
}

/** The save once it has ended; one that a hub knows no more, which began anew, has kept nothing. */
function ended({ store, trans }: Context, id: string): Promise<Save> {
  return new Promise(resolve => {
    let known: Save | undefined;
    const look = (): void => {
      const save = store.saves.find(one => one.id === id);
      if (save?.ended_at) {
        store.savesChanged.disconnect(look);
        resolve(save);
      } else if (known && !save) {
        store.savesChanged.disconnect(look);
        resolve({ ...known, state: 'failed', words: trans.__('The hub began anew meanwhile, so nothing was kept. Save again.') });
      }
      known = save;
    };
    store.savesChanged.connect(look);
    look();
  });
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
