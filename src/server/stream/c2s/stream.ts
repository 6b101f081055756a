/** A client's stream, as logging in, binding and stream management know it. The stream itself is client.ts. */
import type { StreamInfo } from '../../module/index.js';
import type { LocalHost } from '../../routing/host.js';
import type { Link } from '../../routing/link.js';
import type { Connection, Session } from '../../routing/session.js';
import type { Jid } from '../../stanza/jid.js';
import type { Transport } from '../../transport/transport.js';
import type { Element } from '../../xml/element.js';
import type { Outlet, Sm } from '../xep-0198-sm.js';
import type { CsiLink } from '../xep-0352-csi.js';
import type { Negotiation } from './negotiation.js';

/** opening: a header is due. stranger: features sent, not authenticated. known: authenticated, not bound. */
export type Phase = 'opening' | 'stranger' | 'known' | 'bound' | 'closing' | 'closed';

export interface C2sStream extends StreamInfo, Outlet, Link, Connection {
  readonly transport: Transport;
  readonly phase: Phase;
  readonly secure: boolean;
  readonly remoteAddress: string;
  readonly kind: string;
  /** Whether most of what was written has been read. */
  readonly hasRoom: boolean;
  /** Whether the client may log in without TLS: it has it, or the configuration allows this connection to do without. */
  readonly trusted: boolean;
  /** Whether `<starttls/>` would be answered by `<proceed/>` (RFC 6120 §5). */
  readonly canStartTls: boolean;
  /** Set by the first header; undefined before, and from STARTTLS to the next header. */
  readonly host: LocalHost | undefined;
  /** The account of ours that the `from` of the stream header names. */
  readonly claimed: Jid | undefined;
  /** What the login has come to so far; undefined before and after. */
  readonly negotiation: Negotiation | undefined;
  /** Authenticated as: bare. Set once. */
  readonly account: Jid | undefined;
  /** How it authenticated; the resource is bound with it. */
  readonly mechanism: string;
  /** Set once. It may have ended, or moved to another connection: what was received here is still its client's. */
  readonly session: Session | undefined;
  readonly sm: Sm | undefined;
  readonly csi: CsiLink | undefined;
  /** Whether its session outlives it. */
  readonly resumable: boolean;
  /** Bytes that the peer has not read, where they are many. */
  readonly unread: number;

  writeElement(element: Element): void;
  sendFeatures(): void;
  /** What is written from now on is held: the client does not know of its session yet. */
  hold(): void;
  /** Writes again, beginning with what the caller has to say; what was held is the caller's to write after that. */
  release(): readonly string[];
  /** After SASL the client opens a new stream over the same connection (RFC 6120 §6.4.6). */
  restart(): void;
  /** The login has an end: who the peer is has been proved. Throws StreamError if the peer is gone. */
  authenticated(account: Jid, mechanism: string): void;
  /** A resource is bound to it. */
  bind(session: Session): void;
  /** The stanzas of its session are counted from now on. */
  manage(sm: Sm): void;
  /** It goes on with a session from before. */
  resumed(sm: Sm): void;
  /** XEP-0352 §4.2: `active` or `inactive`. Throws StreamError for anything else. */
  clientIs(state: string): void;
  /** Whether the peer has read nothing of what waits for so long. */
  isStuck(now: number, ms: number): boolean;
  /** Ends the connection at once: it is dead, or the peer does not go. */
  abandon(): void;
}
