/** §7: publishing items, with options that are preconditions (§7.1.5), deleting them (§7.2), and all of them (§8.5). */
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el, serialize } from '../../server/xml/element.js';
import { affiliationOf, demandOwner, mayPublish } from './access.js';
import { forbidden, noSuchNode, pubsubError, unsupported } from './errors.js';
import { itemEvent, nodeEvent, retractEvent } from './events.js';
import type { Holder, Items, Node, PubSub } from './node.js';
import { demand, type NodeConfig, readOptions, roomFor } from './node-config.js';
import { notify } from './notify.js';
import { makeNode, mayMake } from './owner.js';
import { type Action, find, flat, formIn, inTurn, nameIn, nodeNamed } from './request.js';

export async function publish(action: Action): Promise<Element> {
  const { pubsub, request, from, bare, element } = action;
  const { settings, holders } = pubsub;
  const name = nodeNamed(action);
  const itemElements = element.getChildren('item', NS.pubsub);
  if (itemElements.length > 1) throw pubsubError('not-allowed', 'max-items-exceeded'); // §12.12
  const [item] = itemElements;
  const payload = item && payloadOf(item);
  // §7.1.2.4: who published it is for us to say
  const { publisher } = item?.attrs ?? {};
  if (publisher !== undefined && publisher !== from.bare && publisher !== from.full) throw forbidden();
  const given = item && nameIn(item, 'id');
  const optionsElement = request.payload.getChild('publish-options', NS.pubsub);
  const optionsForm = formIn(optionsElement);
  const options: Partial<NodeConfig> = optionsForm === undefined ? {} : readOptions(optionsForm, settings);
  const xml = payload === undefined ? '' : flat(serialize(payload));

  const maker = await mayMake(pubsub, await holders.get(bare), from);
  return inTurn(action, name, async (found) => {
    const { holder } = found;
    let { node, items } = found;
    if (node !== undefined ? !mayPublish(holder, node, from.bare) : !maker) throw forbidden();
    if (node !== undefined) demand(options, node.config);
    const config = node?.config ?? { ...holder.defaults, ...options };
    const id = given ?? randomId();
    checkItem(config, item !== undefined, payload, xml);
    const isNew = items?.index.has(id) !== true;
    const room = roomFor(config, settings);
    if (
      isNew &&
      (items?.index.size ?? 0) >= room &&
      config['pubsub#publish_node_full'] === 'reject' &&
      config['pubsub#persist_items']
    )
      throw pubsubError('conflict', 'node-full');
    const leaves = Math.max(0, (items?.index.size ?? 0) + 1 - room);
    if (isNew && leaves === 0 && config['pubsub#persist_items']) demandRoom(pubsub, holder);

    // From here on without waiting: two who publish at once are one behind the other.
    const writes: Promise<unknown>[] = [];
    if (node === undefined) {
      const made = makeNode(pubsub, holder, name, from, options);
      writes.push(made.write);
      node = made.node;
      items = node.items;
    }
    const event = itemEvent(holder, node, id, from.bare, payload);
    const gone =
      node.config['pubsub#persist_items'] && item !== undefined
        ? keep(pubsub, holder, node, items!, id, { by: from.bare, xml }, event, writes)
        : [];
    await holders.written(holder, ...writes);
    notify(pubsub, holder, node, event);
    if (gone.length > 0 && node.config['pubsub#publish_node_full'] === 'retract-oldest')
      notify(pubsub, holder, node, retractEvent(holder, node, gone));
    return el('pubsub', { xmlns: NS.pubsub }, el('publish', { node: name }, item && el('item', { id })));
  });
}

/** The oldest make room for it; those that do. */
function keep(
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

/** §7.1.3.5, §7.1.3.6: one payload at most, and nothing else. */
function payloadOf(item: Element): Element | undefined {
  const payloads = item.getChildElements();
  if (payloads.length > 1) throw pubsubError('bad-request', 'invalid-payload');
  return payloads[0];
}

function checkItem(config: NodeConfig, hasItem: boolean, payload: Element | undefined, xml: string): void {
  if (!hasItem && config['pubsub#persist_items']) throw pubsubError('bad-request', 'item-required');
  if (!hasItem && config['pubsub#deliver_payloads']) throw pubsubError('bad-request', 'payload-required');
  if (hasItem && !config['pubsub#persist_items'] && !config['pubsub#deliver_payloads'])
    throw pubsubError('bad-request', 'item-forbidden');
  if (hasItem && payload === undefined && config['pubsub#deliver_payloads'])
    throw pubsubError('bad-request', 'payload-required');
  const type = config['pubsub#type'];
  if (type !== '' && payload !== undefined && payload.getNS() !== type)
    throw pubsubError('bad-request', 'invalid-payload');
  if (Buffer.byteLength(xml) > config['pubsub#max_payload_size'])
    throw pubsubError('not-acceptable', 'payload-too-big');
}

function demandRoom({ host, settings }: PubSub, holder: Holder): void {
  if (!holder.isAccount || holder.items < settings.items_per_account) return;
  host.limitHit('pubsub.items_per_account');
  throw new StanzaError('resource-constraint', `An account has at most ${settings.items_per_account} items.`);
}

/** §7.2: a publisher removes his own items, an owner any. */
export async function retract(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const elements = element.getChildren('item', NS.pubsub);
  const ids = elements.flatMap((item) => nameIn(item, 'id') ?? []);
  if (ids.length === 0 || ids.length < elements.length) throw pubsubError('bad-request', 'item-required');
  const { holders } = pubsub;
  // Who published them, where that decides
  const found = await find(action, name);
  const isOwner = found.node !== undefined && affiliationOf(found.holder, found.node, from.bare) === 'owner';
  const kept =
    found.node === undefined || isOwner
      ? []
      : await Promise.all(ids.map((id) => holders.item(found.holder, found.node!, id)));
  const areOwn = kept.every((item) => item === undefined || item.by === from.bare);
  return inTurn(action, name, async ({ holder, node, items }) => {
    if (node === undefined) {
      // To those who could not publish there anyhow an account says nothing of its nodes
      throw holder.isAccount && from.bare !== holder.jid.bare ? forbidden() : noSuchNode();
    }
    if (!mayPublish(holder, node, from.bare) || !areOwn) throw forbidden();
    if (isOwner !== (affiliationOf(holder, node, from.bare) === 'owner')) throw forbidden();
    if (!node.config['pubsub#persist_items']) throw unsupported('persistent-items');
    if (ids.some((id) => !items!.index.has(id))) throw noSuchNode();
    await holders.written(holder, holders.removeItems(holder, node, items!, ids));
    const { notify: asked } = element.attrs;
    if (asked === 'true' || asked === '1' || node.config['pubsub#notify_retract'])
      notify(pubsub, holder, node, retractEvent(holder, node, ids));
    return undefined;
  });
}

/** §8.5. */
export async function purge(action: Action): Promise<undefined> {
  const { pubsub, from } = action;
  return inTurn(action, nodeNamed(action), async (found) => {
    const { holder, items } = found;
    const node = demandOwner(holder, found.node, from.bare);
    if (!node.config['pubsub#persist_items']) throw unsupported('persistent-items');
    await pubsub.holders.written(holder, pubsub.holders.removeItems(holder, node, items!, [...items!.index.keys()]));
    if (node.config['pubsub#notify_retract']) notify(pubsub, holder, node, nodeEvent(holder, node, 'purge'));
    return undefined;
  });
}
