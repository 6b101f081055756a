/** §8: what owners do: make nodes, configure and delete them, and rule who is who. */
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { demandOwner, ownersOf } from './access.js';
import { forbidden, pubsubError } from './errors.js';
import { eventFrom, nodeEvent } from './events.js';
import { reveal } from './last-items.js';
import { type Affiliation, affiliations, type Holder, type Items, type Node, type PubSub } from './node.js';
import { configForm, defaults, differing, type NodeConfig, readConfig, roomFor, sameValue } from './node-config.js';
import { notify } from './notify.js';
import { type Action, find, formIn, inTurn, nameIn, nodeNamed } from './request.js';
import { dropBarred } from './subscriptions.js';

/** Whether somebody may make nodes here. */
export function mayMake({ host, settings }: PubSub, holder: Holder, from: Jid): boolean | Promise<boolean> {
  if (holder.isAccount) return holder.jid.bare === from.bare;
  return host.permits(settings.create, from, holder.jid);
}

/** Makes a node where there is none of this name and room for one more. */
export function makeNode(
  { host, holders, settings }: PubSub,
  holder: Holder,
  name: string,
  creator: Jid,
  config: Partial<NodeConfig>,
): { node: Node; write: Promise<void> } {
  const made = holder.isAccount
    ? holder.nodes.size
    : [...holder.nodes.values()].filter(({ stored }) => stored.creator === creator.bare).length;
  const isFull = holder.isAccount
    ? made >= settings.nodes_per_account
    : made >= settings.service_nodes_per_user || holder.nodes.size >= settings.service_nodes;
  if (isFull) {
    host.limitHit(holder.isAccount ? 'pubsub.nodes_per_account' : 'pubsub.service_nodes');
    throw pubsubError('resource-constraint', 'max-nodes-exceeded', 'There are too many nodes.');
  }
  return holders.create(holder, name, creator, config);
}

/** §8.1. */
export async function create(action: Action): Promise<Element | undefined> {
  const { pubsub, request, from, element, bare } = action;
  const given = nameIn(element, 'node');
  const form = formIn(request.payload.getChild('configure', NS.pubsub));
  const config = form === undefined ? {} : readConfig(form, pubsub.settings);
  if (config === undefined) throw new StanzaError('bad-request', 'A configuration that is cancelled.');
  const name = given ?? randomId(); // §8.1.1: an instant node
  if (!(await mayMake(pubsub, await pubsub.holders.get(bare), from))) throw forbidden();
  const holder = await pubsub.holders.get(bare);
  if (holder.nodes.has(name)) throw new StanzaError('conflict');
  await pubsub.holders.written(holder, makeNode(pubsub, holder, name, from, config).write);
  return given === undefined ? el('pubsub', { xmlns: NS.pubsub }, el('create', { node: name })) : undefined;
}

/** §8.2.1. */
export async function offerConfig(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const { holder, node } = await find(action, name);
  const { config } = demandOwner(holder, node, action.from.bare);
  return el('pubsub', { xmlns: NS.pubsubOwner }, el('configure', { node: name }, configForm.form(config)));
}

/** §8.2.4. */
export async function configure(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const form = formIn(element);
  if (form === undefined) throw new StanzaError('bad-request', 'There is no form.');
  const submitted = readConfig(form, pubsub.settings);
  return inTurn(action, name, async ({ holder, node: found, items }) => {
    const node = demandOwner(holder, found, from.bare);
    if (submitted === undefined) return undefined; // §8.2.5.1: cancelled
    const before = node.config;
    const nodeBefore = { ...node };
    const after = { ...before, ...submitted };
    const writes: Promise<unknown>[] = [
      pubsub.holders.change(holder, node, { config: differing(after, holder.defaults) }),
    ];
    const surplus = after['pubsub#persist_items']
      ? items!.index.size - roomFor(after, pubsub.settings)
      : items!.index.size;
    if (surplus > 0)
      writes.push(pubsub.holders.removeItems(holder, node, items!, [...items!.index.keys()].slice(0, surplus)));
    if (!sameValue(before['pubsub#deliver_payloads'], after['pubsub#deliver_payloads'])) items!.last = undefined;
    if (!sameValue(before['pubsub#notification_type'], after['pubsub#notification_type'])) items!.last = undefined;
    await pubsub.holders.written(holder, ...writes);
    const isAccessChanged =
      before['pubsub#access_model'] !== after['pubsub#access_model'] ||
      !sameValue(before['pubsub#roster_groups_allowed'], after['pubsub#roster_groups_allowed']);
    if (isAccessChanged) pubsub.aside(reveal(pubsub, holder, node, nodeBefore));
    // §8.2.4: whoever may no more is no more subscribed
    await dropBarred(pubsub, holder, node);
    if (after['pubsub#notify_config']) {
      const shown = after['pubsub#deliver_payloads'] ? configForm.result(after) : undefined;
      notify(pubsub, holder, node, eventFrom(holder, node, el('configuration', { node: name }, shown)));
    }
    return undefined;
  });
}

/** §8.3. */
export function offerDefaults({ pubsub, from, bare }: Action, isAccount: boolean): Element {
  if (isAccount && from.bare !== bare) throw forbidden();
  const config = defaults(isAccount, pubsub.settings);
  return el('pubsub', { xmlns: NS.pubsubOwner }, el('default', null, configForm.form(config)));
}

/** §8.4. */
export async function remove(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  return inTurn(action, nodeNamed(action), async ({ holder, node, items }) => {
    demandOwner(holder, node, from.bare);
    await removeNode(pubsub, holder, node!, items!, element.getChild('redirect', NS.pubsubOwner)?.attrs.uri);
    return undefined;
  });
}

/** Removes a node, and tells its subscribers; `uri`: where it is now. */
export async function removeNode(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  items: Items,
  uri?: string,
): Promise<void> {
  await pubsub.holders.written(holder, pubsub.holders.remove(holder, node, items));
  const redirect = uri === undefined ? undefined : el('redirect', { uri });
  if (node.config['pubsub#notify_delete']) notify(pubsub, holder, node, nodeEvent(holder, node, 'delete', redirect));
}

/** §8.9.1. */
export async function listAffiliations(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const { holder, node } = await find(action, name);
  const { stored } = demandOwner(holder, node, action.from.bare);
  const all: [string, Affiliation][] = Object.entries(stored.affiliations);
  if (holder.isAccount) all.unshift([holder.jid.bare, 'owner']);
  const elements = all.map(([jid, affiliation]) => el('affiliation', { jid, affiliation }));
  return el('pubsub', { xmlns: NS.pubsubOwner }, el('affiliations', { node: name }, ...elements));
}

/** §8.9.2: all of them or none. */
export async function changeAffiliations(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const changes = element.getChildren('affiliation', NS.pubsubOwner).flatMap(({ attrs }) => {
    if (attrs.affiliation === undefined) return []; // §8.9.2.1: MUST NOT be changed
    const affiliation = affiliations.find((one) => one === attrs.affiliation);
    const jid = Jid.tryParse(attrs.jid ?? '');
    if (affiliation === undefined || jid === undefined) throw new StanzaError('bad-request');
    return [{ bare: jid.bare, affiliation }];
  });
  return inTurn(action, name, async ({ holder, node: found }) => {
    const node = demandOwner(holder, found, from.bare);
    const after: Record<string, Affiliation> = { ...node.stored.affiliations };
    for (const { bare, affiliation } of changes) {
      if (holder.isAccount && bare === holder.jid.bare) {
        if (affiliation !== 'owner') throw new StanzaError('not-acceptable', 'The account owns its nodes.');
      } else if (affiliation === 'none') delete after[bare];
      else after[bare] = affiliation;
    }
    if (Object.keys(after).length > pubsub.settings.affiliations_per_node) {
      pubsub.host.limitHit('pubsub.affiliations');
      throw new StanzaError('resource-constraint', 'There are too many affiliations.');
    }
    // §8.9.2.4: the last owner stays
    const stored = { ...node, stored: { ...node.stored, affiliations: after } };
    if (ownersOf(holder, stored).length === 0) throw new StanzaError('not-acceptable', 'A node has an owner.');
    await pubsub.holders.written(holder, pubsub.holders.change(holder, node, { affiliations: after }));
    await dropBarred(pubsub, holder, node);
    return undefined;
  });
}
