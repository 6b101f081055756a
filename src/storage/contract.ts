/**
 * What a storage driver provides: three shapes, and nothing about XMPP. Modules declare stores of a shape; the
 * configuration puts each on a driver. Promises state what has happened when they resolve: a write that resolved
 * survives the power going. A read sees every write of this process that was called before it.
 *
 * Order: writes that concern one owner become durable in the order in which they were called, over all stores of one
 * driver. A crash keeps a prefix of them. A batch (`set` of a map) is one commit: all of it is durable or none. Nothing is
 * promised between two owners, nor between two drivers: whoever needs such an order awaits the first write.
 *
 * Stored values are input: a disk, an operator or another version may have damaged them. A driver reads what is not JSON
 * as `unreadable`. A store that declares a `check` (Reading) gives its reader only values that pass it; see checked.ts.
 *
 * `owner` is the bare JID that the data belongs to (or the host). Owners, keys and ids are well-formed Unicode, any
 * character and none included, and are ordered by code point, which is the order of their UTF-8 bytes and what databases
 * do (`<` of JavaScript, by UTF-16 code unit, differs above U+FFFF: see order.ts). Values are JSON: what is read equals
 * what was written by deep equality, and is the reader's own copy. Limits are whole numbers, 0 included, or Infinity.
 */

/**
 * 'quota': the owner has no room left, though the storage has (usage.ts). 'fenced': the node's epoch is over, and nothing
 * that it writes becomes durable any more.
 */
export type StorageFailure = 'full' | 'read-only' | 'locked' | 'corrupt' | 'unavailable' | 'quota' | 'fenced';

/** The operation did not happen (a write may have, where the disk failed in between), and why. */
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

/** What a write of an epoch is refused with that may write no more. */
export function fenced(node: string, epoch: number): StorageError {
  return new StorageError('fenced', `node ${node} was shut out of the cluster (epoch ${epoch}) and has to start anew`);
}

/** A page was asked relative to an entry that is not there. */
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
  /** Only owners that end so: `@example.org` lists the accounts of one host. */
  readonly suffix?: string | undefined;
}

/** What drivers read for a value that is not JSON. It passes no check. */
export const unreadable: unique symbol = Symbol('unreadable');

/** How the values of a store are checked when they are read. */
export interface Reading<T = unknown> {
  /** Whether a value read under this key (of a document: the owner) is one of the store. */
  readonly check?: ((value: unknown, key: string) => boolean) | undefined;
  /**
   * What a damaged record is for its reader. 'skip' (the default): it is not there, and the next write replaces it.
   * 'refuse': reading it rejects with StorageError('corrupt') and lists leave it out, for records whose absence would
   * give something away (an account could be registered again). A function gives a value that stands in for it.
   */
  readonly damaged?: 'skip' | 'refuse' | ((owner: string, key: string) => T) | undefined;
}

interface Store {
  /** Owners that have anything here, in order, a page at a time. */
  owners(range: OwnerRange): Promise<string[]>;
  /** Removes all that belongs to the owner. */
  forget(owner: string): Promise<void>;
}

/** One value per owner: credentials, a vCard, a room's configuration. */
export interface DocumentStore<T> extends Store {
  get(owner: string): Promise<T | undefined>;
  getMany(owners: readonly string[]): Promise<Map<string, T>>;
  set(owner: string, value: T): Promise<void>;
  /** Whether there was one. */
  delete(owner: string): Promise<boolean>;
  /** Writes `next` (undefined: deletes) if the present value equals `expected` (undefined: none is there). */
  compareAndSet(owner: string, expected: T | undefined, next: T | undefined): Promise<boolean>;
  /** The bytes of the value as JSON in UTF-8; 0 if there is none. */
  size(owner: string): Promise<number>;
}

/** Many keyed values per owner: roster items, PEP items, affiliations, a block list, tokens. */
export interface MapStore<T> extends Store {
  get(owner: string, key: string): Promise<T | undefined>;
  /** In the order of the keys. */
  all(owner: string): Promise<Map<string, T>>;
  /** At most `limit` entries with keys after `after`, in order. */
  page(owner: string, range: { readonly after?: string | undefined; readonly limit: number }): Promise<[string, T][]>;
  count(owner: string): Promise<number>;
  /** The bytes of all values of the owner as JSON in UTF-8. */
  size(owner: string): Promise<number>;
  /** Sets all of them or none. Of entries with one key the last counts. */
  set(owner: string, entries: Iterable<readonly [string, T]>): Promise<void>;
  /** How many of the keys were there, one named twice counted once. All are deleted or none. */
  delete(owner: string, keys: readonly string[]): Promise<number>;
}

export interface LogEntry {
  /** Unique for the owner; entries are ordered by it (see stanza/ids.ts: sortable, begins with the time). */
  readonly id: string;
  /** Whom the entry is with (a bare JID): what a page can be narrowed to. */
  readonly with?: string | undefined;
  /** A free mark that a page can be narrowed to (a kind of entry). */
  readonly tag?: string | undefined;
  /** The entry itself, as text (XML). */
  readonly value: string;
}

/** Which entries. All that are given hold together. */
export interface LogFilter {
  readonly with?: string | undefined;
  readonly tag?: string | undefined;
  /** Ids not below this, not above that (need not exist): how times become ranges. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Ids after this, before that (need not exist, unless `strict` is asked). */
  readonly after?: string | undefined;
  readonly before?: string | undefined;
  readonly ids?: readonly string[] | undefined;
  /**
   * Full text: entries whose text (LogOptions) has all of these words, as words.ts cuts them. Words without a letter or
   * a digit find nothing, and so does every search of a log without texts.
   */
  readonly words?: string | undefined;
}

export interface LogQuery extends LogFilter {
  readonly limit: number;
  /** The last `limit` entries of the range instead of the first. The page reads oldest first all the same. */
  readonly backwards?: boolean | undefined;
  /** `after` and `before` must name entries of the owner, in the range or not: else UnknownId. */
  readonly strict?: boolean | undefined;
}

export interface LogPage {
  readonly entries: LogEntry[];
  /** No further entry lies in the range in the direction of reading. */
  readonly complete: boolean;
}

export interface LogOptions extends Pick<Reading<string>, 'check'> {
  /**
   * What of a value a search for words looks at; undefined: nothing, as where it is encrypted. It is asked whenever a
   * driver comes to it, so it gives the same for the same value; where it throws, the value has no text.
   */
  readonly text?: ((value: string) => string | undefined) | undefined;
}

/** Append-only entries per owner in the order of their ids: archives, offline messages, histories. */
export interface LogStore extends Store {
  /** Appends made together share one commit. A second entry with the same id replaces the first. */
  append(owner: string, entry: LogEntry): Promise<void>;
  /**
   * Rejects with UnknownId when `strict` and `after` or `before` names no entry. A search for words may find that many
   * entries have to be put into an index first: it does so bit by bit, and sees what was written meanwhile.
   */
  page(owner: string, query: LogQuery): Promise<LogPage>;
  /** How many lie in the range, counting no further than `limit`. */
  count(owner: string, filter: LogFilter, limit?: number): Promise<number>;
  /** The bytes (as UTF-8) of all values of the owner: what quotas are made of. */
  size(owner: string): Promise<number>;
  /** How many of the ids were there, one named twice counted once. */
  remove(owner: string, ids: readonly string[]): Promise<number>;
  /**
   * Removes what lies below the id `before`, and all but the last `keep`: what either names goes, the oldest first, at
   * most `limit` of them; how many went. The removal of many may take several commits.
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

/** A driver, opened. Asking for the same name and shape again gives the same data. */
export interface Storage {
  document<T>(name: string, reading?: Reading<T>): DocumentStore<T>;
  map<T>(name: string, reading?: Reading<T>): MapStore<T>;
  /** Once it was given, the log has the text until another is given. */
  log(name: string, options?: LogOptions): LogStore;
  /** Every store that may hold something, whether it was asked for in this run or not. */
  stores(): Promise<StoreName[]>;
  /** Resolves once every write called before is durable, or has been rejected. */
  flush(): Promise<void>;
  /**
   * Makes this handle that of a node of a cluster, once: what is written over it from now on is of the epoch that this
   * resolves with. It is greater than every epoch that the node had, and puts an end to the one before as `fence` does.
   * `epoch` is given where another storage, which has the cluster's view, has given it. Handles that never join are no node's
   * and cannot be fenced. Rejects with StorageError('locked') if the handle has joined, or if the driver serves one process
   * and therefore one node.
   */
  join(node: string, epoch?: number): Promise<number>;
  /**
   * Resolves when no write of this epoch of the node can become durable any more: each has become durable or is refused
   * with StorageError('fenced'). Reads may go on. An epoch that is over already needs no fence. A node
   * whose own epoch is over fences nobody: its call is refused.
   */
  fence(node: string, epoch: number): Promise<void>;
  /** Flushes and closes; further calls are refused with StorageError('unavailable'). */
  close(): Promise<void>;
}

/** Removes all that belongs to the owner from every store, also those of modules that are not loaded now. */
export async function forgetOwner(storage: Storage, owner: string): Promise<void> {
  const stores = await storage.stores();
  await Promise.all(stores.map(({ shape, name }) => storage[shape](name).forget(owner)));
}
