/** XEP-0059: Result Set Management: page requests and the description of a page. */
import { type Element, el } from '../xml/element.js';
import { StanzaError } from './errors.js';
import { NS } from './ns.js';

export interface PageRequest {
  /** Maximum items in the page; 0 requests only the count (§2.7). */
  readonly max: number;
  /** The page begins after this item id. */
  readonly after?: string;
  /** The page ends before this item id; true requests the last page (§2.5). May be combined with `after`. */
  readonly before?: string | true;
  /** The page begins at this index (§2.6); never with `after` or `before`. */
  readonly index?: number;
}

export interface PageLimits {
  /** Used for a request without `max`. */
  readonly default: number;
  /** Upper bound of `max`: a page may always be smaller than requested (§2.1). */
  readonly cap: number;
}

export interface ResultPage {
  /** The ids of the first and the last item; undefined if the page is empty. */
  readonly first?: string | undefined;
  readonly last?: string | undefined;
  /** Size of the whole set, if cheap to compute. */
  readonly count?: number | undefined;
  /** Index of the first item in the whole set. */
  readonly index?: number | undefined;
}

/**
 * Reads the `<set/>` of a request; without one, requests the first page. Throws StanzaError `bad-request`. The caller
 * must check for an item that is not in the set (`item-not-found`, §2.4) and for an index it does not support
 * (`feature-not-implemented`, §2.6).
 */
export function readRsm(set: Element | undefined, limits: PageLimits): PageRequest {
  const max = Math.min(number(set, 'max') ?? limits.default, limits.cap);
  const index = number(set, 'index');
  const after = text(set, 'after');
  const before = text(set, 'before');
  if (index !== undefined && (after !== undefined || before !== undefined)) {
    throw new StanzaError('bad-request', 'Request a page by item or by index, not both');
  }
  return {
    max,
    // An empty <after/> means the first page, as does its absence (§2.2)
    ...(after ? { after } : undefined),
    ...(before === undefined ? undefined : { before: before || true }),
    ...(index === undefined ? undefined : { index }),
  };
}

/** Builds the `<set/>` of an answer (§2.2). */
export function rsmSet({ first, last, count, index }: ResultPage): Element {
  return el(
    'set',
    { xmlns: NS.rsm },
    first === undefined ? undefined : el('first', { index: index?.toString() }, first),
    last === undefined ? undefined : el('last', null, last),
    count === undefined ? undefined : el('count', null, String(count)),
  );
}

/** Maximum characters of the items in one page, ids and names included: a longer page ends early. */
const longestPage = 200_000;

export interface ListPage<T> {
  readonly shown: readonly T[];
  readonly set: Element;
  /** Whether the page is the whole list and none was requested: clients without paging need no `<set/>`. */
  readonly isWhole: boolean;
}

/**
 * Returns the requested page of a list in memory, and the `<set/>` of the answer. `sizeOf` returns the characters of an
 * item. Throws StanzaError.
 */
export function pageOf<T>(
  all: readonly T[],
  idOf: (item: T) => string,
  request: Element | undefined,
  limits: PageLimits,
  sizeOf: (item: T) => number = (item) => idOf(item).length,
): ListPage<T> {
  const asked = request?.getChild('set', NS.rsm);
  const { max, after, before, index = 0 } = readRsm(asked, limits);
  const at = (id: string): number => {
    const position = all.findIndex((item) => idOf(item) === id);
    if (position < 0) throw new StanzaError('item-not-found');
    return position;
  };
  let end = typeof before === 'string' ? at(before) : all.length;
  let start = after === undefined ? Math.min(index, all.length) : at(after) + 1;
  if (before === undefined) end = Math.min(end, start + max);
  else start = Math.max(start, end - max);
  end = Math.max(start, end);
  // §2.1: a page may be shorter than requested
  let size = 0;
  if (before === undefined) {
    for (let next = start; next < end; next++) {
      size += sizeOf(all[next]!);
      if (size > longestPage && next > start) end = next;
    }
  } else {
    for (let next = end - 1; next >= start; next--) {
      size += sizeOf(all[next]!);
      if (size > longestPage && next < end - 1) start = next + 1;
    }
  }
  const shown = all.slice(start, end);
  const [head, tail] = [shown[0], shown.at(-1)];
  const set = rsmSet({
    first: head && idOf(head),
    last: tail && idOf(tail),
    index: head === undefined ? undefined : start,
    count: all.length,
  });
  return { shown, set, isWhole: asked === undefined && shown.length === all.length };
}

function text(set: Element | undefined, name: string): string | undefined {
  const found = set?.getChildren(name, NS.rsm) ?? [];
  if (found.length > 1) throw new StanzaError('bad-request', `More than one <${name}/>`);
  return found[0]?.getText();
}

function number(set: Element | undefined, name: string): number | undefined {
  const written = text(set, name)?.trim();
  if (written === undefined) return undefined;
  if (!/^\d{1,10}$/.test(written)) throw new StanzaError('bad-request', `<${name}/> is not a number`);
  return Number(written);
}
