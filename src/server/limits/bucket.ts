/**
 * A token bucket: how much of something may still be used. It is refilled at a rate, up to a burst; use may exceed what
 * is left, and what is overdrawn has to be refilled first. `Rates` is the same for many keys, at one number each.
 */
export class Bucket {
  /** Negative if overdrawn. */
  left: number;

  constructor(burst: number) {
    this.left = burst;
  }

  take(count: number): void {
    this.left -= count;
  }

  refill(seconds: number, perSecond: number, burst: number): void {
    this.left = Math.min(burst, this.left + seconds * perSecond);
  }

  /** How much of the burst was used and is not refilled yet; 0 if it is unlimited. */
  used(burst: number): number {
    return burst === Number.POSITIVE_INFINITY ? 0 : burst - this.left;
  }

  get isOverdrawn(): boolean {
    return this.left < 0;
  }

  /** Seconds until it is no longer overdrawn. */
  owes(perSecond: number): number {
    return this.left < 0 ? -this.left / perSecond : 0;
  }
}
