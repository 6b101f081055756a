/** Reads entries of an owner: across its buckets, in both directions, a bounded number at a time. */
import type { LogEntry, LogFilter } from '../contract.js';
import { type Bound, rangeOf } from '../filter.js';
import { compare } from '../order.js';
import { allKinds, type Buckets, bucketOf, kindOf } from './buckets.js';
import { named } from './schema.js';
import type { Row, Session } from './session.js';

/** Rows per statement: with values, and of ids alone. */
const chunk = 200;
const idsChunk = 1000;
/** Buckets that are read at once, at most. The first is read alone: most pages end in it. */
const mostAtOnce = 8;

export interface Range {
  readonly low: Bound | undefined;
  readonly high: Bound | undefined;
  readonly backwards: boolean;
}

export interface Place {
  readonly store: string;
  readonly owner: string;
}

/** An entry without its value. */
export interface Head {
  readonly id: string;
  readonly with?: string | undefined;
  readonly tag?: string | undefined;
}

/** An entry without its value, and when it was written, in µs since 1970. */
export interface Written extends Head {
  readonly at: number;
}

/** An entry as it is stored. */
export interface Kept extends Written {
  /** Seconds until it expires; 0 for never. */
  readonly ttl: number;
}

export class Reading {
  readonly #session: Session;
  readonly #buckets: Buckets;
  readonly #entries: string;
  readonly #byPeer: string;

  constructor(session: Session, buckets: Buckets) {
    this.#session = session;
    this.#buckets = buckets;
    this.#entries = `${named(session.keyspace)}.entry`;
    this.#byPeer = `${named(session.keyspace)}.entry_with`;
  }

  /** Returns the first matching entries of a range, in reading direction. */
  async entries(place: Place, filter: LogFilter, limit: number, backwards: boolean): Promise<LogEntry[]> {
    const range = { ...rangeOf(filter), backwards };
    const isMatch = matching(filter);
    if (filter.ids !== undefined) {
      const found = await this.#named(place, filter.ids);
      return found
        .filter((entry) => isMatch(entry) && isWithin(entry.id, range))
        .sort(order(backwards))
        .slice(0, limit);
    }
    const found: LogEntry[] = [];
    const read = filter.with === undefined ? this.#part : this.#partWith;
    for await (const part of this.#parts(place, filter.with, range, (bucket, after) =>
      read.call(this, place, bucket, filter, after, Math.min(limit - found.length, chunk)),
    )) {
      for (const entry of part) if (isMatch(entry) && found.length < limit) found.push(entry);
      if (found.length >= limit) break;
    }
    return found;
  }

  /** Yields what a filter without `ids` selects, without values, in reading direction, bucket by bucket. */
  async *heads(
    place: Place,
    filter: LogFilter,
    backwards = false,
  ): AsyncGenerator<{ bucket: string; heads: Written[] }> {
    const isMatch = matching(filter);
    const range = { ...rangeOf(filter), backwards };
    const columns = 'id, peer, tag, WRITETIME(value) AS at';
    for await (const { bucket, rows } of this.#rows(place, range, columns, idsChunk))
      yield { bucket, heads: rows.map(writtenOf).filter(isMatch) };
  }

  /** Bytes of all values. Reads all of them. */
  async size(place: Place): Promise<number> {
    let bytes = 0;
    const range = { low: undefined, high: undefined, backwards: false };
    for await (const { rows } of this.#rows(place, range, 'id, value', chunk))
      for (const { value } of rows) bytes += Buffer.byteLength((value as string | null) ?? '');
    return bytes;
  }

  /** Returns those of the ids that exist. */
  async kept({ store, owner }: Place, ids: readonly string[]): Promise<Kept[]> {
    const query = `SELECT id, peer, tag, WRITETIME(value) AS at, TTL(value) AS ttl FROM ${this.#entries} WHERE store = ? AND owner = ? AND bucket = ? AND id IN ?`;
    const rows = await this.#byIds(query, { store, owner }, ids);
    return rows.map((row) => ({
      ...writtenOf(row),
      ttl: (row.ttl as number | null) ?? 0,
    }));
  }

  /** When the last entry of a bucket was written, in µs since 1970. */
  async lastAt({ store, owner }: Place, bucket: string): Promise<number> {
    const query = `SELECT WRITETIME(value) AS at FROM ${this.#entries} WHERE store = ? AND owner = ? AND bucket = ? ORDER BY id DESC LIMIT 1`;
    const [row] = await this.#session.read(query, [store, owner, bucket]);
    return Number(row?.at ?? 0);
  }

  async isEmpty({ store, owner }: Place, bucket: string): Promise<boolean> {
    const query = `SELECT id FROM ${this.#entries} WHERE store = ? AND owner = ? AND bucket = ? LIMIT 1`;
    return (await this.#session.read(query, [store, owner, bucket])).length === 0;
  }

  /** Of the given ids, those that exist, in any order. */
  async #named({ store, owner }: Place, ids: readonly string[]): Promise<LogEntry[]> {
    const query = `SELECT id, peer, tag, value FROM ${this.#entries} WHERE store = ? AND owner = ? AND bucket = ? AND id IN ?`;
    return (await this.#byIds(query, { store, owner }, ids)).map(entryOf);
  }

  async #byIds(query: string, { store, owner }: Place, ids: readonly string[]): Promise<Row[]> {
    const wanted: [bucket: string, ids: string[]][] = [];
    const byBucket = new Map<string, string[]>();
    for (const id of new Set(ids)) {
      const bucket = bucketOf(id);
      let some = byBucket.get(bucket);
      if (some === undefined || some.length === chunk) {
        byBucket.set(bucket, (some = []));
        wanted.push([bucket, some]);
      }
      some.push(id);
    }
    const rows: Row[] = [];
    for (let at = 0; at < wanted.length; at += mostAtOnce) {
      const some = wanted.slice(at, at + mostAtOnce);
      const found = await Promise.all(
        some.map(([bucket, ids]) => this.#session.read(query, [store, owner, bucket, ids])),
      );
      rows.push(...found.flat());
    }
    return rows;
  }

  /** Yields parts of the range, in reading direction. `read` reads one of a bucket, beyond an id that was read before. */
  async *#parts(
    place: Place,
    peer: string | undefined,
    range: Range,
    read: (
      bucket: string,
      beyond: Range,
    ) => Promise<{ readonly entries: LogEntry[]; readonly last: string | undefined }>,
  ): AsyncGenerator<LogEntry[]> {
    let atOnce = 1;
    for await (const slice of this.#walk(place, peer, range)) {
      for (let at = 0; at < slice.length; ) {
        const some = slice.slice(at, at + atOnce);
        at += some.length;
        atOnce = Math.min(atOnce * 2, mostAtOnce);
        const firsts = await Promise.all(some.map((bucket) => read(bucket, range)));
        for (const [n, first] of firsts.entries()) {
          yield first.entries;
          for (let { last } = first; last !== undefined; ) {
            const next = await read(some[n]!, beyond(range, last));
            yield next.entries;
            last = next.last;
          }
        }
      }
    }
  }

  async *#walk(place: Place, peer: string | undefined, range: Range): AsyncGenerator<string[]> {
    if (peer === undefined) yield* this.#buckets.walk(place, allKinds, range);
    // Buckets that were trimmed may still be in the index of a peer.
    else
      for await (const [first] of this.#buckets.walk(place, allKinds, {})) {
        yield* this.#buckets.walk(place, kindOf(peer), range, first);
        return;
      }
  }

  /** A part of a bucket. `last`: its last id, if there may be more. */
  async #part(place: Place, bucket: string, _: LogFilter, range: Range, limit: number) {
    const rows = await this.#session.read(...this.#select(place, bucket, 'id, peer, tag, value', range, limit));
    return { entries: rows.map(entryOf), last: rows.length < limit ? undefined : (rows.at(-1)!.id as string) };
  }

  /** The same of the entries with a peer. */
  async #partWith({ store, owner }: Place, bucket: string, filter: LogFilter, range: Range, limit: number) {
    const { conditions, params } = conditionsOf(range);
    const direction = range.backwards ? ' ORDER BY peer DESC, id DESC' : '';
    const query = `SELECT id FROM ${this.#byPeer} WHERE store = ? AND owner = ? AND bucket = ? AND peer = ?${conditions}${direction} LIMIT ?`;
    const rows = await this.#session.read(query, [store, owner, bucket, filter.with, ...params, limit]);
    const ids = rows.map(({ id }) => id as string);
    const entries = ids.length === 0 ? [] : await this.#named({ store, owner }, ids);
    return {
      entries: entries.sort(order(range.backwards)),
      last: rows.length < limit ? undefined : ids.at(-1),
    };
  }

  /** All rows of a range with some columns, a part of a bucket at a time. */
  async *#rows(place: Place, range: Range, columns: string, limit: number) {
    for await (const slice of this.#buckets.walk(place, allKinds, range)) {
      for (const bucket of slice) {
        for (let rest = range; ; ) {
          const rows = await this.#session.read(...this.#select(place, bucket, columns, rest, limit));
          if (rows.length > 0) yield { bucket, rows };
          if (rows.length < limit) break;
          rest = beyond(range, rows.at(-1)!.id as string);
        }
      }
    }
  }

  #select({ store, owner }: Place, bucket: string, columns: string, range: Range, limit: number): [string, unknown[]] {
    const { conditions, params } = conditionsOf(range);
    const direction = range.backwards ? ' ORDER BY id DESC' : '';
    const query = `SELECT ${columns} FROM ${this.#entries} WHERE store = ? AND owner = ? AND bucket = ?${conditions}${direction} LIMIT ?`;
    return [query, [store, owner, bucket, ...params, limit]];
  }
}

function conditionsOf({ low, high }: Range): { conditions: string; params: string[] } {
  let conditions = '';
  const params: string[] = [];
  if (low !== undefined) {
    conditions += low.inclusive ? ' AND id >= ?' : ' AND id > ?';
    params.push(low.id);
  }
  if (high !== undefined) {
    conditions += high.inclusive ? ' AND id <= ?' : ' AND id < ?';
    params.push(high.id);
  }
  return { conditions, params };
}

const beyond = (range: Range, id: string): Range => ({
  ...range,
  [range.backwards ? 'high' : 'low']: { id, inclusive: false },
});

const order =
  (backwards: boolean) =>
  (a: LogEntry, b: LogEntry): number =>
    backwards ? compare(b.id, a.id) : compare(a.id, b.id);

function isWithin(id: string, { low, high }: Range): boolean {
  const above = low === undefined ? 1 : compare(id, low.id) + (low.inclusive ? 0.5 : -0.5);
  const below = high === undefined ? 1 : compare(high.id, id) + (high.inclusive ? 0.5 : -0.5);
  return above > 0 && below > 0;
}

const matching =
  ({ with: peer, tag }: LogFilter) =>
  (head: Head): boolean =>
    (peer === undefined || head.with === peer) && (tag === undefined || head.tag === tag);

function headOf({ id, peer, tag }: Row): Head {
  const isSome = (value: unknown): value is string => typeof value === 'string';
  return { id: id as string, ...(isSome(peer) && { with: peer }), ...(isSome(tag) && { tag }) };
}

const writtenOf = (row: Row): Written => ({ ...headOf(row), at: Number(row.at ?? 0) });

/** A value that somebody has deleted by hand is empty, which no check accepts. */
const entryOf = (row: Row): LogEntry => ({ ...headOf(row), value: (row.value as string | null) ?? '' });
