/**
 * XEP-0198: Stream Management. An `Sm` is the state a session keeps across streams: stanzas sent and not yet
 * acknowledged, and how many received stanzas are handled (and durable, where requested). It outlives the connection,
 * so that a client can resume; the process, after an orderly shutdown; and a crash, if the session was quiet before it
 * (docs/decisions/0004-resumption-after-a-crash.md).
 */
import { moment, monotonic } from '../clock.js';
import type { LocalHost } from '../routing/host.js';
import type { Link, Receipt, Sent } from '../routing/link.js';
import { isReplaceable, sizeOf, stanzaOverhead } from '../routing/outflow.js';
import type { Session } from '../routing/session.js';
import type { StreamError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import { Stanza } from '../stanza/stanza.js';
import { acknowledgement, distance, handledTooMany, modulus, Received, request } from './xep-0198-received.js';
import { type LateCount, type MovedSm, msLeft, type SavedSm, type Surroundings } from './xep-0198-record.js';

/** The stream that the stanzas of a session are written to. */
export interface Outlet {
  writeStanza(stanza: Stanza): void;
  write(xml: string, patient?: boolean): void;
  /** Whether the client has read most of the output. */
  readonly hasRoom: boolean;
  close(error?: StreamError): void;
  /** Takes no more stanzas of the client. Resolves once the current one has been handled. Never rejects. */
  stopTaking(): Promise<void>;
}

/** The server defers stanzas of its own above these unacknowledged amounts, or half of the queue's limits. */
const windowStanzas = 400;
const windowBytes = 524_288;
/** Stanzas between two `<r/>` at most. */
const askEvery = 100;
/** How long an `<r/>` may be unanswered until the next one while a source is pending, in ms. */
const askAgainMs = 1000;

/** Share of the queue that a disconnected client may fill before further messages are stored instead. */
const awayShare = 0.5;
/** Compacting scans the whole queue: if more than this share of it is left, it was not worth it. */
const worthCompacting = 0.9;

/** The snapshot store as one Sm sees it. */
export interface Snapshots {
  /** Resolves once every stale snapshot has been deleted. Returns undefined if there is none. Never rejects. */
  readonly invalidating: Promise<unknown> | undefined;
  /** The snapshot of this Sm is stale. Resolves once it is gone. Returns undefined if there is none. Never rejects. */
  invalidate(sm: Sm): Promise<void> | undefined;
}

export class Sm implements Link {
  /** When a hibernating session ends, by the monotonic clock; 0 while it is connected. */
  expires = 0;
  /** Sweeps since the last stanza in either direction. */
  quiet = 0;
  /** The stored snapshot is current. */
  hasSnapshot = false;
  /** Restored from an earlier process and not resumed since. */
  isRevived = false;
  #outlet: Outlet | undefined;
  /** The last connection: what it has read may still be handled after it was closed. */
  #last: Outlet | undefined;
  readonly #received = new Received((h) => this.#outlet?.write(acknowledgement(h)));
  /** How many connections have claimed the session to resume it. */
  #claims = 0;
  #queue: Sent[] = [];
  /** Index of the first unacknowledged entry of #queue. */
  #head = 0;
  #bytes = 0;
  /** Index of the first entry of #queue that was never written. */
  #unsent = 0;
  #isBacklogged = false;
  #acknowledged = 0;
  /** The stale snapshot is being deleted, or replaced. Never rejects. */
  #deleting: Promise<void> | undefined;
  /** Stanzas sent before the last `<r/>`, which its answer acknowledges; undefined if none is pending. */
  #asked: number | undefined;
  /** Stanzas queued over the limit when the client disconnected; they may stay. */
  #excess = 0;
  /** Since when the client owes an answer, in ms. */
  #askedAt = 0;
  /** Stanzas that earlier homes have handled, and that may not be acknowledged yet. */
  #late: readonly LateCount[] = [];
  /** Unanswered requests that the client has sent to an earlier home. */
  #owed: readonly number[] = [];

  constructor(
    readonly session: Session,
    readonly host: LocalHost,
    /** Seconds that the client may be disconnected; 0: the session cannot be resumed. */
    readonly holdSeconds: number,
    readonly limits: () => { readonly queue_stanzas: number; readonly queue_bytes: number },
    /** Called when the queue is full. */
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
   * A stanza begins to be handled. If a snapshot is stored, the stanza must wait for the returned promise: none of its
   * effects, for any owner, may become durable while a crash could restore the count from before it.
   */
  begin(): Promise<void> | undefined {
    this.#received.begin();
    this.changed();
    return this.#deleting;
  }

  /** The stanza that began last was handled. */
  handled(): void {
    const { invalidating } = this.snapshots;
    if (invalidating !== undefined) this.waitFor(invalidating);
    this.#received.handled();
  }

  /** The state has changed: a stored snapshot is stale. */
  changed(): void {
    this.quiet = 0;
    if (!this.hasSnapshot) return;
    const deleting = this.snapshots.invalidate(this)?.then(() => {
      if (this.#deleting === deleting) this.#deleting = undefined;
    });
    this.#deleting = deleting;
  }

  /** The current stanza is acknowledged only after `durable` settles. */
  waitFor(durable: Promise<unknown>): void {
    this.#received.waitFor(durable);
  }

  /** Stanzas that may be acknowledged: handled, and durable with all before them. */
  get h(): number {
    return this.#received.h;
  }

  /** `<r/>`: answered once everything received before it is durable. */
  requested(): void {
    this.#received.requested();
  }

  /** Whether a received stanza is still being handled. */
  get isHandling(): boolean {
    return this.#received.isHandling;
  }

  get isCaughtUp(): boolean {
    return this.#received.isCaughtUp;
  }

  /**
   * Resolves once everything received can be acknowledged, or the session has ended. Returns undefined if it can be
   * now.
   */
  whenCaughtUp(): Promise<void> | undefined {
    return this.#received.whenCaughtUp();
  }

  // --- what we send -----------------------------------------------------------------------------------------------

  send(stanza: Stanza, receipt?: Receipt): void {
    this.#queue.push({ stanza, receipt });
    this.#grow(sizeOf(stanza));
    this.changed();
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

  /** Whether the queue is over the limit for a client that does not acknowledge. */
  get isFull(): boolean {
    return this.#isOver(1);
  }

  /**
   * Until the client resumes, messages that can be stored are stored, and the rest of the queue is for other stanzas.
   * Stays true when the queue shrinks: nothing may overtake stored messages.
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
   * Drops, from the stanzas queued while the client was disconnected, all but the last presence of each address, unless
   * the address sent other stanzas in between. Returns whether that freed enough room below `share` of the limit.
   */
  #compact(share: number): boolean {
    if (this.#outlet !== undefined) return false;
    const later = new Set<string>();
    const retained: Sent[] = [];
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
      retained.push(entry);
    }
    if (freed === 0) return false;
    const before = this.waiting;
    this.#queue.length = this.#unsent;
    for (let at = retained.length - 1; at >= 0; at--) this.#queue.push(retained[at]!);
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

  /** Whether an `<r/>` has been unanswered for `ms`. */
  isSilent(now: number, ms: number): boolean {
    return this.#asked !== undefined && now - this.#askedAt >= ms;
  }

  /**
   * Called once a second: gives an answer that is due for long, and repeats an `<r/>` that the client may have missed, so
   * that pending sources go on.
   */
  askAgain(now: number): void {
    this.#received.answerLate(now);
    if (this.#outlet !== undefined && this.session.isPouring && this.isSilent(now, askAgainMs)) this.ask();
  }

  /** Stanzas not yet acknowledged. */
  get waiting(): number {
    return this.#queue.length - this.#head;
  }

  /** Bytes of them with their overhead, approximately. */
  get size(): number {
    return this.#bytes;
  }

  /**
   * Asks for an acknowledgement (§4: `<r/>`); also a check that the client is still connected. `written`: how many of the
   * unacknowledged stanzas were written.
   */
  ask(written = this.waiting): void {
    if (this.#asked === undefined) this.#askedAt = monotonic();
    this.#asked = (this.#acknowledged + written) % modulus;
    this.#outlet?.write(request, true);
  }

  /** `<a/>`. Throws StreamError if more is acknowledged than was sent (§4). */
  acknowledged(h: number): void {
    const count = this.#newIn(h);
    if (count > this.waiting) throw handledTooMany(h, (this.#acknowledged + this.waiting) % modulus);
    if (count > 0) this.changed();
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
    // An answer to an earlier `<r/>`: the last one is still pending.
    if (this.#asked !== undefined && distance(this.#asked, h) < 0) this.#askedAt = monotonic();
    else {
      this.#asked = undefined;
      if (this.waiting > 0 && this.#outlet !== undefined) this.ask();
    }
    this.session.drained();
  }

  get unacknowledged(): Iterable<Stanza> {
    return this.#queue.slice(this.#head).map(({ stanza }) => stanza);
  }

  /** Whether a client that received `h` stanzas can resume. */
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
    this.changed();
    this.#outlet = this.#last = outlet;
    this.#asked = undefined;
    this.#excess = 0;
    this.#isBacklogged = false;
    this.#received.forgetRequests();
    this.expires = 0;
    this.isRevived = false;
  }

  /**
   * A connection wants to resume the session. The latest claim wins: only its owner may attach, so that nothing is
   * received until it does, and `whenCaughtUp` resolves once. Returns a check of whether this claim is still the
   * latest.
   */
  claim(): () => boolean {
    const claim = ++this.#claims;
    return () => this.#claims === claim;
  }

  /**
   * The client begins another session, and sends there what this one has not acknowledged. Resolves once nothing of it is
   * handled here any more, or the session has moved.
   */
  stopTaking(): Promise<void> | undefined {
    return this.#last?.stopTaking();
  }

  /** Whether a connection has claimed it. */
  get isClaimed(): boolean {
    return this.#claims > 0;
  }

  /** The connection is closed; stanzas are queued from now on. */
  detach(now: number): void {
    if (this.isFull) this.#excess = this.waiting;
    this.#unsent = this.#queue.length;
    this.#isBacklogged = this.#isOver(awayShare);
    this.#outlet = undefined;
    this.expires = now + this.holdSeconds * 1000;
  }

  /** Resends unacknowledged stanzas in order (§5). */
  resend(): void {
    for (let index = this.#head; index < this.#queue.length; index++)
      this.#outlet?.writeStanza(this.#queue[index]!.stanza);
    if (this.waiting > 0) this.ask();
  }

  /** The session is over: reports what became of every unacknowledged stanza. */
  end(): void {
    const lost = this.#queue.slice(this.#head);
    this.#grow(-this.#bytes);
    this.#queue = [];
    this.#head = 0;
    this.#outlet = undefined;
    this.#received.ended();
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
      ...session.agent,
      received: this.h,
      acknowledged: this.#acknowledged,
      queue: queue.map(({ stanza, receipt }) => ({ xml: stanza.toXml(NS.client), reference: receipt?.reference })),
      state,
      left: this.expires === 0 ? undefined : { ms: this.expires - monotonic(), at: moment() },
      holdSeconds: this.holdSeconds,
    };
  }

  /**
   * As `save`, for another node that goes on while the client is connected. `own` names stanzas that this node may only
   * acknowledge later.
   */
  handOver(own: Pick<LateCount, 'ticket' | 'node'>): MovedSm {
    const { id } = this;
    const late = this.#late.map((one) => ({ ...one }));
    const rest = this.#received.late - late.reduce((sum, { count }) => sum + count, 0);
    if (this.#received.whenWritten() !== undefined) late.push({ ...own, count: rest });
    // They are acknowledged after those of an earlier home.
    else if (late.length > 0) late.at(-1)!.count += rest;
    const unsent = Math.max(0, this.#queue.length - Math.max(this.#unsent, this.#head));
    return {
      id,
      saved: this.save({ held: [], state: {} }),
      asked: this.#asked,
      unsent: this.#outlet === undefined ? unsent : 0,
      excess: this.#excess,
      late,
      owed: this.#outlet === undefined ? [] : [...this.#received.owed],
    };
  }

  /** Resolves once everything that was handled here is durable. Returns undefined if it is. */
  whenWritten(): Promise<void> | undefined {
    return this.#received.whenWritten();
  }

  /** Stanzas that earlier homes have handled, and that may not be acknowledged yet. */
  get late(): readonly LateCount[] {
    return this.#late;
  }

  /** The session has moved to another node, with everything that is queued. */
  leave(): void {
    this.#grow(-this.#bytes);
    this.#bytes = 0;
    this.#queue = [];
    this.#head = 0;
    this.#outlet = undefined;
    this.#received.ended();
  }

  /** Goes on with what another node has handed over. A connected client's stream follows: see `follow`. */
  arrive(
    { saved, asked, unsent, excess, late, owed }: MovedSm,
    now: number,
    durable: (one: LateCount) => Promise<void>,
  ): void {
    this.restore(saved, now);
    const expected = late.map((one) => ({ ...one, durable: durable(one) }));
    this.#late = [...late];
    for (const [at, { durable }] of expected.entries()) {
      const done = () => void (this.#late = this.#late.filter((one) => one !== late[at]));
      durable.then(done, done);
    }
    this.#received.restore(saved.received, expected);
    this.#owed = owed;
    this.isRevived = false;
    this.#asked = asked;
    this.#unsent = this.#queue.length - unsent;
    this.#excess = excess;
    this.#isBacklogged = this.#isOver(awayShare);
  }

  /** The stream of a client that has been connected all the time. */
  follow(outlet: Outlet): void {
    const asked = this.#asked;
    this.attach(outlet);
    this.#received.owe(this.#owed);
    this.#asked = asked;
    if (asked !== undefined) this.#askedAt = monotonic();
    for (let at = Math.max(this.#unsent, this.#head); at < this.#queue.length; at++) {
      outlet.writeStanza(this.#queue[at]!.stanza);
      // As in `send`.
      if (this.#asked === undefined) this.ask(at - this.#head + 1);
    }
  }

  restore(saved: SavedSm, now: number): void {
    this.isRevived = true;
    this.#received.restore(saved.received);
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
