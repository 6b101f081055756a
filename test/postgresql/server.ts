/**
 * The PostgreSQL server of the tests, given by `WAXWING_POSTGRESQL` (a postgresql:// URL of a superuser), which
 * test/postgresql/run.sh sets. Each storage has a schema of its own, dropped at the end.
 */
import pg from 'pg';
import type { Storage } from '../../src/storage/contract.js';
import { openPostgresql, type PostgresqlOptions } from '../../src/storage/postgresql/index.js';
import { quoted } from '../../src/storage/postgresql/migrations.js';

const url = process.env.WAXWING_POSTGRESQL;
if (url === undefined) throw new Error('WAXWING_POSTGRESQL is not set: run test/postgresql/run.sh');

export const client: pg.ClientConfig = { connectionString: url };

let count = 0;
const schemas = new Set<string>();

/** Returns the name of a new schema. */
export function newSchema(): string {
  const schema = `test_${process.pid}_${count++}`;
  schemas.add(schema);
  return schema;
}

export function openIn(schema: string, options: Partial<PostgresqlOptions> = {}): Promise<Storage> {
  return openPostgresql({ client, schema, lanes: 2, ...options });
}

/** Runs SQL beside the storage. */
export async function sql(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const beside = new pg.Client(client);
  // What is under way is rejected as well.
  beside.on('error', () => {});
  await beside.connect();
  try {
    return (await beside.query(text, values.length === 0 ? undefined : values)).rows;
  } finally {
    await beside.end();
  }
}

export async function dropSchema(schema: string): Promise<void> {
  schemas.delete(schema);
  await sql(`SET client_min_messages = warning; DROP SCHEMA IF EXISTS ${quoted(schema)} CASCADE`);
}

/** Drops all schemas made here. */
export async function dropAll(): Promise<void> {
  for (const schema of schemas) await dropSchema(schema);
}
