/** §6.5: retrieving items: all, the latest, by id, or by page (XEP-0059), in the requested order (XEP-0413). */

import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { readRsm, rsmSet } from '../../server/stanza/rsm.js';
import { type Element, el, verbatim } from '../../server/xml/element.js';
import { demandReading, missing } from './access.js';
import { isCollection } from './collections.js';
import { pubsubError, unsupported } from './errors.js';
import { itemElement } from './events.js';
import { subscriptionsAt } from './holders.js';
import type { Holder, Items, Node, StoredItem } from './node.js';
import { type Action, find, nameIn, nodeNamed } from './request.js';

/** Characters of payloads in one answer; the rest can be paged (§6.5.4). At least one item is sent. */
const longestAnswer = 1_000_000;
/** Items loaded in parallel. */
const batchSize = 50;

export async function retrieve(action: Action): Promise<Element> {
  const { request, from, element } = action;
  const name = nodeNamed(action);
  const { holder, node: found, items, prepared } = await find(action, name);
  if (found === undefined) throw missing(holder, name, from.bare, prepared);
  const node = demandReading(holder, found, from.bare, prepared);
  subscriptionFor(action, holder, node);
  if (isCollection(node)) throw unsupported('retrieve-items'); // XEP-0248 §5.2.3
  if (!node.config['pubsub#persist_items']) throw unsupported('persistent-items');
  const { ids, isOrdered } = inOrder(request.payload, items!);
  const requested = element.getChildren('item', NS.pubsub).flatMap((item) => nameIn(item, 'id') ?? []);
  if (requested.length > 0) {
    const existing = [...new Set(requested)].filter((id) => items!.index.has(id));
    const { elements } = await read(action, holder, node, existing);
    return answer(name, elements);
  }
  const set = request.payload.getChild('set', NS.rsm);
  const most = numberOf(element.attrs.max_items);
  // The latest ones, or the first ones in the requested order (XEP-0413 §4.1)
  const wanted = most === undefined ? ids : isOrdered ? ids.slice(0, most) : most === 0 ? [] : ids.slice(-most);
  const { first, end } = set === undefined ? { first: 0, end: wanted.length } : pageOf(set, wanted);
  const page = wanted.slice(first, end);
  const { elements, taken } = await read(
    action,
    holder,
    node,
    page,
    set === undefined && most !== undefined && !isOrdered,
  );
  if (set === undefined && taken.length === page.length) return answer(name, elements);
  const offset = first + page.indexOf(taken[0] ?? '');
  return answer(
    name,
    elements,
    rsmSet({
      first: taken[0],
      last: taken.at(-1),
      count: wanted.length,
      index: taken.length === 0 ? undefined : offset,
    }),
  );
}

/**
 * §6.5.9.1, §6.5.9.2: checks the subid; it is required if the requester has several subscriptions. Throws StanzaError.
 */
function subscriptionFor({ from, element }: Action, holder: Holder, node: Node): void {
  const { subid } = element.attrs;
  if (subid === undefined && !node.several) return;
  const own = [from, from.toBare()].map((jid) => subscriptionsAt(holder, node, jid));
  if (subid === undefined && own.some(({ length }) => length > 1)) throw pubsubError('bad-request', 'subid-required');
  const all = own.flat();
  if (subid !== undefined && all.length > 0 && !all.some((one) => one.subid === subid))
    throw pubsubError('not-acceptable', 'invalid-subid');
}

const answer = (node: string, elements: readonly Element[], set?: Element): Element =>
  el('pubsub', { xmlns: NS.pubsub }, el('items', { node }, ...elements), set);

const keys = { creation: 'created', modification: 'at' } as const;

/** All ids in order of publication, or in the requested order. Throws StanzaError. */
function inOrder(payload: Element, { index }: Items): { ids: string[]; isOrdered: boolean } {
  const orders = payload.getChildren('order', NS.orderBy).map(({ attrs: { by, desc } }) => {
    const key = by === 'creation' || by === 'modification' ? keys[by] : undefined;
    if (key === undefined) throw new StanzaError('feature-not-implemented', 'Order by "creation" or "modification".');
    return { key, sign: desc === 'true' || desc === '1' ? -1 : 1 };
  });
  const [first] = orders; // a total order, since times are unique: further keys have no effect
  if (first === undefined) return { ids: [...index.keys()], isOrdered: false };
  const { key, sign } = first;
  const entries = [...index].sort(([, one], [, other]) => (one[key] < other[key] ? -sign : sign));
  return { ids: entries.map(([id]) => id), isOrdered: true };
}

function pageOf(set: Element, ids: readonly string[]): { first: number; end: number } {
  const { max, after, before, index } = readRsm(set, { default: ids.length, cap: ids.length });
  const positionOf = (id: string): number => {
    const at = ids.indexOf(id);
    if (at < 0) throw new StanzaError('item-not-found');
    return at;
  };
  const from = after === undefined ? (index ?? 0) : positionOf(after) + 1;
  const to = before === undefined || before === true ? ids.length : positionOf(before);
  if (before !== undefined) return { first: Math.max(from, to - max), end: Math.max(from, to) };
  return { first: Math.min(from, ids.length), end: Math.min(from + max, ids.length) };
}

/** Loads as many items as fit into one answer, from the start of `ids` or from the end. */
async function read(
  { pubsub }: Action,
  holder: Holder,
  node: Node,
  ids: readonly string[],
  fromEnd = false,
): Promise<{ elements: Element[]; taken: string[] }> {
  const order = fromEnd ? [...ids].reverse() : ids;
  const elements: Element[] = [];
  const taken: string[] = [];
  let size = 0;
  for (let at = 0; at < order.length; at += batchSize) {
    const some = order.slice(at, at + batchSize);
    const items = await Promise.all(some.map((id) => pubsub.holders.item(holder, node, id)));
    for (const [index, item] of items.entries()) {
      if (item === undefined) continue; // removed meanwhile
      size += item.xml.length;
      if (size > longestAnswer && taken.length > 0) return turned(elements, taken, fromEnd);
      elements.push(shown(holder, node, some[index]!, item));
      taken.push(some[index]!);
    }
  }
  return turned(elements, taken, fromEnd);
}

const turned = (elements: Element[], taken: string[], fromEnd: boolean) =>
  fromEnd ? { elements: elements.reverse(), taken: taken.reverse() } : { elements, taken };

const shown = (holder: Holder, node: Node, id: string, { by, xml }: StoredItem): Element =>
  itemElement(holder, node, id, by, xml === '' ? undefined : verbatim(xml));

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(text)) throw new StanzaError('bad-request', 'max_items must be a number.');
  return Number(text);
}
