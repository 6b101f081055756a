/**
 * Messages through the accounts of a host: the sender's on the way out, the recipient's on the way in, each in the steps of
 * `passage.ts`.
 */
import type { Logger } from 'pino';
import { StorageError } from '../../storage/contract.js';
import type { Maybe } from '../maybe.js';
import type { MessageHandler } from '../module/index.js';
import { StanzaError } from '../stanza/errors.js';
import type { Jid } from '../stanza/jid.js';
import type { Stanza } from '../stanza/stanza.js';
import { withStanzaId } from '../stanza/stanza-id.js';
import type { Hooks } from './hooks.js';
import { inOrder, untilHandled } from './in-order.js';
import type { Receipt } from './link.js';
import type { Awaited, MessagePassage, Origin, Way } from './passage.js';
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
  /** Takes a stanza for the host or an account of it. */
  receive(stanza: Stanza, origin: Origin): Maybe<void>;
}

/** On the way out it is also the origin of what it becomes on the way in: so one stanza has one outcome. */
class MessageOnItsWay implements MessagePassage, Origin {
  archivedAs: string | undefined;
  deliveredTo: readonly Session[] = [];
  receipt: Receipt | undefined;
  copies = 0;
  /** Why the other side did not take it. */
  refusal: unknown;
  /** Its sender was told that it could not be kept. */
  isRefused = false;
  /** What has to be kept before it is delivered, while the storage fails. */
  unkept: Promise<unknown>[] | undefined;
  #seen: Stanza | undefined;

  constructor(
    readonly messages: Messages,
    readonly way: Way,
    readonly owner: Jid,
    readonly peer: Jid,
    public stanza: Stanza,
    readonly sessions: readonly Session[],
    readonly origin: Origin,
    /** Full addresses of the owner to which the message goes, where they are several. */
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

  get acknowledges(): boolean {
    return this.origin.acknowledges;
  }

  /** The message as its sender sent it. */
  get first(): MessageOnItsWay {
    return this.origin instanceof MessageOnItsWay ? this.origin : this;
  }

  acknowledgeAfter(done: Promise<unknown>, what: Awaited = 'disk'): void {
    if (what === 'disk' && this.messages.isStorageFailing) (this.unkept ??= []).push(done);
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

  /** Puts the hooks to work. */
  start({ admit, messages }: Hooks): void {
    const { clean, archive, deliver, copy, absent } = messages;
    this.#admit = admit;
    this.#absentees = absent;
    const kept: MessageHandler = (passage) => whenKept(passage as MessageOnItsWay);
    const inOrder = (arrive: MessageHandler) => [...clean, ...archive, kept, ...deliver, arrive, ...copy];
    this.#outgoing = inOrder((passage) => this.#passOn(passage as MessageOnItsWay));
    this.#incoming = inOrder((passage) => this.#deliver(passage as MessageOnItsWay));
  }

  /** The storage failed lately. */
  get isStorageFailing(): boolean {
    return this.#host.refusals.isStorageFailing;
  }

  /** As `Host.acknowledgeAfter`. */
  acknowledgeAfter(stanza: Stanza, origin: Origin, done: Promise<unknown>, what: Awaited = 'disk'): void {
    const message = origin instanceof MessageOnItsWay ? origin : undefined;
    const told = done.catch((error: unknown) => {
      if (message?.isRefused) return;
      if (message !== undefined) message.isRefused = true;
      this.#host.refusals.refuse(stanza, error, origin);
    });
    (message?.origin ?? origin).acknowledgeAfter(told, what);
  }

  /** What a session says, as it was admitted. */
  out(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const owner = session.jid.toBare();
    const peer = stanza.to ?? owner; // RFC 6121 §8.1.1.1
    this.#host.prefetch(owner);
    this.#router.prefetch(peer);
    const passage = new MessageOnItsWay(
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

  #send(passage: MessageOnItsWay): Maybe<void> {
    const done = untilHandled(this.#outgoing, passage);
    if (!(done instanceof Promise)) return this.#bounce(passage);
    return done.then(
      () => this.#bounce(passage),
      (error: unknown) => toldOnce(passage, error),
    );
  }

  /** The core of 'deliver' on the way out. What the other side refuses was sent all the same, and is copied. */
  #passOn(passage: MessageOnItsWay): Maybe<void> {
    const refused = (error: unknown) => {
      passage.refusal = error;
    };
    try {
      return this.#router.route(passage.stanza, passage)?.catch(refused);
    } catch (error) {
      refused(error);
    }
  }

  /** Its error comes in behind the copies, through the account, as from any other server. */
  #bounce({ stanza, refusal, isRefused }: MessageOnItsWay): Maybe<void> {
    const error = refusal === undefined || isRefused ? undefined : this.#host.refusals.refusalOf(stanza, refusal);
    if (error === undefined) return undefined;
    // Not by way of the router, where a gate would hold back what seems to come from those who are shut out.
    try {
      return this.#host
        .receive(error, serverOrigin)
        ?.catch((failed: unknown) => this.#host.refusals.refuse(error, failed, serverOrigin));
    } catch (failed) {
      this.#host.refusals.refuse(error, failed, serverOrigin);
    }
  }

  /** For an account that is there. `addressees`: sessions of it, where they are several. */
  in(
    stanza: Stanza,
    owner: Jid,
    peer: Jid,
    sessions: readonly Session[],
    origin: Origin,
    addressees?: readonly Jid[],
  ): Maybe<void> {
    const passage = new MessageOnItsWay(this, 'in', owner, peer, stanza, sessions, origin, addressees);
    const admitted = peer.bare === owner.bare ? undefined : inOrder(this.#admit, passage);
    return admitted === undefined ? this.#enter(passage) : admitted.then(() => this.#enter(passage));
  }

  #enter(passage: MessageOnItsWay): Maybe<void> {
    const { stanza, sessions } = passage;
    const { type } = stanza;
    const resource = stanza.to!.resource;
    // §8.5.3.2.1: no such resource. Chat goes on as if to the bare JID; what else is said to it is kept by nobody.
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
        (error: unknown) => toldOnce(passage.first, error),
      );
    if (passage.deliveredTo.length === 0) return this.#absent(passage);
  }

  /** The core of 'deliver' on the way in: RFC 6121 §8.5. */
  #deliver(passage: MessageOnItsWay): void {
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
    // RFC 6121 leaves a choice for normal and chat: every resource that wants messages gets them.
    const present: Session[] = [];
    for (const session of sessions) if (session.presence !== undefined && session.priority >= 0) present.push(session);
    if (present.length === 0) return;
    passage.deliveredTo = present;
    trace(this.#host.log, stanza, 'delivered', present);
    for (const session of present) session.send(passage.seen, passage.receipt);
  }

  /** Nobody took it: modules may keep it, else the sender hears of it where RFC 6121 §8.5 says so. */
  #absent(passage: MessagePassage): Maybe<void> {
    trace(this.#host.log, passage.stanza, 'nobody there');
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
   * What a session was sent and its client never acknowledged, and no receipt speaks for (XEP-0198 §5): messages go the
   * way of an absent user's, requests are answered, copies and presence are dropped. Never rejects.
   */
  undeliverable(stanza: Stanza, session: Session): Maybe<void> {
    const { to, from } = stanza;
    if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set'))
      return this.#host.refusals.refuse(stanza, new StanzaError('service-unavailable'), serverOrigin);
    if (stanza.name !== 'message' || to === undefined || from?.bare === session.jid.bare) return;
    const passage = new MessageOnItsWay(this, 'in', to.toBare(), from ?? to.toBare(), stanza, [], serverOrigin);
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

/** While the storage fails, a message goes on once it is kept. Rejects if it cannot be. */
function whenKept({ unkept }: MessageOnItsWay): Promise<undefined> | undefined {
  return unkept === undefined ? undefined : Promise.all(unkept).then(() => undefined);
}

/** What stopped a message is passed on, unless its sender has been told. */
function toldOnce(message: MessageOnItsWay, error: unknown): void {
  if (!(error instanceof StorageError && message.isRefused)) throw error;
}
