/** Maps errors of SQLite and of the file system to StorageError. */
import { accessSync, closeSync, constants, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { StorageError, type StorageFailure } from '../contract.js';

/**
 * Returns the StorageError for an error of SQLite or of a system call on `file`. Returns any other error unchanged: it
 * is a bug, not a disk fault.
 */
export function storageError(error: unknown, file: string): unknown {
  const code = codeOf(error);
  if (code === undefined || error instanceof StorageError) return error;
  const failure = failureOf(code, file);
  if (failure === undefined) return error;
  return new StorageError(failure, `${file}: ${(error as Error).message} (${code})`, { cause: error });
}

/** Returns the StorageError for an error from another thread, given its code and message. */
export function failureWithCode(code: string | undefined, message: string, file: string): StorageError {
  if (code === undefined) return new StorageError('unavailable', `${file}: ${message}`);
  return new StorageError(failureOf(code, file) ?? 'unavailable', `${file}: ${message} (${code})`);
}

function failureOf(code: string, file: string): StorageFailure | undefined {
  const failure = failures.find(([pattern]) => pattern.test(code))?.[1];
  if (failure === 'corrupt' && isFailing(file)) return 'unavailable';
  return failure === 'unavailable' && isReadOnly(file) ? 'read-only' : failure;
}

/** Whether the operation can succeed once another process's lock is released. */
export function isLocked(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error) ?? '');
}

/** Whether the file or the connection may be unusable, beyond this operation. */
export function isDiskFault(error: unknown): boolean {
  const failure = failures.find(([pattern]) => pattern.test(codeOf(error) ?? ''))?.[1];
  return failure === 'unavailable' || failure === 'corrupt';
}

export function isFull(error: unknown): boolean {
  return error instanceof StorageError && error.failure === 'full';
}

/** The first match counts. SQLite result codes, and errno(3) codes. */
const failures: readonly (readonly [RegExp, StorageFailure])[] = [
  [/^(SQLITE_FULL|SQLITE_IOERR_SHMSIZE|ENOSPC|EDQUOT)$/, 'full'],
  [/^SQLITE_READONLY_DBMOVED$/, 'unavailable'],
  [/^(SQLITE_READONLY.*|SQLITE_PERM|EROFS|EACCES|EPERM)$/, 'read-only'],
  [/^SQLITE_(BUSY|LOCKED)/, 'locked'],
  [/^SQLITE_(CORRUPT|NOTADB)/, 'corrupt'],
  [/^(SQLITE_(IOERR|CANTOPEN|NOMEM|PROTOCOL|NOLFS)|E[A-Z]+$)/, 'unavailable'],
];

function codeOf(error: unknown): string | undefined {
  if (error instanceof Database.SqliteError) return error.code;
  const code = error instanceof Error && 'code' in error && 'syscall' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/**
 * Whether the disk fails: data that cannot be read looks corrupt to SQLite. Tests the folder, because opening and
 * closing the database would drop the locks of this process (see file.ts).
 */
function isFailing(file: string): boolean {
  try {
    const folder = openSync(dirname(file), 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
    return false;
  } catch (error) {
    return codeOf(error) === 'EIO';
  }
}

/** SQLite reports a file system remounted read-only as an I/O error. This check does not open the file: see file.ts. */
function isReadOnly(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return false;
  } catch (error) {
    return ['EROFS', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '');
  }
}
