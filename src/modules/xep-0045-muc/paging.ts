/** XEP-0059: pages of the lists that the service holds in memory. */
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { type PageLimits, readRsm, rsmSet } from '../../server/stanza/rsm.js';
import type { Element } from '../../server/xml/element.js';

/** What of a list the `<set/>` in a request asks for, and the `<set/>` of the answer. Throws StanzaError. */
export function pageOf<T>(
  all: readonly T[],
  idOf: (item: T) => string,
  request: Element | undefined,
  limits: PageLimits,
): { readonly shown: readonly T[]; readonly set: Element } {
  const { max, after, before, index = 0 } = readRsm(request?.getChild('set', NS.rsm), limits);
  const at = (id: string): number => {
    const position = all.findIndex((item) => idOf(item) === id);
    if (position < 0) throw new StanzaError('item-not-found');
    return position;
  };
  const end = typeof before === 'string' ? at(before) : all.length;
  const first = after === undefined ? index : at(after) + 1;
  const start = before === undefined ? first : Math.max(first, end - max);
  const shown = all.slice(start, Math.min(end, start + max));
  const [head, tail] = [shown[0], shown.at(-1)];
  const set = rsmSet({ first: head && idOf(head), last: tail && idOf(tail), index: start, count: all.length });
  return { shown, set };
}
