/** Whose keys they are: a key names the server, by the id in its main storage, and the form of the keys. */
import { z } from 'zod';
import { StorageError } from '../contract.js';
import type { RedisClient } from './client.js';
import { markerKey } from './keys.js';

/** The form of keys and values that this version reads and writes. */
export const format = 1;

const marker = z.object({ server: z.string(), format: z.number() });
export type Marker = z.output<typeof marker>;

/** Returns undefined for a text that is no marker. */
export function readMarker(text: string): Marker | undefined {
  try {
    return marker.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** Returns why a server must not use the keys, if so. */
export function differenceOf(text: string, server: string, prefix: string): string | undefined {
  const found = readMarker(text);
  const other = 'give each server its own storage.redis.prefix or database';
  if (found === undefined) return `${markerKey(prefix)} is not of Waxwing: ${other}`;
  if (found.server !== server)
    return `the keys under ${prefix}: belong to the server ${found.server}, and this one is ${server}: ${other}, or delete the keys if that server no longer exists`;
  if (found.format !== format)
    return `the keys under ${prefix}: have the form ${found.format} of another version, and this one writes ${format}: delete them when no server uses them any more; nothing in them is needed`;
  return undefined;
}

/** Takes the keys for a server, if they are nobody's. Rejects with StorageError('locked') if they are somebody else's. */
export async function claim(client: RedisClient, prefix: string, server: string, where: string): Promise<void> {
  const key = markerKey(prefix);
  for (;;) {
    await client.set(key, JSON.stringify({ server, format } satisfies Marker), 'NX');
    const text = await client.get(key);
    // It was deleted in between.
    if (text === null) continue;
    const difference = differenceOf(text, server, prefix);
    if (difference !== undefined) throw new StorageError('locked', `${where}: ${difference}`);
    return;
  }
}
