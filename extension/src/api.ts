/** The server's REST API and stream, asked as JupyterLab asks its own. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { Box, Gpus, Processes, Rows, Save, Templates } from './records';

export type Range = 'fine' | 'coarse';

/** The server answered, and not with what was asked for; the message is its sentence. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string
  ) {
    super(message);
  }
}

export class Api {
  constructor(private readonly _settings: ServerConnection.ISettings) {}

  gpus(): Promise<Gpus> {
    return this._get<Gpus>('gpus');
  }

  history(range: Range): Promise<Rows> {
    return this._get<Rows>(`history?range=${range}`);
  }

  processes(): Promise<Processes> {
    return this._get<Processes>('processes');
  }

  async box(): Promise<Box | null> {
    return (await this._get<{ box: Box | null }>('box')).box;
  }

  /** Ask the hub for more time. */
  extend(seconds: number): Promise<{ ends_at: number | null }> {
    return this._ask('machine/extend', { method: 'POST', body: JSON.stringify({ seconds }) });
  }

  /** Say that the machine is needed though it idles. */
  keep(): Promise<unknown> {
    return this._ask('machine/keep', { method: 'POST', body: '{}' });
  }

  closeNotice(id: number): Promise<unknown> {
    return this._ask(`notices/${id}/close`, { method: 'POST', body: '{}' });
  }

  /** The user's own templates. */
  templates(): Promise<Templates> {
    return this._get<Templates>('templates');
  }

  /** Begin to save this machine as a template. */
  save(name: string, note: string): Promise<Save> {
    return this._ask('templates/save', { method: 'POST', body: JSON.stringify({ name, note }) });
  }

  cancelSave(save: string): Promise<unknown> {
    return this._ask('templates/cancel', { method: 'POST', body: JSON.stringify({ save }) });
  }

  /** Whether this machine has a desktop, running or not. */
  async hasDesktop(): Promise<boolean> {
    try {
      return (await this._get<{ state: string }>('desktop')).state !== 'missing';
    } catch {
      return false;
    }
  }

  stream(): WebSocket {
    const { wsUrl, appendToken, token, WebSocket: Socket } = this._settings;
    const url = URLExt.join(wsUrl, 'gpubox/api/stream');
    // Browsers send the log-in cookie; elsewhere, as in JupyterLab Desktop, only the token tells who asks.
    const query = appendToken && token ? `?token=${encodeURIComponent(token)}` : '';
    return new Socket(url + query);
  }

  private _get<T>(what: string): Promise<T> {
    return this._ask<T>(what, { cache: 'no-store' });
  }

  private async _ask<T>(what: string, details: RequestInit): Promise<T> {
    const url = URLExt.join(this._settings.baseUrl, 'gpubox/api/') + what;
    const answer = await ServerConnection.makeRequest(url, details, this._settings);
    if (!answer.ok) {
      throw new Refused(answer.status, await sentence(answer));
    }
    return (await answer.json()) as T;
  }
}

async function sentence(answer: Response): Promise<string> {
  try {
    const { message } = (await answer.json()) as { message?: unknown };
    return typeof message === 'string' ? message : answer.statusText;
  } catch {
    return answer.statusText;
  }
}
