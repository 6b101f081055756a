/** The stored messages of accounts, in the log and by reference to the archive. */

import { Jid } from '../../server/address/jid.js';
import { type Host, type Maybe, type Services, tagOf } from '../../server/module/index.js';
import type { Origin } from '../../server/routing/passage.js';
import { timeOf } from '../../server/stanza/ids.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { Cache } from '../../storage/cache.js';
import type { LogStore, MapStore } from '../../storage/contract.js';
import { storedForm } from './stanzas.js';

/** Messages per page. */
export const pageLength = 50;
const cachedUsages = 20_000;

/** Where a message is stored; `either` after a restart, if that is not known. */
export type Place = 'log' | 'archive' | 'either';

/** A stored message, as read. */
export interface Entry {
  readonly id: string;
  readonly storedIn: Place;
  readonly value: string;
}

/** Amounts stored for an account, cached. */
interface Usage {
  /** Of the log, bounded by `limits.offline_messages` and `bytes`. */
  messages: number;
  bytes: number;
  /** References to the archive, bounded by the archive. */
  archived: number;
}

interface OfflineStoreParts {
  readonly host: Host;
  /** Maximum bytes in the log of one account. */
  readonly bytes: number;
  readonly store: LogStore;
  /** For archived messages: size in bytes, by archive id. */
  readonly references: MapStore<number>;
  readonly archive: Services['archive'] | undefined;
  failed(error: unknown): void;
}

/** The stored messages of all accounts, with cached usage. */
export function openOfflineStore({ host, bytes, store, references, archive, failed }: OfflineStoreParts) {
  const usages = new Cache<Usage>(cachedUsages, async (owner) => {
    const [messages, size, archived] = await Promise.all([
      store.count(owner, {}),
      store.size(owner),
      references.count(owner),
    ]);
    return { messages, bytes: size, archived };
  });
  /** Removals collected until the end of this turn. */
  const gone = { log: new Map<string, string[]>(), archive: new Map<string, string[]>() };

  const use = (owner: string, size: number) => {
    const usage = usages.peek(owner);
    if (usage === undefined) return usages.delete(owner); // invalidates a load in progress
    usage.messages++;
    usage.bytes += size;
  };

  const hasRoom = (owner: string): Maybe<boolean> => {
    const fits = ({ messages, bytes: size }: Usage) => {
      const room = messages < host.config.limits.offline_messages && size < bytes;
      if (!room) host.limitHit('offline_messages');
      return room;
    };
    const usage = usages.get(owner);
    return usage instanceof Promise ? usage.then(fits) : fits(usage);
  };

  /** Resolves once the message is durable. `origin`: of the message, unless it was delivered before. */
  const append = (owner: Jid, id: string, stanza: Stanza, origin?: Origin): Promise<void> => {
    const value = storedForm(stanza, owner, host.domain, timeOf(id)).toXml(NS.client);
    use(owner.bare, Buffer.byteLength(value));
    return store.append(owner.bare, { id, tag: tagOf(origin), value });
  };

  /** The same for a message that the archive has under this id. */
  const refer = (owner: Jid, id: string, stanza: Stanza): Promise<void> =>
    references.set(owner.bare, [[id, Buffer.byteLength(stanza.content)]]);

  const remove = (owner: string, id: string, place: Place) => {
    if (gone.log.size + gone.archive.size === 0) queueMicrotask(removeAll);
    if (place !== 'archive') add(gone.log, owner, id);
    if (place !== 'log') add(gone.archive, owner, id);
  };

  const removeAll = () => {
    for (const [owner, ids] of gone.log) store.remove(owner, ids).catch(failed);
    for (const [owner, ids] of gone.archive) references.delete(owner, ids).catch(failed);
    for (const owners of [gone.log, gone.archive]) {
      for (const owner of owners.keys()) usages.delete(owner);
      owners.clear();
    }
  };

  /**
   * Stored messages after an id, in order. `next` is set if there are more after it. Deletes references to messages that
   * the archive no longer has, unless it only `reads`.
   */
  const page = async (
    owner: string,
    after: string | undefined,
    { reads = false } = {},
  ): Promise<{ entries: Entry[]; next: string | undefined }> => {
    // What this turn has removed must not be sent again.
    removeAll();
    const [logged, archived] = await Promise.all([
      store.page(owner, { after, limit: pageLength }),
      archive === undefined ? [] : references.page(owner, { after, limit: pageLength + 1 }),
    ]);
    const ids = archived.slice(0, pageLength).map(([id]) => id);
    const all = logged.entries.map(({ id, value }): Entry => ({ id, storedIn: 'log', value }));
    if (archive !== undefined && ids.length > 0) {
      const found = await archive.read(Jid.parse(owner), { ids, limit: ids.length });
      for (const { id, value } of found.entries) all.push({ id, storedIn: 'archive', value });
      if (found.entries.length < ids.length && !reads) {
        const known = new Set(found.entries.map(({ id }) => id));
        for (const id of ids) if (!known.has(id)) remove(owner, id, 'archive');
      }
    }
    if (logged.entries.length > 0 && ids.length > 0) all.sort((a, b) => (a.id < b.id ? -1 : 1));
    // After the end of either page there may be more of that kind, which must come before later ones of the other.
    const ends = [
      ...(logged.complete ? [] : logged.entries.slice(-1).map(({ id }) => id)),
      ...(archived.length > pageLength ? ids.slice(-1) : []),
    ];
    const next = ends.sort()[0];
    return { entries: next === undefined ? all : all.filter(({ id }) => id <= next), next };
  };

  /** Counts a new reference to the archive. */
  const referred = (owner: string): void => {
    const usage = usages.peek(owner);
    if (usage === undefined) usages.delete(owner);
    else usage.archived++;
  };

  /** Removes references to messages that a client has read from the archive. */
  const drop = async (owner: string, ids: readonly string[]): Promise<void> => {
    if ((await references.delete(owner, ids)) > 0) usages.delete(owner);
  };

  return {
    hasRoom,
    append,
    refer,
    referred,
    remove,
    drop,
    page,
    /** Loads the usage into the cache. */
    prefetch: (owner: string): Maybe<unknown> => usages.get(owner),
    deleteIf: (concerns: (owner: string) => boolean): void => usages.deleteIf(concerns),
    /** Invalidates the cached usage. */
    recount: (owner: string): void => usages.delete(owner),
    /** Whether there are references to the archive. */
    hasArchived: async (owner: string): Promise<boolean> => (await usages.get(owner)).archived > 0,
    archivedIds: async (owner: string, after: string | undefined): Promise<string[]> =>
      (await references.page(owner, { after, limit: pageLength })).map(([id]) => id),
  };
}

function add(to: Map<string, string[]>, owner: string, id: string): void {
  const ids = to.get(owner);
  if (ids === undefined) to.set(owner, [id]);
  else ids.push(id);
}
