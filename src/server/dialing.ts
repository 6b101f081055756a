/** Connections to other servers: the places of a domain are tried in their order, a little after each other (RFC 8305). */
import { connect, type Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { Place } from './stream/s2s/resolve.js';
import { TcpTransport } from './transport/tcp.js';

/** After how long the next place is tried while the one before has not answered, in ms. */
const stagger = 500;
/** How long all of it may take, in ms. */
const patience = 20_000;

/**
 * Connects to the first place that answers, and begins TLS at once where it is for direct TLS; where that fails the places
 * after it are tried. `tls`: of the side that opens the connection. Rejects with the last error.
 */
export async function dial(places: readonly Place[], tls: ConnectionOptions): Promise<TcpTransport> {
  const signal = AbortSignal.timeout(patience);
  let left = places;
  for (;;) {
    const { socket, at } = await firstOf(left, signal);
    const { isDirectTls } = left[at]!;
    // XEP-0368 §3: ALPN says what is spoken, as the port may be shared.
    const transport = new TcpTransport(socket, isDirectTls ? { ...tls, ALPNProtocols: ['xmpp-server'] } : tls);
    if (!isDirectTls) return transport;
    const error = await shakenHands(transport, signal);
    if (error === undefined) return transport;
    transport.destroy();
    left = left.slice(at + 1);
    if (left.length === 0) throw error;
  }
}

function shakenHands(transport: TcpTransport, signal: AbortSignal): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const late = () => {
      resolve(new Error('the TLS handshake took too long'));
      transport.destroy();
    };
    signal.addEventListener('abort', late, { once: true });
    transport.startTls((error) => {
      signal.removeEventListener('abort', late);
      resolve(error);
    });
  });
}

/** The first connection that there is, and its place. Those that come later are cut. */
function firstOf(
  places: readonly Place[],
  signal: AbortSignal,
): Promise<{ readonly socket: Socket; readonly at: number }> {
  return new Promise((resolve, reject) => {
    const open = new Set<Socket>();
    let next = 0;
    let timer: NodeJS.Timeout | undefined;
    const over = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', late);
      next = places.length;
    };
    const late = () => {
      over();
      for (const socket of open) socket.destroy();
      reject(new Error('no connection within the time for it'));
    };
    const tryNext = () => {
      clearTimeout(timer);
      const at = next++;
      const { address, port } = places[at]!;
      const socket = connect({ host: address, port, noDelay: true, keepAlive: true, allowHalfOpen: true });
      open.add(socket);
      const failed = (error: Error) => {
        open.delete(socket);
        if (next < places.length) tryNext();
        else if (open.size === 0) {
          over();
          reject(error);
        }
      };
      socket.once('error', failed).once('connect', () => {
        over();
        open.delete(socket);
        for (const other of open) other.removeAllListeners('connect').destroy();
        socket.removeListener('error', failed);
        resolve({ socket, at });
      });
      if (next < places.length) timer = setTimeout(tryNext, stagger);
    };
    signal.addEventListener('abort', late, { once: true });
    tryNext();
  });
}
