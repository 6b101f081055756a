/** Maps errors of Cassandra and of its driver to StorageError. */
import cassandra from 'cassandra-driver';
import { StorageError, type StorageFailure } from '../contract.js';

const { errors, types } = cassandra;
const codes = types.responseErrorCodes;

/** The schema or a statement does not fit: more attempts would not help. */
const misfits: ReadonlySet<number> = new Set([
  codes.syntaxError,
  codes.invalid,
  codes.configError,
  codes.alreadyExists,
  codes.unprepared,
]);

/**
 * Returns the StorageError for an error of Cassandra or of its driver. Returns any other error unchanged: it is a bug.
 * `where` names the cluster.
 */
export function storageError(error: unknown, where: string): unknown {
  if (error instanceof StorageError) return error;
  const as = (failure: StorageFailure, message: string): StorageError =>
    new StorageError(failure, `${where}: ${message}`, { cause: error });
  if (error instanceof errors.ResponseError)
    return as(misfits.has(error.code) ? 'corrupt' : 'unavailable', error.message);
  if (error instanceof errors.NoHostAvailableError) return as('unavailable', reasonsOf(error));
  if (
    error instanceof errors.OperationTimedOutError ||
    error instanceof errors.BusyConnectionError ||
    error instanceof errors.AuthenticationError ||
    error instanceof errors.DriverInternalError ||
    (error instanceof Error && 'code' in error && typeof error.code === 'string')
  )
    return as('unavailable', error.message);
  return error;
}

/** Why each node was not asked, at most three of them. */
function reasonsOf({ innerErrors, message }: cassandra.errors.NoHostAvailableError): string {
  const reasons = Object.entries((innerErrors ?? {}) as Record<string, unknown>)
    .slice(0, 3)
    .map(([host, why]) => `${host} (${why instanceof Error ? why.message : String(why)})`);
  return reasons.length === 0 ? message : `no node can be used: ${reasons.join(', ')}`;
}
