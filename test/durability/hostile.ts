/**
 * Ten accounts at their limits beside a hundred ordinary ones, with the default limits: a calm phase, a storm, another
 * calm phase. No ordinary message is refused, lost, duplicated or reordered, no ordinary stream ends, and memory and
 * disk stay within their budgets. Delays are printed; in the long form the 95th percentile of the storm is at most
 * twice that of the calm phase.
 *
 * SECONDS sets the duration of the storm (default: 20 if CI is set, otherwise 300). SEED repeats the choices of a run.
 * ONLY="flood" (a comma-separated list) restricts the ten to these manners; EACH=1 runs all manners one after another.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { percentile } from '../../bench/measure.js';
import { ServerProcess } from '../interop/server.js';
import { manners } from './manners.js';
import { addressOf, type Delays, password, roomOf, Society } from './ordinary.js';
import { randomFrom } from './random.js';
import { seedOf } from './rounds.js';
import { peakMemory, Scrape } from './scrape.js';
import { nameOf, type Orders, type Tally, villainPassword } from './villain.js';

const isLong = process.env.CI === undefined;
const seed = seedOf();
const seconds = Number(process.env.SECONDS ?? (isLong ? 300 : 20));
const calmSeconds = Math.max(6, Math.min(60, seconds / 5));
const ordinary = 100;
const hostile = 10;
const rooms = 4;
/** The most memory of the server, in MiB: limits.outbound_bytes, two generations of young objects, caches, and the program. */
const memoryBudget = 768;
/** The most that the p95 of ordinary delays may be above that of the calm, in the long form. */
const factor = 2;
/** Delays below that are all the same, in ms. */
const imperceptible = 5;
/**
 * The data that ten accounts can write at their rates, stored for sender and recipient, and again in the write-ahead
 * log.
 */
const diskBudget = (stormSeconds: number): number => hostile * (2 ** 20 + stormSeconds * 128 * 1024) * 3 + 64 * 2 ** 20;

/** Of one phase. */
interface Phase {
  readonly name: string;
  readonly delays: Delays;
  /** Server CPU, as a part of one core. */
  readonly cpu: number;
  /** Of the event loop, p99 in ms. */
  readonly late: number;
  readonly rss: number;
  readonly disk: number;
}

const only = process.env.ONLY?.split(',').map((name) => name.trim());
const each = process.env.EACH === undefined ? undefined : (only ?? Object.keys(manners));
for (const name of only ?? [])
  assert.ok(manners[name] !== undefined, `ONLY names none of ${Object.keys(manners).join(', ')}`);

test(`${seconds} s of ${hostile} hostile accounts beside ${ordinary}, seed ${seed}`, {
  timeout: 3_600_000,
}, async (t) => {
  const users = Array.from({ length: ordinary }, (_, n) => addressOf(n));
  const villains = Array.from({ length: hostile }, (_, n) => `${nameOf(n)}@localhost`);
  const server = await ServerProcess.start({
    accounts: Object.fromEntries([
      ...users.map((address) => [address, password]),
      ...villains.map((address) => [address, villainPassword]),
    ]),
    config: {
      c2s: { allow_plain_tcp_on_loopback: true, allow_sasl_plain_without_tls: true },
      modules: { register: { open: true }, strangers: { local_users: 'known' } },
    },
  });
  t.after(() => server.close());
  const society = new Society({
    accounts: ordinary,
    rooms,
    occupants: 15,
    random: randomFrom(seed),
    port: () => server.port('c2s'),
    overlooks: (from) => from.includes('villain'),
  });
  t.after(() => society.leave());
  await society.enter();
  const orders: Omit<Orders, 'seconds' | 'manners'> = {
    port: server.port('c2s'),
    http: server.port('http'),
    seed,
    count: hostile,
    turn: isLong ? [5_000, 20_000] : [3_000, 8_000],
    users,
    rooms: Array.from({ length: rooms }, (_, n) => roomOf(n)),
  };
  const tallies: Record<string, Tally>[] = [];
  let messages = 0;

  const phase = async (name: string, forSeconds: number, which?: readonly string[]): Promise<Phase> => {
    const before = await Scrape.of(server);
    const began = performance.now();
    society.begin();
    if (which === undefined) await pause(forSeconds * 1000);
    else tallies.push(await storm({ ...orders, seconds: forSeconds, manners: which }));
    const delays = await society.end();
    const after = await Scrape.of(server);
    const cpu = after.value('process_cpu_seconds_total') - before.value('process_cpu_seconds_total');
    messages += await society.settle();
    const found: Phase = {
      name,
      delays,
      cpu: (cpu * 1000) / (performance.now() - began),
      late: after.value('waxwing_event_loop_delay_p99_seconds') * 1000,
      rss: after.mebibytes('process_resident_memory_bytes'),
      disk: folderBytes(server.data),
    };
    console.log(row(found));
    return found;
  };

  console.log(heading);
  await phase('warm-up', 5);
  const calm = await phase('calm', calmSeconds);
  const storms: Phase[] = [];
  if (each === undefined) storms.push(await phase('storm', seconds, only ?? Object.keys(manners)));
  else for (const name of each) storms.push(await phase(name, Math.max(6, seconds / 3), [name]));
  const stormy = storms.at(-1)!;
  await phase('calm again', calmSeconds);

  const peak = peakMemory(server.pid);
  const grown = stormy.disk - calm.disk;
  const limits = (await Scrape.of(server)).byLabel('waxwing_limits_hit_total');
  const log = server.takeLog();
  t.diagnostic(
    `${messages} ordinary messages; peak memory ${peak} MiB; the storm wrote ${Math.round(grown / 2 ** 20)} MiB`,
  );
  t.diagnostic(
    `limits reached: ${[...limits]
      .filter(([, count]) => count > 0)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ')}`,
  );
  for (const [name, { turns, said, bytes, connections, failures }] of Object.entries(
    Object.assign({}, ...tallies) as Record<string, Tally>,
  ))
    t.diagnostic(
      `${name}: ${turns} turns (${failures} cut short), ${said} stanzas, ${Math.round(bytes / 2 ** 20)} MiB, ${connections} connections`,
    );
  for (const line of log.slice(0, 20)) t.diagnostic(`logged: ${line.slice(0, 300)}`);

  assert.deepEqual(society.wrong.slice(0, 10), [], `${society.wrong.length} things went wrong for ordinary users`);
  assert.ok(server.running, 'the server is gone');
  assert.deepEqual(log.filter((line) => !/"level":[1-4]0/.test(line)).slice(0, 10), [], 'the server logged errors');
  assert.ok(peak <= memoryBudget, `the server had ${peak} MiB of memory, and ${memoryBudget} are its budget`);
  const budget = diskBudget(each === undefined ? seconds : each.length * Math.max(6, seconds / 3));
  assert.ok(grown <= budget, `the storm wrote ${grown} bytes, and ${budget} are its budget`);
  for (const { name, delays } of storms) {
    const [quiet, loud] = [calm, { delays }].map((one) => percentile(sorted(one.delays.toRecipient), 0.95));
    const found = `${name}: p95 ${loud!.toFixed(1)} ms, calm ${quiet!.toFixed(1)} ms`;
    t.diagnostic(found);
    if (isLong) assert.ok(loud! <= Math.max(imperceptible, quiet!) * factor, found);
  }
});

/** Runs until they are through. Returns how far they came. */
async function storm(orders: Orders): Promise<Record<string, Tally>> {
  const child = fork(fileURLToPath(new URL('./villains.js', import.meta.url)), [JSON.stringify(orders)]);
  let tallies: Record<string, Tally> = {};
  child.once('message', (message) => {
    tallies = message as Record<string, Tally>;
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  assert.equal(code, 0, 'the hostile accounts did not come to an end');
  return tallies;
}

function folderBytes(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce(
      (sum, { parentPath, name }) => sum + (statSync(join(parentPath, name), { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
}

const sorted = (values: readonly number[]): number[] => [...values].sort((one, other) => one - other);

const heading =
  'phase | messages | to recipient: p50, p95, p99, max | to sender: p50, p95 | archive p95 | CPU | loop p99 | RSS MiB | disk MiB';

function row({ name, delays: { toRecipient, toSender, archive }, cpu, late, rss, disk }: Phase): string {
  const parts = (values: readonly number[], wanted: readonly number[]) =>
    wanted.map((part) => percentile(sorted(values), part).toFixed(1)).join(', ');
  return [
    name.padEnd(30),
    toRecipient.length,
    parts(toRecipient, [0.5, 0.95, 0.99, 1]),
    parts(toSender, [0.5, 0.95]),
    parts(archive, [0.95]),
    `${Math.round(cpu * 100)} %`,
    late.toFixed(0),
    rss,
    Math.round(disk / 2 ** 20),
  ].join(' | ');
}
