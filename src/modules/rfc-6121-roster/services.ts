/** The service that this module provides to others. */

import type { Jid } from '../../server/address/jid.js';
import type { IqRequest, Maybe } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import type { Element } from '../../server/xml/element.js';

export interface RosterItem {
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  readonly subscription: 'none' | 'to' | 'from' | 'both';
  /** RFC 6121 §3.1.2: a subscription request of ours is pending. */
  readonly ask?: boolean | undefined;
  /** RFC 6121 §3.4: a future request is approved in advance. */
  readonly approved?: boolean | undefined;
  /** The contact's pending request, as XML: shown to each session (§3.1.3). */
  readonly pendingIn?: string | undefined;
  /** Exists only for `pendingIn`: the owner never added it, and their clients do not see it (RFC 6121 §A.1). */
  readonly hidden?: boolean | undefined;
}

declare module '../../server/module/index.js' {
  interface Services {
    roster: {
      /** The items of an account by contact (bare JID). Synchronous if cached. Read-only. */
      get(owner: string): Maybe<ReadonlyMap<string, RosterItem>>;
      /** Whether `contact` is subscribed to the owner's presence. */
      sees(owner: string, contact: Jid): Maybe<boolean>;
      /**
       * Persists an item, or deletes it if undefined, and notifies the owner's clients: at once if the roster is
       * cached. Resolves when the change is durable. Throws StanzaError('resource-constraint') if the roster is full.
       */
      set(owner: Jid, contact: Jid, item: RosterItem | undefined): Promise<void>;
      /** Answers a roster get (RFC 6121 §2.1.3) of any requester. */
      read(request: IqRequest): Maybe<Element | undefined>;
      /**
       * Applies a roster set (RFC 6121 §2.1.5) of any requester. `grants`: the requester decides on subscriptions of this
       * contact, so that the set may include the subscription. Throws StanzaErrors of §2.3.3.
       */
      change(request: IqRequest, grants?: (contact: Jid) => boolean): Promise<void>;
      /** An item as clients see it; undefined if they do not see it. */
      element(contact: Jid, item: RosterItem | undefined): Element | undefined;
      /** Whether a session has requested the roster and so gets roster pushes (RFC 6121 §2.1.6). */
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
