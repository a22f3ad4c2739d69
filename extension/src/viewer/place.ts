/** Where a viewer is, and how it asks the Jupyter server: on a page of its own, or in a tab of JupyterLab. */

export interface Words {
  __(words: string, ...values: unknown[]): string;
}

export interface Place {
  readonly trans: Words;
  readonly isPage: boolean;
  /** Ask for a path below the server's base URL. Rejects only where nothing answers. */
  ask(path: string, details?: RequestInit): Promise<Response>;
  socket(path: string): WebSocket;
  link(path: string): string;
}

/** The sentence of an answer that is no success. */
export async function sentenceOf(answer: Response): Promise<string> {
  try {
    const { message } = (await answer.json()) as { message?: unknown };
    return typeof message === 'string' && message ? message : answer.statusText;
  } catch {
    return answer.statusText;
  }
}
