/**
 * Makes stanza ids increase across restarts, whatever happens to the wall clock: the storage has a time, a second
 * ahead, before which ids may have been generated; the next process continues from there.
 */
import { z } from 'zod';
import type { DocumentStore, LogStore, Storage } from '../storage/contract.js';
import { wall } from './clock.js';
import { reserveIds, timeOf } from './stanza/ids.js';
import { checkOf, whole } from './stanza/stored.js';

interface Reserved {
  /** Milliseconds since 1970: no ids of this time or later exist. */
  readonly until: number;
}

/** Key of a single server's reservation; a node of a cluster appends its id. */
const alone = 'ids';
/** Owners whose newest entries are read in parallel. */
const page = 500;

/**
 * Reads the reservations of earlier processes; `ahead` is called if they are later than the clock. The returned
 * function ends this process's reservations, once no more ids are generated.
 */
export async function openReservedIds(
  storage: Storage,
  report: {
    readonly node?: string | undefined;
    readonly ahead: (ms: number) => void;
    readonly failed: (error: unknown) => void;
  },
): Promise<() => Promise<void>> {
  const store = storeOf(storage);
  const key = report.node === undefined ? alone : `${alone} ${report.node}`;
  const until = (await reservedBy(store)) ?? (await newest(storage)) + 1;
  const ahead = until - wall();
  if (ahead > 2000) report.ahead(ahead);
  let isFailing = false;
  /** Never rejects. */
  const write = (next: number): Promise<void> =>
    store.set(key, { until: next }).then(
      () => {
        isFailing = false;
      },
      (error: unknown) => {
        if (!isFailing) report.failed(error);
        isFailing = true;
      },
    );
  const end = reserveIds(until, (next) => void write(next));
  return () => write(end());
}

const storeOf = (storage: Storage): DocumentStore<Reserved> =>
  storage.document('stanza_ids', { check: checkOf(z.object({ until: whole })) });

/** The time before which any node may have made ids. */
export const idsReserved = async (storage: Storage): Promise<number> => (await reservedBy(storeOf(storage))) ?? 0;

/** The latest time reserved by any node. Returns undefined if there is none. */
async function reservedBy(store: DocumentStore<Reserved>): Promise<number | undefined> {
  const owners = await store.owners({ limit: page });
  const found = [...(await store.getMany(owners)).values()].map(({ until }) => until);
  return found.length === 0 ? undefined : Math.max(...found);
}

/** The time of the newest id in any log, for a storage from before reservations. */
async function newest(storage: Storage): Promise<number> {
  let time = 0;
  for (const { shape, name } of await storage.stores()) {
    if (shape !== 'log') continue;
    const log = storage.log(name);
    let after: string | undefined;
    for (;;) {
      const owners = await log.owners({ after, limit: page });
      time = Math.max(time, ...(await Promise.all(owners.map((owner) => newestOf(log, owner)))));
      after = owners.at(-1);
      if (owners.length < page) break;
    }
  }
  return time;
}

async function newestOf(log: LogStore, owner: string): Promise<number> {
  const [last] = (await log.page(owner, { limit: 1, backwards: true })).entries;
  return last === undefined ? 0 : timeOf(last.id) || 0;
}
