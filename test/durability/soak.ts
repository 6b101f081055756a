/**
 * Mixed load over a bad network for a long time: data is delayed, fragmented, cut, half closed, or missing. Clients
 * resume their sessions; nothing is lost, duplicated, reordered or refused, also in rooms, and memory does not grow.
 *
 * SECONDS sets the duration (default: 30 if CI is set, otherwise 600), CLIENTS the number of clients (default: 12).
 * SEED repeats a run as far as timing allows. The event loop delay and the memory of the server are printed for each
 * window.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { ServerProcess } from '../interop/server.js';
import { randomFrom } from './random.js';
import { RoughRelay } from './relay.js';
import { seedOf, serve } from './rounds.js';
import { Scrape } from './scrape.js';
import { type Cast, World } from './world.js';

const seed = seedOf();
const seconds = Number(process.env.SECONDS ?? (process.env.CI === undefined ? 600 : 30));
const clients = Number(process.env.CLIENTS ?? 12);
const random = randomFrom(seed);

/** How long one window is, in ms: then the books are compared. */
const windowMs = 10_000;
const weather = { delay: 15, pieces: 0.2, cut: 0.002, end: 0.001, silence: 0.001 };
/** The first window whose memory counts: by then the caches are full. */
const leastWindows = 12;
/** The allowed growth of memory from the first half to the second: as a factor, and in MiB. */
const growth = 1.25;
const slack = 24;

interface Sample {
  /** Event loop delay in ms, 99th percentile of the window. */
  readonly p99: number;
  /** In MiB. */
  readonly rss: number;
  readonly heap: number;
}

test(`${seconds} s, ${clients} clients, seed ${seed}`, { timeout: seconds * 4000 + 300_000 }, async (t) => {
  const names = Array.from({ length: clients }, (_, n) => `user${n}@localhost`);
  const cast: Cast = names.map((bare, n) => [`${bare}/one`, n % 3 === 0 ? 'steady' : 'hasty']);
  const server = await serve({ accounts: names });
  t.after(() => server.close());
  const relay = await RoughRelay.open(random, () => server.port('c2s'));
  t.after(() => relay.close());
  const world = new World({
    cast,
    random,
    port: () => relay.port,
    rooms: ['hall', 'yard'],
    newcomers: false,
    burst: 2,
    silence: 1500,
    faithful: true,
  });
  await world.settle();
  const samples: Sample[] = [];
  let messages = 0;
  await sample(server);
  for (const until = Date.now() + seconds * 1000; Date.now() < until; ) {
    relay.weather = weather;
    world.begin();
    await pause(Math.min(windowMs, until - Date.now()));
    await world.end();
    relay.weather = undefined;
    samples.push(await sample(server));
    await world.settle();
    const figures = await world.compare();
    messages += figures.messages;
    assert.deepEqual(world.takeWrong().slice(0, 10), []);
    assert.deepEqual(world.doubled().slice(0, 10), [], 'came twice');
    assert.equal(figures.takenBack, 0);
    for (const { address, client } of world.actors) assert.equal(client.refused, 0, `${address} could not resume`);
    assert.deepEqual(server.takeLog(), [], 'the server complained');
    world.forget();
    const { p99, rss, heap } = samples.at(-1)!;
    // Immediately, because the run takes long.
    console.log(`${figures.messages} messages; event loop p99 ${p99.toFixed(1)} ms; ${rss} MiB, heap ${heap} MiB`);
  }
  await world.compareAll();
  const resumed = world.actors.reduce((sum, { client }) => sum + client.resumed, 0);
  const { cut, end, silence, pieces } = relay.done;
  t.diagnostic(
    `${messages} messages, none lost or doubled; ${resumed} resumptions after ${cut} cuts, ${end} half closes, ${silence} silences; ${pieces} chunks in pieces`,
  );
  if (samples.length < leastWindows) return;
  const half = Math.floor(samples.length / 2);
  for (const what of ['rss', 'heap'] as const) {
    const before = median(samples.slice(2, half).map((one) => one[what]));
    const after = median(samples.slice(half).map((one) => one[what]));
    t.diagnostic(`${what}: ${before} MiB, then ${after} MiB`);
    assert.ok(after <= before * growth + slack, `${what} grew from ${before} to ${after} MiB`);
  }
});

/** Of the time since the last. */
async function sample(server: ServerProcess): Promise<Sample> {
  const scrape = await Scrape.of(server);
  return {
    p99: scrape.value('waxwing_event_loop_delay_p99_seconds') * 1000,
    rss: scrape.mebibytes('process_resident_memory_bytes'),
    heap: scrape.mebibytes('nodejs_heap_size_used_bytes'),
  };
}

const median = (values: readonly number[]): number =>
  [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
