/** What administrators see and do of all nodes, whichever they ask. */
import assert from 'node:assert/strict';
import type { MemberData, SessionData } from '../../src/server/nodes.js';
import { adminOf } from './admin.js';
import { type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { living } from './moves.js';

const two: ScenarioOptions = { nodes: 2, alone: true };

const admin = ({ stage }: Scene, node: number) => adminOf({ server: stage.nodes[node]!, folder: stage.folder });

interface Status {
  readonly node: string;
  readonly members: readonly MemberData[];
}

scenario('sessions of all nodes are listed and ended at any node', two, async (scene) => {
  const [romeo] = living(scene, 0, 1);
  const [juliet] = living(scene, 1, 1);
  const near = await scene.actor(`${romeo}/orchard`);
  const far = await scene.actor(`${juliet}/balcony`);
  for (const node of [0, 1]) {
    const { ask, read } = await admin(scene, node);
    const { sessions } = await ask<{ sessions: SessionData[] }>('session list');
    assert.deepEqual(
      new Map(sessions.map((one) => [one.jid, one.node])),
      new Map([
        [near.jid, 'node1'],
        [far.jid, 'node2'],
      ]),
    );
    const own = await ask<{ sessions: SessionData[] }>('session list', { jid: juliet! });
    assert.deepEqual(
      own.sessions.map(({ jid }) => jid),
      [far.jid],
    );
    const { sessions: one, more } = await ask<{ sessions: SessionData[]; more: boolean }>('session list', {
      limit: 1,
    });
    assert.deepEqual([one.length, more], [1, true]);
    assert.match(await read('session list'), /NODE\n.*node1/s);
  }
  const { ask } = await admin(scene, 0);
  await assert.rejects(ask('session kick', { jid: `${juliet}/tower` }), /no session/);
  assert.deepEqual(await ask('session kick', { jid: far.jid, reason: 'enough' }), { kicked: [far.jid] });
  await far.receivesStreamError('policy-violation');
});

scenario('a node is drained, serves its clients through the other, and joins again', two, async (scene) => {
  const [juliet] = living(scene, 1, 1);
  const [romeo] = living(scene, 0, 1);
  const far = await scene.actor(`${juliet}/balcony`, { presence: true, node: 1 });
  const near = await scene.actor(`${romeo}/orchard`, { presence: true, node: 0 });
  const { ask, read } = await admin(scene, 0);
  const state = async (): Promise<readonly (readonly [string, string, boolean])[]> => {
    const { members } = await ask<Status>('cluster status');
    return members.map((one) => [one.node, one.state, one.slots > 0] as const);
  };
  const ready = async (node: number): Promise<number> => {
    const port = scene.stage.port('http', scene.stage.nodes[node]!);
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).status;
  };
  assert.deepEqual(await state(), [
    ['node1', 'serving', true],
    ['node2', 'serving', true],
  ]);
  assert.deepEqual([await ready(0), await ready(1)], [200, 200]);
  await assert.rejects(ask('cluster drain', { node: 'node3' }), /no node of the cluster is named node3/);
  await ask('cluster drain', { node: 'node2' });
  assert.deepEqual(await state(), [
    ['node1', 'serving', true],
    ['node2', 'drained', false],
  ]);
  assert.deepEqual([await ready(0), await ready(1)], [200, 503]);
  await assert.rejects(ask('cluster drain', { node: 'node1' }), /the only node that serves/);
  assert.match(await read('cluster status'), /node2 +drained +0 %/);
  // Its client has noticed nothing, and new ones are still served.
  await near.sends(`<message to='${juliet}' id='1' type='chat'><body>still there?</body></message>`);
  await far.receives(`<message from='${near.jid}' id='1' type='chat'><body>still there?</body></message>`);
  const tablet = await scene.actor(`${juliet}/tablet`, { node: 1 });
  await tablet.syncs();
  await ask('cluster join', { node: 'node2' });
  while ((await state()).some(([, , has]) => !has)) await far.syncs();
  assert.deepEqual([await ready(0), await ready(1)], [200, 200]);
});

scenario('a single server is no node, and is ready', { nodes: 1, alone: true }, async (scene) => {
  const { ask } = await admin(scene, 0);
  await assert.rejects(ask('cluster status'), /not a node of a cluster/);
  const port = scene.stage.port('http');
  for (const path of ['healthz', 'readyz']) {
    const { status, headers } = await fetch(`http://127.0.0.1:${port}/${path}`);
    assert.equal(status, 200);
    assert.equal(headers.get('cache-control'), 'no-store');
  }
});
