/**
 * The accounts: who exists, with which credentials, and what follows when that changes. Passwords are kept as SCRAM
 * keys only (RFC 5802 §3, XEP-0438), one salt for each hash. All times are in ms.
 *
 * Addresses are bare and normalised: `Jid.bare`.
 */

import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { Cache } from '../../storage/cache.js';
import { type DocumentStore, type Storage, StorageError } from '../../storage/contract.js';
import { wall } from '../clock.js';
import { Serial } from '../serial.js';
import { Jid } from '../stanza/jid.js';
import { checkOf } from '../stanza/stored.js';
import {
  type Account,
  AccountError,
  type AccountEvent,
  type AccountKeys,
  type Credentials,
  type Proved,
  type Role,
} from './account.js';
import type { ScramHash } from './keys.js';
import { checkedBy, Passwords, prepare } from './passwords.js';
import { account, decode, encode, present, type StoredAccount, storedAccount } from './stored.js';
import { deviceTokens, Tokens } from './tokens.js';

export * from './account.js';

export interface AccountsOptions {
  readonly storage: Storage;
  /** PBKDF2 rounds of new credentials. */
  readonly iterations?: number | undefined;
  /** Which keys are made from a password. */
  readonly hashes?: readonly ScramHash[] | undefined;
  /** In characters (code points). */
  readonly minPasswordLength?: number | undefined;
  /** Accounts, and names without one, that are remembered. */
  readonly cacheSize?: number | undefined;
  /** XEP-0484: how long a token is good, and the age at which it is replaced when used. */
  readonly tokenLifetime?: number | undefined;
  readonly tokenRotation?: number | undefined;
  /** Most devices of one account that hold a token. */
  readonly maxDevices?: number | undefined;
  readonly now?: (() => number) | undefined;
  /** Told after a change is stored; the change's promise waits for it, and rejects if it does. */
  readonly onEvent?: ((event: AccountEvent) => void | Promise<void>) | undefined;
}

/** Logins that are noted and not yet written. */
const mostLogins = 10_000;
const day = 86_400_000;

/** A change that other changes preceded is tried so often: far more than can happen by chance. */
const mostAttempts = 100;

export class Accounts {
  readonly tokens: Tokens;
  readonly #passwords: Passwords;
  readonly #store: DocumentStore<StoredAccount>;
  readonly #logins: DocumentStore<{ readonly at: number }>;
  readonly #newLogins = new Map<string, number>();
  /** null: no such account, or one that is being removed. */
  readonly #cache: Cache<StoredAccount | null>;
  readonly #serial = new Serial();
  readonly #now: () => number;
  readonly #onEvent: (event: AccountEvent) => void | Promise<void>;

  private constructor(options: AccountsOptions, secret: Buffer) {
    const { storage } = options;
    this.#store = storage.document('accounts', { check: checkOf(storedAccount), damaged: 'refuse' });
    this.#logins = storage.document('last_logins', { check: checkOf(z.object({ at: z.number() })) });
    this.#now = options.now ?? wall;
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

  /** The accounts in a storage, whose first opening makes the secret from which the salts of nobody's names come. */
  static async open(options: AccountsOptions): Promise<Accounts> {
    const secrets = options.storage.document<{ readonly salts: string }>('account_secrets', {
      check: checkOf(z.object({ salts: z.base64().min(1) })),
    });
    const owner = 'server';
    await secrets.compareAndSet(owner, undefined, { salts: randomBytes(32).toString('base64') });
    const stored = await secrets.get(owner);
    return new Accounts(options, Buffer.from(stored?.salts ?? '', 'base64'));
  }

  /** Which keys are made from a password. */
  get hashes(): readonly ScramHash[] {
    return this.#passwords.hashes;
  }

  get iterations(): number {
    return this.#passwords.iterations;
  }

  /** Of a new password, in characters (code points). */
  get minPasswordLength(): number {
    return this.#passwords.minLength;
  }

  // -------------------------------------------------------------------------------------------------------------
  // Reading

  /** The account, at once where it is remembered. */
  get(bare: string): Account | undefined | Promise<Account | undefined> {
    const stored = this.#cache.get(bare);
    return stored instanceof Promise ? stored.then((s) => account(bare, s)) : account(bare, stored);
  }

  /** Whether there is such an account, at once where that is remembered. */
  exists(bare: string): boolean | Promise<boolean> {
    const stored = this.#cache.get(bare);
    return stored instanceof Promise ? stored.then((s) => s !== null) : stored !== null;
  }

  /** Whether what was proved still holds: the account is there and enabled, and has the password that it had. */
  isCurrent(identity: Proved): boolean | Promise<boolean> {
    if (identity.anonymous) return true;
    const holds = (s: StoredAccount | null) => s !== null && s.state === undefined && s.epoch === identity.epoch;
    const stored = this.#cache.get(identity.jid.bare);
    return stored instanceof Promise ? stored.then(holds) : holds(stored);
  }

  /** The accounts of a host by name, those after `after` first; `next`: what to ask for the page after this one. */
  async list(
    host: string,
    range: { readonly after?: string | undefined; readonly limit: number },
  ): Promise<{ accounts: Account[]; next: string | undefined }> {
    const owners = await this.#store.owners({ ...range, suffix: `@${host}` });
    const stored = await this.#store.getMany(owners);
    const accounts = owners.flatMap((bare) => account(bare, present(stored.get(bare))) ?? []);
    return { accounts, next: owners.length < range.limit ? undefined : owners.at(-1) };
  }

  /** When the account last logged in, where it ever did (see noteLogin). */
  async lastLogin(bare: string): Promise<number | undefined> {
    return this.#newLogins.get(bare) ?? (await this.#logins.get(bare))?.at;
  }

  /** Another process changed the account: it is read again. */
  uncache(bare: string): void {
    this.#cache.delete(bare);
  }

  // -------------------------------------------------------------------------------------------------------------
  // Proofs

  /** What a SCRAM exchange needs. Who has no such keys gets decoys: the same salt every time, the usual rounds. */
  async credentials(bare: string, hash: ScramHash): Promise<Credentials> {
    const stored = await this.#cache.get(bare);
    // Made for everybody, so that making it tells nothing.
    const decoy = this.#passwords.decoy(bare, hash);
    const keys = stored?.keys[hash];
    return keys === undefined ? { ...decoy, account: undefined } : { ...decode(keys), account: account(bare, stored) };
  }

  /**
   * The account, if this is its password (also where it is disabled: what that means is the caller's to say). Takes
   * as long for a name without an account. Rejects with AccountError('busy') when too many are being checked.
   */
  async verifyPassword(bare: string, password: string): Promise<Account | undefined> {
    const prepared = prepare(password);
    if (prepared === undefined) return undefined;
    const before = await this.#cache.get(bare);
    const hash = checkedBy(before?.keys);
    const keys = await this.credentials(bare, hash);
    const right = await this.#passwords.fits(prepared, hash, keys);
    const now = await this.get(bare);
    // The password may have been changed while this one was being checked.
    return right && now !== undefined && now.epoch === keys.account?.epoch ? now : undefined;
  }

  /** XEP-0480: whether keys for the hash are missing, or were made with fewer rounds than are usual now. */
  async lacksKeys(bare: string, hash: ScramHash): Promise<boolean> {
    const stored = await this.#cache.get(bare);
    if (stored === null || !this.hashes.includes(hash)) return false;
    return (stored.keys[hash]?.iterations ?? 0) < this.iterations;
  }

  /** Makes what keys the account lacks from its password, which was just verified. */
  async completeKeys(verified: Account, password: string): Promise<void> {
    const prepared = prepare(password);
    if (prepared === undefined) return;
    const lacking: ScramHash[] = [];
    for (const hash of this.hashes) if (await this.lacksKeys(verified.bare, hash)) lacking.push(hash);
    if (lacking.length > 0)
      await this.addKeys(verified.bare, verified.epoch, await this.#passwords.keysFor(lacking, prepared));
  }

  /** Adds keys of the password that `epoch` stands for; false: it has been changed since, and nothing is added. */
  async addKeys(bare: string, epoch: string, keys: AccountKeys): Promise<boolean> {
    const after = await this.#change(bare, (stored) =>
      stored.epoch === epoch ? { ...stored, keys: { ...stored.keys, ...encode(keys) } } : stored,
    );
    return after.epoch === epoch;
  }

  /** Keeps when the account logged in, for lists; written by writeLogins. */
  noteLogin(bare: string): void {
    this.#newLogins.delete(bare);
    this.#newLogins.set(bare, this.#now());
    if (this.#newLogins.size > mostLogins) this.#newLogins.delete(this.#newLogins.keys().next().value ?? '');
  }

  /** Stores the logins that were noted: to be called now and then, and at the end. */
  async writeLogins(): Promise<void> {
    const logins = [...this.#newLogins];
    await Promise.all(
      logins.map(async ([bare, at]) => {
        // Not for an account that went meanwhile: nothing would ever remove it.
        if (await this.exists(bare)) await this.#logins.set(bare, { at });
        if (this.#newLogins.get(bare) === at) this.#newLogins.delete(bare);
      }),
    );
  }

  // -------------------------------------------------------------------------------------------------------------
  // Changing

  /**
   * Makes an account, from its password or from keys that another server made. Rejects with AccountError: conflict,
   * invalid-name, password-too-short, password-invalid, busy.
   */
  create(
    jid: Jid,
    secret: string | AccountKeys,
    options: { readonly role?: Role; readonly disabled?: boolean } = {},
  ): Promise<void> {
    return this.#serial.run(jid.bare, async () => {
      if (jid.local === undefined || !jid.isBare)
        throw new AccountError('invalid-name', 'an account is named user@host');
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
        epoch: newEpoch(),
        keys: encode(keys),
      };
      if (!(await this.#store.compareAndSet(jid.bare, undefined, stored))) throw conflict();
      this.#cache.set(jid.bare, stored);
      await this.#onEvent({ type: 'accountCreated', jid });
    });
  }

  /** Rejects with AccountError: not-found, password-too-short, password-invalid, busy. Ends all tokens. */
  async setPassword(bare: string, password: string): Promise<void> {
    const keys = encode(await this.#passwords.keysFor(this.hashes, this.#passwords.acceptable(password)));
    await this.#change(bare, (stored) => ({ ...stored, epoch: newEpoch(), keys }));
    await this.tokens.revokeAll(bare); // they are not trusted already, by their epoch
    await this.#onEvent({ type: 'passwordChanged', jid: Jid.parse(bare) });
  }

  /** Rejects with AccountError('not-found'). */
  disable(bare: string): Promise<void> {
    return this.#changeAndTell(bare, 'accountDisabled', (stored) =>
      stored.state === 'disabled' ? stored : { ...stored, state: 'disabled' },
    );
  }

  /** Rejects with AccountError('not-found'). */
  enable(bare: string): Promise<void> {
    return this.#changeAndTell(bare, 'accountEnabled', (stored) => {
      const { state, ...rest } = stored;
      return state === undefined ? stored : rest;
    });
  }

  /** Rejects with AccountError('not-found'). */
  setRole(bare: string, role: Role): Promise<void> {
    return this.#changeAndTell(bare, 'roleChanged', (stored) => {
      const { role: before = 'user', ...rest } = stored;
      if (before === role) return stored;
      return role === 'admin' ? { ...rest, role } : rest;
    });
  }

  /** Removes the account; whether there was one. Its data is gone too when it resolves: whoever was told has seen to it. */
  remove(bare: string): Promise<boolean> {
    return this.#serial.run(bare, async () => {
      const before = await this.#store.get(bare).catch((error: unknown) => {
        if (error instanceof StorageError && error.failure === 'corrupt') return 'damaged' as const;
        throw error;
      });
      if (before === undefined) return false;
      // Nobody can log in to a damaged account, so that nothing has to be ended first.
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

  /** Ends the tokens of one device, or of all where `clientId` is undefined. */
  async revokeTokens(bare: string, clientId?: string): Promise<void> {
    await (clientId === undefined ? this.tokens.revokeAll(bare) : this.tokens.revoke(bare, clientId));
    await this.#onEvent({ type: 'tokensRevoked', jid: Jid.parse(bare), clientId });
  }

  /** Changes what is stored (returning it unchanged: nothing is written). Rejects with AccountError('not-found'). */
  async #change(bare: string, change: (stored: StoredAccount) => StoredAccount): Promise<StoredAccount> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const before = present(await this.#store.get(bare));
      if (before === null) throw new AccountError('not-found', 'no such account');
      const after = change(before);
      if (after === before) return before;
      if (await this.#store.compareAndSet(bare, before, after)) {
        this.#cache.set(bare, present(after));
        return after;
      }
      // Another change came first.
    }
    throw new Error(`the account ${bare} changed ${mostAttempts} times while a change of it was tried`);
  }

  async #changeAndTell(
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

/** Random, so that none comes twice, also where an account is removed and made again. */
const newEpoch = (): string => randomBytes(12).toString('base64');

const conflict = (): AccountError => new AccountError('conflict', 'the name is taken');
