/**
 * Delivers the stanzas of one pair of domains to another server. It authenticates with SASL EXTERNAL (XEP-0178) or server
 * dialback (XEP-0220 §2.1.1), enables or resumes stream management (XEP-0198) if the peer offers it, then drains the
 * outbox as fast as the peer reads and acknowledges.
 */
import type { Config } from '../../config/schema.js';
import type { Maybe } from '../../maybe.js';
import type { Outbox } from '../../routing/outbox.js';
import { StanzaError, StreamError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import { announcedBytes } from '../../stanza/stream-limits.js';
import { type Element, el } from '../../xml/element.js';
import { isUnreadable, type TopLevel } from '../../xml/reader.js';
import { counterOf, demandCounter } from '../xep-0198-received.js';
import { Arrivals, type ArrivalsParts } from './arrivals.js';
import { type DialbackKeys, domainOf } from './dialback.js';
import type { OutgoingStream, StreamEnd, Task } from './outgoing.js';
import { ServerSm, sendFrom, unknownFate } from './sm.js';

export interface DeliveryParts {
  readonly outbox: Outbox;
  readonly keys: DialbackKeys;
  config(): Config;
  /** Where stanzas go that the peer sends over a bidirectional stream. */
  readonly arrivals: ArrivalsParts;
  /** Whether the policy allows stanzas from a remote domain to a local one. */
  allows(from: string, to: string): boolean;
  /** The session of an earlier connection, to be resumed. */
  readonly resumes: ServerSm | undefined;
  /** The monotonic clock, in ms. */
  now(): number;
  /** Called once the peer accepts stanzas. */
  opened(stream: OutgoingStream): void;
  ended(reason: StanzaError, how: StreamEnd): void;
}

type Phase = 'new' | 'external' | 'authenticated' | 'dialback' | 'enabling' | 'resuming' | 'open';

/** How many pairs of domains the peer may have on a bidirectional stream. */
const mostPairs = 100;
/** XEP-0198 §5: longer ids need not be accepted. */
const longestId = 4000;

export class Delivery implements Task {
  readonly #parts: DeliveryParts;
  /** How we authenticate, once that has begun. */
  authentication: 'EXTERNAL' | 'dialback' | undefined;
  #phase: Phase = 'new';
  #offersSm = false;
  /** The largest stanza that the peer accepts, in bytes (XEP-0478). */
  #largest = Number.POSITIVE_INFINITY;
  #sm: ServerSm | undefined;
  /** When a stanza was last sent, in ms. */
  #lastSent = 0;
  /** What the peer had acknowledged when the stream was opened. */
  #acknowledgedBefore = 0;
  #hasSent = false;
  /** XEP-0288: the peer may send stanzas as well. */
  isBidirectional = false;
  /** Those stanzas, from when we have authenticated on. */
  #arrivals: Arrivals | undefined;
  /** The peer did not acknowledge anything for too long. */
  isOverdue = false;

  constructor(parts: DeliveryParts) {
    this.#parts = parts;
    this.#sm = parts.resumes;
  }

  /** The session. While the stream is negotiated, the one that is to be resumed. */
  get session(): ServerSm | undefined {
    return this.#sm;
  }

  get sm(): ServerSm | undefined {
    return this.#phase === 'open' ? this.#sm : undefined;
  }

  /** Whether stanzas of the session may have been sent over this stream. */
  get isInSession(): boolean {
    return this.#phase === 'open' || this.#phase === 'resuming';
  }

  /** Whether the peer has accepted any stanza over this stream. */
  get hasProgressed(): boolean {
    if (this.received > 0) return true;
    return this.#sm === undefined ? this.#hasSent : this.#sm.acknowledgedCount !== this.#acknowledgedBefore;
  }

  /** How many stanzas the peer has sent over it. */
  get received(): number {
    return this.#arrivals?.count ?? 0;
  }

  ready(stream: OutgoingStream, features: Element): Maybe<void> {
    // §2. After dialback there is no restart: the features before it count.
    this.#offersSm = features.getChild('sm', NS.sm) !== undefined;
    this.#largest = announcedBytes(features);
    if (this.#phase === 'authenticated') return this.#proved(stream);
    if (this.#phase !== 'new') {
      stream.fail('The server sent its stream features at a wrong time.');
      return;
    }
    if (this.#parts.config().s2s.bidirectional && features.getChild('bidi', NS.bidiFeature) !== undefined) {
      // XEP-0288 §2.2: after TLS, before authentication. The peer has proved its domain by now, as the policy requires.
      this.isBidirectional = true;
      stream.xml.writeElement(el('bidi', { xmlns: NS.bidi }, stream.limits));
    }
    const mechanisms = features.getChild('mechanisms', NS.sasl)?.getChildren('mechanism') ?? [];
    if (!mechanisms.some((mechanism) => mechanism.getText() === 'EXTERNAL')) {
      this.#dialBack(stream);
      return;
    }
    this.#phase = 'external';
    this.authentication = 'EXTERNAL';
    // XEP-0178 §3, 10: some servers require an authorization identity.
    const identity = Buffer.from(stream.pair.from).toString('base64');
    stream.xml.writeElement(el('auth', { xmlns: NS.sasl, mechanism: 'EXTERNAL' }, identity));
  }

  #dialBack(stream: OutgoingStream): void {
    if (!stream.hasDialback) {
      stream.fail('The server offers neither SASL EXTERNAL nor dialback.');
      return;
    }
    const { from, to } = stream.pair;
    this.#phase = 'dialback';
    this.authentication = 'dialback';
    const key = this.#parts.keys.make({ receiving: to, originating: from, streamId: stream.id });
    stream.xml.writeElement(el('db:result', { from, to }, key));
  }

  element(stream: OutgoingStream, item: TopLevel): Maybe<void> {
    if (this.#phase === 'external' && item.ns === NS.sasl) {
      if (item.name !== 'success') {
        this.#dialBack(stream);
        return;
      }
      this.#phase = 'authenticated';
      stream.xml.restart();
      stream.begin();
    } else if (this.#phase === 'dialback' && item.ns === NS.dialback && item.name === 'result')
      return this.#result(stream, item);
    else if (item.ns === NS.sm) this.#managed(stream, item);
    else if (this.#arrivals !== undefined && (item.ns === NS.server || isUnreadable(item)))
      return this.#arrivals.take(item);
    else if (this.#arrivals !== undefined && item.ns === NS.dialback && item.name === 'result')
      this.#requested(stream, this.#arrivals, item);
    // Any other element is ignored, such as an unsolicited response.
  }

  /**
   * XEP-0288 §2.2: the peer may ask to send from or to further domains. Only its certificate proves them: a server that
   * would have to be asked is better served by a stream of its own.
   */
  #requested({ xml, isCertifiedFor }: OutgoingStream, arrivals: Arrivals, { attrs }: TopLevel): void {
    const [from, to] = [domainOf(attrs.from), domainOf(attrs.to)];
    // XEP-0220 §3.1: a response, but there was no request.
    if (attrs.type !== undefined) return;
    if (from === undefined || to === undefined) throw new StreamError('improper-addressing');
    const { host } = this.#parts.arrivals;
    const isProved = isCertifiedFor(from) && host(from) === undefined && host(to) !== undefined;
    if (isProved && arrivals.pairs.size < mostPairs && this.#parts.allows(from, to)) {
      arrivals.prove(from, to);
      xml.writeElement(el('db:result', { from: to, to: from, type: 'valid' }));
      return;
    }
    const error = el('error', { type: 'cancel' }, el('not-allowed', { xmlns: NS.stanzas }));
    xml.writeElement(el('db:result', { from: to, to: from, type: 'error' }, error));
  }

  #result(stream: OutgoingStream, { attrs }: TopLevel): Maybe<void> {
    const { from, to } = stream.pair;
    // §3.1: the response has to match the request of this stream.
    if (domainOf(attrs.from) !== to || domainOf(attrs.to) !== from) return;
    if (attrs.type === 'valid') return this.#proved(stream);
    if (attrs.type === 'invalid') {
      const text = 'The server rejected our dialback key.';
      stream.fail(text, new StanzaError('internal-server-error', text));
    } else stream.fail('The server could not verify our dialback key.');
  }

  // --- stream management ------------------------------------------------------------------------------------------

  #proved(stream: OutgoingStream): Maybe<void> {
    const sm = this.#sm;
    const { from, to } = stream.pair;
    stream.admit();
    if (this.isBidirectional) {
      this.#arrivals = new Arrivals(this.#parts.arrivals, stream.xml);
      this.#arrivals.prove(to, from);
    }
    if (sm?.id === undefined || !this.#offersSm) {
      this.#endSession(undefined);
      this.#enable(stream);
      return;
    }
    // §5: `h` must count every stanza that was received over the former stream. There is a deadline for the negotiation.
    return sm.received.whenCaughtUp()?.then(() => this.#resume(stream, sm)) ?? this.#resume(stream, sm);
  }

  #resume({ xml }: OutgoingStream, sm: ServerSm): void {
    this.#phase = 'resuming';
    xml.writeElement(el('resume', { xmlns: NS.sm, previd: sm.id, h: String(sm.received.h) }));
  }

  #enable(stream: OutgoingStream): void {
    if (!this.#offersSm) {
      this.#open(stream);
      return;
    }
    this.#phase = 'enabling';
    const { resume_seconds } = this.#parts.config().s2s;
    const resumption = resume_seconds > 0 ? { resume: 'true', max: String(resume_seconds) } : {};
    // Stanzas wait for the answer: without it they could be lost with the connection.
    stream.xml.writeElement(el('enable', { xmlns: NS.sm, ...resumption }));
  }

  #managed(stream: OutgoingStream, { name, attrs }: TopLevel): void {
    const { sm } = this;
    if (sm !== undefined && name === 'r') sm.received.requested();
    else if (sm !== undefined && name === 'a') {
      sm.acknowledged(demandCounter(attrs.h));
      this.send(stream);
    } else if (this.#phase === 'enabling' && name === 'enabled') {
      this.#sm = this.#newSession(attrs);
      this.#sm.attach(stream.xml);
      this.#count();
      this.#open(stream);
    } else if (this.#phase === 'enabling' && name === 'failed') this.#open(stream);
    else if (this.#phase === 'resuming' && name === 'resumed' && attrs.previd === this.#sm!.id) {
      this.#acknowledgedBefore = this.#sm!.acknowledgedCount;
      this.#count();
      this.#sm!.resumed(demandCounter(attrs.h), stream.xml);
      this.#open(stream);
    } else if (this.#phase === 'resuming' && name === 'failed') {
      this.#endSession(counterOf(attrs.h));
      this.#enable(stream);
    }
  }

  /** From now on, the peer's stanzas are counted. */
  #count(): void {
    if (this.#arrivals === undefined || this.#sm === undefined) return;
    this.#arrivals.sm = this.#sm;
    this.#sm.isBidirectional = true;
  }

  #newSession({ id, resume, max }: TopLevel['attrs']): ServerSm {
    const { config } = this.#parts;
    const isResumable = (resume === 'true' || resume === '1') && id !== undefined && id.length <= longestId;
    const most = config().s2s.resume_seconds;
    return new ServerSm({
      id: isResumable && most > 0 ? id : undefined,
      holdSeconds: Math.min(most, counterOf(max) ?? most),
      bounds: () => outboxBounds(config()),
    });
  }

  /** The former session cannot be resumed. Its unhandled stanzas come first in the new one (§5). */
  #endSession(h: number | undefined): void {
    this.#sm?.end(h, unknownFate());
    this.#sm = undefined;
  }

  // --- stanzas ----------------------------------------------------------------------------------------------------

  #open(stream: OutgoingStream): void {
    this.#phase = 'open';
    this.#lastSent = this.#parts.now();
    stream.xml.establish();
    stream.settled();
    this.#parts.opened(stream);
    this.send(stream);
  }

  /** Sends from the outbox until it is empty or the peer has to read or acknowledge first. */
  send({ xml }: OutgoingStream): void {
    if (this.#phase !== 'open' || sendFrom(this.#parts.outbox, xml, this.#sm, this.#largest) === 0) return;
    this.#hasSent = true;
    this.#lastSent = this.#parts.now();
  }

  drained(stream: OutgoingStream): void {
    this.send(stream);
  }

  ended(reason: StanzaError, how: StreamEnd): void {
    this.#parts.ended(reason, how);
  }

  async stopTaking(): Promise<void> {
    await this.#arrivals?.stopTaking();
  }

  isIdle(since: number): boolean {
    return Math.max(this.#lastSent, this.#arrivals?.lastAt ?? 0) <= since && this.#parts.outbox.size === 0;
  }

  /** Whether the policy still allows every pair that the peer may send. The first is that of the stream. */
  get #isAllowed(): boolean {
    const { pairs } = this.#arrivals ?? {};
    if (pairs === undefined || pairs.size < 2) return true;
    return [...pairs].every((pair) => {
      const [from = '', to = ''] = pair.split(' ');
      return this.#parts.allows(from, to);
    });
  }

  sweep(stream: OutgoingStream, now: number): void {
    if (!this.#isAllowed) {
      // Without an error, because the pair of the stream is allowed: our stanzas use a new stream.
      stream.close();
      return;
    }
    const sm = this.#sm;
    if (sm === undefined) return;
    const { limits, s2s } = this.#parts.config();
    sm.received.answerLate(now);
    if (sm.isOverdue(now, s2s.acknowledgement_seconds * 1000)) {
      this.isOverdue = true;
      stream.fail('The server does not acknowledge stanzas.');
    } else if (sm.isSilent(now, limits.ping_timeout_seconds * 1000)) stream.xml.abandon();
  }
}

/** The bounds of the queue of one pair. */
export function outboxBounds({ s2s }: Config): { readonly stanzas: number; readonly bytes: number } {
  return { stanzas: s2s.queue_stanzas_per_domain, bytes: s2s.queue_bytes_per_domain };
}
