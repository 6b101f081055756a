/** Opening a database: by many at once, of another version, of somebody else, of a server that cannot be used. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as turnOfTheEventLoop } from 'node:timers/promises';
import { type DocumentStore, StorageError } from '../../src/storage/contract.js';
import { client, dropAll, newSchema, openIn, sql } from './server.js';

after(dropAll);

const refused = (words: RegExp) => (error: unknown) =>
  error instanceof StorageError && error.failure === 'unavailable' && words.test(error.message);

test('ten processes create the tables at once', async () => {
  const schema = newSchema();
  const storages = await Promise.all(Array.from({ length: 10 }, () => openIn(schema, { lanes: 1 })));
  await Promise.all(storages.map((storage, n) => storage.document('d').set(`owner ${n}`, n)));
  assert.equal((await storages[0]!.document('d').owners({ limit: 99 })).length, 10);
  assert.equal((await storages[0]!.stores()).length, 1);
  await Promise.all(storages.map((storage) => storage.close()));
});

test('stores that are first used while the numbers of others are looked up', async () => {
  const schema = newSchema();
  const names = Array.from({ length: 50 }, (_, n) => `d${n}`);
  const inTurns = async <R>(use: (document: DocumentStore<string>, name: string) => Promise<R>): Promise<R[]> => {
    const storage = await openIn(schema, { lanes: 1 });
    await storage.document('first').set('owner', 'connected');
    const results: Promise<R>[] = [];
    for (const name of names) {
      results.push(use(storage.document(name), name));
      await turnOfTheEventLoop();
    }
    const all = await Promise.all(results);
    await storage.close();
    return all;
  };
  await inTurns((document, name) => document.set('owner', name));
  assert.deepEqual(await inTurns((document) => document.get('owner')), names);
});

test('a schema of a newer version is refused, with both versions', async () => {
  const schema = newSchema();
  await (await openIn(schema)).close();
  await sql(`UPDATE "${schema}".waxwing SET value = '999' WHERE property = 'schema'`);
  await assert.rejects(
    openIn(schema),
    refused(/newer version.*has version 999, this version of the program knows \d+/),
  );
});

test('a schema with tables of another program is refused; other schemas do not matter', async () => {
  const schema = newSchema();
  await sql(`CREATE SCHEMA "${schema}"`);
  await sql(`CREATE TABLE "${schema}".theirs (a int)`);
  await assert.rejects(openIn(schema), refused(/tables of another program/));
  assert.deepEqual(await sql(`SELECT * FROM "${schema}".theirs`), []);
});

test('an empty schema that an administrator made is used', async () => {
  const schema = newSchema();
  await sql(`CREATE SCHEMA "${schema}"`);
  await (await openIn(schema)).close();
});

test('a user whose commits are not durable is refused', async () => {
  const schema = newSchema();
  const role = `${schema}_role`;
  await sql(`CREATE ROLE "${role}" LOGIN SUPERUSER PASSWORD 'pencil'`);
  try {
    await sql(`ALTER ROLE "${role}" SET synchronous_commit = off`);
    const url = new URL(client.connectionString!);
    const other = { host: url.hostname, port: Number(url.port), database: 'postgres', user: role, password: 'pencil' };
    await assert.rejects(openIn(schema, { client: other }), refused(/synchronous_commit is off/));
    await assert.rejects(openIn(schema, { client: { ...other, password: 'wrong' } }), refused(/authentication failed/));
    await assert.rejects(openIn(schema, { client: { ...other, database: 'nowhere' } }), refused(/"nowhere"/));
    await assert.rejects(openIn(schema, { client: { ...other, port: 1 } }), refused(/ECONNREFUSED/));
  } finally {
    await sql(`DROP ROLE "${role}"`);
  }
});
