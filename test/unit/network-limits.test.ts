import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { NetworkLimits } from '../../src/server/network-limits.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const address = '192.0.2.1';

interface Options {
  readonly most?: number;
  readonly perMinute?: number;
  readonly nodes?: number;
  /** Before the home answers. */
  readonly answer?: () => Promise<void>;
}

/** Nodes of a cluster; the home of every address is one of them. */
function cluster({
  most = 20,
  perMinute = Number.POSITIVE_INFINITY,
  nodes: count = 2,
  answer = async () => {},
}: Options) {
  const gone = new Set<string>();
  const made = { home: 0, asked: 0, nodes: [] as NetworkLimits[], gone };
  made.nodes = Array.from(
    { length: count },
    (_, at) =>
      new NetworkLimits({
        limits: () => ({ connections_per_address: most, connections_per_minute: perMinute }),
        isShared: (address) => address === '127.0.0.1',
        cluster: () => ({
          nodeCount: count - gone.size,
          nodeName: `node ${at}`,
          isMember: (name) => !gone.has(name),
        }),
        ask: async (given) => {
          made.asked++;
          await answer();
          return made.nodes[made.home]!.lend(given);
        },
        failed: () => {},
      }),
  );
  return made;
}

const idle = async (): Promise<void> => {
  for (let n = 0; n < 50; n++) await setImmediate();
};

test('a single server counts by itself', () => {
  const { nodes, ...made } = cluster({ nodes: 1, most: 3 });
  const [node] = nodes as [NetworkLimits];
  for (let n = 0; n < 3; n++) assert.equal(node.enter(address), undefined);
  assert.equal(node.enter(address), 'connections_per_address');
  assert.equal(node.enterNow(address), 'connections_per_address');
  assert.equal(node.enter('192.0.2.2'), undefined);
  for (let n = 0; n < 9; n++) assert.equal(node.enter('127.0.0.1'), undefined);
  node.leave(address);
  assert.equal(node.enterNow(address), undefined);
  assert.equal(made.asked, 0);
});

test('a few connections of an address ask nobody', () => {
  const made = cluster({});
  for (const node of made.nodes) for (let n = 0; n < 5; n++) assert.equal(node.enter(address), undefined);
  assert.equal(made.asked, 0);
});

test('a flood over two nodes is bounded as over one, and the places are returned', async () => {
  const made = cluster({});
  for (let round = 0; round < 3; round++) {
    const entered = made.nodes.map((node) => Promise.all(Array.from({ length: 50 }, () => node.enter(address))));
    const accepted = (await Promise.all(entered)).map((all) => all.filter((limit) => limit === undefined).length);
    assert.equal(accepted[0]! + accepted[1]!, 20, String(accepted));
    assert.equal(await made.nodes[0]!.enter(address), 'connections_per_address');
    accepted.forEach((count, at) => {
      for (let n = 0; n < count; n++) made.nodes[at]!.leave(address);
    });
    await idle();
  }
});

test('one node gets most of it, if the others have nothing to do', async () => {
  const { nodes } = cluster({ nodes: 4 });
  const entered = await Promise.all(Array.from({ length: 50 }, () => nodes[3]!.enter(address)));
  // Its share of 2, and what is lent: 20 less the shares of all.
  assert.equal(entered.filter((limit) => limit === undefined).length, 14);
});

test('the rate holds for all nodes together', async () => {
  const { nodes } = cluster({ most: 10, perMinute: 10 });
  let accepted = 0;
  for (let round = 0; round < 20; round++)
    for (const node of nodes) {
      const limit = await node.enter(address);
      if (limit === undefined) {
        accepted++;
        node.leave(address);
      } else assert.equal(limit, 'connections_per_minute');
    }
  // The rate rounds up by half a step at each bucket.
  assert.ok(accepted >= 10 && accepted <= 13, `${accepted} accepted`);
});

test('if the home does not answer, a node decides by itself', async () => {
  const { nodes } = cluster({ answer: () => Promise.reject(new Error('lost')) });
  const entered = await Promise.all(Array.from({ length: 50 }, () => nodes[0]!.enter(address)));
  assert.equal(entered.filter((limit) => limit === undefined).length, 20);
});

test('a new home learns what is lent, and what a dead node had is free again', async () => {
  const made = cluster({ nodes: 3, most: 30 });
  const [one, two] = made.nodes as [NetworkLimits, NetworkLimits];
  for (const node of [one, two]) for (let n = 0; n < 12; n++) assert.equal(await node.enter(address), undefined);
  made.home = 2;
  for (const node of made.nodes) await node.viewed();
  const more = await Promise.all(Array.from({ length: 30 }, () => one.enter(address)));
  // Of the 15 that are lent each has 7.
  assert.equal(more.filter((limit) => limit === undefined).length, 1);
  made.gone.add('node 1');
  await one.viewed();
  const then = await Promise.all(Array.from({ length: 30 }, () => one.enter(address)));
  // Its share is 7 of the 15 now, and the pool 16.
  assert.equal(13 + then.filter((limit) => limit === undefined).length, 23);
});

for (const seed of [1, 2, 3, 4, 5]) {
  test(`whatever connects and disconnects, the sum is bounded, and nothing is left at the end (${seed})`, async () => {
    const random = mulberry32(seed);
    const most = 1 + Math.floor(random() * 40);
    const made = cluster({
      most,
      nodes: 1 + Math.floor(random() * 5),
      answer: async () => {
        for (let turns = random() * 4; turns > 0; turns--) await setImmediate();
      },
    });
    let open = 0;
    let accepted = 0;
    const clients = Array.from({ length: 60 }, async () => {
      for (let n = 0; n < 20; n++) {
        const node = made.nodes[Math.floor(random() * made.nodes.length)]!;
        if ((await node.enter(address)) !== undefined) continue;
        open++;
        accepted++;
        assert.ok(open <= most, `${open} of ${most}`);
        for (let turns = random() * 5; turns > 0; turns--) await setImmediate();
        open--;
        node.leave(address);
      }
    });
    await Promise.all(clients);
    assert.ok(accepted > 0);
    await idle();
    for (const node of made.nodes) {
      const answer = node.lend({ block: address, by: 'another', held: 0, wanted: 1000, arrivals: 0 });
      const shares = made.nodes.length === 1 ? most : made.nodes.length * Math.floor(most / (2 * made.nodes.length));
      assert.equal(answer.places, most - shares, 'all of the pool is free');
      node.lend({ block: address, by: 'another', held: 0, wanted: 0, arrivals: 0 });
    }
  });
}
