/** Deletion of expired files, and of what crashes left, in steps. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import pino from 'pino';
import { expiry, orphans } from '../../src/modules/xep-0363-upload/retention.js';
import {
  deleteFiles,
  expiryOf,
  type FileRecord,
  type FileStores,
  findFile,
} from '../../src/modules/xep-0363-upload/stored.js';
import type { Jid } from '../../src/server/address/jid.js';
import { checked } from '../../src/storage/checked.js';
import { openFiles } from '../../src/storage/files/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';

const root = mkdtempSync(join(tmpdir(), 'waxwing-retention-'));
after(() => rmSync(root, { recursive: true }));

const log = pino({ level: 'silent' });
const day = 86_400_000;
const retention = 10 * day;

let opened = 0;
function place(): FileStores {
  const storage = new MemoryStorage();
  return {
    files: storage.map('upload/files'),
    owners: storage.document('upload/owners'),
    days: storage.document('upload/days'),
    hosts: storage.document('upload/hosts'),
    contents: openFiles(join(root, String(++opened))).blobs('upload/contents'),
  };
}

const content = () => Readable.from([Buffer.from('abc')], { objectMode: false });
const file = (at: number, more: Partial<FileRecord> = {}): FileRecord => ({
  name: 'a',
  size: 3,
  at,
  purpose: 'message',
  ...more,
});

async function add(stores: FileStores, owner: string, id: string, record: FileRecord): Promise<void> {
  await stores.contents.put(id, content(), 3);
  await stores.owners.set(id, { owner });
  await stores.files.set(owner, [[id, record]]);
}

const keysOf = async ({ contents }: FileStores) => (await contents.list({ limit: 1000 })).map(({ key }) => key).sort();

test('when files expire', () => {
  assert.equal(expiryOf(file(5), 10), 15);
  assert.equal(expiryOf(file(5), Number.POSITIVE_INFINITY), Number.POSITIVE_INFINITY);
  assert.equal(expiryOf(file(5, { purpose: 'ephemeral', expires: 8 }), 10), 8);
  assert.equal(expiryOf(file(5, { purpose: 'ephemeral', expires: 99 }), 10), 15);
  for (const purpose of ['profile', 'permanent'] as const)
    assert.equal(expiryOf(file(5, { purpose }), 10), Number.POSITIVE_INFINITY);
});

test('expired files of all accounts of the host are deleted, a hundred accounts a step', async () => {
  const stores = place();
  const now = 1e12;
  const asked: string[] = [];
  const step = expiry({
    stores,
    domain: 'example.org',
    retention,
    deleteExpired: async (owner: Jid) => {
      asked.push(owner.bare);
      return deleteFiles(stores, owner.bare, [...(await stores.files.all(owner.bare)).keys()]);
    },
    log,
  });
  for (let n = 0; n < 150; n++) {
    const owner = `u${String(n).padStart(3, '0')}@example.org`;
    await stores.files.set(owner, [[`f${n}`, file(now - (n % 2 === 0 ? 11 : 9) * day)]]);
  }
  await stores.files.set('u@other.example', [['other', file(0)]]);
  await step(now);
  assert.equal(asked.length, 50);
  await step(now);
  assert.equal(asked.length, 75);
  // A round is over: the next begins an hour later.
  await step(now + 60_000);
  await step(now + 2 * day);
  assert.equal(asked.length, 150);
  assert.ok(asked.every((owner) => owner.endsWith('@example.org')));
  assert.equal((await stores.files.owners({ limit: 1000 })).length, 1);
  asked.length = 0;
  await step(now + 2 * day + 1000);
  assert.deepEqual(asked, []);
});

test('what each crash leaves is deleted after a day, and files stay', async () => {
  const stores = place();
  await add(stores, 'a@example.org', 'file', file(Date.now()));
  await stores.contents.put('alone', content(), 3);
  await stores.contents.put('owned', content(), 3);
  await stores.owners.set('owned', { owner: 'a@example.org' });
  const step = orphans(stores, 0, log);
  await step(Date.now());
  await step(Date.now());
  assert.deepEqual(await keysOf(stores), ['alone', 'file', 'owned']);
  const later = Date.now() + 2 * day;
  await step(later);
  await step(later);
  assert.deepEqual(await keysOf(stores), ['file']);
  assert.equal(await stores.owners.get('owned'), undefined);
  assert.deepEqual(await stores.owners.get('file'), { owner: 'a@example.org' });
});

test('the content of a damaged record stays', async () => {
  const raw = new MemoryStorage();
  const files = checked(raw, () => {}).map<FileRecord>('upload/files', { check: () => false, damaged: 'refuse' });
  const stores: FileStores = { ...place(), files, owners: raw.document('upload/owners') };
  await stores.contents.put('damaged', content(), 3);
  await stores.owners.set('damaged', { owner: 'a@example.org' });
  await raw.map('upload/files').set('a@example.org', [['damaged', { purpose: 'of a later version' }]]);
  const step = orphans(stores, 0, log);
  for (let n = 1; n < 4; n++) await step(Date.now() + n * 3 * day);
  assert.deepEqual(await keysOf(stores), ['damaged']);
  assert.equal(await findFile(stores, 'damaged', retention, Date.now()), undefined);
});

test('contents that are older than the database stay', async () => {
  const stores = place();
  await stores.contents.put('older', content(), 3);
  const step = orphans(stores, Date.now() + 1000, log);
  for (let n = 0; n < 3; n++) await step(Date.now() + n * 3 * day);
  assert.deepEqual(await keysOf(stores), ['older']);
});
