/** XEP-0248 §4.3: who is told by way of the collections above a node. */
import type { Origin } from '../../server/routing/passage.js';
import type { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { el } from '../../server/xml/element.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { affiliationOf, barrier, entryFor } from './access.js';
import { eventFrom } from './events.js';
import { collectionsAbove, type Graph } from './graph.js';
import type { Holder, Node, Subscriber } from './node.js';
import type { PubSub } from './pubsub.js';
import { asked, speakersOf } from './speakers.js';
import { isTold, subids, toSubscriber } from './telling.js';

export const parentsOf = (holder: Holder, name: string): readonly string[] =>
  holder.nodes.get(name)?.config['pubsub#collection'] ?? [];

/** §4.3.2: somebody is told of items, of nodes, or both. */
export type Kind = 'items' | 'nodes';

/** §4.3.1: tells those who subscribed to collections above a node. Its own configuration decides how. */
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
  tellAbove(pubsub, holder, above, event, kind, node, asked(speakers));
}

/** §4.3.2: a node came into a collection, or left it. */
export function tellLink(
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
  const origin = asked(speakersOf(holder, collection, by.bare));
  tellAbove(pubsub, holder, above, event, 'nodes', holder.nodes.get(child), origin);
}

const graphOf = (holder: Holder): Pick<Graph, 'parents'> => ({ parents: (name) => parentsOf(holder, name) });

function tellAbove(
  pubsub: PubSub,
  holder: Holder,
  above: ReadonlyMap<string, number>,
  event: Stanza,
  kind: Kind,
  node: Node | undefined,
  origin: Origin | undefined,
): void {
  // No more are told than by one node with all its subscriptions: the nearest collections first.
  let left = pubsub.settings.subscriptions_per_node;
  for (const [name, distance] of above) {
    const collection = holder.nodes.get(name);
    if (collection === undefined || collection.subscriptions.size === 0) continue;
    const header = el('headers', { xmlns: NS.shim }, el('header', { name: 'Collection' }, name));
    const shown = event.plus(header);
    for (const subscriber of [...collection.subscriptions.values()]) {
      if (!isTold(subscriber) || !isMeant(subscriber, kind, distance)) continue;
      if (left-- <= 0) {
        pubsub.host.limitHit('pubsub.subscriptions');
        return;
      }
      const { bare } = subscriber.jid;
      if (node !== undefined && affiliationOf(holder, node, bare) === 'outcast') continue;
      const said = collection.several ? shown.plus(subids([subscriber])) : shown;
      const send = (item: RosterItem | undefined) =>
        barrier(holder, collection, bare, item) === undefined
          ? toSubscriber(pubsub, holder, subscriber, said, origin)
          : undefined;
      const item = entryFor(pubsub, holder, collection, bare);
      pubsub.aside(item instanceof Promise ? item.then(send) : send(item));
    }
  }
}

/** `pubsub#subscription_type`, `pubsub#subscription_depth`. */
function isMeant({ type = 'nodes', depth = 1 }: Subscriber, kind: Kind, distance: number): boolean {
  return (type === 'all' || type === kind) && (depth === 'all' || distance <= depth);
}
