/** The main thread's only connection to the database, and the descriptor for syncing its write-ahead log. */
import { closeSync, fdatasync, openSync, statSync } from 'node:fs';
import type { Database, Statement } from 'better-sqlite3';
import { StorageError } from '../contract.js';
import { type FileOptions, openFile } from './file.js';

/** Makes writes to a file durable. */
export type Sync = (descriptor: number, done: (error?: Error | null) => void) => void;

/** Maximum bytes of a database to check at startup. */
const quicklyRead = 64 * 2 ** 20;

/** Minimum time between attempts to reopen a file, in ms. */
const reopenInterval = 250;

/** State of the log after the last commit, in frames of one page each. */
export interface WalState {
  readonly log: number;
  readonly checkpointed: number;
}

export class Connection {
  readonly file: string;
  readonly pageSize: number;
  readonly #options: FileOptions;
  readonly #syncFile: Sync;
  readonly #statements = new Map<string, Statement<unknown[], unknown>>();
  /** Caches of database content, cleared when a transaction is rolled back. */
  readonly #caches: { clear(): void }[] = [];
  #db: Database;
  #wal: number;
  /** Descriptors of previous logs whose last commits may not be durable yet. */
  readonly #stale: number[] = [];
  readonly #inode: number;
  #tables: Set<string> | undefined;
  #isSuspect = false;
  #reopenedAt = Number.NEGATIVE_INFINITY;

  /** The lock of the file must be held. Throws StorageError. */
  constructor(file: string, options: FileOptions, sync: Sync = fdatasync) {
    this.file = file;
    this.#options = options;
    this.#syncFile = sync;
    this.#db = openFile(file, options);
    this.#wal = openSync(`${file}-wal`, 'r+');
    this.#inode = statSync(file).ino;
    this.pageSize = Number(this.#db.pragma('page_size', { simple: true }));
  }

  statement(sql: string): Statement<unknown[], unknown> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) this.#statements.set(sql, (statement = this.#db.prepare(sql)));
    return statement;
  }

  /** Begins a write transaction. Throws SQLite errors, also if another process is writing. */
  begin(): void {
    if (this.#isSuspect) this.#reopen();
    this.statement('BEGIN IMMEDIATE').run();
  }

  commit(): void {
    this.statement('COMMIT').run();
  }

  /** Call after any failure since `begin`, even if SQLite has rolled back itself. */
  rollback(): void {
    try {
      if (this.#db.inTransaction) this.statement('ROLLBACK').run();
    } finally {
      this.#forget();
    }
  }

  hasTable(name: string): boolean {
    return this.tables().has(name);
  }

  /** `sql` may also create indexes. */
  createTable(name: string, sql: string): void {
    this.#db.exec(sql);
    this.tables().add(name);
  }

  tables(): Set<string> {
    if (this.#tables === undefined) {
      const names = this.#db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all();
      this.#tables = new Set(names as string[]);
    }
    return this.#tables;
  }

  /** Registers a cache to be cleared whenever it may contain uncommitted data. */
  addCache(cache: { clear(): void }): void {
    this.#caches.push(cache);
  }

  /** Takes no lock and copies nothing. */
  walState(): WalState {
    return this.statement('PRAGMA wal_checkpoint(NOOP)').get() as WalState;
  }

  /** Makes all commits so far durable, in the background. One call at a time. */
  sync(done: (error?: Error | null) => void): void {
    const stale = this.#stale.shift();
    if (stale === undefined) {
      this.#syncFile(this.#wal, done);
      return;
    }
    this.#syncFile(stale, (error) => {
      closeSync(stale);
      if (error) done(error);
      else this.sync(done);
    });
  }

  /** The disk failed: the file is reopened before the next use, which helps if its descriptors are stale. */
  suspect(): void {
    this.#isSuspect = true;
  }

  /** Checks a small database for damage. Throws StorageError('corrupt'). */
  assertSound(): void {
    if (statSync(this.file).size > quicklyRead) return;
    const found = String(this.#db.pragma('quick_check(1)', { simple: true }));
    if (found === 'ok') return;
    throw new StorageError('corrupt', `${this.file} is damaged: ${found}. Restore a backup with: waxwing restore FILE`);
  }

  /** Call before reading outside of a transaction. */
  ready(): void {
    if (this.#isSuspect) this.#reopen();
  }

  close(): void {
    this.#db.close();
    for (const descriptor of [this.#wal, ...this.#stale]) closeSync(descriptor);
  }

  #reopen(): void {
    if (performance.now() - this.#reopenedAt < reopenInterval) return;
    this.#reopenedAt = performance.now();
    let db: Database | undefined;
    try {
      // Another file under this name does not have the committed data.
      if (statSync(this.file).ino !== this.#inode) return;
      db = openFile(this.file, this.#options);
      const wal = openSync(`${this.file}-wal`, 'r+');
      this.#stale.push(this.#wal);
      this.#wal = wal;
    } catch {
      db?.close();
      return; // the old connection may still work, or reports the error itself
    }
    this.#db.close();
    this.#db = db;
    this.#statements.clear();
    this.#forget();
    this.#isSuspect = false;
  }

  #forget(): void {
    this.#tables = undefined;
    for (const cache of this.#caches) cache.clear();
  }
}
