/** What the configuration makes of a real node: a server's storage, what `waxwing check` finds, and migrations. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkCassandra } from '../../src/server/admin/check/cassandra.js';
import { loadConfig } from '../../src/server/config/load.js';
import { serverId } from '../../src/server/server-id.js';
import { openConfigured } from '../../src/storage/cassandra/settings.js';
import { type Storage, StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { migrate } from '../../src/storage/migrate.js';
import { openStorage } from '../../src/storage/open.js';
import { cql, newKeyspace, point } from './server.js';

const root = mkdtempSync(join(tmpdir(), 'waxwing-cassandra-'));
after(() => rmSync(root, { recursive: true }));

const configOf = (name: string, keyspace: string, more = '') =>
  loadConfig({
    text: `data = "${join(root, name)}"
      [storage]
      driver = "sqlite"
      sqlite.file = "${join(root, `${name}.sqlite`)}"
      stores = { archive = "cassandra" }
      [storage.cassandra]
      contact_points = ${JSON.stringify(point.split(','))}
      keyspace = "${keyspace}"
      request_timeout_seconds = 20
      ${more}`,
    modules: [],
  });
const replicated = 'replication = { datacenter1 = 1 }';
const opens = (config: ReturnType<typeof configOf>): Promise<Storage> =>
  openStorage(config, { observe: () => {}, warn: () => {}, serverId });
const whatIn = async (config: ReturnType<typeof configOf>) =>
  (await checkCassandra(config.storage.cassandra)).map(({ level, what }) => `${level}: ${what}`).join('\n');

test('a server has its archive in a keyspace of its own, everything else in its main storage', async () => {
  const keyspace = newKeyspace();
  const verona = configOf('verona', keyspace, replicated);
  assert.match(await whatIn(configOf('verona', keyspace)), /^error: .* does not exist/m);
  const storage = await opens(verona);
  await storage.document('vcards').set('romeo@localhost', 1);
  await storage.log('archive').append('romeo@localhost', { id: 'a', value: '<message/>' });
  const id = await serverId(storage);
  await storage.close();
  const [row] = await cql(`SELECT value FROM ${keyspace}.about WHERE key = 'server'`);
  assert.equal(row?.value, id);
  const again = await opens(verona);
  assert.equal((await again.log('archive').page('romeo@localhost', { limit: 1 })).entries.length, 1);
  assert.deepEqual(again.log('archive').supports, { words: false, counts: false });
  await again.close();
  await assert.rejects(
    opens(configOf('mantua', keyspace)),
    (error: unknown) => error instanceof StorageError && /belongs to another server/.test(error.message),
  );
  const found = await whatIn(verona);
  assert.match(found, /^ok: .*1 up, version \d/m);
  assert.match(found, /^warning: .*1 copy of each message/m);
  assert.match(await whatIn(configOf('verona', keyspace, 'consistency = "one"')), /^warning: .*consistency is "one"/m);
  await cql(`ALTER KEYSPACE ${keyspace} WITH durable_writes = false`);
  await cql(`ALTER TABLE ${keyspace}.bucket ADD note text`);
  const changed = await whatIn(verona);
  assert.match(changed, /^error: .*durable_writes is false/m);
  assert.match(changed, /^error: .*bucket\.note \(regular text\) is not ours/m);
  assert.match(await whatIn(configOf('verona', keyspace, 'local_datacenter = "nowhere"')), /^error: .*nowhere/);
});

test('an archive is migrated there and back, and a server refuses a part of one', async () => {
  const from = new MemoryStorage();
  for (const owner of ['romeo@localhost', 'hall@conference.localhost', ''])
    for (let n = 0; n < 40; n++)
      await from.log('archive').append(owner, {
        id: `id ${n % 2 === 0 ? n : n * 1_000_000}`,
        ...(n % 3 === 0 ? {} : { with: `peer ${n % 4}` }),
        ...(n % 5 === 0 ? { tag: 'call' } : {}),
        value: `<message n='${n}' owner='${owner}'/>`,
      });
  await from.document('vcards').set('romeo@localhost', 1);
  const { storage } = configOf('padua', newKeyspace(), replicated);
  const warn = (): void => {};
  const there = await openConfigured(storage.cassandra, { warn });
  const options = { name: 'memory', only: ['archive'] };
  // It ends in the middle, as after a crash.
  const cut = {
    ...from,
    stores: () => from.stores(),
    document: <T>(name: string) => from.document<T>(name),
    log: (name: string) => ({
      ...from.log(name),
      page: async (owner: string, query: Parameters<ReturnType<Storage['log']>['page']>[1]) => {
        if (owner === 'romeo@localhost' && query.after !== undefined) throw new Error('cut');
        return from.log(name).page(owner, query);
      },
    }),
  } as Storage;
  await assert.rejects(migrate(cut, there, options), /cut/);
  await there.close();
  await assert.rejects(opens({ ...configOf('padua', 'x'), storage }), /the storage is incomplete/);
  const again = await openConfigured(storage.cassandra, { warn });
  const { continued, differences, stores } = await migrate(from, again, options);
  assert.equal(continued, true);
  assert.deepEqual(differences, []);
  assert.deepEqual(
    stores.map(({ name, owners, records }) => [name, owners, records]),
    [['archive', 3, 120]],
  );
  const back = new MemoryStorage();
  assert.deepEqual((await migrate(again, back, { ...options, name: 'cassandra' })).differences, []);
  for (const owner of ['romeo@localhost', ''])
    assert.deepEqual(
      await back.log('archive').page(owner, { limit: 99 }),
      await from.log('archive').page(owner, { limit: 99 }),
    );
  await again.close();
  await (await opens({ ...configOf('padua', 'x'), storage })).close();
});
