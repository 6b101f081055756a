import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forgetOwner } from '../../src/storage/contract.js';
import { late } from '../../src/storage/late.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { measured, routed } from '../../src/storage/wrappers.js';

test('measured reports operation, duration and outcome', async () => {
  const seen: string[] = [];
  const storage = measured(new MemoryStorage(), ({ shape, name, operation }, milliseconds, error) => {
    assert.ok(milliseconds >= 0);
    seen.push(`${shape} ${name} ${operation} ${error === undefined ? 'done' : 'failed'}`);
  });
  await storage.document('vcard').set('romeo', 1);
  await assert.rejects(storage.log('archive').page('romeo', { limit: 1, after: 'x', strict: true }));
  await storage.close();
  await assert.rejects(storage.map('roster').all('romeo'));
  assert.deepEqual(seen, ['document vcard set done', 'log archive page failed', 'map roster all failed']);
});

test('late delays operations, in order per owner and out of order among owners', async () => {
  const inner = new MemoryStorage();
  const storage = late(inner, 3);
  const owners = Array.from({ length: 20 }, (_, n) => `owner-${n}`);
  const answered: string[] = [];
  const all = owners.flatMap((owner) =>
    [0, 1, 2].map((n) => {
      const written = n === 1 ? storage.map('m').set(owner, [['k', n]]) : storage.document('d').set(owner, n);
      return written.then(() => answered.push(owner));
    }),
  );
  assert.equal((await inner.document('d').owners({ limit: 1 })).length, 0, 'nothing runs at once');
  assert.equal(await storage.document('d').get('owner-7'), 2, 'a read sees what was written before');
  await Promise.all(all);
  const order = [...new Set(answered)];
  assert.deepEqual([...order].sort(), [...owners].sort());
  assert.notDeepEqual(order, owners);
});

test('late copies written values', async () => {
  const storage = late(new MemoryStorage(), 1);
  const value = { a: 1 };
  const entries: [string, object][] = [['k', value]];
  const written = [storage.document('d').set('a', value), storage.map('m').set('a', entries)];
  value.a = 2;
  entries.length = 0;
  await Promise.all(written);
  assert.deepEqual(await storage.document('d').get('a'), { a: 1 });
  assert.deepEqual(await storage.map('m').all('a'), new Map([['k', { a: 1 }]]));
});

test('routed uses the driver of each store, and lists reachable stores', async () => {
  const plain = new MemoryStorage();
  const archive = new MemoryStorage();
  const storage = routed({ default: plain, stores: { archive, history: archive } });
  await storage.log('archive').append('romeo', { id: '1', value: '' });
  await storage.log('history').append('romeo', { id: '1', value: '' });
  await storage.document('vcard').set('romeo', 1);
  await plain.log('archive').append('romeo', { id: 'left from before it was moved', value: '' });
  assert.equal(await archive.log('archive').count('romeo', {}), 1);
  assert.equal(await plain.document('vcard').get('romeo'), 1);
  const stores = (await storage.stores()).map(({ shape, name }) => `${shape} ${name}`);
  assert.deepEqual(stores.sort(), ['document vcard', 'log archive', 'log history']);
  await forgetOwner(storage, 'romeo');
  assert.equal(await archive.log('history').count('romeo', {}), 0);
  await storage.close();
  await assert.rejects(archive.flush());
});
