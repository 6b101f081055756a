/** XEP-0363: what becomes of uploaded files. Their owners, administrators, restarts, nodes and failures. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import type { BlobStorage } from '../../src/storage/blobs.js';
import { StorageError } from '../../src/storage/contract.js';
import { openFiles } from '../../src/storage/files/index.js';
import { adminOf } from './admin.js';
import { hits, oneProcess, type Peer, type Scene, scenario } from './dialogue.js';
import { answerTo, asks, begins, gets, puts, refused, slotOf, slotRequest, uploads } from './files.js';
import { type Asked, ask, begin, type Way, ways } from './http-client.js';
import { refusal } from './phrases.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-uploads-'));
after(() => rmSync(folder, { recursive: true }));

const romeoJid = 'romeo@localhost/orchard';
const julietJid = 'juliet@localhost/balcony';
const idOf = (path: string) => path.split('/')[2]!;

/** About what is in the folder of the server. */
const inFolder = { ...oneProcess, isOnFiles: true };

/** Unfinished and finished contents, by their names. */
const contentsIn = (place: string): string[] =>
  readdirSync(place, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes('/upload/contents'))
    .map(({ name }) => name);

const command = (node: string, attributes = '', content = '') =>
  `<iq type='set' id='c' to='localhost'><command xmlns='${NS.commands}' node='${node}' ${attributes}>${content}</command></iq>`;

async function runs(peer: Peer, node: string, attributes = '', content = ''): Promise<Element> {
  await peer.sends(command(node, attributes, content));
  const result = await peer.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}' node='${node}'/></iq>`);
  return result.getChild('command', NS.commands)!;
}

/** Fills in the form of a command. Returns the note that ends it. */
async function submits(peer: Peer, node: string, field: string, values: readonly string[]): Promise<string> {
  const asked = await runs(peer, node);
  assert.equal(asked.attrs.status, 'executing');
  const all = values.map((value) => `<value>${value}</value>`).join('');
  const form = `<x xmlns='${NS.dataForms}' type='submit'><field var='${field}'>${all}</field></x>`;
  const answer = await runs(peer, node, `sessionid='${asked.attrs.sessionid}'`, form);
  return answer.getChildText('note', NS.commands)!;
}

scenario('users list and delete their files', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const juliet = await scene.actor(julietJid);
  for (const node of ['files', 'files#delete'])
    assert.match((await runs(romeo, node)).getChildText('note', NS.commands)!, /no uploaded files/);
  const one = await uploads(scene, romeo, 'one <b>&.txt', 'one', 'text/plain');
  const two = await uploads(scene, romeo, 'two.txt', 'two', 'text/plain');
  const theirs = await uploads(scene, juliet, 'theirs.txt', 'theirs');
  const rows = (await runs(romeo, 'files')).getChild('x', NS.dataForms)!.getChildren('item');
  const names = rows.map((row) => row.getChildren('field')[0]!.getChildText('value'));
  assert.deepEqual(names.sort(), ['one <b>&.txt', 'two.txt']);
  // Only their own
  assert.match(await submits(romeo, 'files#delete', 'files', [idOf(theirs), '../x', 'a'.repeat(200)]), /^0 files/);
  assert.match(await submits(romeo, 'files#delete', 'files', [idOf(one), idOf(theirs), idOf(one)]), /^One file/);
  assert.equal((await gets(scene, one)).status, 404);
  for (const path of [two, theirs]) assert.equal((await gets(scene, path)).status, 200);
  // Administrators alone
  await romeo.sends(command('files#remove'));
  await romeo.receives(`<iq type='error' id='c'>${refusal('cancel', 'forbidden')}</iq>`);
  await scene.server.accounts.setRole('juliet@localhost', 'admin');
  const addresses = [`https://localhost${two}`, 'https://localhost/other', 'nothing'];
  assert.match(await submits(juliet, 'files#remove', 'addresses', addresses), /^One file/);
  assert.equal((await gets(scene, two)).status, 404);
});

scenario('waxwing files list, usage, delete', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const admin = await adminOf(scene.stage);
  const account = 'romeo@localhost';
  assert.match(await admin.read('files list', { account }), /There are no files/);
  const one = await uploads(scene, romeo, 'one.txt', '1', 'text/plain');
  const two = await uploads(scene, romeo, 'two\u202e.txt', '22');
  const three = await uploads(scene, romeo, 'three.txt', '333', undefined, `<permanent xmlns='${NS.uploadPurpose}'/>`);
  type Listed = { files: Record<string, unknown>[]; next: string | null };
  const first = await admin.ask<Listed>('files list', { account, limit: 2 });
  const rest = await admin.ask<Listed>('files list', { account, after: first.next, limit: 2 });
  const all = [...first.files, ...rest.files].map(({ name, size, type }) => [name, size, type]);
  assert.deepEqual(
    all.sort(([, a], [, b]) => Number(a) - Number(b)),
    [
      ['one.txt', 1, 'text/plain'],
      ['two.txt', 2, null],
      ['three.txt', 3, null],
    ],
  );
  assert.equal(rest.next, null);
  assert.match(await admin.read('files list', { account }), /never +3 +three\.txt/);
  const usage = await admin.ask<{ files: number; bytes: number }>('files usage', { account });
  assert.deepEqual([usage.files, usage.bytes], [3, 6]);
  assert.match(await admin.read('files usage'), /romeo@localhost +3 +6/);
  await admin.ask('files delete', { file: `https://localhost:5443${one}?x` });
  await admin.ask('files delete', { file: idOf(two) });
  for (const [values, failure] of [
    [{ file: idOf(two) }, 'not-found'],
    [{ file: 'https://example.org/upload/../x' }, 'not-found'],
    [{}, 'usage'],
    [{ file: idOf(three), account }, 'usage'],
    [{ account: 'romeo@nowhere.example' }, 'not-found'],
  ] as const)
    await assert.rejects(admin.ask('files delete', values), { failure }, JSON.stringify(values));
  assert.equal((await gets(scene, three)).status, 200);
  assert.deepEqual(await admin.ask('files delete', { account }), { deleted: 1 });
  assert.equal((await gets(scene, three)).status, 404);
});

scenario('the files of an account are deleted with it', inFolder, async (scene) => {
  const { stage, server } = scene;
  const romeo = await scene.actor(romeoJid);
  const path = await uploads(scene, romeo, 'a.txt', 'abc');
  const slot = await slotOf(romeo, { filename: 'b', size: 6 });
  const going = begins(scene, 'PUT', slot.put, { headers: { 'content-length': 6 } });
  const answer = answerTo(going);
  going.write('abc');
  while (contentsIn(stage.folder).length < 2) await setImmediate();
  await server.accounts.remove('romeo@localhost');
  assert.equal((await gets(scene, path)).status, 404);
  going.end('def');
  assert.equal((await answer).status, 403);
  assert.deepEqual(contentsIn(stage.folder), []);
  // A slot of the past is of no use, also not to somebody who gets the name later.
  const other = await slotOf(await scene.actor(romeoJid), { filename: 'c', size: 1 });
  await server.accounts.remove('romeo@localhost');
  assert.equal((await puts(scene, other.put, 'a')).status, 403);
});

scenario('files and slots survive a restart', inFolder, async (scene) => {
  const { stage } = scene;
  const romeo = await scene.actor(romeoJid);
  const path = await uploads(scene, romeo, 'a.txt', 'abc');
  const slot = await slotOf(romeo, { filename: 'b', size: 6 });
  const going = begins(scene, 'PUT', slot.put, { headers: { 'content-length': 6 } });
  const answer = answerTo(going).then(
    ({ status }) => status,
    () => 'cut',
  );
  going.on('error', () => {});
  going.write('abc');
  while (contentsIn(stage.folder).length < 2) await setImmediate();
  await stage.restart();
  assert.ok([503, 'cut'].includes(await answer));
  assert.equal((await gets(scene, path)).body.toString(), 'abc');
  assert.deepEqual(contentsIn(stage.folder), [idOf(path)]);
  assert.equal((await puts(scene, slot.put, 'abcdef')).status, 201);
  assert.equal((await gets(scene, slot.get)).body.toString(), 'abcdef');
});

scenario('each host has its own users, and answers for the files of all', async (scene) => {
  const paris = await scene.actor('paris@elsewhere.example/court');
  const service = 'upload.elsewhere.example';
  for (const host of ['localhost', 'elsewhere.example', service, 'unknown.example']) {
    const slot = await slotOf(paris, { filename: 'a', size: 3 }, '', service);
    assert.equal((await puts(scene, slot.put, 'abc', { host })).status, 201, host);
    for (const other of ['localhost', 'elsewhere.example'])
      assert.equal((await gets(scene, slot.get, { host: other })).body.toString(), 'abc');
  }
});

scenario('any node takes and gives files', { nodes: 2 }, async (scene) => {
  const users = ['romeo', 'juliet', 'mercutio', 'tybalt', 'benvolio', 'paris'];
  for (const [at, user] of users.entries()) {
    const actor = await scene.actor(`${user}@localhost/street`);
    const slot = await slotOf(actor, { filename: 'a', size: 3 });
    const tooLong = await asks(scene, 'PUT', slot.put, { body: 'abcd', node: at });
    assert.equal(tooLong.status, 413);
    assert.equal((await asks(scene, 'PUT', slot.put, { body: 'abc', node: at })).status, 201);
    assert.equal((await asks(scene, 'PUT', slot.put, { body: 'xyz', node: at + 1 })).status, 409);
    for (const node of [0, 1]) assert.equal((await asks(scene, 'GET', slot.get, { node })).body.toString(), 'abc');
    assert.match(await submits(actor, 'files#delete', 'files', [idOf(slot.get)]), /^One file/);
    for (const node of [0, 1]) assert.equal((await asks(scene, 'GET', slot.get, { node })).status, 404);
  }
});

/** A folder whose disk can be full, before or while a content is written. */
class Failing {
  isFull = false;
  free: number | undefined;
  readonly #storage: BlobStorage;

  constructor(readonly place: string) {
    this.#storage = openFiles(place);
  }

  readonly open = (): BlobStorage => ({
    blobs: (name) => {
      const blobs = this.#storage.blobs(name);
      return {
        put: async (key, content, size) => {
          if (!this.isFull) return blobs.put(key, content, size);
          for await (const _ of content.iterator({ destroyOnReturn: false }))
            throw new StorageError('full', 'the disk is full');
        },
        get: (key) => blobs.get(key),
        stat: (key) => blobs.stat(key),
        delete: (keys) => blobs.delete(keys),
        list: (range) => blobs.list(range),
        tidy: (before, limit) => blobs.tidy(before, limit),
        free: async () => this.free,
      };
    },
  });
}

const full = new Failing(join(folder, 'full'));
scenario(
  'a full disk is told, and the slot works once there is space',
  { blobs: full.open, errors: true },
  async (scene) => {
    const romeo = await scene.actor(romeoJid);
    const slot = await slotOf(romeo, { filename: 'a', size: 500_000 });
    full.isFull = true;
    const { status, body } = await puts(scene, slot.put, Buffer.alloc(500_000), { accept: 'application/json' });
    assert.equal(status, 507);
    assert.doesNotMatch(body.toString(), /disk is full|\//);
    full.isFull = false;
    full.free = 499_999;
    assert.equal((await puts(scene, slot.put, Buffer.alloc(500_000))).status, 507);
    const error = await refused(romeo, slotRequest({ filename: 'b', size: 500_000 }));
    assert.equal(error.attrs.type, 'wait');
    assert.ok(error.getChild('resource-constraint'));
    assert.equal(await hits(scene, 'upload.low_space'), 2);
    full.free = 500_000;
    assert.equal((await puts(scene, slot.put, Buffer.alloc(500_000))).status, 201);
  },
);

scenario('a content that is missing is not found', inFolder, async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const path = await uploads(scene, romeo, 'a', 'abc');
  rmSync(join(scene.stage.folder, 'files'), { recursive: true });
  assert.equal((await gets(scene, path)).status, 404);
  await uploads(scene, romeo, 'b', 'abc');
});

scenario('a download that its client ends, or does not read', async (scene: Scene) => {
  const romeo = await scene.actor(romeoJid);
  const content = Buffer.alloc(8_000_000, 7);
  const path = await uploads(scene, romeo, 'a', content);
  const cut = begins(scene, 'GET', path);
  cut.end();
  await new Promise<void>((resolve) => {
    cut.on('response', (message) => {
      message.once('data', () => {
        cut.destroy();
        resolve();
      });
      message.on('error', () => {});
    });
  });
  const slow = begins(scene, 'GET', path);
  slow.end();
  await new Promise<void>((resolve) => {
    slow.on('response', (message) => {
      message.pause();
      message.on('error', () => {});
      resolve();
    });
  });
  assert.ok((await gets(scene, path)).body.equals(content));
  slow.destroy();
});

scenario('over HTTP/1.1, TLS and HTTP/2', { isOnFiles: true }, async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const starts = (way: Way, path: string, asked: Asked) => {
    const pending = begin(scene, way, path, asked);
    pending.answer.catch(() => {});
    return pending;
  };
  for (const way of ways) {
    const content = randomBytes(1_000_003);
    const slot = await slotOf(romeo, { filename: 'a.png', size: content.length, 'content-type': 'image/png' });
    const length = { 'content-length': content.length };
    // Cut, of no known length, and longer than announced
    const cut = starts(way, slot.put, {
      method: 'PUT',
      headers: length,
      body: content.subarray(0, 500),
      isUnfinished: true,
    });
    cut.write(content.subarray(0, 500));
    const key = idOf(slot.get);
    while (!contentsIn(scene.stage.folder).some((name) => name.startsWith(key))) await setImmediate();
    cut.cut();
    if (way === 'h2') {
      const endless = starts(way, slot.put, { method: 'PUT', body: content.subarray(0, 9), isUnfinished: true });
      assert.equal((await endless.answer).status, 411);
      endless.cut();
      const longer = starts(way, slot.put, { method: 'PUT', headers: length, isUnfinished: true });
      longer.end(Buffer.concat([content, content]));
      const status = await longer.answer.then(
        (answer) => answer.status,
        () => 'refused',
      );
      assert.ok(status === 400 || status === 'refused', String(status));
    }
    const stored = await ask(scene, way, slot.put, { method: 'PUT', headers: length, body: content });
    assert.equal(stored.status, 201, way);
    const whole = await ask(scene, way, slot.get);
    assert.ok(whole.bytes.equals(content), way);
    const part = await ask(scene, way, slot.get, { headers: { range: 'bytes=999999-' } });
    assert.deepEqual([part.status, part.bytes.length], [206, 4], way);
    assert.equal((await ask(scene, way, slot.get, { method: 'HEAD' })).status, 200);
  }
});
