/** §8: owner requests: creating, configuring and deleting nodes, and managing affiliations. */

import { flat } from '../../server/address/flat.js';
import { Jid } from '../../server/address/jid.js';
import { Portions } from '../../server/limits/portions.js';
import type { Host, Maybe } from '../../server/module/index.js';
import { demandFew } from '../../server/stanza/addresses.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { randomId } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { notifyAbove, notifyLink } from './above.js';
import { affiliationOf, demandOwner, ownersOf } from './access.js';
import { align } from './align.js';
import { checkLinks, childrenOf, isCollection, type Links, orphan, writeLinks } from './collections.js';
import { forbidden, pubsubError } from './errors.js';
import { eventFrom, nodeEvent } from './events.js';
import { reveal } from './last-items.js';
import { followersOf, isAttachments, isManaged } from './managed.js';
import { type Affiliation, affiliations, type Holder, type Items, type Node } from './node.js';
import {
  defaults,
  differing,
  type NodeConfig,
  offeredConfig,
  readConfig,
  roomFor,
  sameValue,
  shownConfig,
} from './node-config.js';
import { notify } from './notify.js';
import type { PubSub } from './pubsub.js';
import { type Action, find, formIn, inTurn, nameIn, nodeNamed } from './request.js';
import { speakersOf } from './speakers.js';
import { dropBarred } from './subscriptions.js';
import { around, usualConfig } from './well-known.js';

/** Whether somebody may create nodes here. The host itself may at its service. */
export function mayCreate({ host, settings }: PubSub, holder: Holder, from: Jid): Maybe<boolean> {
  if (holder.isAccount) return holder.jid.bare === from.bare;
  return from.equals(host.jid) || host.permits(settings.create, from, holder.jid);
}

/** The user that a node counts for in the limits of the service. */
const userOf = (host: Host, creator: string): string =>
  host.isAnonymous(creator) ? host.userOf(Jid.parse(creator)) : creator;

/** Creates a node, which must not exist yet. Throws StanzaError if a limit is reached. */
export function createNode(
  { host, holders, settings, wellKnown }: PubSub,
  holder: Holder,
  name: string,
  creator: Jid,
  config: Partial<NodeConfig>,
): { node: Node; write: Promise<void> } {
  // Attachments to an account's items are bounded by the number of items.
  const own = [...holder.nodes.values()].filter(({ name }) => !isManaged(name) && !isAttachments(name));
  const portions = new Portions(() =>
    holder.isAccount
      ? { all: Number.POSITIVE_INFINITY, each: settings.nodes_per_account }
      : { all: settings.service_nodes, each: settings.service_nodes_per_user },
  );
  const user = host.userOf(creator);
  for (const { stored } of own) portions.add(holder.isAccount ? user : userOf(host, stored.creator));
  if (portions.refuses(user) !== undefined) {
    host.limitHit(holder.isAccount ? 'pubsub.nodes_per_account' : 'pubsub.service_nodes');
    throw pubsubError('resource-constraint', 'max-nodes-exceeded', 'The maximum number of nodes is reached.');
  }
  return holders.create(holder, name, creator, { ...usualConfig(wellKnown, holder, name), ...config });
}

/** §8.1. */
export async function create(action: Action): Promise<Element | undefined> {
  const { pubsub, request, from, element, bare } = action;
  const given = nameIn(element, 'node');
  const configuration = request.payload.getChild('configure', NS.pubsub);
  if (configuration?.attrs.node !== undefined) throw new StanzaError('bad-request'); // §8.1.3
  const form = formIn(configuration);
  const config = form === undefined ? {} : readConfig(form, pubsub.settings);
  if (config === undefined) throw new StanzaError('bad-request', 'The configuration form must be of type "submit".');
  const name = given ?? randomId(); // §8.1.1: an instant node
  if (!(await mayCreate(pubsub, await pubsub.holders.get(bare), from))) throw forbidden();
  demandOrdinary(name);
  const holder = await pubsub.holders.get(bare);
  if (holder.nodes.has(name)) throw new StanzaError('conflict');
  const { 'pubsub#children': children = [], ...own } = config;
  const isOwn = (node: Node) => affiliationOf(holder, node, from.bare) === 'owner';
  const links = checkLinks(holder, { name, config: { ...holder.defaults, ...own }, isOwn, children }, from);
  const { node, write } = createNode(pubsub, holder, name, from, own);
  await pubsub.holders.commit(holder, write, ...writeLinks(pubsub, holder, name, links));
  if (node.config['pubsub#deliver_notifications'])
    notifyAbove(
      pubsub,
      holder,
      node,
      eventFrom(holder, node, el('create', { node: name })),
      'nodes',
      speakersOf(holder, node, node.stored.creator),
    );
  return given === undefined ? el('pubsub', { xmlns: NS.pubsub }, el('create', { node: name })) : undefined;
}

/** XEP-0465 §5, XEP-0470 §4.4: rejects nodes that only the server creates and deletes. Throws StanzaError. */
function demandOrdinary(name: string): void {
  if (isAttachments(name) || name.startsWith(`${NS.attachmentsSummary}/`)) throw new StanzaError('not-allowed');
  if (isManaged(name)) throw forbidden();
}

/** §8.2.1. */
export async function offerConfig(action: Action): Promise<Element> {
  const name = nodeNamed(action);
  const { holder, node } = await find(action, name);
  const { config } = demandOwner(holder, node, action.from.bare);
  const roster = holder.isAccount ? await action.pubsub.roster.get(holder.jid.bare) : undefined;
  const groups = new Set([...(roster?.values() ?? [])].flatMap((item) => item.groups));
  return el(
    'pubsub',
    { xmlns: NS.pubsubOwner },
    el('configure', { node: name }, offeredConfig(config, groups, namesIn(holder, name))),
  );
}

const namesIn = (holder: Holder, collection: string): string[] =>
  childrenOf(holder, collection).map(({ name }) => name);

/** Settings that change the notification of an item. */
const shape = ['pubsub#deliver_payloads', 'pubsub#notification_type', 'pubsub#itemreply'] as const;

/** §8.2.4. */
export async function configure(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const form = formIn(element);
  if (form === undefined) throw new StanzaError('bad-request', 'The request needs a form.');
  const submitted = readConfig(form, pubsub.settings);
  return inTurn(action, name, async ({ holder, node: found, items }) => {
    const node = demandOwner(holder, found, from.bare);
    if (submitted === undefined) return undefined; // §8.2.5.1: cancelled
    if (isManaged(name) || isAttachments(name)) throw new StanzaError('not-allowed'); // they follow another node
    const before = node.config;
    const nodeBefore = { ...node };
    const { 'pubsub#children': children, ...own } = submitted;
    const after = { ...before, ...own };
    // XEP-0248 §6.2.3.4
    if (isCollection(node) && !isCollection({ config: after })) throw pubsubError('not-allowed', 'invalid-options');
    const isOwn = (one: Node) => affiliationOf(holder, one, from.bare) === 'owner';
    const links = checkLinks(holder, { name, config: after, isOwn, children }, from);
    const writes: Promise<unknown>[] = [
      pubsub.holders.change(holder, node, { config: differing(after, holder.defaults) }),
      ...writeLinks(pubsub, holder, name, links),
    ];
    // XEP-0248 §6.2.4: a collection has no items
    const surplus =
      after['pubsub#persist_items'] && !isCollection(node)
        ? items!.index.size - roomFor(after, pubsub.settings)
        : items!.index.size;
    if (surplus > 0)
      writes.push(pubsub.holders.removeItems(holder, node, items!, [...items!.index.keys()].slice(0, surplus)));
    if (shape.some((option) => before[option] !== after[option])) items!.last = undefined;
    await pubsub.holders.commit(holder, ...writes);
    await align(pubsub, holder, node);
    const isAccessChanged =
      before['pubsub#access_model'] !== after['pubsub#access_model'] ||
      !sameValue(before['pubsub#roster_groups_allowed'], after['pubsub#roster_groups_allowed']);
    if (isAccessChanged) pubsub.aside(reveal(pubsub, holder, node, nodeBefore));
    // §8.2.4: subscribers who lost access are unsubscribed
    await dropBarred(pubsub, holder, node);
    if (after['pubsub#notify_config']) {
      const shown = after['pubsub#deliver_payloads'] ? shownConfig(after, namesIn(holder, name)) : undefined;
      const event = eventFrom(holder, node, el('configuration', { node: name }, shown));
      notify(pubsub, holder, node, event, { kind: 'nodes', by: from.bare });
    }
    notifyLinks(pubsub, holder, node, before['pubsub#collection'], links, from);
    return undefined;
  });
}

/** XEP-0248 §4.3.2: notifies subscribers of collections about nodes that joined or left. */
function notifyLinks(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  before: readonly string[],
  links: Links,
  by: Jid,
): void {
  for (const child of links.added) notifyLink(pubsub, holder, node, child.name, true, by);
  for (const child of links.removed) notifyLink(pubsub, holder, node, child.name, false, by);
  const after = node.config['pubsub#collection'];
  for (const name of new Set([...before, ...after])) {
    const collection = holder.nodes.get(name);
    const isJoining = after.includes(name);
    if (collection !== undefined && isJoining !== before.includes(name))
      notifyLink(pubsub, holder, collection, node.name, isJoining, by);
  }
}

/** §8.3. */
export function offerDefaults({ pubsub, from, bare, element }: Action, isAccount: boolean): Element {
  if (isAccount && from.bare !== bare) throw forbidden();
  const { type = 'leaf' } = element.attrs; // §8.3.2
  if (type !== 'leaf' && type !== 'collection') throw new StanzaError('bad-request');
  const config: NodeConfig = { ...defaults(isAccount, pubsub.settings), 'pubsub#node_type': type };
  return el('pubsub', { xmlns: NS.pubsubOwner }, el('default', null, offeredConfig(config)));
}

/** §8.4. */
export async function remove(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const uri = element.getChild('redirect', NS.pubsubOwner)?.attrs.uri;
  if (uri !== undefined && uri.length > longestUri) throw new StanzaError('not-acceptable');
  return around(action, name, { retract: 'all' }, () =>
    inTurn(action, name, async ({ holder, node, items }) => {
      demandOwner(holder, node, from.bare);
      if (isManaged(name)) throw forbidden();
      await removeNode(pubsub, holder, node!, items!, { uri, by: from.bare });
      return undefined;
    }),
  );
}

/** Characters of a redirect URI. */
const longestUri = 2000;

/**
 * Removes a node and notifies its subscribers. `uri` is its new address, `by` the bare address of the user who did it.
 */
export async function removeNode(
  pubsub: PubSub,
  holder: Holder,
  node: Node,
  items: Items,
  { uri, by }: { readonly uri?: string | undefined; readonly by?: string } = {},
): Promise<void> {
  const redirect = uri ? el('redirect', { uri }) : undefined;
  const event = nodeEvent(holder, node, 'delete', redirect);
  const followers = followersOf(holder, node);
  const subscriptions = new Map(node.subscriptions);
  const removed = pubsub.holders.remove(holder, node, items, uri ? flat(uri) : undefined);
  await pubsub.holders.commit(holder, removed, ...orphan(pubsub, holder, node.name));
  if (node.config['pubsub#notify_delete'])
    notify(pubsub, holder, { ...node, subscriptions }, event, { isForPending: true, kind: 'nodes', by });
  for (const follower of followers)
    await removeNode(pubsub, holder, follower, await pubsub.holders.items(holder, follower));
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

/** §4.1: permitted transitions. Owners can only resign themselves; a publisher cannot become a member. */
function mayBecome(before: Affiliation, after: Affiliation, isOneself: boolean): boolean {
  if (before === after) return true;
  if (before === 'owner') return after === 'none' && isOneself;
  return before !== 'publisher' || after !== 'member';
}

/** §8.9.2: changes all affiliations or none. */
export async function changeAffiliations(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const name = nodeNamed(action);
  const elements = element.getChildren('affiliation', NS.pubsubOwner);
  demandFew(elements.map(({ attrs }) => attrs.jid));
  const changes = elements.flatMap(({ attrs }) => {
    if (attrs.affiliation === undefined) return []; // §8.9.2.1: MUST NOT be changed
    const affiliation = affiliations.find((one) => one === attrs.affiliation);
    const jid = Jid.tryParse(attrs.jid ?? '');
    if (affiliation === undefined || jid === undefined) throw new StanzaError('bad-request');
    return [{ bare: jid.bare, affiliation }];
  });
  if (new Set(changes.map(({ bare }) => bare)).size < changes.length) throw new StanzaError('bad-request'); // §8.9.2.4
  return inTurn(action, name, async ({ holder, node: found }) => {
    const node = demandOwner(holder, found, from.bare);
    if (isManaged(name) || isAttachments(name)) throw new StanzaError('not-allowed'); // they follow another node
    const after: Record<string, Affiliation> = { ...node.stored.affiliations };
    const wrong: string[] = [];
    for (const { bare, affiliation } of changes) {
      const isAccountItself = holder.isAccount && bare === holder.jid.bare;
      const isPossible = isAccountItself
        ? affiliation === 'owner'
        : mayBecome(affiliationOf(holder, node, bare), affiliation, bare === from.bare);
      if (!isPossible) wrong.push(bare);
      else if (isAccountItself) continue;
      else if (affiliation === 'none') delete after[bare];
      else after[bare] = affiliation;
    }
    /** §8.9.2.4: nothing is changed, and the error has the current affiliations. */
    const refuse = (text: string): never => {
      const before = changes.map(({ bare: jid }) =>
        el('affiliation', { jid, affiliation: affiliationOf(holder, node, jid) }),
      );
      throw new StanzaError('not-acceptable', text, {
        instead: el('pubsub', { xmlns: NS.pubsubOwner }, el('affiliations', { node: name }, ...before)),
      });
    };
    if (wrong.length > 0) refuse(`The affiliation cannot be changed for ${wrong.join(', ')}.`);
    if (Object.keys(after).length > pubsub.settings.affiliations_per_node) {
      pubsub.host.limitHit('pubsub.affiliations');
      throw new StanzaError('resource-constraint', 'The maximum number of affiliations is reached.');
    }
    // §8.9.2.4: at least one owner must remain
    const stored = { ...node, stored: { ...node.stored, affiliations: after } };
    if (ownersOf(holder, stored).length === 0) refuse('A node needs at least one owner.');
    await pubsub.holders.commit(holder, pubsub.holders.change(holder, node, { affiliations: after }));
    await align(pubsub, holder, node);
    await dropBarred(pubsub, holder, node);
    return undefined;
  });
}
