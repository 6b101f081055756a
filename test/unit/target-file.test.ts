import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openTarget } from '../../src/server/admin/target-file.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-target-'));
const path = join(folder, 'accounts.xml');
after(() => rmSync(folder, { recursive: true }));

test('a file has its name once it is complete, and only its owner may read it', async () => {
  const file = await openTarget(path, { force: false });
  await file.write('<ä');
  assert.deepEqual(readdirSync(folder), [`accounts.xml.part-${process.pid}`]);
  await file.write('/>');
  assert.equal(await file.complete(), 5);
  assert.deepEqual(readdirSync(folder), ['accounts.xml']);
  assert.equal(readFileSync(path, 'utf8'), '<ä/>');
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await assert.rejects(openTarget(path, { force: false }), /exists/);
  const again = await openTarget(path, { force: true });
  await again.discard();
  assert.deepEqual(readdirSync(folder), ['accounts.xml']);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) assert.equal(process.listenerCount(signal), 0);
});

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`nothing is left after ${signal}`, async () => {
    const module = new URL('../../src/server/admin/target-file.js', import.meta.url).href;
    const other = join(folder, 'other.xml');
    const code = `import { openTarget } from ${JSON.stringify(module)};
      const file = await openTarget(${JSON.stringify(other)}, { force: false });
      await file.write('secret');
      process.stdout.write('written');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    assert.equal(readdirSync(folder).length, 2);
    child.kill(signal);
    assert.deepEqual(await once(child, 'exit'), [null, signal]);
    assert.deepEqual(readdirSync(folder), ['accounts.xml']);
  });
