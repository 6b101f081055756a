import type { Socket } from 'node:net';

/**
 * Closes a TCP connection at once with a reset, so that the peer does not mistake partial data for the whole. A socket
 * whose FIN is pending cannot be reset: libuv returns EINVAL, and Node then keeps the handle forever and spins on input
 * from the peer. Such a socket is closed without a reset.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
