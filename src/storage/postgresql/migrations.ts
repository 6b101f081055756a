/**
 * The database schema, as a sequence of migrations. A released one is never changed; new ones are appended. `$` stands
 * for the name of the PostgreSQL schema that holds everything; nothing outside it is read or written.
 *
 * Texts are in their stored form (text.ts). Owners of maps and logs have numbers, which keep the keys of entries short
 * and let an owner of a million entries be deleted at once: the rows without an owner are removed in steps.
 */
import { StorageError } from '../contract.js';
import type { Query } from './connection.js';

export const migrations: readonly string[] = [
  `
  CREATE TABLE $.store (
    number smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shape text NOT NULL,
    name text COLLATE "C" NOT NULL,
    UNIQUE (shape, name)
  );
  CREATE TABLE $.document (
    store smallint NOT NULL,
    name text COLLATE "C" NOT NULL,
    host text COLLATE "C",
    value text NOT NULL,
    PRIMARY KEY (store, name)
  );
  CREATE INDEX document_host ON $.document (store, host, name) WHERE host IS NOT NULL;

  CREATE TABLE $.owner (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store smallint NOT NULL,
    name text COLLATE "C" NOT NULL,
    host text COLLATE "C",
    indexed text COLLATE "C",
    UNIQUE (store, name)
  ) WITH (fillfactor = 80);
  CREATE INDEX owner_host ON $.owner (store, host, name) WHERE host IS NOT NULL;
  COMMENT ON COLUMN $.owner.indexed IS 'Entries of a log up to this id have a row in word';
  CREATE TABLE $.purge (number bigint PRIMARY KEY);
  COMMENT ON TABLE $.purge IS 'Numbers of deleted owners whose entries are being removed';

  CREATE TABLE $.map (
    owner bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (owner, key)
  );
  CREATE TABLE $.log (
    owner bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    bytes integer NOT NULL,
    peer text COLLATE "C",
    tag text COLLATE "C",
    value text NOT NULL,
    PRIMARY KEY (owner, id) INCLUDE (bytes)
  );
  CREATE INDEX log_peer ON $.log (owner, peer, id) WHERE peer IS NOT NULL;
  CREATE INDEX log_tag ON $.log (owner, tag, id) WHERE tag IS NOT NULL;

  CREATE TABLE $.word (
    owner bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    terms bigint[],
    PRIMARY KEY (owner, id)
  );
  CREATE INDEX word_terms ON $.word USING gin (terms) WITH (fastupdate = off);
  CREATE INDEX word_pending ON $.word (owner, id) WHERE terms IS NULL;
  COMMENT ON TABLE $.word IS 'Hashes of the words of entries; NULL until a replaced entry is indexed again';

  CREATE TABLE $.node (name text COLLATE "C" PRIMARY KEY, latest bigint NOT NULL);
  CREATE SEQUENCE $.handle;
  CREATE TABLE $.lane (
    handle bigint NOT NULL,
    lane smallint NOT NULL,
    session integer NOT NULL DEFAULT 0,
    commit bigint NOT NULL DEFAULT 0,
    result text,
    node text COLLATE "C",
    epoch bigint,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (handle, lane)
  ) WITH (fillfactor = 20);
  CREATE INDEX lane_node ON $.lane (node, epoch);
  COMMENT ON TABLE $.lane IS 'The last commit of each connection that writes; see tick()';

  CREATE FUNCTION $.tick(a_handle bigint, a_lane integer, a_session integer, a_commit bigint, a_result text,
                         wanted integer, written integer)
  RETURNS void LANGUAGE plpgsql AS $body$
  BEGIN
    IF written <> wanted THEN
      RAISE EXCEPTION '% of % rows were written', written, wanted USING ERRCODE = 'WX002';
    END IF;
    IF a_handle IS NULL THEN
      RETURN;
    END IF;
    UPDATE $.lane SET commit = a_commit, result = a_result, at = now()
      WHERE handle = a_handle AND lane = a_lane AND session = a_session;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'lane %.% has ended', a_handle, a_lane USING ERRCODE = 'WX001';
    END IF;
  END
  $body$;
  COMMENT ON FUNCTION $.tick IS 'Part of each commit: fails if the epoch of the lane has ended';
  `,
];

/** Oldest supported version of PostgreSQL. */
const oldestServer = 13_0000;

/** Returns the quoted name of a schema. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Returns SQL with the name of the schema for `$`. */
export function inSchema(schema: string, sql: string): string {
  return sql.replaceAll('$.', () => `${quoted(schema)}.`);
}

/**
 * Migrates the schema to the latest version. Any number of processes may call it at once. Rejects with StorageError for
 * a schema that is newer or not ours, and for a server that cannot be used. `where` names the database.
 */
export async function migrate(
  query: Query,
  schema: string,
  where: string,
  steps: readonly string[] = migrations,
): Promise<void> {
  await assertUsable(query, where);
  // Outside of a transaction, so that waiting holds no snapshot. Released with the connection at the latest.
  const key = [`hashtextextended('waxwing ' || $1, 0)`, [schema]] as const;
  await query(`SELECT pg_advisory_lock(${key[0]})`, key[1]);
  try {
    let version = await versionOf(query, schema, where);
    if (version > steps.length) {
      const known = `has version ${version}, this version of the program knows ${steps.length}`;
      throw new StorageError(
        'unavailable',
        `${where} was written by a newer version: schema ${quoted(schema)} ${known}`,
      );
    }
    for (const step of steps.slice(version)) await apply(query, schema, step, ++version);
  } finally {
    await query(`SELECT pg_advisory_unlock(${key[0]})`, key[1]).catch(() => {});
  }
}

async function apply(query: Query, schema: string, step: string, version: number): Promise<void> {
  const first = 'CREATE TABLE $.waxwing (property text PRIMARY KEY, value text NOT NULL);';
  const last = `INSERT INTO $.waxwing VALUES ('schema', '${version}')
    ON CONFLICT (property) DO UPDATE SET value = excluded.value`;
  // One simple query is one transaction.
  await query(inSchema(schema, `${version === 1 ? first : ''}${step};${last}`));
}

/** Returns 0 for a schema that does not exist or is empty. */
async function versionOf(query: Query, schema: string, where: string): Promise<number> {
  const [row] = await query(
    `SELECT to_regclass($1 || '.waxwing') IS NOT NULL,
       (SELECT count(*)::int4 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $2)`,
    [quoted(schema), schema],
  );
  const [isOurs, relations] = row as [boolean, number];
  if (!isOurs && relations === 0) {
    // IF NOT EXISTS needs the right to create schemas even if it exists.
    const [exists] = await query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [schema]);
    if (exists === undefined) await query(`CREATE SCHEMA ${quoted(schema)}`);
    return 0;
  }
  const found = isOurs ? await query(`SELECT value FROM ${quoted(schema)}.waxwing WHERE property = 'schema'`) : [];
  const version = Number(found[0]?.[0]);
  if (!Number.isInteger(version)) {
    const what = `${where}: the schema ${quoted(schema)} has tables of another program`;
    throw new StorageError('unavailable', `${what}; set storage.postgresql.schema to another name`);
  }
  return version;
}

async function assertUsable(query: Query, where: string): Promise<void> {
  const [row] = await query(
    `SELECT current_setting('server_version_num')::int4, current_setting('server_encoding'), pg_is_in_recovery(),
       current_setting('synchronous_commit')`,
  );
  const [version, encoding, isStandby, commit] = row as [number, string, boolean, string];
  const refuse = (why: string): never => {
    throw new StorageError('unavailable', `${where}: ${why}`);
  };
  if (version < oldestServer) refuse('PostgreSQL 13 or later is needed');
  if (encoding !== 'UTF8') refuse(`the database has the encoding ${encoding}, and needs UTF8`);
  if (isStandby) throw new StorageError('read-only', `${where}: the server is a standby`);
  if (commit === 'off')
    refuse('synchronous_commit is off: acknowledged messages would be lost in a crash. Set it to on');
}
