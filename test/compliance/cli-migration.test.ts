import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { dataOf, errorOf, home, logIn, portOf, start, waxwing } from './program.js';

test('all data of a stopped server moves to another storage', { timeout: 300_000 }, async () => {
  const at = home();
  const [old, next] = [join(at.data, 'waxwing.sqlite'), join(at.data, 'next.sqlite')];
  const migrate = ['storage', 'migrate', '--from', 'sqlite', '--to', `sqlite:${next}`];
  assert.deepEqual(await errorOf(at, migrate), ['failed', 1], 'there is nothing yet');

  const first = await start(at);
  await dataOf(at, ['user', 'add', 'juliet@localhost', '--password-stdin'], 'nightingale\n');
  assert.deepEqual(await errorOf(at, migrate), ['conflict', 1], 'the server is running');
  first.child.kill('SIGTERM');
  await first.ended;
  assert.deepEqual(await errorOf(at, [...migrate.slice(0, 4), '--to', `sqlite:${old}`]), ['usage', 2]);
  assert.deepEqual(await errorOf(at, [...migrate.slice(0, 4), '--to', 'memory']), ['usage', 2]);
  assert.deepEqual(await errorOf(at, [...migrate.slice(0, 4), '--to', 'papyrus']), ['usage', 2]);

  const { out, code } = await waxwing(at, migrate);
  assert.equal(code, 0, out);
  assert.match(out, /^accounts +(document|map) +2 /m);
  assert.match(out, /counts and sizes were compared\.\nUploaded files stay in /);
  assert.deepEqual(await errorOf(at, migrate), ['failed', 1], 'the target has data');

  const text = readFileSync(at.file, 'utf8');
  writeFileSync(at.file, `${text}\n[storage.sqlite]\nfile = "next.sqlite"\n`);
  const second = await start(at);
  await logIn(portOf(second.ready), 'juliet@localhost', 'nightingale');
  second.child.kill('SIGTERM');
  await second.ended;
});

test('a whole configuration can be the target, and a part of a migration is not served', {
  timeout: 300_000,
}, async () => {
  const [at, to] = [home(), home('[storage]\nstores.vcards = "sqlite"\n')];
  await dataOf(at, ['user', 'add', 'juliet@localhost', '--password-stdin'], 'nightingale\n');
  const migrate = ['storage', 'migrate', '--from', 'sqlite', '--to', to.file];
  const { stores, files } = await dataOf(at, migrate);
  assert.ok((stores as { name: string }[]).some(({ name }) => name === 'accounts'));
  assert.deepEqual(files, { from: join(at.data, 'files'), to: join(to.data, 'files') });
  const listed = await waxwing(to, ['user', 'list']);
  assert.match(listed.out, /juliet/, listed.err);

  // As a migration that was interrupted leaves it.
  const { openSqlite } = await import('../../src/storage/sqlite/index.js');
  const target = await openSqlite({ file: join(to.data, 'waxwing.sqlite') });
  await target.document('storage_migration').set('target', { id: '1', from: 'elsewhere' });
  await target.close();
  for (const args of [['start'], ['user', 'list']]) {
    const { code, err } = await waxwing(to, args);
    assert.equal(code, 1);
    assert.match(err, /a migration from elsewhere into it has not ended; continue it with "waxwing storage migrate"/);
  }
});
