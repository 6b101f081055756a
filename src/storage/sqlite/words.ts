/**
 * The words of a log's entries, in an index of FTS5 that holds no copy of the texts (see docs/decisions/0003-search.md).
 * It is made when the first words come.
 *
 * The words are cut by us (storage/words.ts), not by SQLite, so that a row of the index is a list of terms that we alone
 * compose, and what a user types cannot become an operator. Each term begins with the owner's number: the words of one
 * owner lie together, and finding them costs the same however much others have. Beside the words there are terms for what
 * a page may be narrowed to.
 */
import type { LogEntry, LogFilter } from '../contract.js';
import { words } from '../words.js';
import type { Connection } from './connection.js';
import { nameOf, tableOf } from './tables.js';

export interface Words {
  readonly table: string;
  /** Puts an entry with these words in, also one that is in it already. Dear if the last one had a higher number. */
  add(seq: number, owner: number, entry: Marked, found: ReadonlySet<string>): void;
  /** Takes it out, if it is in. */
  remove(seq: number): void;
  /** Does a bounded piece of what keeps the index in few parts; after each transaction that added many. */
  merge(): void;
  /** What MATCH finds the entries by; undefined: nothing can be found. */
  expression(owner: number, filter: LogFilter): string | undefined;
}

type Marked = Pick<LogEntry, 'with' | 'tag'>;

/** Between an owner's number and what follows: no word has these, and to FTS5's tokenizer they are letters. */
const before = { word: '¶', peer: '§', tag: '¤' } as const;
/** Pages of the index that one piece of merging moves: a millisecond or two. */
const mergePages = 16;

export function sqliteWords(connection: Connection, name: string): Words {
  const table = tableOf('log', name, 'words');
  const tableName = nameOf('log', name, 'words');
  const create = (): void => {
    const options = "content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'";
    connection.createTable(tableName, `CREATE VIRTUAL TABLE ${table} USING fts5 (terms, ${options})`);
    // By itself it merges seldom and then much, while everybody waits.
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

/** FNV-1a, 32 bits. What it mistakes is sorted out when the entry is read. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(36);
}
