/**
 * What comes in for addresses that live here: from other nodes' links, and from this node where it had to wait. Each
 * address has its own queue: in order for one address, independent between two. Nothing of a slot is handled before this
 * node acts for it.
 */
import {
  Decoder,
  Encoder,
  type Frame,
  FrameError,
  type Mark,
  type Message,
  type NodeName,
  protocol,
} from './frames.js';
import type { Parcel } from './parcel.js';
import type { Wire, WireEvents } from './wire.js';

const { setImmediate, setTimeout } = globalThis;

/** Milliseconds that the wire of a peer stays which has left. */
const farewell = 1000;

/** What has arrived for an address that lives here. */
export interface Delivery {
  /** Full addresses of one bare address. */
  readonly to: readonly string[];
  readonly payload: string;
  /** A home that is gone may have handled it under this mark. */
  readonly again: Mark | undefined;
  /** The sender is told that it arrived once this has resolved, too. */
  acknowledgeAfter(durable: Promise<unknown>): void;
}

/** What handles deliveries and answers questions. */
export interface Receiver {
  /** The next delivery for the address follows once this has returned or resolved. */
  receive(delivery: Delivery): void | Promise<void>;
  /** Resolves with the answer. What it rejects with is told to the log, and the asker that there is none. */
  answer(delivery: Delivery, timeoutMs: number): Promise<string>;
}

export interface InboxParts {
  readonly self: NodeName;
  readonly receiver: Receiver;
  /** Whether this node acts for the slot. */
  acts(slot: number): boolean;
  /** Whether it is a member, as far as this node knows. */
  isMember(node: NodeName): boolean;
  /** A node that is no member takes itself for one. */
  stranger(): void;
  /** A peer speaks of a view of this version. */
  news(version: number): void;
  /** A peer has sent all that it had for slots that moved up to this version. */
  at(node: NodeName, version: number): void;
  /** The answer to a question of this node's. */
  answered(id: number, isGiven: boolean, payload: string): void;
  /** Sends an answer. */
  reply(node: NodeName, id: number, isGiven: boolean, payload: string): void;
  /** The receiver failed, or a peer said what no peer says. */
  failed(error: unknown): void;
}

/** One peer in one run. */
interface Peer {
  readonly node: NodeName;
  /** The greatest number that came: they come in order, so that a smaller one is a repetition. */
  highest: number;
  /** Numbers that came and are not handled. */
  readonly pending: Set<number>;
  /** Its latest connection. */
  connection: number;
  wire: Wire;
  encoder: Encoder;
  handled: number[];
  isGone: boolean;
  isScheduled: boolean;
}

interface Entry {
  readonly slot: number;
  readonly peer: Peer | undefined;
  readonly frame: Pick<Frame, 'to' | 'payload' | 'again' | 'question'>;
  /** Where it is of this node itself. */
  readonly parcel?: Parcel;
  readonly handled?: () => void;
  /** Called when it is handled and durable. */
  readonly finished: () => void;
}

interface Queue {
  isRunning: boolean;
  readonly entries: Entry[];
}

export class Inbox {
  readonly #parts: InboxParts;
  readonly #peers = new Map<string, Peer>();
  readonly #queues = new Map<string, Queue>();
  /** Handled, or about to be, and not durable. */
  readonly #begun = new Set<Entry>();
  #waiters: { readonly concerns: (entry: Entry) => boolean; readonly resolve: () => void }[] = [];
  #isClosed = false;
  /** Frames that came again. */
  repeated = 0;

  constructor(parts: InboxParts) {
    this.#parts = parts;
  }

  /** Entries that wait for their turn, and that are being handled. */
  get size(): { readonly waiting: number; readonly begun: number } {
    let waiting = 0;
    for (const { entries } of this.#queues.values()) waiting += entries.length;
    return { waiting, begun: this.#begun.size };
  }

  /** A peer opened a wire. */
  accept(wire: Wire): WireEvents {
    const decoder = new Decoder();
    let peer: Peer | undefined;
    const isCurrent = (): boolean => peer === undefined || (peer.wire === wire && !peer.isGone);
    return {
      bytes: (bytes) => {
        try {
          for (const message of decoder.read(bytes)) {
            if (this.#isClosed || !isCurrent()) return;
            if (peer === undefined) {
              peer = this.#hello(message, wire);
              if (peer === undefined) {
                wire.close();
                return;
              }
            } else this.#heard(peer, message);
          }
        } catch (error) {
          if (!(error instanceof FrameError)) throw error;
          this.#parts.failed(error);
          wire.close();
        }
      },
      ended: () => {},
    };
  }

  /** A parcel of this node's own, which has to wait until it acts for the slot. `handled`: the next may follow. */
  local(parcel: Parcel, handled: () => void): void {
    this.#put({ slot: parcel.slot, peer: undefined, frame: parcel, parcel, handled, finished: () => parcel.confirm() });
  }

  /** This node acts for further slots. */
  resume(): void {
    for (const [bare, queue] of [...this.#queues]) if (!queue.isRunning) this.#run(bare, queue);
  }

  /** Resolves when nothing that has begun for these slots is unfinished. */
  idle(slots: ReadonlySet<number>): Promise<void> {
    return this.#none((entry) => slots.has(entry.slot));
  }

  /** Peers that are not members any more are heard no more; what they sent for slots of others goes with them. */
  part(isMember: (node: NodeName) => boolean, isOwn: (slot: number) => boolean): void {
    for (const [key, peer] of this.#peers) {
      if (isMember(peer.node)) continue;
      this.#peers.delete(key);
      peer.isGone = true;
      this.#drop((entry) => entry.peer === peer && !isOwn(entry.slot));
      // It closes the wire by itself once it has its last confirmations, if it lives.
      setTimeout(() => peer.wire.close(), farewell).unref();
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const { entries } of this.#queues.values()) for (const { parcel } of entries.splice(0)) parcel?.fail('closed');
    for (const { wire } of this.#peers.values()) wire.close();
    this.#peers.clear();
  }

  // --- peers ----------------------------------------------------------------------------------------------------------

  #hello(message: Message, wire: Wire): Peer | undefined {
    if (message.kind !== 'hello') throw new FrameError(`a peer begins with ${message.kind}`);
    const { self } = this.#parts;
    const { from, to, view, connection } = message;
    if (message.protocol !== protocol || to.id !== self.id || to.epoch !== self.epoch) return undefined;
    this.#parts.news(view);
    if (!this.#parts.isMember(from)) {
      // Perhaps it is one since a moment ago: it comes again.
      this.#parts.stranger();
      return undefined;
    }
    const key = `${from.epoch} ${from.id}`;
    const known = this.#peers.get(key);
    const fresh = { wire, encoder: new Encoder(), connection };
    if (known === undefined) {
      const peer = {
        node: from,
        highest: 0,
        pending: new Set<number>(),
        handled: [],
        isScheduled: false,
        isGone: false,
        ...fresh,
      };
      this.#peers.set(key, peer);
      return peer;
    }
    if (connection <= known.connection) return undefined;
    known.wire.close();
    return Object.assign(known, fresh);
  }

  #heard(peer: Peer, message: Message): void {
    switch (message.kind) {
      case 'frame':
        if (!this.#isFirst(peer, message.number)) return;
        peer.pending.add(message.number);
        this.#put({
          slot: message.slot,
          peer,
          frame: message,
          finished: () => this.#finished(peer, message.number),
        });
        break;
      case 'answer':
        if (!this.#isFirst(peer, message.number)) return;
        this.#parts.answered(message.id, message.isGiven, message.payload);
        this.#finished(peer, message.number);
        break;
      case 'at':
        if (!this.#isFirst(peer, message.number)) return;
        this.#parts.at(peer.node, message.view);
        this.#finished(peer, message.number);
        break;
      case 'news':
        this.#parts.news(message.view);
        break;
      case 'settle':
        void this.#settle(peer, message.id, new Set(message.slots));
        break;
      default:
        throw new FrameError(`a peer says ${message.kind}, which is ours to say`);
    }
  }

  /** What came before and is done is confirmed again: the peer has not heard of it. */
  #isFirst(peer: Peer, number: number): boolean {
    if (number > peer.highest) {
      peer.highest = number;
      return true;
    }
    this.repeated++;
    if (!peer.pending.has(number)) this.#finished(peer, number);
    return false;
  }

  #finished(peer: Peer, number: number): void {
    peer.pending.delete(number);
    peer.handled.push(number);
    this.#schedule(peer);
  }

  /** Never rejects. */
  async #settle(peer: Peer, id: number, slots: ReadonlySet<number>): Promise<void> {
    const { wire } = peer;
    const concerns = (entry: Entry): boolean => entry.peer === peer && slots.has(entry.slot);
    this.#drop(concerns);
    await this.#none(concerns);
    // After a cut the peer asks again.
    if (peer.wire !== wire) return;
    this.#confirm(peer);
    peer.encoder.add({ kind: 'settled', id });
    this.#schedule(peer);
  }

  /** Lets go of entries that have not begun. */
  #drop(concerns: (entry: Entry) => boolean): void {
    for (const [bare, queue] of this.#queues) {
      const left = queue.entries.filter((entry) => !concerns(entry));
      queue.entries.splice(0, Number.POSITIVE_INFINITY, ...left);
      if (left.length === 0 && !queue.isRunning) this.#queues.delete(bare);
    }
  }

  #schedule(peer: Peer): void {
    if (peer.isScheduled) return;
    peer.isScheduled = true;
    setImmediate(() => {
      peer.isScheduled = false;
      this.#confirm(peer);
      if (!peer.encoder.isEmpty) peer.wire.write(peer.encoder.take());
    });
  }

  #confirm(peer: Peer): void {
    if (peer.handled.length === 0) return;
    peer.encoder.add({ kind: 'confirm', ranges: rangesOf(peer.handled) });
    peer.handled = [];
  }

  // --- queues ---------------------------------------------------------------------------------------------------------

  #put(entry: Entry): void {
    const bare = bareOf(entry.frame.to[0] ?? '');
    let queue = this.#queues.get(bare);
    if (queue === undefined) this.#queues.set(bare, (queue = { isRunning: false, entries: [] }));
    queue.entries.push(entry);
    if (!queue.isRunning) this.#run(bare, queue);
  }

  #run(bare: string, queue: Queue): void {
    for (;;) {
      const [next] = queue.entries;
      if (next === undefined) {
        this.#queues.delete(bare);
        return;
      }
      if (this.#isClosed || !this.#parts.acts(next.slot)) return;
      queue.entries.shift();
      // A handler that sends to its own address does not begin that within itself.
      queue.isRunning = true;
      const done = this.#handle(next);
      if (done !== undefined) {
        done.then(() => {
          queue.isRunning = false;
          this.#run(bare, queue);
        }, this.#parts.failed);
        return;
      }
      queue.isRunning = false;
    }
  }

  /** Never rejects. */
  #handle(entry: Entry): Promise<void> | undefined {
    const { receiver, failed } = this.#parts;
    this.#begun.add(entry);
    const durable: Promise<unknown>[] = [];
    const delivery: Delivery = {
      to: entry.frame.to,
      payload: entry.frame.payload,
      again: entry.frame.again,
      acknowledgeAfter: (promise) => void durable.push(promise.catch(failed)),
    };
    const end = (): void => {
      entry.handled?.();
      whenDurable();
    };
    const whenDurable = (): void => {
      if (durable.length === 0) this.#end(entry);
      else Promise.all(durable.splice(0)).then(whenDurable, failed);
    };
    try {
      const { question } = entry.frame;
      if (question !== undefined) {
        this.#ask(entry, delivery, question);
        end();
        return undefined;
      }
      const done = receiver.receive(delivery);
      if (done !== undefined) return done.catch(failed).then(end);
    } catch (error) {
      failed(error);
    }
    end();
    return undefined;
  }

  /** Whoever asks is answered, however late; what comes after the question does not wait for it. */
  #ask({ peer }: Entry, delivery: Delivery, { id, timeoutMs }: NonNullable<Frame['question']>): void {
    const { receiver, reply, answered, failed } = this.#parts;
    const give = (isGiven: boolean, payload: string): void =>
      peer === undefined ? answered(id, isGiven, payload) : reply(peer.node, id, isGiven, payload);
    receiver.answer(delivery, timeoutMs).then(
      (payload) => give(true, payload),
      (error: unknown) => {
        failed(error);
        give(false, '');
      },
    );
  }

  #end(entry: Entry): void {
    this.#begun.delete(entry);
    entry.finished();
    if (this.#waiters.length === 0) return;
    const isOver = ({ concerns }: { concerns: (entry: Entry) => boolean }) => ![...this.#begun].some(concerns);
    const over = this.#waiters.filter(isOver);
    this.#waiters = this.#waiters.filter((waiter) => !over.includes(waiter));
    for (const { resolve } of over) resolve();
  }

  /** Resolves when nothing of these has begun and is unfinished. */
  #none(concerns: (entry: Entry) => boolean): Promise<void> {
    if (![...this.#begun].some(concerns)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ concerns, resolve }));
  }
}

const bareOf = (full: string): string => {
  const slash = full.indexOf('/');
  return slash < 0 ? full : full.slice(0, slash);
};

/** First and last of each run of numbers. */
function rangesOf(numbers: number[]): (readonly [number, number])[] {
  numbers.sort((a, b) => a - b);
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && number <= last[1] + 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges;
}
