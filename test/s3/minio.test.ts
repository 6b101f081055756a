/** The S3 driver on a real server, which checks signatures: parts, links, encryption, what a crash leaves, what is refused. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { StorageError } from '../../src/storage/contract.js';
import { Client } from '../../src/storage/s3/client.js';
import { openS3, type S3Options, type S3Storage } from '../../src/storage/s3/index.js';
import { clientOptions, emptyStorage, newBucket, newName } from './server.js';

const opened: { close(): unknown }[] = [];
after(async () => {
  for (const one of opened) await one.close();
});

async function opens(more: Partial<S3Options> = {}): Promise<S3Storage> {
  const storage = await emptyStorage(more);
  opened.push(storage);
  return storage;
}

const streamOf = (bytes: Buffer): Readable =>
  Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += 65_537) yield bytes.subarray(at, at + 65_537);
    })(),
    { objectMode: false },
  );

const part = 5 * 2 ** 20;
/** Two parts and a bit. */
const content = randomBytes(2 * part + 12_345);

for (const [name, more] of [
  ['parts in memory', {}],
  ['parts as they come', { memoryBytes: 0 }],
  ['some of both', { memoryBytes: 2 * part }],
  ['parts without checksums', { memoryBytes: part, hasChecksums: false }],
] as const)
  test(`a large content: ${name}`, async () => {
    const blobs = (await opens({ partBytes: part, ...more })).blobs('test');
    await blobs.put('a', streamOf(content), content.length);
    const blob = (await blobs.get('a'))!;
    assert.equal(blob.size, content.length);
    assert.ok((await buffer(blob.read())).equals(content));
    const range = { start: part - 2, end: part + 2 };
    assert.ok((await buffer((await blobs.get('a'))!.read(range))).equals(content.subarray(part - 2, part + 3)));
    assert.equal(await blobs.delete(['a']), 1);
  });

test('a signed link gives the file with its headers, to GET or to HEAD', async () => {
  const blobs = (await opens({ links: { seconds: 60, base: undefined } })).blobs('test');
  const headers = { type: 'text/plain', disposition: `attachment; filename="a b.txt"; filename*=UTF-8''%C3%A4.txt` };
  await blobs.put('a', streamOf(Buffer.from('abc')), 3, headers);
  for (const method of ['GET', 'HEAD'] as const) {
    const { url } = await blobs.link!('a', { method, headers });
    const answer = await fetch(url, { method });
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), method === 'GET' ? 'abc' : '');
    assert.equal(answer.headers.get('content-type'), headers.type);
    assert.equal(answer.headers.get('content-disposition'), headers.disposition);
    const other = await fetch(url.replace('text%2Fplain', 'text%2Fhtml'), { method });
    assert.equal(other.status, 403);
    await other.arrayBuffer();
  }
});

test('objects are encrypted by the store', async () => {
  const blobs = (await opens({ encryption: { algorithm: 'AES256', key: '' }, partBytes: part })).blobs('test');
  await blobs.put('a', streamOf(Buffer.from('abc')), 3);
  await blobs.put('b', streamOf(content), content.length);
  assert.equal((await buffer((await blobs.get('a'))!.read())).toString(), 'abc');
  assert.ok((await buffer((await blobs.get('b'))!.read())).equals(content));
});

test('an upload that is cut, or that a crash left, leaves no parts', async () => {
  const bucket = await newBucket();
  const client = new Client(clientOptions(bucket));
  opened.push(client);
  const prefix = `${newName()}/`;
  const blobs = (await opens({ client: clientOptions(bucket), prefix, partBytes: part })).blobs('test');
  const uploads = async (key: string) => {
    const { text } = await client.ask({ method: 'GET', query: { uploads: '', prefix: key } });
    return text.match(/<UploadId>/g)?.length ?? 0;
  };
  const cut = Readable.from(
    (function* () {
      yield content.subarray(0, part + 1000);
      throw new Error('cut');
    })(),
    { objectMode: false },
  );
  await assert.rejects(blobs.put('cut', cut, content.length), /cut/);
  assert.equal(await uploads(`${prefix}test/cut`), 0);
  const left = `${prefix}test/left`;
  await client.ask({ method: 'POST', key: left, query: { uploads: '' } });
  assert.equal(await uploads(left), 1);
  assert.equal(await blobs.tidy(Date.now() - 3_600_000, 10), 0);
  assert.equal(await blobs.tidy(Date.now() + 3_600_000, 10), 1);
  assert.equal(await uploads(left), 0);
});

test('what cannot be used is refused with what to do', async () => {
  const bucket = await newBucket();
  const client = clientOptions(bucket);
  const options: S3Options = { client, prefix: 'a/', ownership: { id: 'me' } };
  const rejects = async (more: Partial<S3Options>, failure: string, text: RegExp) =>
    assert.rejects(openS3({ ...options, ...more }), (error: unknown) => {
      assert.ok(error instanceof StorageError);
      assert.match(error.message, text);
      assert.equal(error.failure, failure);
      return true;
    });
  opened.push(await openS3(options));
  await rejects({ ownership: { id: 'other' } }, 'locked', /belong to another server/);
  await rejects({ client: clientOptions(newName()) }, 'unavailable', /no such bucket/);
  const credentials = { ...client.credentials, secretKey: 'wrong' };
  await rejects({ client: { ...client, credentials } }, 'unavailable', /SignatureDoesNotMatch.*secret_key_file/);
  await rejects(
    { client: { ...client, credentials: { ...credentials, accessKeyId: 'nobody' } } },
    'unavailable',
    /InvalidAccessKeyId.*access_key_id/,
  );
  // A clock that is two hours behind is corrected.
  const now = () => Date.now() - 7_200_000;
  const behind = await openS3({ ...options, client: { ...client, now, warn: () => {} } });
  opened.push(behind);
  await behind.blobs('test').put('a', streamOf(Buffer.from('abc')), 3);
});
