/** Rounds of load that a fault ends, and the reckoning after each. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { unlimitedRate } from '../compliance/phrases.js';
import { ServerProcess } from '../interop/server.js';
import { changeling } from './newcomers.js';
import type { Random } from './random.js';
import { type Cast, password, type World } from './world.js';

/** How a round ends: the server with it, and another has begun when it resolves. */
export interface Ending {
  readonly name: string;
  /** After an orderly stop no session is lost, and nothing is duplicated. */
  readonly inOrder: boolean;
  end(server: ServerProcess): Promise<void>;
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
    config: {
      auth: {
        scram_iterations: 4096,
        password_min_length: 4,
        attempts_per_stream: 'unlimited',
        failures_per_address: 'unlimited',
        failures_per_account: 'unlimited',
      },
      c2s: { allow_plain_tcp_on_loopback: true, allow_sasl_plain_without_tls: true },
      limits: {
        offline_messages: 'unlimited',
        sessions_per_account: 'unlimited',
        rate: unlimitedRate,
        rate_account: {
          ...unlimitedRate,
          answer_bytes_per_second: 'unlimited',
          answer_byte_burst: 'unlimited',
          cpu_ms_per_second: 'unlimited',
          cpu_ms_burst: 'unlimited',
        },
        rate_unauthenticated: { stanzas_per_second: 'unlimited', stanza_burst: 'unlimited' },
      },
      modules: {
        disabled: ['proxy65'], // it has a port of its own
        offline: { bytes: 'unlimited' },
        muc: { lock_new_rooms: false, defaults: { persistent: true } },
        register: { open: true, per_address: 'unlimited', in_all: 'unlimited' },
        strangers: { local_users: 'known' }, // otherwise messages of unknown senders are held
      },
      stream_management: {
        queue_stanzas: 100_000,
        queue_bytes: '64 MiB',
        hibernated_per_account: 100,
        snapshot_after_seconds: 0,
      },
    },
  });
}

/** One round: load, a fault in the midst of it, more load, and then the books. */
export async function round(
  t: TestContext,
  { server, world, random, ending }: { server: ServerProcess; world: World; random: Random; ending: Ending },
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
