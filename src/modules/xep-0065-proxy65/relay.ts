/** The listeners, pending connections, and streams: relays bytes from one socket to the other. */

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { monotonic } from '../../server/clock.js';
import { addressBlock, parseListenAddress } from '../../server/config/address.js';
import { Portions } from '../../server/limits/portions.js';
import type { ModuleListener } from '../../server/module/index.js';
import { reset } from '../../server/transport/reset.js';
import {
  greetingAnswer,
  longestMessage,
  readGreeting,
  readRequest,
  replies,
  requestAnswer,
  SocksError,
} from './socks5.js';

export interface RelaySettings {
  readonly listen: readonly string[];
  readonly connections: number;
  readonly connections_per_address: number;
  readonly streams_per_user: number;
  readonly stream_bytes: number;
  readonly bytes_per_second: number;
  readonly handshake_seconds: number;
  readonly wait_seconds: number;
  readonly idle_seconds: number;
}

/** Observes a stream. */
export interface StreamWatch {
  moved(bytes: number): void;
  ended(): void;
}

/** Maximum bytes received before the stream is activated; they are discarded. */
const mostTooEarly = 65_536;

export class Relay {
  /** By configured address. */
  readonly #servers = new Map<string, Server>();
  readonly #connections = new Set<Socket>();
  /** Connection limits. A stream has two connections, perhaps from one address. */
  readonly #places = new Portions(() => ({
    all: this.settings.connections,
    each: this.settings.connections_per_address,
    least: 2,
  }));
  /** Open streams, by the user who activated them. */
  readonly streams = new Portions(() => ({
    all: Math.floor(this.settings.connections / 2),
    each: this.settings.streams_per_user,
  }));
  /** Connections that have completed the handshake, by the hash of their stream: at most two each. */
  readonly #waiting = new Map<string, Waiting[]>();
  #opening: Promise<void> | undefined;
  #isWanted = false;

  constructor(
    readonly settings: RelaySettings,
    readonly log: Logger,
    readonly limitHit: (limit: string) => void,
  ) {}

  /** The listening ports, each once. */
  get ports(): number[] {
    return [...new Set([...this.#servers.values()].map((server) => (server.address() as AddressInfo).port))];
  }

  /** The listening addresses. */
  get bound(): ModuleListener[] {
    return [...this.#servers.values()].map((server) => {
      const { address, port } = server.address() as AddressInfo;
      return { kind: 'files (SOCKS5 proxy)', address, port };
    });
  }

  /** Opens the ports that are not open yet. Failures are logged. */
  open(): Promise<void> {
    this.#isWanted = true;
    this.#opening ??= this.#open((listen, code) =>
      this.log.warn({ listen, code }, 'the file transfer proxy cannot listen; the server runs without it'),
    );
    return this.#opening;
  }

  /** Retries the ports that could not be opened. */
  async retry(): Promise<void> {
    if (!this.#isWanted) return;
    await this.#opening;
    this.#opening = this.#open(() => {});
    await this.#opening;
  }

  /** Closes the ports and all connections. */
  async close(): Promise<void> {
    this.#isWanted = false;
    await this.#opening;
    const servers = [...this.#servers.values()];
    this.#servers.clear();
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const socket of this.#connections) socket.destroy();
    await Promise.all(closed);
  }

  async #open(failed: (listen: string, code: string | undefined) => void): Promise<void> {
    for (const text of this.settings.listen) {
      if (this.#servers.has(text)) continue;
      try {
        this.#servers.set(text, await this.#listen(text));
      } catch (error) {
        failed(text, (error as NodeJS.ErrnoException).code);
      }
    }
  }

  #listen(text: string): Promise<Server> {
    const { host, port } = parseListenAddress(text)!;
    const server = createServer({ noDelay: true, keepAlive: true, allowHalfOpen: true }, (socket) => {
      if (this.#count(socket)) this.#greet(socket);
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port }, () => {
        server.removeListener('error', reject);
        server.on('error', (error) =>
          this.log.warn({ err: error, listen: text }, 'the file transfer proxy failed to listen'),
        );
        resolve(server);
      });
    });
  }

  /** Counts the connection. Returns whether it is within the limits. */
  #count(socket: Socket): boolean {
    socket.on('error', () => {}); // 'close' follows
    if (socket.destroyed) return false;
    const block = addressBlock(socket.remoteAddress ?? '');
    const refused = this.#places.take(block);
    if (refused !== undefined) {
      this.limitHit(refused === 'all' ? 'proxy65.connections' : 'proxy65.connections_per_address');
      socket.destroy();
      return false;
    }
    this.#connections.add(socket);
    socket.once('close', () => {
      this.#connections.delete(socket);
      this.#places.give(block);
    });
    return true;
  }

  /** The handshake. Data that follows it arrived before the activation, and is ignored (§10.1). */
  #greet(socket: Socket): void {
    const deadline = setTimeout(() => socket.destroy(), this.settings.handshake_seconds * 1000).unref();
    let bytes = Buffer.alloc(0);
    let isGreeted = false;
    const over = () => {
      clearTimeout(deadline);
      socket.removeListener('data', received).removeListener('end', gone);
    };
    const gone = () => socket.destroy();
    const received = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk.subarray(0, 2 * longestMessage)]);
      try {
        if (!isGreeted) {
          const greeting = readGreeting(bytes);
          if (greeting === undefined) return;
          bytes = bytes.subarray(greeting.length);
          isGreeted = true;
          socket.write(greetingAnswer(greeting.isOpen));
          if (!greeting.isOpen) {
            over();
            socket.destroySoon();
            return;
          }
        }
        const request = readRequest(bytes);
        if (request === undefined) return;
        over();
        const isRoom = (this.#waiting.get(request.name)?.length ?? 0) < 2;
        const reply = request.reply === replies.succeeded && !isRoom ? replies.notAllowed : request.reply;
        socket.write(requestAnswer(reply, bytes.subarray(0, request.length)));
        if (reply === replies.succeeded) this.#wait(request.name, socket);
        else socket.destroySoon();
      } catch (error) {
        if (!(error instanceof SocksError)) throw error;
        socket.destroy();
      }
    };
    socket.on('data', received).once('end', gone).once('close', over);
  }

  #wait(hash: string, socket: Socket): void {
    const same = this.#waiting.get(hash) ?? [];
    const waiting: Waiting = { socket, released: () => leave() };
    this.#waiting.set(hash, [...same, waiting]);
    const deadline = setTimeout(() => socket.destroy(), this.settings.wait_seconds * 1000).unref();
    let early = 0;
    const ignore = (chunk: Buffer) => {
      early += chunk.length;
      if (early > mostTooEarly) socket.destroy();
    };
    // A client that closes its half now cannot take part any more, perhaps after a trial connection: free the slot.
    const gone = () => socket.destroy();
    const leave = () => {
      clearTimeout(deadline);
      socket.removeListener('data', ignore).removeListener('end', gone).removeListener('close', leave);
      const rest = (this.#waiting.get(hash) ?? []).filter((other) => other !== waiting);
      if (rest.length === 0) this.#waiting.delete(hash);
      else this.#waiting.set(hash, rest);
    };
    socket.on('data', ignore).once('end', gone).once('close', leave);
  }

  /** How many of the two connections of a stream are open. */
  waiting(hash: string): number {
    return this.#waiting.get(hash)?.filter(({ socket }) => !socket.destroyed).length ?? 0;
  }

  /** Joins the two connections of a stream; both must be open. */
  activate(hash: string, watch: StreamWatch): void {
    const pair = this.#waiting.get(hash) ?? [];
    for (const { released } of pair) released();
    const [one, other] = pair.map(({ socket }) => socket);
    join(one!, other!, this.settings, {
      ...watch,
      limitHit: () => this.limitHit('proxy65.stream_bytes'),
    });
  }
}

interface Waiting {
  readonly socket: Socket;
  /** Removes its pending listeners. */
  released(): void;
}

/**
 * Relays bytes in both directions, with back-pressure and within the rate limit. Each half closes on its own. If one
 * side fails, or the stream is idle for too long, the other is reset rather than ended, since the transfer is
 * incomplete.
 */
function join(one: Socket, other: Socket, settings: RelaySettings, watch: StreamWatch & { limitHit(): void }): void {
  let open = 2;
  let left = settings.stream_bytes;
  const cut = () => {
    for (const socket of [one, other]) if (!socket.destroyed) reset(socket);
  };
  const moved = (bytes: number): boolean => {
    watch.moved(bytes);
    left -= bytes;
    if (left >= 0) return true;
    watch.limitHit();
    cut();
    return false;
  };
  for (const socket of [one, other]) {
    socket.setTimeout(settings.idle_seconds * 1000, cut);
    socket.once('close', () => {
      if (!socket.readableEnded) cut();
      if (--open === 0) watch.ended();
    });
  }
  pass(one, other, settings.bytes_per_second, moved);
  pass(other, one, settings.bytes_per_second, moved);
}

function pass(from: Socket, to: Socket, rate: number, moved: (bytes: number) => boolean): void {
  /** Bytes that may be sent now; if negative, the excess to be waited for. */
  let allowance = rate;
  let at = monotonic();
  let isFull = false;
  let resting: NodeJS.Timeout | undefined;
  const goOn = () => {
    if (!isFull && resting === undefined) from.resume();
  };
  from.on('data', (chunk) => {
    if (!moved(chunk.length)) return;
    isFull = !to.write(chunk);
    if (rate !== Number.POSITIVE_INFINITY) {
      const now = monotonic();
      allowance = Math.min(rate, allowance + ((now - at) / 1000) * rate) - chunk.length;
      at = now;
      if (allowance < 0)
        resting = setTimeout(
          () => {
            resting = undefined;
            goOn();
          },
          (-allowance / rate) * 1000,
        ).unref();
    }
    if (isFull || resting !== undefined) from.pause();
  });
  to.on('drain', () => {
    isFull = false;
    goOn();
  });
  from.once('end', () => to.end());
  from.once('close', () => clearTimeout(resting));
}
