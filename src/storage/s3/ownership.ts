/** Whether a bucket can be used, and is this server's: a small object under the prefix says whose it is. */
import { StorageError } from '../contract.js';
import type { Client } from './client.js';
import { isTransient } from './errors.js';
import { inMemory } from './exchange.js';

export interface Ownership {
  /** The id of the server that has the contents, the same for all its nodes. */
  readonly id: string;
}

/** What was found. */
export interface Found {
  /** The store refuses to replace an object if it is asked to (If-None-Match). */
  readonly isConditional: boolean;
}

/** The name of the object, behind the prefix. No store of contents can have such a name. */
const markerName = 'WAXWING-SERVER';

interface Marker {
  readonly server: string;
  readonly note: string;
}

const note = 'The server with this id keeps its files here. Others are refused.';

/** Claims the prefix, or finds that it is ours. Rejects with StorageError: 'locked' if it belongs to another server. */
export async function claim(client: Client, prefix: string, { id }: Ownership): Promise<Found> {
  const key = keyOf(prefix);
  const body = Buffer.from(`${JSON.stringify({ server: id, note } satisfies Marker)}\n`);
  const put = (headers: Readonly<Record<string, string>>, expected: readonly number[]) =>
    client.ask({
      method: 'PUT',
      key,
      headers: { 'content-type': 'application/json', ...headers },
      body: { content: inMemory([body], body.length), isStream: false },
      expected,
    });
  let owner = await readOwner(client, prefix);
  if (owner === undefined) {
    await put({ 'if-none-match': '*' }, [412, 501]);
    owner = await readOwner(client, prefix);
  }
  if (owner === undefined) {
    await put({}, []);
    owner = await readOwner(client, prefix);
  }
  if (owner !== id)
    throw new StorageError(
      'locked',
      `${client.where}: the files under "${prefix}" belong to ${owner === undefined ? 'nobody that can be read' : 'another server'} (${key}). Give this server a storage.s3.prefix or bucket of its own. If it replaces the other one, which will not start again, delete that object`,
    );
  // The key may read and not write.
  await put({}, []);
  const { status } = await put({ 'if-none-match': '*' }, [412, 501]);
  return { isConditional: status === 412 };
}

/** Whether the store answers, for a breaker. */
export async function answers(client: Client, prefix: string): Promise<void> {
  await client.ask({ method: 'HEAD', key: keyOf(prefix), expected: [404] });
}

const keyOf = (prefix: string): string => `${prefix}${markerName}`;

/** Whose the prefix is; empty if the object cannot be understood, undefined if there is none. */
export async function readOwner(client: Client, prefix: string): Promise<string | undefined> {
  const { status, text, headers } = await client.ask({ method: 'GET', key: keyOf(prefix), expected: [404] });
  if (status === 404) {
    if (text.includes('<Code>NoSuchKey</Code>')) return undefined;
    throw new StorageError(
      'unavailable',
      text.includes('<Code>NoSuchBucket</Code>')
        ? `${client.where}: there is no such bucket; create it, or correct storage.s3.bucket`
        : `${client.where}: what answers there (${headers.server ?? 'HTTP 404'}) is no S3 service; correct storage.s3.endpoint`,
      { cause: new Misconfigured(text.slice(0, 200)) },
    );
  }
  try {
    const { server } = JSON.parse(text) as Partial<Marker>;
    return typeof server === 'string' ? server : '';
  } catch {
    return '';
  }
}

/** Waiting does not help. */
class Misconfigured extends Error {
  override readonly name = 'Misconfigured';
}

/** Whether the store may be usable later without anybody's doing: it is away, or has too much to do. */
export const isOutage = (error: unknown): boolean =>
  isTransient(error) && !((error as StorageError).cause instanceof Misconfigured);
