/**
 * Free space on the disk of the data folder. When it is low (`storage.low_space_bytes`), accounts that wrote the most
 * recently are slowed down (shares.ts), increasingly as space runs out, long before writes are refused.
 */
import { statfs } from 'node:fs/promises';
import type { Logger } from 'pino';

/** Bytes. */
export interface Space {
  readonly free: number;
  readonly total: number;
}

export interface DiskSpaceParts {
  read(): Promise<Space>;
  /** `storage.low_space_bytes`. */
  lowBytes(): number;
  /** Space has become low, or sufficient again. */
  changed(isLow: boolean, space: Space): void;
  /** Reading it failed, for the first time since it last succeeded. */
  failed(error: unknown): void;
}

/** Interval of checks, in ms. */
const intervalMs = 10_000;
/** On a small disk, this part of it counts as low. */
const lowPart = 0.1;
/** Space is sufficient again above this multiple of the limit. */
const enough = 1.1;
/** What an account may have written recently when space becomes low, in bytes. */
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

  /** Undefined until first read. */
  get space(): Space | undefined {
    return this.#space;
  }

  get isLow(): boolean {
    return this.#isLow;
  }

  /** Checks now, and then every ten seconds. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.look(), intervalMs).unref();
    await this.look();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Checks the free space. Never rejects. */
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

  /** Bytes that an account may have written recently without being slowed down. */
  get writable(): number {
    if (!this.#isLow) return Number.POSITIVE_INFINITY;
    const space = this.#space!;
    return writableBytes * Math.min(1, space.free / this.#low(space));
  }
}

/** Logs changes of the free space. */
export function spaceLog(log: () => Logger): Pick<DiskSpaceParts, 'changed' | 'failed'> {
  return {
    changed: (isLow, space) => {
      if (isLow) log().warn(space, 'low disk space: accounts that write the most are slowed down; free some space');
      else log().info(space, 'disk space is sufficient again');
    },
    failed: (error) => log().warn({ err: error }, 'could not read the free disk space'),
  };
}
