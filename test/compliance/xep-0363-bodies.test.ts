/**
 * XEP-0363 §7: bodies that are slow, cut, or of another size than announced, over HTTP/1.1 and HTTP/2. Whatever a client
 * does, nothing unfinished stays on the disk, and its slot can be used until it expires.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { takeClocks } from '../unit/clocks.js';
import { hits, type Scene, scenarioWith } from './dialogue.js';
import { gets, puts, slotOf } from './files.js';
import { ask, begin, type Pending, type Way } from './http-client.js';

/** They look at what is on the disk. */
const scenario = scenarioWith({ isOnFiles: true });
const romeoJid = 'romeo@localhost/orchard';
const size = 60_000;
const ways = ['http', 'h2'] as const;

/** Files of a slot on the disk, unfinished and finished. */
const contentsOf = ({ stage }: Scene, get: string): string[] =>
  readdirSync(stage.folder, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes('/upload/'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path.includes(get.split('/')[2]!));

/** A PUT whose body has begun, and is on the disk in part. */
async function begins(
  scene: Scene,
  way: Way,
  { put, get }: { readonly put: string; readonly get: string },
): Promise<Pending> {
  const headers = { 'content-length': size };
  const upload = begin(scene, way, put, { method: 'PUT', headers, isUnfinished: true });
  upload.write('x'.repeat(1000));
  while (contentsOf(scene, get).length === 0) await setImmediate();
  return upload;
}

/** Resolves once nothing of the slot is left, and uploads the whole file with it. */
async function isUsable(scene: Scene, { put, get }: { readonly put: string; readonly get: string }): Promise<void> {
  while (contentsOf(scene, get).length > 0) await setImmediate();
  assert.equal((await gets(scene, get)).status, 404);
  const body = randomBytes(size);
  assert.equal((await puts(scene, put, body)).status, 201);
  assert.ok((await gets(scene, get)).body.equals(body));
  assert.equal(contentsOf(scene, get).length, 1);
}

const slow = { config: { limits: { http_bytes_per_second: 1000 } } };

for (const way of ways) {
  scenario(`${way}: a body that stops, and one that trickles, are given up`, slow, async (scene) => {
    const romeo = await scene.actor(romeoJid);
    for (const trickle of ['', 'x']) {
      const slot = await slotOf(romeo, { filename: 'a', size });
      const before = await hits(scene, 'http_bytes_per_second');
      const upload = await begins(scene, way, slot);
      let status: number | undefined;
      void upload.answer.then(
        (answer) => (status = answer.status),
        () => (status = 0),
      );
      const clocks = takeClocks();
      try {
        // What the server gets in a second of its clock is far below the rate.
        while (status === undefined) {
          clocks.pass(1000);
          if (trickle !== '') upload.write(trickle);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      } finally {
        clocks.restore();
      }
      assert.equal(status, 408);
      assert.equal(await hits(scene, 'http_bytes_per_second'), before + 1);
      upload.cut();
      await isUsable(scene, slot);
    }
  });

  scenario(`${way}: a body that is cut`, async (scene) => {
    const romeo = await scene.actor(romeoJid);
    const slot = await slotOf(romeo, { filename: 'a', size });
    for (let times = 0; times < 3; times++) {
      const upload = await begins(scene, way, slot);
      upload.cut();
      while (contentsOf(scene, slot.get).length > 0) await setImmediate();
    }
    await isUsable(scene, slot);
  });

  scenario(`${way}: an upload that begins in time may end after its slot, which is then of no use`, async (scene) => {
    const romeo = await scene.actor(romeoJid);
    const slot = await slotOf(romeo, { filename: 'a', size });
    const upload = await begins(scene, way, slot);
    const clocks = takeClocks();
    try {
      clocks.pass(301_000);
      upload.end('y'.repeat(size - 1000));
      assert.equal((await upload.answer).status, 201);
      assert.equal((await puts(scene, slot.put, 'x'.repeat(size))).status, 403);
    } finally {
      clocks.restore();
    }
    assert.equal((await gets(scene, slot.get)).body.length, size);
    upload.cut();
  });
}

scenario('h2: RFC 9113 §8.1.1: a body shorter or longer than its length', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  for (const rest of ['y'.repeat(10), 'y'.repeat(size)]) {
    const slot = await slotOf(romeo, { filename: 'a', size });
    const upload = await begins(scene, 'h2', slot);
    upload.end(rest);
    const status = await upload.answer.then(
      (answer) => answer.status,
      () => 'reset',
    );
    assert.ok(status === 400 || status === 'reset', String(status));
    upload.cut();
    await isUsable(scene, slot);
  }
});

scenario('a body without a slot of that size is not read', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const slot = await slotOf(romeo, { filename: 'a', size });
  for (const way of ways) {
    const asked = { method: 'PUT', headers: { 'content-length': 10 ** 9 }, isUnfinished: true };
    assert.equal((await ask(scene, way, slot.put, asked)).status, 413);
    assert.equal((await ask(scene, way, slot.get, asked)).status, 403);
  }
  await isUsable(scene, slot);
});

scenario('many accounts at once, half of them over HTTP/2', async (scene) => {
  const users = await Promise.all(Array.from({ length: 8 }, (_, number) => scene.actor(`user${number}@localhost/a`)));
  const files = users.flatMap((user, number) =>
    Array.from({ length: 10 }, (_, file) => ({ user, way: ways[(number + file) % 2]! })),
  );
  const slots: { put: string; get: string; way: Way }[] = [];
  for (const { user, way } of files) slots.push({ ...(await slotOf(user, { filename: 'a', size })), way });
  const body = randomBytes(size);
  const headers = { 'content-length': size };
  const answers = await Promise.all(
    slots.map(({ put, way }) => ask(scene, way, put, { method: 'PUT', headers, body }).then(({ status }) => status)),
  );
  // An account may have ten running, and fewer if the places are rare (modules.upload.uploads): it then tries again.
  assert.ok(answers.every((status) => status === 201 || status === 429));
  for (const [at, { put, get }] of slots.entries()) {
    if (answers[at] === 429) assert.equal((await puts(scene, put, body)).status, 201);
    assert.equal(contentsOf(scene, get).length, 1);
  }
});
