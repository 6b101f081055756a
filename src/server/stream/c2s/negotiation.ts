/** State of a login. */
import type { NS } from '../../stanza/ns.js';
import type { UserAgent } from '../../stanza/user-agent.js';
import type { Element } from '../../xml/element.js';
import type { ChannelBindings } from '../sasl/binding.js';
import type { ClientCertificate, Exchange, Identity } from '../sasl/mechanism.js';
import type { Offer } from '../sasl/offer.js';
import type { Upgrade } from '../sasl/upgrade.js';

/** Inline requests of a bind (XEP-0386). */
export interface InlineBind {
  readonly tag: string | undefined;
  readonly agent: UserAgent;
  readonly features: readonly Element[];
}

/** Inline requests of `<authenticate/>`, processed after authentication. */
export interface Inline {
  readonly bind: InlineBind | undefined;
  readonly resume: { readonly previd: string | undefined; readonly h: string | undefined } | undefined;
  readonly requestToken: string | undefined;
  readonly invalidate: boolean;
  readonly agent: UserAgent;
  readonly upgrades: readonly string[];
}

/** A login in progress. */
export interface Negotiation {
  readonly offer: Offer;
  readonly bindings: ChannelBindings;
  readonly certificate: ClientCertificate | undefined;
  attempts: number;
  /** The mechanism of the exchange, as the client named it. */
  mechanism: string;
  /**
   * The last failed attempt. Clients try one password with several mechanisms in turn, and the server cannot see
   * whether it is the same password: each mechanism once, for one account on one stream, counts as one attempt. An
   * attempt thus allows at most as many guesses as there are mechanisms.
   */
  tried: { readonly account: string; readonly mechanisms: Set<string>; counted: boolean } | undefined;
  profile: typeof NS.sasl | typeof NS.sasl2;
  exchange: Exchange | undefined;
  /** The account whose password the client tries. */
  claimed: string | undefined;
  inline: Inline | undefined;
  /** Authenticated, with tasks pending. */
  identity: Identity | undefined;
  /** XEP-0480: pending upgrades. */
  upgrades: Upgrade[];
  upgrading: boolean;
}

/** Whether authentication is in progress: nothing else is accepted until it ends. */
export function isUnderWay(negotiation: Negotiation | undefined): boolean {
  return negotiation !== undefined && (negotiation.exchange !== undefined || negotiation.identity !== undefined);
}
