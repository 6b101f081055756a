import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forgetOwner } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { delayed, measured, routed } from '../../src/storage/wrappers.js';

test('measured tells what was called, how long it took, and how it ended', async () => {
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

test('delayed answers out of order, though what it does is in order', async () => {
  const storage = delayed(new MemoryStorage(), 3);
  const answered: number[] = [];
  const document = storage.document<number>('d');
  await Promise.all(Array.from({ length: 30 }, (_, n) => document.set('romeo', n).then(() => answered.push(n))));
  assert.equal(await document.get('romeo'), 29);
  assert.notDeepEqual(
    answered,
    [...answered].sort((a, b) => a - b),
  );
});

test('routed puts each store on its driver, and lists what can be reached', async () => {
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
