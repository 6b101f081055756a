/**
 * The storage driver API: three shapes, and nothing about XMPP. Modules declare stores of a shape; the configuration
 * assigns each to a driver. A resolved write is durable: it survives a power failure. A read sees every earlier write
 * of this process, even a pending one.
 *
 * Order: writes for one owner become durable in call order, across all stores of one driver. After a crash a prefix of
 * them remains. A batch (`set` of a map) is one commit: durable as a whole or not at all. There is no order between two
 * owners, nor between two drivers: to get one, await the first write.
 *
 * Stored values are input: a disk, an operator or another version may have damaged them. A driver returns `unreadable`
 * for a value that is not JSON. A store with a `check` (Reading) only returns values that pass it; see checked.ts.
 *
 * `owner` is the bare JID (or host) that the data belongs to. Owners, keys and ids are well-formed Unicode, possibly
 * empty, with any characters, and are ordered by code point, like their UTF-8 bytes and like databases do (JavaScript's
 * `<` compares UTF-16 code units and differs above U+FFFF: see order.ts). Values are JSON: a read value is deeply equal
 * to the written one, and is a copy. Limits are whole numbers, including 0, or Infinity.
 */

/**
 * 'quota': the owner has used its quota, though the storage has space (usage.ts). 'fenced': the node's epoch has ended,
 * and its writes no longer become durable. 'busy': the operation was not begun or is no longer waited for, because the
 * storage does not answer or has too much to do.
 */
export type StorageFailure = 'full' | 'read-only' | 'locked' | 'corrupt' | 'unavailable' | 'quota' | 'fenced' | 'busy';

/** The operation failed. A failed write may still have been applied, if the disk failed in between. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  constructor(
    readonly failure: StorageFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Returns the error for a write of a fenced epoch. */
export function fenced(node: string, epoch: number): StorageError {
  return new StorageError(
    'fenced',
    `node ${node} was excluded from the cluster (epoch ${epoch}) and must be restarted`,
  );
}

/** A page was requested relative to an entry that does not exist. */
export class UnknownId extends Error {
  override readonly name = 'UnknownId';
  constructor(readonly id: string) {
    super('no such entry');
  }
}

export interface OwnerRange {
  /** Owners after this one, in order. */
  readonly after?: string | undefined;
  readonly limit: number;
  /** Only owners with this suffix: `@example.org` lists the accounts of a host. */
  readonly suffix?: string | undefined;
}

/** Returned by drivers for a value that is not JSON. Passes no check. */
export const unreadable: unique symbol = Symbol('unreadable');

/** Validation of the values of a store. */
export interface Reading<T = unknown> {
  /** Whether a value read under this key (of a document: the owner) is valid. */
  readonly check?: ((value: unknown, key: string) => boolean) | undefined;
  /**
   * How a damaged record is read. 'skip' (the default): as absent; the next write replaces it. 'refuse': reading it
   * rejects with StorageError('corrupt') and lists omit it, for records whose absence would be dangerous (an account
   * could be registered again). A function returns a replacement value.
   */
  readonly damaged?: 'skip' | 'refuse' | ((owner: string, key: string) => T) | undefined;
}

interface Store {
  /** Lists owners that have data in this store, in order, one page at a time. */
  owners(range: OwnerRange): Promise<string[]>;
  /** Deletes all data of the owner. */
  forget(owner: string): Promise<void>;
}

/** One value per owner: credentials, a vCard, a room's configuration. */
export interface DocumentStore<T> extends Store {
  get(owner: string): Promise<T | undefined>;
  getMany(owners: readonly string[]): Promise<Map<string, T>>;
  set(owner: string, value: T): Promise<void>;
  /** Returns whether there was a value. */
  delete(owner: string): Promise<boolean>;
  /**
   * Writes `next` (undefined deletes) if the current value equals `expected` (undefined for no value). Returns whether
   * it did.
   */
  compareAndSet(owner: string, expected: T | undefined, next: T | undefined): Promise<boolean>;
  /** Returns the size of the value as JSON in UTF-8 bytes; 0 if there is none. */
  size(owner: string): Promise<number>;
}

/** Many keyed values per owner: roster items, PEP items, affiliations, a block list, tokens. */
export interface MapStore<T> extends Store {
  get(owner: string, key: string): Promise<T | undefined>;
  /** Returns all entries, ordered by key. */
  all(owner: string): Promise<Map<string, T>>;
  /** Returns at most `limit` entries with keys after `after`, in order. */
  page(owner: string, range: { readonly after?: string | undefined; readonly limit: number }): Promise<[string, T][]>;
  count(owner: string): Promise<number>;
  /** Returns the total size of the owner's values as JSON in UTF-8 bytes. */
  size(owner: string): Promise<number>;
  /** Sets all entries or none. Of several entries with the same key, the last wins. */
  set(owner: string, entries: Iterable<readonly [string, T]>): Promise<void>;
  /** Deletes all these keys or none. Returns how many existed, duplicates counted once. */
  delete(owner: string, keys: readonly string[]): Promise<number>;
}

export interface LogEntry {
  /** Unique per owner and the sort key of entries (see stanza/ids.ts: sortable, begins with the time). */
  readonly id: string;
  /** The other party of the entry (a bare JID), for filtering pages. */
  readonly with?: string | undefined;
  /** An arbitrary tag (kind of entry), for filtering pages. */
  readonly tag?: string | undefined;
  /** The entry itself, as text (XML). */
  readonly value: string;
}

/** Selects entries. All given conditions must hold. */
export interface LogFilter {
  readonly with?: string | undefined;
  readonly tag?: string | undefined;
  /** Inclusive bounds of the ids (need not exist): used for time ranges. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Exclusive bounds of the ids (need not exist, unless `strict`). */
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly ids?: readonly string[] | undefined;
  /**
   * Full text: entries whose text (LogOptions) contains all of these words, as split by words.ts. Words without a
   * letter or digit match nothing, as does any search in a log without texts.
   */
  readonly words?: string | undefined;
}

export interface LogQuery extends LogFilter {
  readonly limit: number;
  /** Returns the last `limit` entries of the range instead of the first. The page is still ordered oldest first. */
  readonly backwards?: boolean | undefined;
  /** Rejects with UnknownId unless `after` and `before` name entries of the owner, in the range or not. */
  readonly strict?: boolean | undefined;
}

export interface LogPage {
  readonly entries: LogEntry[];
  /** Whether there are no more entries in the range, in reading direction. */
  readonly complete: boolean;
}

export interface LogOptions extends Pick<Reading<string>, 'check'> {
  /**
   * Returns the searchable text of a value; undefined if there is none, as for an encrypted one. Must be deterministic:
   * drivers may call it at any time. A value has no text if it throws.
   */
  readonly text?: ((value: string) => string | undefined) | undefined;
}

/** What a log can do beyond the rest. */
export interface LogSupports {
  /** Searches for words. Without them, `page` and `count` reject with TypeError for a filter with `words`. */
  readonly words: boolean;
  /** Without it, `count` of many entries, `size` and `trim` by `keep` read all of them, and are not for daily use. */
  readonly counts: boolean;
}

/** Entries per owner, ordered by id: archives, offline messages, histories. */
export interface LogStore extends Store {
  /** Absent: everything. */
  readonly supports?: LogSupports | undefined;
  /** Appends an entry. Concurrent appends share one commit. An entry with an existing id replaces it. */
  append(owner: string, entry: LogEntry): Promise<void>;
  /**
   * Returns a page. Rejects with UnknownId if `strict` and `after` or `before` names no entry. A search for words may
   * first have to index many entries: it does so in steps, and sees concurrent writes.
   */
  page(owner: string, query: LogQuery): Promise<LogPage>;
  /** Returns the number of matching entries, but at most `limit`. */
  count(owner: string, filter: LogFilter, limit?: number): Promise<number>;
  /** Returns the total size of the owner's values in UTF-8 bytes, as used for quotas. */
  size(owner: string): Promise<number>;
  /** Removes entries. Returns how many existed, duplicates counted once. */
  remove(owner: string, ids: readonly string[]): Promise<number>;
  /**
   * Removes entries below the id `before`, and all but the last `keep`: whatever matches either condition, oldest
   * first, at most `limit`. Returns how many. A large removal may take several commits.
   */
  trim(
    owner: string,
    what: {
      readonly before?: string | undefined;
      readonly keep?: number | undefined;
      readonly limit?: number | undefined;
    },
  ): Promise<number>;
}

export type Shape = 'document' | 'map' | 'log';

export interface StoreName {
  readonly shape: Shape;
  readonly name: string;
}

/** An open driver. Opening the same name and shape again returns the same data. */
export interface Storage {
  document<T>(name: string, reading?: Reading<T>): DocumentStore<T>;
  map<T>(name: string, reading?: Reading<T>): MapStore<T>;
  /** The given text function stays in force until another one is given. */
  log(name: string, options?: LogOptions): LogStore;
  /** Lists every store that may have data, opened in this run or not. */
  stores(): Promise<StoreName[]>;
  /** Resolves when every earlier write is durable or has been rejected. */
  flush(): Promise<void>;
  /**
   * Makes this handle belong to a node of a cluster; may be called once. Later writes through it belong to the returned
   * epoch, which is greater than all earlier epochs of the node and ends the previous one as `fence` does. `epoch` is
   * given if another storage, which has the cluster's view, assigned it. Handles that never join belong to no node and
   * cannot be fenced. Rejects with StorageError('locked') if the handle has already joined, or if the driver supports
   * only one process and therefore one node.
   */
  join(node: string, epoch?: number): Promise<number>;
  /**
   * Ends an epoch of a node. Resolves when none of its writes can become durable any more: each is durable or was
   * refused with StorageError('fenced'). Reads may continue. An epoch that has already ended need not be fenced.
   * Refused if the caller's own epoch has ended.
   *
   * A driver that cannot refuse writes (Cassandra) instead lets no append resolve that a fence of the main storage has
   * not found in time (`look`): what it has refused may be there all the same.
   */
  fence(node: string, epoch: number): Promise<void>;
  /**
   * Resolves if the handle's epoch had not ended when this was called, or if it has none. Rejects with
   * StorageError('fenced'). What became durable before the call was then durable before any fence resolved.
   */
  look(): Promise<void>;
  /** Others may have written for these owners: what the driver remembers of them is invalid. Absent: it remembers nothing. */
  moved?(matches: (owner: string) => boolean): void;
  /** Flushes and closes. Later calls reject with StorageError('unavailable'). */
  close(): Promise<void>;
}

/** Deletes all data of the owner from every store, including those of modules that are not loaded. */
export async function forgetOwner(storage: Storage, owner: string): Promise<void> {
  const stores = await storage.stores();
  await Promise.all(stores.map(({ shape, name }) => storage[shape](name).forget(owner)));
}
