/**
 * Backs up the whole database, whether the server is running or not, and restores it while the server is stopped. Both
 * are synchronous and wait for the disk: for commands, not for use in the server.
 */
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import Sqlite, { type Database } from 'better-sqlite3';
import { StorageError } from '../contract.js';
import { storageError } from './errors.js';
import { lockFile } from './file.js';
import { migrations } from './migrations.js';
import { applicationId, foreign, noteMade } from './presence.js';

/** Time to wait for another process's lock on the database, in ms. */
const lockTimeout = 10_000;

export interface Copied {
  readonly bytes: number;
  /** Schema version of the database when copied. */
  readonly schema: number;
}

/**
 * Writes a consistent copy of the database, verifies it and makes it durable under its name. Does not block a running
 * server. Throws StorageError, leaving no file.
 */
export function backUp(file: string, to: string, { overwrite = false } = {}): Copied {
  const part = `${to}.part`;
  if (!existsSync(file)) throw new StorageError('unavailable', `${file} does not exist`);
  if (!overwrite && existsSync(to))
    throw new StorageError('unavailable', `${to} already exists; use --force to overwrite it`);
  if (existsSync(to) && realpathSync(to) === realpathSync(file))
    throw new StorageError('unavailable', `${to} is the database itself`);
  const lock = lockUnlessHeld(file);
  try {
    rmSync(part, { force: true });
    // SQLite accepts an empty file, so the mode is correct from the start.
    closeSync(openSync(part, 'wx', 0o600));
    const db = new Sqlite(file, { readonly: lock === undefined, fileMustExist: true, timeout: lockTimeout });
    try {
      // A single read transaction does not block writers and, unlike the backup API, never restarts.
      db.prepare('VACUUM INTO ?').run(part);
    } finally {
      db.close();
    }
    const schema = examine(part);
    syncFile(part);
    if (overwrite) renameSync(part, to);
    else {
      linkSync(part, to); // fails if it has been created meanwhile
      rmSync(part);
    }
    syncFile(dirname(to));
    return { bytes: statSync(to).size, schema };
  } catch (error) {
    rmSync(part, { force: true });
    throw storageError(error, file);
  } finally {
    lock?.close();
  }
}

export interface Restored extends Copied {
  /** Where the previous database and its log were moved; undefined if there was none. */
  readonly previous: string | undefined;
}

/**
 * Replaces the database by a backup after verifying it. `suffix` is appended to the names of the previous files. Throws
 * StorageError, with `locked` if a server is running; nothing has changed then.
 */
export function restore(file: string, from: string, suffix: string): Restored {
  if (!existsSync(from)) throw new StorageError('unavailable', `${from} does not exist`);
  if (existsSync(file) && realpathSync(from) === realpathSync(file))
    throw new StorageError('unavailable', `${from} is the database itself`);
  const lock = lockFile(file);
  const part = `${file}.part`;
  const removePart = (): void => {
    for (const end of ['', ...sidecars]) rmSync(part + end, { force: true });
  };
  try {
    removePart();
    copyFileSync(from, part);
    chmodSync(part, 0o600);
    // A copy of a database in use has its latest writes in a -wal file.
    if (existsSync(`${from}-wal`)) copyFileSync(`${from}-wal`, `${part}-wal`);
    const schema = examine(part);
    const db = new Sqlite(part, { fileMustExist: true });
    db.pragma('journal_mode = DELETE'); // all of it into one file
    db.close();
    syncFile(part);
    const previous = existsSync(file) || existsSync(`${file}-wal`) ? `${file}.${suffix}` : undefined;
    // If the power fails in between, the next start finds the database missing and stops.
    if (previous !== undefined) {
      noteMade(file);
      syncFile(dirname(file));
      for (const end of ['', ...sidecars]) if (existsSync(file + end)) renameSync(file + end, previous + end);
      syncFile(dirname(file));
    }
    renameSync(part, file);
    noteMade(file);
    syncFile(dirname(file));
    return { bytes: statSync(file).size, schema, previous };
  } catch (error) {
    removePart();
    throw storageError(error, from);
  } finally {
    lock.close();
  }
}

const sidecars = ['-wal', '-shm'] as const;

/** Locks the database against starting a server. Returns undefined if one is running. */
function lockUnlessHeld(file: string): Database | undefined {
  try {
    return lockFile(file);
  } catch (error) {
    if (error instanceof StorageError && error.failure === 'locked') return undefined;
    throw error;
  }
}

/** Returns the schema version of a copy after verifying it. Throws StorageError. */
function examine(copy: string): number {
  const db = new Sqlite(copy, { fileMustExist: true });
  try {
    const isOurs = db.pragma('application_id', { simple: true }) === applicationId;
    const schema = isOurs ? db.prepare("SELECT value FROM waxwing WHERE property = 'schema'").pluck().get() : undefined;
    if (typeof schema !== 'number') throw foreign(copy);
    if (schema > migrations.length)
      throw new StorageError('unavailable', `${copy} was written by a newer version of the program`);
    const found = String(db.pragma('integrity_check(1)', { simple: true }));
    if (found !== 'ok') throw new StorageError('corrupt', `${copy} is damaged: ${found}`);
    return schema;
  } finally {
    db.close();
  }
}

/** Syncs a file, or the names in a folder. */
function syncFile(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
