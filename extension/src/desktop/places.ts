/** Desktop and terminals from JupyterLab: commands, launcher cards, and the tab that holds a desktop. */

import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import type { ILauncher } from '@jupyterlab/launcher';
import { terminalIcon } from '@jupyterlab/ui-components';
import type { IDisposable } from '@lumino/disposable';

import { COMMANDS, type Context } from '../context';
import { addMainTab } from '../maintab';
import { desktopIcon } from './icon';

const DESKTOP = 'gpubox-desktop';
const CATEGORY_RANK = 90;

export function addDesktop(
  app: JupyterFrontEnd,
  context: Context,
  restorer: ILayoutRestorer | null,
  launcher: ILauncher | null
): void {
  const { commands, settings, trans } = context;
  const openTab = addMainTab(app, restorer, {
    id: DESKTOP,
    command: COMMANDS.openDesktopTab,
    label: trans.__('Desktop'),
    icon: desktopIcon,
    failed: trans.__('The desktop could not be loaded. Reload this page.'),
    load: async () => new (await import('./widget')).DesktopWidget(context)
  });
  commands.addCommand(COMMANDS.openDesktop, {
    label: trans.__('Desktop'),
    caption: trans.__('Open a Linux desktop on this machine'),
    icon: args => (args['isPalette'] ? undefined : desktopIcon),
    execute: () => (settings.desktopInLab ? openTab() : openPage(context, 'gpubox/desktop'))
  });
  commands.addCommand(COMMANDS.openDesktopTab, {
    label: trans.__('Desktop in a JupyterLab Tab'),
    execute: openTab
  });
  commands.addCommand(COMMANDS.openTerminal, {
    label: trans.__('Terminal in a Browser Tab'),
    caption: trans.__('Open a terminal of this machine without JupyterLab'),
    execute: () => openPage(context, 'gpubox/terminal/1')
  });
  commands.addCommand(COMMANDS.openTmux, {
    label: trans.__('Terminal with tmux'),
    icon: terminalIcon,
    execute: async () => (await import('./tmux')).openTmux(context)
  });
  launcher && void addCards(app, context, launcher);
}

/** The desktop's card where the machine has one, and the card of tmux where it is wanted. */
async function addCards(app: JupyterFrontEnd, { settings, store, trans }: Context, launcher: ILauncher): Promise<void> {
  let card: IDisposable | null = null;
  const settle = (): void => {
    if (settings.tmuxCard !== (card !== null)) {
      card?.dispose();
      card = settings.tmuxCard
        ? launcher.add({ command: COMMANDS.openTmux, category: trans.__('Other'), rank: CATEGORY_RANK + 1 })
        : null;
    }
  };
  settings.changed.connect(settle);
  await app.restored;
  settle();
  if (await store.api.hasDesktop()) {
    launcher.add({ command: COMMANDS.openDesktop, category: trans.__('Other'), rank: CATEGORY_RANK });
  }
}

/** A page of its own: the browser sends the log-in along. */
function openPage({ services }: Context, path: string): void {
  window.open(services.serverSettings.baseUrl + path, '_blank', 'noopener');
}
