/**
 * What a feature is: `defineModule()`. The top declares what others need to know (specifications, disco features,
 * configuration, stores, services); `start` returns its hooks. A module reaches only what `start` is given.
 */
import type { Logger } from 'pino';
import type { z } from 'zod';
import type {
  DocumentStore,
  LogEntry,
  LogOptions,
  LogPage,
  LogQuery,
  LogStore,
  MapStore,
  Reading,
} from '../storage/contract.js';
import type { Accounts } from './accounts.js';
import type { Receipt } from './routing/link.js';
import type { Source } from './routing/outflow.js';
import type { MessagePassage, Origin, Passage, Step } from './routing/passage.js';
import type { Session } from './routing/session.js';
import type { StreamError } from './stanza/errors.js';
import type { Jid } from './stanza/jid.js';
import type { Behalf } from './stanza/speaker.js';
import type { ChildName, Stanza } from './stanza/stanza.js';
import type { Element } from './xml/element.js';

// ---------------------------------------------------------------------------------------------------------------
// Stores

/** A store that a module declares; `start` finds it opened under the same name. */
export type StoreDeclaration<S = unknown> = Pick<LogDeclaration, 'text' | 'option'> &
  RecordDeclaration<unknown> & {
    readonly shape: 'document' | 'map' | 'log';
    readonly __store?: S;
  };

/** Stored records are input: without a schema a module gets whatever is stored. */
interface RecordDeclaration<T> {
  /** What a value is. One that is not is logged and counted, and `damaged` says what the module gets for it. */
  readonly value?: z.ZodType<T> | undefined;
  /** What a key is; of a document, its owner; of a log, the id. */
  readonly key?: z.ZodType<string> | undefined;
  /** See `Reading` of the storage contract; without it a damaged record is skipped. */
  readonly damaged?: Reading<T>['damaged'];
}

interface LogDeclaration extends Pick<LogOptions, 'text'>, Omit<RecordDeclaration<string>, 'damaged'> {
  /** The module's option (a boolean) without which nobody searches for words. */
  readonly option?: string;
}

export const document = <T>(records: RecordDeclaration<T> = {}): StoreDeclaration<DocumentStore<T>> =>
  ({ shape: 'document', ...records }) as StoreDeclaration<DocumentStore<T>>;
export const map = <T>(records: RecordDeclaration<T> = {}): StoreDeclaration<MapStore<T>> =>
  ({ shape: 'map', ...records }) as StoreDeclaration<MapStore<T>>;
export const log = (options: LogDeclaration = {}): StoreDeclaration<LogStore> => ({ shape: 'log', ...options });

type Opened<D> = D extends StoreDeclaration<infer S> ? S : never;

// ---------------------------------------------------------------------------------------------------------------
// Hooks

/**
 * Whom an IQ or a disco query is for: an account (`user@host`), the server itself (`host`), the module's own service
 * (`subdomain.host` and every address in it), or a stream that has not authenticated yet.
 */
export type Target = 'account' | 'server' | 'service';

/** Who may ask. What is not allowed looks like what does not exist. */
export type Access =
  /** Anybody, on whichever server. */
  | 'anyone'
  /** Users of this host. */
  | 'users'
  /** The account itself (target account). */
  | 'owner'
  /** The account itself and those who may see its presence (target account). */
  | 'contacts'
  /** Administrators of this host. */
  | 'admins';

export interface IqRequest {
  readonly stanza: Stanza;
  readonly from: Jid;
  /** The account, server or service that is asked; the sender's own account where the stanza has no `to`. */
  readonly to: Jid;
  /** The one child of the stanza. */
  readonly payload: Element;
  /** The session that asks, where it is one of ours. */
  readonly session: Session | undefined;
  /** Whether an account asks about itself. */
  readonly isOwn: boolean;
  /** There is no such account, or the asker must not learn of it: the answer is the same (`IqOptions.absent`). */
  readonly isAbsent: boolean;
}

type Payload = Element | undefined | void;

export type { Source } from './routing/outflow.js';

/**
 * Returning an element is the result, nothing an empty one, throwing a StanzaError the error (RFC 6120 §8.2.3). A generator
 * yields stanzas that go to the asker before the result that it returns, no faster than the asker's client takes them.
 */
export type IqHandler = (request: IqRequest) => IqAnswer | Promise<IqAnswer>;
export type IqAnswer = Payload | Source<Payload>;

/** An IQ on a stream that has not authenticated: in-band registration and the like. */
export interface StrangerRequest {
  readonly stanza: Stanza;
  readonly payload: Element;
  readonly secure: boolean;
  /** It is encrypted, or the configuration trusts the connection as much. */
  readonly trusted: boolean;
  readonly remoteAddress: string;
  /** Gives a person time to fill in a form: puts the login deadline off, once (`limits.registration_deadline_seconds`). */
  extendDeadline(): void;
}

export interface DiscoQuery {
  readonly from: Jid;
  readonly to: Jid;
  readonly node: string | undefined;
  /** The session that asks, where it is one of ours. */
  readonly session: Session | undefined;
  /** The `<query/>` itself. */
  readonly payload?: Element | undefined;
}

export interface Identity {
  readonly category: string;
  readonly type: string;
  readonly name?: string | undefined;
  readonly lang?: string | undefined;
}

/** An item of service discovery (XEP-0030 §4). */
export interface DiscoItem {
  readonly jid: string;
  readonly node?: string | undefined;
  readonly name?: string | undefined;
}

/**
 * What a module adds to an answer of service discovery (XEP-0030) besides its declared features. Each function may throw
 * a StanzaError, which then is the answer. `items` returns the whole list: disco sends it in pages (XEP-0059).
 */
export interface DiscoSource {
  /** The node that this source answers for; undefined: the address itself. A function claims whole families of nodes. */
  readonly node?: string | ((node: string) => boolean) | undefined;
  readonly access?: Access | undefined;
  identities?(query: DiscoQuery): readonly Identity[] | Promise<readonly Identity[]>;
  features?(query: DiscoQuery): readonly string[] | Promise<readonly string[]>;
  /** XEP-0128 forms. */
  forms?(query: DiscoQuery): readonly Element[] | Promise<readonly Element[]>;
  items?(query: DiscoQuery): readonly DiscoItem[] | Promise<readonly DiscoItem[]>;
  /** Most items in one answer; default: what disco allows. */
  readonly page?: number | undefined;
}

/** An ad-hoc command (XEP-0050). */
export interface Command {
  readonly node: string;
  readonly name: string;
  readonly target: Target;
  readonly access: Access;
  /** One step. `form` is the submitted form of this step; `state` what the step before returned. */
  run(step: CommandStep): CommandResult | Promise<CommandResult>;
}

export interface CommandStep {
  readonly request: IqRequest;
  readonly action: 'execute' | 'next' | 'prev' | 'complete';
  readonly form: Element | undefined;
  readonly state: unknown;
}

export type CommandResult =
  | {
      readonly status: 'executing';
      readonly state?: unknown;
      readonly actions?: readonly ('prev' | 'next' | 'complete')[];
      readonly payload: readonly Element[];
    }
  | {
      readonly status: 'completed';
      readonly payload?: readonly Element[];
      readonly note?: { readonly type: 'info' | 'warn' | 'error'; readonly text: string };
    };

/** What a stream offers or is asked, before modules know a session of it. */
export interface StreamInfo {
  readonly secure: boolean;
  readonly remoteAddress: string;
  /** 'tcp', 'tls', 'websocket' … */
  readonly kind: string;
  /** Set once authenticated. */
  readonly account: Jid | undefined;
}

/**
 * Things that happened, for whoever cares. Modules add theirs by declaration merging. A handler that returns a promise
 * is waited for by whoever `emit`s and awaits.
 */
export interface Events {
  accountCreated: { readonly jid: Jid };
  /** Somebody made the account by himself (XEP-0077); its creation has been told before. */
  accountRegistered: { readonly jid: Jid };
  /** The account is about to go: its stores still know it, and its sessions are still there. */
  accountDeleting: { readonly jid: Jid };
  /** Every store has forgotten the account already when this is told. */
  accountDeleted: { readonly jid: Jid; readonly isAnonymous?: boolean };
  passwordChanged: { readonly jid: Jid };
  /** An account is about to block the addresses that this covers (XEP-0191): what it says to them still arrives. */
  blocking: { readonly owner: Jid; covers(jid: Jid): boolean };
  accountDisabled: { readonly jid: Jid };
  /**
   * An account has another avatar, or none any more (XEP-0398); `hadOne`: it had one before. `sessions`: those whose clients
   * let the server show it.
   */
  avatarChanged: { readonly owner: Jid; readonly hadOne: boolean; readonly sessions: readonly Session[] };
  /** A session became available (RFC 6121 §4.2): its first available presence after being unavailable. */
  available: { readonly session: Session };
  /** A session that was available is so no more; `stanza` is the unavailable presence, made by us if it just vanished. */
  unavailable: { readonly session: Session; readonly stanza: Stanza };
  /** An available session sent another presence (RFC 6121 §4.4), which it has now; `before` and its priority went. */
  presenceChanged: { readonly session: Session; readonly before: Stanza; readonly priorityBefore: number };
  /** Presence, available or not, came to an account's bare address: of whoever it sees, or directed. */
  contactPresence: { readonly owner: Jid; readonly stanza: Stanza };
  /** A user's roster item changed: presence subscription, name or groups; undefined: it was removed, or not there before. */
  rosterChanged: {
    readonly owner: Jid;
    readonly contact: Jid;
    readonly item: RosterItem | undefined;
    readonly before: RosterItem | undefined;
  };
  /**
   * A session of the process before was taken up again: its client may come back, and believes what it knew then. Told to
   * all hosts, as the server starts; all such sessions are there. `seen`: full addresses of this server's sessions that it
   * knew as available.
   */
  revived: { readonly session: Session; readonly seen: readonly string[] };
  /** An account's own client was given these messages out of its archive. */
  archiveRead: { readonly owner: Jid; readonly ids: readonly string[] };
  /** The ports are open: modules with ports of their own open them now. */
  started: Record<string, never>;
  /** The configuration was read again. */
  reloaded: Record<string, never>;
  /** The server takes nothing any more, and is about to close all streams: what is said now is the last that clients hear. */
  stopping: Record<string, never>;
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
      readonly handler: IqHandler;
    }
  | {
      readonly kind: 'strangerIq';
      readonly type: 'get' | 'set';
      readonly ns: string;
      readonly name: string;
      readonly handler: (request: StrangerRequest) => Payload | Promise<Payload>;
    }
  | { readonly kind: 'admit'; readonly handler: (passage: Passage) => void | Promise<void> }
  | { readonly kind: 'gate'; readonly handler: Gate }
  | {
      readonly kind: 'message';
      readonly step: Step;
      readonly handler: MessageHandler;
      readonly after: readonly string[];
      readonly skips: ((stanza: Stanza) => boolean) | undefined;
    }
  | { readonly kind: 'presence'; readonly handler: PresenceHandler }
  | { readonly kind: 'adorn'; readonly handler: PresenceHandler }
  | { readonly kind: 'serverMessage'; readonly handler: ServerMessageHandler }
  | {
      readonly kind: 'session';
      readonly moment: SessionMoment;
      readonly handler: (session: Session) => void | Promise<void>;
    }
  | { readonly kind: 'event'; readonly name: keyof Events; readonly handler: (event: never) => void | Promise<void> }
  | { readonly kind: 'serverPresence'; readonly handler: ServerPresenceHandler }
  | { readonly kind: 'metric'; readonly metric: ModuleMetric }
  | { readonly kind: 'listens'; readonly bound: () => readonly ModuleListener[] }
  | { readonly kind: 'every'; readonly ms: number; readonly handler: () => void | Promise<void> }
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
  | { readonly kind: 'prefetch'; readonly handler: PrefetchHandler }
  | { readonly kind: 'service'; readonly service: Service };

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
) => 'handled' | undefined | void | Promise<'handled'>;
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

/** May refuse (StanzaError) any stanza between an account and another party, before all else. Not called for what an account says to itself. */
export const admit = (handler: (passage: Passage) => void | Promise<void>): Hook => ({ kind: 'admit', handler });

/** Whether the host and its services are closed to an address: neither side hears the other. */
export type Gate = (party: Jid) => boolean;
/** Closes the host and its services to addresses, whatever they say and whatever is said to them. */
export const gate = (handler: Gate): Hook => ({ kind: 'gate', handler });

export interface MessageOptions {
  /** Modules whose handlers of this step come first. */
  readonly after?: readonly string[];
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
  after: options.after ?? [],
  skips: options.skips,
});
export const presence = (handler: PresenceHandler): Hook => ({ kind: 'presence', handler });
/**
 * May put something else in the place of presence that a session says, to one or to all, before it goes on its way
 * (`passage.stanza`).
 */
export const adorn = (handler: PresenceHandler): Hook => ({ kind: 'adorn', handler });
/** Is asked for every message to the host itself until one says 'handled'; the others are refused as they were. */
export const serverMessage = (handler: ServerMessageHandler): Hook => ({ kind: 'serverMessage', handler });
export const session = (moment: SessionMoment, handler: (session: Session) => void | Promise<void>): Hook => ({
  kind: 'session',
  moment,
  handler,
});
export const event = <E extends keyof Events>(name: E, handler: (event: Events[E]) => void | Promise<void>): Hook => ({
  kind: 'event',
  name,
  handler,
});
/** Runs about every `ms` milliseconds while the host runs; never overlapping itself. */
export const every = (ms: number, handler: () => void | Promise<void>): Hook => ({ kind: 'every', ms, handler });
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
/** Returns what is being read; a failure is met again by whoever needs the value. */
export type PrefetchHandler = (owner: Jid) => unknown;
/**
 * Starts to read into the module's caches what a message from or to an account needs, so that all modules read at once and
 * not each when its step comes. Called when the account has not been heard of for long.
 */
export const prefetch = (handler: PrefetchHandler): Hook => ({ kind: 'prefetch', handler });
export const service = (service: Service): Hook => ({ kind: 'service', service });

// ---------------------------------------------------------------------------------------------------------------
// Services between modules

export interface RosterItem {
  readonly name?: string | undefined;
  readonly groups: readonly string[];
  readonly subscription: 'none' | 'to' | 'from' | 'both';
  /** RFC 6121 §3.1.2: we asked, no answer yet. */
  readonly ask?: boolean | undefined;
  /** RFC 6121 §3.4: will be approved when it is asked for. */
  readonly approved?: boolean | undefined;
  /** They asked, we did not answer: kept to be shown to each session (§3.1.3); the stanza as text. */
  readonly pendingIn?: string | undefined;
  /** Kept for `pendingIn` alone: the owner never put it there, and his clients do not see it (RFC 6121 §A.1). */
  readonly hidden?: boolean | undefined;
}

/** XEP-0030: what an entity is and can do. */
export interface ServerInfo {
  readonly identities: readonly Identity[];
  readonly features: readonly string[];
  readonly forms: readonly Element[];
}

/** What of an archive somebody may see who may see it at all; of an account's: everything. */
export interface ArchiveView {
  /** What is shown of a message, as XML: rooms leave out what not everybody may know. */
  readonly show?: ((xml: string) => string) | undefined;
  /** Whether the field `with` may be a sender's real address (XEP-0313 §4.1.1). Rooms: it is the room's `with`. */
  readonly knowsSenders: boolean;
  /** Where the messages are that are asked for, if not in the archive of the addressee. It is not searched for words. */
  readonly source?: Pick<LogStore, 'page' | 'count'> | undefined;
}

/** What its owner wants of an archive (XEP-0441). Synchronous while it is in memory. */
export interface ArchivePreferences {
  /** Whether what is said with this address is archived. */
  wants(owner: Jid, peer: Jid): boolean | Promise<boolean>;
  /** Seconds after which it may go; Infinity: the configuration alone decides. */
  keeps(owner: string): number | Promise<number>;
}

/**
 * The archives of accounts and rooms, by their bare addresses. Who may read is for the caller to find out: these are
 * not asked twice.
 */
export interface Archives {
  /** Disco features of an address that has an archive. */
  readonly features: readonly string[];
  /**
   * Keeps a message as it is to be shown, under an id that is known at once. `with`: whom it is with, rooms: who really
   * said it. Clean it first: what it claims of ids (XEP-0359) or senders is believed by whoever reads it.
   */
  append(owner: Jid, stanza: Stanza, others: { readonly with?: Jid | undefined }): ArchiveReceipt;
  /** Answers `<query/>` (set): sends the results to who asks, then gives the `<fin/>`. Throws StanzaError. */
  answer(request: IqRequest, view?: ArchiveView): Source<Element>;
  /** Answers `<query/>` (get): the form with the fields that `answer` knows, of an archive with a source of its own or not. */
  form(view?: Pick<ArchiveView, 'source'>): Element;
  /** `<metadata/>`: the first and the last message. */
  metadata(owner: Jid): Promise<Element>;
  /** `<result/>` with a message of the archive in it, as text for `Stanza.plusWritten`. */
  result(entry: LogEntry, queryId: string | undefined): string;
  /** What is kept, as it is: values are messages as XML, their namespace declared; `timeOf` an id is when. */
  read(owner: Jid, query: LogQuery): Promise<LogPage>;
  /**
   * Puts `retracted` in the place of what a message says (XEP-0424 §4, XEP-0425): its header stays, and the children
   * that `stays` is true for. Whether it was there.
   */
  tombstone(owner: Jid, id: string, retracted: Element, stays?: (child: ChildName) => boolean): Promise<boolean>;
  /** Removes a message and all before it; without an id, all that is there now. Throws StanzaError('item-not-found'). */
  trim(owner: Jid, through?: string): Promise<void>;
  /** Asks them from now on; one module does. */
  prefer(preferences: ArchivePreferences): void;
  /** Hands it queries for archives of nodes of accounts (XEP-0442) from now on; one module does. */
  nodes(handler: IqHandler): void;
}

/** A complaint of an address or a room (XEP-0377), as it comes. */
export interface NewReport {
  /** Who complains: an account, or the server that passes it on. */
  readonly by: Jid;
  readonly about: Jid;
  /** The room in which it happened. Such a report is the room's business: nobody is told of it, and it stays here. */
  readonly room?: Jid | undefined;
  /** `<report/>`. */
  readonly element: Element;
  /** The messages that it names; undefined: they are looked for in the archive of who complains. */
  readonly messages?: readonly Stanza[] | undefined;
}

/** A complaint, as it is kept. */
export interface KeptReport {
  readonly id: string;
  /** Ms since 1970. */
  readonly at: number;
  readonly by: string;
  readonly jid: string;
  readonly room: string | undefined;
  readonly reason: string;
  readonly text: string;
  /** XEP-0359 ids. */
  readonly messages: readonly string[];
  /** Those of the messages that were found, as XML. */
  readonly evidence: readonly string[];
}

export interface Reports {
  /** Whether it was kept: not beyond what one may report in a day. Resolves once it is on disk. */
  add(report: NewReport): Promise<boolean>;
  /** The latest first, those before `before`. */
  list(range: { readonly limit: number; readonly before?: string | undefined }): Promise<KeptReport[]>;
  get(id: string): Promise<KeptReport | undefined>;
  /** Of these ids, or all of them; how many there were. */
  forget(ids: readonly string[] | 'all'): Promise<number>;
}

export interface ArchiveReceipt {
  readonly id: string;
  /** Resolves once the message would survive the power going. */
  readonly durable: Promise<void>;
}

/** A room, as its administrators see it. */
export interface RoomFacts {
  readonly jid: Jid;
  readonly name: string;
  /** How many are in it now. */
  readonly occupants: number;
  readonly isPublic: boolean;
  readonly isPersistent: boolean;
  readonly isMembersOnly: boolean;
  readonly hasPassword: boolean;
  /** A bare address. */
  readonly creator: string;
}

/** The whole of it: bare addresses, but for the full ones of those who are there. */
export interface RoomDetails extends RoomFacts {
  readonly description: string;
  readonly subject: string;
  /** Ms since 1970. */
  readonly created: number;
  readonly isArchived: boolean;
  readonly isModerated: boolean;
  /** Whether all see the real addresses of all. */
  readonly isNonAnonymous: boolean;
  readonly owners: readonly string[];
  readonly admins: readonly string[];
  readonly members: number;
  readonly banned: number;
  readonly present: readonly { readonly nick: string; readonly jids: readonly string[]; readonly role: string }[];
}

/** The rooms of a host (XEP-0045), for those who administer it. */
export interface RoomAdministration {
  /** The address of the service. */
  readonly jid: Jid;
  /** Rooms in the order of their addresses, from behind `after`. */
  list(page: { readonly after?: string | undefined; readonly limit: number }): readonly RoomFacts[];
  show(room: Jid): Promise<RoomDetails | undefined>;
  /** Makes a lasting room that is open at once; false: there is one of that address. Throws StanzaError. */
  create(
    room: Jid,
    owner: Jid,
    how: { readonly name?: string | undefined; readonly isMembersOnly: boolean; readonly isPublic: boolean },
  ): Promise<boolean>;
  /** Puts everybody out and removes it, and what was said in it; false: there is none. */
  destroy(room: Jid, reason?: string): Promise<boolean>;
}

/** What modules offer each other, by the name in `provides` and `needs`. Modules add theirs by declaration merging. */
export interface Services {
  roster: {
    /** The items of an account by contact (bare JID); synchronous while it is in memory. Not to be changed. */
    get(owner: string): ReadonlyMap<string, RosterItem> | Promise<ReadonlyMap<string, RosterItem>>;
    /** Whether `contact` is subscribed to the owner's presence. */
    sees(owner: string, contact: Jid): boolean | Promise<boolean>;
    /**
     * Keeps an item, or with undefined removes it, and tells the owner's clients: at once if the roster is in memory.
     * Resolves when that is durable. Throws StanzaError('resource-constraint') where the roster is full.
     */
    set(owner: Jid, contact: Jid, item: RosterItem | undefined): Promise<void>;
  };
  disco: {
    /** What the server says of itself to anybody: at once where no source has to wait. */
    server(): ServerInfo | Promise<ServerInfo>;
  };
  consent: {
    /** Whether an account of this host knows this address: by its roster, or by what it wrote before. */
    knows(owner: Jid, who: Jid): boolean | Promise<boolean>;
  };
  blocking: {
    /** Whether the owner has blocked this address. */
    isBlocked(owner: string, who: Jid): boolean | Promise<boolean>;
  };
  presence: {
    /**
     * Full addresses of this server's sessions that a session was told are available: the account's others, and those of
     * contacts; undefined while the roster is not in memory.
     */
    seenBy(session: Session): readonly string[] | undefined;
  };
  archive: Archives;
  rooms: RoomAdministration;
  reports: Reports;
  offline: {
    /** Takes up the delivery of a message again, after a restart: what was the receipt's `reference`. */
    receipt(owner: Jid, reference: string): Receipt;
    /** Sends what is kept to those of the account who are there and have not been sent it. */
    readOut(owner: string): void;
  };
}

/** For what a service relays: `isAsked` where the recipient is in the room, or subscribed to the node. */
export const onBehalfOf = (speakers: Behalf['speakers'], { isAsked }: { readonly isAsked: boolean }): Origin => ({
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
  behalf: { speakers, isAsked },
});

// ---------------------------------------------------------------------------------------------------------------
// The host that a module works for

export interface Host {
  readonly domain: string;
  readonly jid: Jid;
  /** Puts a stanza into the line like everybody else: `to` decides. It must carry `from`. Never rejects: a refusal is sent to `from`. */
  route(stanza: Stanza, origin?: Origin): void | Promise<void>;
  /**
   * The same for several full addresses of one account. A message enters the account once: its archive has it once, and all
   * of the sessions get it under that id. Where the account is not of this server, each address is sent its own.
   * Never rejects.
   */
  routeToAll(stanza: Stanza, addressees: readonly Jid[], origin?: Origin): void | Promise<void>;
  /**
   * Whether no account would change a message from a service of this server in the step `clean`: then the service can hand
   * it to sessions of accounts that have not blocked it, which costs less than to route it. Cheap for one stanza again and
   * again.
   */
  isUntouched(stanza: Stanza): boolean;
  /**
   * The acknowledgement of a stanza waits for `durable`; where that fails, its sender is told, as of any refusal. For
   * what is no message's passage, which has this itself.
   */
  acknowledgeAfter(stanza: Stanza, origin: Origin, durable: Promise<unknown>): void;
  /** The storage failed lately: what has to be kept is delivered once it is kept, and refused otherwise. */
  readonly isStorageFailing: boolean;
  /** Sends an IQ get or set (`id` is given to it) and resolves with the result; rejects with the StanzaError that came, or remote-server-timeout. */
  ask(request: Stanza, options?: { readonly timeoutMs?: number }): Promise<Stanza>;
  /** The sessions of an account of this host; not to be kept. */
  sessions(bare: string): readonly Session[];
  session(full: Jid): Session | undefined;
  allSessions(): Iterable<Session>;
  /** Says something for a session, which takes the way of what it says itself. What is refused is answered. */
  fromSession(stanza: Stanza, session: Session, origin: Origin): void | Promise<void>;
  /** Ends a session for good, whether it is connected or waits to be resumed; the client is told why. */
  end(session: Session, reason: StreamError): void;
  /** Whether `halt` can restart the server. */
  readonly canRestart: boolean;
  /** Stops the server in order, or restarts it. */
  halt(how: 'stop' | 'restart'): Promise<void>;
  /** Whether this server answers for the domain (this host, another, or a service). */
  isLocal(domain: string): boolean;
  /** Named in the configuration of the host, or an account with that role. */
  isAdmin(jid: Jid): boolean | Promise<boolean>;
  /** Whether `from` may ask the account, server or service `to`. */
  permits(access: Access, from: Jid, to: Jid): boolean | Promise<boolean>;
  /** Whether the `admit` hooks let an account say this: for what no session sent to this address, such as presence to all. */
  admits(stanza: Stanza): boolean | Promise<boolean>;
  readonly accounts: Accounts;
  /** Never rejects: a handler that fails is logged, and the others run. */
  emit<E extends keyof Events>(name: E, event: Events[E]): void | Promise<void>;
  /** What a module of this host provides: for the commands of the server. Modules say what they need. */
  provided<K extends keyof Services>(name: K): Services[K] | undefined;
  /** What the modules declared: for those that answer for all (disco, ad-hoc commands). */
  readonly declared: Declared;
  /** Counts that something reached its limit: `waxwing_limits_hit_total{limit=…}`. */
  limitHit(limit: string): void;
  /**
   * Whom a limit by user counts for what this address does: the account, or the network address of an anonymous account,
   * because another one is to be had at any time.
   */
  userOf(jid: Jid): string;
  /**
   * Whom a bound for all counts: as `userOf` for users of this server. All users of another server are one, because it
   * makes accounts as it likes.
   */
  holderOf(jid: Jid): string;
  /** An anonymous account (XEP-0175) that is there: nothing may be stored of it beyond its stay. */
  isAnonymous(bare: string): boolean;
  /** Throws StanzaError for content that is too long to be sent to so many (`limits.fan_out_bytes`). */
  demandFanOut(content: string, recipients: number): void;
  /** The core configuration, checked. */
  readonly config: import('./config/schema.js').Config;
  readonly software: { readonly name: string; readonly version: string };
}

export interface Declared {
  features(target: Target, module?: string): readonly string[];
  disco(target: Target, module?: string): readonly DiscoSource[];
  commands(module?: string): readonly Command[];
  services(): readonly { readonly domain: string; readonly module: string }[];
  /** Specifications by module, for documents. */
  modules(): readonly ModuleDefinition[];
}

// ---------------------------------------------------------------------------------------------------------------

export interface ModuleContext<C, S, N extends keyof Services, W extends keyof Services = never> {
  readonly host: Host;
  readonly config: C;
  readonly stores: S;
  /** Those that it needs, and of those that it wants the ones that there are. */
  readonly services: Pick<Services, N> & { readonly [K in W]: Services[K] | undefined };
  readonly log: Logger;
  /** Makes this module's service known; called once in `start`. */
  provide<K extends keyof Services>(name: K, service: Services[K]): void;
}

export interface ModuleDefinition {
  /** Its name in the configuration: `[modules.NAME]`. */
  readonly name: string;
  /** One sentence for the documents. */
  readonly summary: string;
  /** Specifications with the version that is implemented. */
  readonly implements: Readonly<Record<string, string>>;
  /** What is left out of the first of them, if anything: goes into docs/xeps.md. */
  readonly notes?: string | undefined;
  /** Disco features (XEP-0030) by target. */
  readonly features?: Partial<Readonly<Record<Target, readonly string[]>>> | undefined;
  readonly config?: z.ZodObject | undefined;
  readonly stores?: Readonly<Record<string, StoreDeclaration>> | undefined;
  readonly needs?: readonly (keyof Services)[] | undefined;
  /** Services that it does without where no running module provides them. */
  readonly wants?: readonly (keyof Services)[] | undefined;
  readonly provides?: readonly (keyof Services)[] | undefined;
  /** Runs only when it is asked for: `[modules.NAME] enabled = true`. Otherwise it runs unless disabled. */
  readonly optional?: boolean | undefined;
  readonly start: (context: never) => readonly Hook[] | Promise<readonly Hook[]>;
}

/** Declares a module; inference gives `start` the types of its configuration, stores and services. */
export function defineModule<
  C extends z.ZodObject = z.ZodObject<Record<string, never>>,
  S extends Readonly<Record<string, StoreDeclaration>> = Record<string, never>,
  N extends keyof Services = never,
  W extends keyof Services = never,
>(
  definition: Omit<ModuleDefinition, 'config' | 'stores' | 'needs' | 'wants' | 'start'> & {
    readonly config?: C;
    readonly stores?: S;
    readonly needs?: readonly N[];
    readonly wants?: readonly W[];
    readonly start: (
      context: ModuleContext<z.output<C>, { readonly [K in keyof S]: Opened<S[K]> }, N, W>,
    ) => readonly Hook[] | Promise<readonly Hook[]>;
  },
): ModuleDefinition {
  return definition as ModuleDefinition;
}
