/**
 * RFC 6121 Appendix A: how a subscription stanza changes a roster item, and its consequences. Pure functions from an
 * item to the next one, the same object if nothing changes; undefined means 'not in the roster'.
 *
 * The nine states are the item's fields: `subscription`, `ask` (Pending Out) and `pendingIn` (Pending In).
 */
import { hasFrom, hasTo } from '../../server/stanza/subscription.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';

export type SubscriptionType = 'subscribe' | 'subscribed' | 'unsubscribe' | 'unsubscribed';

export const isSubscriptionType = (type: string | undefined): type is SubscriptionType =>
  type === 'subscribe' || type === 'subscribed' || type === 'unsubscribe' || type === 'unsubscribed';

export interface Outbound {
  readonly item: RosterItem | undefined;
  /** Whether the stanza is sent to the contact. */
  readonly route: boolean;
}

/** §A.2: a subscription stanza from the owner to the contact. */
export function outbound(type: SubscriptionType, item: RosterItem | undefined): Outbound {
  switch (type) {
    case 'subscribe': // §A.2.1
      return { item: hasTo(item) || item?.ask ? item : { ...shown(item), ask: true }, route: true };
    case 'unsubscribe': // §A.2.2
      return { item: withoutTo(item), route: true };
    case 'subscribed': // §A.2.3
      if (item?.pendingIn !== undefined) return { item: withFrom(shown(item)), route: true };
      if (hasFrom(item) || item?.approved) return { item, route: false };
      return { item: { ...shown(item), approved: true }, route: false }; // §3.4.2
    case 'unsubscribed': // §A.2.4; takes back a pre-approval too (§3.4.2)
      return { item: withoutApproval(withoutFrom(item)), route: hasFrom(item) || item?.pendingIn !== undefined };
  }
}

export interface Inbound {
  readonly item: RosterItem | undefined;
  /** Whether the owner's clients get the stanza. */
  readonly deliver: boolean;
  /** Whether the contact is approved at once. */
  readonly approve: boolean;
}

/** §A.3: a subscription stanza from the contact to the owner; `request` is the text of a subscribe, to be stored. */
export function inbound(type: SubscriptionType, item: RosterItem | undefined, request: string): Inbound {
  const next = (changed: RosterItem | undefined, deliver: boolean, approve = false): Inbound => ({
    item: changed,
    deliver,
    approve,
  });
  switch (type) {
    case 'subscribe': // §A.3.1, §3.1.3
      if (hasFrom(item)) return next(item, false, true);
      if (item?.approved) return next(withFrom(item), false, true); // §3.4.2
      if (item?.pendingIn !== undefined) return next(item, false);
      return next({ ...(item ?? { ...shown(undefined), hidden: true }), pendingIn: request }, true);
    case 'unsubscribe': // §A.3.2
      return next(withoutFrom(item), hasFrom(item) || item?.pendingIn !== undefined);
    case 'subscribed': // §A.3.3
      return item?.ask ? next(withTo(item), true) : next(item, false);
    case 'unsubscribed': // §A.3.4
      return next(withoutTo(item), hasTo(item) || item?.ask === true);
  }
}

/** The item as one that the owner has added to the roster. */
function shown(item: RosterItem | undefined): RosterItem {
  if (item === undefined) return { groups: [], subscription: 'none' };
  const { hidden: _, ...rest } = item;
  return rest;
}

function withTo({ ask: _, ...item }: RosterItem): RosterItem {
  return { ...item, subscription: hasFrom(item) ? 'both' : 'to' };
}

function withFrom({ pendingIn: _, ...item }: RosterItem): RosterItem {
  return { ...item, subscription: hasTo(item) ? 'both' : 'from' };
}

function withoutTo(item: RosterItem | undefined): RosterItem | undefined {
  if (item === undefined || !(hasTo(item) || item.ask)) return item;
  const { ask: _, ...rest } = item;
  return { ...rest, subscription: hasFrom(item) ? 'from' : 'none' };
}

/** Removes the contact's subscription or request, and a hidden item with it. */
function withoutFrom(item: RosterItem | undefined): RosterItem | undefined {
  if (item === undefined || item.hidden) return undefined;
  if (!hasFrom(item) && item.pendingIn === undefined) return item;
  const { pendingIn: _, ...rest } = item;
  return { ...rest, subscription: hasTo(item) ? 'to' : 'none' };
}

function withoutApproval(item: RosterItem | undefined): RosterItem | undefined {
  if (!item?.approved) return item;
  const { approved: _, ...rest } = item;
  return rest;
}
