/** Free ports for programs that cannot say which port the system gave them, or that are started again on the same one. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Ports below those that the system gives to connections: otherwise another process could get one before the program
 * listens, or while it restarts.
 */
const lowest = 20_000;
const highest = 32_000;
/** Ports that this process gave to programs. */
const given = new Set<number>();

/** A port that nobody listens on at an address, neither over TCP nor over UDP. It is given once. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (;;) {
    const port = randomInt(lowest, highest);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port, host)) return port;
  }
}

export async function freePorts(count: number, host?: string): Promise<number[]> {
  return Promise.all(Array.from({ length: count }, () => freePort(host)));
}

async function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  try {
    server.listen({ port, host, exclusive: true });
    await once(server, 'listening');
    socket.bind({ port, address: host, exclusive: true });
    await once(socket, 'listening');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  } finally {
    await Promise.all([
      new Promise((resolve) => void server.close(resolve)),
      new Promise<void>((resolve) => void socket.close(resolve)),
    ]);
  }
}
