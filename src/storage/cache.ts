/** Caches per-owner records for the message path: block lists, rosters, preferences. */
import { Recent } from './recent.js';

/**
 * A bounded cache of loaded values that evicts the least recently used (recent.ts). A hit costs one look-up.
 *
 * A writer must call `set` (or `delete`) right after calling the store: a concurrent load then does not overwrite it
 * with an older value. A value is never undefined; use `null` for none.
 */
export class Cache<V extends NonNullable<unknown> | null> {
  readonly #values: Recent<V>;
  readonly #load: (owner: string) => Promise<V>;
  /** Pending loads whose result is still valid; bounded by the number of waiting callers. */
  readonly #loading = new Map<string, Promise<V>>();

  /** Holds at most `max` entries, at least 2. */
  constructor(max: number, load: (owner: string) => Promise<V>) {
    this.#values = new Recent(max);
    this.#load = load;
  }

  /** Returns the value itself on a hit. Concurrent callers share one load. A failed load is not cached. */
  get(owner: string): V | Promise<V> {
    const value = this.#values.get(owner);
    return value !== undefined ? value : (this.#loading.get(owner) ?? this.#start(owner));
  }

  /** Returns the cached value, or undefined. Loads nothing. */
  peek(owner: string): V | undefined {
    return this.#values.get(owner);
  }

  /** Iterates the cached entries in no particular order. Loads nothing. */
  entries(): Generator<readonly [owner: string, value: V], void> {
    return this.#values.entries();
  }

  set(owner: string, value: V): void {
    this.#loading.delete(owner);
    this.#values.set(owner, value);
  }

  /** Invalidates the entry: the next `get` loads it again. */
  delete(owner: string): void {
    this.#loading.delete(owner);
    this.#values.delete(owner);
  }

  /** Invalidates all entries whose owners match. */
  deleteIf(matches: (owner: string) => boolean): void {
    for (const owner of this.#loading.keys()) if (matches(owner)) this.#loading.delete(owner);
    this.#values.deleteIf(matches);
  }

  clear(): void {
    this.#loading.clear();
    this.#values.clear();
  }

  get size(): number {
    return this.#values.size;
  }

  #start(owner: string): Promise<V> {
    const load = this.#load(owner).then(
      (value) => {
        // Otherwise the owner was written meanwhile.
        if (this.#loading.get(owner) === load) this.set(owner, value);
        return value;
      },
      (error: unknown) => {
        if (this.#loading.get(owner) === load) this.#loading.delete(owner);
        throw error;
      },
    );
    this.#loading.set(owner, load);
    return load;
  }
}
