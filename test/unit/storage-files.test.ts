/** The blob driver for a folder, beyond its contract: what a crash leaves, and what others put into its folder. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { StorageError } from '../../src/storage/contract.js';
import { openFiles } from '../../src/storage/files/index.js';

const root = mkdtempSync(join(tmpdir(), 'waxwing-files-'));
after(() => rmSync(root, { recursive: true }));

let opened = 0;
function place() {
  const folder = join(root, String(++opened));
  return { folder, blobs: openFiles(folder).blobs('test/files'), incoming: join(folder, 'test/files/.incoming') };
}

test('an unfinished file is removed if it has not grown for some time, a few at a time', async () => {
  const { blobs, incoming } = place();
  mkdirSync(incoming, { recursive: true });
  const before = Date.now() - 3_600_000;
  const old = new Date(before - 1000);
  for (const name of ['a.1', 'b.2', 'c.3', 'fresh.4']) writeFileSync(join(incoming, name), 'part');
  for (const name of ['a.1', 'b.2', 'c.3']) utimesSync(join(incoming, name), old, old);
  assert.deepEqual(await blobs.list({ limit: 9 }), []);
  assert.equal(await blobs.tidy(before, 2), 2);
  assert.equal(await blobs.tidy(before, 2), 1);
  assert.equal(await blobs.tidy(before, 2), 0);
  assert.deepEqual(readdirSync(incoming), ['fresh.4']);
});

test('a put leaves one file, readable by its owner alone', async () => {
  const { blobs, folder, incoming } = place();
  await blobs.put('a', Readable.from([Buffer.from('abc')], { objectMode: false }), 3);
  assert.deepEqual(readdirSync(incoming), []);
  const all = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name));
  const files = all.filter((path) => statSync(path).isFile());
  assert.equal(files.length, 1);
  assert.equal(statSync(files[0]!).mode & 0o777, 0o600);
  for (const path of all.filter((path) => statSync(path).isDirectory())) assert.equal(statSync(path).mode & 0o077, 0);
});

test('files of others in the folder are not listed', async () => {
  const { blobs, folder } = place();
  await blobs.put('a', Readable.from([Buffer.from('abc')], { objectMode: false }), 3);
  const store = join(folder, 'test/files');
  const [branch] = readdirSync(store).filter((name) => name !== '.incoming');
  writeFileSync(join(store, branch!, '.DS_Store'), '');
  mkdirSync(join(store, 'lost+found'));
  writeFileSync(join(store, 'README'), '');
  assert.deepEqual(
    (await blobs.list({ limit: 9 })).map(({ key }) => key),
    ['a'],
  );
});

test('a folder that cannot be used is a StorageError', async () => {
  const { folder } = place();
  writeFileSync(folder, 'a file');
  const blobs = openFiles(folder).blobs('test/files');
  await assert.rejects(blobs.put('a', Readable.from([]), 0), StorageError);
  assert.equal(await blobs.get('a'), undefined);
});
