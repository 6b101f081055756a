/**
 * A link sends to one peer in order, over any number of successive wires. Each frame is retained until the peer
 * confirms that it is handled and its writes are durable; after a reconnect, all unconfirmed frames are sent again with
 * the same numbers. Output of one turn of the event loop is one write. Unconfirmed frames are bounded.
 */
import { monotonic } from '../clock.js';
import { Decoder, Encoder, FrameError, keyOf, type Message, type NodeName, protocol } from './frames.js';
import type { Parcel } from './parcel.js';
import type { Network, Wire } from './wire.js';

const { setImmediate, setTimeout } = globalThis;

/** Milliseconds before a reconnect: initially, and at most. */
const shortestPause = 5;
const longestPause = 500;
/** Refused connections in a row after which the peer's process is gone. */
const goneAfter = 2;
/** Ticks without a sign of life of the peer after which its connection is opened anew. */
const ticksOfWire = 2;
/** Approximate size of a frame without its payload. */
const frameBytes = 96;

export interface LinkParts {
  readonly self: NodeName;
  readonly peer: NodeName & { readonly address: string };
  readonly network: Network;
  /** This node's view, and the cluster's id. */
  view(): { readonly version: number; readonly cluster: string };
  /** Bytes of unconfirmed frames at which `hasRoom` becomes false; frames are refused at twice as many. */
  readonly mostUnconfirmed: number;
  /** The peer violated the protocol. */
  broken(error: FrameError): void;
  /** The peer refuses this node, for this reason, so many times in a row: their views differ. */
  refused(reason: string, times: number): void;
  /** Nobody listens at the peer's address any more. */
  gone(): void;
}

type Numbered = Extract<Message, { readonly number: number }>;

interface Unconfirmed {
  readonly number: number;
  readonly bytes: number;
  readonly parcel: Parcel | undefined;
  readonly message: Numbered;
}

/** Whether it is for whoever has its slot. */
const moves = (parcel: Parcel | undefined): parcel is Parcel =>
  parcel !== undefined && parcel.question?.isForNode !== true;

export class Link {
  readonly peer: LinkParts['peer'];
  readonly #parts: LinkParts;
  /** By sequence number, in order. */
  readonly #unconfirmed = new Map<number, Unconfirmed>();
  #unconfirmedBytes = 0;
  #number = 0;
  #drainId = 0;
  readonly #draining = new Map<number, { readonly slots: readonly number[]; resolve(): void }>();
  #encoder = new Encoder();
  #wire: Wire | undefined;
  #connection = 0;
  #isScheduled = false;
  #isClosed = false;
  #pause = shortestPause;
  #redial: NodeJS.Timeout | undefined;
  /** Monotonic time since which the peer is unreachable. */
  #downSince: number | undefined = monotonic();
  /** Ticks since the last sign of life of the peer. */
  #silence = 0;
  /** Connections in a row that nobody accepted. */
  #unanswered = 0;
  #refusals = 0;
  #roomWaiters: (() => void)[] = [];
  #confirmWaiters: (() => void)[] = [];

  constructor(parts: LinkParts) {
    this.#parts = parts;
    this.peer = parts.peer;
    this.#dial();
  }

  /** False while much is unconfirmed: callers that can wait should. */
  get hasRoom(): boolean {
    return this.#unconfirmedBytes < this.#parts.mostUnconfirmed;
  }

  /** Resolves when there is room or the link is closed. */
  room(): Promise<void> {
    if (this.hasRoom || this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  /** Number and approximate size of frames that the peer has not confirmed. */
  get unconfirmed(): { readonly frames: number; readonly bytes: number } {
    return { frames: this.#unconfirmed.size, bytes: this.#unconfirmedBytes };
  }

  /** Monotonic time since which the peer is unreachable; undefined while it is connected. */
  get downSince(): number | undefined {
    return this.#downSince;
  }

  /**
   * Ticks without a sign of life of the peer. Ticks instead of a time, because after a pause of this process it is this
   * process that was silent.
   */
  get silence(): number {
    return this.#silence;
  }

  /** Asks the peer for a sign of life; called at a fixed interval. */
  tick(): void {
    this.#silence++;
    if (this.#silence > ticksOfWire && this.#downSince === undefined) this.#wire?.close();
    else this.#write({ kind: 'ping' });
  }

  /** The parcel fails with 'full' if there is no room, unless it was accepted earlier. */
  send(parcel: Parcel, wasAccepted = false): void {
    if (!wasAccepted && this.#unconfirmedBytes >= 2 * this.#parts.mostUnconfirmed) {
      parcel.fail('full');
      return;
    }
    const { to, slot, payload, again, question } = parcel;
    parcel.link = this;
    this.#add((number) => ({ kind: 'frame', number, slot, to, payload, again, question }), parcel);
  }

  /** Sends the answer to a question of the peer. */
  answer(id: number, isGiven: boolean, payload: string): void {
    this.#add((number) => ({ kind: 'answer', number, id, isGiven, payload }));
  }

  /** Hands over state of a slot to its next home. Resolves when more may follow. */
  state(slot: number, isFirst: boolean, payload: string): Promise<void> {
    this.#add((number) => ({ kind: 'state', number, slot, isFirst, payload }));
    return this.room();
  }

  /** Announces that everything for slots that moved up to `view` has been sent to their new homes. */
  at(view: number): void {
    this.#add((number) => ({ kind: 'at', number, view }));
  }

  /** Announces a newer view. */
  announceView(view: number): void {
    this.#write({ kind: 'view', view });
  }

  /**
   * Resolves when the peer handles no more frames for these slots and has confirmed the handled ones, so that
   * `takeBack` returns only frames that were not handled. Never resolves if the link is closed first.
   */
  drain(slots: readonly number[]): Promise<void> {
    const id = ++this.#drainId;
    return new Promise((resolve) => {
      this.#draining.set(id, { slots, resolve });
      this.#write({ kind: 'drain', id, slots });
    });
  }

  /** Slots with unconfirmed frames that move with them. */
  get slots(): ReadonlySet<number> {
    const slots = new Set<number>();
    for (const { parcel } of this.#unconfirmed.values()) if (moves(parcel)) slots.add(parcel.slot);
    return slots;
  }

  /** Removes and returns the unconfirmed parcels for these slots, in order. */
  takeBack(slots: ReadonlySet<number>): Parcel[] {
    const taken: Parcel[] = [];
    for (const unconfirmed of this.#unconfirmed.values()) {
      const { parcel } = unconfirmed;
      if (!moves(parcel) || !slots.has(parcel.slot)) continue;
      taken.push(parcel);
      this.#remove(unconfirmed);
    }
    this.#noteRoom();
    return taken;
  }

  /** Resolves when everything sent before this call is confirmed or no longer this link's. */
  async allConfirmed(): Promise<void> {
    const last = this.#number;
    const areConfirmed = (): boolean => {
      const [first] = this.#unconfirmed.keys();
      return first === undefined || first > last;
    };
    while (!areConfirmed() && !this.#isClosed) await new Promise<void>((resolve) => this.#confirmWaiters.push(resolve));
  }

  /** Resolves when the peer has everything that was handed over by `state`. */
  async statesConfirmed(): Promise<void> {
    const areConfirmed = (): boolean =>
      ![...this.#unconfirmed.values()].some(({ message }) => message.kind === 'state');
    while (!areConfirmed() && !this.#isClosed) await new Promise<void>((resolve) => this.#confirmWaiters.push(resolve));
  }

  /** For a peer that is gone. Returns the unconfirmed parcels in order, marked as possibly handled. */
  close(): Parcel[] {
    if (this.#isClosed) return [];
    this.#isClosed = true;
    clearTimeout(this.#redial);
    this.#wire?.close();
    this.#wire = undefined;
    const left: Parcel[] = [];
    for (const { parcel, number } of this.#unconfirmed.values()) {
      if (parcel === undefined) continue;
      parcel.again ??= { ...this.#parts.self, number };
      left.push(parcel);
    }
    this.#unconfirmed.clear();
    this.#unconfirmedBytes = 0;
    this.#draining.clear();
    this.#noteRoom();
    return left;
  }

  #add(make: (number: number) => Numbered, parcel?: Parcel): void {
    if (this.#isClosed) {
      parcel?.fail('closed');
      return;
    }
    const number = ++this.#number;
    const message = make(number);
    const unconfirmed = { number, message, parcel, bytes: this.#bytesOf(message) };
    this.#unconfirmed.set(number, unconfirmed);
    this.#unconfirmedBytes += unconfirmed.bytes;
    this.#write(message);
  }

  /** Consecutive frames with the same payload share it, so it is counted once. */
  #lastPayload = '';
  #bytesOf(message: Numbered): number {
    if (message.kind === 'at') return frameBytes;
    const isSame = message.payload === this.#lastPayload;
    this.#lastPayload = message.payload;
    return frameBytes + (isSame ? 0 : message.payload.length);
  }

  #remove({ number, bytes }: Unconfirmed): void {
    this.#unconfirmed.delete(number);
    this.#unconfirmedBytes -= bytes;
  }

  #noteRoom(): void {
    if (this.hasRoom) for (const resolve of this.#roomWaiters.splice(0)) resolve();
    for (const resolve of this.#confirmWaiters.splice(0)) resolve();
  }

  // --- wires
  // ----------------------------------------------------------------------------------------------------------

  #dial(): void {
    const { self, peer, network } = this.#parts;
    const decoder = new Decoder();
    const connection = ++this.#connection;
    const isCurrent = (): boolean => connection === this.#connection && !this.#isClosed;
    const wire = network.dial(peer.address, {
      bytes: (bytes) => {
        if (!isCurrent()) return;
        try {
          for (const message of decoder.read(bytes)) this.#received(message);
        } catch (error) {
          if (!(error instanceof FrameError)) throw error;
          this.#parts.broken(error);
          wire.close();
        }
      },
      ended: (isRefused) => {
        if (!isCurrent()) return;
        this.#wire = undefined;
        this.#downSince ??= monotonic();
        this.#unanswered = isRefused ? this.#unanswered + 1 : 0;
        if (this.#unanswered >= goneAfter) this.#parts.gone();
        this.#redial = setTimeout(() => this.#dial(), this.#pause);
        this.#pause = Math.min(2 * this.#pause, longestPause);
      },
    });
    this.#wire = wire;
    this.#encoder = new Encoder();
    const { version: view, cluster } = this.#parts.view();
    this.#write({ kind: 'hello', protocol, from: self, to: peer, cluster, view, connection });
    for (const { message } of this.#unconfirmed.values()) this.#write(message);
    for (const [id, { slots }] of this.#draining) this.#write({ kind: 'drain', id, slots });
  }

  /** No effect while there is no wire: all unconfirmed frames are sent on connecting. */
  #write(message: Message): void {
    if (this.#wire === undefined) return;
    this.#encoder.add(message);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.#encoder.isEmpty) this.#wire?.write(this.#encoder.take());
    });
  }

  #received(message: Message): void {
    if (message.kind === 'refused') {
      this.#parts.refused(message.reason, ++this.#refusals);
      return;
    }
    if (this.#downSince !== undefined) {
      if (message.kind !== 'welcome' || keyOf(message.from) !== keyOf(this.peer))
        throw new FrameError(`another node is at ${this.peer.address}`);
      this.#downSince = undefined;
      this.#refusals = 0;
    }
    this.#silence = 0;
    switch (message.kind) {
      case 'welcome':
      case 'pong':
        break;
      case 'confirm':
        this.#pause = shortestPause;
        for (const [first, last] of message.ranges) this.#confirmed(first, last);
        this.#noteRoom();
        break;
      case 'drained':
        this.#draining.get(message.id)?.resolve();
        this.#draining.delete(message.id);
        break;
      default:
        throw new FrameError(`unexpected message ${message.kind} from the accepting side`);
    }
  }

  #confirmed(first: number, last: number): void {
    if (last > this.#number) throw new FrameError('the peer confirmed a frame that was not sent');
    for (let number = first; number <= last; number++) {
      const unconfirmed = this.#unconfirmed.get(number);
      if (unconfirmed === undefined) continue;
      this.#remove(unconfirmed);
      unconfirmed.parcel?.confirm();
    }
  }
}
