/**
 * A stream that we open to another server (RFC 6120): TLS with its certificate checked, then what it is for, its task:
 * stanzas (delivery.ts), or one question about a dialback key (verification.ts).
 */
import type { Config } from '../../config/schema.js';
import { StanzaError, type StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import type { Transport } from '../../transport/transport.js';
import { type Element, elementOf } from '../../xml/element.js';
import type { StreamOpen, TopLevel } from '../../xml/reader.js';
import { demandVersion, type StreamHandler, type StreamParts } from '../handler.js';
import { hasStartTls } from '../starttls.js';
import { XmlStream } from '../stream.js';
import { declaration } from './dialback.js';

/** A domain of ours, and one of another server. */
export interface Pair {
  readonly from: string;
  readonly to: string;
}

export interface OutgoingParts extends StreamParts {
  config(): Config;
  /** Whether the certificate of the peer proves a domain. */
  certifies(transport: Transport, domain: string): boolean;
  tlsFailed(): void;
  /** The stream is over. */
  closed(stream: OutgoingStream): void;
}

/** What a stream is opened for. */
export interface Task {
  /** TLS has begun, the certificate was checked, and the peer says what it offers; again after each restart. */
  ready(stream: OutgoingStream, features: Element): void;
  /** What else the peer says. */
  element(stream: OutgoingStream, item: TopLevel): void;
  /** There is room for more, on an established stream. */
  drained(stream: OutgoingStream): void;
  /** The stream has ended; why, as the sender of a stanza is told. Called once. */
  ended(reason: StanzaError): void;
  /** Whether nothing is left to do on an established stream since a time in ms (`monotonic`). */
  isIdle(since: number): boolean;
}

export class OutgoingStream implements StreamHandler {
  readonly ns = NS.server;
  readonly declares = declaration;
  readonly mayLag = 0;
  readonly xml: XmlStream;
  readonly pair: Pair;
  /** The id that the peer gave the stream. */
  id = '';
  /** Whether the peer knows dialback, by its header or its features (XEP-0220 §2.4). */
  hasDialback = false;
  readonly #parts: OutgoingParts;
  readonly #task: Task;
  readonly #openedAt: number;
  #awaitsTls = false;
  #isEnded = false;

  /** `openedAt`: by the monotonic clock, in ms. */
  constructor(transport: Transport, parts: OutgoingParts, pair: Pair, task: Task, openedAt: number) {
    this.pair = pair;
    this.#parts = parts;
    this.#task = task;
    this.#openedAt = openedAt;
    this.xml = new XmlStream(transport, this, parts);
    this.begin();
  }

  /** Sends our header, at first and after each restart. */
  begin(): void {
    this.xml.begin(this.pair.from, this.pair.to);
  }

  /** Whether the peer has proved the domain that the stream leads to. */
  get isCertified(): boolean {
    return this.#parts.certifies(this.xml.transport, this.pair.to);
  }

  // --- StreamHandler ----------------------------------------------------------------------------------------------

  opened(header: StreamOpen): void {
    demandVersion(header);
    this.id = header.attrs.id ?? '';
    this.hasDialback = Object.values(header.prefixes).includes(NS.dialback);
  }

  element(item: TopLevel): void {
    if (item.ns === NS.tls && this.#awaitsTls) {
      this.#startTls(item);
      return;
    }
    if (item.ns !== NS.stream || item.name !== 'features') {
      // Nothing that comes without TLS counts.
      if (this.xml.transport.secure) this.#task.element(this, item);
      return;
    }
    const features = elementOf(item);
    if (!this.xml.transport.secure) {
      if (features.getChild('starttls', NS.tls) === undefined) {
        this.fail('The server offers no TLS.');
        return;
      }
      this.#awaitsTls = true;
      this.xml.write(`<starttls xmlns='${NS.tls}'/>`);
      return;
    }
    // RFC 6120 §13.7.2: the server is not the one that it should be.
    if (this.#parts.config().s2s.require_valid_certificate && !this.isCertified) {
      this.fail('The certificate of the server is not valid for its domain.');
      return;
    }
    this.hasDialback ||= features.getChild('dialback', NS.dialbackFeature) !== undefined;
    this.#task.ready(this, features);
  }

  /** RFC 6120 §5.4.2.3. */
  #startTls({ name }: TopLevel): void {
    const { transport } = this.xml;
    this.#awaitsTls = false;
    if (name !== 'proceed' || !hasStartTls(transport)) {
      this.fail('The server refused TLS.');
      return;
    }
    this.xml.startAfresh();
    transport.startTls((error) => {
      if (error === undefined) {
        this.begin();
        return;
      }
      this.#parts.tlsFailed();
      transport.destroy();
    });
  }

  isFree(): boolean {
    return false;
  }
  ahead(): boolean {
    return false;
  }
  drained(): void {
    this.#task.drained(this);
  }
  closed(error: StreamError | undefined): void {
    this.#end(new StanzaError('remote-server-timeout', error?.text));
  }
  lost(): void {
    this.#end(new StanzaError('remote-server-timeout', 'The connection to the server was lost.'));
  }
  gone(): void {
    this.#parts.closed(this);
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /** The stream cannot be used. */
  fail(text: string, reason = new StanzaError('remote-server-timeout', text)): void {
    this.#parts.log.info({ domain: this.pair.to, reason: text }, 'no stream to another server');
    this.#end(reason);
    this.xml.close();
  }

  #end(reason: StanzaError): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#task.ended(reason);
  }

  /** Once a second. `now` by the monotonic clock, in ms. */
  sweep(now: number): void {
    const { xml } = this;
    const { limits, s2s } = this.#parts.config();
    if (xml.state === 'closing') {
      if (now >= xml.closeBy) xml.abandon();
    } else if (xml.isEstablished) {
      xml.checkPace(now);
      if (this.#task.isIdle(now - s2s.idle_seconds * 1000)) xml.close();
    } else if (now - this.#openedAt >= limits.login_deadline_seconds * 1000) {
      this.fail('The server did not answer in time.');
    }
  }
}
