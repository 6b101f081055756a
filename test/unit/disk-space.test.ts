/** Whether the disk gets full (storage.low_space_bytes). */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { DiskSpace, type Space, spaceOf } from '../../src/server/disk-space.js';

const gibibyte = 2 ** 30;

function disk(total: number, lowBytes = gibibyte) {
  let space: Space | Error = { free: total, total };
  const received: (boolean | string)[] = [];
  const watched = new DiskSpace({
    read: async () => {
      if (space instanceof Error) throw space;
      return space;
    },
    lowBytes: () => lowBytes,
    changed: (isLow) => void received.push(isLow),
    failed: (error) => void received.push((error as Error).message),
  });
  const has = async (free: number | Error): Promise<void> => {
    space = free instanceof Error ? free : { free, total };
    await watched.look();
  };
  return { watched, received, has };
}

test('low space is logged once, and so is its end', async () => {
  const { watched, received, has } = disk(100 * gibibyte);
  await has(2 * gibibyte);
  assert.equal(watched.writable, Number.POSITIVE_INFINITY);
  await has(gibibyte - 1);
  await has(gibibyte / 2);
  assert.equal(watched.writable, 2 ** 19);
  await has(1.05 * gibibyte);
  assert.deepEqual(received, [true], 'a little more is no change');
  assert.equal(watched.writable, 2 ** 20);
  await has(0);
  assert.equal(watched.writable, 0);
  await has(1.2 * gibibyte);
  assert.deepEqual(received, [true, false]);
  assert.equal(watched.writable, Number.POSITIVE_INFINITY);
});

test('the threshold is a tenth of a small disk; 0 disables it', async () => {
  const small = disk(gibibyte);
  await small.has(gibibyte / 5);
  assert.equal(small.watched.isLow, false);
  await small.has(gibibyte / 11);
  assert.equal(small.watched.isLow, true);
  const off = disk(gibibyte, 0);
  await off.has(0);
  assert.equal(off.watched.isLow, false);
});

test('a failed reading changes nothing, and is logged once', async () => {
  const { watched, received, has } = disk(100 * gibibyte);
  await has(gibibyte / 2);
  await has(new Error('gone'));
  await has(new Error('gone'));
  assert.equal(watched.isLow, true);
  await has(gibibyte / 2);
  await has(new Error('gone again'));
  assert.deepEqual(received, [true, 'gone', 'gone again']);
});

test('the system reports free space', async () => {
  const { free, total } = await spaceOf(tmpdir());
  assert.ok(free > 0 && free <= total);
});
