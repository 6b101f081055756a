/** Token buckets of one stream (RFC 6120 §13.12): how many stanzas and bytes may still be read. */
import { z } from 'zod';
import type { Config } from '../config/schema.js';
import { Bucket } from './bucket.js';

type Rate = Config['limits']['rate'];

/** What a stream that moves to another node has used up. */
export const usedUp = z.object({ stanzas: z.number(), bytes: z.number() });
export type UsedUp = z.output<typeof usedUp>;

/** Shortest interval between refills, in seconds. */
const shortest = 0.05;

export class Buckets {
  readonly #stanzas: Bucket;
  readonly #bytes: Bucket;
  /** Time of the last refill, in ms. */
  #refilled: number;

  constructor(rate: Rate, now: number) {
    this.#refilled = now;
    this.#stanzas = new Bucket(rate.stanza_burst);
    this.#bytes = new Bucket(rate.byte_burst);
  }

  /** Fills both buckets. */
  fill(rate: Rate): void {
    this.#stanzas.left = rate.stanza_burst;
    this.#bytes.left = rate.byte_burst;
  }

  /** Refills both buckets and takes `bytes` from them. */
  received(now: number, bytes: number, rate: Rate): void {
    const seconds = (now - this.#refilled) / 1000;
    if (seconds >= shortest) {
      this.#refilled = now;
      this.#stanzas.refill(seconds, rate.stanzas_per_second, rate.stanza_burst);
      this.#bytes.refill(seconds, rate.bytes_per_second, rate.byte_burst);
    }
    this.#bytes.take(bytes);
  }

  describe(rate: Rate): UsedUp {
    return { stanzas: this.#stanzas.used(rate.stanza_burst), bytes: this.#bytes.used(rate.byte_burst) };
  }

  /** Goes on with full buckets as others were described at another node. */
  restore({ stanzas, bytes }: UsedUp): void {
    this.#stanzas.take(stanzas);
    this.#bytes.take(bytes);
  }

  takeStanza(): void {
    this.#stanzas.take(1);
  }

  /** Whether more was read than the rate allows. */
  get isOverdrawn(): boolean {
    return this.#bytes.isOverdrawn || this.#stanzas.isOverdrawn;
  }

  /** Seconds until neither bucket is overdrawn. */
  owes(rate: Rate): number {
    return Math.max(this.#stanzas.owes(rate.stanzas_per_second), this.#bytes.owes(rate.bytes_per_second), shortest);
  }
}
