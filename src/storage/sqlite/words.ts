/**
 * Full-text search for a log, by FTS5: made when a text is first appended, and holding no copy of it.
 *
 * The words are cut by us (storage/words.ts), not by SQLite, so that a row of the index is a list of terms that we alone
 * compose. Beside the words it has terms for the owner and for what a page may be narrowed to, which no word can equal
 * because they begin with a private-use character. So a search for one owner intersects short lists instead of looking
 * through everybody's entries, and what a user types cannot become an operator.
 */
import type { LogEntry, LogFilter } from '../contract.js';
import { words } from '../words.js';
import type { Connection } from './connection.js';
import { nameOf, tableOf } from './tables.js';

export interface Words {
  readonly table: string;
  add(seq: number, owner: number, entry: LogEntry): void;
  remove(seq: number): void;
  /** What MATCH finds the entries by; undefined: nothing can be found. */
  expression(owner: number, filter: LogFilter): string | undefined;
}

export function sqliteWords(connection: Connection, name: string): Words {
  const table = tableOf('log', name, 'words');
  const tableName = nameOf('log', name, 'words');
  return {
    table,
    add: (seq, owner, entry) => {
      if (!connection.hasTable(tableName)) {
        const options = "content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'";
        connection.createTable(tableName, `CREATE VIRTUAL TABLE ${table} USING fts5 (terms, ${options})`);
      }
      const terms = [...marks(owner, entry), ...words(entry.text ?? '')].join(' ');
      connection.statement(`INSERT INTO ${table} (rowid, terms) VALUES (?, ?)`).run(seq, terms);
    },
    remove: (seq) => {
      connection.statement(`DELETE FROM ${table} WHERE rowid = ?`).run(seq);
    },
    expression: (owner, filter) => {
      const wanted = words(filter.words ?? '');
      if (wanted.size === 0 || !connection.hasTable(tableName)) return undefined;
      return [...marks(owner, filter), ...wanted].map((term) => `"${term}"`).join(' AND ');
    },
  };
}

function marks(owner: number, { with: peer, tag }: Pick<LogFilter, 'with' | 'tag'>): string[] {
  const found = [`\ue000${owner}`];
  if (peer !== undefined) found.push(`\ue001${hash(peer)}`);
  if (tag !== undefined) found.push(`\ue002${hash(tag)}`);
  return found;
}

/** FNV-1a, 32 bits. What it mistakes is sorted out when the entry is read. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(36);
}
