/**
 * A BOSH session (XEP-0124) without HTTP and without XML: requests with their numbers come in, and each is answered once
 * it may be. It orders the requests, holds them, replays answers that were lost, and bounds what a client can make it
 * keep. What a request carries goes to `take` exactly once, in the order of the numbers.
 *
 * Answers are written at the end of a turn of the event loop (`flush`), so that what a request causes at once is in the
 * oldest answer. Times pass in `sweep`, once a second for all sessions.
 */
import { createHash } from 'node:crypto';
import { NS } from '../../stanza/ns.js';
import type { Attributes } from '../../xml/element.js';
import { type Condition, errorReply, type Reply } from './reply.js';
import { wrap } from './wrapper.js';

/** What client and server have agreed on (§7). Times in ms. */
export interface Terms {
  readonly wait: number;
  readonly hold: number;
  readonly requests: number;
  readonly polling: number;
  readonly inactivity: number;
  readonly maxPause: number;
  /** The client says which answers it has (§9.2). */
  readonly acknowledges: boolean;
  /** The client has named no version: some errors are codes of HTTP (§17.1). */
  readonly isLegacy: boolean;
}

export interface BoshRequest {
  readonly rid: number;
  readonly ack?: number | undefined;
  /** In ms. */
  readonly pause?: number | undefined;
  readonly key?: string | undefined;
  readonly newKey?: string | undefined;
  readonly isTerminate: boolean;
  /** XEP-0206 §5: attributes of a new stream header. */
  readonly header?: Attributes | undefined;
  /** Undefined if the `<body/>` is not in order. */
  readonly payloads: Payloads | undefined;
  /** The payloads are not needed any more. May be called again. */
  release?(): void;
}

/** Elements, each on its own. */
export interface Payloads extends Iterable<Buffer> {
  readonly length: number;
}

export interface SessionParts {
  now(): number;
  /** The next request in order. It is released once its payloads have been taken. */
  take(request: BoshRequest): void;
  /** The output that waited is on its way. */
  drained(): void;
  /** The session is over, and the client has not ended it: it is gone, or has broken the rules. */
  lost(): void;
  /** How much more is kept to be sent again, in characters. */
  keeps(more: number): void;
}

interface Slot {
  readonly request: BoshRequest;
  readonly at: number;
  /** Undefined once the connection of the request is gone. */
  answer: ((reply: Reply) => void) | undefined;
  repeats: number;
}

interface Answer {
  readonly rid: number;
  readonly key: string | undefined;
  readonly at: number;
  readonly reply: Reply;
  repeats: number;
}

/** How often the same request is answered (§14.3). */
const mostRepeats = 20;
/** Payloads of one answer, in characters, unless a single one is longer. */
const mostPerAnswer = 65_536;
/** Age of an answer that the client does not have, after which it is told so (§9.2): others are on their way. */
const reportAfter = 2000;
/** How often `sweep` is called: an answer is not later than the client wants it. */
export const sweepMs = 1000;

const isReachable = ({ answer }: Slot): boolean => answer !== undefined;
const isPause = ({ request }: Slot): boolean => request.pause !== undefined;
/** §11: one more request is allowed, to pause or to end the session. */
const isExtra = (slot: Slot): boolean => isPause(slot) || slot.request.isTerminate;

/** Whether it asks for nothing but an answer. */
const isEmpty = ({ isTerminate, pause, header, payloads }: BoshRequest): boolean =>
  payloads?.length === 0 && !isTerminate && pause === undefined && header === undefined;

export class BoshSession {
  readonly #terms: Terms;
  readonly #parts: SessionParts;
  /** The number of the request to be taken next. */
  #next: number;
  /** Requests that have not been taken: earlier ones are missing, or the stream is paused. */
  readonly #early = new Map<number, Slot>();
  /** Requests that were taken and not answered, in order. */
  #held: Slot[] = [];
  #answers: Answer[] = [];
  #out: string[] = [];
  #queued = 0;
  /** Attributes of the next answer. */
  #attributes: Record<string, string | undefined>;
  #isPaused = false;
  /** The client has ended the session: what is answered now is answered by `end`. */
  #isLeaving = false;
  /** What the key of the next request has to be the preimage of (§15). */
  #key: string | undefined;
  #last: { readonly at: number; readonly isEmpty: boolean } | undefined;
  #isLastAnswerEmpty = false;
  #report: Answer | undefined;
  #inactivity: number;
  /** Since when no request is held. */
  #idleSince: number | undefined;
  #overSince: number | undefined;
  /** The last answer, which has found no request yet. */
  #final: Reply | undefined;

  /** `attributes` are those of the session creation response. */
  constructor(first: number, attributes: Attributes, terms: Terms, parts: SessionParts) {
    this.#next = first;
    this.#attributes = { ...attributes };
    this.#terms = terms;
    this.#parts = parts;
    this.#inactivity = terms.inactivity;
  }

  get isOver(): boolean {
    return this.#overSince !== undefined;
  }

  /** Output without a request that could take it, in characters. */
  get queued(): number {
    return this.#queued;
  }

  /** Adds attributes to the next answer. */
  describe(attributes: Attributes): void {
    Object.assign(this.#attributes, attributes);
  }

  // --- in ---------------------------------------------------------------------------------------------------------

  /** Resolves with the answer. `gone`: the connection of the request is. */
  request(request: BoshRequest, gone: AbortSignal): Promise<Reply> {
    return new Promise((answer) => {
      gone.addEventListener('abort', () => this.#lose(request.rid, answer), { once: true });
      this.#arrived({ request, at: this.#parts.now(), answer, repeats: 0 });
      this.#settle();
    });
  }

  #arrived(slot: Slot): void {
    const { rid } = slot.request;
    const known = this.#slot(rid);
    const isNew = !this.isOver && known === undefined && rid >= this.#next;
    const fault = isNew ? this.#excess(slot) : undefined;
    if (isNew && fault === undefined) {
      this.#early.set(rid, slot);
      this.#proceed();
      return;
    }
    slot.request.release?.();
    if (fault !== undefined) this.#refuse(slot, fault);
    else if (this.isOver) this.#afterEnd(slot);
    else if (known !== undefined) this.#again(known, slot);
    else this.#replay(slot);
  }

  /** Whether a new request is one too many. */
  #excess(slot: Slot): Condition | undefined {
    const { requests } = this.#terms;
    if (slot.request.rid >= this.#next + requests + (isExtra(slot) ? 1 : 0)) return 'item-not-found'; // §14.2
    // The extra one may have arrived before those that it follows.
    const most = requests + ([slot, ...this.#early.values()].some(isExtra) ? 1 : 0);
    return this.#unanswered + 1 > most ? 'policy-violation' : undefined; // §11
  }

  #slot(rid: number): Slot | undefined {
    return this.#early.get(rid) ?? this.#held.find(({ request }) => request.rid === rid);
  }

  get #unanswered(): number {
    return this.#early.size + this.#held.filter(isReachable).length;
  }

  /** §14.3: the same request again, before it was answered. */
  #again(known: Slot, { request, answer }: Slot): void {
    if (!isSameKey(known.request.key, request.key)) this.#refuseWith(answer, 'item-not-found');
    else if (++known.repeats > mostRepeats) this.#refuseWith(answer, 'policy-violation');
    else {
      known.answer?.({ status: 200, body: wrap({ type: 'error' }, '') });
      known.answer = answer;
    }
  }

  /** §14.3: the same request again, after it was answered. */
  #replay(slot: Slot): void {
    const answer = this.#answerTo(slot.request);
    if (answer === undefined) this.#refuse(slot, 'item-not-found');
    else if (++answer.repeats > mostRepeats) this.#refuse(slot, 'policy-violation');
    else {
      this.#idleSince = this.#parts.now();
      slot.answer!(answer.reply);
    }
  }

  #answerTo({ rid, key }: BoshRequest): Answer | undefined {
    return this.#answers.find((one) => one.rid === rid && isSameKey(one.key, key));
  }

  /** The session is over, but its last answers may not have arrived. */
  #afterEnd(slot: Slot): void {
    const { request } = slot;
    const known = this.#answerTo(request)?.reply;
    if (known !== undefined) slot.answer!(known);
    else if (this.#final === undefined || request.rid !== this.#next || !this.#proves(request))
      slot.answer!(this.#error('item-not-found'));
    else {
      slot.answer!(this.#final);
      this.#keep(slot, this.#final);
      this.#final = undefined;
    }
  }

  #proceed(): void {
    while (!this.#isPaused && !this.isOver) {
      const slot = this.#early.get(this.#next);
      if (slot === undefined) return;
      this.#early.delete(this.#next);
      this.#take(slot);
    }
  }

  #take(slot: Slot): void {
    const { request, at } = slot;
    const fault = this.#fault(slot);
    if (fault !== undefined) {
      request.release?.();
      this.#refuse(slot, fault);
      return;
    }
    this.#next++;
    this.#held.push(slot);
    this.#last = { at, isEmpty: isEmpty(request) };
    this.#acknowledge(request);
    // §10: a pause is over with the next request.
    const { inactivity, maxPause } = this.#terms;
    this.#inactivity = request.pause === undefined ? inactivity : Math.min(request.pause, maxPause);
    this.#isLeaving ||= request.isTerminate;
    this.#parts.take(request);
  }

  #fault(slot: Slot): Condition | undefined {
    if (!this.#proves(slot.request)) return 'item-not-found'; // §15.4
    if (slot.request.payloads === undefined) return 'bad-request';
    return this.#isTooFrequent(slot) ? 'policy-violation' : undefined;
  }

  /** §15.4. The key is hashed as the client has written it. */
  #proves({ key, newKey }: BoshRequest): boolean {
    if (this.#last === undefined) this.#key = newKey?.toLowerCase();
    else if (this.#key !== undefined) {
      if (key === undefined || createHash('sha1').update(key).digest('hex') !== this.#key) return false;
      this.#key = (newKey ?? key).toLowerCase();
    }
    return true;
  }

  /** §11, and §12 for sessions that poll. */
  #isTooFrequent({ request, at }: Slot): boolean {
    const last = this.#last;
    if (last === undefined || !isEmpty(request) || at - last.at >= this.#terms.polling) return false;
    if (this.#isPolling) return last.isEmpty && this.#isLastAnswerEmpty;
    // Those after it may have arrived before it.
    return this.#held.filter(isReachable).length + 1 >= this.#terms.requests;
  }

  get #isPolling(): boolean {
    return this.#terms.hold === 0 || this.#terms.wait === 0;
  }

  /** §9.2. */
  #acknowledge({ ack }: BoshRequest): void {
    if (!this.#terms.acknowledges || ack === undefined) return;
    const missing = this.#answers.find(({ rid }) => rid === ack + 1);
    if (missing !== undefined && this.#parts.now() - missing.at >= reportAfter) this.#report = missing;
    while (this.#answers.length > 0 && this.#answers[0]!.rid <= ack) this.#drop();
  }

  /** Takes no request until `resume`; those that come meanwhile wait for their answers. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#proceed();
    this.#settle();
  }

  /** The connection of a request is gone. The client may repeat the request on another. */
  #lose(rid: number, answer: (reply: Reply) => void): void {
    const slot = this.#slot(rid);
    if (slot?.answer !== answer) return;
    slot.answer = undefined;
    this.#settle();
  }

  // --- out --------------------------------------------------------------------------------------------------------

  /** Queues elements, which declare their own namespaces. */
  send(elements: readonly string[]): void {
    for (const element of elements) {
      this.#out.push(element);
      this.#queued += element.length;
    }
  }

  /** Answers what is to be answered now. Called at the end of a turn in which something arrived or was sent. */
  flush(): void {
    if (this.isOver || this.#isLeaving) return;
    const queued = this.#queued;
    while (this.#out.length > 0) {
      // §10: the answer to a pause has no payload.
      const at = this.#held.findIndex((slot) => isReachable(slot) && !isPause(slot));
      if (at < 0) break;
      for (const slot of this.#held.splice(0, at)) this.#answer(slot, []);
      this.#answer(this.#held.shift()!, this.#takeOut());
    }
    const most = this.#isPolling || this.#held.some(isPause) ? 0 : this.#terms.hold;
    while (this.#held.length > most) this.#answer(this.#held.shift()!, []);
    if (this.#report !== undefined && this.#held.length > 0) this.#answer(this.#held.shift()!, []);
    this.#settle();
    if (this.#queued < queued) this.#parts.drained();
  }

  #takeOut(): string[] {
    let count = 0;
    let size = 0;
    do size += this.#out[count++]!.length;
    while (count < this.#out.length && size + this.#out[count]!.length <= mostPerAnswer);
    this.#queued -= size;
    return this.#out.splice(0, count);
  }

  #answer(slot: Slot, elements: readonly string[]): void {
    const { rid } = slot.request;
    const attributes = this.#attributes;
    this.#attributes = {};
    const received = this.#received;
    // §9.1. The session creation response has it in any case.
    if (received !== rid) attributes.ack ??= String(received);
    const report = this.#report;
    if (report !== undefined) {
      attributes.report = String(report.rid);
      attributes.time = String(Math.round(this.#parts.now() - report.at));
      this.#report = undefined;
    }
    const reply = { status: 200, body: wrap({ ...streamNs(elements), ...attributes }, elements.join('')) };
    this.#isLastAnswerEmpty = elements.length === 0;
    this.#keep(slot, reply);
    slot.answer?.(reply);
  }

  /** The number up to which all requests have arrived. */
  get #received(): number {
    let rid = this.#next - 1;
    while (this.#early.has(rid + 1)) rid++;
    return rid;
  }

  /** §14.3: as many answers as there may be requests under way, and that to a pause. */
  #keep({ request: { rid, key } }: Slot, reply: Reply): void {
    this.#answers.push({ rid, key, reply, at: this.#parts.now(), repeats: 0 });
    this.#parts.keeps(reply.body.length);
    while (this.#answers.length > this.#terms.requests + 1) this.#drop();
  }

  #drop(): void {
    this.#parts.keeps(-this.#answers.shift()!.reply.body.length);
  }

  /** Forgets the answers. A client that lacks one has to begin a new session. */
  forget(): void {
    while (this.#answers.length > 0) this.#drop();
  }

  // --- time and ends ----------------------------------------------------------------------------------------------

  /** Called once a second. Returns whether nothing is left of the session. */
  sweep(): boolean {
    const now = this.#parts.now();
    const { wait, inactivity } = this.#terms;
    if (this.#overSince !== undefined) return now - this.#overSince >= inactivity;
    while (this.#held.length > 0 && now + sweepMs - this.#held[0]!.at >= wait) this.#answer(this.#held.shift()!, []);
    this.#settle();
    // A request before this one is missing, and does not come any more.
    const late = [...this.#early.values()].find(({ at }) => now - at >= Math.max(wait, inactivity));
    if (late !== undefined && !this.#isPaused) {
      this.#early.delete(late.request.rid);
      late.request.release?.();
      this.#refuse(late, 'item-not-found');
      return false;
    }
    if (this.#idleSince === undefined || now - this.#idleSince < this.#inactivity) return false;
    this.#finish();
    this.#parts.lost();
    return true;
  }

  #settle(): void {
    const isHolding = this.#held.some(isReachable) || [...this.#early.values()].some(isReachable);
    if (isHolding) this.#idleSince = undefined;
    else this.#idleSince ??= this.#parts.now();
  }

  /** Ends the session with a last answer: what is queued, and an element after it. */
  end(condition?: Condition, element = ''): void {
    if (this.isOver) return;
    const elements = element === '' ? this.#out : [...this.#out, element];
    const attributes = { ...streamNs(elements), ...this.#attributes, type: 'terminate', condition };
    const last: Reply = { status: 200, body: wrap(attributes, elements.join('')) };
    const slots = [...this.#held, ...[...this.#early.values()].sort((a, b) => a.request.rid - b.request.rid)];
    this.#finish();
    // §13: the oldest request that can be answered is told, and the others get nothing.
    const at = slots.findIndex(isReachable);
    const told = slots[Math.max(at, 0)];
    if (at < 0) this.#final = last;
    if (told !== undefined) this.#keep(told, last);
    for (const slot of slots) slot.answer?.(slot === told ? last : { status: 200, body: wrap({}, '') });
  }

  /** The client has broken the rules with this request. */
  #refuse({ answer }: Slot, condition: Condition): void {
    this.#refuseWith(answer, condition);
  }

  #refuseWith(answer: Slot['answer'], condition: Condition): void {
    answer?.(this.#error(condition));
    this.end('other-request');
    if (answer !== undefined) this.#final = undefined;
    this.#parts.lost();
  }

  /** Ends the session for a request that cannot be read. */
  refuse(condition: Condition): Reply {
    if (!this.isOver) this.#refuseWith(undefined, condition);
    return this.#error(condition);
  }

  #error(condition: Condition): Reply {
    return errorReply(condition, this.#terms.isLegacy);
  }

  #finish(): void {
    this.#overSince = this.#parts.now();
    this.#held = [];
    for (const { request } of this.#early.values()) request.release?.();
    this.#early.clear();
    this.#out = [];
    this.#queued = 0;
  }
}

/** XEP-0206 §2: the prefix is declared on the `<body/>` too. */
const streamNs = (elements: readonly string[]): Attributes =>
  elements.some((element) => element.startsWith('<stream:')) ? { 'xmlns:stream': NS.stream } : {};

const isSameKey = (one: string | undefined, other: string | undefined): boolean =>
  one?.toLowerCase() === other?.toLowerCase();
