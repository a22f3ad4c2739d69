/** What every part of the extension is handed. */

import type { IThemeManager } from '@jupyterlab/apputils';
import type { ServiceManager } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';

import type { Settings } from './settings';
import type { Store } from './store';

export interface Context {
  readonly commands: CommandRegistry;
  readonly services: ServiceManager.IManager;
  readonly settings: Settings;
  readonly store: Store;
  readonly themes: IThemeManager | null;
  readonly trans: TranslationBundle;
}

export const COMMANDS = {
  openPanel: 'gpubox:open-panel',
  openDashboard: 'gpubox:open-dashboard',
  toggleStatusBar: 'gpubox:toggle-status-bar',
  interruptKernel: 'gpubox:interrupt-kernel',
  shutDownKernel: 'gpubox:shut-down-kernel',
  openOwner: 'gpubox:open-owner',
  openDesktop: 'gpubox:open-desktop',
  openDesktopTab: 'gpubox:open-desktop-tab',
  openTerminal: 'gpubox:open-terminal',
  openTmux: 'gpubox:open-tmux',
  showSsh: 'gpubox:show-ssh',
  saveTemplate: 'gpubox:save-template'
} as const;
