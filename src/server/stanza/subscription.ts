/** RFC 6121 §2.1.2.5: who sees whose presence by an item of a roster. */

interface Subscribed {
  readonly subscription: 'none' | 'to' | 'from' | 'both';
}

/** The contact sees the owner's presence. */
export const hasFrom = (item: Subscribed | undefined): boolean =>
  item?.subscription === 'from' || item?.subscription === 'both';

/** The owner sees the contact's presence. */
export const hasTo = (item: Subscribed | undefined): boolean =>
  item?.subscription === 'to' || item?.subscription === 'both';
