/**
 * Stream management sessions (XEP-0198) of streams that other servers opened: those of lost connections, to be resumed,
 * and the last counts of those that have ended.
 */
import { monotonic } from '../../clock.js';
import { Holdings } from '../../limits/holdings.js';
import { randomId } from '../../stanza/ids.js';
import type { Received } from '../xep-0198-received.js';
import { ServerSm, type ServerSmParts, unknownFate } from './sm.js';

/** Sessions of lost connections: of one remote domain, and in total. */
const mostLostOfOne = 16;
const mostLost = 4096;
/** Ended sessions whose last count is remembered: of one remote domain, and in total. */
const mostEndedOfOne = 32;
const mostEnded = 10_000;
/** The count of a session with more pairs is not remembered. */
const mostPairsOfEnded = 10;

export interface ServerSessionsParts {
  bounds: ServerSmParts['bounds'];
  /** Called when a session ends early because there are too many. */
  limitHit(limit: string): void;
  /** Called when a session that could be resumed has ended. */
  ended(sm: ServerSm): void;
}

interface Session {
  readonly sm: ServerSm;
  /** The first authenticated remote domain. */
  readonly domain: string;
  /** The pairs authenticated by its streams. */
  pairs: ReadonlySet<string>;
  /** When it ends, in ms; undefined while it has a connection. */
  expires: number | undefined;
}

interface Ended {
  /** It may still grow. */
  readonly received: Received;
  readonly pairs: ReadonlySet<string>;
}

export class ServerSessions {
  readonly #parts: ServerSessionsParts;
  /** The sessions that can be resumed, by id. */
  readonly #all = new Map<string, Session>();
  readonly #lost: Holdings<true>;
  readonly #ended = new Holdings<Ended>(mostEndedOfOne);

  constructor(parts: ServerSessionsParts) {
    this.#parts = parts;
    this.#lost = new Holdings(mostLostOfOne, (_, id) => {
      parts.limitHit('s2s.resumable');
      this.#end(id);
    });
  }

  /** A session for a stream with these pairs, of which there is at least one. `holdSeconds` 0: it cannot be resumed. */
  open(pairs: ReadonlySet<string>, holdSeconds: number): ServerSm {
    const id = holdSeconds > 0 ? randomId() : undefined;
    const sm = new ServerSm({ id, holdSeconds, bounds: this.#parts.bounds });
    if (id !== undefined) this.#all.set(id, { sm, domain: domainIn(pairs), pairs, expires: undefined });
    return sm;
  }

  /**
   * The session that a server which has proved these pairs may resume: it must have proved all that were proved before.
   * Whether others have such a session is not disclosed.
   */
  find(id: string, pairs: ReadonlySet<string>): ServerSm | undefined {
    const session = this.#all.get(id);
    return session !== undefined && includes(pairs, session.pairs) ? session.sm : undefined;
  }

  /** §5: the count of an ended session, if it is remembered. */
  ended(id: string, pairs: ReadonlySet<string>): Received | undefined {
    const ended = this.#ended.get(domainIn(pairs), id);
    return ended !== undefined && includes(pairs, ended.pairs) ? ended.received : undefined;
  }

  /** Another connection continues the session. */
  resumed(sm: ServerSm, pairs: ReadonlySet<string>): void {
    const session = this.#all.get(sm.id!);
    if (session === undefined) return;
    session.pairs = pairs;
    session.expires = undefined;
    this.#lost.delete(session.domain, sm.id!);
  }

  /** The connection was lost. The session waits to be resumed, or ends if that is not possible. */
  lost(sm: ServerSm): void {
    sm.detach();
    const session = sm.id === undefined ? undefined : this.#all.get(sm.id);
    if (session === undefined) {
      sm.end(undefined, unknownFate());
      return;
    }
    session.expires = monotonic() + sm.holdSeconds * 1000;
    this.#lost.set(session.domain, sm.id!, true, mostLost);
  }

  /** The stream was closed (§7), or the session cannot continue. */
  end(sm: ServerSm): void {
    if (sm.id !== undefined) this.#end(sm.id);
    if (!sm.isOver) sm.end(undefined, unknownFate());
  }

  #end(id: string): void {
    const session = this.#all.get(id);
    if (session === undefined) return;
    const { sm, domain, pairs } = session;
    this.#all.delete(id);
    this.#lost.delete(domain, id);
    if (pairs.size <= mostPairsOfEnded) this.#ended.set(domain, id, { received: sm.received, pairs }, mostEnded);
    sm.end(undefined, unknownFate());
    this.#parts.ended(sm);
  }

  /** Called once a second with the monotonic clock in ms. */
  sweep(now: number): void {
    for (const [, id] of this.#lost.all()) if (now >= (this.#all.get(id)?.expires ?? 0)) this.#end(id);
  }
}

const domainIn = (pairs: ReadonlySet<string>): string => {
  const [first = ''] = pairs;
  return first.slice(0, first.indexOf(' '));
};

const includes = (all: ReadonlySet<string>, some: ReadonlySet<string>): boolean =>
  [...some].every((pair) => all.has(pair));
