/**
 * Any XML stream (RFC 6120 §4): reads elements one at a time, in turns that are fair to other streams; throttles peers
 * that send too fast; opens, restarts and closes; writes, and counts unread output. All else belongs to the handler.
 */

import { monotonic } from '../clock.js';
import type { Config } from '../config/schema.js';
import { Buckets } from '../limits/buckets.js';
import { charge, isPresentTurn, presentTurn, type Share, turnMs } from '../limits/shares.js';
import type { Maybe } from '../maybe.js';
import { StreamError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Transport, TransportReader } from '../transport/transport.js';
import { type Element, elementOf, serialize } from '../xml/element.js';
import { type StreamItem, type StreamOpen, type TopLevel, type XmlError, XmlReader } from '../xml/reader.js';
import { increment } from './counts.js';
import { type Framing, framingOf } from './framing.js';
import {
  type Allowance,
  languageOf,
  mayStore,
  readerLimits,
  type StreamHandler,
  type StreamParts,
  streamErrorOf,
  unauthenticated,
} from './handler.js';
import { countedAbove, Output, type Writer } from './output.js';
import { Silence } from './silence.js';

/** opening: waiting for the peer's header. closing: waiting for the peer's end. closed: the connection is closed. */
export type StreamState = 'opening' | 'open' | 'closing' | 'closed';

/** The socket is paused when the reader buffers more than this during a pending handler, in bytes. */
const pauseAbove = 65_536;

export class XmlStream implements TransportReader, Writer {
  readonly framing: Framing;
  readonly #handler: StreamHandler;
  readonly #parts: StreamParts;
  readonly #reader: XmlReader;
  readonly #output: Output;
  #state: StreamState = 'opening';
  #isEstablished = false;
  /** The language of the peer's header (RFC 6120 §4.7.4). */
  lang: string | undefined;
  /** The host named in our header. */
  #from: string | undefined;
  #headerSent = false;
  readonly silence = new Silence();
  #busy = false;
  #paused = false;
  /** When to stop waiting for the peer's end, in ms. */
  closeBy = 0;
  readonly buckets: Buckets;
  #throttled = false;
  #allowance = unauthenticated;
  /** Pays for the work: the peer's share over all its connections, or that of its IP address before login. */
  share: Share;
  /** Characters of the current element. */
  #size = 0;
  /** Paused for its share, for congestion, or for pending writes. */
  #isQueued = false;
  /** The pause is longer than a turn. */
  #isHalted = false;
  /** Items read while paused. */
  #ahead: StreamItem[] | undefined;
  #aheadBytes = 0;
  /** A read error, thrown once earlier items have been handled. */
  #aheadError: unknown;
  /** Elements taken in this turn, where the framing counts them. */
  #taken = 0;
  /** Whether the stream has stopped handling elements. */
  #stopped = false;
  /** No more elements are handled for now. */
  #isFrozen = false;
  #idle: (() => void) | undefined;
  /** The peer has ended its half and some of its elements are pending. */
  #ends = false;
  /** Why the transport has stopped reading. Undefined if it has not. */
  #unreadable: XmlError | undefined;
  /** The connection is closed. */
  #isCut = false;

  /** Becomes the transport's reader. The limits for unauthenticated peers hold until `admit`. */
  constructor(
    readonly transport: Transport,
    handler: StreamHandler,
    parts: StreamParts,
  ) {
    const { limits } = parts.config();
    this.framing = framingOf(transport);
    this.#handler = handler;
    this.#parts = parts;
    this.#output = new Output(parts, this);
    this.#reader = new XmlReader(this.framing.mode, readerLimits(limits, unauthenticated));
    this.buckets = new Buckets(unauthenticated.rate(limits), this.silence.lastRead);
    this.share = parts.shares.ofAddress(transport.remoteAddress);
    transport.reader = this;
  }

  get state(): StreamState {
    return this.#state;
  }
  /** Whether negotiation is over and nobody has closed the stream. */
  get isEstablished(): boolean {
    return this.#isEstablished && this.#state === 'open';
  }
  /** Whether the connection is closed. Items read before are still handled. */
  get isCut(): boolean {
    return this.#isCut;
  }
  get hasPaused(): boolean {
    return this.#paused;
  }
  get isAdmitted(): boolean {
    return this.#allowance !== unauthenticated;
  }
  get mayLag(): number {
    return this.#handler.mayLag;
  }

  /** The peer is authenticated: its limits are `allowance` from now on, and `share` pays for its work. */
  admit(allowance: Allowance, share: Share): void {
    const { limits } = this.#parts.config();
    this.#allowance = allowance;
    this.#reader.limits = readerLimits(limits, allowance);
    this.buckets.fill(allowance.rate(limits));
    this.#parts.shares.leave(this.share);
    this.share = share;
  }

  /** Negotiation is over. */
  establish(): void {
    this.#isEstablished = true;
  }

  // --- in: TransportReader ----------------------------------------------------------------------------------------

  received(chunk: Buffer): void {
    if (this.#isOver) {
      // §4.4: after our end, only the peer's end is read.
      if (this.framing.isEnd(chunk)) this.transport.end();
      return;
    }
    const now = monotonic();
    this.alive(now);
    this.buckets.received(now, chunk.length, this.#rate);
    this.share.received(now, chunk.length);
    try {
      this.#reader.push(chunk);
      if (this.#isFrozen) return;
      if (this.#isQueued) this.#readAhead(chunk.length);
      else if (!this.#busy) this.#pump(now);
      else if (this.#reader.buffered > pauseAbove) this.#pause();
    } catch (error) {
      this.failed(error);
    }
    if (this.buckets.isOverdrawn) this.#throttle();
  }

  unreadable(error: XmlError): void {
    this.#unreadable = error;
    this.#reader.refuse(error);
    if (this.#isOver) this.transport.end();
    else if (!this.#busy && !this.#isFrozen) this.#goOn();
  }

  drained(): void {
    this.#output.drained();
    if (this.isEstablished) this.#handler.drained();
  }

  alive(now = monotonic()): void {
    this.silence.heard(now);
  }

  ended(): void {
    // Elements before the end are handled first.
    if (this.#busy || this.#isFrozen) this.#ends = true;
    else this.#end();
  }

  /** Elements of an established peer that were read before are still handled, in order. */
  closed(): void {
    this.#isCut = true;
    this.#output.uncount();
    if (this.#isFrozen) return;
    if (!this.#busy || !this.isEstablished) this.#finish();
    else this.#leaveQueue();
  }

  // --- turns of work ----------------------------------------------------------------------------------------------

  /** Handles items one after the other, from `now` on; pauses while a handler is pending. */
  #pump(now: number): void {
    const { queues } = this.#parts;
    while (!this.#isFrozen) {
      const ahead = this.#ahead;
      const item = ahead === undefined ? this.#read() : ahead[0];
      if (item === undefined) break;
      if (this.share.isSpent && !this.#isCut && !(item.kind === 'element' && this.#handler.isFree(item))) {
        this.#queue(item, false, (go) => this.share.wait(go));
        break;
      }
      if (this.#isStopped(item)) {
        this.#queue(item, true, (go) => queues.congestion.wait(this.share, go));
        break;
      }
      if (this.share.isOutOfRoom && !this.#isCut && this.isEstablished && mayStore(item)) {
        this.#queue(item, true, (go) => this.share.waitForRoom(go));
        break;
      }
      if (ahead?.shift() !== undefined && ahead.length === 0) this.#ahead = undefined;
      const outbound = queues.size;
      const waiting = this.#take(this.framing.read(item));
      this.#multiplied(outbound);
      if (waiting === undefined) {
        if (this.#state === 'closed') return;
        if (!this.#hadItsTurn(now)) continue;
        this.#busy = true;
        setImmediate(() => this.#goOn());
        break;
      }
      this.#busy = true;
      const turn = presentTurn();
      const since = monotonic();
      const queued = queues.size;
      const done = () => {
        if (isPresentTurn(turn)) {
          this.share.worked(charge(since, monotonic()));
          this.#multiplied(queued);
        }
        this.#goOn();
      };
      waiting.then(done, (error: unknown) => {
        this.failed(error);
        done();
      });
      this.share.worked(charge(now, since));
      return;
    }
    this.share.worked(charge(now, monotonic()));
  }

  #read(): StreamItem | undefined {
    if (this.#aheadError !== undefined) throw this.#aheadError;
    return this.#reader.next();
  }

  /** Whether the element must be paused for congestion, even if its sender has disconnected. */
  #isStopped(item: StreamItem): boolean {
    if (item.kind !== 'element' || !this.isEstablished) return false;
    return this.#parts.queues.congestion.stops(this.share, item.content.length) && !this.#handler.isFree(item);
  }

  /** Charges growth of the outbound queues to the sender's fan-out. */
  #multiplied(before: number): void {
    const grown = this.#parts.queues.size - before;
    if (grown > countedAbove) this.share.multiplied += grown;
  }

  /**
   * Pauses before `item` until `wait` calls back: the share has budget again, congestion is over, or writes have
   * completed. `isHalted`: the pause is longer than a turn.
   */
  #queue(item: StreamItem, isHalted: boolean, wait: (go: () => void) => void): void {
    this.#ahead ??= [item];
    this.#busy = true;
    this.#isQueued = true;
    this.#isHalted = isHalted;
    this.#aheadBytes = 0;
    this.#readAhead(0);
    wait(() => this.#leaveQueue());
  }

  #leaveQueue(): void {
    if (!this.#isQueued) return;
    this.#isQueued = false;
    this.#goOn();
  }

  /** Reads ahead during a pause, since some elements may overtake. Bounded by bytes, like the reader's buffer. */
  #readAhead(bytes: number): void {
    this.#aheadBytes += bytes;
    if (this.#aheadBytes + this.#reader.buffered > pauseAbove) this.#pause();
    // Before the stream is established, the following data may belong to a new stream.
    if (!this.isEstablished || this.#aheadError !== undefined) return;
    try {
      for (let item = this.#reader.next(); item !== undefined; item = this.#reader.next())
        if (item.kind !== 'element' || !this.#handler.ahead(item, this.#isHalted || this.share.isHalted))
          (this.#ahead ??= []).push(item);
    } catch (error) {
      this.#aheadError = error;
    }
  }

  #hadItsTurn(since: number): boolean {
    const { elementsPerTurn } = this.framing;
    if (elementsPerTurn === 0) return this.#reader.buffered > 0 && monotonic() - since >= turnMs;
    this.#taken = (this.#taken + 1) % elementsPerTurn;
    return this.#taken === 0;
  }

  #goOn(): void {
    this.#busy = false;
    this.#idle?.();
    if (this.#state === 'closed') return;
    try {
      this.#pump(monotonic());
    } catch (error) {
      this.failed(error);
    }
    if (this.#busy || this.#isFrozen) return;
    if (this.#isCut) this.#finish();
    else if (this.#ends) this.#end();
    else if (this.buckets.isOverdrawn) this.#throttle();
    else if (this.#paused && !this.#throttled) this.#unpause();
  }

  /** Stops taking elements. Resolves once the current one has been handled. */
  async stopTaking(): Promise<void> {
    this.#stopped = true;
    await this.#whenIdle();
  }

  async #whenIdle(): Promise<void> {
    if (!this.#busy || this.#isQueued) return;
    const others = this.#idle;
    await new Promise<void>((resolve) => {
      this.#idle = () => {
        others?.();
        resolve();
      };
    });
  }

  /** Handles no more elements until `thaw` or `handOver`. Resolves once the current one has been handled. */
  freeze(): Promise<void> {
    this.#isFrozen = true;
    return this.#whenIdle();
  }

  /** Whether it is open, and everything read from the connection can be passed on. */
  get canHandOver(): boolean {
    return this.isEstablished && !this.#isCut && this.#aheadError === undefined;
  }

  /** Goes on with what has arrived meanwhile. */
  thaw(): void {
    this.#isFrozen = false;
    if (!this.#busy) this.#goOn();
    else if (this.#isCut) this.#leaveQueue();
  }

  #take(item: StreamItem): Maybe<void> {
    if (this.#state === 'closing') {
      if (item.kind === 'close') this.transport.end();
      return;
    }
    if (item.kind === 'close') return this.#closedByPeer();
    if (this.#stopped) return;
    if (item.kind === 'open') return this.#opened(item);
    this.buckets.takeStanza();
    this.share.takeStanza();
    if (this.#state === 'opening') throw new StreamError('bad-format', 'Send a stream header first.');
    if (item.ns === NS.stream && item.name === 'error') return this.#closedByPeer(item); // §4.9.1.1
    this.#size = item.content.length;
    return this.#handler.element(item);
  }

  /** A write of the current element is pending until `durable` settles; its sender's share counts it. */
  waitsForDisk(durable: Promise<unknown>): void {
    this.#parts.backlog.add(this.share, this.#size, durable);
  }

  // --- rates ------------------------------------------------------------------------------------------------------

  #pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.transport.pause();
  }

  #unpause(): void {
    this.#paused = false;
    this.transport.resume();
  }

  get #rate(): Config['limits']['rate'] {
    return this.#allowance.rate(this.#parts.config().limits);
  }

  /** Stops reading until the buckets have tokens again. Slows the peer down; nothing is dropped. */
  #throttle(): void {
    if (this.#throttled || this.#state === 'closed') return;
    this.#throttled = true;
    this.#pause();
    this.#parts.limitHit('rate');
    setTimeout(() => {
      this.#throttled = false;
      if (!this.#busy && this.#state !== 'closed') this.#unpause();
    }, this.buckets.owes(this.#rate) * 1000).unref();
  }

  // --- headers ----------------------------------------------------------------------------------------------------

  /** RFC 6120 §4.7, §4.8. */
  #opened(header: StreamOpen): Maybe<void> {
    if (this.#state !== 'opening') throw new StreamError('bad-format', 'The stream is already open.');
    this.lang = languageOf(header, this.#handler.ns);
    this.#state = 'open';
    return this.#handler.opened(header);
  }

  /** Answers with our header, from the host `from`, and to `to` if the peer is known. Returns the stream id. */
  open(from: string, to?: string): string {
    const id = randomId();
    this.#sendHeader({ to, from, id });
    return id;
  }

  /** Sends our header first; the peer's answers it, and has the id (§4.7.3). */
  begin(from: string, to: string): void {
    this.#sendHeader({ to, from });
  }

  #sendHeader(attributes: { readonly from: string; readonly to: string | undefined; readonly id?: string }): void {
    this.#headerSent = true;
    this.#from = attributes.from;
    const { ns, declares, isUnversioned } = this.#handler;
    const version = isUnversioned ? undefined : '1.0';
    this.transport.write(this.framing.open({ ...declares, ...attributes, version, 'xml:lang': 'en' }, ns));
  }

  /** The peer opens a new stream over the same connection (RFC 6120 §6.4.6). */
  restart(): void {
    this.#state = 'opening';
    this.#headerSent = false;
    this.#reader.restart();
  }

  /** Restarts, discarding the peer's earlier header and all unread data (§5.4.3.3). */
  restartAfterTls(): void {
    this.#from = this.lang = undefined;
    this.#reader.discard();
    this.restart();
  }

  // --- out --------------------------------------------------------------------------------------------------------

  get #isOver(): boolean {
    return this.#state === 'closing' || this.#state === 'closed';
  }

  /** `patience`: how long the write may be delayed to be sent with later ones, in ms. */
  write(xml: string, patience = 0): void {
    if (!this.#isOver) this.#output.write(xml, patience);
  }

  writeElement(element: Element): void {
    this.write(serialize(element));
  }

  /** Returns the length in characters. */
  writeStanza(stanza: Stanza, patience = 0): number {
    const xml = this.framing.stanza(stanza, this.#handler.ns);
    this.write(xml, patience);
    return xml.length;
  }

  /** Buffers everything written from now on. */
  hold(): void {
    this.#output.hold();
  }

  /** Stops buffering and returns the buffered output for the caller to write. */
  release(): readonly string[] {
    return this.#output.release();
  }

  /** Whether the peer has read most of the output. */
  get hasRoom(): boolean {
    return this.isEstablished && !this.#isCut && this.#output.hasRoom;
  }
  /** Unread bytes; 0 if there are few. */
  get unread(): number {
    return this.#output.unread;
  }
  /** Whether output is pending and the peer has read none of it for `ms`. */
  isStuck(now: number, ms: number): boolean {
    return this.#output.isStuck(now, ms);
  }

  /** Called once a second: disconnects a stalled peer. */
  checkPace(now: number): void {
    this.#output.checkPace(now);
  }

  tooSlow(): void {
    this.#parts.limitHit('write_queue_bytes');
    this.abandon();
  }

  /** Another node has sent the peer this stream's header, from this host of ours. */
  continueFrom(from: string): void {
    this.#headerSent = true;
    this.#from = from;
  }

  /**
   * Passes the connection to another reader: first data that was read and not handled, then what the transport held
   * back. The stream is over and writes nothing more. To be called while an element is handled, or the stream is frozen.
   */
  handOver(reader: TransportReader): void {
    const [end = ''] = this.framing.end(undefined);
    const ahead = (this.#ahead ?? []).map((item) => (item.kind === 'element' ? serialize(elementOf(item)) : end));
    const rest = [...ahead.map((text) => Buffer.from(text)), ...this.#reader.takeRest()];
    this.#output.uncount();
    this.#state = 'closed';
    this.#parts.shares.leave(this.share);
    this.#handler.gone();
    this.transport.reader = reader;
    for (const chunk of rest) reader.received(chunk);
    if (this.#paused && reader.hasPaused !== true) this.transport.resume();
    if (this.#isCut) reader.closed();
    else if (this.#unreadable !== undefined && reader.unreadable !== undefined) reader.unreadable(this.#unreadable);
    else if (this.#unreadable !== undefined) this.transport.end();
    else if (this.#ends) reader.ended();
  }

  // --- ends -------------------------------------------------------------------------------------------------------

  /** Closes the stream after an error: with its own condition if the peer caused it, else `internal-server-error`. */
  failed(error: unknown): void {
    this.close(streamErrorOf(error, this.#parts));
  }

  /** Sends `error`, closes our half, and waits for the peer's: `limits.close_timeout_seconds`, at most `most` ms. */
  close(error?: StreamError, most = Number.POSITIVE_INFINITY): void {
    if (this.#isOver) return;
    this.#output.drop();
    if (error !== undefined) {
      increment(this.#parts.counts.streamErrors, error.condition);
      // §4.9.1.2: an error before our header follows a header. §4.7.1: from one of our hosts.
      if (!this.#headerSent) this.open(this.#from ?? Object.keys(this.#parts.config().hosts)[0]!);
    }
    if (this.#headerSent) for (const xml of this.framing.end(error?.toElements())) this.write(xml);
    this.#leave(most);
    if (this.framing.closesHalf || this.#unreadable !== undefined) this.transport.end();
    this.#handler.closed(error);
    if (this.#isCut) this.#finish();
  }

  /** RFC 6120 §4.4: the peer has closed its stream; we close ours. */
  #closedByPeer(error?: TopLevel): void {
    if (error !== undefined) this.#handler.blamed?.(error);
    if (this.isEstablished) this.#handler.closing?.();
    this.close();
    this.transport.end();
  }

  /** Stops writing and starts the timeout for the peer's end. */
  #leave(most = Number.POSITIVE_INFINITY): void {
    this.#state = 'closing';
    this.closeBy = monotonic() + Math.min(this.#parts.config().limits.close_timeout_seconds * 1000, most);
  }

  /** The stream is over without having been closed. */
  #lose(): void {
    if (this.#isOver) return;
    this.#leave();
    this.#handler.lost();
  }

  /** The peer has closed its half of the connection; it may still read. */
  #end(): void {
    this.#lose();
    this.transport.end();
  }

  /** The connection is closed, and the stream with it. */
  #finish(): void {
    if (this.#state === 'closed') return;
    this.#lose();
    this.#state = 'closed';
    this.#parts.shares.leave(this.share);
    this.#handler.gone();
  }

  /** Destroys the connection at once: it is dead, or the peer does not close it. */
  abandon(): void {
    this.#output.uncount();
    this.#lose();
    if (this.#isCut) this.#finish();
    else this.transport.destroy();
  }
}
