/** What waits in a lane, and how it is arranged in a transaction. */
import type { Query, Statement } from './connection.js';

/** A store's name and, once it is known, the number under which the database has it. */
export interface StoreRef {
  readonly shape: string;
  readonly name: string;
  number: number | undefined;
}

/** Writes without a result: many of a kind become one statement. */
export interface PutKind<R = never> {
  /**
   * The parameters $1 to $4 are those of `tick` (migrations.ts) or NULL, $5 is the number of rows, which it checks; the
   * others are the columns of the rows.
   */
  readonly statement: Statement;
  /** Whether owners need numbers first. */
  readonly isNumbered: boolean;
  values(rows: readonly R[]): unknown[];
}

interface Common {
  /** Operations of an owner run in the order of the calls. */
  readonly owner: string;
  readonly store: StoreRef | undefined;
  /** Approximate memory use. */
  readonly bytes: number;
}

/** Rows that replace earlier ones with the same key. */
export interface Put extends Common {
  readonly type: 'put';
  readonly kind: PutKind<unknown>;
  readonly rows: readonly (readonly [key: string, row: unknown])[];
}

/** A write with a result, which must have a JSON form. It is run again if its transaction was not committed. */
export interface Change extends Common {
  readonly type: 'change';
  readonly run: (query: Query) => Promise<unknown>;
  /** Has several steps: nothing else is in its transaction. */
  readonly isExclusive: boolean;
  /** It may end the lane, so the check of the lane comes before it. */
  readonly isCheckedFirst?: boolean | undefined;
  /** Its store has to exist. */
  readonly isCreating?: boolean | undefined;
  /** The owner loses its number. */
  readonly isForgetting?: boolean | undefined;
}

/** Deletions of entries by key, of which many become one statement. */
export interface CutKind {
  /**
   * The parameters are arrays: positions, numbers of stores, owners, keys. Returns the position of each deleted row.
   */
  readonly statement: Statement;
}

/** Resolves with the number of deleted entries. */
export interface Cut extends Common {
  readonly type: 'cut';
  readonly kind: CutKind;
  /** In its stored form. */
  readonly name: string;
  readonly keys: readonly string[];
}

export interface Read extends Common {
  readonly type: 'read';
  readonly run: (query: Query) => Promise<unknown>;
  /** Has several steps: later writes wait for it. */
  readonly isLong: boolean;
  /** The owners, if they are several. */
  readonly owners?: readonly string[] | undefined;
}

/** Resolves when everything before it has been done. */
export interface Barrier extends Common {
  readonly type: 'barrier';
}

export type Work = Put | Change | Cut | Read | Barrier;
export type Write = Put | Change | Cut;

export interface Operation<W extends Work = Work> {
  readonly work: W;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  isSettled: boolean;
}

/** Puts of one kind, as one statement. */
export interface Group {
  readonly kind: PutKind<unknown>;
  readonly rows: Map<string, unknown>;
  readonly operations: Operation[];
}

/** Deletions of one kind by different owners, as one statement. */
export interface CutGroup {
  readonly kind: CutKind;
  readonly cuts: Operation<Cut>[];
}

export type Item = Group | CutGroup | Operation<Change | Read>;

/** Maximum operations of a transaction, and bytes of them. */
const maxOperations = 1000;
const maxBytes = 2 ** 22;

export interface NewOwner {
  readonly store: StoreRef;
  readonly name: string;
}

/** Tells whether an owner surely has a number. */
export interface KnownOwners {
  has(store: StoreRef, owner: string): boolean;
  add(store: StoreRef, owner: string): void;
  delete(store: StoreRef, owner: string): void;
}

/** One transaction, and reads before it. Keeps the order of each owner's operations, not that between owners. */
export class Batch {
  /** In the order of the calls. */
  readonly operations: Operation[] = [];
  /** Reads that have no write before them. */
  readonly reads: Operation<Read>[] = [];
  /** The statements of the transaction. */
  readonly sequence: Item[] = [];
  /** Position in the sequence of the last statement of an owner. */
  readonly #last = new Map<string, number>();
  /** Position of the last group of each kind. */
  readonly #groups = new Map<PutKind<unknown> | CutKind, number>();
  readonly #newOwners: PutKind<NewOwner>;
  readonly #known: KnownOwners;
  #bytes = 0;
  #isFull = false;

  constructor(newOwners: PutKind<NewOwner>, known: KnownOwners) {
    this.#newOwners = newOwners;
    this.#known = known;
  }

  /** Adds the next operation. Returns false if it belongs to a later batch. */
  add(operation: Operation): boolean {
    const { work } = operation;
    const isAlone = work.type === 'barrier' || (work.type === 'change' && work.isExclusive);
    if (this.#isFull || (isAlone && this.operations.length > 0)) return false;
    // Between its steps, later statements would run.
    if (work.type === 'read' && work.isLong && this.#last.has(work.owner)) return false;
    this.operations.push(operation);
    this.#bytes += work.bytes;
    this.#isFull = isAlone || this.operations.length >= maxOperations || this.#bytes >= maxBytes;
    if (work.type === 'put') this.#put(operation as Operation<Put>);
    else if (work.type === 'cut') this.#cut(operation as Operation<Cut>);
    else if (work.type === 'change') {
      this.#append(operation as Operation<Change>, [work.owner]);
      if (work.isForgetting) this.#known.delete(work.store!, work.owner);
    } else if (work.type === 'read') {
      const { owners = [work.owner] } = work;
      if (owners.some((owner) => this.#last.has(owner))) this.#append(operation as Operation<Read>, owners);
      else this.reads.push(operation as Operation<Read>);
    }
    return true;
  }

  /** Whether results have to be awaited before the commit. */
  get hasResults(): boolean {
    return this.sequence.some((item) => !('rows' in item));
  }

  #append(operation: Operation<Change | Read>, owners: readonly string[]): void {
    const at = this.sequence.push(operation) - 1;
    for (const owner of owners) this.#last.set(owner, at);
  }

  #put(operation: Operation<Put>): void {
    const { kind, rows, store, owner } = operation.work;
    if (kind.isNumbered && !this.#known.has(store!, owner)) {
      this.#known.add(store!, owner);
      const row: NewOwner = { store: store!, name: owner };
      this.#into(this.#newOwners as PutKind<unknown>, owner, [[`${store!.number} ${owner}`, row]]);
    }
    this.#into(kind, owner, rows).operations.push(operation);
  }

  /** An owner has at most one deletion in a group, so that its result does not depend on the others. */
  #cut(operation: Operation<Cut>): void {
    const { kind, owner } = operation.work;
    const last = this.#groups.get(kind);
    const isAfter = last === undefined || last <= (this.#last.get(owner) ?? -1);
    const at = isAfter ? this.sequence.push({ kind, cuts: [] }) - 1 : last;
    (this.sequence[at] as CutGroup).cuts.push(operation);
    this.#groups.set(kind, at);
    this.#last.set(owner, at);
  }

  /** Adds rows to the last group of a kind, unless another statement of the owner comes after it. */
  #into(kind: PutKind<unknown>, owner: string, rows: Put['rows']): Group {
    const last = this.#groups.get(kind);
    const isAfter = last === undefined || last < (this.#last.get(owner) ?? -1);
    const at = isAfter ? this.sequence.push({ kind, rows: new Map(), operations: [] }) - 1 : last;
    const group = this.sequence[at] as Group;
    this.#groups.set(kind, at);
    this.#last.set(owner, at);
    for (const [key, row] of rows) group.rows.set(key, row);
    return group;
  }
}

/** Waits for all. Rejects with a lost connection, else with the first error. */
export async function allOf(
  promises: readonly Promise<unknown>[],
  isLost: (error: unknown) => boolean,
): Promise<unknown[]> {
  const results = await Promise.allSettled(promises);
  const errors = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  if (errors.length > 0) throw errors.find(isLost) ?? errors[0];
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value);
}
