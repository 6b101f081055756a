import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import type { Storage } from '../../src/storage/contract.js';
import { StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Migrated, MigrationError, migrate } from '../../src/storage/migrate.js';
import { demandComplete } from '../../src/storage/migration-marks.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import { around, mulberry32 } from '../../src/storage/wrappers.js';
import { everything, fill, odd } from '../stored-data.js';

const folder = mkdtempSync(join(tmpdir(), 'storage-migration-'));
after(() => rmSync(folder, { recursive: true }));

class Killed extends Error {}

/** Ends like a killed process: from an operation on, all fail; some of them have been applied. */
function killedAfter(storage: Storage, operations: number): Storage {
  let left = operations;
  return around(storage, async (_, run) => {
    if (--left > 0) return run();
    if (left % 2 === 0) await run();
    throw new Killed();
  });
}

for (const seed of [1, 2, 3]) {
  test(`whatever is in the stores arrives, however often it is interrupted (${seed})`, async () => {
    const random = mulberry32(seed);
    const from = new MemoryStorage();
    await fill(from, seed, 100);
    const to =
      seed % 2 === 0 ? await openSqlite({ file: join(folder, `${seed}.db`) }) : (new MemoryStorage() as Storage);
    const before = await everything(from);
    let migrated: Migrated | undefined;
    let kills = 0;
    for (let budget = 20; migrated === undefined; budget += 120) {
      const [source, target] =
        random() < 0.5 ? [killedAfter(from, random() * budget), to] : [from, killedAfter(to, random() * budget)];
      try {
        migrated = await migrate(source, target, { name: 'the source' });
      } catch (error) {
        assert.ok(error instanceof Killed, String(error));
        kills++;
      }
    }
    assert.ok(kills > 5, `killed ${kills} times`);
    assert.deepEqual(migrated.differences, []);
    assert.equal(migrated.continued, true);
    assert.deepEqual(await everything(to), before);
    await demandComplete(to);
    // Once it is complete, the target has data of its own.
    await assert.rejects(migrate(from, to, { name: 'the source' }), /already has data/);
    await to.close();
  });
}

test('a killed process is continued by another one, from SQLite to SQLite', { timeout: 300_000 }, async () => {
  const [from, to] = [join(folder, 'from.db'), join(folder, 'to.db')];
  const filled = await openSqlite({ file: from });
  await fill(filled, 9, 150);
  const before = await everything(filled);
  await filled.close();
  const script = fileURLToPath(new URL('migration-child.js', import.meta.url));
  let complete = false;
  for (let lines = 1; !complete; lines *= 4) {
    const child = spawn(process.execPath, [script, from, to], { stdio: ['ignore', 'pipe', 'inherit'] });
    let seen = 0;
    child.stdout.on('data', (data: Buffer) => {
      seen += data.toString().split('\n').length - 1;
      if (seen >= lines) child.kill('SIGKILL');
    });
    const [code] = (await once(child, 'exit')) as [number | null];
    assert.ok(code === 0 || code === null, `exit code ${code}`);
    complete = code === 0;
  }
  const target = await openSqlite({ file: to });
  assert.deepEqual(await everything(target), before);
  await target.close();
});

test('a source that was used since is not continued, but copied anew on request', async () => {
  const [from, to] = [new MemoryStorage(), new MemoryStorage()];
  await fill(from, 5, 50);
  await assert.rejects(migrate(from, killedAfter(to, 200), { name: 'the source' }), Killed);
  await assert.rejects(
    demandComplete(to),
    (error) => error instanceof StorageError && /incomplete/.test(error.message),
  );
  await demandComplete(from);
  await from.document('plain').delete(odd[3]!);
  await assert.rejects(migrate(from, to, { name: 'the source' }), /--restart/);
  const other = new MemoryStorage();
  await fill(other, 6, 5);
  await assert.rejects(migrate(other, to, { name: 'another' }), /--restart/);
  const { continued, differences } = await migrate(from, to, { name: 'the source', restart: true });
  assert.equal(continued, false);
  assert.deepEqual(differences, []);
  assert.deepEqual(await everything(to), await everything(from));
});

test('a target with data of its own is refused, unless it is in other stores', async () => {
  const [from, to] = [new MemoryStorage(), new MemoryStorage()];
  await fill(from, 5, 20);
  await to.map('Plain').set('romeo', [['a', 1]]);
  await assert.rejects(migrate(from, to, { name: 'the source' }), /already has data, in the store Plain/);
  await assert.rejects(migrate(from, to, { name: 'the source', restart: true }), MigrationError);
  await assert.rejects(migrate(from, to, { name: 'the source', only: ['none'] }), /has no store none/);
  const { stores } = await migrate(from, to, { name: 'the source', only: ['plain'] });
  assert.deepEqual([...new Set(stores.map(({ name }) => name))], ['plain']);
  assert.deepEqual(await to.map('Plain').all('romeo'), new Map([['a', 1]]));
  assert.equal((await to.document('plain').owners({ limit: 99 })).length, 20);
});

test('the storage of a running cluster is not copied', async () => {
  const from = new MemoryStorage();
  await from.document('cluster').set('view', { version: 3, members: [{ id: 'verona' }] });
  await assert.rejects(migrate(from, new MemoryStorage(), { name: 'the source' }), /in use by nodes.*verona/);
});

test('what changes in the target meanwhile is named', async () => {
  const [from, to] = [new MemoryStorage(), new MemoryStorage()];
  await from.map('m').set('romeo', [['a', 1]]);
  await from.log('l').append('romeo', { id: '1', value: 'x' });
  await from.document('d').set('romeo', 'as long');
  const meddled = around(to, async ({ name, operation }, run) => {
    const done = await run();
    if (operation === 'append') await to.log('l').append('romeo', { id: '2', value: 'x' });
    if (name === 'm' && operation === 'set') await to.map('m').set('romeo', [['a', 1000]]);
    if (name === 'd' && operation === 'set') await to.document('d').set('juliet', '');
    return done;
  });
  const { differences } = await migrate(from, meddled, { name: 'the source' });
  assert.deepEqual(differences, [
    'd of "juliet": 0 records, but 1 in the target',
    'l of "romeo": 1 records, but 2 in the target',
    'm of "romeo": 1 bytes, but 4 in the target',
  ]);
  await assert.rejects(demandComplete(to), StorageError);
});

test('records that cannot be read are named and left out', async () => {
  const file = join(folder, 'damaged.db');
  const filled = await openSqlite({ file });
  for (const owner of ['romeo', 'juliet']) {
    await filled.document('d').set(owner, owner);
    await filled.map('m').set(owner, [
      ['a', 1],
      ['b', 2],
    ]);
  }
  await filled.close();
  const db = new Sqlite(file);
  db.exec(`UPDATE "document.d" SET value = '{' WHERE owner = 'romeo'; UPDATE "map.m" SET value = '{' WHERE key = 'b'`);
  db.close();
  const from = await openSqlite({ file });
  const to = new MemoryStorage();
  const { damaged, differences } = await migrate(from, to, { name: 'the source' });
  assert.deepEqual(differences, []);
  assert.deepEqual(damaged.map(({ name, owner, key }) => `${name} ${owner} ${key}`).sort(), [
    'd romeo null',
    'm juliet b',
    'm romeo b',
  ]);
  assert.equal(await to.document('d').get('romeo'), undefined);
  assert.deepEqual(await to.map('m').all('juliet'), new Map([['a', 1]]));
  await from.close();
});
