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
