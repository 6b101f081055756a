/**
 * Messages through the accounts of a host: the sender's on the way out, the recipient's on the way in, each in the
 * steps of `passage.ts`.
 */
import type { Logger } from 'pino';
import { StorageError } from '../../storage/contract.js';
import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { MessageHandler } from '../module/index.js';
import { StanzaError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { withStanzaId } from '../stanza/stanza-id.js';
import type { Hooks } from './hooks.js';
import { inOrder, untilHandled } from './in-order.js';
import type { Receipt } from './link.js';
import type { Awaited, FirstFrame, MessagePassage, Origin, Way } from './passage.js';
import type { Refusals } from './refusals.js';
import { type Router, serverOrigin } from './router.js';
import type { Session } from './session.js';
import { trace } from './trace.js';

/** What messages need of their host. */
export interface MessageHost {
  readonly router: Router;
  readonly refusals: Refusals;
  readonly log: Logger;
  sessions(bare: string): readonly Session[];
  prefetch(owner: Jid): void;
  /** Receives a stanza for the host or one of its accounts. */
  receive(stanza: Stanza, origin: Origin): Maybe<void>;
}

/** On the way out it is also the origin of the incoming message, so that one stanza has one outcome. */
class MessageInTransit implements MessagePassage, Origin {
  archivedAs: string | undefined;
  deliveredTo: readonly Session[] = [];
  receipt: Receipt | undefined;
  copies = 0;
  /** Why the recipient's side refused it. */
  refusal: unknown;
  /** The sender already got an error, because it could not be stored. */
  isRefused = false;
  /** Writes that must complete before it is delivered, while the storage is failing. */
  pendingWrites: Promise<unknown>[] | undefined;
  #seen: Stanza | undefined;

  constructor(
    readonly messages: Messages,
    readonly way: Way,
    readonly owner: Jid,
    readonly peer: Jid,
    public stanza: Stanza,
    readonly sessions: readonly Session[],
    readonly origin: Origin,
    /** Several full addresses of the owner that the message goes to, if any. */
    readonly addressees?: readonly Jid[],
  ) {}

  get seen(): Stanza {
    if (this.archivedAs === undefined) return this.stanza;
    this.#seen ??= withStanzaId(this.stanza, this.archivedAs, this.owner);
    return this.#seen;
  }

  get session(): Session | undefined {
    return this.origin.session;
  }

  get frame(): FirstFrame | undefined {
    return this.origin.frame;
  }

  get acknowledges(): boolean {
    return this.origin.acknowledges;
  }

  /** The message as its sender sent it. */
  get first(): MessageInTransit {
    return this.origin instanceof MessageInTransit ? this.origin : this;
  }

  acknowledgeAfter(done: Promise<unknown>, what: Awaited = 'disk'): void {
    if (what === 'disk' && this.messages.isStorageFailing) (this.pendingWrites ??= []).push(done);
    this.messages.acknowledgeAfter(this.stanza, this.first, done, what);
  }
}

export class Messages {
  readonly #host: MessageHost;
  readonly #router: Router;
  #admit: Hooks['admit'] = [];
  #absentees: readonly MessageHandler[] = [];
  #outgoing: MessageHandler[] = [];
  #incoming: MessageHandler[] = [];

  constructor(host: MessageHost) {
    this.#host = host;
    this.#router = host.router;
  }

  /** Installs the hooks. */
  start({ admit, messages }: Hooks): void {
    const { clean, archive, deliver, copy, absent } = messages;
    this.#admit = admit;
    this.#absentees = absent;
    const stored: MessageHandler = (passage) => whenStored(passage as MessageInTransit);
    const inOrder = (arrive: MessageHandler) => [...clean, ...archive, stored, ...deliver, arrive, ...copy];
    this.#outgoing = inOrder((passage) => this.#sendOut(passage as MessageInTransit));
    this.#incoming = inOrder((passage) => this.#deliver(passage as MessageInTransit));
  }

  /** Whether the storage failed recently. */
  get isStorageFailing(): boolean {
    return this.#host.refusals.isStorageFailing;
  }

  /** As `Host.acknowledgeAfter`. */
  acknowledgeAfter(stanza: Stanza, origin: Origin, done: Promise<unknown>, what: Awaited = 'disk'): void {
    const message = origin instanceof MessageInTransit ? origin : undefined;
    const refusedOrDone = done.catch((error: unknown) => {
      if (message?.isRefused) return;
      if (message !== undefined) message.isRefused = true;
      this.#host.refusals.refuse(stanza, error, origin);
    });
    (message?.origin ?? origin).acknowledgeAfter(refusedOrDone, what);
  }

  /** An admitted message of an account. */
  out(stanza: Stanza, owner: Jid, origin: Origin): Maybe<void> {
    const peer = stanza.to ?? owner; // RFC 6121 §8.1.1.1
    this.#host.prefetch(owner);
    this.#router.prefetch(peer);
    const passage = new MessageInTransit(
      this,
      'out',
      owner,
      peer,
      stanza.to === undefined ? stanza.with({ to: owner }) : stanza,
      this.#host.sessions(owner.bare),
      origin,
    );
    const admitted = peer.bare === owner.bare ? undefined : inOrder(this.#admit, passage);
    return admitted === undefined ? this.#send(passage) : admitted.then(() => this.#send(passage));
  }

  #send(passage: MessageInTransit): Maybe<void> {
    const done = untilHandled(this.#outgoing, passage);
    if (!(done instanceof Promise)) return this.#bounce(passage);
    return done.then(
      () => this.#bounce(passage),
      (error: unknown) => rethrowUnlessRefused(passage, error),
    );
  }

  /** The core of 'deliver' on the way out. A message refused by the recipient was still sent, and is copied. */
  #sendOut(passage: MessageInTransit): Maybe<void> {
    const refused = (error: unknown) => {
      passage.refusal = error;
    };
    try {
      return this.#router.route(passage.stanza, passage)?.catch(refused);
    } catch (error) {
      refused(error);
    }
  }

  /** The error arrives after the copies, through the account, as from any other server. */
  #bounce({ stanza, refusal, isRefused }: MessageInTransit): Maybe<void> {
    const error = refusal === undefined || isRefused ? undefined : this.#host.refusals.refusalOf(stanza, refusal);
    if (error === undefined) return undefined;
    // Not through the router, where a gate would drop an error that seems to come from a blocked domain.
    try {
      return this.#host
        .receive(error, serverOrigin)
        ?.catch((failed: unknown) => this.#host.refusals.refuse(error, failed, serverOrigin));
    } catch (failed) {
      this.#host.refusals.refuse(error, failed, serverOrigin);
    }
  }

  /** A message for an existing account. `addressees`: several sessions of it, if any. */
  in(
    stanza: Stanza,
    owner: Jid,
    peer: Jid,
    sessions: readonly Session[],
    origin: Origin,
    addressees?: readonly Jid[],
  ): Maybe<void> {
    const passage = new MessageInTransit(this, 'in', owner, peer, stanza, sessions, origin, addressees);
    const admitted = peer.bare === owner.bare ? undefined : inOrder(this.#admit, passage);
    return admitted === undefined ? this.#enter(passage) : admitted.then(() => this.#enter(passage));
  }

  #enter(passage: MessageInTransit): Maybe<void> {
    const { stanza, sessions } = passage;
    const { type } = stanza;
    const resource = stanza.to!.resource;
    // §8.5.3.2.1: no such resource. Chat is handled as for the bare JID; other types are not stored.
    if (resource !== undefined && type !== 'chat' && type !== 'error')
      if (!sessions.some(({ jid }) => jid.resource === resource)) {
        if (type === 'headline') return;
        throw new StanzaError('service-unavailable');
      }
    const done = untilHandled(this.#incoming, passage);
    if (done === 'handled') return;
    if (done !== undefined)
      return done.then(
        (ended) => {
          if (ended !== 'handled' && passage.deliveredTo.length === 0) return this.#absent(passage);
        },
        (error: unknown) => rethrowUnlessRefused(passage.first, error),
      );
    if (passage.deliveredTo.length === 0) return this.#absent(passage);
  }

  /** The core of 'deliver' on the way in: RFC 6121 §8.5. */
  #deliver(passage: MessageInTransit): void {
    const { stanza, sessions, addressees } = passage;
    const resource = stanza.to!.resource;
    if (addressees !== undefined) {
      passage.deliveredTo = sessions.filter(({ jid }) => addressees.some((to) => to.resource === jid.resource));
      trace(this.#host.log, stanza, 'delivered', passage.deliveredTo);
      for (const session of passage.deliveredTo) session.send(passage.seen.with({ to: session.jid }), passage.receipt);
      return;
    }
    if (resource !== undefined) {
      for (const session of sessions) {
        if (session.jid.resource !== resource) continue;
        passage.deliveredTo = [session];
        trace(this.#host.log, stanza, 'delivered', passage.deliveredTo);
        session.send(passage.seen, passage.receipt);
        return;
      }
    }
    // §8.5.2.1.1: groupchat and errors to a bare JID are never delivered.
    if (stanza.type === 'groupchat' || stanza.type === 'error') return;
    // RFC 6121 leaves a choice for normal and chat: every available resource with non-negative priority gets them.
    const present: Session[] = [];
    for (const session of sessions) if (session.presence !== undefined && session.priority >= 0) present.push(session);
    if (present.length === 0) return;
    passage.deliveredTo = present;
    trace(this.#host.log, stanza, 'delivered', present);
    for (const session of present) session.send(passage.seen, passage.receipt);
  }

  /** Not delivered: modules may store it, else the sender gets an error where RFC 6121 §8.5 requires one. */
  #absent(passage: MessagePassage): Maybe<void> {
    trace(this.#host.log, passage.stanza, 'no session');
    const done = untilHandled(this.#absentees, passage);
    if (done === 'handled') return;
    if (done !== undefined)
      return done.then((ended) => {
        if (ended !== 'handled') this.#unavailable(passage.stanza);
      });
    this.#unavailable(passage.stanza);
  }

  #unavailable({ type }: Stanza): void {
    if (type === 'headline' || type === 'error') return;
    throw new StanzaError('service-unavailable');
  }

  /**
   * An unacknowledged stanza of an ended session without a receipt (XEP-0198 §5): a message is handled as for an absent
   * user, a request is answered, copies and presence are dropped. Never rejects.
   */
  undeliverable(stanza: Stanza, session: Session): Maybe<void> {
    const { to, from } = stanza;
    if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set'))
      return this.#host.refusals.refuse(stanza, new StanzaError('service-unavailable'), serverOrigin);
    if (stanza.name !== 'message' || to === undefined || from?.bare === session.jid.bare) return;
    const passage = new MessageInTransit(this, 'in', to.toBare(), from ?? to.toBare(), stanza, [], serverOrigin);
    try {
      const done = untilHandled(this.#absentees, passage);
      if (done instanceof Promise)
        return done.then(
          () => {},
          (error: unknown) => this.#host.refusals.refuse(stanza, error, serverOrigin),
        );
    } catch (error) {
      this.#host.refusals.refuse(stanza, error, serverOrigin);
    }
  }
}

/** While the storage is failing, a message is delivered only after it is stored. Rejects if it cannot be. */
function whenStored({ pendingWrites }: MessageInTransit): Promise<undefined> | undefined {
  return pendingWrites === undefined ? undefined : Promise.all(pendingWrites).then(() => undefined);
}

/** Rethrows an error, unless the sender already got it. */
function rethrowUnlessRefused(message: MessageInTransit, error: unknown): void {
  if (!(error instanceof StorageError && message.isRefused)) throw error;
}
