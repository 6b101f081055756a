/**
 * The receiving side of stream management (XEP-0198 §4), for streams of clients and of other servers: how many stanzas
 * have been handled and are durable, where the peer relies on that, and which requests for an acknowledgement are pending.
 */
import { monotonic } from '../clock.js';
import { StreamError } from '../stanza/errors.js';
import { NS } from '../stanza/ns.js';
import { type Element, el } from '../xml/element.js';

/** Counters wrap at 2^32 (§4). */
export const modulus = 2 ** 32;

/** §4: an answer may be withheld until a timeout only. After this time the present count is sent, in ms. */
const longestAnswerMs = 10_000;

/** A received stanza with pending writes. */
interface NotDurable {
  readonly number: number;
  left: number;
}

export class Received {
  readonly #write: (h: number) => void;
  /** Stanzas received since `<enable/>`. */
  #received = 0;
  /** How many of them were handled. */
  #handled = 0;
  readonly #notDurable: NotDurable[] = [];
  /** What `waitFor` was given and has not settled. */
  #writes = 0;
  #whenWritten: (() => void)[] = [];
  /** Stanza numbers that the first and the last unanswered `<r/>` want acknowledged; -1: none. */
  #owed = -1;
  #owedLast = -1;
  /** Since when the answer is due, in ms. */
  #owedSince = 0;
  /** Called once everything received is durable, or the session has ended. */
  #waiters: (() => void)[] = [];

  /** `write` sends `<a/>`. */
  constructor(write: (h: number) => void) {
    this.#write = write;
  }

  /** Continues at a saved count. `late`: stanzas that were handled after it, in order, and are not durable yet. */
  restore(h: number, late: readonly { readonly count: number; readonly durable: Promise<void> }[] = []): void {
    this.#received = this.#handled = h;
    for (const { count, durable } of late) {
      this.#await({ number: (this.#received + 1) % modulus, left: 0 }, durable);
      this.#received = this.#handled = (this.#received + count) % modulus;
    }
  }

  /** Stanzas that were handled and may not be acknowledged yet. */
  get late(): number {
    return (this.#handled - this.h + modulus) % modulus;
  }

  /** Resolves once everything that `waitFor` was given has settled. Returns undefined if it has. */
  whenWritten(): Promise<void> | undefined {
    if (this.#writes === 0) return undefined;
    return new Promise((resolve) => this.#whenWritten.push(resolve));
  }

  /** A stanza begins to be handled. */
  begin(): void {
    this.#received = (this.#received + 1) % modulus;
  }

  /** The stanza that began last was handled. */
  handled(): void {
    this.#handled = this.#received;
    this.#advance();
  }

  /** The stanza that began last closed the stream, and does not count. */
  rejected(): void {
    this.#received = this.#handled;
  }

  /** The current stanza is acknowledged only after `durable` settles. */
  waitFor(durable: Promise<unknown>): void {
    const last = this.#notDurable.at(-1);
    this.#writes++;
    const settled = () => {
      if (--this.#writes === 0) for (const resolve of this.#whenWritten.splice(0)) resolve();
    };
    this.#await(last?.number === this.#received ? last : { number: this.#received, left: 0 }, durable, settled);
  }

  #await(entry: NotDurable, durable: Promise<unknown>, settled?: () => void): void {
    if (this.#notDurable.at(-1) !== entry) this.#notDurable.push(entry);
    entry.left++;
    const done = () => {
      entry.left--;
      settled?.();
      this.#advance();
    };
    durable.then(done, done);
  }

  /** Stanzas that may be acknowledged: handled, and durable with all before them. */
  get h(): number {
    const first = this.#notDurable[0];
    return first === undefined ? this.#handled : (first.number - 1 + modulus) % modulus;
  }

  #advance(): void {
    while (this.#notDurable.length > 0 && this.#notDurable[0]!.left === 0) this.#notDurable.shift();
    if (this.#owed >= 0 && distance(this.#owed, this.h) >= 0) {
      this.#write(this.h);
      this.#owed = this.#owedLast !== this.#owed && distance(this.#owedLast, this.h) < 0 ? this.#owedLast : -1;
      this.#owedSince = monotonic();
    }
    if (this.#waiters.length > 0 && this.isCaughtUp) this.ended();
  }

  /** `<r/>`: answered once everything received before it is durable. */
  requested(): void {
    if (distance(this.#received, this.h) >= 0) this.#write(this.h);
    else {
      this.#owedLast = this.#received;
      if (this.#owed >= 0) return;
      this.#owed = this.#received;
      this.#owedSince = monotonic();
    }
  }

  /** Called once a second: an answer that is due for long is given with the present count. */
  answerLate(now: number): void {
    if (this.#owed < 0 || now - this.#owedSince < longestAnswerMs) return;
    this.#owedSince = now;
    this.#write(this.h);
  }

  /** The stanza numbers that unanswered requests want acknowledged: those of the first and the last. */
  get owed(): readonly number[] {
    return this.#owed < 0 ? [] : [this.#owed, this.#owedLast];
  }

  /** Takes over unanswered requests. */
  owe([first, last]: readonly number[]): void {
    if (first === undefined || last === undefined) return;
    this.#owed = first;
    this.#owedLast = last;
    this.#owedSince = monotonic();
    this.#advance();
  }

  /** A new connection: requests of the former one are not answered. */
  forgetRequests(): void {
    this.#owed = -1;
  }

  /** Whether a received stanza is still being handled. */
  get isHandling(): boolean {
    return this.#handled !== this.#received;
  }

  get isCaughtUp(): boolean {
    return this.#notDurable.length === 0 && !this.isHandling;
  }

  /**
   * Resolves once everything received can be acknowledged, or the session has ended. Returns undefined if it can be
   * now.
   */
  whenCaughtUp(): Promise<void> | undefined {
    if (this.isCaughtUp) return undefined;
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** The session has ended: pending acknowledgements are dropped. */
  ended(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

/** Distance from `from` to `to` modulo 2^32: negative if `to` is before `from`. */
export function distance(from: number, to: number): number {
  const ahead = (to - from + modulus) % modulus;
  return ahead < modulus / 2 ? ahead : ahead - modulus;
}

/** The attribute `h`. Returns undefined if it is no counter. */
export function counterOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) && Number(text) < modulus ? Number(text) : undefined;
}

/** The attribute `h`. Throws StreamError('invalid-xml') if it is no counter. */
export function demandCounter(text: string | undefined): number {
  const count = counterOf(text);
  if (count === undefined) throw new StreamError('invalid-xml', 'The attribute "h" must be a number below 2^32.');
  return count;
}

/** §6: the error for a peer that acknowledges more than it was sent. */
export function handledTooMany(h: number, sent: number): StreamError {
  return new StreamError('undefined-condition', 'More stanzas were acknowledged than were sent.', [
    el('handled-count-too-high', { xmlns: NS.sm, h: String(h), 'send-count': String(sent) }),
  ]);
}

/** `<a/>`. */
export const acknowledgement = (h: number): string => `<a xmlns='${NS.sm}' h='${h}'/>`;
/** `<r/>`. */
export const request = `<r xmlns='${NS.sm}'/>`;

/** `<failed/>` (§6). */
export function failed(condition: string, h?: number): Element {
  return el('failed', { xmlns: NS.sm, h: h?.toString() }, el(condition, { xmlns: NS.stanzas }));
}
