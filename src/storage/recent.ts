/**
 * A bounded map that evicts old entries in bulk, using two generations: a hit in the younger is one look-up without any
 * change, a hit in the older moves the entry to the younger. When the younger is full, the older is dropped and the
 * younger takes its place. So at least the `max / 2` most recently used entries are retained, and never more than
 * `max`.
 */
export class Recent<V extends NonNullable<unknown> | null> {
  readonly #half: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();

  /** Holds at most `max` entries, at least 2. */
  constructor(max: number) {
    this.#half = Math.max(1, Math.floor(max / 2));
  }

  get(key: string): V | undefined {
    const hit = this.#young.get(key);
    if (hit !== undefined) return hit;
    const older = this.#old.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: string, value: V): void {
    if (!this.#young.has(key)) {
      this.#old.delete(key);
      if (this.#young.size >= this.#half) {
        this.#old = this.#young;
        this.#young = new Map();
      }
    }
    this.#young.set(key, value);
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  /** Deletes the entries whose keys match. */
  deleteIf(matches: (key: string) => boolean): void {
    for (const entries of [this.#young, this.#old])
      for (const key of entries.keys()) if (matches(key)) entries.delete(key);
  }

  /** Iterates the values in no particular order. */
  *values(): Generator<V, void> {
    yield* this.#young.values();
    yield* this.#old.values();
  }

  /** Iterates the entries in no particular order. */
  *entries(): Generator<readonly [key: string, value: V], void> {
    yield* this.#young.entries();
    yield* this.#old.entries();
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }
}
