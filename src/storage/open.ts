/** Opens the configured storage: its drivers, and the assignment of stores to them. */
import type { Config } from '../server/config/schema.js';
import type { Storage } from './contract.js';
import { MemoryStorage } from './memory.js';
import { openSqlite } from './sqlite/index.js';
import { measured, routed, type StoreCall } from './wrappers.js';

type Driver = Config['storage']['driver'];

export interface OpenOptions {
  /** Called with the duration of every operation in ms. */
  readonly observe: (call: StoreCall, milliseconds: number, error: unknown) => void;
  /** Called with problems that fail no operation. */
  readonly warn: (message: string, error: unknown) => void;
  /** Time to wait for another process to close the data, in ms. */
  readonly within?: number | undefined;
}

/** Rejects with StorageError if a driver cannot be opened: there is no fallback. */
export async function openStorage(config: Config, options: OpenOptions): Promise<Storage> {
  const { driver, stores, sqlite } = config.storage;
  const opened = new Map<Driver, Promise<Storage>>();
  const open = (name: Driver): Promise<Storage> => {
    let storage = opened.get(name);
    if (storage === undefined) {
      storage =
        name === 'memory'
          ? Promise.resolve(new MemoryStorage())
          : openSqlite({ file: sqlite.file, warn: options.warn, openWithin: options.within });
      opened.set(name, storage);
    }
    return storage;
  };
  const byDefault = await open(driver);
  const named = await Promise.all(Object.entries(stores).map(async ([name, on]) => [name, await open(on)] as const));
  const all = named.length === 0 ? byDefault : routed({ default: byDefault, stores: Object.fromEntries(named) });
  return config.metrics.enabled ? measured(all, options.observe) : all;
}
