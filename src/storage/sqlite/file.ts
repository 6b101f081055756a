/**
 * Opening the database file: whose it is, who may read it, and what is checked first.
 *
 * One process at a time: it holds an exclusive SQLite lock on an empty file beside (`…-lock`) for as long as it lives, so
 * a killed process leaves nothing locked. The database itself stays open to tools that read it, as for a backup.
 *
 * Nothing here or elsewhere may open and close the database or its `-shm` by other means than SQLite while it is open:
 * POSIX drops all locks of a process on a file when the process closes any descriptor of it. The `-wal` carries no locks.
 */
import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import Sqlite, { type Database } from 'better-sqlite3';
import { StorageError } from '../contract.js';
import { isLocked, storageError } from './errors.js';
import { assertOurs, migrate } from './migrations.js';

/** Milliseconds that opening waits for another process's lock on the database. Nothing else runs meanwhile. */
const openingTimeout = 1000;

export interface FileOptions {
  /** KiB of pages that the connection keeps in memory. */
  readonly cacheSize: number;
  /** Bytes that the database may grow to. */
  readonly maxBytes: number | undefined;
}

/** Holds the lock of the file until it is closed. Throws StorageError: locked, read-only, unavailable. */
export function lockFile(file: string): Database {
  try {
    accessSync(dirname(file), constants.W_OK);
    const lock = new Sqlite(`${file}-lock`, { timeout: 0 });
    try {
      lock.pragma('journal_mode = MEMORY'); // else another file lies beside it
      lock.exec('BEGIN EXCLUSIVE');
    } catch (error) {
      lock.close();
      throw error;
    }
    return lock;
  } catch (error) {
    if (isLocked(error)) throw new StorageError('locked', `${file} is open in another process`, { cause: error });
    throw storageError(error, file);
  }
}

/** The lock must be held. Throws StorageError. */
export function openFile(file: string, { cacheSize, maxBytes }: FileOptions): Database {
  let db: Database | undefined;
  try {
    // Credentials are in it: SQLite gives the -wal and the -shm the mode of the database.
    if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600));
    db = new Sqlite(file, { timeout: openingTimeout, fileMustExist: true });
    assertOurs(db);
    const journal = db.pragma('journal_mode = WAL', { simple: true });
    if (journal !== 'wal') throw new StorageError('unavailable', `the file system of ${file} has no shared memory`);
    db.pragma('synchronous = NORMAL'); // the WAL is synced by us, in the background: queue.ts
    db.pragma('wal_autocheckpoint = 0'); // checkpoints.ts does it
    db.pragma(`journal_size_limit = ${64 * 2 ** 20}`);
    db.pragma(`cache_size = ${-cacheSize}`);
    db.pragma('temp_store = MEMORY');
    if (maxBytes !== undefined) {
      const pageSize = Number(db.pragma('page_size', { simple: true }));
      db.pragma(`max_page_count = ${Math.floor(maxBytes / pageSize)}`);
    }
    migrate(db);
    db.exec('BEGIN IMMEDIATE; ROLLBACK'); // a file that may only be read opens without complaint
    db.pragma('busy_timeout = 0');
    return db;
  } catch (error) {
    db?.close();
    throw storageError(error, file);
  }
}

/** Makes the names of the files that were created durable. */
export async function syncFolder(file: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
