/** SCRAM keys (RFC 5802 §3): stored in place of a password, for each hash. */
import { createHash, createHmac, pbkdf2 } from 'node:crypto';

export type ScramHash = 'SHA-1' | 'SHA-256' | 'SHA-512';

/** Strongest first. */
export const scramHashes: readonly ScramHash[] = ['SHA-512', 'SHA-256', 'SHA-1'];

/** RFC 7677 §4; also the minimum that clients accept. */
export const minIterations = 4096;

/** Length of a salt in bytes (XEP-0438 §5.2). */
export const saltLength = 16;

const digests = { 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-512': 'sha512' } as const;
const lengths = { 'SHA-1': 20, 'SHA-256': 32, 'SHA-512': 64 } as const;

export interface ScramKeys {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** Length of the hash in bytes. */
export const hashLength = (hash: ScramHash): number => lengths[hash];

export const hmac = (hash: ScramHash, key: Buffer, message: string | Buffer): Buffer =>
  createHmac(digests[hash], key).update(message).digest();

export const digest = (hash: ScramHash, message: string | Buffer): Buffer =>
  createHash(digests[hash]).update(message).digest();

/** Computes SaltedPassword in the thread pool. `password` is prepared (OpaqueString). */
export function saltPassword(hash: ScramHash, password: string, salt: Buffer, iterations: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    pbkdf2(password, salt, iterations, lengths[hash], digests[hash], (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}

/** Derives the keys from a SaltedPassword. */
export function keysOf(hash: ScramHash, salted: Buffer, salt: Buffer, iterations: number): ScramKeys {
  return {
    salt,
    iterations,
    storedKey: digest(hash, hmac(hash, salted, 'Client Key')),
    serverKey: hmac(hash, salted, 'Server Key'),
  };
}
