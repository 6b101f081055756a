/**
 * What waits for the disk, over all streams, and who caused it: writes and their bytes, where a stanza that is stored several
 * times counts as often. An account with too much of it is read no further until half of it is durable. Where it is too much
 * in all, those who caused the most wait first. Both bounds are far below the one at which the storage refuses writes, so
 * that others go on.
 */
import type { Config } from '../config/schema.js';
import type { Share } from '../shares.js';

type Limits = Pick<
  Config['limits'],
  'waiting_for_disk' | 'waiting_for_disk_bytes' | 'waiting_for_disk_bytes_per_account'
>;

export class Backlog {
  waiting = 0;
  bytes = 0;
  /** Shares whose writes wait. */
  readonly #causes = new Set<Share>();
  readonly #held = new Set<Share>();
  #isFull = false;

  constructor(
    readonly limits: () => Limits,
    readonly limitHit: (limit: string) => void,
  ) {}

  /** A write of so many bytes waits until `durable` settles. */
  add(share: Share, bytes: number, durable: Promise<unknown>): void {
    this.waiting++;
    this.bytes += bytes;
    share.waitingBytes += bytes;
    share.wrote(bytes);
    if (share.waiting++ === 0) this.#causes.add(share);
    this.#check(share);
    const settled = () => this.#settled(share, bytes);
    durable.then(settled, settled);
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

  /** Of what may wait, the part that does; more than 1: too much. */
  #used(limits: Limits): number {
    return Math.max(this.waiting / limits.waiting_for_disk, this.bytes / limits.waiting_for_disk_bytes);
  }

  /** Whether it has as much waiting of what there is too much of as others on average, or more. */
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

  #settled(share: Share, bytes: number): void {
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

  /** If its own part is done, or enough of it and of all. */
  #release(share: Share, limits: Limits): void {
    const isOwnDone = share.waitingBytes * 2 <= limits.waiting_for_disk_bytes_per_account && !this.#isFull;
    if (share.waiting > 0 && !isOwnDone) return;
    this.#held.delete(share);
    share.release();
  }
}
