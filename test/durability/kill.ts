/**
 * Acknowledged data survives the death of the server: clients under load, a server killed at random moments, and a
 * comparison afterwards. A server that is stopped in order loses and duplicates nothing.
 *
 * SEED repeats a run as far as timing allows; ROUNDS sets the number of rounds (default: 5 if CI is set, otherwise 24).
 */
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { randomFrom } from './random.js';
import { cast, type Ending, round, seedOf, serve } from './rounds.js';
import { World } from './world.js';

const seed = seedOf();
const rounds = Number(process.env.ROUNDS ?? (process.env.CI === undefined ? 24 : 5));
const random = randomFrom(seed);

const kill: Ending = {
  name: 'kill',
  inOrder: false,
  end: async (server) => {
    await server.kill();
    await server.start();
  },
};
const stop: Ending = {
  name: 'stop',
  inOrder: true,
  end: async (server) => {
    await server.stop();
    await server.start();
  },
};
const stopThenKill: Ending = {
  name: 'stop, then kill',
  inOrder: false,
  end: async (server) => {
    await stop.end(server);
    await pause(random.between(0, 400));
    await kill.end(server);
  },
};
const killTwice: Ending = {
  name: 'kill, and kill at once',
  inOrder: false,
  end: async (server) => {
    await kill.end(server);
    await pause(random.between(0, 100));
    await kill.end(server);
  },
};
const killWhileStopping: Ending = {
  name: 'killed while it stops',
  inOrder: false,
  end: async (server) => {
    process.kill(server.pid, 'SIGTERM');
    await pause(random.between(0, 120));
    await kill.end(server);
  },
};
const endings: readonly Ending[] = [kill, stop, stopThenKill, killWhileStopping, killTwice];

test(`${rounds} rounds, seed ${seed}`, { timeout: 300_000 + rounds * 60_000 }, async (t) => {
  const server = await serve();
  t.after(() => server.close());
  const port = () => server.port('c2s');
  const world = new World({ cast, random, port, rooms: ['hall', 'yard'], newcomers: true, burst: 8 });
  for (let n = 0; n < rounds; n++) {
    const ending = endings[n % endings.length]!;
    await t.test(`round ${n + 1}: ${ending.name}`, (t) => round(t, { server, world, random, ending }));
  }
  await t.test('the archives are unchanged', () => world.compareAll());
});
