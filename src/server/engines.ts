/** The storage with a breaker for each of its drivers, and what administrators see of them. */
import type { Logger } from 'pino';
import type { BlobStorage } from '../storage/blobs.js';
import { type Storage, StorageError } from '../storage/contract.js';
import { type LossyStorage, lossy } from '../storage/lossy.js';
import { openBlobs, openStorage } from '../storage/open.js';
import { around, type StoreCall } from '../storage/wrappers.js';
import { monotonic } from './clock.js';
import type { Config } from './config/schema.js';
import { Breaker } from './limits/breaker.js';
import { lossyStores } from './loader.js';
import type { ModuleDefinition } from './module/index.js';
import { serverId } from './server-id.js';

/** An engine that the server depends on. */
export interface EngineState {
  readonly name: string;
  readonly isWorking: boolean;
  /** Since when it has not worked, in seconds. */
  readonly failingSeconds: number | undefined;
  /** Operations that were refused or given up. */
  readonly refused: number;
  readonly pending: number;
  readonly pendingBytes: number;
}

interface EnginesParts {
  readonly config: () => Config;
  readonly log: Logger;
  readonly metrics: { storageTook(store: string, operation: string, seconds: number): void };
  limitHit(limit: string): void;
}

export class Engines {
  readonly #parts: EnginesParts;
  readonly #modules: readonly ModuleDefinition[];
  readonly #breakers = new Map<string, Breaker>();
  /** That of the storage for what may be lost. */
  #lossyBreaker: Breaker | undefined;
  #lossy: LossyStorage | undefined;
  #probeLossy: (() => Promise<unknown>) | undefined;
  /** If it was opened here. */
  #blobs: BlobStorage | undefined;

  /** `modules`: all modules, running or not, whose stores may be opened. */
  constructor(parts: EnginesParts, modules: readonly ModuleDefinition[]) {
    this.#parts = parts;
    this.#modules = modules;
  }

  get states(): EngineState[] {
    return [...this.#breakers].map(([name, { state }]) => ({
      name,
      isWorking: !state.isOpen,
      failingSeconds: state.since === undefined ? undefined : Math.round((monotonic() - state.since) / 1000),
      refused: state.refused,
      pending: state.pending,
      pendingBytes: state.bytes,
    }));
  }

  /** Opens the configured storage. Rejects with StorageError. */
  open(within: number | undefined): Promise<Storage> {
    const { config, log, metrics } = this.#parts;
    const mayBeLost = lossyStores(this.#modules);
    return openStorage(config(), {
      observe: ({ name, operation }, milliseconds) => metrics.storageTook(name, operation, milliseconds / 1000),
      warn: (message, error) => log.warn({ err: error }, message),
      within,
      serverId,
      guard: (driver, storage) => {
        if (driver === 'memory') return storage;
        return driver === 'redis' ? this.guardLossy(storage) : this.guard(driver, storage);
      },
      redis: {
        expires: (name) => mayBeLost.get(name)?.seconds,
        lost: (error) => (this.#lossyBreaker ??= this.#breakLossy()).trip(error),
      },
    });
  }

  /** Opens the configured storage of contents. Rejects with StorageError. `serverId`: see `openBlobs`. */
  async openBlobs(serverId: () => Promise<string>): Promise<BlobStorage> {
    const { config, log } = this.#parts;
    if (config().storage.files.driver === 'folder') return openBlobs(config(), { serverId });
    const breaker = this.#breaker('s3', async () => this.#blobs?.probe?.());
    this.#blobs = await openBlobs(config(), {
      serverId,
      guard: (attempt, isLong) => breaker.run(attempt, isLong ? isLongWork : light),
      warn: (message, error) => log.warn({ err: error }, message),
      unreachable: (error) => breaker.trip(error),
      demandWorking: () => {
        if (breaker.state.isOpen) throw new StorageError('busy', reasons.open);
      },
    });
    return this.#blobs;
  }

  /** Puts a breaker around a storage of what may be lost, without which everything works. */
  guardLossy(storage: Storage): Storage {
    const { log } = this.#parts;
    const breaker = (this.#lossyBreaker ??= this.#breakLossy());
    this.#lossy = lossy(storage, {
      guard: (call, run, parameters) => breaker.run(run, weightOf(call, parameters)),
      missed: (error) => breaker.trip(error),
      forgotten: () =>
        log.warn({ driver: 'redis' }, 'too many deletions were missed: what they concern stays in Redis'),
    });
    this.#probeLossy = () => storage.document('keyspace').get('probe');
    return this.#lossy;
  }

  #breakLossy(): Breaker {
    const probe = async (): Promise<void> => {
      if (this.#probeLossy === undefined) throw new StorageError('unavailable', 'the storage is being opened');
      await this.#probeLossy();
      await this.#lossy?.catchUp();
    };
    return this.#breaker('redis', probe, 'Redis does not work: what it holds is missing until it does');
  }

  /** Puts a breaker around a storage. */
  guard(name: string, storage: Storage): Storage {
    // Cassandra has no documents.
    const isLogs = name === 'cassandra';
    const breaker = this.#breaker(name, () =>
      isLogs ? storage.stores() : storage.document('stanza_ids').get('probe'),
    );
    return around(storage, (call, run, parameters) =>
      // The view decides about itself what to do if it cannot be read.
      call.name === 'cluster' ? run() : breaker.run(() => run(), weightOf(call, parameters)),
    );
  }

  #breaker(
    name: string,
    probe: () => Promise<unknown>,
    failing = 'the storage does not work: what needs it is refused until it does',
  ): Breaker {
    const { config, log, limitHit } = this.#parts;
    const about = { driver: name };
    const breaker = new Breaker({
      limits: () => {
        const { answer_seconds, waiting_operations, waiting_bytes } = config().storage;
        return { within: answer_seconds * 1000, operations: waiting_operations, bytes: waiting_bytes };
      },
      probe,
      isFailure: (error) => error instanceof StorageError && error.failure === 'unavailable',
      refusal: (why) => {
        if (why !== 'open') limitHit(why === 'slow' ? 'storage.answer_seconds' : 'storage.waiting_operations');
        return new StorageError('busy', reasons[why]);
      },
      opened: (error) => log.error({ ...about, err: error }, failing),
      closed: (outage) => log.warn({ ...about, ...outage }, 'the storage works again'),
    });
    this.#breakers.set(name, breaker);
    return breaker;
  }

  /** The storage is being closed: its last answers are nobody's concern. Closes the storage of contents. */
  async end(): Promise<void> {
    for (const breaker of this.#breakers.values()) breaker.end();
    await this.#blobs?.close?.();
  }
}

const reasons = {
  open: 'the storage does not work at the moment',
  slow: 'the storage did not answer in time',
  full: 'the storage has too much to do',
} as const;

const long = new Set(['forget', 'trim', 'owners', 'count', 'size']);
const isLongWork = { isLong: true };
const light = {};

/** Writes count with their size, as far as it is known without writing them as JSON. */
function weightOf(
  { shape, operation }: StoreCall,
  parameters: readonly unknown[],
): { bytes?: number; isLong?: boolean } {
  if (operation === 'append') return { bytes: (parameters[1] as { readonly value: string }).value.length };
  if (long.has(operation)) return isLongWork;
  // A search may have to index first.
  if (shape === 'log' && operation === 'page' && (parameters[1] as { words?: string }).words !== undefined)
    return isLongWork;
  return light;
}
