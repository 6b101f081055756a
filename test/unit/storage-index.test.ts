import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import type { LogStore } from '../../src/storage/contract.js';
import { indexer } from '../../src/storage/indexer.js';
import { openSqlite, type SqliteOptions } from '../../src/storage/sqlite/index.js';

const folder = mkdtempSync(join(tmpdir(), 'storage-index-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

const newFile = (): string => join(folder, `${files++}.db`);
/** Runs immediately, whatever else is pending. */
const eager: Partial<SqliteOptions> = { indexInterval: 1, isBusy: () => false };
const never: Partial<SqliteOptions> = { indexInterval: 1, isBusy: () => true };

/** The text for searches: the value, and a record of the values read. */
function watched(): { text: (value: string) => string; seen: string[] } {
  const seen: string[] = [];
  return {
    seen,
    text: (value) => {
      seen.push(value);
      return value;
    },
  };
}

function query<T>(file: string, sql: string): T[] {
  const db = new Sqlite(file, { readonly: true });
  try {
    return db.prepare(sql).all() as T[];
  } finally {
    db.close();
  }
}

const inIndex = (file: string): number[] =>
  query<{ id: number }>(file, 'SELECT id FROM "log-words.l_docsize" ORDER BY id').map(({ id }) => id);
const seqs = (file: string): number[] =>
  query<{ seq: number }>(file, 'SELECT seq FROM "log.l" ORDER BY seq').map(({ seq }) => seq);

/** Waits for a condition. The event loop stays free, because its timers are under test. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

const append = (log: LogStore, owner: string, from: number, to: number): Promise<unknown> =>
  Promise.all(
    Array.from({ length: to - from }, (_, n) =>
      log.append(owner, { id: String(10_000 + from + n), value: `night ${from + n}` }),
    ),
  );

test('appended entries are indexed in the background, once each', async () => {
  const file = newFile();
  const { text, seen } = watched();
  const first = await openSqlite({ file, ...eager });
  const log = first.log('l', { text });
  const owners = Array.from({ length: 7 }, (_, n) => `owner ${n}`);
  await Promise.all(owners.map((owner, n) => append(log, owner, 0, n * 60)));
  await until(() => seen.length === 60 * 21);
  await first.close();
  assert.deepEqual(inIndex(file), seqs(file));
  assert.equal(new Set(seen).size, 360);

  const again = watched();
  const second = await openSqlite({ file, ...eager });
  const same = second.log('l', { text: again.text });
  for (const [n, owner] of owners.entries()) assert.equal(await same.count(owner, { words: 'night' }), n * 60);
  await append(same, 'owner 3', 180, 182);
  await until(() => again.seen.length === 2);
  await second.close();
  assert.deepEqual(again.seen, ['night 180', 'night 181']);
  assert.deepEqual(inIndex(file), seqs(file));
});

test('indexing pauses while the event loop is busy, and searches miss nothing', async () => {
  const file = newFile();
  const { text, seen } = watched();
  const storage = await openSqlite({ file, ...never });
  const log = storage.log('l', { text });
  await append(log, 'romeo', 0, 500);
  await append(log, 'juliet', 0, 500);
  assert.equal(seen.length, 0);
  assert.equal(await log.count('romeo', { words: 'night' }), 500);
  assert.equal((await log.page('romeo', { words: '499', limit: 5 })).entries.length, 1);
  const indexed = inIndex(file).length;
  // Of the owner who searched, except for a rest that was scanned each time.
  assert.ok(indexed > 300 && indexed <= 500, `${indexed}`);
  await storage.close();
});

test('entries not yet indexed at exit are found, and indexed by the next process', async () => {
  const file = newFile();
  const first = await openSqlite({ file, ...never });
  await append(first.log('l', { text: (value) => value }), 'romeo', 0, 300);
  await first.close();
  const { text, seen } = watched();
  const second = await openSqlite({ file, ...eager });
  second.log('l', { text });
  await until(() => seen.length === 300);
  await second.close();
  assert.deepEqual(inIndex(file), seqs(file));
});

test('the index matches the log after any changes', async () => {
  const file = newFile();
  const storage = await openSqlite({ file, ...eager });
  const log = storage.log('l', { text: (value) => value.replace('silent', '') });
  await append(log, 'romeo', 0, 400);
  assert.equal(await log.count('romeo', { words: 'night' }), 400);
  await log.append('romeo', { id: '10100', value: 'day' });
  await log.append('romeo', { id: '10101', value: 'silent' });
  await log.append('romeo', { id: '10050x', value: 'out of order' });
  await log.remove('romeo', ['10399', '10200']);
  await log.append('romeo', { id: '10398x', value: 'the number of another' });
  await log.trim('romeo', { before: '10050' });
  await append(log, 'juliet', 0, 200);
  await log.forget('romeo');
  await append(log, 'romeo', 500, 700);
  await until(() => inIndex(file).length === 400);
  assert.deepEqual(inIndex(file), seqs(file));
  assert.equal(await log.count('romeo', { words: 'night' }), 200);
  assert.equal(await log.count('romeo', { words: '100' }), 0);
  await storage.close();
});

test('a search after a pause finds entries that were added or replaced', async () => {
  const file = newFile();
  const first = await openSqlite({ file });
  const log = first.log('l', { text: (value) => value });
  await append(log, 'romeo', 0, 300);
  assert.equal(await log.count('romeo', { words: 'night' }), 300);
  await first.close();
  const without = await openSqlite({ file });
  await without.log('l').append('romeo', { id: '10010', value: 'day' });
  await without.log('l').append('romeo', { id: '10010x', value: 'night out of order' });
  await without.log('l').remove('romeo', ['10020', '10299']);
  await append(without.log('l'), 'romeo', 300, 400);
  await without.close();
  const third = await openSqlite({ file });
  const searched = third.log('l', { text: (value) => value });
  assert.equal(await searched.count('romeo', { words: 'night' }), 398);
  assert.equal(await searched.count('romeo', { words: 'day' }), 1);
  assert.deepEqual(
    (await searched.page('romeo', { words: 'order', limit: 5 })).entries.map(({ id }) => id),
    ['10010x'],
  );
  await third.close();
});

test('a common word is found in the order of ids, in whatever order entries were appended', async () => {
  const storage = await openSqlite({ file: newFile() });
  const log = storage.log('l', { text: (value) => value });
  const entry = (n: number) => ({
    id: String(100_000 + n),
    value: `night ${n % 5 ? 'most' : 'some'} ${n % 4000 ? '' : 'few'}`,
    with: n % 3 ? 'juliet' : 'nurse',
  });
  // In the order of the clock of a machine that was set back now and then, with a block of older ones at the end.
  const blocks = [
    [3000, 9000],
    [12_000, 13_000],
    [9000, 12_000],
    [13_001, 13_002],
    [13_000, 13_001],
    [13_002, 15_000],
    [0, 3000],
  ] as const;
  const numbers = blocks.flatMap(([from, to]) => Array.from({ length: to - from }, (_, n) => from + n));
  await Promise.all(numbers.slice(0, 14_990).map((n) => log.append('romeo', entry(n))));
  assert.equal(await log.count('romeo', { words: 'few' }), 4);
  await Promise.all(numbers.slice(14_990).map((n) => log.append('romeo', entry(n))));
  const all = Array.from({ length: 15_000 }, (_, n) => entry(n));
  const cases: [words: string, peer: string | undefined, from: number, to: number][] = [
    ['night', undefined, 0, 15_000],
    ['night', undefined, 8990, 9010],
    ['night', 'nurse', 2990, 13_010],
    ['most', undefined, 11_900, 15_000],
    ['most', 'juliet', 13_000, 13_003],
    ['some night', undefined, 0, 15_000],
    ['few', undefined, 1, 15_000],
  ];
  for (const [words, peer, from, to] of cases) {
    const expected = all
      .slice(from, to)
      .filter((one) => words.split(' ').every((word) => one.value.includes(word)))
      .filter((one) => peer === undefined || one.with === peer);
    const filter = { words, with: peer, from: entry(from).id, before: entry(to).id };
    for (const limit of [1, 50, 900]) {
      const what = `${words} ${peer} ${from} ${limit}`;
      const first = await log.page('romeo', { ...filter, limit });
      assert.deepEqual(first, { entries: expected.slice(0, limit), complete: expected.length <= limit }, what);
      const last = await log.page('romeo', { ...filter, limit, backwards: true });
      assert.deepEqual(last, { entries: expected.slice(-limit), complete: expected.length <= limit }, what);
      const after = expected.at(limit - 1)?.id ?? '0';
      const next = await log.page('romeo', { ...filter, limit, after });
      assert.deepEqual(next.entries, expected.filter(({ id }) => id > after).slice(0, limit), what);
    }
    assert.equal(await log.count('romeo', filter), expected.length);
  }
  await storage.close();
});

test('an older file can be searched', async () => {
  const file = newFile();
  const db = new Sqlite(file);
  db.exec(`
    CREATE TABLE waxwing (property TEXT PRIMARY KEY, value ANY NOT NULL) WITHOUT ROWID;
    INSERT INTO waxwing VALUES ('schema', 1);
    CREATE TABLE "log-owners.l" (id INTEGER PRIMARY KEY, name TEXT UNIQUE, host TEXT, disordered INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX "log-hosts.l" ON "log-owners.l" (host, name) WHERE host IS NOT NULL;
    CREATE TABLE "log.l" (
      seq INTEGER PRIMARY KEY, owner INTEGER NOT NULL, id TEXT NOT NULL, bytes INTEGER NOT NULL,
      peer TEXT, tag TEXT, text TEXT, value TEXT NOT NULL
    );
    CREATE INDEX "log-ids.l" ON "log.l" (owner, id, bytes);
    CREATE INDEX "log-peers.l" ON "log.l" (owner, peer, id) WHERE peer IS NOT NULL;
    CREATE INDEX "log-tags.l" ON "log.l" (owner, tag, id) WHERE tag IS NOT NULL;
    CREATE VIRTUAL TABLE "log-words.l" USING fts5 (terms, content = '', contentless_delete = 1, detail = none);
    INSERT INTO "log-words.l" (rowid, terms) VALUES (1, 'something else');
    INSERT INTO "log-owners.l" VALUES (1, 'romeo', NULL, 0);
    INSERT INTO "log.l" VALUES (1, 1, 'a', 5, 'juliet', NULL, 'else', 'night');`);
  db.close();
  const storage = await openSqlite({ file });
  const log = storage.log('l', { text: (value) => value });
  const entry = { id: 'a', with: 'juliet', value: 'night' };
  assert.deepEqual(await log.page('romeo', { limit: 5, words: 'night' }), { entries: [entry], complete: true });
  await append(log, 'romeo', 0, 200);
  assert.equal(await log.count('romeo', { words: 'night' }), 201);
  assert.equal(await log.count('romeo', { words: 'else' }), 0);
  await storage.close();
});

// ---------------------------------------------------------------------------------------------------------------
// When it is done

test('pieces are indexed until none is left, and again after an append', async () => {
  let left = 3;
  let done = 0;
  const background = indexer({
    piece: async () => {
      done++;
      return --left > 0;
    },
    interval: 0,
    isBusy: () => false,
    warn: assert.ifError,
  });
  background.wake();
  background.wake();
  await until(() => done === 3);
  left = 2;
  background.wake();
  await until(() => done === 5);
  background.wake();
  background.close();
  background.wake();
  for (let n = 0; n < 5; n++) await setImmediate();
  assert.equal(done, 5);
});

test('a failure is reported once, and retried', async () => {
  const outcomes = [new Error('full'), new Error('full'), true, new Error('locked'), false];
  const reported: unknown[] = [];
  const background = indexer({
    piece: async () => {
      const outcome = outcomes.shift();
      if (outcome instanceof Error) throw outcome;
      return outcome ?? false;
    },
    interval: 0,
    isBusy: () => false,
    warn: (error) => reported.push((error as Error).message),
  });
  background.wake();
  await until(() => outcomes.length === 0);
  background.close();
  assert.deepEqual(reported, ['full']);
});

test('waiting searches are served in turn', async () => {
  const background = indexer({ piece: async () => false, interval: 1000, warn: assert.ifError });
  const order: string[] = [];
  const many = async (name: string, pieces: number): Promise<void> => {
    for (let n = 0; n < pieces; n++) {
      await background.inTurn(async () => {
        await setImmediate();
        order.push(`${name}${n}`);
      });
    }
  };
  await Promise.all([many('a', 4), many('b', 2), many('c', 1)]);
  assert.deepEqual(order, ['a0', 'b0', 'c0', 'a1', 'b1', 'a2', 'a3']);
  await assert.rejects(
    background.inTurn(() => Promise.reject(new Error('of one'))),
    /of one/,
  );
  assert.equal(await background.inTurn(async () => 'of another'), 'of another');
  background.close();
});
