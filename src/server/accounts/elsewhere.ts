/** The operations on an account that run at its home, which has its cache and serializes its changes. */
import type { Account, AccountKeys, Imported, Role } from './account.js';

export interface NewAccount {
  readonly role?: Role | undefined;
  readonly disabled?: boolean | undefined;
  /** Until `endImport`. */
  readonly importing?: boolean | undefined;
}

/**
 * An account whose home is another node. The methods behave as those of `Accounts`, and also reject with StanzaError if
 * that node does not answer.
 */
export interface AccountElsewhere {
  get(): Promise<Account | undefined>;
  lastLogin(): Promise<number | undefined>;
  create(secret: string | AccountKeys, options: NewAccount): Promise<void>;
  setPassword(password: string): Promise<void>;
  disable(): Promise<void>;
  enable(): Promise<void>;
  setRole(role: Role): Promise<void>;
  remove(): Promise<boolean>;
  beginImport(): Promise<void>;
  endImport(imported: Imported): Promise<void>;
  revokeTokens(clientId: string | undefined): Promise<void>;
}
