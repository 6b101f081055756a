/** Stored form of accounts. */
import { z } from 'zod';
import type { Account, AccountKeys } from './account.js';
import { hashLength, type ScramHash, type ScramKeys, scramHashes } from './keys.js';

interface StoredKeys {
  readonly salt: string;
  readonly iterations: number;
  readonly storedKey: string;
  readonly serverKey: string;
}

/** An account, stored under its bare address; keys are base64. */
export interface StoredAccount {
  readonly v: 1;
  readonly created: number;
  readonly role?: 'admin';
  /**
   * `deleting`: the data is being removed. The name stays taken until that is complete, even across a crash. `importing`:
   * the data is being written; until that is complete, nobody can log in.
   */
  readonly state?: 'disabled' | 'deleting' | 'importing';
  /** Of an account in the state `importing`: it is disabled afterwards. */
  readonly isDisabledAfter?: true;
  readonly epoch: string;
  readonly keys: Readonly<Partial<Record<ScramHash, StoredKeys>>>;
}

/** The time of the last login, in ms since 1970. */
export const lastLogin = z.object({ at: z.number() });

export const storedKeys = z.object({
  salt: z.base64().min(1),
  iterations: z.number().int().positive(),
  storedKey: z.base64(),
  serverKey: z.base64(),
});

/**
 * Schema of the record. A damaged record is refused: the account exists, so its name cannot be registered, but nobody
 * can log in until an administrator removes the account or restores the record.
 */
export const storedAccount: z.ZodType<StoredAccount> = z.object({
  v: z.literal(1),
  created: z.number(),
  role: z.literal('admin').exactOptional(),
  state: z.enum(['disabled', 'deleting', 'importing']).exactOptional(),
  isDisabledAfter: z.literal(true).exactOptional(),
  epoch: z.string().min(1),
  keys: z
    .partialRecord(z.enum(scramHashes), storedKeys)
    .refine((keys) =>
      Object.entries(keys).every(([hash, { storedKey, serverKey }]) =>
        [storedKey, serverKey].every((key) => Buffer.from(key, 'base64').length === hashLength(hash as ScramHash)),
      ),
    ),
});

/** Treats an account that is being removed as absent. */
export const present = (stored: StoredAccount | undefined): StoredAccount | null =>
  stored === undefined || stored.state === 'deleting' ? null : stored;

export function account(bare: string, stored: StoredAccount | null): Account | undefined {
  if (stored === null) return undefined;
  return {
    bare,
    created: stored.created,
    role: stored.role ?? 'user',
    disabled: stored.state !== undefined,
    importing: stored.state === 'importing',
    epoch: stored.epoch,
    hashes: Object.keys(stored.keys) as ScramHash[],
  };
}

export const decode = (keys: StoredKeys): ScramKeys => ({
  salt: Buffer.from(keys.salt, 'base64'),
  iterations: keys.iterations,
  storedKey: Buffer.from(keys.storedKey, 'base64'),
  serverKey: Buffer.from(keys.serverKey, 'base64'),
});

export const encode = (keys: AccountKeys): StoredAccount['keys'] =>
  Object.fromEntries(
    Object.entries(keys).map(([hash, { salt, iterations, storedKey, serverKey }]) => [
      hash,
      {
        salt: salt.toString('base64'),
        iterations,
        storedKey: storedKey.toString('base64'),
        serverKey: serverKey.toString('base64'),
      },
    ]),
  );
