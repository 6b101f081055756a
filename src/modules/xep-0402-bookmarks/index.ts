/**
 * XEP-0402: PEP Native Bookmarks, in sync with the older form: one `<storage/>` list in a PEP node (XEP-0048) and in
 * private storage (XEP-0049), which are the same list. Clients can write any form; the others read the change in
 * theirs, and are notified in the form that they subscribe to.
 *
 * The items of XEP-0402 are authoritative, and the list is rewritten from them on each change. Deleting the whole list
 * does not delete the items, since clients do that after migrating to items. Payloads of XEP-0492 are handled like any
 * other extension.
 */

import type { Jid } from '../../server/address/jid.js';
import { defineModule, event, session } from '../../server/module/index.js';
import { Serial } from '../../server/serial.js';
import { StanzaError } from '../../server/stanza/errors.js';
import { NS } from '../../server/stanza/ns.js';
import { childrenOf, type Element, el, serialize } from '../../server/xml/element.js';
import { Cache } from '../../storage/cache.js';
import { bookmarkIn, checkItem, checkStorage, collate, differences, type Items } from './conversion.js';
import type { Bookmark } from './services.js';

/** XEP-0402 §3.3, XEP-0223 §2: the publish options of clients, which are also the defaults of the node. */
const asItems = {
  'pubsub#persist_items': true,
  'pubsub#max_items': 'max',
  'pubsub#send_last_published_item': 'never',
  'pubsub#access_model': 'whitelist',
} as const;
/** XEP-0048 §3. */
const asStorage = { 'pubsub#persist_items': true, 'pubsub#access_model': 'whitelist' } as const;
/** XEP-0411 §5: nothing may be copied to a node that others can read. */
const isPrivate = { 'pubsub#persist_items': true, 'pubsub#access_model': 'whitelist' } as const;

/** The id of the one item of the older form (XEP-0048 §3.1). */
const current = 'current';
/** Bookmarks that other modules have read, in memory. */
const cachedBookmarks = 20_000;
/** No address has it. */
const separator = ' ';
const inPrivate = { ns: NS.bookmarksPrivate, name: 'storage' } as const;

export default defineModule({
  name: 'bookmarks',
  summary: 'Stores bookmarks of rooms, in sync between the current and the older forms.',
  implements: { 'XEP-0402': '1.2.0', 'XEP-0048': '1.2', 'XEP-0411': '1.1.0' },
  features: { account: [NS.bookmarksCompat, NS.bookmarksCompatPep, NS.bookmarksConversion] },
  needs: ['pep'],
  wants: ['privateXml'],
  provides: ['bookmarks'],

  start: ({ services: { pep, privateXml }, provide, log }) => {
    /** By account: changes to bookmarks run one at a time. */
    const turns = new Serial();
    const inTurn = <T>(owner: Jid, work: () => Promise<T>): Promise<T> => turns.run(owner.bare, work);

    const cache = new Cache<Bookmark | null>(cachedBookmarks, async (key) => {
      const [owner, room] = key.split(separator) as [string, string];
      const item = await pep.item(owner, NS.bookmarks, room);
      return item === undefined ? null : bookmarkIn(item);
    });
    /** The bookmarks have changed, or may have. */
    const changed = ({ bare }: Jid, rooms: Iterable<string> | 'all'): void => {
      if (rooms === 'all') cache.deleteIf((key) => key.startsWith(bare + separator));
      else for (const room of rooms) cache.delete(bare + separator + room);
    };
    provide('bookmarks', { get: (owner, room) => cache.get(owner.bare + separator + room.bare) });

    const itemsOf = (owner: Jid): Promise<Items> => pep.items(owner.bare, NS.bookmarks);

    const storageOf = async (owner: Jid): Promise<{ id: string; storage: Element | undefined }> => {
      const last = await pep.last(owner.bare, NS.bookmarksPrivate);
      if (last === undefined) return { id: current, storage: undefined };
      const isStorage = last.payload.is('storage', NS.bookmarksPrivate);
      return { id: last.id, storage: isStorage ? last.payload : undefined };
    };

    const writeStorage = (owner: Jid, id: string, storage: Element): Promise<void> =>
      pep.change(owner, NS.bookmarksPrivate, { publish: new Map([[id, storage]]) }, { demand: isPrivate });

    // --- the items (XEP-0402) ---------------------------------------------------------------------------------------

    /** §5.3.1. */
    pep.know(NS.bookmarks, {
      config: asItems,
      around: (owner, { publish, retract }, proceed) =>
        inTurn(owner, async () => {
          if (publish !== undefined) checkItem(publish.id, publish.payload);
          const items = new Map(retract === 'all' ? [] : await itemsOf(owner));
          if (retract !== 'all') for (const id of retract) items.delete(id);
          if (publish?.payload !== undefined) items.set(publish.id, publish.payload);
          const { id, storage: before } = await storageOf(owner);
          const after = collate(before, items);
          // The size limit applies to all bookmarks together, as in the older form.
          if (publish !== undefined)
            await pep.demandRoom(owner.bare, NS.bookmarksPrivate, { publish: new Map([[id, after]]) });
          const rooms = retract === 'all' ? retract : [...retract, ...(publish === undefined ? [] : [publish.id])];
          await proceed().finally(() => changed(owner, rooms));
          if (before === undefined ? childrenOf(after).length > 0 : serialize(before) !== serialize(after))
            await writeStorage(owner, id, after);
        }),
    });

    // --- the list (XEP-0048) ----------------------------------------------------------------------------------------

    /** §5.3.2: updates the items to match a list; `write` writes the list itself. */
    const replace = async (owner: Jid, storage: Element, write: () => Promise<void>): Promise<void> => {
      const change = differences(storage, await itemsOf(owner));
      await pep.demandRoom(owner.bare, NS.bookmarks, change);
      await write();
      await pep
        .change(owner, NS.bookmarks, change, { demand: isPrivate })
        .finally(() => changed(owner, [...change.publish.keys(), ...change.retract]));
    };

    pep.know(NS.bookmarksPrivate, {
      config: asStorage,
      around: (owner, { publish }, proceed) => {
        if (publish === undefined) return proceed();
        const { payload } = publish;
        checkStorage(payload);
        return inTurn(owner, () => replace(owner, payload, proceed));
      },
    });

    privateXml?.move(inPrivate, {
      get: async (owner) => {
        await tryToUnify(owner);
        const { storage } = await storageOf(owner);
        return storage === undefined ? privateXml.left(owner.bare, inPrivate) : [storage];
      },
      set: async (owner, elements) => {
        const [storage, ...further] = elements;
        checkStorage(storage);
        if (further.length > 0) throw new StanzaError('bad-request', 'A query can have only one list of bookmarks.');
        pep.demandPace(owner);
        await inTurn(owner, async () => {
          const { id } = await storageOf(owner);
          await pep.demandRoom(owner.bare, NS.bookmarksPrivate, { publish: new Map([[id, storage]]) });
          await replace(owner, storage, () => writeStorage(owner, id, storage));
          await privateXml.clear(owner.bare, inPrivate);
        });
      },
    });

    /**
     * XEP-0411 §4: merges forms that were stored separately before this module ran, or came from another server. The
     * newer form takes precedence.
     */
    const unify = async (owner: Jid): Promise<void> => {
      const [[left] = [], hasItems, hasStorage] = await Promise.all([
        privateXml?.left(owner.bare, inPrivate),
        pep.has(owner.bare, NS.bookmarks),
        pep.has(owner.bare, NS.bookmarksPrivate),
      ]);
      if (left === undefined && hasItems === hasStorage) return;
      await inTurn(owner, async () => {
        const items = await itemsOf(owner);
        const { id, storage } = await storageOf(owner);
        const lists = [storage, left].filter((list) => list !== undefined);
        const found = el('storage', null, ...lists.flatMap((list) => childrenOf(list)));
        const missing = [...differences(found, items).publish].filter(([room]) => !items.has(room));
        const all = new Map([...items, ...missing]);
        const after = collate(el('storage', lists[0]?.attrs, ...childrenOf(found)), all);
        await pep.demandRoom(owner.bare, NS.bookmarksPrivate, { publish: new Map([[id, after]]) });
        await pep.demandRoom(owner.bare, NS.bookmarks, { publish: new Map(missing) });
        await pep
          .change(owner, NS.bookmarks, { publish: new Map(missing) }, { demand: isPrivate })
          .finally(() => changed(owner, 'all'));
        if (childrenOf(after).length > 0) await writeStorage(owner, id, after);
        if (left !== undefined) await privateXml?.clear(owner.bare, inPrivate);
      });
    };

    /** If the merged bookmarks exceed the limits, each form stays unchanged. */
    const tryToUnify = async (owner: Jid): Promise<void> => {
      try {
        await unify(owner);
      } catch (error) {
        if (!(error instanceof StanzaError)) throw error;
        log.warn({ account: owner.bare, err: error }, 'bookmarks could not be merged');
      }
    };

    // XEP-0411 §4: before a client requests them
    return [
      session('bound', ({ jid }) => tryToUnify(jid.toBare())),
      event('accountDeleted', ({ jid }) => changed(jid, 'all')),
      event('moved', ({ concerns }) => cache.deleteIf((key) => concerns(key.slice(0, key.indexOf(separator))))),
    ];
  },
});
