/** Streams to and from other servers as administrators see them. */
import type { TLSSocket } from 'node:tls';
import { monotonic, wall } from '../../clock.js';
import type { Transport } from '../../transport/transport.js';
import type { XmlStream } from '../stream.js';

/** A local and a remote domain. */
export interface Pairing {
  readonly local: string;
  readonly remote: string;
}

export interface ServerStream {
  /** Who opened it: 'in' if the other server did. */
  readonly direction: 'in' | 'out';
  /** Stanzas go both ways over it (XEP-0288). */
  readonly bidirectional: boolean;
  /** connecting: no connection yet. negotiating: not authenticated yet. */
  readonly state: 'connecting' | 'negotiating' | 'open' | 'closing';
  /** Authenticated pairs; of an outgoing stream, the pair it is for. */
  readonly pairs: readonly Pairing[];
  /** The pair claimed by the header of an incoming stream. */
  readonly claimed: Partial<Pairing> | null;
  readonly address: string | null;
  readonly tls: TlsFacts | null;
  readonly authentication: 'EXTERNAL' | 'dialback' | null;
  /** When it was opened: ISO 8601. */
  readonly since: string;
  /** Stanzas. */
  readonly received: number;
  readonly sent: number;
  /** Stanzas that wait for it, and their approximate size. */
  readonly queued: number;
  readonly queuedBytes: number;
}

export interface TlsFacts {
  readonly protocol: string;
  readonly cipher: string;
}

/** A pair of domains in back-off: no stream is opened, and stanzas are refused. */
export interface Pause extends Pairing {
  /** Failed attempts one after the other. */
  readonly failures: number;
  /** The error condition and text that senders get. */
  readonly condition: string;
  readonly text: string | null;
  /** ISO 8601. */
  readonly until: string;
}

/** Converts ms of the monotonic clock to ISO 8601. */
export const isoTime = (at: number): string => new Date(wall() - (monotonic() - at)).toISOString();

export const stateOf = ({ isEstablished, state }: XmlStream): ServerStream['state'] =>
  isEstablished ? 'open' : state === 'closing' || state === 'closed' ? 'closing' : 'negotiating';

/** Null if there is no TLS, or its handshake is not complete. */
export function tlsFacts({ tls, relayedPeer }: Transport): TlsFacts | null {
  if (relayedPeer !== undefined) return { protocol: relayedPeer.protocol, cipher: relayedPeer.cipher };
  return tls === undefined ? null : factsOf(tls);
}

function factsOf(tls: TLSSocket): TlsFacts | null {
  const protocol = tls.getProtocol();
  // Undefined during the handshake, whatever its type says.
  const cipher = tls.getCipher() as ReturnType<TLSSocket['getCipher']> | undefined;
  return protocol === null || cipher === undefined ? null : { protocol, cipher: cipher.standardName };
}

/** The remote domain that a stream is listed under; the claimed one if none is authenticated. */
export const remoteOf = ({ pairs, claimed }: ServerStream): string => pairs[0]?.remote ?? claimed?.remote ?? '';
