/** A message for an address at another node, until its home has handled it. */
import type { Frame, Mark } from './frames.js';

/**
 * Why a parcel was not delivered. 'lost': its home is gone and may have handled it. 'full': too much is pending for its
 * home. 'closed': this node is leaving the cluster.
 */
export type Undelivered = 'lost' | 'full' | 'closed';

export class ParcelError extends Error {
  override readonly name = 'ParcelError';
  constructor(readonly reason: Undelivered) {
    super(`delivery to another node failed: ${reason}`);
  }
}

export class Parcel {
  /** Set if a home that is gone may have handled it. */
  again: Mark | undefined;
  /** The link that it was sent over last. */
  link: object | undefined;
  /** Resolves when it is handled and durable. Rejects with ParcelError. */
  readonly confirmed: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: ParcelError) => void;

  constructor(
    /** Full addresses of one bare address. */
    readonly to: readonly string[],
    readonly slot: number,
    readonly payload: string,
    /** Must not be handled by two homes: fails with 'lost' if its home is gone. */
    readonly isOnce: boolean,
    readonly question: Frame['question'] = undefined,
  ) {
    this.confirmed = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Some callers ignore the result.
    this.confirmed.catch(() => {});
  }

  confirm(): void {
    this.#resolve();
  }

  fail(reason: Undelivered): void {
    this.#reject(new ParcelError(reason));
  }
}
