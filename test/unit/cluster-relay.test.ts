/** Relayed streams (cluster/relay.ts) whose wire says nothing any more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { type RelayEvents, type RelayPeer, Relays } from '../../src/server/cluster/relay.js';

const [gateway, home]: RelayPeer[] = ['gateway', 'home'].map((id) => ({ id, epoch: 1, address: id })) as never;

/** A stream between two nodes, and what its ends heard of its end. */
async function stream(network: LocalNetwork) {
  const ends: string[] = [];
  const eventsOf = (name: string): RelayEvents => ({
    received() {},
    drained() {},
    ended() {},
    closed: (isCut) => void ends.push(`${name} ${isCut ? 'cut' : 'closed'}`),
  });
  const nodes = [gateway!, home!].map(
    (self) =>
      new Relays({
        self,
        address: self.address,
        network,
        isMember: () => true,
        accept: () => eventsOf(self.id),
        failed: (error) => assert.fail(error as Error),
      }),
  );
  nodes[0]!.open(home!, '{}', () => eventsOf('gateway'));
  await turns();
  assert.deepEqual(
    nodes.map(({ size }) => size),
    [1, 1],
  );
  return { nodes, ends };
}

/** Everything that was written arrives. */
async function turns(): Promise<void> {
  for (let n = 0; n < 10; n++) await new Promise((resolve) => setImmediate(resolve));
}

test('a stream whose nodes give signs of life goes on', async () => {
  const { nodes, ends } = await stream(new LocalNetwork());
  for (let n = 0; n < 30; n++) {
    for (const node of nodes) node.tick();
    await turns();
  }
  assert.deepEqual(ends, []);
  for (const node of nodes) node.close();
});

test('a stream ends at both nodes when nothing arrives any more', async () => {
  const network = new LocalNetwork();
  const { nodes, ends } = await stream(network);
  for (const node of nodes) node.tick();
  await turns();
  network.halt('streams');
  for (let n = 0; n < 6; n++) {
    for (const node of nodes) node.tick();
    await turns();
  }
  assert.deepEqual(ends, []);
  for (const node of nodes) node.tick();
  await turns();
  assert.deepEqual(ends.sort(), ['gateway cut', 'home cut']);
  assert.deepEqual(
    nodes.map(({ size }) => size),
    [0, 0],
  );
  for (const node of nodes) node.close();
});

test('a process that was stopped for long ends no stream', async () => {
  const { nodes, ends } = await stream(new LocalNetwork());
  for (let n = 0; n < 3; n++) {
    nodes[0]!.tick();
    await turns();
  }
  // The other one continues: one interval has passed for it.
  nodes[1]!.tick();
  await turns();
  assert.deepEqual(ends, []);
  for (const node of nodes) node.close();
});

test('a node that gives no signs of life is of an earlier version: its streams go on', async () => {
  const { nodes, ends } = await stream(new LocalNetwork());
  for (let n = 0; n < 30; n++) {
    nodes[0]!.tick();
    await turns();
  }
  assert.deepEqual(ends, []);
  for (const node of nodes) node.close();
});
