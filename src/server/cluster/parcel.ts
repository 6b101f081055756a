/** What one node has for an address that lives at another, until its home has dealt with it. */
import type { Mark } from './frames.js';

/**
 * Why a parcel did not arrive. 'lost': its home is gone, and may have handled it. 'full': too much waits for its home
 * already. 'closed': this node is leaving the cluster.
 */
export type Undelivered = 'lost' | 'full' | 'closed';

export class ParcelError extends Error {
  override readonly name = 'ParcelError';
  constructor(readonly reason: Undelivered) {
    super(`a parcel for another node: ${reason}`);
  }
}

export class Parcel {
  /** Set where a home that is gone may have handled it. */
  again: Mark | undefined;
  /** Resolves once it is handled and durable. Rejects with ParcelError. */
  readonly confirmed: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: ParcelError) => void;

  constructor(
    /** Full addresses of one bare address. */
    readonly to: readonly string[],
    readonly slot: number,
    readonly payload: string,
    /** No two homes may handle it: it is lost with its home. */
    readonly isOnce: boolean,
    readonly question: { readonly id: number; readonly timeoutMs: number } | undefined = undefined,
  ) {
    this.confirmed = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Not everybody waits for it.
    this.confirmed.catch(() => {});
  }

  confirm(): void {
    this.#resolve();
  }

  fail(reason: Undelivered): void {
    this.#reject(new ParcelError(reason));
  }
}
