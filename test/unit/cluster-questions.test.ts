/** Questions to every other node, while slots move: each node answers once, and none is asked in place of another. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Jid } from '../../src/server/address/jid.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { ClusterNode, type NodeOptions } from '../../src/server/cluster/node.js';
import { ParcelError } from '../../src/server/cluster/parcel.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const host = Jid.parse('localhost');
const seeds = Array.from({ length: Number(process.env.ROUNDS ?? 4) }, (_, n) => Number(process.env.SEED ?? 1) + n);

class World {
  readonly data = new MemoryStorage();
  readonly nodes = new Map<string, ClusterNode>();
  readonly network: LocalNetwork;

  constructor(seed?: number) {
    this.network = new LocalNetwork(seed === undefined ? {} : { random: mulberry32(seed), delays: 0.2, cuts: 0.02 });
    after(() => {
      for (const node of this.nodes.values()) node.kill();
    });
  }

  async start(id: string, more: Partial<NodeOptions> = {}): Promise<ClusterNode> {
    const node = await ClusterNode.join({
      id,
      address: id,
      version: '1',
      storage: this.data.handle(),
      network: this.network,
      unreachableMs: 0,
      receiver: { receive: () => {}, answer: async ({ payload }) => `${id} ${payload}` },
      pausing: () => turn(),
      finishing: async () => {},
      async *state() {},
      left: () => {},
      stayed: () => {},
      viewed: () => {},
      gained: () => {},
      caughtUp: () => {},
      expelled: () => {},
      warn: () => {},
      ...more,
    });
    this.nodes.set(id, node);
    await node.enter();
    return node;
  }

  async rest(): Promise<void> {
    const all = [...this.nodes.values()];
    const isAtRest = () => all.every(({ view, isAtRest }) => isAtRest && view.members.length === all.length);
    // Every node has its share.
    const haveSlots = () => all.every((node) => all[0]!.view.slots.includes(node.number));
    while (!isAtRest() || !haveSlots()) await turn();
  }
}

for (const seed of seeds)
  test(`each other node answers, whichever of its slots move meanwhile (seed ${seed})`, async () => {
    const world = new World(seed % 2 === 0 ? seed : undefined);
    const random = mulberry32(seed);
    const [a, b, c] = [await world.start('a'), await world.start('b'), await world.start('c')];
    await world.rest();
    const all = [a, b, c];
    const first = (node: ClusterNode) => node.view.slots.indexOf(node.number);
    let isOver = false;
    // The first slots of a node are those that a question names.
    const moving = (async () => {
      while (!isOver) {
        const from = all[Math.floor(random() * 3)]!;
        const to = all.filter((one) => one !== from)[Math.floor(random() * 2)]!;
        if (first(from) >= 0) await from.give([first(from)], to.name.id);
        await turn();
      }
    })();
    for (let count = 0; count < 100; count++) {
      const asker = all[count % 3]!;
      const answers = await Promise.all(asker.askOthers(host, String(count), 60_000));
      const others = all.filter((one) => one !== asker).map(({ name }) => `${name.id} ${count}`);
      assert.deepEqual(answers.sort(), others);
      await turn();
    }
    isOver = true;
    await moving;
    assert.ok(a.view.version > 20, 'slots have moved');
  });

test('a node that has left or is gone answers nothing, and one without slots is not asked', async () => {
  const world = new World();
  const a = await world.start('a');
  assert.deepEqual(a.askOthers(host, 'x', 60_000), []);
  let asked = (): void => {};
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  const answer = async (): Promise<string> => {
    asked();
    return new Promise(() => {});
  };
  const b = await world.start('b', { receiver: { receive: () => {}, answer } });
  await world.rest();
  const [question, ...more] = a.askOthers(host, 'x', 60_000);
  assert.equal(more.length, 0);
  await isAsked;
  b.kill();
  world.nodes.delete('b');
  await Promise.all([
    assert.rejects(question!, (error) => error instanceof ParcelError && error.reason === 'lost'),
    a.expel('b'),
  ]);
  assert.deepEqual(a.askOthers(host, 'x', 60_000), []);
  assert.equal(a.inspection.questions, 0);
});
