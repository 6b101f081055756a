/** What presence offers other modules and the server. */
import type { Session } from '../../server/routing/session.js';
import type { Jid } from '../../server/stanza/jid.js';
import type { Stanza } from '../../server/stanza/stanza.js';

declare module '../../server/module/index.js' {
  interface Services {
    presence: {
      /** Addresses that got presence directly and have not been told that it is over (RFC 6121 §4.6), by themselves. */
      directed(session: Session): ReadonlyMap<string, Jid>;
    };
  }

  interface Events {
    /** A session became available (RFC 6121 §4.2): its first available presence after being unavailable. */
    available: { readonly session: Session };
    /** An available session became unavailable. `stanza` is its unavailable presence, made by the server if the session ended without one. */
    unavailable: { readonly session: Session; readonly stanza: Stanza };
    /** An available session sent another presence (RFC 6121 §4.4), which it has now; `before` and its priority went. */
    presenceChanged: { readonly session: Session; readonly before: Stanza; readonly priorityBefore: number };
    /** Presence, available or not, came to an account's bare address: of whoever it sees, or directed. */
    contactPresence: { readonly owner: Jid; readonly stanza: Stanza };
  }
}
