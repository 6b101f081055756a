/**
 * Stanzas for a host, its accounts and their sessions, and for the services of its modules, at the home of the address
 * (RFC 6121 §8).
 */
import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { Service, Services } from '../module/index.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { type Answers, firstChild } from './answers.js';
import type { Asks } from './asks.js';
import { chosen } from './audience.js';
import { type Hooks, type IqEntry, iqKey } from './hooks.js';
import { inOrder } from './in-order.js';
import type { Messages } from './messages.js';
import type { Origin, Passage } from './passage.js';
import type { Session } from './session.js';

/** What receiving needs of the host. */
export interface IncomingParts {
  readonly hooks: Hooks;
  readonly services: Partial<Services>;
  readonly accounts: { exists(bare: string): Maybe<boolean> };
  readonly asks: Asks;
  sessions(bare: string): readonly Session[];
  session(full: Jid): Session | undefined;
}

export class Incoming {
  readonly #host: IncomingParts;
  readonly #messages: Messages;
  readonly #answers: Answers;

  constructor(host: IncomingParts, messages: Messages, answers: Answers) {
    this.#host = host;
    this.#messages = messages;
    this.#answers = answers;
  }

  /** For the host or an account of it. Throws or rejects with StanzaError if it is refused. */
  receive(stanza: Stanza, origin: Origin): Maybe<void> {
    const to = stanza.to!;
    if (to.local === undefined) return this.#toServer(stanza, to, origin);
    const sessions = this.#host.sessions(to.bare);
    if (origin.audience !== undefined) {
      const addressees = chosen(origin.audience, to, sessions, this.#host.services.clientCaps);
      const first = addressees?.[0];
      if (first !== undefined) return this.toAccount(stanza.with({ to: first }), first, sessions, origin, addressees);
      if (addressees !== undefined) return;
    }
    if (sessions.length > 0) return this.toAccount(stanza, to, sessions, origin);
    const exists = this.#host.accounts.exists(to.bare);
    if (typeof exists === 'boolean')
      return exists ? this.toAccount(stanza, to, sessions, origin) : this.#toMissingAccount(stanza, to, origin);
    return exists.then((yes) =>
      yes
        ? this.toAccount(stanza, to, this.#host.sessions(to.bare), origin)
        : this.#toMissingAccount(stanza, to, origin),
    );
  }

  /** RFC 6121 §8.5.1: the account does not exist. */
  #toMissingAccount(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    if (stanza.name === 'presence' || stanza.type === 'headline') return;
    if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set')) {
      // Modules refuse it with the same error as for an existing account.
      const admitted = inOrder(this.#host.hooks.admit, {
        way: 'in',
        owner: to.toBare(),
        peer: stanza.from!,
        stanza,
        origin,
      });
      if (admitted !== undefined) return admitted.then(() => this.#iqToMissingAccount(stanza, to, origin));
      return this.#iqToMissingAccount(stanza, to, origin);
    }
    throw new StanzaError('service-unavailable');
  }

  #iqToMissingAccount(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    const { ns, name } = firstChild(stanza);
    const entry = to.resource === undefined ? this.#host.hooks.account.get(iqKey(stanza.type!, ns, name)) : undefined;
    if (entry?.absent !== true) throw new StanzaError('service-unavailable');
    return this.#answers.answer(this.#host.hooks.account, to, stanza, origin, true);
  }

  #toServer(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    if (stanza.name === 'presence') {
      const waiting = this.#host.hooks.serverPresences
        .map((handler) => handler(stanza, origin))
        .filter((one) => one !== undefined);
      return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => {});
    }
    if (stanza.name === 'message') {
      return this.#messageToServer(stanza, origin, 0);
    }
    if (to.resource !== undefined) {
      if (stanza.type === 'get' || stanza.type === 'set') throw new StanzaError('service-unavailable');
      return;
    }
    if (stanza.type === 'get' || stanza.type === 'set')
      return this.#answers.answer(this.#host.hooks.server, to, stanza, origin);
    this.#host.asks.answered(stanza);
  }

  /** `from`: index of the next handler. */
  #messageToServer(stanza: Stanza, origin: Origin, from: number): Maybe<void> {
    const handlers = this.#host.hooks.serverMessages;
    for (let index = from; index < handlers.length; index++) {
      const outcome = handlers[index]!(stanza, origin);
      if (outcome === 'handled') return;
      if (outcome instanceof Promise)
        return outcome.then((late) =>
          late === 'handled' ? undefined : this.#messageToServer(stanza, origin, index + 1),
        );
    }
    if (stanza.type === 'headline' || stanza.type === 'error') return;
    throw new StanzaError('service-unavailable');
  }

  /** For an account that exists. `addressees`: the sessions that a message is for; all are of this account. */
  toAccount(
    stanza: Stanza,
    to: Jid,
    sessions: readonly Session[],
    origin: Origin,
    addressees?: readonly Jid[],
  ): Maybe<void> {
    const owner = to.toBare();
    const peer = stanza.from ?? owner;
    if (stanza.name === 'message') return this.#messages.in(stanza, owner, peer, sessions, origin, addressees);
    if (stanza.name === 'presence') {
      const { presence } = this.#host.hooks;
      if (presence === undefined) return;
      const passage: Passage = { way: 'in', owner, peer, stanza, origin };
      try {
        const admitted = peer.bare === owner.bare ? undefined : inOrder(this.#host.hooks.admit, passage);
        // XEP-0191 §3: presence that is not admitted is dropped.
        return admitted === undefined ? presence(passage) : admitted.then(() => presence(passage), silently);
      } catch (error) {
        silently(error);
        return;
      }
    }
    if (peer.bare === owner.bare) return this.#iqIn(stanza, to, origin);
    const go = (isHidden: boolean): Maybe<void> => {
      if (!isHidden) return this.#iqIn(stanza, to, origin);
      if (stanza.type === 'get' || stanza.type === 'set') return this.#iqToMissingAccount(stanza, to, origin);
    };
    const hidden = this.#isHidden({ way: 'in', owner, peer, stanza, origin });
    return typeof hidden === 'boolean' ? go(hidden) : hidden.then(go);
  }

  /**
   * Runs the `admit` hooks for an IQ. Returns whether one of them hides the account from the sender. The others run all
   * the same, because their errors are also sent for an account that does not exist.
   */
  #isHidden(passage: Passage, first = 0, isHidden = false): Maybe<boolean> {
    const { admit } = this.#host.hooks;
    let hidden = isHidden;
    for (let index = first; index < admit.length; index++) {
      try {
        const waiting = admit[index]!(passage);
        if (waiting !== undefined)
          return waiting.then(
            () => this.#isHidden(passage, index + 1, hidden),
            (error: unknown) => this.#isHidden(passage, index + 1, hides(error)),
          );
      } catch (error) {
        hidden = hides(error);
      }
    }
    return hidden;
  }

  #iqIn(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    if (to.resource !== undefined) return this.#iqToSession(stanza, to);
    if (stanza.type === 'get' || stanza.type === 'set')
      return this.#answers.answer(this.#host.hooks.account, to, stanza, origin);
    this.#host.asks.answered(stanza);
  }

  /** RFC 6121 §8.5.3: an IQ for a resource. */
  #iqToSession(stanza: Stanza, to: Jid): void {
    const session = this.#host.session(to);
    if (session !== undefined) session.send(stanza);
    else if (stanza.type === 'get' || stanza.type === 'set') throw new StanzaError('service-unavailable');
  }

  /** For a service of a module. `table`: the requests that it answers. */
  toService(service: Service, table: ReadonlyMap<string, IqEntry>, stanza: Stanza, origin: Origin): Maybe<void> {
    if (stanza.name === 'message') {
      if (service.message !== undefined) return service.message(stanza, origin);
      if (stanza.type !== 'headline' && stanza.type !== 'error') throw new StanzaError('service-unavailable');
      return;
    }
    if (stanza.name === 'presence') return service.presence?.(stanza, origin);
    const isRequest = stanza.type === 'get' || stanza.type === 'set';
    if (isRequest) {
      const payload = firstChild(stanza);
      const key = iqKey(stanza.type, payload.ns, payload.name);
      if (table.has(key)) return this.#answers.answer(table, stanza.to!, stanza, origin);
      if (stanza.to!.resource === undefined && this.#host.hooks.anyService.has(key))
        return this.#answers.answer(this.#host.hooks.anyService, stanza.to!, stanza, origin);
    } else if (stanza.id !== undefined && this.#host.asks.has(stanza.id)) {
      return this.#host.asks.answered(stanza);
    }
    const unhandled = (outcome: 'unhandled' | void) => {
      if (outcome === 'unhandled' && isRequest) throw new StanzaError('service-unavailable');
    };
    const outcome = service.iq === undefined ? 'unhandled' : service.iq(stanza, origin);
    return outcome instanceof Promise ? outcome.then(unhandled) : unhandled(outcome);
  }
}

/** Whether a refusal hides the account; rethrows every other error. */
function hides(error: unknown): boolean {
  if (error instanceof StanzaError && error.options.hides === true) return true;
  throw error;
}

/** Hides a refusal; rethrows every other error. */
export function silently(error: unknown): void {
  if (!(error instanceof StanzaError)) throw error;
}
