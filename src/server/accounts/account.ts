/** Public types of accounts. */
import type { Jid } from '../address/jid.js';
import type { ScramHash, ScramKeys } from './keys.js';

export type Role = 'admin' | 'user';

/** SCRAM keys, by hash. Empty for an account that can only log in by certificate. */
export type AccountKeys = Readonly<Partial<Record<ScramHash, ScramKeys>>>;

export interface Account {
  readonly bare: string;
  readonly created: number;
  readonly role: Role;
  /** Whether login is refused. The data stays. */
  readonly disabled: boolean;
  /** An import (XEP-0227) of the account is under way, or was interrupted. It counts as disabled. */
  readonly importing: boolean;
  /** Changes with the password: anything derived from the old one (tokens, a proof) becomes invalid. */
  readonly epoch: string;
  readonly hashes: readonly ScramHash[];
}

/** What an import (XEP-0227) knows of an account itself. */
export interface Imported {
  readonly keys?: AccountKeys | undefined;
  /** Used if there are no keys. */
  readonly password?: string | undefined;
  readonly role?: Role | undefined;
  readonly disabled?: boolean | undefined;
  /** In ms since 1970. */
  readonly created?: number | undefined;
  /** The account takes these keys in place of its own. */
  readonly replaces?: boolean | undefined;
}

/** Keys for a SCRAM exchange. If `account` is undefined they are decoys: no proof must be accepted. */
export interface Credentials extends ScramKeys {
  readonly account: Account | undefined;
}

export type AccountEvent =
  | {
      readonly type: 'accountCreated' | 'passwordChanged' | 'accountDisabled' | 'accountEnabled' | 'roleChanged';
      readonly jid: Jid;
    }
  /**
   * The account can no longer log in; its name stays taken until all listeners have resolved. Listeners end the
   * sessions and delete the account's data from every store except `accounts` (which keeps the name taken across a
   * crash). Emitted again if interrupted.
   */
  | { readonly type: 'accountDeleted'; readonly jid: Jid }
  /** For one device, or for all if `clientId` is undefined. */
  | { readonly type: 'tokensRevoked'; readonly jid: Jid; readonly clientId: string | undefined };

export const accountFailures = [
  'conflict',
  'not-found',
  'invalid-name',
  'password-too-short',
  'password-invalid',
  'busy',
] as const;
export type AccountFailure = (typeof accountFailures)[number];

export class AccountError extends Error {
  override readonly name = 'AccountError';
  constructor(
    readonly failure: AccountFailure,
    message: string,
  ) {
    super(message);
  }
}

/** A proven identity, for `isCurrent`. */
export interface Proved {
  readonly jid: Jid;
  /** Epoch of the account at the time of the proof. Undefined for anonymous users. */
  readonly epoch: string | undefined;
  readonly anonymous: boolean;
}
