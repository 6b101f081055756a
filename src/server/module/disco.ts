/** What modules add to service discovery (XEP-0030). */
import type { Session } from '../routing/session.js';
import type { Jid } from '../stanza/jid.js';
import type { Element } from '../xml/element.js';
import type { Access } from './requests.js';

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

/** XEP-0030: what an entity is and can do. */
export interface ServerInfo {
  readonly identities: readonly Identity[];
  readonly features: readonly string[];
  readonly forms: readonly Element[];
}
