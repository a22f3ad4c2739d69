import type { Message } from '@lumino/messaging';
import { PanelLayout, Widget } from '@lumino/widgets';

/** The place of a widget whose code is loaded when the place is first seen. */
export class Later extends Widget {
  constructor(
    private readonly _load: () => Promise<Widget>,
    private readonly _failed: string
  ) {
    super();
    this.addClass('gb-Later');
    this.node.tabIndex = -1;
    this.layout = new PanelLayout();
  }

  protected override onAfterAttach(_message: Message): void {
    this._settle();
  }

  protected override onAfterShow(_message: Message): void {
    this._settle();
  }

  protected override onActivateRequest(_message: Message): void {
    // So that Tab goes on from here.
    this.node.focus({ preventScroll: true });
  }

  private _settle(): void {
    if (this.isVisible && !this._isAsked) {
      this._isAsked = true;
      void this._fill();
    }
  }

  private async _fill(): Promise<void> {
    const layout = this.layout as PanelLayout;
    let content: Widget;
    try {
      content = await this._load();
    } catch (error) {
      console.error(error);
      content = new Widget();
      content.addClass('gb-Later-words');
      content.node.textContent = this._failed;
      this._isAsked = false;
    }
    if (!this.isDisposed) {
      while (layout.widgets[0]) {
        layout.widgets[0].dispose();
      }
      layout.addWidget(content);
    }
  }

  private _isAsked = false;
}
