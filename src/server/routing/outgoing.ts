/** Stanzas of a host's own sessions, on their way out. */
import type { Maybe } from '../maybe.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Answers } from './answers.js';
import type { Hooks } from './hooks.js';
import { inOrder } from './in-order.js';
import type { Messages } from './messages.js';
import type { Origin, Passage } from './passage.js';
import type { Router } from './router.js';
import type { Session } from './session.js';

/** What sending needs of the host. */
export interface OutgoingParts {
  readonly domain: string;
  readonly hooks: Hooks;
}

export class Outgoing {
  readonly #host: OutgoingParts;
  readonly #router: Router;
  readonly #messages: Messages;
  readonly #answers: Answers;

  constructor(host: OutgoingParts, router: Router, messages: Messages, answers: Answers) {
    this.#host = host;
    this.#router = router;
    this.#messages = messages;
    this.#answers = answers;
  }

  /** An admitted stanza of a session. Throws or rejects with StanzaError if it is refused. */
  pass(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    switch (stanza.name) {
      case 'message':
        return this.#messages.out(stanza, session.jid.toBare(), origin);
      case 'presence':
        return this.#presence(stanza, session, origin);
      default:
        return this.#iq(stanza, session, origin);
    }
  }

  #presence(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const { presence } = this.#host.hooks;
    if (presence === undefined) throw new StanzaError('service-unavailable');
    const owner = session.jid.toBare();
    const passage: Passage = { way: 'out', owner, peer: stanza.to ?? owner, stanza, origin };
    const go = () => {
      const adorned = inOrder(this.#host.hooks.adorn, passage);
      return adorned === undefined ? presence(passage) : adorned.then(() => presence(passage));
    };
    const admitted = passage.peer.bare === owner.bare ? undefined : inOrder(this.#host.hooks.admit, passage);
    return admitted === undefined ? go() : admitted.then(go);
  }

  #iq(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const { to } = stanza;
    const isRequest = stanza.type === 'get' || stanza.type === 'set';
    // RFC 6120 §10.3.3: without `to`, the server acts on behalf of the account.
    if (to === undefined) {
      if (isRequest) return this.#answers.answer(this.#host.hooks.account, session.jid.toBare(), stanza, origin);
      return;
    }
    if (!isRequest || to.bare === session.jid.bare || to.full === this.#host.domain)
      return this.#router.route(stanza, origin);
    const admitted = inOrder(this.#host.hooks.admit, {
      way: 'out',
      owner: session.jid.toBare(),
      peer: to,
      stanza,
      origin,
    });
    if (admitted === undefined) return this.#router.route(stanza, origin);
    return admitted.then(() => this.#router.route(stanza, origin));
  }
}
