/** What IQ handlers are asked: whom an IQ is for, who may ask, what came. */
import type { Source } from '../routing/outflow.js';
import type { Session } from '../routing/session.js';
import type { Jid } from '../stanza/jid.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Element } from '../xml/element.js';

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

export type Payload = Element | undefined | void;

export type { Source } from '../routing/outflow.js';

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
