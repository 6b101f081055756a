import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MapStore, Storage } from '../../src/storage/contract.js';
import { oddNames } from './names.js';

/** What every driver promises of maps. `open` gives an empty storage. */
export function mapContract(driver: string, open: () => Promise<Storage>): void {
  describe(`${driver}: map`, () => {
    let storage: Storage;
    let count = 0;
    before(async () => {
      storage = await open();
    });
    after(() => storage.close());

    const store = (): MapStore<unknown> => storage.map<unknown>(`map-${count++}`);

    test('an unwritten map is empty', async () => {
      const items = store();
      assert.equal(await items.get('romeo', 'a'), undefined);
      assert.deepEqual(await items.all('romeo'), new Map());
      assert.deepEqual(await items.page('romeo', { limit: 10 }), []);
      assert.equal(await items.count('romeo'), 0);
      assert.equal(await items.delete('romeo', ['a']), 0);
      assert.deepEqual(await items.owners({ limit: 10 }), []);
      await items.forget('romeo');
    });

    test('keys are ordered, whatever their characters', async () => {
      const items = store();
      await items.set(
        'romeo',
        [...oddNames].reverse().map((key) => [key, { key }] as const),
      );
      assert.deepEqual([...(await items.all('romeo')).keys()], oddNames);
      for (const key of oddNames) assert.deepEqual(await items.get('romeo', key), { key });
      assert.equal(await items.count('romeo'), oddNames.length);
    });

    test("size is the size of the owner's values in bytes", async () => {
      const map = store();
      assert.equal(await map.size('romeo'), 0);
      await map.set('romeo', [
        ['a', 'é'],
        ['b', { a: 1 }],
      ]);
      await map.set('juliet', [['a', 1]]);
      assert.equal(await map.size('romeo'), 11);
      await map.set('romeo', [['a', '😀']]);
      assert.equal(await map.size('romeo'), 13);
      await map.delete('romeo', ['b', 'c']);
      assert.equal(await map.size('romeo'), 6);
      await map.forget('romeo');
      assert.equal(await map.size('romeo'), 0);
      assert.equal(await map.size('juliet'), 1);
    });

    test('pages', async () => {
      const items = store();
      await items.set(
        'romeo',
        oddNames.map((key) => [key, key]),
      );
      const paged: [string, unknown][] = [];
      for (;;) {
        const page = await items.page('romeo', { limit: 5, after: paged.at(-1)?.[0] });
        paged.push(...page);
        if (page.length < 5) break;
      }
      assert.deepEqual(
        paged,
        oddNames.map((key) => [key, key]),
      );
      assert.deepEqual(await items.page('romeo', { limit: 1, after: 'a\0a' }), [['a\0b', 'a\0b']]);
      assert.deepEqual(await items.page('romeo', { limit: 0 }), []);
      assert.equal((await items.page('romeo', { limit: Number.POSITIVE_INFINITY })).length, oddNames.length);
    });

    test('set replaces and adds, and keeps the rest', async () => {
      const items = store();
      await items.set('romeo', [
        ['a', 1],
        ['b', 2],
      ]);
      await items.set(
        'romeo',
        new Map<string, unknown>([
          ['b', { big: 'x'.repeat(2 ** 20) }],
          ['c', null],
        ]),
      );
      assert.deepEqual(
        await items.all('romeo'),
        new Map<string, unknown>([
          ['a', 1],
          ['b', { big: 'x'.repeat(2 ** 20) }],
          ['c', null],
        ]),
      );
    });

    test('the last entry of a key wins; an empty list changes nothing', async () => {
      const items = store();
      await items.set('romeo', []);
      assert.deepEqual(await items.owners({ limit: 10 }), []);
      await items.set('romeo', [
        ['a', 1],
        ['a', 2],
      ]);
      assert.deepEqual(await items.all('romeo'), new Map([['a', 2]]));
    });

    test('set is atomic', async () => {
      const items = store();
      await items.set('romeo', [['a', 1]]);
      const bad = items.set('romeo', [
        ['a', 2],
        ['b', undefined],
      ]);
      await assert.rejects(bad, TypeError);
      assert.deepEqual(await items.all('romeo'), new Map([['a', 1]]));
    });

    test('values are copied on reads and writes', async () => {
      const items = store();
      const value = { list: [1] };
      const written = items.set('romeo', [['a', value]]);
      value.list.push(2);
      await written;
      for (const read of [
        (await items.get('romeo', 'a')) as typeof value,
        (await items.all('romeo')).get('a') as typeof value,
        (await items.page('romeo', { limit: 1 }))[0]![1] as typeof value,
      ]) {
        assert.deepEqual(read, { list: [1] });
        read.list.push(3);
      }
    });

    test('delete returns the number of entries', async () => {
      const items = store();
      await items.set(
        'romeo',
        ['a', 'b', 'c', 'd'].map((key) => [key, key]),
      );
      assert.equal(await items.delete('romeo', []), 0);
      assert.equal(await items.delete('romeo', ['a', 'a', 'nothing', 'c']), 2);
      assert.deepEqual([...(await items.all('romeo')).keys()], ['b', 'd']);
      assert.equal(await items.delete('romeo', ['b', 'd']), 2);
      assert.equal(await items.count('romeo'), 0);
      assert.deepEqual(await items.owners({ limit: 10 }), []);
      await items.set('romeo', [['e', 1]]);
      assert.deepEqual(await items.owners({ limit: 10 }), ['romeo']);
    });

    test('operations are executed in the order of the calls', async () => {
      const items = store();
      const results = await Promise.all([
        items.set('romeo', [['a', 1]]),
        items.get('romeo', 'a'),
        items.set('romeo', [['a', 2]]),
        items.delete('romeo', ['a']),
        items.count('romeo'),
        items.set('romeo', [['a', 3]]),
        items.set('romeo', [['b', 4]]),
        items.page('romeo', { limit: 9 }),
      ]);
      assert.deepEqual(results, [
        undefined,
        1,
        undefined,
        1,
        0,
        undefined,
        undefined,
        [
          ['a', 3],
          ['b', 4],
        ],
      ]);
    });

    test('owners are independent', async () => {
      const items = store();
      await Promise.all(oddNames.map((owner, n) => items.set(owner, [['key', n]])));
      for (const [n, owner] of oddNames.entries()) assert.deepEqual(await items.all(owner), new Map([['key', n]]));
      assert.equal(await items.delete('a', ['key']), 1);
      await items.forget('a@example.org');
      assert.deepEqual(
        await items.owners({ limit: Number.POSITIVE_INFINITY }),
        oddNames.filter((owner) => owner !== 'a' && owner !== 'a@example.org'),
      );
    });

    test('owners in pages, and by suffix', async () => {
      const items = store();
      const owners = ['a@example.org', 'b@example.com', 'c@example.org', 'd@sub.example.org', 'example.org'];
      await Promise.all([...owners].reverse().map((owner) => items.set(owner, [['key', 1]])));
      assert.deepEqual(await items.owners({ limit: 2 }), owners.slice(0, 2));
      assert.deepEqual(await items.owners({ limit: 2, after: 'b@example.com' }), owners.slice(2, 4));
      assert.deepEqual(await items.owners({ limit: 9, suffix: '@example.org' }), ['a@example.org', 'c@example.org']);
      assert.deepEqual(await items.owners({ limit: 1, suffix: 'example.org', after: 'c@example.org' }), [
        'd@sub.example.org',
      ]);
    });

    test('a large map is deleted completely, and can be used again', async () => {
      const items = store();
      const many = Array.from({ length: 1700 }, (_, n) => [`key ${n}`, n] as const);
      await items.set('romeo', many);
      await items.set('juliet', [['a', 1]]);
      const forgotten = items.forget('romeo');
      const anew = items.set('romeo', [['new', 1]]);
      assert.deepEqual(await items.all('romeo'), new Map([['new', 1]]));
      await Promise.all([forgotten, anew]);
      assert.deepEqual(await items.all('romeo'), new Map([['new', 1]]));
      assert.deepEqual(await items.all('juliet'), new Map([['a', 1]]));
      assert.deepEqual(await items.owners({ limit: 9 }), ['juliet', 'romeo']);
    });
  });
}
