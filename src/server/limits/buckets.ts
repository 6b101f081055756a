/** Token buckets of one stream (RFC 6120 §13.12): how many stanzas and bytes may still be read. */
import type { Config } from '../config/schema.js';

type Rate = Config['limits']['rate'];

/** Shortest interval between refills, in seconds. */
const shortest = 0.05;

export class Buckets {
  #stanzas = 0;
  #bytes = 0;
  /** Time of the last refill, in ms. */
  #refilled: number;

  constructor(rate: Rate, now: number) {
    this.#refilled = now;
    this.fill(rate);
  }

  /** Fills both buckets. */
  fill(rate: Rate): void {
    this.#stanzas = rate.stanza_burst;
    this.#bytes = rate.byte_burst;
  }

  /** Refills both buckets and takes `bytes` from them. */
  received(now: number, bytes: number, rate: Rate): void {
    const elapsed = (now - this.#refilled) / 1000;
    if (elapsed >= shortest) {
      this.#refilled = now;
      this.#stanzas = Math.min(rate.stanza_burst, this.#stanzas + elapsed * rate.stanzas_per_second);
      this.#bytes = Math.min(rate.byte_burst, this.#bytes + elapsed * rate.bytes_per_second);
    }
    this.#bytes -= bytes;
  }

  takeStanza(): void {
    this.#stanzas--;
  }

  /** Whether more was read than the rate allows. */
  get isOverdrawn(): boolean {
    return this.#bytes < 0 || this.#stanzas < 0;
  }

  /** Seconds until neither bucket is overdrawn. */
  debt(rate: Rate): number {
    return Math.max(-this.#stanzas / rate.stanzas_per_second, -this.#bytes / rate.bytes_per_second, shortest);
  }
}
