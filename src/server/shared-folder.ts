/**
 * Whether the folder of uploaded files is the same at all nodes of a cluster: a file in it has an id, which is noted in
 * the storage that the nodes share.
 */
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Storage, StorageError } from '../storage/contract.js';

/** The name of the file. */
export const markerName = '.waxwing-folder';
/** What is noted is a document of this store, with this owner. */
const storeName = 'files_folder';
const owner = 'id';

interface Noted {
  readonly id: string;
}

const check = (value: unknown): value is Noted =>
  typeof value === 'object' && value !== null && 'id' in value && typeof value.id === 'string' && value.id !== '';

/**
 * Resolves if the folder is that of the other nodes; the first node decides which it is. Rejects with StorageError, with
 * failure 'locked' if the other nodes have another one.
 */
export async function demandSharedFolder(folder: string, storage: Storage): Promise<void> {
  const place = resolve(folder);
  const store = storage.document<Noted>(storeName, { check, damaged: 'refuse' });
  const noted = (await store.get(owner))?.id;
  // The first node may have stopped between the file and the note, and others may start at the same time.
  const found = noted === undefined ? await mark(place) : await readMarker(place);
  if (noted === undefined && (await store.compareAndSet(owner, undefined, { id: found! }))) return;
  const expected = noted ?? (await store.get(owner))?.id;
  if (found === expected) return;
  throw new StorageError(
    'locked',
    `storage.files.folder ${place} is not the folder of the other nodes: ${found === undefined ? `it has no file ${markerName}` : `its file ${markerName} has another id`}. Mount one file system at all nodes, and name it in storage.files.folder. If all nodes are to use this folder from now on, and it has all uploaded files, write ${expected} into that file`,
  );
}

/** Returns the id in the folder, which gets one if it has none. */
async function mark(folder: string): Promise<string> {
  return translated(folder, async () => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, markerName);
    const id = randomBytes(16).toString('hex');
    const temporary = `${path}.${id}`;
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(`${id}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      // Whole, or not at all.
      await link(temporary, path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A file system without links: the last node to rename decides, before any has noted it.
      if (['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(code ?? '')) {
        if ((await readMarker(folder)) === undefined) await rename(temporary, path);
      } else if (code !== 'EEXIST') throw error;
    } finally {
      await rm(temporary, { force: true });
    }
    const entries = await open(folder, 'r');
    await entries.sync().finally(() => entries.close());
    return (await readFile(path, 'utf8')).trim();
  });
}

async function readMarker(folder: string): Promise<string | undefined> {
  return translated(folder, () =>
    readFile(join(folder, markerName), 'utf8').then(
      (text) => text.trim(),
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
        throw error;
      },
    ),
  );
}

async function translated<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    throw new StorageError('unavailable', `storage.files.folder ${folder}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
