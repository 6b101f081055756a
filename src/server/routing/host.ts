/**
 * One host (a domain of the server): passes stanzas through the accounts they concern, answers IQs, and is what its
 * modules reach of the server (`Host` of module/host.ts).
 */

import type { Logger } from 'pino';
import { Recent } from '../../storage/recent.js';
import type { Accounts } from '../accounts/index.js';
import { Jid } from '../address/jid.js';
import type { Config } from '../config/schema.js';
import type { Maybe } from '../maybe.js';
import type { Access, AskOptions, Events, Host, Service, Services, SessionMoment } from '../module/index.js';
import { StanzaError, type StreamError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { isLonger } from './admission.js';
import { Answers, firstChild } from './answers.js';
import { Asks } from './asks.js';
import { chosen } from './audience.js';
import type { SessionDirectory } from './directory.js';
import { Hooks, type IqEntry, iqKey } from './hooks.js';
import { callAll, inOrder } from './in-order.js';
import { Messages } from './messages.js';
import type { Awaited, Origin, Passage } from './passage.js';
import { periodically } from './periodic.js';
import { permits } from './permits.js';
import { Questions } from './questions.js';
import { Refusals } from './refusals.js';
import { type Destination, type Router, serverOrigin } from './router.js';
import type { Session } from './session.js';
import { trace } from './trace.js';

/** The parts of a host; it makes everything else itself. */
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
  /** Resolves once every stale session snapshot has been deleted. Returns undefined if there is none. */
  invalidating?(): Promise<unknown> | undefined;
  /** The network address of an anonymous account with a session. Returns undefined for other accounts. */
  anonymousAt?(bare: string): string | undefined;
}

/** A stanza of up to this size may go to any number of recipients, in bytes. */
const alwaysFansOut = 16_384;

/** As many accounts as modules have in their caches. */
const mostPrefetched = 20_000;

export class LocalHost implements Host, Destination {
  readonly jid: Jid;
  hooks: Hooks;
  services: Partial<Services> = {};
  readonly #parts: HostParts;
  readonly #router: Router;
  readonly #refusals: Refusals;
  readonly #messages: Messages;
  readonly #answers: Answers;
  readonly #asks: Asks;
  readonly #questions: Questions;
  #timers: NodeJS.Timeout[] = [];
  /** The last result of `isUntouched`. */
  #asked: { readonly stanza: Stanza; readonly isUntouched: boolean } | undefined;
  /** Accounts whose data modules have read ahead. */
  readonly #prefetched = new Recent<true>(mostPrefetched);

  constructor(parts: HostParts) {
    this.#parts = parts;
    this.jid = Jid.parse(parts.domain);
    this.hooks = new Hooks(parts.domain, []);
    this.#router = parts.router;
    this.#refusals = new Refusals(parts.log, this);
    this.#messages = new Messages({
      router: parts.router,
      refusals: this.#refusals,
      log: parts.log,
      sessions: (bare) => parts.directory.of(bare),
      prefetch: (owner) => this.prefetch(owner),
      receive: (stanza, origin) => this.receive(stanza, origin),
    });
    this.#answers = new Answers(this, parts);
    this.#asks = new Asks(this, parts.router);
    this.#questions = new Questions(this, parts.router);
  }

  /** Installs the hooks. */
  start(hooks: Hooks): void {
    this.hooks = hooks;
    this.#messages.start(hooks);
    for (const { domain, service, iq } of hooks.services())
      this.#router.add(domain, {
        receive: (stanza, origin) => this.#toService(service, iq, stanza, origin),
        isAwaited: this.isAwaited,
      });
    for (const isClosed of hooks.gates)
      for (const domain of [this.domain, ...hooks.services().map((service) => service.domain)])
        this.#router.guard(domain, isClosed);
    this.#timers = hooks.timers.map((timer) =>
      periodically(
        timer,
        (job) => this.#router.hasJob(`${job}@${this.domain}`),
        (error) => this.#parts.log.error({ err: error }, 'a periodic task of a module failed'),
      ),
    );
  }

  stop(): void {
    this.#refusals.end();
    for (const timer of this.#timers) clearInterval(timer);
    this.#asks.end();
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
    const text = `With this many recipients, a stanza may have at most ${limit} bytes.`;
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
    return this.#router.isLocal(domain);
  }

  isAdmin(jid: Jid): Maybe<boolean> {
    if (jid.domain !== this.domain || jid.local === undefined) return false;
    if (this.config.hosts[this.domain]?.admins.includes(jid.bare) === true) return true;
    const account = this.#parts.accounts.get(jid.bare);
    return account instanceof Promise ? account.then((one) => one?.role === 'admin') : account?.role === 'admin';
  }

  permits(access: Access, from: Jid, to: Jid): Maybe<boolean> {
    return permits(this, access, from, to);
  }

  /** Never rejects: a refusal is sent to the sender. */
  route(stanza: Stanza, origin: Origin = serverOrigin): Maybe<void> {
    try {
      const routed = this.#router.route(stanza, origin);
      return routed?.catch((error: unknown) => this.refuse(stanza, error, origin));
    } catch (error) {
      this.refuse(stanza, error, origin);
    }
  }

  routeToAll(stanza: Stanza, addressees: readonly Jid[], origin: Origin = serverOrigin): Maybe<void> {
    const [first] = addressees;
    if (first === undefined) return;
    const destination = this.#router.destination(first.domain);
    if (addressees.length > 1 && stanza.name === 'message' && destination instanceof LocalHost) {
      const away = this.#router.wayTo(first);
      if (away === undefined) return this.#router.during(first, destination.routeAllHere(stanza, addressees, origin));
      if (this.#router.isStopped(stanza, first, origin)) return;
      return this.#router.sendAway(away, stanza, addressees, origin);
    }
    let waiting: Promise<unknown>[] | undefined;
    for (const to of addressees) {
      const routed = this.route(stanza.with({ to }), origin);
      if (routed !== undefined) (waiting ??= []).push(routed);
    }
    return waiting && Promise.all(waiting).then(() => {});
  }

  /** As `route`, for an address whose home is here. */
  routeHere(stanza: Stanza, origin: Origin): Maybe<void> {
    try {
      const routed = this.#router.routeHere(stanza, origin);
      return routed?.catch((error: unknown) => this.refuse(stanza, error, origin));
    } catch (error) {
      this.refuse(stanza, error, origin);
    }
  }

  isUntouched(stanza: Stanza): boolean {
    if (this.#asked?.stanza !== stanza)
      this.#asked = { stanza, isUntouched: this.hooks.skips.every((skips) => skips?.(stanza) === true) };
    return this.#asked.isUntouched;
  }

  acknowledgeAfter(stanza: Stanza, origin: Origin, done: Promise<unknown>, what?: Awaited): void {
    this.#messages.acknowledgeAfter(stanza, origin, done, what);
  }

  ask(request: Stanza, options?: AskOptions): Promise<Stanza> {
    return this.#asks.ask(request, options);
  }

  sendFor(owner: Jid, message: Stanza, origin: Origin): Maybe<void> {
    return this.#messages.out(message, owner, origin);
  }

  roomFor(to: Jid): Promise<void> | undefined {
    return this.#router.room(to);
  }

  readonly peerStreams: Host['peerStreams'] = () => this.#router.peerStreams();
  readonly askHome: Host['askHome'] = (question, owner, given) => this.#questions.atHome(question, owner, given);
  readonly askNodes: Host['askNodes'] = (question, given) => this.#questions.atNodes(question, given);

  /**
   * Asks at the home of an address at another node. Returns undefined if its home is here. Rejects with StanzaError.
   */
  askAway(request: Stanza, to: Jid, timeoutMs: number): Promise<Stanza> | undefined {
    const away = this.#router.askingWay(to);
    return away && this.#router.askAway(away, request, to, this.domain, timeoutMs);
  }
  readonly isAwaited = (stanza: Stanza): boolean => this.#asks.isAnswer(stanza);

  /** These entities have gone: rejects the requests that they have not answered. */
  unanswered(by: (to: Jid) => boolean): void {
    this.#asks.unanswered(by);
  }

  /** Pending requests of `ask`. */
  get asking(): number {
    return this.#asks.size;
  }

  /** Never rejects. */
  emit<E extends keyof Events>(name: E, event: Events[E]): Maybe<void> {
    const handlers = this.hooks.events.get(name);
    return handlers && callAll(handlers, event as never, this.#failed(`event ${name}`));
  }

  /** Notifies modules of a session. Never rejects. */
  notify(moment: SessionMoment, session: Session): Maybe<void> {
    return callAll(this.hooks.sessions[moment], session, this.#failed(`session ${moment}`));
  }

  #failed(what: string): (error: unknown) => void {
    return (error) => this.#parts.log.error({ err: error }, `${what} failed`);
  }

  // --- from a session of this host ----------------------------------------------------------------------------

  /** An admitted stanza of one of the host's sessions. Never throws: refusals are sent to the session. */
  fromSession(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    trace(this.#parts.log, stanza, 'received');
    try {
      const done =
        stanza.name === 'message'
          ? this.#messages.out(stanza, session.jid.toBare(), origin)
          : stanza.name === 'presence'
            ? this.#presenceOut(stanza, session, origin)
            : this.#iqOut(stanza, session, origin);
      return done?.catch((error: unknown) => this.refuse(stanza, error, origin));
    } catch (error) {
      this.refuse(stanza, error, origin);
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
    const admitted = passage.peer.bare === owner.bare ? undefined : inOrder(this.hooks.admit, passage);
    return admitted === undefined ? go() : admitted.then(go);
  }

  #iqOut(stanza: Stanza, session: Session, origin: Origin): Maybe<void> {
    const { to } = stanza;
    const isRequest = stanza.type === 'get' || stanza.type === 'set';
    // RFC 6120 §10.3.3: without `to`, the server acts on behalf of the account.
    if (to === undefined) {
      if (isRequest) return this.#answers.answer(this.hooks.account, session.jid.toBare(), stanza, origin);
      return;
    }
    if (!isRequest || to.bare === session.jid.bare || to.full === this.domain)
      return this.#router.route(stanza, origin);
    const admitted = inOrder(this.hooks.admit, { way: 'out', owner: session.jid.toBare(), peer: to, stanza, origin });
    if (admitted === undefined) return this.#router.route(stanza, origin);
    return admitted.then(() => this.#router.route(stanza, origin));
  }

  prefetch({ bare, local }: Jid): void {
    if (local === undefined || this.#prefetched.get(bare) !== undefined) return;
    this.#prefetched.set(bare, true);
    const owner = Jid.parse(bare);
    const reads = [this.accounts.exists(bare), ...this.hooks.prefetches.map((handler) => handler(owner))];
    // A failed read is reported by the code that needs the value.
    for (const read of reads) if (read instanceof Promise) read.catch(() => {});
  }

  // --- for the host or an account of it -----------------------------------------------------------------------

  receive(stanza: Stanza, origin: Origin): Maybe<void> {
    const to = stanza.to!;
    if (to.local === undefined) return this.#toServer(stanza, to, origin);
    const sessions = this.sessions(to.bare);
    if (origin.audience !== undefined) {
      const addressees = chosen(origin.audience, to, sessions, this.services.clientCaps);
      const first = addressees?.[0];
      if (first !== undefined) return this.#toAccount(stanza.with({ to: first }), first, sessions, origin, addressees);
      if (addressees !== undefined) return;
    }
    if (sessions.length > 0) return this.#toAccount(stanza, to, sessions, origin);
    const exists = this.#parts.accounts.exists(to.bare);
    if (typeof exists === 'boolean')
      return exists ? this.#toAccount(stanza, to, sessions, origin) : this.#toMissingAccount(stanza, to, origin);
    return exists.then((yes) =>
      yes ? this.#toAccount(stanza, to, this.sessions(to.bare), origin) : this.#toMissingAccount(stanza, to, origin),
    );
  }

  /** A message for several sessions of one account whose home is here. Never rejects. */
  routeAllHere(stanza: Stanza, addressees: readonly Jid[], origin: Origin): Maybe<void> {
    const sessions = this.sessions(addressees[0]!.bare);
    const present = addressees.filter(({ resource }) => sessions.some(({ jid }) => jid.resource === resource));
    const to = present[0] ?? addressees[0]!;
    const addressed = stanza.with({ to });
    if (present.length < 2) return this.routeHere(addressed, origin);
    try {
      if (this.#router.isStopped(addressed, to, origin)) return;
      const done = this.#toAccount(addressed, to, sessions, origin, present);
      return done?.catch((error: unknown) => this.refuse(addressed, error, origin));
    } catch (error) {
      this.refuse(addressed, error, origin);
    }
  }

  /** RFC 6121 §8.5.1: the account does not exist. */
  #toMissingAccount(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    if (stanza.name === 'presence' || stanza.type === 'headline') return;
    if (stanza.name === 'iq' && (stanza.type === 'get' || stanza.type === 'set')) {
      // Modules refuse it with the same error as for an existing account.
      const admitted = inOrder(this.hooks.admit, { way: 'in', owner: to.toBare(), peer: stanza.from!, stanza, origin });
      if (admitted !== undefined) return admitted.then(() => this.#iqToMissingAccount(stanza, to, origin));
      return this.#iqToMissingAccount(stanza, to, origin);
    }
    throw new StanzaError('service-unavailable');
  }

  #iqToMissingAccount(stanza: Stanza, to: Jid, origin: Origin): Maybe<void> {
    const { ns, name } = firstChild(stanza);
    const entry = to.resource === undefined ? this.hooks.account.get(iqKey(stanza.type!, ns, name)) : undefined;
    if (entry?.absent !== true) throw new StanzaError('service-unavailable');
    return this.#answers.answer(this.hooks.account, to, stanza, origin, true);
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
    if (stanza.type === 'get' || stanza.type === 'set')
      return this.#answers.answer(this.hooks.server, to, stanza, origin);
    this.#asks.answered(stanza);
  }

  /** `from`: index of the next handler. */
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
    if (stanza.name === 'message') return this.#messages.in(stanza, owner, peer, sessions, origin, addressees);
    if (stanza.name === 'presence') {
      const { presence } = this.hooks;
      if (presence === undefined) return;
      const passage: Passage = { way: 'in', owner, peer, stanza, origin };
      try {
        const admitted = peer.bare === owner.bare ? undefined : inOrder(this.hooks.admit, passage);
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
    if (stanza.type === 'get' || stanza.type === 'set')
      return this.#answers.answer(this.hooks.account, to, stanza, origin);
    this.#asks.answered(stanza);
  }

  /** RFC 6121 §8.5.3: an IQ for a resource. */
  #iqToSession(stanza: Stanza, to: Jid): void {
    const session = this.session(to);
    if (session !== undefined) session.send(stanza);
    else if (stanza.type === 'get' || stanza.type === 'set') throw new StanzaError('service-unavailable');
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
      if (table.has(key)) return this.#answers.answer(table, stanza.to!, stanza, origin);
      if (stanza.to!.resource === undefined && this.hooks.anyService.has(key))
        return this.#answers.answer(this.hooks.anyService, stanza.to!, stanza, origin);
    } else if (stanza.id !== undefined && this.#asks.has(stanza.id)) {
      return this.#asks.answered(stanza);
    }
    const unhandled = (outcome: 'unhandled' | void) => {
      if (outcome === 'unhandled' && isRequest) throw new StanzaError('service-unavailable');
    };
    const outcome = service.iq === undefined ? 'unhandled' : service.iq(stanza, origin);
    return outcome instanceof Promise ? outcome.then(unhandled) : unhandled(outcome);
  }

  /** Sends an answer to where the stanza came from. Never rejects. */
  reply(stanza: Stanza, origin: Origin): Maybe<void> {
    const { session } = origin;
    if (session !== undefined && (stanza.to === undefined || stanza.to.full === session.jid.full)) {
      session.send(stanza);
      return;
    }
    if (stanza.to !== undefined && stanza.from !== undefined) return this.route(stanza, serverOrigin);
  }

  /** As `Refusals.refuse`. */
  refuse(stanza: Stanza, error: unknown, origin: Origin): void {
    this.#refusals.refuse(stanza, error, origin);
  }

  /** As `Refusals.refusalOf`. */
  refusalOf(stanza: Stanza, error: unknown): Stanza | undefined {
    return this.#refusals.refusalOf(stanza, error);
  }

  /** As `Messages.undeliverable`. Never rejects. */
  undeliverable(stanza: Stanza, session: Session): Maybe<void> {
    return this.#messages.undeliverable(stanza, session);
  }

  /** Whether the storage failed recently: messages are then delivered only after they are stored. */
  get isStorageFailing(): boolean {
    return this.#refusals.isStorageFailing;
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
      return inOrder(this.hooks.admit, passage)?.then(() => true, refused) ?? true;
    } catch (error) {
      return refused(error);
    }
  }
}

/** Whether a refusal hides the account; rethrows every other error. */
function hides(error: unknown): boolean {
  if (error instanceof StanzaError && error.options.hides === true) return true;
  throw error;
}

function silently(error: unknown): void {
  if (!(error instanceof StanzaError)) throw error;
}
