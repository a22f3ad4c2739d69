import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { LabIcon } from '@jupyterlab/ui-components';
import type { Widget } from '@lumino/widgets';

import { Later } from './later';

export interface MainTab {
  readonly id: string;
  /** The command that opens it, also after a reload. */
  readonly command: string;
  readonly label: string;
  readonly icon: LabIcon;
  /** What is shown where its code cannot be loaded. */
  readonly failed: string;
  load(): Promise<Widget>;
}

/** A tab of JupyterLab's work area, of which there is one: the answer opens it, or shows it. */
export function addMainTab(
  app: JupyterFrontEnd,
  restorer: ILayoutRestorer | null,
  tab: MainTab
): () => Promise<void> {
  const tracker = new WidgetTracker<MainAreaWidget>({ namespace: tab.id });
  void restorer?.restore(tracker, { command: tab.command, name: () => tab.id });
  return async () => {
    let widget = tracker.currentWidget;
    if (!widget) {
      widget = new MainAreaWidget({ content: new Later(() => tab.load(), tab.failed) });
      widget.toolbar.hide();
      widget.id = tab.id;
      widget.title.label = tab.label;
      widget.title.icon = tab.icon;
      widget.title.closable = true;
      app.shell.add(widget, 'main');
      await tracker.add(widget);
    }
    app.shell.activateById(widget.id);
  };
}
