/** The lanes of a handle: which operation goes over which, and how much may wait. */
import { StorageError } from '../contract.js';
import { fnv1a } from '../hash.js';
import type { Query } from './connection.js';
import { Lane, type LaneContext } from './lane.js';
import type { CutKind, PutKind, StoreRef, Work } from './operations.js';
import { stored } from './text.js';

export interface LanesOptions {
  /** Number of connections for the operations of owners. There is one more for everything else. */
  readonly lanes: number;
  /** Maximum pending operations, and bytes of them; further ones are refused. */
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
}

export class Lanes {
  readonly #context: LaneContext;
  readonly #options: LanesOptions;
  readonly #lanes: readonly Lane[];
  readonly #control: Lane;
  #count = 0;
  #bytes = 0;
  #isClosed = false;

  constructor(context: LaneContext, options: LanesOptions) {
    this.#context = context;
    this.#options = options;
    this.#lanes = Array.from({ length: options.lanes }, (_, n) => new Lane(context, n));
    this.#control = new Lane(context, options.lanes);
  }

  /** Rows with the same key replace each other. Resolves once they are durable. */
  put<R>(
    owner: string,
    store: StoreRef,
    kind: PutKind<R>,
    rows: readonly (readonly [key: string, row: R])[],
    bytes: number,
  ): Promise<void> {
    const work = { type: 'put', owner, store, kind: kind as PutKind<unknown>, rows, bytes } as const;
    return this.#write(this.#of(owner), work) as Promise<void>;
  }

  /** Resolves with the result of `run` (which must have a JSON form) once it is durable. */
  change<R>(
    owner: string,
    store: StoreRef,
    run: (query: Query) => Promise<R>,
    { bytes = 0, isExclusive = false, isCreating = false, isForgetting = false } = {},
  ): Promise<R> {
    const work = { type: 'change', owner, store, run, bytes, isExclusive, isCreating, isForgetting } as const;
    return this.#write(this.#of(owner), work) as Promise<R>;
  }

  /** Resolves with the number of deleted entries once that is durable. `keys` are in their stored form. */
  cut(owner: string, store: StoreRef, kind: CutKind, keys: readonly string[]): Promise<number> {
    const work = { type: 'cut', owner, name: stored(owner), store, kind, keys, bytes: keys.length * 32 } as const;
    return this.#write(this.#of(owner), work) as Promise<number>;
  }

  /** Resolves with the result of `run`, which sees all earlier writes of the owner. `isLong`: it has several steps. */
  read<R>(owner: string, store: StoreRef | undefined, run: (query: Query) => Promise<R>, isLong = false): Promise<R> {
    return this.#run(this.#of(owner), { type: 'read', owner, store, run, bytes: 0, isLong }) as Promise<R>;
  }

  /** Runs one read in each lane that has some of the owners. */
  async readMany<R>(
    owners: readonly string[],
    store: StoreRef,
    run: (query: Query, owners: readonly string[]) => Promise<R>,
  ): Promise<R[]> {
    const byLane = new Map<Lane, string[]>();
    for (const owner of new Set(owners)) {
      const lane = this.#of(owner);
      const some = byLane.get(lane);
      if (some === undefined) byLane.set(lane, [owner]);
      else some.push(owner);
    }
    return Promise.all(
      Array.from(byLane, ([lane, some]) => {
        const read = (query: Query): Promise<R> => run(query, some);
        const work = { type: 'read', owner: '', owners: some, store, run: read, bytes: 0, isLong: false } as const;
        return this.#run(lane, work) as Promise<R>;
      }),
    );
  }

  /** Resolves with the result of `run`, which sees all earlier writes. */
  async readAll<R>(store: StoreRef | undefined, run: (query: Query) => Promise<R>): Promise<R> {
    await this.flush();
    return this.#run(this.#control, { type: 'read', owner: '', store, run, bytes: 0, isLong: true }) as Promise<R>;
  }

  /** A change that concerns no owner, after all earlier writes unless it `isUrgent`. */
  async changeAll<R>(run: (query: Query) => Promise<R>, { isCheckedFirst = false, isUrgent = false } = {}): Promise<R> {
    if (!isUrgent) await this.flush();
    const work = {
      type: 'change',
      owner: '',
      store: undefined,
      run,
      bytes: 0,
      isExclusive: true,
      isCheckedFirst,
    } as const;
    return this.#write(this.#control, work) as Promise<R>;
  }

  /** Resolves when all earlier operations are done. */
  async flush(): Promise<void> {
    if (this.#isClosed) throw closed();
    await this.#drain();
  }

  /** Completes the operations and refuses others. */
  async close(last: (query: Query) => Promise<void>): Promise<void> {
    this.#isClosed = true;
    await this.#drain();
    const work = { type: 'read', owner: '', store: undefined, run: last, bytes: 0, isLong: true } as const;
    await this.#enqueue(this.#control, work).catch(() => {});
    await Promise.all([...this.#lanes, this.#control].map((lane) => lane.close()));
  }

  async #drain(): Promise<void> {
    await Promise.all([...this.#lanes, this.#control].map((lane) => this.#barrier(lane)));
  }

  #barrier(lane: Lane): Promise<unknown> | undefined {
    if (lane.isIdle) return undefined;
    return this.#enqueue(lane, { type: 'barrier', owner: '', store: undefined, bytes: 0 }).catch(() => {});
  }

  #of(owner: string): Lane {
    return this.#lanes[fnv1a(owner) % this.#lanes.length]!;
  }

  #write(lane: Lane, work: Work): Promise<unknown> {
    const refusal = this.#context.refusal();
    if (refusal !== undefined && !this.#isClosed) return Promise.reject(refusal);
    if (this.#count >= this.#options.maxWaiting || this.#bytes >= this.#options.maxWaitingBytes)
      return Promise.reject(new StorageError('unavailable', 'too many pending writes'));
    return this.#run(lane, work);
  }

  #run(lane: Lane, work: Work): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(closed());
    return this.#enqueue(lane, work);
  }

  #enqueue(lane: Lane, work: Work): Promise<unknown> {
    this.#count++;
    this.#bytes += work.bytes;
    return lane.run(work, () => {
      this.#count--;
      this.#bytes -= work.bytes;
    });
  }
}

function closed(): StorageError {
  return new StorageError('unavailable', 'the storage is closed');
}
