/**
 * An outgoing stream to another server (RFC 6120). It negotiates TLS and checks the certificate; its task then takes over:
 * delivery of stanzas (delivery.ts), or verification of one dialback key (verification.ts).
 */
import { monotonic } from '../../clock.js';
import type { Config } from '../../config/schema.js';
import type { Maybe } from '../../maybe.js';
import { StanzaError, type StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { streamLimits } from '../../stanza/stream-limits.js';
import type { Transport } from '../../transport/transport.js';
import { childrenOf, type Element, elementOf } from '../../xml/element.js';
import type { StreamOpen, TopLevel } from '../../xml/reader.js';
import { demandVersion, type StreamHandler, type StreamParts } from '../handler.js';
import { hasStartTls } from '../starttls.js';
import { XmlStream } from '../stream.js';
import { acknowledgement } from '../xep-0198-received.js';
import { declaration } from './dialback.js';
import type { Step } from './domains.js';
import { denied, deniedText, type Policy } from './policy.js';
import { acknowledgesAhead, isAcknowledging, type ServerSm } from './sm.js';

/** A local domain and a remote domain. */
export interface Pair {
  readonly from: string;
  readonly to: string;
}

export interface OutgoingParts extends StreamParts {
  config(): Config;
  readonly policy: Policy;
  /** Whether the peer's certificate is valid for a domain. */
  certifies(transport: Transport, domain: string): boolean;
  tlsFailed(): void;
  /** Called once the stream has ended. */
  closed(stream: OutgoingStream): void;
}

/**
 * How a stream ended. 'lost': the connection broke, or the stream did not become usable. 'closed': either side closed it
 * without a fault of the other. 'failed': a stream error blames what was sent over it.
 */
export type StreamEnd = 'lost' | 'closed' | 'failed';

/** Stream errors without a fault of either side (RFC 6120 §4.9.3). */
const blameless = [
  'conflict',
  'connection-timeout',
  'host-gone',
  'host-unknown',
  'remote-connection-failed',
  'reset',
  'resource-constraint',
  'see-other-host',
  'system-shutdown',
];

/** A place that says so little for so long is given up for the next one, in ms; at most a third of the deadline. */
const silentPlaceMs = 5000;

/** An attempt to open a stream. */
export interface Attempt {
  /** When it began, in ms of the monotonic clock: there is one deadline for all places. */
  readonly since: number;
  /** The stream is usable, or the attempt has ended: others may begin. Called at least once. */
  settled(): void;
}

/** The purpose of a stream. */
export interface Task {
  /** Called with the peer's features once TLS is up and the certificate is checked, and again after each restart. */
  ready(stream: OutgoingStream, features: Element): Maybe<void>;
  /** Handles any other element from the peer. */
  element(stream: OutgoingStream, item: TopLevel): Maybe<void>;
  /** Called when an established stream can take more output. */
  drained(stream: OutgoingStream): void;
  /** Called once when the stream ends, with the error for the senders of undelivered stanzas. */
  ended(reason: StanzaError, how: StreamEnd): void;
  /** Called once a second on an established stream, with the monotonic clock in ms. */
  sweep(stream: OutgoingStream, now: number): void;
  /** Takes no more stanzas from the peer. Resolves once those received are handled. */
  stopTaking?(): Promise<void>;
  /** Stream management of the stream, once it is enabled or resumed. */
  readonly sm?: ServerSm | undefined;
  /** Whether an established stream has been idle since a time in ms (`monotonic`). */
  isIdle(since: number): boolean;
}

export class OutgoingStream implements StreamHandler {
  readonly ns = NS.server;
  readonly declares = declaration;
  readonly xml: XmlStream;
  readonly pair: Pair;
  /** The stream id, assigned by the peer. */
  id = '';
  /** Whether the peer's header or features advertise dialback (XEP-0220 §2.4). */
  hasDialback = false;
  readonly #parts: OutgoingParts;
  readonly #task: Task;
  readonly #attempt: Attempt;
  /** The current step of the negotiation, until the stream is established. */
  step: Step = 'tls';
  /** Tries the next place of the domain instead. Undefined if there is none, or once this one has proved itself. */
  #another: (() => void) | undefined;
  /** When this place was connected, in ms. */
  readonly #connectedAt = monotonic();
  #awaitsTls = false;
  #isEnded = false;
  /** The peer's stream error blames us. */
  #isBlamed = false;
  /** The peer does not serve the domain, by its stream error. */
  #isUnknown = false;

  constructor(
    transport: Transport,
    parts: OutgoingParts,
    pair: Pair,
    task: Task,
    attempt: Attempt,
    another?: () => void,
  ) {
    this.#another = another;
    this.pair = pair;
    this.#parts = parts;
    this.#task = task;
    this.#attempt = attempt;
    this.xml = new XmlStream(transport, this, parts);
    this.begin();
  }

  /** In ms of the monotonic clock. */
  get openedAt(): number {
    return this.#attempt.since;
  }

  /** The task can use the stream: other streams may be opened. */
  settled(): void {
    this.#attempt.settled();
  }

  /** Sends the stream header, initially and after each restart. */
  begin(): void {
    this.xml.begin(this.pair.from, this.pair.to);
  }

  /** Whether the peer's certificate is valid for the remote domain. */
  get isCertified(): boolean {
    return this.isCertifiedFor(this.pair.to);
  }

  /** Whether the peer's certificate is valid for a domain. */
  readonly isCertifiedFor = (domain: string): boolean => this.#parts.certifies(this.xml.transport, domain);

  /** What the peer may send over a bidirectional stream (XEP-0478 §3.2). */
  get limits(): Element {
    const { limits, s2s } = this.#parts.config();
    const { allowance } = this.#parts.policy.terms(this.pair.from, this.pair.to);
    return streamLimits(allowance.elementBytes(limits), s2s.idle_seconds);
  }

  /** We have authenticated: the limits of an authenticated server apply. */
  admit(): void {
    const { allowance, share } = this.#parts.policy.terms(this.pair.from, this.pair.to);
    this.xml.admit(allowance, share());
  }

  // --- StreamHandler ----------------------------------------------------------------------------------------------

  opened(header: StreamOpen): void {
    demandVersion(header);
    this.id = header.attrs.id ?? '';
    this.hasDialback = Object.values(header.prefixes).includes(NS.dialback);
  }

  element(item: TopLevel): Maybe<void> {
    if (item.ns === NS.tls && this.#awaitsTls) return this.#startTls(item);
    if (item.ns !== NS.stream || item.name !== 'features') {
      // Elements that arrive before TLS are ignored.
      return this.xml.transport.secure ? this.#task.element(this, item) : undefined;
    }
    const features = elementOf(item);
    if (!this.xml.transport.secure) {
      if (features.getChild('starttls', NS.tls) === undefined) {
        this.fail('The server does not offer TLS.');
        return;
      }
      this.#awaitsTls = true;
      this.xml.write(`<starttls xmlns='${NS.tls}'/>`);
      return;
    }
    this.step = 'certificate';
    // RFC 6120 §13.7.2: the peer has to be the server of the domain.
    if (!this.isCertified && this.#parts.policy.requiresCertificate(this.pair.from, this.pair.to)) {
      this.fail('The certificate of the server is not valid for its domain.');
      return;
    }
    this.step = 'authentication';
    this.#another = undefined;
    this.hasDialback ||= features.getChild('dialback', NS.dialbackFeature) !== undefined;
    return this.#task.ready(this, features);
  }

  /** RFC 6120 §5.4.2.3. */
  #startTls({ name }: TopLevel): void {
    const { transport } = this.xml;
    this.#awaitsTls = false;
    if (name !== 'proceed' || !hasStartTls(transport)) {
      this.fail('The server refused TLS.');
      return;
    }
    this.xml.restartAfterTls();
    transport.startTls((error) => {
      if (error === undefined) {
        this.begin();
        return;
      }
      this.#parts.tlsFailed();
      transport.destroy();
    });
  }

  /** Stanzas that are sent again after a resumption are written at once. */
  get mayLag(): number {
    return this.#task.sm?.waitingBytes ?? 0;
  }
  isFree(item: TopLevel): boolean {
    return isAcknowledging(item, this.#task.sm);
  }
  ahead(item: TopLevel, isHalted: boolean): boolean {
    return acknowledgesAhead(item, this.#task.sm, isHalted, () => this.#task.drained(this));
  }
  drained(): void {
    this.#task.drained(this);
  }
  blamed(error: TopLevel): void {
    const names = childrenOf(elementOf(error)).map((child) => child.getName());
    this.#isBlamed = !names.some((name) => blameless.includes(name));
    this.#isUnknown = names.includes('host-unknown');
  }
  closing(): void {
    this.#task.sm?.closing();
  }
  closed(error: StreamError | undefined): void {
    const how = error !== undefined || this.#isBlamed ? 'failed' : 'closed';
    // XEP-0220 §2.5.
    const condition = this.#isUnknown ? 'remote-server-not-found' : 'remote-server-timeout';
    this.#end(new StanzaError(condition, error?.text), how);
  }
  lost(): void {
    this.#end(new StanzaError('remote-server-timeout', 'The connection to the server was lost.'), 'lost');
  }
  gone(): void {
    this.#parts.closed(this);
  }

  stopTaking(): Promise<void> | undefined {
    return this.#task.stopTaking?.();
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /** Gives the stream up: ends its task and closes it. */
  fail(text: string, reason = new StanzaError('remote-server-timeout', text)): void {
    this.#parts.log.info({ domain: this.pair.to, reason: text }, 'stream to another server failed');
    this.#end(reason, 'lost');
    this.xml.close();
  }

  /** As `fail`, and does not try other addresses of the domain. */
  abort(text: string, reason?: StanzaError): void {
    this.#another = undefined;
    this.fail(text, reason);
  }

  /** Closes the stream if the policy has changed. */
  #check(): void {
    const { policy } = this.#parts;
    const { from, to } = this.pair;
    if (policy.denies(from, to)) this.abort(deniedText, denied());
    else if (this.xml.isEstablished && !this.isCertified && policy.requiresCertificate(from, to))
      this.fail('The certificate of the server is not valid for its domain, which is required from now on.');
  }

  /** Closes the stream. The last count comes first, so that the peer knows what was handled (XEP-0198 §4). */
  close(error?: StreamError): void {
    this.#another = undefined;
    const h = this.#task.sm?.received.h ?? 0;
    if (h > 0) this.xml.write(acknowledgement(h));
    this.xml.close(error);
  }

  #end(reason: StanzaError, how: StreamEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (this.#another !== undefined) {
      this.#another();
      return;
    }
    this.settled();
    this.#task.ended(reason, how);
  }

  /** How long this place may take to prove itself if there is another, in ms. */
  get #placeMs(): number {
    return Math.min(silentPlaceMs, (this.#parts.config().limits.login_deadline_seconds * 1000) / 3);
  }

  /** Called once a second. `now` is in ms of the monotonic clock. */
  sweep(now: number): void {
    const { xml } = this;
    const { limits, s2s } = this.#parts.config();
    if (xml.state === 'open') this.#check();
    if (xml.state === 'closing') {
      if (now >= xml.closeBy) xml.abandon();
    } else if (xml.isEstablished) {
      xml.checkPace(now);
      // What was written is lost, as with any broken connection. What is queued is sent over another connection.
      if (xml.isStuck(now, limits.ping_timeout_seconds * 1000)) {
        xml.tooSlow();
        return;
      }
      this.#task.sweep(this, now);
      if (this.#task.isIdle(now - s2s.idle_seconds * 1000)) this.close();
    } else if (now - this.openedAt >= limits.login_deadline_seconds * 1000) {
      // There is one deadline for all places.
      this.#another = undefined;
      this.fail('The server did not answer in time.');
    } else if (this.#another !== undefined && now - this.#connectedAt >= this.#placeMs) {
      this.fail('The server did not answer in time; there are others.');
      xml.abandon();
    }
  }
}
