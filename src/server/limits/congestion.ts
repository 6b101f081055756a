/**
 * Back-pressure on senders. Counts bytes recently queued for clients that have not read them yet. Near the budget of
 * all queues (`limits.outbound_bytes`), long stanzas, and stanzas of accounts with much recent fan-out, are paused in
 * their streams before they are handled: the sender slows down and no session ends. An eighth of the budget may be used
 * for this, which leaves room for one stanza as large as `limits.fan_out_bytes` permits.
 *
 * Bytes that stay queued for longer are due to slow readers: they decay, so that a slow reader does not hold up every
 * sender.
 */
import type { Share } from './shares.js';

/** Senders are paused once 1/`part` of the budget is queued. */
const part = 8;
/** 1/`decayPart` of the budget decays each second. */
const decayPart = 16;
/** Longer stanzas of any sender are paused, in characters of content. */
const longContent = 16_384;
/** Fan-out that an account may cause recently without being paused, in bytes. */
const fewBytes = 262_144;
/** Interval of the decay, in ms. */
const decayIntervalMs = 100;

interface Waiting {
  readonly share: Share;
  readonly go: () => void;
}

export class Congestion {
  /** Recently queued bytes. */
  #bytes = 0;
  readonly #waiting: Waiting[] = [];
  #isDue = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly most: () => number,
    /** Called when a stanza is paused. */
    readonly reached: () => void,
  ) {}

  /** Counts `change` bytes, negative if fewer are queued. */
  holds(change: number): void {
    this.#bytes = Math.max(0, this.#bytes + change);
    if (change < 0) {
      if (this.#waiting.length > 0) this.#check();
    } else if (this.#timer === undefined && this.isFull) this.#arrange();
  }

  get isFull(): boolean {
    return this.#bytes * part >= this.most();
  }

  /** Whether a stanza with `length` characters of content has to be paused. */
  stops(share: Share, length: number): boolean {
    return this.isFull && (length > longContent || share.multiplied > fewBytes);
  }

  /** Calls `go` once there is room; accounts with less fan-out go first. */
  wait(share: Share, go: () => void): void {
    this.reached();
    this.#waiting.push({ share, go });
    this.#check();
  }

  #check(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    // Deferred: the caller may be in the middle of a write.
    setImmediate(() => {
      this.#isDue = false;
      this.#serve();
    });
  }

  #serve(): void {
    while (this.#waiting.length > 0 && !this.isFull) this.#takeFirst().go();
  }

  #takeFirst(): Waiting {
    let first = 0;
    for (const [at, { share }] of this.#waiting.entries())
      if (share.multiplied < this.#waiting[first]!.share.multiplied) first = at;
    return this.#waiting.splice(first, 1)[0]!;
  }

  #arrange(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#bytes = Math.max(0, this.#bytes - (this.most() / decayPart) * (decayIntervalMs / 1000));
      this.#serve();
      if (this.#timer === undefined && this.isFull) this.#arrange();
    }, decayIntervalMs).unref();
  }
}
