/**
 * The Cassandra node of the tests, given by `WAXWING_CASSANDRA` (`HOST:PORT`), which test/cassandra/run.sh sets. Keyspaces
 * go with the node.
 */
import { randomBytes } from 'node:crypto';
import cassandra from 'cassandra-driver';
import { type CassandraOptions, openCassandra } from '../../src/storage/cassandra/index.js';
import type { Storage } from '../../src/storage/contract.js';

const { WAXWING_CASSANDRA } = process.env;
if (WAXWING_CASSANDRA === undefined) throw new Error('WAXWING_CASSANDRA is not set: run test/cassandra/run.sh');

/** Some nodes, separated by commas. */
export const point: string = WAXWING_CASSANDRA;

export const newKeyspace = (): string => `test_${randomBytes(6).toString('hex')}`;

export function optionsOf(keyspace: string): CassandraOptions {
  return {
    contactPoints: point.split(','),
    port: 9042,
    localDatacenter: 'datacenter1',
    keyspace,
    consistency: 'local_quorum',
    answerWithin: 20_000,
    warn: () => {},
    schema: { replication: { datacenter1: 1 }, windowDays: 30 },
    expiry: 0,
  };
}

export function openIn(keyspace: string, options: Partial<CassandraOptions> = {}): Promise<Storage> {
  return openCassandra({ ...optionsOf(keyspace), ...options });
}

/** Runs statements beside the storage. */
export async function cql(query: string, params: unknown[] = []): Promise<Record<string, unknown>[]> {
  const beside = new cassandra.Client({
    contactPoints: point.split(','),
    localDataCenter: 'datacenter1',
    socketOptions: { readTimeout: 120_000 },
  });
  try {
    const { rows } = await beside.execute(query, params, { prepare: params.length > 0 });
    return (rows ?? []) as unknown as Record<string, unknown>[];
  } finally {
    await beside.shutdown();
  }
}
