/** XEP-0363 on two nodes: files of one folder, whichever node a client reaches. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { createServer } from '../../src/server/index.js';
import { StorageError } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { answerTo, asks, begins, refused, slotOf, slotRequest } from './files.js';

const two: ScenarioOptions = { nodes: 2, isOnFiles: true };
const size = 400_000;
const content = (letter: string): Buffer => Buffer.alloc(size, letter);
const idOf = (path: string): string => /\/upload\/([0-9a-f]{32})/.exec(path)![1]!;

/** Accounts of both homes. */
function usersOf({ stage }: Scene): string[] {
  const found = stage.nodes.map((node) => {
    for (let n = 0; ; n++) if (stage.home(`user${n}@localhost`) === node) return `user${n}@localhost`;
  });
  return found;
}

/** Names of the contents in the folder of all nodes. */
function contentsIn(scene: Scene): string[] {
  const names = readdirSync(join(scene.stage.folder, 'files'), { recursive: true, encoding: 'utf8' });
  return names.map((name) => name.split('/').at(-1)!).filter((name) => /^[0-9a-f]{32}(\.|$)/.test(name));
}

scenario('§7: PUT at one node, GET at the other, wherever the owner lives', two, async (scene) => {
  for (const user of usersOf(scene))
    for (const at of [0, 1]) {
      const actor = await scene.actor(`${user}/street${at}`);
      const slot = await slotOf(actor, { filename: 'a.txt', size });
      assert.equal((await asks(scene, 'PUT', slot.put, { body: content('a'), node: at })).status, 201);
      for (const node of [1 - at, at]) {
        const got = await asks(scene, 'GET', slot.get, { node });
        assert.ok(got.status === 200 && got.body.equals(content('a')));
      }
      const part = await asks(scene, 'GET', slot.get, { node: 1 - at, headers: { range: 'bytes=10-19' } });
      assert.deepEqual([part.status, part.body.length], [206, 10]);
    }
});

scenario(
  '§7: two PUTs of one slot at once, at two nodes: one wins, and nothing is left of the other',
  two,
  async (scene) => {
    for (const user of usersOf(scene)) {
      const actor = await scene.actor(`${user}/street`);
      for (let round = 0; round < 3; round++) {
        const slot = await slotOf(actor, { filename: 'a.txt', size });
        const bodies = [content('a'), content('b')];
        const asked = bodies.map((_, node) =>
          begins(scene, 'PUT', slot.put, { node, headers: { 'content-length': size, 'content-type': 'text/plain' } }),
        );
        const answers = asked.map(answerTo);
        // Both have begun before either ends.
        for (const [node, one] of asked.entries()) one.write(bodies[node]!.subarray(0, 100_000));
        for (const [node, one] of asked.entries()) one.end(bodies[node]!.subarray(100_000));
        const statuses = (await Promise.all(answers)).map(({ status }) => status);
        assert.deepEqual([...statuses].sort(), [201, 409]);
        const winner = bodies[statuses.indexOf(201)]!;
        for (const node of [0, 1]) assert.ok((await asks(scene, 'GET', slot.get, { node })).body.equals(winner));
        const id = idOf(slot.get);
        assert.deepEqual(
          contentsIn(scene).filter((name) => name.startsWith(id)),
          [id],
        );
      }
    }
  },
);

scenario('§7: a PUT that is cut at one node can be repeated at the other', two, async (scene) => {
  const actor = await scene.actor(`${usersOf(scene)[1]}/street`);
  const slot = await slotOf(actor, { filename: 'a.txt', size });
  const cut = begins(scene, 'PUT', slot.put, { node: 0, headers: { 'content-length': size } });
  cut.on('error', () => {});
  cut.write(content('a').subarray(0, 100_000));
  await once(cut, 'socket');
  cut.destroy();
  assert.equal((await asks(scene, 'PUT', slot.put, { body: content('b'), node: 1 })).status, 201);
  assert.ok((await asks(scene, 'GET', slot.get, { node: 0 })).body.equals(content('b')));
});

scenario(
  'the quota counts what was uploaded at both nodes',
  { ...two, config: { modules: { upload: { account_bytes: 1_000_000 } } } },
  async (scene) => {
    for (const user of usersOf(scene)) {
      const actor = await scene.actor(`${user}/street`);
      for (const node of [0, 1]) {
        const slot = await slotOf(actor, { filename: `${node}`, size });
        assert.equal((await asks(scene, 'PUT', slot.put, { body: content('a'), node })).status, 201);
      }
      const error = await refused(actor, slotRequest({ filename: 'c', size }));
      assert.ok(error.getChild('resource-constraint'), String(error));
      await slotOf(actor, { filename: 'd', size: 200_000 });
    }
  },
);

test('a node whose folder of uploaded files is another one does not start', async () => {
  const top = mkdtempSync(join(tmpdir(), 'waxwing-'));
  after(() => rmSync(top, { recursive: true, force: true }));
  const storage = new MemoryStorage();
  const network = new LocalNetwork();
  const start = (node: string, folder: string) =>
    createServer({
      text: '',
      overrides: {
        data: join(top, node),
        hosts: { localhost: {} },
        listen: { c2s: [], c2s_tls: [], https: [], http: [] },
        log: { level: 'fatal' },
        storage: { driver: 'memory', files: { folder: join(top, folder) } },
        s2s: { enabled: false },
      },
      storage: storage.handle(),
      cluster: { node, address: node, network },
    });
  const first = await start('a', 'shared');
  await first.start();
  await assert.rejects(
    start('b', 'own'),
    (error) => error instanceof StorageError && /folder of the other/.test(error.message),
  );
  const second = await start('b', 'shared');
  await second.start();
  await second.stop();
  await first.stop();
});
