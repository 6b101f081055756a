/** The content of an upload, cut into parts that are sent one after the other, with a bound on what is in memory. */
import type { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import { WrongSize } from '../blobs.js';
import { ContentError } from './client.js';
import { type Body, inMemory, writeAll } from './exchange.js';
import { Frames } from './frames.js';

/** Bytes of parts in memory, of all uploads. */
export class Budget {
  #used = 0;
  constructor(readonly limit: number) {}

  take(bytes: number): void {
    this.#used += bytes;
  }
  give(bytes: number): void {
    this.#used -= bytes;
  }
  get used(): number {
    return this.#used;
  }
  get isSpent(): boolean {
    return this.#used > this.limit;
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
  #chunks: Uint8Array[] = [];
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
      if (this.#budget.isSpent) return isIdle() ? this.#streamed(length) : undefined;
      const chunk = await this.#source.next(length - this.#gathered);
      // Nobody waits for it any more.
      if (this.#isEnded) return undefined;
      this.#budget.take(chunk.length);
      this.#chunks.push(chunk);
      this.#gathered += chunk.length;
      this.#crc = crc32(chunk, this.#crc);
    }
    const [chunks, crc] = [this.#chunks, this.#crc];
    this.#reset();
    return {
      content: inMemory(chunks, length),
      isStream: false,
      crc: () => base64(crc),
      release: () => this.#budget.give(length),
    };
  }

  /** No part will be read any more. */
  end(): void {
    this.#isEnded = true;
    this.#budget.give(this.#gathered);
    this.#reset();
  }

  #reset(): void {
    this.#chunks = [];
    this.#gathered = 0;
    this.#crc = 0;
  }

  #streamed(length: number): Part {
    const source = this.#source;
    const [chunks, gathered] = [this.#chunks, this.#gathered];
    const frames = this.#isFramed ? new Frames(length) : undefined;
    const framed = (chunk: Uint8Array): readonly Uint8Array[] => frames?.frame(chunk) ?? [chunk];
    let crc = this.#crc;
    let held = gathered;
    this.#reset();
    const release = () => {
      this.#budget.give(held);
      held = 0;
    };
    const content: Body = {
      length: frames?.length ?? length,
      get isWaiting() {
        return source.isWaiting;
      },
      async write(request, isWanted) {
        await writeAll(request, chunks.splice(0).flatMap(framed), isWanted);
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
