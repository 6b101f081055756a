/**
 * An in-process network of nodes, for tests: bytes arrive in a later turn, in pieces and delayed. Depending on the
 * random numbers, wires are cut between any two bytes in either direction, so that frames are repeated that have
 * arrived or were even confirmed.
 */
import type { Network, Purpose, Wire, WireEvents } from './wire.js';

// The network keeps running when a test replaces the clock.
const { setImmediate, setTimeout } = globalThis;

export interface LocalNetworkOptions {
  /** Numbers from 0 to 1. */
  readonly random?: (() => number) | undefined;
  /** The share of writes, from 0 to 1, that arrive up to 3 ms late, and the share that cut the wire. */
  readonly delays?: number | undefined;
  readonly cuts?: number | undefined;
}

export class LocalNetwork implements Network {
  readonly #options: LocalNetworkOptions;
  readonly #listeners = new Map<string, (wire: Wire) => WireEvents>();
  readonly #wires = new Set<LocalWire>();
  /** Unreachable addresses. */
  readonly #parted = new Set<string>();
  /** Kinds of wires that carry nothing, until the promise resolves. */
  readonly #halted = new Map<Purpose, Promise<void>>();
  /** Number of writes, and of cuts made because of `cuts`. */
  writes = 0;
  cutsMade = 0;

  constructor(options: LocalNetworkOptions = {}) {
    this.#options = options;
  }

  listen(address: string, accept: (wire: Wire) => WireEvents, purpose: Purpose = 'frames'): () => void {
    const key = `${purpose} ${address}`;
    if (this.#listeners.has(key)) throw new Error(`two nodes have the address ${address}`);
    this.#listeners.set(key, accept);
    return () => this.#listeners.delete(key);
  }

  dial(address: string, events: WireEvents, purpose: Purpose = 'frames'): Wire {
    const near = new LocalWire(this, address, purpose, events);
    const accept = this.#parted.has(address) ? undefined : this.#listeners.get(`${purpose} ${address}`);
    if (accept === undefined) {
      near.isRefused = !this.#parted.has(address);
      near.close();
      return near;
    }
    const far = new LocalWire(this, address, purpose);
    far.events = accept(far);
    near.peer = far;
    far.peer = near;
    this.#wires.add(near).add(far);
    return near;
  }

  /** Cuts all wires to an address, or all wires. */
  cut(address?: string): void {
    for (const wire of [...this.#wires]) if (address === undefined || wire.address === address) wire.cut();
  }

  /** Makes an address unreachable until `rejoin`. */
  part(address: string): void {
    this.#parted.add(address);
    this.cut(address);
  }

  rejoin(address: string): void {
    this.#parted.delete(address);
  }

  /** What is written to wires of a kind waits until the returned function is called. */
  halt(purpose: Purpose): () => void {
    let go = (): void => {};
    const halted = new Promise<void>((resolve) => {
      go = resolve;
    });
    this.#halted.set(purpose, halted);
    return () => {
      this.#halted.delete(purpose);
      go();
    };
  }

  /** Undefined if wires of the kind carry what is written. */
  halted(purpose: Purpose): Promise<void> | undefined {
    return this.#halted.get(purpose);
  }

  /** Delivers bytes, or the part of them before a cut. Calls `done` when the next write may follow. */
  carry(bytes: Buffer, deliver: (piece: Buffer) => void, cut: () => void, done: () => void): void {
    const { random = () => 1, delays = 0, cuts = 0 } = this.#options;
    this.writes++;
    const isCut = random() < cuts;
    const arriving = isCut ? bytes.subarray(0, Math.floor(random() * (bytes.length + 1))) : bytes;
    const middle = Math.floor(random() * arriving.length);
    const go = (): void => {
      if (middle > 0 && middle < arriving.length) {
        deliver(arriving.subarray(0, middle));
        deliver(arriving.subarray(middle));
      } else if (arriving.length > 0) deliver(arriving);
      if (isCut) {
        this.cutsMade++;
        cut();
      }
      done();
    };
    if (random() < delays) setTimeout(go, random() * 3);
    else setImmediate(go);
  }

  ended(wire: LocalWire): void {
    this.#wires.delete(wire);
  }
}

class LocalWire implements Wire {
  peer: LocalWire | undefined;
  isRefused = false;
  #isOver = false;
  /** Keeps writes in order, whatever their delays. */
  #carried: Promise<void> = Promise.resolve();

  constructor(
    readonly network: LocalNetwork,
    readonly address: string,
    readonly purpose: Purpose,
    public events?: WireEvents,
  ) {}

  write(bytes: Buffer): void {
    const { peer } = this;
    if (this.#isOver || peer === undefined) return;
    const own = Buffer.from(bytes);
    const carry = (): Promise<void> => {
      const halted = this.network.halted(this.purpose);
      if (halted !== undefined) return halted.then(carry);
      return new Promise((resolve) => {
        const deliver = (piece: Buffer): void => peer.#arrive(piece);
        // This end may be closed already: nothing that follows arrives all the same.
        const cut = (): void => {
          this.cut();
          peer.cut();
        };
        this.network.carry(own, deliver, cut, resolve);
      });
    };
    this.#carried = this.#carried.then(carry);
  }

  /** The other side gets what was written before. */
  close(): void {
    if (this.#isOver) return;
    this.#end();
    const cut = (): void => this.peer?.cut();
    this.#carried.then(cut, cut);
  }

  /** What was written may be lost. */
  cut(): void {
    if (this.#isOver) return;
    this.#end();
    this.peer?.cut();
  }

  #end(): void {
    this.#isOver = true;
    this.network.ended(this);
    setImmediate(() => this.events?.ended(this.isRefused));
  }

  #arrive(piece: Buffer): void {
    if (!this.#isOver) this.events?.bytes(piece);
  }
}
