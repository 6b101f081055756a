/**
 * The blob driver API: contents of any size, beside the stores of contract.ts, which hold the records about them. A blob
 * is written once, as a whole, and never changes. Keys are made by the server, never by users. There is no order between
 * blobs, nor between blobs and stores: to get one, await the first write.
 *
 * Contents are streamed in both directions, at the pace of the slower side, and never held in memory as a whole.
 * Failures of the driver reject with StorageError (contract.ts).
 */
import type { Readable } from 'node:stream';

export interface BlobFacts {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** When it was stored, in milliseconds since 1970. */
  readonly at: number;
}

/** The first and the last byte, counted from 0. Both exist. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** For browsers that get a content without the server in between. All characters are ASCII. */
export interface BlobHeaders {
  /** Content-Type. */
  readonly type?: string | undefined;
  /** Content-Disposition. */
  readonly disposition?: string | undefined;
}

/** Must be read or closed. */
export interface OpenBlob extends BlobFacts {
  /** Reads the content, or a part of it, and closes the blob at the end. May be called once. */
  read(range?: ByteRange): Readable;
  /** Closes a blob that will not be read. */
  close(): Promise<void>;
}

/** There is a blob with this key already. */
export class BlobExists extends Error {
  override readonly name = 'BlobExists';
  constructor(readonly key: string) {
    super('the blob exists');
  }
}

/** The content is shorter or longer than announced. */
export class WrongSize extends Error {
  override readonly name = 'WrongSize';
  constructor(readonly size: number) {
    super(`the content does not have ${size} bytes`);
  }
}

export interface BlobStore {
  /**
   * Stores a content of exactly `size` bytes. Resolves once the blob would survive a power failure. Rejects with
   * WrongSize, with BlobExists, or with the error of the stream; then no blob of this call exists or will exist. Does not
   * destroy the stream, and reads no more of it after a failure. Of several puts of a key, one resolves. `headers`: those
   * that a driver with links stores with the content.
   */
  put(key: string, content: Readable, size: number, headers?: BlobHeaders): Promise<void>;
  /** Opens a blob. Resolves with undefined if there is none. Reading may fail if it is deleted meanwhile. */
  get(key: string): Promise<OpenBlob | undefined>;
  stat(key: string): Promise<BlobFacts | undefined>;
  /** Resolves once the blobs are gone for good. Returns how many existed. */
  delete(keys: readonly string[]): Promise<number>;
  /**
   * Lists blobs in an order of the driver, at most `limit`, after the one with the key `after`, which need not exist. The
   * last page is empty. A blob that exists all the time is listed once.
   */
  list(range: { readonly after?: string | undefined; readonly limit: number }): Promise<BlobFacts[]>;
  /**
   * Removes at most `limit` remains of puts that a crash interrupted, if they have not grown since `before`. Returns how
   * many.
   */
  tidy(before: number, limit: number): Promise<number>;
  /** Bytes that can still be stored; undefined if unlimited. */
  free(): Promise<number | undefined>;
  /** Missing if only the server has access to the contents. */
  readonly link?: LinkOf | undefined;
}

/**
 * Resolves with an address at which anybody gets a blob, if there is one: for so many seconds, or until it is deleted if
 * that is undefined.
 */
export type LinkOf = (
  key: string,
  asked: { readonly method: 'GET' | 'HEAD'; readonly headers: BlobHeaders },
) => Promise<{ readonly url: string; readonly seconds: number | undefined }>;

/** An open driver. */
export interface BlobStorage {
  /** All processes that open it have the same contents by nature, and not because somebody has mounted a folder. */
  readonly isShared?: boolean | undefined;
  /** Opening the same name again returns the same data. Creates nothing before the first put. */
  blobs(name: string): BlobStore;
  /** Resolves if the driver could store and read something now. */
  probe?(): Promise<void>;
  /** Closes connections. Later calls may reject. */
  close?(): Promise<void>;
}

/** Keys are safe as parts of paths and URLs, and distinct where case is ignored. */
export const isKey = (key: string): boolean => /^[a-z0-9][a-z0-9-]{0,99}$/.test(key);

/** Throws TypeError for a key that the server cannot have made. */
export function demandKey(key: string): void {
  if (!isKey(key)) throw new TypeError('invalid key of a blob');
}
