/** IQ requests: target, access, and the request itself. */

import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { Source } from '../routing/outflow.js';
import type { Session } from '../routing/session.js';
import type { Stanza } from '../stanza/stanza.js';
import type { Element } from '../xml/element.js';

/**
 * The addressee of an IQ or disco query: an account (`user@host`), the server itself (`host`), or the module's own
 * service (`subdomain.host` and every address in it).
 */
export type Target = 'account' | 'server' | 'service';

/** Who may ask. A forbidden target looks like one that does not exist. */
export type Access =
  /** Anybody, on any server. */
  | 'anyone'
  /** Users of this host. */
  | 'users'
  /** The account itself (target account). */
  | 'owner'
  /** The account itself and entities that may see its presence (target account). */
  | 'contacts'
  /** Administrators of this host. */
  | 'admins';

export interface IqRequest {
  readonly stanza: Stanza;
  readonly from: Jid;
  /** The queried account, server or service; the sender's own account if the stanza has no `to`. */
  readonly to: Jid;
  /** The only child of the stanza. */
  readonly payload: Element;
  /** The requesting session, if local. */
  readonly session: Session | undefined;
  /** Whether an account queries itself. */
  readonly isOwn: boolean;
  /**
   * Whether the account does not exist, or its existence must be hidden: both get the same answer (`IqOptions.absent`).
   */
  readonly isAbsent: boolean;
}

export type Payload = Element | undefined | void;

export type { Source } from '../routing/outflow.js';

/**
 * The returned element is the result (nothing: an empty result), a thrown StanzaError the error (RFC 6120 §8.2.3). A
 * generator yields stanzas to send before the result that it returns, no faster than the requesting client accepts
 * them.
 */
export type IqHandler = (request: IqRequest) => Maybe<IqAnswer>;
export type IqAnswer = Payload | Source<Payload>;

/** An answer to a request in place of the module that has the hook for it. */
export interface Diversion {
  readonly handler: IqHandler;
  readonly access: Access;
  /** As `IqOptions.asksOthers`. */
  readonly asksOthers: boolean;
}

/** An IQ on an unauthenticated stream, such as in-band registration. */
export interface UnauthenticatedRequest {
  /** The stream, as the key of a WeakMap. */
  readonly stream: object;
  readonly stanza: Stanza;
  readonly payload: Element;
  readonly secure: boolean;
  /** Whether the stream is encrypted, or the configuration treats it as such. */
  readonly trusted: boolean;
  readonly remoteAddress: string;
  /** Extends the login deadline once, so that the user can fill in a form (`limits.registration_deadline_seconds`). */
  extendDeadline(): void;
}

/** @deprecated Renamed to `UnauthenticatedRequest`. */
export type StrangerRequest = UnauthenticatedRequest;
