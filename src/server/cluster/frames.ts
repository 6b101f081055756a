/**
 * The binary protocol between nodes. A message is its length (32 bits), its kind (8 bits) and its fields: numbers as
 * LEB128, texts as their length in bytes and UTF-8. A frame omits its payload if it equals that of the previous frame
 * on the connection, so a stanza to many addresses crosses once.
 *
 * The side that opened the connection sends `hello`, then frames, answers, `state`, `at`, `view`, `drain` and `ping`; the
 * other side sends `welcome` or `refused`, then `confirm`, `drained` and `pong`.
 *
 * In every version of the protocol `hello` begins with the protocol and the sender, so that a difference can be named.
 */

import { slotCount } from './slots.js';

export const protocol = 2;

/** Maximum bytes of a message; far above the size of a stanza. */
const mostBytes = 64 * 2 ** 20;
/** The same of the first message of a connection. */
const mostHello = 4096;

/** A node during one run. */
export interface NodeName {
  readonly id: string;
  readonly epoch: number;
}

/** Names a node during one run. */
export const keyOf = ({ id, epoch }: NodeName): string => `${epoch} ${id}`;

/** Identifies the first transmission of a frame. */
export interface Mark extends NodeName {
  readonly number: number;
}

export interface Frame {
  readonly kind: 'frame';
  /** Sequence number of the sender's frames to this peer; increasing, possibly with gaps. */
  readonly number: number;
  /** The slot of the addressees, which all have the same bare address. */
  readonly slot: number;
  readonly to: readonly string[];
  readonly payload: string;
  /** Set if a home that is gone may have handled it already: the mark of that transmission. */
  readonly again: Mark | undefined;
  /**
   * Set if an answer is expected: its id, and the timeout in ms. `isForNode`: of the node itself, whoever has the slot
   * when it arrives.
   */
  readonly question: { readonly id: number; readonly timeoutMs: number; readonly isForNode: boolean } | undefined;
}

export type Message =
  | {
      readonly kind: 'hello';
      readonly protocol: number;
      readonly from: NodeName;
      readonly to: NodeName;
      /** The id of the sender's cluster. */
      readonly cluster: string;
      /** The version of the sender's view. */
      readonly view: number;
      /** Number of connections that the sender has opened to this peer. */
      readonly connection: number;
    }
  /** The answer to `hello`. */
  | { readonly kind: 'welcome'; readonly from: NodeName }
  /** The other answer, and why. The connection is closed. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** To be answered with `pong` at once. */
  | { readonly kind: 'ping' }
  | { readonly kind: 'pong' }
  | Frame
  /** The answer to a question, or a note that there is none. */
  | {
      readonly kind: 'answer';
      readonly number: number;
      readonly id: number;
      readonly isGiven: boolean;
      readonly payload: string;
    }
  /**
   * What the home of a slot hands over to the next one. The receiver keeps it until it acts for the slot. `isFirst`: of a
   * hand-over; replaces what the sender handed over before, and concerns all its slots.
   */
  | {
      readonly kind: 'state';
      readonly number: number;
      readonly slot: number;
      readonly isFirst: boolean;
      readonly payload: string;
    }
  /** The sender has sent everything it had for slots that moved up to this version of the view to their new homes. */
  | { readonly kind: 'at'; readonly number: number; readonly view: number }
  /** A view of this version exists. */
  | { readonly kind: 'view'; readonly view: number }
  /**
   * Request to drop pending frames for these slots, to finish and confirm running ones, and to reply with `drained`.
   */
  | { readonly kind: 'drain'; readonly id: number; readonly slots: readonly number[] }
  | { readonly kind: 'drained'; readonly id: number }
  /** The first and last number of each range of frames that are handled and durable. */
  | { readonly kind: 'confirm'; readonly ranges: readonly (readonly [number, number])[] };

const kinds = [
  'hello',
  'frame',
  'answer',
  'at',
  'view',
  'drain',
  'drained',
  'confirm',
  'state',
  'welcome',
  'refused',
  'ping',
  'pong',
] as const;

/** A protocol violation by the peer. The connection is closed. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
}

/** Buffers messages of one connection in order. */
export class Encoder {
  #buffer = Buffer.allocUnsafe(4096);
  #length = 0;
  #payload: string | undefined;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** Returns the bytes of all messages since the last call. */
  take(): Buffer {
    const taken = Buffer.from(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
    if (this.#buffer.length > 2 ** 20) this.#buffer = Buffer.allocUnsafe(4096);
    return taken;
  }

  add(message: Message): void {
    const start = this.#length;
    this.#reserve(5);
    this.#length += 4;
    this.#buffer[this.#length++] = kinds.indexOf(message.kind);
    this.#fields(message);
    this.#buffer.writeUInt32BE(this.#length - start - 4, start);
  }

  #fields(message: Message): void {
    switch (message.kind) {
      case 'hello':
        this.#whole(message.protocol);
        this.#node(message.from);
        this.#node(message.to);
        this.#text(message.cluster);
        this.#whole(message.view);
        this.#whole(message.connection);
        break;
      case 'welcome':
        this.#node(message.from);
        break;
      case 'refused':
        this.#text(message.reason);
        break;
      case 'ping':
      case 'pong':
        break;
      case 'frame':
        this.#frame(message);
        break;
      case 'answer':
        this.#whole(message.number);
        this.#whole(message.id);
        this.#whole(message.isGiven ? 1 : 0);
        this.#text(message.payload);
        break;
      case 'state':
        this.#whole(message.number);
        this.#whole(message.slot);
        this.#whole(message.isFirst ? 1 : 0);
        this.#text(message.payload);
        break;
      case 'at':
        this.#whole(message.number);
        this.#whole(message.view);
        break;
      case 'view':
        this.#whole(message.view);
        break;
      case 'drain':
        this.#whole(message.id);
        this.#whole(message.slots.length);
        for (const slot of message.slots) this.#whole(slot);
        break;
      case 'drained':
        this.#whole(message.id);
        break;
      case 'confirm':
        this.#whole(message.ranges.length);
        for (const [first, last] of message.ranges) {
          this.#whole(first);
          this.#whole(last - first);
        }
        break;
    }
  }

  #frame({ number, slot, to, payload, again, question }: Frame): void {
    const isSame = payload === this.#payload;
    this.#payload = payload;
    this.#whole(number);
    this.#whole(slot);
    const isForNode = question?.isForNode === true;
    this.#whole(
      (isSame ? 1 : 0) | (again === undefined ? 0 : 2) | (question === undefined ? 0 : 4) | (isForNode ? 8 : 0),
    );
    this.#whole(to.length);
    for (const address of to) this.#text(address);
    if (again !== undefined) {
      this.#node(again);
      this.#whole(again.number);
    }
    if (question !== undefined) {
      this.#whole(question.id);
      this.#whole(question.timeoutMs);
    }
    if (!isSame) this.#text(payload);
  }

  #node({ id, epoch }: NodeName): void {
    this.#text(id);
    this.#whole(epoch);
  }

  #whole(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 128) {
      this.#buffer[this.#length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#buffer[this.#length++] = rest;
  }

  #text(text: string): void {
    const bytes = Buffer.byteLength(text);
    this.#whole(bytes);
    this.#reserve(bytes);
    this.#length += this.#buffer.write(text, this.#length, bytes, 'utf8');
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** Decodes the bytes of one connection, in chunks of any size. */
export class Decoder {
  #rest: Buffer = Buffer.alloc(0);
  /** Received after `#rest`, and their size. */
  #chunks: Buffer[] = [];
  #chunkBytes = 0;
  /** Bytes of the incomplete message at the beginning of `#rest`. */
  #needed = 4;
  #most = mostHello;
  #at = 0;
  #end = 0;
  #payload: string | undefined;

  /** Yields the complete messages. Throws FrameError. */
  *read(bytes: Buffer): Generator<Message> {
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
    // A long message is put together once, not with each of its chunks.
    if (this.#rest.length + this.#chunkBytes < this.#needed) return;
    this.#rest =
      this.#rest.length === 0 && this.#chunks.length === 1 ? bytes : Buffer.concat([this.#rest, ...this.#chunks]);
    this.#chunks = [];
    this.#chunkBytes = 0;
    let next = 0;
    this.#needed = 4;
    while (this.#rest.length - next >= 4) {
      const length = this.#rest.readUInt32BE(next);
      if (length === 0 || length > this.#most)
        throw new FrameError(`message length of ${length} bytes is out of range`);
      this.#needed = 4 + length;
      if (this.#rest.length - next < this.#needed) break;
      this.#at = next + 4;
      this.#end = this.#at + length;
      next = this.#end;
      this.#needed = 4;
      this.#most = mostBytes;
      yield this.#message();
    }
    this.#rest = this.#rest.subarray(next);
  }

  #message(): Message {
    const kind = kinds[this.#rest[this.#at++]!];
    const message = this.#fields(kind);
    if (this.#at !== this.#end) throw new FrameError(`message ${kind} does not match its length`);
    return message;
  }

  #fields(kind: Message['kind'] | undefined): Message {
    switch (kind) {
      case 'hello':
        return this.#hello();
      case 'welcome':
        return { kind, from: this.#node() };
      case 'refused':
        return { kind, reason: this.#text() };
      case 'ping':
      case 'pong':
        return { kind };
      case 'frame':
        return this.#frame();
      case 'answer':
        return { kind, number: this.#whole(), id: this.#whole(), isGiven: this.#whole() === 1, payload: this.#text() };
      case 'state':
        return {
          kind,
          number: this.#whole(),
          slot: this.#slot(),
          isFirst: this.#whole() === 1,
          payload: this.#text(),
        };
      case 'at':
        return { kind, number: this.#whole(), view: this.#whole() };
      case 'view':
        return { kind, view: this.#whole() };
      case 'drain':
        return { kind, id: this.#whole(), slots: this.#many(() => this.#slot()) };
      case 'drained':
        return { kind, id: this.#whole() };
      case 'confirm':
        return {
          kind,
          ranges: this.#many(() => {
            const first = this.#whole();
            return [first, first + this.#whole()] as const;
          }),
        };
      case undefined:
        throw new FrameError('unknown message kind');
    }
  }

  #hello(): Message {
    const [theirs, from] = [this.#whole(), this.#node()];
    if (theirs !== protocol) {
      this.#at = this.#end;
      return { kind: 'hello', protocol: theirs, from, to: { id: '', epoch: 0 }, cluster: '', view: 0, connection: 0 };
    }
    return {
      kind: 'hello',
      protocol: theirs,
      from,
      to: this.#node(),
      cluster: this.#text(),
      view: this.#whole(),
      connection: this.#whole(),
    };
  }

  #slot(): number {
    const slot = this.#whole();
    if (slot >= slotCount) throw new FrameError(`there is no slot ${slot}`);
    return slot;
  }

  #frame(): Frame {
    const number = this.#whole();
    const slot = this.#slot();
    const flags = this.#whole();
    const to = this.#many(() => this.#text());
    const again = (flags & 2) === 0 ? undefined : { ...this.#node(), number: this.#whole() };
    const isForNode = (flags & 8) !== 0;
    const question = (flags & 4) === 0 ? undefined : { id: this.#whole(), timeoutMs: this.#whole(), isForNode };
    if ((flags & 1) === 0) this.#payload = this.#text();
    if (this.#payload === undefined) throw new FrameError('frame refers to a payload that was not sent');
    return { kind: 'frame', number, slot, to, payload: this.#payload, again, question };
  }

  #many<T>(one: () => T): T[] {
    const count = this.#whole();
    // Each element takes at least one byte.
    if (count > this.#end - this.#at) throw new FrameError('list exceeds the message');
    return Array.from({ length: count }, one);
  }

  #node(): NodeName {
    return { id: this.#text(), epoch: this.#whole() };
  }

  #whole(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      if (this.#at >= this.#end || factor > 2 ** 49) throw new FrameError('number exceeds the message or 2^49');
      const byte = this.#rest[this.#at++]!;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  }

  #text(): string {
    const bytes = this.#whole();
    if (bytes > this.#end - this.#at) throw new FrameError('text exceeds the message');
    this.#at += bytes;
    return this.#rest.toString('utf8', this.#at - bytes, this.#at);
  }
}
