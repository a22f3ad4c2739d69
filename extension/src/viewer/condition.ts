/** How a viewer stands, and what follows from a connection's end: pure decisions. */

import type { Words } from './place';
import { CLOSED, type Desktop } from './records';

export type Phase = 'connecting' | 'live' | 'waiting' | 'failed' | 'missing' | 'ended' | 'loggedOut';

export interface Condition {
  readonly phase: Phase;
  readonly words: string;
}

/** What the server answered when it was asked after a drop: null where nothing did. */
export interface Look {
  readonly status: number;
  readonly desktop: Desktop | null;
}

/** The condition after a close and a look at the server: `waiting` is tried again by itself. */
export function afterDrop(trans: Words, code: number, reason: string, look: Look | null): Condition {
  if (look?.status === 401 || look?.status === 403) {
    return { phase: 'loggedOut', words: trans.__('You are not logged in any more, or the machine was started anew.') };
  }
  if (look && !look.desktop) {
    return { phase: 'waiting', words: trans.__('The machine does not answer: it starts again, or was stopped. It is tried again…') };
  }
  // A close frame has room for the beginning of a sentence; the server tells all of it.
  const words = look?.desktop?.message || reason;
  const state = look?.desktop?.state;
  if (state === 'missing' || code === CLOSED.missing) {
    return { phase: 'missing', words: words || trans.__('This machine has no desktop.') };
  }
  if (state === 'failed') {
    return { phase: 'failed', words: words || trans.__('It ended, and does not say why.') };
  }
  const isEnded = code === CLOSED.ended || code === CLOSED.failed;
  if (state === 'off' && isEnded) {
    return { phase: 'ended', words };
  }
  return { phase: 'waiting', words: trans.__('The connection is gone. It is tried again…') };
}
