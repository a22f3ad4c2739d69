/** The plugin: what a page has before anybody opens the panel. Panel and dashboard are loaded when first seen. */

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from './api';
import { addCommands } from './commands';
import { COMMANDS, type Context } from './context';
import { addDesktop } from './desktop/places';
import { gpuIcon } from './icon';
import { Later } from './later';
import { addMainTab } from './maintab';
import { Notices } from './notices';
import { Settings } from './settings';
import { StatusItem } from './statusitem';
import { Store } from './store';
import { tutorials } from './tutorials';

const PLUGIN = '@gpubox/jupyterlab-gpubox:plugin';
const PANEL = 'gpubox-panel';
const DASHBOARD = 'gpubox-dashboard';

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: 'Shows the GPUs of this server and what runs on them.',
  autoStart: true,
  optional: [
    ITranslator,
    ISettingRegistry,
    ILayoutRestorer,
    ICommandPalette,
    ILauncher,
    IStatusBar,
    IThemeManager
  ],
  activate
};

export default [plugin, tutorials];

function activate(
  app: JupyterFrontEnd,
  translator: ITranslator | null,
  registry: ISettingRegistry | null,
  restorer: ILayoutRestorer | null,
  palette: ICommandPalette | null,
  launcher: ILauncher | null,
  statusBar: IStatusBar | null,
  themes: IThemeManager | null
): void {
  const context: Context = {
    commands: app.commands,
    services: app.serviceManager,
    settings: new Settings(),
    store: new Store(new Api(app.serviceManager.serverSettings)),
    themes,
    trans: (translator ?? nullTranslator).load('jupyterlab_gpubox')
  };
  addCommands(context, {
    openPanel: addPanel(app, context, restorer),
    openDashboard: addMainTab(app, restorer, {
      id: DASHBOARD,
      command: COMMANDS.openDashboard,
      label: context.trans.__('GPU Dashboard'),
      icon: gpuIcon,
      failed: context.trans.__('The GPU dashboard could not be loaded. Reload this page.'),
      load: async () => new (await import('./dashboard/dashboard')).Dashboard(context)
    })
  });
  addDesktop(app, context, restorer, launcher);
  palette && addToPalette(palette, context);
  launcher?.add({ command: COMMANDS.openDashboard, category: context.trans.__('Other'), rank: 100 });
  statusBar && addStatusItem(statusBar, context);
  new Notices(context);
  void start(app, context, registry);
}

/** Read the settings, then look at the GPUs once the page is there: nothing waits for us. */
async function start(app: JupyterFrontEnd, context: Context, registry: ISettingRegistry | null): Promise<void> {
  try {
    const settings = await registry?.load(PLUGIN);
    settings && context.settings.use(settings);
  } catch (error) {
    console.error('The GPU panel goes on with its default settings.', error);
  }
  await app.restored;
  await Promise.all([context.store.look(), context.store.lookAtBox()]);
  if (context.store.box?.has_service) {
    new (await import('./hubnotices')).HubNotices(context);
  }
}

function addPanel(app: JupyterFrontEnd, context: Context, restorer: ILayoutRestorer | null): () => void {
  const { trans } = context;
  const panel = new Later(
    async () => new (await import('./panel/panel')).GpuPanel(context),
    trans.__('The GPU panel could not be loaded. Reload this page.')
  );
  panel.id = PANEL;
  panel.title.icon = gpuIcon;
  panel.title.caption = trans.__('GPU');
  panel.node.setAttribute('role', 'region');
  panel.node.setAttribute('aria-label', trans.__('GPU panel'));
  app.shell.add(panel, 'right', { rank: 500, type: 'GPU' });
  restorer?.add(panel, PANEL);
  return () => app.shell.activateById(PANEL);
}

function addToPalette(palette: ICommandPalette, { trans }: Context): void {
  const { openOwner, ...commands } = COMMANDS;
  for (const command of Object.values(commands)) {
    palette.addItem({ command, category: trans.__('GPU'), args: { isPalette: true } });
  }
}

function addStatusItem(statusBar: IStatusBar, context: Context): void {
  const item = new StatusItem(context);
  statusBar.registerStatusItem('gpubox:gpus', {
    item,
    align: 'left',
    rank: 10,
    isActive: () => item.isActive,
    activeStateChanged: item.activeStateChanged
  });
}
