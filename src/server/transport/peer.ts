/** The peer of a connection: the other end of the socket, or the client named by a proxy. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

export interface Peer {
  /** Its IP address (IPv4 never mapped to IPv6). */
  readonly address: string;
  /** Whether both ends are on this machine. */
  readonly loopback: boolean;
  /** Whether the connection is encrypted: TLS ends here or at the proxy. */
  readonly secure: boolean;
}

/** Peers named by a proxy. */
const named = new WeakMap<Socket, Peer>();

export function peerOf(socket: Socket): Peer {
  const known = named.get(socket);
  if (known !== undefined) return known;
  const address = plainAddress(socket.remoteAddress ?? '');
  const loopback = isLoopback(address) && isLoopback(plainAddress(socket.localAddress ?? ''));
  return { address, loopback, secure: socket instanceof TLSSocket };
}

/** Sets the peer named by a proxy. */
export function namePeer(socket: Socket, { address, loopback, secure }: Peer): void {
  named.set(socket, { address: plainAddress(address), loopback, secure: secure || socket instanceof TLSSocket });
}

/** Copies the peer to the TLS socket on top of a socket. */
export function inheritPeer(tls: TLSSocket, plain: Socket): void {
  const known = named.get(plain);
  if (known !== undefined) named.set(tls, { ...known, secure: true });
}

/** Dual-stack sockets report IPv4 addresses as IPv4-mapped IPv6. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}
