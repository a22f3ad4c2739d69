/** What can be done about a process on a GPU, through JupyterLab's own kernels, sessions and commands. */

import { Dialog, InputDialog, Notification, showDialog } from '@jupyterlab/apputils';
import { KernelAPI, type Session } from '@jupyterlab/services';

import type { Context } from './context';
import type { Owner } from './records';

/** A kernel as the commands are told of it: none, and people are asked which. */
export interface KernelArguments {
  id?: string;
  name?: string;
}

export async function interruptKernel(context: Context, told: KernelArguments): Promise<void> {
  const kernel = await choose(context, told, context.trans.__('Interrupt a kernel'));
  if (kernel) {
    await KernelAPI.interruptKernel(kernel.id, context.services.serverSettings);
    Notification.info(context.trans.__('The kernel of %1 was interrupted.', kernel.name), { autoClose: 3000 });
  }
}

export async function shutDownKernel(context: Context, told: KernelArguments): Promise<void> {
  const { services, trans } = context;
  const kernel = await choose(context, told, trans.__('Shut down a kernel'));
  if (!kernel || !(await confirm(context, kernel.name))) {
    return;
  }
  const session = await findSession(context, kernel.id);
  // By its session, so that the notebook's own page is told and can start another one.
  await (session ? services.sessions.shutdown(session.id) : services.kernels.shutdown(kernel.id));
}

export async function openOwner(context: Context, owner: Owner): Promise<void> {
  const { commands } = context;
  if (owner.kind === 'terminal') {
    await commands.execute('terminal:open', { name: owner.id });
    return;
  }
  const session = await findSession(context, owner.id);
  const isConsole = session?.type === 'console';
  await commands.execute(isConsole ? 'console:open' : 'docmanager:open', {
    path: session?.path ?? owner.path,
    activate: true
  });
}

async function confirm({ trans }: Context, name: string): Promise<boolean> {
  const answer = await showDialog({
    title: trans.__('Shut down the kernel of %1?', name),
    body: trans.__('All that it has in memory, the GPU\u2019s included, is lost.'),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.warnButton({ label: trans.__('Shut Down') })
    ]
  });
  return answer.button.accept;
}

async function choose(
  { store, trans }: Context,
  told: KernelArguments,
  title: string
): Promise<{ id: string; name: string } | null> {
  if (told.id) {
    return { id: told.id, name: told.name ?? '' };
  }
  const { processes } = store.connection === 'live' ? store.processes : await store.api.processes();
  const kernels = new Map(
    processes.filter(process => process.owner.kind === 'kernel').map(({ owner }) => [owner.id, owner])
  );
  const items = [...kernels.values()];
  if (!items.length) {
    await showDialog({ title, body: trans.__('No kernel uses a GPU.'), buttons: [Dialog.okButton()] });
    return null;
  }
  const { value } = await InputDialog.getItem({
    title,
    label: trans.__('The kernel of'),
    items: items.map(owner => owner.path || owner.name)
  });
  return items.find(owner => (owner.path || owner.name) === value) ?? null;
}

async function findSession(context: Context, kernel: string): Promise<Session.IModel | null> {
  const { sessions } = context.services;
  await sessions.refreshRunning();
  for (const session of sessions.running()) {
    if (session.kernel?.id === kernel) {
      return session;
    }
  }
  return null;
}
