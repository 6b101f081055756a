/**
 * XEP-0049: Private XML Storage. What a client keeps for its account, by the name and namespace of each element.
 */
import { defineModule, type IqHandler, iq, map } from '../server/module.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { type Element, el, parse, serialize } from '../server/xml/element.js';

export default defineModule({
  name: 'private',
  summary: 'Keeps what clients want to keep for their account alone.',
  implements: { 'XEP-0049': '1.2' },
  features: { server: [NS.private] },
  /** By key: the elements of that name as text, several where they were set together (§2.3). */
  stores: { private: map<readonly string[]>() },

  start: ({ host, stores }) => {
    const store = stores.private;

    const get: IqHandler = async ({ to, isOwn, payload }) => {
      if (!isOwn) throw new StanzaError('forbidden');
      const [asked, ...further] = payload.getChildElements();
      if (asked === undefined || further.length > 0)
        throw new StanzaError('bad-request', 'A query asks for one element.');
      const kept = await store.get(to.bare, keyOf(asked));
      const elements = kept?.map((xml) => parse(xml)) ?? [el(asked.getName(), { xmlns: asked.getNS() })];
      return el('query', { xmlns: NS.private }, ...elements);
    };

    const set: IqHandler = async ({ to, isOwn, payload }) => {
      if (!isOwn) throw new StanzaError('forbidden');
      const given = new Map<string, string[]>();
      for (const child of payload.getChildElements()) {
        const key = keyOf(child);
        given.set(key, [...(given.get(key) ?? []), serialize(child)]);
      }
      if (given.size === 0) throw new StanzaError('not-acceptable', 'There is nothing to keep.');
      const limit = host.config.limits.private_bytes;
      if (bytesOf(new Map([...(await store.all(to.bare)), ...given])) > limit) {
        host.limitHit('private_bytes');
        throw new StanzaError('policy-violation', `An account keeps at most ${limit} bytes.`);
      }
      await store.set(to.bare, given);
    };

    // Others are refused alike, whether the account exists or not.
    const options = { access: 'anyone', absent: true } as const;
    return [iq.get('account', NS.private, 'query', get, options), iq.set('account', NS.private, 'query', set, options)];
  },
});

/** §2.3: an element is known by its namespace, which must be its own, and no reserved one. */
function keyOf(element: Element): string {
  const ns = element.getNS() ?? '';
  if (ns === '' || ns.startsWith('jabber:') || ns.startsWith('http://jabber.org/') || ns === NS.vcardTemp)
    throw new StanzaError('not-acceptable', 'Private data has a namespace of its own.');
  return `{${ns}}${element.getName()}`;
}

function bytesOf(data: ReadonlyMap<string, readonly string[]>): number {
  let bytes = 0;
  for (const [key, elements] of data)
    for (const xml of elements) bytes += Buffer.byteLength(key) + Buffer.byteLength(xml);
  return bytes;
}
