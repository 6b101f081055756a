/** The S3 server that `WAXWING_S3` names (`http://KEY:SECRET@HOST:PORT`), and storages on it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Client, type ClientOptions } from '../../src/storage/s3/client.js';
import { openS3, type S3Options, type S3Storage } from '../../src/storage/s3/index.js';

/** Options of a client for a bucket. */
export function clientOptions(bucket: string): ClientOptions {
  const { WAXWING_S3 } = process.env;
  assert.ok(WAXWING_S3, 'WAXWING_S3 has to name a server: test/s3/run.sh starts one');
  const { origin, username, password } = new URL(WAXWING_S3);
  return {
    endpoint: origin,
    region: 'us-east-1',
    bucket,
    isPathStyle: true,
    credentials: { accessKeyId: username, secretKey: password },
  };
}

export const newName = (): string => `waxwing-${randomBytes(6).toString('hex')}`;

/** Makes a bucket; it goes with the server. */
export async function newBucket(): Promise<string> {
  const bucket = newName();
  const client = new Client(clientOptions(bucket));
  await client.ask({ method: 'PUT' });
  client.close();
  return bucket;
}

let shared: Promise<string> | undefined;

/** An empty storage in a bucket that all tests of this process share, under a prefix of its own. */
export async function emptyStorage(more: Partial<S3Options> = {}): Promise<S3Storage> {
  shared ??= newBucket();
  const bucket = await shared;
  const options: S3Options = {
    client: clientOptions(bucket),
    prefix: `${newName()}/`,
    ownership: { id: 'test' },
    ...more,
  };
  return openS3(options);
}
