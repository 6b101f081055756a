/**
 * XEP-0465: Pubsub Public Subscriptions, for nodes here: each public subscriber is an item of another node. The list of
 * an account's own subscriptions, which needs XEP-0376, is left out.
 */
import type { Jid } from '../../server/address/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { el } from '../../server/xml/element.js';
import { put, subscribersOf, take } from './managed.js';
import type { Holder, Node } from './node.js';
import type { PubSub } from './pubsub.js';

/** §4.4: adds a subscriber to the public subscribers, or removes them. */
export function publishSubscriber(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  { bare }: Jid,
  isPublic: boolean,
): Promise<void> {
  const name = subscribersOf(node.name);
  if (!isPublic) return take(pubsub, holder, name, bare);
  return put(pubsub, holder, node, name, bare, el('subscriber', { xmlns: NS.pps, jid: bare }));
}
