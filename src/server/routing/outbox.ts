/**
 * The queue to a destination over the network: another server, or a component. Stanzas are accepted at once, in order,
 * into a bounded queue, and the connection takes them from it, so that no stream waits for the network. A stanza that
 * cannot be sent is refused later, as by the addressee's server. The sender's acknowledgement (XEP-0198) waits until it
 * is sent or refused.
 */
import { Portions } from '../limits/portions.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { sizeOf } from './outflow.js';
import type { Origin } from './passage.js';
import type { Destination } from './router.js';

const { setImmediate } = globalThis;

/** The server's own stanzas are paced once 1/`pacedPart` of the queue is used, below the share of one sender. */
const pacedPart = 8;

/** Budget of all outboxes together, in bytes (approximate). */
export interface OutboxBudget {
  readonly most: () => number;
  used: number;
}

export interface OutboxParts {
  /** Most stanzas and bytes (approximate). One sender may use a part of the stanzas. */
  readonly bounds: () => { readonly stanzas: number; readonly bytes: number };
  readonly budget: OutboxBudget;
  /** Called when a stanza is refused because the queue is full. */
  readonly limitHit: () => void;
  /** Sends an error for an accepted stanza to its sender. Never throws. */
  readonly refuse: (stanza: Stanza, error: StanzaError) => void;
  /** Called for each stanza that was sent, or passed on to another queue. */
  readonly sent?: () => void;
  /** Called when there are stanzas to take; deferred, once for all that have arrived. */
  readonly filled: () => void;
  /** Defers that call: until the output of this turn is written, if the connection writes in the turn. */
  readonly defer?: (go: () => void) => void;
}

/** A stanza in the outbox; counted until it is sent or refused. */
export class Parcel {
  #isDone = false;
  isSent = false;

  constructor(
    readonly stanza: Stanza,
    readonly done: (parcel: Parcel) => void,
    readonly refused: (stanza: Stanza, error: StanzaError) => void,
    /** Releases the sender's acknowledgement; undefined if none is pending. */
    readonly acknowledge: (() => void) | undefined,
  ) {}

  /** It was sent, or passed on to another queue. */
  sent(): void {
    if (this.#isDone) return;
    this.#isDone = this.isSent = true;
    this.done(this);
    this.acknowledge?.();
  }

  /** It cannot be sent: its sender gets an error. */
  refuse(error: StanzaError): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.done(this);
    this.refused(this.stanza, error);
    this.acknowledge?.();
  }
}

export class Outbox implements Destination {
  readonly #parts: OutboxParts;
  readonly #senders: Portions;
  /** Stanzas not yet taken, from `#head` on. */
  #waiting: Parcel[] = [];
  #head = 0;
  #bytes = 0;
  #isDue = false;
  #sources: (() => void)[] = [];
  readonly #emptied: (() => void)[] = [];

  constructor(parts: OutboxParts) {
    this.#parts = parts;
    this.#senders = new Portions(() => {
      const { stanzas } = parts.bounds();
      return { all: stanzas, each: stanzas };
    });
  }

  /** Stanzas waiting, or taken and neither sent nor refused yet. */
  get size(): number {
    return this.#senders.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Queues the stanza, or throws StanzaError('resource-constraint'). */
  receive(stanza: Stanza, origin: Origin): void {
    const size = sizeOf(stanza);
    const { budget, bounds } = this.#parts;
    if (
      this.#bytes + size > bounds().bytes ||
      budget.used + size > budget.most() ||
      this.#senders.take(senderOf(stanza)) !== undefined
    ) {
      this.#parts.limitHit();
      throw new StanzaError('resource-constraint', 'The queue to that server is full. Try again later.', {
        type: 'wait',
      });
    }
    this.#count(size);
    this.#waiting.push(new Parcel(stanza, this.#done, this.#parts.refuse, acknowledgement(origin)));
    if (this.#isDue) return;
    this.#isDue = true;
    (this.#parts.defer ?? setImmediate)(this.#fill);
  }

  readonly #fill = (): void => {
    this.#isDue = false;
    if (this.isWaiting) this.#parts.filled();
  };

  /** The oldest waiting stanza; the caller must send or refuse it. Returns undefined if there is none. */
  take(): Parcel | undefined {
    const parcel = this.#waiting[this.#head];
    if (parcel === undefined) return undefined;
    this.#head++;
    if (this.#head === this.#waiting.length) {
      this.#waiting = [];
      this.#head = 0;
    } else if (this.#head > 64 && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return parcel;
  }

  /** Taken stanzas, neither sent nor refused, that are to be taken again before all others, in this order. */
  putBack(parcels: readonly Parcel[]): void {
    this.#waiting = [...parcels, ...this.#waiting.slice(this.#head)];
    this.#head = 0;
  }

  /** Whether there is a stanza to take. */
  get isWaiting(): boolean {
    return this.#head < this.#waiting.length;
  }

  /** Nothing can be sent now: refuses all waiting stanzas. */
  refuseAll(error: StanzaError): void {
    // Errors may lead to new stanzas, which are not refused here.
    for (let left = this.#waiting.length - this.#head; left > 0; left--) this.take()?.refuse(error);
  }

  /** Resolves once there is room for stanzas of the server itself. Returns undefined if there is now. */
  room(): Promise<void> | undefined {
    return this.#isPaced ? new Promise((resolve) => this.#sources.push(resolve)) : undefined;
  }

  /** Resolves once every stanza was sent or refused. */
  whenEmpty(): Promise<void> | undefined {
    return this.size === 0 ? undefined : new Promise((resolve) => this.#emptied.push(resolve));
  }

  get #isPaced(): boolean {
    const { stanzas, bytes } = this.#parts.bounds();
    return this.#bytes * pacedPart >= bytes || this.size * pacedPart >= stanzas;
  }

  readonly #done = ({ stanza, isSent }: Parcel): void => {
    if (isSent) this.#parts.sent?.();
    this.#senders.give(senderOf(stanza));
    this.#count(-sizeOf(stanza));
    if (this.#emptied.length > 0 && this.size === 0) for (const wake of this.#emptied.splice(0)) wake();
    if (this.#sources.length === 0 || this.#isPaced) return;
    const sources = this.#sources;
    this.#sources = [];
    for (const go of sources) go();
  };

  #count(change: number): void {
    this.#bytes += change;
    this.#parts.budget.used += change;
  }
}

function senderOf({ from }: Stanza): string {
  return from?.bare ?? '';
}

function acknowledgement(origin: Origin): (() => void) | undefined {
  if (!origin.acknowledges) return undefined;
  let acknowledge = () => {};
  const done = new Promise<void>((resolve) => {
    acknowledge = resolve;
  });
  origin.acknowledgeAfter(done, 'network');
  return acknowledge;
}
