/**
 * A server that is told to stop (SIGTERM) under load: every client hears `system-shutdown` and its stream is closed as one
 * should; nothing is lost or comes twice; and every session is resumed with the server that comes after.
 *
 * SEED repeats a run as far as timing lets it; ROUNDS says how many (default: 3 where CI is set, else 20).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomFrom } from './random.js';
import { cast, type Ending, round, seedOf, serve } from './rounds.js';
import { World } from './world.js';

const seed = seedOf();
const rounds = Number(process.env.ROUNDS ?? (process.env.CI === undefined ? 20 : 3));
const random = randomFrom(seed);
/** Nobody loses a session but by the server's doing. */
const faithful = cast.filter(([, habit]) => habit !== 'fickle');

test(`${rounds} stops, seed ${seed}`, { timeout: 60_000 + rounds * 40_000 }, async (t) => {
  const server = await serve();
  t.after(() => server.close());
  const port = () => server.port('c2s');
  const world = new World({ cast: faithful, random, port, rooms: ['hall', 'yard'], newcomers: true, burst: 8 });
  const stop: Ending = {
    name: 'stop',
    inOrder: true,
    end: async (server) => {
      for (const { client } of world.actors) client.end = undefined;
      const there = world.actors.filter(({ client, habit }) => client.online && habit === 'steady');
      await server.stop();
      for (const { address, client } of there)
        assert.deepEqual(client.end, { condition: 'system-shutdown', closed: true, reset: false }, address);
      for (const { address, client } of world.actors)
        if (client.end !== undefined) assert.equal(client.end.condition, 'system-shutdown', address);
      await server.start();
    },
  };
  for (let n = 0; n < rounds; n++) {
    await t.test(`round ${n + 1}`, async (t) => {
      const before = world.actors.reduce((sum, { client }) => sum + client.resumed, 0);
      await round(t, { server, world, random, ending: stop });
      const resumed = world.actors.reduce((sum, { client }) => sum + client.resumed, 0) - before;
      t.diagnostic(`${resumed} times a session was resumed`);
      for (const { address, client } of world.actors) assert.equal(client.refused, 0, `${address} could not resume`);
    });
  }
  await t.test('the archives are what they were', () => world.compareAll());
});
