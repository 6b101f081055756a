/** The kinds of hook: what `start` returns, and the functions that make them. */
import type { MessagePassage, Origin, Passage, Step } from '../routing/passage.js';
import type { Session } from '../routing/session.js';
import type { SessionState } from '../routing/session-state.js';
import type { Jid } from '../stanza/jid.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Element } from '../xml/element.js';
import type { Command } from './commands.js';
import type { DiscoSource } from './disco.js';
import type { Events } from './events.js';
import type { HttpHandler, HttpMethod, HttpOptions } from './http.js';
import type { Order } from './order.js';
import type { Question, QuestionHandler } from './questions.js';
import type { Access, IqHandler, Payload, StrangerRequest, Target } from './requests.js';

/** What a stream offers or is asked, before modules know a session of it. */
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
  /** What it is, as admins read it: `SOCKS5 proxy`. */
  readonly kind: string;
  readonly address: string;
  readonly port: number;
}

/** A number for Prometheus, read when it is asked for and added up over the hosts. */
export interface ModuleMetric {
  /** A counter's ends in `_total`. */
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
      readonly kind: 'strangerIq';
      readonly type: 'get' | 'set';
      readonly ns: string;
      readonly name: string;
      readonly handler: (request: StrangerRequest) => Payload | Promise<Payload>;
    }
  | { readonly kind: 'admit'; readonly handler: (passage: Passage) => void | Promise<void>; readonly order: Order }
  | { readonly kind: 'gate'; readonly handler: Gate }
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
      readonly handler: (session: Session) => void | Promise<void>;
      readonly order: Order;
    }
  | {
      readonly kind: 'event';
      readonly name: keyof Events;
      readonly handler: (event: never) => void | Promise<void>;
      readonly order: Order;
    }
  | { readonly kind: 'serverPresence'; readonly handler: ServerPresenceHandler }
  | { readonly kind: 'metric'; readonly metric: ModuleMetric }
  | { readonly kind: 'listens'; readonly bound: () => readonly ModuleListener[] }
  | {
      readonly kind: 'every';
      readonly ms: number;
      readonly of: PeriodicOf;
      readonly handler: () => void | Promise<void>;
    }
  | { readonly kind: 'disco'; readonly target: Target; readonly source: DiscoSource }
  | { readonly kind: 'command'; readonly command: Command }
  | {
      readonly kind: 'streamFeature';
      readonly phase: 'stranger' | 'authenticated';
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

/** The element goes into `<bound/>`. */
export type BindingHandler = (session: Session) => Element | undefined | void | Promise<Element | undefined | void>;

export type MessageHandler = (
  passage: MessagePassage,
) => 'handled' | undefined | void | Promise<'handled' | undefined | void>;
/** Presence on its way out of or into an account, after it was admitted. Exactly one module hooks it: RFC 6121. */
export type PresenceHandler = (passage: Passage) => void | Promise<void>;
/** A message to the host itself. */
export type ServerMessageHandler = (
  stanza: Stanza,
  origin: Origin,
) => 'handled' | undefined | void | Promise<'handled' | undefined | void>;
/** bound: ready to send; its first stanza waits for the handlers, so they must not ask its client. resumed: back on a new connection (XEP-0198). gone: for good. */
export type SessionMoment = 'bound' | 'resumed' | 'gone';

/** A subdomain of the host that the module answers for: rooms, pubsub. */
export interface Service {
  readonly subdomain: string;
  /** IQs for which the module has hooks with target 'service' go there; all else comes here. Default: it does not chat. */
  message?(stanza: Stanza, origin: Origin): void | Promise<void>;
  /** Default: it does not mind. */
  presence?(stanza: Stanza, origin: Origin): void | Promise<void>;
  /** IQs that nobody claims, results and errors: rooms pass them on to occupants. 'unhandled' answers service-unavailable. */
  iq?(stanza: Stanza, origin: Origin): 'unhandled' | void | Promise<'unhandled' | void>;
}

export interface IqOptions {
  readonly access?: Access;
  /**
   * Target account: the handler is asked for accounts that do not exist too, and for those whose owners have blocked
   * the asker, so that it can answer for all of them alike. Otherwise the answer is service-unavailable (RFC 6121
   * §8.5.1).
   */
  readonly absent?: boolean;
  /** The handler waits for what others answer (`host.ask`): who asked is read on meanwhile, as nobody waits for a network. */
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
 * Answers IQs by the namespace and name of their payload. Accounts answer only themselves unless `access` says more.
 * Target service: for the module's own service; where it has none, for every service, at addresses without a resource,
 * that does not answer the payload itself.
 */
export const iq = { get: iqHook('get'), set: iqHook('set') } as const;

/** Answers IQs on streams that have not authenticated. */
export const strangerIq = (
  type: 'get' | 'set',
  ns: string,
  name: string,
  handler: (request: StrangerRequest) => Payload | Promise<Payload>,
): Hook => ({ kind: 'strangerIq', type, ns, name, handler });

/**
 * May refuse (StanzaError) any stanza between an account and another party, before all else. Not called for what an account
 * says to itself.
 */
export const admit = (handler: (passage: Passage) => void | Promise<void>, order: Order = {}): Hook => ({
  kind: 'admit',
  handler,
  order,
});

/** Whether the host and its services are closed to an address: neither side hears the other. */
export type Gate = (party: Jid) => boolean;
/** Closes the host and its services to addresses, whatever they say and whatever is said to them. */
export const gate = (handler: Gate): Hook => ({ kind: 'gate', handler });

/** The order is that of the step. */
export interface MessageOptions extends Order {
  /**
   * Step `clean`: which messages from services of this server the handler leaves as they are, whichever account they come
   * in to, provided that it has not blocked them. Without this it looks at each of them (`Host.isUntouched`).
   */
  readonly skips?: (stanza: Stanza) => boolean;
}

/** Takes part in a step. */
export const message = (step: Step, handler: MessageHandler, options: MessageOptions = {}): Hook => ({
  kind: 'message',
  step,
  handler,
  order: options,
  skips: options.skips,
});
export const presence = (handler: PresenceHandler): Hook => ({ kind: 'presence', handler });
/**
 * May put something else in the place of presence that a session says, to one or to all, before it goes on its way
 * (`passage.stanza`).
 */
export const adorn = (handler: PresenceHandler, order: Order = {}): Hook => ({ kind: 'adorn', handler, order });
/** Is asked for every message to the host itself until one says 'handled'; the others are refused as they were. */
export const serverMessage = (handler: ServerMessageHandler, order: Order = {}): Hook => ({
  kind: 'serverMessage',
  handler,
  order,
});
/** They are called in order, and not one after the other: one that waits holds up no other. */
export const session = (
  moment: SessionMoment,
  handler: (session: Session) => void | Promise<void>,
  order: Order = {},
): Hook => ({ kind: 'session', moment, handler, order });
/** Called like those of a session. */
export const event = <E extends keyof Events>(
  name: E,
  handler: (event: Events[E]) => void | Promise<void>,
  order: Order = {},
): Hook => ({ kind: 'event', name, handler, order });
/**
 * Whose periodic work it is. 'node', the default: of each node, which does it for what it has in memory. A job is of the whole cluster,
 * for what is in the storage: at any time one node does it, by its name, though two may overlap when it moves; so it has to
 * be work that may be done twice.
 */
export type PeriodicOf = 'node' | { readonly job: string };
/** Runs about every `ms` milliseconds while the host runs; never overlapping itself. */
export const every = (ms: number, handler: () => void | Promise<void>, of: PeriodicOf = 'node'): Hook => ({
  kind: 'every',
  ms,
  of,
  handler,
});
/** Presence to the host itself. */
export type ServerPresenceHandler = (stanza: Stanza, origin: Origin) => void | Promise<void>;
/** Hears all presence that is sent to the host itself. */
export const serverPresence = (handler: ServerPresenceHandler): Hook => ({ kind: 'serverPresence', handler });
/** Tells what the module listens on by itself, for status and the log. */
export const listens = (bound: () => readonly ModuleListener[]): Hook => ({ kind: 'listens', bound });
/** A number of the module's, for Prometheus. */
export const metric = (metric: ModuleMetric): Hook => ({ kind: 'metric', metric });
export const disco = (target: Target, source: DiscoSource): Hook => ({ kind: 'disco', target, source });
export const command = (command: Command): Hook => ({ kind: 'command', command });
/** Adds an element to `<stream:features/>`. */
export const streamFeature = (
  phase: 'stranger' | 'authenticated',
  feature: (stream: StreamInfo) => Element | undefined,
): Hook => ({ kind: 'streamFeature', phase, feature });
/** Something that a client may ask for while it binds (XEP-0386 §5, inline features); the element returned goes into `<bound/>`. */
export const inline = (
  ns: string,
  name: string,
  handler: (session: Session, element: Element) => Element | undefined | void,
): Hook => ({ kind: 'inline', ns, name, handler });
/**
 * Something that every client is told as it binds by XEP-0386. The session is bound already: what it is sent until all
 * have answered comes to the client behind the answer.
 */
export const binding = (handler: BindingHandler): Hook => ({ kind: 'binding', handler });
/** undefined: it cannot be told now. */
export type Derivation<T> = (session: Session) => T | undefined;
/**
 * A state of this module's is worked out when a session is written down, from what is known elsewhere. While it cannot
 * be, the session is not written down for a crash. A session that comes back has what was stored.
 */
export const derive = <T>(state: SessionState<T>, handler: Derivation<NoInfer<T>>): Hook => ({
  kind: 'derive',
  state,
  handler,
});
/** Returns what is being read; a failure is met again by whoever needs the value. */
export type PrefetchHandler = (owner: Jid) => unknown;
/**
 * Starts to read into the module's caches what a message from or to an account needs, so that all modules read at once and
 * not each when its step comes. Called when the account has not been heard of for long.
 */
export const prefetch = (handler: PrefetchHandler): Hook => ({ kind: 'prefetch', handler });
export const service = (service: Service): Hook => ({ kind: 'service', service });
/**
 * Answers requests over HTTP for a path of the host: under its name or that of one of its services. The first host of the
 * configuration also answers where a request names none of them. HEAD is answered like GET where it has no hook of its own.
 */
export const http = (method: HttpMethod, path: string, handler: HttpHandler, options: HttpOptions = {}): Hook => ({
  kind: 'http',
  method,
  path,
  handler,
  options,
});
/** Answers what the same module asks with `host.askHome` or `host.askNodes`. */
export const answers = <Given, Answer>(
  question: Question<Given, Answer>,
  handler: QuestionHandler<Given, Answer>,
): Hook => ({ kind: 'question', question: question as Question<never, unknown>, handler }) as Hook;
