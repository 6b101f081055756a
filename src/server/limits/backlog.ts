/**
 * Pending writes of all streams and the accounts that caused them, by number and bytes; a stanza that is stored several
 * times counts as often. An account over its own limit is not read until half of its bytes are durable. Over the global
 * limit, the accounts with the most pending writes are paused first. Both limits are far below the one at which the
 * storage refuses writes, so that other accounts can continue.
 */
import type { Config } from '../config/schema.js';
import type { Share } from './shares.js';

type Limits = Pick<
  Config['limits'],
  'waiting_for_disk' | 'waiting_for_disk_bytes' | 'waiting_for_disk_bytes_per_account'
>;

export class Backlog {
  waiting = 0;
  bytes = 0;
  /** Shares with pending writes. */
  readonly #causes = new Set<Share>();
  readonly #held = new Set<Share>();
  #isFull = false;

  constructor(
    readonly limits: () => Limits,
    readonly limitHit: (limit: string) => void,
  ) {}

  /** Counts a write of `bytes` as pending until `durable` settles. */
  add(share: Share, bytes: number, durable: Promise<unknown>): void {
    this.waiting++;
    this.bytes += bytes;
    share.waitingBytes += bytes;
    share.wrote(bytes);
    if (share.waiting++ === 0) this.#causes.add(share);
    this.#check(share);
    const done = () => this.#finish(share, bytes);
    durable.then(done, done);
  }

  #check(share: Share): void {
    const limits = this.limits();
    if (share.waitingBytes >= limits.waiting_for_disk_bytes_per_account)
      this.#hold(share, 'waiting_for_disk_bytes_per_account');
    const used = this.#used(limits);
    if (used < 1) return;
    const limit = this.bytes >= limits.waiting_for_disk_bytes ? 'waiting_for_disk_bytes' : 'waiting_for_disk';
    if (!this.#isFull) {
      this.#isFull = true;
      for (const cause of this.#causes) if (this.#isLarge(cause, limit)) this.#hold(cause, limit);
    }
    if (used >= 2 || this.#isLarge(share, limit)) this.#hold(share, limit);
  }

  /** Used part of the global limits, at least 1 if one is reached. */
  #used(limits: Limits): number {
    return Math.max(this.waiting / limits.waiting_for_disk, this.bytes / limits.waiting_for_disk_bytes);
  }

  /** Whether the share has at least the average amount of pending writes, by the limit that is reached. */
  #isLarge(share: Share, limit: string): boolean {
    const causes = this.#causes.size;
    if (limit === 'waiting_for_disk') return share.waiting * causes >= this.waiting;
    return share.waitingBytes * causes >= this.bytes;
  }

  #hold(share: Share, limit: string): void {
    if (share.isHeld) return;
    share.isHeld = true;
    this.#held.add(share);
    this.limitHit(limit);
  }

  #finish(share: Share, bytes: number): void {
    this.waiting--;
    this.bytes -= bytes;
    share.waitingBytes -= bytes;
    if (--share.waiting === 0) this.#causes.delete(share);
    if (this.#held.size === 0) return;
    const limits = this.limits();
    if (this.#isFull && this.#used(limits) <= 0.5) {
      this.#isFull = false;
      for (const held of [...this.#held]) this.#release(held, limits);
    } else if (share.isHeld) this.#release(share, limits);
  }

  /** Releases the share if all of its writes are done, or enough of them and of all. */
  #release(share: Share, limits: Limits): void {
    const isOwnDone = share.waitingBytes * 2 <= limits.waiting_for_disk_bytes_per_account && !this.#isFull;
    if (share.waiting > 0 && !isOwnDone) return;
    this.#held.delete(share);
    share.release();
  }
}
