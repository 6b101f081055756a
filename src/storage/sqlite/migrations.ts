/**
 * The schema shared by all stores, as a sequence of migrations. A released one is never changed; new ones are appended,
 * and find the stores' own tables (tables.ts) in sqlite_schema.
 */
import type { Database } from 'better-sqlite3';
import { StorageError } from '../contract.js';
import { applicationId, foreign } from './presence.js';

export type Migration = (db: Database) => void;

export const migrations: readonly Migration[] = [
  (db) => {
    db.exec('CREATE TABLE waxwing (property TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID');
    db.pragma(`application_id = ${applicationId}`);
  },
  // The text function of a log now determines the indexed words, and the index records its progress.
  (db) => {
    const tables = db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").all() as Table[];
    for (const { name, sql } of tables) {
      const quoted = `"${name.replaceAll('"', '""')}"`;
      if (name.startsWith('log-owners.')) db.exec(`ALTER TABLE ${quoted} ADD COLUMN indexed TEXT`);
      else if (name.startsWith('log.')) db.exec(`ALTER TABLE ${quoted} DROP COLUMN text`);
      else if (name.startsWith('log-words.') && /^CREATE VIRTUAL/i.test(sql)) db.exec(`DROP TABLE ${quoted}`);
    }
  },
];

interface Table {
  readonly name: string;
  readonly sql: string;
}

/**
 * Migrates the file to the latest schema, one transaction per step. Throws StorageError for a file that is newer or not
 * ours.
 */
export function migrate(db: Database, steps: readonly Migration[] = migrations): void {
  let version = schemaVersion(db);
  if (version > steps.length) {
    const known = `has schema ${version}, this version of the program knows ${steps.length}`;
    throw new StorageError('unavailable', `${db.name} was written by a newer version: it ${known}`);
  }
  for (const step of steps.slice(version)) {
    version++;
    db.transaction(() => {
      step(db);
      db.prepare("INSERT OR REPLACE INTO waxwing VALUES ('schema', ?)").run(version);
    }).immediate();
  }
}

/** Throws StorageError if the database belongs to another program. */
export function assertOurs(db: Database): void {
  schemaVersion(db);
}

function schemaVersion(db: Database): number {
  const tables = new Set(db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all());
  if (tables.size === 0) return 0;
  const version = tables.has('waxwing')
    ? db.prepare("SELECT value FROM waxwing WHERE property = 'schema'").pluck().get()
    : undefined;
  if (typeof version !== 'number') {
    throw foreign(db.name);
  }
  return version;
}
