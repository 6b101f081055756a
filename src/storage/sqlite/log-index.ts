/**
 * Tracks which entries of a log are in the word index (words.ts), and indexes the others. For each owner the ids up to
 * `indexed` are in it; `indexed` is updated in the same transaction, so nothing is lost whenever the process ends.
 * Entries appended at the end are indexed later; entries below `indexed`, out of order or replacing others, at once.
 *
 * Everything here runs in transactions of the queue, or in reads between them.
 */
import type { LogEntry, LogOptions } from '../contract.js';
import { wordsOf } from '../filter.js';
import { compare } from '../order.js';
import type { Connection } from './connection.js';
import type { Owners } from './owners.js';
import { nameOf, tableOf } from './tables.js';
import { sqliteWords, type Words } from './words.js';

export interface IndexedOwner {
  readonly id: number;
  /** Entries up to this id are indexed, as far as they have words; null: none is. */
  indexed: string | null;
}

export interface LogIndex {
  readonly words: Words;
  text: LogOptions['text'];
  /** Call after an entry was written. */
  appended(owner: IndexedOwner, seq: number, entry: LogEntry): void;
  /** Whether too many entries are not indexed to scan them quickly. */
  hasBacklog(owner: IndexedOwner): boolean;
  /** Indexes some entries of an owner. Returns whether there are more. */
  step(name: string): boolean;
  /** Indexes some recently added entries. Returns whether there are more. */
  stepAny(): boolean;
}

interface Row {
  readonly seq: number;
  readonly id: string;
  readonly peer: string | null;
  readonly tag: string | null;
  readonly value: string;
}

interface Batch {
  readonly entries: { readonly row: Row; readonly owner: number; readonly found: ReadonlySet<string> }[];
  readonly owners: { readonly owner: IndexedOwner; readonly indexed: string }[];
  /** Time to stop reading, by `performance.now()`. */
  readonly deadline: number;
}

/** Maximum unindexed entries that a search scans, and their bytes: about 1 ms. */
const maxBacklog = 64;
const maxBacklogBytes = 2 ** 18;
/** Time that a step reads, in ms (writing takes about as long again), and its maximum entries. */
const readingTime = 1.5;
const maxInStep = 100;
/** Maximum entries per step checked for owners with unindexed entries. */
const lookedAt = 1000;

export function logIndex<O extends IndexedOwner>(connection: Connection, name: string, owners: Owners<O>): LogIndex {
  const table = tableOf('log', name);
  const ownersTable = tableOf('log', name, 'owners');
  const byId = tableOf('log', name, 'ids');
  const words = sqliteWords(connection, name);

  /** Progress of `stepAny` in order of writing. Only a hint where to start. */
  const property = `indexed ${nameOf('log', name)}`;
  let reached: number | undefined;
  connection.addCache({
    clear: () => {
      reached = undefined;
    },
  });
  const reachedSeq = (): number => {
    if (reached === undefined) {
      const row = connection.statement('SELECT value FROM waxwing WHERE property = ?').get(property);
      reached = (row as { value: number } | undefined)?.value ?? 0;
    }
    // The highest numbers are reused once their entries are removed.
    const { last } = connection.statement(`SELECT max(seq) AS last FROM ${table}`).get() as { last: number | null };
    return Math.min(reached, last ?? 0);
  };
  const reach = (seq: number): void => {
    if (seq === reached) return;
    connection.statement('INSERT OR REPLACE INTO waxwing VALUES (?, ?)').run(property, seq);
    reached = seq;
  };

  const setIndexed = (owner: IndexedOwner, id: string | null): void => {
    connection.statement(`UPDATE ${ownersTable} SET indexed = ? WHERE id = ?`).run(id, owner.id);
    owner.indexed = id;
  };

  const newBatch = (): Batch => ({ entries: [], owners: [], deadline: performance.now() + readingTime });
  const isSpent = ({ entries, deadline }: Batch): boolean =>
    entries.length >= maxInStep || performance.now() >= deadline;

  /** Reads unindexed entries of an owner, at least one. Returns whether that was all. */
  const collect = (owner: IndexedOwner, batch: Batch): boolean => {
    const sql = `SELECT seq, id, peer, tag, value FROM ${table} INDEXED BY ${byId} WHERE owner = ? AND id ${owner.indexed === null ? '>=' : '>'} ? ORDER BY id`;
    let last: string | undefined;
    let isWhole = true;
    for (const row of connection.statement(sql).iterate(owner.id, owner.indexed ?? '') as Iterable<Row>) {
      if (last !== undefined && isSpent(batch)) {
        isWhole = false;
        break;
      }
      batch.entries.push({ row, owner: owner.id, found: wordsOf(row.value, index.text) });
      last = row.id;
    }
    if (last !== undefined) batch.owners.push({ owner, indexed: last });
    return isWhole;
  };

  const write = ({ entries, owners }: Batch): void => {
    if (entries.length === 0) return;
    // FTS5 is efficient if numbers ascend.
    for (const { row, owner, found } of entries.sort((a, b) => a.row.seq - b.row.seq)) {
      if (found.size > 0) words.add(row.seq, owner, marked(row), found);
    }
    for (const { owner, indexed } of owners) setIndexed(owner, indexed);
    words.merge();
  };

  const index: LogIndex = {
    words,
    text: undefined,
    appended: (owner, seq, entry) => {
      if (owner.indexed === null || compare(entry.id, owner.indexed) > 0) return;
      if (index.text === undefined) {
        setIndexed(owner, null); // search is disabled; enabling it starts from the beginning
        return;
      }
      const found = wordsOf(entry.value, index.text);
      if (found.size > 0) words.add(seq, owner.id, entry, found);
    },
    hasBacklog: (owner) => {
      const rest = `SELECT bytes FROM ${table} INDEXED BY ${byId} WHERE owner = ? AND id ${owner.indexed === null ? '>=' : '>'} ? LIMIT ${maxBacklog + 1}`;
      const sql = `SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM (${rest})`;
      const { count, bytes } = connection.statement(sql).get(owner.id, owner.indexed ?? '') as {
        count: number;
        bytes: number;
      };
      return count > maxBacklog || (count > 1 && bytes > maxBacklogBytes);
    },
    step: (name) => {
      const owner = owners.find(name);
      if (owner === undefined || index.text === undefined) return false;
      const batch = newBatch();
      const isWhole = collect(owner, batch);
      write(batch);
      return !isWhole;
    },
    stepAny: () => {
      if (!owners.exist || index.text === undefined) return false;
      const rows = connection
        .statement(`SELECT seq, owner FROM ${table} WHERE seq > ? ORDER BY seq LIMIT ${lookedAt}`)
        .all(reachedSeq()) as { seq: number; owner: number }[];
      const batch = newBatch();
      const whole = new Set<number>();
      let end: number | undefined;
      let isCut = false;
      for (const { seq, owner: number } of rows) {
        if (!whole.has(number)) {
          isCut = end !== undefined && isSpent(batch);
          if (isCut) break;
          const owner = owners.numbered(number);
          isCut = owner !== undefined && !collect(owner, batch);
          if (isCut) break;
          whole.add(number);
        }
        end = seq;
      }
      write(batch);
      if (end !== undefined) reach(end);
      return isCut || rows.length === lookedAt;
    },
  };
  return index;
}

function marked({ peer, tag }: Row): Pick<LogEntry, 'with' | 'tag'> {
  return { with: peer ?? undefined, tag: tag ?? undefined };
}
