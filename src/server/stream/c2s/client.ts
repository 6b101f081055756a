/**
 * A client's connection (RFC 6120; over WebSocket RFC 7395): opens and closes the stream, negotiates, and once a
 * resource is bound hands stanzas to the host with the sender's address stamped. Logging in is login.ts, binding and
 * the life of sessions sessions.ts.
 */

import type { Logger } from 'pino';
import { monotonic } from '../../clock.js';
import type { Config } from '../../config/schema.js';
import { iqKey } from '../../routing/hooks.js';
import type { LocalHost } from '../../routing/host.js';
import type { Receipt } from '../../routing/link.js';
import type { Origin } from '../../routing/passage.js';
import type { Session } from '../../routing/session.js';
import { beginSlice, isPresentSlice, presentSlice, type Share, type Shares, turnMs } from '../../shares.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import { randomId } from '../../stanza/ids.js';
import { Jid, JidError } from '../../stanza/jid.js';
import { NS } from '../../stanza/ns.js';
import { Stanza, stanzaName } from '../../stanza/stanza.js';
import type { Transport, TransportReader, Upgradable } from '../../transport/transport.js';
import { type Element, el, serialize } from '../../xml/element.js';
import { type StreamItem, type StreamOpen, type TopLevel, XmlError, XmlReader } from '../../xml/reader.js';
import type { Backlog } from '../backlog.js';
import { increment, type StreamCounts } from '../counts.js';
import type { Queues } from '../queues.js';
import type { Sessions } from '../sessions.js';
import type { Sent, Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import { authenticatedFeatures, strangerFeatures } from './features.js';
import type { Login } from './login.js';
import { isUnderWay, type Negotiation } from './negotiation.js';
import type { SignUps } from './sign-ups.js';
import type { C2sStream, Phase } from './stream.js';

/** What streams need of the server around them. */
export interface StreamServer {
  config(): Config;
  host(domain: string): LocalHost | undefined;
  readonly sessions: Sessions;
  readonly login: Login;
  readonly signUps: SignUps;
  readonly log: Logger;
  readonly counts: StreamCounts;
  readonly backlog: Backlog;
  readonly queues: Queues;
  readonly shares: Shares;
  limitHit(limit: string): void;
  /** The stream is over; its place is free. */
  closed(stream: ClientStream): void;
}

/** How much is taken from one WebSocket, where each message is a chunk, while others wait for their turn: stanzas. */
const turnMessages = 32;
/** What waits in the reader while a handler is waited for, before the socket is paused: bytes. */
const pauseAbove = 65_536;
/** How long a client may take to close its half that did not log in in time. */
const lateCloseMs = 2000;
/** RFC 7622 §3.1, without a resource: in UTF-16 units, of which none has less than a byte. */
const longestBareJid = 2047;
/** IQs before the login that are answered by an error. A client that signs up pings for some minutes. */
const mostRefused = 100;
/** RFC 5646 §4.4.1: in characters. */
const longestLanguage = 35;
/** What the server says of its own accord waits while so much is unread, or half of what may be: bytes. */
const windowBytes = 65_536;
/** What waits for one client counts for all (`limits.outbound_bytes`) where it is more: bytes. */
const countedAbove = 16_384;
/** Stanzas for a session whose connection is gone, while the last of what its client said is handled. */
const mostUndelivered = 1000;

export class ClientStream implements C2sStream, TransportReader, Origin {
  phase: Phase = 'opening';
  host: LocalHost | undefined;
  /** Authenticated as: bare. Set once. */
  account: Jid | undefined;
  /** How it authenticated; the resource is bound with it. */
  mechanism = 'none';
  /** Set once. It may have ended, or moved to another connection: what was received here is still its client's. */
  session: Session | undefined;
  sm: Sm | undefined;
  csi: CsiLink | undefined;
  /** The account of ours that the `from` of the stream header names. */
  claimed: Jid | undefined;
  /** The language of the stream header (RFC 6120 §4.7.4). */
  #lang: string | undefined;
  /** What the login has come to so far; undefined before and after. */
  negotiation: Negotiation | undefined;
  /** Registration is offered, so that IQs are part of the negotiation. */
  negotiatesByIq = false;
  /** IQs before the login that were refused. */
  #refused = 0;
  /** Somebody fills in a registration form, and has until the longer deadline. */
  signsUp = false;
  #hasExtended = false;
  /** It holds a place among the sign-ups. */
  #holdsPlace = false;
  readonly reader: XmlReader;
  /** When something was last read, in ms, to the second or so. */
  lastRead = monotonic();
  /** When we asked for a sign of life, in ms; 0: we have not. */
  askedAliveAt = 0;
  /** What waits until the client knows of its session. */
  #held: string[] | undefined;
  /** Characters of that. */
  #heldSize = 0;
  #headerSent = false;
  #busy = false;
  #paused = false;
  /** When to give up waiting for the peer's end, in ms. */
  closeBy = 0;
  // Token buckets (RFC 6120 §13.12): what may still be read, and when that was reckoned.
  #stanzas: number;
  #bytes: number;
  #refilled = this.lastRead;
  #throttled = false;
  /** What its account may cost, over all connections; before the login, what its address may. */
  #share: Share;
  /** It waits for its share to have something again, or for clients to take what they were sent. */
  #isQueued = false;
  /** The latter. */
  #isCongested = false;
  /** What was read while it waits, so that acknowledgements get through. */
  readonly #ahead: StreamItem[] = [];
  #aheadBytes = 0;
  /** Why nothing more can be read: thrown once what came before is dealt with. */
  #aheadError: unknown;

  constructor(
    readonly transport: Transport,
    readonly server: StreamServer,
    /** When its connection was accepted, in ms: the login deadline counts from there. */
    readonly connectedAt: number,
  ) {
    const { limits } = server.config();
    this.reader = new XmlReader(transport.framed ? 'framed' : 'stream', {
      stanzaBytes: limits.stanza_bytes_unauthenticated,
      depth: limits.stanza_depth,
      attributes: limits.stanza_attributes,
      elements: limits.stanza_elements,
    });
    this.#stanzas = limits.rate_unauthenticated.stanza_burst;
    this.#bytes = limits.rate_unauthenticated.byte_burst;
    this.#share = server.shares.ofAddress(transport.remoteAddress);
    transport.reader = this;
  }

  get secure(): boolean {
    return this.transport.secure;
  }
  get remoteAddress(): string {
    return this.transport.remoteAddress;
  }
  /** How it is called in lists and metrics. */
  get kind(): string {
    return this.transport.kind;
  }

  /** Whether the client may log in without TLS: it has it, or the configuration allows this connection to do without. */
  get trusted(): boolean {
    // HTTP without TLS is served for proxies, who have it (`listen.http`).
    if (this.transport.secure || this.transport.kind === 'websocket') return true;
    const { c2s } = this.server.config();
    return !c2s.require_encryption || (c2s.allow_plain_tcp_on_loopback && this.transport.loopback);
  }

  /** Whether its session outlives it. */
  get resumable(): boolean {
    return this.sm !== undefined && this.sm.holdSeconds > 0;
  }

  // --- in ---------------------------------------------------------------------------------------------------------

  received(chunk: Buffer): void {
    if (this.phase === 'closing' || this.phase === 'closed') {
      // §4.4: whoever was told the end is heard no more; only RFC 7395 §3.6: with its <close/> the connection ends.
      if (this.transport.framed && chunk.subarray(0, 6).toString() === '<close') this.transport.end();
      return;
    }
    const now = monotonic();
    this.lastRead = now;
    this.askedAliveAt = 0;
    this.#refill(now);
    this.#bytes -= chunk.length;
    this.#share.received(now, chunk.length);
    try {
      this.reader.push(chunk);
      if (this.#isQueued) this.#readAhead(chunk.length);
      else if (!this.#busy) this.#pump(now);
      else if (this.reader.buffered > pauseAbove) this.#pause();
    } catch (error) {
      this.failed(error);
    }
    if (this.#isTooFast) this.#throttle();
  }

  #stopped = false;
  #idle: (() => void) | undefined;

  /** Takes no more stanzas. Resolves once what was taken has been dealt with, and could be acknowledged. */
  async stopTaking(): Promise<void> {
    this.#stopped = true;
    if (this.#busy && !this.#isQueued)
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    await this.sm?.whenSettled();
  }

  /** Messages of WebSocket since others had their turn. */
  #taken = 0;
  /** The peer said its last, and some of what it said before waits. */
  #ends = false;

  /** Takes what the reader has, one after the other, from `now` on; where a handler waits, so does the rest. */
  #pump(now: number): void {
    beginSlice();
    const { queues } = this.server;
    for (;;) {
      const item = this.#ahead.length === 0 ? this.#read() : this.#ahead[0];
      if (item === undefined) break;
      // Acknowledgements cost nothing, and are not to be overtaken by those that are read ahead.
      if (this.#share.isSpent && !this.#isCut && this.#managed(item) === undefined) {
        this.#queue(item, false);
        break;
      }
      if (this.#isStopped(item)) {
        this.#queue(item, true);
        break;
      }
      if (this.#ahead.length > 0) this.#ahead.shift();
      const outbound = queues.size;
      const waiting = this.#take(item);
      this.#multiplied(outbound);
      if (waiting === undefined) {
        if (this.phase === 'closed') return;
        if (!this.#hadItsTurn(now)) continue;
        this.#busy = true;
        setImmediate(() => this.#goOn());
        break;
      }
      this.#busy = true;
      const slice = presentSlice();
      const since = monotonic();
      const queued = queues.size;
      const settled = () => {
        if (isPresentSlice(slice)) {
          this.#share.worked(monotonic() - since);
          this.#multiplied(queued);
        }
        this.#goOn();
      };
      waiting.then(settled, (error: unknown) => {
        this.failed(error);
        settled();
      });
      this.#share.worked(since - now);
      return;
    }
    this.#share.worked(monotonic() - now);
  }

  #read(): StreamItem | undefined {
    if (this.#aheadError !== undefined) throw this.#aheadError;
    return this.reader.next();
  }

  /** Whether so much is on its way to clients that the stanza has to wait, also where its sender is gone meanwhile. */
  #isStopped(item: StreamItem): boolean {
    if (item.kind !== 'element' || this.phase !== 'bound') return false;
    return this.server.queues.congestion.stops(this.#share, item.content.length) && this.#managed(item) === undefined;
  }

  /** What waits for clients more than before counts for who sent the stanza. */
  #multiplied(before: number): void {
    const grown = this.server.queues.size - before;
    if (grown > countedAbove) this.#share.multiplied += grown;
  }

  /** Goes on from `item` once its share has something to spend again, or once less is on its way to clients. */
  #queue(item: StreamItem, isCongested: boolean): void {
    if (this.#ahead.length === 0) this.#ahead.push(item);
    this.#busy = true;
    this.#isQueued = true;
    this.#isCongested = isCongested;
    this.#aheadBytes = 0;
    this.#readAhead(0);
    const go = () => this.#leaveQueue();
    if (isCongested) this.server.queues.congestion.wait(this.#share, go);
    else this.#share.wait(go);
  }

  /** The name of an element of stream management, where that is on. */
  #managed(item: StreamItem): string | undefined {
    return item.kind === 'element' && item.ns === NS.sm && this.sm !== undefined ? item.name : undefined;
  }

  #leaveQueue(): void {
    if (!this.#isQueued) return;
    this.#isQueued = false;
    this.#goOn();
  }

  /**
   * Reads what the peer acknowledges while its stanzas wait: else its queue would fill for a reason that is ours. Bounded
   * by bytes, as what waits in the reader.
   */
  #readAhead(bytes: number): void {
    this.#aheadBytes += bytes;
    if (this.#aheadBytes + this.reader.buffered > pauseAbove) this.#pause();
    // Before binding, what follows may belong to another stream.
    if (this.phase !== 'bound' || this.#aheadError !== undefined) return;
    try {
      for (let item = this.reader.next(); item !== undefined; item = this.reader.next()) {
        const name = this.#managed(item);
        if (name === 'a') {
          this.server.sessions.managed(this, item as TopLevel)?.catch((error: unknown) => this.failed(error));
          continue;
        }
        this.#ahead.push(item);
        // Answered again in its turn, when more has been handled.
        if (name === 'r' && (this.#isCongested || this.#share.isHalted)) this.sm!.requested();
      }
    } catch (error) {
      this.#aheadError = error;
    }
  }

  #hadItsTurn(since: number): boolean {
    if (!this.transport.framed) return this.reader.buffered > 0 && monotonic() - since >= turnMs;
    if (++this.#taken < turnMessages) return false;
    this.#taken = 0;
    return true;
  }

  #goOn(): void {
    this.#busy = false;
    this.#idle?.();
    if (this.phase === 'closed') return;
    try {
      this.#pump(monotonic());
    } catch (error) {
      this.failed(error);
    }
    if (this.#busy) return;
    if (this.#isCut) this.#finish();
    else if (this.#ends) this.#end();
    else if (this.#isTooFast) this.#throttle();
    else if (this.#paused && !this.#throttled) this.#unpause();
  }

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.transport.pause();
  }

  #unpause(): void {
    this.#paused = false;
    this.transport.resume();
  }

  #rates(): Config['limits']['rate'] {
    const { limits } = this.server.config();
    return this.account === undefined ? limits.rate_unauthenticated : limits.rate;
  }

  #refill(now: number): void {
    const elapsed = (now - this.#refilled) / 1000;
    if (elapsed < 0.05) return;
    const rates = this.#rates();
    this.#refilled = now;
    this.#stanzas = Math.min(rates.stanza_burst, this.#stanzas + elapsed * rates.stanzas_per_second);
    this.#bytes = Math.min(rates.byte_burst, this.#bytes + elapsed * rates.bytes_per_second);
  }

  get #isTooFast(): boolean {
    return this.#bytes < 0 || this.#stanzas < 0;
  }

  /** Reads no more until the buckets have something again: the peer is slowed down, nothing is dropped. */
  #throttle(): void {
    if (this.#throttled || this.phase === 'closed') return;
    const rates = this.#rates();
    const seconds = Math.max(
      this.#stanzas < 0 ? -this.#stanzas / rates.stanzas_per_second : 0,
      this.#bytes < 0 ? -this.#bytes / rates.bytes_per_second : 0,
      0.05,
    );
    this.#throttled = true;
    this.#pause();
    this.server.limitHit('rate');
    setTimeout(() => {
      this.#throttled = false;
      if (!this.#busy && this.phase !== 'closed') this.#unpause();
    }, seconds * 1000).unref();
  }

  /** After the login, the larger limits hold. */
  #raiseLimits(): void {
    const { limits } = this.server.config();
    this.reader.limits = {
      stanzaBytes: limits.stanza_bytes,
      depth: limits.stanza_depth,
      attributes: limits.stanza_attributes,
      elements: limits.stanza_elements,
    };
    this.#stanzas = limits.rate.stanza_burst;
    this.#bytes = limits.rate.byte_burst;
    const { shares } = this.server;
    shares.leave(this.#share);
    const { bare } = this.account!;
    this.#share =
      this.mechanism === 'ANONYMOUS' ? shares.ofAnonymous(bare, this.remoteAddress) : shares.ofAccount(bare);
  }

  #take(item: StreamOpen | TopLevel | { kind: 'close' }): void | Promise<void> {
    if (this.phase === 'closing') {
      if (isFramedClose(item)) this.transport.end();
      return;
    }
    if (item.kind === 'close') return this.#closedByPeer();
    if (this.#stopped && !isFramedClose(item)) return;
    if (item.kind === 'open') return this.#opened(item.name, item.ns, item.defaultNs, item.attrs);
    if (this.transport.framed && item.ns === NS.framing) {
      if (item.name === 'open') return this.#opened('stream', NS.stream, NS.client, item.attrs);
      if (item.name === 'close') return this.#closedByPeer();
    }
    if (this.phase === 'bound') return this.#fromSession(item);
    this.#countStanza();
    if (this.phase === 'opening') throw new StreamError('bad-format', 'A stream header is due.');
    if (item.ns === NS.tls && item.name === 'starttls' && !this.transport.framed) return this.#startTls();
    if (item.ns === NS.sasl || item.ns === NS.sasl2) return this.server.login.take(this, item);
    if (item.ns === NS.sm) return this.server.sessions.managed(this, item);
    if (this.phase === 'known') return this.server.sessions.negotiate(this, item);
    if (item.ns === NS.client && item.name === 'iq') return this.#fromStranger(item);
    throw new StreamError('not-authorized');
  }

  #countStanza(): void {
    this.#stanzas--;
    this.#share.takeStanza();
  }

  /** RFC 6120 §4.7, §4.8, RFC 7395 §3.3.2. */
  #opened(name: string, ns: string, defaultNs: string, attrs: Readonly<Record<string, string | undefined>>): void {
    if (this.phase !== 'opening') throw new StreamError('bad-format', 'The stream is open already.');
    if (ns !== NS.stream) throw new StreamError('invalid-namespace');
    if (name !== 'stream') throw new StreamError('bad-format');
    if (defaultNs !== NS.client) throw new StreamError('invalid-namespace');
    const to = attrs.to === undefined ? undefined : Jid.tryParse(attrs.to);
    if (to === undefined) throw new StreamError('improper-addressing', 'The header says no host in its to.'); // §4.7.2
    const host = to.full === to.domain ? this.server.host(to.domain) : undefined;
    if (host === undefined) throw new StreamError('host-unknown');
    // A restart continues what was negotiated for one host; it cannot carry it to another.
    if (this.host !== undefined && this.host !== host) throw new StreamError('host-unknown', 'The host was settled.');
    this.host = host;
    // §4.7.5: no version means a server of before, with which nothing can be negotiated.
    if (attrs.version === undefined || !/^\d+\.\d+$/.test(attrs.version) || Number.parseInt(attrs.version, 10) < 1)
      throw new StreamError('unsupported-version');
    const from = bareOf(attrs.from);
    this.claimed = from === undefined ? undefined : this.#checkHeaderFrom(from, host.domain);
    const lang = attrs['xml:lang'];
    this.#lang = lang !== undefined && lang.length <= longestLanguage ? lang : undefined;
    this.#sendHeader(from);
    this.phase = this.account === undefined ? 'stranger' : 'known';
    this.sendFeatures();
  }

  /**
   * The `from` of a client's header is a hint (RFC 6120 §4.7.1): some clients send the name of their machine. It counts
   * where it names an account of ours, and then must not contradict the stream (§4.9.3.9, XEP-0388 §2.1) or the login.
   */
  #checkHeaderFrom(from: Jid, domain: string): Jid | undefined {
    if (from.local === undefined || this.server.host(from.domain) === undefined) return undefined;
    if (this.account === undefined ? from.domain !== domain : !from.sameBare(this.account))
      throw new StreamError('invalid-from');
    return from;
  }

  #sendHeader(to?: Jid): void {
    this.#headerSent = true;
    const attributes = {
      to: to?.full,
      // §4.7.1: one of our hosts, also where the client asked for none of them.
      from: this.host?.domain ?? Object.keys(this.server.config().hosts)[0],
      id: randomId(),
      version: '1.0',
      'xml:lang': 'en',
    };
    if (this.transport.framed) {
      this.transport.write(serialize(el('open', { xmlns: NS.framing, ...attributes })));
      return;
    }
    const start = serialize(el('stream:stream', { xmlns: NS.client, 'xmlns:stream': NS.stream, ...attributes }));
    this.transport.write(`<?xml version='1.0'?>${start.slice(0, -2)}>`);
  }

  sendFeatures(): void {
    const children = this.phase === 'stranger' ? this.#offer() : authenticatedFeatures(this);
    this.writeElement(el('stream:features', this.transport.framed ? { 'xmlns:stream': NS.stream } : null, ...children));
  }

  #offer(): Element[] {
    this.negotiation = this.trusted ? this.server.login.begin(this, this.negotiation) : undefined;
    const features = strangerFeatures(this, this.negotiation);
    this.negotiatesByIq = features.some((feature) => feature.getNS() === NS.registerFeature);
    return features;
  }

  get canStartTls(): boolean {
    return !this.transport.secure && isUpgradable(this.transport);
  }

  /** RFC 6120 §5.4. */
  #startTls(): void {
    const { transport } = this;
    if (this.phase !== 'stranger' || transport.secure || !isUpgradable(transport) || isUnderWay(this.negotiation)) {
      this.write(`<failure xmlns='${NS.tls}'/>`);
      this.close();
      return;
    }
    this.write(`<proceed xmlns='${NS.tls}'/>`);
    // §5.4.3.3: what was said in the clear is forgotten, and what came behind <starttls/> is not read.
    this.host = undefined;
    this.claimed = undefined;
    this.reader.discard();
    this.restart();
    transport.startTls((error) => {
      if (error === undefined) return;
      this.server.counts.tlsFailures++;
      transport.destroy();
    });
  }

  /** After SASL the client opens a new stream over the same connection (RFC 6120 §6.4.6). */
  restart(): void {
    this.phase = 'opening';
    this.#headerSent = false;
    this.reader.restart();
  }

  /** Who the peer is has been proved. Throws StreamError where it went meanwhile. */
  authenticated(account: Jid, mechanism: string): void {
    if (this.phase !== 'stranger') throw new StreamError('connection-timeout');
    this.negotiation = undefined;
    this.account = account;
    this.mechanism = mechanism;
    this.phase = 'known';
    this.#leaveSignUps();
    this.#raiseLimits();
  }

  bind(session: Session): void {
    this.session = session;
    this.phase = 'bound';
  }

  manage(sm: Sm): void {
    const session = this.session!;
    sm.attach(this);
    this.sm = sm;
    if (this.csi === undefined) {
      session.link = sm;
      return;
    }
    // What was held back goes out first, and is not counted.
    const csi = new CsiLink(sm);
    csi.inactive = this.csi.inactive;
    this.csi.flush();
    this.csi = csi;
    session.link = csi;
  }

  resumed(sm: Sm): void {
    const { session } = sm;
    this.bind(session);
    this.sm = sm;
    // XEP-0352 §5.2: active.
    if (!(session.link instanceof CsiLink)) return;
    session.link.inactive = false;
    this.csi = session.link;
  }

  /** A registration form was sent: the deadline is put off, once, as long as not too many wait like this. */
  #extendDeadline(): void {
    if (this.#hasExtended) return;
    this.#hasExtended = true;
    this.signsUp = this.#holdsPlace = this.server.signUps.enter(this.remoteAddress);
    if (!this.signsUp) this.server.limitHit('registrations_per_address');
  }

  #leaveSignUps(): void {
    if (!this.#holdsPlace) return;
    this.#holdsPlace = false;
    this.server.signUps.leave(this.remoteAddress);
  }

  /** An IQ on an unauthenticated stream: in-band registration and the like, where a module takes it. */
  #fromStranger(item: TopLevel): void | Promise<void> {
    const host = this.host!;
    // XEP-0388 §2.4: nothing but authentication while one is under way.
    if (!this.trusted || isUnderWay(this.negotiation)) throw new StreamError('not-authorized');
    const stanza = Stanza.fromTopLevel(item);
    if ((stanza.type !== 'get' && stanza.type !== 'set') || stanza.id === undefined || stanza.childCount !== 1)
      throw new StreamError('not-authorized');
    const payload = stanza.children()[0]!;
    const handler = host.hooks.stranger.get(iqKey(stanza.type, payload.getNS() ?? '', payload.getName()));
    if (handler === undefined || (stanza.to !== undefined && stanza.to.full !== host.domain)) {
      // RFC 6120 §4.9.3.12, unless IQs are part of the negotiation: clients ping while their users fill in a form.
      if (!this.negotiatesByIq || ++this.#refused > mostRefused) throw new StreamError('not-authorized');
      this.writeStanza(stanza.error(new StanzaError('not-authorized')));
      return;
    }
    const refused = (error: unknown) => {
      const answer = host.refusalOf(stanza, error);
      if (answer !== undefined) this.writeStanza(answer);
    };
    const answered = (answer: Element | undefined | void) => this.writeStanza(stanza.result(answer ?? undefined));
    try {
      const answer = handler({
        stanza,
        payload,
        secure: this.secure,
        trusted: this.trusted,
        remoteAddress: this.remoteAddress,
        extendDeadline: () => this.#extendDeadline(),
      });
      if (answer instanceof Promise) return answer.then(answered, refused);
      answered(answer);
    } catch (error) {
      refused(error);
    }
  }

  #fromSession(item: TopLevel): void | Promise<void> {
    this.#countStanza();
    if (item.ns !== NS.client) return this.#nonza(item);
    const name = stanzaName(item.name);
    if (name === undefined) throw new StreamError('unsupported-stanza-type');
    const session = this.session!;
    this.server.counts.received[name]++;
    const outdated = this.sm?.begin();
    return outdated === undefined ? this.#handle(item, session) : outdated.then(() => this.#handle(item, session));
  }

  #handle(item: TopLevel, session: Session): void | Promise<void> {
    const { sm } = this;
    // §8.1.5: what a stanza does not say of its language the stream does.
    if (this.#lang !== undefined) item.attrs['xml:lang'] ??= this.#lang;
    const { from } = item.attrs;
    if (from !== undefined && from !== session.jid.full) this.#checkFrom(from, session.jid);
    let stanza: Stanza;
    try {
      stanza = Stanza.fromTopLevel(item, session.jid);
    } catch (error) {
      if (!(error instanceof JidError)) throw error;
      this.#malformedAddress(item, session.jid);
      sm?.handled();
      return;
    }
    this.#size = item.content.length;
    if (this.#isCut && stanza.type === 'get' && this.#share.isSpent) {
      // Nobody is there to read an answer that is dear.
      this.host!.refuse(stanza, new StanzaError('resource-constraint', 'Ask again.', { type: 'wait' }), this);
      sm?.handled();
      return;
    }
    const waiting = this.host!.fromSession(stanza, session, this);
    if (waiting !== undefined) return waiting.then(() => sm?.handled());
    sm?.handled();
  }

  /** Characters of the stanza that is being handled. */
  #size = 0;

  /** RFC 6120 §8.1.2.1: `from` is one's own full or bare address, or the stream ends. */
  #checkFrom(from: string, own: Jid): void {
    const claimed = Jid.tryParse(from);
    if (claimed === undefined || !(claimed.equals(own) || claimed.full === own.bare))
      throw new StreamError('invalid-from');
  }

  /** RFC 6120 §8.3.3.8: the stanza is answered, the stream goes on. */
  #malformedAddress(item: TopLevel, own: Jid): void {
    const { type } = item.attrs;
    if (type === 'error' || (item.name === 'iq' && type === 'result')) return;
    this.session!.send(Stanza.unaddressed(item).with({ from: own }).error(new StanzaError('jid-malformed')));
  }

  /** What is no stanza, on a bound stream: stream management and client state. */
  #nonza(item: TopLevel): void | Promise<void> {
    if (item.ns === NS.sm) return this.server.sessions.managed(this, item);
    if (item.ns === NS.stream && item.name === 'error') return this.#closedByPeer(); // §4.9.1.1
    if (item.ns === NS.csi) return this.clientIs(item.name);
    if (item.ns === NS.sasl || item.ns === NS.sasl2) throw new StreamError('policy-violation', 'You are logged in.');
    // §4.8.3: stanzas of another namespace are none, also where WebSocket's messages have none at all.
    throw new StreamError(stanzaName(item.name) === undefined ? 'unsupported-stanza-type' : 'invalid-namespace');
  }

  /** XEP-0352 §4.2: said twice it is as if said once. */
  clientIs(state: string): void {
    if (state === 'inactive') {
      if (this.csi === undefined) {
        this.csi = new CsiLink(this.session!.link);
        this.session!.link = this.csi;
      }
      this.csi.inactive = true;
    } else if (state === 'active') {
      if (this.csi === undefined) return;
      this.csi.inactive = false;
      this.csi.flush();
    } else throw new StreamError('unsupported-stanza-type');
  }

  // --- out --------------------------------------------------------------------------------------------------------

  /** `patient`: it may wait a little for what comes next. */
  write(xml: string, patient = false): void {
    if (this.phase === 'closed' || this.phase === 'closing') return;
    if (this.#held !== undefined) {
      this.#hold(this.#held, xml);
      return;
    }
    const { limits, stream_management, c2s } = this.server.config();
    this.#written += xml.length;
    this.transport.write(xml, patient ? c2s.news_delay_seconds * 1000 : 0);
    const { queued } = this.transport;
    if (queued <= countedAbove && this.#counted === 0) return;
    this.#count(queued);
    // What a client has to acknowledge is bounded already, and goes out all at once when its session is resumed.
    const most = limits.write_queue_bytes + (this.sm === undefined ? 0 : stream_management.queue_bytes);
    if (queued <= most) return;
    if (this.phase !== 'bound' || queued > this.server.queues.mostOfOne || this.isStalled(monotonic())) this.#tooSlow();
  }

  /** Its client can take nothing yet, so that only the budget bounds what waits: as what is unread. */
  #hold(held: string[], xml: string): void {
    held.push(xml);
    this.#heldSize += xml.length;
    if (this.#heldSize <= countedAbove) return;
    this.server.queues.holds(this.#heldSize - this.#counted);
    this.#counted = this.#heldSize;
    if (this.#heldSize > this.server.queues.mostOfOne) this.#tooSlow();
  }

  /** Characters ever written. */
  #written = 0;
  /** Bytes that wait, as the server's budget knows them; 0: few. */
  #counted = 0;
  /** How much the peer had taken when that was last looked at, and since when no more: in ms. */
  #took = 0;
  #tookAt = 0;

  #count(queued: number): void {
    if (this.#counted === 0) {
      this.#tookAt = monotonic();
      this.#took = this.#written - queued;
    }
    const counted = queued > countedAbove ? queued : 0;
    this.server.queues.holds(counted - this.#counted);
    this.#counted = counted;
  }

  /** Nothing waits any more. */
  #uncount(): void {
    this.server.queues.holds(-this.#counted);
    this.#counted = 0;
  }

  /** Bytes that the peer has not read. */
  get unread(): number {
    return this.#counted;
  }

  /** Whether the peer has read nothing of what waits for so long. */
  isStuck(now: number, ms: number): boolean {
    if (this.#counted === 0) return false;
    const taken = this.#written - this.transport.queued;
    if (taken > this.#took) {
      this.#took = taken;
      this.#tookAt = now;
    }
    return now - this.#tookAt >= ms;
  }

  isStalled(now: number): boolean {
    return this.isStuck(now, this.server.config().limits.stalled_seconds * 1000);
  }

  /** Once a second: what the client has to take, and whether it does. */
  checkPace(now: number): void {
    this.sm?.askAgain(now);
    const { limits, stream_management } = this.server.config();
    const most = limits.write_queue_bytes + (this.sm === undefined ? 0 : stream_management.queue_bytes);
    if (this.#counted > most && this.isStalled(now)) this.#tooSlow();
    else if (this.sm?.isFull === true) this.server.sessions.overflowed(this.sm);
  }

  get hasRoom(): boolean {
    const most = Math.min(windowBytes, this.server.config().limits.write_queue_bytes / 2);
    return this.phase === 'bound' && !this.#isCut && this.#held === undefined && this.transport.queued < most;
  }

  /** TransportReader: there is room again. */
  drained(): void {
    if (this.#counted > 0) this.#count(this.transport.queued);
    if (this.phase === 'bound') this.session!.drained();
  }

  /** What is written from now on waits: the client does not know of its session yet. */
  hold(): void {
    this.#held = [];
  }

  /** Writes again, beginning with what the caller has to say; what waited is theirs to write behind that. */
  release(): readonly string[] {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldSize = 0;
    this.#uncount();
    return held;
  }

  writeElement(element: Element): void {
    this.write(serialize(element));
  }

  writeStanza(stanza: Stanza): void {
    this.server.counts.sent[stanza.name]++;
    const xml = this.transport.framed ? stanza.toXml(NS.client) : stanza.toXml();
    if (stanza.name === 'iq' && stanza.type === 'result') this.answered(xml.length);
    this.write(xml, isNews(stanza) && stanza.from?.bare !== this.session?.jid.bare);
  }

  answered(characters: number): void {
    this.#share.answered(characters);
  }

  /** As a session's link, where there is no stream management: what was written counts as delivered. */
  send(stanza: Stanza, receipt?: Receipt): void {
    if (this.#isCut && this.phase === 'bound') {
      if (this.#undelivered.push({ stanza, receipt }) > mostUndelivered) this.#finish();
      return;
    }
    if (this.phase === 'bound') this.writeStanza(stanza);
    // Written just now, or not: it may have been one too many.
    if (this.phase === 'bound') receipt?.delivered();
    else receipt?.lost(stanza);
  }

  /** The peer does not read: it is not waited for. With stream management the session hibernates, else it ends. */
  #tooSlow(): void {
    this.server.limitHit('write_queue_bytes');
    this.abandon();
  }

  // --- Origin -----------------------------------------------------------------------------------------------------

  get acknowledges(): boolean {
    return this.sm !== undefined;
  }

  acknowledgeAfter(durable: Promise<unknown>): void {
    this.server.backlog.add(this.#share, this.#size, durable);
    this.sm?.waitFor(durable);
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /** The login deadline has passed. The peer hears why, and gets little time to close its half. */
  expire(now: number): void {
    this.server.limitHit(this.signsUp ? 'registration_deadline_seconds' : 'login_deadline_seconds');
    this.close(new StreamError('connection-timeout'));
    this.closeBy = Math.min(this.closeBy, now + lateCloseMs);
  }

  /** Something was thrown on the way: the peer's fault ends the stream with the RFC's condition, ours too. */
  failed(error: unknown): void {
    this.close(this.#streamError(error));
  }

  #streamError(error: unknown): StreamError {
    if (error instanceof StreamError) return error;
    if (error instanceof XmlError) {
      // Too large, too deep, too many attributes.
      if (error.condition === 'policy-violation') this.server.limitHit('stanza');
      return new StreamError(error.condition, error.text);
    }
    if (error instanceof JidError) return new StreamError('improper-addressing');
    this.server.log.error({ err: error }, 'a stream failed');
    return new StreamError('internal-server-error');
  }

  /** Tells the peer why, closes our half, and waits a while for its half. The session ends: it was closed, not lost. */
  close(error?: StreamError): void {
    if (this.phase === 'closed' || this.phase === 'closing') return;
    this.#held = undefined;
    if (error !== undefined) {
      increment(this.server.counts.streamErrors, error.condition);
      // §4.9.1.2: an error during the set-up comes in a stream of ours all the same.
      if (!this.#headerSent) this.#sendHeader();
      this.writeElement(
        el('stream:error', this.transport.framed ? { 'xmlns:stream': NS.stream } : null, ...error.toElements()),
      );
    }
    if (this.#headerSent) this.write(this.transport.framed ? `<close xmlns='${NS.framing}'/>` : '</stream:stream>');
    this.#leave();
    // RFC 7395 §3.6: over WebSocket the connection is open until the peer has said <close/> too.
    if (!this.transport.framed) this.transport.end();
    this.server.sessions.closed(this, error);
    if (this.#isCut) this.#finish();
  }

  /** RFC 6120 §4.4: the peer has closed its stream; we close ours. */
  #closedByPeer(): void {
    this.close();
    this.transport.end();
  }

  /** Nothing more is said, and the peer has only so long to go. */
  #leave(): void {
    this.phase = 'closing';
    this.closeBy = monotonic() + this.server.config().limits.close_timeout_seconds * 1000;
  }

  /** The stream is over, though nobody closed it: a session that can be resumed waits, another is gone. */
  #lose(): void {
    if (this.phase === 'closing' || this.phase === 'closed') return;
    this.#leave();
    this.server.sessions.lost(this);
  }

  /** TransportReader: who says no more is gone, though he may still read. */
  ended(): void {
    // What lies before the end is taken first.
    if (this.#busy) this.#ends = true;
    else this.#end();
  }

  #end(): void {
    this.#lose();
    this.transport.end();
  }

  /** The connection is gone. */
  #isCut = false;
  /** What was sent to the session since. It is for those who come after it. */
  #undelivered: Sent[] = [];

  /** TransportReader: the connection is gone. What a session said before is still handled, in order. */
  closed(): void {
    this.#isCut = true;
    this.#uncount();
    if (!this.#busy || this.phase !== 'bound') this.#finish();
    else this.#leaveQueue();
  }

  /** The connection is gone, and so is the stream. */
  #finish(): void {
    if (this.phase === 'closed') return;
    this.#lose();
    this.phase = 'closed';
    this.#leaveSignUps();
    this.server.shares.leave(this.#share);
    this.server.closed(this);
    const undelivered = this.#undelivered;
    this.#undelivered = [];
    for (const { stanza, receipt } of undelivered) {
      if (receipt !== undefined) receipt.lost(stanza);
      else void this.host!.undeliverable(stanza, this.session!);
    }
  }

  /** Ends the connection without a word: it is dead, or the peer does not go. */
  abandon(): void {
    this.#uncount();
    this.#lose();
    if (this.#isCut) this.#finish();
    else this.transport.destroy();
  }
}

/** The bare address in a header. What is none, or longer than any, is ignored without a look inside. */
function bareOf(text: string | undefined): Jid | undefined {
  const end = text?.indexOf('/') ?? -1;
  const bare = end < 0 ? text : text!.slice(0, end);
  return bare === undefined || bare.length > longestBareJid ? undefined : Jid.tryParse(bare);
}

function isUpgradable(transport: Transport): transport is Upgradable {
  return 'startTls' in transport;
}

/** What says how something is now: nobody waits for it as for a word or an answer. */
function isNews({ name, type }: Stanza): boolean {
  if (name === 'presence') return type === undefined || type === 'unavailable';
  return name === 'message' && type === 'headline';
}

function isFramedClose(item: { kind: string; ns?: string; name?: string }): boolean {
  return item.ns === NS.framing && item.name === 'close';
}
