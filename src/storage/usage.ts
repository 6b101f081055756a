/**
 * Bytes per owner across all stores, and quotas. A wrapper counts writes; the actual usage is measured (`size` of each
 * store) in the background: after the first writes of an owner, and again when the count approaches a quota. So a
 * normal write costs one addition, the count is only briefly below the actual usage, and a crash loses nothing.
 *
 * At the quota the oldest archive entries are deleted; any other write is refused with StorageError('quota').
 */
import { type LogStore, type Shape, type Storage, StorageError } from './contract.js';
import { Recent } from './recent.js';
import { around, type StoreCall } from './wrappers.js';

export type Kind = 'archive' | 'data';

/** Bytes. */
export type Quota = Readonly<Record<Kind, number>>;

export interface QuotaRules {
  /** Logs whose oldest entries are deleted at the quota. */
  readonly archives: ReadonlySet<string>;
  /** Stores that are not counted: the server's own records about an owner. */
  readonly exempt: ReadonlySet<string>;
  /** Whether the owner has a quota at all. */
  isCounted(owner: string): boolean;
  quotaOf(owner: string): Promise<Quota>;
  /** An owner has used 90 % of a quota. Called after each measurement. */
  near(owner: string, kind: Kind, used: number, quota: number): void;
  /** A write was refused, or old entries were deleted. */
  reached(owner: string, kind: Kind): void;
  failed(error: unknown): void;
}

/** Usage of one owner, by store. */
export interface Usage {
  readonly archive: number;
  readonly data: number;
  readonly stores: Readonly<Record<string, number>>;
  readonly quota: Quota | undefined;
}

interface Tally {
  /** Bytes written since `measured`; replacing a value counts in full. */
  added: Record<Kind, number>;
  measured: Quota | undefined;
  quota: Quota;
  measuring: Promise<void> | undefined;
}

/** The count of an owner, for another process. */
export interface Count {
  readonly added: Quota;
  /** Absent until it was measured. */
  readonly measured?: Quota | undefined;
  readonly quota: Quota;
}

/** Maximum owners whose counts are in memory. */
const maxOwners = 20_000;
/** Bytes that an owner writes before the first measurement. */
const firstMeasurement = 65_536;
/** From this share of a quota on, usage is measured again each time that this share of the quota was written. */
const close = 0.8;
const step = 0.02;
const nearly = 0.9;
/** Share of the quota to which an archive is trimBatch, and entries deleted at a time. */
const trimTarget = 0.95;
const trimBatch = 200;
const kinds = ['archive', 'data'] as const;
/** Shares of the quota that count as near and as full. A trimBatch archive is below its quota. */
const almost = { archive: nearly, data: nearly };
const full = { archive: trimTarget - step, data: 1 - step };

const writes = new Set(['set', 'compareAndSet']);
const removals = new Set(['delete', 'remove', 'trim', 'forget']);

export class Usages {
  readonly #inner: Storage;
  readonly #rules: QuotaRules;
  readonly #tallies = new Recent<Tally>(maxOwners);
  readonly #stores = new Map<string, { readonly shape: Shape; readonly name: string; readonly kind: Kind }>();
  /** The counted storage. */
  readonly storage: Storage;

  constructor(inner: Storage, rules: QuotaRules) {
    this.#inner = inner;
    this.#rules = rules;
    const counted = around(inner, (call, run, parameters) => this.#around(call, run, parameters));
    const opened = <S>(shape: Shape, name: string, store: S): S => {
      if (!rules.exempt.has(name))
        this.#stores.set(`${shape} ${name}`, { shape, name, kind: this.#kindOf(shape, name) });
      return store;
    };
    this.storage = {
      ...counted,
      document: (name) => opened('document', name, counted.document(name)),
      map: (name) => opened('map', name, counted.map(name)),
      log: (name, options) => {
        // What is not counted without reading all of it has no quota.
        const log = counted.log(name, options);
        if (rules.exempt.has(name) || log.supports?.counts === false) return log;
        return { ...opened('log', name, log), append: this.#append(name, inner.log(name)) };
      },
    };
  }

  /** Measures the usage of an owner now. */
  async of(owner: string): Promise<Usage> {
    const stores: Record<string, number> = {};
    const sums = { archive: 0, data: 0 };
    await Promise.all(
      [...this.#stores.values()].map(async ({ shape, name, kind }) => {
        const bytes = await this.#inner[shape](name).size(owner);
        if (bytes > 0) stores[name] = (stores[name] ?? 0) + bytes;
        sums[kind] += bytes;
      }),
    );
    const quota = this.#rules.isCounted(owner) ? await this.#rules.quotaOf(owner) : undefined;
    return { ...sums, stores, quota };
  }

  /** Number of recently writing owners that have used 90 % of a quota, and of those that have used all of it. */
  get reaches(): { readonly near: number; readonly reached: number } {
    let near = 0;
    let reached = 0;
    for (const { added, measured, quota } of this.#tallies.values()) {
      if (measured === undefined) continue;
      const isAt = (part: Readonly<Record<Kind, number>>) =>
        kinds.some((kind) => measured[kind] + added[kind] >= part[kind] * quota[kind]);
      if (isAt(full)) reached++;
      else if (isAt(almost)) near++;
    }
    return { near, reached };
  }

  /** Call after a quota has changed: the owner is measured again at its next write. */
  changed(owner: string): void {
    this.#tallies.delete(owner);
  }

  /** Call when another process may have written for these owners: they are measured again at their next write. */
  deleteIf(matches: (owner: string) => boolean): void {
    this.#tallies.deleteIf(matches);
  }

  /** The counts of these owners, for the process that writes for them from now on. */
  *describe(matches: (owner: string) => boolean): Iterable<readonly [owner: string, count: Count]> {
    for (const [owner, { added, measured, quota }] of this.#tallies.entries())
      if (matches(owner)) yield [owner, { added, measured, quota }];
  }

  /** Goes on with the count that another process had. */
  restore(owner: string, { added, measured, quota }: Count): void {
    this.#tallies.set(owner, { added: { ...added }, measured, quota, measuring: undefined });
  }

  /** Call after the rules have changed: all owners are measured again. */
  clear(): void {
    this.#tallies.clear();
  }

  #kindOf(shape: Shape, name: string): Kind {
    return shape === 'log' && this.#rules.archives.has(name) ? 'archive' : 'data';
  }

  /** Fast path for messages: does only what counting needs. */
  #append(name: string, log: LogStore): LogStore['append'] {
    const kind = this.#kindOf('log', name);
    return (owner, entry) => {
      if (!this.#rules.isCounted(owner)) return log.append(owner, entry);
      const tally = this.#tallyOf(owner);
      const verdict = this.#write(owner, tally, kind, entry.value.length);
      if (verdict instanceof StorageError) return Promise.reject(verdict);
      const written = log.append(owner, entry);
      if (verdict) void this.#remeasure(owner, tally);
      return written;
    };
  }

  #around<R>(
    { shape, name, operation }: StoreCall,
    run: (others?: readonly unknown[]) => Promise<R>,
    [owner, first, second]: readonly unknown[],
  ): Promise<R> {
    if (typeof owner !== 'string' || this.#rules.exempt.has(name)) return run();
    const isWrite = writes.has(operation);
    if ((!isWrite && !removals.has(operation)) || !this.#rules.isCounted(owner)) return run();
    if (!isWrite) return this.#remove(owner, run);
    // Copies entries that can be iterated only once.
    const entries = shape === 'map' && !Array.isArray(first) ? [...(first as Iterable<unknown>)] : undefined;
    const tally = this.#tallyOf(owner);
    const verdict = this.#write(
      owner,
      tally,
      this.#kindOf(shape, name),
      bytesOf(shape, operation, entries ?? first, second),
    );
    if (verdict instanceof StorageError) return Promise.reject(verdict);
    const written = entries === undefined ? run() : run([owner, entries]);
    // A read sees earlier writes: whatever is subtracted from the count has been measured.
    if (verdict) void this.#remeasure(owner, tally);
    return written;
  }

  /** Counts a write. Returns whether to measure the owner afterwards, or the error to refuse it with. */
  #write(owner: string, { added, measured, quota }: Tally, kind: Kind, bytes: number): boolean | StorageError {
    added[kind] += bytes;
    if (measured === undefined) return added.archive + added.data >= firstMeasurement;
    const used = measured[kind] + added[kind];
    if (kind === 'archive' || used <= quota[kind] || bytes === 0)
      return used > close * quota[kind] && added[kind] > step * quota[kind];
    added[kind] -= bytes;
    if (added[kind] > 0) void this.#remeasure(owner, this.#tallyOf(owner));
    this.#rules.reached(owner, kind);
    return new StorageError('quota', 'the quota is exceeded');
  }

  /**
   * If usage is near the quota, resolves only after a new measurement, so that later writes can use the freed space.
   */
  async #remove<R>(owner: string, run: () => Promise<R>): Promise<R> {
    const result = await run();
    const tally = this.#tallies.get(owner);
    if (tally?.measured !== undefined && tally.measured.data + tally.added.data > nearly * tally.quota.data) {
      await tally.measuring;
      await this.#remeasure(owner, tally);
    }
    return result;
  }

  #tallyOf(owner: string): Tally {
    let tally = this.#tallies.get(owner);
    if (tally === undefined) {
      const unlimited = { archive: Number.POSITIVE_INFINITY, data: Number.POSITIVE_INFINITY };
      tally = { added: { archive: 0, data: 0 }, measured: undefined, quota: unlimited, measuring: undefined };
      this.#tallies.set(owner, tally);
    }
    return tally;
  }

  /** Measures an owner again, one measurement at a time. Never rejects. */
  #remeasure(owner: string, tally: Tally): Promise<void> {
    tally.measuring ??= this.#measureToTheEnd(owner, tally)
      .catch((error: unknown) => this.#rules.failed(error))
      .finally(() => {
        tally.measuring = undefined;
      });
    return tally.measuring;
  }

  /** Repeats the measurement if writes made meanwhile exceed the quota: no later write may come to trigger it. */
  async #measureToTheEnd(owner: string, tally: Tally): Promise<void> {
    do await this.#measure(owner, tally);
    while (isArchiveOver(tally));
  }

  async #measure(owner: string, tally: Tally): Promise<void> {
    const before = { ...tally.added };
    const { archive, data, quota } = await this.of(owner);
    if (quota === undefined) return;
    tally.quota = quota;
    tally.measured = { archive, data };
    // Writes made meanwhile may be counted twice: the count may exceed the actual usage, but is never below it.
    for (const kind of kinds) {
      tally.added[kind] -= before[kind];
      if (tally.measured[kind] >= nearly * quota[kind] && kind === 'data')
        this.#rules.near(owner, kind, tally.measured[kind], quota[kind]);
    }
    if (archive > quota.archive) {
      this.#rules.reached(owner, 'archive');
      tally.measured = { archive: await this.#makeRoom(owner, quota.archive), data };
    }
  }

  /** Trims archives. Returns the remaining bytes. */
  async #makeRoom(owner: string, quota: number): Promise<number> {
    const logs: LogStore[] = [];
    for (const { name, kind } of this.#stores.values()) if (kind === 'archive') logs.push(this.#inner.log(name));
    for (;;) {
      const sizes = await Promise.all(logs.map((log) => log.size(owner)));
      const all = sizes.reduce((sum, size) => sum + size, 0);
      if (all <= trimTarget * quota) return all;
      const size = Math.max(...sizes);
      const largest = logs[sizes.indexOf(size)]!;
      // The number of oldest entries that make up the excess if all are of equal size; the next round corrects it.
      const share = (all - trimTarget * quota) / size;
      const limit = Math.max(1, Math.min(trimBatch, Math.floor(share * (await largest.count(owner, {})))));
      if ((await largest.trim(owner, { keep: 0, limit })) === 0) return all;
    }
  }
}

function isArchiveOver({ added, measured, quota }: Tally): boolean {
  if (measured === undefined || added.archive <= step * quota.archive) return false;
  return measured.archive + added.archive > quota.archive;
}

/** Estimates the bytes of a write: characters are accurate enough until the owner is measured. */
function bytesOf(shape: Shape, operation: string, first: unknown, second: unknown): number {
  if (shape === 'map')
    return (first as readonly (readonly [string, unknown])[]).reduce((sum, [, value]) => sum + lengthOf(value), 0);
  return lengthOf(operation === 'compareAndSet' ? second : first);
}

function lengthOf(value: unknown): number {
  if (typeof value === 'string') return value.length + 2;
  try {
    return (JSON.stringify(value) as string | undefined)?.length ?? 0;
  } catch (error) {
    // The store rejects the write with this error.
    if (!(error instanceof TypeError)) throw error;
    return 0;
  }
}
