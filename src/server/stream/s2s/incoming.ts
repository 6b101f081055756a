/**
 * An incoming stream from another server (RFC 6120): TLS, then SASL EXTERNAL (XEP-0178) or server dialback (XEP-0220),
 * then stanzas, with stream management (XEP-0198) if the peer enables it. The peer may authenticate several pairs of a
 * remote and a local domain, and sends stanzas of these pairs only. If the peer asks for a bidirectional stream
 * (XEP-0288), stanzas of the inverse pairs are sent over it; otherwise they use an outgoing stream.
 */

import { Jid } from '../../address/jid.js';
import { monotonic } from '../../clock.js';
import type { Config } from '../../config/schema.js';
import type { Maybe } from '../../maybe.js';
import type { Outbox } from '../../routing/outbox.js';
import { StanzaError, type StanzaErrorCondition, StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { announcedBytes, streamLimits } from '../../stanza/stream-limits.js';
import type { Transport } from '../../transport/transport.js';
import { type Element, el, elementOf } from '../../xml/element.js';
import type { StreamOpen, TopLevel } from '../../xml/reader.js';
import { catchesUp } from '../catching-up.js';
import { demandVersion, lateCloseMs, type StreamHandler, type StreamParts } from '../handler.js';
import type { PeerGateway } from '../peer-gateway.js';
import { authenticateServer } from '../sasl/external.js';
import { SaslError } from '../sasl/mechanism.js';
import { hasStartTls, startTls } from '../starttls.js';
import { XmlStream } from '../stream.js';
import { acknowledgement, counterOf, demandCounter, failed, type Received } from '../xep-0198-received.js';
import { Arrivals, type ArrivalsParts } from './arrivals.js';
import type { Carrier, CarrierEvents } from './carriers.js';
import { type DialbackClaim, type DialbackKeys, declaration, domainOf } from './dialback.js';
import { isoTime, type ServerStream, stateOf, tlsFacts } from './inspection.js';
import type { Pair } from './outgoing.js';
import type { Policy } from './policy.js';
import type { ServerSessions } from './sessions.js';
import { acknowledgesAhead, isAcknowledging, type ServerSm, sendFrom } from './sm.js';
import type { Verdict } from './verification.js';
import { Visit, type Visits } from './visits.js';

export interface IncomingParts extends StreamParts, ArrivalsParts {
  config(): Config;
  readonly keys: DialbackKeys;
  readonly visits: Visits;
  /** Whether the peer's certificate is valid for a domain. */
  certifies(transport: Transport, domain: string): boolean;
  /** Verifies a dialback key with the authoritative server. Never rejects. */
  verify(claim: DialbackClaim, key: string): Promise<Verdict>;
  readonly policy: Policy;
  /** Learns of the pairs that are sent over bidirectional streams. */
  readonly carriers: CarrierEvents;
  tlsFailed(): void;
  /** A remote domain is authenticated. */
  proved(domain: string): void;
  /** Sessions of stream management. */
  readonly sessions: ServerSessions;
  /** Called once the stream has ended. */
  closed(stream: IncomingStream): void;
  /** Relays streams to the homes of their domains in a cluster. */
  readonly peers: PeerGateway | undefined;
}

/** How many pairs of domains a stream may have, and how many pending dialbacks. */
const mostPairs = 100;
const mostPending = 10;

/** Without stanzas or stream management from the peer, sending begins after this, in ms. */
const firstSendMs = 2000;

export class IncomingStream implements StreamHandler, Carrier {
  readonly ns = NS.server;
  readonly declares = declaration;
  readonly xml: XmlStream;
  readonly visit: Visit;
  readonly #arrivals: Arrivals;
  readonly #parts: IncomingParts;
  /** When the connection was accepted, in ms. */
  readonly #connectedAt: number;
  /** The addresses in the header: a local domain, and the domain that the peer claims. */
  #to: string | undefined;
  #from: string | undefined;
  #id = '';
  /** Whether SASL EXTERNAL succeeded. */
  #isAuthenticated = false;
  /** XEP-0288: the peer wants to receive stanzas as well. */
  #isBidirectional = false;
  /** The largest stanza that the peer accepts, in bytes (XEP-0478). */
  #largest = Number.POSITIVE_INFINITY;
  /** When the first pair was proved, in ms; 0 before. */
  #provedAt = 0;
  /** Stanzas may be sent from now on. */
  #isCarrying = false;
  /** A session is about to be resumed: stanzas that are sent before would not be counted. */
  #isResuming = false;
  #sent = 0;
  #lastSent = 0;
  /** The pairs whose dialback is pending. */
  readonly #pending = new Set<string>();

  constructor(transport: Transport, parts: IncomingParts, connectedAt: number) {
    this.#parts = parts;
    this.#connectedAt = connectedAt;
    this.xml = new XmlStream(transport, this, parts);
    this.#arrivals = new Arrivals(parts, this.xml);
    this.visit = new Visit(parts.visits, this.xml);
  }

  // --- StreamHandler ----------------------------------------------------------------------------------------------

  /** RFC 6120 §4.7. */
  opened(header: StreamOpen): void {
    const { attrs } = header;
    const to = domainOf(attrs.to);
    if (to === undefined || this.#parts.host(to) === undefined) throw new StreamError('host-unknown');
    const from = domainOf(attrs.from);
    if (attrs.from !== undefined && from === undefined) throw new StreamError('improper-addressing');
    // No peer may claim a local domain. A restart keeps the addresses of the authenticated pair.
    if (from !== undefined && this.#parts.host(from) !== undefined) throw new StreamError('invalid-from');
    if (this.#isAuthenticated && from !== this.#from) throw new StreamError('invalid-from');
    if (this.#isAuthenticated && to !== this.#to) throw new StreamError('host-unknown', 'The host cannot change.');
    this.visit.claims(from, to);
    this.#to = to;
    this.#from = from;
    demandVersion(header);
    if (from !== undefined && this.#handedOver(from, header)) return;
    this.#id = this.xml.open(to, from);
    if (this.#isAuthenticated) this.#prove(from!, to);
    this.xml.write(this.xml.framing.features(this.#features()));
  }

  /** The home of the domain begins with this header. Before TLS the peer may still change its mind. */
  #handedOver(from: string, header: StreamOpen): boolean {
    const { peers } = this.#parts;
    const { transport } = this.xml;
    if (peers === undefined || !transport.secure || this.#isAuthenticated) return false;
    const way = peers.wayFor('server', from, transport, header, this.#connectedAt);
    if (way === undefined) return false;
    this.xml.handOver(peers.open(way, transport));
    return true;
  }

  #features(): Element[] {
    // XEP-0288 §2.1 would have the feature here too, but TLS comes first (§2.2), and ejabberd 26 enables it at once.
    if (!this.xml.transport.secure) return [el('starttls', { xmlns: NS.tls }, el('required'))];
    // XEP-0198 §2. It can be enabled once a pair has authenticated; there are no features after dialback.
    const others = [
      el('dialback', { xmlns: NS.dialbackFeature }, el('errors')), // XEP-0220 §2.4.2
      el('sm', { xmlns: NS.sm }),
      this.#limits(),
      ...(this.#mayBeBidirectional ? [el('bidi', { xmlns: NS.bidiFeature })] : []),
    ];
    // XEP-0178 §3, 10.
    if (this.#isAuthenticated || this.#from === undefined || !this.#certifies(this.#from)) return others;
    return [el('mechanisms', { xmlns: NS.sasl }, el('mechanism', null, 'EXTERNAL')), ...others];
  }

  /** XEP-0288 §2.2: bidirectionality is enabled after TLS and before authentication. */
  get #mayBeBidirectional(): boolean {
    if (this.#isAuthenticated || this.#arrivals.pairs.size + this.#pending.size > 0) return false;
    const { bidirectional } = this.#parts.config().s2s;
    return bidirectional && this.#from !== undefined && this.#to !== undefined && this.#mayCarry(this.#from, this.#to);
  }

  /**
   * Whether stanzas of the inverse pair may be sent over this connection. Where a certificate is required, it has to be
   * that of this connection: a dialback proves who sends, but not who reads what we send.
   */
  #mayCarry(from: string, to: string): boolean {
    return !this.#parts.policy.requiresCertificate(to, from) || this.#certifies(from);
  }

  /** XEP-0478 §3.1. What holds once a domain is proved: after dialback there are no new features. */
  #limits(): Element {
    const { limits, s2s } = this.#parts.config();
    const { elementBytes } = this.visit.allowance(this.#to!, this.#from);
    return streamLimits(elementBytes(limits), 2 * s2s.idle_seconds);
  }

  element(item: TopLevel): Maybe<void> {
    if (item.ns === NS.tls && item.name === 'starttls' && hasStartTls(this.xml.transport)) return this.#startTls();
    if (!this.xml.transport.secure) throw new StreamError('policy-violation', 'Start TLS first.');
    if (item.ns === NS.sasl) return this.#sasl(item);
    if (item.ns === NS.dialback && item.name === 'result') return this.#result(item);
    if (item.ns === NS.dialback && item.name === 'verify') return this.#verify(item);
    if (item.ns === NS.sm) return this.#managed(item);
    if (item.ns === NS.bidi && this.#mayBeBidirectional) {
      this.#isBidirectional = true;
      this.#largest = announcedBytes(elementOf(item));
      return;
    }
    if (!this.xml.isEstablished) throw new StreamError('not-authorized');
    // Before its answer, which would open a stream of our own.
    this.#carry();
    return this.#arrivals.take(item);
  }

  /** Stanzas that are sent again after a resumption are written at once. */
  get mayLag(): number {
    return this.#arrivals.sm?.waitingBytes ?? 0;
  }

  isFree(item: TopLevel): boolean {
    return isAcknowledging(item, this.#arrivals.sm);
  }
  ahead(item: TopLevel, isHalted: boolean): boolean {
    return acknowledgesAhead(item, this.#arrivals.sm, isHalted, () => this.drained());
  }
  drained(): void {
    if (this.#isCarrying) this.#parts.carriers.hasRoom(this);
  }
  closing(): void {
    this.#arrivals.sm?.closing();
  }
  closed(error: StreamError | undefined): void {
    this.visit.closed(error);
    const sm = this.#leaveSession();
    if (sm !== undefined) this.#parts.sessions.end(sm);
    this.#parts.carriers.hasEnded(this, undefined);
  }
  lost(): void {
    const sm = this.#leaveSession();
    if (sm !== undefined) this.#parts.sessions.lost(sm);
    // What may have arrived must not be overtaken.
    this.#parts.carriers.hasEnded(this, sm?.isOver === false && sm.waiting > 0 ? sm : undefined);
  }
  gone(): void {
    this.visit.left();
    this.#parts.closed(this);
  }

  // --- authentication ---------------------------------------------------------------------------------------------

  #startTls(): void {
    const isTimely = !this.#isAuthenticated && this.#pending.size === 0;
    // §5.4.3.1: the header names the domain for servers that do not send SNI, such as Prosody 0.12.
    if (!startTls(this.xml, isTimely, () => this.#parts.tlsFailed(), this.#to)) return;
    this.#to = this.#from = undefined;
  }

  #certifies(domain: string): boolean {
    return this.#parts.certifies(this.xml.transport, domain);
  }

  /** XEP-0178 §3, 11. */
  #sasl({ name, attrs, content }: TopLevel): void {
    try {
      if (name !== 'auth' || this.#isAuthenticated || this.#arrivals.pairs.size > 0)
        throw new StreamError('not-authorized');
      if (attrs.mechanism !== 'EXTERNAL') throw new SaslError('invalid-mechanism');
      const from = Jid.tryParse(this.#from ?? '');
      if (from === undefined) throw new SaslError('not-authorized');
      authenticateServer(initialResponse(content), { from, certifies: (domain) => this.#certifies(domain) });
    } catch (error) {
      if (!(error instanceof SaslError)) throw error;
      this.xml.writeElement(el('failure', { xmlns: NS.sasl }, el(error.condition)));
      return;
    }
    this.#isAuthenticated = true;
    this.xml.writeElement(el('success', { xmlns: NS.sasl }));
    this.xml.restart();
  }

  /** Admits stanzas of a pair, and establishes the stream with the first. Throws StreamError if a limit is reached. */
  #prove(from: string, to: string): void {
    this.#arrivals.prove(from, to);
    this.visit.proved(from, to);
    if (this.#provedAt === 0) this.#provedAt = monotonic();
    else if (this.#isCarrying && this.#mayCarry(from, to)) this.#parts.carriers.carries({ from: to, to: from }, this);
    this.#parts.proved(from);
    this.xml.establish();
  }

  /** XEP-0220 §2.2.1: we are the receiving server. */
  #result(item: TopLevel): void {
    // §3.1: a response, but this stream sent no request.
    if (item.attrs.type !== undefined) return;
    const { from, to } = addressesOf(item);
    const pair = `${from} ${to}`;
    const refusal = this.#refusalOf(from, to);
    if (refusal !== undefined) {
      this.visit.refused(refusal, 'refused a domain', { domain: from });
      this.#answer('result', { from: to, to: from }, refusal);
      // §1.2: a valid certificate makes dialback unnecessary.
    } else if (this.#arrivals.has(from, to) || this.#certifies(from)) this.#accept(from, to);
    else if (this.#pending.has(pair)) return;
    else if (this.#pending.size >= mostPending || !this.visit.startsDialback(from, to))
      this.#answer('result', { from: to, to: from }, 'resource-constraint');
    else {
      this.#pending.add(pair);
      // Not awaited, so that stanzas of other pairs are handled meanwhile.
      void this.#dialBack(from, to, elementOf(item).getText());
    }
  }

  /** §2.5: why a pair is refused before its key is verified. */
  #refusalOf(from: string, to: string): StanzaErrorCondition | undefined {
    if (this.#parts.host(to) === undefined) return 'item-not-found';
    // No peer may claim a local domain.
    if (this.#parts.host(from) !== undefined) return 'forbidden';
    if (this.visit.denies(from, to)) return 'not-allowed';
    return this.#arrivals.pairs.size + this.#pending.size >= mostPairs ? 'resource-constraint' : undefined;
  }

  /** Never rejects. */
  async #dialBack(from: string, to: string, key: string): Promise<void> {
    const verdict = await this.#parts.verify({ receiving: to, originating: from, streamId: this.#id }, key);
    this.#pending.delete(`${from} ${to}`);
    this.visit.endsDialback(from, to);
    if (this.xml.state !== 'open') return;
    if (verdict === 'valid') {
      this.#accept(from, to);
      return;
    }
    this.visit.refused(verdict === 'invalid' ? 'forbidden' : verdict, 'dialback failed', { domain: from });
    if (verdict !== 'invalid') this.#answer('result', { from: to, to: from }, verdict);
    else if (this.#arrivals.pairs.size > 0) this.#answer('result', { from: to, to: from }, 'forbidden');
    else {
      this.#answer('result', { from: to, to: from, type: 'invalid' });
      this.xml.close();
    }
  }

  #accept(from: string, to: string): void {
    this.#prove(from, to);
    this.#answer('result', { from: to, to: from, type: 'valid' });
  }

  /** XEP-0220 §2.2.2: we are the authoritative server. */
  #verify(item: TopLevel): void {
    if (item.attrs.type !== undefined) return;
    const { from, to } = addressesOf(item);
    const { id } = item.attrs;
    if (id === undefined) throw new StreamError('bad-format');
    const claim = { receiving: from, originating: to, streamId: id };
    const type = this.#parts.keys.isValid(elementOf(item).getText(), claim) ? 'valid' : 'invalid';
    if (this.#parts.host(to) === undefined) this.#answer('verify', { from: to, to: from, id }, 'item-not-found');
    else if (this.visit.denies(from, to)) this.#answer('verify', { from: to, to: from, id }, 'not-allowed');
    else this.#answer('verify', { from: to, to: from, id, type });
  }

  /** Sends a dialback response; with a condition, an error (§2.5). */
  #answer(name: string, attributes: Readonly<Record<string, string>>, condition?: StanzaErrorCondition): void {
    const error = condition && el('error', { type: 'cancel' }, el(condition, { xmlns: NS.stanzas }));
    this.xml.writeElement(el(`db:${name}`, error ? { ...attributes, type: 'error' } : attributes, error));
  }

  // --- stream management: XEP-0198 --------------------------------------------------------------------------------

  #managed({ name, attrs }: TopLevel): Maybe<void> {
    const { sm, lastAt } = this.#arrivals;
    const isNew = this.xml.isEstablished && sm === undefined;
    if (sm !== undefined && name === 'r') sm.received.requested();
    else if (sm !== undefined && name === 'a') {
      sm.acknowledged(demandCounter(attrs.h));
      this.drained();
    } else if (isNew && name === 'enable') this.#enable(attrs);
    else if (isNew && lastAt === 0 && name === 'resume') return this.#resume(attrs);
    // §3, §6: at the wrong time it is refused, and the stream continues.
    else if (['r', 'a', 'enable', 'resume'].includes(name)) this.xml.writeElement(failed('unexpected-request'));
    else throw new StreamError('unsupported-stanza-type');
  }

  #enable({ resume, max }: TopLevel['attrs']): void {
    const { resume_seconds } = this.#parts.config().s2s;
    const isWanted = resume === 'true' || resume === '1';
    const hold = isWanted ? Math.min(counterOf(max) ?? resume_seconds, resume_seconds) : 0;
    const sm = this.#parts.sessions.open(this.#arrivals.pairs, hold);
    const resumption = sm.id === undefined ? {} : { id: sm.id, resume: 'true', max: String(hold) };
    this.xml.writeElement(el('enabled', { xmlns: NS.sm, ...resumption }));
    sm.attach(this.xml, () => this.#replaced());
    this.#arrivals.sm = sm;
    this.#carry();
  }

  /** §5. Only a server that has authenticated the same pairs may resume a session. */
  async #resume({ previd = '', h }: TopLevel['attrs']): Promise<void> {
    const { sessions } = this.#parts;
    const { pairs } = this.#arrivals;
    const acknowledged = demandCounter(h);
    const sm = sessions.find(previd, pairs);
    if (sm === undefined) return this.#refuseToResume(sessions.ended(previd, pairs));
    const isMine = sm.claim();
    this.#isResuming = true;
    // `h` must count every stanza that was received.
    const isCaughtUp = await catchesUp(sm.received.whenCaughtUp(), this.#parts.config().limits);
    this.#isResuming = false;
    if (this.xml.state !== 'open') return;
    const mayCarry = this.#inverse.length === pairs.size;
    if (!isMine() || !isCaughtUp || (sm.waiting > 0 && !mayCarry)) {
      if (!sm.isOver && isMine()) sessions.end(sm);
      return this.#refuseToResume(sessions.ended(previd, pairs));
    }
    this.#arrivals.sm = sm;
    sessions.resumed(sm, pairs);
    this.xml.writeElement(el('resumed', { xmlns: NS.sm, previd, h: String(sm.received.h) }));
    sm.resumed(acknowledged, this.xml, () => this.#replaced());
    // Before new stanzas.
    this.#parts.carriers.hasResumed(sm, mayCarry ? this : undefined);
    this.#carry();
  }

  async #refuseToResume(received: Received | undefined): Promise<void> {
    const isCaughtUp =
      received !== undefined && (await catchesUp(received.whenCaughtUp(), this.#parts.config().limits));
    this.xml.writeElement(failed('item-not-found', isCaughtUp ? received.h : undefined));
  }

  /** §5: another connection resumes the session of this one. Nothing it still receives is handled. */
  #replaced(): void {
    const sm = this.#leaveSession();
    if (sm !== undefined) this.#parts.sessions.lost(sm);
    this.#parts.carriers.hasEnded(this, sm?.isOver === false ? sm : undefined);
    this.xml.close(new StreamError('conflict', 'Another connection resumed the session.'));
  }

  #leaveSession(): ServerSm | undefined {
    const { sm } = this.#arrivals;
    this.#arrivals.sm = undefined;
    return sm;
  }

  // --- the other direction: XEP-0288 ------------------------------------------------------------------------------

  /** The pairs that stanzas may be sent for. */
  get #inverse(): readonly Pair[] {
    if (!this.#isBidirectional) return [];
    return [...this.#arrivals.pairs].map(inverseOf).filter(({ from, to }) => this.#mayCarry(to, from));
  }

  /**
   * From now on stanzas are sent. A peer that wants stream management enables or resumes it first: what is sent before
   * is not counted, and could overtake what was sent over the former connection.
   */
  #carry(): void {
    if (this.#isCarrying || this.#isResuming || !this.#isBidirectional || !this.xml.isEstablished) return;
    this.#isCarrying = true;
    for (const pair of this.#inverse) this.#parts.carriers.carries(pair, this);
  }

  send(outbox: Outbox): void {
    const sent = sendFrom(outbox, this.xml, this.#arrivals.sm, this.#largest);
    if (sent === 0) return;
    this.#sent += sent;
    this.#lastSent = monotonic();
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /** Stops reading stanzas. Resolves once those received are handled and can be acknowledged. */
  async stopTaking(): Promise<void> {
    await this.#arrivals.stopTaking();
  }

  /** Closes the stream. Sends the final count first, so that the peer knows which stanzas were handled (§4). */
  close(error?: StreamError): void {
    const { sm } = this.#arrivals;
    if (sm !== undefined) this.xml.write(acknowledgement(sm.received.h));
    this.xml.close(error);
  }

  // --- administration ---------------------------------------------------------------------------------------------

  /** As administrators see it. */
  describe(): ServerStream {
    const { xml } = this;
    const queued = this.#parts.carriers.queued(this);
    return {
      direction: 'in',
      bidirectional: this.#isCarrying,
      state: stateOf(xml),
      pairs: [...this.#arrivals.pairs].map(inverseOf).map(({ from, to }) => ({ local: from, remote: to })),
      claimed: {
        ...(this.#to !== undefined && { local: this.#to }),
        ...(this.#from !== undefined && { remote: this.#from }),
      },
      address: xml.transport.remoteAddress,
      tls: tlsFacts(xml.transport),
      authentication: this.#isAuthenticated ? 'EXTERNAL' : this.#arrivals.pairs.size > 0 ? 'dialback' : null,
      since: isoTime(this.#connectedAt),
      received: this.#arrivals.count,
      sent: this.#sent,
      queued: queued.stanzas,
      queuedBytes: queued.bytes,
    };
  }

  /** The remote domain that it is counted for: one that has been authenticated, else the one in its header. */
  get remote(): string | undefined {
    const [pair] = this.#arrivals.pairs;
    return pair?.slice(0, pair.indexOf(' ')) ?? this.#from;
  }

  /** Whether a remote domain has been authenticated on it, or is in its header. */
  isOf(domain: string): boolean {
    return this.#from === domain || this.#arrivals.hasDomain(domain);
  }

  // --- time -------------------------------------------------------------------------------------------------------

  #checkSm(now: number): void {
    const { sm } = this.#arrivals;
    if (sm === undefined) return;
    const { limits, s2s } = this.#parts.config();
    sm.received.answerLate(now);
    if (sm.isOverdue(now, s2s.acknowledgement_seconds * 1000)) {
      sm.refuseAll(new StanzaError('remote-server-timeout', 'The server does not acknowledge stanzas.'));
      this.xml.close(new StreamError('connection-timeout', 'Stanzas were not acknowledged.'));
    } else if (sm.isSilent(now, limits.ping_timeout_seconds * 1000)) this.xml.abandon();
  }

  /** Called once a second. `now` is in ms of the monotonic clock. */
  sweep(now: number): void {
    const { xml } = this;
    const { limits, s2s } = this.#parts.config();
    if (xml.state === 'closing') {
      if (now >= xml.closeBy) xml.abandon();
    } else if (xml.isEstablished) {
      xml.checkPace(now);
      if (xml.isStuck(now, limits.ping_timeout_seconds * 1000)) {
        xml.tooSlow();
        return;
      }
      this.#checkSm(now);
      if (now - this.#provedAt >= firstSendMs) this.#carry();
      const fault = this.visit.check();
      if (fault !== undefined) this.close(fault);
      // The peer should close an idle stream first; this one seems to be abandoned.
      if (now - Math.max(xml.silence.lastRead, this.#lastSent) >= 2000 * s2s.idle_seconds)
        this.close(new StreamError('connection-timeout'));
    } else if (now - this.#connectedAt >= limits.login_deadline_seconds * 1000 * (this.#pending.size > 0 ? 2 : 1)) {
      this.#parts.limitHit('login_deadline_seconds');
      xml.close(new StreamError('connection-timeout'), lateCloseMs);
    }
  }
}

/** The pair in which stanzas are sent, of one in which they are received ("from to"). */
function inverseOf(pair: string): Pair {
  const [from = '', to = ''] = pair.split(' ');
  return { from: to, to: from };
}

/** Decodes an initial response. "=" is an empty one (RFC 6120 §6.4.2). Throws SaslError. */
function initialResponse(content: string): Buffer {
  const text = content.trim();
  if (text === '' || text === '=') return Buffer.alloc(0);
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) throw new SaslError('incorrect-encoding');
  return bytes;
}

/** Throws StreamError. */
function addressesOf({ attrs }: TopLevel): { readonly from: string; readonly to: string } {
  const [from, to] = [domainOf(attrs.from), domainOf(attrs.to)];
  if (from === undefined || to === undefined) throw new StreamError('improper-addressing');
  return { from, to };
}
