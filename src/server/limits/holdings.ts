/**
 * A bounded map in two levels. Each holder (an account, an address) has a share: above it, its least recently set entry
 * is evicted. Above the total, an entry of the holder with the most entries is evicted; among several, of the least
 * recently used one. So no holder can evict entries of others who hold fewer.
 */
export class Holdings<V> {
  readonly #holders = new Map<string, Map<string, V>>();
  /** Holders by number of entries, least recently used first. */
  readonly #bySize: Set<string>[] = [];
  #size = 0;

  /** `share`: most entries of one holder. `evicted` is called for each evicted entry. */
  constructor(
    readonly share: number,
    readonly evicted: (holder: string, key: string) => void = () => {},
  ) {}

  get size(): number {
    return this.#size;
  }

  /** Entries of one holder, least recently set first. */
  of(holder: string): ReadonlyMap<string, V> | undefined {
    return this.#holders.get(holder);
  }

  *all(): Generator<readonly [holder: string, key: string, value: V], void> {
    for (const [holder, entries] of this.#holders) for (const [key, value] of entries) yield [holder, key, value];
  }

  get(holder: string, key: string): V | undefined {
    return this.#holders.get(holder)?.get(key);
  }

  /** `most`: entries of all holders. Returns whether an entry was evicted because of it. */
  set(holder: string, key: string, value: V, most: number): boolean {
    const entries = this.#holders.get(holder) ?? new Map<string, V>();
    const before = entries.size;
    if (!entries.delete(key)) this.#size++;
    entries.set(key, value);
    this.#holders.set(holder, entries);
    this.#place(holder, before, entries.size);
    if (entries.size > this.share) this.#evict(holder);
    let isFull = false;
    while (this.#size > most && this.#size > 0) {
      while ((this.#bySize.at(-1)?.size ?? 0) === 0) this.#bySize.pop();
      for (const largest of this.#bySize.at(-1)!) {
        this.#evict(largest);
        break;
      }
      isFull = true;
    }
    return isFull;
  }

  delete(holder: string, key: string): void {
    const entries = this.#holders.get(holder);
    if (entries?.delete(key) !== true) return;
    this.#size--;
    this.#place(holder, entries.size + 1, entries.size);
    if (entries.size === 0) this.#holders.delete(holder);
  }

  #evict(holder: string): void {
    for (const key of this.#holders.get(holder)!.keys()) {
      this.delete(holder, key);
      this.evicted(holder, key);
      return;
    }
  }

  #place(holder: string, before: number, after: number): void {
    this.#bySize[before]?.delete(holder);
    if (after === 0) return;
    for (let size = this.#bySize.length; size <= after; size++) this.#bySize.push(new Set());
    this.#bySize[after]!.add(holder);
  }
}
