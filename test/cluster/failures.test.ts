/**
 * Nodes that fail while clients of all of them are at work: killed, stopped for some seconds, restarted one after the other.
 * Nothing that was acknowledged is lost or doubled, messages between two users keep their order, and presence is right
 * (test/durability/README.md says what is compared). SEED repeats a run as far as timing allows, ROUNDS sets the number of
 * rounds.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { slotOf } from '../../src/server/cluster/slots.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Client } from '../durability/client.js';
import { randomFrom } from '../durability/random.js';
import { cast, type Ending, round, seedOf } from '../durability/rounds.js';
import { password, World } from '../durability/world.js';
import { restarts, within } from '../interop/server.js';
import { dropAll } from '../postgresql/server.js';
import { Cluster, links, type Name, names } from './nodes.js';

const seed = seedOf();
const random = randomFrom(seed);
const rounds = Number(process.env.ROUNDS ?? 4);
/** Ms after which a client that gets no answer tries another node. */
const silence = 4000;

const idlers = Array.from({ length: 24 }, (_, n) => `idler${n}@localhost`);
const friends = Array.from({ length: 30 }, (_, n) => `friend-${n}-${n * n}@localhost`);
const accounts = [...cast.map(([address]) => address.split('/')[0]!), ...idlers, ...friends];

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.start({
    accounts: Object.fromEntries(accounts.map((account) => [account, password])),
  });
});
after(async () => {
  await cluster?.close();
  await dropAll();
});

/** Milliseconds, sorted, in a few figures. */
const figures = (times: readonly number[]): string => {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
  return `half ${at(0.5)} ms, 95 % ${at(0.95)} ms, all ${sorted.at(-1)} ms`;
};

/** A client that stays online through whichever node. */
class Idler {
  readonly client: Client;
  isOver = false;

  constructor(readonly account: string) {
    this.client = new Client({ address: `${account}/idle`, password, port: () => cluster.port() });
  }

  /** Resolves with the ms until its home has answered it, on however many connections. */
  async isServed(since: number): Promise<number> {
    const ping = `<ping xmlns='${NS.ping}'/>`;
    for (;;) {
      try {
        if (!this.client.online) await this.client.connect();
        await within(silence, 'an answer', () => this.client.requestNow('get', ping, this.account));
        return Date.now() - since;
      } catch {
        if (this.client.online) this.client.cut();
        await pause(20);
      }
    }
  }
}

test(`idle clients are served again, seed ${seed}`, { timeout: 240_000 }, async (t) => {
  const all = idlers.map((account) => new Idler(account));
  const served = () => Promise.all(all.map((idler) => idler.isServed(Date.now())));
  await served();
  for (const victim of names) {
    await t.test(`after node ${victim} was killed`, async (t) => {
      const since = Date.now();
      const killed = cluster.node(victim).kill();
      const times = await Promise.all(all.map((idler) => idler.isServed(since)));
      t.diagnostic(figures(times));
      await killed;
      await cluster.expels(victim);
      await cluster.rests();
      await cluster.node(victim).start();
      await cluster.rests();
      await served();
    });
  }
  await t.test('after a node was stopped', async (t) => {
    const victim = random.pick(names);
    const since = Date.now();
    let isServed = (): void => {};
    const frozen = cluster.freeze(victim, new Promise<void>((resolve) => (isServed = resolve)));
    const times = await Promise.all(all.map((idler) => idler.isServed(since)));
    t.diagnostic(figures(times));
    await cluster.expels(victim);
    isServed();
    await frozen;
    assert.equal(await cluster.node(victim).gone(), restarts);
    await cluster.node(victim).start();
    await cluster.rests();
    await served();
  });
  await Promise.all(all.map(({ client }) => client.leave()));
});

// --- presence ---------------------------------------------------------------------------------------------------------

/** Friends with each other, one for each node as its home. They know who of them is there. */
class Friend {
  readonly client: Client;
  readonly #seen = new Map<string, boolean>();
  isAway = false;

  constructor(readonly account: string) {
    this.client = new Client({
      address: `${account}/here`,
      password,
      port: () => cluster.port(),
      received: (stanza) => {
        const { from = '', type } = stanza.attrs;
        if (stanza.name !== 'presence') return;
        if (type === 'subscribe') this.client.send(`<presence to='${from}' type='subscribed'/>`);
        if (type === undefined || type === 'unavailable') this.#seen.set(from, type === undefined);
      },
    });
  }

  asks(other: Friend): void {
    this.client.send(`<presence to='${other.account}' type='subscribe'/>`);
  }

  /** Whom it believes to be there. */
  get sees(): string[] {
    return [...this.#seen].flatMap(([from, isThere]) => (isThere ? [from] : [])).sort();
  }
}

class Friends {
  readonly #all: readonly Friend[];

  constructor(accounts: readonly string[]) {
    this.#all = accounts.map((account) => new Friend(account));
    for (const one of this.#all) for (const other of this.#all) if (one !== other) one.asks(other);
  }

  /** One of them goes. */
  async leaves(at: number): Promise<void> {
    const friend = this.#all[at]!;
    friend.isAway = true;
    await friend.client.leave().catch(() => friend.client.forget());
  }

  /** All are there again. */
  return(): void {
    for (const friend of this.#all) friend.isAway = false;
  }

  /** Each sees those who are there, and nobody else. */
  async agree(): Promise<void> {
    await within(120_000, 'the right presence', async () => {
      for (let wrong: readonly string[] | undefined; wrong === undefined || wrong.length > 0; await pause(50)) {
        await Promise.all(this.#there.map((friend) => this.#hears(friend)));
        wrong = this.#there.filter((friend) => !this.#isRight(friend)).map(({ account }) => account);
      }
    });
  }

  get #there(): readonly Friend[] {
    return this.#all.filter(({ isAway }) => !isAway);
  }

  async #hears({ client }: Friend): Promise<void> {
    if (!client.online) await client.connect().catch(() => {});
    else if (client.unacknowledged > 0 && Date.now() - client.heardAt > silence) client.cut();
    else client.acknowledge();
  }

  #isRight(friend: Friend): boolean {
    const right = this.#there.map(({ account }) => `${account}/here`).sort();
    return `${friend.sees}` === `${right}`;
  }

  async end(): Promise<void> {
    await Promise.all(this.#all.map(({ client }) => client.leave().catch(() => client.forget())));
  }
}

// --- rounds -----------------------------------------------------------------------------------------------------------

/** What nodes say about others that are gone, and about themselves when they are expelled. */
const expected =
  /it will be expelled|have fenced this node off|fenced|is not running|cannot be reached|closes links at once|the connection to .* was lost|could not (?!leave the cluster)/;

test(`${rounds} rounds, seed ${seed}`, { timeout: 180_000 + rounds * 90_000 }, async (t) => {
  const world = new World({
    cast,
    random,
    port: () => cluster.port(),
    rooms: ['hall', 'yard'],
    newcomers: false,
    burst: 4,
    silence,
  });
  const homes = new Map(
    await Promise.all(friends.map(async (one) => [await cluster.homeOf(slotOf(one)), one] as const)),
  );
  assert.equal(homes.size, names.length);
  const circle = new Friends([...homes.values()]);
  await circle.agree();
  const returns = async (name: Name): Promise<void> => {
    await pause(random.between(0, 300));
    await cluster.node(name).start();
    await cluster.rests();
  };
  const nodes = { takeLog: () => cluster.complaints(expected) };
  type Fault = Ending<typeof nodes>;
  const kill: Fault = {
    name: 'a node is killed',
    inOrder: false,
    end: async () => {
      const victim = random.pick(names);
      // Also what is acknowledged, by another node, before this process hears that it is gone.
      world.nodeFails();
      await cluster.node(victim).kill();
      world.nodeFails();
      await circle.leaves(random.between(0, 3));
      await cluster.expels(victim);
      await returns(victim);
    },
  };
  const freeze: Fault = {
    name: 'a node is stopped for longer than others wait for it',
    inOrder: false,
    end: async () => {
      const victim = random.pick(names);
      world.nodeFails();
      await cluster.freeze(victim, cluster.expels(victim));
      world.nodeFails();
      assert.equal(await cluster.node(victim).gone(), restarts);
      await returns(victim);
    },
  };
  const pauses: Fault = {
    name: 'a node is stopped for a moment',
    inOrder: true,
    end: async () => {
      await cluster.freeze(random.pick(names), pause(Math.min(2, links.unreachable_seconds / 2) * 1000));
    },
  };
  const rolling: Fault = {
    name: 'all nodes are restarted, one after the other',
    inOrder: true,
    end: async () => {
      for (const name of names) {
        await cluster.node(name).stop();
        await cluster.node(name).start();
        await cluster.rests();
      }
    },
  };
  const endings = (process.env.FAULTS ?? 'kill rolling freeze pauses')
    .split(' ')
    .map((name) => ({ kill, rolling, freeze, pauses })[name]!);
  for (let n = 0; n < rounds; n++) {
    const ending = endings[n % endings.length]!;
    await t.test(`round ${n + 1}: ${ending.name}`, async (t) => {
      const refused = world.actors.reduce((sum, { client }) => sum + client.refused, 0);
      await round(t, { server: nodes, world, random, ending });
      t.diagnostic(`${world.actors.reduce((sum, { client }) => sum + client.refused, 0) - refused} sessions were lost`);
      circle.return();
      await circle.agree();
    });
  }
  await circle.end();
  await t.test('the archives are unchanged', () => world.compareAll());
});
