/**
 * Incoming messages for addresses that live here, from other nodes' links, and from this node itself while it does not
 * act for a slot yet. Each address has its own queue: ordered within an address, independent between addresses. Nothing
 * for a slot is handled before this node acts for it.
 */
import type { Maybe } from '../maybe.js';
import {
  Decoder,
  Encoder,
  type Frame,
  FrameError,
  keyOf,
  type Mark,
  type Message,
  type NodeName,
  protocol,
} from './frames.js';
import type { Parcel } from './parcel.js';
import { slotCount } from './slots.js';
import type { Wire, WireEvents } from './wire.js';

const { setImmediate, setTimeout } = globalThis;

/** Milliseconds after which the wire of a departed peer is closed. */
const farewell = 1000;

/** A message for an address that lives here. */
export interface Delivery {
  /** Full addresses of one bare address. */
  readonly to: readonly string[];
  readonly payload: string;
  /** The mark of its first transmission. Undefined if it has not left this node. */
  readonly mark: Mark | undefined;
  /** A home that is gone may have handled it already. */
  readonly isRepeated: boolean;
  /** Delays the confirmation to the sender until this resolves. */
  acknowledgeAfter(durable: Promise<unknown>): void;
}

/** Handles deliveries and answers questions. */
export interface Receiver {
  /** The next delivery for the address follows when this has returned or resolved. */
  receive(delivery: Delivery): Maybe<void>;
  /** Resolves with the answer. A rejection is logged, and reported to the asker as a missing answer. */
  answer(delivery: Delivery, timeoutMs: number): Promise<string>;
}

export interface InboxParts {
  readonly self: NodeName;
  /** The id of the cluster. */
  cluster(): string;
  readonly receiver: Receiver;
  /** Whether this node acts for a slot. */
  acts(slot: number): boolean;
  /** Whether questions for a slot are answered here, though it is about to move: the work of others may depend on them. */
  answers(slot: number): boolean;
  /** Whether a node is a member in this node's view. */
  isMember(node: NodeName): boolean;
  /** A node that is not a member in this node's view has connected. */
  unknownPeer(): void;
  /** A peer has announced a view of this version. */
  viewAnnounced(version: number): void;
  /** A peer has sent everything it had for slots that moved up to this version. */
  at(node: NodeName, version: number): void;
  /** Everything that came for a slot before this node acted for it has been handled. */
  caughtUp(slot: number): void;
  /** State of a slot that a peer hands over to this node. */
  handed(node: NodeName, slot: number, isFirst: boolean, payload: string): void;
  /** The answer to a question of this node. */
  answered(id: number, isGiven: boolean, payload: string): void;
  /** Sends an answer. */
  reply(node: NodeName, id: number, isGiven: boolean, payload: string): void;
  /** The receiver failed, or a peer violated the protocol. */
  failed(error: unknown): void;
}

/** A peer during one run. */
interface Peer {
  readonly node: NodeName;
  /** The highest number received. Frames arrive in order, so lower numbers are repetitions. */
  highest: number;
  /** Numbers received but not finished. */
  readonly pending: Set<number>;
  /** The number of its latest connection. */
  connection: number;
  wire: Wire;
  encoder: Encoder;
  handled: number[];
  isClosed: boolean;
  isScheduled: boolean;
}

/** The slot of what is for this node itself, and its queue. */
const ownSlot = -1;
const ownQueue = '';

interface Entry {
  readonly slot: number;
  readonly peer: Peer | undefined;
  readonly frame: Pick<Frame, 'to' | 'payload' | 'again' | 'question'>;
  /** Of this transmission. Undefined if it comes from this node itself. */
  readonly mark?: Mark;
  /** Set if it comes from this node itself. */
  readonly parcel?: Parcel;
  readonly handled?: () => void;
  /** Called when it is handled and durable. */
  readonly finished: () => void;
  /** It came before this node acted for its slot, and is counted in `#early`. */
  isEarly?: boolean;
}

interface Queue {
  isRunning: boolean;
  readonly entries: Entry[];
}

export class Inbox {
  readonly #parts: InboxParts;
  readonly #peers = new Map<string, Peer>();
  readonly #queues = new Map<string, Queue>();
  /** By slot, the number of entries that came before this node acted for it and are not handled yet. */
  readonly #early = new Uint32Array(slotCount);
  /** Entries being handled, or handled but not yet durable. */
  readonly #begun = new Set<Entry>();
  #waiters: { readonly concerns: (entry: Entry) => boolean; readonly resolve: () => void }[] = [];
  #isClosed = false;
  /** Whether this node has acted for any slot. What is for the node itself waits until then. */
  #hasActed = false;
  #lastRefusal = '';
  /** Number of frames received again. */
  repeated = 0;

  constructor(parts: InboxParts) {
    this.#parts = parts;
  }

  /** Number of pending entries, and of entries in `#begun`. */
  get size(): { readonly pending: number; readonly begun: number } {
    let pending = 0;
    for (const { entries } of this.#queues.values()) pending += entries.length;
    return { pending, begun: this.#begun.size };
  }

  /** Handles a wire that a peer has opened. */
  accept(wire: Wire): WireEvents {
    const decoder = new Decoder();
    let peer: Peer | undefined;
    const isCurrent = (): boolean => peer === undefined || (peer.wire === wire && !peer.isClosed);
    return {
      bytes: (bytes) => {
        try {
          for (const message of decoder.read(bytes)) {
            if (this.#isClosed || !isCurrent()) return;
            if (peer === undefined) {
              const known = this.#hello(message, wire);
              if (typeof known === 'string') return this.#refuse(known, message, wire);
              peer = known;
              peer.encoder.add({ kind: 'welcome', from: this.#parts.self });
              this.#schedule(peer);
            } else this.#received(peer, message);
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

  /** Queues a parcel of this node until it acts for the slot. `handled` is called when the next may follow. */
  local(parcel: Parcel, handled: () => void): void {
    this.#put({ slot: parcel.slot, peer: undefined, frame: parcel, parcel, handled, finished: () => parcel.confirm() });
  }

  /** Whether something that came for a slot before this node acted for it is not handled yet. */
  isBehind(slot: number): boolean {
    return this.#early[slot]! > 0;
  }

  /** Runs queues after this node has begun to act for further slots. */
  resume(): void {
    this.#hasActed = true;
    for (const [bare, queue] of [...this.#queues]) if (!queue.isRunning) this.#run(bare, queue);
  }

  /** Resolves when no entry for these slots is being handled or awaits durability. */
  idle(slots: ReadonlySet<number>): Promise<void> {
    return this.#none((entry) => slots.has(entry.slot));
  }

  /** Removes peers that are no longer members, with their pending entries for slots that are not this node's. */
  removeNonMembers(isMember: (node: NodeName) => boolean, isOwn: (slot: number) => boolean): void {
    for (const [key, peer] of this.#peers) {
      if (isMember(peer.node)) continue;
      this.#peers.delete(key);
      peer.isClosed = true;
      this.#drop((entry) => entry.peer === peer && !isOwn(entry.slot));
      // A peer that is alive closes the wire itself after its last confirmations.
      setTimeout(() => peer.wire.close(), farewell).unref();
    }
  }

  /**
   * These slots live at other nodes now: removes and returns this node's own parcels that have not begun. Those of nodes
   * that are gone are dropped with their senders.
   */
  left(slots: ReadonlySet<number>): Parcel[] {
    const parcels: Parcel[] = [];
    for (const { entries } of this.#queues.values())
      for (const { slot, parcel, handled } of entries) {
        if (parcel === undefined || !slots.has(slot)) continue;
        parcels.push(parcel);
        handled?.();
      }
    this.#drop(({ slot, parcel, peer }) => slots.has(slot) && (parcel !== undefined || peer?.isClosed === true));
    return parcels;
  }

  close(): void {
    this.#isClosed = true;
    for (const { entries } of this.#queues.values()) for (const { parcel } of entries.splice(0)) parcel?.fail('closed');
    for (const { wire } of this.#peers.values()) wire.close();
    this.#peers.clear();
  }

  // --- peers
  // ----------------------------------------------------------------------------------------------------------

  /** Returns the peer, or why it is refused. */
  #hello(message: Message, wire: Wire): Peer | string {
    if (message.kind !== 'hello') throw new FrameError(`the first message is ${message.kind} instead of hello`);
    const { self } = this.#parts;
    const { from, to, view, connection } = message;
    if (message.protocol !== protocol)
      return `node ${from.id} uses protocol ${message.protocol}, node ${self.id} protocol ${protocol}`;
    if (message.cluster !== this.#parts.cluster()) return `node ${from.id} is of another cluster than node ${self.id}`;
    if (keyOf(to) !== keyOf(self))
      return `node ${to.id} (epoch ${to.epoch}) is now node ${self.id} (epoch ${self.epoch})`;
    this.#parts.viewAnnounced(view);
    if (!this.#parts.isMember(from)) {
      // It may have become a member just now; it will reconnect.
      this.#parts.unknownPeer();
      return `node ${from.id} (epoch ${from.epoch}) is not a member of the cluster that node ${self.id} knows`;
    }
    const key = keyOf(from);
    const known = this.#peers.get(key);
    const fresh = { wire, encoder: new Encoder(), connection };
    if (known === undefined) {
      const peer = {
        node: from,
        highest: 0,
        pending: new Set<number>(),
        handled: [],
        isScheduled: false,
        isClosed: false,
        ...fresh,
      };
      this.#peers.set(key, peer);
      return peer;
    }
    if (connection <= known.connection) return `node ${from.id} has opened a later connection`;
    known.wire.close();
    return Object.assign(known, fresh);
  }

  #refuse(reason: string, message: Message, wire: Wire): void {
    const encoder = new Encoder();
    encoder.add({ kind: 'refused', reason });
    wire.write(encoder.take());
    wire.close();
    const isOther =
      message.kind === 'hello' && (message.protocol !== protocol || message.cluster !== this.#parts.cluster());
    // The other side tries again.
    if (isOther && reason !== this.#lastRefusal) this.#parts.failed(new FrameError(reason));
    this.#lastRefusal = reason;
  }

  #received(peer: Peer, message: Message): void {
    switch (message.kind) {
      case 'frame':
        if (!this.#isFirst(peer, message.number)) return;
        peer.pending.add(message.number);
        this.#put({
          slot: message.question?.isForNode === true ? ownSlot : message.slot,
          peer,
          frame: message,
          mark: { ...peer.node, number: message.number },
          finished: () => this.#finished(peer, message.number),
        });
        break;
      case 'answer':
        if (!this.#isFirst(peer, message.number)) return;
        this.#parts.answered(message.id, message.isGiven, message.payload);
        this.#finished(peer, message.number);
        break;
      case 'state':
        if (!this.#isFirst(peer, message.number)) return;
        this.#parts.handed(peer.node, message.slot, message.isFirst, message.payload);
        this.#finished(peer, message.number);
        break;
      case 'at':
        if (!this.#isFirst(peer, message.number)) return;
        this.#parts.at(peer.node, message.view);
        this.#finished(peer, message.number);
        break;
      case 'view':
        this.#parts.viewAnnounced(message.view);
        break;
      case 'ping':
        peer.encoder.add({ kind: 'pong' });
        this.#schedule(peer);
        break;
      case 'drain':
        void this.#drain(peer, message.id, new Set(message.slots));
        break;
      default:
        throw new FrameError(`unexpected message ${message.kind} from the opening side`);
    }
  }

  /** Confirms a repeated frame again if it is finished, since the peer has not received the confirmation. */
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
  async #drain(peer: Peer, id: number, slots: ReadonlySet<number>): Promise<void> {
    const { wire } = peer;
    const concerns = (entry: Entry): boolean => entry.peer === peer && slots.has(entry.slot);
    this.#drop(concerns);
    await this.#none(concerns);
    // After a reconnect the peer repeats the request.
    if (peer.wire !== wire) return;
    this.#confirm(peer);
    peer.encoder.add({ kind: 'drained', id });
    this.#schedule(peer);
  }

  /** Drops entries that have not begun. */
  #drop(concerns: (entry: Entry) => boolean): void {
    for (const [bare, queue] of this.#queues) {
      const left = queue.entries.filter((entry) => !concerns(entry));
      for (const entry of queue.entries) if (concerns(entry) && entry.isEarly) this.#early[entry.slot]!--;
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

  // --- queues
  // ---------------------------------------------------------------------------------------------------------

  #put(entry: Entry): void {
    const bare = entry.slot === ownSlot ? ownQueue : bareOf(entry.frame.to[0] ?? '');
    if (entry.slot !== ownSlot && !this.#parts.acts(entry.slot)) {
      entry.isEarly = true;
      this.#early[entry.slot]!++;
    }
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
      if (this.#isClosed) return;
      if (next.slot === ownSlot ? !this.#hasActed : !this.#parts.acts(next.slot)) {
        if (this.#parts.answers(next.slot)) this.#answerAll(queue);
        return;
      }
      queue.entries.shift();
      // A delivery that a handler sends to its own address must not run inside the handler.
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

  /** Stanzas wait for the new home. */
  #answerAll(queue: Queue): void {
    const isQuestion = ({ frame }: Entry): boolean => frame.question !== undefined;
    const questions = queue.entries.filter(isQuestion);
    if (questions.length === 0) return;
    queue.entries.splice(0, Number.POSITIVE_INFINITY, ...queue.entries.filter((entry) => !isQuestion(entry)));
    for (const entry of questions) void this.#handle(entry);
  }

  /** Never rejects. */
  #handle(entry: Entry): Promise<void> | undefined {
    const { receiver, failed } = this.#parts;
    this.#begun.add(entry);
    const durable: Promise<unknown>[] = [];
    const delivery: Delivery = {
      to: entry.frame.to,
      payload: entry.frame.payload,
      mark: entry.frame.again ?? entry.mark,
      isRepeated: entry.frame.again !== undefined,
      acknowledgeAfter: (promise) => void durable.push(promise.catch(failed)),
    };
    const end = (): void => {
      entry.handled?.();
      whenDurable();
      if (entry.isEarly && --this.#early[entry.slot]! === 0) this.#parts.caughtUp(entry.slot);
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

  /** Answers are not bound by the order of the queue: later entries do not wait for them. */
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

  /** Resolves when no matching entry has begun and is unfinished. */
  #none(concerns: (entry: Entry) => boolean): Promise<void> {
    if (![...this.#begun].some(concerns)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ concerns, resolve }));
  }
}

const bareOf = (full: string): string => {
  const slash = full.indexOf('/');
  return slash < 0 ? full : full.slice(0, slash);
};

/** The first and last number of each consecutive range. */
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
