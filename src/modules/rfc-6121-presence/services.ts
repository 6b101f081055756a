/** The service that this module provides to others. */

import type { Jid } from '../../server/address/jid.js';
import type { Session } from '../../server/routing/session.js';
import type { Stanza } from '../../server/stanza/stanza.js';

declare module '../../server/module/index.js' {
  interface Services {
    presence: {
      /**
       * Addresses with directed available presence that have not received unavailable yet (RFC 6121 §4.6), by full JID.
       */
      directed(session: Session): ReadonlyMap<string, Jid>;
    };
  }

  interface Events {
    /** A session became available (RFC 6121 §4.2): its first available presence after being unavailable. */
    available: { readonly session: Session };
    /** An available session became unavailable. `stanza` is its presence, by the server if the session ended without one. */
    unavailable: { readonly session: Session; readonly stanza: Stanza };
    /**
     * An available session sent another presence (RFC 6121 §4.4), now current; `before` and its priority are the
     * previous ones.
     */
    presenceChanged: { readonly session: Session; readonly before: Stanza; readonly priorityBefore: number };
    /** A contact asks to subscribe to an account's presence (RFC 6121 §3.1.3): the request is pending. */
    subscriptionRequested: { readonly owner: Jid; readonly contact: Jid };
    /** Presence, available or not, arrived at an account's bare address: from a contact, or directed. */
    contactPresence: { readonly owner: Jid; readonly stanza: Stanza };
  }
}
