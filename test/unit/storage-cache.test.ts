import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cache } from '../../src/storage/cache.js';
import { Recent } from '../../src/storage/recent.js';

/** A loader that answers when the test says so. */
function loader(): {
  load: (owner: string) => Promise<string>;
  calls: string[];
  answer: (value: string | Error) => void;
} {
  const calls: string[] = [];
  const waiting: ((value: string | Error) => void)[] = [];
  const load = (owner: string): Promise<string> => {
    calls.push(owner);
    return new Promise((resolve, reject) => {
      waiting.push((value) => (value instanceof Error ? reject(value) : resolve(value)));
    });
  };
  return { load, calls, answer: (value) => waiting.shift()!(value) };
}

test('a hit returns the value, a miss a promise', async () => {
  const { load, calls, answer } = loader();
  const cache = new Cache<string>(10, load);
  const first = cache.get('romeo');
  answer('roster');
  assert.equal(await first, 'roster');
  assert.equal(cache.get('romeo'), 'roster');
  assert.equal(cache.peek('romeo'), 'roster');
  assert.equal(cache.peek('juliet'), undefined);
  assert.deepEqual(calls, ['romeo']);
});

test('null can stand for a missing value', async () => {
  const cache = new Cache<string | null>(10, async () => null);
  assert.equal(await cache.get('romeo'), null);
  assert.equal(cache.get('romeo'), null);
});

test('concurrent callers share one load', async () => {
  const { load, calls, answer } = loader();
  const cache = new Cache<string>(10, load);
  const both = Promise.all([cache.get('romeo'), cache.get('romeo')]);
  answer('roster');
  assert.deepEqual(await both, ['roster', 'roster']);
  assert.deepEqual(calls, ['romeo']);
});

test('a failure is not cached', async () => {
  const { load, answer } = loader();
  const cache = new Cache<string>(10, load);
  const failed = cache.get('romeo');
  answer(new Error('disk'));
  await assert.rejects(async () => failed, /disk/);
  const second = cache.get('romeo');
  answer('roster');
  assert.equal(await second, 'roster');
});

for (const [what, write, then] of [
  ['set', (cache: Cache<string>) => cache.set('romeo', 'new'), 'new'],
  ['delete', (cache: Cache<string>) => cache.delete('romeo'), undefined],
  ['clear', (cache: Cache<string>) => cache.clear(), undefined],
] as const) {
  test(`${what} during a load wins over the loaded value`, async () => {
    const { load, answer } = loader();
    const cache = new Cache<string>(10, load);
    const loading = cache.get('romeo');
    write(cache);
    answer('old');
    assert.equal(await loading, 'old');
    assert.equal(cache.peek('romeo'), then);
  });
}

test('delete, then a second load during the first: the second wins', async () => {
  const { load, answer } = loader();
  const cache = new Cache<string>(10, load);
  const first = cache.get('romeo');
  cache.delete('romeo');
  const second = cache.get('romeo');
  answer('old');
  assert.equal(await first, 'old');
  assert.equal(cache.peek('romeo'), undefined);
  answer('new');
  assert.equal(await second, 'new');
  assert.equal(cache.get('romeo'), 'new');
});

test('a failed load that is obsolete leaves the written value', async () => {
  const { load, answer } = loader();
  const cache = new Cache<string>(10, load);
  const loading = cache.get('romeo');
  cache.set('romeo', 'new');
  answer(new Error('disk'));
  await assert.rejects(async () => loading, /disk/);
  assert.equal(cache.get('romeo'), 'new');
});

test('the maximum is never exceeded, and the most recently used half is present', () => {
  const recent = new Recent<number>(10);
  for (let n = 0; n < 100; n++) {
    recent.set(`${n}`, n);
    assert.ok(recent.size <= 10);
    assert.equal(recent.get('0'), 0); // used all the time
    for (let back = 0; back < Math.min(4, n); back++) assert.equal(recent.get(`${n - back}`), n - back);
  }
  assert.equal(recent.get('50'), undefined);
});

test('a deleted value is removed from both halves', () => {
  const recent = new Recent<number>(4);
  for (let n = 0; n < 4; n++) recent.set(`${n}`, n);
  for (let n = 0; n < 4; n++) recent.delete(`${n}`);
  assert.equal(recent.size, 0);
  for (let n = 0; n < 4; n++) assert.equal(recent.get(`${n}`), undefined);
});

test('writing again keeps one copy', () => {
  const recent = new Recent<number>(4);
  for (const key of ['a', 'b', 'c', 'a', 'a', 'b']) recent.set(key, 1);
  assert.ok(recent.size <= 4);
  recent.set('a', 2);
  assert.equal(recent.get('a'), 2);
  recent.delete('a');
  assert.equal(recent.get('a'), undefined);
});
