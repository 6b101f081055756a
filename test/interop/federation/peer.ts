/** A server of the tests: Waxwing, or another one that it talks to. */
import type { Authority } from './authority.js';

/**
 * Domains, by what is special about the streams between those of two servers. For each a test shows that stanzas cross,
 * and domains and DNS are such that they could not cross in another way.
 *
 * - `external`: STARTTLS, and SASL EXTERNAL; the other servers have dialback turned off.
 * - `dialback`: the certificates do not prove the domain of the side that connects.
 * - `direct`: DNS names ports of direct TLS alone (XEP-0368).
 * - `idn`: the domains have letters that DNS and certificates have in another form.
 * - `six`: DNS names an IPv6 address alone.
 * - `bidi`: for streams that carry stanzas both ways (XEP-0288).
 * - `managed`: for streams with stream management (XEP-0198), over relays.
 */
export const ways = ['external', 'dialback', 'direct', 'idn', 'six', 'bidi', 'managed'] as const;
export type Way = (typeof ways)[number];

export const domainOf = (server: string, way: Way): string =>
  way === 'external' ? `${server}.example` : `${way === 'idn' ? 'bücher' : way}.${server}.example`;

/** The service of rooms of a domain. */
export const roomsOf = (domain: string): string => `conference.${domain}`;

/** The upload service of a domain. */
export const uploadsOf = (domain: string): string => `upload.${domain}`;

/** Where something listens. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

export interface Peer {
  readonly name: string;
  /** Ways that this version of the server has. */
  readonly ways: ReadonlySet<Way>;
  /** Whether it asks the DNS of the test for addresses too, not only for SRV records. */
  readonly looksNamesUp: boolean;
  readonly c2s: Place;
  readonly s2s: Place;
  readonly directTls: Place;
  /** STARTTLS at ::1. */
  readonly six: Place;
  /** HTTPS, of Waxwing. */
  readonly web?: Place;
  /** Resolves once it accepts connections; at once if it runs. It listens at the same places each time. */
  start(): Promise<void>;
  stop(): Promise<void>;
  kill(): Promise<void>;
  close(): Promise<void>;
  /** Of the running process. */
  readonly pid: number;
  /** Collects garbage, where that can be asked for. */
  collect?(): Promise<void>;
  /** What it logged last. */
  readonly log: readonly string[];
  /** What it logged and must not have. */
  complaints(): readonly string[];
}

export interface PeerOptions {
  /** `address:port` of the DNS server that it asks. */
  readonly dns: string;
  readonly authority: Authority;
  /** Passwords by bare address. */
  readonly accounts: Readonly<Record<string, string>>;
  /** Its domains are named after it. Default: the program's name. */
  readonly name?: string;
  /** Where it listens. Default: an address of each program. */
  readonly address?: string;
  /** For measurements: no archive, no debug log, no limits on rates. */
  readonly isLean?: boolean;
  /** Waxwing: whether streams carry stanzas both ways (XEP-0288). Default: yes. */
  readonly isBidirectional?: boolean;
}
