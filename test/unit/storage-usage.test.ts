/** Quotas by owner over all stores of a storage (usage.ts). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Storage, StorageError } from '../../src/storage/contract.js';
import { late } from '../../src/storage/late.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Kind, type Quota, Usages } from '../../src/storage/usage.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

function counted(quota: Quota, inner: Storage = new MemoryStorage()) {
  const near: [string, number][] = [];
  const reached: Kind[] = [];
  const usages = new Usages(inner, {
    archives: new Set(['archive']),
    exempt: new Set(['accounts']),
    isCounted: (owner) => owner.includes('@'),
    quotaOf: async () => quota,
    near: (owner, _kind, used) => near.push([owner, used]),
    reached: (_owner, kind) => reached.push(kind),
    failed: (error) => assert.fail(String(error)),
  });
  return { usages, storage: usages.storage, near, reached, inner };
}

const isQuota = (error: unknown) => error instanceof StorageError && error.failure === 'quota';
const text = (bytes: number) => 'x'.repeat(bytes - 2);

test('writes beyond the quota are refused in every store; other owners are not affected', async () => {
  const { storage, reached } = counted({ archive: 1e9, data: 200_000 });
  await storage.document('vcards').set('a@b', text(100_000));
  await settled();
  await storage.map('items').set('a@b', new Map([['1', text(90_000)]]));
  await settled();
  await assert.rejects(storage.map('items').set('a@b', [['2', text(20_000)]]), isQuota);
  await assert.rejects(storage.log('offline').append('a@b', { id: '1', value: text(20_000) }), isQuota);
  await assert.rejects(storage.document('cards').compareAndSet('a@b', undefined, text(20_000)), isQuota);
  assert.deepEqual(reached, ['data', 'data', 'data']);
  await storage.map('items').set('c@b', [['2', text(20_000)]]);
  await storage.document('accounts').set('a@b', text(20_000));
  await storage.document('vcards').set('b', text(500_000));
});

test('removed data makes room immediately', async () => {
  const { storage } = counted({ archive: 1e9, data: 200_000 });
  const items = storage.map<string>('items');
  for (const key of ['1', '2']) {
    await items.set('a@b', [[key, text(95_000)]]);
    await settled();
  }
  await assert.rejects(items.set('a@b', [['3', text(95_000)]]), isQuota);
  await items.delete('a@b', ['1']);
  await items.set('a@b', [['3', text(95_000)]]);
});

test('replaced data is counted twice only briefly', async () => {
  const { storage } = counted({ archive: 1e9, data: 500_000 });
  for (let n = 0; n < 100; n++) {
    await storage.document('vcards').set('a@b', text(50_000));
    await settled();
  }
});

test('the oldest entries of an archive make room', async () => {
  const { storage, usages, reached } = counted({ archive: 1_000_000, data: 1e9 });
  const archive = storage.log('archive');
  let most = 0;
  for (let n = 0; n < 3000; n++) {
    await archive.append('a@b', { id: String(n).padStart(6, '0'), value: text(2000) });
    most = Math.max(most, await archive.size('a@b'));
    if (n % 10 === 0) await settled();
  }
  await settled();
  assert.ok(most < 1_200_000, `${most} bytes`);
  const { entries } = await archive.page('a@b', { limit: 1, backwards: true });
  assert.equal(entries[0]?.id, '002999');
  assert.ok((await usages.of('a@b')).archive > 500_000);
  assert.ok(reached.includes('archive'));
});

test('entries appended during the measurement make room too', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const inner = late(new MemoryStorage(), seed);
    const { storage } = counted({ archive: 400_000, data: 1e9 }, inner);
    const archive = storage.log('archive');
    await Promise.all(
      Array.from({ length: 20 }, (_, n) => archive.append('a@b', { id: `${100 + n}`, value: text(50_000) })),
    );
    for (let calls = -1; calls !== inner.calls; ) {
      calls = inner.calls;
      await inner.idle();
      await settled();
    }
    assert.ok((await inner.log('archive').size('a@b')) <= 450_000, `seed ${seed}`);
  }
});

test('an owner near its quota is reported; usage is per store', async () => {
  const { storage, usages, near } = counted({ archive: 1e9, data: 100_000 });
  await storage.document('vcards').set('a@b', text(70_000));
  await settled();
  assert.equal(near.length, 0);
  await storage.document('cards').set('a@b', text(21_000));
  await settled();
  assert.equal(near[0]?.[0], 'a@b');
  assert.deepEqual((await usages.of('a@b')).stores, { vcards: 70_000, cards: 21_000 });
});

test('usage is measured again after a crash: the quota applies', async () => {
  const inner = new MemoryStorage();
  const before = counted({ archive: 1e9, data: 200_000 }, inner);
  await before.storage.document('vcards').set('a@b', text(150_000));
  const { storage } = counted({ archive: 1e9, data: 200_000 }, inner);
  storage.document('vcards');
  let written = 0;
  for (let n = 0; n < 20; n++) {
    await storage
      .map('items')
      .set('a@b', [[String(n), text(10_000)]])
      .then(
        () => written++,
        (error: unknown) => assert.ok(isQuota(error)),
      );
    await settled();
  }
  // The most that it wrote before it was first measured.
  assert.ok(written <= 7, `${written} writes`);
});

test('for random writes and removals, the real usage is never far above the quota', async () => {
  const random = mulberry32(3);
  const { storage, usages } = counted({ archive: 1e9, data: 300_000 });
  const items = storage.map('items');
  for (let n = 0; n < 3000; n++) {
    const key = String(Math.floor(random() * 40));
    if (random() < 0.2) await items.delete('a@b', [key]);
    else
      await items
        .set('a@b', [[key, text(2 + Math.floor(random() * 20_000))]])
        .catch((error: unknown) => assert.ok(isQuota(error)));
    if (random() < 0.5) await settled();
    if (n % 50 === 0) assert.ok((await usages.of('a@b')).data <= 300_000 + 65_536);
  }
});
