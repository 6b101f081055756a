/** Maps errors of PostgreSQL and of the connection to StorageError. */
import { StorageError, type StorageFailure } from '../contract.js';

/** SQLSTATEs raised by our own functions: see migrations.ts. */
export const raised = {
  /** The lane has no row: its epoch has ended. */
  laneGone: 'WX001',
  /** Fewer rows were written than were given: an owner has no number. */
  rowsMissing: 'WX002',
} as const;

/** A statement had no answer because its connection was lost. Whether it took effect is unknown. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

/** An error that the server reported. Connection errors have no SQLSTATE. */
export interface ServerError extends Error {
  readonly code: string;
  readonly severity?: string | undefined;
}

export function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code)
    ? 'severity' in error
    : false;
}

/** Whether the server has closed the connection with this error, or is about to. */
export function endsConnection(error: unknown): boolean {
  return !isServerError(error) || error.severity === 'FATAL' || error.severity === 'PANIC';
}

/** Whether the same transaction may succeed if it is run again at once. */
export function isTransient(error: unknown): boolean {
  return isServerError(error) && (error.code === '40001' || error.code === '40P01');
}

/** Whether every other write fails in the same way. */
export function concernsAll(failure: StorageFailure): boolean {
  return failure === 'full' || failure === 'read-only' || failure === 'unavailable';
}

/**
 * Returns the StorageError for an error of the server or of the connection. Returns any other error unchanged: it is a
 * bug. `where` names the database.
 */
export function storageError(error: unknown, where: string): unknown {
  if (error instanceof StorageError) return error;
  if (error instanceof ConnectionLost)
    return new StorageError('unavailable', `${where}: ${error.message}`, { cause: error });
  if (!isServerError(error)) {
    const isSystem = error instanceof Error && 'code' in error;
    return isSystem ? new StorageError('unavailable', `${where}: ${error.message}`, { cause: error }) : error;
  }
  const failure = failures.find(([pattern]) => pattern.test(error.code))?.[1];
  if (failure === undefined) return error;
  return new StorageError(failure, `${where}: ${error.message} (${error.code})`, { cause: error });
}

/** The first match counts: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const failures: readonly (readonly [RegExp, StorageFailure])[] = [
  [/^53100$/, 'full'], // disk_full
  [/^25006$/, 'read-only'], // read_only_sql_transaction: a standby
  [/^(55P03|55006|40001|40P01)$/, 'locked'], // lock_not_available, object_in_use, serialization, deadlock
  [/^XX00[12]$/, 'corrupt'], // data_corrupted, index_corrupted
  // Connections, authorization, missing database or privileges, resources, an operator, system errors.
  [/^(08|28|3D|42501|53|57|58|25P0[35]|55P0[24])/, 'unavailable'],
];
