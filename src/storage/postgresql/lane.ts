/**
 * A lane: one connection, over which all operations of some owners go, so that they keep their order. What waits when
 * the connection is free becomes one transaction (operations.ts). Each commit writes its number into the row of the
 * lane, together with the results of its operations. After a lost connection the row says whether the last transaction
 * was committed: if not, it is run again. Reading the row begins a new session, in which the old connection can no longer
 * commit anything, even if the server has yet to process what it received.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { StorageError } from '../contract.js';
import { Recent } from '../recent.js';
import type { Connection, Query } from './connection.js';
import { ConnectionLost, concernsAll, isServerError, isTransient, raised, storageError } from './errors.js';
import {
  allOf,
  Batch,
  type Change,
  type CutGroup,
  type Group,
  type Item,
  type Operation,
  type Read,
  type StoreRef,
  type Work,
  type Write,
} from './operations.js';
import type { Statements } from './statements.js';
import { intArray, textArray } from './text.js';

/** What the lanes of a handle share. */
export interface LaneContext {
  /** Names the database in errors. */
  readonly where: string;
  readonly statements: Statements;
  /** Opens a connection. */
  readonly connect: () => Promise<Connection>;
  /** Number of the handle in the lane table. */
  readonly handle: string;
  /** Determines the numbers of stores; creates missing ones if `create`. */
  readonly resolve: (query: Query, stores: readonly StoreRef[], create: boolean) => Promise<void>;
  /** The error for all further writes, once the epoch of the handle has ended. */
  readonly refusal: () => StorageError | undefined;
  /** The row of a lane has gone. Returns whether it was created again: only a handle that belongs to no node may. */
  readonly laneGone: (query: Query) => Promise<boolean>;
  /** Time to wait for a lost connection, in ms, before operations fail. */
  readonly patience: number;
  /** Called when a connection is lost for no reason of ours. */
  readonly warn: (message: string, error: unknown) => void;
}

/** Time between attempts to connect, in ms: initially, and at most. */
const firstPause = 20;
const lastPause = 1000;
/** Attempts to run a transaction that failed because of others. */
const maxAttempts = 10;
/** Maximum owners known to have a number. */
const maxKnown = 50_000;

/** The last transaction, if the connection was lost before its answer. */
interface Uncertain {
  readonly batch: Batch;
  readonly commit: number;
}

export class Lane {
  readonly #context: LaneContext;
  readonly #number: number;
  #waiting: Operation[] = [];
  #connection: Connection | undefined;
  #session = 0;
  #commit = 0;
  #uncertain: Uncertain | undefined;
  /** Operations to run each in a transaction of its own, because one of them failed. */
  #singly = 0;
  #attempts = 0;
  #isRunning = false;
  /** When connecting failed, and why; undefined while connected. */
  #failure: { readonly at: number; readonly error: unknown } | undefined;
  #lostAt: number | undefined;
  readonly #known = new Recent<true>(maxKnown);

  constructor(context: LaneContext, number: number) {
    this.#context = context;
    this.#number = number;
  }

  /** Whether nothing waits or runs. */
  get isIdle(): boolean {
    return !this.#isRunning;
  }

  /** Settles like the operation. `settled` is called just before. */
  run(work: Work, settled: () => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const operation: Operation = {
        work,
        resolve: (value) => {
          if (operation.isSettled) return;
          operation.isSettled = true;
          settled();
          resolve(value);
        },
        reject: (error) => {
          if (operation.isSettled) return;
          operation.isSettled = true;
          settled();
          reject(error);
        },
        isSettled: false,
      };
      this.#waiting.push(operation);
      if (this.#isRunning) return;
      this.#isRunning = true;
      // What else this turn of the event loop asks for is part of the transaction.
      setImmediate(() => void this.#work());
    });
  }

  async close(): Promise<void> {
    await this.#connection?.close();
    this.#connection = undefined;
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    while (this.#waiting.length > 0 || this.#uncertain !== undefined) {
      try {
        const connection = await this.#connected();
        if (this.#waiting.length > 0) await this.#step(connection);
      } catch (error) {
        if (error instanceof ConnectionLost) continue;
        this.#failAll(error);
      }
    }
    this.#isRunning = false;
  }

  /** Everything that waits fails with an error. */
  #failAll(error: unknown): void {
    const reason = storageError(error, this.#context.where);
    const lost = this.#uncertain?.batch.operations ?? [];
    this.#uncertain = undefined;
    this.#singly = 0;
    for (const operation of [...lost, ...this.#waiting.splice(0)]) operation.reject(reason);
  }

  /** Returns the connection, or a new one. Waits a bounded time for the server. */
  async #connected(): Promise<Connection> {
    const current = this.#connection;
    if (current !== undefined && !current.isLost) return current;
    this.#connection = undefined;
    this.#lostAt ??= performance.now();
    const until = this.#lostAt + this.#context.patience;
    for (let pause = firstPause; ; pause = Math.min(2 * pause, lastPause)) {
      // Many operations in a row do not each try.
      if (this.#failure !== undefined && performance.now() - this.#failure.at < firstPause) throw this.#failure.error;
      let connection: Connection | undefined;
      try {
        connection = await this.#context.connect();
        await this.#resume(connection);
        this.#connection = connection;
        this.#failure = undefined;
        this.#lostAt = undefined;
        return connection;
      } catch (error) {
        connection?.destroy();
        if (performance.now() >= until) {
          this.#failure = { at: performance.now(), error };
          throw error instanceof ConnectionLost ? storageError(error, this.#context.where) : error;
        }
        await wait(pause);
      }
    }
  }

  /** Begins a session, and settles the transaction whose answer was lost. */
  async #resume(connection: Connection): Promise<void> {
    const { statements, handle, laneGone } = this.#context;
    const begin = (): Promise<unknown[]> =>
      connection.query(statements.session, [handle, this.#number]).then(([row]) => [...(row ?? [])]);
    let row = await begin();
    if (row.length === 0 && (await laneGone(connection.query))) row = await begin();
    const uncertain = this.#uncertain;
    this.#uncertain = undefined;
    const [session, commit, result] = row as [number, string, string | null] | [];
    this.#session = session ?? 0;
    if (uncertain === undefined) this.#commit = Math.max(this.#commit, Number(commit ?? 0));
    else if (Number(commit) === uncertain.commit) {
      this.#settle(uncertain.batch, result ?? null);
      this.#putBack(uncertain.batch); // reads whose results were lost
    } else this.#putBack(uncertain.batch);
  }

  #putBack(batch: Batch): void {
    this.#known.clear();
    this.#waiting = [...batch.operations.filter(({ isSettled }) => !isSettled), ...this.#waiting];
  }

  /** Runs one batch. Rejects with ConnectionLost, after which the lane must be resumed. */
  async #step(connection: Connection): Promise<void> {
    const batch = await this.#take(connection.query);
    if (batch === undefined) return;
    const [barrier] = batch.operations;
    if (barrier?.work.type === 'barrier') {
      barrier.resolve(undefined);
      return;
    }
    const { query } = connection;
    const reads = batch.reads.map((read) =>
      read.work.run(query).then(read.resolve, (error: unknown) => {
        if (error instanceof ConnectionLost) throw error;
        read.reject(storageError(error, this.#context.where));
      }),
    );
    const areRead = allOf(reads, isLost);
    areRead.catch(() => {}); // awaited below
    try {
      if (batch.reads.some(({ work }) => work.isLong)) await areRead;
      if (batch.sequence.length > 0) await this.#write(query, batch);
      await areRead;
    } catch (error) {
      await areRead.catch(() => {});
      await this.#failed(connection, batch, error);
    }
  }

  /** Takes the next batch from the queue. Numbers of stores are known then. */
  async #take(query: Query): Promise<Batch | undefined> {
    const refusal = this.#context.refusal();
    if (refusal !== undefined) {
      this.#waiting = this.#waiting.filter((operation) => {
        if (!isWrite(operation.work)) return true;
        operation.reject(refusal);
        return false;
      });
    }
    // Others that arrive meanwhile may be for stores without a number.
    const most = this.#singly > 0 ? 1 : this.#waiting.length;
    await this.#resolveStores(query);
    const batch = new Batch(this.#context.statements.newOwners, {
      has: (store, owner) => this.#known.get(`${store.number} ${owner}`) === true,
      add: (store, owner) => this.#known.set(`${store.number} ${owner}`, true),
      delete: (store, owner) => this.#known.delete(`${store.number} ${owner}`),
    });
    let taken = 0;
    while (taken < most && batch.add(this.#waiting[taken]!)) taken++;
    this.#waiting.splice(0, taken);
    this.#singly = Math.max(0, this.#singly - taken);
    return taken === 0 ? undefined : batch;
  }

  async #resolveStores(query: Query): Promise<void> {
    const missing = new Map<StoreRef, boolean>();
    for (const { work } of this.#waiting) {
      if (work.store === undefined || work.store.number !== undefined) continue;
      const isCreating = work.type === 'put' || (work.type === 'change' && work.isCreating === true);
      missing.set(work.store, isCreating || missing.get(work.store) === true);
    }
    if (missing.size === 0) return;
    for (const create of [true, false]) {
      const stores = [...missing].filter(([, isWritten]) => isWritten === create).map(([store]) => store);
      if (stores.length > 0) await this.#context.resolve(query, stores, create);
    }
  }

  /** Resolves once the batch is committed. */
  async #write(query: Query, batch: Batch): Promise<void> {
    const commit = ++this.#commit;
    const { sequence } = batch;
    const tick = [this.#context.handle, this.#number, this.#session, commit];
    const none = [null, null, null, null];
    const put = ({ kind, rows }: Group, values: unknown[]): Promise<unknown> =>
      query(kind.statement, [...values, rows.size, ...kind.values([...rows.values()])]);
    this.#uncertain = { batch, commit };
    if (!batch.hasResults) {
      const last = sequence.length - 1;
      const groups = sequence.map((group, n) => () => put(group as Group, n === last ? tick : none));
      if (last === 0) await groups[0]!();
      else await allOf([query('BEGIN'), ...groups.map((send) => send()), query('COMMIT')], isLost);
      this.#settle(batch, null);
      return;
    }
    const check = (result: string | null): Promise<unknown> => query(this.#context.statements.tick, [...tick, result]);
    try {
      const isCheckedFirst = sequence.some((item) => 'work' in item && isCheckedFirstIn(item));
      const sent = [query('BEGIN'), ...(isCheckedFirst ? [check(null)] : [])];
      const results = await allOf(
        [
          ...sent,
          ...sequence.map((item) => {
            if ('rows' in item) return put(item, none);
            return 'cuts' in item ? counts(item, query) : this.#result(item, query);
          }),
        ],
        isLost,
      );
      const ofItems = results.slice(sent.length);
      const kept = JSON.stringify(ofItems.filter((_, n) => isChange(sequence[n]!)));
      await allOf([...(isCheckedFirst ? [] : [check(kept)]), query('COMMIT')], isLost);
      for (const [n, item] of sequence.entries())
        if ('work' in item && item.work.type === 'read') item.resolve(ofItems[n]);
      this.#settle(batch, isCheckedFirst ? null : kept);
    } catch (error) {
      if (!isLost(error)) await query('ROLLBACK').catch(() => {});
      throw error;
    }
  }

  /** Runs an operation in a transaction. The error of a read that is not the server's does not end the transaction. */
  #result(operation: Operation<Change | Read>, query: Query): Promise<unknown> {
    return operation.work.run(query).catch((error: unknown) => {
      if (operation.work.type !== 'read' || isServerError(error) || isLost(error)) throw error;
      operation.reject(error);
    });
  }

  /** The batch is committed, with these results of its changes. */
  #settle(batch: Batch, results: string | null): void {
    this.#uncertain = undefined;
    this.#attempts = 0;
    const values = results === null ? [] : (JSON.parse(results) as unknown[]);
    let n = 0;
    for (const item of batch.sequence) {
      if ('rows' in item) for (const operation of item.operations) operation.resolve(undefined);
      else if ('cuts' in item) {
        const counts = values[n++] as number[];
        for (const [at, cut] of item.cuts.entries()) cut.resolve(counts[at]);
      } else if (item.work.type === 'change') item.resolve(values[n++]);
    }
  }

  /** The transaction of the batch failed, or the connection. */
  async #failed(connection: Connection, batch: Batch, error: unknown): Promise<void> {
    if (error instanceof ConnectionLost) {
      connection.destroy();
      if (this.#uncertain === undefined) this.#putBack(batch);
      this.#context.warn(`the connection to ${this.#context.where} was lost`, error);
      throw error;
    }
    this.#uncertain = undefined;
    const code = isServerError(error) ? error.code : undefined;
    const writes = batch.operations.filter(({ work, isSettled }) => isWrite(work) && !isSettled);
    const reason = storageError(error, this.#context.where);
    const isOnce = code === raised.rowsMissing || isTransient(error);
    const isTried = ++this.#attempts >= maxAttempts;
    if (code === raised.laneGone && (isTried || !(await this.#context.laneGone(connection.query)))) {
      for (const operation of writes) operation.reject(this.#context.refusal() ?? reason);
    } else if (code === raised.laneGone) {
      connection.destroy(); // resumed with the new row
    } else if (isOnce && !isTried) {
      // Run again as it was.
    } else if (batch.operations.length === 1 || (reason instanceof StorageError && concernsAll(reason.failure))) {
      for (const operation of writes) operation.reject(reason);
      this.#attempts = 0;
    } else {
      this.#singly = Math.max(this.#singly, batch.operations.filter(({ isSettled }) => !isSettled).length);
      this.#attempts = 0;
    }
    this.#putBack(batch);
  }
}

function isLost(error: unknown): boolean {
  return error instanceof ConnectionLost;
}

function isWrite(work: Work): work is Write {
  return work.type === 'put' || work.type === 'change' || work.type === 'cut';
}

function isChange(item: Item): boolean {
  return 'cuts' in item || ('work' in item && item.work.type === 'change');
}

/** Runs deletions. Resolves with the number of entries that each has deleted. */
async function counts({ kind, cuts }: CutGroup, query: Query): Promise<number[]> {
  const positions: number[] = [];
  const stores: number[] = [];
  const owners: string[] = [];
  const keys: string[] = [];
  for (const [at, { work }] of cuts.entries()) {
    for (const key of work.store!.number === undefined ? [] : work.keys) {
      positions.push(at);
      stores.push(work.store!.number!);
      owners.push(work.name);
      keys.push(key);
    }
  }
  const found = cuts.map(() => 0);
  const values = [intArray(positions), intArray(stores), textArray(owners), textArray(keys)];
  for (const [at] of await query(kind.statement, values)) found[at as number]!++;
  return found;
}

function isCheckedFirstIn({ work }: Operation): boolean {
  return work.type === 'change' && work.isCheckedFirst === true;
}
