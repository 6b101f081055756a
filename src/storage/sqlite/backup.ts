/**
 * Copies of the whole database, taken while the server runs or not, and put back while it does not. Both work in the
 * process that calls them and wait for the disk, so they are for commands and not for the server.
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

/** Milliseconds to wait for another process's lock on the database. */
const patience = 10_000;

export interface Copied {
  readonly bytes: number;
  /** Of the database, when it was copied. */
  readonly schema: number;
}

/**
 * Writes a copy of the database as it is at one moment, checks it and makes it durable under its name. A server may write
 * meanwhile: it is not held up. Throws StorageError, and leaves nothing then.
 */
export function backUp(file: string, to: string, { overwrite = false } = {}): Copied {
  const part = `${to}.part`;
  if (!existsSync(file)) throw new StorageError('unavailable', `${file} is not there`);
  if (!overwrite && existsSync(to)) throw new StorageError('unavailable', `${to} is there already; see --force`);
  if (existsSync(to) && realpathSync(to) === realpathSync(file))
    throw new StorageError('unavailable', `${to} is the database itself`);
  const lock = lockUnlessHeld(file);
  try {
    rmSync(part, { force: true });
    // SQLite takes a file that is empty: so it has the right mode from the beginning.
    closeSync(openSync(part, 'wx', 0o600));
    const db = new Sqlite(file, { readonly: lock === undefined, fileMustExist: true, timeout: patience });
    try {
      // One read transaction, which no writer disturbs: unlike the backup API it never starts over.
      db.prepare('VACUUM INTO ?').run(part);
    } finally {
      db.close();
    }
    const schema = examine(part);
    syncFile(part);
    if (overwrite) renameSync(part, to);
    else {
      linkSync(part, to); // fails if somebody made it meanwhile
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
  /** Where the database that was there is now, with what belongs to it; undefined if there was none. */
  readonly kept: string | undefined;
}

/**
 * Puts a backup in the place of the database, once it was found to be whole. `suffix` names what was there. Throws
 * StorageError, `locked` while a server runs; then all is as it was.
 */
export function restore(file: string, from: string, suffix: string): Restored {
  if (!existsSync(from)) throw new StorageError('unavailable', `${from} is not there`);
  if (existsSync(file) && realpathSync(from) === realpathSync(file))
    throw new StorageError('unavailable', `${from} is the database itself`);
  const lock = lockFile(file);
  const part = `${file}.part`;
  const removePart = (): void => {
    for (const end of ['', ...besides]) rmSync(part + end, { force: true });
  };
  try {
    removePart();
    copyFileSync(from, part);
    chmodSync(part, 0o600);
    // A copy of a database that was in use has its latest writes beside it.
    if (existsSync(`${from}-wal`)) copyFileSync(`${from}-wal`, `${part}-wal`);
    const schema = examine(part);
    const db = new Sqlite(part, { fileMustExist: true });
    db.pragma('journal_mode = DELETE'); // all of it into one file
    db.close();
    syncFile(part);
    const kept = existsSync(file) || existsSync(`${file}-wal`) ? `${file}.${suffix}` : undefined;
    // If the power goes in between, the next start finds a database missing, and says so.
    if (kept !== undefined) {
      noteMade(file);
      syncFile(dirname(file));
      for (const end of ['', ...besides]) if (existsSync(file + end)) renameSync(file + end, kept + end);
      syncFile(dirname(file));
    }
    renameSync(part, file);
    noteMade(file);
    syncFile(dirname(file));
    return { bytes: statSync(file).size, schema, kept };
  } catch (error) {
    removePart();
    throw storageError(error, from);
  } finally {
    lock.close();
  }
}

const besides = ['-wal', '-shm'] as const;

/** Nobody may start a server meanwhile; undefined: one runs. */
function lockUnlessHeld(file: string): Database | undefined {
  try {
    return lockFile(file);
  } catch (error) {
    if (error instanceof StorageError && error.failure === 'locked') return undefined;
    throw error;
  }
}

/** The schema of a copy that is ours and whole. Throws StorageError. */
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

/** Of a file, or of a folder: the names in it. */
function syncFile(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
