/**
 * The blob driver for a folder. A blob is one file, in one of 4,096 folders chosen by a hash of its key. It is written
 * under another name first, and gets its own once it is durable: a crash leaves nothing but files in `.incoming`, which
 * `tidy` removes. Several processes may use the same folder.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, link, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import {
  BlobExists,
  type BlobFacts,
  type BlobStorage,
  type BlobStore,
  type ByteRange,
  demandKey,
  isKey,
  type OpenBlob,
  WrongSize,
} from '../blobs.js';
import { StorageError, type StorageFailure } from '../contract.js';

/** Opens a folder, which need not exist. */
export const openFiles = (folder: string): BlobStorage => ({
  blobs(name) {
    if (!/^[a-z][a-z0-9_]*(\/[a-z][a-z0-9_]*)*$/.test(name)) throw new TypeError('invalid name of a blob store');
    return new FileBlobs(join(resolve(folder), name));
  },
});

class FileBlobs implements BlobStore {
  readonly #folder: string;
  readonly #incoming: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.#incoming = join(folder, '.incoming');
  }

  async put(key: string, content: Readable, size: number): Promise<void> {
    const path = this.#pathOf(key);
    const temporary = join(this.#incoming, `${key}.${randomBytes(8).toString('hex')}`);
    try {
      await translated(() => makeFolder(this.#incoming));
      const file = await translated(() => open(temporary, 'wx', 0o600));
      try {
        await write(file, content, size);
        await translated(() => file.sync());
      } finally {
        await file.close();
      }
      await translated(() => publish(temporary, path, key));
    } finally {
      // What cannot be removed now is left to `tidy`, and does not decide whether the blob is stored.
      await rm(temporary, { force: true }).catch(() => {});
    }
  }

  async get(key: string): Promise<OpenBlob | undefined> {
    const path = this.#pathOf(key);
    const file = await existing(() => open(path, 'r'));
    if (file === undefined) return undefined;
    try {
      const { size, mtimeMs } = await translated(() => file.stat());
      const read = ({ start, end }: ByteRange = { start: 0, end: size - 1 }) => new FileContent(file, start, end + 1);
      return { key, size, at: mtimeMs, read, close: () => file.close() };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async stat(key: string): Promise<BlobFacts | undefined> {
    const path = this.#pathOf(key);
    const found = await existing(() => stat(path));
    return found && { key, size: found.size, at: found.mtimeMs };
  }

  async delete(keys: readonly string[]): Promise<number> {
    const folders = new Set<string>();
    let deleted = 0;
    for (const path of keys.map((key) => this.#pathOf(key))) {
      const gone = await existing(() => rm(path).then(() => true));
      if (gone === undefined) continue;
      folders.add(dirname(path));
      deleted++;
    }
    for (const folder of folders) await translated(() => syncFolder(folder));
    return deleted;
  }

  async list({ after, limit }: { readonly after?: string | undefined; readonly limit: number }): Promise<BlobFacts[]> {
    const found: BlobFacts[] = [];
    const from = after === undefined ? '' : branchOf(after);
    const branches = (await namesIn(this.#folder)).filter((name) => /^[0-9a-f]{3}$/.test(name) && name >= from);
    for (const branch of branches) {
      for (const key of (await namesIn(join(this.#folder, branch))).filter(isKey)) {
        if (found.length >= limit) return found;
        if (branch === from && after !== undefined && key <= after) continue;
        const facts = await this.stat(key);
        if (facts !== undefined) found.push(facts);
      }
    }
    return found;
  }

  async tidy(before: number, limit: number): Promise<number> {
    let removed = 0;
    for (const name of await namesIn(this.#incoming)) {
      if (removed >= limit) break;
      const path = join(this.#incoming, name);
      const found = await existing(() => stat(path));
      if (found === undefined || found.mtimeMs >= before) continue;
      await translated(() => rm(path, { force: true }));
      removed++;
    }
    return removed;
  }

  async free(): Promise<number> {
    for (let folder = this.#folder; ; folder = dirname(folder)) {
      const found = await existing(() => statfs(folder));
      if (found !== undefined) return found.bavail * found.bsize;
      if (folder === dirname(folder)) throw new StorageError('unavailable', `${this.#folder}: no such disk`);
    }
  }

  /** Throws TypeError for a key that is not one of ours: no path is made of it. */
  #pathOf(key: string): string {
    demandKey(key);
    return join(this.#folder, branchOf(key), key);
  }
}

const branchOf = (key: string): string => createHash('sha256').update(key).digest('hex').slice(0, 3);

/**
 * The size of the pieces of a content that are read or written at a time. Large pieces cost less, but there may be many
 * slow clients, each of which has a piece in memory: pieces grow as long as they are quickly done.
 */
class Pieces {
  static readonly #smallest = 65_536;
  static readonly #largest = 524_288;
  static readonly #quickMs = 50;
  size = Pieces.#smallest;
  #since = performance.now();

  /** A piece is done. */
  next(): void {
    const now = performance.now();
    const isQuick = now - this.#since < Pieces.#quickMs;
    this.size = isQuick ? Math.min(this.size * 2, Pieces.#largest) : Pieces.#smallest;
    this.#since = now;
  }
}

/** A part of an open file, which it closes. Holds one piece at a time. */
class FileContent extends Readable {
  readonly #file: FileHandle;
  readonly #end: number;
  readonly #pieces = new Pieces();
  #at: number;

  /** The byte `end` is not read. */
  constructor(file: FileHandle, start: number, end: number) {
    super({ highWaterMark: 1 });
    this.#file = file;
    this.#at = start;
    this.#end = end;
  }

  override _read(): void {
    if (this.#at >= this.#end) {
      this.push(null);
      return;
    }
    this.#pieces.next();
    const bytes = Buffer.allocUnsafeSlow(Math.min(this.#pieces.size, this.#end - this.#at));
    translated(() => this.#file.read(bytes, 0, bytes.length, this.#at)).then(
      ({ bytesRead }) => {
        if (bytesRead === 0) {
          this.destroy(new StorageError('corrupt', 'a file is shorter than before'));
          return;
        }
        this.#at += bytesRead;
        this.push(bytes.subarray(0, bytesRead));
      },
      (error: Error) => this.destroy(error),
    );
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#file.close().then(
      () => callback(error),
      (failed: Error) => callback(error ?? failed),
    );
  }
}

/** Writes a content of exactly `size` bytes, several chunks at a time. */
async function write(file: FileHandle, content: Readable, size: number): Promise<void> {
  let chunks: Uint8Array[] = [];
  let gathered = 0;
  let total = 0;
  const pieces = new Pieces();
  const flush = async (): Promise<void> => {
    const full = chunks;
    const expected = gathered;
    chunks = [];
    gathered = 0;
    const { bytesWritten } = await translated(() => file.writev(full));
    if (bytesWritten !== expected) throw new StorageError('full', 'a file was not written as a whole');
    pieces.next();
  };
  for await (const chunk of content.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
    total += chunk.length;
    if (total > size) throw new WrongSize(size);
    chunks.push(chunk);
    gathered += chunk.length;
    if (gathered >= pieces.size) await flush();
  }
  if (total !== size) throw new WrongSize(size);
  if (gathered > 0) await flush();
}

/** Gives a complete file its name, for good. Rejects with BlobExists if another file has it. */
async function publish(temporary: string, path: string, key: string): Promise<void> {
  const folder = dirname(path);
  await makeFolder(folder);
  try {
    await link(temporary, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new BlobExists(key);
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(code ?? '')) throw error;
    // A file system without links, such as FAT.
    if ((await existing(() => stat(path))) !== undefined) throw new BlobExists(key);
    await rename(temporary, path);
  }
  await syncFolder(folder);
}

/** Creates a folder and those above it, durably. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    await syncFolder(folder);
    if (folder === dirname(first)) return;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  await folder.sync().finally(() => folder.close());
}

/** Names in a folder, in order; none if it does not exist. */
const namesIn = async (folder: string): Promise<string[]> => (await existing(() => readdir(folder)))?.sort() ?? [];

/** Resolves with undefined if the file or folder does not exist. */
async function existing<T>(work: () => Promise<T>): Promise<T | undefined> {
  return translated(() =>
    work().catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    }),
  );
}

const failures: Readonly<Record<string, StorageFailure>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EFBIG: 'full',
  EROFS: 'read-only',
  EACCES: 'read-only',
  EPERM: 'read-only',
};

/** Rejects with StorageError for errors of the file system. */
async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || error instanceof StorageError) throw error;
    throw new StorageError(failures[code] ?? 'unavailable', `files: ${(error as Error).message}`, { cause: error });
  }
}
