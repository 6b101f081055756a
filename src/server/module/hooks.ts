/** Kinds of hooks: what `start` returns, and the functions that create them. */

import type { z } from 'zod';
import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { MessagePassage, Origin, Passage, Step } from '../routing/passage.js';
import type { Session } from '../routing/session.js';
import type { SessionState } from '../routing/session-state.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Element } from '../xml/element.js';
import type { Command } from './commands.js';
import type { DiscoSource } from './disco.js';
import type { Events } from './events.js';
import type { HttpHandler, HttpMethod, HttpOptions } from './http.js';
import type { Order } from './order.js';
import type { Portable } from './portable.js';
import type { Question, QuestionHandler } from './questions.js';
import type { Access, Diversion, IqHandler, Payload, Target, UnauthenticatedRequest } from './requests.js';

/** A stream before it has a session. */
export interface StreamInfo {
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** 'tcp', 'tls', 'websocket' … */
  readonly kind: string;
  /** Set once authenticated. */
  readonly account: Jid | undefined;
}

/** A port that a module opened. */
export interface ModuleListener {
  /** Kind of the port for administrators: `SOCKS5 proxy`. */
  readonly kind: string;
  readonly address: string;
  readonly port: number;
}

/** A Prometheus metric, read on demand and summed over hosts. */
export interface ModuleMetric {
  /** The name of a counter ends in `_total`. */
  readonly name: `waxwing_${string}`;
  readonly help: string;
  read(): number;
}

export type Hook =
  | {
      readonly kind: 'iq';
      readonly type: 'get' | 'set';
      readonly target: Target;
      readonly ns: string;
      readonly name: string;
      readonly access: Access;
      readonly absent: boolean;
      readonly asksOthers: boolean;
      readonly handler: IqHandler;
    }
  | {
      readonly kind: 'unauthenticatedIq';
      readonly type: 'get' | 'set';
      readonly ns: string;
      readonly name: string;
      readonly handler: (request: UnauthenticatedRequest) => Maybe<Payload>;
    }
  | { readonly kind: 'divert'; readonly handler: DivertHandler; readonly order: Order }
  | { readonly kind: 'admit'; readonly handler: (passage: Passage) => Maybe<void>; readonly order: Order }
  | { readonly kind: 'gate'; readonly handler: Gate }
  | { readonly kind: 'serverGate'; readonly handler: ServerGate }
  | {
      readonly kind: 'message';
      readonly step: Step;
      readonly handler: MessageHandler;
      readonly order: Order;
      readonly skips: ((stanza: Stanza) => boolean) | undefined;
    }
  | { readonly kind: 'presence'; readonly handler: PresenceHandler }
  | { readonly kind: 'adorn'; readonly handler: PresenceHandler; readonly order: Order }
  | { readonly kind: 'serverMessage'; readonly handler: ServerMessageHandler; readonly order: Order }
  | {
      readonly kind: 'session';
      readonly moment: SessionMoment;
      readonly handler: (session: Session) => Maybe<void>;
      readonly order: Order;
    }
  | {
      readonly kind: 'event';
      readonly name: keyof Events;
      readonly handler: (event: never) => Maybe<void>;
      readonly order: Order;
    }
  | { readonly kind: 'serverPresence'; readonly handler: ServerPresenceHandler }
  | { readonly kind: 'moves'; readonly memory: Memory<unknown> }
  | { readonly kind: 'metric'; readonly metric: ModuleMetric }
  | { readonly kind: 'listens'; readonly bound: () => readonly ModuleListener[] }
  | {
      readonly kind: 'every';
      readonly ms: number;
      readonly of: PeriodicOf;
      readonly handler: () => Maybe<void>;
    }
  | { readonly kind: 'disco'; readonly target: Target; readonly source: DiscoSource }
  | { readonly kind: 'command'; readonly command: Command }
  | {
      readonly kind: 'streamFeature';
      readonly phase: 'unauthenticated' | 'authenticated';
      readonly feature: (stream: StreamInfo) => Element | undefined;
    }
  | {
      readonly kind: 'inline';
      readonly ns: string;
      readonly name: string;
      readonly handler: (session: Session, element: Element) => Element | undefined | void;
    }
  | { readonly kind: 'binding'; readonly handler: BindingHandler }
  | { readonly kind: 'derive'; readonly state: SessionState; readonly handler: Derivation<unknown> }
  | { readonly kind: 'prefetch'; readonly handler: PrefetchHandler }
  | { readonly kind: 'service'; readonly service: Service }
  | { readonly kind: 'portable'; readonly portable: Portable }
  | {
      readonly kind: 'http';
      readonly method: HttpMethod;
      readonly path: string;
      readonly handler: HttpHandler;
      readonly options: HttpOptions;
    }
  | {
      readonly kind: 'question';
      readonly question: Question<never, unknown>;
      readonly handler: QuestionHandler<never, unknown>;
    };

/** The returned element is added to `<bound/>`. */
export type BindingHandler = (session: Session) => Maybe<Element | undefined | void>;

export type MessageHandler = (passage: MessagePassage) => Maybe<'handled' | undefined | void>;
/** Handles outgoing and incoming presence of an account, once admitted. Exactly one module has this hook: RFC 6121. */
export type PresenceHandler = (passage: Passage) => Maybe<void>;
/** Handles a message to the host itself. */
export type ServerMessageHandler = (stanza: Stanza, origin: Origin) => Maybe<'handled' | undefined | void>;
/**
 * bound: ready to send; its first stanza is deferred until the handlers resolve, so they must not query the client.
 * hibernated: the connection is lost, and the client may resume (XEP-0198). resumed: back on a new connection. gone: ended
 * for good.
 */
export type SessionMoment = 'bound' | 'hibernated' | 'resumed' | 'gone';

/** A subdomain served by the module: rooms, pubsub. */
export interface Service {
  readonly subdomain: string;
  /** Handles messages. The default refuses them. */
  message?(stanza: Stanza, origin: Origin): Maybe<void>;
  /** Handles presence. The default ignores it. */
  presence?(stanza: Stanza, origin: Origin): Maybe<void>;
  /**
   * Handles IQs without a hook for target 'service', and results and errors: rooms relay them to occupants. 'unhandled'
   * answers service-unavailable.
   */
  iq?(stanza: Stanza, origin: Origin): Maybe<'unhandled' | void>;
}

export interface IqOptions {
  readonly access?: Access;
  /**
   * Target account: also call the handler for accounts that do not exist, and for accounts whose owner has blocked the
   * sender, so that it can give the same answer for all. Otherwise the answer is service-unavailable (RFC 6121 §8.5.1).
   */
  readonly absent?: boolean;
  /**
   * The handler waits for answers from others (`host.ask`). The sender's stream continues meanwhile, as no stream waits
   * for a network.
   */
  readonly asksOthers?: boolean;
}

const iqHook =
  (type: 'get' | 'set') =>
  (target: Target, ns: string, name: string, handler: IqHandler, options: IqOptions = {}): Hook => ({
    kind: 'iq',
    type,
    target,
    ns,
    name,
    handler,
    access: options.access ?? (target === 'account' ? 'owner' : 'anyone'),
    absent: options.absent ?? false,
    asksOthers: options.asksOthers ?? false,
  });

/**
 * Answers IQs by the namespace and name of their payload. Target account: only the account itself may ask, unless
 * `access` says otherwise. Target service: serves the module's own service; a module without one serves every service,
 * at addresses without a resource, that does not handle the payload itself.
 */
export const iq = { get: iqHook('get'), set: iqHook('set') } as const;

/** Returns undefined to leave the request to others. `to` is the account if the stanza has no `to`. */
export type DivertHandler = (stanza: Stanza, to: Jid, origin: Origin) => Diversion | undefined;

/**
 * Answers requests to the host or to its existing accounts in place of the modules that have hooks for them. Called for
 * each such request, so the handler must be fast.
 */
export const divert = (handler: DivertHandler, order: Order = {}): Hook => ({ kind: 'divert', handler, order });

/** Answers IQs on unauthenticated streams. */
export const unauthenticatedIq = (
  type: 'get' | 'set',
  ns: string,
  name: string,
  handler: (request: UnauthenticatedRequest) => Maybe<Payload>,
): Hook => ({ kind: 'unauthenticatedIq', type, ns, name, handler });

/** @deprecated Renamed to `unauthenticatedIq`. */
export const strangerIq = unauthenticatedIq;

/**
 * May refuse (StanzaError) any stanza between an account and another entity; runs first. Not called for stanzas from an
 * account to itself.
 */
export const admit = (handler: (passage: Passage) => Maybe<void>, order: Order = {}): Hook => ({
  kind: 'admit',
  handler,
  order,
});

/** Whether an address is barred from the host and its services, in both directions. */
export type Gate = (party: Jid) => boolean;
/** Bars addresses from the host and its services, in both directions. */
export const gate = (handler: Gate): Hook => ({ kind: 'gate', handler });

/** Whether the host and its services have no streams to and from the servers of a domain. */
export type ServerGate = (domain: string) => boolean;
/** Bars other servers, unless a rule of the configuration (`s2s.domains`) decides. Open streams are closed. */
export const serverGate = (handler: ServerGate): Hook => ({ kind: 'serverGate', handler });

/** Ordering applies within the step. */
export interface MessageOptions extends Order {
  /**
   * Step `clean`: messages from services of this server that the handler leaves unchanged for every account that has
   * not blocked the sender. Without it the handler is called for each of them (`Host.isUntouched`).
   */
  readonly skips?: (stanza: Stanza) => boolean;
}

/** Adds a handler to a step of message delivery. */
export const message = (step: Step, handler: MessageHandler, options: MessageOptions = {}): Hook => ({
  kind: 'message',
  step,
  handler,
  order: options,
  skips: options.skips,
});
export const presence = (handler: PresenceHandler): Hook => ({ kind: 'presence', handler });
/** May replace outgoing presence of a session, directed or broadcast, before it is processed (`passage.stanza`). */
export const adorn = (handler: PresenceHandler, order: Order = {}): Hook => ({ kind: 'adorn', handler, order });
/**
 * Handles messages to the host itself: called until a handler returns 'handled'. An unhandled message is refused as
 * usual.
 */
export const serverMessage = (handler: ServerMessageHandler, order: Order = {}): Hook => ({
  kind: 'serverMessage',
  handler,
  order,
});
/** Handlers are called in order but run concurrently: a pending one does not delay the others. */
export const session = (
  moment: SessionMoment,
  handler: (session: Session) => Maybe<void>,
  order: Order = {},
): Hook => ({ kind: 'session', moment, handler, order });
/** Handlers are called like those of `session`. */
export const event = <E extends keyof Events>(
  name: E,
  handler: (event: Events[E]) => Maybe<void>,
  order: Order = {},
): Hook => ({ kind: 'event', name, handler, order });
/**
 * Scope of a periodic task. 'node' (default): every node runs it, for what it has in memory. A job covers the whole
 * cluster, for what is in the storage: one node runs it at a time, identified by name, but two runs may overlap when it
 * moves to another node, so it must be idempotent.
 */
export type PeriodicOf = 'node' | { readonly job: string };
/** What a module has only in memory about addresses, and must move with them to another node of a cluster. */
export interface Memory<T> {
  /** Unique among all modules. */
  readonly name: string;
  readonly schema: z.ZodType<T>;
  /** The state of addresses that are about to move, after `leaving`. Changes nothing: they may stay. */
  describe(concerns: (bare: string) => boolean): Iterable<readonly [bare: string, state: T]>;
  /** Goes on with the state at the new home, after `moved` and before anything else is done for the address. */
  restore(bare: string, state: T): void;
}
/** Moves state of addresses to their new homes. Event `moved` drops it at the old ones. */
export const moves = <T>(memory: Memory<T>): Hook => ({ kind: 'moves', memory: memory as Memory<unknown> });
/** Runs about every `ms` milliseconds while the host runs. Runs never overlap. */
export const every = (ms: number, handler: () => Maybe<void>, of: PeriodicOf = 'node'): Hook => ({
  kind: 'every',
  ms,
  of,
  handler,
});
/** Handles presence to the host itself. */
export type ServerPresenceHandler = (stanza: Stanza, origin: Origin) => Maybe<void>;
/** Receives all presence sent to the host itself. */
export const serverPresence = (handler: ServerPresenceHandler): Hook => ({ kind: 'serverPresence', handler });
/** Reports the ports opened by the module, for status and the log. */
export const listens = (bound: () => readonly ModuleListener[]): Hook => ({ kind: 'listens', bound });
/** Adds a Prometheus metric. */
export const metric = (metric: ModuleMetric): Hook => ({ kind: 'metric', metric });
export const disco = (target: Target, source: DiscoSource): Hook => ({ kind: 'disco', target, source });
export const command = (command: Command): Hook => ({ kind: 'command', command });
/** Adds an element to `<stream:features/>`. The phase `stranger` is the deprecated name of `unauthenticated`. */
export const streamFeature = (
  phase: 'unauthenticated' | 'authenticated' | 'stranger',
  feature: (stream: StreamInfo) => Element | undefined,
): Hook => ({ kind: 'streamFeature', phase: phase === 'stranger' ? 'unauthenticated' : phase, feature });
/**
 * Adds a feature that clients may request while binding (XEP-0386 §5, inline features); the returned element is added
 * to `<bound/>`.
 */
export const inline = (
  ns: string,
  name: string,
  handler: (session: Session, element: Element) => Element | undefined | void,
): Hook => ({ kind: 'inline', ns, name, handler });
/**
 * Adds information for every client that binds by XEP-0386. The session is already bound: stanzas sent to it before all
 * handlers resolve follow the answer.
 */
export const binding = (handler: BindingHandler): Hook => ({ kind: 'binding', handler });
/** Returns undefined if the value cannot be determined now. */
export type Derivation<T> = (session: Session) => T | undefined;
/**
 * Derives a session state of this module from other data when the session is saved. While that is not possible, the
 * session is not saved for a crash. A restored session has the saved value.
 */
export const derive = <T>(state: SessionState<T>, handler: Derivation<NoInfer<T>>): Hook => ({
  kind: 'derive',
  state,
  handler,
});
/** Returns the pending read. A failed read is reported again to the code that needs the value. */
export type PrefetchHandler = (owner: Jid) => unknown;
/**
 * Starts reading what a message from or to an account needs into the module's caches, so that all modules read at once
 * instead of one after the other. Called if the account has been inactive for some time.
 */
export const prefetch = (handler: PrefetchHandler): Hook => ({ kind: 'prefetch', handler });
export const service = (service: Service): Hook => ({ kind: 'service', service });
/** Exports and imports the module's part of an account (XEP-0227). A module has at most one such hook. */
export const portable = (portable: Portable): Hook => ({ kind: 'portable', portable });
/**
 * Answers HTTP requests for a path of the host, under its name or the name of one of its services. The first configured
 * host also serves requests for unknown names. HEAD is answered like GET unless it has its own hook.
 */
export const http = (method: HttpMethod, path: string, handler: HttpHandler, options: HttpOptions = {}): Hook => ({
  kind: 'http',
  method,
  path,
  handler,
  options,
});
/** Answers `host.askHome` and `host.askNodes` of the same module. */
export const answers = <Given, Answer>(
  question: Question<Given, Answer>,
  handler: QuestionHandler<Given, Answer>,
): Hook => ({ kind: 'question', question: question as Question<never, unknown>, handler }) as Hook;
