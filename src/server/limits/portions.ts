/**
 * A bound shared by holders (accounts, addresses). The part of one holder shrinks as the whole fills: a holder gets
 * another place only while it has less than a share of what is free. So a few holders can never use up the whole, and a
 * new holder always finds a place.
 */
export interface Bounds {
  /** Places in total. */
  readonly all: number;
  /** Most places of one holder. */
  readonly each: number;
  /** Places that a holder gets while any are free; one by default. */
  readonly least?: number;
}

/** A holder may have this part of what is free. */
export const portion = 1 / 4;

export class Portions {
  readonly #held = new Map<string, number>();
  #size = 0;

  constructor(readonly bounds: () => Bounds) {}

  get size(): number {
    return this.#size;
  }

  /** Holders with a place. */
  get holders(): number {
    return this.#held.size;
  }

  of(holder: string): number {
    return this.#held.get(holder) ?? 0;
  }

  /** Takes a place; return it with `give`. Returns the bound that forbids it, else undefined. */
  take(holder: string): keyof Bounds | undefined {
    const refused = this.refuses(holder);
    if (refused === undefined) this.add(holder);
    return refused;
  }

  /** The bound that forbids another place. Returns undefined if none does. */
  refuses(holder: string): keyof Bounds | undefined {
    const { all, each, least = 1 } = this.bounds();
    const held = this.of(holder);
    if (held >= each) return 'each';
    if (all === Number.POSITIVE_INFINITY) return undefined;
    const free = all - this.#size;
    return free > 0 && held < Math.max(least, Math.floor(free * portion)) ? undefined : 'all';
  }

  /** Counts a place regardless of the bounds, for places from before a restart. */
  add(holder: string): void {
    this.#held.set(holder, this.of(holder) + 1);
    this.#size++;
  }

  give(holder: string): void {
    const held = this.#held.get(holder);
    if (held === undefined) return;
    this.#size--;
    if (held === 1) this.#held.delete(holder);
    else this.#held.set(holder, held - 1);
  }
}
