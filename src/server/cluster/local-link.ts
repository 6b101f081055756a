/**
 * A network of nodes in one process, for tests of everything above it: bytes arrive in a later turn, in pieces, late and,
 * by a seed, not at all, because the wire is cut between any two bytes in either direction. So frames are sent again that
 * have arrived, and confirmed ones too.
 */
import type { Network, Wire, WireEvents } from './wire.js';

// A test may replace the clock: wires go on all the same.
const { setImmediate, setTimeout } = globalThis;

export interface LocalNetworkOptions {
  /** Numbers from 0 to 1. */
  readonly random?: (() => number) | undefined;
  /** How many of the writes arrive up to 3 ms later, and how many cut the wire, from 0 to 1. */
  readonly delays?: number | undefined;
  readonly cuts?: number | undefined;
}

export class LocalNetwork implements Network {
  readonly #options: LocalNetworkOptions;
  readonly #listeners = new Map<string, (wire: Wire) => WireEvents>();
  readonly #wires = new Set<LocalWire>();
  /** Pairs of addresses, or one, between which nothing passes. */
  readonly #parted = new Set<string>();
  /** Writes, and cuts that `cuts` made. */
  writes = 0;
  cutsMade = 0;

  constructor(options: LocalNetworkOptions = {}) {
    this.#options = options;
  }

  listen(address: string, accept: (wire: Wire) => WireEvents): () => void {
    if (this.#listeners.has(address)) throw new Error(`two nodes have the address ${address}`);
    this.#listeners.set(address, accept);
    return () => this.#listeners.delete(address);
  }

  dial(address: string, events: WireEvents): Wire {
    const near = new LocalWire(this, address, events);
    const accept = this.#parted.has(address) ? undefined : this.#listeners.get(address);
    if (accept === undefined) {
      near.close();
      return near;
    }
    const far = new LocalWire(this, address);
    far.events = accept(far);
    near.peer = far;
    far.peer = near;
    this.#wires.add(near).add(far);
    return near;
  }

  /** Cuts all wires to an address, or all that there are. */
  cut(address?: string): void {
    for (const wire of [...this.#wires]) if (address === undefined || wire.address === address) wire.close();
  }

  /** Nobody reaches the address until it is joined again. */
  part(address: string): void {
    this.#parted.add(address);
    this.cut(address);
  }

  rejoin(address: string): void {
    this.#parted.delete(address);
  }

  /** Hands bytes over, or what of them arrives before a cut; `done` when the next may follow. */
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

  gone(wire: LocalWire): void {
    this.#wires.delete(wire);
  }
}

class LocalWire implements Wire {
  peer: LocalWire | undefined;
  #isOver = false;
  /** In the order of their writes, whatever each one's delay is. */
  #carried: Promise<void> = Promise.resolve();

  constructor(
    readonly network: LocalNetwork,
    readonly address: string,
    public events?: WireEvents,
  ) {}

  write(bytes: Buffer): void {
    const { peer } = this;
    if (this.#isOver || peer === undefined) return;
    const own = Buffer.from(bytes);
    this.#carried = this.#carried.then(
      () =>
        new Promise((resolve) => {
          const deliver = (piece: Buffer): void => peer.#arrive(piece);
          this.network.carry(own, deliver, () => this.close(), resolve);
        }),
    );
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.network.gone(this);
    this.peer?.close();
    setImmediate(() => this.events?.ended());
  }

  #arrive(piece: Buffer): void {
    if (!this.#isOver) this.events?.bytes(piece);
  }
}
