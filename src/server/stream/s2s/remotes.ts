/**
 * Other servers as destinations of stanzas. Each pair of a local and a remote domain has one stream, opened on demand.
 * Stanzas queue until the stream is established; the queues are bounded per pair and in total. If no stream can be
 * established, the queue is refused, and the pair backs off exponentially: until then its stanzas are refused at once.
 */
import type { Jid } from '../../address/jid.js';
import { monotonic } from '../../clock.js';
import { Portions } from '../../limits/portions.js';
import { Outbox, type OutboxBudget, type Parcel } from '../../routing/outbox.js';
import type { Origin } from '../../routing/passage.js';
import type { Destination } from '../../routing/router.js';
import { StanzaError } from '../../stanza/errors.js';
import type { Stanza } from '../../stanza/stanza.js';
import type { ArrivalsParts } from './arrivals.js';
import { BackOffs } from './back-off.js';
import { type Carrier, type CarrierEvents, Carriers } from './carriers.js';
import { Delivery, outboxBounds } from './delivery.js';
import type { DialbackClaim, DialbackKeys } from './dialback.js';
import type { DomainCounts } from './domains.js';
import { isoTime, type Pause, type ServerStream, stateOf, tlsFacts } from './inspection.js';
import { Openings, type OpeningsParts } from './openings.js';
import type { Pair, StreamEnd } from './outgoing.js';
import { denied } from './policy.js';
import { keyOf, type Route, Routes } from './routes.js';
import { type ServerSm, unknownFate } from './sm.js';
import { type Verdict, Verification } from './verification.js';

export interface RemotesParts extends OpeningsParts {
  readonly keys: DialbackKeys;
  readonly domains: DomainCounts;
  /** Where stanzas go that arrive over a bidirectional stream. */
  readonly arrivals: ArrivalsParts;
  /** Calls `go` right before the output of this turn is sent. */
  beforeFlush(go: () => void): void;
  /** Returns a stanza to its sender with an error. Never throws. */
  refuse(stanza: Stanza, error: StanzaError): void;
}

/** Whose turn it is to have a stream opened if no user has sent the stanza: no addresses. */
const ourselves = ' ourselves';
const dialbacks = ' dialbacks';

/** Pauses between attempts to connect again after a stream was lost, in ms. Up to half is jitter. */
const firstPause = 500;
const longestPause = 15_000;

export class Remotes implements Destination, CarrierEvents {
  readonly #parts: RemotesParts;
  readonly #routes = new Routes();
  /** The route of the latest stanza: the next one often takes it too. */
  #latest: Route | undefined;
  readonly #backOffs = new BackOffs();
  readonly #openings: Openings;
  readonly #budget: OutboxBudget;
  readonly #carriers = new Carriers();
  /** Streams that are being opened for a user's stanza, by user: one user can never use up all. */
  readonly #opening: Portions;
  #verifications = 0;

  constructor(parts: RemotesParts) {
    this.#parts = parts;
    this.#openings = new Openings(parts);
    this.#opening = new Portions(() => {
      const { streams } = parts.config().s2s;
      return { all: streams, each: streams };
    });
    this.#budget = { most: () => parts.config().s2s.queue_bytes, used: 0 };
  }

  /** The number of streams, including those that are closing. */
  get streams(): number {
    return this.#openings.streams;
  }

  /** Approximate size of the queued stanzas. */
  get waitingBytes(): number {
    return this.#budget.used;
  }

  // --- Destination ------------------------------------------------------------------------------------------------

  receive(stanza: Stanza, origin: Origin): void {
    const { from, to } = stanza;
    if (from === undefined || to === undefined) throw new Error('a stanza for another server lacks an address');
    if (this.#parts.policy.denies(from.domain, to.domain)) {
      this.#parts.policy.refused('outgoing', 'not-allowed');
      throw denied();
    }
    // A room or another service speaks to many domains at once, after a restart for example.
    const user = origin.session !== undefined || origin.isUsers === true ? from.bare : undefined;
    const latest = this.#latest?.pair;
    if (latest === undefined || latest.from !== from.domain || latest.to !== to.domain)
      this.#latest = this.#routeFor({ from: from.domain, to: to.domain }, user);
    this.#latest!.outbox.receive(stanza, origin);
  }

  room(to: Jid): Promise<void> | undefined {
    for (const { outbox } of this.#routes.to(to.domain)) {
      const waiting = outbox.room();
      if (waiting !== undefined) return waiting;
    }
    return undefined;
  }

  /** Throws StanzaError while the pair is in back-off, or if there are too many streams. */
  #routeFor(pair: Pair, user: string | undefined): Route {
    const key = keyOf(pair);
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const carrier = this.#carriers.of(key);
    const reason = carrier === undefined ? this.#backOffs.reason(pair) : undefined;
    if (reason !== undefined) throw reason;
    const { s2s } = this.#parts.config();
    const opener = carrier === undefined ? user : undefined;
    const isFull = this.#openings.isClosed || this.#routes.size >= s2s.streams;
    if (isFull || (opener !== undefined && this.#opening.take(opener) !== undefined)) {
      this.#parts.limitHit('s2s.streams');
      throw new StanzaError('resource-constraint', 'There are too many streams to other servers.', { type: 'wait' });
    }
    const { domains } = this.#parts;
    const sent = () => {
      route.sent++;
      domains.sent(pair.to);
    };
    const route: Route = {
      pair,
      opener,
      since: monotonic(),
      sent: 0,
      last: undefined,
      step: 'connection',
      open: undefined,
      carrier: undefined,
      waitsFor: undefined,
      outbox: this.#outbox(() => this.#send(route), sent),
      resumes: undefined,
      lostAt: undefined,
      attempts: 0,
      pause: undefined,
    };
    this.#routes.add(route);
    if (carrier === undefined) this.#connect(route);
    else this.#attach(route, carrier);
    return route;
  }

  #outbox(filled: () => void, sent: () => void): Outbox {
    const { limitHit, refuse, beforeFlush } = this.#parts;
    return new Outbox({
      bounds: () => outboxBounds(this.#parts.config()),
      budget: this.#budget,
      limitHit: () => limitHit('s2s.queue_bytes'),
      refuse,
      sent,
      filled,
      defer: beforeFlush,
    });
  }

  #send({ open, carrier, outbox }: Route): void {
    open?.delivery.send(open.stream);
    carrier?.send(outbox);
  }

  // --- streams ----------------------------------------------------------------------------------------------------

  #connect(route: Route): void {
    const { keys, config, arrivals, policy } = this.#parts;
    const delivery: Delivery = new Delivery({
      outbox: route.outbox,
      keys,
      config,
      arrivals,
      allows: (from, to) => !policy.denies(to, from),
      resumes: route.resumes,
      now: monotonic,
      opened: (stream) => {
        route.open = { stream, delivery, since: monotonic() };
        this.#isOpened(route);
        this.#backOffs.over(route.pair);
      },
      ended: (reason, how) => this.#ended(route, delivery, reason, how),
    });
    route.last = undefined;
    route.step = 'connection';
    this.#openings.open(route.opener ?? ourselves, {
      pair: route.pair,
      task: delivery,
      connected: (stream) => {
        route.last = { stream, delivery };
      },
      failed: (step) => {
        route.step = step;
      },
    });
  }

  #isOpened(route: Route): void {
    if (route.opener !== undefined) this.#opening.give(route.opener);
    route.opener = undefined;
  }

  #ended(route: Route, delivery: Delivery, reason: StanzaError, how: StreamEnd): void {
    const isDenied = this.#parts.policy.denies(route.pair.from, route.pair.to);
    this.#isOpened(route);
    const since = route.open?.since;
    const wasOpen = since !== undefined;
    route.open = undefined;
    route.resumes = this.#toResume(delivery, reason, how);
    const wasOpenForLong = wasOpen && monotonic() >= since + this.#reconnectMs;
    if (wasOpen && (delivery.hasProgressed || wasOpenForLong || route.lostAt === undefined)) {
      route.lostAt = monotonic();
      route.attempts = 0;
    }
    const isNeeded = route.resumes !== undefined || route.outbox.isWaiting;
    // The server cannot be reached, but reaches us.
    const carrier = wasOpen || isDenied ? undefined : this.#carriers.of(keyOf(route.pair));
    if (carrier !== undefined && route.resumes === undefined) this.#attach(route, carrier);
    else if (isNeeded && !isDenied && this.#mayReconnect(route, delivery)) this.#reconnect(route);
    else {
      // A server that closes a stream which is not needed any more, as when it stops, may be asked again at once.
      const isRefused = !wasOpen && (isNeeded || how !== 'closed');
      const hasFailed = !isDenied && (isRefused || delivery.isOverdue);
      this.#giveUp(route, reason, hasFailed, delivery.isOverdue ? 'acknowledgement' : undefined);
    }
  }

  /** The session of a stream that has ended, if it is to be resumed. */
  #toResume(delivery: Delivery, reason: StanzaError, how: StreamEnd): ServerSm | undefined {
    const sm = delivery.session;
    sm?.detach();
    if (sm === undefined) return undefined;
    // The peer may have sent stanzas as well, and wait for their acknowledgements.
    const isAwaited = sm.isBidirectional && how === 'lost' && sm.id !== undefined && !this.#openings.isClosed;
    if (sm.waiting === 0 && !isAwaited) return undefined;
    // What the peer blames the stream for may be among the unacknowledged stanzas: they are not sent again.
    const isBlamed = how === 'failed' && delivery.isInSession;
    if (isBlamed || delivery.isOverdue || this.#openings.isClosed) sm.refuseAll(reason);
    else if (sm.id === undefined) sm.end(undefined, unknownFate());
    // XEP-0198 §5: also if the peer has closed the stream, because its answer may say what it has handled.
    else return sm;
    return undefined;
  }

  /** A stream that was usable is opened again, for a time, if there is something to send. */
  #mayReconnect({ lostAt }: Route, { isOverdue }: Delivery): boolean {
    if (lostAt === undefined || isOverdue || this.#openings.isClosed) return false;
    return monotonic() < lostAt + this.#reconnectMs;
  }

  get #reconnectMs(): number {
    return Math.max(1000, this.#parts.config().s2s.resume_seconds * 1000);
  }

  #reconnect(route: Route): void {
    const longest = Math.min(firstPause * 2 ** (route.attempts - 1), longestPause);
    if (route.attempts++ === 0) {
      this.#connect(route);
      return;
    }
    route.last = undefined;
    route.pause = setTimeout(
      () => {
        route.pause = undefined;
        this.#connect(route);
      },
      longest * (0.5 + Math.random() / 2),
    ).unref();
  }

  #giveUp(route: Route, reason: StanzaError, hasFailed: boolean, step = route.last?.stream.step ?? route.step): void {
    clearTimeout(route.pause);
    this.#routes.delete(route);
    if (this.#latest === route) this.#latest = undefined;
    if (hasFailed) {
      this.#backOffs.failed(route.pair, reason);
      this.#parts.domains.failed(route.pair.to, step, true);
    }
    route.resumes?.refuseAll(reason);
    route.outbox.refuseAll(reason);
  }

  // --- streams of other servers that carry ours: XEP-0288 -----------------------------------------------------------

  carries(pair: Pair, carrier: Carrier): void {
    const key = keyOf(pair);
    this.#carriers.add(key, carrier);
    const route = this.#routes.get(key);
    // An attempt to connect that is under way goes on.
    if (route?.pause !== undefined && route.resumes === undefined) this.#attach(route, carrier);
  }

  hasRoom(carrier: Carrier): void {
    for (const route of this.#routes.led(carrier)) {
      if (!route.outbox.isWaiting) continue;
      carrier.send(route.outbox);
      // The others first, next time.
      if (route.carrier === carrier) this.#routes.lead(route, carrier);
    }
  }

  hasResumed(sm: ServerSm, carrier: Carrier | undefined): void {
    if (carrier === undefined) this.sessionEnded(sm);
    else for (const route of this.#routes.led(sm)) this.#attach(route, carrier);
  }

  hasEnded(carrier: Carrier, sm: ServerSm | undefined): void {
    this.#carriers.delete(carrier);
    for (const route of this.#routes.led(carrier)) {
      this.#routes.lead(route, sm);
      if (sm === undefined) this.#detached(route);
    }
  }

  /** Nothing is to be waited for any more: a session that was lost is over, or goes on without our stanzas. */
  sessionEnded(sm: ServerSm): void {
    for (const route of this.#routes.led(sm)) {
      this.#routes.lead(route, undefined);
      this.#detached(route);
    }
  }

  queued(carrier: Carrier): { readonly stanzas: number; readonly bytes: number } {
    const outboxes = this.#routes.led(carrier).map(({ outbox }) => outbox);
    return {
      stanzas: outboxes.reduce((sum, { size }) => sum + size, 0),
      bytes: outboxes.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  }

  #attach(route: Route, carrier: Carrier): void {
    clearTimeout(route.pause);
    route.pause = route.lostAt = undefined;
    this.#routes.lead(route, carrier);
    this.#backOffs.over(route.pair);
    carrier.send(route.outbox);
  }

  /** The carrier is gone: what is left is sent over a stream of our own. */
  #detached(route: Route): void {
    if (this.#openings.isClosed || route.outbox.size === 0) {
      this.#giveUp(route, new StanzaError('remote-server-timeout'), false);
      return;
    }
    route.lostAt = monotonic();
    route.attempts = 0;
    this.#reconnect(route);
  }

  /** Asks the authoritative server whether a dialback key is valid. Never rejects. */
  async verify(claim: DialbackClaim, key: string): Promise<Verdict> {
    if (this.#openings.isClosed || this.#verifications >= this.#parts.config().s2s.dialbacks) {
      this.#parts.limitHit('s2s.dialbacks');
      return 'resource-constraint';
    }
    this.#verifications++;
    try {
      return await new Promise<Verdict>((resolve) => {
        const task = new Verification(claim, key, resolve);
        this.#openings.open(dialbacks, { pair: { from: claim.receiving, to: claim.originating }, task });
      });
    } finally {
      this.#verifications--;
    }
  }

  // --- administration ---------------------------------------------------------------------------------------------

  /** The remote domain of each outgoing stream. */
  *remotes(): Generator<string, void> {
    for (const { pair } of this.#own()) yield pair.to;
  }

  /** Routes with a stream of their own. */
  #own(): Route[] {
    return this.#routes.all().filter(({ carrier, waitsFor }) => (carrier ?? waitsFor) === undefined);
  }

  describe(): ServerStream[] {
    return this.#own().map(({ pair, since, sent, last, outbox }) => ({
      direction: 'out',
      bidirectional: last?.delivery.isBidirectional ?? false,
      state: last === undefined ? 'connecting' : stateOf(last.stream.xml),
      pairs: [{ local: pair.from, remote: pair.to }],
      claimed: null,
      address: last?.stream.xml.transport.remoteAddress ?? null,
      tls: last === undefined ? null : tlsFacts(last.stream.xml.transport),
      authentication: last?.delivery.authentication ?? null,
      since: isoTime(last?.stream.openedAt ?? since),
      received: last?.delivery.received ?? 0,
      sent,
      queued: outbox.size,
      queuedBytes: outbox.bytes,
    }));
  }

  /** Pairs of a remote domain that are in back-off. */
  pauses(domain: string): Pause[] {
    return this.#backOffs.describe(domain);
  }

  /**
   * The server of a domain has opened a stream, so it is running again: the next stanza to it is tried at once. The
   * failures still count, in case it can connect to us but we cannot connect to it.
   */
  isBack(domain: string): void {
    this.#backOffs.isBack(domain);
  }

  /** Closes the streams to a domain and ends its back-off. Returns how many streams it closed. */
  kick(domain: string): number {
    let closed = 0;
    for (const route of [...this.#routes.to(domain)]) {
      const { open, last, pause } = route;
      if (pause !== undefined) {
        clearTimeout(pause);
        route.pause = undefined;
        this.#connect(route);
      }
      if (last === undefined || stateOf(last.stream.xml) === 'closing') continue;
      closed++;
      // Without an error, because the peer has done nothing wrong: queued stanzas use a new stream.
      if (open !== undefined) open.stream.close();
      else last.stream.abort('An administrator closed the stream.');
    }
    this.#backOffs.clear(domain);
    return closed;
  }

  // --- time -------------------------------------------------------------------------------------------------------

  /** Called once a second. `now` is in ms of the monotonic clock. */
  sweep(now: number): void {
    this.#openings.sweep(now);
  }

  /** Resolves once stanzas are sent and acknowledged, or refused: all, or those that do not wait for a stream. */
  async whenSent(which: 'all' | 'open'): Promise<void> {
    const routes = this.#routes.all().filter(({ open, carrier }) => which === 'all' || (open ?? carrier));
    await Promise.all(routes.map(({ outbox }) => outbox.whenEmpty()));
  }

  /** Takes no more stanzas over bidirectional streams. Resolves once those received are handled. */
  stopTaking(): Promise<void> {
    return this.#openings.stopTaking();
  }

  /** Returns the stanzas of pairs without a usable stream to their senders: no stream is waited for any more. */
  returnUnsent(): void {
    for (const { open, carrier, outbox } of this.#routes.all())
      if ((open ?? carrier) === undefined) outbox.refuseAll(new StanzaError('remote-server-timeout'));
  }

  /**
   * Takes back the stanzas of pairs that no stream has sent yet, in order of each pair. Streams without anything to
   * acknowledge are closed.
   */
  surrender(moves: (remote: string) => boolean): Parcel[] {
    const parcels: Parcel[] = [];
    for (const { pair, outbox, open } of this.#routes.all()) {
      if (!moves(pair.to)) continue;
      const { size } = outbox;
      const before = parcels.length;
      for (let parcel = outbox.take(); parcel !== undefined; parcel = outbox.take()) parcels.push(parcel);
      if (parcels.length - before === size) open?.stream.close();
    }
    return parcels;
  }

  /** Closes all streams, and refuses new ones. */
  close(): void {
    this.#openings.close();
    for (const route of this.#routes.all())
      if (route.pause !== undefined || route.waitsFor !== undefined)
        this.#giveUp(route, new StanzaError('remote-server-timeout'), false);
  }

  /** Drops the remaining connections. */
  abandon(): void {
    this.#openings.abandon();
  }
}
