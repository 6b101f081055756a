/** What a login has come to so far. */
import type { NS } from '../../stanza/ns.js';
import type { Element } from '../../xml/element.js';
import type { ChannelBindings } from '../sasl/binding.js';
import type { ClientCertificate, Exchange, Identity } from '../sasl/mechanism.js';
import type { Offer } from '../sasl/offer.js';
import type { Upgrade } from '../sasl/upgrade.js';

/** What a client asks for while it binds (XEP-0386). */
export interface InlineBind {
  readonly tag: string | undefined;
  readonly clientId: string | undefined;
  readonly features: readonly Element[];
}

/** What a client asked for in its `<authenticate/>`, to be done once it is authenticated. */
export interface Inline {
  readonly bind: InlineBind | undefined;
  readonly resume: { readonly previd: string | undefined; readonly h: string | undefined } | undefined;
  readonly requestToken: string | undefined;
  readonly invalidate: boolean;
  readonly clientId: string | undefined;
  readonly label: string | undefined;
  readonly upgrades: readonly string[];
}

/** A login under way. */
export interface Negotiation {
  readonly offer: Offer;
  readonly bindings: ChannelBindings;
  readonly certificate: ClientCertificate | undefined;
  attempts: number;
  /** The mechanism of the exchange, as the client named it. */
  mechanism: string;
  /**
   * The attempt of the latest failure. A client tries one password by several mechanisms in turn, and the server cannot
   * see whether it is the same one: each mechanism once, for one account on one stream, counts as one attempt. So an
   * attempt is at most as many guesses as there are mechanisms.
   */
  tried: { readonly account: string; readonly mechanisms: Set<string>; counted: boolean } | undefined;
  profile: typeof NS.sasl | typeof NS.sasl2;
  exchange: Exchange | undefined;
  /** The account whose password the client tries. */
  claimed: string | undefined;
  inline: Inline | undefined;
  /** Proved who it is; tasks are left to do. */
  identity: Identity | undefined;
  /** XEP-0480: those that are left to do. */
  upgrades: Upgrade[];
  upgrading: boolean;
}

/** Whether the client has begun to authenticate: nothing else is taken until that has an end. */
export function isUnderWay(negotiation: Negotiation | undefined): boolean {
  return negotiation !== undefined && (negotiation.exchange !== undefined || negotiation.identity !== undefined);
}
