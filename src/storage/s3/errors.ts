/** What a store answers that is an error, as StorageError. */
import type { IncomingHttpHeaders } from 'node:http';
import { StorageError, type StorageFailure } from '../contract.js';
import { parseAnswer, textOf } from './xml.js';

/** An answer of the store. */
export interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** What the store says about a refused request. Is the cause of a StorageError. */
export class Refused extends Error {
  override readonly name = 'Refused';
  constructor(
    readonly status: number,
    /** Such as `NoSuchBucket`; empty if it gives none. */
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The code of an error; empty if the answer has none. */
export function codeOf(text: string): string {
  const answer = text === '' ? undefined : parseAnswer(text);
  return answer?.name === 'Error' ? textOf(answer, 'Code') : '';
}

const failures: Readonly<Record<string, StorageFailure>> = {
  XMinioStorageFull: 'full',
  XMinioAdminBucketQuotaExceeded: 'full',
  QuotaExceeded: 'full',
  StorageQuotaExceeded: 'full',
  InsufficientStorage: 'full',
  EntityTooLarge: 'full',
  ReadOnly: 'read-only',
  XMinioReadOnly: 'read-only',
  InvalidObjectState: 'corrupt',
  BadDigest: 'corrupt',
  XAmzContentChecksumMismatch: 'corrupt',
};

const advice: Readonly<Record<string, string>> = {
  NoSuchBucket: 'create the bucket, or correct storage.s3.bucket',
  InvalidBucketName: 'correct storage.s3.bucket',
  InvalidAccessKeyId: 'correct storage.s3.access_key_id',
  SignatureDoesNotMatch: 'correct the secret key (storage.s3.secret_key_file) and storage.s3.region',
  ExpiredToken: 'renew the session token',
  InvalidToken: 'renew the session token',
  AccessDenied: 'docs/storage.md lists the permissions that the key needs',
  AuthorizationHeaderMalformed: 'correct storage.s3.region',
  PermanentRedirect: 'correct storage.s3.region and storage.s3.endpoint',
  RequestTimeTooSkewed: 'correct the clock of this machine or of the store',
  NotImplemented: 'the store does not have what Waxwing needs',
};

/** `where` names the bucket. `isWrite`: what is denied is writing. */
export function refusal({ status, headers, text }: Told, where: string, isWrite: boolean): StorageError {
  const answer = text === '' ? undefined : parseAnswer(text);
  const isError = answer?.name === 'Error';
  const code = isError ? textOf(answer, 'Code') : (codes[status] ?? '');
  const region = headers['x-amz-bucket-region'];
  const said = isError ? `${code}: ${textOf(answer, 'Message')}` : `HTTP ${status} without the error of an S3 service`;
  const hint = [advice[code], typeof region === 'string' && `the bucket is in the region ${region}`].filter(Boolean);
  const message = `${where}: ${said.slice(0, 500)}${hint.length > 0 ? ` (${hint.join('; ')})` : ''}`;
  return new StorageError(failureOf(status, code, isWrite), message, { cause: new Refused(status, code, said) });
}

/** Answers to HEAD have no body. */
const codes: Readonly<Record<number, string>> = { 403: 'AccessDenied', 507: 'InsufficientStorage' };

function failureOf(status: number, code: string, isWrite: boolean): StorageFailure {
  const known = failures[code];
  if (known !== undefined) return known;
  if (isWrite && (code === 'AccessDenied' || code === 'MethodNotAllowed')) return 'read-only';
  return status === 507 ? 'full' : 'unavailable';
}

/** The connection failed, or the store did not answer in time. */
export function lost(error: unknown, where: string): StorageError {
  return new StorageError('unavailable', `${where}: ${(error as Error).message || (error as { code?: string }).code}`, {
    cause: error,
  });
}

/** Whether the same request may succeed a little later. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof StorageError)) return false;
  const { cause } = error;
  if (!(cause instanceof Refused)) return error.failure === 'unavailable';
  return (
    (cause.status >= 500 && cause.status !== 501 && cause.status !== 507) ||
    cause.status === 429 ||
    cause.status === 408 ||
    transient.has(cause.code)
  );
}

const transient = new Set([
  'RequestTimeout',
  'SlowDown',
  'OperationAborted',
  'ConditionalRequestConflict',
  'BadDigest',
]);
