/** §7: publishing items, with options as preconditions (§7.1.5), retracting them (§7.2), and purging a node (§8.5). */

import { flat } from '../../server/address/flat.js';
import { portion } from '../../server/limits/portions.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el, serialize } from '../../server/xml/element.js';
import type { RosterItem } from '../rfc-6121-roster/services.js';
import { affiliationOf, demandOwner, mayPublish, missing, ownersOf } from './access.js';
import { isCollection } from './collections.js';
import { forbidden, noSuchNode, pubsubError, unsupported } from './errors.js';
import { bareEvent, itemEvent, nodeEvent, retractEvent } from './events.js';
import { isAttachments, isManaged } from './managed.js';
import type { Found, Holder, Items, Node } from './node.js';
import { demand, type NodeConfig, readOptions, roomFor } from './node-config.js';
import { audience, notify } from './notify.js';
import { createNode, mayCreate } from './owner.js';
import type { PubSub } from './pubsub.js';
import { type Action, formIn, inTurn, nameIn, nodeNamed } from './request.js';
import { around, usualConfig } from './well-known.js';
import { attaching, createAttachments, detach, summarize } from './xep-0470-attachments.js';

/** Characters of payload that may be sent to any number of recipients. */
const uncounted = 5000;

export async function publish(action: Action): Promise<Element> {
  const { pubsub, request, from, bare, element } = action;
  const { settings, holders } = pubsub;
  const name = nodeNamed(action);
  const itemElements = element.getChildren('item', NS.pubsub);
  if (itemElements.length > 1) throw pubsubError('not-allowed', 'max-items-exceeded'); // §12.12
  const [item] = itemElements;
  const payload = item && payloadOf(item);
  // §7.1.2.4: the server sets the publisher
  const { publisher } = item?.attrs ?? {};
  if (publisher !== undefined && publisher !== from.bare && publisher !== from.full) throw forbidden();
  const id = (item && nameIn(item, 'id')) ?? randomId();
  if (isManaged(name)) throw forbidden(); // XEP-0465 §5, XEP-0470 §4.6
  const target = isAttachments(name) ? await attaching(pubsub, bare, name, from, item?.attrs.id, payload) : undefined;
  const optionsForm = formIn(request.payload.getChild('publish-options', NS.pubsub));
  // XEP-0470 §4.3: ignored for attachments
  const options: Partial<NodeConfig> =
    optionsForm === undefined || target !== undefined ? {} : readOptions(optionsForm, settings);
  const xml = payload === undefined ? '' : flat(serialize(payload));

  const owner = await holders.get(bare);
  const isPermitted = await mayCreate(pubsub, owner, from);
  // Most payloads are so short that recipients need not be counted.
  const isCounted = xml.length >= uncounted;
  const contacts = isCounted && owner.isAccount ? await pubsub.roster.get(owner.jid.bare) : undefined;
  const recipients = isCounted ? await audience(pubsub, owner, name, owner.nodes.get(name), contacts) : 0;
  const store = async (found: Found<RosterItem | undefined>): Promise<Element> => {
    // No await before the item is stored: of two concurrent requests, the second sees the result of the first.
    const { holder } = found;
    let { node, items } = found;
    if (node !== undefined && !mayPublish(holder, node, from.bare)) throw forbidden();
    // An item would outlive the anonymous account.
    if (
      pubsub.host.isAnonymous(from.bare) &&
      !(node === undefined ? isPermitted : ownersOf(holder, node).includes(from.bare))
    )
      throw forbidden();
    if (node === undefined && target === undefined && !isPermitted)
      throw missingFor(holder, name, from.bare, found.prepared);
    if (node !== undefined && isCollection(node)) throw unsupported('publish'); // XEP-0248 §3.1
    if (node !== undefined) demand(options, node.config);
    const config = node?.config ?? { ...holder.defaults, ...usualConfig(pubsub.wellKnown, holder, name), ...options };
    checkItem(config, item !== undefined, payload, xml);
    if (isCounted && config['pubsub#deliver_payloads']) pubsub.host.demandFanOut(xml, recipients);
    const isNew = items?.index.has(id) !== true;
    const room = roomFor(config, settings);
    if (
      isNew &&
      (items?.index.size ?? 0) >= room &&
      config['pubsub#publish_node_full'] === 'reject' &&
      config['pubsub#persist_items']
    )
      throw pubsubError('conflict', 'node-full');
    if (config['pubsub#persist_items'] && item !== undefined) {
      const leaving = isNew ? leavingFor(items, room) : [id];
      const freed = leaving.reduce((sum, one) => sum + (items?.index.get(one)?.bytes ?? 0), 0);
      demandRoom(pubsub, holder, from.bare, isNew ? 1 - leaving.length : 0, Buffer.byteLength(xml) - freed);
    }

    const writes: Promise<unknown>[] = [];
    if (node === undefined) {
      const made = target
        ? createAttachments(pubsub, holder, name, target, from)
        : createNode(pubsub, holder, name, from, options);
      if (made === undefined) throw forbidden();
      writes.push(made.write);
      node = made.node;
      items = node.items;
    }
    const event = item ? itemEvent(holder, node, id, from.bare, payload) : bareEvent(holder, node);
    const gone =
      node.config['pubsub#persist_items'] && item !== undefined
        ? storeItem(pubsub, holder, node, items!, id, { by: from.bare, xml }, event, writes)
        : [];
    await holders.commit(holder, ...writes);
    // Retractions first: a client that keeps only the last notified item keeps the new one.
    if (gone.length > 0 && node.config['pubsub#publish_node_full'] === 'retract-oldest')
      notify(pubsub, holder, node, retractEvent(holder, node, gone), { by: from.bare });
    notify(pubsub, holder, node, event, { by: from.bare });
    if (gone.length > 0) await detach(pubsub, holder, node, gone);
    if (target !== undefined) await summarize(pubsub, bare, name);
    return el('pubsub', { xmlns: NS.pubsub }, el('publish', { node: name }, item && el('item', { id })));
  };
  return around(action, name, { publish: item && { id, payload }, retract: [] }, () => inTurn(action, name, store));
}

/** Stores an item, evicts the oldest ones beyond the limit, and returns their ids. */
export function storeItem(
  { holders, settings }: PubSub,
  holder: Holder,
  node: Node,
  items: Items,
  id: string,
  item: { by: string; xml: string },
  event: Parameters<typeof notify>[3],
  writes: Promise<unknown>[],
): string[] {
  writes.push(holders.setItem(holder, node, items, id, item, event));
  const surplus = items.index.size - roomFor(node.config, settings);
  if (surplus <= 0) return [];
  const gone = [...items.index.keys()].slice(0, surplus);
  writes.push(holders.removeItems(holder, node, items, gone));
  return gone;
}

/** §7.1.3.5, §7.1.3.6: the payload, at most one element. Throws StanzaError. */
function payloadOf(item: Element): Element | undefined {
  const payloads = item.getChildElements();
  if (payloads.length > 1) throw pubsubError('bad-request', 'invalid-payload');
  return payloads[0];
}

/** The oldest items, which must be evicted before one more is added. */
const leavingFor = (items: Items | undefined, room: number): string[] =>
  items === undefined ? [] : [...items.index.keys()].slice(0, Math.max(0, items.index.size + 1 - room));

/** §7.1.3.1, §7.1.3.3: users who may not create nodes get only `forbidden`, or the new address of a moved node. */
function missingFor(holder: Holder, name: string, bare: string, entry: RosterItem | undefined): StanzaError {
  const error = missing(holder, name, bare, entry);
  return error.condition === 'gone' ? error : forbidden();
}

function checkItem(config: NodeConfig, hasItem: boolean, payload: Element | undefined, xml: string): void {
  if (!hasItem && config['pubsub#persist_items']) throw pubsubError('bad-request', 'item-required');
  if (!hasItem && config['pubsub#deliver_payloads']) throw pubsubError('bad-request', 'payload-required');
  if (hasItem && !config['pubsub#persist_items'] && !config['pubsub#deliver_payloads'])
    throw pubsubError('bad-request', 'item-forbidden');
  if (hasItem && payload === undefined && config['pubsub#deliver_payloads'])
    throw pubsubError('bad-request', 'payload-required');
  if (Buffer.byteLength(xml) > config['pubsub#max_payload_size'])
    throw pubsubError('not-acceptable', 'payload-too-big');
}

/** Checks limits for `more` further items and `bytes` of payloads of one publisher. Throws StanzaError. */
export function demandRoom({ host, settings }: PubSub, holder: Holder, by: string, more = 1, bytes = 0): void {
  const { isAccount } = holder;
  if (isAccount && more > 0 && holder.items + more > settings.items_per_account) {
    host.limitHit('pubsub.items_per_account');
    throw new StanzaError('resource-constraint', `An account can have at most ${settings.items_per_account} items.`);
  }
  const most = isAccount ? settings.bytes_per_account : settings.service_bytes;
  if (bytes <= 0) return;
  if (holder.bytes + bytes <= most) {
    if (isAccount || most === Number.POSITIVE_INFINITY) return;
    // A publisher may use only a share of the free space, so that a few cannot fill the service.
    const share = Math.max(settings.item_bytes, Math.floor((most - holder.bytes) * portion));
    if ((holder.publishers.get(by) ?? 0) + bytes <= share) return;
  }
  host.limitHit(isAccount ? 'pubsub.bytes_per_account' : 'pubsub.service_bytes');
  throw new StanzaError('resource-constraint', `The limit of ${most} bytes is reached.`);
}

/** §7.2: publishers may retract their own items, owners any. */
export async function retract(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const elements = element.getChildren('item', NS.pubsub);
  const ids = elements.flatMap((item) => nameIn(item, 'id') ?? []);
  if (ids.length === 0 || ids.length < elements.length) throw pubsubError('bad-request', 'item-required');
  const { holders } = pubsub;
  const take = async ({ holder, node, items, prepared }: Found<RosterItem | undefined>): Promise<undefined> => {
    if (node === undefined) {
      // To users who could not publish anyway, an account does not reveal which nodes it has
      const isOthers = holder.isAccount && from.bare !== holder.jid.bare;
      throw isOthers ? missingFor(holder, name, from.bare, prepared) : missing(holder, name, from.bare, prepared);
    }
    const isOwner = affiliationOf(holder, node, from.bare) === 'owner';
    const areOwn = ids.every((id) => (items!.index.get(id)?.by ?? from.bare) === from.bare);
    if (!mayPublish(holder, node, from.bare) || !(isOwner || areOwn)) throw forbidden();
    if (isCollection(node) || !node.config['pubsub#persist_items']) throw unsupported('persistent-items');
    if (ids.some((id) => !items!.index.has(id))) throw noSuchNode();
    if (isManaged(name)) throw forbidden(); // XEP-0465 §5
    await holders.commit(holder, holders.removeItems(holder, node, items!, ids));
    const { notify: notifyAttribute } = element.attrs;
    if (notifyAttribute === 'true' || notifyAttribute === '1' || node.config['pubsub#notify_retract'])
      notify(pubsub, holder, node, retractEvent(holder, node, ids), { by: from.bare });
    await detach(pubsub, holder, node, ids);
    await summarize(pubsub, holder.jid.bare, name);
    return undefined;
  };
  return around(action, name, { retract: ids }, () => inTurn(action, name, take));
}

/** §8.5. */
export async function purge(action: Action): Promise<undefined> {
  const { pubsub, from } = action;
  const name = nodeNamed(action);
  const empty = async (found: Found<RosterItem | undefined>): Promise<undefined> => {
    const { holder, items } = found;
    const node = demandOwner(holder, found.node, from.bare);
    if (isCollection(node) || !node.config['pubsub#persist_items']) throw unsupported('persistent-items');
    if (isManaged(name)) throw forbidden(); // XEP-0465 §5
    const ids = [...items!.index.keys()];
    await pubsub.holders.commit(holder, pubsub.holders.removeItems(holder, node, items!, ids));
    if (node.config['pubsub#notify_retract'])
      notify(pubsub, holder, node, nodeEvent(holder, node, 'purge'), { by: from.bare });
    await detach(pubsub, holder, node, ids);
    await summarize(pubsub, holder.jid.bare, name);
    return undefined;
  };
  return around(action, name, { retract: 'all' }, () => inTurn(action, name, empty));
}
