/** Nodes of a cluster prove that they have one folder of uploaded files. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { demandSharedFolder, markerName } from '../../src/server/shared-folder.js';
import { StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';

const top = mkdtempSync(join(tmpdir(), 'waxwing-'));
after(() => rmSync(top, { recursive: true, force: true }));

const locked = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof StorageError, String(error));
  assert.equal(error.failure, 'locked');
  assert.match(error.message, pattern);
  return true;
};

test('nodes with one folder start, one after the other or at once, and again', async () => {
  const storage = new MemoryStorage();
  const folder = join(top, 'one', 'files');
  await Promise.all([1, 2, 3].map(() => demandSharedFolder(folder, storage)));
  await demandSharedFolder(folder, storage);
  assert.deepEqual(readdirSync(folder), [markerName]);
});

test('a node with another folder is refused, and told what to do', async () => {
  const storage = new MemoryStorage();
  const [folder, other] = [join(top, 'first'), join(top, 'other')];
  await demandSharedFolder(folder, storage);
  const id = readFileSync(join(folder, markerName), 'utf8').trim();
  await assert.rejects(demandSharedFolder(other, storage), locked(/no file \.waxwing-folder[\s\S]*Mount one/));
  // A disk that is not mounted.
  mkdirSync(other);
  await assert.rejects(demandSharedFolder(other, storage), locked(/no file/));
  assert.deepEqual(readdirSync(other), []);
  await demandSharedFolder(other, new MemoryStorage());
  await assert.rejects(demandSharedFolder(other, storage), locked(/another id[\s\S]*write [0-9a-f]{32} into/));
  writeFileSync(join(other, markerName), id);
  await demandSharedFolder(other, storage);
  await demandSharedFolder(folder, storage);
});

test('of two first nodes with folders of their own, one starts', async () => {
  const storage = new MemoryStorage();
  const folders = [join(top, 'left'), join(top, 'right')];
  const outcomes = await Promise.allSettled(folders.map((folder) => demandSharedFolder(folder, storage)));
  assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
});

test('a crash between the file and the note', async () => {
  const folder = join(top, 'crashed');
  mkdirSync(folder);
  writeFileSync(join(folder, markerName), 'left by it\n');
  const storage = new MemoryStorage();
  await demandSharedFolder(folder, storage);
  await demandSharedFolder(folder, storage);
  assert.equal(readFileSync(join(folder, markerName), 'utf8'), 'left by it\n');
});
