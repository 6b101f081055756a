/**
 * Keeps stanza ids rising over restarts, whatever happens to the wall clock: the storage has a time before which ids may
 * have been made, a second ahead of them, and the next process goes on from there.
 */
import { z } from 'zod';
import type { DocumentStore, LogStore, Storage } from '../storage/contract.js';
import { wall } from './clock.js';
import { reserveIds, timeOf } from './stanza/ids.js';
import { checkOf, whole } from './stanza/stored.js';

interface Reserved {
  /** Ms since 1970: ids of this time and later were not made yet. */
  readonly until: number;
}

/** The reservation of a server alone; a node of a cluster has one under its id. */
const alone = 'ids';
/** Owners whose newest entries are read at once. */
const page = 500;

/**
 * Reads what earlier processes reserved; `ahead` is told if that is more than the clock says. The result ends the
 * reservations of this process, when nothing makes ids any more.
 */
export async function openReservedIds(
  storage: Storage,
  report: {
    readonly node?: string | undefined;
    readonly ahead: (ms: number) => void;
    readonly failed: (error: unknown) => void;
  },
): Promise<() => Promise<void>> {
  const store: DocumentStore<Reserved> = storage.document('stanza_ids', { check: checkOf(z.object({ until: whole })) });
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

/** The greatest time that any node has reserved; undefined where none has. */
async function reservedBy(store: DocumentStore<Reserved>): Promise<number | undefined> {
  const owners = await store.owners({ limit: page });
  const found = [...(await store.getMany(owners)).values()].map(({ until }) => until);
  return found.length === 0 ? undefined : Math.max(...found);
}

/** The time of the newest id in any log: for a storage that was written before reservations were. */
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
