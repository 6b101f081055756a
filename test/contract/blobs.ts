import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { BlobExists, type BlobStorage, type BlobStore, WrongSize } from '../../src/storage/blobs.js';

/** A content in chunks of odd sizes. */
function streamOf(bytes: Uint8Array, chunk = 40_001): Readable {
  return Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk);
    })(),
    { objectMode: false },
  );
}

/** All keys, by pages of `limit`. */
async function keysOf(blobs: BlobStore, limit: number): Promise<string[]> {
  const keys: string[] = [];
  for (;;) {
    const page = await blobs.list({ after: keys.at(-1), limit });
    assert.ok(page.length <= limit);
    if (page.length === 0) return keys;
    keys.push(...page.map(({ key }) => key));
  }
}

async function read(blobs: BlobStore, key: string, range?: { start: number; end: number }): Promise<Buffer> {
  const blob = await blobs.get(key);
  assert.ok(blob, `there is no blob ${key}`);
  return buffer(blob.read(range));
}

/** What every driver of blobs promises. `open` gives an empty storage. */
export function blobContract(driver: string, open: () => Promise<BlobStorage>): void {
  describe(`${driver}: blobs`, () => {
    test('a blob is read as it was written, whole and in parts', async () => {
      const blobs = (await open()).blobs('test/files');
      const content = randomBytes(300_007);
      await blobs.put('a1', streamOf(content), content.length);
      assert.deepEqual(await read(blobs, 'a1'), content);
      for (const [start, end] of [
        [0, 0],
        [0, content.length - 1],
        [131_071, 131_073],
        [content.length - 1, content.length - 1],
      ] as const)
        assert.deepEqual(await read(blobs, 'a1', { start, end }), content.subarray(start, end + 1));
      const opened = (await blobs.get('a1'))!;
      await opened.close();
      assert.deepEqual([opened.key, opened.size], ['a1', content.length]);
      const unread = (await blobs.get('a1'))!.read();
      unread.destroy();
      await once(unread, 'close');
      const facts = (await blobs.stat('a1'))!;
      assert.deepEqual([facts.key, facts.size], ['a1', content.length]);
      assert.ok(Math.abs(facts.at - Date.now()) < 3_600_000);
      await blobs.put('empty', streamOf(new Uint8Array()), 0);
      assert.equal((await read(blobs, 'empty')).length, 0);
    });

    test('what does not exist is undefined, and deleting it is no error', async () => {
      const blobs = (await open()).blobs('test/files');
      assert.equal(await blobs.get('a'), undefined);
      assert.equal(await blobs.stat('a'), undefined);
      assert.equal(await blobs.delete(['a', 'b']), 0);
      assert.equal(await blobs.delete([]), 0);
      assert.deepEqual(await blobs.list({ limit: 5 }), []);
      assert.deepEqual(await blobs.list({ after: 'a', limit: 5 }), []);
      assert.equal(await blobs.tidy(Date.now(), 5), 0);
    });

    test('a content of another size is not stored, and its key can be used again', async () => {
      const blobs = (await open()).blobs('test/files');
      for (const size of [0, 1, 9, 11, 1e12])
        await assert.rejects(blobs.put('a', streamOf(Buffer.alloc(10)), size), WrongSize);
      await assert.rejects(blobs.put('b', streamOf(Buffer.alloc(400_000)), 300_000), WrongSize);
      assert.equal(await blobs.get('a'), undefined);
      assert.deepEqual(await blobs.list({ limit: 5 }), []);
      await blobs.put('a', streamOf(Buffer.from('0123456789')), 10);
      assert.equal((await read(blobs, 'a')).toString(), '0123456789');
    });

    test('reads no more of a content than is needed to refuse it', async () => {
      const blobs = (await open()).blobs('test/files');
      let made = 0;
      const endless = Readable.from(
        (function* () {
          for (;;) {
            made++;
            yield Buffer.alloc(65_536);
          }
        })(),
        { objectMode: false },
      );
      await assert.rejects(blobs.put('a', endless, 100_000), WrongSize);
      assert.ok(made < 20, `${made} chunks`);
      assert.equal(endless.destroyed, false);
      endless.destroy();
    });

    test('a content that fails is not stored', async () => {
      const blobs = (await open()).blobs('test/files');
      const failing = Readable.from(
        (function* () {
          yield Buffer.alloc(200_000);
          throw new Error('cut');
        })(),
        { objectMode: false },
      );
      await assert.rejects(blobs.put('a', failing, 400_000), /cut/);
      const cut = new Readable({ read() {} });
      cut.push(Buffer.alloc(200_000));
      const storing = blobs.put('a', cut, 400_000);
      setImmediate(() => cut.destroy());
      await assert.rejects(storing);
      assert.equal(await blobs.stat('a'), undefined);
      assert.deepEqual(await blobs.list({ limit: 5 }), []);
    });

    test('a blob is never overwritten', async () => {
      const blobs = (await open()).blobs('test/files');
      await blobs.put('a', streamOf(Buffer.from('first')), 5);
      await assert.rejects(blobs.put('a', streamOf(Buffer.from('other')), 5), BlobExists);
      assert.equal((await read(blobs, 'a')).toString(), 'first');
      const racing = ['one', 'two', 'six'].map((text) =>
        blobs.put('b', streamOf(Buffer.from(text)), 3).then(() => text),
      );
      const results = await Promise.allSettled(racing);
      const stored = results.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      assert.equal(stored.length, 1);
      for (const one of results) if (one.status === 'rejected') assert.ok(one.reason instanceof BlobExists);
      assert.equal((await read(blobs, 'b')).toString(), stored[0]);
    });

    test('deletes blobs, and counts those that existed', async () => {
      const blobs = (await open()).blobs('test/files');
      for (const key of ['a', 'b', 'c']) await blobs.put(key, streamOf(Buffer.from(key)), 1);
      assert.equal(await blobs.delete(['a', 'c', 'd', 'a']), 2);
      assert.equal(await blobs.get('a'), undefined);
      assert.equal((await read(blobs, 'b')).toString(), 'b');
      await blobs.put('a', streamOf(Buffer.from('A')), 1);
      assert.equal((await read(blobs, 'a')).toString(), 'A');
    });

    test('lists every blob once, in pages, whatever is deleted between them', async () => {
      const blobs = (await open()).blobs('test/files');
      const keys = Array.from({ length: 30 }, (_, n) => `k${n}`);
      await Promise.all(keys.map((key, n) => blobs.put(key, streamOf(Buffer.alloc(n)), n)));
      for (const limit of [1, 7, 100]) assert.deepEqual((await keysOf(blobs, limit)).sort(), [...keys].sort());
      assert.deepEqual(await blobs.list({ limit: 0 }), []);
      const first = await blobs.list({ limit: 10 });
      for (const { key, size } of first) assert.equal(`k${size}`, key);
      await blobs.delete([first.at(-1)!.key]);
      const rest = await blobs.list({ after: first.at(-1)!.key, limit: 100 });
      assert.deepEqual([...first, ...rest].map(({ key }) => key).sort(), [...keys].sort());
    });

    test('stores of other names are separate', async () => {
      const storage = await open();
      await storage.blobs('test/files').put('a', streamOf(Buffer.from('a')), 1);
      assert.equal(await storage.blobs('test/other').get('a'), undefined);
      assert.deepEqual(await storage.blobs('test').list({ limit: 5 }), []);
      assert.equal((await read(storage.blobs('test/files'), 'a')).toString(), 'a');
      assert.throws(() => storage.blobs('../files'), TypeError);
    });

    test('refuses keys that are not its own', async () => {
      const blobs = (await open()).blobs('test/files');
      const odd = ['', '.', '..', '../a', 'a/b', 'a\\b', 'a\0', 'A', 'ä', '-a', ' a', 'a.b', 'a'.repeat(101), '%2e%2e'];
      for (const key of odd) {
        await assert.rejects(blobs.put(key, streamOf(Buffer.from('a')), 1), TypeError, JSON.stringify(key));
        await assert.rejects(blobs.get(key), TypeError, JSON.stringify(key));
        await assert.rejects(blobs.delete([key]), TypeError, JSON.stringify(key));
      }
      await blobs.put('a'.repeat(100), streamOf(Buffer.from('a')), 1);
      assert.deepEqual(await keysOf(blobs, 5), ['a'.repeat(100)]);
    });

    test('may say how much it can still store', async () => {
      const free = await (await open()).blobs('test/files').free();
      assert.ok(free === undefined || free >= 0);
    });
  });
}
