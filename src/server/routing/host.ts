/**
 * One host (a domain that the server answers for): takes stanzas through the accounts that they concern, answers IQs,
 * and is what its modules reach of the server (`Host` of module/host.ts).
 */

import type { Logger } from 'pino';
import { StorageError } from '../../storage/contract.js';
import { Recent } from '../../storage/recent.js';
import type { Accounts } from '../accounts.js';
import type { Config } from '../config/schema.js';
import type { Maybe } from '../maybe.js';
import type {
  Access,
  Events,
  Host,
  IqAnswer,
  IqHandler,
  IqRequest,
  MessageHandler,
  Service,
  Services,
  SessionMoment,
} from '../module/index.js';
import { Portions } from '../portions.js';
import { isStanzaErrorCondition, StanzaError, type StreamError } from '../stanza/errors.js';
import { randomId } from '../stanza/ids.js';
import { Jid } from '../stanza/jid.js';
import { NS } from '../stanza/ns.js';
import type { Stanza } from '../stanza/stanza.js';
import { withStanzaId } from '../stanza/stanza-id.js';
import type { Element } from '../xml/element.js';
import { isLonger } from './admission.js';
import type { SessionDirectory } from './directory.js';
import { StorageFailures, storageRefusal } from './failing.js';
import { Hooks, type IqEntry, iqKey } from './hooks.js';
import type { Receipt } from './link.js';
import { isSource, type Source } from './outflow.js';
import type { Awaited, MessagePassage, Origin, Passage, Way } from './passage.js';
import { type Destination, type Router, serverOrigin } from './router.js';
import type { Session } from './session.js';

type Payload = Element | undefined | void;

/** What a host is made of; everything else it makes itself. */
export interface HostParts {
  readonly domain: string;
  readonly router: Router;
  readonly directory: SessionDirectory;
  readonly accounts: Accounts;
  readonly config: () => Config;
  readonly log: Logger;
  readonly software: { readonly name: string; readonly version: string };
  limitHit(limit: string): void;
  end(session: Session, reason: StreamError): void;
  readonly canRestart: boolean;
  halt(how: 'stop' | 'restart'): Promise<void>;
  /** Resolves once a crash would bring back no session as it was before it was sent something; undefined: that is so. */
  outdating?(): Promise<unknown> | undefined;
  /** The network address of an anonymous account that is there. */
  anonymousAt?(bare: string): string | undefined;
}

/** Bytes that can be sent to any number of recipients. */
const alwaysFansOut = 16_384;

/** Requests of ours that wait for an answer, at most. */
const maxAsks = 10_000;
const askTimeoutMs = 30_000;
/** As many accounts as modules keep in their caches. */
const mostPrefetched = 20_000;

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
    readonly host: LocalHost,
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
    if (what === 'disk' && this.host.isStorageFailing) (this.unkept ??= []).push(done);
    this.host.acknowledgeAfter(this.stanza, this.first, done, what);
  }
}

/** Builds the payload when a handler asks for it: many need only its name. */
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

export class LocalHost implements Host, Destination {
  readonly jid: Jid;
  hooks: Hooks;
  services: Partial<Services> = {};
  readonly #parts: HostParts;
  readonly #storageFailures: StorageFailures;
  #outgoing: MessageHandler[] = [];
  #incoming: MessageHandler[] = [];
  readonly #askPlaces = new Portions(() => ({ all: maxAsks, each: Number.POSITIVE_INFINITY }));
  readonly #asks = new Map<
    string,
    { to: Jid; resolve(stanza: Stanza): void; reject(error: Error): void; timer: NodeJS.Timeout }
  >();
  #timers: NodeJS.Timeout[] = [];
  /** The stanza that `isUntouched` was asked about last. */
  #asked: { readonly stanza: Stanza; readonly isUntouched: boolean } | undefined;
  /** Accounts for which modules have read ahead. */
  readonly #prefetched = new Recent<true>(mostPrefetched);

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.jid = Jid.parse(parts.domain);
    this.#storageFailures = new StorageFailures({
      first: (error, about) => parts.log.error({ ...about, err: error }, `storage: ${error.failure}`),
      repeated: (failure, count, isOver) => {
        if (isOver) parts.log.info({ failure, count }, 'the storage failed more often than was logged');
        else parts.log.error({ failure, count }, 'the storage goes on failing');
      },
    });
    this.hooks = new Hooks(parts.domain, []);
  }

  /** Puts the hooks to work. */
  start(hooks: Hooks): void {
    this.hooks = hooks;
    const { clean, archive, deliver, copy } = hooks.messages;
    const kept: MessageHandler = (passage) => whenKept(passage as MessageOnItsWay);
    this.#outgoing = [
      ...clean,
      ...archive,
      kept,
      ...deliver,
      (passage) => this.#passOn(passage as MessageOnItsWay),
      ...copy,
    ];
    this.#incoming = [
      ...clean,
      ...archive,
      kept,
      ...deliver,
      (passage) => this.#deliver(passage as MessageOnItsWay),
      ...copy,
    ];
    for (const { domain, service, iq } of hooks.services())
      this.#parts.router.add(domain, { receive: (stanza, origin) => this.#toService(service, iq, stanza, origin) });
    for (const isClosed of hooks.gates)
      for (const domain of [this.domain, ...hooks.services().map((service) => service.domain)])
        this.#parts.router.guard(domain, isClosed);
    this.#timers = hooks.timers.map(({ ms, handler }) => this.#every(ms, handler));
  }

  stop(): void {
    this.#storageFailures.end();
    for (const timer of this.#timers) clearInterval(timer);
    for (const ask of this.#asks.values()) {
      clearTimeout(ask.timer);
      ask.reject(new StanzaError('remote-server-timeout'));
    }
    this.#asks.clear();
  }

  // --- what modules see ---------------------------------------------------------------------------------------

  get domain(): string {
    return this.#parts.domain;
  }
  get accounts(): Accounts {
    return this.#parts.accounts;
  }
  get config(): Config {
    return this.#parts.config();
  }
  get software(): HostParts['software'] {
    return this.#parts.software;
  }
  get declared(): Hooks {
    return this.hooks;
  }

  provided<K extends keyof Services>(name: K): Services[K] | undefined {
    return this.services[name];
  }

  limitHit(limit: string): void {
    this.#parts.limitHit(limit);
  }

  holderOf(jid: Jid): string {
    return this.isLocal(jid.domain) ? this.userOf(jid) : jid.domain;
  }

  userOf(jid: Jid): string {
    const block = this.#parts.anonymousAt?.(jid.bare);
    return block === undefined ? jid.bare : `anonymous ${block}`;
  }

  isAnonymous(bare: string): boolean {
    return this.#parts.anonymousAt?.(bare) !== undefined;
  }

  demandFanOut(content: string, recipients: number): void {
    const limit = Math.max(alwaysFansOut, Math.floor(this.config.limits.fan_out_bytes / Math.max(1, recipients)));
    if (!isLonger(content, limit)) return;
    this.limitHit('fan_out_bytes');
    const text = `This has too many recipients to have more than ${limit} bytes.`;
    throw new StanzaError('policy-violation', text, { bare: true, type: 'modify' });
  }

  sessions(bare: string): readonly Session[] {
    return this.#parts.directory.of(bare);
  }

  session(full: Jid): Session | undefined {
    return this.#parts.directory.find(full);
  }

  *allSessions(): Iterable<Session> {
    for (const session of this.#parts.directory.all()) if (session.jid.domain === this.domain) yield session;
  }

  end(session: Session, reason: StreamError): void {
    this.#parts.end(session, reason);
  }

  get canRestart(): boolean {
    return this.#parts.canRestart;
  }

  halt(how: 'stop' | 'restart'): Promise<void> {
    return this.#parts.halt(how);
  }

  isLocal(domain: string): boolean {
    return this.#parts.router.isLocal(domain);
  }

  isAdmin(jid: Jid): Maybe<boolean> {
    if (jid.domain !== this.domain || jid.local === undefined) return false;
    if (this.config.hosts[this.domain]?.admins.includes(jid.bare) === true) return true;
    const account = this.#parts.accounts.get(jid.bare);
    return account instanceof Promise ? account.then((one) => one?.role === 'admin') : account?.role === 'admin';
  }

  /** Never rejects: a refusal is answered. */
  route(stanza: Stanza, origin: Origin = serverOrigin): Maybe<void> {
    try {
      const routed = this.#parts.router.route(stanza, origin);
      return routed?.catch((error: unknown) => this.refuse(stanza, error, origin));
    } catch (error) {
      this.refuse(stanza, error, origin);
    }
  }

  routeToAll(stanza: Stanza, addressees: readonly Jid[], origin: Origin = serverOrigin): Maybe<void> {
    const [first] = addressees;
    if (first === undefined) return;
    const destination = this.#parts.router.destination(first.domain);
    if (addressees.length > 1 && stanza.name === 'message' && destination instanceof LocalHost)
      return destination.#toSessions(stanza, addressees, origin);
    let waiting: Promise<unknown>[] | undefined;
    for (const to of addressees) {
      const routed = this.route(stanza.with({ to }), origin);
      if (routed !== undefined) (waiting ??= []).push(routed);
    }
    return waiting && Promise.all(waiting).then(() => {});
  }

  isUntouched(stanza: Stanza): boolean {
    if (this.#asked?.stanza !== stanza)
      this.#asked = { stanza, isUntouched: this.hooks.skips.every((skips) => skips?.(stanza) === true) };
    return this.#asked.isUntouched;
  }

  acknowledgeAfter(stanza: Stanza, origin: Origin, done: Promise<unknown>, what: Awaited = 'disk'): void {
    const message = origin instanceof MessageOnItsWay ? origin : undefined;
    const told = done.catch((error: unknown) => {
      if (message?.isRefused) return;
      if (message !== undefined) message.isRefused = true;
      this.refuse(stanza, error, origin);
    });
    (message?.origin ?? origin).acknowledgeAfter(told, what);
  }

  /** A session has ended: it answers nothing that it was asked. */
  unanswered(session: Session): void {
    if (this.#asks.size === 0) return;
    for (const [id, ask] of this.#asks) {
      if (!ask.to.equals(session.jid)) continue;
      this.#asks.delete(id);
      clearTimeout(ask.timer);
      ask.reject(new StanzaError('recipient-unavailable'));
    }
  }

  /** Requests of `ask` that wait for an answer. */
  get asking(): number {
    return this.#asks.size;
  }

  ask(request: Stanza, { timeoutMs = askTimeoutMs }: { timeoutMs?: number } = {}): Promise<Stanza> {
    const { to } = request;
    if (to === undefined) throw new Error('a question needs an addressee');
    const holder = this.holderOf(to);
    if (this.#askPlaces.take(holder) !== undefined) {
      this.limitHit('asks');
      return Promise.reject(new StanzaError('resource-constraint'));
    }
    const id = randomId();
    const answer = new Promise<Stanza>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#asks.delete(id);
        reject(new StanzaError('remote-server-timeout'));
      }, timeoutMs);
      timer.unref();
      this.#asks.set(id, { to, resolve, reject, timer });
      void this.route(request.with({ id, from: request.from ?? this.jid }));
    });
    const give = () => this.#askPlaces.give(holder);
    answer.then(give, give);
    return answer;
  }

  emit<E extends keyof Events>(name: E, event: Events[E]): Maybe<void> {
    const handlers = this.hooks.events.get(name);
    return handlers === undefined ? undefined : this.#each(handlers, event as never, `event ${name}`);
  }

  /** Tells the modules of a session. Never rejects. */
  tell(moment: SessionMoment, session: Session): Maybe<void> {
    return this.#each(this.hooks.sessions[moment], session, `session ${moment}`);
  }

  /** Calls all, whatever becomes of each: one that fails is logged and hurts no other. */
  #each<T>(handlers: readonly ((argument: T) => Maybe<void>)[], argument: T, what: string): Maybe<void> {
    let waiting: Promise<void>[] | undefined;
    const failed = (error: unknown) => this.#parts.log.error({ err: error }, `${what} failed`);
    for (const handler of handlers) {
      try {
        const done = handler(argument);
        if (done !== undefined) (waiting ??= []).push(done.catch(failed));
      } catch (error) {
        failed(error);
      }
    }
    return waiting === undefined ? undefined : Promise.all(waiting).then(() => {});
  }

  #every(ms: number, handler: () => Maybe<void>): NodeJS.Timeout {
    let running = false;
    const run = async () => handler();
    const done = () => {
      running = false;
    };
    const failed = (error: unknown) => {
      running = false;
      this.#parts.log.error({ err: error }, 'a periodic task failed');
    };
    const timer = setInterval(() => {
      if (running) return;
      running = true;
      run().then(done, failed);
    }, ms);
    timer.unref();
    return timer;
  }

  // --- from a session of this host ----------------------------------------------------------------------------

  /** What one of the host's own sessions says, as it was admitted. Never throws: what is refused is answered. */
  fromSession(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    this.#trace(stanza, 'received');
    try {
      const done =
        stanza.name === 'message'
          ? this.#messageOut(stanza, session, origin)
          : stanza.name === 'presence'
            ? this.#presenceOut(stanza, session, origin)
            : this.#iqOut(stanza, session, origin);
      return done?.catch((error: unknown) => this.refuse(stanza, error, origin));
    } catch (error) {
      this.refuse(stanza, error, origin);
    }
  }

  #messageOut(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const owner = session.jid.toBare();
    const peer = stanza.to ?? owner; // RFC 6121 §8.1.1.1
    this.prefetch(owner);
    this.#parts.router.prefetch(peer);
    const passage = new MessageOnItsWay(
      this,
      'out',
      owner,
      peer,
      stanza.to === undefined ? stanza.with({ to: owner }) : stanza,
      this.sessions(owner.bare),
      origin,
    );
    const admitted = peer.bare === owner.bare ? undefined : this.#admit(passage);
    return admitted === undefined ? this.#send(passage) : admitted.then(() => this.#send(passage));
  }

  #send(passage: MessageOnItsWay): Maybe<void> {
    const done = run(this.#outgoing, passage);
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
      return this.#parts.router.route(passage.stanza, passage)?.catch(refused);
    } catch (error) {
      refused(error);
    }
  }

  /** Its error comes in behind the copies, through the account, as from any other server. */
  #bounce({ stanza, refusal, isRefused }: MessageOnItsWay): Maybe<void> {
    const error = refusal === undefined || isRefused ? undefined : this.refusalOf(stanza, refusal);
    if (error === undefined) return undefined;
    // Not by way of the router, where a gate would hold back what seems to come from those who are shut out.
    try {
      return this.receive(error, serverOrigin)?.catch((failed: unknown) => this.refuse(error, failed, serverOrigin));
    } catch (failed) {
      this.refuse(error, failed, serverOrigin);
    }
  }

  #presenceOut(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const { presence } = this.hooks;
    if (presence === undefined) throw new StanzaError('service-unavailable');
    const owner = session.jid.toBare();
    const passage: Passage = { way: 'out', owner, peer: stanza.to ?? owner, stanza, origin };
    const go = () => {
      const adorned = inOrder(this.hooks.adorn, passage);
      return adorned === undefined ? presence(passage) : adorned.then(() => presence(passage));
    };
    const admitted = passage.peer.bare === owner.bare ? undefined : this.#admit(passage);
    return admitted === undefined ? go() : admitted.then(go);
  }

  #iqOut(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const { to } = stanza;
    const isRequest = stanza.type === 'get' || stanza.type === 'set';
    // RFC 6120 §10.3.3: without `to` the server acts for the account.
    if (to === undefined) {
      if (isRequest) return this.#answer(this.hooks.account, session.jid.toBare(), stanza, origin);
      return;
    }
    if (!isRequest || to.bare === session.jid.bare || to.full === this.domain)
      return this.#parts.router.route(stanza, origin);
    const admitted = this.#admit({ way: 'out', owner: session.jid.toBare(), peer: to, stanza, origin });
    if (admitted === undefined) return this.#parts.router.route(stanza, origin);
    return admitted.then(() => this.#parts.router.route(stanza, origin));
  }

  prefetch({ bare, local }: Jid): void {
    if (local === undefined || this.#prefetched.get(bare) !== undefined) return;
    this.#prefetched.set(bare, true);
    const owner = Jid.parse(bare);
    const reads = [this.accounts.exists(bare), ...this.hooks.prefetches.map((handler) => handler(owner))];
    // Whoever needs a value meets its failure.
    for (const read of reads) if (read instanceof Promise) read.catch(() => {});
  }

  // --- for the host or an account of it -----------------------------------------------------------------------

  receive(stanza: Stanza, origin: Origin): Maybe<void> {
    const to = stanza.to!;
    if (to.local === undefined) return this.#toServer(stanza, to, origin);
    const sessions = this.sessions(to.bare);
    if (sessions.length > 0) return this.#toAccount(stanza, to, sessions, origin);
    const exists = this.#parts.accounts.exists(to.bare);
    if (typeof exists === 'boolean')
      return exists ? this.#toAccount(stanza, to, sessions, origin) : this.#toNobody(stanza, to, origin);
    return exists.then((there) =>
      there ? this.#toAccount(stanza, to, this.sessions(to.bare), origin) : this.#toNobody(stanza, to, origin),
    );
  }

  /** A message for several sessions of one account. */
  #toSessions(stanza: Stanza, addressees: readonly Jid[], origin: Origin): Maybe<void> {
    const sessions = this.sessions(addressees[0]!.bare);
    const present = addressees.filter(({ resource }) => sessions.some(({ jid }) => jid.resource === resource));
    const to = present[0] ?? addressees[0]!;
    const addressed = stanza.with({ to });
    if (present.length < 2) return this.route(addressed, origin);
    try {
      if (this.#parts.router.isStopped(addressed, to, origin)) return;
      const done = this.#toAccount(addressed, to, sessions, origin, present);
      return done?.catch((error: unknown) => this.refuse(addressed, error, origin));
    } catch (error) {
      this.refuse(addressed, error, origin);
    }
  }

  /** RFC 6121 §8.5.1: an account that is not there. */
  #toNobody(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    if (stanza.name === 'presence' || stanza.type === 'headline') return;
    if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set')) {
      // What modules refuse is refused with the same words where there is nobody.
      const admitted = this.#admit({ way: 'in', owner: to.toBare(), peer: stanza.from!, stanza, origin });
      if (admitted !== undefined) return admitted.then(() => this.#iqToNobody(stanza, to, origin));
      return this.#iqToNobody(stanza, to, origin);
    }
    throw new StanzaError('service-unavailable');
  }

  #iqToNobody(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    const { ns, name } = firstChild(stanza);
    const entry = to.resource === undefined ? this.hooks.account.get(iqKey(stanza.type!, ns, name)) : undefined;
    if (entry?.absent !== true) throw new StanzaError('service-unavailable');
    return this.#answer(this.hooks.account, to, stanza, origin, true);
  }

  #toServer(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    if (stanza.name === 'presence') {
      const waiting = this.hooks.serverPresences
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
    if (stanza.type === 'get' || stanza.type === 'set') return this.#answer(this.hooks.server, to, stanza, origin);
    this.#answered(stanza);
  }

  /** `from`: the first handler that has not been asked. */
  #messageToServer(stanza: Stanza, origin: Origin, from: number): Maybe<void> {
    const handlers = this.hooks.serverMessages;
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

  #toAccount(
    stanza: Stanza,
    to: Jid,
    sessions: readonly Session[],
    origin: Origin,
    addressees?: readonly Jid[],
  ): Maybe<void> {
    const owner = to.toBare();
    const peer = stanza.from ?? owner;
    if (stanza.name === 'message') {
      const passage = new MessageOnItsWay(this, 'in', owner, peer, stanza, sessions, origin, addressees);
      const admitted = peer.bare === owner.bare ? undefined : this.#admit(passage);
      if (admitted !== undefined) return admitted.then(() => this.#messageIn(passage));
      return this.#messageIn(passage);
    }
    if (stanza.name === 'presence') {
      const { presence } = this.hooks;
      if (presence === undefined) return;
      const passage: Passage = { way: 'in', owner, peer, stanza, origin };
      try {
        const admitted = peer.bare === owner.bare ? undefined : this.#admit(passage);
        // XEP-0191 §3: presence that is not admitted vanishes.
        return admitted === undefined ? presence(passage) : admitted.then(() => presence(passage), silently);
      } catch (error) {
        silently(error);
        return;
      }
    }
    if (peer.bare === owner.bare) return this.#iqIn(stanza, to, origin);
    const go = (isHidden: boolean): Maybe<void> => {
      if (!isHidden) return this.#iqIn(stanza, to, origin);
      if (stanza.type === 'get' || stanza.type === 'set') return this.#iqToNobody(stanza, to, origin);
    };
    const hidden = this.#isHidden({ way: 'in', owner, peer, stanza, origin });
    return typeof hidden === 'boolean' ? go(hidden) : hidden.then(go);
  }

  /**
   * Runs the `admit` hooks for an IQ; true if one of them hides the account from its sender. The others run all the
   * same, since their refusals are what the sender hears of an account that does not exist.
   */
  #isHidden(passage: Passage, first = 0, isHidden = false): Maybe<boolean> {
    const { admit } = this.hooks;
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
    if (stanza.type === 'get' || stanza.type === 'set') return this.#answer(this.hooks.account, to, stanza, origin);
    this.#answered(stanza);
  }

  /** RFC 6121 §8.5.3: an IQ for a resource. */
  #iqToSession(stanza: Stanza, to: Jid): void {
    const session = this.session(to);
    if (session !== undefined) session.send(stanza);
    else if (stanza.type === 'get' || stanza.type === 'set') throw new StanzaError('service-unavailable');
  }

  #messageIn(passage: MessageOnItsWay): Maybe<void> {
    const { stanza, sessions } = passage;
    const { type } = stanza;
    const resource = stanza.to!.resource;
    // §8.5.3.2.1: no such resource. Chat goes on as if to the bare JID; what else is said to it is kept by nobody.
    if (resource !== undefined && type !== 'chat' && type !== 'error')
      if (!sessions.some(({ jid }) => jid.resource === resource)) {
        if (type === 'headline') return;
        throw new StanzaError('service-unavailable');
      }
    const done = run(this.#incoming, passage);
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
      this.#trace(stanza, 'delivered', passage.deliveredTo);
      for (const session of passage.deliveredTo) session.send(passage.seen.with({ to: session.jid }), passage.receipt);
      return;
    }
    if (resource !== undefined) {
      for (const session of sessions) {
        if (session.jid.resource !== resource) continue;
        passage.deliveredTo = [session];
        this.#trace(stanza, 'delivered', passage.deliveredTo);
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
    this.#trace(stanza, 'delivered', present);
    for (const session of present) session.send(passage.seen, passage.receipt);
  }

  /** A stanza's way can be followed by its id, at level debug: never its content. */
  #trace(stanza: Stanza, what: string, sessions?: readonly Session[]): void {
    const { log } = this.#parts;
    if (!log.isLevelEnabled('debug')) return;
    const { name, id, type, from, to } = stanza;
    const resources = sessions?.map(({ jid }) => jid.resource);
    log.debug({ stanza: name, id, type, from: from?.full, to: to?.full, resources }, what);
  }

  /** Nobody took it: modules may keep it, else the sender hears of it where RFC 6121 §8.5 says so. */
  #absent(passage: MessagePassage): Maybe<void> {
    this.#trace(passage.stanza, 'nobody there');
    const done = run(this.hooks.messages.absent, passage);
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
      return this.refuse(stanza, new StanzaError('service-unavailable'), serverOrigin);
    if (stanza.name !== 'message' || to === undefined || from?.bare === session.jid.bare) return;
    const passage = new MessageOnItsWay(this, 'in', to.toBare(), from ?? to.toBare(), stanza, [], serverOrigin);
    try {
      const done = run(this.hooks.messages.absent, passage);
      if (done instanceof Promise)
        return done.then(
          () => {},
          (error: unknown) => this.refuse(stanza, error, serverOrigin),
        );
    } catch (error) {
      this.refuse(stanza, error, serverOrigin);
    }
  }

  // --- services -------------------------------------------------------------------------------------------------

  #toService(service: Service, table: ReadonlyMap<string, IqEntry>, stanza: Stanza, origin: Origin): Maybe<void> {
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
      if (table.has(key)) return this.#answer(table, stanza.to!, stanza, origin);
      if (stanza.to!.resource === undefined && this.hooks.anyService.has(key))
        return this.#answer(this.hooks.anyService, stanza.to!, stanza, origin);
    } else if (stanza.id !== undefined && this.#asks.has(stanza.id)) {
      return this.#answered(stanza);
    }
    const unhandled = (outcome: 'unhandled' | void) => {
      if (outcome === 'unhandled' && isRequest) throw new StanzaError('service-unavailable');
    };
    const outcome = service.iq === undefined ? 'unhandled' : service.iq(stanza, origin);
    return outcome instanceof Promise ? outcome.then(unhandled) : unhandled(outcome);
  }

  // --- IQ -------------------------------------------------------------------------------------------------------

  /** Answers a get or set with the handler of its payload: exactly once, whatever the handler does. */
  #answer(table: ReadonlyMap<string, IqEntry>, to: Jid, stanza: Stanza, origin: Origin, isAbsent = false): Maybe<void> {
    const { ns, name } = firstChild(stanza);
    const entry = table.get(iqKey(stanza.type!, ns, name));
    const from = stanza.from!;
    if (entry === undefined) throw new StanzaError('service-unavailable');
    const permitted = this.permits(entry.access, from, to);
    if (typeof permitted !== 'boolean')
      return permitted.then((yes) => this.#call(entry, yes, to, stanza, origin, isAbsent));
    return this.#call(entry, permitted, to, stanza, origin, isAbsent);
  }

  #call(entry: IqEntry, permitted: boolean, to: Jid, stanza: Stanza, origin: Origin, isAbsent: boolean): Maybe<void> {
    const from = stanza.from!;
    if (!permitted) throw new StanzaError(entry.access === 'admins' ? 'forbidden' : 'service-unavailable');
    const request = new Request(stanza, from, to, origin.session, isAbsent);
    // What a client asks for waits until it has taken what it was sent; what it changes does not.
    if (stanza.type === 'get' && origin.session?.hasRoom === false)
      return this.#pour(later(entry.handler, request), stanza, origin);
    const answer = entry.handler(request);
    if (answer instanceof Promise) return answer.then((payload) => this.#answerWith(stanza, payload, origin));
    return this.#answerWith(stanza, answer, origin);
  }

  #answerWith(request: Stanza, answer: IqAnswer, origin: Origin): Maybe<void> {
    return isSource(answer) ? this.#pour(answer, request, origin) : this.#succeed(request, answer, origin);
  }

  /** An answer in several stanzas. */
  #pour(source: Source<Payload>, request: Stanza, origin: Origin): Maybe<void> {
    const { session } = origin;
    if (session === undefined) return this.#routeAll(source, request, origin);
    return session.pour(source, {
      size: request.content.length,
      done: (payload) => this.#succeed(request, payload, origin),
      failed: (error) => this.refuse(request, error, origin),
      stopped: () =>
        this.refuse(request, new StanzaError('resource-constraint', 'Ask again.', { type: 'wait' }), origin),
    });
  }

  async #routeAll(source: Source<Payload>, request: Stanza, origin: Origin): Promise<void> {
    for (;;) {
      const room = this.#parts.router.room(request.from!);
      if (room !== undefined) await room;
      const { done, value } = await source.next();
      if (done === true) return this.#succeed(request, value, origin);
      if (value instanceof Promise) await value;
      else if (typeof value === 'object') await this.route(value);
    }
  }

  /** What was changed is said to be, once those who were told of it cannot come back as if they had not been. */
  #succeed(request: Stanza, payload: Element | undefined | void, origin: Origin): Maybe<void> {
    const result = request.result(payload ?? undefined);
    const outdating = request.type === 'set' ? this.#parts.outdating?.() : undefined;
    return outdating === undefined ? this.reply(result, origin) : outdating.then(() => this.reply(result, origin));
  }

  /** Whether `from` may ask the account, server or service `to`. */
  permits(access: Access, from: Jid, to: Jid): Maybe<boolean> {
    switch (access) {
      case 'anyone':
        return true;
      case 'users':
        return from.domain === this.domain && from.local !== undefined;
      case 'owner':
        return from.bare === to.bare;
      case 'contacts':
        return from.bare === to.bare || this.#seesPresence(from, to.bare);
      case 'admins':
        return this.isAdmin(from);
    }
  }

  /** Subscribed to the owner's presence, and not blocked. */
  #seesPresence(who: Jid, owner: string): Maybe<boolean> {
    const { roster, blocking } = this.services;
    const isHeard = (sees: boolean): Maybe<boolean> => {
      if (!sees) return false;
      const blocked = blocking?.isBlocked(owner, who) ?? false;
      return typeof blocked === 'boolean' ? !blocked : blocked.then((one) => !one);
    };
    const sees = roster?.sees(owner, who) ?? false;
    return typeof sees === 'boolean' ? isHeard(sees) : sees.then(isHeard);
  }

  /** A result or error that answers one of `ask`: believed only from whom it was asked. */
  #answered(stanza: Stanza): void {
    const { id, from } = stanza;
    const ask = id === undefined ? undefined : this.#asks.get(id);
    if (ask === undefined || from === undefined || !from.equals(ask.to)) return;
    this.#asks.delete(id!);
    clearTimeout(ask.timer);
    if (stanza.type === 'result') ask.resolve(stanza);
    else ask.reject(errorOf(stanza));
  }

  /** Sends an answer back to where the stanza came from. Never rejects. */
  reply(stanza: Stanza, origin: Origin): Maybe<void> {
    const { session } = origin;
    if (session !== undefined && (stanza.to === undefined || stanza.to.full === session.jid.full)) {
      session.send(stanza);
      return;
    }
    if (stanza.to !== undefined && stanza.from !== undefined) return this.route(stanza, serverOrigin);
  }

  /**
   * Answers a stanza with what stopped it. A StanzaError is the peer's doing; a StorageError the disk's; anything else
   * is our bug, logged, and hurts this stanza alone. Errors and results are never answered (RFC 6120 §8.3.1).
   */
  refuse(stanza: Stanza, error: unknown, origin: Origin): void {
    const answer = this.refusalOf(stanza, error);
    if (answer !== undefined) void this.reply(answer, origin);
  }

  /** The answer that refuses a stanza; undefined if it must not be answered. What is our fault is logged. */
  refusalOf(stanza: Stanza, error: unknown): Stanza | undefined {
    const refusal = error instanceof StanzaError ? error : this.#ourFault(stanza, error);
    this.#trace(stanza, `refused: ${refusal.condition}`);
    if (stanza.type === 'error' || (stanza.name === 'iq' && stanza.type === 'result')) return undefined;
    return stanza.error(refusal);
  }

  #ourFault(stanza: Stanza, error: unknown): StanzaError {
    const about = { err: error, stanza: stanza.name, id: stanza.id, type: stanza.type };
    if (error instanceof StorageError) {
      // One account's lack of room is no failure of the storage.
      if (error.failure !== 'quota') this.#storageFailures.note(error, about);
      return storageRefusal(error);
    }
    this.#parts.log.error(about, 'a stanza failed');
    return new StanzaError('internal-server-error', undefined, { type: 'wait' });
  }

  /** The storage failed lately: what has to be kept is delivered once it is kept, and refused otherwise. */
  get isStorageFailing(): boolean {
    return this.#storageFailures.isFailing;
  }

  admits(stanza: Stanza): Maybe<boolean> {
    const { from, to } = stanza;
    if (from === undefined || to === undefined || from.bare === to.bare) return true;
    const passage: Passage = { way: 'out', owner: from.toBare(), peer: to, stanza, origin: serverOrigin };
    const refused = (error: unknown) => {
      silently(error);
      return false;
    };
    try {
      return this.#admit(passage)?.then(() => true, refused) ?? true;
    } catch (error) {
      return refused(error);
    }
  }

  /** Runs the modules' `admit` hooks. */
  #admit(passage: Passage): Promise<void> | undefined {
    return inOrder(this.hooks.admit, passage);
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

/** Calls one handler after the other; allocates a promise only from the first one that waits. */
function inOrder(
  handlers: readonly ((passage: Passage) => Maybe<void>)[],
  passage: Passage,
): Promise<void> | undefined {
  for (let index = 0; index < handlers.length; index++) {
    const waiting = handlers[index]!(passage);
    if (waiting !== undefined) return waiting.then(() => inOrderFrom(handlers, passage, index + 1));
  }
  return undefined;
}

async function inOrderFrom(
  handlers: readonly ((passage: Passage) => Maybe<void>)[],
  passage: Passage,
  from: number,
): Promise<void> {
  for (let index = from; index < handlers.length; index++) await handlers[index]!(passage);
}

/** Runs handlers in order until one says 'handled'; allocates a promise only from the first one that waits. */
function run(
  handlers: readonly MessageHandler[],
  passage: MessagePassage,
): 'handled' | undefined | Promise<'handled' | undefined> {
  for (let index = 0; index < handlers.length; index++) {
    const outcome = handlers[index]!(passage);
    if (outcome === undefined) continue;
    if (outcome === 'handled') return outcome;
    return runFrom(handlers, passage, index + 1, outcome as Promise<'handled' | undefined>);
  }
  return undefined;
}

async function runFrom(
  handlers: readonly MessageHandler[],
  passage: MessagePassage,
  from: number,
  first: Promise<'handled' | undefined | void>,
): Promise<'handled' | undefined> {
  if ((await first) === 'handled') return 'handled';
  for (let index = from; index < handlers.length; index++)
    if ((await handlers[index]!(passage)) === 'handled') return 'handled';
  return undefined;
}

/** Calls a handler once it is its turn. */
async function* later(handler: IqHandler, request: IqRequest): AsyncGenerator<Stanza | number | undefined, Payload> {
  const answer = await handler(request);
  return isSource(answer) ? yield* answer as AsyncGenerator<Stanza, Payload> : answer;
}

function firstChild(stanza: Stanza): { ns: string; name: string } {
  for (const child of stanza.childNames()) return child;
  throw new StanzaError('bad-request');
}

/** Whether a refusal hides the account; throws every other. */
function hides(error: unknown): boolean {
  if (error instanceof StanzaError && error.options.hides === true) return true;
  throw error;
}

function silently(error: unknown): void {
  if (!(error instanceof StanzaError)) throw error;
}

/** The StanzaError that an error reply carries. */
function errorOf(stanza: Stanza): StanzaError {
  const error: Element | undefined = stanza.child(NS.client, 'error');
  const children = error?.getChildElements() ?? [];
  const name = children.find((child) => child.getNS() === NS.stanzas && child.name !== 'text')?.name ?? '';
  const extra = children.filter((child) => child.getNS() !== NS.stanzas);
  return new StanzaError(isStanzaErrorCondition(name) ? name : 'undefined-condition', undefined, { extra });
}
