/** XEP-0248 §4.3: notifications to subscribers of the collections above a node. */

import type { Jid } from '../../server/address/jid.js';
import type { Origin } from '../../server/routing/passage.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { affiliationOf, barrier, entryFor } from './access.js';
import { isActive, subids, toSubscriber } from './delivery.js';
import { eventFrom } from './events.js';
import { collectionsAbove, type Graph } from './graph.js';
import type { Holder, Node, Subscriber } from './node.js';
import type { PubSub } from './pubsub.js';
import { solicited, speakersOf } from './speakers.js';

export const parentsOf = (holder: Holder, name: string): readonly string[] =>
  holder.nodes.get(name)?.config['pubsub#collection'] ?? [];

/** §4.3.2: whether a notification is about items or about nodes. */
export type Kind = 'items' | 'nodes';

/** §4.3.1: notifies subscribers of the collections above a node, as configured for the node itself. */
export function notifyAbove(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  event: Stanza,
  kind: Kind,
  speakers: readonly Jid[],
): void {
  const parents = node.config['pubsub#collection'];
  if (parents.length === 0) return;
  const above = collectionsAbove(graphOf(holder), parents);
  notifySubscribersAbove(pubsub, holder, above, event, kind, node, solicited(speakers));
}

/** §4.3.2: notifies that a node has joined or left a collection. */
export function notifyLink(
  pubsub: PubSub,
  holder: Holder,
  collection: Node,
  child: string,
  isJoining: boolean,
  by: Jid,
): void {
  if (!collection.config['pubsub#deliver_notifications']) return;
  const change = el(isJoining ? 'associate' : 'dissociate', { node: child });
  const event = eventFrom(holder, collection, el('collection', { node: collection.name }, change));
  const above = collectionsAbove(graphOf(holder), [collection.name]);
  const origin = solicited(speakersOf(holder, collection, by.bare));
  notifySubscribersAbove(pubsub, holder, above, event, 'nodes', holder.nodes.get(child), origin);
}

const graphOf = (holder: Holder): Pick<Graph, 'parents'> => ({ parents: (name) => parentsOf(holder, name) });

function notifySubscribersAbove(
  pubsub: PubSub,
  holder: Holder,
  above: ReadonlyMap<string, number>,
  event: Stanza,
  kind: Kind,
  node: Node | undefined,
  origin: Origin | undefined,
): void {
  // Bounded like the subscriptions of one node; the nearest collections come first.
  let left = pubsub.settings.subscriptions_per_node;
  for (const [name, distance] of above) {
    const collection = holder.nodes.get(name);
    if (collection === undefined || collection.subscriptions.size === 0) continue;
    const header = el('headers', { xmlns: NS.shim }, el('header', { name: 'Collection' }, name));
    const shown = event.plus(header);
    for (const subscriber of [...collection.subscriptions.values()]) {
      if (!isActive(subscriber) || !matches(subscriber, kind, distance)) continue;
      if (left-- <= 0) {
        pubsub.host.limitHit('pubsub.subscriptions');
        return;
      }
      const { bare } = subscriber.jid;
      if (node !== undefined && affiliationOf(holder, node, bare) === 'outcast') continue;
      const outgoing = collection.several ? shown.plus(subids([subscriber])) : shown;
      const send = (item: RosterItem | undefined) =>
        barrier(holder, collection, bare, item) === undefined
          ? toSubscriber(pubsub, holder, subscriber, outgoing, origin)
          : undefined;
      const item = entryFor(pubsub, holder, collection, bare);
      pubsub.aside(item instanceof Promise ? item.then(send) : send(item));
    }
  }
}

/** `pubsub#subscription_type`, `pubsub#subscription_depth`. */
function matches({ type = 'nodes', depth = 1 }: Subscriber, kind: Kind, distance: number): boolean {
  return (type === 'all' || type === kind) && (depth === 'all' || distance <= depth);
}
