/**
 * A bound for all of which each holder (an account, an address) can use a part. The part shrinks as the whole fills: a
 * holder gets one more only while it has less than a share of what is still free. So a few holders can never use up the
 * whole, and there is a place for whoever holds nothing yet.
 */
export interface Bounds {
  /** Places in all. */
  readonly all: number;
  /** Places of one holder, however many are free. */
  readonly each: number;
  /** Places that a holder gets while any are free; one by default. */
  readonly least?: number;
}

/** A holder may have so much of what is free. */
export const portion = 1 / 4;

export class Portions {
  readonly #held = new Map<string, number>();
  #size = 0;

  constructor(readonly bounds: () => Bounds) {}

  get size(): number {
    return this.#size;
  }

  /** Holders that have a place. */
  get holders(): number {
    return this.#held.size;
  }

  of(holder: string): number {
    return this.#held.get(holder) ?? 0;
  }

  /** Takes a place, to be given back by `give`. Otherwise returns which of the bounds forbids it. */
  take(holder: string): keyof Bounds | undefined {
    const refused = this.refuses(holder);
    if (refused === undefined) this.add(holder);
    return refused;
  }

  /** Which of the bounds forbids one more place. */
  refuses(holder: string): keyof Bounds | undefined {
    const { all, each, least = 1 } = this.bounds();
    const held = this.of(holder);
    if (held >= each) return 'each';
    if (all === Number.POSITIVE_INFINITY) return undefined;
    const free = all - this.#size;
    return free > 0 && held < Math.max(least, Math.floor(free * portion)) ? undefined : 'all';
  }

  /** Counts a place whatever the bounds: what was there before a restart. */
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
