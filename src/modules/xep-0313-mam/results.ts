/** Finds the messages of a query, and sends them (XEP-0313 §4.2, §4.3). */
import { setImmediate } from 'node:timers/promises';
import type { Jid } from '../../server/address/jid.js';
import type { IqRequest } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import { formatDateTime } from '../../server/stanza/datetime.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { idAfter, idAt, timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import { rsmSet } from '../../server/stanza/rsm.js';
import { Stanza } from '../../server/stanza/stanza.js';
import { type Element, el, escapeAttribute, serialize } from '../../server/xml/element.js';
import { type LogEntry, type LogFilter, type LogStore, UnknownId } from '../../storage/contract.js';
import { compare } from '../../storage/order.js';
import type { Query } from './query.js';
import type { ArchiveView } from './services.js';

/** Messages per read of the store. */
const chunk = 50;
/** The same if each message must be checked, and the maximum checked for one page. */
const scanChunk = 200;
const mostScanned = 5000;
/** Maximum characters of a page, which has at least one message. A session's queue holds several pages. */
const mostCharacters = 524_288;
/** Approximate size of an entry without its text. */
const entryOverhead = 256;
/** Maximum count if only the size of the result is requested. */
const mostCounted = 10_000;

export interface Found {
  /** In the order of the result. */
  readonly entries: readonly LogEntry[];
  /** Nothing follows in the direction of reading. */
  readonly complete: boolean;
  /** The last entry checked, to continue from if nothing was found. */
  readonly edge: string | undefined;
  readonly count: number | undefined;
}

/** Approximate characters held in memory. */
export const sizeOf = ({ entries }: Found): number =>
  entries.reduce((sum, { value }) => sum + value.length + entryOverhead, 0);

/** The part of the store that is read. */
type Source = Pick<LogStore, 'page' | 'count' | 'supports'>;

export interface Searching {
  readonly store: Source;
  /** Runs expensive searches, which check each message, one at a time. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Throws StanzaError('item-not-found') if the query names a message that does not exist. */
export async function find(
  owner: Jid,
  query: Query,
  view: ArchiveView | undefined,
  { store, inTurn }: Searching,
): Promise<Found> {
  const { page, descending } = query;
  // In terms of the archive; in a descending result, `before` and `after` of the page are swapped.
  const pageAfter = descending ? named(page.before) : page.after;
  const pageBefore = descending ? page.after : named(page.before);
  const range: Range = {
    after: later(query.afterId, pageAfter),
    before: earlier(query.beforeId, pageBefore),
    backwards: descending ? page.before === undefined : page.before !== undefined,
    max: page.max,
  };
  const ids = [query.afterId, query.beforeId, pageAfter, pageBefore].filter((id) => id !== undefined);
  // The store itself checks the ids that bound the page.
  const others = page.max === 0 ? ids : ids.filter((id) => id !== range.after && id !== range.before);
  await demand(store, owner, [...(query.ids ?? []), ...others]);

  const narrowed = narrow(owner, query, view);
  if (narrowed === undefined) return { entries: [], complete: true, edge: undefined, count: 0 };
  const { filter, isMatch } = narrowed;
  if (page.max === 0) {
    // XEP-0059 §2.7: the size of the whole result
    if (isMatch !== undefined) return { entries: [], complete: false, edge: undefined, count: undefined };
    const whole = { ...filter, after: query.afterId, before: query.beforeId };
    // Counting may read everything, except to find out whether there is anything.
    const most = store.supports?.counts === false ? 1 : mostCounted;
    const count = await store.count(owner.bare, whole, most);
    return { entries: [], complete: count === 0, edge: undefined, count: count < most ? count : undefined };
  }

  const read = () => gather(store, owner, filter, isMatch, range);
  const { entries, complete, edge } = await (isMatch === undefined ? read() : inTurn(read));
  if (range.backwards !== descending) entries.reverse();
  const isWhole = complete && page.after === undefined && named(page.before) === undefined;
  return { entries, complete, edge, count: isWhole ? entries.length : undefined };
}

interface Range {
  readonly after: string | undefined;
  readonly before: string | undefined;
  readonly backwards: boolean;
  readonly max: number;
}

/** Reads the entries of a page, in the direction of reading. */
async function gather(
  store: Source,
  owner: Jid,
  filter: LogFilter,
  isMatch: ((entry: LogEntry) => boolean) | undefined,
  { after, before, backwards, max }: Range,
): Promise<{ entries: LogEntry[]; complete: boolean; edge: string | undefined }> {
  const entries: LogEntry[] = [];
  let characters = 0;
  let scanned = 0;
  let edge: string | undefined;
  for (let strict = true; ; strict = false) {
    const bounds = backwards ? { after, before: edge ?? before } : { after: edge ?? after, before };
    const limit = isMatch === undefined ? Math.min(max - entries.length, chunk) : scanChunk;
    const read = await store.page(owner.bare, { ...filter, ...bounds, limit, backwards, strict }).catch(notFound);
    for (const entry of backwards ? read.entries.reverse() : read.entries) {
      if (isMatch === undefined || isMatch(entry)) {
        if (entries.length === max || characters >= mostCharacters) return { entries, complete: false, edge };
        entries.push(entry);
        characters += entry.value.length;
      }
      edge = entry.id;
    }
    if (read.complete) return { entries, complete: true, edge };
    scanned += isMatch === undefined ? 0 : read.entries.length;
    if (entries.length === max || characters >= mostCharacters || scanned >= mostScanned)
      return { entries, complete: false, edge };
    if (isMatch !== undefined) await setImmediate();
  }
}

/** Returns a function that runs its tasks one at a time. */
export function turns(): Searching['inTurn'] {
  const searches = new Serial();
  return (work) => searches.run('', work);
}

const named = (id: string | true | undefined): string | undefined => (id === true ? undefined : id);

function later(a: string | undefined, b: string | undefined): string | undefined {
  return a === undefined || (b !== undefined && compare(b, a) > 0) ? b : a;
}

function earlier(a: string | undefined, b: string | undefined): string | undefined {
  return a === undefined || (b !== undefined && compare(b, a) < 0) ? b : a;
}

/** §4.1.3: throws StanzaError unless all named messages exist. */
async function demand(store: Source, owner: Jid, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const distinct = [...new Set(ids)];
  if ((await store.count(owner.bare, { ids: distinct })) < distinct.length) throw new StanzaError('item-not-found');
}

function notFound(error: unknown): never {
  throw error instanceof UnknownId ? new StanzaError('item-not-found') : error;
}

/**
 * The filter for the store, and the check for each message that it cannot express. Returns undefined if the requester
 * cannot see any message.
 */
function narrow(
  owner: Jid,
  query: Query,
  view: ArchiveView | undefined,
): { filter: LogFilter; isMatch: ((entry: LogEntry) => boolean) | undefined } | undefined {
  const { with: peer, words } = query;
  let key: string | undefined;
  let isMatch: ((entry: LogEntry) => boolean) | undefined;
  if (view === undefined) {
    key = peer?.bare;
    if (peer?.resource !== undefined) isMatch = isToOrFrom(peer);
  } else if (peer !== undefined && peer.bare !== owner.bare) {
    if (!view.knowsSenders) return undefined;
    key = peer.bare;
  } else if (peer?.resource !== undefined) {
    isMatch = isToOrFrom(peer); // messages of an occupant, by the nickname at that time
  }
  return {
    filter: {
      with: key,
      from: query.start === undefined ? undefined : idAt(query.start),
      to: query.end === undefined ? undefined : idAfter(query.end),
      ids: query.ids,
      words,
    },
    isMatch,
  };
}

/** Checks the start tag, as we serialize it. */
function isToOrFrom({ full }: Jid): (entry: LogEntry) => boolean {
  const address = escapeAttribute(full);
  return ({ value }) => {
    const tag = value.slice(0, value.indexOf('>'));
    return tag.includes(` to="${address}"`) || tag.includes(` from="${address}"`);
  };
}

/** §4.2: the wrapped messages, then returns the answer. */
export function* results(
  request: IqRequest,
  { queryId, flipped }: Query,
  view: ArchiveView | undefined,
  found: Found,
): Generator<Stanza, Element> {
  const { from } = request;
  const owner = request.to.toBare();
  const head = Stanza.build('message', { to: from, from: owner });
  const entries = flipped ? found.entries.toReversed() : found.entries;
  for (const { id, value } of entries) {
    const xml = view?.show === undefined ? value : view.show(value);
    yield head.plusWritten(resultXml(id, queryId, xml));
  }
  const { complete, edge, count } = found;
  const set = rsmSet({
    first: found.entries[0]?.id ?? (complete ? undefined : edge),
    last: found.entries.at(-1)?.id ?? (complete ? undefined : edge),
    count,
    index: count === undefined || found.entries.length === 0 ? undefined : 0,
  });
  return el('fin', { xmlns: NS.mam, complete: complete ? 'true' : undefined }, set);
}

/** The serialized wrapper, split around the variable parts. */
const [beforeId, beforeQuery, beforeStamp, beforeMessage, afterMessage] = serialize(
  el(
    'result',
    { xmlns: NS.mam, id: '|', queryid: '|' },
    el('forwarded', { xmlns: NS.forward }, el('delay', { xmlns: NS.delay, stamp: '|' }), '|'),
  ),
).split('|') as [string, string, string, string, string];

/** `<result/>` around a message, given as XML that declares its namespace. */
export function resultXml(id: string, queryId: string | undefined, message: string): string {
  const query = queryId === undefined ? '' : beforeQuery + escapeAttribute(queryId);
  const stamp = formatDateTime(timeOf(id) || 0);
  return `${beforeId}${escapeAttribute(id)}${query}${beforeStamp}${stamp}${beforeMessage}${message}${afterMessage}`;
}
