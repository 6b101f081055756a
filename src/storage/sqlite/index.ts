/** Storage in a SQLite file: the default driver. Only one process has the file open at a time. */
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
  /** Its folder must exist and be writable: `-wal`, `-shm` and `-lock` are created next to it. */
  readonly file: string;
  /** Page cache in KiB. */
  readonly cacheSize?: number | undefined;
  /** Maximum size of the file in bytes; writes beyond it fail as on a full disk. */
  readonly maxBytes?: number | undefined;
  /** Bytes of the write-ahead log that trigger a checkpoint. */
  readonly walBytes?: number | undefined;
  /** Maximum pending operations, and bytes of them; further writes are refused. */
  readonly maxWaiting?: number | undefined;
  readonly maxWaitingBytes?: number | undefined;
  /** Time that opening waits for another process to close the file, in ms. */
  readonly openWithin?: number | undefined;
  /** Time that operations wait for another process's lock (such as that of sqlite3), in ms. */
  readonly lockTimeout?: number | undefined;
  /** Time from an append to indexing its words in the background, in ms. */
  readonly indexInterval?: number | undefined;
  /** Whether to defer indexing, given the utilization of the event loop. Default: from 0.7 on. */
  readonly isBusy?: ((utilization: number) => boolean) | undefined;
  /** Called with problems that fail no operation. */
  readonly warn?: ((message: string, error: unknown) => void) | undefined;
  /** Makes the log durable; default: fdatasync(2). */
  readonly sync?: Sync | undefined;
}

/** Time between attempts to open a file that another process has open, in ms. */
const lockInterval = 50;
/** Idle time after which the checkpoint thread ends, in ms. */
const linger = 20_000;

/** Rejects with StorageError: locked (another process has it open), read-only, corrupt, unavailable. */
export async function openSqlite(options: SqliteOptions): Promise<Storage> {
  // All paths to the file must use the same lock.
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

/** Rejects with StorageError on timeout. */
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
        warn: (error) => warn(`the search index of ${file} could not be updated`, error),
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
    store
      .purge()
      .catch((error: unknown) => warn(`leftover data of deleted owners in ${file} could not be removed`, error));
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

/** The file belongs to one process, and so to at most one node: every other epoch has ended. */
function membership(connection: Connection, queue: Queue): Pick<Storage, 'join' | 'fence' | 'look'> {
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
      if (isJoining) throw new StorageError('locked', 'SQLite supports one node, which has already joined');
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
    look: async () => queue.demand(),
  };
}
