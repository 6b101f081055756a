/**
 * Output of a stream. Buffers it while the peer may not receive it yet, and counts unread bytes: for all streams
 * together (queues.ts), and against `limits.write_queue_bytes` for each.
 */
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import type { Queues } from '../limits/queues.js';
import type { Transport } from '../transport/transport.js';

export interface OutputParts {
  config(): Config;
  readonly queues: Queues;
}

/** The stream an output belongs to. */
export interface Writer {
  readonly transport: Transport;
  /** Whether negotiation is over. From then on a slow peer is tolerated as long as it reads at all. */
  readonly isEstablished: boolean;
  /** Bytes that may be unread on top of `limits.write_queue_bytes`, because something else bounds them. */
  readonly mayLag: number;
  /** Called when the peer does not read and must be disconnected. */
  tooSlow(): void;
}

/** Unread bytes above which the server defers stanzas of its own (at most half of the queue). */
const windowBytes = 65_536;
/** Fewer unread bytes of one peer are not counted against `limits.outbound_bytes`. */
export const countedAbove = 16_384;

export class Output {
  readonly #parts: OutputParts;
  readonly #writer: Writer;
  /** Buffered output; undefined if output is not held. */
  #held: string[] | undefined;
  /** Characters in `#held`. */
  #heldSize = 0;
  /** Characters written so far. */
  #written = 0;
  /** Unread bytes as counted in the global budget; 0 if there are few. */
  #counted = 0;
  /** How much the peer had read when last checked, in characters, and when that last increased, in ms. */
  #took = 0;
  #tookAt = 0;

  constructor(parts: OutputParts, writer: Writer) {
    this.#parts = parts;
    this.#writer = writer;
  }

  /** `patience`: how long the write may be delayed to be sent with later ones, in ms. */
  write(xml: string, patience: number): void {
    if (this.#held !== undefined) {
      this.#hold(this.#held, xml);
      return;
    }
    this.#written += xml.length;
    const { transport } = this.#writer;
    transport.write(xml, patience);
    const { queued } = transport;
    if (queued <= countedAbove && this.#counted === 0) return;
    this.#count(queued);
    if (queued <= this.#most) return;
    const { isEstablished } = this.#writer;
    if (!isEstablished || queued > this.#parts.queues.mostOfOne || this.isStalled(monotonic())) this.#writer.tooSlow();
  }

  get #most(): number {
    return this.#parts.config().limits.write_queue_bytes + this.#writer.mayLag;
  }

  // --- held ----- --------------------------------------------------------------------------------------------------

  /** Buffers everything written from now on. */
  hold(): void {
    this.#held = [];
  }

  /** The peer cannot read yet, so that only the global budget bounds the buffer. */
  #hold(held: string[], xml: string): void {
    held.push(xml);
    this.#heldSize += xml.length;
    if (this.#heldSize <= countedAbove) return;
    this.#parts.queues.holds(this.#heldSize - this.#counted);
    this.#counted = this.#heldSize;
    if (this.#heldSize > this.#parts.queues.mostOfOne) this.#writer.tooSlow();
  }

  /** Stops buffering and returns the buffered output for the caller to write. */
  release(): readonly string[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldSize = 0;
    this.uncount();
    return held;
  }

  /** Discards the buffered output. */
  drop(): void {
    if (this.#held === undefined) return;
    this.#held = undefined;
    this.#heldSize = 0;
    this.#count(this.#writer.transport.queued);
  }

  // --- unread -----------------------------------------------------------------------------------------------------

  #count(queued: number): void {
    if (this.#counted === 0) {
      this.#tookAt = monotonic();
      this.#took = this.#written - queued;
    }
    const counted = queued > countedAbove ? queued : 0;
    this.#parts.queues.holds(counted - this.#counted);
    this.#counted = counted;
  }

  /** The socket has taken some of it. */
  drained(): void {
    if (this.#counted > 0) this.#count(this.#writer.transport.queued);
  }

  /** Nothing is pending any more. */
  uncount(): void {
    this.#parts.queues.holds(-this.#counted);
    this.#counted = 0;
  }

  /** Unread bytes, as counted in the global budget. */
  get unread(): number {
    return this.#counted;
  }

  get hasRoom(): boolean {
    const { config, queues } = this.#parts;
    const most = Math.min(windowBytes, config().limits.write_queue_bytes / 2, queues.window);
    return this.#held === undefined && this.#writer.transport.queued < most;
  }

  /** Whether output is pending and the peer has read none of it for `ms`. */
  isStuck(now: number, ms: number): boolean {
    if (this.#counted === 0) return false;
    const taken = this.#written - this.#writer.transport.queued;
    if (taken > this.#took) {
      this.#took = taken;
      this.#tookAt = now;
    }
    return now - this.#tookAt >= ms;
  }

  isStalled(now: number): boolean {
    return this.isStuck(now, this.#parts.config().limits.stalled_seconds * 1000);
  }

  /** Called once a second: disconnects a stalled peer. */
  checkPace(now: number): void {
    if (this.#counted > this.#most && this.isStalled(now)) this.#writer.tooSlow();
  }
}
