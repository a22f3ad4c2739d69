import type { IDisposable } from '@lumino/disposable';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { Store } from './store';

/** A widget that shows the store: while people can see it, the store is kept live. */
export class WatchingWidget extends Widget {
  constructor(
    protected readonly store: Store,
    options: Widget.IOptions = {}
  ) {
    super(options);
  }

  override dispose(): void {
    this._settle(false);
    super.dispose();
  }

  /** It is seen from now on, or no longer. */
  protected onSeen(_isSeen: boolean): void {
    /* for those who have something to do then */
  }

  protected override onAfterAttach(_message: Message): void {
    this._settle(this.isVisible);
  }

  protected override onAfterShow(_message: Message): void {
    this._settle(this.isVisible);
  }

  protected override onBeforeHide(_message: Message): void {
    this._settle(false);
  }

  protected override onBeforeDetach(_message: Message): void {
    this._settle(false);
  }

  private _settle(isSeen: boolean): void {
    if (isSeen === (this._need !== null)) {
      return;
    }
    if (isSeen) {
      this._need = this.store.need();
    } else {
      this._need?.dispose();
      this._need = null;
    }
    this.onSeen(isSeen);
  }

  private _need: IDisposable | null = null;
}
