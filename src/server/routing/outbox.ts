/**
 * A destination that is reached over a network: another server, a component. Stanzas are taken at once, in order, into a
 * bounded queue, and whoever sends them takes them out of it: so nobody's stream waits for a network. What cannot be sent
 * after all is refused later, as if the addressee's server had answered. The sender's acknowledgement (XEP-0198) waits
 * until a stanza is sent or refused.
 */
import { Portions } from '../portions.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { sizeOf } from './outflow.js';
import type { Origin } from './passage.js';
import type { Destination } from './router.js';

const { setImmediate } = globalThis;

/** What the server says of its own accord waits if one in so many places is taken: below what one sender can use. */
const pacedPart = 8;

/** What all outboxes together hold, in bytes (about). */
export interface OutboxBudget {
  readonly most: () => number;
  used: number;
}

export interface OutboxParts {
  /** Stanzas and bytes (about) that it holds; of the stanzas one sender can use a part. */
  readonly bounds: () => { readonly stanzas: number; readonly bytes: number };
  readonly budget: OutboxBudget;
  /** A stanza was refused since there was no room. */
  readonly limitHit: () => void;
  /** Tells the sender of a stanza that was taken why it is refused. Never throws. */
  readonly refuse: (stanza: Stanza, error: StanzaError) => void;
  /** There is something to take. Called in a later turn, once for all that came until then. */
  readonly filled: () => void;
}

/** One stanza, from when the outbox has it until it is sent or refused: it counts for as long. */
export class Parcel {
  #isSettled = false;

  constructor(
    readonly stanza: Stanza,
    readonly settled: (parcel: Parcel) => void,
    readonly refused: (stanza: Stanza, error: StanzaError) => void,
    /** Lets the sender's acknowledgement go; undefined if nobody waits for one. */
    readonly acknowledge: (() => void) | undefined,
  ) {}

  /** It is sent, or handed to what keeps it from now on. */
  sent(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.settled(this);
    this.acknowledge?.();
  }

  /** It cannot be sent: its sender is told. */
  refuse(error: StanzaError): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.settled(this);
    this.refused(this.stanza, error);
    this.acknowledge?.();
  }
}

export class Outbox implements Destination {
  readonly #parts: OutboxParts;
  readonly #senders: Portions;
  /** Those that nobody has taken yet, from `#head` on. */
  #waiting: Parcel[] = [];
  #head = 0;
  #bytes = 0;
  #isDue = false;
  #sources: (() => void)[] = [];

  constructor(parts: OutboxParts) {
    this.#parts = parts;
    this.#senders = new Portions(() => {
      const { stanzas } = parts.bounds();
      return { all: stanzas, each: stanzas };
    });
  }

  /** Stanzas that it holds: those that wait, and those that were taken and are neither sent nor refused. */
  get size(): number {
    return this.#senders.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes the stanza, or throws StanzaError('resource-constraint'). */
  receive(stanza: Stanza, origin: Origin): void {
    const size = sizeOf(stanza);
    const { budget, bounds } = this.#parts;
    if (
      this.#bytes + size > bounds().bytes ||
      budget.used + size > budget.most() ||
      this.#senders.take(senderOf(stanza)) !== undefined
    ) {
      this.#parts.limitHit();
      throw new StanzaError('resource-constraint', 'Too much waits for that server already.', { type: 'wait' });
    }
    this.#count(size);
    this.#waiting.push(new Parcel(stanza, this.#settled, this.#parts.refuse, acknowledgement(origin)));
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      if (this.#head < this.#waiting.length) this.#parts.filled();
    });
  }

  /** The oldest that waits; the caller sends or refuses it. */
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

  /** Nobody can send what waits now. */
  refuseAll(error: StanzaError): void {
    // Answers may lead to more, which is not refused by this.
    for (let left = this.#waiting.length - this.#head; left > 0; left--) this.take()?.refuse(error);
  }

  /** Resolves when there is room for what the server says of its own accord; undefined: there is. */
  room(): Promise<void> | undefined {
    return this.#isPaced ? new Promise((resolve) => this.#sources.push(resolve)) : undefined;
  }

  get #isPaced(): boolean {
    const { stanzas, bytes } = this.#parts.bounds();
    return this.#bytes * pacedPart >= bytes || this.size * pacedPart >= stanzas;
  }

  readonly #settled = ({ stanza }: Parcel): void => {
    this.#senders.give(senderOf(stanza));
    this.#count(-sizeOf(stanza));
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
