/**
 * The words of a log's entries, in an FTS5 index without a copy of the texts (see docs/decisions/0003-search.md).
 * Created with the first words.
 *
 * Text is split into words here (storage/words.ts), not by SQLite: a row of the index is a list of terms composed by
 * us, and user input cannot become an operator. Each term begins with the owner's number, so the words of an owner are
 * adjacent, and a search costs the same however much data others have. Additional terms represent the fields by which a
 * page can be filtered.
 */
import type { LogEntry, LogFilter } from '../contract.js';
import { fnv1a } from '../hash.js';
import { words } from '../words.js';
import type { Connection } from './connection.js';
import { nameOf, tableOf } from './tables.js';

export interface Words {
  readonly table: string;
  /** Adds an entry with these words, or replaces it. Expensive if the last one added had a higher number. */
  add(seq: number, owner: number, entry: Marked, found: ReadonlySet<string>): void;
  /** Removes an entry, if present. */
  remove(seq: number): void;
  /** Runs a bounded step of merging the index; call after each transaction that added many entries. */
  merge(): void;
  /** Returns the MATCH expression for a filter; undefined if it cannot match. */
  expression(owner: number, filter: LogFilter): string | undefined;
}

type Marked = Pick<LogEntry, 'with' | 'tag'>;

/** Separators after an owner's number: never part of a word, but letters to FTS5's tokenizer. */
const before = { word: '¶', peer: '§', tag: '¤' } as const;
/** Index pages per merge step: one or two ms. */
const mergePages = 16;

export function sqliteWords(connection: Connection, name: string): Words {
  const table = tableOf('log', name, 'words');
  const tableName = nameOf('log', name, 'words');
  const create = (): void => {
    const options = "content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'";
    connection.createTable(tableName, `CREATE VIRTUAL TABLE ${table} USING fts5 (terms, ${options})`);
    // Automatic merging is rare but then large, and blocks everything.
    const settings = "('automerge', 0), ('crisismerge', 64), ('usermerge', 8)";
    connection.statement(`INSERT INTO ${table} (${table}, rank) VALUES ${settings}`).run();
  };
  return {
    table,
    add: (seq, owner, entry, found) => {
      if (!connection.hasTable(tableName)) create();
      const terms = [...marks(owner, entry), ...Array.from(found, (word) => term(owner, 'word', word))].join(' ');
      connection.statement(`INSERT OR REPLACE INTO ${table} (rowid, terms) VALUES (?, ?)`).run(seq, terms);
    },
    remove: (seq) => {
      if (connection.hasTable(tableName)) connection.statement(`DELETE FROM ${table} WHERE rowid = ?`).run(seq);
    },
    merge: () => {
      if (!connection.hasTable(tableName)) return;
      connection.statement(`INSERT INTO ${table} (${table}, rank) VALUES ('merge', ?)`).run(mergePages);
    },
    expression: (owner, filter) => {
      const wanted = words(filter.words ?? '');
      if (wanted.size === 0 || !connection.hasTable(tableName)) return undefined;
      const terms = [...Array.from(wanted, (word) => term(owner, 'word', word)), ...marks(owner, filter)];
      return terms.map((one) => `"${one}"`).join(' AND ');
    },
  };
}

function term(owner: number, kind: keyof typeof before, text: string): string {
  return `${owner.toString(36)}${before[kind]}${text}`;
}

function marks(owner: number, { with: peer, tag }: Marked): string[] {
  const found: string[] = [];
  if (peer !== undefined) found.push(term(owner, 'peer', hash(peer)));
  if (tag !== undefined) found.push(term(owner, 'tag', hash(tag)));
  return found;
}

/** Collisions are filtered out when the entry is read. */
const hash = (text: string): string => fnv1a(text).toString(36);
