/**
 * A bounded map in two levels. Each owner has a share of it: past the share its least recently set entry is evicted, past
 * the whole that of the owner that was least recently used. So nobody can evict more of others than their own share.
 */
export class Shares<V> {
  readonly #owners = new Map<string, Map<string, V>>();
  #size = 0;

  constructor(readonly share: number) {}

  get size(): number {
    return this.#size;
  }

  get(owner: string, key: string): V | undefined {
    return this.#owners.get(owner)?.get(key);
  }

  /** `most`: entries of all owners. */
  set(owner: string, key: string, value: V, most: number): void {
    const entries = this.#owners.get(owner) ?? new Map<string, V>();
    if (!entries.delete(key)) this.#size++;
    entries.set(key, value);
    this.#owners.delete(owner);
    this.#owners.set(owner, entries);
    if (entries.size > this.share) this.#evict(owner, entries);
    for (const [first, others] of this.#owners) {
      while (this.#size > most && others.size > 0) this.#evict(first, others);
      if (this.#size <= most) break;
    }
  }

  delete(owner: string, key: string): void {
    const entries = this.#owners.get(owner);
    if (entries?.delete(key) !== true) return;
    this.#size--;
    if (entries.size === 0) this.#owners.delete(owner);
  }

  #evict(owner: string, entries: Map<string, V>): void {
    for (const key of entries.keys()) {
      this.delete(owner, key);
      return;
    }
  }
}
