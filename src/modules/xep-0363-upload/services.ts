/** The service that this module provides to others. */
import type { Jid } from '../../server/address/jid.js';

/** An uploaded file. */
export interface UploadedFile {
  readonly id: string;
  readonly name: string;
  readonly size: number;
  /** undefined if the client gave none. */
  readonly type: string | undefined;
  /** When it was uploaded, in milliseconds since 1970. */
  readonly at: number;
  /** When it expires; undefined if it does not. */
  readonly expires: number | undefined;
  readonly purpose: string;
  readonly url: string;
}

export interface Uploads {
  /** The files of an account in the order of their ids, which says nothing about them. */
  list(owner: Jid, range: { readonly after?: string | undefined; readonly limit: number }): Promise<UploadedFile[]>;
  /** The latest files of an account, the last one first, and how many it has. */
  latest(owner: Jid, limit: number): Promise<{ readonly files: UploadedFile[]; readonly total: number }>;
  /** Deletes files of an account. Returns how many existed. */
  delete(owner: Jid, ids: readonly string[]): Promise<number>;
  /** Finds a file by its id, or by an address of it. Resolves with undefined if there is none. */
  find(text: string): Promise<{ readonly owner: Jid; readonly file: UploadedFile } | undefined>;
  /** Accounts with files, in order, in pages. */
  owners(range: { readonly after?: string | undefined; readonly limit: number }): Promise<string[]>;
  /** What an account uses. */
  usage(owner: string): Promise<{ readonly files: number; readonly bytes: number }>;
}

declare module '../../server/module/index.js' {
  interface Services {
    uploads: Uploads;
  }
}
