import { type LogEntry, type LogFilter, type LogQuery, type LogStore, UnknownId } from '../contract.js';
import { type Bound, matches, rangeOf } from '../filter.js';
import { compare } from '../order.js';
import type { Connection } from './connection.js';
import { forgetInSteps, type Purge } from './forget.js';
import { clamp, Owners } from './owners.js';
import type { Lane, Operation, Queue } from './queue.js';
import { nameOf, tableOf } from './tables.js';
import { sqliteWords } from './words.js';

/** What is remembered of an owner. */
interface LogOwner {
  readonly id: number;
  /** The highest id among the entries; null: there are none; undefined: not known. */
  last: string | null | undefined;
  /** Number and bytes of the entries; undefined: not known. */
  totals: { count: number; bytes: number } | undefined;
  /** Whether an entry was ever appended below another; if not, sequence numbers are in the order of the ids. */
  disordered: number;
}

interface Row {
  readonly id: string;
  readonly peer: string | null;
  readonly tag: string | null;
  readonly text: string | null;
  readonly value: string;
}

/** What a removal gives back of each entry. */
interface Removed {
  readonly seq: number;
  readonly bytes: number;
  readonly has_text: number;
}

/** Entries that one transaction of a trim removes. */
const trimStep = 500;

/**
 * Entries lie in the order in which they came, so that appending touches few pages; narrow indexes lead to them. The
 * first holds their sizes too: a total is one pass over it, done once for an owner that is asked for and kept up to date
 * in memory from then on, which costs an append nothing on the disk.
 */
export function sqliteLog(connection: Connection, queue: Queue, name: string): LogStore & Purge {
  const table = tableOf('log', name);
  const ownersTable = tableOf('log', name, 'owners');
  const byId = tableOf('log', name, 'ids');
  const byPeer = tableOf('log', name, 'peers');
  const byTag = tableOf('log', name, 'tags');
  const lane: Lane = { waiting: 0 };
  const texts = sqliteWords(connection, name);
  const owners = new Owners<LogOwner>(connection, 'log', name, ', disordered INTEGER NOT NULL DEFAULT 0', (row) => ({
    id: row.id,
    last: undefined,
    totals: undefined,
    disordered: row.disordered,
  }));

  const create = (): void => {
    owners.create();
    connection.createTable(
      nameOf('log', name),
      `CREATE TABLE ${table} (
         seq INTEGER PRIMARY KEY, owner INTEGER NOT NULL, id TEXT NOT NULL, bytes INTEGER NOT NULL,
         peer TEXT, tag TEXT, text TEXT, value TEXT NOT NULL
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
      seq = removeOne(owner, entry.id); // what replaces an entry takes its place
      if (seq === undefined && owner.disordered === 0) {
        connection.statement(`UPDATE ${ownersTable} SET disordered = 1 WHERE id = ?`).run(owner.id);
        owner.disordered = 1;
      }
    }
    const bytes = Buffer.byteLength(entry.value);
    const sql = `INSERT INTO ${table} (seq, owner, id, bytes, peer, tag, text, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
    const { with: peer = null, tag = null, text = null } = entry;
    const { lastInsertRowid } = connection
      .statement(sql)
      .run(seq ?? null, owner.id, entry.id, bytes, peer, tag, text, entry.value);
    if (entry.text !== undefined) texts.add(Number(lastInsertRowid), owner.id, entry);
    if (owner.totals !== undefined) {
      owner.totals.count++;
      owner.totals.bytes += bytes;
    }
  };

  /** Where it was; undefined: it was not there. */
  const removeOne = (owner: LogOwner, id: string): number | undefined => {
    const sql = `DELETE FROM ${table} WHERE owner = ? AND id = ? RETURNING seq, bytes, text IS NOT NULL AS has_text`;
    const row = connection.statement(sql).get(owner.id, id) as Removed | undefined;
    if (row === undefined) return undefined;
    tidy(owner, [row]);
    if (owner.last === id) owner.last = undefined;
    return row.seq;
  };

  /** Removes the first entries of an owner. */
  const removeFirst = (id: number, limit: number): Removed[] => {
    const first = `SELECT seq FROM ${table} INDEXED BY ${byId} WHERE owner = ? ORDER BY id LIMIT ?`;
    const sql = `DELETE FROM ${table} WHERE seq IN (${first}) RETURNING seq, bytes, text IS NOT NULL AS has_text`;
    return connection.statement(sql).all(id, limit) as Removed[];
  };

  const tidy = (owner: LogOwner | undefined, rows: readonly Removed[]): void => {
    for (const { seq, bytes, has_text } of rows) {
      if (has_text) texts.remove(seq);
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

  /** Conditions of a filter but for its words and ids, and their parameters. */
  const conditions = (owner: LogOwner, filter: LogFilter): { where: string; parameters: unknown[] } => {
    const { low, high } = rangeOf(filter);
    const parameters: unknown[] = [owner.id];
    let where = 'owner = ?';
    const add = (condition: string, parameter: string | undefined): void => {
      if (parameter === undefined) return;
      where += ` AND ${condition} ?`;
      parameters.push(parameter);
    };
    add('peer =', filter.with);
    add('tag =', filter.tag);
    add(low?.inclusive ? 'id >=' : 'id >', low?.id);
    add(high?.inclusive ? 'id <=' : 'id <', high?.id);
    return { where, parameters };
  };

  const indexFor = (filter: LogFilter): string =>
    filter.with !== undefined ? byPeer : filter.tag !== undefined ? byTag : byId;

  /** The sequence number of the entry next to a bound, on its inner side. */
  const seqAt = (owner: LogOwner, bound: Bound, direction: 'ASC' | 'DESC'): number | undefined => {
    const operator = `${direction === 'ASC' ? '>' : '<'}${bound.inclusive ? '=' : ''}`;
    const sql = `SELECT seq FROM ${table} INDEXED BY ${byId} WHERE owner = ? AND id ${operator} ? ORDER BY id ${direction} LIMIT 1`;
    return (connection.statement(sql).get(owner.id, bound.id) as { seq: number } | undefined)?.seq;
  };

  /** The source, condition and order for entries with words: what a SELECT needs besides its columns and limit. */
  const wordsClause = (
    owner: LogOwner,
    filter: LogFilter,
    direction: 'ASC' | 'DESC',
  ): { clause: string; parameters: unknown[] } | undefined => {
    const expression = texts.expression(owner.id, filter);
    if (expression === undefined) return undefined;
    const { where, parameters } = conditions(owner, filter);
    const clause = `${texts.table} CROSS JOIN ${table} ON seq = ${texts.table}.rowid WHERE ${texts.table} MATCH ?`;
    if (owner.disordered) {
      return { clause: `${clause} AND ${where} ORDER BY id ${direction}`, parameters: [expression, ...parameters] };
    }
    // Rowids are in the order of the ids: the index is read in that order too, and no further than the limit.
    const { low, high } = rangeOf(filter);
    const first = low === undefined ? 0 : seqAt(owner, low, 'ASC');
    const last = high === undefined ? Number.MAX_SAFE_INTEGER : seqAt(owner, high, 'DESC');
    if (first === undefined || last === undefined) return undefined;
    const rowid = `${texts.table}.rowid`;
    return {
      clause: `${clause} AND ${rowid} >= ? AND ${rowid} <= ? AND ${where} ORDER BY ${rowid} ${direction}`,
      parameters: [expression, first, last, ...parameters],
    };
  };

  /** Entries with the ids asked that pass, in the direction of reading. */
  const withIds = (
    owner: LogOwner,
    ids: readonly string[],
    filter: LogFilter,
    direction: 'ASC' | 'DESC',
  ): LogEntry[] => {
    const { where, parameters } = conditions(owner, filter);
    const isMatch = matches(filter);
    const get = connection.statement(`SELECT id, peer, tag, text, value FROM ${table} WHERE id = ? AND ${where}`);
    const ordered = [...new Set(ids)].sort(compare);
    if (direction === 'DESC') ordered.reverse();
    return ordered.flatMap((id) => {
      const row = get.get(id, ...parameters) as Row | undefined;
      const entry = row && entryOf(row);
      return entry !== undefined && isMatch(entry) ? [entry] : [];
    });
  };

  /** At most `limit` entries, in the direction of reading. */
  const select = (owner: LogOwner, filter: LogFilter, direction: 'ASC' | 'DESC', limit: number): LogEntry[] => {
    if (filter.ids !== undefined) return withIds(owner, filter.ids, filter, direction).slice(0, limit);
    let sql = 'SELECT id, peer, tag, text, value FROM ';
    let parameters: unknown[];
    if (filter.words !== undefined) {
      const found = wordsClause(owner, filter, direction);
      if (found === undefined) return [];
      sql += found.clause;
      parameters = found.parameters;
    } else {
      const plain = conditions(owner, filter);
      sql += `${table} INDEXED BY ${indexFor(filter)} WHERE ${plain.where} ORDER BY id ${direction}`;
      parameters = plain.parameters;
    }
    const rows = connection.statement(`${sql} LIMIT ?`).all(...parameters, clamp(limit));
    return (rows as Row[]).map(entryOf);
  };

  const countIn = (owner: LogOwner, filter: LogFilter, limit: number): number => {
    if (filter.ids !== undefined) return Math.min(withIds(owner, filter.ids, filter, 'ASC').length, limit);
    const plain = conditions(owner, filter);
    const found =
      filter.words === undefined
        ? { clause: `${table} INDEXED BY ${indexFor(filter)} WHERE ${plain.where}`, parameters: plain.parameters }
        : wordsClause(owner, filter, 'ASC');
    if (found === undefined) return 0;
    const sql = `SELECT count(*) AS count FROM (SELECT 1 FROM ${found.clause} LIMIT ?)`;
    return (connection.statement(sql).get(...found.parameters, clamp(limit)) as { count: number }).count;
  };

  const has = (owner: LogOwner | undefined, id: string): boolean =>
    owner !== undefined &&
    connection.statement(`SELECT 1 FROM ${table} WHERE owner = ? AND id = ?`).get(owner.id, id) !== undefined;

  const forgetting = forgetInSteps(queue, lane, owners, (id, limit) => {
    const rows = removeFirst(id, limit);
    tidy(undefined, rows);
    return rows.length;
  });

  return {
    append: (owner, { id, with: peer, text, tag, value }) => {
      const run = (): void => append(owner, { id, with: peer, text, tag, value });
      return queue.write({ lane, kind: 'append', owner, id, bytes: value.length + (text?.length ?? 0), run });
    },
    page: (name, query) =>
      queue.read(lane, () => {
        const owner = owners.find(name);
        if (query.strict) assertKnown(query, (id) => has(owner, id));
        if (owner === undefined) return { entries: [], complete: true };
        const entries = select(owner, query, query.backwards ? 'DESC' : 'ASC', query.limit + 1);
        const complete = entries.length <= query.limit;
        if (!complete) entries.pop();
        if (query.backwards) entries.reverse();
        return { entries, complete };
      }),
    count: (name, filter, limit = Number.POSITIVE_INFINITY) =>
      queue.read(lane, () => {
        const owner = owners.find(name);
        return owner === undefined ? 0 : countIn(owner, filter, limit);
      }),
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
  };
}

/** The appends of these ids that wait, and nothing but appends and removals after them. */
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

function entryOf({ id, peer, text, tag, value }: Row): LogEntry {
  return {
    id,
    ...(peer !== null && { with: peer }),
    ...(text !== null && { text }),
    ...(tag !== null && { tag }),
    value,
  };
}
