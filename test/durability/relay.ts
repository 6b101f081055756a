/**
 * A bad way to the server: late, in pieces, cut, closed in one direction, or silent. In order all the same, as TCP is.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { reset } from '../../src/server/transport/reset.js';
import type { Random } from './random.js';

export interface Weather {
  /** The most that anything is late, in ms. */
  readonly delay: number;
  /** Of all chunks: those that come in pieces; before those that the connection is reset, ends in one direction, goes silent. */
  readonly pieces: number;
  readonly cut: number;
  readonly end: number;
  readonly silence: number;
}

const calm: Weather = { delay: 0, pieces: 0, cut: 0, end: 0, silence: 0 };
const mostPieces = 5;
/** Chunks, in one direction. */
const mostOnTheWay = 20;

export class RoughRelay {
  /** How often each thing was done to a connection. */
  readonly done = { pieces: 0, cut: 0, end: 0, silence: 0 };
  #weather = calm;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(
    readonly random: Random,
    readonly target: () => number,
  ) {
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => this.#connected(near));
  }

  /** Listens on a free port of 127.0.0.1 and passes on to `target`. */
  static open(random: Random, target: () => number): Promise<RoughRelay> {
    const relay = new RoughRelay(random, target);
    return new Promise((resolve, reject) => {
      relay.#server.once('error', reject);
      relay.#server.listen(0, '127.0.0.1', () => resolve(relay));
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on. Undefined stops everything and cuts all previous connections. */
  set weather(weather: Weather | undefined) {
    this.#weather = weather ?? calm;
    if (weather === undefined) this.cut();
  }

  cut(): void {
    for (const socket of this.#sockets) reset(socket);
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #connected(near: Socket): void {
    const far = connect({ host: '127.0.0.1', port: this.target(), noDelay: true, allowHalfOpen: true });
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => {
        this.#sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    const both = [near, far] as const;
    this.#pass(near, far, both);
    this.#pass(far, near, both);
  }

  #pass(from: Socket, to: Socket, both: readonly [Socket, Socket]): void {
    const { random } = this;
    let isSilent = false;
    /** Data in transit, in order: timers of Node with different durations do not guarantee it. */
    const onTheWay: (() => void)[] = [];
    const arrive = (): void => {
      onTheWay.shift()?.();
      if (onTheWay.length > 0) next();
    };
    const next = (): void => void setTimeout(arrive, random.between(0, this.#weather.delay + 1));
    const later = (action: () => void): void => {
      onTheWay.push(action);
      if (onTheWay.length === 1) next();
    };
    from.on('data', (chunk) => {
      const { pieces, cut, end, silence } = this.#weather;
      if (isSilent) return;
      if (random.chance(cut)) {
        this.done.cut++;
        for (const socket of both) reset(socket);
        return;
      }
      if (random.chance(silence)) {
        this.done.silence++;
        isSilent = true;
        return;
      }
      const all = random.chance(pieces) ? this.#split(chunk) : [chunk];
      for (const piece of all) later(() => to.write(piece));
      if (random.chance(end)) {
        this.done.end++;
        isSilent = true;
        later(() => to.end());
      }
      // Who writes faster than this goes waits, as without a relay.
      if (onTheWay.length > mostOnTheWay) {
        from.pause();
        later(() => from.resume());
      }
    });
    from.on('end', () => {
      if (!isSilent) later(() => to.end());
    });
  }

  #split(chunk: Buffer): Buffer[] {
    this.done.pieces++;
    const parts: Buffer[] = [];
    let rest = chunk;
    for (let n = this.random.between(1, mostPieces); n > 0 && rest.length > 1; n--) {
      const at = this.random.between(1, rest.length);
      parts.push(rest.subarray(0, at));
      rest = rest.subarray(at);
    }
    return [...parts, rest];
  }
}
