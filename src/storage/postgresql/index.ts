/**
 * Storage in PostgreSQL, for any number of processes. Everything is in one schema, which the driver creates.
 * docs/decisions/0025-postgresql.md has the reasons.
 */
import type { ClientConfig } from 'pg';
import type { DocumentStore, LogStore, MapStore, Shape, Storage, StoreName } from '../contract.js';
import { Connection } from './connection.js';
import { documents } from './document.js';
import { storageError } from './errors.js';
import { Lanes } from './lanes.js';
import { logs, type PostgresqlLog } from './log.js';
import { maps } from './map.js';
import { Membership } from './membership.js';
import { migrate } from './migrations.js';
import { purges } from './purges.js';
import { Statements } from './statements.js';
import { Stores } from './stores.js';

export interface PostgresqlOptions {
  /** Where the server is, and who we are there, as pg takes it. */
  readonly client: ClientConfig;
  /** The PostgreSQL schema that holds everything. */
  readonly schema?: string | undefined;
  /** Connections for the operations of owners. There is one more for everything else. */
  readonly lanes?: number | undefined;
  /** Maximum pending operations, and bytes of them; further writes are refused. */
  readonly maxWaiting?: number | undefined;
  readonly maxWaitingBytes?: number | undefined;
  /** Time in ms after which the server ends a statement. */
  readonly statementTimeout?: number | undefined;
  /** Time in ms to establish a connection. */
  readonly connectTimeout?: number | undefined;
  /** Time in ms that operations wait for a lost connection. */
  readonly patience?: number | undefined;
  /** Time in ms from an append to indexing its words in the background. */
  readonly indexInterval?: number | undefined;
  /** Whether to defer indexing, given the utilization of the event loop. Default: from 0.7 on. */
  readonly isBusy?: ((utilization: number) => boolean) | undefined;
  /** Called with problems that fail no operation. */
  readonly warn?: ((message: string, error: unknown) => void) | undefined;
}

/** Time in ms for a migration. */
const migrationTimeout = 3_600_000;

/** Rejects with StorageError: unavailable (also for a database that cannot be used), read-only. */
export async function openPostgresql(options: PostgresqlOptions): Promise<Storage> {
  const { client, schema = 'waxwing', connectTimeout = 5000 } = options;
  const where = nameOf(client);
  try {
    const setup = await Connection.open({ client, statementTimeout: migrationTimeout, connectTimeout });
    try {
      await migrate(setup.query, schema, where);
      const statements = new Statements(schema);
      const lanes = options.lanes ?? 2;
      const membership = await Membership.create(setup.query, statements, lanes + 1);
      return storageOn(options, where, statements, membership);
    } finally {
      await setup.close();
    }
  } catch (error) {
    throw storageError(error, where);
  }
}

/** Names a database in messages, without its password. */
export function nameOf({ host = 'localhost', port = 5432, database = 'postgres' }: ClientConfig): string {
  return `PostgreSQL database ${database} at ${host}${host.startsWith('/') ? '' : `:${port}`}`;
}

function storageOn(options: PostgresqlOptions, where: string, statements: Statements, membership: Membership): Storage {
  const { client, connectTimeout = 5000, statementTimeout = 30_000 } = options;
  const warn = options.warn ?? ((): void => {});
  const stores = new Stores(statements);
  const lanes = new Lanes(
    {
      where,
      statements,
      connect: () => Connection.open({ client, statementTimeout, connectTimeout }),
      handle: membership.handle,
      resolve: (query, refs, create) => stores.resolve(query, refs, create),
      refusal: () => membership.refusal,
      laneGone: (query) => membership.laneGone(query),
      patience: options.patience ?? 10_000,
      warn,
    },
    {
      lanes: options.lanes ?? 2,
      maxWaiting: options.maxWaiting ?? 50_000,
      maxWaitingBytes: options.maxWaitingBytes ?? 64 * 2 ** 20,
    },
  );
  const purging = purges(lanes, statements, (error) => {
    if (closing === undefined) warn(`entries of deleted owners in ${where} could not be removed`, error);
  });
  const makeDocument = documents(lanes, statements);
  const makeMap = maps(lanes, statements, purging);
  const makeLog = logs(lanes, statements, purging, {
    interval: options.indexInterval ?? 30_000,
    isBusy: options.isBusy,
    warn: (error) => warn(`the search index in ${where} could not be updated`, error),
  });
  const opened = new Map<string, unknown>();
  const openLogs: PostgresqlLog[] = [];
  const open = <S>(shape: Shape, name: string, make: () => S): S => {
    const key = `${shape} ${name}`;
    let store = opened.get(key) as S | undefined;
    if (store === undefined) opened.set(key, (store = make()));
    return store;
  };
  const openLog = (name: string): PostgresqlLog =>
    open('log', name, () => {
      const log = makeLog(stores.ref('log', name));
      openLogs.push(log);
      return log;
    });
  const close = async (): Promise<void> => {
    for (const log of openLogs) log.end();
    await lanes.close((query) => membership.leave(query));
  };
  let closing: Promise<void> | undefined;
  return {
    document: <T>(name: string) =>
      open('document', name, () => makeDocument(stores.ref('document', name))) as DocumentStore<T>,
    map: <T>(name: string) =>
      open('map', name, () => makeMap(stores.ref('map', name))) as MapStore<unknown> as MapStore<T>,
    log: (name, { text } = {}): LogStore => {
      const log = openLog(name);
      if (text !== undefined) log.search(text);
      return log;
    },
    stores: (): Promise<StoreName[]> => lanes.readAll(undefined, (query) => stores.list(query)),
    flush: () => lanes.flush(),
    join: (node, epoch) => membership.join(lanes, node, epoch),
    fence: (node, epoch) => membership.fence(lanes, node, epoch),
    look: () => membership.look(lanes),
    close: () => (closing ??= close()),
  };
}
