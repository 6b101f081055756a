/** Who is at the other end of a connection: the other end of the socket, or whom a proxy names there. */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

export interface Peer {
  /** Its IP address, plain (not IPv4 in IPv6). */
  readonly address: string;
  /** Both ends are on this machine. */
  readonly loopback: boolean;
  /** What it sends is encrypted on the way: TLS ends here or at the proxy. */
  readonly secure: boolean;
}

/** Of those that come through proxies. */
const named = new WeakMap<Socket, Peer>();

export function peerOf(socket: Socket): Peer {
  const known = named.get(socket);
  if (known !== undefined) return known;
  const address = plainAddress(socket.remoteAddress ?? '');
  const loopback = isLoopback(address) && isLoopback(plainAddress(socket.localAddress ?? ''));
  return { address, loopback, secure: socket instanceof TLSSocket };
}

/** A proxy named the client. */
export function namePeer(socket: Socket, { address, loopback, secure }: Peer): void {
  named.set(socket, { address: plainAddress(address), loopback, secure: secure || socket instanceof TLSSocket });
}

/** TLS begins on a socket: whoever was at its end is at the end of that. */
export function inheritPeer(tls: TLSSocket, plain: Socket): void {
  const known = named.get(plain);
  if (known !== undefined) named.set(tls, { ...known, secure: true });
}

/** IPv4 addresses arrive as IPv4-mapped ones on dual-stack sockets. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.');
}
