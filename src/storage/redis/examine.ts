/** What an administrator has to know about the server: for `waxwing check`. Changes nothing. */
import type { StorageError } from '../contract.js';
import { Connection, type RedisClient } from './client.js';
import { markerKey } from './keys.js';
import { type Marker, readMarker } from './keyspace.js';
import { clientOf, type Settings } from './settings.js';

export interface Examined {
  /** Names the server. */
  readonly where: string;
  /** Redis or Valkey. */
  readonly engine: string;
  readonly version: string;
  /** What it does when its memory is used up, and how much that is: 0 for no limit. */
  readonly eviction: string;
  readonly maxMemory: number;
  /** Whose keys they are; undefined if nobody's, null if another program's. */
  readonly marker: Marker | undefined | null;
}

/** Rejects with StorageError if the server cannot be used. */
export async function examine(settings: Settings): Promise<Examined> {
  const client = await clientOf(settings, 10_000);
  const connection = new Connection(client, { verify: async () => {}, lost: () => {}, warn: () => {} });
  try {
    const away: StorageError | undefined = await connection.opened(client.connectTimeout + 500);
    if (away !== undefined) throw away;
    const facts = factsIn(await connection.run((to) => anyNode(to).info()));
    const text = await connection.run((to) => to.get(markerKey(settings.prefix)));
    return {
      where: connection.where,
      engine: facts.valkey_version === undefined ? 'Redis' : 'Valkey',
      version: facts.valkey_version ?? facts.redis_version ?? 'unknown',
      eviction: facts.maxmemory_policy ?? 'noeviction',
      maxMemory: Number(facts.maxmemory ?? 0),
      marker: text === null ? undefined : (readMarker(text) ?? null),
    };
  } finally {
    await connection.close();
  }
}

const anyNode = (client: RedisClient) => ('nodes' in client ? client.nodes('master')[0]! : client);

/** Of the answer to INFO. */
const factsIn = (text: string): Record<string, string | undefined> =>
  Object.fromEntries(
    text.split(/\r?\n/).flatMap((line) => {
      const at = line.indexOf(':');
      return at > 0 ? [[line.slice(0, at), line.slice(at + 1)]] : [];
    }),
  );
