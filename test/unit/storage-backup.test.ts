/** Backup, restore, and what a start finds in place of its database. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import Sqlite from 'better-sqlite3';
import { backUp, restore } from '../../src/storage/sqlite/backup.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';

const root = mkdtempSync(join(tmpdir(), 'storage-backup-'));
after(() => rmSync(root, { recursive: true }));
let folders = 0;

function place(): { readonly folder: string; readonly file: string; readonly copy: string } {
  const folder = mkdtempSync(join(root, `${folders++}-`));
  return { folder, file: join(folder, 'waxwing.sqlite'), copy: join(folder, 'copy') };
}

async function write(file: string, from: number, to: number): Promise<void> {
  const storage = await openSqlite({ file });
  const log = storage.log('archive');
  for (let n = from; n < to; n++) await log.append('romeo@example.org', { id: String(n).padStart(6, '0'), value: 'x' });
  await storage.close();
}

async function count(file: string): Promise<number> {
  const storage = await openSqlite({ file });
  const found = await storage.log('archive').count('romeo@example.org', {});
  await storage.close();
  return found;
}

/** As after a crash: the database with its log beside it. */
async function crashed(file: string, count: number): Promise<void> {
  const storage = await openSqlite({ file: `${file}.live` });
  const log = storage.log('archive');
  for (let n = 0; n < count; n++) await log.append('romeo@example.org', { id: String(n).padStart(6, '0'), value: 'x' });
  for (const end of ['', '-wal']) copyFileSync(`${file}.live${end}`, `${file}${end}`);
  await storage.close();
  writeFileSync(`${file}-made`, '');
}

const refused = (file: string, pattern: RegExp) =>
  assert.rejects(openSqlite({ file }), (error: Error) => {
    assert.equal(error.name, 'StorageError');
    assert.match(error.message, pattern);
    return true;
  });

test('a backup is complete and private, and never replaces a file', async () => {
  const { folder, file, copy } = place();
  await write(file, 0, 50);
  assert.ok(backUp(file, copy).bytes > 0);
  assert.equal(statSync(copy).mode & 0o777, 0o600);
  assert.throws(() => backUp(file, copy), /already exists/);
  await write(file, 50, 60);
  backUp(file, copy, { overwrite: true });
  assert.throws(() => backUp(file, file, { overwrite: true }), /database itself/);
  assert.throws(() => backUp(file, join(folder, 'nowhere', 'copy')), { name: 'StorageError' });
  assert.throws(() => backUp(join(folder, 'nothing'), join(folder, 'other')), /does not exist/);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('part') || name === 'other'),
    [],
  );
  const other = place();
  restore(other.file, copy, 'before');
  assert.equal(await count(other.file), 60);
});

test('a backup under load is consistent, and terminates', async () => {
  const { file, copy } = place();
  const storage = await openSqlite({ file });
  try {
    const log = storage.log('archive');
    const map = storage.map<number>('counter');
    // An entry and the count of entries are written in one turn.
    let written = 0;
    let isOver = false;
    const load = (async () => {
      while (!isOver) {
        const id = String(written++).padStart(8, '0');
        await Promise.all([
          log.append('romeo@example.org', { id, value: 'x'.repeat(1000) }),
          map.set('romeo@example.org', [['entries', written]]),
        ]);
      }
    })();
    while (written < 100) await new Promise(setImmediate);
    const module = new URL('../../src/storage/sqlite/backup.js', import.meta.url).href;
    const worker = new Worker(
      `const { workerData } = require('node:worker_threads');
       import(workerData.module).then(({ backUp }) => backUp(workerData.file, workerData.copy));`,
      { eval: true, workerData: { module, file, copy }, execArgv: [] },
    );
    await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
    isOver = true;
    await load;
    const other = place();
    restore(other.file, copy, 'before');
    const copied = await openSqlite({ file: other.file });
    const entries = await copied.log('archive').count('romeo@example.org', {});
    assert.ok(entries >= 100);
    assert.equal(await copied.map('counter').get('romeo@example.org', 'entries'), entries);
    await copied.close();
  } finally {
    await storage.close();
  }
});

test('a restore keeps the previous database with its log', async () => {
  const { folder, file, copy } = place();
  await write(file, 0, 10);
  backUp(file, copy);
  rmSync(file);
  await crashed(file, 30);
  assert.ok(statSync(`${file}-wal`).size > 0);
  const { previous } = restore(file, copy, 'before-1');
  assert.equal(previous, `${file}.before-1`);
  assert.equal(existsSync(`${file}-wal`), false);
  assert.equal(await count(file), 10);
  // and back again
  restore(file, previous!, 'before-2');
  assert.equal(await count(file), 30);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.includes('.part')),
    [],
  );
});

test('a file that is not a complete backup is not restored, and nothing changes', async () => {
  const { folder, file, copy } = place();
  await write(file, 0, 2000);
  backUp(file, copy);
  const foreign = join(folder, 'foreign');
  const other = new Sqlite(foreign);
  other.exec('CREATE TABLE t (x)');
  other.close();
  const newer = join(folder, 'newer');
  copyFileSync(copy, newer);
  const changed = new Sqlite(newer);
  changed.exec("UPDATE waxwing SET value = 999 WHERE property = 'schema'");
  changed.close();
  const text = join(folder, 'text');
  writeFileSync(text, 'x'.repeat(10_000));
  writeFileSync(join(folder, 'empty'), '');
  const half = join(folder, 'half');
  copyFileSync(copy, half);
  truncateSync(half, Math.floor(statSync(copy).size / 2));
  const damaged = join(folder, 'damaged');
  const bytes = readFileSync(copy);
  bytes.fill(0x5a, 8192, 16_384);
  writeFileSync(damaged, bytes);
  const before = readFileSync(file);
  for (const name of ['foreign', 'newer', 'text', 'empty', 'half', 'damaged', 'nothing'])
    assert.throws(() => restore(file, join(folder, name), 'before'), Error, name);
  assert.throws(() => restore(file, file, 'before'), /database itself/);
  assert.deepEqual(readFileSync(file), before);
  assert.deepEqual(
    readdirSync(folder).filter((name) => /part|before/.test(name)),
    [],
  );
});

test('a restore needs a stopped server', async () => {
  const { file, copy } = place();
  await write(file, 0, 1);
  backUp(file, copy);
  const storage = await openSqlite({ file });
  assert.throws(() => restore(file, copy, 'before'), { name: 'StorageError', failure: 'locked' });
  await storage.close();
});

test("the start is refused for a database that is missing, empty, damaged or another program's", async () => {
  const { file } = place();
  await write(file, 0, 5);
  const whole = readFileSync(file);
  truncateSync(file, 0);
  await refused(file, /is empty, but there was a database before.*waxwing restore/);
  rmSync(file);
  await refused(file, /is missing, but there was a database before.*waxwing restore/);
  assert.equal(existsSync(file), false);
  writeFileSync(file, 'not a database at all, and long enough to look like something'.repeat(100));
  await refused(file, /file is not a database/);
  rmSync(file);
  const other = new Sqlite(file);
  other.exec('CREATE TABLE t (x)');
  other.close();
  const foreign = readFileSync(file);
  await refused(file, /is a database of another program/);
  assert.deepEqual(readFileSync(file), foreign, 'it is not touched');
  rmSync(file);
  const named = new Sqlite(file);
  named.pragma('application_id = 1234');
  named.close();
  await refused(file, /is a database of another program/);
  writeFileSync(file, whole);
  assert.equal(await count(file), 5);
  rmSync(file);
  rmSync(`${file}-made`);
  assert.equal(await count(file), 0, 'somebody wants to begin anew');
});

test('the start is refused for a log without its database, or with another one', async () => {
  const { file, copy } = place();
  await crashed(file, 30);
  const log = readFileSync(`${file}-wal`);
  const database = readFileSync(file);
  rmSync(file);
  for (const made of [true, false]) {
    if (!made) rmSync(`${file}-made`);
    await refused(file, /is missing, and .*-wal contains its latest writes/);
    assert.deepEqual(readFileSync(`${file}-wal`), log, 'it is not touched');
  }
  writeFileSync(file, database);
  assert.equal(await count(file), 30);
  backUp(file, copy);
  await crashed(file, 30);
  copyFileSync(copy, file);
  await refused(file, /-wal belongs to another database/);
  rmSync(`${file}-wal`);
  assert.equal(await count(file), 30);
});
