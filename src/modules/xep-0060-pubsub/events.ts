/** What is said to those who are notified (§7.1.2, §7.2.2, §8): written once for all of them. */
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el } from '../../server/xml/element.js';
import type { Holder, Node } from './node.js';

export function eventFrom(holder: Holder, node: Node | undefined, ...children: Element[]): Stanza {
  const type = node?.config['pubsub#notification_type'] ?? 'headline';
  const header = { from: holder.jid, type: type === 'normal' ? undefined : type, id: randomId() };
  return Stanza.build('message', header, el('event', { xmlns: NS.pubsubEvent }, ...children));
}

/** §7.1.2.4: the publisher is said by us; where it is the account itself, that goes without saying. */
export function itemElement(holder: Holder, id: string, by: string, payload: Element | undefined): Element {
  return el('item', { id, publisher: by === holder.jid.bare ? undefined : by }, payload);
}

export function itemEvent(holder: Holder, node: Node, id: string, by: string, payload: Element | undefined): Stanza {
  const shown = node.config['pubsub#deliver_payloads'] ? payload : undefined;
  return eventFrom(holder, node, el('items', { node: node.name }, itemElement(holder, id, by, shown)));
}

export const retractEvent = (holder: Holder, node: Node, ids: readonly string[]): Stanza =>
  eventFrom(holder, node, el('items', { node: node.name }, ...ids.map((id) => el('retract', { id }))));

export const nodeEvent = (holder: Holder, node: Node, name: 'purge' | 'delete', child?: Element): Stanza =>
  eventFrom(holder, node, el(name, { node: node.name }, child));
