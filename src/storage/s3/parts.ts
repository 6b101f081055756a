/** The content of an upload, cut into parts that are sent one after the other, with a bound on what is in memory. */
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { WrongSize } from '../blobs.js';
import { ContentError } from './client.js';
import { type Body, inMemory, writeAll } from './exchange.js';
import { Frames } from './frames.js';

/** Bytes of a piece of memory, at most. */
const pieceBytes = 262_144;
/** Pieces that are kept for the next parts. */
const keptBytes = 16 * 2 ** 20;

/**
 * Memory for parts, of all uploads, in pieces that are used again and again: what a socket gives, a part holds for so long
 * that the process would get new memory from the system for each.
 */
export class Budget {
  readonly pieceBytes: number;
  readonly #limit: number;
  readonly #free: Buffer[] = [];
  #used = 0;

  constructor(limit: number, partBytes: number) {
    this.#limit = limit;
    this.pieceBytes = Math.min(pieceBytes, partBytes);
  }

  get isSpent(): boolean {
    return this.#used + this.pieceBytes > this.#limit;
  }

  take(): Buffer {
    this.#used += this.pieceBytes;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.pieceBytes);
  }

  /** `isReusable`: nobody reads them any more. */
  give(pieces: readonly Buffer[], isReusable: boolean): void {
    for (const piece of pieces) {
      this.#used -= this.pieceBytes;
      if (isReusable && this.#free.length * this.pieceBytes < keptBytes) this.#free.push(piece);
    }
  }
}

export interface Part {
  readonly content: Body;
  /** It cannot be sent again. */
  readonly isStream: boolean;
  /** Base64. Known once it is sent. */
  readonly crc: () => string;
  /** Must be called when it is no longer needed. */
  release(): void;
}

/** Chunks of a content of exactly `size` bytes. Errors are wrapped in ContentError, whose cause they are. */
export class Source {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #size: number;
  #rest: Uint8Array | undefined;
  #read = 0;
  #given = 0;
  /** Whether the client has to send more before anything goes on. */
  isWaiting = false;

  constructor(content: Readable, size: number) {
    this.#chunks = content.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]();
    this.#size = size;
  }

  /** At most `most` bytes. What completes the content is returned only when nothing follows it. */
  async next(most: number): Promise<Uint8Array> {
    const chunk = this.#rest ?? (await this.#pull());
    if (chunk === undefined) throw new ContentError('', { cause: new WrongSize(this.#size) });
    const given = chunk.length > most ? chunk.subarray(0, most) : chunk;
    this.#rest = chunk.length > most ? chunk.subarray(most) : undefined;
    this.#given += given.length;
    if (this.#given === this.#size) await this.end();
    return given;
  }

  /** Resolves when the content has ended where it should. */
  async end(): Promise<void> {
    if (this.#read !== this.#size || (await this.#pull()) !== undefined)
      throw new ContentError('', { cause: new WrongSize(this.#size) });
  }

  async #pull(): Promise<Uint8Array | undefined> {
    for (;;) {
      this.isWaiting = true;
      const next = await this.#chunks.next().catch((error: unknown) => {
        throw new ContentError('', { cause: error });
      });
      this.isWaiting = false;
      if (next.done === true) return undefined;
      this.#read += next.value.length;
      if (this.#read > this.#size) throw new ContentError('', { cause: new WrongSize(this.#size) });
      if (next.value.length > 0) return next.value;
    }
  }
}

/**
 * Reads the next part of `length` bytes. `isIdle` says that no other part of the upload is being sent: then, if the
 * memory is spent, the part is sent as its client sends it, and cannot be repeated. Otherwise it is read as a whole, at the
 * pace of the client. Resolves with undefined if the memory is spent and another part is being sent: call again after it.
 */
export class Parts {
  readonly #source: Source;
  readonly #budget: Budget;
  /** Whether a part that is sent as it comes is followed by its checksum. */
  readonly #isFramed: boolean;
  #pieces: Buffer[] = [];
  #gathered = 0;
  #crc = 0;
  #isEnded = false;

  constructor(source: Source, budget: Budget, isFramed: boolean) {
    this.#source = source;
    this.#budget = budget;
    this.#isFramed = isFramed;
  }

  async next(length: number, isIdle: () => boolean): Promise<Part | undefined> {
    while (this.#gathered < length) {
      const room = this.#pieces.length * this.#budget.pieceBytes - this.#gathered;
      if (room === 0 && this.#budget.isSpent) return isIdle() ? this.#streamed(length) : undefined;
      const chunk = await this.#source.next(length - this.#gathered);
      // Nobody waits for it any more.
      if (this.#isEnded) return undefined;
      this.#add(chunk);
    }
    const crc = this.#crc;
    const pieces = this.#take();
    return {
      content: inMemory(this.#filled(pieces, length), length),
      isStream: false,
      crc: () => base64(crc),
      release: () => this.#budget.give(pieces.splice(0), true),
    };
  }

  /** No part will be read any more. */
  end(): void {
    this.#isEnded = true;
    this.#budget.give(this.#take(), true);
  }

  #add(chunk: Uint8Array): void {
    const { pieceBytes } = this.#budget;
    for (let from = 0; from < chunk.length; ) {
      const at = this.#gathered % pieceBytes;
      if (this.#gathered === this.#pieces.length * pieceBytes) this.#pieces.push(this.#budget.take());
      const part = chunk.subarray(from, from + pieceBytes - at);
      this.#pieces.at(-1)!.set(part, at);
      from += part.length;
      this.#gathered += part.length;
    }
    this.#crc = crc32(chunk, this.#crc);
  }

  #take(): Buffer[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#gathered = 0;
    this.#crc = 0;
    return pieces;
  }

  /** The first `length` bytes of pieces. */
  #filled(pieces: readonly Buffer[], length: number): Buffer[] {
    const { pieceBytes } = this.#budget;
    return pieces.map((piece, at) => piece.subarray(0, length - at * pieceBytes));
  }

  #streamed(length: number): Part {
    const source = this.#source;
    const budget = this.#budget;
    const frames = this.#isFramed ? new Frames(length) : undefined;
    const framed = (chunk: Uint8Array): readonly Uint8Array[] => frames?.frame(chunk) ?? [chunk];
    const gathered = this.#gathered;
    let crc = this.#crc;
    const pieces = this.#take();
    const begun = this.#filled(pieces, gathered);
    // The connection may still read them.
    const release = () => budget.give(pieces.splice(0), false);
    const content: Body = {
      length: frames?.length ?? length,
      get isWaiting() {
        return source.isWaiting;
      },
      async write(request, isWanted) {
        await writeAll(request, begun.splice(0).flatMap(framed), isWanted);
        release();
        for (let sent = gathered; sent < length && isWanted(); ) {
          const chunk = await source.next(length - sent);
          sent += chunk.length;
          crc = crc32(chunk, crc);
          await writeAll(request, framed(chunk), isWanted);
        }
        if (isWanted()) request.end(frames?.end(base64(crc)));
      },
    };
    return { content, isStream: true, crc: () => base64(crc), release };
  }
}

/** As S3 writes checksums. */
export function base64(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}
