/**
 * One budget for everything that waits for clients: what they have not acknowledged, what they have not read, and what waits
 * behind a source. Where it is used up, sessions end until a fifth of it is free: the longest queues of those who take
 * nothing first, then the longest of all. What they were sent goes the way of an absent user's.
 */

import type { Congestion } from './congestion.js';

/** One session's share. */
export interface Queue {
  readonly size: number;
  /** Its client has taken nothing for a while, or is away. */
  readonly isIdle: boolean;
  end(): void;
}

/** Of the budget, what one session may hold however fast its client is: one in so many. */
const share = 4;
/** Of what is free, what the server writes ahead of one client of its own accord: one in so many, and so many bytes at least. */
const windowShare = 32;
const leastWindow = 16_384;

export class Queues {
  #size = 0;
  #isDue = false;

  constructor(
    /** Bytes that may wait. */
    readonly most: () => number,
    readonly reached: () => void,
    readonly queues: () => Iterable<Queue>,
    readonly congestion: Congestion,
  ) {}

  /** Bytes that wait, about. */
  get size(): number {
    return this.#size;
  }

  /** What one session may hold at most. */
  get mostOfOne(): number {
    return this.most() / share;
  }

  /** As `Ledger.window`: the more is used, the less is written ahead, so that clients that do not read seldom end others. */
  get window(): number {
    return Math.max(leastWindow, (this.most() - this.#size) / windowShare);
  }

  get isFull(): boolean {
    return this.#size > this.most();
  }

  readonly holds = (change: number): void => {
    this.#size += change;
    this.congestion.holds(change);
    if (change <= 0 || this.#isDue || this.#size <= this.most()) return;
    this.#isDue = true;
    // Not from within the write that was one too many.
    setImmediate(() => {
      this.#isDue = false;
      if (this.#size > this.most()) this.#relieve();
    });
  };

  #relieve(): void {
    this.reached();
    const target = this.most() * 0.8;
    const all = [...this.queues()].map((queue) => ({ queue, size: queue.size, isIdle: queue.isIdle }));
    all.sort((a, b) => Number(b.isIdle) - Number(a.isIdle) || b.size - a.size);
    for (const { queue } of all) {
      if (this.#size <= target) return;
      queue.end();
    }
  }
}
