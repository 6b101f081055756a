/** Compares two storages: for each owner of each store, the number of records and their bytes. */
import type { Storage, StoreName } from './contract.js';
import { inParallel } from './in-parallel.js';
import type { DamagedPlace } from './migration-marks.js';
import { compare } from './order.js';

/** Sums of one store. */
export interface Totals {
  readonly owners: number;
  readonly records: number;
  /** Bytes of the values, as quotas count them. */
  readonly bytes: number;
}

export interface Compared {
  /** As in the first storage. */
  readonly stores: readonly (StoreName & Totals)[];
  readonly differences: readonly string[];
}

const ownersPage = 200;
const parallel = 8;
/** Differences described, at most. */
const mostDescribed = 100;

/** `damaged`: records that only the first has. `compared` is called after each owner. */
export async function compareStores(
  one: Storage,
  other: Storage,
  stores: readonly StoreName[],
  { damaged, compared }: { readonly damaged: readonly DamagedPlace[]; compared(store: StoreName): void },
): Promise<Compared> {
  const differences: string[] = [];
  const differs = (text: string): void => {
    if (differences.length < mostDescribed) differences.push(text);
  };
  const sums: (StoreName & Totals)[] = [];
  for (const store of stores) {
    const sum = { ...store, owners: 0, records: 0, bytes: 0 };
    const missing = new Map<string, number>();
    for (const { shape, name, owner } of damaged)
      if (shape === store.shape && name === store.name) missing.set(owner, (missing.get(owner) ?? 0) + 1);
    for await (const owners of allOwners(one, other, store)) {
      await inParallel(owners, parallel, async (owner) => {
        const [has, hasOther] = await Promise.all([measure(one, store, owner), measure(other, store, owner)]);
        const left = missing.get(owner) ?? 0;
        if (has.records > 0) sum.owners++;
        sum.records += has.records;
        sum.bytes += has.bytes;
        const where = `${store.name} of ${JSON.stringify(owner)}`;
        if (has.records - left !== hasOther.records)
          differs(`${where}: ${has.records - left} records, but ${hasOther.records} in the target`);
        else if (left === 0 && has.bytes !== hasOther.bytes)
          differs(`${where}: ${has.bytes} bytes, but ${hasOther.bytes} in the target`);
        compared(store);
      });
    }
    sums.push(sum);
  }
  return { stores: sums, differences };
}

async function measure(
  storage: Storage,
  { shape, name }: StoreName,
  owner: string,
): Promise<{ readonly records: number; readonly bytes: number }> {
  if (shape === 'document') {
    const bytes = await storage.document(name).size(owner);
    return { records: bytes > 0 ? 1 : 0, bytes };
  }
  if (shape === 'map') {
    const map = storage.map(name);
    const [records, bytes] = await Promise.all([map.count(owner), map.size(owner)]);
    return { records, bytes };
  }
  const log = storage.log(name);
  const [records, bytes] = await Promise.all([log.count(owner, {}), log.size(owner)]);
  return { records, bytes };
}

/** The owners of a store in either storage, in order, in pages. */
async function* allOwners(one: Storage, other: Storage, { shape, name }: StoreName): AsyncGenerator<string[]> {
  const [first, second] = [one[shape](name), other[shape](name)];
  for (let after: string | undefined; ; ) {
    const range = { after, limit: ownersPage };
    const pages = await Promise.all([first.owners(range), second.owners(range)]);
    // Beyond the end of a full page, owners of the other may be missing.
    const ends = pages.flatMap((page) => (page.length < ownersPage ? [] : [page.at(-1)!])).sort(compare);
    const end = ends[0];
    const found = [...new Set(pages.flat())].sort(compare);
    const owners = end === undefined ? found : found.filter((owner) => compare(owner, end) <= 0);
    if (owners.length > 0) yield owners;
    if (end === undefined) return;
    after = end;
  }
}
