/** Passwords become SCRAM keys here, and nowhere are they kept. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { opaqueString, PrecisError } from '../stanza/precis.js';
import { AccountError, type AccountKeys } from './account.js';
import {
  hashLength,
  hmac,
  keysOf,
  leastIterations,
  type ScramHash,
  type ScramKeys,
  saltLength,
  saltPassword,
  scramHashes,
} from './keys.js';

/** In bytes of UTF-8, prepared. */
const longestPassword = 1024;
/** PBKDF2 runs at once, waiting ones included: beyond it the thread pool would be late for everybody. */
const mostHashing = 100;
/** Hashes to check a password by, the quickest first. */
const checkOrder: readonly ScramHash[] = ['SHA-256', 'SHA-1', 'SHA-512'];

/** The hash by which a password is checked where there are keys of these hashes. */
export const checkedBy = (keys: Readonly<Partial<Record<ScramHash, unknown>>> | undefined): ScramHash =>
  checkOrder.find((hash) => keys?.[hash] !== undefined) ?? 'SHA-256';

export interface PasswordOptions {
  /** Which keys are made from a password. */
  readonly hashes?: readonly ScramHash[] | undefined;
  /** PBKDF2 rounds of new keys. */
  readonly iterations?: number | undefined;
  /** Of a new password, in characters (code points). */
  readonly minLength?: number | undefined;
}

export class Passwords {
  readonly hashes: readonly ScramHash[];
  readonly iterations: number;
  readonly minLength: number;
  readonly #secret: Buffer;
  readonly #decoys: Readonly<Record<ScramHash, Pick<ScramKeys, 'storedKey' | 'serverKey'>>>;
  #hashing = 0;

  /** `secret`: what the salts of names come from that nobody has. */
  constructor({ hashes = scramHashes, iterations = 10_000, minLength = 8 }: PasswordOptions, secret: Buffer) {
    this.hashes = hashes;
    this.iterations = Math.max(iterations, leastIterations); // XEP-0438 §6
    this.minLength = minLength; // XEP-0438 §7
    this.#secret = secret;
    const decoy = (hash: ScramHash) => ({
      storedKey: randomBytes(hashLength(hash)),
      serverKey: randomBytes(hashLength(hash)),
    });
    this.#decoys = { 'SHA-1': decoy('SHA-1'), 'SHA-256': decoy('SHA-256'), 'SHA-512': decoy('SHA-512') };
  }

  /** Keys that no password has: the same salt for a name every time, the usual rounds. */
  decoy(bare: string, hash: ScramHash): ScramKeys {
    const salt = hmac('SHA-256', this.#secret, `${hash}\0${bare}`).subarray(0, saltLength);
    return { ...this.#decoys[hash], salt, iterations: this.iterations };
  }

  /** Whether the keys are those of this password, prepared. Rejects with AccountError('busy'). */
  async fits(prepared: string, hash: ScramHash, keys: ScramKeys): Promise<boolean> {
    const salted = await this.#salt(hash, prepared, keys.salt, keys.iterations);
    return timingSafeEqual(keysOf(hash, salted, keys.salt, keys.iterations).storedKey, keys.storedKey);
  }

  /** The password, prepared. Throws AccountError. */
  acceptable(password: string): string {
    const prepared = prepare(password);
    if (prepared === undefined)
      throw new AccountError(
        'password-invalid',
        'the password has characters that passwords cannot have, or is too long',
      );
    if ([...prepared].length < this.minLength) {
      throw new AccountError('password-too-short', `a password has at least ${this.minLength} characters`);
    }
    return prepared;
  }

  /** Keys of a password, prepared. Rejects with AccountError('busy'). */
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
    if (this.#hashing >= mostHashing) throw new AccountError('busy', 'too many passwords are being checked');
    this.#hashing++;
    try {
      return await saltPassword(hash, prepared, salt, iterations);
    } finally {
      this.#hashing--;
    }
  }
}

/** The password by the OpaqueString profile (RFC 8265 §4.2); undefined: it cannot be one. */
export function prepare(password: string): string | undefined {
  if (Buffer.byteLength(password) > longestPassword) return undefined;
  try {
    return opaqueString(password);
  } catch (error) {
    if (error instanceof PrecisError) return undefined;
    throw error;
  }
}
