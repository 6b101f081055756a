/** RFC 6121 §2.1.2.5: presence subscriptions of a roster item. */

interface Subscribed {
  readonly subscription: 'none' | 'to' | 'from' | 'both';
}

/** Whether the contact sees the owner's presence. */
export const hasFrom = (item: Subscribed | undefined): boolean =>
  item?.subscription === 'from' || item?.subscription === 'both';

/** Whether the owner sees the contact's presence. */
export const hasTo = (item: Subscribed | undefined): boolean =>
  item?.subscription === 'to' || item?.subscription === 'both';
