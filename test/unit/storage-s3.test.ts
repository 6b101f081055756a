/** The S3 driver against a store that fails: slow, busy, full, another's, cut in the middle, with another clock, without end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, test } from 'node:test';
import { BlobExists, type BlobStore } from '../../src/storage/blobs.js';
import { StorageError } from '../../src/storage/contract.js';
import type { ClientOptions } from '../../src/storage/s3/client.js';
import { openS3, type S3Options, type S3Storage } from '../../src/storage/s3/index.js';
import { refuse, S3Store } from '../s3-store.js';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

interface Place {
  readonly store: S3Store;
  readonly storage: S3Storage;
  readonly blobs: BlobStore;
  /** Pauses between attempts so far, in ms. */
  readonly pauses: number[];
  readonly warnings: string[];
}

type More = Partial<Omit<S3Options, 'client'>> & { readonly client?: Partial<ClientOptions> };

const optionsOf = (store: S3Store, { client, ...more }: More = {}): S3Options => ({
  client: {
    endpoint: store.endpoint,
    region: 'us-east-1',
    bucket: 'files',
    isPathStyle: true,
    credentials: { accessKeyId: 'KEY-ID', secretKey: 'SECRET-KEY' },
    pause: async () => {},
    ...client,
  },
  prefix: 'waxwing/',
  ownership: { id: 'me' },
  partBytes: 1000,
  ...more,
});

async function place(more: More = {}): Promise<Place> {
  const store = await S3Store.open();
  open.push(store);
  const pauses: number[] = [];
  const warnings: string[] = [];
  const client: Partial<ClientOptions> = {
    pause: async (ms) => void pauses.push(ms),
    warn: (message) => void warnings.push(message),
    ...more.client,
  };
  const storage = await openS3(optionsOf(store, { ...more, client }));
  open.push(storage);
  store.asked.length = 0;
  return { store, storage, blobs: storage.blobs('upload/contents'), pauses, warnings };
}

const stream = (text: string, chunk = 700): Readable =>
  Readable.from(
    (function* () {
      for (let at = 0; at < text.length; at += chunk) yield Buffer.from(text.slice(at, at + chunk));
    })(),
    { objectMode: false },
  );
const long = Array.from({ length: 5000 }, (_, n) => n % 10).join('');
const object = 'waxwing/upload/contents/a';
const failsWith = (failure: string, text: RegExp) => (error: unknown) => {
  assert.ok(error instanceof StorageError, String(error));
  assert.equal(error.failure, failure, error.message);
  assert.match(error.message, text);
  assert.doesNotMatch(`${error.message} ${(error.cause as Error | undefined)?.message}`, /SECRET-KEY/);
  return true;
};

async function contentOf(blobs: BlobStore, key = 'a'): Promise<string> {
  return (await buffer((await blobs.get(key))!.read())).toString();
}

test('a busy store is asked again with growing pauses, and then given up', async () => {
  const { store, blobs, pauses } = await place();
  let busy = 3;
  store.fault = ({ method }, request, response) => {
    if (method !== 'PUT' || busy-- <= 0) return;
    request.resume();
    refuse(response, 503, 'SlowDown');
    return true;
  };
  await blobs.put('a', stream('abc'), 3);
  assert.equal(pauses.length, 3);
  for (const [at, ms] of pauses.entries()) assert.ok(ms >= 50 * 4 ** at && ms <= 100 * 4 ** at, String(pauses));
  busy = 1000;
  await assert.rejects(blobs.put('b', stream('abc'), 3), failsWith('unavailable', /SlowDown/));
  assert.equal(await blobs.stat('b'), undefined);
  // A large content leaves no parts.
  await assert.rejects(blobs.put('c', stream(long), long.length), failsWith('unavailable', /SlowDown/));
  assert.equal(store.uploads.size, 0);
});

test('a store that answers nothing is given up', async () => {
  const { store, blobs } = await place({ client: { timeout: 200, attempts: 2 } });
  store.fault = () => true;
  await assert.rejects(blobs.stat('a'), failsWith('unavailable', /no answer in time/));
  assert.equal(store.asked.length, 2);
});

test('a store that stops in the middle of a content is asked for the rest', async () => {
  const { store, blobs } = await place();
  await blobs.put('a', stream(long), long.length);
  let cuts = 0;
  store.fault = ({ method, headers }, _, response) => {
    if (method !== 'GET' || cuts >= 3) return;
    cuts++;
    const { content } = store.objects.get(object)!;
    const [, first] = /bytes=(\d+)-/.exec(headers.range!)!;
    const part = content.subarray(Number(first));
    response.writeHead(206, { 'content-length': part.length });
    response.write(part.subarray(0, 1000), () => response.destroy());
    return true;
  };
  assert.equal(await contentOf(blobs), long);
  assert.equal(cuts, 3);
});

test('a content that does not go on, or that has been replaced, is an error and not the end', async () => {
  const { store, blobs } = await place({ client: { timeout: 200, attempts: 2 } });
  await blobs.put('a', stream(long), long.length);
  const opened = (await blobs.get('a'))!;
  store.objects.get(object)!.content = Buffer.from('other');
  await assert.rejects(buffer(opened.read()), failsWith('corrupt', /no longer what it was/));
  const { content } = store.objects.get(object)!;
  let sent = 0;
  store.fault = ({ method }, _, response) => {
    if (method !== 'GET') return;
    const rest = content.subarray(sent);
    response.writeHead(206, { 'content-length': rest.length }).write(rest.subarray(0, sent++ === 0 ? 1 : 0));
    return true;
  };
  await assert.rejects(buffer((await blobs.get('a'))!.read()), failsWith('unavailable', /no more data/));
});

test('a damaged content is not passed on as whole', async () => {
  const { store, blobs } = await place();
  await blobs.put('a', stream(long), long.length);
  store.fault = ({ method }, _, response) => {
    if (method !== 'GET') return;
    response.writeHead(206, { 'content-length': long.length }).end(long.replace('5', '6'));
    return true;
  };
  await assert.rejects(buffer((await blobs.get('a'))!.read()), failsWith('corrupt', /is damaged/));
});

test('what arrives damaged at the store is sent again', async () => {
  const { store, blobs } = await place();
  let isFirst = true;
  store.fault = ({ method, headers }) => {
    if (method !== 'PUT' || !isFirst) return;
    isFirst = false;
    // As if a bit had changed on the way.
    headers['x-amz-checksum-crc32'] = 'AAAAAA==';
    return undefined;
  };
  await blobs.put('a', stream('abc'), 3);
  assert.equal(await contentOf(blobs), 'abc');
});

test('a clock that differs is warned of once, and its requests and links are signed for it', async () => {
  const { store, storage, blobs, warnings } = await place({ links: { seconds: 60, base: undefined } });
  store.skew = 7_200_000;
  await blobs.put('a', stream('abc'), 3);
  assert.equal(await contentOf(blobs), 'abc');
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /clock is 7\d\d\d seconds ahead/);
  const { url } = await storage.blobs('upload/contents').link!('a', { method: 'GET', headers: {} });
  const [, year, month, day, hour] = /X-Amz-Date=(\d{4})(\d\d)(\d\d)T(\d\d)/.exec(url)!.map(Number);
  const signed = Date.UTC(year!, month! - 1, day, hour!);
  assert.ok(Math.abs(signed - Date.now() - store.skew) < 3_600_000 + 60_000);
});

test('an answer that is lost does not make a stored content fail, nor one of another', async () => {
  for (const size of [3, long.length]) {
    const { store, blobs } = await place();
    const text = long.slice(0, size);
    let isLost = false;
    store.fault = ({ method, key, query }, request, response) => {
      const isLast = method === 'PUT' ? !query.has('uploadId') : method === 'POST' && query.has('uploadId');
      if (!isLast || isLost || key !== object) return;
      isLost = true;
      // It is carried out, and nobody learns of it.
      response.end = (() => request.socket.destroy()) as never;
      return undefined;
    };
    await blobs.put('a', stream(text), size);
    assert.ok(isLost);
    assert.equal(await contentOf(blobs), text);
    await assert.rejects(blobs.put('a', stream(text), size), BlobExists);
    assert.equal(store.uploads.size, 0);
  }
});

test('the error of the client ends the upload, and leaves no parts', async () => {
  const { store, blobs } = await place();
  const content = new Readable({ read() {} });
  content.push(Buffer.from(long.slice(0, 3500)));
  const storing = blobs.put('a', content, long.length);
  const cut = assert.rejects(storing, /cut by the client/);
  while (store.uploads.size === 0) await new Promise((resolve) => setImmediate(resolve));
  content.destroy(new Error('cut by the client'));
  await cut;
  assert.equal(store.uploads.size, 0);
  assert.equal(store.objects.has(object), false);
});

test('an error of the store ends the upload while its client sends nothing', async () => {
  for (const memoryBytes of [0, 1e6]) {
    const { store, blobs } = await place({ memoryBytes });
    const content = new Readable({ read() {} });
    content.push(Buffer.from(long.slice(0, 1000)));
    store.fault = ({ method, query }, request, response) => {
      if (method !== 'PUT' || !query.has('partNumber')) return;
      request.resume();
      refuse(response, 403, 'AccessDenied');
      return true;
    };
    await assert.rejects(blobs.put('a', content, long.length), failsWith('read-only', /AccessDenied.*permissions/));
    assert.equal(store.uploads.size, 0);
    content.destroy();
    await once(content, 'close');
  }
});

test('a store that is full or read-only says so', async () => {
  for (const [status, code, failure] of [
    [507, 'XMinioStorageFull', 'full'],
    [400, 'EntityTooLarge', 'full'],
    [403, 'AccessDenied', 'read-only'],
    [403, 'InvalidAccessKeyId', 'unavailable'],
  ] as const) {
    const { store, blobs } = await place();
    store.fault = ({ method }, request, response) => {
      if (method !== 'PUT') return;
      request.resume();
      refuse(response, status, code);
      return true;
    };
    await assert.rejects(blobs.put('a', stream('abc'), 3), failsWith(failure, new RegExp(code)));
  }
});

test('a bucket of another server is refused, and one that was claimed is found again', async () => {
  const { store } = await place();
  const again = await openS3(optionsOf(store));
  open.push(again);
  await assert.rejects(
    openS3(optionsOf(store, { ownership: { id: 'other' } })),
    failsWith('locked', /belong to another server \(waxwing\/WAXWING-SERVER\).*prefix.*delete that object/),
  );
  const apart = await openS3(optionsOf(store, { ownership: { id: 'other' }, prefix: '' }));
  open.push(apart);
  store.objects.get('waxwing/WAXWING-SERVER')!.content = Buffer.from('<html>');
  await assert.rejects(openS3(optionsOf(store)), failsWith('locked', /another server/));
});

test('what is no S3 service, or has no such bucket, or another region, is refused with what to do', async () => {
  const { store } = await place();
  const opens = () => openS3({ ...optionsOf(store), unreachable: () => assert.fail('it is not away') });
  store.fault = (_, __, response) => {
    response.writeHead(404, { 'content-type': 'text/html', server: 'nginx' }).end('<html><body>not here</body></html>');
    return true;
  };
  await assert.rejects(opens(), failsWith('unavailable', /nginx.*is no S3 service/));
  store.fault = (_, __, response) => {
    refuse(response, 404, 'NoSuchBucket');
    return true;
  };
  await assert.rejects(opens(), failsWith('unavailable', /no such bucket; create it/));
  store.fault = (_, request, response) => {
    request.resume();
    response.setHeader('x-amz-bucket-region', 'eu-west-3');
    refuse(response, 301, 'PermanentRedirect');
    return true;
  };
  await assert.rejects(opens(), failsWith('unavailable', /the bucket is in the region eu-west-3/));
});

test('a store that is away when the server starts is looked at again', async () => {
  const { store } = await place();
  store.fault = (_, request, response) => {
    request.resume();
    refuse(response, 503, 'ServiceUnavailable');
    return true;
  };
  await assert.rejects(openS3(optionsOf(store)), failsWith('unavailable', /ServiceUnavailable/));
  let isAway = false;
  const unreachable = () => {
    isAway = true;
  };
  const storage = await openS3(optionsOf(store, { unreachable, ownership: { id: 'other' } }));
  open.push(storage);
  assert.ok(isAway);
  await assert.rejects(storage.probe(), failsWith('unavailable', /ServiceUnavailable/));
  store.fault = undefined;
  // Only now it is known that it belongs to another.
  await assert.rejects(storage.probe(), failsWith('locked', /another server/));
  await assert.rejects(storage.blobs('x').put('a', stream('abc'), 3), failsWith('locked', /another server/));
});

test('a bucket that lists for ever is given up', async () => {
  const { store, blobs } = await place();
  let listed = 0;
  const page = (key: string) =>
    `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>${key}</NextContinuationToken><Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>`;
  store.fault = ({ query }, _, response) => {
    if (!query.has('list-type')) return;
    response.end(page(`waxwing/upload/contents/Z${String(++listed).padStart(9, '0')}`));
    return true;
  };
  await assert.rejects(blobs.list({ limit: 10 }), failsWith('corrupt', /too many objects of others/));
  assert.ok(listed <= 200, String(listed));
  store.fault = ({ query }, _, response) => {
    if (!query.has('list-type')) return;
    response.end(page(object));
    return true;
  };
  await assert.rejects(blobs.list({ limit: 10 }), failsWith('corrupt', /does not go on/));
  store.fault = ({ query }, _, response) => {
    if (!query.has('list-type')) return;
    response.end('<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>');
    return true;
  };
  await assert.rejects(blobs.list({ limit: 10 }), failsWith('corrupt', /does not go on/));
  for (const text of ['', 'no XML', '<a><b></a>', '<ListBucketResult>', 'x'.repeat(5_000_000)]) {
    store.fault = (_, __, response) => {
      response.end(text);
      return true;
    };
    await assert.rejects(blobs.list({ limit: 10 }), StorageError, text.slice(0, 20));
  }
});

test('objects of others, and those of stores below, are passed over', async () => {
  const { store, blobs } = await place();
  const theirs = { content: Buffer.from('x'), at: 0, headers: {} };
  for (let n = 0; n < 1500; n++) store.objects.set(`waxwing/upload/contents/Photo ${n}.jpg`, theirs);
  for (let n = 0; n < 50; n++) store.objects.set(`waxwing/upload/contents/b${n}/x`, theirs);
  for (const key of ['a', 'b7a', 'c']) await blobs.put(key, stream(key), key.length);
  const keys: string[] = [];
  for (
    let page = await blobs.list({ limit: 2 });
    page.length > 0;
    page = await blobs.list({ after: keys.at(-1), limit: 2 })
  )
    keys.push(...page.map(({ key }) => key));
  assert.deepEqual(keys, ['a', 'b7a', 'c']);
});

test('parts that a crash left are removed if nothing was added for some time, a few at a time', async () => {
  const { store, blobs } = await place();
  const now = Date.now();
  const left = (id: string, key: string, at: number, grown: number) =>
    store.uploads.set(id, {
      key,
      at,
      headers: {},
      parts: new Map([[1, { content: Buffer.from('x'), at: grown }]]),
    });
  left('old1', object, now - 5000, now - 4000);
  left('old2', object, now - 5000, now - 4000);
  left('growing', object, now - 5000, now);
  left('new', object, now, now);
  left('theirs', 'other/upload/contents/a', now - 5000, now - 4000);
  assert.equal(await blobs.tidy(now - 1000, 1), 1);
  assert.equal(await blobs.tidy(now - 1000, 5), 1);
  assert.equal(await blobs.tidy(now - 1000, 5), 0);
  assert.deepEqual([...store.uploads.keys()].sort(), ['growing', 'new', 'theirs']);
});

test('a store without conditions does not overwrite either', async () => {
  const store = await S3Store.open();
  open.push(store);
  store.isConditional = false;
  const storage = await openS3(optionsOf(store));
  open.push(storage);
  const blobs = storage.blobs('upload/contents');
  await blobs.put('a', stream('abc'), 3);
  await assert.rejects(blobs.put('a', stream('xyz'), 3), BlobExists);
  assert.equal(await contentOf(blobs), 'abc');
});

test('objects are encrypted and described as configured', async () => {
  const { store, blobs } = await place({
    encryption: { algorithm: 'aws:kms', key: 'alias/files' },
    links: { seconds: 60, base: 'https://cdn.example.org/' },
  });
  const headers = { type: 'text/plain', disposition: 'attachment; filename="a.txt"' };
  for (const [key, text] of [
    ['a', 'abc'],
    ['b', long],
  ] as const) {
    await blobs.put(key, stream(text), text.length, headers);
    const stored = store.objects.get(`waxwing/upload/contents/${key}`)!.headers;
    assert.equal(stored['content-type'], 'text/plain');
    assert.equal(stored['content-disposition'], headers.disposition);
    assert.equal(stored['cache-control'], 'public, max-age=86400, immutable');
    assert.equal(stored['x-amz-server-side-encryption'], 'aws:kms');
  }
  const { url, seconds } = await blobs.link!('a', { method: 'GET', headers });
  assert.equal(url, 'https://cdn.example.org/waxwing/upload/contents/a');
  assert.equal(seconds, undefined);
});

test('memory for parts is given back, whatever becomes of them', async () => {
  const memoryBytes = 2500;
  const { store, blobs } = await place({ memoryBytes });
  store.fault = ({ query }, request, response) => {
    if (query.get('partNumber') !== '2') return;
    request.resume();
    refuse(response, 400, 'InvalidRequest');
    return true;
  };
  for (let round = 0; round < 5; round++) {
    await assert.rejects(blobs.put('a', stream(long), long.length), failsWith('unavailable', /InvalidRequest/));
    await assert.rejects(blobs.put('a', stream(long.slice(0, 900)), 950), /950 bytes/);
  }
  // A part that is in memory has its checksum in front, one that is sent as it comes has it behind.
  store.fault = ({ headers, query }) => {
    if (query.has('partNumber')) assert.ok(headers['x-amz-checksum-crc32'], 'the memory is spent');
    return undefined;
  };
  await blobs.put('a', stream(long.slice(0, 1500)), 1500);
});
