/**
 * XEP-0198: Stream Management. An `Sm` is what a session remembers of its streams: what it sent and the client has not
 * acknowledged, and how much of what it received is dealt with (and durable, where that was asked for). It outlives
 * the connection, so that a client can resume; the process, when that stops in order; and a crash, where nothing was said
 * for a while before it (docs/decisions/0004-resumption-after-a-crash.md).
 */
import { moment, monotonic } from '../clock.js';
import type { LocalHost } from '../routing/host.js';
import type { Link, Receipt, Sent } from '../routing/link.js';
import { isReplaceable, sizeOf, stanzaOverhead } from '../routing/outflow.js';
import type { Session } from '../routing/session.js';
import { StreamError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import { Stanza } from '../stanza/stanza.js';
import { el } from '../xml/element.js';
import { modulus, msLeft, type SavedSm, type Surroundings } from './xep-0198-record.js';

/** Where the stanzas of a session are written: its stream. */
export interface Outlet {
  writeStanza(stanza: Stanza): void;
  write(xml: string, patient?: boolean): void;
  /** Whether most of what was written has been read. */
  readonly hasRoom: boolean;
  close(error?: StreamError): void;
}

/** What the server says of its own accord waits while so much is unacknowledged, or half of what may be. */
const windowStanzas = 400;
const windowBytes = 524_288;
/** An `<r/>` is out for each so many stanzas at least. */
const askEvery = 100;
/** How long an `<r/>` is unanswered until the next one, where something waits for the answer, in ms. */
const askAgainMs = 1000;

/** Of the queue's bound, what may wait for a client that is away before its further messages are stored instead. */
const awayShare = 0.5;
/** Compacting looks at the whole queue: what leaves more than this share of it made no room. */
const worthCompacting = 0.9;

/** A stanza that was taken but is not on disk yet. */
interface Unsettled {
  readonly number: number;
  left: number;
}

/** What the states are stored in, as far as one of them knows. */
export interface Snapshots {
  /** Resolves once every snapshot that is stale by now has been deleted; undefined: there is none. Never rejects. */
  readonly outdating: Promise<unknown> | undefined;
  /** The stored snapshot of this one is stale. Resolves once it is gone; never rejects. */
  outdated(sm: Sm): Promise<void> | undefined;
}

export class Sm implements Link {
  /** When a hibernating session ends, by the monotonic clock; 0 while it is connected. */
  expires = 0;
  /** Passes of the sweeper since a stanza came or went. */
  quiet = 0;
  /** What is on disk of it is how it is. */
  kept = false;
  /** It is of a process before, and was not resumed since. */
  isRevived = false;
  #outlet: Outlet | undefined;
  /** Stanzas that came from the client since `<enable/>`. */
  #received = 0;
  /** Of these, how many were handled. */
  #handled = 0;
  readonly #unsettled: Unsettled[] = [];
  /** The number that the first unanswered `<r/>` wants to see acknowledged, and the last. */
  #owed = -1;
  #owedLast = -1;
  /** Who waits until everything that was received is settled, or the session has ended. */
  #waiters: (() => void)[] = [];
  /** How often the session was claimed by a connection that wants to resume it. */
  #claims = 0;
  #queue: Sent[] = [];
  /** The first entry of #queue that is still there. */
  #head = 0;
  #bytes = 0;
  /** The first entry of #queue that no connection was sent. */
  #unsent = 0;
  #isBacklogged = false;
  #acknowledged = 0;
  /** The stale snapshot is being deleted, or replaced. Never rejects. */
  #deleting: Promise<void> | undefined;
  /** Stanzas that were sent before the last `<r/>`, which its answer acknowledges; undefined: none is out. */
  #asked: number | undefined;
  /** Stanzas that may wait beyond the limit: it was away from when so many did. */
  #excess = 0;
  /** Since when the client owes an answer, in ms. */
  #askedAt = 0;

  constructor(
    readonly session: Session,
    readonly host: LocalHost,
    /** Seconds that it may be away; 0: it cannot be resumed. */
    readonly holdSeconds: number,
    readonly limits: () => { readonly queue_stanzas: number; readonly queue_bytes: number },
    /** The queue is full. */
    readonly overflowed: (sm: Sm) => void,
    /** Where its snapshot is stored. */
    readonly snapshots: Snapshots,
    /** The `previd` that resumes it. */
    readonly id: string = randomId(),
  ) {
    session.snapshot = this;
  }

  // --- what we receive ------------------------------------------------------------------------------------------

  /**
   * A stanza begins to be handled. If a snapshot is stored, the stanza waits for what this returns: nothing of it may
   * become durable, for whichever owner, while a crash could bring back the count from before it.
   */
  begin(): Promise<void> | undefined {
    this.#received = (this.#received + 1) % modulus;
    this.stirred();
    return this.#deleting;
  }

  /** The stanza that began last was handled. */
  handled(): void {
    this.#handled = this.#received;
    const { outdating } = this.snapshots;
    if (outdating !== undefined) this.waitFor(outdating);
    this.#settle();
  }

  /** It is no more what it was: what is on disk of it holds no longer. */
  stirred(): void {
    this.quiet = 0;
    if (!this.kept) return;
    const deleting = this.snapshots.outdated(this)?.then(() => {
      if (this.#deleting === deleting) this.#deleting = undefined;
    });
    this.#deleting = deleting;
  }

  /** The acknowledgement of the present stanza waits for this. */
  waitFor(durable: Promise<unknown>): void {
    const last = this.#unsettled.at(-1);
    let entry: Unsettled;
    if (last !== undefined && last.number === this.#received) entry = last;
    else {
      entry = { number: this.#received, left: 0 };
      this.#unsettled.push(entry);
    }
    entry.left++;
    const settle = () => {
      entry.left--;
      this.#settle();
    };
    durable.then(settle, settle);
  }

  /** How many stanzas may be acknowledged: handled, and on disk with all before them. */
  get h(): number {
    const first = this.#unsettled[0];
    return first === undefined ? this.#handled : (first.number - 1 + modulus) % modulus;
  }

  #settle(): void {
    while (this.#unsettled.length > 0 && this.#unsettled[0]!.left === 0) this.#unsettled.shift();
    if (this.#owed >= 0 && distance(this.#owed, this.h) >= 0) {
      this.#acknowledge();
      this.#owed = this.#owedLast !== this.#owed && distance(this.#owedLast, this.h) < 0 ? this.#owedLast : -1;
    }
    if (this.#waiters.length > 0 && this.isSettled) this.#wake();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  #acknowledge(): void {
    this.#outlet?.write(`<a xmlns='${NS.sm}' h='${this.h}'/>`);
  }

  /** `<r/>`: answered once all that came before it is on disk. */
  requested(): void {
    if (distance(this.#received, this.h) >= 0) this.#acknowledge();
    else {
      this.#owedLast = this.#received;
      if (this.#owed < 0) this.#owed = this.#received;
    }
  }

  get isSettled(): boolean {
    return this.#unsettled.length === 0 && this.#handled === this.#received;
  }

  /** Resolves once everything received can be acknowledged, or the session has ended. undefined: it can be now. */
  whenSettled(): Promise<void> | undefined {
    if (this.isSettled) return undefined;
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  // --- what we send -----------------------------------------------------------------------------------------------

  send(stanza: Stanza, receipt?: Receipt): void {
    this.#queue.push({ stanza, receipt });
    this.#grow(sizeOf(stanza));
    this.stirred();
    if (this.#outlet !== undefined) {
      this.#outlet.writeStanza(stanza);
      if (this.#asked === undefined || this.waiting % askEvery === 0) this.ask();
    } else if (!this.#isBacklogged && this.#isOver(awayShare)) this.#isBacklogged = !this.#compact(awayShare);
    if (this.isFull && !this.#compact(1)) this.overflowed(this);
  }

  #grow(change: number): void {
    this.#bytes += change;
    this.session.ledger?.holds(change);
  }

  /** More waits than may wait for a client that does not acknowledge. */
  get isFull(): boolean {
    return this.#isOver(1);
  }

  /**
   * From here on until the client is back, messages that can be stored are, and the rest of the queue is for what cannot.
   * It stays so when the queue gets shorter: nothing overtakes what is stored.
   */
  get isBacklogged(): boolean {
    return this.#isBacklogged && this.#outlet === undefined;
  }

  #isOver(share: number): boolean {
    const { queue_stanzas, queue_bytes } = this.limits();
    const most = queue_stanzas * share + this.#excess;
    return this.waiting > most || this.#bytes > (queue_bytes * most) / queue_stanzas + this.waiting * stanzaOverhead;
  }

  /**
   * Of what came while the client was away, only the last presence of each address is kept, unless that address has said
   * something in between. Returns whether that made enough room below this share of the bound.
   */
  #compact(share: number): boolean {
    if (this.#outlet !== undefined) return false;
    const later = new Set<string>();
    const kept: Sent[] = [];
    let freed = 0;
    for (let at = this.#queue.length - 1; at >= this.#unsent; at--) {
      const entry = this.#queue[at]!;
      const { stanza, receipt } = entry;
      const from = stanza.from?.full ?? '';
      if (!isReplaceable(stanza) || receipt !== undefined) later.delete(from);
      else if (later.has(from)) {
        freed += sizeOf(stanza);
        continue;
      } else later.add(from);
      kept.push(entry);
    }
    if (freed === 0) return false;
    const before = this.waiting;
    this.#queue.length = this.#unsent;
    for (let at = kept.length - 1; at >= 0; at--) this.#queue.push(kept[at]!);
    this.#grow(-freed);
    return !this.#isOver(share) && this.waiting <= before * worthCompacting;
  }

  get hasRoom(): boolean {
    const { queue_stanzas, queue_bytes } = this.limits();
    return (
      this.#outlet !== undefined &&
      this.waiting < Math.min(windowStanzas, queue_stanzas / 2) &&
      this.#bytes <
        Math.min(windowBytes, queue_bytes / 2, this.session.ledger?.window ?? windowBytes) +
          this.waiting * stanzaOverhead &&
      this.#outlet.hasRoom
    );
  }

  /** Whether it was asked what it has, and has said nothing for so long. */
  isSilent(now: number, ms: number): boolean {
    return this.#asked !== undefined && now - this.#askedAt >= ms;
  }

  /** Once a second: what waits for an answer would wait for ever where the client overlooked an `<r/>`. */
  askAgain(now: number): void {
    if (this.#outlet !== undefined && this.session.isPouring && this.isSilent(now, askAgainMs)) this.ask();
  }

  /** Stanzas that the client has not acknowledged. */
  get waiting(): number {
    return this.#queue.length - this.#head;
  }

  /** Characters of them, and what they take besides. */
  get size(): number {
    return this.#bytes;
  }

  /** Asks the client what it has (§4: `<r/>`); also how one finds out whether it is still there. */
  ask(): void {
    if (this.#asked === undefined) this.#askedAt = monotonic();
    this.#asked = (this.#acknowledged + this.waiting) % modulus;
    this.#outlet?.write(`<r xmlns='${NS.sm}'/>`, true);
  }

  /** `<a/>`: throws StreamError where it acknowledges what was never sent (§4). */
  acknowledged(h: number): void {
    const count = this.#newIn(h);
    if (count > this.waiting)
      throw new StreamError('undefined-condition', 'You acknowledged more than was sent.', [
        el('handled-count-too-high', {
          xmlns: NS.sm,
          h: String(h),
          'send-count': String((this.#acknowledged + this.waiting) % modulus),
        }),
      ]);
    if (count > 0) this.stirred();
    this.#acknowledged = h;
    for (let left = count; left > 0; left--) {
      const { stanza, receipt } = this.#queue[this.#head]!;
      this.#head++;
      this.#grow(-sizeOf(stanza));
      receipt?.delivered();
    }
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
      this.#unsent = 0;
    } else if (this.#head > 64 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#unsent = Math.max(this.#unsent - this.#head, 0);
      this.#head = 0;
    }
    // An answer to an earlier `<r/>`: that to the last is on its way.
    if (this.#asked !== undefined && distance(this.#asked, h) < 0) this.#askedAt = monotonic();
    else {
      this.#asked = undefined;
      if (this.waiting > 0 && this.#outlet !== undefined) this.ask();
    }
    this.session.drained();
  }

  /** Whether a client that has got so many can go on from here. */
  fits(h: number): boolean {
    return this.#newIn(h) <= this.waiting;
  }

  #newIn(h: number): number {
    return (h - this.#acknowledged + modulus) % modulus;
  }

  // --- connections ------------------------------------------------------------------------------------------------

  get connected(): boolean {
    return this.#outlet !== undefined;
  }

  attach(outlet: Outlet): void {
    this.stirred();
    this.#outlet = outlet;
    this.#asked = undefined;
    this.#excess = 0;
    this.#isBacklogged = false;
    this.#owed = -1;
    this.expires = 0;
    this.isRevived = false;
  }

  /**
   * A connection wants to resume the session. The latest claim wins: only its owner may attach, so from here on nothing
   * is received until it does, and what was received settles once. The result tells whether this claim still stands.
   */
  claim(): () => boolean {
    const claim = ++this.#claims;
    return () => this.#claims === claim;
  }

  /** The connection is gone; what is sent now waits. */
  detach(now: number): void {
    if (this.isFull) this.#excess = this.waiting;
    this.#unsent = this.#queue.length;
    this.#isBacklogged = this.#isOver(awayShare);
    this.#outlet = undefined;
    this.expires = now + this.holdSeconds * 1000;
  }

  /** Writes again what the client has not got, in order (§5). */
  resend(): void {
    for (let index = this.#head; index < this.#queue.length; index++)
      this.#outlet?.writeStanza(this.#queue[index]!.stanza);
    if (this.waiting > 0) this.ask();
  }

  /** The session is over: tells what became of everything that was not acknowledged. */
  end(): void {
    const lost = this.#queue.slice(this.#head);
    this.#grow(-this.#bytes);
    this.#queue = [];
    this.#head = 0;
    this.#outlet = undefined;
    this.#wake();
    for (const { stanza, receipt } of lost) {
      if (receipt !== undefined) receipt.lost(stanza);
      else void this.host.undeliverable(stanza, this.session);
    }
  }

  // --- restarts ---------------------------------------------------------------------------------------------------

  save({ held, state }: Surroundings): SavedSm {
    const { session } = this;
    const queue = [...this.#queue.slice(this.#head), ...held];
    return {
      jid: session.jid.full,
      mechanism: session.mechanism,
      clientId: session.clientId,
      received: this.h,
      acknowledged: this.#acknowledged,
      queue: queue.map(({ stanza, receipt }) => ({ xml: stanza.toXml(NS.client), reference: receipt?.reference })),
      state,
      left: this.expires === 0 ? undefined : { ms: this.expires - monotonic(), at: moment() },
      holdSeconds: this.holdSeconds,
    };
  }

  restore(saved: SavedSm, now: number): void {
    this.isRevived = true;
    this.#received = this.#handled = saved.received;
    this.#acknowledged = saved.acknowledged;
    for (const { xml, reference } of saved.queue) {
      const stanza = Stanza.parse(xml);
      const receipt =
        reference === undefined ? undefined : this.host.services.offline?.receipt(this.session.jid.toBare(), reference);
      this.#queue.push({ stanza, receipt });
      this.#grow(sizeOf(stanza));
    }
    this.#unsent = this.#queue.length;
    this.#isBacklogged = this.#isOver(awayShare);
    this.expires = now + msLeft(saved);
  }
}

/** How far `to` is ahead of `from` on the circle of 2^32: negative where it is behind. */
function distance(from: number, to: number): number {
  const ahead = (to - from + modulus) % modulus;
  return ahead < modulus / 2 ? ahead : ahead - modulus;
}
