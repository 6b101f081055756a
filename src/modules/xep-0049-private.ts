/**
 * XEP-0049: Private XML Storage. Stores elements for an account, by name and namespace. Other modules can take over an
 * element and store it elsewhere, where clients of another protocol find it too.
 */
import { z } from 'zod';
import type { Jid } from '../server/address/jid.js';
import { defineModule, demandOwn, type IqHandler, iq, map, portable, takeEach } from '../server/module/index.js';
import { StanzaError } from '../server/stanza/errors.js';
import { NS } from '../server/stanza/ns.js';
import { elementXml } from '../server/stanza/stored.js';
import { type Element, el, parse, serialize, verbatim } from '../server/xml/element.js';

/** Another store for an element. */
export interface PrivateHome {
  /** Returns an empty array if nothing is stored. */
  get(owner: Jid): Promise<readonly Element[]>;
  /** Throws StanzaError if the elements cannot be stored. */
  set(owner: Jid, elements: readonly Element[]): Promise<void>;
}

declare module '../server/module/index.js' {
  interface Services {
    privateXml: {
      /** Hands requests for this element to `home` from now on; only one module may. */
      move(name: { readonly ns: string; readonly name: string }, home: PrivateHome): void;
      /** The elements that were stored here before the move. */
      left(owner: string, name: { readonly ns: string; readonly name: string }): Promise<readonly Element[]>;
      /** Deletes them. */
      clear(owner: string, name: { readonly ns: string; readonly name: string }): Promise<void>;
    };
  }
}

/** Maximum elements in one request. Clients set one; §2.3 allows several. */
const mostElements = 100;

const keyFor = ({ ns, name }: { readonly ns: string; readonly name: string }): string => `{${ns}}${name}`;

export default defineModule({
  name: 'private',
  summary: 'Stores private XML elements for accounts.',
  implements: { 'XEP-0049': '1.2' },
  features: { server: [NS.private] },
  /** By key: the serialized elements of that name, several if they were set together (§2.3). */
  stores: { private: map<readonly string[]>({ storedAs: 'private', value: z.array(elementXml) }) },
  provides: ['privateXml'],

  start: ({ host, stores, provide }) => {
    const store = stores.private;
    const homes = new Map<string, PrivateHome>();

    const stored = async (owner: Jid, key: string): Promise<readonly Element[]> =>
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
        throw new StanzaError('bad-request', 'A query must contain one element.');
      const elements = await stored(to, keyOf(asked));
      const empty = el(asked.getName(), { xmlns: asked.getNS() });
      return el('query', { xmlns: NS.private }, ...(elements.length === 0 ? [empty] : elements));
    };

    const set: IqHandler = async (request) => {
      demandOwn(request);
      const { to, payload } = request;
      const children = payload.getChildElements();
      if (children.length > mostElements)
        throw new StanzaError('policy-violation', `A request can have at most ${mostElements} elements.`);
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
      if (given.size + moved.size === 0) throw new StanzaError('not-acceptable', 'The query contains no elements.');
      const limit = host.config.limits.private_bytes;
      if (bytesOf(new Map([...(await store.all(to.bare)), ...given])) > limit) {
        host.limitHit('private_bytes');
        throw new StanzaError('policy-violation', `An account can store at most ${limit} bytes.`);
      }
      for (const [home, elements] of moved) await home.set(to.toBare(), elements);
      if (given.size > 0) await store.set(to.bare, given);
    };

    /** Stores an imported element, unless there were some of its name before. Resolves with whether it did. */
    const take = async (owner: Jid, key: string, element: Element, isFurther: boolean): Promise<boolean> => {
      const home = homes.get(key);
      if (home !== undefined) {
        if ((await home.get(owner)).length > 0) return false;
        await home.set(owner, [element]);
        return true;
      }
      const all = await store.all(owner.bare);
      const before = all.get(key);
      if (before !== undefined && !isFurther) return false;
      const elements = [...(before ?? []), serialize(element)];
      if (bytesOf(new Map([...all, [key, elements]])) > host.config.limits.private_bytes)
        throw new StanzaError(
          'policy-violation',
          `an account can store at most ${host.config.limits.private_bytes} bytes`,
        );
      await store.set(owner.bare, [[key, elements]]);
      return true;
    };

    // Other users get the same error whether the account exists or not.
    const options = { access: 'anyone', absent: true } as const;
    return [
      portable({
        takes: [{ ns: NS.private, name: 'query', containers: 1 }],
        async *export({ bare }) {
          const all = await store.all(bare);
          if (all.size === 0) return;
          yield `<query xmlns="${NS.private}">`;
          for (const elements of all.values()) yield* elements;
          yield '</query>';
        },
        // The memo is the key of the last element, if it was imported: further ones of that name follow it.
        import: async (owner, parts, memo) => {
          let last = memo;
          const refused = await takeEach(
            parts,
            () => 'a private element',
            async (query) => {
              const [element] = query.getChildElements();
              if (element === undefined) return;
              const key = keyOf(element);
              last = (await take(owner, key, element, key === last)) ? key : undefined;
            },
          );
          return { refused, ...(last !== undefined && { memo: last }) };
        },
      }),
      iq.get('account', NS.private, 'query', get, options),
      iq.set('account', NS.private, 'query', set, options),
    ];
  },
});

/** §2.3: elements are identified by namespace and name; the namespace must be explicit and not reserved. */
function keyOf(element: Element): string {
  const ns = element.getNS() ?? '';
  if (ns === '' || ns.startsWith('jabber:') || ns.startsWith('http://jabber.org/') || ns === NS.vcardTemp)
    throw new StanzaError('not-acceptable', 'Private data needs a namespace of its own.');
  return keyFor({ ns, name: element.getName() });
}

function bytesOf(data: ReadonlyMap<string, readonly string[]>): number {
  let bytes = 0;
  for (const [key, elements] of data)
    for (const xml of elements) bytes += Buffer.byteLength(key) + Buffer.byteLength(xml);
  return bytes;
}
