/**
 * IQ requests sent by the host, until they are answered. The node that is the home of the addressee waits for the answer;
 * when that address moves, its new home does, and gives the answer to the old one.
 */

import { z } from 'zod';
import { Jid } from '../address/jid.js';
import { monotonic } from '../clock.js';
import { Portions } from '../limits/portions.js';
import type { Maybe } from '../maybe.js';
import type { AskOptions } from '../module/index.js';
import { errorTypes, isStanzaErrorCondition, StanzaError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import { Stanza } from '../stanza/stanza.js';
import { jid } from '../stanza/stored.js';
import type { Element } from '../xml/element.js';
import type { Origin } from './passage.js';
import type { Router } from './router.js';

/** Most pending requests. */
const maxAsks = 10_000;
const askTimeoutMs = 30_000;

/** What asking needs of the host. */
export interface Asking {
  readonly jid: Jid;
  holderOf(jid: Jid): string;
  limitHit(limit: string): void;
  /** Never rejects. */
  route(stanza: Stanza, origin?: Origin): Maybe<void>;
  /**
   * Asks at the home of an address at another node. Returns undefined if its home is here. Rejects with StanzaError.
   */
  askAway(request: Stanza, to: Jid, timeoutMs: number, isSent: boolean): Promise<Stanza> | undefined;
}

/** A pending request, for the new home of the address that it was sent to. */
export const movedAsk = z.object({ id: z.string(), from: jid, to: jid, ms: z.number() });
export type MovedAsk = z.output<typeof movedAsk>;

interface Sending {
  readonly origin: Origin | undefined;
  readonly isSent: boolean | undefined;
  readonly isSenders: boolean;
}

interface Ask {
  readonly from: Jid;
  readonly to: Jid;
  /** Its sender takes it along when the address moves. */
  readonly isSenders: boolean;
  /** When it times out, in ms. */
  readonly deadline: number;
  resolve(stanza: Stanza): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

export class Asks {
  readonly #host: Asking;
  readonly #router: Pick<Router, 'refusalOf'>;
  readonly #places = new Portions(() => ({ all: maxAsks, each: Number.POSITIVE_INFINITY }));
  readonly #open = new Map<string, Ask>();
  /** Answers to requests of other nodes, whose addressees have moved here, until those nodes ask for them. */
  readonly #expected = new Map<string, Promise<Stanza>>();

  constructor(host: Asking, router: Pick<Router, 'refusalOf'>) {
    this.#host = host;
    this.#router = router;
  }

  /** Pending requests. */
  get size(): number {
    return this.#open.size;
  }

  has(id: string): boolean {
    return this.#open.has(id);
  }

  /** As `Host.ask`. */
  ask(request: Stanza, { timeoutMs = askTimeoutMs, origin, id: given, isSent }: AskOptions = {}): Promise<Stanza> {
    const { to } = request;
    if (to === undefined) throw new Error('ask: the request needs a "to" address');
    const expected = given !== undefined && isSent === true ? this.#expected.get(given) : undefined;
    if (expected !== undefined) {
      this.#expected.delete(given!);
      return expected;
    }
    const sent = request.with({ from: request.from ?? this.#host.jid });
    // The router drops it without an answer.
    const refusal = this.#router.refusalOf(sent, to);
    if (refusal !== undefined) return Promise.reject(refusal);
    const holder = this.#host.holderOf(to);
    if (this.#places.take(holder) !== undefined) {
      this.#host.limitHit('asks');
      return Promise.reject(new StanzaError('resource-constraint'));
    }
    const id = given ?? randomId();
    const here = () =>
      this.#askHere(sent.with({ id }), to, timeoutMs, { origin, isSent, isSenders: given !== undefined });
    const away = given === undefined ? this.#host.askAway(sent, to, timeoutMs, false) : undefined;
    const answer = away ?? here();
    const give = () => this.#places.give(holder);
    answer.then(give, give);
    return answer;
  }

  /** Asks an entity of this node, or of another server. */
  #askHere(request: Stanza, to: Jid, timeoutMs: number, { origin, isSent, isSenders }: Sending): Promise<Stanza> {
    const answer = this.#wait({ id: request.id!, from: request.from!, to, isSenders }, timeoutMs);
    if (isSent !== true) void this.#host.route(request, origin);
    return answer;
  }

  #wait({ id, ...of }: Pick<Ask, 'from' | 'to' | 'isSenders'> & { id: string }, timeoutMs: number): Promise<Stanza> {
    return new Promise<Stanza>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(id);
        reject(new StanzaError('remote-server-timeout'));
      }, timeoutMs);
      timer.unref();
      this.#open.set(id, { ...of, deadline: monotonic() + timeoutMs, resolve, reject, timer });
    });
  }

  // --- moves ----------------------------------------------------------------------------------------------------------

  /** Requests to entities that are about to move. */
  *describe(concerns: (to: Jid) => boolean): Iterable<readonly [to: Jid, ask: MovedAsk]> {
    const now = monotonic();
    for (const [id, { from, to, isSenders, deadline }] of this.#open)
      if (!isSenders && concerns(to)) yield [to, { id, from: from.full, to: to.full, ms: Math.max(0, deadline - now) }];
  }

  /** The entity lives here now: its answer comes here, for the node that has sent the request. */
  expect({ id, from, to, ms }: MovedAsk): void {
    if (this.#open.has(id)) return;
    const answer = this.#wait({ id, from: Jid.parse(from), to: Jid.parse(to), isSenders: false }, ms);
    this.#expected.set(id, answer);
    setTimeout(() => this.#expected.delete(id), ms).unref();
    // Reported to the other node.
    answer.catch(() => {});
  }

  /** These entities have moved: waits for their answers at their new homes. */
  moved(concerns: (to: Jid) => boolean): void {
    for (const [id, ask] of [...this.#open]) {
      if (!concerns(ask.to)) continue;
      this.#open.delete(id);
      clearTimeout(ask.timer);
      const request = Stanza.build('iq', { type: 'get', id, from: ask.from, to: ask.to });
      const answer = ask.isSenders
        ? undefined
        : this.#host.askAway(request, ask.to, Math.max(0, ask.deadline - monotonic()), true);
      if (answer === undefined) ask.reject(new StanzaError('recipient-unavailable'));
      else answer.then(ask.resolve, ask.reject);
    }
  }

  /** Whether the stanza answers a pending request, and comes from the address it was sent to. */
  isAnswer({ name, type, id, from }: Stanza): boolean {
    if (name !== 'iq' || id === undefined || (type !== 'result' && type !== 'error')) return false;
    return from?.equals(this.#open.get(id)?.to) === true;
  }

  /** Resolves a pending request; ignored unless it comes from the address the request was sent to. */
  answered(stanza: Stanza): void {
    const { id, from } = stanza;
    const ask = id === undefined ? undefined : this.#open.get(id);
    if (ask === undefined || from === undefined || !from.equals(ask.to)) return;
    this.#open.delete(id!);
    clearTimeout(ask.timer);
    if (stanza.type === 'result') ask.resolve(stanza);
    else ask.reject(errorOf(stanza));
  }

  /** These entities have gone: rejects their pending requests. */
  unanswered(by: (to: Jid) => boolean): void {
    if (this.#open.size === 0) return;
    for (const [id, ask] of this.#open) {
      if (!by(ask.to)) continue;
      this.#open.delete(id);
      clearTimeout(ask.timer);
      ask.reject(new StanzaError('recipient-unavailable'));
    }
  }

  /** The host stops. */
  end(): void {
    for (const ask of this.#open.values()) {
      clearTimeout(ask.timer);
      ask.reject(new StanzaError('remote-server-timeout'));
    }
    this.#open.clear();
    this.#expected.clear();
  }
}

/** The StanzaError of an error reply. */
export function errorOf(stanza: Stanza): StanzaError {
  const error: Element | undefined = stanza.child(NS.client, 'error');
  const children = error?.getChildElements() ?? [];
  const name = children.find((child) => child.getNS() === NS.stanzas && child.name !== 'text')?.name ?? '';
  const extra = children.filter((child) => child.getNS() !== NS.stanzas);
  const text = children.find((child) => child.getNS() === NS.stanzas && child.name === 'text')?.getText();
  const type = errorTypes.find((one) => one === error?.attrs.type);
  return new StanzaError(isStanzaErrorCondition(name) ? name : 'undefined-condition', text, { type, extra });
}
