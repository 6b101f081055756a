/** What the roster offers other modules. */
import type { Session } from '../../server/routing/session.js';
import type { Jid } from '../../server/stanza/jid.js';

export interface RosterItem {
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  readonly subscription: 'none' | 'to' | 'from' | 'both';
  /** RFC 6121 §3.1.2: we asked, no answer yet. */
  readonly ask?: boolean | undefined;
  /** RFC 6121 §3.4: will be approved when it is asked for. */
  readonly approved?: boolean | undefined;
  /** They asked, we did not answer: kept to be shown to each session (§3.1.3); the stanza as text. */
  readonly pendingIn?: string | undefined;
  /** Exists only for `pendingIn`: the owner never added it, and their clients do not see it (RFC 6121 §A.1). */
  readonly hidden?: boolean | undefined;
}

declare module '../../server/module/index.js' {
  interface Services {
    roster: {
      /** The items of an account by contact (bare JID); synchronous while it is in memory. Not to be changed. */
      get(owner: string): ReadonlyMap<string, RosterItem> | Promise<ReadonlyMap<string, RosterItem>>;
      /** Whether `contact` is subscribed to the owner's presence. */
      sees(owner: string, contact: Jid): boolean | Promise<boolean>;
      /**
       * Keeps an item, or with undefined removes it, and tells the owner's clients: at once if the roster is in memory.
       * Resolves when that is durable. Throws StanzaError('resource-constraint') where the roster is full.
       */
      set(owner: Jid, contact: Jid, item: RosterItem | undefined): Promise<void>;
      /** Whether a session asked for the roster and so gets roster pushes (RFC 6121 §2.1.6). */
      isInterested(session: Session): boolean;
    };
  }

  interface Events {
    /** A roster item changed: subscription, name or groups. `item` is undefined if it was removed, `before` if it is new. */
    rosterChanged: {
      readonly owner: Jid;
      readonly contact: Jid;
      readonly item: RosterItem | undefined;
      readonly before: RosterItem | undefined;
    };
  }
}
