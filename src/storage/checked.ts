/**
 * Validates records read from a storage. A damaged record is reported with store, owner and key (never its value) and
 * affects no other; the declaration of the store determines how it is handled (Reading of contract.ts). Pages of a log
 * skip damaged entries and are filled with later ones; `count`, `size` and `owners` still include them.
 */
import type {
  DocumentStore,
  LogEntry,
  LogOptions,
  LogPage,
  LogQuery,
  LogStore,
  MapStore,
  Reading,
  Shape,
  Storage,
} from './contract.js';
import { StorageError, unreadable } from './contract.js';
import { Recent } from './recent.js';

export interface DamagedRecord {
  readonly shape: Shape;
  readonly store: string;
  readonly owner: string;
  /** Undefined for a document, which has no key. */
  readonly key: string | undefined;
}

/** Maximum damaged records tracked, so that each is reported once. */
const maxReported = 10_000;

/** Validates the records of one store. */
interface Judge<T> {
  /** Returns the value to use for a record, or undefined if it is skipped. Throws StorageError if it is refused. */
  one(owner: string, key: string | undefined, value: unknown): T | undefined;
  /** The same for a record in a list: a refused record is omitted. */
  listed(owner: string, key: string | undefined, value: unknown): T | undefined;
}

/** `report` is called the first time a damaged record is read. */
export function checked(storage: Storage, report: (record: DamagedRecord) => void): Storage {
  const reported = new Recent<true>(maxReported);
  const readings = new Map<string, Reading>();

  const judge = <T>(shape: Shape, store: string, given: Reading<T> | undefined): Judge<T> => {
    const name = `${shape} ${store}`;
    // A store reopened without a check (to move or delete data) keeps the declared one.
    const reading = given?.check === undefined ? ((readings.get(name) as Reading<T> | undefined) ?? {}) : given;
    if (given?.check !== undefined) readings.set(name, given as Reading);
    const { check, damaged = 'skip' } = reading;
    const judged = (owner: string, key: string | undefined, value: unknown): T | undefined => {
      if (value !== unreadable && (check === undefined || check(value, key ?? owner))) return value as T;
      const record = JSON.stringify([name, owner, key]);
      if (reported.get(record) === undefined) {
        reported.set(record, true);
        report({ shape, store, owner, key });
      }
      return typeof damaged === 'function' ? damaged(owner, key ?? owner) : undefined;
    };
    return {
      listed: judged,
      one(owner, key, value) {
        const result = judged(owner, key, value);
        if (result === undefined && damaged === 'refuse')
          throw new StorageError('corrupt', `a record of the store ${store} is damaged`);
        return result;
      },
    };
  };

  return {
    document: <T>(name: string, reading?: Reading<T>) =>
      checkedDocument(storage.document<T>(name), judge('document', name, reading)),
    map: <T>(name: string, reading?: Reading<T>) => checkedMap(storage.map<T>(name), judge('map', name, reading)),
    log: (name, options?: LogOptions) =>
      checkedLog(storage.log(name, options), judge('log', name, { check: logCheck(options) })),
    stores: () => storage.stores(),
    flush: () => storage.flush(),
    join: (node, epoch) => storage.join(node, epoch),
    fence: (node, epoch) => storage.fence(node, epoch),
    look: () => storage.look(),
    moved: (matches) => storage.moved?.(matches),
    close: () => storage.close(),
  };
}

/** Returns undefined if a log is opened without options: the declared check stays in force. */
const logCheck = (options: LogOptions | undefined): Reading['check'] => {
  if (options === undefined) return undefined;
  const { check } = options;
  return (value, id) => typeof value === 'string' && (check === undefined || check(value, id));
};

function checkedDocument<T>(inner: DocumentStore<T>, { one, listed }: Judge<T>): DocumentStore<T> {
  const get = async (owner: string): Promise<T | undefined> => {
    const value = await inner.get(owner);
    return value === undefined ? undefined : one(owner, undefined, value);
  };
  return {
    ...inner,
    get,
    async getMany(owners) {
      const found = await inner.getMany(owners);
      for (const [owner, value] of found) {
        const good = listed(owner, undefined, value);
        if (good === undefined) found.delete(owner);
        else if (good !== value) found.set(owner, good);
      }
      return found;
    },
    async compareAndSet(owner, expected, next) {
      if (await inner.compareAndSet(owner, expected, next)) return true;
      if (expected !== undefined) return false;
      // A damaged record that is skipped counts as absent, and is overwritten.
      const present = await inner.get(owner);
      if (present === undefined || one(owner, undefined, present) !== undefined) return false;
      await (next === undefined ? inner.delete(owner) : inner.set(owner, next));
      return true;
    },
  };
}

function checkedMap<T>(inner: MapStore<T>, { one, listed }: Judge<T>): MapStore<T> {
  return {
    ...inner,
    async get(owner, key) {
      const value = await inner.get(owner, key);
      return value === undefined ? undefined : one(owner, key, value);
    },
    async all(owner) {
      const found = await inner.all(owner);
      for (const [key, value] of found) {
        const good = listed(owner, key, value);
        if (good === undefined) found.delete(key);
        else if (good !== value) found.set(key, good);
      }
      return found;
    },
    async page(owner, { after, limit }) {
      const good: [string, T][] = [];
      for (let from = after; ; ) {
        const wanted = limit - good.length;
        const read = await inner.page(owner, { after: from, limit: wanted });
        for (const [key, value] of read) {
          const item = listed(owner, key, value);
          if (item !== undefined) good.push([key, item]);
        }
        if (read.length < wanted || good.length >= limit) return good;
        from = read.at(-1)![0];
      }
    },
  };
}

function checkedLog(inner: LogStore, { listed }: Judge<string>): LogStore {
  const isGood = (owner: string, { id, value }: LogEntry): boolean => listed(owner, id, value) !== undefined;
  return {
    ...inner,
    async page(owner, query): Promise<LogPage> {
      const first = await inner.page(owner, query);
      let entries = first.entries.filter((entry) => isGood(owner, entry));
      if (entries.length === first.entries.length) return first;
      let { complete } = first;
      // Damaged entries leave gaps, filled with later entries: a short page would look like the last one.
      for (let read = first.entries; !complete && entries.length < query.limit && read.length > 0; ) {
        const more = await inner.page(owner, { ...query, ...beyond(read, query), limit: query.limit - entries.length });
        const good = more.entries.filter((entry) => isGood(owner, entry));
        entries = query.backwards === true ? [...good, ...entries] : [...entries, ...good];
        ({ complete, entries: read } = more);
      }
      return { entries, complete };
    },
  };
}

/** Returns the start of the page after these entries, in reading direction. */
const beyond = (read: readonly LogEntry[], { backwards }: LogQuery): Partial<LogQuery> =>
  backwards === true ? { before: read[0]!.id, strict: false } : { after: read.at(-1)!.id, strict: false };
