/**
 * XEP-0049: Private XML Storage. What a client keeps for its account, by the name and namespace of each element. Other
 * modules may have another home for an element, where clients of other protocols find it, too.
 */
import { z } from 'zod';
import { defineModule, demandOwn, type IqHandler, iq, map } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import type { Jid } from '../server/stanza/jid.js';
import { NS } from '../server/stanza/ns.js';
import { elementXml } from '../server/stanza/stored.js';
import { type Element, el, parse, serialize, verbatim } from '../server/xml/element.js';

/** Where else an element is kept. */
export interface PrivateHome {
  /** None: there is nothing there. */
  get(owner: Jid): Promise<readonly Element[]>;
  /** Throws StanzaError where that cannot be kept. */
  set(owner: Jid, elements: readonly Element[]): Promise<void>;
}

declare module '../server/module/index.js' {
  interface Services {
    privateXml: {
      /** What clients say of these elements is for `home` from now on; one module does. */
      move(name: { readonly ns: string; readonly name: string }, home: PrivateHome): void;
      /** What was kept here before. */
      left(owner: string, name: { readonly ns: string; readonly name: string }): Promise<readonly Element[]>;
      /** Removes that. */
      clear(owner: string, name: { readonly ns: string; readonly name: string }): Promise<void>;
    };
  }
}

/** In one request. Clients set one; §2.3 allows several. */
const mostElements = 100;

const keyFor = ({ ns, name }: { readonly ns: string; readonly name: string }): string => `{${ns}}${name}`;

export default defineModule({
  name: 'private',
  summary: 'Keeps what clients want to keep for their account alone.',
  implements: { 'XEP-0049': '1.2' },
  features: { server: [NS.private] },
  /** By key: the elements of that name as text, several where they were set together (§2.3). */
  stores: { private: map<readonly string[]>({ storedAs: 'private', value: z.array(elementXml) }) },
  provides: ['privateXml'],

  start: ({ host, stores, provide }) => {
    const store = stores.private;
    const homes = new Map<string, PrivateHome>();

    const kept = async (owner: Jid, key: string): Promise<readonly Element[]> =>
      homes.get(key)?.get(owner) ?? ((await store.get(owner.bare, key)) ?? []).map((xml) => verbatim(xml));

    provide('privateXml', {
      move(name, home) {
        homes.set(keyFor(name), home);
      },
      left: async (owner, name) => ((await store.get(owner, keyFor(name))) ?? []).map((xml) => parse(xml)),
      clear: async (owner, name) => void (await store.delete(owner, [keyFor(name)])),
    });

    const get: IqHandler = async (request) => {
      demandOwn(request);
      const { to, payload } = request;
      const [asked, ...further] = payload.getChildElements();
      if (asked === undefined || further.length > 0)
        throw new StanzaError('bad-request', 'A query asks for one element.');
      const elements = await kept(to, keyOf(asked));
      const empty = el(asked.getName(), { xmlns: asked.getNS() });
      return el('query', { xmlns: NS.private }, ...(elements.length === 0 ? [empty] : elements));
    };

    const set: IqHandler = async (request) => {
      demandOwn(request);
      const { to, payload } = request;
      const children = payload.getChildElements();
      if (children.length > mostElements)
        throw new StanzaError('policy-violation', `At most ${mostElements} elements at once.`);
      const given = new Map<string, string[]>();
      const moved = new Map<PrivateHome, Element[]>();
      for (const child of children) {
        const key = keyOf(child);
        const home = homes.get(key);
        if (home !== undefined) {
          const others = moved.get(home);
          if (others === undefined) moved.set(home, [child]);
          else others.push(child);
        } else given.set(key, [...(given.get(key) ?? []), serialize(child)]);
      }
      if (given.size + moved.size === 0) throw new StanzaError('not-acceptable', 'There is nothing to keep.');
      const limit = host.config.limits.private_bytes;
      if (bytesOf(new Map([...(await store.all(to.bare)), ...given])) > limit) {
        host.limitHit('private_bytes');
        throw new StanzaError('policy-violation', `An account keeps at most ${limit} bytes.`);
      }
      for (const [home, elements] of moved) await home.set(to.toBare(), elements);
      if (given.size > 0) await store.set(to.bare, given);
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
  return keyFor({ ns, name: element.getName() });
}

function bytesOf(data: ReadonlyMap<string, readonly string[]>): number {
  let bytes = 0;
  for (const [key, elements] of data)
    for (const xml of elements) bytes += Buffer.byteLength(key) + Buffer.byteLength(xml);
  return bytes;
}
