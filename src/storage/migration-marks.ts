/**
 * Marks of a migration in both storages (migrate.ts), for whoever opens one of them otherwise: a target that is not
 * complete must not be served, and a source that has been served has changed.
 */
import { type DocumentStore, type Storage, StorageError, type StoreName } from './contract.js';

const name = 'storage_migration';

/** How far a migration is. Everything before this position is durable in the target. */
export interface Progress {
  /** The source has the same id, unless it was opened since. */
  readonly id: string;
  /** Describes the source, for messages. */
  readonly from: string;
  /** The names of the stores to copy; null for all. */
  readonly only: readonly string[] | null;
  /** The store that is being copied; null before the first. Stores are copied in order. */
  readonly store: StoreName | null;
  /** The last owner before which all of this store is copied; null if there is none. */
  readonly after: string | null;
  /** Later owners, with the last key that is copied; null if all of the owner is. */
  readonly owners: readonly (readonly [owner: string, key: string | null])[];
  /** Records that cannot be read, and so are not copied. */
  readonly damaged: readonly DamagedPlace[];
}

export interface DamagedPlace extends StoreName {
  readonly owner: string;
  /** null for a document. */
  readonly key: string | null;
}

export const isMarkStore = (store: StoreName): boolean => store.name === name;

export const progressIn = (target: Storage): DocumentStore<Progress> => target.document(name);
export const markIn = (source: Storage): DocumentStore<{ readonly id: string }> => source.document(name);
export const targetKey = 'target';
export const sourceKey = 'source';

/**
 * Call when a storage is opened to be used. Rejects with StorageError if it is the target of an unfinished migration. A
 * migration from it cannot be continued afterwards.
 */
export async function demandComplete(storage: Storage): Promise<void> {
  if (!(await storage.stores()).some(isMarkStore)) return;
  const progress = await progressIn(storage).get(targetKey);
  if (progress !== undefined)
    throw new StorageError(
      'unavailable',
      `the storage is incomplete: a migration from ${progress.from} into it has not ended; continue it with "waxwing storage migrate"`,
    );
  await markIn(storage).delete(sourceKey);
}
