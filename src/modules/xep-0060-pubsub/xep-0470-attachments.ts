/**
 * XEP-0470: Pubsub Attachments. Attachments of an item are in a node of their own, created with the first one; a
 * summary for all items of a node is in another.
 */

import { Jid } from '../../server/address/jid.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type Element, el, parse } from '../../server/xml/element.js';
import { barrier, entryFor, mayPublish } from './access.js';
import { noSuchNode } from './errors.js';
import { attachmentsConfig, attachmentsPrefix, isAttachments, put, summaryOf, take } from './managed.js';
import type { Holder, Node } from './node.js';
import type { PubSub } from './pubsub.js';

/** The item that attachments belong to. */
export interface Target {
  readonly node: Node;
  readonly item: string;
}

/** Attachments loaded in parallel. */
const batchSize = 50;
/** Limits of a summary: different reactions, and characters per reaction. */
const mostReactions = 200;
const longestReaction = 50;

/** §4.1.1: the item of an attachments node. Returns undefined if the name is invalid or the item does not exist. */
async function targetOf(pubsub: PubSub, holder: Holder, name: string): Promise<Target | undefined> {
  const parts = /^xmpp:([^?;]+)\?;node=([^;]+);item=([^;]+)$/.exec(name.slice(NS.attachments.length + 1));
  if (parts === null) return undefined;
  let node: Node | undefined;
  let item: string;
  try {
    const [jid, named, id] = parts.slice(1).map(decodeURIComponent) as [string, string, string];
    if (Jid.tryParse(jid)?.full !== holder.jid.full) return undefined;
    node = holder.nodes.get(named);
    item = id;
  } catch (error) {
    if (error instanceof URIError) return undefined;
    throw error;
  }
  // Only the canonical spelling is accepted, so that an item has one node.
  if (node === undefined || name !== attachmentsPrefix(holder, node.name) + encodeURIComponent(item)) return undefined;
  const items = await pubsub.holders.items(holder, node);
  return items.index.has(item) ? { node, item } : undefined;
}

/** §4.4, §4.5: the item that a publication attaches to. Throws StanzaError if that is not allowed. */
export async function attaching(
  pubsub: PubSub,
  bare: string,
  name: string,
  by: Jid,
  id: string | undefined,
  payload: Element | undefined,
): Promise<Target> {
  if (id !== by.bare)
    throw new StanzaError('bad-request', "The item id of an attachment must be the publisher's bare address.");
  if (payload?.is('attachments', NS.attachments) !== true)
    throw new StanzaError('bad-request', 'The payload must be <attachments/>.');
  const holder = await pubsub.holders.get(bare);
  const target = await targetOf(pubsub, holder, name);
  if (target === undefined) throw noSuchNode();
  // Users who may not read an item must not learn that it exists.
  const isHidden = async () =>
    barrier(holder, target.node, by.bare, await entryFor(pubsub, holder, target.node, by.bare));
  if (!mayPublish(holder, target.node, by.bare) && (await isHidden()) !== undefined) throw noSuchNode();
  return target;
}

/** §4.3: creates the attachments node of an item. Returns undefined if the publisher may not publish there. */
export function createAttachments(
  { holders }: PubSub,
  holder: Holder,
  name: string,
  { node }: Target,
  by: Jid,
): { node: Node; write: Promise<void> } | undefined {
  if (!mayPublish(holder, node, by.bare)) return undefined;
  return holders.create(holder, name, holder.jid, attachmentsConfig(node), node.stored.affiliations);
}

/** Removes the attachments of removed items. */
export async function detach(pubsub: PubSub, holder: Holder, node: Node, ids: readonly string[]): Promise<void> {
  const summary = summaryOf(node.name);
  if (ids.length === 0 || !holder.nodes.has(summary)) return;
  for (const id of ids) {
    const name = attachmentsPrefix(holder, node.name) + encodeURIComponent(id);
    const attachments = holder.nodes.get(name);
    if (attachments === undefined) continue;
    const items = await pubsub.holders.items(holder, attachments);
    await pubsub.holders.commit(holder, pubsub.holders.remove(holder, attachments, items));
    await take(pubsub, holder, summary, id);
  }
}

/** §4.6: recomputes the summary of an item's attachments. Computations for one node are serialized. */
export function summarize(pubsub: PubSub, bare: string, name: string): Promise<void> {
  if (!isAttachments(name)) return Promise.resolve();
  const { summaries } = pubsub;
  const key = `${bare}\n${name}`;
  const made = (summaries.get(key) ?? Promise.resolve()).then(() => summarizeNow(pubsub, bare, name));
  // The caller reports failures of `made`.
  const finished = made
    .catch(() => {})
    .then(() => {
      if (summaries.get(key) === finished) summaries.delete(key);
    });
  summaries.set(key, finished);
  return made;
}

async function summarizeNow(pubsub: PubSub, bare: string, name: string): Promise<void> {
  const { holders } = pubsub;
  const { holder, node, items } = await holders.inTurn(
    bare,
    name,
    () => undefined,
    (found) => found,
  );
  const target = await targetOf(pubsub, holder, name);
  if (target === undefined) return;
  const summary = summaryOf(target.node.name);
  let noticed = 0;
  const reactions = new Map<string, number>();
  const ids = node === undefined ? [] : [...items!.index.keys()];
  for (let at = 0; at < ids.length; at += batchSize) {
    const some = await Promise.all(ids.slice(at, at + batchSize).map((id) => holders.item(holder, node!, id)));
    for (const item of some) {
      const attachments = item === undefined ? undefined : parse(item.xml);
      if (attachments?.getChild('noticed') !== undefined) noticed++;
      for (const reaction of reactionsIn(attachments))
        if (reactions.has(reaction) || reactions.size < mostReactions)
          reactions.set(reaction, (reactions.get(reaction) ?? 0) + 1);
    }
  }
  if (noticed === 0 && reactions.size === 0) return take(pubsub, holder, summary, target.item);
  const counted = [...reactions].map(([reaction, times]) =>
    el('reaction', { count: times > 1 ? String(times) : undefined }, reaction),
  );
  const payload = el(
    'summary',
    { xmlns: NS.attachmentsSummary },
    noticed === 0 ? undefined : el('noticed', { count: String(noticed) }),
    counted.length === 0 ? undefined : el('reactions', null, ...counted),
  );
  return put(pubsub, holder, target.node, summary, target.item, payload);
}

/** §4.8.2: each reaction counts once per publisher. */
function reactionsIn(attachments: Element | undefined): Set<string> {
  const found = attachments?.getChild('reactions')?.getChildren('reaction') ?? [];
  const texts = found.map((reaction) => reaction.getText().trim());
  return new Set(texts.filter(({ length }) => length > 0 && length <= longestReaction));
}
