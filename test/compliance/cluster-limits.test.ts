/** Limits by network address hold for all nodes together, whichever node a client connects to. */
import assert from 'node:assert/strict';
import { overTcp, type Peer, type Scene, scenario } from './dialogue.js';
import { greeted } from './sasl.js';

const address = '127.4.0.1';

/** Connects several clients to each node, all at once. Returns those that were accepted. */
async function flood({ connect }: Scene, each: number, from: string): Promise<Peer[]> {
  const clients = Array.from({ length: 2 * each }, (_, n) => greeted(connect, { address: from, node: n % 2 }));
  const outcomes = await Promise.allSettled(clients);
  return outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value[0]] : []));
}

scenario(
  'a flood of connections over two nodes is bounded as over one',
  { nodes: 2, ...overTcp, config: { limits: { connections_per_address: 9, connections_per_minute: 'unlimited' } } },
  async (scene) => {
    const accepted = await flood(scene, 10, address);
    assert.equal(accepted.length, 9);
    assert.ok((await flood(scene, 2, '127.4.0.2')).length === 4, 'another address is not concerned');
    await assert.rejects(greeted(scene.connect, { address, node: 1, transport: 'websocket' }));
    for (const peer of accepted) peer.cut();
    // The places return to the home of the address.
    for (let again: Peer[] = []; again.length < 9; ) {
      for (const peer of again) peer.cut();
      again = await flood(scene, 6, address);
      assert.ok(again.length <= 9);
    }
  },
);

scenario(
  'the rate of new connections too',
  { nodes: 2, ...overTcp, config: { limits: { connections_per_minute: 8 } } },
  async (scene) => {
    const accepted = await flood(scene, 12, address);
    // Each bucket rounds up.
    assert.ok(accepted.length >= 8 && accepted.length <= 11, `${accepted.length} were accepted`);
  },
);
