import {
  type LogEntry,
  type LogFilter,
  type LogOptions,
  type LogQuery,
  type LogStore,
  UnknownId,
} from '../contract.js';
import { matches } from '../filter.js';
import { indexer } from '../indexer.js';
import { compare } from '../order.js';
import type { Connection } from './connection.js';
import { forgetInSteps, type Purge } from './forget.js';
import { logIndex } from './log-index.js';
import { columns, conditions, type Direction, entryOf, type Row } from './log-rows.js';
import { logSearch } from './log-search.js';
import { clamp, Owners } from './owners.js';
import { inPieces } from './pieces.js';
import type { Lane, Operation, Queue } from './queue.js';
import { nameOf, tableOf } from './tables.js';

/** Cached properties of an owner. */
interface LogOwner {
  readonly id: number;
  /** The highest id of the entries; null if there are none, undefined if unknown. */
  last: string | null | undefined;
  /** Number and bytes of the entries. Undefined if unknown. */
  totals: { count: number; bytes: number } | undefined;
  /** 1 if an entry was ever appended below another one; otherwise sequence numbers are in the order of ids. */
  disordered: number;
  /** Entries up to this id are in the word index: log-index.ts. */
  indexed: string | null;
}

/** An entry returned by its removal. */
interface Removed {
  readonly seq: number;
  readonly bytes: number;
}

export interface SqliteLog extends LogStore, Purge {
  /** Sets the text function for searches. */
  search(text: LogOptions['text']): void;
  /** Stops background work. */
  end(): void;
}

export interface IndexingOptions {
  /** Delay from an append to indexing, in ms, unless a search comes first. */
  readonly interval: number;
  readonly isBusy: ((utilization: number) => boolean) | undefined;
  readonly warn: (error: unknown) => void;
}

/** Entries removed per transaction of a trim. */
const trimStep = 500;

/**
 * Entries are stored in order of arrival, so that appends touch few pages; narrow indexes refer to them. The first
 * index includes sizes: the totals of an owner take one scan on first use, and are then maintained in memory, so that
 * an append needs no extra disk write.
 */
export function sqliteLog(connection: Connection, queue: Queue, name: string, indexing: IndexingOptions): SqliteLog {
  const table = tableOf('log', name);
  const ownersTable = tableOf('log', name, 'owners');
  const byId = tableOf('log', name, 'ids');
  const byPeer = tableOf('log', name, 'peers');
  const byTag = tableOf('log', name, 'tags');
  const lane: Lane = { waiting: 0 };
  const ownersColumns = ', disordered INTEGER NOT NULL DEFAULT 0, indexed TEXT';
  const owners = new Owners<LogOwner>(connection, 'log', name, ownersColumns, ({ id, disordered, indexed }) => ({
    id,
    last: undefined,
    totals: undefined,
    disordered,
    indexed,
  }));
  const index = logIndex(connection, name, owners);
  const search = logSearch(connection, name, index.words);
  /** Indexing steps: writes that reads of the log do not wait for. */
  const indexLane: Lane = { waiting: 0 };
  const piece = (run: () => boolean): Promise<boolean> =>
    queue.write({ lane: indexLane, kind: 'other', owner: '', bytes: 0, run });
  const background = indexer({ ...indexing, piece: () => piece(() => index.stepAny()) });
  /** Pending steps, one per owner, shared by concurrent searches. */
  const catchingUp = new Map<string, Promise<boolean>>();

  const create = (): void => {
    owners.create();
    connection.createTable(
      nameOf('log', name),
      `CREATE TABLE ${table} (
         seq INTEGER PRIMARY KEY, owner INTEGER NOT NULL, id TEXT NOT NULL, bytes INTEGER NOT NULL,
         peer TEXT, tag TEXT, value TEXT NOT NULL
       );
       CREATE INDEX ${byId} ON ${table} (owner, id, bytes);
       CREATE INDEX ${byPeer} ON ${table} (owner, peer, id) WHERE peer IS NOT NULL;
       CREATE INDEX ${byTag} ON ${table} (owner, tag, id) WHERE tag IS NOT NULL`,
    );
  };

  const lastOf = (owner: LogOwner): string | null => {
    if (owner.last === undefined) {
      const sql = `SELECT id FROM ${table} INDEXED BY ${byId} WHERE owner = ? ORDER BY id DESC LIMIT 1`;
      owner.last = (connection.statement(sql).get(owner.id) as { id: string } | undefined)?.id ?? null;
    }
    return owner.last;
  };

  const totalsOf = (owner: LogOwner): { count: number; bytes: number } => {
    const sql = `SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM ${table} INDEXED BY ${byId} WHERE owner = ?`;
    owner.totals ??= connection.statement(sql).get(owner.id) as { count: number; bytes: number };
    return owner.totals;
  };

  const append = (name: string, entry: LogEntry): void => {
    if (!owners.exist) create();
    const owner = owners.findOrMake(name);
    const last = lastOf(owner);
    let seq: number | undefined;
    if (last === null || compare(entry.id, last) > 0) owner.last = entry.id;
    else {
      seq = removeOne(owner, entry.id); // a replacement takes the same number
      if (seq === undefined && owner.disordered === 0) {
        connection.statement(`UPDATE ${ownersTable} SET disordered = 1 WHERE id = ?`).run(owner.id);
        owner.disordered = 1;
      }
    }
    const bytes = Buffer.byteLength(entry.value);
    const sql = `INSERT INTO ${table} (seq, owner, id, bytes, peer, tag, value) VALUES (?, ?, ?, ?, ?, ?, ?)`;
    const { with: peer = null, tag = null } = entry;
    const { lastInsertRowid } = connection
      .statement(sql)
      .run(seq ?? null, owner.id, entry.id, bytes, peer, tag, entry.value);
    index.appended(owner, Number(lastInsertRowid), entry);
    if (owner.totals !== undefined) {
      owner.totals.count++;
      owner.totals.bytes += bytes;
    }
  };

  /** Returns the number of the removed entry, or undefined if it did not exist. */
  const removeOne = (owner: LogOwner, id: string): number | undefined => {
    const sql = `DELETE FROM ${table} WHERE owner = ? AND id = ? RETURNING seq, bytes`;
    const row = connection.statement(sql).get(owner.id, id) as Removed | undefined;
    if (row === undefined) return undefined;
    tidy(owner, [row]);
    if (owner.last === id) owner.last = undefined;
    return row.seq;
  };

  /** Removes the first entries of an owner. */
  const removeFirst = (id: number, limit: number): Removed[] => {
    const first = `SELECT seq FROM ${table} INDEXED BY ${byId} WHERE owner = ? ORDER BY id LIMIT ?`;
    const sql = `DELETE FROM ${table} WHERE seq IN (${first}) RETURNING seq, bytes`;
    return connection.statement(sql).all(id, limit) as Removed[];
  };

  const tidy = (owner: LogOwner | undefined, rows: readonly Removed[]): void => {
    for (const { seq, bytes } of rows) {
      index.words.remove(seq);
      if (owner?.totals !== undefined) {
        owner.totals.count--;
        owner.totals.bytes -= bytes;
      }
    }
  };

  const trim = (name: string, before: string | undefined, keep: number | undefined, limit: number): number => {
    const owner = owners.find(name);
    if (owner === undefined) return 0;
    const surplus = keep === undefined ? 0 : totalsOf(owner).count - keep;
    const below = before === undefined ? 0 : countIn(owner, { before }, limit);
    const rows = removeFirst(owner.id, Math.min(Math.max(surplus, below, 0), limit));
    tidy(owner, rows);
    owner.last = undefined;
    return rows.length;
  };

  const indexFor = (filter: LogFilter): string =>
    filter.with !== undefined ? byPeer : filter.tag !== undefined ? byTag : byId;

  /** Scans the unindexed entries, which come after all indexed ones. They are few: see `searching`. */
  const withWordsInRest = (owner: LogOwner, filter: LogFilter, direction: Direction, limit: number): LogEntry[] => {
    const { indexed } = owner;
    const isLower = indexed !== null && (filter.after === undefined || compare(filter.after, indexed) < 0);
    const rest = { ...filter, words: undefined, after: isLower ? indexed : filter.after };
    return select(owner, rest, direction, Number.POSITIVE_INFINITY).filter(matches(filter, index.text)).slice(0, limit);
  };

  const withWords = (owner: LogOwner, filter: LogFilter, direction: Direction, limit: number): LogEntry[] => {
    if (index.text === undefined) return [];
    const parts = [search.select, withWordsInRest];
    let found: LogEntry[] = [];
    for (const part of direction === 'ASC' ? parts : parts.reverse()) {
      if (found.length < limit) found = found.concat(part(owner, filter, direction, limit - found.length));
    }
    return found;
  };

  /** Returns matching entries with these ids, in reading direction. */
  const withIds = (owner: LogOwner, ids: readonly string[], filter: LogFilter, direction: Direction): LogEntry[] => {
    const { where, parameters } = conditions(owner.id, filter);
    const isMatch = matches(filter, index.text);
    const found: LogEntry[] = [];
    for (const { places, values } of inPieces(ids)) {
      const sql = `SELECT ${columns} FROM ${table} WHERE ${where} AND id IN ${places}`;
      const rows = connection.statement(sql).all(...parameters, ...values) as Row[];
      for (const row of rows) {
        const entry = entryOf(row);
        if (isMatch(entry)) found.push(entry);
      }
    }
    found.sort(direction === 'ASC' ? (a, b) => compare(a.id, b.id) : (a, b) => compare(b.id, a.id));
    return found;
  };

  /** Returns at most `limit` entries, in reading direction. */
  const select = (owner: LogOwner, filter: LogFilter, direction: Direction, limit: number): LogEntry[] => {
    if (filter.ids !== undefined) return withIds(owner, filter.ids, filter, direction).slice(0, limit);
    if (filter.words !== undefined) return withWords(owner, filter, direction, limit);
    const { where, parameters } = conditions(owner.id, filter);
    const sql = `SELECT ${columns} FROM ${table} INDEXED BY ${indexFor(filter)} WHERE ${where} ORDER BY id ${direction} LIMIT ?`;
    return (connection.statement(sql).all(...parameters, clamp(limit)) as Row[]).map(entryOf);
  };

  const countIn = (owner: LogOwner, filter: LogFilter, limit: number): number => {
    if (filter.ids !== undefined) return Math.min(withIds(owner, filter.ids, filter, 'ASC').length, limit);
    if (filter.words !== undefined) {
      if (index.text === undefined) return 0;
      const inIndex = search.count(owner, filter, limit);
      if (inIndex >= limit) return inIndex;
      return inIndex + withWordsInRest(owner, filter, 'ASC', limit - inIndex).length;
    }
    const { where, parameters } = conditions(owner.id, filter);
    const matching = `SELECT 1 FROM ${table} INDEXED BY ${indexFor(filter)} WHERE ${where} LIMIT ?`;
    const sql = `SELECT count(*) AS count FROM (${matching})`;
    return (connection.statement(sql).get(...parameters, clamp(limit)) as { count: number }).count;
  };

  const has = (owner: LogOwner | undefined, id: string): boolean =>
    owner !== undefined &&
    connection.statement(`SELECT 1 FROM ${table} WHERE owner = ? AND id = ?`).get(owner.id, id) !== undefined;

  /** Runs a read. A search for words first waits until few unindexed entries are left. */
  const reading = <R>(name: string, { words, ids }: LogFilter, run: (owner: LogOwner | undefined) => R): Promise<R> =>
    words === undefined || ids !== undefined ? queue.read(lane, () => run(owners.find(name))) : searching(name, run);

  const searching = async <R>(name: string, run: (owner: LogOwner | undefined) => R): Promise<R> => {
    for (;;) {
      const found = await queue.read(lane, () => {
        const owner = owners.find(name);
        const hasBacklog = owner !== undefined && index.text !== undefined && index.hasBacklog(owner);
        return hasBacklog ? undefined : { result: run(owner) };
      });
      if (found !== undefined) return found.result;
      await catchUp(name);
    }
  };

  const catchUp = (name: string): Promise<boolean> => {
    let step = catchingUp.get(name);
    if (step === undefined) {
      step = background.inTurn(() => piece(() => index.step(name))).finally(() => catchingUp.delete(name));
      catchingUp.set(name, step);
    }
    return step;
  };

  const forgetting = forgetInSteps(queue, lane, owners, (id, limit) => {
    const rows = removeFirst(id, limit);
    tidy(undefined, rows);
    return rows.length;
  });

  return {
    append: (owner, { id, with: peer, tag, value }) => {
      const run = (): void => append(owner, { id, with: peer, tag, value });
      if (index.text !== undefined) background.wake();
      return queue.write({ lane, kind: 'append', owner, id, bytes: Buffer.byteLength(value), run });
    },
    page: (name, query) =>
      reading(name, query, (owner) => {
        if (query.strict) assertKnown(query, (id) => has(owner, id));
        if (owner === undefined) return { entries: [], complete: true };
        const entries = select(owner, query, query.backwards ? 'DESC' : 'ASC', query.limit + 1);
        const complete = entries.length <= query.limit;
        if (!complete) entries.pop();
        if (query.backwards) entries.reverse();
        return { entries, complete };
      }),
    count: (name, filter, limit = Number.POSITIVE_INFINITY) =>
      reading(name, filter, (owner) => (owner === undefined ? 0 : countIn(owner, filter, limit))),
    size: (name) =>
      queue.read(lane, () => {
        const owner = owners.find(name);
        return owner === undefined ? 0 : totalsOf(owner).bytes;
      }),
    remove: (name, ids) => {
      const wanted = new Set(ids);
      const instead = appendsOf(queue.newest(lane, name), wanted);
      const pending = new Set(instead.map(({ work }) => work.id));
      const run = (): number => {
        const owner = owners.find(name);
        let count = 0;
        for (const id of wanted) {
          const isRemoved = owner !== undefined && removeOne(owner, id) !== undefined;
          if (isRemoved || pending.has(id)) count++;
        }
        return count;
      };
      return queue.write({ lane, kind: 'remove', owner: name, bytes: ids.length * 32, run, instead });
    },
    trim: async (name, { before, keep, limit = Number.POSITIVE_INFINITY }) => {
      if (before === undefined && keep === undefined) return 0;
      for (let count = 0; ; ) {
        const step = Math.min(trimStep, limit - count);
        const run = (): number => trim(name, before, keep, step);
        const gone = await queue.write({ lane, kind: 'other', owner: name, bytes: 0, run });
        count += gone;
        if (gone < trimStep || count >= limit) return count;
      }
    },
    owners: (range) => queue.read(lane, () => owners.list(range)),
    ...forgetting,
    search: (text) => {
      index.text = text;
      background.wake();
    },
    end: () => background.close(),
  };
}

/** Returns the pending appends of these ids, if only appends and removals come after them. */
function appendsOf(newest: Iterable<Operation>, ids: ReadonlySet<string>): Operation[] {
  const found: Operation[] = [];
  for (const operation of newest) {
    if (operation.work.kind === 'append') {
      if (ids.has(operation.work.id ?? '')) found.push(operation);
    } else if (operation.work.kind !== 'remove') break;
  }
  return found;
}

function assertKnown({ after, before }: LogQuery, isKnown: (id: string) => boolean): void {
  for (const id of [after, before]) {
    if (id !== undefined && !isKnown(id)) throw new UnknownId(id);
  }
}
