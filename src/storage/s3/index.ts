/**
 * The blob driver for a bucket of S3, or of another store with its protocol. A blob is an object, `PREFIX/STORE/KEY`. Any
 * number of processes may use the same bucket. docs/decisions/0033-s3.md has the reasons.
 */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import {
  BlobExists,
  type BlobFacts,
  type BlobHeaders,
  type BlobStorage,
  type BlobStore,
  type ByteRange,
  demandKey,
  isKey,
  type LinkOf,
  type OpenBlob,
} from '../blobs.js';
import { StorageError } from '../contract.js';
import { Client, type ClientOptions, ContentError } from './client.js';
import { isTransient } from './errors.js';
import { type BlobLinks, linkOf } from './links.js';
import { unfinished } from './multipart.js';
import { answers, claim, type Found, isOutage, type Ownership } from './ownership.js';
import { Budget, base64 } from './parts.js';
import { encode } from './sign.js';
import { type Encryption, encryptionHeaders, store } from './storing.js';
import { childrenOf, parseAnswer, textOf } from './xml.js';

export type { Ownership } from './ownership.js';

export interface S3Options {
  readonly client: ClientOptions;
  /** Empty, or ends with a slash. */
  readonly prefix: string;
  /** Whose the contents are. Other servers' are refused. */
  readonly ownership: Ownership;
  readonly encryption?: Encryption | undefined;
  /** Whether the store checks what it gets by a checksum. Default: true. */
  readonly hasChecksums?: boolean | undefined;
  /** Throws StorageError if the store is known not to work. */
  readonly demandWorking?: (() => void) | undefined;
  /** Bytes of a part of a large content. Default: 8 MiB. */
  readonly partBytes?: number | undefined;
  /** Bytes of parts in memory, of all uploads. Default: 64 MiB. */
  readonly memoryBytes?: number | undefined;
  /** Clients get contents from the store itself. */
  readonly links?: BlobLinks | undefined;
  /**
   * The store is away when it is opened. It is looked at again with the first operation. Without it, opening rejects
   * then.
   */
  readonly unreachable?: ((error: StorageError) => void) | undefined;
}

/** What `openS3` returns. */
export interface S3Storage extends BlobStorage {
  readonly isShared: true;
  /** Resolves if the store answers and the bucket is ours. */
  probe(): Promise<void>;
  close(): Promise<void>;
}

/** Bytes of a part. */
const usualPart = 8 * 2 ** 20;
/** Pages of a listing without a blob that are read for one page of blobs. */
const emptyPages = 100;
const pageKeys = 1000;
/** Requests at a time for a call with many keys. */
const atOnce = 16;

/** Opens a bucket. Rejects with StorageError; 'locked' if it belongs to another server. */
export async function openS3(options: S3Options): Promise<S3Storage> {
  const context = new Context(options);
  // With all attempts, and without a guard, which knows nothing of the store yet.
  const first = new Client({ ...options.client, guard: undefined });
  try {
    await context.claim(first);
  } catch (error) {
    if (options.unreachable === undefined || !isOutage(error)) {
      context.close();
      throw error;
    }
    options.unreachable(error as StorageError);
  } finally {
    first.close();
  }
  return {
    isShared: true,
    blobs(name) {
      if (!/^[a-z][a-z0-9_]*(\/[a-z][a-z0-9_]*)*$/.test(name)) throw new TypeError('invalid name of a blob store');
      return new S3Blobs(context, `${options.prefix}${name}/`);
    },
    probe: () => context.probe(),
    close: async () => context.close(),
  };
}

/** What the stores of a bucket share. */
class Context {
  readonly client: Client;
  /** Asks once and at once, whatever is known of the store. */
  readonly #direct: Client;
  readonly options: S3Options;
  readonly budget: Budget;
  #found: Promise<Found> | undefined;

  constructor(options: S3Options) {
    this.options = options;
    this.client = new Client(options.client);
    this.#direct = new Client({ ...options.client, guard: undefined, attempts: 1 });
    this.budget = new Budget(options.memoryBytes ?? 64 * 2 ** 20, options.partBytes ?? usualPart);
  }

  /** Resolves once it is known that the bucket is ours. */
  ready(): Promise<Found> {
    const { guard } = this.options.client;
    return this.#found ?? (guard === undefined ? this.claim() : guard(() => this.claim(), false));
  }

  claim(client = this.#direct): Promise<Found> {
    const { prefix, ownership } = this.options;
    this.#found ??= claim(client, prefix, ownership).catch((error: unknown) => {
      this.#found = undefined;
      throw error;
    });
    return this.#found;
  }

  async probe(): Promise<void> {
    await this.claim();
    await answers(this.#direct, this.options.prefix);
  }

  close(): void {
    this.client.close();
    this.#direct.close();
  }
}

class S3Blobs implements BlobStore {
  readonly #context: Context;
  readonly #client: Client;
  readonly #prefix: string;
  readonly link: LinkOf | undefined;

  constructor(context: Context, prefix: string) {
    this.#context = context;
    this.#client = context.client;
    this.#prefix = prefix;
    const { links } = context.options;
    if (links !== undefined) this.link = (key, asked) => linkOf(this.#client, links, this.#objectOf(key), asked);
  }

  async put(key: string, content: Readable, size: number, headers?: BlobHeaders): Promise<void> {
    const object = this.#objectOf(key);
    const { isConditional } = await this.#context.ready();
    if (!isConditional && (await this.#head(object)) !== undefined) throw new BlobExists(key);
    const { partBytes = usualPart, hasChecksums = true, encryption, links } = this.#context.options;
    const id = randomBytes(16).toString('hex');
    try {
      const result = await store({
        client: this.#client,
        budget: this.#context.budget,
        key: object,
        content,
        size,
        partBytes,
        hasChecksums,
        headers: {
          'x-amz-meta-waxwing-put': id,
          ...(headers?.type !== undefined && { 'content-type': headers.type }),
          ...(headers?.disposition !== undefined && { 'content-disposition': headers.disposition }),
          ...(links?.base !== undefined && { 'cache-control': 'public, max-age=86400, immutable' }),
          ...encryptionHeaders(encryption),
        },
        condition: isConditional ? { 'if-none-match': '*' } : {},
      });
      // An earlier attempt may have been this one, whose answer was lost.
      if (result === 'stored') return;
      const found = await this.#head(object);
      if (found === undefined) throw new StorageError('unavailable', `${this.#client.where}: an upload was removed`);
      if (found.put !== id) throw new BlobExists(key);
    } catch (error) {
      if (error instanceof ContentError) throw error.cause;
      // Whether it was carried out is unknown.
      if (isTransient(error) && (await this.#head(object).catch(() => undefined))?.put === id) return;
      throw error;
    }
  }

  async get(key: string): Promise<OpenBlob | undefined> {
    const object = this.#objectOf(key);
    await this.#context.ready();
    const found = await this.#head(object);
    if (found === undefined) return undefined;
    const { size, at, etag, crc } = found;
    const read = (range: ByteRange = { start: 0, end: size - 1 }): Readable => {
      const isWhole = range.start === 0 && range.end === size - 1;
      const chunks = size === 0 ? [] : this.#chunks(object, range, etag, isWhole ? crc : undefined);
      return Readable.from(chunks, { objectMode: false, highWaterMark: 1 });
    };
    return { key, size, at, read, close: async () => {} };
  }

  async stat(key: string): Promise<BlobFacts | undefined> {
    const object = this.#objectOf(key);
    await this.#context.ready();
    const found = await this.#head(object);
    return found && { key, size: found.size, at: found.at };
  }

  async delete(keys: readonly string[]): Promise<number> {
    const objects = [...new Set(keys.map((key) => this.#objectOf(key)))];
    if (objects.length === 0) return 0;
    await this.#context.ready();
    let deleted = 0;
    const work = async (): Promise<void> => {
      for (let object = objects.pop(); object !== undefined; object = objects.pop()) {
        // Deleting does not say whether there was one.
        if ((await this.#head(object)) === undefined) continue;
        await this.#client.ask({ method: 'DELETE', key: object, expected: [404] });
        deleted++;
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, objects.length) }, work));
    return deleted;
  }

  async list({ after, limit }: { readonly after?: string | undefined; readonly limit: number }): Promise<BlobFacts[]> {
    if (after !== undefined) demandKey(after);
    const found: BlobFacts[] = [];
    let last = after === undefined ? '' : `${this.#prefix}${after}`;
    let token = '';
    let empty = 0;
    await this.#context.ready();
    while (found.length < limit) {
      const { text } = await this.#client.ask({
        method: 'GET',
        query: {
          'list-type': '2',
          prefix: this.#prefix,
          delimiter: '/',
          // Where there are objects of others, there may be many.
          'max-keys': String(empty > 0 ? pageKeys : Math.min(pageKeys, limit - found.length)),
          ...(token !== '' ? { 'continuation-token': token } : last !== '' && { 'start-after': last }),
        },
      });
      const page = parseAnswer(text);
      if (page?.name !== 'ListBucketResult') throw this.#odd('its list of objects cannot be read');
      const before = found.length;
      for (const one of childrenOf(page, 'Contents')) {
        const object = textOf(one, 'Key');
        const key = object.slice(this.#prefix.length);
        // Objects of others
        if (!isKey(key)) continue;
        if (object <= last) throw this.#odd('its list of objects does not go on');
        last = object;
        found.push({ key, size: Number(textOf(one, 'Size')), at: Date.parse(textOf(one, 'LastModified')) });
      }
      if (textOf(page, 'IsTruncated') !== 'true') break;
      token = textOf(page, 'NextContinuationToken');
      if (token === '') throw this.#odd('its list of objects does not go on');
      empty = found.length > before ? 0 : empty + 1;
      if (empty > emptyPages) throw this.#odd(`there are too many objects of others under "${this.#prefix}"`);
    }
    return found.slice(0, limit);
  }

  async tidy(before: number, limit: number): Promise<number> {
    await this.#context.ready();
    let removed = 0;
    for await (const { key, upload } of unfinished(this.#client, this.#prefix, before)) {
      if (removed >= limit) break;
      await this.#client.ask({ method: 'DELETE', key, query: { uploadId: upload }, expected: [404] });
      removed++;
    }
    return removed;
  }

  /** A bucket has no end. Rejects if nothing could be stored now. */
  async free(): Promise<undefined> {
    this.#context.options.demandWorking?.();
    await this.#context.ready();
  }

  /** Throws TypeError for a key that is not one of ours. */
  #objectOf(key: string): string {
    demandKey(key);
    return `${this.#prefix}${key}`;
  }

  #odd(what: string): StorageError {
    return new StorageError('corrupt', `${this.#client.where}: ${what}`);
  }

  async #head(object: string) {
    const { hasChecksums = true } = this.#context.options;
    const { status, headers } = await this.#client.ask({
      method: 'HEAD',
      key: object,
      expected: [404],
      headers: hasChecksums ? { 'x-amz-checksum-mode': 'ENABLED' } : {},
    });
    if (status === 404) return undefined;
    const size = Number(headers['content-length']);
    const at = Date.parse(headers['last-modified'] ?? '');
    if (!Number.isSafeInteger(size) || Number.isNaN(at)) throw this.#odd('its answers have no size or time');
    const crc = headers['x-amz-checksum-crc32'];
    return {
      size,
      at,
      etag: headers.etag,
      put: headers['x-amz-meta-waxwing-put'],
      // With a suffix "-N", it is a checksum of the checksums of N parts.
      crc: typeof crc === 'string' && !crc.includes('-') ? crc : undefined,
    };
  }

  /** The bytes of a range. Goes on where a connection was cut. */
  async *#chunks(
    object: string,
    { start, end }: ByteRange,
    etag: string | undefined,
    expected: string | undefined,
  ): AsyncGenerator<Buffer> {
    let crc = 0;
    let failures = 0;
    for (let at = start; at <= end; ) {
      try {
        const answer = await this.#client.open({
          method: 'GET',
          key: object,
          headers: { range: `bytes=${at}-${end}`, ...(etag !== undefined && { 'if-match': etag }) },
          expected: [404, 412, 416],
        });
        const isPart = answer.statusCode === 206 || (at === 0 && answer.statusCode === 200);
        if (!isPart || Number(answer.headers['content-length']) !== end - at + 1) {
          answer.destroy();
          throw this.#odd(`the object ${encode(object)} is no longer what it was`);
        }
        for await (const chunk of this.#client.chunks(answer)) {
          at += chunk.length;
          failures = 0;
          if (expected !== undefined) crc = crc32(chunk, crc);
          // The last bytes of a damaged content are not passed on: its reader would take it for whole.
          if (at > end && expected !== undefined && base64(crc) !== expected)
            throw this.#odd(`the object ${encode(object)} is damaged`);
          yield chunk;
        }
        if (at <= end) throw new Error('the connection was closed within an object');
      } catch (error) {
        const failed = this.#client.lost(error);
        if (failed.failure !== 'unavailable' || ++failures >= this.#client.attempts) throw failed;
        await this.#client.pause(failures);
      }
    }
  }
}
