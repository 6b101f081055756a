/**
 * A slow storage for tests: like a database over a network, it runs each operation up to 3 ms after the call, and in
 * any order between owners. It guarantees only what contract.ts promises: writes of one owner run in call order across
 * all stores, and a read sees earlier writes.
 */
import { type Storage, StorageError } from './contract.js';
import { around, mulberry32, type StoreCall } from './wrappers.js';

export interface LateStorage extends Storage {
  /** Number of operations called so far. */
  readonly calls: number;
  /** Number of unanswered operations. */
  readonly pending: number;
  /** Resolves when no operation is pending. */
  idle(): Promise<void>;
}

// Captured here: a test may replace the timers.
const { setImmediate, setTimeout } = globalThis;

/** Operations of one owner that run together, in call order. */
interface Batch {
  readonly operations: (() => void)[];
  /** Resolves once they have been passed to the storage. */
  readonly begun: Promise<void>;
}

export function late(storage: Storage, seed: number): LateStorage {
  const random = mulberry32(seed);
  const batches = new Map<string, Batch>();
  const idle: (() => void)[] = [];
  let calls = 0;
  let pending = 0;
  let isClosed = false;

  const later = (): Promise<unknown> => {
    const delay = random() * 4;
    return new Promise((resolve) => (delay < 1 ? setImmediate(resolve) : setTimeout(resolve, delay - 1)));
  };
  const begun = (): Promise<unknown> => Promise.all([...batches.values()].map((batch) => batch.begun));

  const ofOwner = <R>(owner: string, run: () => Promise<R>): Promise<R> => {
    let batch = batches.get(owner);
    if (batch === undefined) {
      const operations: (() => void)[] = [];
      const handOver = (): void => {
        batches.delete(owner);
        for (const one of operations) one();
      };
      batch = { operations, begun: later().then(handOver) };
      batches.set(owner, batch);
    }
    const { operations } = batch;
    return new Promise((resolve, reject) => operations.push(() => run().then(resolve, reject)));
  };

  const ofMany = async <R>(before: Promise<unknown>, run: () => Promise<R>): Promise<R> => {
    await before;
    await later();
    return run();
  };

  const call = <R>({ operation }: StoreCall, [first]: readonly unknown[], run: () => Promise<R>): Promise<R> => {
    if (operation === 'owners') return ofMany(begun(), run);
    if (operation !== 'getMany') return ofOwner(first as string, run);
    const owners = first as readonly string[];
    return ofMany(Promise.all(owners.map((owner) => batches.get(owner)?.begun)), run);
  };

  /** Counts pending operations, and refuses operations after close. */
  const watched = async <R>(run: () => Promise<R>): Promise<R> => {
    if (isClosed) throw new StorageError('unavailable', 'the storage is closed');
    calls++;
    pending++;
    try {
      return await run();
    } finally {
      if (--pending === 0) for (const resolve of idle.splice(0)) resolve();
    }
  };

  const inner = around(storage, (about, run, parameters) => {
    // Changes that the caller makes after the call must not be stored.
    const own = copyOf(about, parameters);
    return own === undefined ? run() : watched(() => call(about, own, () => run(own)));
  });
  return {
    ...inner,
    stores: () => watched(() => ofMany(begun(), () => storage.stores())),
    flush: () => watched(() => begun().then(() => storage.flush())),
    join: (node, epoch) => watched(() => ofMany(begun(), () => storage.join(node, epoch))),
    fence: (node, epoch) => watched(() => later().then(() => storage.fence(node, epoch))),
    look: () => watched(() => later().then(() => storage.look())),
    close: async () => {
      isClosed = true;
      await begun();
      await storage.close();
    },
    get calls() {
      return calls;
    },
    get pending() {
      return pending;
    },
    idle: () => (pending === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  };
}

/** Returns undefined if a value cannot be cloned: the storage reports that error itself. */
function copyOf({ shape, operation }: StoreCall, parameters: readonly unknown[]): readonly unknown[] | undefined {
  const [owner, entries, ...rest] = parameters;
  const isIterable = shape === 'map' && operation === 'set';
  const own = isIterable ? [owner, [...(entries as Iterable<unknown>)], ...rest] : parameters;
  try {
    return structuredClone(own);
  } catch {
    return undefined;
  }
}
