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
  const { _handle } = socket as TLSSocket & { readonly _handle?: { verifyError?(): Error | null } | null };
  return _handle?.verifyError?.() === null;
}
