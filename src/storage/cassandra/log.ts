/** The shape `log` on Cassandra. Its partitions are in buckets.ts; reading.ts reads, removal.ts removes. */
import {
  type LogEntry,
  type LogFilter,
  type LogPage,
  type LogQuery,
  type LogStore,
  type LogSupports,
  UnknownId,
} from '../contract.js';
import { compare } from '../order.js';
import { Recent } from '../recent.js';
import { allKinds, Buckets, bucketOf, kindOf } from './buckets.js';
import type { Fence } from './fence.js';
import type { Queue } from './queue.js';
import { Reading } from './reading.js';
import { Removal } from './removal.js';
import { named } from './schema.js';
import { type Session, type Statement, unset } from './session.js';

export interface LogParts {
  readonly session: Session;
  readonly queue: Queue;
  readonly fence: Fence;
  /** Seconds after which entries expire; 0 for never. */
  readonly expiry: number;
  /** Writes down that the store exists. */
  readonly note: () => Promise<void>;
}

/** Owners, and peers of one owner, about which this process knows what is in the index. */
const mostOwners = 20_000;
const mostKinds = 1000;
/** The rows of a bucket are written with its first entry, and outlive its last one. In seconds. */
const bucketSeconds = 3 * 86_400;

/** What this process has written for an owner. */
interface Known {
  /** The last bucket of each kind that is in the index. */
  readonly indexed: Map<string, string>;
  /** The greatest id. */
  last: string | undefined;
}

const supports: LogSupports = { words: false, counts: false };

export class CassandraLog {
  /** Its functions need no `this`. */
  readonly store: LogStore = {
    supports,
    append: (owner, entry) => this.#append(owner, entry),
    page: (owner, query) => this.#page(owner, query),
    count: (owner, filter, limit) => this.#count(owner, filter, limit),
    size: (owner) => this.#parts.queue.run(owner, () => this.#reading.size(this.#place(owner))),
    remove: (owner, ids) => this.#change(owner, () => this.#removal.remove(this.#place(owner), ids)),
    trim: (owner, what) => this.#change(owner, () => this.#removal.trim(this.#place(owner), what)),
    owners: (range) => this.#owners(range),
    forget: (owner) => this.#change(owner, () => this.#removal.forget(this.#place(owner))),
  };
  readonly #name: string;
  readonly #parts: LogParts;
  readonly #buckets: Buckets;
  readonly #reading: Reading;
  readonly #removal: Removal;
  readonly #known = new Recent<Known>(mostOwners);
  readonly #insert: string;
  readonly #insertWith: string;
  readonly #deleteWith: string;
  #noted: Promise<void> | undefined;

  constructor(name: string, parts: LogParts) {
    const { session, expiry } = parts;
    const keyspace = named(session.keyspace);
    this.#name = name;
    this.#parts = parts;
    this.#buckets = new Buckets(session, expiry === 0 ? 0 : expiry + bucketSeconds);
    this.#reading = new Reading(session, this.#buckets);
    this.#removal = new Removal(session, this.#buckets, this.#reading);
    this.#insert = `INSERT INTO ${keyspace}.entry (store, owner, bucket, id, peer, tag, value) VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL ?`;
    this.#insertWith = `INSERT INTO ${keyspace}.entry_with (store, owner, bucket, peer, id) VALUES (?, ?, ?, ?, ?) USING TTL ?`;
    this.#deleteWith = `DELETE FROM ${keyspace}.entry_with WHERE store = ? AND owner = ? AND bucket = ? AND peer = ? AND id = ?`;
  }

  async #append(owner: string, { id, with: peer, tag, value }: LogEntry): Promise<void> {
    this.#parts.fence.demand();
    await this.#parts.queue.append(owner, this.#write, { id, with: peer, tag, value });
    await this.#parts.fence.looked();
  }

  async #page(owner: string, query: LogQuery): Promise<LogPage> {
    demandNoWords(query);
    const { limit, backwards = false, after, before, strict = false } = query;
    return this.#parts.queue.run(owner, async () => {
      const place = this.#place(owner);
      if (strict) {
        const bounds = [after, before].filter((id) => id !== undefined);
        const found = new Set((await this.#reading.kept(place, bounds)).map(({ id }) => id));
        for (const id of bounds) if (!found.has(id)) throw new UnknownId(id);
      }
      const entries = await this.#reading.entries(place, query, limit + 1, backwards);
      const complete = entries.length <= limit;
      if (!complete) entries.pop();
      if (backwards) entries.reverse();
      return { entries, complete };
    });
  }

  async #count(owner: string, filter: LogFilter, limit = Number.POSITIVE_INFINITY): Promise<number> {
    demandNoWords(filter);
    return this.#parts.queue.run(owner, async () => {
      const place = this.#place(owner);
      if (filter.ids !== undefined || filter.with !== undefined)
        return (await this.#reading.entries(place, filter, limit, false)).length;
      let count = 0;
      if (limit === 0) return count;
      for await (const { heads } of this.#reading.heads(place, filter)) {
        count += heads.length;
        if (count >= limit) return limit;
      }
      return count;
    });
  }

  async #owners({ after, limit, suffix = '' }: Parameters<LogStore['owners']>[0]): Promise<string[]> {
    await this.#parts.queue.flush();
    this.#parts.queue.demandOpen();
    const found: string[] = [];
    const most = Math.min(limit, 1000);
    for (let last = after; found.length < limit; ) {
      const listed = (await this.#buckets.owners(this.#name, last, most)).sort(compare);
      // Up to here every shard has been read.
      const some = listed.slice(0, most);
      found.push(...some.filter((owner) => owner.endsWith(suffix)));
      if (some.length < most) break;
      last = some.at(-1);
    }
    return found.slice(0, limit);
  }

  /** Others may have changed what is stored for these owners. */
  moved(matches: (owner: string) => boolean): void {
    this.#known.deleteIf(matches);
  }

  /** Runs what deletes: never for a node that was excluded before. */
  async #change<R>(owner: string, run: () => Promise<R>): Promise<R> {
    const { fence, queue } = this.#parts;
    fence.demand();
    const result = await queue.run(owner, async () => {
      await fence.looked();
      try {
        return await run();
      } finally {
        this.#known.delete(owner);
      }
    });
    await fence.looked();
    return result;
  }

  #place(owner: string): { store: string; owner: string } {
    return { store: this.#name, owner };
  }

  readonly #write = async (owner: string, given: readonly LogEntry[]): Promise<void> => {
    const entries = given.length === 1 ? given : lastOfEach(given);
    const known = this.#known.get(owner) ?? { indexed: new Map<string, string>(), last: undefined };
    try {
      await this.#index(owner, known, entries);
      await this.#store(owner, known, entries);
      this.#known.set(owner, known);
    } catch (error) {
      // Whether it was written is unknown.
      this.#known.delete(owner);
      throw error;
    }
  };

  /** Adds the buckets of the entries to the index, unless they are known to be there. */
  async #index(owner: string, { indexed }: Known, entries: readonly LogEntry[]): Promise<void> {
    const missing = new Map<string, readonly [kind: string, bucket: string]>();
    for (const { id, with: peer } of entries) {
      const bucket = bucketOf(id);
      for (const kind of peer === undefined ? [allKinds] : [allKinds, kindOf(peer)])
        if (indexed.get(kind) !== bucket) missing.set(JSON.stringify([kind, bucket]), [kind, bucket]);
    }
    if (missing.size === 0) return;
    await (this.#noted ??= this.#parts.note().catch((error: unknown) => {
      this.#noted = undefined;
      throw error;
    }));
    await this.#buckets.add(this.#place(owner), [...missing.values()]);
    if (indexed.size > mostKinds) indexed.clear();
    for (const [kind, bucket] of missing.values()) indexed.set(kind, bucket);
  }

  async #store(owner: string, known: Known, entries: readonly LogEntry[]): Promise<void> {
    // Ids increase: only others can be those of present entries.
    const uncertain = entries.filter(({ id }) => known.last === undefined || compare(id, known.last) <= 0);
    const kept = uncertain.length === 0 ? [] : await this.#kept(owner, uncertain);
    const replaced = new Map(kept.map((one) => [one.id, one]));
    for (let at = 0; at < entries.length; ) {
      const bucket = bucketOf(entries[at]!.id);
      const statements: Statement[] = [];
      for (; at < entries.length && bucketOf(entries[at]!.id) === bucket; at++) {
        const { id, with: peer, tag, value } = entries[at]!;
        const before = replaced.get(id);
        const absent = before === undefined ? unset : null;
        const ttl = before?.ttl ?? this.#parts.expiry;
        const place = [this.#name, owner, bucket];
        const params = [...place, id, peer ?? absent, tag ?? absent, value, ttl];
        statements.push({ query: this.#insert, params });
        if (before?.with !== undefined && before.with !== peer)
          statements.push({ query: this.#deleteWith, params: [...place, before.with, id] });
        if (peer !== undefined) statements.push({ query: this.#insertWith, params: [...place, peer, id, ttl] });
        if (known.last === undefined || compare(id, known.last) > 0) known.last = id;
      }
      await this.#parts.session.batch(statements);
    }
  }

  /** Of these entries, those that are present. Later writes replace them, whatever the clocks say. */
  async #kept(owner: string, entries: readonly LogEntry[]): ReturnType<Reading['kept']> {
    const kept = await this.#reading.kept(
      this.#place(owner),
      entries.map(({ id }) => id),
    );
    for (const { at } of kept) this.#parts.session.exceed(at);
    return kept;
  }
}

/** Of several entries with an id, the last counts. */
function lastOfEach(entries: readonly LogEntry[]): readonly LogEntry[] {
  const last = new Map<string, LogEntry>();
  for (const entry of entries) {
    last.delete(entry.id);
    last.set(entry.id, entry);
  }
  return last.size === entries.length ? entries : [...last.values()];
}

function demandNoWords({ words }: LogFilter): void {
  if (words !== undefined) throw new TypeError('logs on Cassandra cannot be searched for words');
}
