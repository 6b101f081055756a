/** Parts of the Cassandra driver that need no node: buckets, the order of operations, looks at the fence. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { idAfter, idAt } from '../../src/server/stanza/ids.js';
import { bucketOf } from '../../src/storage/cassandra/buckets.js';
import { Fence } from '../../src/storage/cassandra/fence.js';
import { Queue } from '../../src/storage/cassandra/queue.js';
import { fenced, type LogEntry, StorageError } from '../../src/storage/contract.js';
import { compare } from '../../src/storage/order.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { oddNames } from '../contract/names.js';

const isFenced = (error: unknown): boolean => error instanceof StorageError && error.failure === 'fenced';

test('buckets have the order of ids, of whatever form', () => {
  const random = mulberry32(5);
  const characters = ['', '\0', '!', '0', '3', '4', '9', ':', 'a', 'b', 'c', 'r', 's', 'v', 'z', 'ä', '\ufffd', '😀'];
  const made = Array.from({ length: 3000 }, () =>
    Array.from({ length: 6 }, () => characters[Math.floor(random() * characters.length)]!).join(''),
  );
  const ids = [...made, ...oddNames].sort(compare);
  for (const [n, id] of ids.entries()) {
    const bucket = bucketOf(id);
    assert.equal(Buffer.from(bucket).toString(), bucket);
    assert.ok(compare(bucket, id) <= 0, JSON.stringify(id));
    if (n > 0) assert.ok(compare(bucketOf(ids[n - 1]!), bucket) <= 0, JSON.stringify([ids[n - 1], id]));
  }
});

test('a bucket is 37 hours', () => {
  const hours = 32 ** 5 * 4;
  const start = Math.floor(Date.UTC(2026, 6) / hours) * hours;
  assert.equal(Math.round(hours / 360_000), 373);
  assert.equal(bucketOf(idAt(start)), bucketOf(idAfter(start + hours - 1)));
  assert.notEqual(bucketOf(idAt(start)), bucketOf(idAt(start + hours)));
  assert.notEqual(bucketOf(idAt(start)), bucketOf(idAfter(start - 1)));
});

test('a look serves all that wait for it, and begins after they do', async () => {
  const begun: (() => void)[] = [];
  const fence = new Fence(() => new Promise((resolve) => begun.push(resolve)));
  await fence.looked();
  assert.equal(begun.length, 0);
  fence.join('verona', 3);
  const done: string[] = [];
  const waits = (name: string): Promise<unknown> => fence.looked().then(() => done.push(name));
  const first = [waits('a'), waits('b')];
  await setImmediate();
  assert.equal(begun.length, 1);
  // The look under way may have begun before their writes ended.
  const second = [waits('c'), waits('d')];
  await setImmediate();
  assert.equal(begun.length, 1);
  begun[0]!();
  await Promise.all(first);
  assert.deepEqual(done, ['a', 'b']);
  await setImmediate();
  assert.equal(begun.length, 2);
  begun[1]!();
  await Promise.all(second);
  assert.deepEqual(done, ['a', 'b', 'c', 'd']);
});

test('a look that fails refuses those that wait for it, and one of a fenced epoch all later ones', async () => {
  const answers: (Error | undefined)[] = [new StorageError('unavailable', 'away'), undefined, fenced('verona', 3)];
  let looks = 0;
  const fence = new Fence(async () => {
    const answer = answers[looks++];
    if (answer !== undefined) throw answer;
  });
  fence.join('verona', 3);
  await assert.rejects(fence.looked(), /away/);
  fence.demand();
  await fence.looked();
  await assert.rejects(fence.looked(), isFenced);
  assert.throws(() => fence.demand(), isFenced);
  await assert.rejects(fence.looked(), isFenced);
});

test('only the epoch of the handle itself ends with a fence, and there are none without a main storage', async () => {
  const fence = new Fence(async () => {});
  fence.join('verona', 3);
  fence.end('verona', 2);
  fence.end('padua', 3);
  fence.demand();
  fence.end('verona', 3);
  assert.throws(() => fence.demand(), isFenced);
  assert.throws(() => fence.end('padua', 1), isFenced);
  for (const [look, epoch] of [
    [undefined, 3],
    [async () => {}, undefined],
  ] as const)
    assert.throws(() => new Fence(look).join('verona', epoch), /main storage/);
});

const entry = (id: string, value = ''): LogEntry => ({ id, value });

test('operations of an owner run in order, waiting appends as one write; other owners go on', async () => {
  const queue = new Queue();
  const seen: string[] = [];
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const write = async (owner: string, entries: readonly LogEntry[]): Promise<void> => {
    if (entries[0]!.id === 'a') await held;
    seen.push(`${owner}: ${entries.map(({ id }) => id).join(' ')}`);
  };
  const all = [
    queue.append('romeo', write, entry('a')),
    queue.append('romeo', write, entry('b')),
    queue.run('romeo', async () => seen.push('read')),
    queue.append('romeo', write, entry('c')),
    queue.append('romeo', write, entry('d')),
    queue.append(
      'romeo',
      async () => {
        throw new Error('refused');
      },
      entry('e'),
    ),
    queue.append('romeo', write, entry('f')),
  ];
  const outcomes = Promise.allSettled(all);
  await queue.append('juliet', write, entry('x'));
  assert.deepEqual(seen, ['juliet: x']);
  const flushed = queue.flush();
  release();
  await flushed;
  assert.deepEqual(seen, ['juliet: x', 'romeo: a b', 'read', 'romeo: c d', 'romeo: f']);
  const states = (await outcomes).map(({ status }) => status);
  assert.deepEqual(states, ['fulfilled', 'fulfilled', 'fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
});

test('writes are bounded, in entries and in characters', async () => {
  const queue = new Queue();
  const sizes: number[] = [];
  const write = async (_: string, entries: readonly LogEntry[]): Promise<void> => {
    sizes.push(entries.length);
  };
  await Promise.all(Array.from({ length: 250 }, (_, n) => queue.append('romeo', write, entry(String(n)))));
  assert.deepEqual(sizes.splice(0), [100, 100, 50]);
  const long = 'x'.repeat(100_000);
  await Promise.all(Array.from({ length: 5 }, (_, n) => queue.append('romeo', write, entry(String(n), long))));
  await queue.append('romeo', write, entry('huge', 'x'.repeat(1_000_000)));
  assert.deepEqual(sizes, [2, 2, 1, 1]);
});

test('a closed queue ends what was called before, and refuses the rest', async () => {
  const queue = new Queue();
  const before = queue.run('romeo', async () => 'done');
  const closing = queue.close();
  const isClosed = (error: unknown): boolean => error instanceof StorageError && /closed/.test(error.message);
  await assert.rejects(
    queue.run('romeo', async () => {}),
    isClosed,
  );
  await assert.rejects(
    queue.append('romeo', async () => {}, entry('a')),
    isClosed,
  );
  assert.throws(() => queue.demandOpen(), isClosed);
  await closing;
  assert.equal(await before, 'done');
});
