/** Opens the configured storage: its drivers, and the assignment of stores to them. */
import type { Config } from '../server/config/schema.js';
import type { BlobStorage } from './blobs.js';
import type { Storage, StorageError } from './contract.js';
import { openFiles } from './files/index.js';
import { MemoryStorage } from './memory.js';
import { demandComplete } from './migration-marks.js';
import type { Guards as S3Guards } from './s3/settings.js';
import { openSqlite } from './sqlite/index.js';
import { measured, routed, type StoreCall } from './wrappers.js';

export type Driver = Config['storage']['stores'][string];

export interface OpenOptions {
  /** Called with the duration of every operation in ms. */
  readonly observe: (call: StoreCall, milliseconds: number, error: unknown) => void;
  /** Called with problems that fail no operation. */
  readonly warn: (message: string, error: unknown) => void;
  /** Time to wait for another process to close the data, in ms. */
  readonly within?: number | undefined;
  /** Resolves with the id of the server, which its nodes share, from its main storage. */
  readonly serverId?: ((main: Storage) => Promise<string>) | undefined;
  /** Wraps each driver. */
  readonly guard?: ((driver: Driver, storage: Storage) => Storage) | undefined;
  readonly redis?: RedisParts | undefined;
}

/** What the driver of what may be lost needs to know. */
export interface RedisParts {
  /** Seconds after which the data of an owner in a store expires; undefined if it does not. */
  readonly expires: (store: string) => number | undefined;
  /** There is no connection, or it was lost. It comes back by itself. */
  readonly lost: (error: StorageError) => void;
}

export interface OpenBlobsOptions extends S3Guards {
  /** Resolves with the id of the server, which its nodes share. */
  readonly serverId: () => Promise<string>;
}

/** Opens the configured storage of blobs. Rejects with StorageError, but not if a store is only away. */
export async function openBlobs({ storage }: Config, options: OpenBlobsOptions): Promise<BlobStorage> {
  if (storage.files.driver === 'folder') return openFiles(storage.files.folder);
  // Loaded only where it is used.
  const { openConfigured } = await import('./s3/settings.js');
  return openConfigured(storage.s3, { ...options, ownership: { id: await options.serverId() } });
}

type Settings = Pick<Config['storage'], 'sqlite' | 'postgresql' | 'cassandra' | 'redis' | 'answer_seconds'>;

/** Opens one driver. `main`: that of the stores that are not assigned to another. Rejects with StorageError. */
export async function openDriver(
  name: Driver,
  { storage: { sqlite, postgresql, cassandra, redis, answer_seconds } }: { readonly storage: Settings },
  { warn, within, serverId, redis: parts }: Pick<OpenOptions, 'warn' | 'within' | 'serverId' | 'redis'>,
  main?: Storage,
): Promise<Storage> {
  switch (name) {
    case 'memory':
      return new MemoryStorage();
    case 'sqlite':
      return openSqlite({ file: sqlite.file, warn, openWithin: within });
    case 'postgresql': {
      // Loaded only where it is used.
      const { openConfigured } = await import('./postgresql/settings.js');
      return openConfigured(postgresql, warn);
    }
    case 'cassandra': {
      const { openConfigured } = await import('./cassandra/settings.js');
      const server = main && (await serverId?.(main));
      return openConfigured(cassandra, { warn, server, look: main && (() => main.look()) });
    }
    case 'redis': {
      if (parts === undefined || serverId === undefined || main === undefined)
        throw new Error('Redis cannot be opened here');
      const { openConfigured } = await import('./redis/settings.js');
      const { expires, lost } = parts;
      const server = await serverId(main);
      const storage = await openConfigured(redis, {
        server,
        expires,
        lost,
        warn,
        answerTimeout: answer_seconds * 1000,
      });
      if (storage.away !== undefined) lost(storage.away);
      return storage;
    }
  }
}

/** Rejects with StorageError if a driver cannot be opened, or has only a part of a migration: there is no fallback. */
export async function openStorage(config: Config, options: OpenOptions): Promise<Storage> {
  return openAll(config, async (name, main) => {
    const driver = await openDriver(name, config, options, main);
    try {
      // Nothing is migrated to Redis, and it may be away.
      if (name !== 'redis') await demandComplete(driver);
    } catch (error) {
      await driver.close();
      throw error;
    }
    const storage = config.metrics.enabled ? measured(driver, options.observe) : driver;
    return options.guard?.(name, storage) ?? storage;
  });
}

interface Assigned {
  readonly driver: Driver;
  readonly stores: Readonly<Record<string, Driver>>;
}

/** Opens each configured driver once with `open`, the main one first, and assigns the stores to them. */
export async function openAll(
  { storage: { driver, stores } }: { readonly storage: Assigned },
  open: (name: Driver, main: Storage | undefined) => Promise<Storage>,
): Promise<Storage> {
  const opened = new Map<Driver, Promise<Storage>>();
  const once = (name: Driver, main?: Storage): Promise<Storage> => {
    let storage = opened.get(name);
    if (storage === undefined) opened.set(name, (storage = open(name, main)));
    return storage;
  };
  const byDefault = await once(driver);
  const all = Object.entries(stores).map(async ([name, on]) => [name, await once(on, byDefault)] as const);
  const named = await Promise.all(all).catch(async (error: unknown) => {
    for (const one of await Promise.allSettled(opened.values()))
      if (one.status === 'fulfilled') await one.value.close();
    throw error;
  });
  return named.length === 0 ? byDefault : routed({ default: byDefault, stores: Object.fromEntries(named) });
}
