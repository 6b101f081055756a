import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type LogEntry, type LogQuery, type LogStore, type Storage, UnknownId } from '../../src/storage/contract.js';
import { matches } from '../../src/storage/filter.js';
import { compare } from '../../src/storage/order.js';
import { oddNames } from './names.js';

const all = Number.POSITIVE_INFINITY;

/** The searchable text of values in these tests: everything except what is in brackets; damaged values have none. */
export const text = (value: string): string | undefined => {
  if (value === 'broken') throw new Error('no text can be made of it');
  return value === '' ? undefined : value.replace(/<.*>/, '');
};

/** Finds words by reading everything, for drivers that do not search: so what else they promise is tested as for others. */
function readingThrough(log: LogStore): LogStore {
  const page: LogStore['page'] = async (owner, { words, limit, ...query }) => {
    if (words === undefined) return log.page(owner, { ...query, limit });
    const { entries } = await log.page(owner, { ...query, limit: all });
    const found = entries.filter(matches({ words }, text));
    const some = query.backwards === true ? found.slice(Math.max(0, found.length - limit)) : found.slice(0, limit);
    return { entries: some, complete: found.length <= limit };
  };
  return {
    ...log,
    page,
    count: async (owner, { words, ...filter }, limit = all) =>
      words === undefined
        ? log.count(owner, filter, limit)
        : (await page(owner, { ...filter, words, limit })).entries.length,
  };
}

/** What every driver promises of logs. `open` gives an empty storage. */
export function logContract(driver: string, open: () => Promise<Storage>): void {
  describe(`${driver}: log`, () => {
    let storage: Storage;
    let count = 0;
    before(async () => {
      storage = await open();
    });
    after(() => storage.close());

    const store = (): LogStore => {
      const log = storage.log(`log-${count++}`, { text });
      return log.supports?.words === false ? readingThrough(log) : log;
    };
    const filled = async (entries: readonly LogEntry[], owner = 'romeo'): Promise<LogStore> => {
      const log = store();
      await Promise.all(entries.map((entry) => log.append(owner, entry)));
      return log;
    };
    const idsOf = async (log: LogStore, query: Partial<LogQuery>, owner = 'romeo'): Promise<string> => {
      const { entries } = await log.page(owner, { limit: all, ...query });
      return entries.map(({ id }) => id).join(' ');
    };

    test('an unwritten log is empty', async () => {
      const log = store();
      assert.deepEqual(await log.page('romeo', { limit: 10 }), { entries: [], complete: true });
      assert.deepEqual(await log.page('romeo', { limit: 10, words: 'a' }), { entries: [], complete: true });
      assert.deepEqual(await log.page('romeo', { limit: 10, ids: ['a'] }), { entries: [], complete: true });
      await assert.rejects(log.page('romeo', { limit: 10, after: 'a', strict: true }), UnknownId);
      assert.equal(await log.count('romeo', {}), 0);
      assert.equal(await log.size('romeo'), 0);
      assert.equal(await log.remove('romeo', ['a']), 0);
      assert.equal(await log.trim('romeo', { keep: 0 }), 0);
      assert.deepEqual(await log.owners({ limit: 10 }), []);
      await log.forget('romeo');
    });

    test('a read returns equal values', async () => {
      const entries: LogEntry[] = [
        { id: '1', value: '' },
        { id: '2', value: '<message/>', with: '', tag: '' },
        { id: '3', value: 'a\0b 😀 ﬀ', with: 'juliet@capulet\0', tag: '\0' },
        { id: '4', value: 'x'.repeat(2 ** 20) },
      ];
      const log = await filled(entries);
      assert.deepEqual(await log.page('romeo', { limit: 10 }), { entries, complete: true });
      const { entries: read } = await log.page('romeo', { limit: 1 });
      assert.deepEqual(Object.keys(read[0]!), ['id', 'value']);
    });

    test('values are copied on reads and writes', async () => {
      const log = store();
      const entry = { id: '1', value: 'a' };
      const written = log.append('romeo', entry);
      entry.value = 'b';
      await written;
      const { entries } = await log.page('romeo', { limit: 1 });
      (entries[0] as { value: string }).value = 'c';
      assert.deepEqual((await log.page('romeo', { limit: 1 })).entries, [{ id: '1', value: 'a' }]);
    });

    test('entries are ordered by id, in whatever order they were appended', async () => {
      const log = await filled([...oddNames].reverse().map((id) => ({ id, value: id })));
      const { entries } = await log.page('romeo', { limit: all });
      assert.deepEqual(
        entries.map(({ id }) => id),
        oddNames,
      );
      for (const id of oddNames) {
        assert.deepEqual((await log.page('romeo', { limit: 1, ids: [id] })).entries, [{ id, value: id }]);
      }
    });

    test('an entry replaces an earlier one with its id', async () => {
      const log = await filled([
        { id: 'a', value: 'old', with: 'x', tag: 't' },
        { id: 'b', value: '22' },
      ]);
      await log.append('romeo', { id: 'a', value: 'newer' });
      assert.deepEqual((await log.page('romeo', { limit: 9 })).entries, [
        { id: 'a', value: 'newer' },
        { id: 'b', value: '22' },
      ]);
      assert.equal(await idsOf(log, { words: 'old' }), '');
      assert.equal(await idsOf(log, { words: 'newer' }), 'a');
      assert.equal(await idsOf(log, { with: 'x' }), '');
      assert.equal(await idsOf(log, { tag: 't' }), '');
      assert.equal(await log.size('romeo'), 7);
      assert.equal(await log.count('romeo', {}), 2);
      await Promise.all([
        log.append('romeo', { id: 'c', value: '1' }),
        log.append('romeo', { id: 'c', value: 'last' }),
      ]);
      assert.deepEqual((await log.page('romeo', { limit: 1, backwards: true })).entries, [{ id: 'c', value: 'last' }]);
      assert.equal(await log.size('romeo'), 11);
    });

    const letters = 'abcdefghij'.split('').map((id) => ({ id, value: id }));

    test('pages in both directions', async () => {
      const log = await filled(letters);
      const walk = async (backwards: boolean): Promise<{ ids: string[]; complete: boolean }[]> => {
        const pages: { ids: string[]; complete: boolean }[] = [];
        let bound: string | undefined;
        for (;;) {
          const range = backwards ? { before: bound } : { after: bound };
          const { entries, complete } = await log.page('romeo', { limit: 4, backwards, ...range });
          pages.push({ ids: entries.map(({ id }) => id), complete });
          if (complete) return pages;
          bound = entries.at(backwards ? 0 : -1)!.id;
        }
      };
      assert.deepEqual(await walk(false), [
        { ids: ['a', 'b', 'c', 'd'], complete: false },
        { ids: ['e', 'f', 'g', 'h'], complete: false },
        { ids: ['i', 'j'], complete: true },
      ]);
      assert.deepEqual(await walk(true), [
        { ids: ['g', 'h', 'i', 'j'], complete: false },
        { ids: ['c', 'd', 'e', 'f'], complete: false },
        { ids: ['a', 'b'], complete: true },
      ]);
    });

    test('a page that ends with the range is complete', async () => {
      const log = await filled(letters);
      assert.equal((await log.page('romeo', { limit: 10 })).complete, true);
      assert.equal((await log.page('romeo', { limit: 9 })).complete, false);
      assert.equal((await log.page('romeo', { limit: 3, from: 'b', to: 'd' })).complete, true);
      assert.equal((await log.page('romeo', { limit: 2, from: 'b', to: 'd', backwards: true })).complete, false);
      assert.deepEqual(await log.page('romeo', { limit: 0 }), { entries: [], complete: false });
      assert.deepEqual(await log.page('romeo', { limit: 0, after: 'j' }), { entries: [], complete: true });
    });

    test('ranges', async () => {
      const log = await filled(letters);
      const cases: [Partial<LogQuery>, string][] = [
        [{ from: 'c', to: 'e' }, 'c d e'],
        [{ from: 'bb', to: 'ee' }, 'c d e'],
        [{ after: 'c', before: 'e' }, 'd'],
        [{ after: 'cc', before: 'dd' }, 'd'],
        [{ from: 'b', after: 'd', to: 'h', before: 'g' }, 'e f'],
        [{ from: 'd', after: 'b', to: 'g', before: 'h' }, 'd e f g'],
        [{ from: 'd', after: 'd', to: 'f', before: 'f' }, 'e'],
        [{ from: 'e', to: 'c' }, ''],
        [{ after: 'e', before: 'e' }, ''],
        [{ from: 'x' }, ''],
        [{ to: '' }, ''],
        [{ after: '' }, 'a b c d e f g h i j'],
        [{ from: 'i', before: '\u{10ffff}' }, 'i j'],
      ];
      for (const [query, ids] of cases) {
        assert.equal(await idsOf(log, query), ids, JSON.stringify(query));
        assert.equal(await idsOf(log, { ...query, backwards: true }), ids, JSON.stringify(query));
        assert.equal(await log.count('romeo', query), ids.split(' ').filter(Boolean).length, JSON.stringify(query));
      }
    });

    test('strict: a page next to a missing entry', async () => {
      const log = await filled(letters);
      await log.append('juliet', { id: 'x', value: 'x' });
      const unknown = (query: Partial<LogQuery>, id: string): Promise<void> =>
        assert.rejects(log.page('romeo', { limit: 5, strict: true, ...query }), (error) => {
          assert.ok(error instanceof UnknownId);
          assert.equal(error.id, id);
          return true;
        });
      await unknown({ after: 'x' }, 'x');
      await unknown({ before: 'bb' }, 'bb');
      await unknown({ after: 'a', before: '' }, '');
      await unknown({ after: 'zz', words: 'nothing' }, 'zz');
      assert.equal(await idsOf(log, { after: 'a', before: 'd', strict: true }), 'b c');
      // In the range or not, with the same filter or not.
      assert.equal(await idsOf(log, { after: 'a', from: 'i', with: 'nobody', strict: true }), '');
      assert.equal(await idsOf(log, { after: 'bb', to: 'd' }), 'c d');
    });

    const rich: LogEntry[] = [
      { id: '01', value: 'Good night, good night!', with: 'juliet', tag: 'chat' },
      { id: '02', value: 'Parting is such sweet sorrow', with: 'juliet', tag: 'chat' },
      { id: '03', value: 'good day', with: 'nurse', tag: 'chat' },
      { id: '04', value: '<night/>', with: 'juliet', tag: 'call' },
      { id: '05', value: 'night', with: 'juliet' },
      { id: '06', value: 'the night is sweet', tag: 'call' },
      { id: '07', value: 'NIGHT', with: 'Juliet', tag: 'Chat' },
    ];

    test('filters, alone and combined', async () => {
      const log = await filled(rich);
      const cases: [Partial<LogQuery>, string][] = [
        [{ with: 'juliet' }, '01 02 04 05'],
        [{ with: 'nobody' }, ''],
        [{ tag: 'chat' }, '01 02 03'],
        [{ with: 'juliet', tag: 'chat' }, '01 02'],
        [{ with: 'juliet', tag: 'chat', after: '01' }, '02'],
        [{ tag: 'call', to: '05' }, '04'],
        [{ ids: ['06', '02', '99', '02'] }, '02 06'],
        [{ ids: [] }, ''],
        [{ ids: ['01', '03'], with: 'nurse' }, '03'],
        [{ ids: ['01', '03', '05'], after: '01', before: '05' }, '03'],
        [{ words: 'night' }, '01 05 06 07'],
        [{ words: 'Good NIGHT' }, '01'],
        [{ words: 'night', with: 'juliet' }, '01 05'],
        [{ words: 'night', tag: 'call' }, '06'],
        [{ words: 'sweet', with: 'juliet', tag: 'chat', from: '02', to: '02' }, '02'],
        [{ words: 'night', after: '01', before: '07' }, '05 06'],
        [{ words: 'night', after: '06x' }, '07'],
        [{ words: 'night', from: '08' }, ''],
        [{ words: 'night', to: '00' }, ''],
        [{ words: 'night', ids: ['01', '02', '06'] }, '01 06'],
      ];
      for (const [query, ids] of cases) {
        assert.equal(await idsOf(log, query), ids, JSON.stringify(query));
        assert.equal(await idsOf(log, { ...query, backwards: true }), ids, JSON.stringify(query));
        const expected = ids.split(' ').filter(Boolean);
        assert.equal(await log.count('romeo', query), expected.length, JSON.stringify(query));
        assert.equal(await idsOf(log, { ...query, limit: 1 }), expected[0] ?? '', JSON.stringify(query));
        const last = await log.page('romeo', { ...query, limit: 1, backwards: true });
        assert.equal(last.entries[0]?.id, expected.at(-1), JSON.stringify(query));
        assert.equal(last.complete, expected.length <= 1, JSON.stringify(query));
        assert.equal(await idsOf(log, query, 'juliet'), '');
      }
    });

    test('words: whole words, ignoring case and accents', async () => {
      const texts = [
        'Café au lait',
        'NIGHT’s ﬁne',
        'straße 42',
        '東京タワー go',
        'a "quoted" (thing) AND that* col:x NEAR/2 -minus',
        'שָׁלוֹם',
        `${'z'.repeat(500)} end`,
        'nightly',
      ];
      const log = await filled(texts.map((value, n) => ({ id: String(n), value })));
      const cases: [string, string][] = [
        ['cafe', '0'],
        ['CAFÉ lait', '0'],
        ['cafe\u0301', '0'],
        ['night', '1'],
        ['fine', '1'],
        ['STRASSE', ''],
        ['straße', '2'],
        ['4', ''],
        ['42', '2'],
        ['東京', '3'],
        ['京都', ''],
        ['go', '3'],
        ['AND', '4'],
        ['"quoted"', '4'],
        ['quoted OR cafe', ''],
        ['quoted NOT thing', ''],
        ['tha*', ''],
        ['col:x', '4'],
        ['"', ''],
        ['""" OR (', ''],
        ['*', ''],
        ['', ''],
        ['terms:cafe', ''],
        ['\ue0001', ''],
        ['\0', ''],
        ['שלום', '5'],
        ['z'.repeat(500), '6'],
        ['end', '6'],
      ];
      for (const [query, ids] of cases) {
        assert.equal(await idsOf(log, { words: query }), ids, query);
        assert.equal(await log.count('romeo', { words: query }), ids === '' ? 0 : 1, query);
      }
    });

    test('word search orders entries appended out of order, and forgets removed ones', async () => {
      const log = await filled(['05', '01', '09', '03', '07'].map((id) => ({ id, value: 'night' })));
      assert.equal(await idsOf(log, { words: 'night' }), '01 03 05 07 09');
      assert.equal(await idsOf(log, { words: 'night', after: '03', limit: 2 }), '05 07');
      assert.equal(await idsOf(log, { words: 'night', before: '07', limit: 2, backwards: true }), '03 05');
      assert.equal(await log.remove('romeo', ['05']), 1);
      assert.equal(await log.trim('romeo', { before: '03' }), 1);
      assert.equal(await idsOf(log, { words: 'night' }), '03 07 09');
      await log.append('romeo', { id: '02', value: 'night again' });
      assert.equal(await idsOf(log, { words: 'again night' }), '02');
      await log.forget('romeo');
      await log.append('romeo', { id: '10', value: 'night' });
      assert.equal(await idsOf(log, { words: 'night' }), '10');
      assert.equal(await log.count('romeo', { words: 'night' }), 1);
    });

    /** More than a driver may care to look through one by one. */
    const many = Array.from({ length: 700 }, (_, n) => ({
      id: String(10_000 + n),
      value: `all ${n % 2 ? 'odd' : 'even'} ${n % 100 === 0 ? 'round' : 'word'}${n}`,
      with: n % 3 ? 'juliet' : 'nurse',
    }));
    const idsIn = (entries: readonly LogEntry[]): string => entries.map(({ id }) => id).join(' ');

    test('words in a long log, page by page, while it grows', async () => {
      const log = await filled(many.slice(0, 600));
      const expected = many.filter(({ value }) => value.includes('even'));
      const walk = async (backwards: boolean): Promise<string> => {
        let found: LogEntry[] = [];
        for (let bound: string | undefined; ; ) {
          const range = backwards ? { before: bound } : { after: bound };
          const page = await log.page('romeo', { words: 'even all', limit: 33, backwards, ...range });
          found = backwards ? [...page.entries, ...found] : [...found, ...page.entries];
          if (page.complete) return idsIn(found);
          bound = page.entries.at(backwards ? 0 : -1)!.id;
        }
      };
      assert.equal(await walk(false), idsIn(expected.slice(0, 300)));
      assert.equal(await walk(true), idsIn(expected.slice(0, 300)));
      // Later entries are found with the others, also if there are many.
      await Promise.all(many.slice(600, 620).map((entry) => log.append('romeo', entry)));
      assert.equal(await walk(false), idsIn(expected.slice(0, 310)));
      const appended = many.slice(620).map((entry) => log.append('romeo', entry));
      assert.equal(await walk(true), idsIn(expected));
      assert.equal(await walk(false), idsIn(expected));
      await Promise.all(appended);
      assert.equal(await idsOf(log, { words: 'even', from: '10595', to: '10605' }), '10596 10598 10600 10602 10604');
      assert.equal(await idsOf(log, { words: 'word699' }), '10699');
      assert.equal(await log.count('romeo', { words: 'even' }), 350);
      assert.equal(await log.count('romeo', { words: 'even' }, 320), 320);
      assert.equal(await log.count('romeo', { words: 'odd', with: 'nurse' }), 117);
    });

    test('words of replaced, removed and trimmed entries are not found; those of replacements are', async () => {
      const log = await filled(many.slice(0, 400));
      assert.equal(await log.count('romeo', { words: 'all' }), 400);
      await log.append('romeo', { id: '10100', value: 'a tombstone' });
      await log.append('romeo', { id: '10102', value: '', with: 'nurse' });
      await log.append('romeo', { id: '10399', value: 'the last one' });
      assert.equal(await idsOf(log, { words: 'round100' }), '');
      assert.equal(await idsOf(log, { words: 'tombstone' }), '10100');
      assert.equal(await idsOf(log, { words: 'all', from: '10099', to: '10104' }), '10099 10101 10103 10104');
      assert.equal(await idsOf(log, { words: 'last' }), '10399');
      assert.equal(await log.remove('romeo', ['10399', '10398', '10050']), 3);
      // An id below others that were there before, and the numbers of rows come again.
      await log.append('romeo', { id: '10398x', value: 'between' });
      await log.append('romeo', { id: '10400', value: 'beyond' });
      assert.equal(await idsOf(log, { words: 'last' }), '');
      assert.equal(await idsOf(log, { words: 'between' }), '10398x');
      assert.equal(await idsOf(log, { words: 'beyond' }), '10400');
      assert.equal(await log.trim('romeo', { keep: 4 }), 395);
      assert.equal(await idsOf(log, { words: 'all' }), '10396 10397');
      await log.forget('romeo');
      await log.append('romeo', { id: '10001', value: 'anew' });
      assert.equal(await idsOf(log, { words: 'all' }), '');
      assert.equal(await idsOf(log, { words: 'anew' }), '10001');
    });

    test('values without a text are not found, and do not affect the search for others', async () => {
      const log = await filled([...many.slice(0, 200), { id: '10100x', value: 'broken' }]);
      assert.equal(await log.count('romeo', { words: 'all' }), 200);
      assert.equal(await idsOf(log, { words: 'broken' }), '');
    });

    test('a log without texts finds nothing until it has them', async () => {
      const name = `log-${count++}`;
      const log = storage.log(name);
      await Promise.all(many.slice(0, 200).map((entry) => log.append('romeo', entry)));
      if (log.supports?.words === false) {
        await assert.rejects(log.page('romeo', { words: 'round100', limit: 1 }), TypeError);
        await assert.rejects(log.count('romeo', { words: 'all' }), TypeError);
        return;
      }
      assert.equal(await idsOf(log, { words: 'round100' }), '');
      assert.equal(await log.count('romeo', { words: 'all' }), 0);
      assert.equal(await idsOf(log, { words: 'round100', ids: ['10100'] }), '');
      assert.equal(await idsOf(storage.log(name, { text }), { words: 'round100' }), '10100');
      assert.equal(await idsOf(log, { words: 'round100' }), '10100');
    });

    test('concurrent searches all succeed', async () => {
      const log = store();
      const owners = Array.from({ length: 12 }, (_, n) => `owner ${n}`);
      await Promise.all(owners.flatMap((owner, n) => many.slice(0, 50 * n).map((entry) => log.append(owner, entry))));
      const counts = await Promise.all([...owners, ...owners].map((owner) => log.count(owner, { words: 'even' })));
      assert.deepEqual(
        counts,
        [...owners, ...owners].map((_, n) => 25 * (n % 12)),
      );
    });

    test('count stops at its limit', async () => {
      const log = await filled(rich);
      assert.equal(await log.count('romeo', {}), 7);
      assert.equal(await log.count('romeo', {}, 3), 3);
      assert.equal(await log.count('romeo', {}, 0), 0);
      assert.equal(await log.count('romeo', { with: 'juliet' }, 2), 2);
      assert.equal(await log.count('romeo', { words: 'night' }, 2), 2);
      assert.equal(await log.count('romeo', { ids: ['01', '02', '03'] }, 2), 2);
    });

    test('size is the size of the values in bytes', async () => {
      const log = await filled([
        { id: '1', value: 'abc' },
        { id: '2', value: 'ä😀' },
      ]);
      assert.equal(await log.size('romeo'), 9);
      await log.append('romeo', { id: '3', value: 'xx' });
      await log.append('juliet', { id: '3', value: 'other' });
      assert.equal(await log.size('romeo'), 11);
      await log.append('romeo', { id: '3', value: 'x' });
      assert.equal(await log.size('romeo'), 10);
      await log.remove('romeo', ['1', '4']);
      assert.equal(await log.size('romeo'), 7);
      await log.trim('romeo', { keep: 1 });
      assert.equal(await log.size('romeo'), 1);
      await log.forget('romeo');
      assert.equal(await log.size('romeo'), 0);
      assert.equal(await log.size('juliet'), 5);
    });

    test('remove returns the number of entries, including those just appended', async () => {
      const log = await filled(letters);
      assert.equal(await log.remove('romeo', []), 0);
      assert.equal(await log.remove('romeo', ['b', 'b', 'x', 'd']), 2);
      const results = await Promise.all([
        log.append('romeo', { id: 'k', value: '' }),
        log.append('romeo', { id: 'a', value: 'again' }),
        log.append('romeo', { id: 'l', value: '' }),
        log.remove('romeo', ['k', 'a', 'c', 'x']),
        log.remove('romeo', ['k']),
        log.append('romeo', { id: 'k', value: 'new' }),
        log.append('romeo', { id: 'm', value: '' }),
        log.count('romeo', {}),
        log.remove('romeo', ['m']),
        log.append('romeo', { id: 'n', value: '1' }),
        log.append('romeo', { id: 'n', value: '2' }),
        log.append('juliet', { id: 'n', value: 'hers' }),
        log.remove('romeo', ['n', 'l']),
      ]);
      assert.deepEqual(
        results.filter((result) => result !== undefined),
        [3, 0, 9, 1, 2],
      );
      assert.equal(await idsOf(log, {}), 'e f g h i j k');
      assert.equal(await idsOf(log, {}, 'juliet'), 'n');
      assert.equal(await log.size('romeo'), 9);
    });

    test('operations are executed in the order of the calls', async () => {
      const log = store();
      const results = await Promise.all([
        log.append('romeo', { id: 'a', value: '' }),
        log.trim('romeo', { keep: 0 }),
        log.remove('romeo', ['a']),
        log.append('romeo', { id: 'b', value: '' }),
        log.forget('romeo'),
        log.remove('romeo', ['b']),
        log.append('romeo', { id: 'c', value: '' }),
        log.count('romeo', {}),
      ]);
      assert.deepEqual(results, [undefined, 1, 0, undefined, undefined, 0, undefined, 1]);
    });

    test('trim by id, by number, by both', async () => {
      const trimmed = async (what: Parameters<LogStore['trim']>[1]): Promise<string> => {
        const log = await filled(letters);
        const gone = await log.trim('romeo', what);
        return `${gone}: ${await idsOf(log, {})}`;
      };
      assert.equal(await trimmed({}), '0: a b c d e f g h i j');
      assert.equal(await trimmed({ before: 'c' }), '2: c d e f g h i j');
      assert.equal(await trimmed({ before: 'cc' }), '3: d e f g h i j');
      assert.equal(await trimmed({ before: '' }), '0: a b c d e f g h i j');
      assert.equal(await trimmed({ keep: 3 }), '7: h i j');
      assert.equal(await trimmed({ keep: 30 }), '0: a b c d e f g h i j');
      assert.equal(await trimmed({ keep: 0 }), '10: ');
      assert.equal(await trimmed({ before: 'c', keep: 3 }), '7: h i j');
      assert.equal(await trimmed({ before: 'i', keep: 3 }), '8: i j');
      assert.equal(await trimmed({ before: 'x', limit: 4 }), '4: e f g h i j');
      assert.equal(await trimmed({ keep: 8, limit: 4 }), '2: c d e f g h i j');
      assert.equal(await trimmed({ keep: 0, limit: 0 }), '0: a b c d e f g h i j');
    });

    test('trim in steps, of more entries than one commit takes', async () => {
      const log = await filled(Array.from({ length: 1800 }, (_, n) => ({ id: String(10_000 + n), value: 'v' })));
      const steps: number[] = [];
      do steps.push(await log.trim('romeo', { before: '10500', limit: 200 }));
      while (steps.at(-1) === 200);
      assert.deepEqual(steps, [200, 200, 100]);
      assert.equal(await log.trim('romeo', { keep: 7 }), 1293);
      assert.equal(await log.size('romeo'), 7);
      assert.equal((await log.page('romeo', { limit: 1 })).entries[0]?.id, '11793');
    });

    test('owners are independent', async () => {
      const log = store();
      await Promise.all(oddNames.map((owner, n) => log.append(owner, { id: 'same', value: `night <${n}>` })));
      for (const [n, owner] of oddNames.entries()) {
        const expected = { entries: [{ id: 'same', value: `night <${n}>` }], complete: true };
        assert.deepEqual(await log.page(owner, { limit: 5 }), expected);
        assert.deepEqual(await log.page(owner, { limit: 5, words: 'night' }), expected);
      }
      await log.remove('a', ['same']);
      await log.forget('😀');
      const left = oddNames.filter((owner) => owner !== 'a' && owner !== '😀');
      assert.deepEqual(await log.owners({ limit: all }), left);
      assert.deepEqual(await log.owners({ limit: 3, after: 'B' }), ['^a', '_', 'a\0']);
      assert.deepEqual(await log.owners({ limit: 9, suffix: '@example.org' }), ['A@example.org', 'a@example.org']);
    });

    test('a large log is deleted completely, and can be used again', async () => {
      const log = await filled(
        Array.from({ length: 1700 }, (_, n) => ({
          id: `${n}`,
          value: n % 9 ? 'night' : 'day',
          with: 'juliet',
        })),
      );
      await log.append('juliet', { id: '1', value: 'night' });
      const forgotten = log.forget('romeo');
      const anew = log.append('romeo', { id: 'new', value: 'night' });
      assert.equal(await log.count('romeo', {}), 1);
      await Promise.all([forgotten, anew]);
      assert.equal(await idsOf(log, { words: 'night' }), 'new');
      assert.equal(await log.size('romeo'), 5);
      assert.equal(await log.count('juliet', { words: 'night' }), 1);
      assert.deepEqual(await log.owners({ limit: 9 }), ['juliet', 'romeo']);
    });

    test('many concurrent appends are all stored, in order', async () => {
      const log = store();
      const ids = Array.from({ length: 3000 }, (_, n) => String((n * 7919) % 3000).padStart(5, '0'));
      await Promise.all(ids.map((id) => log.append('romeo', { id, value: id })));
      const { entries, complete } = await log.page('romeo', { limit: all });
      assert.equal(complete, true);
      assert.deepEqual(
        entries.map(({ id }) => id),
        [...ids].sort(compare),
      );
    });

    test('random operations have the same result on a log and on an array', async () => {
      const log = store();
      const model = new Map<string, LogEntry>();
      let state = 7;
      const random = (below: number): number => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
      };
      const pick = <T>(...values: T[]): T => values[random(values.length)]!;
      const checks: Promise<void>[] = [];
      for (let n = 0; n < 400; n++) {
        const id = String(random(60)).padStart(2, '0');
        const action = random(10);
        if (action < 5) {
          const entry: LogEntry = {
            id,
            value: `${pick('one', 'two')} <${n}>`,
            with: pick('a', 'b'),
            tag: pick('x', 'y'),
          };
          model.set(id, entry);
          checks.push(log.append('romeo', entry));
        } else if (action < 7) {
          const there = model.delete(id) ? 1 : 0;
          checks.push(log.remove('romeo', [id]).then((gone) => assert.equal(gone, there)));
        } else if (action < 8) {
          const sorted = [...model.keys()].sort(compare);
          const gone = sorted.slice(0, Math.max(0, sorted.length - 25));
          for (const id of gone) model.delete(id);
          checks.push(log.trim('romeo', { keep: 25 }).then((count) => assert.equal(count, gone.length)));
        } else {
          const query: LogQuery = {
            limit: 1 + random(8),
            with: pick('a', undefined),
            tag: pick('x', undefined),
            words: pick('one', undefined),
            after: pick(id, undefined),
            backwards: pick(true, false),
          };
          const found = [...model.values()]
            .filter((entry) => query.with === undefined || entry.with === query.with)
            .filter((entry) => query.tag === undefined || entry.tag === query.tag)
            .filter((entry) => query.words === undefined || entry.value.startsWith(`${query.words} `))
            .filter((entry) => query.after === undefined || entry.id > query.after)
            .sort((a, b) => compare(a.id, b.id));
          const entries = query.backwards ? found.slice(-query.limit) : found.slice(0, query.limit);
          const expected = { entries, complete: found.length <= query.limit };
          checks.push(log.page('romeo', query).then((page) => assert.deepEqual(page, expected)));
          checks.push(log.count('romeo', query).then((count) => assert.equal(count, found.length)));
        }
      }
      await Promise.all(checks);
      const bytes = [...model.values()].reduce((sum, { value }) => sum + value.length, 0);
      assert.equal(await log.size('romeo'), bytes);
    });
  });
}
