import { ServerConnection } from '@jupyterlab/services';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import type { Context } from '../context';
import type { Place } from '../viewer/place';
import { Viewer } from '../viewer/viewer';

/** The desktop in a tab of JupyterLab: the viewer itself, not a frame of its page, which nobody may frame. */
export class DesktopWidget extends Widget {
  constructor(context: Context) {
    super();
    this.addClass('gb-Desktop');
    this._viewer = new Viewer(placeIn(context));
    this.node.append(this._viewer.node);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this._viewer.dispose();
    }
    super.dispose();
  }

  protected override onAfterAttach(_message: Message): void {
    if (!this._isStarted) {
      this._isStarted = true;
      this._viewer.start();
    }
  }

  protected override onActivateRequest(_message: Message): void {
    this._viewer.focus();
  }

  private readonly _viewer: Viewer;
  private _isStarted = false;
}

function placeIn({ services, trans }: Context): Place {
  const { serverSettings } = services;
  const { appendToken, baseUrl, token, wsUrl } = serverSettings;
  return {
    trans,
    isPage: false,
    ask: (path, details = {}) => ServerConnection.makeRequest(baseUrl + path, details, serverSettings),
    socket: path => {
      // Browsers send the log-in cookie; elsewhere, as in JupyterLab Desktop, only the token tells who asks.
      const query = appendToken && token ? `${path.includes('?') ? '&' : '?'}token=${encodeURIComponent(token)}` : '';
      return new serverSettings.WebSocket(wsUrl + path + query);
    },
    link: path => baseUrl + path
  };
}
