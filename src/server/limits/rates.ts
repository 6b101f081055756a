/** Rate limits by key. */

import { z } from 'zod';
import { Recent } from '../../storage/recent.js';
import { monotonic } from '../clock.js';

/** A count, and the time until it is forgotten. */
interface Counted {
  readonly key: string;
  readonly ms: number;
}

/** `Memory` of the modules. */
interface RatesMemory {
  readonly name: string;
  readonly schema: z.ZodType<Counted>;
  describe(concerns: (bare: string) => boolean): Iterable<readonly [bare: string, counted: Counted]>;
  restore(bare: string, counted: Counted): void;
}

/**
 * A token bucket per key, of size `limit`, refilled evenly in `window` ms. Stores one number per key, for at most
 * `size` keys: the least recently used are evicted, and then have a full bucket again.
 */
export class Rates {
  /** When the bucket of a key will be full, in ms; it is full if that is in the past. */
  readonly #full: Recent<number>;
  readonly #step: number;

  constructor(
    readonly limit: number,
    readonly window: number,
    size = 10_000,
    readonly now: () => number = monotonic,
  ) {
    this.#full = new Recent(size);
    this.#step = window / limit;
  }

  /** Takes `count` tokens. Returns false if there are fewer. A limit of Infinity always allows it, 0 never. */
  take(key: string, count = 1): boolean {
    if (this.limit === Number.POSITIVE_INFINITY) return true;
    const next = this.#next(key, count);
    if (next === undefined) return false;
    this.#full.set(key, next);
    return true;
  }

  /**
   * Takes a token for every key, or none. Returns the index of the first key without one, or undefined if all were
   * taken.
   */
  static takeAll(...wanted: readonly (readonly [rates: Rates, key: string])[]): number | undefined {
    const empty = wanted.findIndex(([rates, key]) => rates.limit !== Infinity && rates.#next(key, 1) === undefined);
    if (empty >= 0) return empty;
    for (const [rates, key] of wanted) rates.take(key);
    return undefined;
  }

  /**
   * How the counts of an address move with it to another node: for the hook `moves`. `addressOf`: the address that a key
   * is about, by default the key itself.
   */
  memory(name: string, addressOf: (key: string) => string = (key) => key): RatesMemory {
    const full = this.#full;
    const now = this.now;
    return {
      name,
      schema: z.object({ key: z.string(), ms: z.number() }),
      *describe(concerns) {
        const at = now();
        for (const [key, time] of full.entries()) {
          const address = addressOf(key);
          if (time > at && concerns(address)) yield [address, { key, ms: time - at }];
        }
      },
      restore: (_, { key, ms }) => full.set(key, Math.max(now() + ms, full.get(key) ?? 0)),
    };
  }

  #next(key: string, count: number): number | undefined {
    if (this.limit <= 0) return undefined;
    const now = this.now();
    const next = Math.max(now, this.#full.get(key) ?? 0) + count * this.#step;
    // half a step of tolerance for rounding
    return next - now > this.window + this.#step / 2 ? undefined : next;
  }
}
