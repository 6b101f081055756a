/**
 * A link: what this node sends to one peer, in order, over however many wires. Each frame is kept until the peer has
 * confirmed it, which it does once the frame is handled and what it wrote is durable; after a cut all that is not confirmed
 * goes again under its number. What one turn of the event loop has for the peer is one write. What is kept is bounded.
 */
import { monotonic } from '../clock.js';
import { Decoder, Encoder, FrameError, type Message, type NodeName, protocol } from './frames.js';
import type { Parcel } from './parcel.js';
import type { Network, Wire } from './wire.js';

const { setImmediate, setTimeout } = globalThis;

/** Milliseconds before a wire that was cut is opened anew: the first time, and at most. */
const shortestPause = 5;
const longestPause = 500;
/** About what a frame takes besides its payload. */
const frameBytes = 96;

export interface LinkParts {
  readonly self: NodeName;
  readonly peer: NodeName & { readonly address: string };
  readonly network: Network;
  /** The version of the view that this node has. */
  view(): number;
  /** Bytes of frames that are kept before `hasRoom` is false; beyond twice as many frames are refused. */
  readonly mostKept: number;
  /** The peer said what no peer says. */
  broken(error: FrameError): void;
}

type Numbered = Extract<Message, { readonly number: number }>;

interface Kept {
  readonly number: number;
  readonly bytes: number;
  readonly parcel: Parcel | undefined;
  readonly message: Numbered;
}

export class Link {
  readonly peer: LinkParts['peer'];
  readonly #parts: LinkParts;
  /** By number, which is their order. */
  readonly #kept = new Map<number, Kept>();
  #keptBytes = 0;
  #number = 0;
  #settleId = 0;
  readonly #settling = new Map<number, { readonly slots: readonly number[]; resolve(): void }>();
  #encoder = new Encoder();
  #wire: Wire | undefined;
  #connection = 0;
  #isScheduled = false;
  #isClosed = false;
  #pause = shortestPause;
  #redial: NodeJS.Timeout | undefined;
  /** Since when the peer cannot be reached, by the monotonic clock. */
  #downSince: number | undefined = monotonic();
  #waiters: (() => void)[] = [];
  #quiet: (() => void)[] = [];

  constructor(parts: LinkParts) {
    this.#parts = parts;
    this.peer = parts.peer;
    this.#dial();
  }

  /** False while the peer has much to take: who can wait does. */
  get hasRoom(): boolean {
    return this.#keptBytes < this.#parts.mostKept;
  }

  /** Resolves when there is room, or the link is closed. */
  room(): Promise<void> {
    if (this.hasRoom || this.#isClosed) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Frames that the peer has not confirmed, and about how many bytes they are. */
  get kept(): { readonly frames: number; readonly bytes: number } {
    return { frames: this.#kept.size, bytes: this.#keptBytes };
  }

  /** Since when the peer has said nothing because no wire reaches it, by the monotonic clock. */
  get downSince(): number | undefined {
    return this.#downSince;
  }

  /** A parcel that there is no room for fails with 'full', unless it was taken before. */
  send(parcel: Parcel, wasTaken = false): void {
    if (!wasTaken && this.#keptBytes >= 2 * this.#parts.mostKept) {
      parcel.fail('full');
      return;
    }
    const { to, slot, payload, again, question } = parcel;
    this.#add((number) => ({ kind: 'frame', number, slot, to, payload, again, question }), parcel);
  }

  /** The answer to a question of the peer. */
  answer(id: number, isGiven: boolean, payload: string): void {
    this.#add((number) => ({ kind: 'answer', number, id, isGiven, payload }));
  }

  /** Everything that this node had for slots which moved up to `view` is on its way to their new homes. */
  at(view: number): void {
    this.#add((number) => ({ kind: 'at', number, view }));
  }

  /** There is a newer view. */
  news(view: number): void {
    this.#write({ kind: 'news', view });
  }

  /**
   * Resolves once the peer handles nothing more of what it was sent for these slots, and everything that it has handled is
   * confirmed: what `takeBack` then gives was not handled. Never resolves where the link is closed before.
   */
  settle(slots: readonly number[]): Promise<void> {
    const id = ++this.#settleId;
    return new Promise((resolve) => {
      this.#settling.set(id, { slots, resolve });
      this.#write({ kind: 'settle', id, slots });
    });
  }

  /** Those for which something is not confirmed. */
  get slots(): ReadonlySet<number> {
    const slots = new Set<number>();
    for (const { parcel } of this.#kept.values()) if (parcel !== undefined) slots.add(parcel.slot);
    return slots;
  }

  /** What is not confirmed for these slots, in order; the link has it no more. */
  takeBack(slots: ReadonlySet<number>): Parcel[] {
    const taken: Parcel[] = [];
    for (const kept of this.#kept.values()) {
      if (kept.parcel === undefined || !slots.has(kept.parcel.slot)) continue;
      taken.push(kept.parcel);
      this.#forget(kept);
    }
    this.#noteRoom();
    return taken;
  }

  /** Resolves when all that was sent before this call is confirmed, or is the link's no more. */
  async quiet(): Promise<void> {
    const last = this.#number;
    const isQuiet = (): boolean => {
      const [first] = this.#kept.keys();
      return first === undefined || first > last;
    };
    while (!isQuiet() && !this.#isClosed) await new Promise<void>((resolve) => this.#quiet.push(resolve));
  }

  /** The peer is gone: what it has not confirmed, in order, marked as what it may have handled. */
  close(): Parcel[] {
    if (this.#isClosed) return [];
    this.#isClosed = true;
    clearTimeout(this.#redial);
    this.#wire?.close();
    this.#wire = undefined;
    const left: Parcel[] = [];
    for (const { parcel, number } of this.#kept.values()) {
      if (parcel === undefined) continue;
      parcel.again ??= { ...this.#parts.self, number };
      left.push(parcel);
    }
    this.#kept.clear();
    this.#keptBytes = 0;
    this.#settling.clear();
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
    const kept = { number, message, parcel, bytes: this.#bytesOf(message) };
    this.#kept.set(number, kept);
    this.#keptBytes += kept.bytes;
    this.#write(message);
  }

  /** What many have the payload of in common is held once; the next one counts it again where it is another's. */
  #lastPayload = '';
  #bytesOf(message: Numbered): number {
    if (message.kind === 'at') return frameBytes;
    const isSame = message.payload === this.#lastPayload;
    this.#lastPayload = message.payload;
    return frameBytes + (isSame ? 0 : message.payload.length);
  }

  #forget({ number, bytes }: Kept): void {
    this.#kept.delete(number);
    this.#keptBytes -= bytes;
  }

  #noteRoom(): void {
    if (this.hasRoom) for (const resolve of this.#waiters.splice(0)) resolve();
    for (const resolve of this.#quiet.splice(0)) resolve();
  }

  // --- wires ----------------------------------------------------------------------------------------------------------

  #dial(): void {
    const { self, peer, network } = this.#parts;
    const decoder = new Decoder();
    const connection = ++this.#connection;
    const isCurrent = (): boolean => connection === this.#connection && !this.#isClosed;
    const wire = network.dial(peer.address, {
      bytes: (bytes) => {
        if (!isCurrent()) return;
        try {
          for (const message of decoder.read(bytes)) this.#heard(message);
        } catch (error) {
          if (!(error instanceof FrameError)) throw error;
          this.#parts.broken(error);
          wire.close();
        }
      },
      ended: () => {
        if (!isCurrent()) return;
        this.#wire = undefined;
        this.#downSince ??= monotonic();
        this.#redial = setTimeout(() => this.#dial(), this.#pause);
        this.#pause = Math.min(2 * this.#pause, longestPause);
      },
    });
    this.#wire = wire;
    this.#encoder = new Encoder();
    this.#write({ kind: 'hello', protocol, from: self, to: peer, view: this.#parts.view(), connection });
    for (const { message } of this.#kept.values()) this.#write(message);
    for (const [id, { slots }] of this.#settling) this.#write({ kind: 'settle', id, slots });
  }

  /** Before a wire is there nothing is written: then everything goes that is kept. */
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

  #heard(message: Message): void {
    this.#downSince = undefined;
    this.#pause = shortestPause;
    switch (message.kind) {
      case 'confirm':
        for (const [first, last] of message.ranges) this.#confirmed(first, last);
        this.#noteRoom();
        break;
      case 'settled':
        this.#settling.get(message.id)?.resolve();
        this.#settling.delete(message.id);
        break;
      default:
        throw new FrameError(`the peer says ${message.kind}, which is ours to say`);
    }
  }

  #confirmed(first: number, last: number): void {
    if (last > this.#number) throw new FrameError('the peer confirms what it was not sent');
    for (let number = first; number <= last; number++) {
      const kept = this.#kept.get(number);
      if (kept === undefined) continue;
      this.#forget(kept);
      kept.parcel?.confirm();
    }
  }
}
