import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { DocumentStore, Storage } from '../../src/storage/contract.js';
import { oddNames } from './names.js';

type Value = unknown;

/** What every driver promises of documents. `open` gives an empty storage. */
export function documentContract(driver: string, open: () => Promise<Storage>): void {
  describe(`${driver}: document`, () => {
    let storage: Storage;
    let count = 0;
    before(async () => {
      storage = await open();
    });
    after(() => storage.close());

    const store = (name = `document-${count++}`): DocumentStore<Value> => storage.document<Value>(name);

    test('an unwritten value is undefined', async () => {
      const documents = store();
      assert.equal(await documents.get('romeo'), undefined);
      assert.deepEqual(await documents.getMany(['romeo', 'juliet']), new Map());
      assert.deepEqual(await documents.owners({ limit: 10 }), []);
      assert.equal(await documents.delete('romeo'), false);
      await documents.forget('romeo');
    });

    test('a read returns an equal value', async () => {
      const documents = store();
      const values = [
        null,
        false,
        0,
        -1.5,
        1e300,
        '',
        'a\0b',
        '😀 ﬀ "\\',
        [],
        {},
        [[], {}, null],
        { a: { b: [1, 'two', { three: null }] }, '': 'empty', '\0': 'nul', __proto__x: 1 },
        'x'.repeat(2 ** 20),
      ];
      for (const [n, value] of values.entries()) await documents.set(`owner ${n}`, value);
      for (const [n, value] of values.entries()) assert.deepEqual(await documents.get(`owner ${n}`), value);
    });

    test('size is the size of the value in bytes', async () => {
      const documents = store();
      assert.equal(await documents.size('romeo'), 0);
      await documents.set('romeo', 'é');
      await documents.set('juliet', { a: 1 });
      assert.equal(await documents.size('romeo'), 4);
      await documents.set('romeo', null);
      assert.equal(await documents.size('romeo'), 4);
      await documents.compareAndSet('romeo', null, '😀😀');
      assert.equal(await documents.size('romeo'), 10);
      await documents.delete('romeo');
      assert.equal(await documents.size('romeo'), 0);
      assert.equal(await documents.size('juliet'), 7);
    });

    test('values that JSON omits are missing', async () => {
      const documents = store();
      await documents.set('romeo', { a: 1, b: undefined });
      assert.deepEqual(await documents.get('romeo'), { a: 1 });
    });

    test('values without a JSON form are refused, and nothing changes', async () => {
      const documents = store();
      await documents.set('romeo', 1);
      await assert.rejects(documents.set('romeo', undefined), TypeError);
      await assert.rejects(documents.set('romeo', 1n), TypeError);
      assert.equal(await documents.get('romeo'), 1);
    });

    test('values are copied on reads and writes', async () => {
      const documents = store();
      const value = { list: [1] };
      const written = documents.set('romeo', value);
      value.list.push(2);
      await written;
      const first = (await documents.get('romeo')) as typeof value;
      first.list.push(3);
      const many = (await documents.getMany(['romeo'])).get('romeo') as typeof value;
      many.list.push(4);
      assert.deepEqual(await documents.get('romeo'), { list: [1] });
    });

    test('the last write wins, also among concurrent writes', async () => {
      const documents = store();
      await Promise.all([1, 2, 3, 4].map((value) => documents.set('romeo', value)));
      assert.equal(await documents.get('romeo'), 4);
      const results = await Promise.all([
        documents.set('romeo', 5),
        documents.delete('romeo'),
        documents.get('romeo'),
        documents.delete('romeo'),
        documents.set('romeo', 6),
        documents.get('romeo'),
        documents.set('romeo', 7),
        documents.getMany(['romeo']),
      ]);
      assert.deepEqual(results, [undefined, true, undefined, false, undefined, 6, undefined, new Map([['romeo', 7]])]);
    });

    test('a read sees all writes called before it', async () => {
      const documents = store();
      const reads: Promise<unknown>[] = [];
      for (let n = 0; n < 600; n++) {
        void documents.set('romeo', n);
        reads.push(documents.get('romeo'));
      }
      assert.deepEqual(
        await Promise.all(reads),
        Array.from({ length: 600 }, (_, n) => n),
      );
    });

    test('getMany returns the existing values', async () => {
      const documents = store();
      await Promise.all(['a', 'b', 'c'].map((owner) => documents.set(owner, owner.toUpperCase())));
      const found = await documents.getMany(['c', 'nobody', 'a', 'a']);
      assert.deepEqual([...found].sort(), [
        ['a', 'A'],
        ['c', 'C'],
      ]);
    });

    test('compareAndSet writes only over the expected value', async () => {
      const documents = store();
      assert.equal(await documents.compareAndSet('romeo', { a: 1 }, { a: 2 }), false);
      assert.equal(await documents.get('romeo'), undefined);
      assert.equal(await documents.compareAndSet('romeo', undefined, { a: 1, b: [2] }), true);
      assert.equal(await documents.compareAndSet('romeo', undefined, { a: 0 }), false);
      assert.equal(await documents.compareAndSet('romeo', { a: 1 }, { a: 0 }), false);
      assert.equal(await documents.compareAndSet('romeo', { b: [2], a: 1, c: undefined }, { a: 3 }), true);
      assert.deepEqual(await documents.get('romeo'), { a: 3 });
      assert.equal(await documents.compareAndSet('romeo', { a: 1 }, undefined), false);
      assert.equal(await documents.compareAndSet('romeo', { a: 3 }, undefined), true);
      assert.equal(await documents.get('romeo'), undefined);
      assert.equal(await documents.compareAndSet('romeo', undefined, undefined), true);
      assert.equal(await documents.get('romeo'), undefined);
    });

    test('compareAndSet distinguishes null and false from no value', async () => {
      const documents = store();
      assert.equal(await documents.compareAndSet('romeo', null, 1), false);
      assert.equal(await documents.compareAndSet('romeo', undefined, null), true);
      assert.equal(await documents.compareAndSet('romeo', undefined, 1), false);
      assert.equal(await documents.compareAndSet('romeo', false, 1), false);
      assert.equal(await documents.compareAndSet('romeo', null, false), true);
      assert.equal(await documents.get('romeo'), false);
    });

    test('one of many concurrent compareAndSet calls succeeds', async () => {
      const documents = store();
      await documents.set('romeo', 0);
      const won = await Promise.all(Array.from({ length: 20 }, (_, n) => documents.compareAndSet('romeo', 0, n + 1)));
      assert.equal(won.filter(Boolean).length, 1);
      assert.equal(await documents.get('romeo'), won.indexOf(true) + 1);
    });

    test('concurrent counters with compareAndSet lose no increment', async () => {
      const documents = store();
      const increase = async (): Promise<void> => {
        for (;;) {
          const value = (await documents.get('romeo')) as number | undefined;
          if (await documents.compareAndSet('romeo', value, (value ?? 0) + 1)) return;
        }
      };
      await Promise.all(Array.from({ length: 10 }, increase));
      assert.equal(await documents.get('romeo'), 10);
    });

    test('owners are independent, whatever their names', async () => {
      const documents = store();
      await Promise.all(oddNames.map((owner, n) => documents.set(owner, n)));
      for (const [n, owner] of oddNames.entries()) assert.equal(await documents.get(owner), n);
      assert.equal(await documents.delete('a'), true);
      await documents.forget('😀');
      const left = oddNames.filter((owner) => owner !== 'a' && owner !== '😀');
      assert.deepEqual([...(await documents.getMany(oddNames)).keys()].sort(), [...left].sort());
    });

    test('owners are listed in order, in pages', async () => {
      const documents = store();
      await Promise.all([...oddNames].reverse().map((owner) => documents.set(owner, 1)));
      assert.deepEqual(await documents.owners({ limit: Number.POSITIVE_INFINITY }), oddNames);
      assert.deepEqual(await documents.owners({ limit: 0 }), []);
      const paged: string[] = [];
      for (;;) {
        const page = await documents.owners({ limit: 4, after: paged.at(-1) });
        paged.push(...page);
        if (page.length < 4) break;
      }
      assert.deepEqual(paged, oddNames);
      assert.deepEqual(await documents.owners({ limit: 2, after: 'a\0' }), ['a\0b', 'a b']);
      assert.deepEqual(await documents.owners({ limit: 2, after: 'aaaa' }), ['b', 'example.org']);
    });

    test('owners by suffix', async () => {
      const documents = store();
      const owners = [
        'a@example.org',
        'b@example.org',
        'c@sub.example.org',
        'd@example.com',
        'e@EXAMPLE.ORG',
        'example.org',
        'f@@example.org',
        'z@example.org/x',
      ];
      await Promise.all(owners.map((owner) => documents.set(owner, 1)));
      const end = (suffix: string, limit = 10, after?: string): Promise<string[]> =>
        documents.owners({ suffix, limit, after });
      assert.deepEqual(await end('@example.org'), ['a@example.org', 'b@example.org', 'f@@example.org']);
      assert.deepEqual(await end('@example.org', 1), ['a@example.org']);
      assert.deepEqual(await end('@example.org', 1, 'a@example.org'), ['b@example.org']);
      assert.deepEqual(await end('@@example.org'), ['f@@example.org']);
      assert.deepEqual(await end('example.org', 3, 'b'), ['b@example.org', 'c@sub.example.org', 'example.org']);
      assert.deepEqual(await end('.org', 1, 'c'), ['c@sub.example.org']);
      assert.deepEqual(await end('@'), []);
      assert.deepEqual(await end('%'), []);
      assert.deepEqual(await end(''), owners);
    });

    test('stores are independent, whatever their names', async () => {
      for (const [n, name] of oddNames.entries()) await store(name).set('romeo', n);
      for (const [n, name] of oddNames.entries()) assert.equal(await store(name).get('romeo'), n);
      const names = (await storage.stores()).filter(({ shape }) => shape === 'document').map(({ name }) => name);
      for (const name of oddNames) assert.ok(names.includes(name), JSON.stringify(name));
    });
  });
}
