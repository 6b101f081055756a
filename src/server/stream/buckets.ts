/** Token buckets of one stream (RFC 6120 §13.12): what may still be read, in stanzas and bytes. */
import type { Config } from '../config/schema.js';

type Rate = Config['limits']['rate'];

/** Shorter times are not worth a refill, in seconds. */
const shortest = 0.05;

export class Buckets {
  #stanzas = 0;
  #bytes = 0;
  /** In ms. */
  #refilled: number;

  constructor(rate: Rate, now: number) {
    this.#refilled = now;
    this.fill(rate);
  }

  /** As full as they get. */
  fill(rate: Rate): void {
    this.#stanzas = rate.stanza_burst;
    this.#bytes = rate.byte_burst;
  }

  /** So many bytes were read. */
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

  /** Whether more was read than may be. */
  get isOverdrawn(): boolean {
    return this.#bytes < 0 || this.#stanzas < 0;
  }

  /** Seconds until they are not. */
  debt(rate: Rate): number {
    return Math.max(-this.#stanzas / rate.stanzas_per_second, -this.#bytes / rate.bytes_per_second, shortest);
  }
}
