/** Separate from websocket.ts, which is only loaded with the first client that needs it. */
import type { Socket } from 'node:net';

/** Answers an upgrade with an error and closes without waiting for the client's half. */
export function refuseUpgrade(socket: Socket, status: string): void {
  socket.once('finish', () => socket.destroy());
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
