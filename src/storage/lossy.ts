/**
 * A storage of what may be lost, which may be away at any time: what it holds is then missing, and nothing fails because of
 * it. Reads find nothing. Deletions are done later, since nobody would ask for them again. Writes still reject, as
 * StorageError('busy'), so that whoever can write again knows.
 */
import { type Storage, StorageError, type StoreName } from './contract.js';
import { around, type StoreCall } from './wrappers.js';

/** Deletions that are remembered. Beyond them, what should be deleted stays. */
const mostMissed = 10_000;

export interface LossyStorage extends Storage {
  /** Does the deletions that were missed. Rejects with StorageError if the storage does not work. */
  catchUp(): Promise<void>;
}

export interface LossyParts {
  /** Runs an operation unless the storage is known to be away. */
  guard(call: StoreCall, run: () => Promise<unknown>, parameters: readonly unknown[]): Promise<unknown>;
  /** A deletion has failed: `catchUp` has to be called when the storage works again. */
  missed(error: StorageError): void;
  /** More deletions have failed than are remembered. Called once for each outage. */
  forgotten(): void;
  readonly most?: number;
}

/** What a read of nothing finds. Lists of owners have no answer if the storage is away. */
const nothing: Readonly<Record<string, () => unknown>> = {
  get: () => undefined,
  getMany: () => new Map(),
  all: () => new Map(),
  page: () => [],
  count: () => 0,
  size: () => 0,
};

/** What a deletion answers that is done later. */
const deleted: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  document: { delete: false, forget: undefined },
  map: { delete: 0, forget: undefined },
};

/** `storage` has no logs. */
export function lossy(storage: Storage, { guard, missed, forgotten, most = mostMissed }: LossyParts): LossyStorage {
  const later = new Map<string, () => Promise<unknown>>();
  let isFull = false;

  const remember = (call: StoreCall, parameters: readonly unknown[], run: () => Promise<unknown>): void => {
    const key = JSON.stringify([call, parameters]);
    if (later.size >= most && !later.has(key)) {
      if (!isFull) forgotten();
      isFull = true;
      return;
    }
    later.delete(key);
    later.set(key, run);
  };

  const wrapped = around(storage, async (call, run, parameters) => {
    try {
      return (await guard(call, run, parameters)) as never;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const { shape, operation } = call;
      if (operation in (deleted[shape] ?? {})) {
        const copied = structuredClone(parameters);
        remember(call, copied, () => run(copied));
        missed(error);
        return deleted[shape]![operation] as never;
      }
      const none = nothing[operation];
      if (none !== undefined) return none() as never;
      throw error.failure === 'unavailable' ? new StorageError('busy', error.message, { cause: error }) : error;
    }
  });

  const opened = new Map<string, StoreName>();
  const noted = (name: StoreName): void => {
    opened.set(`${name.shape} ${name.name}`, name);
  };

  return {
    ...wrapped,
    document: <T>(name: string) => {
      noted({ shape: 'document', name });
      return wrapped.document<T>(name);
    },
    map: <T>(name: string) => {
      noted({ shape: 'map', name });
      return wrapped.map<T>(name);
    },
    // Whoever deletes an owner asks: the stores of this process are known without the storage.
    stores: () =>
      storage.stores().catch((error: unknown) => {
        if (error instanceof StorageError) return [...opened.values()];
        throw error;
      }),
    async catchUp() {
      for (const [key, run] of later) {
        await run();
        later.delete(key);
      }
      isFull = false;
    },
  };
}
