/** The contract of all drivers, what only this one promises, and a server that runs on it. */
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { StorageError } from 'waxwing/storage';
import {
  documentContract,
  joinContract,
  logContract,
  mapContract,
  persistenceContract,
  storageContract,
} from 'waxwing/storage/suites';
import { scenario } from 'waxwing/testing';
import { openJsonLines } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'jsonl-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;
const fresh = () => join(folder, `${files++}.jsonl`);
const openFresh = () => openJsonLines(fresh());

documentContract('jsonl', openFresh);
mapContract('jsonl', openFresh);
logContract('jsonl', openFresh);
storageContract('jsonl', openFresh);
joinContract('jsonl', openFresh);
persistenceContract('jsonl', (place) => openJsonLines(join(folder, `${place}.jsonl`)));

const isFailure = (kind: string) => (error: unknown) => error instanceof StorageError && error.failure === kind;

test('a write is in the file when its promise resolves', async () => {
  const file = fresh();
  const storage = await openJsonLines(file);
  await storage.document('d').set('romeo', { line: 'one\ntwo\u2028three' });
  assert.equal(readFileSync(file, 'utf8'), '["document","d","set","romeo",{"line":"one\\ntwo\u2028three"}]\n');
  await storage.close();
});

test('a line truncated by a crash is dropped; those before it are read', async () => {
  const file = fresh();
  const first = await openJsonLines(file);
  await first.document('d').set('romeo', 1);
  await first.close();
  appendFileSync(file, '["document","d","set","romeo",2');
  const second = await openJsonLines(file);
  assert.equal(await second.document('d').get('romeo'), 1);
  await second.document('d').set('romeo', 3);
  await second.close();
  const third = await openJsonLines(file);
  assert.equal(await third.document('d').get('romeo'), 3);
  await third.close();
});

test('a corrupt line stops the start, and the file is not changed', async () => {
  const file = fresh();
  for (const text of ['{\n["document","d","delete","romeo"]\n', '["spell","d"]\n']) {
    writeFileSync(file, text);
    await assert.rejects(openJsonLines(file), isFailure('corrupt'));
    assert.equal(readFileSync(file, 'utf8'), text);
    assert.equal(existsSync(`${file}.lock`), false);
  }
});

test('unlimited trimming, deleting and comparing give the same result after reopening', async () => {
  const file = fresh();
  const first = await openJsonLines(file);
  for (const id of ['a', 'b', 'c']) await first.log('l').append('romeo', { id, value: id });
  await first.log('l').trim('romeo', { before: 'b', keep: Number.POSITIVE_INFINITY, limit: Number.POSITIVE_INFINITY });
  await first.document<number | null>('d').set('romeo', null);
  assert.equal(await first.document<number | null>('d').compareAndSet('romeo', 1, 2), false);
  assert.equal(await first.document<number | null>('d').compareAndSet('romeo', null, 2), true);
  await first.document('d').set('juliet', 1);
  assert.equal(await first.document<number>('d').compareAndSet('juliet', 1, undefined), true);
  await first.map('m').set(
    'romeo',
    new Map([
      ['a', 1],
      ['b', 2],
    ]).entries(),
  );
  assert.equal(await first.map('m').delete('romeo', ['a', 'z']), 1);
  await first.close();
  const second = await openJsonLines(file);
  assert.equal(await second.log('l').count('romeo', {}), 2);
  assert.equal(await second.document('d').get('romeo'), 2);
  assert.equal(await second.document('d').get('juliet'), undefined);
  assert.deepEqual(await second.map('m').all('romeo'), new Map([['b', 2]]));
  await second.close();
});

test('the file is compacted when it is opened again', async () => {
  const file = fresh();
  const first = await openJsonLines(file);
  for (let n = 0; n < 100; n++) await first.document('d').set('romeo', n);
  await first.close();
  await (await openJsonLines(file)).close();
  assert.equal(readFileSync(file, 'utf8'), '["document","d","set","romeo",99]\n');
});

test('one process can open it; a stale lock is ignored', async () => {
  const file = fresh();
  const first = await openJsonLines(file);
  await assert.rejects(openJsonLines(file), isFailure('locked'));
  await first.close();
  writeFileSync(`${file}.lock`, '4194305\n'); // above every pid
  await (await openJsonLines(file)).close();
  assert.equal(existsSync(`${file}.lock`), false);
});

test('a missing folder is an error', async () => {
  await assert.rejects(openJsonLines(join(folder, 'nowhere', 'x.jsonl')), isFailure('unavailable'));
});

const served = fresh();
const storage = await openJsonLines(served);
const sm = 'urn:xmpp:sm:3';
scenario('a stanza that the server has acknowledged is in the file', { storage: () => storage }, async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.closes();
  await juliet.isClosed();
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<enable xmlns='${sm}'/>`);
  await romeo.receives(`<enabled xmlns='${sm}'/>`);
  await romeo.sends(`<message to='juliet@localhost' type='chat' id='1'><body>But soft</body></message>`);
  await romeo.sends(`<r xmlns='${sm}'/>`);
  await romeo.receives(`<a xmlns='${sm}' h='1'/>`);
  assert.match(readFileSync(served, 'utf8'), /But soft/);
  const back = await actor('juliet@localhost/balcony');
  await back.sends('<presence/>');
  await back.receivesAnyOrder([
    `<message from='romeo@localhost/orchard' type='chat' id='1'><body>But soft</body></message>`,
    `<presence from='juliet@localhost/balcony'/>`,
  ]);
});
