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
import type { Access, AskOptions, Events, Host, PasswordCheck, Services, SessionMoment } from '../module/index.js';
import type { StreamError } from '../stanza/errors.js';
import type { Stanza } from '../stanza/stanza.js';
import { Answers } from './answers.js';
import { Asks } from './asks.js';
import type { SessionDirectory } from './directory.js';
import { demandFanOut } from './fan-out.js';
import { Hooks } from './hooks.js';
import { callAll, inOrder } from './in-order.js';
import { Incoming, silently } from './incoming.js';
import { Messages } from './messages.js';
import { Outgoing } from './outgoing.js';
import type { Awaited, Origin, Passage } from './passage.js';
import { periodically } from './periodic.js';
import { permits } from './permits.js';
import { Questions } from './questions.js';
import { Refusals } from './refusals.js';
import { type Destination, type Router, raisedOrigin, serverOrigin } from './router.js';
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
  /** `Host.publicUrl`. */
  publicUrl(): string | undefined;
  limitHit(limit: string): void;
  end(session: Session, reason: StreamError): void;
  readonly canRestart: boolean;
  halt(how: 'stop' | 'restart'): Promise<void>;
  /** See `Host.exportOf`. */
  exportOf(host: LocalHost, owner: Jid): AsyncIterable<string>;
  /** See `Host.checkPassword`. */
  checkPassword(host: LocalHost, ...given: Parameters<Host['checkPassword']>): Maybe<PasswordCheck>;
  /** Resolves once every stale session snapshot has been deleted. Returns undefined if there is none. */
  invalidating?(): Promise<unknown> | undefined;
  /** The network address of an anonymous account with a session. Returns undefined for other accounts. */
  anonymousAt?(bare: string): string | undefined;
}

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
  readonly #incoming: Incoming;
  readonly #outgoing: Outgoing;
  /** Pending requests of `ask`. */
  readonly asks: Asks;
  readonly #questions: Questions;
  #timers: NodeJS.Timeout[] = [];
  #isStopped = false;
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
    this.asks = new Asks(this, parts.router);
    const answers = new Answers(this, parts);
    this.#incoming = new Incoming(this, this.#messages, answers);
    this.#outgoing = new Outgoing(this, parts.router, this.#messages, answers);
    this.#questions = new Questions(this, parts.router);
  }

  /** Installs the hooks. */
  start(hooks: Hooks): void {
    this.hooks = hooks;
    this.#messages.start(hooks);
    for (const { domain, service, iq } of hooks.services())
      this.#router.add(domain, {
        receive: (stanza, origin) => this.#incoming.toService(service, iq, stanza, origin),
        isAwaited: this.isAwaited,
      });
    for (const isClosed of hooks.gates)
      for (const domain of [this.domain, ...hooks.services().map((service) => service.domain)])
        this.#router.guard(domain, isClosed);
    this.#timers = hooks.timers.map((timer) =>
      periodically(
        timer,
        (job) => this.#router.hasJob(`${job}@${this.domain}`),
        (error) => {
          // One that was running when the server stopped finds the storage closed.
          if (!this.#isStopped) this.#parts.log.error({ err: error }, 'a periodic task of a module failed');
        },
      ),
    );
  }

  stop(): void {
    this.#isStopped = true;
    this.#refusals.end();
    for (const timer of this.#timers) clearInterval(timer);
    this.asks.end();
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
  get publicUrl(): string | undefined {
    return this.#parts.publicUrl();
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
    demandFanOut(this, content, recipients);
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

  livesHere(jid: Jid): boolean {
    return this.#router.wayTo(jid) === undefined;
  }

  get node(): string | undefined {
    return this.#router.node;
  }

  isMember(node: string): boolean {
    return this.#router.isMember(node);
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
    return this.asks.ask(request, options);
  }

  sendFor(owner: Jid, message: Stanza, origin: Origin): Maybe<void> {
    return this.#messages.out(message, owner, origin);
  }

  roomFor(to: Jid): Promise<void> | undefined {
    return this.#router.room(to);
  }

  readonly peerStreams: Host['peerStreams'] = () => this.#router.peerStreams();
  readonly isDenied: Host['isDenied'] = (domain) => this.#router.isDenied(this.domain, domain);
  readonly askHome: Host['askHome'] = (question, owner, given) => this.#questions.atHome(question, owner, given);
  readonly askNodes: Host['askNodes'] = (question, given) => this.#questions.atNodes(question, given);

  /**
   * Asks at the home of an address at another node. Returns undefined if its home is here. Rejects with StanzaError.
   */
  askAway(request: Stanza, to: Jid, timeoutMs: number, isSent: boolean): Promise<Stanza> | undefined {
    const away = this.#router.askingWay(to);
    return away && this.#router.askAway(away, request, to, { domain: this.domain, timeoutMs, isSent });
  }
  readonly exportOf = (owner: Jid): AsyncIterable<string> => this.#parts.exportOf(this, owner);
  readonly checkPassword: Host['checkPassword'] = (...given) => this.#parts.checkPassword(this, ...given);
  readonly isAwaited = (stanza: Stanza): boolean => this.asks.isAnswer(stanza);

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
      return this.#outgoing
        .pass(stanza, session, origin)
        ?.catch((error: unknown) => this.refuse(stanza, error, origin));
    } catch (error) {
      this.refuse(stanza, error, origin);
    }
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
    return this.#incoming.receive(stanza, origin);
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
      const done = this.#incoming.toAccount(addressed, to, sessions, origin, present);
      return done?.catch((error: unknown) => this.refuse(addressed, error, origin));
    } catch (error) {
      this.refuse(addressed, error, origin);
    }
  }

  /** Sends an answer to where the stanza came from. Never rejects. */
  reply(stanza: Stanza, origin: Origin): Maybe<void> {
    const { session } = origin;
    if (session !== undefined && (stanza.to === undefined || stanza.to.full === session.jid.full)) {
      session.send(stanza);
      return;
    }
    const { to, from, type } = stanza;
    if (to === undefined || from === undefined) return;
    // An error for a client that is still connected: rooms do not take it for gone.
    const isRaised = type === 'error' && this.session(from) !== undefined;
    return this.route(stanza, isRaised ? raisedOrigin : serverOrigin);
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
