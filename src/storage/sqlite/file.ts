/**
 * Opens the database file: ownership, permissions, and checks.
 *
 * Only one process at a time: it holds an exclusive SQLite lock on an empty file (`…-lock`) for its lifetime, so a
 * killed process leaves no lock. The database itself stays accessible to tools that read it, for example for
 * backups.
 *
 * While the database is open, nothing in this process may open and close it or its `-shm` other than through SQLite:
 * POSIX drops all locks of a process on a file when it closes any descriptor of it. The `-wal` has no locks.
 */
import { accessSync, closeSync, constants, existsSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import Sqlite, { type Database } from 'better-sqlite3';
import { StorageError } from '../contract.js';
import { isLocked, storageError } from './errors.js';
import { assertOurs, migrate } from './migrations.js';

/** Time that opening waits for another process's lock on the database, in ms. Blocks the event loop. */
const openingTimeout = 1000;

export interface FileOptions {
  /** Page cache of the connection in KiB. */
  readonly cacheSize: number;
  /** Maximum size of the database in bytes. */
  readonly maxBytes: number | undefined;
}

/** Takes the lock of the file, held until closed. Throws StorageError: locked, read-only, unavailable. */
export function lockFile(file: string): Database {
  try {
    accessSync(dirname(file), constants.W_OK);
    const lock = new Sqlite(`${file}-lock`, { timeout: 0 });
    try {
      lock.pragma('journal_mode = MEMORY'); // avoids a journal file
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
    // It contains credentials. SQLite gives the -wal and the -shm the mode of the database.
    if (!existsSync(file)) closeSync(openSync(file, 'a', 0o600));
    db = new Sqlite(file, { timeout: openingTimeout, fileMustExist: true });
    assertOurs(db);
    const journal = db.pragma('journal_mode = WAL', { simple: true });
    if (journal !== 'wal') throw new StorageError('unavailable', `the file system of ${file} has no shared memory`);
    db.pragma('synchronous = NORMAL'); // queue.ts syncs the WAL in the background
    db.pragma('wal_autocheckpoint = 0'); // checkpoints.ts does it
    db.pragma(`journal_size_limit = ${64 * 2 ** 20}`);
    db.pragma(`cache_size = ${-cacheSize}`);
    db.pragma('temp_store = MEMORY');
    if (maxBytes !== undefined) {
      const pageSize = Number(db.pragma('page_size', { simple: true }));
      db.pragma(`max_page_count = ${Math.floor(maxBytes / pageSize)}`);
    }
    migrate(db);
    db.exec('BEGIN IMMEDIATE; ROLLBACK'); // opening a read-only file does not fail by itself
    db.pragma('busy_timeout = 0');
    return db;
  } catch (error) {
    db?.close();
    throw storageError(error, file);
  }
}

/** Makes the names of created files durable. */
export async function syncFolder(file: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
