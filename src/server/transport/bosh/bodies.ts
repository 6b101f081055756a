/**
 * The bodies of requests while they are in memory: while they are read, and until the stream has taken what they carry.
 * How long one may be depends on whose it is, which its start tag says.
 */
/** Bytes of all bodies. */
const mostHeld = 2 ** 26;
/** What a chunk takes besides its bytes: clients may send single bytes. */
const perChunk = 128;

/** Bounds the memory of all bodies. */
export class BodyMemory {
  readonly #most: number;
  #total = 0;
  /** By block of network addresses. */
  readonly #held = new Map<string, number>();

  constructor(most = mostHeld) {
    this.#most = most;
  }

  get total(): number {
    return this.#total;
  }

  /**
   * Counts bytes of a block, unless it would then hold more than what is free: whoever holds much leaves as much to
   * each other block. Returns whether they are counted.
   */
  take(block: string, bytes: number): boolean {
    const held = (this.#held.get(block) ?? 0) + bytes;
    if (held > this.#most - this.#total) return false;
    this.#held.set(block, held);
    this.#total += bytes;
    return true;
  }

  release(block: string, bytes: number): void {
    const held = (this.#held.get(block) ?? 0) - bytes;
    if (held > 0) this.#held.set(block, held);
    else this.#held.delete(block);
    this.#total -= bytes;
  }
}

/** One body as it arrives. */
export class BoshBody {
  readonly #memory: BodyMemory;
  /** Of the client's network addresses. */
  readonly #block: string;
  readonly #announced: number;
  readonly #mostOf: (bytes: Buffer) => number;
  #most: number;
  #hasAsked = false;
  #chunks: Buffer[] = [];
  #size = 0;
  #counted = 0;
  /** It is longer than it may be, and was not read to its end. */
  isTooLong = false;
  /** There is no memory for it now. */
  isRefused = false;

  /**
   * `announced`: the announced length, or 0. `least`: bytes that any body may have. `mostOf` gets a longer body's
   * beginning, and returns how many bytes this one may have.
   */
  constructor(memory: BodyMemory, block: string, announced: number, least: number, mostOf: (bytes: Buffer) => number) {
    this.#memory = memory;
    this.#block = block;
    this.#announced = announced;
    this.#most = least;
    this.#mostOf = mostOf;
  }

  /** Returns whether more is to be read. */
  takes(chunk: Buffer): boolean {
    const bytes = chunk.length + perChunk;
    if (!this.#memory.take(this.#block, bytes)) {
      this.isRefused = true;
      this.release();
      return false;
    }
    this.#counted += bytes;
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    const length = Math.max(this.#size, this.#announced);
    if (length > this.#most && !this.#hasAsked) {
      this.#hasAsked = true;
      this.#most = this.#mostOf(this.bytes());
    }
    this.isTooLong = length > this.#most;
    return !this.isTooLong;
  }

  /** What was read. */
  bytes(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  /** What it carries is held by somebody else, until `release`. */
  drop(): void {
    this.#chunks = [];
  }

  /** It is not needed any more. May be called again. */
  release(): void {
    if (this.#counted > 0) this.#memory.release(this.#block, this.#counted);
    this.#counted = 0;
    this.#chunks = [];
  }
}
