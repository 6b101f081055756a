/** What happens on a host: `emit` and the hook `event`. A module adds its own events by declaration merging. */
import type { Session } from '../routing/session.js';
import type { Jid } from '../stanza/jid.js';

/**
 * Things that happened, for whoever cares. Modules add theirs by declaration merging. A handler that returns a promise
 * is waited for by whoever `emit`s and awaits.
 */
export interface Events {
  accountCreated: { readonly jid: Jid };
  /** The account is about to go: its stores still know it, and its sessions are still there. */
  accountDeleting: { readonly jid: Jid };
  /** Every store has forgotten the account already when this is told. */
  accountDeleted: { readonly jid: Jid; readonly isAnonymous?: boolean };
  passwordChanged: { readonly jid: Jid };
  accountDisabled: { readonly jid: Jid };
  /**
   * A session of the process before was taken up again: its client may come back, and believes what it knew then. Told to
   * all hosts, as the server starts; all such sessions are there.
   */
  revived: { readonly session: Session };
  /** The ports are open: modules with ports of their own open them now. */
  started: Record<string, never>;
  /** The configuration was read again. */
  reloaded: Record<string, never>;
  /** The server takes nothing any more, and is about to close all streams: what is said now is the last that clients hear. */
  stopping: Record<string, never>;
}
