/** Whom the driver refuses, and what it stores: keys of others, logins, damaged keys, servers that are away. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Redis } from 'ioredis';
import { StorageError, unreadable } from '../../src/storage/contract.js';
import { openRedis, type RedisOptions, type RedisStorage } from '../../src/storage/redis/index.js';
import { freePort } from '../interop/ports.js';
import { clientAt, clientOptions, Engine, emptyStorage, newPrefix } from './server.js';

const opened: { close(): Promise<unknown> }[] = [];
const engines: Engine[] = [];
const { host, port } = clientOptions().addresses[0]!;
const raw = new Redis({ host, port });
after(async () => {
  for (const one of opened) await one.close();
  raw.disconnect();
  for (const engine of engines) await engine.remove();
});

const opens = async (more: Partial<RedisOptions> = {}): Promise<RedisStorage> => {
  const storage = await emptyStorage(more);
  opened.push(storage);
  return storage;
};

const refuses = (more: Partial<RedisOptions>, failure: string, text: RegExp): Promise<void> =>
  assert.rejects(emptyStorage(more), (error: unknown) => {
    assert.ok(error instanceof StorageError);
    assert.match(error.message, text);
    assert.equal(error.failure, failure);
    return true;
  });

test('keys of another server, of another version and of another program are refused, with the difference', async () => {
  const prefix = newPrefix();
  await opens({ prefix, server: 'one' });
  await opens({ prefix, server: 'one' });
  await refuses({ prefix, server: 'other' }, 'locked', /belong to the server one, and this one is other.*prefix/);
  await raw.set(`${prefix}:keyspace`, '{"server":"one","format":2}');
  await refuses({ prefix, server: 'one' }, 'locked', /the form 2 of another version, and this one writes 1/);
  await raw.set(`${prefix}:keyspace`, 'mine');
  await refuses({ prefix, server: 'one' }, 'locked', /is not of Waxwing/);
});

test('one of many servers that start at once gets the keys', async () => {
  const prefix = newPrefix();
  const all = await Promise.allSettled([1, 2, 3, 4, 5].map((n) => opens({ prefix, server: `server ${n}` })));
  assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('the keys are those that are documented', async () => {
  const prefix = newPrefix();
  const storage = await opens({ prefix, server: 'me', expires: (name) => (name === 'short' ? 100 : undefined) });
  await storage.document('last_activity').set('romeo@example.org', { b: 1, a: 2 });
  await storage.map('a/b:c').set('romeo@example.org', [['orchard', { x: 1 }]]);
  await storage.map('short').set('romeo@example.org', [['orchard', 1]]);
  await storage.document('short').set('romeo@example.org', 1);
  assert.equal(await raw.get(`${prefix}:document:last_activity:{romeo@example.org}`), '{"a":2,"b":1}');
  assert.deepEqual(await raw.hgetall(`${prefix}:map:a/b%3Ac:{romeo@example.org}`), { orchard: '{"x":1}' });
  assert.equal(await raw.ttl(`${prefix}:document:last_activity:{romeo@example.org}`), -1);
  for (const shape of ['map', 'document']) {
    const left = await raw.ttl(`${prefix}:${shape}:short:{romeo@example.org}`);
    assert.ok(left > 0 && left <= 100, String(left));
  }
  const names = (await storage.stores()).map(({ shape, name }) => `${shape} ${name}`);
  assert.deepEqual(names.sort(), ['document last_activity', 'document short', 'map a/b:c', 'map short']);
});

test('what another program has put there is read as damaged, and is replaced', async () => {
  const prefix = newPrefix();
  const storage = await opens({ prefix });
  const [document, map] = [storage.document('d'), storage.map('m')];
  await raw.set(`${prefix}:document:d:{text}`, '{');
  await raw.rpush(`${prefix}:document:d:{list}`, 'a');
  await raw.set(`${prefix}:map:m:{text}`, 'a');
  await raw.hset(`${prefix}:map:m:{hash}`, { bad: '{', __proto__x: '1' });
  assert.equal(await document.get('text'), unreadable);
  assert.equal(await document.get('list'), unreadable);
  await document.set('list', 1);
  assert.equal(await document.get('list'), 1);
  await assert.rejects(map.all('text'), (error) => error instanceof StorageError && error.failure === 'corrupt');
  await map.set('text', [['a', 1]]);
  assert.deepEqual(await map.all('text'), new Map([['a', 1]]));
  assert.equal((await map.all('hash')).get('bad'), unreadable);
  await raw.set(`${prefix}:document:d:{order}`, '{ "b": 1, "a": [2] }');
  assert.equal(await document.compareAndSet('order', { a: [2], b: 1 }, 3), true);
  assert.equal(await document.get('order'), 3);
});

test('operations after close are refused; those before it are carried out', async () => {
  const storage = await emptyStorage();
  const written = storage.document('d').set('romeo', 1);
  const flushed = storage.flush();
  const closed = storage.close();
  for (const late of [
    storage.document('d').get('romeo'),
    storage.map('m').all('romeo'),
    storage.stores(),
    storage.flush(),
  ])
    await assert.rejects(late, (error) => error instanceof StorageError && error.failure === 'unavailable');
  await Promise.all([written, flushed, closed, storage.close()]);
});

test('users have to log in, and may only do what they are allowed', async () => {
  const users = [
    'default off',
    'waxwing on >secret ~waxwing:* +@read +@write +@connection +@scripting +info',
    'blind on >secret ~other:* +@all',
  ];
  const engine = await Engine.start(users.flatMap((user) => ['--user', ...user.split(' ')]));
  engines.push(engine);
  const as = (user?: string, password?: string): Partial<RedisOptions> => ({
    client: clientAt(engine.port, { login: { user, password } }),
    prefix: 'waxwing',
  });
  await refuses(as(), 'unavailable', /NOAUTH.*password_file/);
  await refuses(as('waxwing', 'wrong'), 'unavailable', /WRONGPASS.*password_file/);
  await refuses(as('blind', 'secret'), 'unavailable', /NOPERM.*docs\/storage\.md/);
  const storage = await opens(as('waxwing', 'secret'));
  await storage.map('m').set('romeo', [['a', 1]]);
  assert.equal(await storage.document('d').compareAndSet('romeo', undefined, 1), true);
  assert.deepEqual(await storage.map('m').owners({ limit: 5 }), ['romeo']);
});

test('a server that is away is no reason not to open; it is used as soon as it is there', async () => {
  const port = await freePort();
  const storage = await openRedis({ client: clientAt(port), server: 'me' });
  opened.push(storage);
  assert.match(String(storage.away?.message), /ECONNREFUSED/);
  const map = storage.map('m');
  await assert.rejects(map.set('romeo', [['a', 1]]), /ECONNREFUSED/);
  engines.push(await Engine.start([], port));
  await works(storage);
  await map.set('romeo', [['a', 1]]);
  assert.deepEqual(await map.all('romeo'), new Map([['a', 1]]));
});

test('a server that is full, or that answers nothing, fails operations and nothing else', async () => {
  const engine = await Engine.start(['--maxmemory', '2mb']);
  engines.push(engine);
  let lost = 0;
  const storage = await openRedis({
    client: clientAt(engine.port, { answerTimeout: 300 }),
    server: 'me',
    lost: () => lost++,
  });
  opened.push(storage);
  const map = storage.map('m');
  const big = 'x'.repeat(2 ** 20);
  let failure: unknown;
  for (let n = 0; n < 10 && failure === undefined; n++)
    failure = await map.set(`owner ${n}`, [['a', big]]).then(
      () => undefined,
      (error: StorageError) => error.failure,
    );
  assert.equal(failure, 'full');
  assert.equal(storage.away, undefined);
  engine.signal('SIGSTOP');
  await assert.rejects(map.count('romeo'), (error) => error instanceof StorageError && error.failure === 'unavailable');
  assert.equal(lost, 1);
  engine.signal('SIGCONT');
  await works(storage);
});

/** Waits until it can be used: each attempt is one connection, or one turn of the event loop. */
async function works(storage: RedisStorage): Promise<void> {
  for (;;) {
    try {
      return await storage.ping();
    } catch (error) {
      assert.ok(error instanceof StorageError);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
