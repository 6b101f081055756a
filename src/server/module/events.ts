/** Events of a host, for `emit` and the hook `event`. Modules add their own by declaration merging. */

import type { Jid } from '../address/jid.js';
import type { Session } from '../routing/session.js';
import type { Stanza } from '../stanza/stanza.js';

/** Events of a host. Modules add their own by declaration merging. `emit` returns a promise if a handler does. */
export interface Events {
  accountCreated: { readonly jid: Jid };
  /** The account is about to be removed: its data and its sessions still exist. */
  accountDeleting: { readonly jid: Jid };
  /** The account's data has been deleted from all stores. */
  accountDeleted: { readonly jid: Jid; readonly isAnonymous?: boolean };
  passwordChanged: { readonly jid: Jid };
  accountDisabled: { readonly jid: Jid };
  /**
   * A session of the previous process was restored: its client may resume it, with the state known at that time.
   * Emitted on all hosts at startup, when all such sessions are restored.
   */
  revived: { readonly session: Session };
  /**
   * Addresses for which `concerns` is true are about to move to another node, and nothing is done for them any more. Persist
   * what would be written later.
   */
  leaving: { readonly concerns: (bare: string) => boolean };
  /**
   * Addresses for which `concerns` is true have moved to another node, or from one: nothing in memory about them is valid
   * any more. On all hosts, before anything is done for them at the new home.
   */
  moved: { readonly concerns: (bare: string) => boolean };
  /** A session has moved from another node, with its state and its connection. Follows `moved`. */
  arrived: { readonly session: Session };
  /** Other nodes of the cluster have left it, in order or not. What lived there lives at the others, also here, or will. */
  nodesGone: Record<string, never>;
  /** The ports are open: modules may open their own ports now. */
  started: Record<string, never>;
  /**
   * An external component (XEP-0114) has logged in on a connection; others of it may exist, unless `isFirst`. `send` uses
   * this connection, and does nothing once it is closed.
   */
  componentConnected: { readonly domain: string; readonly isFirst: boolean; send(stanza: Stanza): void };
  /** The last connection of a component is closed. */
  componentGone: { readonly domain: string };
  /** The configuration was reloaded. */
  reloaded: Record<string, never>;
  /** A module's list of servers without streams (`serverGate`) has changed. */
  serverListsChanged: Record<string, never>;
  /** The server accepts no more input and is about to close all streams: last chance to send something to clients. */
  stopping: Record<string, never>;
}
