/**
 * Records of uploaded files. A blob is stored first, then its owner by its id, then the record that makes it a file; they
 * are deleted in the reverse order, the blob last. So whatever a crash leaves is found by its blob (retention.ts).
 */
import { z } from 'zod';
import { blobs, document, map } from '../../server/module/index.js';
import { bareJid, whole } from '../../server/stanza/stored.js';
import type { BlobStore } from '../../storage/blobs.js';
import { type DocumentStore, type MapStore, StorageError } from '../../storage/contract.js';
import { purposes } from './slots.js';

const fileRecord = z.object({
  name: z.string(),
  size: whole,
  type: z.string().exactOptional(),
  /** When it was uploaded, in milliseconds since 1970. */
  at: whole,
  purpose: z.enum(purposes),
  /** See `Wanted`. */
  expires: whole.exactOptional(),
});

/** A file, under its id and the address of its owner. */
export type FileRecord = z.output<typeof fileRecord>;

const ownerRecord = z.object({ owner: bareJid });
/** What an account has uploaded in a day, counted from 1970. Deleted files count too. */
const dayRecord = z.object({ day: whole, bytes: whole, files: whole });
const hostRecord = z.object({
  /** Signs slots; base64. */
  secret: z.string().min(1),
  /** Blobs stored before, in milliseconds since 1970, belong to another database. */
  since: whole,
});

export type DayRecord = z.output<typeof dayRecord>;
export type HostRecord = z.output<typeof hostRecord>;

export const stores = {
  // A file whose record is damaged, or of a later version, must not count as missing: its content would be deleted.
  files: map<FileRecord>({ value: fileRecord, damaged: 'refuse' }),
  owners: document<z.output<typeof ownerRecord>>({ value: ownerRecord }),
  days: document<DayRecord>({ value: dayRecord }),
  hosts: document<HostRecord>({ value: hostRecord }),
  contents: blobs(),
};

export interface FileStores {
  readonly files: MapStore<FileRecord>;
  /** The owner by id. */
  readonly owners: DocumentStore<z.output<typeof ownerRecord>>;
  readonly days: DocumentStore<DayRecord>;
  readonly hosts: DocumentStore<HostRecord>;
  readonly contents: BlobStore;
}

/** Records read at a time. */
const page = 500;

/** All files of an account, in pages. What is added meanwhile may be missing. */
export async function* filesOf(
  files: MapStore<FileRecord>,
  owner: string,
): AsyncGenerator<readonly [string, FileRecord][]> {
  for (let after: string | undefined; ; ) {
    const entries = await files.page(owner, { after, limit: page });
    if (entries.length > 0) yield entries;
    if (entries.length < page) return;
    after = entries.at(-1)![0];
  }
}

/** When a file expires, in milliseconds since 1970; Infinity if it does not. `retention` in ms. */
export function expiryOf({ at, purpose, expires }: FileRecord, retention: number): number {
  if (purpose === 'profile' || purpose === 'permanent') return Number.POSITIVE_INFINITY;
  return Math.min(at + retention, expires ?? Number.POSITIVE_INFINITY);
}

/** Resolves with undefined if there is no record, and with 'damaged' if it cannot be read. */
export async function recordOf(
  files: MapStore<FileRecord>,
  owner: string,
  id: string,
): Promise<FileRecord | 'damaged' | undefined> {
  try {
    return await files.get(owner, id);
  } catch (error) {
    if (error instanceof StorageError && error.failure === 'corrupt') return 'damaged';
    throw error;
  }
}

/** Finds a file by its id. Resolves with undefined if there is none, or if it has expired. */
export async function findFile(
  { owners, files }: Pick<FileStores, 'owners' | 'files'>,
  id: string,
  retention: number,
  now: number,
): Promise<{ readonly owner: string; readonly file: FileRecord } | undefined> {
  const owner = (await owners.get(id))?.owner;
  const file = owner === undefined ? undefined : await recordOf(files, owner, id);
  if (owner === undefined || file === undefined || file === 'damaged') return undefined;
  return expiryOf(file, retention) <= now ? undefined : { owner, file };
}

/** Deletes files of an account, and no others, whatever the ids. Returns how many existed. */
export async function deleteFiles(
  { owners, files, contents }: FileStores,
  owner: string,
  ids: readonly string[],
): Promise<number> {
  const known = await owners.getMany(ids);
  const own: string[] = [];
  for (const id of ids) {
    const other = known.get(id)?.owner;
    // A damaged record of the owner must not make a file permanent.
    if (other === owner || (other === undefined && (await recordOf(files, owner, id)) !== undefined)) own.push(id);
  }
  const existed = await files.delete(owner, own);
  await Promise.all(own.map((id) => owners.delete(id)));
  await contents.delete(own);
  return existed;
}
