/** Errors for clients whose change to an account failed. */
import { AccountError, type AccountFailure } from './accounts/index.js';
import { StanzaError, type StanzaErrorCondition, type StanzaErrorOptions } from './stanza/errors.js';

const conditions: Readonly<Record<AccountFailure, StanzaErrorCondition>> = {
  conflict: 'conflict',
  'not-found': 'item-not-found',
  'invalid-name': 'not-acceptable',
  'password-too-short': 'not-acceptable',
  'password-invalid': 'not-acceptable',
  busy: 'resource-constraint',
};

/** The StanzaError for an AccountError; any other error unchanged. */
export function accountRefusal(error: unknown, options?: StanzaErrorOptions): unknown {
  return error instanceof AccountError ? new StanzaError(conditions[error.failure], error.message, options) : error;
}
