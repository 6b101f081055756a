/**
 * What stands in for a fence. Cassandra cannot refuse the writes of a node that was excluded: so a write is only
 * acknowledged after a look at the main store, begun after the write, has found that the node still belonged to the
 * cluster. One look serves all writes that have ended before it began. What deletes data looks before, too.
 */
import { fenced, StorageError } from '../contract.js';

/** Rejects with StorageError('fenced') if this process was excluded from the cluster before the call. */
export type Look = () => Promise<void>;

export class Fence {
  readonly #look: Look | undefined;
  #member: { readonly node: string; readonly epoch: number } | undefined;
  #refusal: StorageError | undefined;
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  /** `look`: at the main store; undefined for a process that belongs to no cluster. */
  constructor(look: Look | undefined) {
    this.#look = look;
  }

  join(node: string, epoch: number | undefined): number {
    if (this.#member !== undefined) throw new StorageError('locked', 'this handle has already joined as a node');
    if (epoch === undefined || this.#look === undefined)
      throw new StorageError('locked', 'Cassandra has no epochs of its own: the main storage assigns them');
    this.#member = { node, epoch };
    return epoch;
  }

  end(node: string, epoch: number): void {
    this.demand();
    if (this.#member?.node === node && this.#member.epoch === epoch) this.#refusal = fenced(node, epoch);
  }

  /** Throws the error for all writes, once the epoch is known to have ended. */
  demand(): void {
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  /** Resolves after a look that begins after this call. Rejects with StorageError. */
  async looked(): Promise<void> {
    if (this.#member === undefined) return;
    this.#next ??= this.#running.then(
      () => this.#begin(),
      () => this.#begin(),
    );
    await this.#next;
    this.demand();
  }

  #begin(): Promise<void> {
    this.#next = undefined;
    this.#running = this.#look!().catch((error: unknown) => {
      if (error instanceof StorageError && error.failure === 'fenced') this.#refusal ??= error;
      throw error;
    });
    return this.#running;
  }
}
