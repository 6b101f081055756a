/** Keeps what a store has for an owner at hand for the message path: block lists, rosters, preferences. */
import { Recent } from './recent.js';

/**
 * A bounded cache of what a loader gives; what was not used lately goes first (recent.ts). A hit costs one look-up.
 *
 * A writer calls `set` (or `delete`) right after it called the store: a load that runs meanwhile does not put its older
 * value over it. A value is never undefined; `null` can stand for nothing.
 */
export class Cache<V extends NonNullable<unknown> | null> {
  readonly #values: Recent<V>;
  readonly #load: (owner: string) => Promise<V>;
  /** Loads that run and whose value still counts; as many as callers wait for. */
  readonly #loading = new Map<string, Promise<V>>();

  /** At most `max` entries, at least 2. */
  constructor(max: number, load: (owner: string) => Promise<V>) {
    this.#values = new Recent(max);
    this.#load = load;
  }

  /** The value itself when it is here. Callers at the same time share one load, and a load that fails is not kept. */
  get(owner: string): V | Promise<V> {
    const value = this.#values.get(owner);
    return value !== undefined ? value : (this.#loading.get(owner) ?? this.#start(owner));
  }

  /** The value if it is here. Loads nothing. */
  peek(owner: string): V | undefined {
    return this.#values.get(owner);
  }

  set(owner: string, value: V): void {
    this.#loading.delete(owner);
    this.#values.set(owner, value);
  }

  /** The next `get` loads anew. */
  delete(owner: string): void {
    this.#loading.delete(owner);
    this.#values.delete(owner);
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
        // Otherwise somebody wrote since.
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
