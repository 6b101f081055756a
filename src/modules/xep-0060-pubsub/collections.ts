/**
 * XEP-0248: collections, nodes that contain other nodes. Subscribers of a collection are notified of its items or nodes
 * under the access model of the collection (§7.1), so only the owner of a node may add it to a collection.
 *
 * Left out: retrieving items through a collection (§5.2, optional) and subscribing to the root collection (§8.1).
 * Deleting a collection removes only its links (§8.2).
 */

import { flat } from '../../server/address/flat.js';
import type { Jid } from '../../server/address/jid.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { notifyLink, parentsOf } from './above.js';
import { affiliationOf, demandOwner } from './access.js';
import { noSuchNode, pubsubError } from './errors.js';
import { canContain, type Graph, mostParents } from './graph.js';
import { isAttachments, isManaged } from './managed.js';
import type { Holder, Node } from './node.js';
import { differing, type NodeConfig } from './node-config.js';
import type { PubSub } from './pubsub.js';
import { type Action, inTurn, nameIn, nodeNamed } from './request.js';

export const isCollection = ({ config }: Pick<Node, 'config'>): boolean => config['pubsub#node_type'] === 'collection';

export const childrenOf = (holder: Holder, name: string): readonly Node[] => [...(holder.children.get(name) ?? [])];

/** The intended state of a new or existing node. */
export interface Wanted {
  readonly name: string;
  readonly config: NodeConfig;
  readonly isOwn: (node: Node) => boolean;
  /** The complete list of its children; undefined leaves them unchanged. */
  readonly children: readonly string[] | undefined;
}

/** Other nodes that change with it: children that join or leave it. */
export interface Links {
  readonly added: readonly Node[];
  readonly removed: readonly Node[];
}

const invalid = (text: string) => pubsubError('not-allowed', 'invalid-options', text);
const tooMany = () =>
  pubsubError('not-allowed', 'max-nodes-exceeded', 'The collection has reached its maximum number of nodes.');
const notYours = () =>
  new StanzaError('forbidden', 'Only an owner of the node and the collection can do that.', { type: 'cancel' });

/** Checks the links of a node to be created or changed (§6.2.3), without changing anything. Throws StanzaError. */
export function checkLinks(holder: Holder, wanted: Wanted, from: Jid): Links {
  const { name, config } = wanted;
  const before = childrenOf(holder, name);
  const children = wanted.children ?? before.map((child) => child.name);
  const names = new Set(children.filter((child) => child !== ''));
  if (names.size > 0 && !isCollection(wanted)) throw invalid('A leaf node cannot contain nodes.');
  if (names.size > config['pubsub#children_max']) throw tooMany();
  const parents = config['pubsub#collection'];
  if (parents.length > mostParents) throw tooMany();

  // The intended graph: links in one form may conflict with each other.
  const above = new Map<string, string[]>();
  const below = new Map<string, string[]>();
  const remains = (child: string, parent: string) =>
    child === name ? parents.includes(parent) : parent !== name || names.has(child);
  const graph: Graph = {
    parents: (node) => [
      ...parentsOf(holder, node).filter((parent) => remains(node, parent)),
      ...(above.get(node) ?? []),
    ],
    children: (node) => [
      ...childrenOf(holder, node).flatMap((child) => (remains(child.name, node) ? child.name : [])),
      ...(below.get(node) ?? []),
    ],
  };
  const link = (child: string, parent: string) => {
    if (!canContain(graph, parent, child)) throw invalid('Collections must not form a cycle or be nested too deeply.');
    append(above, child, parent);
    append(below, parent, child);
  };

  const known = new Set(parentsOf(holder, name));
  for (const parent of parents) {
    if (known.has(parent)) continue;
    demandJoining(holder, parent, from);
    link(name, parent);
  }
  const added: Node[] = [];
  for (const child of names) {
    const node = holder.nodes.get(child);
    if (node === undefined && child !== name) throw noSuchNode();
    if (node !== undefined && before.includes(node)) continue;
    link(child, name); // rejects a node that contains itself
    if (node === undefined) continue;
    demandOrdinary(node.name);
    if (!wanted.isOwn(node)) throw notYours();
    if (node.config['pubsub#collection'].length >= mostParents) throw tooMany();
    added.push(node);
  }
  return { added, removed: before.filter((child) => !names.has(child.name)) };
}

function append(lists: Map<string, string[]>, key: string, value: string): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

/** Checks that a user may add nodes to a collection (`pubsub#children_association_policy`). Throws StanzaError. */
function demandJoining(holder: Holder, parent: string, from: Jid): void {
  const collection = holder.nodes.get(parent);
  if (collection === undefined) throw noSuchNode();
  if (!isCollection(collection)) throw invalid('A leaf node cannot contain nodes.');
  const { config } = collection;
  const policy = config['pubsub#children_association_policy'];
  const isOwner = affiliationOf(holder, collection, from.bare) === 'owner';
  const isListed = policy === 'whitelist' && config['pubsub#children_association_whitelist'].includes(from.bare);
  if (!isOwner && !isListed && policy !== 'all') throw notYours();
  if (childrenOf(holder, parent).length >= config['pubsub#children_max']) throw tooMany();
}

function demandOrdinary(name: string): void {
  if (isManaged(name) || isAttachments(name)) throw new StanzaError('not-allowed'); // part of the node they follow
}

/** Applies the result of `checkLinks` to an existing node. The caller awaits the writes. */
export function writeLinks(
  { holders }: PubSub,
  holder: Holder,
  name: string,
  { added, removed }: Links,
): Promise<void>[] {
  const write = (child: Node, collections: readonly string[]) =>
    holders.change(holder, child, {
      config: differing({ ...child.config, 'pubsub#collection': collections }, holder.defaults),
    });
  return [
    ...added.map((child) => write(child, [...child.config['pubsub#collection'], name])),
    ...removed.map((child) => write(child, without(child, name))),
  ];
}

const without = (child: Node, name: string): string[] =>
  child.config['pubsub#collection'].filter((one) => one !== name);

/** §8.2: removes the links to a deleted collection. */
export const orphan = (pubsub: PubSub, holder: Holder, name: string): Promise<void>[] =>
  writeLinks(pubsub, holder, name, { added: [], removed: childrenOf(holder, name) });

// ---------------------------------------------------------------------------------------------------------------
// Requests

/** §6.5, §6.6: adds a node to a collection or removes it. */
export async function associate(action: Action): Promise<undefined> {
  const { pubsub, from, element } = action;
  const parent = nodeNamed(action);
  const [change, ...others] = element.getChildElements();
  const isJoining = change?.is('associate', NS.pubsubOwner) === true;
  if (change === undefined || others.length > 0 || !(isJoining || change.is('dissociate', NS.pubsubOwner)))
    throw new StanzaError('bad-request');
  const name = nameIn(change, 'node');
  if (name === undefined) throw pubsubError('bad-request', 'nodeid-required');
  return inTurn(action, name, async ({ holder, node: found }) => {
    const collection = holder.nodes.get(parent);
    if (collection === undefined || found === undefined) {
      if (holder.isAccount) demandOwner(holder, undefined, from.bare);
      throw noSuchNode();
    }
    const isOwner = (node: Node) => affiliationOf(holder, node, from.bare) === 'owner';
    const before = found.config['pubsub#collection'];
    if (isJoining ? !isOwner(found) : !isOwner(found) && !isOwner(collection)) throw notYours();
    if (isJoining === before.includes(parent)) {
      if (isJoining) return undefined;
      throw new StanzaError('bad-request', 'The node is not in the collection.'); // §6.6.3.1
    }
    const collections = isJoining ? [...before, flat(parent)] : without(found, parent);
    const config = { ...found.config, 'pubsub#collection': collections };
    if (isJoining) {
      demandOrdinary(name);
      checkLinks(holder, { name, config, isOwn: isOwner, children: undefined }, from);
    }
    const write = pubsub.holders.change(holder, found, { config: differing(config, holder.defaults) });
    await pubsub.holders.commit(holder, write);
    notifyLink(pubsub, holder, collection, name, isJoining, from);
    return undefined;
  });
}
