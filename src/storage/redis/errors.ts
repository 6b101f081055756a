/** Maps errors of Redis and of the connection to StorageError. */
import { StorageError, type StorageFailure } from '../contract.js';

/** Errors that name how Redis has refused something: https://redis.io/docs/latest/develop/reference/protocol-spec */
const codeIn = (error: unknown): string | undefined =>
  error instanceof Error ? /^(?:ReplyError: )?([A-Z]{3,})\b/.exec(error.message)?.[1] : undefined;

/** What waiting does not cure, with what to do. */
const refusals: Readonly<Record<string, string>> = {
  NOAUTH: 'it wants a password: set storage.redis.password_file',
  WRONGPASS: 'compare storage.redis.user and password_file',
  NOPERM: 'docs/storage.md says what the user has to be allowed',
  NOPROTO: 'it is too old',
};

export const isWrongType = (error: unknown): boolean => codeIn(error) === 'WRONGTYPE';

/** Whether the connection leads to a server that cannot write at the moment, such as a former primary. */
export const wantsAnotherServer = (error: Error): boolean => /^(READONLY|MASTERDOWN|LOADING)\b/.test(error.message);

/** Whether the configuration is wrong, so that no retry helps. */
export const isRefusal = (error: unknown): boolean => hintOf(error) !== undefined;

function hintOf(error: unknown): string | undefined {
  const text = error instanceof Error ? error.message : '';
  if (/without any password configured|invalid password/i.test(text)) return refusals.WRONGPASS;
  if (/invalid DB index|DB index is out of range/i.test(text)) return 'compare storage.redis.database';
  if (/cluster support disabled/i.test(text)) return 'it is no cluster: set storage.redis.mode';
  if (/unknown command.*sentinel/i.test(text)) return 'it is no Sentinel: set storage.redis.mode';
  const code = codeIn(error);
  return code === undefined ? undefined : refusals[code];
}

const failures: Readonly<Record<string, StorageFailure>> = { OOM: 'full', WRONGTYPE: 'corrupt', MISCONF: 'read-only' };

/**
 * Returns the StorageError for an error of Redis, of the connection or of the client. Returns a TypeError unchanged: it is a
 * bug. `where` names the server.
 */
export function storageError(error: unknown, where: string): unknown {
  if (error instanceof StorageError || error instanceof TypeError || !(error instanceof Error)) return error;
  const failure = failures[codeIn(error) ?? ''] ?? 'unavailable';
  const hint = hintOf(error);
  return new StorageError(failure, `${where}: ${error.message}${hint === undefined ? '' : ` (${hint})`}`, {
    cause: error,
  });
}
