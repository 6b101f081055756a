/**
 * XEP-0442: Pubsub Message Archive Management. The archive of a node consists of its items; deleted or replaced items
 * are not in it. Archive ids are the items' times of publication.
 */
import type { IqHandler, IqRequest, Services } from '../../server/module/index.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { verbatim } from '../../server/xml/element.js';
import { type LogEntry, type LogFilter, type LogQuery, type LogStore, UnknownId } from '../../storage/contract.js';
import { demandReading, entryFor, missing } from './access.js';
import { unsupported } from './errors.js';
import { itemEvent } from './events.js';
import type { Holder, ItemHead, Items, Node } from './node.js';
import type { PubSub } from './pubsub.js';
import { nodeNamed } from './request.js';

/** Answers `<query node='…'/>` for users who may read the node. */
export const answerArchive =
  (pubsubFor: (request: IqRequest) => PubSub, archive: Services['archive']): IqHandler =>
  async (request) => {
    const pubsub = pubsubFor(request);
    const { from, to, payload, stanza } = request;
    const name = nodeNamed({ element: payload });
    const found = await pubsub.holders.inTurn(
      to.bare,
      name,
      (holder, node) => entryFor(pubsub, holder, node, from.bare),
      (it) => it,
    );
    const { holder, items, prepared } = found;
    if (found.node === undefined) throw missing(holder, name, from.bare, prepared);
    const node = demandReading(holder, found.node, from.bare, prepared);
    if (!node.config['pubsub#persist_items']) throw unsupported('persistent-items');
    const source = logOf(pubsub, holder, node, items!);
    if (stanza.type === 'get') return archive.form({ source });
    const knowsSenders = node.config['pubsub#itemreply'] === 'publisher';
    return archive.answer(request, { knowsSenders, source });
  };

/** At the service only nodes have archives. */
export const answerAtService =
  (answer: IqHandler): IqHandler =>
  (request) => {
    if (request.payload.attrs.node === undefined) throw new StanzaError('item-not-found');
    return answer(request);
  };

type Head = ItemHead & { readonly id: string };

/** A read-only view of the items as a log. */
function logOf(pubsub: PubSub, holder: Holder, node: Node, items: Items): Pick<LogStore, 'page' | 'count'> {
  const all: Head[] = [...items.index].map(([id, head]) => ({ ...head, id }));
  const entry = async ({ id, at, by }: Head): Promise<LogEntry[]> => {
    const item = await pubsub.holders.item(holder, node, id);
    if (item?.at !== at) return []; // removed or replaced meanwhile
    const event = itemEvent(holder, node, id, item.by, item.xml === '' ? undefined : verbatim(item.xml));
    return [{ id: at, with: by, value: event.toXml(NS.client) }];
  };
  return {
    count: async (_, filter, limit = Number.POSITIVE_INFINITY) =>
      Math.min(all.filter((head) => isIn(head, filter)).length, limit),
    page: async (_, query: LogQuery) => {
      const { after, before, limit, backwards, strict } = query;
      if (strict)
        for (const id of [after, before])
          if (id !== undefined && !all.some(({ at }) => at === id)) throw new UnknownId(id);
      const found = all.filter((head) => isIn(head, query));
      const heads = backwards ? found.slice(Math.max(0, found.length - limit)) : found.slice(0, limit);
      const entries = await Promise.all(heads.map(entry));
      return { entries: entries.flat(), complete: heads.length === found.length };
    },
  };
}

/** Ids are compared as text, which is their order in time. */
const isIn = ({ at, by }: Head, { with: who, from, to, after, before, ids }: LogFilter): boolean =>
  (who === undefined || who === by) &&
  (from === undefined || at >= from) &&
  (to === undefined || at <= to) &&
  (after === undefined || at > after) &&
  (before === undefined || at < before) &&
  (ids === undefined || ids.includes(at));
