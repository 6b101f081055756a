/** Notifications (§7.1.2, §7.2.2, §8), built once for all recipients. */
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import { ownersOf } from './access.js';
import type { Holder, Node } from './node.js';

export function eventFrom(holder: Holder, node: Node | undefined, ...children: Element[]): Stanza {
  const type = node?.config['pubsub#notification_type'] ?? 'headline';
  const header = { from: holder.jid, type: type === 'normal' ? undefined : type, id: randomId() };
  return Stanza.build('message', header, el('event', { xmlns: NS.pubsubEvent }, ...children));
}

/**
 * §7.1.2.4, §12.16: the server sets the publisher if the node is configured to show it; it is left out if the account
 * itself is the publisher.
 */
export function itemElement(holder: Holder, node: Node, id: string, by: string, payload: Element | undefined): Element {
  const isShown = node.config['pubsub#itemreply'] === 'publisher' && by !== holder.jid.bare;
  return el('item', { id, publisher: isShown ? by : undefined }, payload);
}

export function itemEvent(holder: Holder, node: Node, id: string, by: string, payload: Element | undefined): Stanza {
  const shown = node.config['pubsub#deliver_payloads'] ? payload : undefined;
  const items = el('items', { node: node.name }, itemElement(holder, node, id, by, shown));
  const event = eventFrom(holder, node, items);
  return node.config['pubsub#itemreply'] === 'owner' ? event.plus(replyTo(ownersOf(holder, node))) : event;
}

/** §7.1.3.7: a notification without an item. */
export const bareEvent = (holder: Holder, node: Node): Stanza =>
  eventFrom(holder, node, el('items', { node: node.name }));

export const retractEvent = (holder: Holder, node: Node, ids: readonly string[]): Stanza =>
  eventFrom(holder, node, el('items', { node: node.name }, ...ids.map((id) => el('retract', { id }))));

export const nodeEvent = (holder: Holder, node: Node, name: 'purge' | 'delete', child?: Element): Stanza =>
  eventFrom(holder, node, el(name, { node: node.name }, child));

/** XEP-0033 §5.2. */
const replyTo = (jids: readonly string[]): Element =>
  el('addresses', { xmlns: NS.addresses }, ...jids.map((jid) => el('address', { type: 'replyto', jid })));

/** Payload types that have a text representation. */
const textual: readonly string[] = [NS.atom, NS.microblog];

/** §12.7: whether notifications of the node can include a body. */
export const hasText = ({ name, config }: Node): boolean =>
  textual.some((one) => config['pubsub#type'] === one || name === one || name.startsWith(`${one}:comments`));

/** Adds a body with the text of the payload (§12.7). Returns the event unchanged if there is none. */
export function withBody(event: Stanza): Stanza {
  const item = event.child(NS.pubsubEvent, 'event')?.getChild('items')?.getChild('item');
  const entry = item?.getChild('entry', NS.atom);
  const parts = ['title', 'summary'].flatMap((name) => entry?.getChildText(name, NS.atom)?.trim() || []);
  return parts.length === 0 ? event : event.plus(el('body', null, [...new Set(parts)].join('\n')));
}
