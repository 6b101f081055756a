/**
 * Copies all data from one storage to another: every store, also those of modules that are not loaded. Can be stopped at
 * any time and continued: the target knows how far it is (migration-marks.ts). Nobody else may use either storage
 * meanwhile. Records that cannot be read are listed and left out.
 */
import { randomUUID } from 'node:crypto';
import { compareStores, type Totals } from './compare.js';
import {
  type DocumentStore,
  type LogEntry,
  type LogStore,
  type MapStore,
  type Storage,
  type StoreName,
  unreadable,
} from './contract.js';
import { inParallel } from './in-parallel.js';
import {
  type DamagedPlace,
  isMarkStore,
  markIn,
  type Progress,
  progressIn,
  sourceKey,
  targetKey,
} from './migration-marks.js';
import { compare } from './order.js';

/** The migration cannot begin, or cannot be continued. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/** Progress for display. */
export interface MigrationReport {
  readonly phase: 'copying' | 'comparing';
  readonly store: StoreName;
  /** Owners of all stores that are done, and their total. */
  readonly done: number;
  readonly total: number;
  /** Records handled in this run. */
  readonly records: number;
}

export interface MigrationOptions {
  /** Describes the source in messages. */
  readonly name: string;
  /** Only the stores with these names. */
  readonly only?: readonly string[] | undefined;
  /** Deletes what an earlier migration has copied, and begins again. */
  readonly restart?: boolean | undefined;
  readonly report?: ((report: MigrationReport) => void) | undefined;
}

export interface Migrated {
  /** Whether it continued an earlier run. */
  readonly continued: boolean;
  readonly stores: readonly (StoreName & Totals)[];
  /** What differs between the storages, in words, at most 100. Empty if the migration is complete. */
  readonly differences: readonly string[];
  readonly damaged: readonly DamagedPlace[];
}

/** Owners copied between two records of the progress, and in parallel. */
const ownersPage = 64;
const parallel = 8;
/** Entries of the first page of an owner, and of later ones. */
const firstPage = 16;
const largestPage = 512;
/** A page with fewer bytes doubles the size of the next; one with more halves it. */
const smallBytes = 256 * 1024;
const largeBytes = 1024 * 1024;
/** Time between two records of the progress within one owner, in ms. */
const interval = 1000;
/** Records that cannot be read, at most: with more, the source needs to be repaired first. */
const mostDamaged = 1000;

/** Rejects with MigrationError and StorageError. The target is unusable for a server until it is complete. */
export async function migrate(from: Storage, to: Storage, options: MigrationOptions): Promise<Migrated> {
  const { only = null, name, restart = false } = options;
  const isWanted = (store: StoreName): boolean => !isMarkStore(store) && (only === null || only.includes(store.name));
  const stores = (await from.stores()).filter(isWanted).sort(byName);
  const missing = (only ?? []).filter((wanted) => !stores.some((store) => store.name === wanted));
  if (missing.length > 0) throw new MigrationError(`${name} has no store ${missing.join(', ')}`);
  await demandStopped(from, name);

  const { progress, continued } = await begin(from, to, { only, name, restart, isWanted });
  const copy = new Copy(from, to, stores, progress, options.report ?? (() => {}));
  await copy.run();
  const compared = await compareStores(from, to, stores, {
    damaged: copy.damaged,
    compared: (store) => copy.compared(store),
  });
  if (compared.differences.length === 0) {
    // First the target, so that a crash in between leaves no mark that stops a server.
    await to.flush();
    await progressIn(to).delete(targetKey);
    await markIn(from).delete(sourceKey);
  }
  return { continued, ...compared, damaged: copy.damaged };
}

/** Begins, or reads where an earlier run has ended. */
async function begin(
  from: Storage,
  to: Storage,
  {
    only,
    name,
    restart,
    isWanted,
  }: Pick<Progress, 'only'> & { name: string; restart: boolean; isWanted(store: StoreName): boolean },
): Promise<{ readonly progress: Progress; readonly continued: boolean }> {
  const earlier = await progressIn(to).get(targetKey);
  if (earlier !== undefined && !restart) {
    const mark = await markIn(from).get(sourceKey);
    if (mark?.id !== earlier.id)
      throw new MigrationError(
        `the target has a part of ${earlier.from} from an earlier migration, but that was used since or is another one; delete this part and begin again with --restart`,
      );
    if (JSON.stringify(earlier.only) !== JSON.stringify(only))
      throw new MigrationError(
        `the earlier migration was for ${earlier.only?.join(', ') ?? 'all stores'}; continue with the same stores, or begin again with --restart`,
      );
    return { progress: earlier, continued: true };
  }
  if (earlier !== undefined)
    await empty(to, (store) => !isMarkStore(store) && (earlier.only?.includes(store.name) ?? true));
  for (const store of await to.stores()) {
    if (isWanted(store) && (await hasData(to, store)))
      throw new MigrationError(`the target already has data, in the store ${store.name}; use an empty one`);
  }
  const progress: Progress = { id: randomUUID(), from: name, only, store: null, after: null, owners: [], damaged: [] };
  await markIn(from).set(sourceKey, { id: progress.id });
  await progressIn(to).set(targetKey, progress);
  return { progress, continued: false };
}

const hasData = async (storage: Storage, { shape, name }: StoreName): Promise<boolean> =>
  (await storage[shape](name).owners({ limit: 1 })).length > 0;

async function empty(storage: Storage, isWanted: (store: StoreName) => boolean): Promise<void> {
  for (const { shape, name } of (await storage.stores()).filter(isWanted)) {
    const store = storage[shape](name);
    for (;;) {
      const owners = await store.owners({ limit: ownersPage });
      if (owners.length === 0) break;
      await Promise.all(owners.map((owner) => store.forget(owner)));
    }
  }
}

/** Rejects with MigrationError if nodes of a cluster are members in this storage's view. */
async function demandStopped(storage: Storage, name: string): Promise<void> {
  if (!(await storage.stores()).some((store) => store.shape === 'document' && store.name === 'cluster')) return;
  const view = await storage.document<{ readonly members?: readonly { readonly id: string }[] }>('cluster').get('view');
  const ids = (view?.members ?? []).map(({ id }) => id);
  if (ids.length > 0)
    throw new MigrationError(`${name} is in use by nodes of a cluster (${ids.join(', ')}); stop all of them first`);
}

/** By shape and name; any fixed order will do. */
const byName = (a: StoreName, b: StoreName): number => compare(`${a.shape} ${a.name}`, `${b.shape} ${b.name}`);

class Copy {
  readonly damaged: DamagedPlace[];
  readonly #from: Storage;
  readonly #to: Storage;
  readonly #stores: readonly StoreName[];
  readonly #start: Progress;
  readonly #report: (report: MigrationReport) => void;
  #store: StoreName | undefined;
  #after: string | null = null;
  /** Of owners after that: the last copied key, null if all is copied. */
  #owners = new Map<string, string | null>();
  #saved = performance.now();
  #saving: Promise<void> = Promise.resolve();
  #done = 0;
  #compared = 0;
  #total = 0;
  #records = 0;

  constructor(
    from: Storage,
    to: Storage,
    stores: readonly StoreName[],
    start: Progress,
    report: (report: MigrationReport) => void,
  ) {
    this.#from = from;
    this.#to = to;
    this.#stores = stores;
    this.#start = start;
    this.#report = report;
    this.damaged = [...start.damaged];
  }

  async run(): Promise<void> {
    const { store: first, after, owners } = this.#start;
    for (const store of this.#stores) this.#total += await this.#countOwners(store);
    for (const store of this.#stores) {
      const order = first === null ? 1 : byName(store, first);
      if (order < 0) {
        this.#done += await this.#countOwners(store);
        continue;
      }
      this.#store = store;
      this.#after = order === 0 ? after : null;
      this.#owners = new Map(order === 0 ? owners : []);
      if (this.#after !== null) this.#done += await this.#countOwners(store, this.#after);
      await this.#copy(store);
    }
  }

  /** An owner's data has been compared. */
  compared(store: StoreName): void {
    this.#compared++;
    this.#report({ phase: 'comparing', store, done: this.#compared, total: this.#total, records: this.#records });
  }

  /** All owners of a store, or those up to one. */
  async #countOwners({ shape, name }: StoreName, upTo?: string): Promise<number> {
    const store = this.#from[shape](name);
    let count = 0;
    for (let after: string | undefined; ; ) {
      const limit = 1000;
      const owners = await store.owners({ after, limit });
      const last = owners.at(-1);
      if (upTo !== undefined && last !== undefined && compare(last, upTo) >= 0)
        return count + owners.filter((owner) => compare(owner, upTo) <= 0).length;
      count += owners.length;
      if (owners.length < limit) return count;
      after = last;
    }
  }

  async #copy(store: StoreName): Promise<void> {
    for (;;) {
      const listed = await this.#from[store.shape](store.name).owners({
        after: this.#after ?? undefined,
        limit: ownersPage,
      });
      if (listed.length > 0) {
        if (store.shape === 'document') await this.#copyDocuments(store.name, listed);
        else await inParallel(listed, parallel, (owner) => this.#copyOwner(store, owner));
        this.#after = listed.at(-1)!;
        this.#owners.clear();
        await this.#save();
      }
      if (listed.length < ownersPage) return;
    }
  }

  async #copyDocuments(name: string, owners: readonly string[]): Promise<void> {
    const from: DocumentStore<unknown> = this.#from.document(name);
    const to: DocumentStore<unknown> = this.#to.document(name);
    const count = 8;
    for (let at = 0; at < owners.length; at += count) {
      const found = await from.getMany(owners.slice(at, at + count));
      const readable = [...found].filter(([owner, value]) => this.#isReadable('document', name, owner, null, value));
      await Promise.all(readable.map(([owner, value]) => to.set(owner, value)));
      this.#done += found.size;
      this.#copied();
    }
  }

  async #copyOwner(store: StoreName, owner: string): Promise<void> {
    const reached = this.#owners.get(owner);
    if (reached !== null) {
      if (store.shape === 'map') await this.#copyMap(store.name, owner, reached);
      else await this.#copyLog(store.name, owner, reached);
      this.#owners.set(owner, null);
    }
    this.#done++;
    this.#copied();
  }

  async #copyMap(name: string, owner: string, reached: string | undefined): Promise<void> {
    const from: MapStore<unknown> = this.#from.map(name);
    const to: MapStore<unknown> = this.#to.map(name);
    const size = new PageSize();
    for (let after = reached; ; ) {
      const { limit } = size;
      const entries = await from.page(owner, { after, limit });
      const readable = entries.filter(([key, value]) => this.#isReadable('map', name, owner, key, value));
      if (readable.length > 0) await to.set(owner, readable);
      if (entries.length < limit) return;
      size.took(JSON.stringify(readable).length);
      after = entries.at(-1)![0];
      await this.#reached(owner, after);
    }
  }

  async #copyLog(name: string, owner: string, reached: string | undefined): Promise<void> {
    const from: LogStore = this.#from.log(name);
    const to: LogStore = this.#to.log(name);
    const size = new PageSize();
    for (let after = reached; ; ) {
      const { entries, complete } = await from.page(owner, { after, limit: size.limit });
      const isText = ({ id, value }: LogEntry) =>
        this.#isReadable('log', name, owner, id, typeof value === 'string' ? value : unreadable);
      await Promise.all(entries.filter(isText).map((entry) => to.append(owner, entry)));
      if (complete || entries.length === 0) return;
      size.took(entries.reduce((sum, { value }) => sum + value.length, 0));
      after = entries.at(-1)!.id;
      await this.#reached(owner, after);
    }
  }

  #isReadable(shape: StoreName['shape'], name: string, owner: string, key: string | null, value: unknown): boolean {
    this.#records++;
    if (value !== unreadable) return true;
    const isKnown = this.damaged.some(
      (one) => one.shape === shape && one.name === name && one.owner === owner && one.key === key,
    );
    if (!isKnown) this.damaged.push({ shape, name, owner, key });
    if (this.damaged.length > mostDamaged)
      throw new MigrationError(
        `more than ${mostDamaged} records cannot be read, the last one in ${name}; restore a backup`,
      );
    return false;
  }

  /** An owner's data is copied up to this key. */
  async #reached(owner: string, key: string): Promise<void> {
    this.#owners.set(owner, key);
    this.#copied();
    if (performance.now() - this.#saved >= interval) await this.#save();
  }

  #copied(): void {
    this.#report({
      phase: 'copying',
      store: this.#store!,
      done: this.#done,
      total: this.#total,
      records: this.#records,
    });
  }

  /** One record after the other, so that none is replaced by an earlier one. */
  #save(): Promise<void> {
    this.#saved = performance.now();
    this.#saving = this.#saving.then(() =>
      progressIn(this.#to).set(targetKey, {
        ...this.#start,
        store: this.#store!,
        after: this.#after,
        owners: [...this.#owners],
        damaged: this.damaged,
      }),
    );
    return this.#saving;
  }
}

/** The number of entries to read at once: adapted to their size, so that memory is bounded. */
class PageSize {
  limit = firstPage;

  took(bytes: number): void {
    if (bytes < smallBytes) this.limit = Math.min(largestPage, this.limit * 2);
    else if (bytes > largeBytes) this.limit = Math.max(1, this.limit >> 1);
  }
}
