/** XEP-0059: Result Set Management: what page is asked for, and which page this is. */
import { type Element, el } from '../xml/element.js';
import { StanzaError } from './errors.js';
import { NS } from './ns.js';

export interface PageRequest {
  /** Most items in the page; 0 asks for the count alone (§2.7). */
  readonly max: number;
  /** The page begins after this item. */
  readonly after?: string;
  /** The page ends before this item; true: it is the last page (§2.5). With `after`, which is left undefined: both. */
  readonly before?: string | true;
  /** The page begins with the item at this index (§2.6); never with `after` or `before`. */
  readonly index?: number;
}

export interface PageLimits {
  /** The `max` of a request that names none. */
  readonly default: number;
  /** A larger `max` is cut to this: a page may always be smaller than asked for (§2.1). */
  readonly cap: number;
}

export interface ResultPage {
  /** The ids of the first and the last item; undefined where the page is empty. */
  readonly first?: string | undefined;
  readonly last?: string | undefined;
  /** Of the whole set, as far as that is cheap to say. */
  readonly count?: number | undefined;
  /** Where in the whole set the first item is. */
  readonly index?: number | undefined;
}

/**
 * Reads the `<set/>` of a request; without one, the first page is asked for. Throws StanzaError `bad-request`. An item
 * that is not in the set is for the caller to find out (`item-not-found`, §2.4), as is an index that it cannot look up
 * (`feature-not-implemented`, §2.6).
 */
export function readRsm(set: Element | undefined, limits: PageLimits): PageRequest {
  const max = Math.min(number(set, 'max') ?? limits.default, limits.cap);
  const index = number(set, 'index');
  const after = text(set, 'after');
  const before = text(set, 'before');
  if (index !== undefined && (after !== undefined || before !== undefined)) {
    throw new StanzaError('bad-request', 'A page is named by an item or by an index');
  }
  return {
    max,
    // An empty <after/> is before the first item, as none is (§2.2)
    ...(after ? { after } : undefined),
    ...(before === undefined ? undefined : { before: before || true }),
    ...(index === undefined ? undefined : { index }),
  };
}

/** The `<set/>` of an answer (§2.2). */
export function rsmSet({ first, last, count, index }: ResultPage): Element {
  return el(
    'set',
    { xmlns: NS.rsm },
    first === undefined ? undefined : el('first', { index: index?.toString() }, first),
    last === undefined ? undefined : el('last', null, last),
    count === undefined ? undefined : el('count', null, String(count)),
  );
}

/** Most characters of the items in one page, ids and names together: a longer page ends early. */
const longestPage = 200_000;

export interface ListPage<T> {
  readonly shown: readonly T[];
  readonly set: Element;
  /** The page is the whole list, and no page was asked for: clients that know no pages need no `<set/>`. */
  readonly isWhole: boolean;
}

/**
 * What of a list in memory the `<set/>` in a request asks for, and the `<set/>` of the answer. `sizeOf` counts the
 * characters of an item. Throws StanzaError.
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
  // §2.1: a page may be shorter than asked for
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
  if (!/^\d{1,10}$/.test(written)) throw new StanzaError('bad-request', `<${name}/> is no number`);
  return Number(written);
}
