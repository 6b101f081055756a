/** What is kept for accounts, and where. */
import type { Host, Maybe, Services } from '../../server/module/index.js';
import { timeOf } from '../../server/stanza/ids.js';
import { Jid } from '../../server/stanza/jid.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';
import { Cache } from '../../storage/cache.js';
import type { LogStore, MapStore } from '../../storage/contract.js';
import { asKept } from './stanzas.js';

/** Messages in a page. */
export const pageLength = 50;
const cachedUsages = 20_000;

/** Where a message is; `either`: in one of them, as the process before knew. */
export type Kept = 'log' | 'archive' | 'either';

/** A message that is kept, as it is read. */
export interface Entry {
  readonly id: string;
  readonly kept: Kept;
  readonly value: string;
}

/** What an account keeps, as far as it is known. */
interface Usage {
  /** Of the log, which is bounded by them. */
  messages: number;
  bytes: number;
  /** What the archive has is bounded by the archive. */
  archived: number;
}

interface KeptParts {
  readonly host: Host;
  /** Most bytes of one account that are kept and are not in its archive. */
  readonly bytes: number;
  readonly store: LogStore;
  /** Of what the archive has: its bytes, by its id. */
  readonly references: MapStore<number>;
  readonly archive: Services['archive'] | undefined;
  failed(error: unknown): void;
}

/** The messages of all accounts, in memory as far as their amounts are asked for. */
export function openKept({ host, bytes, store, references, archive, failed }: KeptParts) {
  const usages = new Cache<Usage>(cachedUsages, async (owner) => {
    const [messages, size, archived] = await Promise.all([
      store.count(owner, {}),
      store.size(owner),
      references.count(owner),
    ]);
    return { messages, bytes: size, archived };
  });
  /** To be removed at the end of this turn, all at once. */
  const gone = { log: new Map<string, string[]>(), archive: new Map<string, string[]>() };

  const use = (owner: string, size: number) => {
    const usage = usages.peek(owner);
    if (usage === undefined) return usages.delete(owner); // one that is being read is out of date
    usage.messages++;
    usage.bytes += size;
  };

  const hasRoom = (owner: string): boolean | Promise<boolean> => {
    const fits = ({ messages, bytes: size }: Usage) => {
      const room = messages < host.config.limits.offline_messages && size < bytes;
      if (!room) host.limitHit('offline_messages');
      return room;
    };
    const usage = usages.get(owner);
    return usage instanceof Promise ? usage.then(fits) : fits(usage);
  };

  /** Resolves once the message would survive the power going. */
  const append = (owner: Jid, id: string, stanza: Stanza): Promise<void> => {
    const value = asKept(stanza, owner, host.domain, timeOf(id)).toXml(NS.client);
    use(owner.bare, Buffer.byteLength(value));
    return store.append(owner.bare, { id, value });
  };

  /** The same of one that the archive has by this id. */
  const refer = (owner: Jid, id: string, stanza: Stanza): Promise<void> =>
    references.set(owner.bare, [[id, Buffer.byteLength(stanza.content)]]);

  const remove = (owner: string, id: string, kept: Kept) => {
    if (gone.log.size + gone.archive.size === 0) queueMicrotask(removeAll);
    if (kept !== 'archive') add(gone.log, owner, id);
    if (kept !== 'log') add(gone.archive, owner, id);
  };

  const removeAll = () => {
    for (const [owner, ids] of gone.log) store.remove(owner, ids).catch(failed);
    for (const [owner, ids] of gone.archive) references.delete(owner, ids).catch(failed);
    for (const owners of [gone.log, gone.archive]) {
      for (const owner of owners.keys()) usages.delete(owner);
      owners.clear();
    }
  };

  /** What is kept for an account, behind an id, in order; there may be more behind `next`. */
  const page = async (
    owner: string,
    after: string | undefined,
  ): Promise<{ entries: Entry[]; next: string | undefined }> => {
    const [logged, archived] = await Promise.all([
      store.page(owner, { after, limit: pageLength }),
      archive === undefined ? [] : references.page(owner, { after, limit: pageLength + 1 }),
    ]);
    const ids = archived.slice(0, pageLength).map(([id]) => id);
    const all = logged.entries.map(({ id, value }): Entry => ({ id, kept: 'log', value }));
    if (archive !== undefined && ids.length > 0) {
      const found = await archive.read(Jid.parse(owner), { ids, limit: ids.length });
      for (const { id, value } of found.entries) all.push({ id, kept: 'archive', value });
      if (found.entries.length < ids.length) {
        const known = new Set(found.entries.map(({ id }) => id));
        for (const id of ids) if (!known.has(id)) remove(owner, id, 'archive');
      }
    }
    if (logged.entries.length > 0 && ids.length > 0) all.sort((a, b) => (a.id < b.id ? -1 : 1));
    // Behind the last that was read of either there may be more of it, which comes before what is next of the other.
    const ends = [
      ...(logged.complete ? [] : logged.entries.slice(-1).map(({ id }) => id)),
      ...(archived.length > pageLength ? ids.slice(-1) : []),
    ];
    const next = ends.sort()[0];
    return { entries: next === undefined ? all : all.filter(({ id }) => id <= next), next };
  };

  /** The archive has one more. */
  const referred = (owner: string): void => {
    const usage = usages.peek(owner);
    if (usage === undefined) usages.delete(owner);
    else usage.archived++;
  };

  /** The client of an account has these from the archive. */
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
    /** Reads the amount, so that it is there when it is needed. */
    prefetch: (owner: string): Maybe<unknown> => usages.get(owner),
    /** The amount is read anew. */
    recount: (owner: string): void => usages.delete(owner),
    /** Whether there is any that the archive has. */
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
