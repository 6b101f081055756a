import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Storage, StorageError } from '../../src/storage/contract.js';

const isRefused = (failure: string) => (error: unknown) => error instanceof StorageError && error.failure === failure;

/** One write of every kind, each to an owner that has something there. */
const writes = {
  'a document set': (storage) => storage.document('d').set('romeo', 2),
  'a document deleted': (storage) => storage.document('d').delete('romeo'),
  'a document compared and set': (storage) => storage.document('d').compareAndSet('romeo', 1, 2),
  'a document deleted with its owner': (storage) => storage.document('d').forget('romeo'),
  'entries set': (storage) => storage.map('m').set('romeo', [['a', 2]]),
  'entries deleted': (storage) => storage.map('m').delete('romeo', ['a']),
  'a map deleted with its owner': (storage) => storage.map('m').forget('romeo'),
  'an entry appended': (storage) => storage.log('l').append('romeo', { id: 'b', value: '2' }),
  'an entry removed': (storage) => storage.log('l').remove('romeo', ['a']),
  'a log trimmed': (storage) => storage.log('l').trim('romeo', { keep: 0 }),
  'a log deleted with its owner': (storage) => storage.log('l').forget('romeo'),
} as const satisfies Record<string, (storage: Storage) => Promise<unknown>>;

async function fill(storage: Storage): Promise<void> {
  await storage.document('d').set('romeo', 1);
  await storage.map('m').set('romeo', [['a', 1]]);
  await storage.log('l').append('romeo', { id: 'a', value: '1' });
}

async function assertAsFilled(storage: Storage): Promise<void> {
  assert.equal(await storage.document('d').get('romeo'), 1);
  assert.deepEqual(await storage.map('m').all('romeo'), new Map([['a', 1]]));
  const { entries } = await storage.log('l').page('romeo', { limit: 9 });
  assert.deepEqual(entries, [{ id: 'a', value: '1' }]);
}

/** What every driver promises a node. `open` gives an empty storage. */
export function joinContract(driver: string, open: () => Promise<Storage>): void {
  describe(`${driver}: a node`, () => {
    test('joins once, and writes as before', async () => {
      const storage = await open();
      await fill(storage);
      const epoch = await storage.join('verona');
      assert.ok(Number.isSafeInteger(epoch) && epoch > 0);
      await assert.rejects(storage.join('verona'), isRefused('locked'));
      await assert.rejects(storage.join('padua'), isRefused('locked'));
      await storage.document('d').set('romeo', 2);
      assert.equal(await storage.document('d').get('romeo'), 2);
      await storage.close();
    });

    test('uses the epoch of another storage', async () => {
      const storage = await open();
      assert.equal(await storage.join('verona', 41), 41);
      await storage.document('d').set('romeo', 2);
      await storage.fence('verona', 41);
      await assert.rejects(storage.document('d').set('romeo', 3), isRefused('fenced'));
      await storage.close();
    });

    test('a look finds that its epoch has ended', async () => {
      const storage = await open();
      await storage.look();
      const epoch = await storage.join('verona');
      await storage.look();
      await storage.fence('verona', epoch - 1);
      await storage.look();
      await storage.fence('verona', epoch);
      await assert.rejects(storage.look(), isRefused('fenced'));
      await storage.close();
    });

    test('an epoch other than its own ends without a fence', async () => {
      const storage = await open();
      const epoch = await storage.join('verona');
      await storage.fence('verona', epoch - 1);
      await storage.fence('verona', epoch + 1);
      await storage.fence('padua', epoch);
      await storage.document('d').set('romeo', 2);
      await storage.close();
    });

    test('nothing fenced becomes durable', async () => {
      const storage = await open();
      await fill(storage);
      const epoch = await storage.join('verona');
      await storage.fence('verona', epoch);
      for (const [what, write] of Object.entries(writes))
        await assert.rejects(write(storage), isRefused('fenced'), what);
      await assertAsFilled(storage);
      await storage.fence('verona', epoch).catch((error) => assert.ok(isRefused('fenced')(error)));
      await storage.close();
    });

    test('a write called before the fence is durable or refused once the fence resolves', async () => {
      const storage = await open();
      const epoch = await storage.join('verona');
      const outcomes = Array.from({ length: 200 }, (_, n) =>
        storage
          .log('l')
          .append('romeo', { id: String(1000 + n), value: '' })
          .then(
            () => true,
            (error: unknown) => !isRefused('fenced')(error),
          ),
      );
      await storage.fence('verona', epoch);
      const there = await storage.log('l').count('romeo', {});
      const stored = (await Promise.all(outcomes)).filter(Boolean).length;
      assert.equal(there, stored);
      assert.equal(await storage.log('l').count('romeo', {}), stored);
      await storage.close();
    });
  });
}

/** The contract of a driver whose data can be opened by several processes. `make` opens the same data each time. */
export function fenceContract(driver: string, make: () => Promise<() => Promise<Storage>>): void {
  describe(`${driver}: several nodes`, () => {
    test("see each other's writes", async () => {
      const open = await make();
      const [verona, padua] = [await open(), await open()];
      await Promise.all([verona.join('verona'), padua.join('padua')]);
      await fill(verona);
      await assertAsFilled(padua);
      assert.equal((await padua.stores()).length, 3);
      await verona.close();
      await assertAsFilled(padua);
      await padua.close();
    });

    test('one of many compare-and-set calls succeeds', async () => {
      const open = await make();
      const handles = await Promise.all(['a', 'b', 'c', 'd'].map(open));
      const won = await Promise.all(handles.map((one, n) => one.document('d').compareAndSet('view', undefined, n)));
      assert.equal(won.filter(Boolean).length, 1);
      assert.equal(await handles[0]!.document('d').get('view'), won.indexOf(true));
      await Promise.all(handles.map((one) => one.close()));
    });

    test('a fenced node cannot write; others can', async () => {
      const open = await make();
      const [verona, padua, tool] = [await open(), await open(), await open()];
      await fill(tool);
      const epoch = await verona.join('verona');
      await padua.join('padua');
      await padua.fence('verona', epoch);
      for (const [what, write] of Object.entries(writes))
        await assert.rejects(write(verona), isRefused('fenced'), what);
      await assert.rejects(verona.fence('padua', 1), isRefused('fenced'));
      await assert.rejects(verona.look(), isRefused('fenced'));
      await padua.look();
      await tool.look();
      await assertAsFilled(padua);
      await padua.document('d').set('romeo', 3);
      await tool.document('d').set('romeo', 4);
      await Promise.all([verona, padua, tool].map((one) => one.close()));
    });

    test('a restarted node fences its predecessor', async () => {
      const open = await make();
      const [before, now] = [await open(), await open()];
      await fill(before);
      const first = await before.join('verona');
      const second = await now.join('verona');
      assert.ok(second > first);
      for (const [what, write] of Object.entries(writes))
        await assert.rejects(write(before), isRefused('fenced'), what);
      await assertAsFilled(now);
      await assert.rejects(before.look(), isRefused('fenced'));
      await now.look();
      await now.fence('verona', first);
      await now.document('d').set('romeo', 2);
      await now.fence('verona', second);
      const third = await open();
      assert.ok((await third.join('verona')) > second);
      await Promise.all([before, now, third].map((one) => one.close()));
    });
  });
}
