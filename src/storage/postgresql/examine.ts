/** What an administrator has to know about the server: for `waxwing check`. Changes nothing. */
import { Connection } from './connection.js';
import { storageError } from './errors.js';
import { nameOf } from './index.js';
import { migrations, quoted } from './migrations.js';
import { clientOf, type Settings } from './settings.js';

export interface Examined {
  /** Names the database. */
  readonly where: string;
  readonly version: string;
  readonly versionNumber: number;
  readonly encoding: string;
  readonly isStandby: boolean;
  /** Settings that durability depends on, by their names in PostgreSQL. */
  readonly settings: Readonly<Record<'synchronous_commit' | 'fsync' | 'full_page_writes', string>>;
  /** Replicas that are connected, and whether commits wait for one. */
  readonly replicas: { readonly connected: number; readonly isAwaited: boolean };
  readonly maxConnections: number;
  /** Of the schema; 0 if it does not exist. `known`: what this version of the program creates. */
  readonly schema: { readonly version: number; readonly known: number };
}

/** Rejects with StorageError if the server cannot be reached. */
export async function examine(settings: Settings): Promise<Examined> {
  const client = await clientOf(settings);
  const where = nameOf(client);
  let connection: Connection | undefined;
  try {
    connection = await Connection.open({ client, statementTimeout: 10_000, connectTimeout: 5000 });
    const { query } = connection;
    const [row] = await query(
      `SELECT current_setting('server_version'), current_setting('server_version_num')::int4,
         current_setting('server_encoding'), pg_is_in_recovery(), current_setting('synchronous_commit'),
         current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_standby_names'),
         (SELECT count(*)::int4 FROM pg_stat_replication), current_setting('max_connections')::int4,
         to_regclass($1 || '.waxwing') IS NOT NULL`,
      [quoted(settings.schema)],
    );
    const [version, versionNumber, encoding, isStandby, commit, fsync, pages, names, connected, most, exists] = row as [
      string,
      number,
      string,
      boolean,
      string,
      string,
      string,
      string,
      number,
      number,
      boolean,
    ];
    const known = `SELECT value::int4 FROM ${quoted(settings.schema)}.waxwing WHERE property = 'schema'`;
    const [schema] = exists ? await query(known) : [];
    return {
      where,
      version,
      versionNumber,
      encoding,
      isStandby,
      settings: { synchronous_commit: commit, fsync, full_page_writes: pages },
      replicas: { connected, isAwaited: names !== '' },
      maxConnections: most,
      schema: { version: (schema?.[0] as number | undefined) ?? 0, known: migrations.length },
    };
  } catch (error) {
    throw storageError(error, where);
  } finally {
    await connection?.close();
  }
}
