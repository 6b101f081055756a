/**
 * The server's side of TLS on a connection that is there already. node:tls does some things for the sockets of a
 * tls.Server alone, which ours are not: the certificate depends on what the stream was opened for, and comes from us.
 */
import type { Socket } from 'node:net';
import { TLSSocket, type TLSSocketOptions } from 'node:tls';
import { inheritPeer } from './peer.js';

function onTlsError(this: TLSSocket): void {
  this.destroy();
}

/** Begins the handshake. 'secure' tells that it is done, 'close' that it failed or the connection ended. */
export function secured(socket: Socket, options: TLSSocketOptions): TLSSocket {
  const tls = new TLSSocket(socket, { ...options, isServer: true });
  inheritPeer(tls, socket);
  // What goes wrong after the handshake is told by this event; 'error' follows on sockets of a tls.Server only.
  tls.on('_tlsError', onTlsError);
  tls.disableRenegotiation();
  return tls;
}

/**
 * Whether the chain of the peer's certificate ends in an authority that is trusted: what a tls.Server has as
 * `authorized`. False where this Node cannot tell.
 */
export function isVerified(socket: TLSSocket): boolean {
  const { _handle } = socket as TLSSocket & { readonly _handle?: { verifyError?(): Error | null } | null };
  return _handle?.verifyError?.() === null;
}
