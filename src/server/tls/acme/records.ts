/**
 * What outlives the process: accounts with the authorities, and what failed. In private files in the data folder, or of a
 * cluster in its storage.
 */
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { DocumentStore, Storage } from '../../../storage/contract.js';
import { checkOf } from '../../stanza/stored.js';
import { readIfExists, writeWhole } from '../files.js';
import { newKey } from '../self-signed.js';

const accountSchema = z.object({
  directory: z.string(),
  /** PKCS #8 in PEM. */
  key: z.string(),
  /** Its address; absent until the authority has confirmed it. */
  url: z.string().optional(),
  contact: z.array(z.string()).default([]),
  eabKeyId: z.string().default(''),
});
export type Account = z.output<typeof accountSchema>;

/** Of one host. Times in ms since 1970. */
const failureSchema = z.object({
  /** In a row. */
  failures: z.number().int().nonnegative().default(0),
  error: z.string().default(''),
  failedAt: z.number().default(0),
  nextAt: z.number().default(0),
  /** Domains that the authority could not verify, and until when they are left out. */
  leftOut: z.record(z.string(), z.object({ until: z.number(), why: z.string() })).default({}),
});
export type Failure = z.output<typeof failureSchema>;

export const noFailure: Failure = { failures: 0, error: '', failedAt: 0, nextAt: 0, leftOut: {} };

const failuresSchema = z.record(z.string(), failureSchema);

/** A file that another program changed, or the disk. */
export class RecordError extends Error {
  override readonly name = 'RecordError';
}

/** Operations reject with RecordError, or with errors of the disk or the storage. */
export interface Records {
  /** The account with an authority. Creates its key if there is none: the key is durable before it is used. */
  account(directory: string): Promise<{ readonly account: Account; readonly key: KeyObject }>;
  setAccount(account: Account): Promise<void>;
  /** By host: those of `hosts`, and perhaps of others. */
  failures(hosts: readonly string[]): Promise<Map<string, Failure>>;
  /** Writes the failure of one host; `all` are those that there are, its own included. */
  setFailure(host: string, all: ReadonlyMap<string, Failure>): Promise<void>;
}

function newAccount(directory: string): Account {
  const key = newKey().export({ type: 'pkcs8', format: 'pem' }).toString();
  return { directory, key, contact: [], eabKeyId: '' };
}

export class FileRecords implements Records {
  readonly #folder: string;

  constructor(data: string) {
    this.#folder = join(data, 'acme');
  }

  async account(directory: string): Promise<{ readonly account: Account; readonly key: KeyObject }> {
    const file = this.#accountFile(directory);
    const found = await readJson(file, accountSchema);
    const account = found ?? newAccount(directory);
    if (found === undefined) await this.setAccount(account);
    return { account, key: keyOf(file, account.key) };
  }

  setAccount(account: Account): Promise<void> {
    return writeWhole(this.#accountFile(account.directory), JSON.stringify(account, undefined, 2));
  }

  async failures(_hosts: readonly string[]): Promise<Map<string, Failure>> {
    return new Map(Object.entries((await readJson(this.#failuresFile, failuresSchema)) ?? {}));
  }

  setFailure(_host: string, all: ReadonlyMap<string, Failure>): Promise<void> {
    return writeWhole(this.#failuresFile, JSON.stringify(Object.fromEntries(all), undefined, 2));
  }

  get #failuresFile(): string {
    return join(this.#folder, 'failures.json');
  }

  #accountFile(directory: string): string {
    return join(this.#folder, `account-${createHash('sha256').update(directory).digest('hex').slice(0, 16)}.json`);
  }
}

/** Of all nodes. A damaged account is replaced by a new one, and a damaged failure is none. */
export class StoredRecords implements Records {
  /** By the address of the directory. */
  readonly #accounts: DocumentStore<Account>;
  /** By host. */
  readonly #failures: DocumentStore<Failure>;

  constructor(storage: Storage) {
    const check = checkOf(accountSchema);
    this.#accounts = storage.document('acme_accounts', {
      check: (value, directory) => check(value, directory) && hasKey(value as Account),
    });
    this.#failures = storage.document('acme_failures', { check: checkOf(failureSchema) });
  }

  async account(directory: string): Promise<{ readonly account: Account; readonly key: KeyObject }> {
    for (;;) {
      const account = await this.#accounts.get(directory);
      if (account !== undefined) return { account, key: createPrivateKey(account.key) };
      // Another node may do the same.
      await this.#accounts.compareAndSet(directory, undefined, newAccount(directory));
    }
  }

  setAccount(account: Account): Promise<void> {
    return this.#accounts.set(account.directory, account);
  }

  failures(hosts: readonly string[]): Promise<Map<string, Failure>> {
    return this.#failures.getMany(hosts);
  }

  setFailure(host: string, all: ReadonlyMap<string, Failure>): Promise<void> {
    return this.#failures.set(host, all.get(host) ?? noFailure);
  }
}

const hasKey = ({ key }: Account): boolean => {
  try {
    createPrivateKey(key);
    return true;
  } catch {
    return false;
  }
};

function keyOf(file: string, pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw new RecordError(`${file} has no readable key`, { cause: error });
  }
}

async function readJson<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readIfExists(file);
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new RecordError(`${file} is damaged; delete it to begin anew`, { cause: error });
  }
}
