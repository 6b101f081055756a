/** How often something may happen: so many times in a while, counted by whoever does it. */

import { Recent } from '../storage/recent.js';
import { monotonic } from './clock.js';

/**
 * A bucket for each key that holds `limit` and is refilled evenly in `window` ms. Of each key one number is kept, of at
 * most `size` keys: those that were not used lately go first, and then have a full bucket again.
 */
export class Rates {
  /** When the bucket of a key will be full, in ms; in the past: it is. */
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

  /** Takes so many out; false: there are fewer. A limit of Infinity has always enough, a limit of 0 never. */
  take(key: string, count = 1): boolean {
    if (this.limit === Number.POSITIVE_INFINITY) return true;
    const next = this.#next(key, count);
    if (next === undefined) return false;
    this.#full.set(key, next);
    return true;
  }

  /** Takes one out for each of the keys, or nothing: the place of the first of them that has none is the answer. */
  static takeAll(...wanted: readonly (readonly [rates: Rates, key: string])[]): number | undefined {
    const empty = wanted.findIndex(([rates, key]) => rates.limit !== Infinity && rates.#next(key, 1) === undefined);
    if (empty >= 0) return empty;
    for (const [rates, key] of wanted) rates.take(key);
    return undefined;
  }

  #next(key: string, count: number): number | undefined {
    if (this.limit <= 0) return undefined;
    const now = this.now();
    const next = Math.max(now, this.#full.get(key) ?? 0) + count * this.#step;
    // half a step for what division leaves over
    return next - now > this.window + this.#step / 2 ? undefined : next;
  }
}
