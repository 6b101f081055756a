/**
 * Connects to other servers. Tries the addresses of one priority in order, each shortly after the last (RFC 8305), and
 * those of the next priority once they have failed (XEP-0495 §4), or have taken too long.
 */
import { connect, type Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { abortable } from './clock.js';
import type { Place } from './stream/s2s/resolve.js';
import { TcpTransport } from './transport/tcp.js';

/** How long to wait for a connection before also trying the next address, in ms. */
const stagger = 500;
/** The same if the next address has a later priority. */
const patience = 5000;
/** Timeout for the handshake of direct TLS if there are further places, in ms. */
const handshakeMs = 5000;
/** Timeout for all addresses together, in ms. */
const timeoutMs = 20_000;

/** A connection, and the places that were not tried before it succeeded. */
export interface Dialed {
  readonly transport: TcpTransport;
  readonly rest: readonly Place[];
}

/**
 * Resolves with the first connection that succeeds. If its place is for direct TLS, the TLS handshake has to succeed too;
 * otherwise the remaining places are tried. `tls` has the client's options. Rejects with the last error, also when `stop`
 * aborts: then no connection is left.
 */
export function dial(places: readonly Place[], tls: ConnectionOptions, stop: AbortSignal): Promise<Dialed> {
  return abortable(timeoutMs, stop, async (signal) => {
    let left = places;
    for (;;) {
      const { socket, at } = await firstOf(left, signal);
      const place = left[at]!;
      const transport = new TcpTransport(socket, optionsFor(place, tls));
      const rest = left.slice(at + 1);
      if (!place.isDirectTls) return { transport, rest };
      const error =
        rest.length === 0
          ? await handshake(transport, signal)
          : await abortable(handshakeMs, signal, (soon) => handshake(transport, soon));
      if (error === undefined) return { transport, rest };
      transport.destroy();
      left = rest;
      if (left.length === 0) throw error;
    }
  });
}

/** A connection that remembers why its TLS handshake failed. */
export class WatchedTransport extends TcpTransport {
  tlsError: Error | undefined;

  override startTls(ready: (error: Error | undefined) => void): void {
    super.startTls((error) => {
      this.tlsError = error;
      ready(error);
    });
  }
}

/** Connects to one place within `ms`, unless `stop` aborts. The handshake of direct TLS is left to the caller. */
export async function dialPlace(
  place: Place,
  tls: ConnectionOptions,
  ms: number,
  stop: AbortSignal,
): Promise<WatchedTransport> {
  const { socket } = await abortable(ms, stop, (signal) => firstOf([place], signal));
  return new WatchedTransport(socket, optionsFor(place, tls));
}

/** XEP-0368 §3: ALPN names the protocol, because the port may be shared. */
const optionsFor = ({ isDirectTls, servername }: Place, tls: ConnectionOptions): ConnectionOptions =>
  isDirectTls ? { ...tls, ...(servername && { servername }), ALPNProtocols: ['xmpp-server'] } : tls;

/** Resolves when the TLS handshake is done, with an error if it failed or the signal has aborted. */
function handshake(transport: TcpTransport, signal: AbortSignal): Promise<Error | undefined> {
  return new Promise((resolve) => {
    const late = () => {
      resolve(new Error('the TLS handshake took too long'));
      transport.destroy();
    };
    if (signal.aborted) {
      late();
      return;
    }
    signal.addEventListener('abort', late, { once: true });
    transport.startTls((error) => {
      signal.removeEventListener('abort', late);
      resolve(error);
    });
  });
}

/** Resolves with the first connection and the index of its place. Later connections are dropped. */
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
      reject(new Error('no connection within the timeout'));
    };
    const tryNext = () => {
      clearTimeout(timer);
      const at = next++;
      const { address, port } = places[at]!;
      const socket = connect({ host: address, port, noDelay: true, keepAlive: true, allowHalfOpen: true });
      open.add(socket);
      const failed = (error: Error) => {
        open.delete(socket);
        const isDue = open.size === 0 || places[next]?.priority === places[at]!.priority;
        if (next < places.length && isDue) tryNext();
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
      if (next >= places.length) return;
      const isOfSame = places[next]!.priority === places[at]!.priority;
      timer = setTimeout(tryNext, isOfSame ? stagger : patience);
    };
    if (signal.aborted) {
      late();
      return;
    }
    signal.addEventListener('abort', late, { once: true });
    tryNext();
  });
}
