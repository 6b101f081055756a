/** Removes entries of an owner: some, the oldest, or all. Whole buckets go as whole partitions, which leaves few tombstones. */
import type { LogStore } from '../contract.js';
import { inParallel } from '../in-parallel.js';
import { compare } from '../order.js';
import { allKinds, type Buckets, bucketOf } from './buckets.js';
import type { Head, Place, Reading, Written } from './reading.js';
import { named } from './schema.js';
import type { Session, Statement } from './session.js';

/** Partitions that are deleted at once. */
const atOnce = 8;

export class Removal {
  readonly #session: Session;
  readonly #buckets: Buckets;
  readonly #reading: Reading;
  readonly #entries: string;
  readonly #byPeer: string;

  constructor(session: Session, buckets: Buckets, reading: Reading) {
    this.#session = session;
    this.#buckets = buckets;
    this.#reading = reading;
    const of = (table: string): string =>
      `DELETE FROM ${named(session.keyspace)}.${table} WHERE store = ? AND owner = ? AND bucket = ?`;
    this.#entries = of('entry');
    this.#byPeer = of('entry_with');
  }

  async remove(place: Place, ids: readonly string[]): Promise<number> {
    const kept = await this.#reading.kept(place, ids);
    const byBucket = new Map<string, Head[]>();
    for (const one of kept) {
      this.#session.exceed(one.at);
      const bucket = bucketOf(one.id);
      byBucket.set(bucket, [...(byBucket.get(bucket) ?? []), one]);
    }
    for (const [bucket, heads] of byBucket) {
      const statements = heads.flatMap(({ id, with: peer }) => this.#removals(place, bucket, id, peer));
      await this.#session.batch(statements);
      if (await this.#reading.isEmpty(place, bucket)) await this.#buckets.remove(place, bucket, peersOf(heads));
    }
    return kept.length;
  }

  async trim(
    place: Place,
    { before, keep, limit = Number.POSITIVE_INFINITY }: Parameters<LogStore['trim']>[1],
  ): Promise<number> {
    const surplus = keep === undefined ? undefined : await this.#lastBeyond(place, keep);
    // Everything below one id, or up to another.
    const isGone = ({ id }: Head): boolean =>
      (before !== undefined && compare(id, before) < 0) || (surplus !== undefined && compare(id, surplus) <= 0);
    if (before === undefined && surplus === undefined) return 0;
    let gone = 0;
    while (gone < limit) {
      const part = await this.#oldest(place);
      if (part === undefined) return gone;
      const heads = part.heads.filter(isGone).slice(0, limit - gone);
      const last = heads.at(-1);
      if (last === undefined) return gone;
      // A deletion that is older than an entry would leave it.
      this.#session.exceed(Math.max(...heads.map(({ at }) => at)));
      const statements: Statement[] = [this.#upTo(this.#entries, [place.store, place.owner, part.bucket], last.id)];
      for (const peer of peersOf(heads))
        statements.push(
          this.#upTo(`${this.#byPeer} AND peer = ?`, [place.store, place.owner, part.bucket, peer], last.id),
        );
      await this.#session.batch(statements);
      gone += heads.length;
      if (await this.#reading.isEmpty(place, part.bucket)) {
        await this.#drop(place, part.bucket);
        await this.#buckets.remove(place, part.bucket, peersOf(heads));
      }
    }
    return gone;
  }

  async forget(place: Place): Promise<void> {
    await this.#buckets.unlist(place);
    for await (const buckets of this.#buckets.walk(place, allKinds, {}))
      await inParallel(buckets, atOnce, (bucket) => this.#drop(place, bucket));
    // Last: once a new row is visible there, so is what is written after it.
    await this.#buckets.drop(place);
  }

  /** The last of the entries that are not among the last `keep`. */
  async #lastBeyond(place: Place, keep: number): Promise<string | undefined> {
    let left = keep;
    for await (const { heads } of this.#reading.heads(place, {}, true)) {
      if (left < heads.length) return heads[left]!.id;
      left -= heads.length;
    }
    return undefined;
  }

  /** The first entries of the first bucket that has some. Removes empty ones from the index. */
  async #oldest(place: Place): Promise<{ bucket: string; heads: Written[] } | undefined> {
    for await (const part of this.#reading.heads(place, {})) return part;
    return undefined;
  }

  async #drop({ store, owner }: Place, bucket: string): Promise<void> {
    const params = [store, owner, bucket];
    this.#session.exceed(await this.#reading.lastAt({ store, owner }, bucket));
    await this.#session.batch([
      { query: this.#entries, params },
      { query: this.#byPeer, params },
    ]);
  }

  #removals({ store, owner }: Place, bucket: string, id: string, peer: string | undefined): Statement[] {
    const params = [store, owner, bucket];
    const entry = { query: `${this.#entries} AND id = ?`, params: [...params, id] };
    if (peer === undefined) return [entry];
    return [entry, { query: `${this.#byPeer} AND peer = ? AND id = ?`, params: [...params, peer, id] }];
  }

  #upTo(query: string, params: readonly unknown[], id: string): Statement {
    return { query: `${query} AND id <= ?`, params: [...params, id] };
  }
}

const peersOf = (heads: readonly Head[]): Set<string> =>
  new Set(heads.flatMap(({ with: peer }) => (peer === undefined ? [] : [peer])));
