/** What `waxwing check` wants to know of a bucket. Writes nothing but a small object, which it deletes. */
import { randomBytes } from 'node:crypto';
import { Client } from './client.js';
import { inMemory } from './exchange.js';
import { readOwner } from './ownership.js';
import { optionsOf, type Settings } from './settings.js';
import { parseAnswer, textOf } from './xml.js';

export interface Examined {
  /** Names the bucket. */
  readonly where: string;
  /** The id of the server that has the prefix; undefined if it is free, empty if it cannot be read. */
  readonly owner: string | undefined;
  /** Deleted files stay as old versions. Undefined if the key may not ask. */
  readonly isVersioned: boolean | undefined;
}

/** Rejects with StorageError if the bucket cannot be read and written. */
export async function examine(settings: Settings): Promise<Examined> {
  const { client: options, prefix } = await optionsOf(settings);
  const client = new Client({ ...options, attempts: 2 });
  try {
    const owner = await readOwner(client, prefix);
    const key = `${prefix}WAXWING-CHECK-${randomBytes(8).toString('hex')}`;
    const body = { content: inMemory([], 0), isStream: false };
    await client.ask({ method: 'PUT', key, body });
    await client.ask({ method: 'DELETE', key, expected: [404] });
    await client.ask({ method: 'GET', query: { 'list-type': '2', prefix, 'max-keys': '1' } });
    const { status, text } = await client.ask({
      method: 'GET',
      query: { versioning: '' },
      expected: [400, 403, 404, 405, 501],
    });
    const answer = status === 200 ? parseAnswer(text) : undefined;
    return { where: client.where, owner, isVersioned: answer && textOf(answer, 'Status') === 'Enabled' };
  } finally {
    client.close();
  }
}
