/**
 * The buckets of an owner: each is a partition with the entries of some time. The bucket of an entry follows from its id
 * alone, so that nodes agree without asking. An index lists the buckets of an owner that have entries, and those that
 * have entries with a peer: so pages step over years of silence.
 */
import type { Bound } from '../filter.js';
import { fnv1a } from '../hash.js';
import { compare } from '../order.js';
import { named } from './schema.js';
import type { Row, Session, Statement } from './session.js';

/**
 * The fourth digit of an id stands for 9.3 hours (stanza/ids.ts); four of its values share a bucket, which is 37 hours. A room
 * with a message of 500 bytes each second has 67 MB in a bucket.
 */
const steps = ['s', 'o', 'k', 'g', 'c', '8', '4', '0'];

/** Returns the bucket of an id. Ids of any form are mapped so that buckets have the order of ids. */
export function bucketOf(id: string): string {
  const head = Array.from(id.slice(0, 8)).slice(0, 4);
  if (head.length < 4) return head.join('');
  const last = head[3]!;
  const step = last.length > 1 ? 's' : (steps.find((one) => one <= last) ?? '');
  return head[0]! + head[1]! + head[2]! + step;
}

/** The kind of index rows: of all entries, or of those with a peer. */
export const allKinds = '';
export const kindOf = (peer: string): string => `=${peer}`;

/** Partitions over which the list of owners is spread. */
const shards = 16;
/** Buckets per read of the index: of the first, and of later ones. */
const firstSlice = 8;
const slice = 64;

interface Place {
  readonly store: string;
  readonly owner: string;
}

export interface Walk {
  readonly low?: Bound | undefined;
  readonly high?: Bound | undefined;
  readonly backwards?: boolean | undefined;
}

export class Buckets {
  readonly #session: Session;
  readonly #ttl: number;
  readonly #insert: string;
  readonly #insertOwner: string;
  readonly #index: string;
  readonly #owners: string;

  /** `ttl`: seconds after which the rows of a bucket expire that gets no further entries; 0 for never. */
  constructor(session: Session, ttl: number) {
    const keyspace = named(session.keyspace);
    this.#session = session;
    this.#ttl = ttl;
    this.#index = `${keyspace}.bucket`;
    this.#owners = `${keyspace}.owner`;
    this.#insert = `INSERT INTO ${this.#index} (store, owner, kind, bucket) VALUES (?, ?, ?, ?) USING TTL ?`;
    this.#insertOwner = `INSERT INTO ${this.#owners} (store, shard, owner) VALUES (?, ?, ?) USING TTL ?`;
  }

  /** Adds buckets to the index, and the owner to the list of owners. Resolves once that is durable. */
  async add({ store, owner }: Place, rows: readonly (readonly [kind: string, bucket: string])[]): Promise<void> {
    const [[kind, bucket]] = rows as [readonly [string, string]];
    for (let more = 1000; ; more *= 2) {
      await this.#session.write(this.#insertOwner, [store, fnv1a(owner) % shards, owner, this.#ttl]);
      await this.#session.batch(
        rows.map((row) => ({ query: this.#insert, params: [store, owner, ...row, this.#ttl] })),
      );
      if (!this.#session.isConsistent) return;
      const query = `SELECT bucket FROM ${this.#index} WHERE store = ? AND owner = ? AND kind = ? AND bucket = ?`;
      if ((await this.#session.read(query, [store, owner, kind, bucket])).length > 0) return;
      // What was deleted when the clock was ahead hides what is written now.
      this.#session.advance(more);
    }
  }

  /** Yields the buckets of a kind from `first` on that may have ids in a range, some at a time. */
  async *walk(
    { store, owner }: Place,
    kind: string,
    { low, high, backwards = false }: Walk,
    first?: string,
  ): AsyncGenerator<string[]> {
    const lower = low && bucketOf(low.id);
    const lowest = lower === undefined || (first !== undefined && compare(first, lower) > 0) ? first : lower;
    const highest = high && bucketOf(high.id);
    let after: string | undefined;
    for (let limit = firstSlice; ; limit = slice) {
      const conditions: string[] = [];
      const params: unknown[] = [store, owner, kind];
      const demand = (condition: string, bound: string | undefined): void => {
        if (bound === undefined) return;
        conditions.push(` AND bucket ${condition} ?`);
        params.push(bound);
      };
      demand(!backwards && after !== undefined ? '>' : '>=', backwards ? lowest : (after ?? lowest));
      demand(backwards && after !== undefined ? '<' : '<=', backwards ? (after ?? highest) : highest);
      const order = backwards ? ' ORDER BY kind DESC, bucket DESC' : '';
      const query = `SELECT bucket FROM ${this.#index} WHERE store = ? AND owner = ? AND kind = ?${conditions.join('')}${order} LIMIT ?`;
      const rows = await this.#session.read(query, [...params, limit]);
      if (rows.length > 0) yield rows.map(({ bucket }) => bucket as string);
      if (rows.length < limit) return;
      after = rows.at(-1)!.bucket as string;
    }
  }

  /** Removes a bucket from the index, for all entries and for these peers. Removes an owner without buckets from the list. */
  async remove({ store, owner }: Place, bucket: string, peers: Iterable<string>): Promise<void> {
    const query = `DELETE FROM ${this.#index} WHERE store = ? AND owner = ? AND kind = ? AND bucket = ?`;
    const removal = (kind: string): Statement => ({ query, params: [store, owner, kind, bucket] });
    await this.#session.batch([removal(allKinds), ...Array.from(peers, (peer) => removal(kindOf(peer)))]);
    for await (const left of this.walk({ store, owner }, allKinds, {})) if (left.length > 0) return;
    await this.unlist({ store, owner });
    await this.drop({ store, owner });
  }

  /** Removes an owner from the list of owners. */
  async unlist({ store, owner }: Place): Promise<void> {
    const query = `DELETE FROM ${this.#owners} WHERE store = ? AND shard = ? AND owner = ?`;
    await this.#session.write(query, [store, fnv1a(owner) % shards, owner]);
  }

  /** Removes the index of an owner. */
  async drop({ store, owner }: Place): Promise<void> {
    await this.#session.write(`DELETE FROM ${this.#index} WHERE store = ? AND owner = ?`, [store, owner]);
  }

  /** Owners after one, in order, from all partitions of the list; more than are asked for. */
  async owners(store: string, after: string | undefined, limit: number): Promise<string[]> {
    const condition = after === undefined ? '' : ' AND owner > ?';
    const query = `SELECT owner FROM ${this.#owners} WHERE store = ? AND shard = ?${condition} LIMIT ?`;
    const read = async (shard: number): Promise<Row[]> =>
      this.#session.read(query, [store, shard, ...(after === undefined ? [] : [after]), limit]);
    const found = await Promise.all(Array.from({ length: shards }, (_, shard) => read(shard)));
    return found.flat().map(({ owner }) => owner as string);
  }
}
