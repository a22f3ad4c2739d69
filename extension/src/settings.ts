/** What people set in the settings editor; the defaults are those of schema/plugin.json. */

import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal } from '@lumino/signaling';

const SHOWN = ['utilisation', 'memory', 'history', 'power', 'temperature', 'clock'];

export class Settings {
  readonly changed = new Signal<this, void>(this);

  use(settings: ISettingRegistry.ISettings): void {
    this._settings = settings;
    settings.changed.connect(() => this.changed.emit());
    this.changed.emit();
  }

  get statusBar(): boolean {
    return this._get('statusBar', true);
  }

  /** Whether the cards show a figure. */
  shows(figure: string): boolean {
    return this._get<Record<string, boolean>>('figures', {})[figure] ?? SHOWN.includes(figure);
  }

  get notifyMemory(): boolean {
    return this._get('notifyMemory', true);
  }

  get memoryThreshold(): number {
    return this._get('memoryThreshold', 95);
  }

  get notifyLost(): boolean {
    return this._get('notifyLost', true);
  }

  get notifyTime(): boolean {
    return this._get('notifyTime', true);
  }

  get timeWarnings(): number[] {
    return this._get('timeWarnings', [15, 5]);
  }

  /** Whether "Desktop" opens a tab of JupyterLab's, not one of the browser's. */
  get desktopInLab(): boolean {
    return this._get('desktopInLab', false);
  }

  get tmuxCard(): boolean {
    return this._get('tmuxCard', false);
  }

  async toggleStatusBar(): Promise<void> {
    await this._settings?.set('statusBar', !this.statusBar);
  }

  private _get<T>(key: string, fallback: T): T {
    return (this._settings?.composite[key] as T | undefined) ?? fallback;
  }

  private _settings: ISettingRegistry.ISettings | null = null;
}
