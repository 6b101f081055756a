/** A client that announces capabilities, and what moves of it to another node. */
import { z } from 'zod';
import type { Jid } from '../../server/address/jid.js';
import { sessionState } from '../../server/module/index.js';
import type { Session } from '../../server/routing/session.js';
import { NS } from '../../server/stanza/ns.js';
import type { Stanza } from '../../server/stanza/stanza.js';

/** A client that sent presence to an account. */
export interface Visitor {
  readonly jid: Jid;
  /** RFC 6121 §4.7.2.1. Undefined for plain available presence. */
  readonly show: string | undefined;
  /** Empty until they are known. */
  features(): ReadonlySet<string>;
}

export interface Announced {
  readonly hash: string | undefined;
  readonly node: string;
  readonly ver: string;
}

export type Features = ReadonlySet<string>;

/** What is known of a client, for the next home of its account. */
export interface Known {
  readonly caps: Announced | undefined;
  /** Undefined until they are known. */
  readonly features: Features | undefined;
  /** Those of its previous version, valid until then. */
  readonly before: Features;
}

export const none: Features = new Set();
/** Characters of hash, ver and node together. */
const longestKey = 2000;

/** A client while it is available. */
export class Client {
  /** The announced version. Undefined if none. */
  caps: Announced | undefined;
  key = '';
  show: string | undefined;
  isAvailable = true;
  /** A query to it is pending. */
  isAsked = false;
  /** The id of a query that it was sent at another node. */
  pendingQuery: string | undefined;
  /** A visitor: until when to wait for the query of the node where the account lived before (`monotonic`). */
  waitsUntil = 0;
  /** A visitor: its account has moved to another node. */
  hasMoved = false;
  /** A visitor: the account's next home waits for the query of this node. */
  isAwaited = false;
  #features: Features | undefined;
  /** The features of its previous version, valid until the answer arrives. */
  #before = none;

  constructor(
    readonly jid: Jid,
    /** The sender of the query. */
    readonly asker: Jid,
    readonly isContact: boolean,
    readonly tell: (client: Client, gained: Features) => void,
    /** Its session, if it has one here. */
    readonly session?: Session,
  ) {}

  features(): Features {
    return this.#features ?? this.#before;
  }

  get known(): Known {
    return { caps: this.caps, features: this.#features, before: this.#before };
  }

  /** Goes on as it was described at another node. */
  restore({ caps, features, before }: Known): void {
    this.announces(caps);
    this.#features = features;
    this.#before = before;
    this.#changed();
  }

  #changed(): void {
    this.session?.set(learned, this.known);
  }

  get isKnown(): boolean {
    return this.#features !== undefined;
  }

  /** Whether it now announces something else. */
  announces(caps: Announced | undefined): boolean {
    const key = caps === undefined ? '' : `${caps.hash ?? ''}\n${caps.ver}\n${caps.node}`;
    if (key === this.key) return false;
    this.#before = this.features();
    this.#features = caps === undefined ? none : undefined;
    this.caps = caps;
    this.key = key;
    this.#changed();
    return caps !== undefined;
  }

  settle(features: Features): void {
    this.#features = features;
    this.#changed();
    const before = this.#before;
    const gained = before.size === 0 ? features : new Set([...features].filter((one) => !before.has(one)));
    if (gained.size > 0) this.tell(this, gained);
  }

  /** Sets its features from a known version, without an event. */
  recall(features: Features): void {
    this.#features = features;
    this.#changed();
  }

  /** Its features could not be learned: queried again after its next presence, or when it is resumed. */
  reset(): void {
    this.key = '';
    this.#features = undefined;
    this.#changed();
  }
}

export const features = z.array(z.string());
export const announced = z.object({ hash: z.string().optional(), node: z.string(), ver: z.string() });

/** The client of an available session. Not stored: restored from the stored presence and versions. */
export const announcing = sessionState<Client | undefined>({ name: 'client', default: undefined, stored: false });
/** What moves with the session to another node: what is known of it, and the query that it has not answered. */
export const learned = sessionState<Known | undefined>({
  name: 'client_features',
  default: undefined,
  stored: false,
  moved: z.codec(
    z.object({ caps: announced.optional(), features: features.optional(), before: features }),
    z.custom<Known>(),
    {
      decode: ({ caps, features, before }) => ({
        caps: caps && announcedAs(caps),
        features: features && new Set(features),
        before: new Set(before),
      }),
      encode: ({ caps, features, before }) => ({ caps, features: features && [...features], before: [...before] }),
    },
  ),
});
export const queried = sessionState<{ readonly id: string; readonly key: string } | undefined>({
  name: 'client_query',
  default: undefined,
  stored: false,
  moved: z.object({ id: z.string(), key: z.string() }),
});

export const announcedAs = ({ hash, node, ver }: z.output<typeof announced>): Announced => ({ hash, node, ver });

/** §4. Returns undefined if the presence announces no capabilities, or oversized ones. */
export function announcedIn(presence: Stanza): Announced | undefined {
  const c = presence.child(NS.caps, 'c');
  const { hash, node, ver } = c?.attrs ?? {};
  if (node === undefined || ver === undefined) return undefined;
  if (node.length + ver.length + (hash?.length ?? 0) > longestKey) return undefined;
  return { hash, node, ver };
}
