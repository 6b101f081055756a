/** A client stream as login, binding and stream management see it. Implemented in client.ts. */

import type { Jid } from '../../address/jid.js';
import type { StreamInfo } from '../../module/index.js';
import type { LocalHost } from '../../routing/host.js';
import type { Link } from '../../routing/link.js';
import type { Connection, Session } from '../../routing/session.js';
import type { Transport } from '../../transport/transport.js';
import type { Element } from '../../xml/element.js';
import type { StreamOpen } from '../../xml/reader.js';
import type { XmlStream } from '../stream.js';
import type { Outlet, Sm } from '../xep-0198-sm.js';
import type { CsiLink } from '../xep-0352-csi.js';
import type { Negotiation } from './negotiation.js';

/** opening: header pending. unauthenticated: features sent. authenticated: no resource bound yet. */
export type Phase = 'opening' | 'unauthenticated' | 'authenticated' | 'bound' | 'closing' | 'closed';

export interface C2sStream extends StreamInfo, Outlet, Link, Connection {
  readonly transport: Transport;
  readonly phase: Phase;
  readonly secure: boolean;
  readonly remoteAddress: string;
  readonly kind: string;
  /** Whether the client has read most of the output. */
  readonly hasRoom: boolean;
  /** Whether login is allowed: the connection has TLS, or the configuration exempts it. */
  readonly trusted: boolean;
  /** Whether `<starttls/>` would be answered by `<proceed/>` (RFC 6120 §5). */
  readonly canStartTls: boolean;
  /** Set by the first header; undefined before, and from STARTTLS to the next header. */
  readonly host: LocalHost | undefined;
  /** The account of ours named in the `from` of the stream header. */
  readonly claimed: Jid | undefined;
  /** State of the login; undefined before and after it. */
  readonly negotiation: Negotiation | undefined;
  /** The authenticated account, bare. Set once. */
  readonly account: Jid | undefined;
  /** The mechanism that authenticated it; recorded in the session. */
  readonly mechanism: string;
  /** Set once. It may have ended or moved to another connection; elements received here are still its client's. */
  readonly session: Session | undefined;
  readonly sm: Sm | undefined;
  readonly csi: CsiLink | undefined;
  /** Whether its session survives a lost connection. */
  readonly resumable: boolean;
  /** Unread bytes; 0 if there are few. */
  readonly unread: number;

  writeElement(element: Element): void;
  sendFeatures(): void;
  /** Buffers everything written from now on: the client does not know its session yet. */
  hold(): void;
  /** Stops buffering and returns the buffered output for the caller to write. */
  release(): readonly string[];
  /** After SASL the client opens a new stream over the same connection (RFC 6120 §6.4.6). */
  restart(): void;
  /** Login is complete. Throws StreamError if the connection is closed. */
  authenticated(account: Jid, mechanism: string): void;
  /** A resource was bound. */
  bind(session: Session): void;
  /** Stanzas of its session are counted from now on. */
  manage(sm: Sm): void;
  /** The client's header, while the stream may be handed over. */
  readonly header: StreamOpen | undefined;
  /** When the connection was accepted, in ms. */
  readonly connectedAt: number;
  readonly xml: Pick<XmlStream, 'freeze' | 'thaw' | 'canHandOver' | 'handOver' | 'silence' | 'buckets'>;
  /** The session has moved from another node, and the connection with it. */
  follows(session: Session, sm: Sm | undefined): void;
  /** The stream resumes an earlier session. */
  resumed(sm: Sm): void;
  /** XEP-0352 §4.2: `active` or `inactive`. Throws StreamError for anything else. */
  clientIs(state: string): void;
  /** Whether output is pending and the peer has read none of it for `ms`. */
  isStuck(now: number, ms: number): boolean;
  /** Destroys the connection at once: it is dead, or the peer does not close it. */
  abandon(): void;
}

/** What continues a session on the connection that has followed it. */
export interface FollowedSession {
  readonly session: Session;
  /** Called once the stream has its header. */
  readonly begin: (stream: C2sStream) => void;
}
