/** Wrappers of storages. Each fulfils the contract, and passes its tests. */
import type { DocumentStore, LogStore, MapStore, Shape, Storage, StoreName } from './contract.js';

/** Wraps an operation of a store. `run` accepts replacement parameters. */
type Around = <R>(
  call: StoreCall,
  run: (others?: readonly unknown[]) => Promise<R>,
  parameters: readonly unknown[],
) => Promise<R>;

export interface StoreCall {
  readonly shape: Shape;
  /** The name of the store. */
  readonly name: string;
  /** The method of the store. */
  readonly operation: string;
}

const operations = {
  document: ['get', 'getMany', 'set', 'delete', 'compareAndSet', 'size', 'owners', 'forget'],
  map: ['get', 'all', 'page', 'count', 'size', 'set', 'delete', 'owners', 'forget'],
  log: ['append', 'page', 'count', 'size', 'remove', 'trim', 'owners', 'forget'],
} as const satisfies {
  document: readonly (keyof DocumentStore<unknown>)[];
  map: readonly (keyof MapStore<unknown>)[];
  log: readonly (keyof LogStore)[];
};

/** Reports the duration of each operation in ms, and its error, if any (including UnknownId). */
export function measured(
  storage: Storage,
  observe: (call: StoreCall, milliseconds: number, error: unknown) => void,
): Storage {
  return around(storage, (call, run) => {
    const start = performance.now();
    const result = run();
    // Does not delay the result.
    result.then(
      () => observe(call, performance.now() - start, undefined),
      (error: unknown) => observe(call, performance.now() - start, error),
    );
    return result;
  });
}

/** Routes each store to its configured driver, others to the default. */
export function routed(drivers: {
  readonly default: Storage;
  readonly stores: Readonly<Record<string, Storage>>;
}): Storage {
  const byName = new Map(Object.entries(drivers.stores));
  const all = [...new Set([drivers.default, ...byName.values()])];
  const driverOf = (name: string): Storage => byName.get(name) ?? drivers.default;
  return {
    document: (name) => driverOf(name).document(name),
    map: (name) => driverOf(name).map(name),
    log: (name, options) => driverOf(name).log(name, options),
    stores: async () => {
      const found = await Promise.all(all.map(async (driver) => ({ driver, stores: await driver.stores() })));
      // Data in a driver of a store that is now assigned to another driver is not accessible.
      return found.flatMap(({ driver, stores }) => stores.filter(({ name }) => driverOf(name) === driver));
    },
    flush: async () => {
      await Promise.all(all.map((driver) => driver.flush()));
    },
    join: async (node, given) => {
      const epoch = await drivers.default.join(node, given);
      await Promise.all(all.map((driver) => (driver === drivers.default ? epoch : driver.join(node, epoch))));
      return epoch;
    },
    fence: async (node, epoch) => {
      await Promise.all(all.map((driver) => driver.fence(node, epoch)));
    },
    look: () => drivers.default.look(),
    moved: (matches) => {
      for (const driver of all) driver.moved?.(matches);
    },
    close: async () => {
      await Promise.all(all.map((driver) => driver.close()));
    },
  };
}

/** Returns a storage with all operations wrapped by `wrap`. */
export function around(storage: Storage, wrap: Around): Storage {
  const stores = new Map<string, unknown>();
  const wrapped = <S extends object>(shape: Shape, name: string, inner: S): S => {
    const key = `${shape}:${name}`;
    let store = stores.get(key) as S | undefined;
    if (store === undefined) stores.set(key, (store = wrapStore(inner, { shape, name }, wrap)));
    return store;
  };
  return {
    document: <T>(name: string) => wrapped('document', name, storage.document<T>(name)),
    map: <T>(name: string) => wrapped('map', name, storage.map<T>(name)),
    log: (name, options) => wrapped('log', name, storage.log(name, options)),
    stores: () => storage.stores(),
    flush: () => storage.flush(),
    join: (node, epoch) => storage.join(node, epoch),
    fence: (node, epoch) => storage.fence(node, epoch),
    look: () => storage.look(),
    moved: (matches) => storage.moved?.(matches),
    close: () => storage.close(),
  };
}

function wrapStore<S extends object>(store: S, { shape, name }: StoreName, wrap: Around): S {
  const methods = operations[shape].map((operation) => {
    const inner = (store as unknown as Record<string, (...parameters: unknown[]) => Promise<unknown>>)[operation]!;
    const call = { shape, name, operation };
    return [operation, (...parameters: unknown[]) => wrap(call, (others = parameters) => inner(...others), parameters)];
  });
  const { supports } = store as { readonly supports?: unknown };
  return { ...Object.fromEntries(methods), ...(supports !== undefined && { supports }) } as S;
}

/** A small pseudo-random generator of numbers from 0 to 1, deterministic for a seed. */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
