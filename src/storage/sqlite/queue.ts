/**
 * Groups writes into transactions and makes them durable without blocking the event loop on the disk (see
 * docs/decisions/0002-sqlite-commit.md).
 *
 * Writes of one event loop turn run at its end as one transaction, which appends them to the write-ahead log without a
 * sync. The log is then synced in libuv's pool, and only afterwards the writers' promises resolve. Writes during a sync
 * accumulate, and transactions executed meanwhile are part of the next sync.
 */
import { StorageError } from '../contract.js';
import type { Connection } from './connection.js';
import { isDiskFault, isFull, isLocked, storageError } from './errors.js';

/** The operations of one store. */
export interface Lane {
  /** Operations of the store not executed yet. */
  waiting: number;
}

export interface Work {
  readonly lane: Lane;
  /** Lets stores identify their own pending operations. */
  readonly kind: 'set' | 'append' | 'remove' | 'other' | 'flush';
  readonly owner: string;
  readonly id?: string | undefined;
  /** Approximate memory use. */
  readonly bytes: number;
  /** Runs in a transaction, and again in another one if that was rolled back. */
  run: () => unknown;
  /** Pending operations made obsolete by this one. They are not run, and complete together with it. */
  readonly instead?: readonly Operation[] | undefined;
}

export interface Operation {
  readonly work: Work;
  /** Needs no durability: resolves as soon as it has run. */
  readonly isRead: boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  isSuperseded: boolean;
  carried: Operation[] | undefined;
  result: unknown;
}

export interface QueueOptions {
  /** Maximum operations, and bytes of them, that are pending or not durable; further writes are refused. */
  readonly maxOperations: number;
  readonly maxBytes: number;
  /** Time that writes wait for another process's lock, in ms. */
  readonly lockTimeout: number;
}

/** Maximum size of a transaction, so that other work gets its turn: about 3 ms. */
const batchOperations = 256;
const batchBytes = 2 ** 20;
/** Maximum transactions run synchronously for a read; with more pending, the read is queued. */
const batchesForRead = 4;
/** Maximum pending operations searched by `newest`. */
const lookBack = 512;
/** Time between attempts to get a lock held by another process, in ms. */
const lockInterval = 10;

export class Queue {
  readonly #connection: Connection;
  readonly #options: QueueOptions;
  /** Called after commits have become durable; `isFull` if the disk is full. */
  readonly #afterCommit: (isFull: boolean) => void;
  /** Checkpoints the log into the database durably. Rejects if it cannot. */
  readonly #rescue: () => Promise<void>;

  #waiting: Operation[] = [];
  #executed: Operation[] = [];
  #syncing: Operation[] | undefined;
  #count = 0;
  #bytes = 0;
  #isScheduled = false;
  #holds = 0;
  /** A sync failed: earlier commits may not be durable, so later ones must not be confirmed. */
  #isUnsafe = false;
  #isClosed = false;
  /** The error for all further writes. */
  #refusal: StorageError | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** When another process's lock was first and last encountered, in ms. */
  #lockedSince: number | undefined;
  #lockedLast = 0;

  constructor(
    connection: Connection,
    options: QueueOptions,
    hooks: { afterCommit: (isFull: boolean) => void; rescue: () => Promise<void> },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#afterCommit = hooks.afterCommit;
    this.#rescue = hooks.rescue;
  }

  /** Resolves with the result of `run` once it is durable. Rejects with StorageError, or what `run` threw. */
  write<R>(work: Work & { run: () => R }): Promise<R> {
    if (this.#isClosed) return Promise.reject(closed());
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal);
    if (this.#count >= this.#options.maxOperations || this.#bytes >= this.#options.maxBytes) {
      return Promise.reject(new StorageError('unavailable', 'too many pending writes'));
    }
    return this.#enqueue(work, false) as Promise<R>;
  }

  /** Resolves with the result of `run` once all earlier writes of the lane have run. */
  read<R>(lane: Lane, run: () => R): Promise<R> {
    if (this.#isClosed) return Promise.reject(closed());
    for (let n = 0; n < batchesForRead && lane.waiting > 0 && this.#canRun(); n++) this.#execute();
    if (lane.waiting === 0) {
      try {
        this.#connection.ready();
        return Promise.resolve(run());
      } catch (error) {
        if (!isLocked(error)) return Promise.reject(this.#explain(error));
      } finally {
        this.#schedule();
      }
    }
    return this.#enqueue({ lane, kind: 'other', owner: '', bytes: 0, run }, true) as Promise<R>;
  }

  /**
   * Yields the pending operations of an owner that may be superseded, newest first, within a limited distance. Stops at
   * a read, which must see them, and at a flush, which must find them done.
   */
  *newest(lane: Lane, owner: string): Generator<Operation> {
    const end = Math.max(0, this.#waiting.length - lookBack);
    for (let n = this.#waiting.length - 1; n >= end && lane.waiting > 0; n--) {
      const operation = this.#waiting[n]!;
      if (operation.work.kind === 'flush' || (operation.work.lane === lane && operation.isRead)) return;
      if (operation.work.lane === lane && operation.work.owner === owner && !operation.isSuperseded) yield operation;
    }
  }

  /** Resolves when all earlier writes are durable or have been rejected. */
  async flush(): Promise<void> {
    if (this.#isClosed) throw closed();
    await this.#drain();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#drain();
  }

  /** Refuses all further writes. Resolves when earlier ones are durable or have been rejected. */
  async refuse(refusal: StorageError): Promise<void> {
    this.#refusal = refusal;
    await this.#drain();
  }

  /** Throws StorageError if writes are refused. */
  demand(): void {
    if (this.#isClosed) throw closed();
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  /** Suspends writes until each `hold` has been followed by `release`. */
  hold(): void {
    this.#holds++;
  }

  release(): void {
    this.#holds--;
    this.#schedule();
  }

  async #drain(): Promise<void> {
    if (this.#count === 0) return;
    const flush: Work = { lane: { waiting: 0 }, kind: 'flush', owner: '', bytes: 0, run: () => {} };
    await this.#enqueue(flush, false).catch(() => {});
  }

  #enqueue(work: Work, isRead: boolean): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const operation: Operation = {
        work,
        isRead,
        resolve,
        reject,
        isSuperseded: false,
        carried: undefined,
        result: undefined,
      };
      if (work.instead !== undefined) for (const earlier of work.instead) supersede(earlier, operation);
      this.#count++;
      this.#bytes += work.bytes;
      work.lane.waiting++;
      this.#waiting.push(operation);
      this.#schedule();
    });
  }

  #isBlocked(): boolean {
    return this.#holds > 0 || this.#retry !== undefined;
  }

  #canRun(): boolean {
    return !this.#isBlocked() && !this.#isUnsafe;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isBlocked()) return;
    if (this.#waiting.length === 0 && this.#executed.length === 0) return;
    // More writes accumulate until the sync ends, which schedules again.
    if (this.#syncing !== undefined && this.#waiting.length < batchOperations) return;
    this.#isScheduled = true;
    setImmediate(this.#turn);
  }

  #turn = (): void => {
    this.#isScheduled = false;
    if (this.#isBlocked()) return;
    if (this.#isUnsafe) {
      this.#recover();
      return;
    }
    if (this.#waiting.length > 0) this.#execute();
    this.#sync();
    this.#schedule();
  };

  /** Runs one transaction of pending operations. */
  #execute(limit = batchOperations): void {
    const batch = this.#take(limit);
    if (batch.length === 0) return;
    try {
      this.#transaction(batch);
    } catch (error) {
      if (isLocked(error)) this.#waitForLock(batch, error);
      else if (batch.length === 1 || isDiskFault(error)) this.#fail(batch, error);
      else this.#executeSingly(batch);
      return;
    }
    this.#lockedSince = undefined;
    this.#done(batch);
  }

  /** An operation of the batch fails: run each alone, so that the others succeed. */
  #executeSingly(batch: readonly Operation[]): void {
    this.#putBack(batch);
    for (let n = batch.length; n > 0 && this.#canRun(); n--) this.#execute(1);
  }

  #transaction(batch: readonly Operation[]): void {
    try {
      this.#connection.begin();
      for (const operation of batch) operation.result = operation.work.run();
      this.#connection.commit();
    } catch (error) {
      this.#connection.rollback();
      throw error;
    }
  }

  #take(limit: number): Operation[] {
    let length = 0;
    for (let bytes = 0; length < this.#waiting.length && length < limit && bytes < batchBytes; length++) {
      bytes += this.#waiting[length]!.work.bytes;
    }
    const batch = this.#waiting.splice(0, length).filter((operation) => !operation.isSuperseded);
    for (const { work } of batch) work.lane.waiting--;
    return batch;
  }

  #takeAll(): Operation[] {
    const all: Operation[] = [];
    while (this.#waiting.length > 0) all.push(...this.#take(batchOperations));
    return all;
  }

  #putBack(batch: readonly Operation[]): void {
    for (const { work } of batch) work.lane.waiting++;
    this.#waiting = [...batch, ...this.#waiting];
  }

  #done(batch: readonly Operation[]): void {
    for (const operation of batch) {
      if (operation.isRead) this.#resolve(operation);
      else this.#executed.push(operation);
    }
  }

  #sync(): void {
    if (this.#syncing !== undefined || this.#executed.length === 0) return;
    this.#syncing = this.#executed;
    this.#executed = [];
    this.#connection.sync((error) => {
      const batch = this.#syncing ?? [];
      this.#syncing = undefined;
      if (error) {
        this.#isUnsafe = true;
        this.#fail([...batch, ...this.#executed.splice(0)], error);
      } else {
        for (const operation of batch) this.#resolve(operation);
        this.#afterCommit(false);
      }
      this.#schedule();
    });
  }

  /** After a failed sync the log is unreliable, but its content can be checkpointed to the database instead. */
  #recover(): void {
    this.hold();
    const release = () => this.release();
    this.#rescue()
      .then(
        () => {
          this.#isUnsafe = false;
        },
        (error: unknown) => this.#fail(this.#takeAll(), error),
      )
      .then(release, release);
  }

  /** Once a lock wait has timed out, later writes fail at once instead of each waiting the full timeout. */
  #waitForLock(batch: readonly Operation[], error: unknown): void {
    this.#putBack(batch);
    const now = performance.now();
    const isAnother = now - this.#lockedLast > this.#options.lockTimeout;
    if (this.#lockedSince === undefined || isAnother) this.#lockedSince = now;
    this.#lockedLast = now;
    if (now - this.#lockedSince >= this.#options.lockTimeout) {
      this.#fail(this.#takeAll(), error);
      return;
    }
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#schedule();
    }, lockInterval);
  }

  #fail(batch: readonly Operation[], error: unknown): void {
    if (isDiskFault(error)) this.#connection.suspect();
    const reason = this.#explain(error);
    for (const operation of batch) {
      if (operation.isRead) this.#readAlone(operation);
      else this.#reject(operation, reason);
    }
    if (isFull(reason)) this.#afterCommit(true);
  }

  /** Runs a read that waited for failed writes. */
  #readAlone(operation: Operation): void {
    try {
      operation.result = operation.work.run();
      this.#resolve(operation);
    } catch (error) {
      this.#reject(operation, this.#explain(error));
    }
  }

  #resolve(operation: Operation): void {
    this.#leave(operation);
    operation.resolve(operation.result);
    if (operation.carried === undefined) return;
    for (const earlier of operation.carried) {
      this.#leave(earlier);
      earlier.resolve(undefined);
    }
  }

  #reject(operation: Operation, reason: unknown): void {
    this.#leave(operation);
    operation.reject(reason);
    for (const earlier of operation.carried ?? []) {
      this.#leave(earlier);
      earlier.reject(reason);
    }
  }

  #leave(operation: Operation): void {
    this.#count--;
    this.#bytes -= operation.work.bytes;
  }

  #explain(error: unknown): unknown {
    if (isDiskFault(error)) this.#connection.suspect();
    return storageError(error, this.#connection.file);
  }
}

function supersede(earlier: Operation, by: Operation): void {
  earlier.isSuperseded = true;
  earlier.work.lane.waiting--;
  earlier.work.run = () => {};
  by.carried ??= earlier.carried ?? [];
  if (by.carried !== earlier.carried) by.carried.push(...(earlier.carried ?? []));
  by.carried.push(earlier);
  earlier.carried = undefined;
}

function closed(): StorageError {
  return new StorageError('unavailable', 'the storage is closed');
}
