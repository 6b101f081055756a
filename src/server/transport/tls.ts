/**
 * Server-side TLS on an existing connection. node:tls does some things only for sockets of a tls.Server, which cannot
 * be used: the certificate depends on the stream's address, and is chosen here.
 */
import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
import { inheritPeer } from './peer.js';

function onTlsError(this: TLSSocket): void {
  this.destroy();
}

/** Starts the handshake. 'secure' reports success; 'close' reports that it failed or the connection ended. */
export function secured(socket: Socket, options: TLSSocketOptions): TLSSocket {
  const tls = new TLSSocket(socket, { ...options, isServer: true });
  inheritPeer(tls, socket);
  // Errors after the handshake are reported by this event; 'error' only follows on sockets of a tls.Server.
  tls.on('_tlsError', onTlsError);
  tls.disableRenegotiation();
  return tls;
}

/**
 * Whether the peer's certificate chain ends in a trusted authority (`authorized` of a tls.Server). False if this
 * version of Node cannot tell.
 */
export function isVerified(socket: TLSSocket): boolean {
  return verifyErrorOf(socket) === undefined;
}

/** OpenSSL's code for why the chain is not trusted. Returns undefined if it is. */
export function verifyErrorOf(socket: TLSSocket): string | undefined {
  const { _handle } = socket as TLSSocket & {
    readonly _handle?: { verifyError?(): NodeJS.ErrnoException | null } | null;
  };
  if (_handle?.verifyError === undefined) return 'UNKNOWN';
  const error = _handle.verifyError();
  return error === null ? undefined : (error.code ?? error.message);
}
