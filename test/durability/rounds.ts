/** Rounds of load that a fault ends, and the reckoning after each. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ServerProcess } from '../interop/server.js';
import { withoutLimits } from '../interop/unlimited.js';
import { changeling } from './newcomers.js';
import type { Random } from './random.js';
import { type Cast, password, type World } from './world.js';

/** What has warnings and errors. */
interface Logging {
  takeLog(): string[];
}

/** How a round ends: the server with it, and another has begun when it resolves. */
export interface Ending<Server extends Logging = ServerProcess> {
  readonly name: string;
  /** After an orderly stop no session is lost, and nothing is duplicated. */
  readonly inOrder: boolean;
  end(server: Server): Promise<void>;
}

/** Everybody that a world can have, with all kinds of habits. */
export const cast: Cast = [
  ['anna@localhost/phone', 'steady'],
  ['anna@localhost/desk', 'hasty'],
  ['bert@localhost/one', 'steady'],
  ['cleo@localhost/one', 'hasty'],
  ['dora@localhost/one', 'hasty'],
  ['emil@localhost/one', 'fickle'],
  ['fred@localhost/one', 'fickle'],
  ['gina@localhost/one', 'absent'],
  ['hans@localhost/one', 'absent'],
];

/** A seed, from SEED where that is set. */
export const seedOf = (): number => Number(process.env.SEED ?? Date.now() % 1_000_000);

/** A server without limits. */
export function serve(
  options: { readonly data?: string; readonly accounts?: readonly string[] } = {},
): Promise<ServerProcess> {
  const addresses = options.accounts ?? cast.map(([address]) => address.split('/')[0]!);
  return ServerProcess.start({
    ...(options.data !== undefined && { data: options.data }),
    accounts: {
      ...Object.fromEntries(addresses.map((address) => [address, password])),
      'pia@localhost': changeling.password,
    },
    config: withoutLimits,
  });
}

/** One round: load, a fault in the midst of it, more load, and then the books. */
export async function round<Server extends Logging>(
  t: TestContext,
  { server, world, random, ending }: { server: Server; world: World; random: Random; ending: Ending<Server> },
): Promise<void> {
  if (world.isBroken) return t.skip('a round before has failed');
  world.isBroken = true;
  world.begin();
  await pause(random.between(200, 1200));
  await ending.end(server);
  await pause(random.between(0, 200));
  await world.end();
  await world.settle();
  const wrong = world.takeWrong();
  const { messages, doubled, takenBack } = await world.compare();
  t.diagnostic(
    `${messages} messages, ${doubled} came twice, ${takenBack} heard in rooms, not acknowledged and not kept`,
  );
  assert.deepEqual([...wrong, ...world.takeWrong()].slice(0, 10), []);
  if (ending.inOrder) assert.deepEqual(world.doubled().slice(0, 10), [], 'stopped in order, and doubled messages');
  assert.deepEqual(server.takeLog(), [], 'the server complained');
  world.forget();
  for (const { habit, client } of world.actors) if (habit === 'absent') await client.leave();
  world.isBroken = false;
}
