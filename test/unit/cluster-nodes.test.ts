/** Several nodes over one storage, while slots move: nothing is lost, doubled or overtaken. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Jid } from '../../src/server/address/jid.js';
import type { Handed } from '../../src/server/cluster/giving.js';
import type { Delivery } from '../../src/server/cluster/inbox.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { ClusterNode, type NodeOptions } from '../../src/server/cluster/node.js';
import { ParcelError } from '../../src/server/cluster/parcel.js';
import { slotOf } from '../../src/server/cluster/slots.js';
import { ViewStore } from '../../src/server/cluster/view.js';
import { StorageError } from '../../src/storage/contract.js';
import { late } from '../../src/storage/late.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

/** SEED and ROUNDS of the environment repeat and lengthen the run. Every other seed has late storage and wires that break. */
const seeds = Array.from({ length: Number(process.env.ROUNDS ?? 6) }, (_, n) => Number(process.env.SEED ?? 1) + n);

interface Arrival {
  readonly at: string;
  readonly to: string;
  readonly payload: string;
  readonly isAgain: boolean;
}

/** A cluster in this process. */
class World {
  readonly random: () => number;
  readonly network: LocalNetwork;
  readonly data = new MemoryStorage();
  readonly arrived: Arrival[] = [];
  readonly nodes = new Map<string, ClusterNode>();
  readonly warnings: string[] = [];
  readonly expelled: string[] = [];
  /** The only node that acts for each slot. */
  readonly actors = new Map<number, string>();

  constructor(
    readonly seed: number,
    readonly isRough: boolean,
  ) {
    this.random = mulberry32(seed);
    this.network = new LocalNetwork(isRough ? { random: mulberry32(seed + 99), delays: 0.2, cuts: 0.02 } : {});
    after(() => {
      for (const node of this.nodes.values()) node.kill();
    });
  }

  async start(id: string, more: Partial<NodeOptions> = {}): Promise<ClusterNode> {
    const storage = this.isRough ? late(this.data.handle(), this.seed) : this.data.handle();
    const node: ClusterNode = await ClusterNode.join({
      id,
      address: id,
      version: '1',
      storage,
      network: this.network,
      unreachableMs: 0,
      receiver: {
        receive: (delivery) => this.#receive(id, node, delivery),
        answer: async ({ payload }) => `${id} says ${payload}`,
      },
      pausing: async () => {
        await turn();
      },
      finishing: async () => {},
      state: (slots) => this.#state(id, slots),
      left: () => {},
      stayed: (slots) => {
        for (const slot of slots) this.actors.set(slot, id);
      },
      viewed: () => {},
      gained: (slots, states) => {
        this.#gained(slots, states);
        for (const slot of slots) {
          const other = this.actors.get(slot);
          if (other !== undefined && other !== id)
            assert.ok(this.expelled.includes(other), `${id} and ${other} act for slot ${slot}`);
          this.actors.set(slot, id);
        }
      },
      caughtUp: () => {},
      expelled: () => this.expelled.push(id),
      warn: (message) => this.warnings.push(message),
      ...more,
    });
    this.nodes.set(id, node);
    await node.enter();
    return node;
  }

  /** How often each slot was handed over; each home tells the next one. */
  readonly moves = new Map<number, number>();

  async *#state(id: string, slots: ReadonlySet<number>): AsyncGenerator<Handed> {
    for (const slot of slots) if (this.actors.get(slot) === id) this.actors.delete(slot);
    yield { slot: undefined, state: id };
    await turn();
    for (const slot of slots) if (slot < 99) yield { slot, state: JSON.stringify([slot, this.moves.get(slot) ?? 0]) };
  }

  #gained(slots: ReadonlySet<number>, states: readonly string[]): void {
    for (const state of states) {
      if (!state.startsWith('[')) continue;
      const [slot, moves] = JSON.parse(state) as [number, number];
      assert.ok(slots.has(slot));
      assert.equal(moves, this.moves.get(slot) ?? 0, 'the state of an earlier hand-over');
      this.moves.set(slot, moves + 1);
    }
  }

  #receive(id: string, node: ClusterNode, delivery: Delivery): void | Promise<void> {
    const to = delivery.to[0]!;
    assert.ok(node.acts(slotOf(to)), `${id} handles what is not its own`);
    assert.equal(this.actors.get(slotOf(to)), id);
    this.arrived.push({ at: id, to, payload: delivery.payload, isAgain: delivery.isRepeated });
    if (this.random() < 0.2) delivery.acknowledgeAfter(turn());
    if (this.random() < 0.2) return turn();
  }

  /** Two different nodes. */
  pick(): [ClusterNode, ClusterNode] {
    const nodes = [...this.nodes.values()];
    const [first] = nodes.splice(Math.floor(this.random() * nodes.length), 1);
    return [first!, nodes[Math.floor(this.random() * nodes.length)]!];
  }

  /** Resolves when each node has the latest view, no slot moves, and each slot has a home. */
  async rest(): Promise<void> {
    const isAtRest = (): boolean => {
      const nodes = [...this.nodes.values()];
      const [first] = nodes;
      const shares = new Map<number, number>();
      for (const number of first!.view.slots) shares.set(number, (shares.get(number) ?? 0) + 1);
      const counts = [...shares.values()];
      return (
        nodes.every(({ view }) => view.version === first!.view.version) &&
        first!.view.members.length === nodes.length &&
        first!.view.handingOver === null &&
        counts.length === nodes.length &&
        Math.max(...counts) - Math.min(...counts) <= 4096 / counts.length / 8 &&
        nodes.every(
          ({ inspection: { unconfirmed, held, pending, begun } }) => unconfirmed + held + pending + begun === 0,
        ) &&
        first!.view.slots.every((_, slot) => nodes.filter((node) => node.acts(slot)).length === 1)
      );
    };
    while (!isAtRest()) await turn();
  }
}

const users = Array.from({ length: 40 }, (_, n) => Jid.parse(`user${n}@example.org`));

/** Sends from each node to a user in each turn until stopped. Numbers are counted per sender and user. */
function talk(world: World): () => Promise<string[]> {
  let isOver = false;
  const counters = new Map<string, number>();
  const sent: string[] = [];
  const outcomes: Promise<void>[] = [];
  const run = async (): Promise<void> => {
    while (!isOver) {
      for (const [id, node] of world.nodes) {
        if (world.random() < 0.3) continue;
        const user = users[Math.floor(world.random() * users.length)]!;
        const line = `${id} ${user.bare}`;
        const count = (counters.get(line) ?? 0) + 1;
        counters.set(line, count);
        const payload = `${line} ${count}`;
        const away = node.of(user);
        if (away === undefined) {
          // A local address is handled locally, without a queue.
          assert.equal(world.actors.get(slotOf(user.bare)), id);
          world.arrived.push({ at: id, to: user.bare, payload, isAgain: false });
          sent.push(payload);
          continue;
        }
        const { confirmed } = away.send([user], payload, { isOnce: false });
        sent.push(payload);
        outcomes.push(
          confirmed.catch((error: unknown) => {
            if (!(error instanceof ParcelError && error.reason === 'closed')) throw error;
            sent.splice(sent.indexOf(payload), 1);
          }),
        );
      }
      await turn();
    }
  };
  const running = run();
  return async () => {
    isOver = true;
    await running;
    await Promise.all(outcomes);
    return sent;
  };
}

/** Everything arrived once, and in order from each sender for each user. */
function assertInOrder(world: World, sent: readonly string[], lines = /./): void {
  const first = new Set<string>();
  const last = new Map<string, number>();
  for (const { payload, isAgain } of world.arrived) {
    if (first.has(payload)) {
      assert.ok(isAgain, `${payload} arrived twice`);
      continue;
    }
    first.add(payload);
    const [, line, count] = /^(.*) (\d+)$/.exec(payload) ?? assert.fail(`${JSON.stringify(payload)} arrived`);
    assert.ok(Number(count) > (last.get(line!) ?? 0), `${payload} was overtaken`);
    last.set(line!, Number(count));
  }
  const lost = sent.filter((payload) => lines.test(payload) && !first.has(payload));
  assert.deepEqual(lost, []);
}

test('one node is the home of everything', async () => {
  const world = new World(1, false);
  const node = await world.start('a');
  for (const user of users) assert.equal(node.of(user), undefined);
  assert.equal(node.hasJob('anything'), true);
  assert.equal(node.memberOf(users[0]!)!.id, 'a');
});

test('two nodes share the slots, and agree on every home', async () => {
  const world = new World(1, false);
  const [a, b] = [await world.start('a'), await world.start('b')];
  await world.rest();
  for (const user of users) {
    const homes = [a, b].filter((node) => node.of(user) === undefined);
    assert.equal(homes.length, 1);
    assert.equal(a.memberOf(user)!.id, homes[0]!.name.id);
    assert.equal(b.memberOf(user)!.id, homes[0]!.name.id);
  }
  assert.equal([a, b].filter((node) => node.hasJob('sweep')).length, 1);
  const away = users.find((user) => a.of(user) !== undefined)!;
  await a.of(away)!.send([away], 'hello', { isOnce: true }).confirmed;
  assert.deepEqual(world.arrived, [{ at: 'b', to: away.bare, payload: 'hello', isAgain: false }]);
  assert.deepEqual(world.warnings, []);
});

for (const seed of seeds)
  test(`nodes join and leave under load: nothing is lost, duplicated or reordered (seed ${seed})`, async () => {
    const world = new World(seed, seed % 2 === 0);
    await world.start('a');
    const stop = talk(world);
    await world.start('b');
    for (let n = 0; n < 30; n++) await turn();
    await Promise.all([world.start('c'), world.start('d')]);
    for (let n = 0; n < 30; n++) await turn();
    const leaving = world.nodes.get('b')!;
    world.nodes.delete('b');
    await leaving.leave();
    const first = world.nodes.get('a')!;
    world.nodes.delete('a');
    await first.leave();
    await world.start('a');
    const sent = await stop();
    await world.rest();
    assertInOrder(world, sent);
    assert.ok(world.arrived.every(({ isAgain }) => !isAgain));
    assert.deepEqual(world.expelled, []);
  });

for (const seed of seeds)
  test(`a node dies under load: stanzas for it reach the new homes (seed ${seed})`, async () => {
    const world = new World(seed, seed % 2 === 0);
    for (const id of ['a', 'b', 'c']) await world.start(id);
    const stop = talk(world);
    for (let n = 0; n < 30; n++) await turn();
    const dead = world.nodes.get('b')!;
    world.nodes.delete('b');
    world.expelled.push('b');
    dead.kill();
    for (let n = 0; n < 10; n++) await turn();
    await Promise.all(['a', 'c'].map((id) => world.nodes.get(id)!.expel('b')));
    for (let n = 0; n < 30; n++) await turn();
    const sent = await stop();
    await world.rest();
    // The last messages of the dead node are lost with it, and were not acknowledged.
    assertInOrder(world, sent, /^[ac] /);
    world.expelled.length = 0;
    await world.start('b');
    await world.rest();
    assert.equal(dead.of(users[0]!), dead);
  });

test('the heirs of a dead home know which ids it may have made, before they act for it', async () => {
  const world = new World(3, false);
  let reserved = 1000;
  const from = new Map<string, number>();
  const about = (id: string): Partial<NodeOptions> => ({
    idsReserved: async () => reserved,
    idsFrom: (time) => {
      // The slots of the dead are nobody's yet.
      if (!from.has(id) && id !== 'd') assert.ok([...world.actors.values()].includes('b'));
      from.set(id, time);
    },
  });
  for (const id of ['a', 'b', 'c']) await world.start(id, about(id));
  await world.rest();
  assert.equal(from.size, 0);
  reserved = 5000;
  const dead = world.nodes.get('b')!;
  world.nodes.delete('b');
  world.expelled.push('b');
  dead.kill();
  await world.nodes.get('a')!.expel('b');
  await world.rest();
  assert.deepEqual(Object.fromEntries(from), { a: 5000, c: 5000 });
  assert.ok(![...world.actors.values()].includes('b'));
  // What is known is not forgotten, also by who joins later.
  reserved = 10;
  world.nodes.get('c')!.kill();
  world.nodes.delete('c');
  world.expelled.push('c');
  await world.nodes.get('a')!.expel('c');
  await world.start('d', about('d'));
  await world.rest();
  assert.deepEqual(Object.fromEntries(from), { a: 5000, c: 5000, d: 5000 });
});

test('a request is lost with its home; everything else is sent to the next home, marked as repeated', async () => {
  const world = new World(1, false);
  const [a, b] = [await world.start('a'), await world.start('b')];
  await world.rest();
  const user = users.find((one) => a.of(one) !== undefined)!;
  world.network.part('b');
  for (let n = 0; n < 5; n++) await turn();
  const once = a.of(user)!.send([user], 'request', { isOnce: true });
  const question = a.of(user)!.ask(user, 'question', 60_000);
  const message = a.of(user)!.send([user], 'message', { isOnce: false });
  const isLost = (error: unknown) => error instanceof ParcelError && error.reason === 'lost';
  const outcomes = Promise.all([assert.rejects(once.confirmed, isLost), assert.rejects(question, isLost)]);
  world.expelled.push('b');
  await a.expel('b');
  await outcomes;
  await message.confirmed;
  assert.deepEqual(world.arrived, [{ at: 'a', to: user.bare, payload: 'message', isAgain: true }]);
  // The other was not dead at all, and can do nothing.
  world.network.rejoin('b');
  world.expelled.length = 0;
  await assert.rejects(b.expel('a'), (error) => error instanceof StorageError && error.failure === 'fenced');
  assert.deepEqual(world.expelled, ['b']);
  const { confirmed } = b.of(user)!.send([user], 'late', { isOnce: false });
  await assert.rejects(confirmed, (error) => error instanceof ParcelError && error.reason === 'closed');
});

test('questions are answered at the home, in order, with a deadline and a bound', async () => {
  const world = new World(1, false);
  const stuck = new Promise<void>(() => {});
  const a = await world.start('a', { mostQuestions: 2 });
  await world.start('b', {
    receiver: {
      receive: () => {},
      answer: async ({ payload }) => {
        if (payload === 'never') await stuck;
        if (payload === 'bug') throw new Error('a bug');
        return `b says ${payload}`;
      },
    },
  });
  await world.rest();
  const user = users.find((one) => a.of(one) !== undefined)!;
  const away = a.of(user)!;
  assert.equal(await away.ask(user, 'hello', 60_000), 'b says hello');
  const isLost = (error: unknown) => error instanceof ParcelError && error.reason === 'lost';
  await assert.rejects(away.ask(user, 'never', 5), isLost);
  await assert.rejects(away.ask(user, 'bug', 60_000), isLost);
  assert.deepEqual(world.warnings, ['handling a message of another node failed']);
  const late = [away.ask(user, 'never', 60_000), away.ask(user, 'never', 60_000)];
  await assert.rejects(
    away.ask(user, 'hello', 60_000),
    (error) => error instanceof ParcelError && error.reason === 'full',
  );
  a.kill();
  for (const one of late)
    await assert.rejects(one, (error) => error instanceof ParcelError && error.reason === 'closed');
  assert.equal(a.inspection.questions, 0);
});

test('of nodes that leave together, none warns of another that was faster', async () => {
  const world = new World(1, false);
  const a = await world.start('a', { unreachableMs: 100_000 });
  const b = await world.start('b', { unreachableMs: 100_000 });
  await world.rest();
  await a.mark('b', true);
  // The last node waits for the others to hear of it.
  const go = world.network.halt('frames');
  const left = a.leave();
  const views = new ViewStore(world.data.handle());
  while ((await views.read()).members.some(({ id }) => id === 'a')) await turn();
  b.kill();
  await left;
  go();
  assert.deepEqual(world.warnings, []);
  assert.deepEqual(world.expelled, []);
});

test('that a member is gone is logged once, however often it cannot be expelled', async () => {
  const world = new World(1, false);
  let refusals = 0;
  const storage = world.data.handle();
  const fence = storage.fence.bind(storage);
  storage.fence = async (node, epoch) => {
    if (refusals++ < 3) throw new StorageError('unavailable', 'the database is away');
    await fence(node, epoch);
  };
  const a = await world.start('a', { unreachableMs: 100_000, storage });
  const b = await world.start('b');
  await world.rest();
  world.expelled.push('b');
  b.kill();
  while (a.view.members.length > 1) await turn();
  assert.equal(refusals, 4);
  assert.deepEqual(world.warnings, ['node b is gone: it will be expelled', 'expelling node b failed']);
});

test('an unreachable node fences itself', async () => {
  const world = new World(1, false);
  // Far more than a busy machine needs to connect them.
  const a = await world.start('a', { unreachableMs: 1500 });
  await world.start('b');
  await world.rest();
  world.expelled.push('b');
  world.network.part('b');
  while (a.view.members.length > 1) await turn();
  while (users.some((user) => a.of(user) !== undefined)) await turn();
  assert.deepEqual(world.warnings, ['node b is unreachable: it will be expelled']);
});

test('a restarted node follows itself', async () => {
  const world = new World(1, false);
  const a = await world.start('a');
  const before = await world.start('b');
  await world.rest();
  const user = users.find((one) => a.of(one) !== undefined)!;
  before.kill();
  world.expelled.push('b');
  const { confirmed } = a.of(user)!.send([user], 'message', { isOnce: false });
  const now = await world.start('b');
  assert.ok(now.name.epoch > before.name.epoch);
  await confirmed;
  assert.deepEqual(world.arrived, [{ at: 'b', to: user.bare, payload: 'message', isAgain: true }]);
});

test('a storage that lost a view stops the node', async () => {
  const world = new World(1, false);
  const a = await world.start('a');
  const old = await world.data.document('cluster').get('view');
  const b = await world.start('b');
  await world.rest();
  b.kill();
  world.expelled.push('b');
  await world.data.document('cluster').set('view', old);
  // By that view it is with `a` alone, which does not know it.
  void world.start('c');
  while (!world.expelled.includes('a')) await turn();
  assert.match(world.warnings.join(), /the storage has lost commits/);
  assert.equal(a.of(users[0]!), a);
});

test('slots are given to a member, with their state', async () => {
  const world = new World(1, false);
  const [a, b] = [await world.start('a'), await world.start('b')];
  await world.rest();
  const user = users.find((one) => a.of(one) === undefined)!;
  const slot = slotOf(user.bare);
  const before = world.moves.get(7) ?? 0;
  for (let n = 1; n <= 5; n++) {
    const [from, to] = a.acts(slot) ? [a, b] : [b, a];
    const slots = [slot, ...(from.acts(7) ? [7] : [])];
    await from.give(slots, to.name.id);
    assert.equal(from.acts(slot), false);
    await world.rest();
  }
  assert.equal(world.moves.get(7), before + 5);
  // Too many: the shares become even again.
  await a.give(
    Array.from({ length: 4096 }, (_, one) => one).filter((one) => a.acts(one)),
    'b',
  );
  await world.rest();
  await assert.rejects(a.give([slot], 'nobody'), /no member/);
  assert.deepEqual(world.warnings, []);
});

for (const seed of seeds)
  test(`an account that moves with its correspondent does not overtake itself (seed ${seed})`, async () => {
    const world = new World(seed, seed % 2 === 0);
    const [romeo, juliet, ...others] = users;
    const together = [romeo!, juliet!].map(({ bare }) => slotOf(bare));
    const all = [...together, ...others.map(({ bare }) => slotOf(bare))];
    const sent: string[] = [];
    /** Romeo, who lives at this node, writes to Juliet. */
    const writes = (id: string): void => {
      const payload = `romeo ${sent.length + 1}`;
      sent.push(payload);
      const away = world.nodes.get(id)!.of(juliet!);
      if (away === undefined) world.arrived.push({ at: id, to: juliet!.bare, payload, isAgain: false });
      else away.send([juliet!], payload, { isOnce: false });
    };
    const about = (id: string): Partial<NodeOptions> => ({
      finishing: async (slots) => {
        if (slots.has(together[0]!)) for (let n = 0; n < 3; n++) writes(id);
      },
      caughtUp: (slot) => {
        assert.equal(world.actors.get(slot), id);
        assert.equal(world.nodes.get(id)!.isBehind(users.find(({ bare }) => slotOf(bare) === slot)!), false);
      },
    });
    for (const id of ['a', 'b']) await world.start(id, about(id));
    await world.rest();
    // Continues at once at the new home.
    let wasHere = new Set<string>();
    const goesOn = (): void => {
      const here = new Set([...world.nodes].filter(([, node]) => node.isHere(romeo!)).map(([id]) => id));
      for (const id of here) if (!wasHere.has(id)) for (let n = 0; n < 3; n++) writes(id);
      wasHere = here;
    };
    goesOn();
    for (let n = 0; n < 10; n++) {
      const [from, to] = world.nodes.get('a')!.isHere(romeo!) ? ['a', 'b'] : ['b', 'a'];
      let isGiven = false;
      const given = world.nodes.get(from)!.give(
        all.filter((slot) => world.nodes.get(from)!.acts(slot)),
        to,
      );
      void given.then(() => {
        isGiven = true;
      });
      while (!isGiven || !world.nodes.get(to)!.isHere(romeo!)) {
        await turn();
        goesOn();
      }
      goesOn();
      await world.rest();
    }
    assertInOrder(world, sent);
    assert.equal(world.arrived.length, sent.length);
  });

for (const seed of seeds)
  test(`slots are given to and fro while all talk: nothing is lost, doubled or overtaken (seed ${seed})`, async () => {
    const world = new World(seed, seed % 2 === 0);
    for (const id of ['a', 'b', 'c']) await world.start(id);
    await world.rest();
    const stop = talk(world);
    for (let n = 0; n < 20; n++) {
      const [from, to] = world.pick();
      const slots = users.map(({ bare }) => slotOf(bare)).filter((slot) => from.acts(slot) && world.random() < 0.5);
      await from.give(slots, to.name.id);
    }
    const sent = await stop();
    await world.rest();
    assertInOrder(world, sent);
    assert.ok(world.arrived.every(({ isAgain }) => !isAgain));
    assert.deepEqual(world.expelled, []);
  });

test('work for an address ends before its slot moves', async () => {
  const world = new World(1, false);
  const [a, b] = [await world.start('a'), await world.start('b')];
  await world.rest();
  const user = users.find((one) => a.of(one) === undefined)!;
  let finish!: () => void;
  a.during(
    user,
    new Promise<void>((resolve) => {
      finish = resolve;
    }),
  );
  const given = a.give([slotOf(user.bare)], 'b');
  for (let n = 0; n < 50; n++) await turn();
  assert.notEqual(b.of(user), undefined);
  assert.notEqual(a.of(user), undefined);
  const { confirmed } = a.of(user)!.send([user], 'meanwhile', { isOnce: false });
  finish();
  await given;
  await confirmed;
  assert.deepEqual(world.arrived, [{ at: 'b', to: user.bare, payload: 'meanwhile', isAgain: false }]);
});

test('a slot stays where it is when the member that it was to go to is gone', async () => {
  const world = new World(1, false);
  const a = await world.start('a');
  await world.start('b');
  await world.rest();
  const user = users.find((one) => a.of(one) === undefined)!;
  let finish!: () => void;
  a.during(
    user,
    new Promise<void>((resolve) => {
      finish = resolve;
    }),
  );
  const given = a.give([slotOf(user.bare)], 'b');
  for (let n = 0; n < 20; n++) await turn();
  world.nodes.get('b')!.kill();
  world.nodes.delete('b');
  world.expelled.push('b');
  await a.expel('b');
  finish();
  await given;
  await world.rest();
  assert.equal(a.of(user), undefined);
  assert.deepEqual(world.warnings, []);
});

test('a hand-over gives way to a frame that is confirmed only after a message to its addresses', async () => {
  const world = new World(1, false);
  let pair: { readonly room: Jid; readonly reader: Jid } | undefined;
  let said: Promise<unknown> | undefined;
  const a = await world.start('a', {
    pausing: async () => {
      // The second time the reader handles nothing more.
      if (pair !== undefined && !a.acts(slotOf(pair.reader.bare)))
        said ??= a.of(pair.room)!.send([pair.room], 'said', { isOnce: false }).confirmed;
      await turn();
    },
  });
  const b = await world.start('b', {
    receiver: {
      receive: (delivery) =>
        delivery.acknowledgeAfter(b.of(pair!.reader)!.send([pair!.reader], 'heard', { isOnce: false }).confirmed),
      answer: async () => '',
    },
  });
  await world.rest();
  const at = (node: ClusterNode) => users.find(({ bare }) => node.acts(slotOf(bare)))!;
  pair = { room: at(b), reader: at(a) };
  await a.give([slotOf(pair.reader.bare)], 'b');
  await said;
  await world.rest();
  assert.equal(b.acts(slotOf(pair.reader.bare)), true);
  assert.deepEqual(world.arrived, [{ at: 'a', to: pair.reader.bare, payload: 'heard', isAgain: false }]);
});
