/** What may be lost: reads find nothing while the storage is away, deletions are done later, writes say that they failed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { loadConfig } from '../../src/server/config/load.js';
import { demandStores, ModuleError } from '../../src/server/loader.js';
import { StorageError } from '../../src/storage/contract.js';
import { type LossyParts, lossy } from '../../src/storage/lossy.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';

function opened(more: Partial<LossyParts> = {}) {
  const state = { isAway: false, missed: 0, forgotten: 0 };
  const inner = around(new MemoryStorage(), (_, run) =>
    state.isAway ? Promise.reject(new StorageError('unavailable', 'away')) : run(),
  );
  const storage = lossy(inner, {
    guard: (_, run) => run(),
    missed: () => state.missed++,
    forgotten: () => state.forgotten++,
    ...more,
  });
  return { state, storage, document: storage.document<unknown>('d'), map: storage.map<unknown>('m') };
}

const isBusy = (error: unknown) => error instanceof StorageError && error.failure === 'busy';

test('what is away is missing', async () => {
  const { state, document, map } = opened();
  await document.set('romeo', 1);
  await map.set('romeo', [['a', 1]]);
  state.isAway = true;
  assert.equal(await document.get('romeo'), undefined);
  assert.deepEqual(await document.getMany(['romeo']), new Map());
  assert.equal(await document.size('romeo'), 0);
  assert.equal(await map.get('romeo', 'a'), undefined);
  assert.deepEqual(await map.all('romeo'), new Map());
  assert.deepEqual(await map.page('romeo', { limit: 5 }), []);
  assert.equal(await map.count('romeo'), 0);
  await assert.rejects(document.set('romeo', 2), isBusy);
  await assert.rejects(document.compareAndSet('romeo', 1, 2), isBusy);
  await assert.rejects(map.set('romeo', [['a', 2]]), isBusy);
  await assert.rejects(map.owners({ limit: 5 }), isBusy);
  state.isAway = false;
  assert.equal(await document.get('romeo'), 1);
  assert.deepEqual(await map.all('romeo'), new Map([['a', 1]]));
});

test('errors of callers are theirs', async () => {
  const { document } = opened();
  await assert.rejects(document.set('romeo', undefined), TypeError);
});

test('deletions are done when the storage works again, once', async () => {
  const { state, storage, document, map } = opened();
  await document.set('romeo', 1);
  await document.set('juliet', 1);
  await map.set('romeo', [
    ['a', 1],
    ['b', 1],
  ]);
  state.isAway = true;
  const keys = ['a'];
  assert.equal(await map.delete('romeo', keys), 0);
  keys[0] = 'b';
  assert.equal(await document.delete('romeo'), false);
  await document.forget('juliet');
  assert.equal(state.missed, 3);
  await assert.rejects(storage.catchUp(), StorageError);
  state.isAway = false;
  await storage.catchUp();
  assert.equal(await document.get('romeo'), undefined);
  assert.equal(await document.get('juliet'), undefined);
  assert.deepEqual(await map.all('romeo'), new Map([['b', 1]]));
  await document.set('romeo', 2);
  await storage.catchUp();
  assert.equal(await document.get('romeo'), 2);
});

test('deletions that are remembered are bounded', async () => {
  const { state, storage, document } = opened({ most: 2 });
  for (const owner of ['a', 'b', 'c', 'd']) await document.set(owner, 1);
  state.isAway = true;
  for (const owner of ['a', 'b', 'a', 'c', 'd']) await document.delete(owner);
  assert.equal(state.forgotten, 1);
  state.isAway = false;
  await storage.catchUp();
  assert.deepEqual(await document.owners({ limit: 9 }), ['c', 'd']);
});

test('a store that must not be lost is refused on Redis', () => {
  const config = (stores: Record<string, string>) =>
    loadConfig({ text: '', overrides: { storage: { stores } }, modules: standardModules });
  demandStores(standardModules, config({ last_activity: 'redis', client_caps: 'redis', last_logins: 'redis' }));
  for (const name of ['accounts', 'archive', 'roster', 'stream_management'])
    assert.throws(
      () => demandStores(standardModules, config({ [name]: 'redis' })),
      (error) =>
        error instanceof ModuleError &&
        error.message.startsWith(`storage.stores.${name}: it must not be lost`) &&
        error.message.includes('client_caps, last_activity, last_logins'),
    );
  assert.throws(() => loadConfig({ text: '', overrides: { storage: { driver: 'redis' } }, modules: standardModules }));
});
