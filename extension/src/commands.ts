/** The commands of the palette, the menus, the panel's buttons and the launcher. */

import type { KernelArguments } from './actions';
import { COMMANDS, type Context } from './context';
import { gpuIcon } from './icon';
import type { Owner } from './records';

export interface Places {
  openPanel(): void;
  openDashboard(): Promise<void>;
}

export function addCommands(context: Context, places: Places): void {
  const { commands, settings, trans } = context;
  commands.addCommand(COMMANDS.openPanel, {
    label: trans.__('GPU Panel'),
    caption: trans.__('Show the GPUs and what runs on them beside the work area'),
    icon: gpuIcon,
    execute: () => places.openPanel()
  });
  commands.addCommand(COMMANDS.openDashboard, {
    label: trans.__('GPU Dashboard'),
    caption: trans.__('Show charts of the GPUs in a tab'),
    icon: args => (args['isPalette'] ? undefined : gpuIcon),
    execute: () => places.openDashboard()
  });
  commands.addCommand(COMMANDS.toggleStatusBar, {
    label: trans.__('Show GPUs in the Status Bar'),
    isToggled: () => settings.statusBar,
    execute: () => settings.toggleStatusBar()
  });
  settings.changed.connect(() => commands.notifyCommandChanged(COMMANDS.toggleStatusBar));

  // What they do is loaded when it is first done.
  commands.addCommand(COMMANDS.interruptKernel, {
    label: trans.__('Interrupt a Kernel That Uses a GPU…'),
    execute: async args => (await import('./actions')).interruptKernel(context, args as KernelArguments)
  });
  commands.addCommand(COMMANDS.shutDownKernel, {
    label: trans.__('Shut Down a Kernel That Uses a GPU…'),
    execute: async args => (await import('./actions')).shutDownKernel(context, args as KernelArguments)
  });
  commands.addCommand(COMMANDS.showSsh, {
    label: trans.__('Reach This Machine by SSH…'),
    caption: trans.__('How to reach this machine from your own terminal or editor'),
    isVisible: () => Boolean(context.store.box?.ssh),
    execute: async () => (await import('./ssh')).showSsh(context)
  });
  commands.addCommand(COMMANDS.saveTemplate, {
    label: trans.__('Save This Machine as a Template…'),
    caption: trans.__('Keep what was installed on this machine, to start from again and to share'),
    isVisible: () => Boolean(context.store.box?.has_service),
    execute: async () => (await import('./saving/saving')).saveTemplate(context)
  });
  commands.addCommand(COMMANDS.openOwner, {
    label: trans.__('Open What Uses a GPU'),
    isVisible: args => 'id' in args,
    execute: async args => (await import('./actions')).openOwner(context, args as unknown as Owner)
  });
}
