/** When a peer was last heard of, and whether it owes a sign of life. */
import { monotonic } from '../clock.js';

/** Written when a session moves to another node, in ms. */
export interface SilenceState {
  readonly silence: number;
  /** Since when it owes a sign of life. Undefined if it does not. */
  readonly owes?: number | undefined;
}

export class Silence {
  #lastRead = monotonic();
  /** When it was asked for a sign of life; 0 if it does not owe one. */
  #askedAt = 0;

  /** When something was last read, in ms. */
  get lastRead(): number {
    return this.#lastRead;
  }

  /** For how long it has owed a sign of life, in ms. Undefined if it does not owe one. */
  owes(now: number): number | undefined {
    return this.#askedAt === 0 ? undefined : now - this.#askedAt;
  }

  heard(now: number): void {
    this.#lastRead = now;
    this.#askedAt = 0;
  }

  asked(now: number): void {
    this.#askedAt = now;
  }

  describe(now: number): SilenceState {
    return { silence: now - this.#lastRead, owes: this.owes(now) };
  }

  restore({ silence, owes }: SilenceState, now: number): void {
    this.#lastRead = now - silence;
    this.#askedAt = owes === undefined ? 0 : now - owes;
  }
}
