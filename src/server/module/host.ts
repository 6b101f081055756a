/** The host of a module, and its API for the module. */
import type { Accounts } from '../accounts/index.js';
import type { Jid } from '../address/jid.js';
import type { Config } from '../config/schema.js';
import type { Maybe } from '../maybe.js';
import type { Awaited, FirstFrame, Origin } from '../routing/passage.js';
import type { Session } from '../routing/session.js';
import type { StreamError } from '../stanza/errors.js';
import type { Behalf } from '../stanza/speaker.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Command } from './commands.js';
import type { ModuleDefinition } from './definition.js';
import type { DiscoSource } from './disco.js';
import type { Events } from './events.js';
import type { Question } from './questions.js';
import type { Access, Target } from './requests.js';
import type { Services } from './services.js';

/** An authenticated stream between a domain of this server and one of another server. */
export interface PeerStream {
  readonly local: string;
  readonly remote: string;
  readonly direction: 'in' | 'out';
}

export interface AskOptions {
  readonly timeoutMs?: number;
  /** Of the request; the server itself by default. */
  readonly origin?: Origin;
  /** The id of a request to a session that lives here. By default a random one. */
  readonly id?: string;
  /** Another node has sent the request: its answer comes here, because its addressee has moved. */
  readonly isSent?: boolean;
}

/**
 * `epoch`: the password is right; as `Account.epoch`. `wrong`: it is not, or the account may not log in. `later`: it was not
 * checked, after too many failures or because too many are being checked.
 */
export type PasswordCheck = { readonly epoch: string } | { readonly refused: 'wrong' | 'later' };

export interface Host {
  readonly domain: string;
  readonly jid: Jid;
  /** Routes a stanza by its `to`. It must have a `from`. Never rejects: a refusal is sent to `from`. */
  route(stanza: Stanza, origin?: Origin): Maybe<void>;
  /**
   * Routes a stanza to several full addresses of one account. A message enters the account once: it is archived once,
   * and all sessions get it with that id. If the account is not local, each address is sent its own copy. Never
   * rejects.
   */
  routeToAll(stanza: Stanza, addressees: readonly Jid[], origin?: Origin): Maybe<void>;
  /**
   * Whether no account would change a message from a service of this server in the step `clean`. If so, the service may
   * deliver it directly to sessions of accounts that have not blocked it, which is cheaper than routing. The result is
   * cached per stanza.
   */
  isUntouched(stanza: Stanza): boolean;
  /**
   * Delays the acknowledgement of a stanza until `durable` resolves; if it rejects, the sender gets an error. For
   * stanzas that are not a message passage, which has its own.
   */
  acknowledgeAfter(stanza: Stanza, origin: Origin, durable: Promise<unknown>, what?: Awaited): void;
  /** The storage failed recently: stanzas that must be stored are delivered once stored, and refused otherwise. */
  readonly isStorageFailing: boolean;
  /**
   * Sends an IQ get or set (its `id` is assigned here) and resolves with the result. Rejects with the received
   * StanzaError, or remote-server-timeout.
   */
  ask(request: Stanza, options?: AskOptions): Promise<Stanza>;
  /**
   * Asks a question at the home of an address of this host. Synchronous if the home is local and the answer known.
   * Rejects with StanzaError.
   */
  askHome<Given, Answer>(question: Question<Given, Answer>, owner: Jid, given: Given): Maybe<Answer>;
  /** Asks every node about what lives there. Rejects with StanzaError if a node does not answer. */
  askNodes<Given, Answer>(question: Question<Given, Answer>, given: Given): Maybe<readonly Answer[]>;
  /** Whether the home of an address is this node, and a stanza to it is handled at once: it is not moving. */
  livesHere(jid: Jid): boolean;
  /** The node that this process is, during this run; undefined if it is no node of a cluster. */
  readonly node: string | undefined;
  /** Whether the node of a name, as in `node`, is a member of the cluster. */
  isMember(node: string): boolean;
  /**
   * Returns the sessions of an account that lives on this node: the owner of the current passage, event, request or
   * question. Stanzas from its sessions to the host itself are handled there too. For any other account, use a stanza
   * or a question. Do not retain the result.
   */
  sessions(owner: string): readonly Session[];
  /** Returns the sessions of this host that live on this node. */
  allSessions(): Iterable<Session>;
  /** Routes a stanza on behalf of a session, as if its client had sent it. A refusal is answered. */
  fromSession(stanza: Stanza, session: Session, origin: Origin): Maybe<void>;
  /**
   * Routes a message of an account of this host as if a client of it had sent it, without being a session. Throws or
   * rejects with StanzaError if the account may not send it.
   */
  sendFor(owner: Jid, message: Stanza, origin: Origin): Maybe<void>;
  /** Resolves once there is room for more stanzas of the server itself to this address. Undefined if there is now. */
  roomFor(to: Jid): Promise<void> | undefined;
  /** Streams of this node with other servers, of all hosts. */
  peerStreams(): readonly PeerStream[];
  /** Ends a session for good, connected or hibernating, and tells the client why. */
  end(session: Session, reason: StreamError): void;
  /** Whether `halt` can restart the server. */
  readonly canRestart: boolean;
  /** Stops the server gracefully, or restarts it. */
  halt(how: 'stop' | 'restart'): Promise<void>;
  /** Whether the domain is local (this host, another, or a service). */
  isLocal(domain: string): boolean;
  /** Whether the policy for other servers denies streams with the server of a domain. */
  isDenied(domain: string): boolean;
  /** Whether the address is an admin in the configuration of the host, or its account has that role. */
  isAdmin(jid: Jid): Maybe<boolean>;
  /** Whether `from` may query the account, server or service `to`. */
  permits(access: Access, from: Jid, to: Jid): Maybe<boolean>;
  /**
   * Whether the `admit` hooks allow this stanza from an account: for stanzas that a session did not send to this
   * address, such as broadcast presence.
   */
  admits(stanza: Stanza): Maybe<boolean>;
  readonly accounts: Accounts;
  /** Emits an event. Never rejects: a failing handler is logged, and the others run. */
  emit<E extends keyof Events>(name: E, event: Events[E]): Maybe<void>;
  /** Returns a service of a module of this host: for the commands of the server. Modules use `needs`. */
  provided<K extends keyof Services>(name: K): Services[K] | undefined;
  /** Declarations of all modules: for disco and ad-hoc commands. */
  readonly declared: Declared;
  /** Counts a reached limit: `waxwing_limits_hit_total{limit=…}`. */
  limitHit(limit: string): void;
  /**
   * Returns the key of an address for a per-user limit: the account, or the network address of an anonymous account,
   * because its user can get another one at any time.
   */
  userOf(jid: Jid): string;
  /**
   * Returns the key of an address for a shared limit: like `userOf` for local users. All users of a remote server count
   * as one, because it can create any number of accounts.
   */
  holderOf(jid: Jid): string;
  /** Whether the account is anonymous (XEP-0175) and connected: its data must not outlive its session. */
  isAnonymous(bare: string): boolean;
  /**
   * Everything that is stored for an account, as `<user/>` of XEP-0227 without its password keys, in pieces: for its user.
   */
  exportOf(owner: Jid): AsyncIterable<string>;
  /**
   * Checks the password of an account that came another way than over a stream, within the limits for failed logins that
   * streams have (`[auth]`); a failure is answered late. Takes as long for an account that does not exist, and does not
   * tell it apart. `address`: of the client. Rejects with StanzaError.
   */
  checkPassword(owner: Jid, password: string, address: string): Maybe<PasswordCheck>;
  /** Throws StanzaError if the content is too large for so many recipients (`limits.fan_out_bytes`). */
  demandFanOut(content: string, recipients: number): void;
  /**
   * Where clients reach the HTTP server under the name of this host, without a slash at the end:
   * `https://example.org:5443`. Known once the server has started. Undefined if there is no HTTP listener.
   */
  readonly publicUrl: string | undefined;
  /** The validated core configuration. */
  readonly config: Config;
  readonly software: { readonly name: string; readonly version: string };
}

export interface Declared {
  features(target: Target, module?: string): readonly string[];
  /** Modules that answer requests of a namespace to the host or its accounts. */
  answering(ns: string): readonly string[];
  disco(target: Target, module?: string): readonly DiscoSource[];
  commands(module?: string): readonly Command[];
  services(): readonly { readonly domain: string; readonly module: string }[];
  /** Specifications by module, for the documentation. */
  modules(): readonly ModuleDefinition[];
}

/** Origin of a stanza that a service relays. `isAsked`: the recipient is in the room, or subscribed to the node. */
export const onBehalfOf = (
  speakers: Behalf['speakers'],
  { isAsked, frame }: { readonly isAsked: boolean; readonly frame?: FirstFrame | undefined },
): Origin => ({
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
  behalf: { speakers, isAsked },
  frame,
});
