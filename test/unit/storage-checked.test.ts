import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import Database from 'better-sqlite3';
import { checked, type DamagedRecord } from '../../src/storage/checked.js';
import { type Storage, StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';

const folder = mkdtempSync(join(tmpdir(), 'damaged-'));
after(() => rmSync(folder, { recursive: true }));

const isNumber = { check: (value: unknown) => typeof value === 'number' };
const isCorrupt = (error: unknown) => error instanceof StorageError && error.failure === 'corrupt';

function watched(inner: Storage = new MemoryStorage()) {
  const damaged: DamagedRecord[] = [];
  return { inner, damaged, storage: checked(inner, (record) => damaged.push(record)) };
}

test('a damaged document is missing, reported once, and writable', async () => {
  const { inner, damaged, storage } = watched();
  const store = storage.document<number>('d', isNumber);
  await inner.document('d').set('a', 'x');
  await inner.document('d').set('b', 1);
  assert.equal(await store.get('a'), undefined);
  assert.deepEqual(await store.getMany(['a', 'b']), new Map([['b', 1]]));
  assert.deepEqual(damaged, [{ shape: 'document', store: 'd', owner: 'a', key: undefined }]);
  assert.equal(await store.compareAndSet('b', undefined, 2), false);
  assert.equal(await store.compareAndSet('a', undefined, 2), true);
  assert.equal(await store.get('a'), 2);
});

test('a damaged document of a strict store can neither be read nor count as missing', async () => {
  const { inner, storage } = watched();
  const store = storage.document<number>('d', { ...isNumber, damaged: 'refuse' });
  await inner.document('d').set('a', null);
  await assert.rejects(store.get('a'), isCorrupt);
  await assert.rejects(store.compareAndSet('a', undefined, 2), isCorrupt);
  assert.equal((await store.getMany(['a'])).size, 0);
  // Opening it without a check returns the same.
  await assert.rejects(storage.document('d').get('a'), isCorrupt);
  await store.set('a', 3);
  assert.equal(await store.get('a'), 3);
});

test('damaged values of a map do not shorten a page', async () => {
  const { inner, damaged, storage } = watched();
  const store = storage.map<number>('m', isNumber);
  const all = Array.from({ length: 50 }, (_, n): [string, unknown] => [String(100 + n), n % 7 === 0 ? n : 'x']);
  await inner.map('m').set('a', all);
  const good = all.filter(([, value]) => typeof value === 'number');
  assert.deepEqual([...(await store.all('a'))], good);
  assert.deepEqual(await store.page('a', { limit: 3 }), good.slice(0, 3));
  assert.deepEqual(await store.page('a', { after: '107', limit: 100 }), good.slice(2));
  assert.deepEqual(await store.page('a', { limit: 0 }), []);
  assert.equal(await store.get('a', '101'), undefined);
  assert.equal(damaged.length, 42);
});

test('a replacement for a damaged value', async () => {
  const { inner, storage } = watched();
  const store = storage.map<number>('m', { ...isNumber, damaged: (owner, key) => owner.length * 10 + key.length });
  await inner.map('m').set('a', [['kk', 'x']]);
  assert.equal(await store.get('a', 'kk'), 12);
  assert.deepEqual(await store.all('a'), new Map([['kk', 12]]));
});

test('pages skip damaged entries of a log, in both directions', async () => {
  const { inner, storage } = watched();
  const store = storage.log('l', { check: (value) => value !== 'bad' });
  const ids = Array.from({ length: 40 }, (_, n) => String(100 + n));
  for (const [n, id] of ids.entries()) await inner.log('l').append('a', { id, value: n % 4 === 1 ? 'ok' : 'bad' });
  const good = ids.filter((_, n) => n % 4 === 1);
  const forwards: string[] = [];
  for (let from: string | undefined; ; ) {
    const { entries, complete } = await store.page('a', { after: from, limit: 3, strict: true });
    forwards.push(...entries.map(({ id }) => id));
    if (complete) break;
    assert.equal(entries.length, 3);
    from = entries.at(-1)!.id;
  }
  assert.deepEqual(forwards, good);
  const last = await store.page('a', { limit: 4, backwards: true });
  assert.deepEqual(
    last.entries.map(({ id }) => id),
    good.slice(-4),
  );
  assert.equal(last.complete, false);
  // A damaged entry can still be named.
  assert.equal((await store.page('a', { after: '100', limit: 1, strict: true })).entries[0]!.id, '101');
  assert.deepEqual(await store.page('a', { ids: ['100', '101'], limit: 2 }), {
    entries: [{ id: '101', value: 'ok' }],
    complete: true,
  });
});

test('invalid JSON in a database is damaged, in any store', async () => {
  const file = join(folder, 'broken.db');
  const first = await openSqlite({ file });
  await first.document('d').set('a', { x: 1 });
  await first.document('d').set('b', { x: 2 });
  await first.map('m').set('a', [
    ['k', 1],
    ['l', 2],
  ]);
  await first.close();
  const database = new Database(file);
  const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all() as string[];
  for (const table of tables) {
    const columns = database.prepare(`PRAGMA table_info("${table}")`).all() as { name: string }[];
    if (!columns.some(({ name }) => name === 'value')) continue;
    database.prepare(`UPDATE "${table}" SET value = '{"x":' WHERE CAST(value AS TEXT) IN ('{"x":1}', '1')`).run();
  }
  database.close();
  const { damaged, storage } = watched(await openSqlite({ file }));
  assert.equal(await storage.document('d').get('a'), undefined);
  assert.deepEqual(await storage.document('d').getMany(['a', 'b']), new Map([['b', { x: 2 }]]));
  assert.deepEqual(await storage.map('m').all('a'), new Map([['l', 2]]));
  assert.equal(damaged.length, 2);
  assert.equal(await storage.document('d').compareAndSet('b', { x: 1 }, { x: 3 }), false);
  await storage.close();
});
