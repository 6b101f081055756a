/**
 * One budget for all output pending for clients: unacknowledged, unread, and queued in sources. When it is exceeded,
 * sessions end until a fifth of it is free: the longest queues of idle clients first, then the longest of all. Their
 * stanzas are handled as for an absent user.
 */

import type { Congestion } from './congestion.js';

/** The queue of one session. */
export interface Queue {
  readonly size: number;
  /** Whether its client has taken nothing for a while, or is disconnected. */
  readonly isIdle: boolean;
  end(): void;
}

/** One session may hold 1/`share` of the budget however fast its client is. */
const share = 4;
/** The server writes ahead for one client 1/`windowShare` of the free budget, and at least `leastWindow` bytes. */
const windowShare = 32;
const leastWindow = 16_384;

export class Queues {
  #size = 0;
  #isDue = false;

  constructor(
    /** The budget, in bytes. */
    readonly most: () => number,
    readonly reached: () => void,
    readonly queues: () => Iterable<Queue>,
    readonly congestion: Congestion,
  ) {}

  /** Bytes pending, approximately. */
  get size(): number {
    return this.#size;
  }

  /** Most bytes that one session may hold. */
  get mostOfOne(): number {
    return this.most() / share;
  }

  /**
   * As `Ledger.window`. It shrinks as the budget is used, so that clients that do not read seldom cause others to end.
   */
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
    // Deferred: the caller is in the middle of a write.
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
