/**
 * A connection to the server that can be cut, like a change of networks. It is as slow as a good network: xmpp.js
 * misses an answer that arrives before the system has reported that the request was sent.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { Transform } from 'node:stream';
import { reset } from '../../src/server/transport/reset.js';

/** Milliseconds that the server's words are under way. */
const latency = 3;

const slow = (): Transform =>
  new Transform({ transform: (chunk, _, passOn) => void setTimeout(passOn, latency, null, chunk) });

export class Relay {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Connections before this one lose what is sent to the server. */
  #lossyUntil = 0;
  #connections = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Listens on a free port of 127.0.0.1, and passes on to `port`, by default of the same address. */
  static open(port: number, host = '127.0.0.1'): Promise<Relay> {
    const server = createServer({ noDelay: true }, (near) => {
      const far = connect({ host, port, noDelay: true });
      for (const [socket, other] of [[near, far] as const, [far, near] as const]) {
        relay.#sockets.add(socket);
        socket.on('error', () => {});
        socket.once('close', () => {
          relay.#sockets.delete(socket);
          // After an orderly end, data in transit arrives, and then the end.
          if (!socket.readableEnded) reset(other);
        });
      }
      near.pipe(relay.#gate()).pipe(far);
      far.pipe(slow()).pipe(near);
    });
    const relay = new Relay(server);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', () => resolve(relay));
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #gate(): Transform {
    const number = this.#connections++;
    return new Transform({
      transform: (chunk, _, passOn) => passOn(null, number < this.#lossyUntil ? undefined : chunk),
    });
  }

  /** What comes over the present connections from now on does not reach the server; who sends it does not notice. */
  swallow(): void {
    this.#lossyUntil = this.#connections;
  }

  /** Resets all connections. New ones pass. */
  cut(): void {
    for (const socket of this.#sockets) reset(socket);
  }

  async close(): Promise<void> {
    // First it stops accepting, so that all are cut.
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }
}
