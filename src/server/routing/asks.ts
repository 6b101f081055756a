/** IQ requests sent by the host, until they are answered. */

import type { Jid } from '../address/jid.js';
import { Portions } from '../limits/portions.js';
import type { Maybe } from '../maybe.js';
import type { AskOptions } from '../module/index.js';
import { errorTypes, isStanzaErrorCondition, StanzaError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { NS } from '../stanza/ns.js';
import type { Stanza } from '../stanza/stanza.js';
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
  askAway(request: Stanza, to: Jid, timeoutMs: number): Promise<Stanza> | undefined;
}

type Sending = { readonly origin: Origin | undefined; readonly isSent: boolean | undefined };

interface Ask {
  readonly to: Jid;
  resolve(stanza: Stanza): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

export class Asks {
  readonly #host: Asking;
  readonly #router: Pick<Router, 'refusalOf'>;
  readonly #places = new Portions(() => ({ all: maxAsks, each: Number.POSITIVE_INFINITY }));
  readonly #open = new Map<string, Ask>();

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
    const here = () => this.#askHere(sent.with({ id }), to, timeoutMs, { origin, isSent });
    const away = given === undefined ? this.#host.askAway(sent, to, timeoutMs) : undefined;
    const answer = away ?? here();
    const give = () => this.#places.give(holder);
    answer.then(give, give);
    return answer;
  }

  /** Asks an entity of this node, or of another server. */
  #askHere(request: Stanza, to: Jid, timeoutMs: number, { origin, isSent }: Sending): Promise<Stanza> {
    const id = request.id!;
    return new Promise<Stanza>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(id);
        reject(new StanzaError('remote-server-timeout'));
      }, timeoutMs);
      timer.unref();
      this.#open.set(id, { to, resolve, reject, timer });
      if (isSent !== true) void this.#host.route(request, origin);
    });
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
