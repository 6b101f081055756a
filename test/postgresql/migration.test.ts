/** `waxwing storage migrate` to PostgreSQL and back: whatever is stored arrives. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Storage } from '../../src/storage/contract.js';
import { migrate } from '../../src/storage/migrate.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import { around } from '../../src/storage/wrappers.js';
import { everything, fill } from '../stored-data.js';
import { dropAll, newSchema, openIn } from './server.js';

const folder = mkdtempSync(join(tmpdir(), 'postgresql-migration-'));
after(() => rmSync(folder, { recursive: true }));
after(dropAll);

/** Fails from an operation on, as if its connection were cut. */
function cutAfter(storage: Storage, operations: number): Storage {
  let left = operations;
  return around(storage, async (_, run) => {
    if (--left < 0) throw new Error('cut');
    return run();
  });
}

test('from SQLite to PostgreSQL, interrupted, and back', { timeout: 300_000 }, async () => {
  const sqlite = await openSqlite({ file: join(folder, 'from.db') });
  await fill(sqlite, 7, 100);
  const before = await everything(sqlite);
  const postgresql = await openIn(newSchema());
  for (const operations of [0, 30, 100])
    await assert.rejects(migrate(sqlite, cutAfter(postgresql, operations), { name: 'sqlite' }), /cut/);
  const there = await migrate(sqlite, postgresql, { name: 'sqlite' });
  assert.equal(there.continued, true);
  assert.deepEqual(there.differences, []);
  assert.deepEqual(await everything(postgresql), before);
  await sqlite.close();

  const again = await openSqlite({ file: join(folder, 'to.db') });
  assert.deepEqual((await migrate(postgresql, again, { name: 'postgresql' })).differences, []);
  assert.deepEqual(await everything(again), before);
  await postgresql.close();
  await again.close();
});
