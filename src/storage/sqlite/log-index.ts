/**
 * Which entries of a log are in the index of words (words.ts), and bringing the others in. Of each owner the ids up to
 * `indexed` are, written down in the transaction that puts them in: so none is lost, whenever the process ends. What is
 * appended at the end is left for later; what comes below `indexed`, in another's place or out of order, goes in at once.
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
  /** Entries up to this id are in the index, as far as they have words; null: none needs to be. */
  indexed: string | null;
}

export interface LogIndex {
  readonly words: Words;
  text: LogOptions['text'];
  /** An entry was written. */
  appended(owner: IndexedOwner, seq: number, entry: LogEntry): void;
  /** Whether so many entries are not in the index that looking through them takes long. */
  isBehind(owner: IndexedOwner): boolean;
  /** Puts some entries of an owner into the index; whether there are more. */
  step(name: string): boolean;
  /** Puts some entries into the index, of those that came since this was last done; whether there are more. */
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
  /** When enough was read, by the clock of `performance`. */
  readonly deadline: number;
}

/** Entries that a search looks through one by one, and bytes of them: about 1 ms. */
const mostBehind = 64;
const mostBytesBehind = 2 ** 18;
/** Milliseconds that a step reads for; writing what was read takes about as long again. And entries, if they are short. */
const readingTime = 1.5;
const mostInStep = 100;
/** Entries of which a step looks whether their owner has something new. */
const lookedAt = 1000;

export function logIndex<O extends IndexedOwner>(connection: Connection, name: string, owners: Owners<O>): LogIndex {
  const table = tableOf('log', name);
  const ownersTable = tableOf('log', name, 'owners');
  const byId = tableOf('log', name, 'ids');
  const words = sqliteWords(connection, name);

  /** How far `stepAny` has come in the order in which entries were written, which is no more than where to look first. */
  const property = `indexed ${nameOf('log', name)}`;
  let reached: number | undefined;
  connection.remember({
    clear: () => {
      reached = undefined;
    },
  });
  const reachedSeq = (): number => {
    if (reached === undefined) {
      const row = connection.statement('SELECT value FROM waxwing WHERE property = ?').get(property);
      reached = (row as { value: number } | undefined)?.value ?? 0;
    }
    // Numbers at the end are given again when their entries have gone.
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
    entries.length >= mostInStep || performance.now() >= deadline;

  /** Reads an owner's entries that are not in the index, one at least; whether all of them. */
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
    // FTS5 gathers what comes in the order of its numbers.
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
        setIndexed(owner, null); // nobody searches now; who does later begins anew
        return;
      }
      const found = wordsOf(entry.value, index.text);
      if (found.size > 0) words.add(seq, owner.id, entry, found);
    },
    isBehind: (owner) => {
      const rest = `SELECT bytes FROM ${table} INDEXED BY ${byId} WHERE owner = ? AND id ${owner.indexed === null ? '>=' : '>'} ? LIMIT ${mostBehind + 1}`;
      const sql = `SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM (${rest})`;
      const { count, bytes } = connection.statement(sql).get(owner.id, owner.indexed ?? '') as {
        count: number;
        bytes: number;
      };
      return count > mostBehind || (count > 1 && bytes > mostBytesBehind);
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
