/**
 * XEP-0124 and XEP-0206: the sessions of this process, and the requests for them. Each request names its session by the
 * sid, which nobody can guess. One stream a session; bodies are not compressed, and in UTF-8.
 */

import { monotonic } from '../../clock.js';
import { randomId } from '../../stanza/ids.js';
import { NS } from '../../stanza/ns.js';
import { type Attributes, XmlError } from '../../xml/element.js';
import type { ReaderLimits } from '../../xml/reader.js';
import type { Transport } from '../transport.js';
import { BodyMemory, BoshBody } from './bodies.js';
import { type Condition, errorReply, type Reply } from './reply.js';
import { type BoshRequest, type Payloads, sweepMs } from './session.js';
import { agree, type BoshSettings, headerOf, isKey, readNumber } from './terms.js';
import { type BoshClient, BoshTransport } from './transport.js';
import { readPayloads, readWrapper } from './wrapper.js';

export interface BoshHttpRequest extends BoshClient {
  readonly body: BoshBody;
  /** The client went away before it was answered. */
  readonly gone: AbortSignal;
}

export interface BoshHttpAnswer {
  readonly status: number;
  readonly headers: { readonly 'content-type': string };
  readonly body: string;
}

export interface BoshParts {
  settings(): BoshSettings;
  /** For a body; those for its payloads are the stream's. */
  limits(): ReaderLimits;
  /** The block that a network address is counted under. */
  blockOf(address: string): string;
  /** Bytes of a body of a client that has not logged in. */
  least(): number;
  isHost(domain: string): boolean;
  /** The limit that one more session of the address would exceed. Counts it if there is none. */
  enter(address: string): string | undefined;
  leave(address: string): void;
  limitHit(limit: string): void;
  connected(transport: Transport): void;
  /** Marks the sid of a new session. */
  sidFor(random: string): string;
  /** The answer of the node that has the session. Returns undefined if no other node has it. */
  elsewhere(sid: string, request: BoshHttpRequest): Promise<BoshHttpAnswer> | undefined;
  /** Whether another node may have the session. */
  mayBeElsewhere(sid: string): boolean;
  /** There is no memory for a body now; the client may repeat it. */
  busy(): never;
}

/** Bytes of a body besides its payloads. */
export const wrapperBytes = 16_384;
/** Characters of answers kept to be sent again, of all sessions. */
const mostKept = 2 ** 26;

interface Known {
  readonly transport: BoshTransport;
  readonly content: string;
}

export class BoshService {
  readonly #parts: BoshParts;
  readonly #memory = new BodyMemory();
  /** By sid, those that are over and may repeat answers included. */
  readonly #sessions = new Map<string, Known>();
  #kept = 0;
  #sweptAt = monotonic();
  /** The last sweep was left out. */
  #isBehind = false;
  #isStopped = false;

  constructor(parts: BoshParts) {
    this.#parts = parts;
  }

  /** Sessions, those included that may repeat answers only. */
  get total(): number {
    return this.#sessions.size;
  }

  /** Refuses new sessions. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Called once a second. */
  sweep(): void {
    const since = monotonic() - this.#sweptAt;
    this.#sweptAt += since;
    // This process did not run for a while: requests that have arrived meanwhile are read first.
    this.#isBehind = !this.#isBehind && since > 2 * sweepMs;
    if (this.#isBehind) return;
    for (const [sid, { transport }] of this.#sessions) if (transport.sweep()) this.#remove(sid, transport);
  }

  #remove(sid: string, transport: BoshTransport): void {
    transport.forget();
    this.#sessions.delete(sid);
    this.#parts.leave(transport.remoteAddress);
  }

  /** Collects the body of a request from this address. `announced`: its announced length, or 0. */
  body(address: string, announced: number): BoshBody {
    return new BoshBody(this.#memory, this.#parts.blockOf(address), announced, this.#parts.least(), (bytes) =>
      this.#mostOf(bytes),
    );
  }

  /** How many bytes a body with this beginning may have. */
  #mostOf(bytes: Buffer): number {
    const sid = readWrapper(bytes)?.sid;
    const known = sid === undefined ? undefined : this.#sessions.get(sid);
    const isLarge =
      known === undefined ? sid !== undefined && this.#parts.mayBeElsewhere(sid) : known.transport.isAdmitted;
    return isLarge ? this.#parts.limits().stanzaBytes : this.#parts.least();
  }

  async answer(request: BoshHttpRequest): Promise<BoshHttpAnswer> {
    const { body } = request;
    if (body.isRefused || body.isTooLong) this.#parts.limitHit(body.isRefused ? 'bosh_bodies' : 'bosh_body');
    if (body.isRefused) this.#parts.busy();
    const attrs = readWrapper(body.bytes());
    const found = attrs?.sid === undefined ? undefined : this.#answer(request, attrs, attrs.sid);
    if (found !== undefined) return found;
    if (attrs?.sid !== undefined) return this.#parts.elsewhere(attrs.sid, request) ?? over(body, unknown());
    const answer = attrs === undefined ? answerOf(errorReply('bad-request', false)) : this.#create(request, attrs);
    // What a session has been given, it releases itself.
    if (!(answer instanceof Promise)) body.release();
    return answer;
  }

  /** Answers a request that another node has forwarded. */
  async answerHere(request: BoshHttpRequest): Promise<BoshHttpAnswer> {
    const attrs = readWrapper(request.body.bytes());
    const found = attrs?.sid === undefined ? undefined : this.#answer(request, attrs, attrs.sid);
    return found ?? over(request.body, unknown());
  }

  /** Returns undefined if there is no such session here. */
  #answer(request: BoshHttpRequest, attrs: Attributes, sid: string): Promise<BoshHttpAnswer> | undefined {
    const known = this.#sessions.get(sid);
    return known === undefined ? undefined : this.#answerIn(known, request, attrs);
  }

  async #answerIn({ transport, content }: Known, request: BoshHttpRequest, attrs: Attributes): Promise<BoshHttpAnswer> {
    const { body } = request;
    // §19.1: the session goes on: anybody can send such a request.
    if (transport.secure && !request.secure) return over(body, answerOf(errorReply('policy-violation', true)));
    // §17.2.
    if (body.isTooLong) return over(body, answerOf(transport.refuse('policy-violation'), content));
    const lang = attrs['xml:lang'] === transport.lang ? undefined : attrs['xml:lang'];
    const read = this.#read(attrs, body, lang);
    if (read === undefined) return over(body, answerOf(transport.refuse('bad-request'), content));
    return answerOf(await transport.request(read, request.gone), content);
  }

  /** §7. */
  #create(request: BoshHttpRequest, attrs: Attributes): BoshHttpAnswer | Promise<BoshHttpAnswer> {
    const rid = readNumber(attrs.rid);
    const sid = this.#parts.sidFor(randomId());
    const agreed = rid === undefined ? undefined : agree(attrs, rid, sid, this.#parts.settings());
    const header: Attributes = { version: '1.0', ...headerOf(attrs) };
    const refused = (condition: Condition) => answerOf(errorReply(condition, attrs.ver === undefined), agreed?.content);
    if (request.body.isTooLong) return refused('policy-violation');
    const first = this.#read(attrs, request.body, undefined);
    const isReadable = first?.payloads !== undefined && !isMalformed(first.payloads);
    if (agreed === undefined || first === undefined || !isReadable || !isKey(first.newKey))
      return refused('bad-request');
    if (this.#isStopped) return refused('system-shutdown');
    if (header.to === undefined || header.to === '') return refused('improper-addressing');
    if (!this.#parts.isHost(header.to)) return refused('host-unknown');
    const limit = this.#parts.enter(request.address);
    if (limit !== undefined) {
      this.#parts.limitHit(limit);
      return refused('policy-violation');
    }
    const { terms, attributes, content } = agreed;
    const opening = { rid: first.rid, header, attributes, terms };
    const transport = new BoshTransport(request, opening, (more) => this.#keeps(more));
    this.#sessions.set(sid, { transport, content });
    this.#parts.connected(transport);
    const opens = { ...first, header, ack: undefined, pause: undefined };
    return transport.request(opens, request.gone).then((reply) => answerOf(reply, content));
  }

  /** Returns undefined if an attribute is malformed. */
  #read(attrs: Attributes, body: BoshBody, lang: string | undefined): BoshRequest | undefined {
    const rid = readNumber(attrs.rid);
    const pause = readNumber(attrs.pause);
    if (rid === undefined || rid === 0 || (attrs.pause !== undefined && pause === undefined)) return undefined;
    const isRestart = ['true', '1'].includes(attrs[`${NS.xbosh} restart`] ?? '');
    const payloads = this.#payloads(body.bytes(), lang);
    body.drop();
    return {
      rid,
      ack: readNumber(attrs.ack),
      pause: pause === undefined ? undefined : pause * 1000,
      key: attrs.key,
      newKey: attrs.newkey,
      isTerminate: attrs.type === 'terminate',
      header: isRestart ? headerOf(attrs) : undefined,
      // XEP-0206 §5: elements that come with a restart are ignored.
      payloads: isRestart && payloads !== undefined && !isMalformed(payloads) ? [] : payloads,
      release: () => body.release(),
    };
  }

  /**
   * Returns undefined if the body breaks XEP-0124 §6. What breaks XML is passed on as it is: the stream reads it with the
   * same reader, and ends with its error.
   */
  #payloads(body: Buffer, lang: string | undefined): Payloads | undefined {
    try {
      const payloads = readPayloads(body, this.#parts.limits(), lang);
      // The stream is charged for its payloads. References make them shorter.
      return payloads === undefined || body.length > wrapperBytes + 4 * payloads.size ? undefined : payloads;
    } catch (error) {
      if (error instanceof XmlError) return new Malformed(body);
      throw error;
    }
  }

  #keeps(more: number): void {
    this.#kept += more;
    if (this.#kept <= mostKept) return;
    this.#parts.limitHit('bosh_answers');
    for (const { transport } of this.#sessions.values()) {
      if (this.#kept <= mostKept / 2) return;
      transport.forget();
    }
  }
}

/** A body that is no XML. */
class Malformed extends Array<Buffer> {}

const isMalformed = (payloads: Payloads): boolean => payloads instanceof Malformed;

/** The answer to a request whose body no session has been given. */
function over(body: BoshBody, answer: BoshHttpAnswer): BoshHttpAnswer {
  body.release();
  return answer;
}

/** §17.2. */
const unknown = (): BoshHttpAnswer => answerOf(errorReply('item-not-found', false));

function answerOf({ status, body }: Reply, content = 'text/xml; charset=utf-8'): BoshHttpAnswer {
  return { status, headers: { 'content-type': content }, body };
}
