/**
 * XEP-0206: a BOSH session as the transport of a stream. To the stream it is framed as RFC 7395: the session creation
 * request and a restart (§5) are `<open/>`, the end of the session is `<close/>`, and each payload is an element.
 */
import { monotonic } from '../../clock.js';
import { NS } from '../../stanza/ns.js';
import { type Attributes, el, serialize } from '../../xml/element.js';
import { readElement } from '../../xml/reader.js';
import { flushAbove, flushWithin, setFlush, silent, type Transport, type TransportReader } from '../transport.js';
import type { Reply } from './reply.js';
import { type BoshRequest, BoshSession, type Terms } from './session.js';

/** The client that creates a session. */
export interface BoshClient {
  readonly address: string;
  readonly secure: boolean;
}

export interface BoshOpening {
  /** The first request. */
  readonly rid: number;
  readonly header: Attributes;
  /** Attributes of the session creation response. */
  readonly attributes: Attributes;
  readonly terms: Terms;
}

const close = Buffer.from(`<close xmlns='${NS.framing}'/>`);

export class BoshTransport implements Transport {
  reader: TransportReader = silent;
  readonly kind = 'bosh';
  readonly framing = 'bosh';
  readonly tls = undefined;
  /** Not known: requests come over many connections. */
  readonly loopback = false;
  isDueSoon = false;
  isDueLater = false;
  readonly remoteAddress: string;
  readonly secure: boolean;
  readonly #session: BoshSession;
  /** Of the first header; a restart may leave them out (XEP-0206 §5). */
  readonly #header: Attributes;
  #isDescribed = false;
  #out: string[] = [];
  /** Characters in #out. */
  #waiting = 0;
  #error: string | undefined;
  /** Of the request that was taken last: what the stream has not taken. */
  #rest: { readonly request: BoshRequest; readonly payloads: Iterator<Buffer> } | undefined;
  #isPaused = false;
  #isOver = false;

  constructor(client: BoshClient, opening: BoshOpening, keeps: (more: number) => void) {
    this.remoteAddress = client.address;
    this.secure = client.secure;
    this.#header = opening.header;
    this.#session = new BoshSession(opening.rid, opening.attributes, opening.terms, {
      now: monotonic,
      take: (request) => this.#take(request),
      drained: () => this.reader.drained(),
      lost: () => {
        // A stream handles what was read before its connection was lost.
        this.#takeRest(true);
        this.#close();
      },
      keeps,
    });
  }

  /** The language of the stream. */
  get lang(): string | undefined {
    return this.#header['xml:lang'];
  }

  // --- requests ---------------------------------------------------------------------------------------------------

  request(request: BoshRequest, gone: AbortSignal): Promise<Reply> {
    setFlush();
    flushWithin(0, this);
    return this.#session.request(request, gone);
  }

  /** A request that cannot be read, or is too long. */
  refuse(condition: 'bad-request' | 'policy-violation'): Reply {
    return this.#session.refuse(condition);
  }

  /** Whether the client has logged in. */
  get isAdmitted(): boolean {
    return this.reader.isAdmitted !== false;
  }

  /** Called once a second. Returns whether nothing is left of the session. */
  sweep(): boolean {
    return this.#session.sweep();
  }

  /** Forgets the answers that could be repeated. */
  forget(): void {
    this.#session.forget();
  }

  #take(request: BoshRequest): void {
    const { header, payloads } = request;
    if (header !== undefined) {
      const open = el('open', { xmlns: NS.framing, ...this.#header, ...header });
      this.reader.received(Buffer.from(serialize(open)));
    }
    if (payloads!.length === 0) this.reader.alive?.();
    this.#rest = { request, payloads: payloads![Symbol.iterator]() };
    this.#takeRest();
  }

  /** Passes on what the stream will take now, or all. */
  #takeRest(isLast = false): void {
    const rest = this.#rest;
    while (rest !== undefined && rest === this.#rest && (isLast || !this.#isPaused)) {
      const { done, value } = rest.payloads.next();
      if (done !== true) this.reader.received(value);
      else {
        this.#dropRest();
        if (rest.request.isTerminate) this.reader.received(close);
      }
    }
  }

  #dropRest(): void {
    this.#rest?.request.release?.();
    this.#rest = undefined;
  }

  // --- Transport --------------------------------------------------------------------------------------------------

  write(text: string, patience = 0): void {
    if (this.#isOver) return;
    flushWithin(patience, this);
    if (text.startsWith('<open ')) this.#opened(text);
    else if (text.startsWith('<stream:error')) this.#error = text;
    else if (!text.startsWith('<close ')) {
      this.#waiting += text.length;
      this.#out.push(text);
      if (this.#waiting > flushAbove) this.flush();
    }
  }

  /** XEP-0206 §4: what the client learns of the stream's header. */
  #opened(text: string): void {
    if (this.#isDescribed) return;
    this.#isDescribed = true;
    const { from, id, version } = readElement(text).attrs;
    this.#session.describe({
      'xmlns:xmpp': NS.xbosh,
      'xmpp:version': version,
      'xmpp:restartlogic': 'true',
      authid: id,
      from,
    });
  }

  flush(): void {
    if (this.#isOver) return;
    this.#passOn();
    this.#session.flush();
  }

  #passOn(): void {
    const out = this.#out;
    this.#out = [];
    this.#waiting = 0;
    this.#session.send(out);
  }

  get queued(): number {
    return this.#waiting + this.#session.queued;
  }

  pause(): void {
    this.#isPaused = true;
    this.#session.pause();
  }

  resume(): void {
    this.#isPaused = false;
    // One of the requests that waited may have to be answered before the client can make another.
    flushWithin(0, this);
    this.#takeRest();
    if (this.#isPaused) return;
    this.#session.resume();
  }

  end(): void {
    if (this.#isOver) return;
    this.#passOn();
    this.#session.end(this.#error === undefined ? undefined : 'remote-stream-error', this.#error);
    this.#close();
  }

  destroy(): void {
    this.#session.end('remote-connection-failed');
    this.#close();
  }

  /** Deferred, as with a socket. */
  #close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#out = [];
    this.#waiting = 0;
    this.#dropRest();
    setImmediate(() => this.reader.closed());
  }
}
