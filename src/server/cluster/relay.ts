/**
 * Relayed streams: the bytes of a client's connection between its gateway, the node that it reached, and the home of its
 * account. Many streams share one wire for each ordered pair of nodes. Nothing is kept and nothing is sent again: a cut
 * wire ends its streams, as a cut connection does, and stream management (XEP-0198) brings back what was lost.
 *
 * Either side sends at most a window of bytes ahead of what the other has taken. What one turn of the event loop has for a
 * peer is one write.
 */
import type { NodeName } from './frames.js';
import type { Network, Wire, WireEvents } from './wire.js';

const { setImmediate } = globalThis;

export const relayProtocol = 1;

/** Bytes of one direction of one stream that are sent and not taken yet, at most. */
export const relayWindow = 65_536;
/** Length of the longest message: far above what a stanza can be. */
const mostBytes = 64 * 2 ** 20;
/** Length (32 bits), kind (8), stream (32). */
const headBytes = 9;

const hello = 0;
const open = 1;
const data = 2;
const credit = 3;
const end = 4;
const close = 5;

/** What one end of a relayed stream hears. */
export interface RelayEvents {
  /** Bytes of the other end, a chunk as it was sent. To be confirmed by `took`. */
  received(chunk: Buffer): void;
  /** The other end has taken some of what was sent. */
  drained(): void;
  /** The other end has finished sending. */
  ended(): void;
  /** The stream is over: closed by the other end, or cut. Called once, last; not after `close`. */
  closed(isCut: boolean): void;
}

/** One end of a relayed stream. */
export interface RelayEnd {
  /** Queues beyond the window. */
  send(chunk: Buffer): void;
  /** Bytes that the other end has not taken. */
  readonly queued: number;
  /** So many bytes of what was received are done with. */
  took(bytes: number): void;
  /** Finishes sending, after queued chunks. */
  end(): void;
  /** At once; what is queued is lost. */
  close(): void;
}

export interface RelaysParts {
  readonly self: NodeName;
  /** Where the network finds this node. */
  readonly address: string;
  readonly network: Network;
  isMember(node: NodeName): boolean;
  /** A gateway has a stream for an address that lives here. */
  accept(opening: string, relay: RelayEnd): RelayEvents;
  /** A peer said what no peer says, or an opening could not be read. */
  failed(error: unknown): void;
}

export type RelayPeer = NodeName & { readonly address: string };

export class Relays {
  readonly #parts: RelaysParts;
  /** Wires that this node opened, by peer. */
  readonly #dialled = new Map<string, RelayWire>();
  readonly #accepted = new Set<RelayWire>();
  readonly #stopListening: () => void;

  constructor(parts: RelaysParts) {
    this.#parts = parts;
    this.#stopListening = parts.network.listen(parts.address, (wire) => this.#accept(wire), 'streams');
  }

  /** Streams of both directions, for metrics and tests. */
  get size(): number {
    return [...this.#dialled.values(), ...this.#accepted].reduce((sum, wire) => sum + wire.size, 0);
  }

  /** Opens a stream to the home of an address; `opening` describes the connection. */
  open(peer: RelayPeer, opening: string, events: (relay: RelayEnd) => RelayEvents): void {
    const key = keyOf(peer);
    let wire = this.#dialled.get(key);
    if (wire === undefined) {
      wire = new RelayWire({
        failed: this.#parts.failed,
        over: () => this.#dialled.delete(key),
      });
      this.#dialled.set(key, wire);
      wire.dial(this.#parts.network, peer, this.#parts.self);
    }
    wire.open(opening, events);
  }

  /** Ends the streams of nodes that have left the cluster. */
  part(): void {
    for (const wire of [...this.#dialled.values(), ...this.#accepted])
      if (wire.peer !== undefined && !this.#parts.isMember(wire.peer)) wire.close();
  }

  /** Ends all. */
  close(): void {
    this.#stopListening();
    for (const wire of [...this.#dialled.values(), ...this.#accepted]) wire.close();
  }

  #accept(wire: Wire): WireEvents {
    const { self, isMember, accept, failed } = this.#parts;
    const relayWire: RelayWire = new RelayWire({
      failed,
      over: () => this.#accepted.delete(relayWire),
      hello: ({ protocol, from, to }) => {
        if (protocol !== relayProtocol) throw new RelayError(`node ${from.id} relays by protocol ${protocol}`);
        if (keyOf(to) !== keyOf(self) || !isMember(from)) throw new RelayError(`node ${from.id} has another view`);
      },
      accept,
    });
    this.#accepted.add(relayWire);
    return relayWire.carriedBy(wire);
  }
}

/** The peer does not keep to the protocol. Its wire is closed. */
export class RelayError extends Error {
  override readonly name = 'RelayError';
}

interface Hello {
  readonly protocol: number;
  readonly from: NodeName;
  readonly to: NodeName;
}

interface RelayWireParts {
  failed(error: unknown): void;
  over(): void;
  /** Of a wire that was accepted: throws where the peer is not to be served. */
  hello?(hello: Hello): void;
  accept?(opening: string, relay: RelayEnd): RelayEvents;
}

/** All streams of one wire. */
class RelayWire {
  readonly #parts: RelayWireParts;
  readonly #streams = new Map<number, Stream>();
  #wire: Wire | undefined;
  #last = 0;
  #rest: Buffer = Buffer.alloc(0);
  #out: Buffer[] = [];
  #isScheduled = false;
  #isOver = false;
  peer: NodeName | undefined;

  constructor(parts: RelayWireParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#streams.size;
  }

  dial(network: Network, peer: RelayPeer, self: NodeName): void {
    this.peer = peer;
    this.#wire = network.dial(peer.address, this.#events, 'streams');
    const to: NodeName = { id: peer.id, epoch: peer.epoch };
    this.#say(hello, 0, Buffer.from(JSON.stringify({ protocol: relayProtocol, from: self, to } satisfies Hello)));
  }

  carriedBy(wire: Wire): WireEvents {
    this.#wire = wire;
    return this.#events;
  }

  get #events(): WireEvents {
    return { bytes: (bytes) => this.#heard(bytes), ended: () => this.#over() };
  }

  open(opening: string, events: (relay: RelayEnd) => RelayEvents): void {
    const id = ++this.#last;
    this.#say(open, id, Buffer.from(opening));
    this.#add(id, events);
  }

  close(): void {
    this.#wire?.close();
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#parts.over();
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.closed(true);
  }

  #add(id: number, events: (relay: RelayEnd) => RelayEvents): void {
    const stream = new Stream(
      (kind, bytes) => this.#say(kind, id, bytes),
      () => this.#streams.delete(id),
    );
    this.#streams.set(id, stream);
    stream.events = events(stream);
  }

  #say(kind: number, id: number, bytes: Buffer): void {
    if (this.#isOver) return;
    const head = Buffer.allocUnsafe(headBytes);
    head.writeUInt32BE(headBytes - 4 + bytes.length, 0);
    head[4] = kind;
    head.writeUInt32BE(id, 5);
    this.#out.push(head, bytes);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      const out = Buffer.concat(this.#out);
      this.#out = [];
      if (!this.#isOver) this.#wire?.write(out);
    });
  }

  #heard(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    try {
      while (!this.#isOver && this.#rest.length - at >= headBytes) {
        const length = this.#rest.readUInt32BE(at);
        if (length < headBytes - 4 || length > mostBytes) throw new RelayError(`a message of ${length} bytes`);
        if (this.#rest.length - at - 4 < length) break;
        const [kind, id] = [this.#rest[at + 4]!, this.#rest.readUInt32BE(at + 5)];
        const body = this.#rest.subarray(at + headBytes, at + 4 + length);
        at += 4 + length;
        this.#message(kind, id, body);
      }
      // A copy: what is left of a large buffer does not hold all of it.
      this.#rest = Buffer.from(this.#rest.subarray(at));
    } catch (error) {
      this.#parts.failed(error);
      this.close();
    }
  }

  #message(kind: number, id: number, body: Buffer): void {
    const { accept } = this.#parts;
    if (kind === hello) {
      const said = JSON.parse(body.toString()) as Hello;
      if (accept === undefined || this.peer !== undefined) throw new RelayError('a greeting out of turn');
      this.peer = said.from;
      this.#parts.hello?.(said);
      return;
    }
    if (this.peer === undefined) throw new RelayError('no greeting');
    if (kind === open) {
      if (accept === undefined || id <= this.#last) throw new RelayError('a stream out of turn');
      this.#last = id;
      this.#add(id, (stream) => accept(body.toString(), stream));
      return;
    }
    // What was under way when this end closed it.
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (kind === data) stream.received(body);
    else if (kind === credit && body.length === 4) stream.credited(body.readUInt32BE(0));
    else if (kind === end) stream.events?.ended();
    else if (kind === close) {
      this.#streams.delete(id);
      stream.closed(false);
    } else throw new RelayError(`a message of kind ${kind}`);
  }
}

const nothing = Buffer.alloc(0);

class Stream implements RelayEnd {
  readonly #say: (kind: number, bytes: Buffer) => void;
  readonly #forget: () => void;
  events: RelayEvents | undefined;
  /** Bytes that were sent and not taken. */
  #ahead = 0;
  /** What waits for the window, and how much that is. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Bytes that came and are not taken: the peer may not send more than the window. */
  #owed = 0;
  /** Nothing more is sent after what waits, and the other end knows. */
  #ends = false;
  #endSaid = false;
  #isOver = false;

  constructor(say: (kind: number, bytes: Buffer) => void, forget: () => void) {
    this.#say = say;
    this.#forget = forget;
  }

  get queued(): number {
    return this.#ahead + this.#waitingBytes;
  }

  send(chunk: Buffer): void {
    if (this.#isOver || this.#ends) return;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    this.#flush();
  }

  took(bytes: number): void {
    if (this.#isOver || bytes === 0) return;
    this.#owed -= bytes;
    const body = Buffer.allocUnsafe(4);
    body.writeUInt32BE(bytes, 0);
    this.#say(credit, body);
  }

  end(): void {
    if (this.#isOver || this.#ends) return;
    this.#ends = true;
    this.#flush();
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#forget();
    this.#say(close, nothing);
  }

  /** A chunk goes whole, so that the window is exceeded by less than one. */
  #flush(): void {
    while (this.#waiting.length > 0 && this.#ahead < relayWindow) {
      const chunk = this.#waiting.shift()!;
      this.#waitingBytes -= chunk.length;
      this.#ahead += chunk.length;
      this.#say(data, chunk);
    }
    if (!this.#ends || this.#endSaid || this.#waiting.length > 0) return;
    this.#endSaid = true;
    this.#say(end, nothing);
  }

  received(chunk: Buffer): void {
    if (this.#owed >= relayWindow) throw new RelayError('more than the window');
    this.#owed += chunk.length;
    this.events?.received(chunk);
  }

  credited(bytes: number): void {
    if (bytes > this.#ahead) throw new RelayError('more taken than sent');
    this.#ahead -= bytes;
    this.#flush();
    this.events?.drained();
  }

  closed(isCut: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting = [];
    this.events?.closed(isCut);
  }
}

const keyOf = ({ id, epoch }: NodeName): string => `${epoch} ${id}`;
