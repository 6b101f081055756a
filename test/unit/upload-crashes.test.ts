/**
 * XEP-0363: a process that ends between any two writes of an upload or a deletion. Whatever it leaves, a file that was
 * acknowledged is whole, nothing else is found, and a sweep removes the rest.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, test } from 'node:test';
import pino from 'pino';
import { AccountFiles } from '../../src/modules/xep-0363-upload/account.js';
import { orphans } from '../../src/modules/xep-0363-upload/retention.js';
import { settings } from '../../src/modules/xep-0363-upload/settings.js';
import { newId, type Slot } from '../../src/modules/xep-0363-upload/slots.js';
import { type FileStores, findFile } from '../../src/modules/xep-0363-upload/stored.js';
import { Jid } from '../../src/server/address/jid.js';
import { openFiles } from '../../src/storage/files/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { startHost } from './module-host.js';

const root = mkdtempSync(join(tmpdir(), 'waxwing-crashes-'));
after(() => rmSync(root, { recursive: true }));

const owner = Jid.parse('romeo@example.org');
const writes = new Set(['put', 'set', 'delete', 'compareAndSet']);

/** Stores that do `left` more writes, and nothing at all afterwards. */
function ending(stores: FileStores, left: number): FileStores {
  const wrap = <S extends object>(store: S): S =>
    new Proxy(store, {
      get: (target, name) => {
        const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
        return (...args: unknown[]) => {
          if (left <= 0) return Promise.reject(new Error('the process has ended'));
          if (writes.has(String(name))) left--;
          return method.apply(target, args);
        };
      },
    });
  const { files, owners, days, hosts, contents } = stores;
  return {
    files: wrap(files),
    owners: wrap(owners),
    days: wrap(days),
    hosts: wrap(hosts),
    contents: wrap(contents),
  };
}

const content = () => Readable.from([Buffer.from('abc')], { objectMode: false });

test('after each number of writes', async () => {
  const { host, account, stop } = await startHost([]);
  await account('romeo');
  const config = settings.parse({});
  const retention = config.retention_seconds * 1000;
  for (let uploaded = 0; uploaded < 6; uploaded++) {
    for (let deleted = 0; deleted < 5; deleted++) {
      const what = `${uploaded} writes of the upload, ${deleted} of the deletion`;
      const storage = new MemoryStorage();
      const stores: FileStores = {
        files: storage.map('upload/files'),
        owners: storage.document('upload/owners'),
        days: storage.document('upload/days'),
        hosts: storage.document('upload/hosts'),
        contents: openFiles(join(root, `${uploaded}-${deleted}`)).blobs('upload/contents'),
      };
      const id = newId();
      const until = Date.now() + 300_000;
      const slot: Slot = { id, owner: owner.bare, name: 'a', size: 3, purpose: 'message', until };
      const found = () => findFile(stores, id, retention, Date.now());

      const before = ending(stores, uploaded);
      const upload = async () => {
        await before.contents.put(id, content(), 3);
        return new AccountFiles(host, config, before).store(owner, slot, false);
      };
      const isStored = await upload().then(
        (refused) => refused === null,
        () => false,
      );
      assert.equal(isStored, uploaded >= 4, what);
      if (isStored) assert.deepEqual((await found())?.owner, owner.bare, what);

      const isDeleted = await new AccountFiles(host, config, ending(stores, deleted)).delete(owner.bare, [id]).then(
        () => true,
        () => false,
      );
      if (isDeleted) assert.equal(await found(), undefined, what);

      const sweep = orphans(stores, 0, pino({ level: 'silent' }));
      const later = Date.now() + 2 * 86_400_000;
      for (let step = 0; step < 3; step++) await sweep(later);
      const file = await found();
      const left = (await stores.contents.list({ limit: 9 })).map(({ key }) => key);
      assert.deepEqual(left, file === undefined ? [] : [id], what);
      assert.deepEqual(await stores.owners.owners({ limit: 9 }), left, what);
      assert.deepEqual([...(await stores.files.all(owner.bare)).keys()], left, what);
    }
  }
  await stop();
});
