/**
 * Accounts: their existence, credentials, and the events emitted when they change. Passwords are stored as SCRAM keys
 * only (RFC 5802 §3, XEP-0438), with one salt per hash. All times are in ms.
 *
 * Addresses are bare and normalised: `Jid.bare`. In a cluster an account is read and changed at its home (elsewhere.ts).
 */

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Cache } from '../../storage/cache.js';
import { type DocumentStore, type Storage, StorageError } from '../../storage/contract.js';
import { Jid } from '../address/jid.js';
import { wall } from '../clock.js';
import type { Maybe } from '../maybe.js';
import { Serial } from '../serial.js';
import { checkOf } from '../stanza/stored.js';
import {
  type Account,
  AccountError,
  type AccountEvent,
  type AccountKeys,
  type Credentials,
  type Imported,
  type Proved,
  type Role,
} from './account.js';
import type { AccountElsewhere, NewAccount } from './elsewhere.js';
import type { ScramHash } from './keys.js';
import { checkedBy, Passwords, prepare } from './passwords.js';
import { account, decode, encode, lastLogin, present, type StoredAccount, storedAccount } from './stored.js';
import { deviceTokens, Tokens } from './tokens.js';

export * from './account.js';
export type { AccountElsewhere } from './elsewhere.js';

export interface AccountsOptions {
  readonly storage: Storage;
  /** PBKDF2 rounds of new credentials. */
  readonly iterations?: number | undefined;
  /** Hashes for which keys are made from a password. */
  readonly hashes?: readonly ScramHash[] | undefined;
  /** In characters (code points). */
  readonly minPasswordLength?: number | undefined;
  /** Maximum cached accounts, including names without an account. */
  readonly cacheSize?: number | undefined;
  /** XEP-0484: lifetime of a token, and the age after which it is replaced when used. */
  readonly tokenLifetime?: number | undefined;
  readonly tokenRotation?: number | undefined;
  /** Maximum devices per account that hold a token. */
  readonly maxDevices?: number | undefined;
  readonly now?: (() => number) | undefined;
  /** Returns an account whose home is another node (docs/decisions/0011). Default: all homes are local. */
  readonly elsewhere?: ((bare: string) => AccountElsewhere | undefined) | undefined;
  /** Called after a change is stored. The change's promise waits for the result and rejects with it. */
  readonly onEvent?: ((event: AccountEvent) => Maybe<void>) | undefined;
}

/** Maximum logins noted and not yet written. */
const maxLogins = 10_000;
const day = 86_400_000;

/** Maximum attempts at a change that races with others: far more than can happen by chance. */
const maxAttempts = 100;

export class Accounts {
  readonly tokens: Tokens;
  readonly #passwords: Passwords;
  readonly #store: DocumentStore<StoredAccount>;
  readonly #logins: DocumentStore<{ readonly at: number }>;
  readonly #newLogins = new Map<string, number>();
  /** null: no such account, or it is being removed. */
  readonly #cache: Cache<StoredAccount | null>;
  readonly #serial = new Serial();
  readonly #now: () => number;
  readonly #elsewhere: (bare: string) => AccountElsewhere | undefined;
  readonly #onEvent: (event: AccountEvent) => Maybe<void>;

  private constructor(options: AccountsOptions, secret: Buffer) {
    const { storage } = options;
    this.#store = storage.document('accounts', { check: checkOf(storedAccount), damaged: 'refuse' });
    this.#logins = storage.document('last_logins', { check: checkOf(lastLogin) });
    this.#now = options.now ?? wall;
    this.#elsewhere = options.elsewhere ?? (() => undefined);
    this.#onEvent = options.onEvent ?? (() => {});
    this.#cache = new Cache(options.cacheSize ?? 20_000, async (bare) => present(await this.#store.get(bare)));
    this.#passwords = new Passwords({ ...options, minLength: options.minPasswordLength }, secret);
    this.tokens = new Tokens(storage.map('fast_tokens', { check: checkOf(deviceTokens) }), {
      lifetime: options.tokenLifetime ?? 21 * day,
      rotateAfter: options.tokenRotation ?? day,
      maxDevices: options.maxDevices ?? 32,
      now: this.#now,
    });
  }

  /** Opens the accounts of a storage. The first opening generates the secret for the salts of decoys. */
  static async open(options: AccountsOptions): Promise<Accounts> {
    const secrets = options.storage.document<{ readonly salts: string }>('account_secrets', {
      check: checkOf(z.object({ salts: z.base64().min(1) })),
    });
    const owner = 'server';
    await secrets.compareAndSet(owner, undefined, { salts: randomBytes(32).toString('base64') });
    const stored = await secrets.get(owner);
    return new Accounts(options, Buffer.from(stored?.salts ?? '', 'base64'));
  }

  /** Hashes for which keys are made from a password. */
  get hashes(): readonly ScramHash[] {
    return this.#passwords.hashes;
  }

  get iterations(): number {
    return this.#passwords.iterations;
  }

  /** Minimum length of a new password, in characters (code points). */
  get minPasswordLength(): number {
    return this.#passwords.minLength;
  }

  // -------------------------------------------------------------------------------------------------------------
  // Reading

  /** Returns the account, synchronously on a cache hit. */
  get(bare: string): Maybe<Account | undefined> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.get();
    const stored = this.#cache.get(bare);
    return stored instanceof Promise ? stored.then((s) => account(bare, s)) : account(bare, stored);
  }

  /** Returns an account and its keys from the storage, for an export; at any node of a cluster. */
  async stored(bare: string): Promise<{ readonly account: Account; readonly keys: AccountKeys } | undefined> {
    const stored = present(await this.#store.get(bare));
    const found = account(bare, stored);
    if (stored === null || found === undefined) return undefined;
    const keys = Object.entries(stored.keys).map(([hash, made]) => [hash, decode(made)]);
    return { account: found, keys: Object.fromEntries(keys) as AccountKeys };
  }

  /** Whether the account exists, synchronously on a cache hit. */
  exists(bare: string): Maybe<boolean> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.get().then((found) => found !== undefined);
    const stored = this.#cache.get(bare);
    return stored instanceof Promise ? stored.then((s) => s !== null) : stored !== null;
  }

  /** Whether a proof is still valid: the account exists, is enabled, and its password has not changed. */
  isCurrent(identity: Proved): Maybe<boolean> {
    if (identity.anonymous) return true;
    const holds = (s: StoredAccount | null) => s !== null && s.state === undefined && s.epoch === identity.epoch;
    const stored = this.#cache.get(identity.jid.bare);
    return stored instanceof Promise ? stored.then(holds) : holds(stored);
  }

  /** Lists the accounts of a host by name, starting after `after`. `next` is the `after` of the next page. */
  async list(
    host: string,
    range: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<{ accounts: Account[]; next: string | undefined }> {
    const owners = await this.#store.owners({ ...range, suffix: `@${host}` });
    const stored = await this.#store.getMany(owners);
    const accounts = owners.flatMap((bare) => account(bare, present(stored.get(bare))) ?? []);
    return { accounts, next: owners.length < range.limit ? undefined : owners.at(-1) };
  }

  /** Returns the time of the last login, or undefined if there was none (see noteLogin). */
  async lastLogin(bare: string): Promise<number | undefined> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.lastLogin();
    return this.#newLogins.get(bare) ?? (await this.#logins.get(bare))?.at;
  }

  /** Invalidates the cache entry: another process changed the account. */
  uncache(bare: string): void {
    this.#cache.delete(bare);
  }

  // -------------------------------------------------------------------------------------------------------------
  // Proofs

  /**
   * Returns the keys for a SCRAM exchange. Without such keys, returns decoys: always the same salt, with the usual
   * number of rounds.
   */
  async credentials(bare: string, hash: ScramHash): Promise<Credentials> {
    const stored = await this.#cache.get(bare);
    // Made for every name, so that timing reveals nothing.
    const decoy = this.#passwords.decoy(bare, hash);
    const keys = stored?.keys[hash];
    return keys === undefined ? { ...decoy, account: undefined } : { ...decode(keys), account: account(bare, stored) };
  }

  /**
   * Returns the account if this is its password, even if it is disabled (the caller decides). Takes equally long for a
   * name without an account. Rejects with AccountError('busy') if too many passwords are being checked.
   */
  async verifyPassword(bare: string, password: string): Promise<Account | undefined> {
    const prepared = prepare(password);
    if (prepared === undefined) return undefined;
    const before = await this.#cache.get(bare);
    const hash = checkedBy(before?.keys);
    const keys = await this.credentials(bare, hash);
    const right = await this.#passwords.fits(prepared, hash, keys);
    const now = await this.get(bare);
    // The password may have changed during the check.
    return right && now !== undefined && now.epoch === keys.account?.epoch ? now : undefined;
  }

  /** XEP-0480: whether keys for the hash are missing, or have fewer rounds than configured. */
  async lacksKeys(bare: string, hash: ScramHash): Promise<boolean> {
    const stored = await this.#cache.get(bare);
    if (stored === null || !this.hashes.includes(hash)) return false;
    return (stored.keys[hash]?.iterations ?? 0) < this.iterations;
  }

  /** Adds the account's missing keys from its password, which was just verified. */
  async completeKeys(verified: Account, password: string): Promise<void> {
    const prepared = prepare(password);
    if (prepared === undefined) return;
    const lacking: ScramHash[] = [];
    for (const hash of this.hashes) if (await this.lacksKeys(verified.bare, hash)) lacking.push(hash);
    if (lacking.length > 0)
      await this.addKeys(verified.bare, verified.epoch, await this.#passwords.keysFor(lacking, prepared));
  }

  /** Adds keys of the password of `epoch`. Returns false, adding nothing, if it has changed since. */
  async addKeys(bare: string, epoch: string, keys: AccountKeys): Promise<boolean> {
    const after = await this.#change(bare, (stored) =>
      stored.epoch === epoch ? { ...stored, keys: { ...stored.keys, ...encode(keys) } } : stored,
    );
    return after.epoch === epoch;
  }

  /** These accounts have moved to another node, or from one: nothing cached about them is valid. */
  deleteIf(concerns: (bare: string) => boolean): void {
    this.#cache.deleteIf(concerns);
  }

  /** Records the time of a login, for lists; persisted by writeLogins. */
  noteLogin(bare: string): void {
    this.#newLogins.delete(bare);
    this.#newLogins.set(bare, this.#now());
    if (this.#newLogins.size > maxLogins) this.#newLogins.delete(this.#newLogins.keys().next().value ?? '');
  }

  /** Persists the recorded logins. Call it regularly and on shutdown. */
  async writeLogins(): Promise<void> {
    const logins = [...this.#newLogins];
    await Promise.all(
      logins.map(async ([bare, at]) => {
        // Skips accounts removed meanwhile: nothing would ever delete the entry.
        if (await this.exists(bare)) await this.#logins.set(bare, { at });
        if (this.#newLogins.get(bare) === at) this.#newLogins.delete(bare);
      }),
    );
  }

  // -------------------------------------------------------------------------------------------------------------
  // Changing

  /**
   * Creates an account from its password or from keys made by another server. Rejects with AccountError: conflict,
   * invalid-name, password-too-short, password-invalid, busy.
   */
  create(jid: Jid, secret: string | AccountKeys, options: NewAccount = {}): Promise<void> {
    const away = this.#elsewhere(jid.bare);
    if (away !== undefined) return away.create(secret, options);
    return this.#serial.run(jid.bare, async () => {
      if (jid.local === undefined || !jid.isBare)
        throw new AccountError('invalid-name', 'the address of an account has the form user@host');
      const prepared = typeof secret === 'string' ? this.#passwords.acceptable(secret) : undefined;
      const before = await this.#store.get(jid.bare);
      if (before?.state === 'deleting') await this.#finishRemoval(jid.bare);
      else if (before !== undefined) throw conflict();
      const keys = typeof secret === 'string' ? await this.#passwords.keysFor(this.hashes, prepared ?? '') : secret;
      const stored: StoredAccount = {
        v: 1,
        created: this.#now(),
        ...(options.role === 'admin' && { role: 'admin' }),
        ...(options.disabled && { state: 'disabled' }),
        ...(options.importing && { state: 'importing' }),
        epoch: newEpoch(),
        keys: encode(keys),
      };
      if (!(await this.#store.compareAndSet(jid.bare, undefined, stored))) throw conflict();
      this.#cache.set(jid.bare, stored);
      await this.#onEvent({ type: 'accountCreated', jid });
    });
  }

  /**
   * Changes the password and ends all tokens. Rejects with AccountError: not-found, password-too-short,
   * password-invalid, busy.
   */
  async setPassword(bare: string, password: string): Promise<void> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.setPassword(password);
    const keys = encode(await this.#passwords.keysFor(this.hashes, this.#passwords.acceptable(password)));
    await this.#change(bare, (stored) => ({ ...stored, epoch: newEpoch(), keys }));
    await this.tokens.revokeAll(bare); // their epoch is already invalid
    await this.#onEvent({ type: 'passwordChanged', jid: Jid.parse(bare) });
  }

  /** Rejects with AccountError('not-found'). */
  disable(bare: string): Promise<void> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.disable();
    return this.#changeAndEmit(bare, 'accountDisabled', (stored) =>
      stored.state === 'disabled' ? stored : { ...stored, state: 'disabled' },
    );
  }

  /** Rejects with AccountError('not-found'). */
  enable(bare: string): Promise<void> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.enable();
    return this.#changeAndEmit(bare, 'accountEnabled', (stored) => {
      const { state, ...rest } = stored;
      return state === undefined ? stored : rest;
    });
  }

  /** Rejects with AccountError('not-found'). */
  setRole(bare: string, role: Role): Promise<void> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.setRole(role);
    return this.#changeAndEmit(bare, 'roleChanged', (stored) => {
      const { role: before = 'user', ...rest } = stored;
      if (before === role) return stored;
      return role === 'admin' ? { ...rest, role } : rest;
    });
  }

  /**
   * Creates an account without a password, or ends the sessions of an existing one, for an import: nobody can log in
   * until `endImport`. Rejects with AccountError('invalid-name').
   */
  async beginImport(jid: Jid): Promise<void> {
    const away = this.#elsewhere(jid.bare);
    if (away !== undefined) return away.beginImport();
    if ((await this.get(jid.bare)) === undefined) return this.create(jid, {}, { importing: true });
    await this.#changeAndEmit(jid.bare, 'accountDisabled', (stored) =>
      stored.state === 'importing'
        ? stored
        : { ...stored, state: 'importing', ...(stored.state === 'disabled' && { isDisabledAfter: true }) },
    );
  }

  /**
   * Ends an import. Only an account without keys takes on what was imported; another one stays as it is, unless it is
   * replaced.
   * Rejects with AccountError: not-found, password-invalid, busy.
   */
  async endImport(bare: string, imported: Imported): Promise<void> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.endImport(imported);
    const { password, role, disabled, created, replaces } = imported;
    const given = imported.keys ?? {};
    const isGiven = password !== undefined || Object.keys(given).length > 0;
    const isNew = (await this.get(bare))?.hashes.length === 0 || (replaces === true && isGiven);
    const keys = isNew && Object.keys(given).length === 0 ? await this.#keysOf(password) : given;
    await this.#changeAndEmit(bare, 'accountEnabled', ({ state, isDisabledAfter, ...stored }) => {
      const after = isNew
        ? {
            ...stored,
            keys: encode(keys),
            epoch: newEpoch(),
            ...(role === 'admin' && { role: 'admin' as const }),
            created: Math.min(stored.created, created ?? stored.created),
          }
        : stored;
      const isDisabled = isDisabledAfter === true || state === 'disabled' || (isNew && disabled === true);
      return isDisabled ? { ...after, state: 'disabled' } : after;
    });
  }

  /** The keys of a password that is in use elsewhere, so that it may be shorter than a new one. */
  async #keysOf(password: string | undefined): Promise<AccountKeys> {
    if (password === undefined) return {};
    const prepared = prepare(password);
    if (prepared === undefined)
      throw new AccountError('password-invalid', 'the password has characters that are not allowed');
    return this.#passwords.keysFor(this.hashes, prepared);
  }

  /** Removes the account and, before it resolves, its data (through `onEvent`). Returns whether it existed. */
  remove(bare: string): Promise<boolean> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.remove();
    return this.#serial.run(bare, async () => {
      const before = await this.#store.get(bare).catch((error: unknown) => {
        if (error instanceof StorageError && error.failure === 'corrupt') return 'damaged' as const;
        throw error;
      });
      if (before === undefined) return false;
      // Nobody can log in to a damaged account, so there are no sessions to end.
      if (before !== 'damaged' && before.state !== 'deleting')
        await this.#change(bare, (stored) => ({ ...stored, state: 'deleting', keys: {} }));
      await this.#finishRemoval(bare);
      return true;
    });
  }

  async #finishRemoval(bare: string): Promise<void> {
    this.#newLogins.delete(bare);
    await Promise.all([this.tokens.forget(bare), this.#logins.delete(bare)]);
    await this.#onEvent({ type: 'accountDeleted', jid: Jid.parse(bare) });
    await this.#store.delete(bare);
    this.#cache.set(bare, null);
  }

  /** Ends the tokens of one device, or of all if `clientId` is undefined. */
  async revokeTokens(bare: string, clientId?: string): Promise<void> {
    const away = this.#elsewhere(bare);
    if (away !== undefined) return away.revokeTokens(clientId);
    await (clientId === undefined ? this.tokens.revokeAll(bare) : this.tokens.revoke(bare, clientId));
    await this.#onEvent({ type: 'tokensRevoked', jid: Jid.parse(bare), clientId });
  }

  /**
   * Changes the stored record; writes nothing if `change` returns it unchanged. Rejects with AccountError('not-found').
   */
  async #change(bare: string, change: (stored: StoredAccount) => StoredAccount): Promise<StoredAccount> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const before = present(await this.#store.get(bare));
      if (before === null) throw new AccountError('not-found', 'no such account');
      const after = change(before);
      if (after === before) return before;
      if (await this.#store.compareAndSet(bare, before, after)) {
        this.#cache.set(bare, present(after));
        return after;
      }
      // Lost a race with another change: retry.
    }
    throw new Error(`the account ${bare} could not be changed: other changes won ${maxAttempts} times`);
  }

  async #changeAndEmit(
    bare: string,
    type: 'accountDisabled' | 'accountEnabled' | 'roleChanged',
    change: (stored: StoredAccount) => StoredAccount,
  ): Promise<void> {
    let changed = false;
    await this.#change(bare, (stored) => {
      const after = change(stored);
      changed = after !== stored;
      return after;
    });
    if (changed) await this.#onEvent({ type, jid: Jid.parse(bare) });
  }
}

/** Random, so that it is unique even if an account is removed and created again. */
const newEpoch = (): string => randomBytes(12).toString('base64');

const conflict = (): AccountError => new AccountError('conflict', 'the name is already taken');
