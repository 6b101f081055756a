/**
 * The pace of new sessions after another node of the cluster has failed. Its clients all return at once; those that resume
 * are few bytes each and are not held back, but new sessions cost rosters, presence and archives. They take turns for a
 * while, at a configured rate.
 */
import { monotonic } from '../clock.js';

/** Ms after a failure during which they take turns. */
const period = 60_000;
/** Most ms that one waits; later ones are refused, and clients come back after a pause. */
const longestWait = 20_000;

export class Returns {
  readonly #perSecond: () => number;
  readonly #now: () => number;
  #until = Number.NEGATIVE_INFINITY;
  /** When the next one may begin. */
  #next = 0;

  constructor(perSecond: () => number, now: () => number = monotonic) {
    this.#perSecond = perSecond;
    this.#now = now;
  }

  /** Another node has failed. */
  begin(): void {
    const now = this.#now();
    this.#next = Math.max(this.#next, now);
    this.#until = now + period;
  }

  /** Returns the ms that a new session has to wait for its turn, or undefined if it is to come back later. */
  turn(): number | undefined {
    const now = this.#now();
    if (now >= this.#until) return 0;
    const wait = Math.max(0, this.#next - now);
    if (wait > longestWait) return undefined;
    this.#next = Math.max(this.#next, now) + 1000 / this.#perSecond();
    return wait;
  }
}
