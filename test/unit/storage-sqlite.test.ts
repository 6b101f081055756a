import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import { type Storage, StorageError } from '../../src/storage/contract.js';
import { openSqlite, type SqliteOptions } from '../../src/storage/sqlite/index.js';
import { type Migration, migrate, migrations } from '../../src/storage/sqlite/migrations.js';
import { nameOf, storeOf } from '../../src/storage/sqlite/tables.js';
import { oddNames } from '../contract/names.js';

const folder = mkdtempSync(join(tmpdir(), 'storage-sqlite-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

function newFile(): string {
  return join(folder, `${files++}.db`);
}

/** A storage whose syncs end when the test says so. */
async function held(options: Partial<SqliteOptions> = {}): Promise<{
  storage: Storage;
  syncs: ((error?: Error) => void)[];
  /** Resolves when another sync has begun. */
  sync: () => Promise<(error?: Error) => void>;
}> {
  const syncs: ((error?: Error) => void)[] = [];
  let begun = (): void => {};
  const storage = await openSqlite({
    file: newFile(),
    ...options,
    sync: (_, done) => {
      syncs.push(done);
      begun();
    },
  });
  const sync = async (): Promise<(error?: Error) => void> => {
    if (syncs.length === 0) await new Promise<void>((resolve) => (begun = resolve));
    return syncs.shift()!;
  };
  return { storage, syncs, sync };
}

/** Whether a promise has come to its end, after all that could run has run. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => void (settled = true);
  promise.then(note, note);
  for (let n = 0; n < 5; n++) await setImmediate();
  return settled;
}

test('a write resolves after its sync, not before; reads do not wait', async () => {
  const { storage, sync } = await held();
  const document = storage.document<number>('d');
  const written = document.set('romeo', 1);
  assert.equal(await document.get('romeo'), 1);
  const done = await sync();
  assert.equal(await isSettled(written), false);
  done();
  await written;
  const closed = storage.close();
  await closed;
});

test('the writes of one turn share a sync, and those made during it share the next', async () => {
  const { storage, syncs, sync } = await held();
  const log = storage.log('l');
  const append = (id: number): Promise<void> => log.append('romeo', { id: String(id), value: '' });
  const first = Promise.all([1, 2, 3].map(append));
  const done = await sync();
  const second = Promise.all([4, 5].map(append));
  await setImmediate();
  const third = append(6);
  assert.equal(await log.count('romeo', {}), 6); // executed, and not to be lost from the next sync
  assert.equal(await isSettled(Promise.race([first, second, third])), false);
  assert.equal(syncs.length, 0);
  done();
  await first;
  assert.equal(await isSettled(Promise.race([second, third])), false);
  (await sync())();
  await Promise.all([second, third]);
  assert.equal(syncs.length, 0);
  await storage.close();
});

test('a failed sync rejects its writes, and all executed since; then the storage recovers', async () => {
  const { storage, sync } = await held();
  const document = storage.document<number>('d');
  const first = document.set('a', 1);
  const done = await sync();
  const second = document.set('b', 2);
  assert.equal(await document.get('b'), 2);
  const outcome = Promise.allSettled([first, second]);
  done(Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', syscall: 'fdatasync' }));
  for (const result of await outcome) {
    assert.equal(result.status, 'rejected');
    assert.ok(result.reason instanceof StorageError);
    assert.equal(result.reason.failure, 'unavailable');
  }
  const third = document.set('c', 3);
  (await sync())(); // of the descriptor that failed
  assert.equal(await isSettled(third), false);
  (await sync())(); // of a new one
  await third;
  assert.equal(await document.get('c'), 3);
  await storage.close();
});

test('after a failed sync, copies are refused until one succeeds', async (t) => {
  const file = newFile();
  const { storage, sync } = await held({ file });
  const document = storage.document<number>('d');
  const first = document.set('a', 1);
  const done = await sync();
  const reader = new Sqlite(file, { readonly: true });
  t.after(() => reader.close());
  done();
  await first;
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM sqlite_schema').get();
  const second = document.set('a', 2);
  const rejected = assert.rejects(second, StorageError);
  (await sync())(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', syscall: 'fdatasync' }));
  await rejected;
  await assert.rejects(second, { failure: 'full' });
  // The reader prevents checkpoints: no bound holds.
  const [third, read] = await Promise.allSettled([document.set('a', 3), document.get('a')]);
  assert.equal(third.status, 'rejected');
  assert.equal(third.reason.failure, 'unavailable');
  assert.deepEqual(read, { status: 'fulfilled', value: 2 });
  reader.exec('COMMIT');
  const fourth = document.set('a', 4);
  (await sync())();
  await fourth;
  assert.equal(await document.get('a'), 4);
  await storage.close();
});

test('too many writes are refused, until some are done', async () => {
  for (const options of [{ maxWaiting: 10 }, { maxWaitingBytes: 1000 }]) {
    const { storage, sync } = await held(options);
    const log = storage.log('l');
    const writes = Array.from({ length: 10 }, (_, n) => log.append('romeo', { id: `${n}`, value: 'x'.repeat(100) }));
    const done = await sync();
    await assert.rejects(log.append('romeo', { id: 'x', value: '' }), { failure: 'unavailable' });
    assert.equal(await log.count('romeo', {}), 10); // reads go on
    done();
    await Promise.all(writes);
    const more = log.append('romeo', { id: 'y', value: '' });
    (await sync())();
    await more;
    await storage.close();
  }
});

test('a value removed before its execution is never written', async () => {
  const file = newFile();
  const storage = await openSqlite({ file });
  const log = storage.log('spool');
  await log.append('juliet', { id: '0', value: 'first' });
  const size = (): number => statSync(`${file}-wal`).size;
  const before = size();
  await Promise.all(
    Array.from({ length: 100 }, async (_, n) => {
      const appended = log.append('romeo', { id: `${n}`, value: 'x'.repeat(10_000) });
      const removed = log.remove('romeo', [`${n}`]);
      await appended;
      assert.equal(await removed, 1);
    }),
  );
  assert.equal(size(), before);
  await storage.close();
});

test('a value replaced before its execution is never written', async () => {
  const file = newFile();
  const storage = await openSqlite({ file });
  const document = storage.document<string>('d');
  await document.set('romeo', '');
  const before = statSync(`${file}-wal`).size;
  await Promise.all(Array.from({ length: 1000 }, (_, n) => document.set('romeo', `${n} ${'x'.repeat(10_000)}`)));
  assert.match((await document.get('romeo')) ?? '', /^999 /);
  assert.ok(statSync(`${file}-wal`).size - before < 100_000);
  await storage.close();
});

test('a failed operation does not affect others of its transaction', async () => {
  const storage = await openSqlite({ file: newFile() });
  const log = storage.log('l');
  const bad = { id: 'b', value: 'v', with: Symbol('no text') as unknown as string };
  const results = await Promise.allSettled([
    log.append('romeo', { id: 'a', value: 'v' }),
    log.append('romeo', bad),
    log.append('juliet', { id: 'c', value: 'v' }),
    storage.map('m').set('romeo', [['k', 1]]),
    log.count('romeo', {}),
  ]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'],
  );
  assert.equal(await log.count('romeo', {}), 1);
  assert.equal(await log.size('juliet'), 1);
  assert.deepEqual(await storage.map('m').all('romeo'), new Map([['k', 1]]));
  await storage.close();
});

test('a set of entries that fails half-way has no effect', async () => {
  const storage = await openSqlite({ file: newFile() });
  const map = storage.map<unknown>('m');
  await map.set('romeo', [['a', 1]]);
  const entries = [
    ['a', 2],
    [Symbol('no text') as unknown as string, 3],
  ] as const;
  const [bad, good] = await Promise.allSettled([map.set('romeo', entries), map.set('romeo', [['b', 4]])]);
  assert.equal(bad.status, 'rejected');
  assert.equal(good.status, 'fulfilled');
  assert.deepEqual(
    await map.all('romeo'),
    new Map([
      ['a', 1],
      ['b', 4],
    ]),
  );
  await storage.close();
});

test('the log stays bounded under constant writes, and nothing is lost', async () => {
  const file = newFile();
  const storage = await openSqlite({ file, walBytes: 512 * 1024 });
  const log = storage.log('l');
  const writers = 20;
  const each = 400;
  let longest = 0;
  let copied = 0;
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let n = 0; n < each; n++) {
        await log.append(`owner ${(writer * 31 + n) % 500}`, { id: `${writer}-${n}`, value: 'x'.repeat(8000) });
        longest = Math.max(longest, statSync(`${file}-wal`).size);
        copied = Math.max(copied, statSync(file).size);
      }
    }),
  );
  // Some 100 MB went through it.
  assert.ok(longest < 40 * 2 ** 20, `the log grew to ${longest} bytes`);
  assert.ok(copied > 20 * 2 ** 20, `only ${copied} bytes were copied`);
  let count = 0;
  for (let owner = 0; owner < 500; owner++) count += await log.count(`owner ${owner}`, {});
  assert.equal(count, writers * each);
  await storage.close();
});

test('an interrupted deletion is completed when the file is opened', async () => {
  const file = newFile();
  const first = await openSqlite({ file });
  const many = Array.from({ length: 1200 }, (_, n) => [`${n}`, n] as const);
  await first.map('m').set('romeo', many);
  const log = first.log('l', { text: (value) => value });
  await Promise.all(many.map(([id]) => log.append('romeo', { id, value: 'night' })));
  assert.equal(await log.count('romeo', { words: 'night' }), 1200);
  const forgetting = Promise.allSettled([first.map('m').forget('romeo'), log.forget('romeo')]);
  await first.close();
  for (const result of await forgetting) assert.equal(result.status, 'rejected');
  const rows = (): number[] => {
    const db = new Sqlite(file, { readonly: true });
    const tables = ['map.m', 'log.l', 'map-owners.m', 'log-owners.l', 'log-words.l'];
    const counts = tables.map((table) => db.prepare(`SELECT count(*) FROM "${table}"`).pluck().get() as number);
    db.close();
    return counts;
  };
  assert.deepEqual(rows().slice(0, 4), [700, 700, 1, 1]);
  assert.ok(rows()[4]! > 0);

  const second = await openSqlite({ file });
  assert.deepEqual(await second.map('m').owners({ limit: 5 }), []);
  await second.map('m').set('juliet', [['a', 1]]);
  for (let n = 0; n < 3; n++) await second.flush();
  while (rows()[0] !== 1 || rows()[1] !== 0) await second.flush();
  assert.deepEqual(await second.map('m').all('juliet'), new Map([['a', 1]]));
  await second.close();
  assert.deepEqual(rows(), [1, 0, 1, 0, 0]);
});

test('a page costs the same at any position, and uses an index', async () => {
  const file = newFile();
  const storage = await openSqlite({ file });
  const log = storage.log('l');
  await log.append('romeo', { id: 'a', value: '', with: 'juliet', tag: 't' });
  await storage.close();
  const db = new Sqlite(file);
  const plan = (where: string): string => {
    const rows = db.prepare(`EXPLAIN QUERY PLAN SELECT * FROM "log.l" WHERE ${where}`).all() as { detail: string }[];
    return rows.map(({ detail }) => detail).join('; ');
  };
  assert.match(plan(`owner = 1 AND id > 'x' ORDER BY id LIMIT 5`), /^SEARCH .*log-ids\.l \(owner=\? AND id>\?\)$/);
  const peers = plan(`owner = 1 AND peer = 'a' AND id < 'x' ORDER BY id DESC LIMIT 5`);
  assert.match(peers, /^SEARCH .*log-peers\.l \(owner=\? AND peer=\? AND id<\?\)$/);
  assert.match(plan(`owner = 1 AND tag = 'a' ORDER BY id`), /^SEARCH .*log-tags\.l \(owner=\? AND tag=\?\)$/);
  db.close();
});

test('table names map back to stores', () => {
  const names = new Set<string>();
  for (const shape of ['document', 'map', 'log'] as const) {
    for (const name of [...oddNames, 'camelCase', 'camelcase', '^camelcase', 'owners.x']) {
      const table = nameOf(shape, name);
      assert.deepEqual(storeOf(table), { shape, name });
      assert.equal(storeOf(nameOf(shape, name, 'owners')), undefined);
      names.add(table.toLowerCase());
    }
  }
  assert.equal(names.size, 3 * (oddNames.length + 4));
});

test('migrations run in order, once, and atomically', async () => {
  const file = newFile();
  await (await openSqlite({ file })).close();
  const db = new Sqlite(file);
  const done: string[] = [];
  const step =
    (name: string, fails = false): Migration =>
    (db) => {
      db.exec(`CREATE TABLE ${name} (x)`);
      done.push(name);
      if (fails) throw new Error(`${name} failed`);
    };
  migrate(db, [...migrations, step('one')]);
  migrate(db, [...migrations, step('one')]);
  assert.deepEqual(done, ['one']);
  assert.throws(() => migrate(db, [...migrations, step('one'), step('two'), step('three', true)]), /three failed/);
  migrate(db, [...migrations, step('one'), step('two'), step('three')]);
  assert.deepEqual(done, ['one', 'two', 'three', 'three']);
  db.close();
  await assert.rejects(openSqlite({ file }), (error) => {
    assert.ok(error instanceof StorageError);
    assert.match(error.message, /newer version: it has schema 5, this version of the program knows 2/);
    return true;
  });
});

test('files are private', { skip: process.platform === 'win32' }, async () => {
  const file = newFile();
  const storage = await openSqlite({ file });
  await storage.document('d').set('romeo', 'secret');
  for (const end of ['', '-wal', '-shm']) assert.equal(statSync(file + end).mode & 0o777, 0o600, end);
  await storage.close();
});
