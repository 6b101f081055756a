/** §8: what owners do: make nodes, configure and delete them, and rule who is who. */
import type { Host } from '../../server/module/index.js';
import { Portions } from '../../server/portions.js';
import { demandFew } from '../../server/stanza/addresses.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { flat } from '../../server/stanza/flat.js';
import { randomId } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el } from '../../server/xml/element.js';
import { notifyAbove, tellLink } from './above.js';
import { affiliationOf, demandOwner, ownersOf } from './access.js';
import { align } from './align.js';
import { checkLinks, childrenOf, isCollection, type Links, orphan, writeLinks } from './collections.js';
import { forbidden, pubsubError } from './errors.js';
import { eventFrom, nodeEvent } from './events.js';
import { followersOf, isAttachments, isKept } from './kept.js';
import { reveal } from './last-items.js';
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

/** Whether somebody may make nodes here. */
export function mayMake({ host, settings }: PubSub, holder: Holder, from: Jid): boolean | Promise<boolean> {
  if (holder.isAccount) return holder.jid.bare === from.bare;
  return host.permits(settings.create, from, holder.jid);
}

/** Whom the bounds of the service count a node for. */
const userOf = (host: Host, creator: string): string =>
  host.isAnonymous(creator) ? host.userOf(Jid.parse(creator)) : creator;

/** Makes a node where there is none of this name and room for one more. */
export function makeNode(
  { host, holders, settings, wellKnown }: PubSub,
  holder: Holder,
  name: string,
  creator: Jid,
  config: Partial<NodeConfig>,
): { node: Node; write: Promise<void> } {
  // What others attach to an account's items is bounded by the items.
  const own = [...holder.nodes.values()].filter(({ name }) => !isKept(name) && !isAttachments(name));
  const portions = new Portions(() =>
    holder.isAccount
      ? { all: Number.POSITIVE_INFINITY, each: settings.nodes_per_account }
      : { all: settings.service_nodes, each: settings.service_nodes_per_user },
  );
  const user = host.userOf(creator);
  for (const { stored } of own) portions.add(holder.isAccount ? user : userOf(host, stored.creator));
  if (portions.refuses(user) !== undefined) {
    host.limitHit(holder.isAccount ? 'pubsub.nodes_per_account' : 'pubsub.service_nodes');
    throw pubsubError('resource-constraint', 'max-nodes-exceeded', 'There are too many nodes.');
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
  if (config === undefined) throw new StanzaError('bad-request', 'A configuration that is cancelled.');
  const name = given ?? randomId(); // §8.1.1: an instant node
  if (!(await mayMake(pubsub, await pubsub.holders.get(bare), from))) throw forbidden();
  demandOrdinary(name);
  const holder = await pubsub.holders.get(bare);
  if (holder.nodes.has(name)) throw new StanzaError('conflict');
  const { 'pubsub#children': children = [], ...own } = config;
  const isOwn = (node: Node) => affiliationOf(holder, node, from.bare) === 'owner';
  const links = checkLinks(holder, { name, config: { ...holder.defaults, ...own }, isOwn, children }, from);
  const { node, write } = makeNode(pubsub, holder, name, from, own);
  await pubsub.holders.written(holder, write, ...writeLinks(pubsub, holder, name, links));
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

/** XEP-0465 §5, XEP-0470 §4.4: nodes that nobody makes or takes away by hand. */
function demandOrdinary(name: string): void {
  if (isAttachments(name) || name.startsWith(`${NS.attachmentsSummary}/`)) throw new StanzaError('not-allowed');
  if (isKept(name)) throw forbidden();
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

/** What the notification of an item goes by. */
const shape = ['pubsub#deliver_payloads', 'pubsub#notification_type', 'pubsub#itemreply'] as const;

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
    if (isKept(name) || isAttachments(name)) throw new StanzaError('not-allowed'); // they are as what they follow
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
    await pubsub.holders.written(holder, ...writes);
    await align(pubsub, holder, node);
    const isAccessChanged =
      before['pubsub#access_model'] !== after['pubsub#access_model'] ||
      !sameValue(before['pubsub#roster_groups_allowed'], after['pubsub#roster_groups_allowed']);
    if (isAccessChanged) pubsub.aside(reveal(pubsub, holder, node, nodeBefore));
    // §8.2.4: whoever may no more is no more subscribed
    await dropBarred(pubsub, holder, node);
    if (after['pubsub#notify_config']) {
      const shown = after['pubsub#deliver_payloads'] ? shownConfig(after, namesIn(holder, name)) : undefined;
      const event = eventFrom(holder, node, el('configuration', { node: name }, shown));
      notify(pubsub, holder, node, event, { kind: 'nodes', by: from.bare });
    }
    tellLinks(pubsub, holder, node, before['pubsub#collection'], links, from);
    return undefined;
  });
}

/** XEP-0248 §4.3.2: who subscribed to a collection is told which nodes are new in it, and which have left. */
function tellLinks(pubsub: PubSub, holder: Holder, node: Node, before: readonly string[], links: Links, by: Jid): void {
  for (const child of links.added) tellLink(pubsub, holder, node, child.name, true, by);
  for (const child of links.removed) tellLink(pubsub, holder, node, child.name, false, by);
  const after = node.config['pubsub#collection'];
  for (const name of new Set([...before, ...after])) {
    const collection = holder.nodes.get(name);
    const isJoining = after.includes(name);
    if (collection !== undefined && isJoining !== before.includes(name))
      tellLink(pubsub, holder, collection, node.name, isJoining, by);
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
      if (isKept(name)) throw forbidden();
      await removeNode(pubsub, holder, node!, items!, { uri, by: from.bare });
      return undefined;
    }),
  );
}

/** Characters of an address that a node is forwarded to. */
const longestUri = 2000;

/** Removes a node, and tells its subscribers; `uri`: where it is now; `by`: who did it, a bare address. */
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
  await pubsub.holders.written(holder, removed, ...orphan(pubsub, holder, node.name));
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

/** §4.1: the chart of what may become of whom. An owner resigns by himself; a publisher is no mere member. */
function mayBecome(before: Affiliation, after: Affiliation, isOneself: boolean): boolean {
  if (before === after) return true;
  if (before === 'owner') return after === 'none' && isOneself;
  return before !== 'publisher' || after !== 'member';
}

/** §8.9.2: all of them or none. */
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
    if (isKept(name) || isAttachments(name)) throw new StanzaError('not-allowed'); // they are as what they follow
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
    /** §8.9.2.4: none of it is done, and this is how it was. */
    const refuse = (text: string): never => {
      const before = changes.map(({ bare: jid }) =>
        el('affiliation', { jid, affiliation: affiliationOf(holder, node, jid) }),
      );
      throw new StanzaError('not-acceptable', text, {
        instead: el('pubsub', { xmlns: NS.pubsubOwner }, el('affiliations', { node: name }, ...before)),
      });
    };
    if (wrong.length > 0) refuse(`That cannot become of ${wrong.join(', ')}.`);
    if (Object.keys(after).length > pubsub.settings.affiliations_per_node) {
      pubsub.host.limitHit('pubsub.affiliations');
      throw new StanzaError('resource-constraint', 'There are too many affiliations.');
    }
    // §8.9.2.4: the last owner stays
    const stored = { ...node, stored: { ...node.stored, affiliations: after } };
    if (ownersOf(holder, stored).length === 0) refuse('A node has an owner.');
    await pubsub.holders.written(holder, pubsub.holders.change(holder, node, { affiliations: after }));
    await align(pubsub, holder, node);
    await dropBarred(pubsub, holder, node);
    return undefined;
  });
}
