/** What an account is to the rest of the server. */
import type { Jid } from '../stanza/jid.js';
import type { ScramHash, ScramKeys } from './keys.js';

export type Role = 'admin' | 'user';

/** SCRAM keys, by hash; an account that logs in by certificate alone has none. */
export type AccountKeys = Readonly<Partial<Record<ScramHash, ScramKeys>>>;

export interface Account {
  readonly bare: string;
  readonly created: number;
  readonly role: Role;
  /** It keeps its data, and nobody can log in. */
  readonly disabled: boolean;
  /** Another with every password: what was derived from one (tokens, a proof) ends with it. */
  readonly epoch: string;
  readonly hashes: readonly ScramHash[];
}

/** Keys for a SCRAM exchange; decoys where `account` is undefined: no proof by them is to be accepted. */
export interface Credentials extends ScramKeys {
  readonly account: Account | undefined;
}

export type AccountEvent =
  | {
      readonly type: 'accountCreated' | 'passwordChanged' | 'accountDisabled' | 'accountEnabled' | 'roleChanged';
      readonly jid: Jid;
    }
  /**
   * Nobody can log in any more, and the name is taken until what is told here has resolved: the time to end sessions
   * and to let every store but `accounts` (which keeps the name taken over a crash) forget the account. May be told
   * again where it was cut short.
   */
  | { readonly type: 'accountDeleted'; readonly jid: Jid }
  /** Of one device, or of all where `clientId` is undefined. */
  | { readonly type: 'tokensRevoked'; readonly jid: Jid; readonly clientId: string | undefined };

export type AccountFailure =
  | 'conflict'
  | 'not-found'
  | 'invalid-name'
  | 'password-too-short'
  | 'password-invalid'
  | 'busy';

export class AccountError extends Error {
  override readonly name = 'AccountError';
  constructor(
    readonly failure: AccountFailure,
    message: string,
  ) {
    super(message);
  }
}

/** What somebody proved to be, for `isCurrent`. */
export interface Proved {
  readonly jid: Jid;
  /** Names the password that was in force at the proof. Undefined for anonymous users. */
  readonly epoch: string | undefined;
  readonly anonymous: boolean;
}
