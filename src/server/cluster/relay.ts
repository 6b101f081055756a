/**
 * Relayed streams: the bytes of a client's connection between its gateway, the node that it connected to, and the home of
 * its account. Each ordered pair of nodes has one wire, which all its streams share. Nothing is retransmitted: a lost wire
 * ends its streams as a lost connection does, and clients resume by stream management (XEP-0198).
 *
 * When the account moves, its old home asks the gateway to stop (`hold`), gets everything that was under way (`held`), and
 * says where the stream goes on (`move`).
 *
 * Each direction of a stream has a window of unconfirmed bytes. All output of a turn of the event loop to one peer is one
 * write.
 */
import { keyOf, type NodeName } from './frames.js';
import { type Network, signsOfLife, type Wire, type WireEvents } from './wire.js';

const { setImmediate } = globalThis;

export const relayProtocol = 1;

/** Most unconfirmed bytes in one direction of a stream. */
export const relayWindow = 65_536;
/** Length of the longest message; far above the largest stanza. */
const mostBytes = 64 * 2 ** 20;
/** Header of a message: length (32 bits), kind (8), stream (32). */
const headBytes = 9;

const hello = 0;
const open = 1;
const data = 2;
const credit = 3;
const end = 4;
const close = 5;
/** Data that was queued when its stream was closed: it may exceed the window, because nothing follows. */
const rest = 6;
/** From the home: send nothing more. */
const hold = 7;
/** From the gateway: this was the last. */
const held = 8;
/** From the home, last: the stream goes on elsewhere. */
const move = 9;
/** A sign of life, of no stream. Nodes that do not know it ignore it, and give none. */
const alive = 10;

/** Events at one end of a relayed stream. */
export interface RelayEvents {
  /** A chunk, as the other end sent it. The receiver confirms it with `took`. */
  received(chunk: Buffer): void;
  /** The other end has confirmed some bytes. */
  drained(): void;
  /** The other end has finished sending. */
  ended(): void;
  /** At the gateway: the home wants nothing more. To be answered by `held`, after what was sent. */
  holds?(): void;
  /** At the home: the gateway sends nothing more. */
  isHeld?(): void;
  /** At the gateway: the stream goes on elsewhere, as this says. Called last. */
  moves?(to: string): void;
  /** The other end has closed the stream, or the wire is lost (`isCut`). The last event; not sent after `close`. */
  closed(isCut: boolean): void;
}

/** One end of a relayed stream. */
export interface RelayEnd {
  /** Sends a chunk, or queues it if the window is full. */
  send(chunk: Buffer): void;
  /** Queued and unconfirmed bytes. */
  readonly queued: number;
  /** Confirms received bytes, so that the other end may send more. */
  took(bytes: number): void;
  /** Ends this direction after the queued chunks. */
  end(): void;
  /** At the home: asks the gateway to send nothing more, which it confirms by `isHeld`. */
  hold(): void;
  /** At the gateway: answers `holds`. */
  held(): void;
  /** Removes and returns what is queued beyond the window. */
  takeQueued(): Buffer[];
  /** At the home: the stream goes on elsewhere. It is over for this end. */
  move(to: string): void;
  /** Closes the stream at once. Queued chunks are discarded, or sent before. */
  close(withQueued?: boolean): void;
}

export interface RelaysParts {
  readonly self: NodeName;
  /** The address of this node. */
  readonly address: string;
  readonly network: Network;
  isMember(node: NodeName): boolean;
  /** Accepts a stream whose account has its home here. */
  accept(opening: string, relay: RelayEnd): RelayEvents;
  /** A peer broke the protocol, or sent an invalid opening. */
  failed(error: unknown): void;
}

export type RelayPeer = NodeName & { readonly address: string };

export class Relays {
  readonly #parts: RelaysParts;
  /** Outgoing wires, by peer. */
  readonly #dialled = new Map<string, RelayWire>();
  readonly #accepted = new Set<RelayWire>();
  readonly #stopListening: () => void;

  constructor(parts: RelaysParts) {
    this.#parts = parts;
    this.#stopListening = parts.network.listen(parts.address, (wire) => this.#accept(wire), 'streams');
  }

  /** Incoming and outgoing streams, for metrics and tests. */
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

  /**
   * Gives each peer a sign of life, and ends the streams of those that give none any more; called at a fixed interval. Ticks
   * are counted, because after a pause of this process it is this process that was silent.
   */
  tick(): void {
    for (const wire of [...this.#dialled.values(), ...this.#accepted]) wire.tick();
  }

  /** Ends the streams of nodes that have left the cluster. */
  part(): void {
    for (const wire of [...this.#dialled.values(), ...this.#accepted])
      if (wire.peer !== undefined && !this.#parts.isMember(wire.peer)) wire.close();
  }

  /** Closes all wires and stops listening. */
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
        if (protocol !== relayProtocol) throw new RelayError(`node ${from.id} uses relay protocol ${protocol}`);
        if (keyOf(to) !== keyOf(self) || !isMember(from))
          throw new RelayError(`node ${from.id} has a different view of the cluster`);
      },
      accept,
    });
    this.#accepted.add(relayWire);
    return relayWire.carriedBy(wire);
  }
}

/** The peer broke the protocol. Its wire is closed. */
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
  /** For an incoming wire. Throws if the peer is not to be served. */
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
  /** Ticks since anything was received; undefined until the peer has given a sign of life. */
  #silence: number | undefined;
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
    this.#write(hello, 0, Buffer.from(JSON.stringify({ protocol: relayProtocol, from: self, to } satisfies Hello)));
  }

  carriedBy(wire: Wire): WireEvents {
    this.#wire = wire;
    return this.#events;
  }

  get #events(): WireEvents {
    return { bytes: (bytes) => this.#received(bytes), ended: () => this.#over() };
  }

  open(opening: string, events: (relay: RelayEnd) => RelayEvents): void {
    const id = ++this.#last;
    this.#write(open, id, Buffer.from(opening));
    this.#add(id, events);
  }

  close(): void {
    this.#wire?.close();
    this.#over();
  }

  tick(): void {
    if (this.peer === undefined) return;
    if (this.#silence !== undefined && ++this.#silence > signsOfLife) this.close();
    else this.#write(alive, 0, nothing);
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
      (kind, bytes) => this.#write(kind, id, bytes),
      () => this.#streams.delete(id),
    );
    this.#streams.set(id, stream);
    stream.events = events(stream);
  }

  #write(kind: number, id: number, bytes: Buffer): void {
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

  #received(bytes: Buffer): void {
    if (this.#isOver) return;
    if (this.#silence !== undefined) this.#silence = 0;
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
      // A copy, so that the remainder does not retain the whole buffer.
      this.#rest = Buffer.from(this.#rest.subarray(at));
    } catch (error) {
      this.#parts.failed(error);
      this.close();
    }
  }

  #message(kind: number, id: number, body: Buffer): void {
    const { accept } = this.#parts;
    if (kind === hello) {
      const greeting = JSON.parse(body.toString()) as Hello;
      if (accept === undefined || this.peer !== undefined) throw new RelayError('an unexpected greeting');
      this.peer = greeting.from;
      this.#parts.hello?.(greeting);
      return;
    }
    if (this.peer === undefined) throw new RelayError('no greeting');
    if (kind === alive) {
      this.#silence = 0;
      return;
    }
    if (kind === open) {
      if (accept === undefined || id <= this.#last) throw new RelayError('an unexpected stream');
      this.#last = id;
      this.#add(id, (stream) => accept(body.toString(), stream));
      return;
    }
    // A message that crossed this end's `close` is ignored.
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (kind === data) stream.received(body);
    else if (kind === rest) stream.events?.received(body);
    else if (kind === credit && body.length === 4) stream.credited(body.readUInt32BE(0));
    else if (kind === end) stream.events?.ended();
    else if (kind === hold) stream.events?.holds?.();
    else if (kind === held) stream.events?.isHeld?.();
    else if (kind === move) {
      this.#streams.delete(id);
      stream.moved(body.toString());
    } else if (kind === close) {
      this.#streams.delete(id);
      stream.closed(false);
    } else throw new RelayError(`a message of kind ${kind}`);
  }
}

const nothing = Buffer.alloc(0);

class Stream implements RelayEnd {
  readonly #write: (kind: number, bytes: Buffer) => void;
  readonly #remove: () => void;
  events: RelayEvents | undefined;
  /** Bytes sent and not yet confirmed. */
  #inFlight = 0;
  /** Chunks queued until the window has room, and their size. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Bytes received and not yet confirmed; at most the window and one chunk. */
  #unconfirmed = 0;
  /** Whether `end` was called, and whether the other end was notified. */
  #ends = false;
  #endSent = false;
  #isOver = false;

  constructor(write: (kind: number, bytes: Buffer) => void, remove: () => void) {
    this.#write = write;
    this.#remove = remove;
  }

  get queued(): number {
    return this.#inFlight + this.#waitingBytes;
  }

  send(chunk: Buffer): void {
    if (this.#isOver || this.#ends) return;
    this.#waiting.push(chunk);
    this.#waitingBytes += chunk.length;
    this.#flush();
  }

  took(bytes: number): void {
    if (this.#isOver || bytes === 0) return;
    this.#unconfirmed -= bytes;
    const body = Buffer.allocUnsafe(4);
    body.writeUInt32BE(bytes, 0);
    this.#write(credit, body);
  }

  end(): void {
    if (this.#isOver || this.#ends) return;
    this.#ends = true;
    this.#flush();
  }

  close(withQueued = false): void {
    if (this.#isOver) return;
    if (withQueued) for (const chunk of this.#waiting) this.#write(rest, chunk);
    this.#waiting = [];
    this.#leave(close, nothing);
  }

  hold(): void {
    if (!this.#isOver) this.#write(hold, nothing);
  }

  held(): void {
    if (!this.#isOver) this.#write(held, nothing);
  }

  takeQueued(): Buffer[] {
    this.#waitingBytes = 0;
    return this.#waiting.splice(0);
  }

  move(to: string): void {
    this.#leave(move, Buffer.from(to));
  }

  /** With a last message. */
  #leave(kind: number, body: Buffer): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#remove();
    this.#write(kind, body);
  }

  moved(to: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.events?.moves?.(to);
  }

  /** Chunks are not split, so a direction may exceed the window by less than one chunk. */
  #flush(): void {
    while (this.#waiting.length > 0 && this.#inFlight < relayWindow) {
      const chunk = this.#waiting.shift()!;
      this.#waitingBytes -= chunk.length;
      this.#inFlight += chunk.length;
      this.#write(data, chunk);
    }
    if (!this.#ends || this.#endSent || this.#waiting.length > 0) return;
    this.#endSent = true;
    this.#write(end, nothing);
  }

  received(chunk: Buffer): void {
    if (this.#unconfirmed >= relayWindow) throw new RelayError('more bytes than the window allows');
    this.#unconfirmed += chunk.length;
    this.events?.received(chunk);
  }

  credited(bytes: number): void {
    if (bytes > this.#inFlight) throw new RelayError('more bytes confirmed than sent');
    this.#inFlight -= bytes;
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
