import type { Socket } from 'node:net';

/**
 * Closes a TCP connection at once and tells the peer by a reset, so that it cannot take what it got for all there was.
 * While its own end is on its way a socket cannot be reset: libuv answers EINVAL, and Node then keeps the handle for
 * ever and spins on what the peer does with it. Such a socket is closed without a reset.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
