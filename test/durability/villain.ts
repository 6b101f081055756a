/** One account at its limits, with what every manner needs. */
import { setTimeout as pause } from 'node:timers/promises';
import { Wire } from '../../bench/wire.js';
import type { Random } from './random.js';

/** Orders for a process of villains. */
export interface Orders {
  readonly port: number;
  readonly http: number;
  readonly seed: number;
  readonly seconds: number;
  /** How many there are. */
  readonly count: number;
  readonly manners: readonly string[];
  /** How long one manner takes, in ms: at least, and less than. */
  readonly turn: readonly [number, number];
  /** Whom they are after. */
  readonly users: readonly string[];
  readonly rooms: readonly string[];
}

/** How far they came with a manner. */
export interface Tally {
  turns: number;
  said: number;
  bytes: number;
  connections: number;
  failures: number;
}

export const villainPassword = 'secret';
export const nameOf = (n: number): string => `villain${n}`;
/** Patience with a login, in ms. */
const patience = 3000;

export class Villain {
  readonly name: string;
  readonly bare: string;
  readonly #wires: Wire[] = [];
  #ids = 0;

  constructor(
    readonly n: number,
    readonly turn: number,
    readonly orders: Orders,
    readonly random: Random,
    readonly tally: Tally,
    readonly until: number,
  ) {
    this.name = nameOf(n);
    this.bare = `${this.name}@localhost`;
  }

  get isOver(): boolean {
    return performance.now() >= this.until;
  }

  /** Another of them. */
  get accomplice(): string {
    return `${nameOf((this.n + 1 + this.random.between(0, this.orders.count - 1)) % this.orders.count)}@localhost`;
  }

  /** One of the ordinary users. */
  get victim(): string {
    return this.random.pick(this.orders.users);
  }

  /** A new word. */
  fresh(): string {
    return `${this.name}-${this.turn}-${++this.#ids}`;
  }

  /** A connection from an address of its own, on which nothing was sent. */
  connect(): Wire {
    const { random } = this;
    const wire = new Wire(this.orders.port, `127.${100 + this.n}.${random.between(1, 250)}.${random.between(1, 250)}`);
    this.tally.connections++;
    this.#wires.push(wire);
    return wire;
  }

  /** Logs in, rejects where that takes too long. */
  async enter(resource = this.fresh()): Promise<Wire> {
    const wire = this.connect();
    const timer = setTimeout(() => wire.end(), patience);
    try {
      return await wire.login(this.name, resource);
    } finally {
      clearTimeout(timer);
    }
  }

  /** As many sessions as it gets. */
  async enterOften(count: number): Promise<Wire[]> {
    const wires: Wire[] = [];
    for (let n = 0; n < count && !this.isOver; n++) {
      try {
        wires.push(await this.enter());
      } catch {
        break; // that many it may have
      }
    }
    return wires;
  }

  /** The server's answer as text; '' if none arrived in time. */
  async answer(wire: Wire, payload: string, to: string, type = 'get'): Promise<string> {
    const id = this.fresh();
    let text = '';
    const receive = (chunk: string): void => void (text += chunk);
    wire.socket.on('data', receive);
    const timer = setTimeout(() => wire.end(), patience);
    await wire.ask(`<iq type='${type}' id='${id}' to='${to}'>${payload}</iq>`, `id="${id}"`).catch(() => {});
    clearTimeout(timer);
    wire.socket.off('data', receive);
    return text;
  }

  iq(type: 'get' | 'set', payload: string, to?: string): string {
    return `<iq type='${type}' id='${this.fresh()}'${to === undefined ? '' : ` to='${to}'`}>${payload}</iq>`;
  }

  /** Sends elements as fast as the server reads, until the time or the connection is over. */
  async press(wire: Wire, next: () => string, atMost = Number.POSITIVE_INFINITY): Promise<void> {
    for (let n = 0; n < atMost && !this.isOver && wire.socket.writable; n++) {
      if (!this.say(wire, next())) await this.#drained(wire);
      else if (n % 20 === 19) await pause(1);
    }
  }

  say(wire: Wire, text: string): boolean {
    this.tally.said++;
    this.tally.bytes += text.length;
    return wire.send(text);
  }

  async #drained(wire: Wire): Promise<void> {
    while (!this.isOver && wire.socket.writable && wire.socket.writableNeedDrain) await pause(5);
  }

  /** Keeps the connections it has. */
  async linger(): Promise<void> {
    while (!this.isOver) await pause(50);
  }

  leave(): void {
    for (const wire of this.#wires.splice(0)) wire.end();
  }
}
