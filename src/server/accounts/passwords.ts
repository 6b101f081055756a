/** Turns passwords into SCRAM keys. Passwords are never stored. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { opaqueString, PrecisError } from '../address/precis.js';
import { AccountError, type AccountKeys } from './account.js';
import {
  hashLength,
  hmac,
  keysOf,
  minIterations,
  type ScramHash,
  type ScramKeys,
  saltLength,
  saltPassword,
  scramHashes,
} from './keys.js';

/** Maximum length in bytes of UTF-8, prepared. */
const maxPassword = 1024;
/** Maximum PBKDF2 runs at once, queued ones included: more would delay all users of the thread pool. */
const maxHashing = 100;
/** Order of preference for checking a password, fastest first. */
const checkOrder: readonly ScramHash[] = ['SHA-256', 'SHA-1', 'SHA-512'];

/** Returns the hash used to check a password against these keys. */
export const checkedBy = (keys: Readonly<Partial<Record<ScramHash, unknown>>> | undefined): ScramHash =>
  checkOrder.find((hash) => keys?.[hash] !== undefined) ?? 'SHA-256';

export interface PasswordOptions {
  /** Hashes for which keys are made from a password. */
  readonly hashes?: readonly ScramHash[] | undefined;
  /** PBKDF2 rounds of new keys. */
  readonly iterations?: number | undefined;
  /** Minimum length of a new password, in characters (code points). */
  readonly minLength?: number | undefined;
}

export class Passwords {
  readonly hashes: readonly ScramHash[];
  readonly iterations: number;
  readonly minLength: number;
  readonly #secret: Buffer;
  readonly #decoys: Readonly<Record<ScramHash, Pick<ScramKeys, 'storedKey' | 'serverKey'>>>;
  #hashing = 0;

  /** `secret` derives the salts of names without an account. */
  constructor({ hashes = scramHashes, iterations = 10_000, minLength = 8 }: PasswordOptions, secret: Buffer) {
    this.hashes = hashes;
    this.iterations = Math.max(iterations, minIterations); // XEP-0438 §6
    this.minLength = minLength; // XEP-0438 §7
    this.#secret = secret;
    const decoy = (hash: ScramHash) => ({
      storedKey: randomBytes(hashLength(hash)),
      serverKey: randomBytes(hashLength(hash)),
    });
    this.#decoys = { 'SHA-1': decoy('SHA-1'), 'SHA-256': decoy('SHA-256'), 'SHA-512': decoy('SHA-512') };
  }

  /** Returns keys that match no password: always the same salt for a name, with the usual number of rounds. */
  decoy(bare: string, hash: ScramHash): ScramKeys {
    const salt = hmac('SHA-256', this.#secret, `${hash}\0${bare}`).subarray(0, saltLength);
    return { ...this.#decoys[hash], salt, iterations: this.iterations };
  }

  /** Whether a prepared password matches the keys. Rejects with AccountError('busy'). */
  async fits(prepared: string, hash: ScramHash, keys: ScramKeys): Promise<boolean> {
    const salted = await this.#salt(hash, prepared, keys.salt, keys.iterations);
    return timingSafeEqual(keysOf(hash, salted, keys.salt, keys.iterations).storedKey, keys.storedKey);
  }

  /** Validates and prepares a new password. Throws AccountError. */
  acceptable(password: string): string {
    const prepared = prepare(password);
    if (prepared === undefined)
      throw new AccountError(
        'password-invalid',
        'the password is too long or contains characters that are not allowed',
      );
    if ([...prepared].length < this.minLength) {
      throw new AccountError('password-too-short', `the password must have at least ${this.minLength} characters`);
    }
    return prepared;
  }

  /** Makes keys of a prepared password. Rejects with AccountError('busy'). */
  async keysFor(hashes: readonly ScramHash[], prepared: string): Promise<AccountKeys> {
    const made = await Promise.all(
      hashes.map(async (hash) => {
        const salt = randomBytes(saltLength);
        const salted = await this.#salt(hash, prepared, salt, this.iterations);
        return [hash, keysOf(hash, salted, salt, this.iterations)] as const;
      }),
    );
    return Object.fromEntries(made);
  }

  async #salt(hash: ScramHash, prepared: string, salt: Buffer, iterations: number): Promise<Buffer> {
    if (this.#hashing >= maxHashing)
      throw new AccountError('busy', 'too many passwords are being checked, try again later');
    this.#hashing++;
    try {
      return await saltPassword(hash, prepared, salt, iterations);
    } finally {
      this.#hashing--;
    }
  }
}

/** Prepares a password by the OpaqueString profile (RFC 8265 §4.2). Returns undefined if it is invalid. */
export function prepare(password: string): string | undefined {
  if (Buffer.byteLength(password) > maxPassword) return undefined;
  try {
    return opaqueString(password);
  } catch (error) {
    if (error instanceof PrecisError) return undefined;
    throw error;
  }
}
