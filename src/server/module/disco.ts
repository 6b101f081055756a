/** Contributions of modules to service discovery (XEP-0030). */

import type { Jid } from '../address/jid.js';
import type { Maybe } from '../maybe.js';
import type { Session } from '../routing/session.js';
import type { Element } from '../xml/element.js';
import type { Access } from './requests.js';

export interface DiscoQuery {
  readonly from: Jid;
  readonly to: Jid;
  readonly node: string | undefined;
  /** The requesting session, if local. */
  readonly session: Session | undefined;
  /** The `<query/>` element. */
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
 * A module's contribution to service discovery (XEP-0030) besides its declared features. A StanzaError thrown by a
 * function becomes the answer. `items` returns the whole list; disco splits it into pages (XEP-0059).
 */
export interface DiscoSource {
  /** The node of this source; undefined for the address itself. A function matches any number of nodes. */
  readonly node?: string | ((node: string) => boolean) | undefined;
  readonly access?: Access | undefined;
  identities?(query: DiscoQuery): Maybe<readonly Identity[]>;
  features?(query: DiscoQuery): Maybe<readonly string[]>;
  /** XEP-0128 forms. */
  forms?(query: DiscoQuery): Maybe<readonly Element[]>;
  items?(query: DiscoQuery): Maybe<readonly DiscoItem[]>;
  /**
   * Namespaces that this source describes instead of the modules that answer them (XEP-0355 §7.2): what these modules
   * declare and describe is left out.
   */
  replaces?(query: DiscoQuery): readonly string[];
  /** Maximum items in one answer; defaults to the limit of disco. */
  readonly page?: number | undefined;
}

/** XEP-0030: identities and features of an entity. */
export interface ServerInfo {
  readonly identities: readonly Identity[];
  readonly features: readonly string[];
  readonly forms: readonly Element[];
}
