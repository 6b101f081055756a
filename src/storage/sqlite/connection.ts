/** The main thread's one connection to the database, and the descriptor that its write-ahead log is synced by. */
import { closeSync, fdatasync, openSync, statSync } from 'node:fs';
import type { Database, Statement } from 'better-sqlite3';
import { StorageError } from '../contract.js';
import { type FileOptions, openFile } from './file.js';

/** Makes what was written to a file durable. */
export type Sync = (descriptor: number, done: (error?: Error | null) => void) => void;

/** Bytes of a database that are read in a moment. */
const quicklyRead = 64 * 2 ** 20;

/** Milliseconds between attempts to open a file anew that fails. */
const reopenInterval = 250;

/** What the commits so far left in the log, in frames of a page each. */
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
  /** What is remembered of the database's content, dropped when a transaction is undone. */
  readonly #memories: { clear(): void }[] = [];
  #db: Database;
  #wal: number;
  /** Logs of connections before; what was committed last through them is not known to be durable yet. */
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

  /** Throws what SQLite throws, also when another process writes. */
  begin(): void {
    if (this.#isSuspect) this.#reopen();
    this.statement('BEGIN IMMEDIATE').run();
  }

  commit(): void {
    this.statement('COMMIT').run();
  }

  /** After any failure since `begin`, whatever SQLite has undone itself. */
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

  /** `sql` may make indexes beside it. */
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

  /** Has a memory cleared whenever it may hold what was not committed. */
  remember(memory: { clear(): void }): void {
    this.#memories.push(memory);
  }

  /** Takes no lock and moves nothing. */
  walState(): WalState {
    return this.statement('PRAGMA wal_checkpoint(NOOP)').get() as WalState;
  }

  /** Makes all commits so far durable, in the background. One at a time. */
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

  /** The disk failed: before the next use the file is opened anew, which helps where its descriptors went stale. */
  suspect(): void {
    this.#isSuspect = true;
  }

  /** Reads the database if that is quickly done. Throws StorageError('corrupt'). */
  assertSound(): void {
    if (statSync(this.file).size > quicklyRead) return;
    const found = String(this.#db.pragma('quick_check(1)', { simple: true }));
    if (found === 'ok') return;
    throw new StorageError('corrupt', `${this.file} is damaged: ${found}. Put back a backup by: waxwing restore FILE`);
  }

  /** Before reading outside of a transaction. */
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
      // Another file in its place does not have what was promised.
      if (statSync(this.file).ino !== this.#inode) return;
      db = openFile(this.file, this.#options);
      const wal = openSync(`${this.file}-wal`, 'r+');
      this.#stale.push(this.#wal);
      this.#wal = wal;
    } catch {
      db?.close();
      return; // perhaps the old one can still do something; it says why not
    }
    this.#db.close();
    this.#db = db;
    this.#statements.clear();
    this.#forget();
    this.#isSuspect = false;
  }

  #forget(): void {
    this.#tables = undefined;
    for (const memory of this.#memories) memory.clear();
  }
}
