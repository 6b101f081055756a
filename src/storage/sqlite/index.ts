/** Storage in one SQLite file: the default driver. One process has the file open at a time. */
import { existsSync, realpathSync } from 'node:fs';
import type { Database } from 'better-sqlite3';
import {
  type DocumentStore,
  fenced,
  type MapStore,
  type Shape,
  type Storage,
  StorageError,
  type StoreName,
} from '../contract.js';
import { checkpoints } from './checkpoints.js';
import { Connection, type Sync } from './connection.js';
import { sqliteDocument } from './document.js';
import { storageError } from './errors.js';
import { lockFile, syncFolder } from './file.js';
import type { Purge } from './forget.js';
import { type SqliteLog, sqliteLog } from './log.js';
import { sqliteMap } from './map.js';
import { inspect, noteMade } from './presence.js';
import { type Lane, Queue } from './queue.js';
import { nameOf, storeOf } from './tables.js';

export interface SqliteOptions {
  /** Its folder must exist and be writable: `-wal`, `-shm` and `-lock` are put beside it. */
  readonly file: string;
  /** KiB of pages kept in memory. */
  readonly cacheSize?: number | undefined;
  /** Bytes that the file may grow to; writes beyond are refused as on a full disk. */
  readonly maxBytes?: number | undefined;
  /** Bytes of the write-ahead log from which on it is copied into the file. */
  readonly walBytes?: number | undefined;
  /** Operations, and bytes of them, that may wait for the disk; further writes are refused. */
  readonly maxWaiting?: number | undefined;
  readonly maxWaitingBytes?: number | undefined;
  /** Milliseconds that opening waits for another process that has the file open. */
  readonly openWithin?: number | undefined;
  /** Milliseconds that operations wait for another process's lock (of sqlite3, say). */
  readonly lockTimeout?: number | undefined;
  /** Milliseconds from an append to when its words are put into the index, in the background. */
  readonly indexInterval?: number | undefined;
  /** Whether that has to wait, by the part of its time that the event loop was in use: from 0.7 on. */
  readonly isBusy?: ((utilization: number) => boolean) | undefined;
  /** Told what needs somebody's attention but fails no operation. */
  readonly warn?: ((message: string, error: unknown) => void) | undefined;
  /** How the log is made durable; fdatasync(2). */
  readonly sync?: Sync | undefined;
}

/** Milliseconds between attempts to open a file that another process has open. */
const lockInterval = 50;
/** Milliseconds without a checkpoint after which its thread ends. */
const linger = 20_000;

/** Rejects with StorageError: locked (another process has it), read-only, corrupt, unavailable. */
export async function openSqlite(options: SqliteOptions): Promise<Storage> {
  // By whatever way it is named, there is one lock beside it.
  const file = existsSync(options.file) ? realpathSync(options.file) : options.file;
  const lock = await lockWithin(file, options.openWithin ?? 0);
  const size = { cacheSize: options.cacheSize ?? 16 * 1024, maxBytes: options.maxBytes };
  let connection: Connection | undefined;
  try {
    const { isUnclean } = inspect(file);
    connection = new Connection(file, size, options.sync);
    if (isUnclean) connection.assertSound();
    noteMade(file);
    await syncFolder(file);
  } catch (error) {
    connection?.close();
    lock.close();
    throw storageError(error, file);
  }
  return storageOn(connection, lock, options);
}

/** Rejects with StorageError once the time is over. */
async function lockWithin(file: string, ms: number): Promise<Database> {
  for (const until = performance.now() + ms; ; ) {
    try {
      return lockFile(file);
    } catch (error) {
      const isLocked = error instanceof StorageError && error.failure === 'locked';
      if (!isLocked || performance.now() >= until) throw error;
      await new Promise((resolve) => setTimeout(resolve, lockInterval));
    }
  }
}

function storageOn(connection: Connection, lock: Database, options: SqliteOptions): Storage {
  const { file } = connection;
  const warn = options.warn ?? ((): void => {});
  const queue: Queue = new Queue(
    connection,
    {
      maxOperations: options.maxWaiting ?? 50_000,
      maxBytes: options.maxWaitingBytes ?? 64 * 2 ** 20,
      lockTimeout: options.lockTimeout ?? 5000,
    },
    { afterCommit: (isFull) => checkpoint.consider(isFull), rescue: () => checkpoint.complete() },
  );
  const checkpoint = checkpoints({
    file,
    pageSize: connection.pageSize,
    threshold: options.walBytes ?? 32 * 2 ** 20,
    linger,
    walState: () => connection.walState(),
    hold: () => queue.hold(),
    release: () => queue.release(),
    warn,
  });

  const opened = new Map<string, unknown>();
  const logs: SqliteLog[] = [];
  const open = <S>(shape: Shape, name: string, make: (connection: Connection, queue: Queue, name: string) => S): S => {
    const key = nameOf(shape, name);
    let store = opened.get(key) as S | undefined;
    if (store === undefined) opened.set(key, (store = make(connection, queue, name)));
    return store;
  };
  const openLog = (name: string): SqliteLog =>
    open('log', name, () => {
      const log = sqliteLog(connection, queue, name, {
        interval: options.indexInterval ?? 30_000,
        isBusy: options.isBusy,
        warn: (error) => warn(`words of what is in ${file} could not be put into their index`, error),
      });
      logs.push(log);
      return log;
    });
  const present = (): StoreName[] => [...connection.tables()].flatMap((table) => storeOf(table) ?? []);

  const close = async (): Promise<void> => {
    for (const log of logs) log.end();
    await queue.close();
    await checkpoint.close();
    connection.close();
    lock.close();
  };
  let closing: Promise<void> | undefined;

  for (const { shape, name } of present()) {
    if (shape === 'document') continue;
    const store: Purge = shape === 'map' ? open(shape, name, sqliteMap) : openLog(name);
    store.purge().catch((error: unknown) => warn(`what forgotten owners left in ${file} could not be removed`, error));
  }
  return {
    document: <T>(name: string) => open('document', name, sqliteDocument) as DocumentStore<T>,
    map: <T>(name: string) => open('map', name, sqliteMap) as MapStore<unknown> as MapStore<T>,
    log: (name, { text } = {}) => {
      const log = openLog(name);
      if (text !== undefined) log.search(text);
      return log;
    },
    stores: async () => {
      await queue.flush();
      return present();
    },
    flush: () => queue.flush(),
    ...membership(connection, queue),
    close: () => (closing ??= close()),
  };
}

/** The file is one process's, which is one node at most: every epoch but its own is over. */
function membership(connection: Connection, queue: Queue): Pick<Storage, 'join' | 'fence'> {
  const lane: Lane = { waiting: 0 };
  let member: { readonly node: string; readonly epoch: number } | undefined;
  let isJoining = false;
  const next = (property: string, given: number | undefined): number => {
    const row = connection.statement('SELECT value FROM waxwing WHERE property = ?').get(property);
    const { value: latest = 0 } = (row as { value: number } | undefined) ?? {};
    const epoch = given ?? latest + 1;
    connection.statement('INSERT OR REPLACE INTO waxwing VALUES (?, ?)').run(property, Math.max(latest, epoch));
    return epoch;
  };
  return {
    join: async (node, given) => {
      if (isJoining) throw new StorageError('locked', 'SQLite serves one node, which has joined already');
      isJoining = true;
      try {
        const run = () => next(`epoch ${node}`, given);
        const epoch = await queue.write({ lane, kind: 'other', owner: '', bytes: 0, run });
        member = { node, epoch };
        return epoch;
      } finally {
        isJoining = member !== undefined;
      }
    },
    fence: async (node, epoch) => {
      if (member?.node === node && member.epoch === epoch) await queue.refuse(fenced(node, epoch));
      else await queue.flush();
    },
  };
}
