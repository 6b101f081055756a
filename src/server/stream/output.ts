/**
 * What a stream writes. It is held back while the peer may not hear it yet, and what the peer has not read is counted:
 * for all streams together (queues.ts), and by `limits.write_queue_bytes` for each.
 */
import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import type { Transport } from '../transport/transport.js';
import type { Queues } from './queues.js';

export interface OutputParts {
  config(): Config;
  readonly queues: Queues;
}

/** Whose output it is. */
export interface Writer {
  readonly transport: Transport;
  /** Its negotiation is over: a peer that reads slowly is waited for as long as it reads at all. */
  readonly isEstablished: boolean;
  /** Bytes that may be unread besides `limits.write_queue_bytes`, since something else bounds them. */
  readonly mayLag: number;
  /** The peer does not read: it is not waited for. */
  tooSlow(): void;
}

/** What the server says of its own accord waits while so much is unread, or half of what may be: bytes. */
const windowBytes = 65_536;
/** What waits for one peer counts for all (`limits.outbound_bytes`) if it is more: bytes. */
export const countedAbove = 16_384;

export class Output {
  readonly #parts: OutputParts;
  readonly #writer: Writer;
  /** What is held back; undefined: nothing is. */
  #held: string[] | undefined;
  /** Characters of that. */
  #heldSize = 0;
  /** Characters ever written. */
  #written = 0;
  /** Bytes that wait, as the server's budget knows them; 0: few. */
  #counted = 0;
  /** How much the peer had taken when that was last looked at, and since when no more: in ms. */
  #took = 0;
  #tookAt = 0;

  constructor(parts: OutputParts, writer: Writer) {
    this.#parts = parts;
    this.#writer = writer;
  }

  /** `patience`: so many ms it may wait for what is written next. */
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

  // --- held back --------------------------------------------------------------------------------------------------

  /** What is written from now on is held. */
  hold(): void {
    this.#held = [];
  }

  /** The peer can take nothing yet, so that only the budget bounds what is held: as what is unread. */
  #hold(held: string[], xml: string): void {
    held.push(xml);
    this.#heldSize += xml.length;
    if (this.#heldSize <= countedAbove) return;
    this.#parts.queues.holds(this.#heldSize - this.#counted);
    this.#counted = this.#heldSize;
    if (this.#heldSize > this.#parts.queues.mostOfOne) this.#writer.tooSlow();
  }

  /** Holds no more; what was held is the caller's. */
  release(): readonly string[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldSize = 0;
    this.uncount();
    return held;
  }

  /** What was held is not said any more. */
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

  /** Some of it has gone to the system. */
  drained(): void {
    if (this.#counted > 0) this.#count(this.#writer.transport.queued);
  }

  /** Nothing waits any more. */
  uncount(): void {
    this.#parts.queues.holds(-this.#counted);
    this.#counted = 0;
  }

  /** Bytes that the peer has not read, as they are counted. */
  get unread(): number {
    return this.#counted;
  }

  get hasRoom(): boolean {
    const { config, queues } = this.#parts;
    const most = Math.min(windowBytes, config().limits.write_queue_bytes / 2, queues.window);
    return this.#held === undefined && this.#writer.transport.queued < most;
  }

  /** Whether the peer has read nothing of what waits for so many ms. */
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

  /** Once a second: whether the peer takes what it has to. */
  checkPace(now: number): void {
    if (this.#counted > this.#most && this.isStalled(now)) this.#writer.tooSlow();
  }
}
