/** What a standalone page knows: where its server is, and how to ask it. Its log-in is a cookie. */

import type { Place } from '../viewer/place';

/** The server's base URL: the page's own, up to what is gpubox's. */
const BASE = window.location.pathname.replace(/gpubox\/(desktop|terminal).*$/, '');

/** Pages are English, as the hub's are. */
const trans = {
  __: (words: string, ...values: unknown[]): string =>
    words.replace(/%(\d)/g, (_, place: string) => String(values[Number(place) - 1] ?? ''))
};

export const place: Place = {
  trans,
  isPage: true,
  ask: (path, details = {}) => {
    const headers = new Headers(details.headers);
    headers.set('X-XSRFToken', cookie('_xsrf'));
    if (typeof details.body === 'string') {
      headers.set('Content-Type', 'application/json');
    }
    return fetch(BASE + path, { credentials: 'same-origin', ...details, headers });
  },
  socket: path => new WebSocket(new URL(BASE + path, window.location.href.replace(/^http/, 'ws')).href),
  link: path => BASE + path
};

/** What the browser keeps under a name; of several, the last one, as Tornado reads them (and JupyterLab does). */
function cookie(name: string): string {
  const found = document.cookie.split('; ').filter(pair => pair.startsWith(`${name}=`));
  return found.at(-1)?.slice(name.length + 1) ?? '';
}

/** The machine's name, for the page's title. */
export async function nameOfMachine(): Promise<string> {
  try {
    const { box } = (await (await place.ask('gpubox/api/box')).json()) as { box: { title?: string; machine?: string } | null };
    return box?.title || box?.machine || window.location.hostname;
  } catch {
    return window.location.hostname;
  }
}
