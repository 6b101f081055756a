/** Stores are named within their module, and data of existing databases is found under its name. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { coreStores } from '../../src/server/core-stores.js';
import { createServer } from '../../src/server/index.js';
import { storedName } from '../../src/server/loader.js';
import { defineModule, document, iq, type ModuleDefinition, map } from '../../src/server/module/index.js';
import { el } from '../../src/server/xml/element.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import { startHost } from './module-host.js';

/** Databases have these. Changing or removing a name makes its data unreachable. */
const storedBefore = [
  'acquaintances',
  'archive',
  'archive_preferences',
  'blocked',
  'client_caps',
  'directory',
  'greeted',
  'greetings',
  'held',
  'inbox',
  'last_activity',
  'muc_left',
  'muc_members',
  'muc_rooms',
  'muc_vcards',
  'offline',
  'offline_archived',
  'pam',
  'pam_version',
  'policies',
  'private',
  'pubsub_items',
  'pubsub_nodes',
  'pubsub_publishers',
  'pubsub_subscriptions',
  'pubsub_usage',
  'registered',
  'reports',
  'roster',
  'rtbl',
  'server_runs',
  'vcards',
];

test('stores of existing databases keep their names', () => {
  const names = standardModules.flatMap(({ name, stores = {} }) =>
    Object.entries(stores).map(([store, declaration]) => storedName(name, store, declaration)),
  );
  assert.deepEqual(names.filter((name) => !name.includes('/')).sort(), storedBefore);
});

test("modules cannot use the names of the server's stores", async () => {
  const storage = new MemoryStorage();
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const opened = new Set<string>();
  for (const shape of ['document', 'map', 'log'] as const) {
    const open = storage[shape].bind(storage) as (name: string, ...rest: never[]) => never;
    storage[shape] = ((name: string, ...rest: never[]) => {
      opened.add(name);
      return open(name, ...rest);
    }) as never;
  }
  const server = await createServer({
    text: '',
    overrides: { data: folder, listen: { c2s: [], c2s_tls: [], https: [], http: [] }, log: { level: 'error' } },
    standard: [],
    storage,
  });
  await server.stop();
  assert.deepEqual([...opened].sort(), [...coreStores].sort());
});

/** Stores one number for each account, and increments it. */
const counter = (name: string): ModuleDefinition =>
  defineModule({
    name,
    summary: 'Counts.',
    implements: {},
    stores: { items: document<number>() },
    start: ({ stores: { items } }) => [
      iq.set('account', `urn:${name}`, 'count', async ({ to }) => {
        const count = ((await items.get(to.bare)) ?? 0) + 1;
        await items.set(to.bare, count);
        return el('count', { xmlns: `urn:${name}` }, String(count));
      }),
    ],
  });

test('two modules may have stores of the same name', async () => {
  const storage = new MemoryStorage();
  const { connect, account, stop } = await startHost([counter('one'), counter('two')], { storage });
  after(stop);
  await account('alice');
  const alice = connect('alice@example.org/a');
  const count = (name: string) => alice.asks(`<iq type="set" id="1"><count xmlns="urn:${name}"/></iq>`);
  assert.match(await count('one'), />1</);
  assert.match(await count('one'), />2</);
  assert.match(await count('two'), />1</);
  assert.equal(await storage.document('one/items').get('alice@example.org'), 2);
  assert.equal(await storage.document('two/items').get('alice@example.org'), 1);
});

test('an older database can be read: stores with plain names', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'waxwing.sqlite');
  const before = await openSqlite({ file });
  await before.document('notes').set('alice@example.org', 7);
  await before.map('Notes').set('alice@example.org', new Map([['key', 'value']]));
  await before.close();

  const notes = defineModule({
    name: 'notes',
    summary: 'Keeps notes.',
    implements: {},
    stores: { notes: document<number>({ storedAs: 'notes' }), more: map<string>({ storedAs: 'Notes' }), own: map() },
    start: ({ stores }) => [
      iq.get('account', 'urn:notes', 'notes', async ({ to }) => {
        await stores.own.set(to.bare, new Map([['new', true]]));
        const more = await stores.more.get(to.bare, 'key');
        return el('notes', { xmlns: 'urn:notes' }, `${await stores.notes.get(to.bare)} ${more}`);
      }),
    ],
  });
  const storage = await openSqlite({ file });
  const { connect, account, stop } = await startHost([notes], { storage: storage as never });
  await account('alice');
  const alice = connect('alice@example.org/a');
  assert.match(await alice.asks('<iq type="get" id="1"><notes xmlns="urn:notes"/></iq>'), />7 value</);
  await stop();
  const names = (await storage.stores()).map(({ shape, name }) => `${shape} ${name}`);
  assert.ok(names.includes('map notes/own'), names.join());
  await storage.close();
});

for (const [title, modules, message] of [
  [
    'a store of the server',
    [{ stores: { mine: { shape: 'map', storedAs: 'accounts' } } }],
    /store accounts, which the server already has/,
  ],
  [
    'a store of another module',
    [{ stores: { mine: { shape: 'map' } } }, { name: 'two', stores: { x: { shape: 'map', storedAs: 'one/mine' } } }],
    /module two declares a store one\/mine, which module one already has/,
  ],
  ['a store with an invalid name', [{ stores: { 'a/b': { shape: 'map' } } }], /invalid store name "a\/b"/],
  ['a module with an invalid name', [{ name: 'one/two' }], /invalid module name "one\/two"/],
  ['a module without a name', [{ name: '' }], /invalid module name ""/],
] as const)
  test(`the start is refused: ${title}`, async () => {
    const definitions = modules.map((one) => ({
      name: 'one',
      summary: 'Is one.',
      implements: {},
      start: () => [],
      ...one,
    }));
    await assert.rejects(startHost(definitions as unknown as ModuleDefinition[]), message);
  });
