import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { forgetOwner, type Storage, StorageError } from '../../src/storage/contract.js';
import { text } from './log.js';

/** What every driver promises beyond its shapes. `open` gives an empty storage. */
export function storageContract(driver: string, open: () => Promise<Storage>): void {
  describe(`${driver}: storage`, () => {
    test('name and shape identify a store', async () => {
      const storage = await open();
      await storage.document('same').set('romeo', 1);
      await storage.map('same').set('romeo', [['a', 2]]);
      await storage.log('same').append('romeo', { id: 'a', value: '3' });
      assert.equal(await storage.document('same').get('romeo'), 1);
      assert.deepEqual(await storage.map('same').all('romeo'), new Map([['a', 2]]));
      assert.equal(await storage.log('same').size('romeo'), 1);
      assert.equal(await storage.document('Same').get('romeo'), undefined);
      await storage.close();
    });

    test('lists its stores, and deletes an owner in all', async () => {
      const storage = await open();
      await storage.document('d').set('romeo', 1);
      await storage.document('d').set('juliet', 1);
      await storage.map('m').set('romeo', [['a', 2]]);
      await storage.map('m').set('juliet', [['a', 2]]);
      void storage.log('l').append('romeo', { id: 'a', value: '3' });
      const stores = (await storage.stores()).map(({ shape, name }) => `${shape} ${name}`);
      assert.deepEqual(stores.sort(), ['document d', 'log l', 'map m']);
      await forgetOwner(storage, 'romeo');
      assert.deepEqual(await storage.document('d').owners({ limit: 9 }), ['juliet']);
      assert.deepEqual(await storage.map('m').owners({ limit: 9 }), ['juliet']);
      assert.deepEqual(await storage.log('l').owners({ limit: 9 }), []);
      await storage.close();
    });

    test('flush waits for earlier writes, also if there are none', async () => {
      const storage = await open();
      await storage.flush();
      const done: string[] = [];
      const writes = [
        storage.document('d').set('romeo', 1),
        storage.document('d').set('romeo', 2),
        storage.log('l').append('romeo', { id: 'a', value: '' }),
        storage.log('l').remove('romeo', ['a']),
      ].map((write, n) => write.then(() => done.push(String(n))));
      await storage.flush();
      // The promises of completed writes may resolve a moment later.
      await (driver.includes('late') ? Promise.all(writes) : setImmediate());
      assert.deepEqual(done.sort(), ['0', '1', '2', '3']);
      const later = storage.flush();
      void storage.document('d').set('romeo', 3);
      await later;
      await storage.close();
    });

    test('writes before close are completed, later ones refused', async () => {
      const storage = await open();
      const log = storage.log('l');
      const document = storage.document('d');
      const written = log.append('romeo', { id: 'a', value: '' });
      const closed = storage.close();
      const late = [
        log.append('romeo', { id: 'b', value: '' }),
        log.page('romeo', { limit: 1 }),
        document.get('romeo'),
        document.set('romeo', 1),
        storage.map('m').all('romeo'),
        storage.stores(),
        storage.flush(),
      ];
      for (const result of await Promise.allSettled(late)) {
        assert.equal(result.status, 'rejected');
        assert.ok(result.reason instanceof StorageError);
        assert.equal(result.reason.failure, 'unavailable');
      }
      await written;
      await closed;
      await storage.close();
    });
  });
}

/**
 * The contract of a driver whose data survives the process. `openAt` opens the data at a place that it created earlier.
 */
export function persistenceContract(driver: string, openAt: (place: string) => Promise<Storage>): void {
  describe(`${driver}: opened again`, () => {
    test('all data is present', async () => {
      const first = await openAt('again');
      await first.document('Document').set('romeo@example.org', { a: 1 });
      await first.map('map').set('romeo', [['ä😀\0', [1]]]);
      const entry = { id: '1', value: 'night <message/>', with: 'juliet', tag: 't' };
      await first.log('log').append('romeo', entry);
      await first.log('log').append('romeo', { id: '2', value: '' });
      await first.close();

      const second = await openAt('again');
      const stores = (await second.stores()).map(({ shape, name }) => `${shape} ${name}`);
      assert.deepEqual(stores.sort(), ['document Document', 'log log', 'map map']);
      assert.deepEqual(await second.document('Document').get('romeo@example.org'), { a: 1 });
      assert.deepEqual(await second.document('Document').owners({ suffix: '@example.org', limit: 1 }), [
        'romeo@example.org',
      ]);
      assert.deepEqual(await second.map('map').all('romeo'), new Map([['ä😀\0', [1]]]));
      const log = second.log('log', { text });
      assert.deepEqual((await log.page('romeo', { limit: 5, words: 'night' })).entries, [entry]);
      assert.equal(await log.size('romeo'), 16);
      await log.append('romeo', { id: '0', value: 'x' });
      await log.append('romeo', { id: '1', value: 'new' });
      const { entries } = await second.log('log').page('romeo', { limit: 5 });
      assert.deepEqual(
        entries.map(({ value }) => value),
        ['x', 'new', ''],
      );
      await second.close();
    });

    test('the epochs of a node increase', async () => {
      const first = await openAt('epochs');
      const epoch = await first.join('verona');
      await first.close();
      const second = await openAt('epochs');
      const next = await second.join('verona');
      assert.ok(next > epoch);
      await second.close();
      const third = await openAt('epochs');
      await third.join('verona', next + 7);
      await third.close();
      const fourth = await openAt('epochs');
      assert.ok((await fourth.join('verona')) > next + 7);
      await fourth.close();
    });

    test('words are found, whether or not they were searched before, and deleted with their entries', async () => {
      const write = async (storage: Storage, from: number, to: number): Promise<void> => {
        const log = storage.log('words', { text });
        const numbers = Array.from({ length: to - from }, (_, n) => from + n);
        await Promise.all(numbers.map((n) => log.append('romeo', { id: String(1000 + n), value: `night n${n}` })));
      };
      const found = async (storage: Storage, words: string): Promise<number> =>
        storage.log('words', { text }).count('romeo', { words });
      const first = await openAt('words');
      await write(first, 0, 300);
      assert.equal(await found(first, 'night'), 300);
      await write(first, 300, 350);
      await first.close();
      const second = await openAt('words');
      await second.log('words').append('romeo', { id: '1007', value: 'a tombstone, written by who does not search' });
      await second.log('words').remove('romeo', ['1008', '1349']);
      await write(second, 350, 600);
      await second.close();
      const third = await openAt('words');
      assert.equal(await found(third, 'night'), 597);
      assert.equal(await found(third, 'n8'), 0);
      assert.equal(await found(third, 'tombstone'), 1);
      assert.equal(await found(third, 'n599'), 1);
      await third.close();
    });
  });
}
