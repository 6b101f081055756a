/**
 * A client's stream (RFC 6120; RFC 7395 over WebSocket, XEP-0206 over BOSH): stream features, and once a resource is
 * bound, stanzas to the host, with the sender's address set. Login is in login.ts, binding and sessions in ../sessions/,
 * the stream itself in ../stream.ts.
 */

import { Jid } from '../../address/jid.js';
import type { Config } from '../../config/schema.js';
import type { Maybe } from '../../maybe.js';
import type { Admission, Entrance } from '../../routing/admission.js';
import type { LocalHost } from '../../routing/host.js';
import type { Receipt, Sent } from '../../routing/link.js';
import type { Awaited, Origin } from '../../routing/passage.js';
import type { Session } from '../../routing/session.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import { randomId } from '../../stanza/ids.js';
import { NS } from '../../stanza/ns.js';
import { Stanza, stanzaName } from '../../stanza/stanza.js';
import type { Transport } from '../../transport/transport.js';
import { type Element, el } from '../../xml/element.js';
import type { StreamOpen, TopLevel } from '../../xml/reader.js';
import type { StreamCounts } from '../counts.js';
import { type Allowance, demandVersion, lateCloseMs, type StreamHandler, type StreamParts } from '../handler.js';
import type { Sessions } from '../sessions/index.js';
import { hasStartTls, offersStartTls, startTls } from '../starttls.js';
import { XmlStream } from '../stream.js';
import type { Swept } from '../sweeper.js';
import type { Sm } from '../xep-0198-sm.js';
import { CsiLink } from '../xep-0352-csi.js';
import { answerBeforeLogin } from './before-login.js';
import { authenticatedFeatures, unauthenticatedFeatures } from './features.js';
import { type Continued, type Gateway, lacksFirstMessage } from './gateway.js';
import type { Login } from './login.js';
import { isUnderWay, type Negotiation } from './negotiation.js';
import type { SignUps } from './sign-ups.js';
import type { C2sStream, FollowedSession, Phase } from './stream.js';

/** What client streams need of the server. */
export interface ClientStreamParts extends StreamParts {
  config(): Config;
  host(domain: string): LocalHost | undefined;
  readonly sessions: Sessions;
  readonly login: Login;
  readonly signUps: SignUps;
  readonly counts: StreamCounts;
  readonly admission: Admission;
  /** Undefined outside of a cluster. */
  readonly gateway: Gateway | undefined;
  /** The stream is over and frees its place. */
  closed(stream: ClientStream): void;
}

/** Allowance of an authenticated client. */
const accountAllowance: Allowance = {
  rate: (limits) => limits.rate,
  elementBytes: (limits) => limits.stanza_bytes,
};

/** RFC 7622 §3.1, without a resource: in UTF-16 units, each of which takes at least one byte. */
const longestBareJid = 2047;
/** IQs before login answered with an error. A client pings for some minutes while its user registers. */
const mostRefused = 100;
/** Stanzas retained for a session whose connection is closed, while its last elements are handled. */
const mostUndelivered = 1000;

export class ClientStream implements C2sStream, StreamHandler, Swept, Entrance, Origin {
  readonly xml: XmlStream;
  readonly #parts: ClientStreamParts;
  /** When the connection was accepted, in ms: the login timeout starts there. */
  readonly connectedAt: number;
  host: LocalHost | undefined;
  account: Jid | undefined;
  mechanism = 'none';
  session: Session | undefined;
  sm: Sm | undefined;
  csi: CsiLink | undefined;
  claimed: Jid | undefined;
  negotiation: Negotiation | undefined;
  /** The client's header, while the stream may be handed over. */
  header: StreamOpen | undefined;
  /** How many times it was handed over between nodes. */
  readonly hops: number;
  /** Set until its first header. */
  #continued: Continued | FollowedSession | undefined;
  /** A login request whose first message is pending. */
  #incomplete: TopLevel | undefined;
  /** Refused IQs before login. */
  #refused = 0;
  /** A registration form was sent: the longer timeout holds. */
  signsUp = false;
  /** A module asked for the longer timeout: the client registers, and IQs are part of the negotiation. */
  #hasExtended = false;
  /** Counted in `signUps`. */
  #holdsPlace = false;
  /** Stanzas sent to the session after the connection closed; delivered elsewhere in the end. */
  #undelivered: Sent[] | undefined;

  /** `continued`: set if another node started the stream. */
  constructor(
    transport: Transport,
    parts: ClientStreamParts,
    connectedAt: number,
    continued?: Continued | FollowedSession,
  ) {
    this.#parts = parts;
    this.connectedAt = connectedAt;
    this.#continued = continued;
    this.hops = continued !== undefined && 'hops' in continued ? continued.hops : 0;
    this.xml = new XmlStream(transport, this, parts);
  }

  get ns(): string {
    return NS.client;
  }
  get transport(): Transport {
    return this.xml.transport;
  }
  get phase(): Phase {
    const { state } = this.xml;
    if (state !== 'open') return state;
    if (this.session !== undefined) return 'bound';
    return this.account === undefined ? 'unauthenticated' : 'authenticated';
  }
  get secure(): boolean {
    return this.transport.secure;
  }
  get remoteAddress(): string {
    return this.transport.remoteAddress;
  }
  get kind(): string {
    return this.transport.kind;
  }

  get trusted(): boolean {
    // Plain HTTP is served to TLS proxies (`listen.http`).
    const { secure, kind } = this.transport;
    if (secure || kind === 'websocket' || kind === 'bosh') return true;
    const { c2s } = this.#parts.config();
    return !c2s.require_encryption || (c2s.allow_plain_tcp_on_loopback && this.transport.loopback);
  }

  get resumable(): boolean {
    return this.sm !== undefined && this.sm.holdSeconds > 0;
  }

  // --- StreamHandler ----------------------------------------------------------------------------------------------

  /** RFC 6120 §4.7. */
  opened(header: StreamOpen): void {
    const { attrs } = header;
    const to = attrs.to === undefined ? undefined : Jid.tryParse(attrs.to);
    if (to === undefined) throw new StreamError('improper-addressing', 'The stream header needs a "to" attribute.'); // §4.7.2
    const host = to.full === to.domain ? this.#parts.host(to.domain) : undefined;
    if (host === undefined) throw new StreamError('host-unknown');
    // A restart must not switch hosts.
    if (this.host !== undefined && this.host !== host)
      throw new StreamError('host-unknown', 'The host must not change after a restart.');
    this.host = host;
    demandVersion(header);
    const from = bareOf(attrs.from);
    this.claimed = from === undefined ? undefined : this.#checkHeaderFrom(from, host.domain);
    if (this.#parts.gateway !== undefined) this.header = header;
    if (this.#continued !== undefined) {
      this.xml.continueFrom(host.domain);
      if ('session' in this.#continued) {
        const { session, begin } = this.#continued;
        this.#continued = undefined;
        this.authenticated(session.jid.toBare(), session.mechanism);
        begin(this);
        return;
      }
      this.#offer();
      if (this.negotiation !== undefined) this.negotiation.attempts = this.#continued.attempts;
      if (this.#continued.signsUp) this.extendDeadline();
      this.#continued = undefined;
      return;
    }
    this.xml.open(host.domain, from?.full);
    this.sendFeatures();
  }

  element(item: TopLevel): Maybe<void> {
    if (this.xml.isEstablished) return this.#fromSession(item);
    if (item.ns === NS.tls && item.name === 'starttls' && hasStartTls(this.transport)) return this.#startTls();
    if (item.ns === NS.sasl || item.ns === NS.sasl2) return this.#authenticate(item);
    if (item.ns === NS.sm) return this.#parts.sessions.resuming.managed(this, item);
    if (this.account !== undefined) return this.#parts.sessions.binding.negotiate(this, item);
    if (item.ns === NS.client && item.name === 'iq') return answerBeforeLogin(this, item);
    throw new StreamError('not-authorized');
  }

  /** Acknowledgements are free, and later ones that are read ahead must not overtake them. */
  isFree(item: TopLevel): boolean {
    return item.ns === NS.sm && this.sm !== undefined;
  }

  /** Acknowledgements are processed while stanzas are paused, or our own pause would fill the client's queue. */
  ahead(item: TopLevel, isHalted: boolean): boolean {
    if (!this.isFree(item)) return false;
    if (item.name === 'a') {
      this.#parts.sessions.resuming.managed(this, item)?.catch((error: unknown) => this.xml.failed(error));
      return true;
    }
    // Answered again in order, once more stanzas have been handled.
    if (item.name === 'r' && isHalted) this.sm!.requested();
    return false;
  }

  /** Unacknowledged stanzas are bounded by their own limit, and are resent at once on resumption. */
  get mayLag(): number {
    return this.sm === undefined ? 0 : this.#parts.config().stream_management.queue_bytes;
  }

  drained(): void {
    this.session!.drained();
  }

  /** The stream was closed, not lost: the session ends. */
  closed(error: StreamError | undefined): void {
    this.#parts.sessions.ending.closed(this, error);
  }

  /** A resumable session hibernates; another ends. */
  lost(): void {
    this.#parts.sessions.ending.lost(this);
  }

  gone(): void {
    this.#leaveSignUps();
    this.#parts.closed(this);
    const undelivered = this.#undelivered ?? [];
    this.#undelivered = undefined;
    for (const { stanza, receipt } of undelivered) {
      if (receipt !== undefined) receipt.lost(stanza);
      else void this.host!.undeliverable(stanza, this.session!);
    }
  }

  /** Stops taking stanzas. Resolves once the received ones are handled and can be acknowledged. */
  async stopTaking(): Promise<void> {
    await this.xml.stopTaking();
    await this.sm?.whenCaughtUp();
  }

  // --- negotiation ------------------------------------------------------------------------------------------------

  /**
   * The `from` of a client's header is a hint (RFC 6120 §4.7.1): some clients send their host name. It matters only if
   * it names an account of ours; then it must match the stream (§4.9.3.9, XEP-0388 §2.1) and the login.
   */
  #checkHeaderFrom(from: Jid, domain: string): Jid | undefined {
    if (from.local === undefined || this.#parts.host(from.domain) === undefined) return undefined;
    if (this.account === undefined ? from.domain !== domain : !from.sameBare(this.account))
      throw new StreamError('invalid-from');
    return from;
  }

  sendFeatures(): void {
    const children = this.account === undefined ? this.#offer() : authenticatedFeatures(this);
    this.write(this.xml.framing.features(children));
  }

  #offer(): Element[] {
    this.negotiation = this.trusted ? this.#parts.login.begin(this, this.negotiation) : undefined;
    return unauthenticatedFeatures(this, this.negotiation);
  }

  get canStartTls(): boolean {
    return offersStartTls(this.transport);
  }

  #startTls(): void {
    const isTimely = this.phase === 'unauthenticated' && !isUnderWay(this.negotiation);
    if (!startTls(this.xml, isTimely, () => this.#parts.counts.tlsFailures++, this.host?.domain)) return;
    this.host = undefined;
    this.claimed = undefined;
  }

  #authenticate(item: TopLevel): Maybe<void> {
    const { gateway, login } = this.#parts;
    if (gateway === undefined || this.phase !== 'unauthenticated') return login.take(this, item);
    const isFirst = item.name === 'auth' || item.name === 'authenticate';
    if (isFirst && lacksFirstMessage(item)) this.#incomplete = item;
    else if (isFirst || this.#incomplete !== undefined) {
      const way = gateway.wayFor(this, item, isFirst ? undefined : this.#incomplete);
      this.#incomplete = undefined;
      if (way !== undefined) return this.xml.handOver(gateway.open(way, this.transport).reader);
    }
    return login.take(this, item);
  }

  restart(): void {
    this.xml.restart();
  }

  authenticated(account: Jid, mechanism: string): void {
    if (this.phase !== 'unauthenticated') throw new StreamError('connection-timeout');
    this.negotiation = undefined;
    this.account = account;
    this.mechanism = mechanism;
    this.#leaveSignUps();
    const { shares } = this.#parts;
    const { bare } = account;
    this.xml.admit(
      accountAllowance,
      mechanism === 'ANONYMOUS' ? shares.ofAnonymous(bare, this.remoteAddress) : shares.ofAccount(bare),
    );
  }

  bind(session: Session): void {
    this.session = session;
    this.xml.establish();
  }

  follows(session: Session, sm: Sm | undefined): void {
    this.bind(session);
    this.sm = sm;
    if (session.link instanceof CsiLink) this.csi = session.link;
  }

  manage(sm: Sm): void {
    const session = this.session!;
    sm.attach(this);
    this.sm = sm;
    if (this.csi === undefined) {
      session.link = sm;
      return;
    }
    // Held stanzas go out first and are not counted.
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

  /** A registration form was sent: extends the timeout once, unless too many sign-ups are in progress. */
  extendDeadline(): void {
    if (this.#hasExtended) return;
    this.#hasExtended = true;
    this.signsUp = this.#holdsPlace = this.#parts.signUps.enter(this.remoteAddress);
    if (!this.signsUp) this.#parts.limitHit('registrations_per_address');
  }

  #leaveSignUps(): void {
    if (!this.#holdsPlace) return;
    this.#holdsPlace = false;
    this.#parts.signUps.leave(this.remoteAddress);
  }

  /** Whether an IQ before login may be refused, and the stream goes on. */
  mayRefuse(): boolean {
    return this.#hasExtended && ++this.#refused <= mostRefused;
  }

  // --- stanzas ----------------------------------------------------------------------------------------------------

  #fromSession(item: TopLevel): Maybe<void> {
    if (item.ns !== NS.client) return this.#nonza(item);
    const name = stanzaName(item.name);
    if (name === undefined) throw new StreamError('unsupported-stanza-type');
    const session = this.session!;
    this.#parts.counts.received[name]++;
    const invalidated = this.sm?.begin();
    return invalidated === undefined
      ? this.#handle(item, session)
      : invalidated.then(() => this.#handle(item, session));
  }

  #handle(item: TopLevel, session: Session): Maybe<void> {
    const { sm, xml } = this;
    const stanza = this.#parts.admission.admit(item, this);
    if (stanza === undefined) {
      sm?.handled();
      return;
    }
    if (xml.isCut && stanza.type === 'get' && xml.share.isSpent) {
      // The connection is closed: an expensive answer has no reader.
      this.refused(
        stanza,
        new StanzaError('resource-constraint', 'The connection was closed before the request was handled. Try again.', {
          type: 'wait',
        }),
      );
      sm?.handled();
      return;
    }
    // An IQ does not report its writes; a message does, through acknowledgeAfter.
    if (stanza.name === 'iq' && stanza.type === 'set') xml.share.wrote(item.content.length);
    const waiting = this.host!.fromSession(stanza, session, this);
    if (waiting !== undefined) return waiting.then(() => sm?.handled());
    sm?.handled();
  }

  // --- Entrance ---------------------------------------------------------------------------------------------------

  get sender(): Jid {
    return this.session!.jid;
  }

  get lang(): string | undefined {
    return this.xml.lang;
  }

  /** RFC 6120 §8.1.2.1: the sender's full or bare address. */
  speaksFor(from: Jid): boolean {
    const { sender } = this;
    return from.equals(sender) || from.full === sender.bare;
  }

  refused(stanza: Stanza, error: StanzaError): void {
    this.host!.refuse(stanza, error, this);
  }

  /** Elements other than stanzas on a bound stream: stream management and client state. */
  #nonza(item: TopLevel): Maybe<void> {
    if (item.ns === NS.sm) return this.#parts.sessions.resuming.managed(this, item);
    if (item.ns === NS.csi) return this.clientIs(item.name);
    if (item.ns === NS.sasl || item.ns === NS.sasl2)
      throw new StreamError('policy-violation', 'The stream is already authenticated.');
    // §4.8.3: stanzas of another namespace are not stanzas; WebSocket messages may lack a namespace.
    throw new StreamError(stanzaName(item.name) === undefined ? 'unsupported-stanza-type' : 'invalid-namespace');
  }

  /** Idempotent. */
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

  /** `patient`: the write may be delayed to be sent with later ones. */
  write(xml: string, patient = false): void {
    this.xml.write(xml, patient ? this.#parts.config().c2s.notification_delay_seconds * 1000 : 0);
  }

  writeElement(element: Element): void {
    this.xml.writeElement(element);
  }

  writeStanza(stanza: Stanza): void {
    this.#parts.counts.sent[stanza.name]++;
    const isPatient = isStatus(stanza) && stanza.from?.bare !== this.session?.jid.bare;
    const size = this.xml.writeStanza(
      stanza,
      isPatient ? this.#parts.config().c2s.notification_delay_seconds * 1000 : 0,
    );
    if (stanza.name === 'iq' && stanza.type === 'result') this.answered(size);
  }

  answered(characters: number): void {
    this.xml.share.answered(characters);
  }

  /** The session's link without stream management: written stanzas count as delivered. */
  send(stanza: Stanza, receipt?: Receipt): void {
    const { xml } = this;
    if (xml.isCut && xml.isEstablished) {
      this.#undelivered ??= [];
      if (this.#undelivered.push({ stanza, receipt }) > mostUndelivered) xml.abandon();
      return;
    }
    if (xml.isEstablished) this.writeStanza(stanza);
    // The write may have closed the stream by exceeding a limit.
    if (xml.isEstablished) receipt?.delivered();
    else receipt?.lost(stanza);
  }

  get hasRoom(): boolean {
    return this.xml.hasRoom;
  }
  get unread(): number {
    return this.xml.unread;
  }

  isStuck(now: number, ms: number): boolean {
    return this.xml.isStuck(now, ms);
  }

  hold(): void {
    this.xml.hold();
  }

  release(): readonly string[] {
    return this.xml.release();
  }

  // --- Origin -----------------------------------------------------------------------------------------------------

  get acknowledges(): boolean {
    return this.sm !== undefined;
  }

  acknowledgeAfter(done: Promise<unknown>, what: Awaited = 'disk'): void {
    if (what === 'disk') this.xml.waitsForDisk(done);
    this.sm?.waitFor(done);
  }

  // --- Swept ------------------------------------------------------------------------------------------------------

  /** One timeout from connecting to binding; only a registration form extends it, once. */
  isLate(now: number): boolean {
    const { login_deadline_seconds, registration_deadline_seconds } = this.#parts.config().limits;
    const seconds = this.signsUp
      ? Math.max(login_deadline_seconds, registration_deadline_seconds)
      : login_deadline_seconds;
    return now - this.connectedAt >= seconds * 1000;
  }

  /** Closes the stream with an error; the peer gets little time to close its half. */
  expire(): void {
    this.#parts.limitHit(this.signsUp ? 'registration_deadline_seconds' : 'login_deadline_seconds');
    this.xml.close(new StreamError('connection-timeout'), lateCloseMs);
  }

  checkPace(now: number): void {
    this.sm?.askAgain(now);
    this.xml.checkPace(now);
    if (this.xml.isEstablished && this.sm?.isFull === true) this.#parts.sessions.ending.overflowed(this.sm);
  }

  /** Uses stream management if the client has it, else a ping (XEP-0199 §4.1). */
  askAlive(): void {
    if (this.sm !== undefined) this.sm.ask();
    else
      this.writeStanza(
        Stanza.build(
          'iq',
          { type: 'get', id: randomId(), from: this.host!.jid, to: this.session!.jid },
          el('ping', { xmlns: NS.ping }),
        ),
      );
  }

  /** Stream management has regular traffic of its own. */
  get needsKeepalive(): boolean {
    return this.sm === undefined;
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  close(error?: StreamError): void {
    this.xml.close(error);
  }

  abandon(): void {
    this.xml.abandon();
  }
}

/** The bare address in a header. Anything invalid or too long is ignored. */
function bareOf(text: string | undefined): Jid | undefined {
  const end = text?.indexOf('/') ?? -1;
  const bare = end < 0 ? text : text!.slice(0, end);
  return bare === undefined || bare.length > longestBareJid ? undefined : Jid.tryParse(bare);
}

/** Status updates, which may be delayed, unlike messages and replies. */
function isStatus({ name, type }: Stanza): boolean {
  if (name === 'presence') return type === undefined || type === 'unavailable';
  return name === 'message' && type === 'headline';
}
