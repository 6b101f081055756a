/**
 * Stream management between two servers (XEP-0198). A session covers both directions of a stream and outlives its
 * connection, so that the server that opened the stream can resume it. Sent stanzas count in their outbox until they are
 * acknowledged, and only a window of them is sent ahead.
 */
import { monotonic } from '../../clock.js';
import type { Outbox, Parcel } from '../../routing/outbox.js';
import { sizeOf } from '../../routing/outflow.js';
import { StanzaError } from '../../stanza/errors.js';
import { NS } from '../../stanza/ns.js';
import type { Stanza } from '../../stanza/stanza.js';
import type { TopLevel } from '../../xml/reader.js';
import { Pace } from '../pace.js';
import type { XmlStream } from '../stream.js';
import {
  acknowledgement,
  demandCounter,
  distance,
  handledTooMany,
  modulus,
  Received,
  request,
} from '../xep-0198-received.js';

/** Most stanzas and bytes sent ahead of their acknowledgement; at most half of the outbox. */
const windowStanzas = 500;
const windowBytes = 524_288;
/** While something is unacknowledged there is an `<r/>`, and another one at the latest after these. */
const askAfterStanzas = 100;
const askAfterBytes = 65_536;
/**
 * Otherwise there is one `<r/>`, and one `<a/>`, in so many ms: a TLS record, two system calls and two turns of the event
 * loop cost more than the stanza that they are for.
 */
const paceMs = 5;

/** A sent stanza, and the outbox that it came from. */
interface Unacknowledged {
  readonly parcel: Parcel;
  readonly outbox: Outbox;
}

export interface ServerSmParts {
  /** The id that resumes the session; undefined if it cannot be resumed. */
  readonly id: string | undefined;
  /** How long it can be resumed after its connection was lost, in seconds. */
  readonly holdSeconds: number;
  /** The bounds of an outbox. */
  bounds(): { readonly stanzas: number; readonly bytes: number };
}

export class ServerSm {
  readonly id: string | undefined;
  readonly holdSeconds: number;
  readonly received: Received;
  /** The session was resumed on another connection, or has ended. */
  isOver = false;
  /** Stanzas arrive as well where we opened the stream (XEP-0288). */
  isBidirectional = false;
  readonly #bounds: ServerSmParts['bounds'];
  #stream: XmlStream | undefined;
  /** Sent stanzas, from `#head` on. */
  #sent: Unacknowledged[] = [];
  #head = 0;
  #bytes = 0;
  #acknowledged = 0;
  /** How many stanzas had been sent before the last `<r/>`; undefined if it was answered. */
  #asked: number | undefined;
  #stanzasSinceAsked = 0;
  #bytesSinceAsked = 0;
  #askedAt = 0;
  readonly #asks = new Pace(paceMs, () => this.#ask());
  readonly #answers = new Pace(paceMs, () => this.#stream?.write(acknowledgement(this.received.h)));
  /** When stanzas were last acknowledged, became unacknowledged, or were sent again, in ms. */
  #progressAt = 0;
  /** How many connections have claimed the session to resume it. */
  #claims = 0;
  #replaced = () => {};

  constructor({ id, holdSeconds, bounds }: ServerSmParts) {
    this.id = id;
    this.holdSeconds = holdSeconds;
    this.#bounds = bounds;
    this.received = new Received(() => this.#answers.due());
  }

  get stream(): XmlStream | undefined {
    return this.#stream;
  }

  /** How many stanzas are unacknowledged. */
  get waiting(): number {
    return this.#sent.length - this.#head;
  }

  /** Their size, approximately. */
  get waitingBytes(): number {
    return this.#bytes;
  }

  /** How many stanzas were acknowledged, modulo 2^32. */
  get acknowledgedCount(): number {
    return this.#acknowledged;
  }

  // --- connections ------------------------------------------------------------------------------------------------

  /** `replaced` is called if another connection resumes the session. */
  attach(stream: XmlStream, replaced: () => void = () => {}): void {
    this.#stream = stream;
    this.#replaced = replaced;
    this.#forgetRequests();
    this.#progressAt = monotonic();
  }

  /** The connection is gone. */
  detach(): void {
    this.#stream = undefined;
    this.#replaced = () => {};
    this.#forgetRequests();
  }

  /** Requests of the former connection, ours and the peer's, are not answered. */
  #forgetRequests(): void {
    this.#asked = undefined;
    this.#asks.cancel();
    this.#answers.cancel();
    this.received.forgetRequests();
  }

  /** The peer closes the connection: sends an answer that is due (§4). */
  closing(): void {
    this.#answers.actIfDue();
  }

  /**
   * A connection wants to resume the session, which leaves its present one. Returns a check of whether this claim is
   * still the latest.
   */
  claim(): () => boolean {
    this.#replaced();
    const claim = ++this.#claims;
    return () => this.#claims === claim && !this.isOver;
  }

  /** §5: sends again, in order, what the peer has not handled. Throws StreamError if it acknowledges too much. */
  resumed(h: number, stream: XmlStream, replaced?: () => void): void {
    this.acknowledged(h);
    this.attach(stream, replaced);
    for (let at = this.#head; at < this.#sent.length; at++) stream.writeStanza(this.#sent[at]!.parcel.stanza);
    if (this.waiting > 0) this.#asks.act();
  }

  // --- what we send -----------------------------------------------------------------------------------------------

  /** Whether another stanza may be sent ahead. */
  get hasRoom(): boolean {
    const { stanzas, bytes } = this.#bounds();
    return (
      this.#stream !== undefined &&
      this.waiting < Math.min(windowStanzas, stanzas / 2) &&
      this.#bytes < Math.min(windowBytes, bytes / 2)
    );
  }

  send(parcel: Parcel, outbox: Outbox): void {
    const { stanza } = parcel;
    const size = sizeOf(stanza);
    if (this.waiting === 0) this.#progressAt = monotonic();
    this.#sent.push({ parcel, outbox });
    this.#bytes += size;
    this.#stanzasSinceAsked++;
    this.#bytesSinceAsked += size;
    this.#stream?.writeStanza(stanza);
    if (this.#stanzasSinceAsked >= askAfterStanzas || this.#bytesSinceAsked >= askAfterBytes) this.#asks.act();
  }

  /** Everything that can be sent now was sent. An answer that is due goes with it. */
  flushed(): void {
    this.#answers.actIfDue();
    this.#askIfNeeded();
  }

  #askIfNeeded(): void {
    if (this.#asked !== undefined || this.waiting === 0) return;
    if (this.hasRoom) this.#asks.due();
    else this.#asks.act();
  }

  get #sentCount(): number {
    return (this.#acknowledged + this.waiting) % modulus;
  }

  #ask(): void {
    if (this.#asked === undefined) this.#askedAt = monotonic();
    this.#asked = this.#sentCount;
    this.#stanzasSinceAsked = 0;
    this.#bytesSinceAsked = 0;
    this.#stream?.write(request);
  }

  /** `<a/>`. Throws StreamError if more is acknowledged than was sent (§6). */
  acknowledged(h: number): void {
    const count = this.#newIn(h);
    if (count > this.waiting) throw handledTooMany(h, this.#sentCount);
    this.#acknowledged = h;
    for (let left = count; left > 0; left--) {
      const { parcel } = this.#sent[this.#head]!;
      this.#head++;
      this.#bytes -= sizeOf(parcel.stanza);
      parcel.sent();
    }
    if (count > 0) this.#progressAt = monotonic();
    if (this.#head === this.#sent.length) {
      this.#forget();
      this.#asks.cancel();
    } else if (this.#head > 64 && this.#head * 2 > this.#sent.length) {
      this.#sent = this.#sent.slice(this.#head);
      this.#head = 0;
    }
    // Later stanzas have a request of their own.
    if (this.#asked !== undefined && distance(this.#asked, h) < 0) this.#askedAt = monotonic();
    else {
      this.#asked = undefined;
      this.#askIfNeeded();
    }
  }

  #newIn(h: number): number {
    return (h - this.#acknowledged + modulus) % modulus;
  }

  #forget(): void {
    this.#sent = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  /** Whether a request has been unanswered for `ms`, and nothing else was read meanwhile. */
  isSilent(now: number, ms: number): boolean {
    if (this.#asked === undefined || this.#stream === undefined) return false;
    return now - Math.max(this.#askedAt, this.#stream.silence.lastRead) >= ms;
  }

  /** Whether stanzas are unacknowledged, and none was acknowledged for `ms`. */
  isOverdue(now: number, ms: number): boolean {
    return this.waiting > 0 && now - this.#progressAt >= ms;
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  /**
   * The session has ended and something can still be sent to the peer. With its last count `h` (§5) exactly the
   * stanzas after it return to their outboxes, to be sent again. Without it nobody knows what became of them: sending
   * them again could double them. So messages and requests are refused (§4), and the others return: repeated presence,
   * answers and errors change nothing.
   */
  end(h: number | undefined, reason: StanzaError): void {
    const isCounted = h !== undefined && this.#newIn(h) <= this.waiting;
    if (isCounted) this.acknowledged(h);
    const returned = new Map<Outbox, Parcel[]>();
    const refused: Parcel[] = [];
    for (const { parcel, outbox } of this.#finish()) {
      if (!isCounted && !mayRepeat(parcel.stanza)) refused.push(parcel);
      else returned.set(outbox, [...(returned.get(outbox) ?? []), parcel]);
    }
    for (const [outbox, parcels] of returned) outbox.putBack(parcels);
    for (const parcel of refused) parcel.refuse(reason);
  }

  /** The session has ended: unacknowledged stanzas are refused. */
  refuseAll(reason: StanzaError): void {
    for (const { parcel } of this.#finish()) parcel.refuse(reason);
  }

  #finish(): readonly Unacknowledged[] {
    const left = this.#sent.slice(this.#head);
    this.isOver = true;
    this.#forget();
    this.detach();
    this.received.ended();
    return left;
  }
}

/** Whether a stanza has more bytes than this. Serialized only if that is possible: a UTF-16 code unit has at most three. */
function isLarger(stanza: Stanza, bytes: number): boolean {
  if (bytes === Number.POSITIVE_INFINITY || stanza.content.length * 3 + mostHeader <= bytes) return false;
  return Buffer.byteLength(stanza.toXml(NS.server)) > bytes;
}

/** Bytes of the start tag of a stanza, at most: two addresses, an id and others. */
const mostHeader = 32_768;

/**
 * Sends from an outbox as long as the peer reads and acknowledges. `largest`: what the peer accepts, in bytes. Returns
 * how many stanzas were sent.
 */
export function sendFrom(outbox: Outbox, xml: XmlStream, sm: ServerSm | undefined, largest: number): number {
  let sent = 0;
  while (xml.hasRoom && sm?.hasRoom !== false) {
    const parcel = outbox.take();
    if (parcel === undefined) break;
    // XEP-0478 §4: the peer would close the stream, for all users.
    if (isLarger(parcel.stanza, largest)) {
      parcel.refuse(new StanzaError('policy-violation', `That server accepts at most ${largest} bytes in one stanza.`));
      continue;
    }
    sent++;
    if (sm !== undefined) sm.send(parcel, outbox);
    else {
      xml.writeStanza(parcel.stanza);
      parcel.sent();
    }
  }
  if (sent > 0) sm?.flushed();
  return sent;
}

/** Whether a stanza may arrive twice. */
function mayRepeat({ name, type }: Stanza): boolean {
  if (name === 'iq') return type === 'result' || type === 'error';
  return name === 'presence' || type === 'error';
}

/** The error for stanzas that may or may not have arrived. */
export const unknownFate = (): StanzaError =>
  new StanzaError('remote-server-timeout', 'The connection to the server was lost. The stanza may have arrived.');

/** Acknowledgements are free: they must not wait for stanzas that are paused. */
export function isAcknowledging(item: TopLevel, sm: ServerSm | undefined): boolean {
  return sm !== undefined && item.ns === NS.sm && (item.name === 'a' || item.name === 'r');
}

/** Handles acknowledgements that were read while stanzas before them are paused (`StreamHandler.ahead`). */
export function acknowledgesAhead(
  item: TopLevel,
  sm: ServerSm | undefined,
  isHalted: boolean,
  acknowledged: () => void,
): boolean {
  if (sm === undefined || !isAcknowledging(item, sm)) return false;
  if (item.name === 'a') {
    sm.acknowledged(demandCounter(item.attrs.h));
    acknowledged();
    return true;
  }
  // Answered again in order, once more stanzas have been handled.
  if (isHalted) sm.received.requested();
  return false;
}
