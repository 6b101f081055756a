/** Archives on a real node: buckets, silence, expiry, clocks, fences, and what is refused when it is opened. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { idAt } from '../../src/server/stanza/ids.js';
import { bucketOf } from '../../src/storage/cassandra/buckets.js';
import type { CassandraOptions } from '../../src/storage/cassandra/index.js';
import { fenced, type LogEntry, type LogStore, type Storage, StorageError } from '../../src/storage/contract.js';
import { cql, newKeyspace, openIn } from './server.js';

const shared = newKeyspace();
const opened: Storage[] = [];
after(() => Promise.all(opened.map((storage) => storage.close())));

let count = 0;
const newName = (): string => `log-${count++}`;

async function opens(options: Partial<CassandraOptions> = {}, keyspace = shared): Promise<Storage> {
  const storage = await openIn(keyspace, options);
  opened.push(storage);
  return storage;
}

const isRefused =
  (failure: string, text = /./) =>
  (error: unknown): boolean =>
    error instanceof StorageError && error.failure === failure && text.test(error.message);

const day = 86_400_000;
const at = (ms: number, peer = 'juliet@capulet.example'): LogEntry => ({
  id: idAt(ms),
  with: peer,
  value: `<m${ms}/>`,
});
const idsIn = (entries: readonly LogEntry[]): string[] => entries.map(({ id }) => id);

/** All ids, page by page. */
async function walked(log: LogStore, owner: string, backwards: boolean, peer?: string): Promise<string[]> {
  let found: string[] = [];
  for (let bound: string | undefined; ; ) {
    const range = backwards ? { before: bound } : { after: bound };
    const page = await log.page(owner, { limit: 7, backwards, with: peer, ...range });
    const ids = idsIn(page.entries);
    found = backwards ? [...ids, ...found] : [...found, ...ids];
    if (page.complete) return found;
    bound = ids.at(backwards ? 0 : -1);
  }
}

test('pages go over years of silence, in both directions, and with one peer', async () => {
  const storage = await opens();
  const log = storage.log(newName());
  const years = [2009, 2010, 2013, 2014, 2021, 2026].map((year) => Date.UTC(year, 6, 1));
  const entries = years.flatMap((year, n) =>
    Array.from({ length: 20 }, (_, m) => at(year + m * (n % 2 === 0 ? 1000 : day), m % 5 === 0 ? 'nurse' : 'juliet')),
  );
  await Promise.all(entries.map((entry) => log.append('romeo', entry)));
  const nurses = idsIn(entries.filter((entry) => entry.with === 'nurse'));
  for (const backwards of [false, true]) {
    assert.deepEqual(await walked(log, 'romeo', backwards), idsIn(entries));
    assert.deepEqual(await walked(log, 'romeo', backwards, 'nurse'), nurses);
    assert.deepEqual(await walked(log, 'romeo', backwards, 'nobody'), []);
  }
  const silence = { from: idAt(Date.UTC(2015, 0)), to: idAt(Date.UTC(2020, 0)), limit: 5 };
  assert.deepEqual(await log.page('romeo', silence), { entries: [], complete: true });
  const around = await log.page('romeo', { ...silence, to: undefined, with: 'nurse' });
  assert.deepEqual(idsIn(around.entries), nurses.slice(16, 21));
  // The oldest go bucket by bucket; what is left of the peer is found from there on.
  assert.equal(await log.trim('romeo', { before: idAt(Date.UTC(2021, 0)) }), 80);
  for (const backwards of [false, true]) {
    assert.deepEqual(await walked(log, 'romeo', backwards), idsIn(entries.slice(80)));
    assert.deepEqual(await walked(log, 'romeo', backwards, 'nurse'), nurses.slice(16));
  }
});

test('what a process has written is there for the next one', async () => {
  const name = newName();
  const keyspace = newKeyspace();
  const first = await openIn(keyspace, { server: 'verona' });
  await first.log(name).append('romeo', at(Date.UTC(2026, 0)));
  await first.close();
  await assert.rejects(first.log(name).append('romeo', at(1)), isRefused('unavailable'));
  const next = await opens({ server: 'verona' }, keyspace);
  assert.deepEqual(await next.stores(), [{ shape: 'log', name }]);
  assert.deepEqual(await next.log(name).owners({ limit: 5 }), ['romeo']);
  assert.equal((await next.log(name).page('romeo', { limit: 5 })).entries.length, 1);
});

test('entries expire; what replaces one expires with it', async () => {
  const log = (await opens({ expiry: 40 * 86_400 })).log(newName());
  const entry = at(Date.UTC(2026, 1));
  await log.append('romeo', entry);
  const ttl = async (): Promise<number> => {
    const rows = await cql(`SELECT id, TTL(value) AS ttl FROM ${shared}.entry`);
    return rows.find(({ id }) => id === entry.id)!.ttl as number;
  };
  const before = await ttl();
  assert.ok(before > 39 * 86_400 && before <= 40 * 86_400);
  // As if most of its time had passed.
  const [{ store, owner, bucket } = {}] = (await cql(`SELECT store, owner, bucket, id FROM ${shared}.entry`)).filter(
    ({ id }) => id === entry.id,
  );
  await cql(`INSERT INTO ${shared}.entry (store, owner, bucket, id, value) VALUES (?, ?, ?, ?, ?) USING TTL 90000`, [
    store,
    owner,
    bucket,
    entry.id,
    entry.value,
  ]);
  await log.append('romeo', { ...entry, value: '<retracted/>' });
  const replaced = await ttl();
  assert.ok(replaced > 80_000 && replaced <= 90_000, `${replaced} seconds`);
  const [table] = await cql(
    `SELECT compaction FROM system_schema.tables WHERE keyspace_name = '${shared}' AND table_name = 'entry'`,
  );
  assert.match((table!.compaction as Record<string, string>).class!, /TimeWindowCompactionStrategy$/);
});

test('a clock that was ahead hides nothing', async () => {
  const log = (await opens()).log(newName());
  const ahead = (Date.now() + 7_200_000) * 1000;
  // Deleted by a process whose clock was two hours ahead, everything of the owner.
  const entry = at(Date.UTC(2026, 2));
  await log.append('romeo', entry);
  const name = `log-${count - 1}`;
  const [{ bucket } = {}] = (await cql(`SELECT store, owner, bucket, id FROM ${shared}.entry`)).filter(
    (row) => row.store === name,
  );
  for (const table of ['entry', 'entry_with'])
    await cql(
      `DELETE FROM ${shared}.${table} USING TIMESTAMP ${ahead} WHERE store = '${name}' AND owner = 'romeo' AND bucket = '${bucket}'`,
    );
  await cql(`DELETE FROM ${shared}.bucket USING TIMESTAMP ${ahead} WHERE store = '${name}' AND owner = 'romeo'`);
  const next = (await opens()).log(name);
  assert.deepEqual((await next.page('romeo', { limit: 5 })).entries, []);
  await next.append('romeo', entry);
  assert.deepEqual((await next.page('romeo', { limit: 5 })).entries, [entry]);
  // Written by one that was four hours ahead.
  const later = (Date.now() + 14_400_000) * 1000;
  await cql(
    `UPDATE ${shared}.entry USING TIMESTAMP ${later} SET value = 'theirs' WHERE store = '${name}' AND owner = 'romeo' AND bucket = '${bucket}' AND id = '${entry.id}'`,
  );
  const other = (await opens()).log(name);
  await other.append('romeo', { ...entry, value: 'ours' });
  assert.equal((await other.page('romeo', { limit: 5 })).entries[0]?.value, 'ours');
  assert.equal(await other.remove('romeo', [entry.id]), 1);
  assert.deepEqual((await other.page('romeo', { limit: 5 })).entries, []);
});

test('what was written by a clock that was ahead is deleted as well', async () => {
  const ahead = (Date.now() + 7_200_000) * 1000;
  const entries = [0, 1, 2, 3].map((n) => at(Date.UTC(2026, 7, 1 + 10 * (n >> 1)) + n));
  const filled = async (): Promise<LogStore> => {
    const log = (await opens()).log(newName());
    await Promise.all(entries.map((entry) => log.append('romeo', entry)));
    for (const { id, with: peer } of entries) {
      const bucket = bucketOf(id);
      const key = [`log-${count - 1}`, 'romeo', bucket];
      await cql(
        `INSERT INTO ${shared}.entry (store, owner, bucket, id, peer, value) VALUES (?, ?, ?, ?, ?, 'x') USING TIMESTAMP ${ahead}`,
        [...key, id, peer],
      );
      await cql(
        `INSERT INTO ${shared}.entry_with (store, owner, bucket, peer, id) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ${ahead}`,
        [...key, peer, id],
      );
    }
    return (await opens()).log(`log-${count - 1}`);
  };
  const trimmed = await filled();
  assert.equal(await trimmed.trim('romeo', { keep: 1 }), 3);
  assert.deepEqual(idsIn((await trimmed.page('romeo', { limit: 5 })).entries), [entries[3]!.id]);
  const forgotten = await filled();
  await forgotten.forget('romeo');
  // The same bucket comes back with a new account.
  const anew = at(Date.UTC(2026, 7, 11) + 100);
  await forgotten.append('romeo', anew);
  assert.deepEqual((await forgotten.page('romeo', { limit: 5 })).entries, [anew]);
  assert.deepEqual((await forgotten.page('romeo', { limit: 5, with: anew.with })).entries, [anew]);
});

test('a write from the far future is named', async () => {
  const name = newName();
  const log = (await opens()).log(name);
  const entry = at(Date.UTC(2026, 3));
  await log.append('romeo', entry);
  const [{ bucket } = {}] = (await cql(`SELECT store, owner, bucket, id FROM ${shared}.entry`)).filter(
    (row) => row.store === name,
  );
  await cql(
    `UPDATE ${shared}.entry USING TIMESTAMP ${(Date.now() + 90 * day) * 1000} SET value = 'theirs' WHERE store = '${name}' AND owner = 'romeo' AND bucket = '${bucket}' AND id = '${entry.id}'`,
  );
  await assert.rejects(log.append('romeo', entry), isRefused('corrupt', /more than a day ahead/));
});

test('an address that comes back is written anew', async () => {
  const name = newName();
  const [here, there] = [await opens(), await opens()];
  const early = at(Date.UTC(2026, 4, 1));
  const late = at(Date.UTC(2026, 4, 1) + 1000);
  await here.log(name).append('romeo', early);
  // The account moves to another node, is deleted there, and comes back.
  await there.log(name).forget('romeo');
  assert.deepEqual(await there.log(name).owners({ limit: 5 }), []);
  here.moved?.((owner) => owner === 'romeo');
  await here.log(name).append('romeo', late);
  assert.deepEqual((await there.log(name).page('romeo', { limit: 5 })).entries, [late]);
  assert.deepEqual(await there.log(name).owners({ limit: 5 }), ['romeo']);
});

test('a node that was excluded gets no acknowledgement, and deletes nothing', async () => {
  const name = newName();
  let isFenced = false;
  let looks = 0;
  const look = async (): Promise<void> => {
    looks++;
    if (isFenced) throw fenced('verona', 4);
  };
  const [verona, padua] = [await opens({ look }), await opens()];
  const log = verona.log(name);
  await log.append('romeo', at(1));
  assert.equal(looks, 0);
  assert.equal(await verona.join('verona', 4), 4);
  await assert.rejects(verona.join('verona', 5), isRefused('locked'));
  await Promise.all(Array.from({ length: 50 }, (_, n) => log.append(`owner ${n % 5}`, at(2 + n))));
  assert.ok(looks > 0 && looks <= 50);
  isFenced = true;
  await assert.rejects(log.remove('romeo', [at(1).id]), isRefused('fenced'));
  await assert.rejects(log.append('romeo', at(100)), isRefused('fenced'));
  await assert.rejects(log.forget('romeo'), isRefused('fenced'));
  await assert.rejects(log.trim('romeo', { keep: 0 }), isRefused('fenced'));
  assert.deepEqual((await padua.log(name).page('romeo', { limit: 5 })).entries, [at(1)]);
});

test('keyspaces of others and other schemas are refused, with what is different', async () => {
  const keyspace = newKeyspace();
  await assert.rejects(
    openIn(keyspace, { schema: { replication: {}, windowDays: 1 } }),
    isRefused('unavailable', /does not exist.*replication/),
  );
  await (await openIn(keyspace, { server: 'verona' })).close();
  await assert.rejects(
    openIn(keyspace, { server: 'padua' }),
    isRefused('locked', /another server \(verona; this one is padua\)/),
  );
  await (await openIn(keyspace)).close();
  await cql(`ALTER TABLE ${keyspace}.entry ADD note text`);
  await assert.rejects(openIn(keyspace), isRefused('corrupt', /entry\.note \(regular text\) is not ours/));
  await cql(`ALTER TABLE ${keyspace}.entry DROP note`);
  await cql(`DROP TABLE ${keyspace}.entry_with`);
  await assert.rejects(openIn(keyspace), isRefused('corrupt', /the table entry_with is missing/));
  await cql(`UPDATE ${keyspace}.about SET value = '7' WHERE key = 'version' IF EXISTS`);
  await assert.rejects(openIn(keyspace), isRefused('locked', /version 7, this version of the program knows 1/));
  const other = newKeyspace();
  await cql(`CREATE KEYSPACE ${other} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`);
  await cql(`CREATE TABLE ${other}.theirs (a int PRIMARY KEY)`);
  await assert.rejects(openIn(other), isRefused('locked', /tables of something else \(theirs\)/));
});

test('a cluster that cannot be reached is named', async () => {
  await assert.rejects(openIn(shared, { contactPoints: ['127.0.0.1:1'] }), isRefused('unavailable', /127\.0\.0\.1/));
  await assert.rejects(openIn(shared, { localDatacenter: 'nowhere' }), isRefused('unavailable', /nowhere/));
});
