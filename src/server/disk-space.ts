/**
 * Room on the disk that has the data. Where it gets little (`storage.low_space_bytes`), accounts that wrote the most lately
 * are slowed down (shares.ts), the more the less is left, long before writes are refused.
 */
import { statfs } from 'node:fs/promises';

/** Bytes. */
export interface Space {
  readonly free: number;
  readonly total: number;
}

export interface DiskSpaceParts {
  read(): Promise<Space>;
  /** `storage.low_space_bytes`. */
  lowBytes(): number;
  /** It became little, or is enough again. */
  changed(isLow: boolean, space: Space): void;
  /** It cannot be read, for the first time since it could. */
  failed(error: unknown): void;
}

/** How often it is looked at, in ms. */
const intervalMs = 10_000;
/** On a small disk, little is this part of it. */
const lowPart = 0.1;
/** It is enough again when this many times as much is free. */
const enough = 1.1;
/** What an account may have written lately when it begins to be little, in bytes. */
const writableBytes = 1_048_576;

export async function spaceOf(folder: string): Promise<Space> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { free: bavail * bsize, total: blocks * bsize };
}

export class DiskSpace {
  readonly #parts: DiskSpaceParts;
  #space: Space | undefined;
  #isLow = false;
  #isFailing = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: DiskSpaceParts) {
    this.#parts = parts;
  }

  /** Undefined until it is known. */
  get space(): Space | undefined {
    return this.#space;
  }

  get isLow(): boolean {
    return this.#isLow;
  }

  /** Looks now, and from then on every ten seconds. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.look(), intervalMs).unref();
    await this.look();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects. */
  async look(): Promise<void> {
    try {
      const space = await this.#parts.read();
      this.#isFailing = false;
      this.#space = space;
      const isLow = space.free < this.#low(space) * (this.#isLow ? enough : 1);
      if (isLow === this.#isLow) return;
      this.#isLow = isLow;
      this.#parts.changed(isLow, space);
    } catch (error) {
      if (!this.#isFailing) this.#parts.failed(error);
      this.#isFailing = true;
    }
  }

  #low({ total }: Space): number {
    return Math.min(this.#parts.lowBytes(), total * lowPart);
  }

  /** Bytes that an account may have written lately and go on at full speed. */
  get writable(): number {
    if (!this.#isLow) return Number.POSITIVE_INFINITY;
    const space = this.#space!;
    return writableBytes * Math.min(1, space.free / this.#low(space));
  }
}
