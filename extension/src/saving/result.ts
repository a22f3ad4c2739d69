import { Dialog, showDialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { Context } from '../context';
import { make, safeUrl } from '../dom';
import type { Save } from '../records';
import { fileSize } from '../units';

/** How a save ended: where it is found and what in it looks like a secret, or why it is none. */
export async function showResult(context: Context, save: Save): Promise<void> {
  const { trans } = context;
  const isDone = save.state === 'done';
  await showDialog({
    title: isDone ? trans.__('Saved') : trans.__('Not saved'),
    body: new Widget({ node: isDone ? describe(context, save) : make('p', 'gb-Save', save.words) }),
    buttons: [Dialog.okButton({ label: trans.__('Close') })]
  });
}

function describe({ store, trans }: Context, save: Save): HTMLElement {
  const page = make('a', '', trans.__('Templates'));
  page.href = safeUrl((store.box?.hub_url ?? '').replace(/hub\/home$/, 'services/gpubox/templates'));
  page.target = '_blank';
  page.rel = 'noopener';
  const node = make('div', 'gb-Save', make('p', '', `${save.words} `, trans.__('It takes %1.', fileSize(save.size_bytes))));
  if (save.secrets.length) {
    node.append(
      make(
        'section',
        'gb-Save-secrets',
        make('p', '', trans.__('These files look like secrets. Nobody else sees this version before you say, on the hub’s page Templates, that they are none:')),
        make('ul', '', ...save.secrets.map(path => make('li', '', make('code', '', path))))
      )
    );
  }
  node.append(
    make('p', '', trans.__('To start from it, choose it under “Start from” when you start a machine.'), ' ', trans.__('To share, rename or delete it:'), ' ', page)
  );
  return node;
}
