/**
 * What clients were sent lately and have not taken yet. Where that comes near the budget of all queues
 * (`limits.outbound_bytes`), long stanzas and stanzas of accounts whose stanzas were multiplied lately wait in their streams,
 * before they are handled: those who send to many are slowed down, and nobody's session ends because of them. An eighth of
 * the budget is for that, which leaves room for one stanza as large as `limits.fan_out_bytes` lets it be.
 *
 * What stays in the queues for longer is its readers' affair: it counts less and less, so that slow readers do not hold up
 * everybody who sends.
 */
import type { Share } from '../shares.js';

/** Of the budget, what may be on its way until others wait: one in so many. */
const part = 8;
/** Of the budget, what counts no more with each second: one in so many. */
const forgottenPart = 16;
/** Content of a stanza that waits, whoever sends it, in characters. */
const longContent = 16_384;
/** What an account may have multiplied lately and go on all the same, in bytes. */
const fewBytes = 262_144;
/** How often some of it is forgotten, in ms. */
const forgetMs = 100;

interface Waiting {
  readonly share: Share;
  readonly go: () => void;
}

export class Congestion {
  /** Bytes on their way. */
  #bytes = 0;
  readonly #waiting: Waiting[] = [];
  #isDue = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    /** `limits.outbound_bytes`. */
    readonly most: () => number,
    /** A stanza has to wait. */
    readonly reached: () => void,
  ) {}

  /** So many bytes more wait for clients, or fewer. */
  holds(change: number): void {
    this.#bytes = Math.max(0, this.#bytes + change);
    if (change < 0) {
      if (this.#waiting.length > 0) this.#check();
    } else if (this.#timer === undefined && this.isFull) this.#arrange();
  }

  get isFull(): boolean {
    return this.#bytes * part >= this.most();
  }

  /** Whether a stanza with a content of so many characters has to wait. */
  stops(share: Share, length: number): boolean {
    return this.isFull && (length > longContent || share.multiplied > fewBytes);
  }

  /** Calls `go` once there is room, after those of whose stanzas less was made. */
  wait(share: Share, go: () => void): void {
    this.reached();
    this.#waiting.push({ share, go });
    this.#check();
  }

  #check(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    // Not from within what made room.
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
      this.#bytes = Math.max(0, this.#bytes - (this.most() / forgottenPart) * (forgetMs / 1000));
      this.#serve();
      if (this.#timer === undefined && this.isFull) this.#arrange();
    }, forgetMs).unref();
  }
}
