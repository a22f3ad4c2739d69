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

/** The condition after a close that tells its reason; null where only a look at the server can tell. */
export function afterClose(trans: Words, code: number, reason: string): Condition | null {
  switch (code) {
    case CLOSED.missing:
      return { phase: 'missing', words: reason || trans.__('This machine has no desktop.') };
    case CLOSED.failed:
      return { phase: 'failed', words: reason || trans.__('The desktop could not be started.') };
    case CLOSED.ended:
      return { phase: 'ended', words: reason || trans.__('The desktop was ended.') };
    default:
      return null;
  }
}

/** The condition after a look: `waiting` is tried again by itself. */
export function afterLook(trans: Words, look: Look | null): Condition {
  if (!look) {
    return { phase: 'waiting', words: trans.__('The connection is gone. It is tried again…') };
  }
  if (look.status === 401 || look.status === 403) {
    return { phase: 'loggedOut', words: trans.__('You are not logged in any more.') };
  }
  if (!look.desktop) {
    return { phase: 'waiting', words: trans.__('The machine does not answer: it starts again, or was stopped. It is tried again…') };
  }
  if (look.desktop.state === 'missing') {
    return { phase: 'missing', words: look.desktop.message };
  }
  if (look.desktop.state === 'failed') {
    return { phase: 'failed', words: look.desktop.message };
  }
  return { phase: 'waiting', words: trans.__('The connection is gone. It is tried again…') };
}
