/** Answers IQ requests through the handlers of modules. */

import type { Jid } from '../address/jid.js';
import { Portions } from '../limits/portions.js';
import type { Maybe } from '../maybe.js';
import type { Access, IqAnswer, IqHandler, IqRequest } from '../module/index.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Element } from '../xml/element.js';
import { type Hooks, type IqEntry, iqKey } from './hooks.js';
import { isSource, type Source } from './outflow.js';
import type { Origin } from './passage.js';
import type { Router } from './router.js';
import type { Session } from './session.js';

type Payload = Element | undefined | void;

/** What answering needs of the host. */
export interface Answering {
  readonly domain: string;
  readonly hooks: Pick<Hooks, 'diversion'>;
  permits(access: Access, from: Jid, to: Jid): Maybe<boolean>;
  /** Never rejects. */
  route(stanza: Stanza): Maybe<void>;
  reply(stanza: Stanza, origin: Origin): Maybe<void>;
  refuse(stanza: Stanza, error: unknown, origin: Origin): void;
}

/** As in `HostParts`. */
interface AnsweringParts {
  readonly router: Pick<Router, 'room'>;
  invalidating?(): Promise<unknown> | undefined;
}

/** Builds the payload lazily: many handlers need only its name. */
class Request implements IqRequest {
  #payload: Element | undefined;

  constructor(
    readonly stanza: Stanza,
    readonly from: Jid,
    readonly to: Jid,
    readonly session: Session | undefined,
    readonly isAbsent: boolean,
  ) {}

  get payload(): Element {
    this.#payload ??= this.stanza.children()[0]!;
    return this.#payload;
  }

  get isOwn(): boolean {
    return this.from.bare === this.to.bare;
  }
}

/** Answers pending on others, in total and per requester. */
const mostWaiting = { all: 1000, each: 10 };

export class Answers {
  readonly #host: Answering;
  readonly #parts: AnsweringParts;
  /** Requests whose answers depend on others, by requester. */
  readonly #waiting = new Portions(() => mostWaiting);

  constructor(host: Answering, parts: AnsweringParts) {
    this.#host = host;
    this.#parts = parts;
  }

  /** Answers a get or set through the handler of its payload: exactly once, whatever the handler does. */
  answer(table: ReadonlyMap<string, IqEntry>, to: Jid, stanza: Stanza, origin: Origin, isAbsent = false): Maybe<void> {
    const { ns, name } = firstChild(stanza);
    const diversion =
      isAbsent || to.domain !== this.#host.domain ? undefined : this.#host.hooks.diversion(stanza, to, origin);
    const entry = diversion ?? table.get(iqKey(stanza.type!, ns, name));
    const from = stanza.from!;
    if (entry === undefined) throw new StanzaError('service-unavailable');
    const permitted = this.#host.permits(entry.access, from, to);
    if (typeof permitted !== 'boolean')
      return permitted.then((yes) => this.#call(entry, yes, to, stanza, origin, isAbsent));
    return this.#call(entry, permitted, to, stanza, origin, isAbsent);
  }

  #call(entry: IqEntry, permitted: boolean, to: Jid, stanza: Stanza, origin: Origin, isAbsent: boolean): Maybe<void> {
    const from = stanza.from!;
    if (!permitted) throw new StanzaError(entry.access === 'admins' ? 'forbidden' : 'service-unavailable');
    const request = new Request(stanza, from, to, origin.session, isAbsent);
    // A client's get is deferred until it has read its earlier stanzas; a set is not.
    if (stanza.type === 'get' && origin.session?.hasRoom === false)
      return this.#pour(later(entry.handler, request), stanza, origin);
    const answer = entry.handler(request);
    if (!(answer instanceof Promise)) return this.#answerWith(stanza, answer, origin);
    const answered = answer.then((payload) => this.#answerWith(stanza, payload, origin));
    return entry.asksOthers ? this.#goOn(stanza, answered, origin) : answered;
  }

  /** Lets the requester's stream continue, unless too many of its requests are pending. */
  #goOn(request: Stanza, answered: Promise<void>, origin: Origin): Maybe<void> {
    const asker = request.from!.bare;
    if (this.#waiting.take(asker) !== undefined) return answered;
    const done = answered
      .catch((error: unknown) => this.#host.refuse(request, error, origin))
      .then(() => this.#waiting.give(asker));
    origin.acknowledgeAfter(done, 'network');
  }

  #answerWith(request: Stanza, answer: IqAnswer, origin: Origin): Maybe<void> {
    return isSource(answer) ? this.#pour(answer, request, origin) : this.#succeed(request, answer, origin);
  }

  /** Sends an answer of several stanzas. */
  #pour(source: Source<Payload>, request: Stanza, origin: Origin): Maybe<void> {
    const { session } = origin;
    if (session === undefined) return this.#routeAll(source, request, origin);
    return session.pour(source, {
      size: request.content.length,
      done: (payload) => this.#succeed(request, payload, origin),
      failed: (error) => this.#host.refuse(request, error, origin),
      stopped: () =>
        this.#host.refuse(
          request,
          new StanzaError('resource-constraint', 'The request was interrupted. Try again.', { type: 'wait' }),
          origin,
        ),
    });
  }

  async #routeAll(source: Source<Payload>, request: Stanza, origin: Origin): Promise<void> {
    for (;;) {
      const room = this.#parts.router.room(request.from!);
      if (room !== undefined) await room;
      const { done, value } = await source.next();
      if (done === true) return this.#succeed(request, value, origin);
      if (value instanceof Promise) await value;
      else if (typeof value === 'object') await this.#host.route(value);
    }
  }

  /**
   * Confirms a change only after stale session snapshots are deleted: a crash must not restore sessions to before it.
   */
  #succeed(request: Stanza, payload: Element | undefined | void, origin: Origin): Maybe<void> {
    const result = request.result(payload ?? undefined);
    const invalidating = request.type === 'set' ? this.#parts.invalidating?.() : undefined;
    return invalidating === undefined
      ? this.#host.reply(result, origin)
      : invalidating.then(() => this.#host.reply(result, origin));
  }
}

/** Defers a handler until its turn. */
async function* later(handler: IqHandler, request: IqRequest): AsyncGenerator<Stanza | number | undefined, Payload> {
  const answer = await handler(request);
  return isSource(answer) ? yield* answer as AsyncGenerator<Stanza, Payload> : answer;
}

/** The name of the payload of an IQ. Throws StanzaError('bad-request') if there is none. */
export function firstChild(stanza: Stanza): { ns: string; name: string } {
  for (const child of stanza.childNames()) return child;
  throw new StanzaError('bad-request');
}
