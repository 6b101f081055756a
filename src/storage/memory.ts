/** Storage in memory: for tests, and for data that may be lost. Nothing survives the process. */
import {
  type DocumentStore,
  fenced,
  type LogEntry,
  type LogFilter,
  type LogOptions,
  type LogStore,
  type MapStore,
  type OwnerRange,
  type Shape,
  type Storage,
  StorageError,
  type StoreName,
  UnknownId,
} from './contract.js';
import { matches, rangeOf } from './filter.js';
import * as json from './json.js';
import { compare } from './order.js';

/** Called first by each operation. Both throw once the storage is closed; `write` also once its epoch is fenced. */
interface Guard {
  read(): void;
  write(): void;
}

type Make<S> = () => (guard: Guard) => S;

/** Data shared by the handles on one storage. */
interface Shared {
  /** By shape and name: opens the store for a handle. */
  readonly stores: Map<string, { readonly name: StoreName; readonly open: (guard: Guard) => unknown }>;
  /** The latest epoch of each node, and its current epoch, if any. */
  readonly epochs: Map<string, { latest: number; current: number | undefined }>;
}

export class MemoryStorage implements Storage {
  readonly #shared: Shared;
  readonly #opened = new Map<string, unknown>();
  #member: { readonly node: string; readonly epoch: number } | undefined;
  #closed = false;

  constructor(shared: Shared = { stores: new Map(), epochs: new Map() }) {
    this.#shared = shared;
  }

  /** Returns another handle on the same data, like a second process on a database. Each is closed separately. */
  handle(): MemoryStorage {
    return new MemoryStorage(this.#shared);
  }

  document<T>(name: string): DocumentStore<T> {
    return this.#store('document', name, memoryDocument) as DocumentStore<T>;
  }

  map<T>(name: string): MapStore<T> {
    return this.#store('map', name, memoryMap) as MapStore<T>;
  }

  log(name: string, { text }: LogOptions = {}): LogStore {
    const log = this.#store('log', name, memoryLog);
    if (text !== undefined) log.search(text);
    return log;
  }

  async stores(): Promise<StoreName[]> {
    this.#guard.read();
    return [...this.#shared.stores.values()].map(({ name }) => name);
  }

  async flush(): Promise<void> {
    this.#guard.read();
  }

  async join(node: string, epoch?: number): Promise<number> {
    this.#guard.read();
    if (this.#member !== undefined) throw new StorageError('locked', 'this handle has already joined as a node');
    const { latest = 0 } = this.#shared.epochs.get(node) ?? {};
    const joined = epoch ?? latest + 1;
    this.#shared.epochs.set(node, { latest: Math.max(latest, joined), current: joined });
    this.#member = { node, epoch: joined };
    return joined;
  }

  async fence(node: string, epoch: number): Promise<void> {
    this.#guard.write();
    const epochs = this.#shared.epochs.get(node);
    if (epochs?.current === epoch) epochs.current = undefined;
  }

  async look(): Promise<void> {
    this.#guard.write();
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  readonly #guard: Guard = {
    read: () => {
      if (this.#closed) throw new StorageError('unavailable', 'the storage is closed');
    },
    write: () => {
      this.#guard.read();
      if (this.#member !== undefined && this.#shared.epochs.get(this.#member.node)?.current !== this.#member.epoch)
        throw fenced(this.#member.node, this.#member.epoch);
    },
  };

  #store<S>(shape: Shape, name: string, make: Make<S>): S {
    const key = `${shape} ${name}`;
    let store = this.#opened.get(key) as S | undefined;
    if (store !== undefined) return store;
    let shared = this.#shared.stores.get(key);
    if (shared === undefined) this.#shared.stores.set(key, (shared = { name: { shape, name }, open: make() }));
    store = shared.open(this.#guard) as S;
    this.#opened.set(key, store);
    return store;
  }
}

function memoryDocument(): (guard: Guard) => DocumentStore<unknown> {
  const texts = new Map<string, string>();
  const read = (owner: string): unknown => json.read(texts.get(owner));
  return (guard) => ({
    get: async (owner) => {
      guard.read();
      return read(owner);
    },
    getMany: async (owners) => {
      guard.read();
      return new Map(owners.filter((owner) => texts.has(owner)).map((owner) => [owner, read(owner)]));
    },
    set: async (owner, value) => {
      guard.write();
      texts.set(owner, json.write(value));
    },
    delete: async (owner) => {
      guard.write();
      return texts.delete(owner);
    },
    compareAndSet: async (owner, expected, next) => {
      guard.write();
      if (!json.isSame(texts.get(owner), expected === undefined ? undefined : json.write(expected))) return false;
      if (next === undefined) texts.delete(owner);
      else texts.set(owner, json.write(next));
      return true;
    },
    size: async (owner) => {
      guard.read();
      return Buffer.byteLength(texts.get(owner) ?? '');
    },
    owners: async (range) => {
      guard.read();
      return ownersIn(texts.keys(), range);
    },
    forget: async (owner) => {
      guard.write();
      texts.delete(owner);
    },
  });
}

function memoryMap(): (guard: Guard) => MapStore<unknown> {
  const owned = new Map<string, Map<string, string>>();
  const sorted = (owner: string): [string, string][] => [...(owned.get(owner) ?? [])].sort(([a], [b]) => compare(a, b));
  return (guard) => ({
    get: async (owner, key) => {
      guard.read();
      return json.read(owned.get(owner)?.get(key));
    },
    all: async (owner) => {
      guard.read();
      return new Map(sorted(owner).map(([key, text]) => [key, json.read(text)]));
    },
    page: async (owner, { after, limit }) => {
      guard.read();
      return sorted(owner)
        .filter(([key]) => after === undefined || compare(key, after) > 0)
        .slice(0, limit)
        .map(([key, text]) => [key, json.read(text)]);
    },
    count: async (owner) => {
      guard.read();
      return owned.get(owner)?.size ?? 0;
    },
    size: async (owner) => {
      guard.read();
      let bytes = 0;
      for (const text of owned.get(owner)?.values() ?? []) bytes += Buffer.byteLength(text);
      return bytes;
    },
    set: async (owner, entries) => {
      guard.write();
      const texts = Array.from(entries, ([key, value]) => [key, json.write(value)] as const);
      if (texts.length === 0) return;
      let items = owned.get(owner);
      if (items === undefined) owned.set(owner, (items = new Map()));
      for (const [key, text] of texts) items.set(key, text);
    },
    delete: async (owner, keys) => {
      guard.write();
      const items = owned.get(owner);
      if (items === undefined) return 0;
      const gone = keys.filter((key) => items.delete(key)).length;
      if (items.size === 0) owned.delete(owner);
      return gone;
    },
    owners: async (range) => {
      guard.read();
      return ownersIn(owned.keys(), range);
    },
    forget: async (owner) => {
      guard.write();
      owned.delete(owner);
    },
  });
}

interface OwnedLog {
  /** Ordered by id. */
  entries: LogEntry[];
  bytes: number;
}

interface MemoryLog extends LogStore {
  search(text: LogOptions['text']): void;
}

function memoryLog(): (guard: Guard) => MemoryLog {
  const logs = new Map<string, OwnedLog>();
  let text: LogOptions['text'];
  /** Removes `count` entries from `start` on. */
  const cut = (owner: string, log: OwnedLog, start: number, count: number): number => {
    const gone = log.entries.splice(start, count);
    for (const entry of gone) log.bytes -= Buffer.byteLength(entry.value);
    if (log.entries.length === 0) logs.delete(owner);
    return gone.length;
  };
  return (guard) => ({
    search: (asked) => {
      text = asked;
    },
    append: async (owner, entry) => {
      guard.write();
      let log = logs.get(owner);
      if (log === undefined) logs.set(owner, (log = { entries: [], bytes: 0 }));
      const at = position(log.entries, entry.id);
      const present = log.entries[at];
      const replaces = present?.id === entry.id;
      log.entries.splice(at, replaces ? 1 : 0, copy(entry));
      log.bytes += Buffer.byteLength(entry.value) - (replaces ? Buffer.byteLength(present.value) : 0);
    },
    page: async (owner, query) => {
      guard.read();
      const all = logs.get(owner)?.entries ?? [];
      if (query.strict) {
        for (const id of [query.after, query.before]) {
          if (id !== undefined && all[position(all, id)]?.id !== id) throw new UnknownId(id);
        }
      }
      const { limit, backwards = false } = query;
      const found = select(all, query, text, limit + 1, backwards);
      const complete = found.length <= limit;
      if (!complete) found.pop();
      if (backwards) found.reverse();
      return { entries: found.map(copy), complete };
    },
    count: async (owner, filter, limit = Number.POSITIVE_INFINITY) => {
      guard.read();
      return select(logs.get(owner)?.entries ?? [], filter, text, limit, false).length;
    },
    size: async (owner) => {
      guard.read();
      return logs.get(owner)?.bytes ?? 0;
    },
    remove: async (owner, ids) => {
      guard.write();
      const log = logs.get(owner);
      if (log === undefined) return 0;
      let gone = 0;
      for (const id of ids) {
        const at = position(log.entries, id);
        if (log.entries[at]?.id === id) gone += cut(owner, log, at, 1);
      }
      return gone;
    },
    trim: async (owner, { before, keep, limit = Number.POSITIVE_INFINITY }) => {
      guard.write();
      const log = logs.get(owner);
      if (log === undefined) return 0;
      const below = before === undefined ? 0 : position(log.entries, before);
      const surplus = keep === undefined ? 0 : log.entries.length - keep;
      return cut(owner, log, 0, Math.min(Math.max(below, surplus, 0), limit));
    },
    owners: async (range) => {
      guard.read();
      return ownersIn(logs.keys(), range);
    },
    forget: async (owner) => {
      guard.write();
      logs.delete(owner);
    },
  });
}

/** Returns the first `limit` matching entries, in reading direction. */
function select(
  all: readonly LogEntry[],
  filter: LogFilter,
  text: LogOptions['text'],
  limit: number,
  backwards: boolean,
): LogEntry[] {
  const { low, high } = rangeOf(filter);
  const start = low === undefined ? 0 : low.inclusive ? position(all, low.id) : positionAfter(all, low.id);
  const end = high === undefined ? all.length : high.inclusive ? positionAfter(all, high.id) : position(all, high.id);
  const isMatch = matches(filter, text);
  const ids = filter.ids && new Set(filter.ids);
  const found: LogEntry[] = [];
  for (let n = 0; n < end - start && found.length < limit; n++) {
    const entry = all[backwards ? end - 1 - n : start + n]!;
    if ((ids === undefined || ids.has(entry.id)) && isMatch(entry)) found.push(entry);
  }
  return found;
}

/** Returns the index of the id, or where it would be inserted. */
function position(entries: readonly LogEntry[], id: string): number {
  const last = entries.at(-1);
  if (last === undefined || compare(last.id, id) < 0) return entries.length;
  let low = 0;
  let high = entries.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(entries[middle]!.id, id) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function positionAfter(entries: readonly LogEntry[], id: string): number {
  const at = position(entries, id);
  return entries[at]?.id === id ? at + 1 : at;
}

/** Copies an entry without undefined properties, as all drivers return it. */
function copy(entry: LogEntry): LogEntry {
  return {
    id: entry.id,
    ...(entry.with !== undefined && { with: entry.with }),
    ...(entry.tag !== undefined && { tag: entry.tag }),
    value: entry.value,
  };
}

function ownersIn(owners: Iterable<string>, { after, limit, suffix = '' }: OwnerRange): string[] {
  return [...owners]
    .filter((owner) => owner.endsWith(suffix) && (after === undefined || compare(owner, after) > 0))
    .sort(compare)
    .slice(0, limit);
}
