/** The host that a module works for, and what it may ask of it. */
import type { Accounts } from '../accounts/index.js';
import type { Config } from '../config/schema.js';
import type { Maybe } from '../maybe.js';
import type { Awaited, Origin } from '../routing/passage.js';
import type { Session } from '../routing/session.js';
import type { StreamError } from '../stanza/errors.js';
import type { Jid } from '../stanza/jid.js';
import type { Behalf } from '../stanza/speaker.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Command } from './commands.js';
import type { ModuleDefinition } from './definition.js';
import type { DiscoSource } from './disco.js';
import type { Events } from './events.js';
import type { Question } from './questions.js';
import type { Access, Target } from './requests.js';
import type { Services } from './services.js';

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
  acknowledgeAfter(stanza: Stanza, origin: Origin, durable: Promise<unknown>, what?: Awaited): void;
  /** The storage failed lately: what has to be kept is delivered once it is kept, and refused otherwise. */
  readonly isStorageFailing: boolean;
  /** Sends an IQ get or set (`id` is given to it) and resolves with the result; rejects with the StanzaError that came, or remote-server-timeout. */
  ask(request: Stanza, options?: { readonly timeoutMs?: number }): Promise<Stanza>;
  /**
   * Asks at the home of an address of this host: at once if it lives here and the answer is known. Rejects with
   * StanzaError.
   */
  askHome<Given, Answer>(question: Question<Given, Answer>, owner: Jid, given: Given): Maybe<Answer>;
  /** Asks every node, each about what lives there. Rejects with StanzaError if one of them does not answer. */
  askNodes<Given, Answer>(question: Question<Given, Answer>, given: Given): Maybe<readonly Answer[]>;
  /**
   * The sessions of an account that lives here, that is, of the owner of the passage, event, request or question in hand;
   * what one of its sessions says to the host itself is handled there too.
   * About anybody else: a stanza, or a question. Not to be kept.
   */
  sessions(owner: string): readonly Session[];
  /** The sessions of this host that live on this node. */
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
  readonly config: Config;
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

/** For what a service relays: `isAsked` where the recipient is in the room, or subscribed to the node. */
export const onBehalfOf = (speakers: Behalf['speakers'], { isAsked }: { readonly isAsked: boolean }): Origin => ({
  session: undefined,
  acknowledges: false,
  acknowledgeAfter() {},
  behalf: { speakers, isAsked },
});
