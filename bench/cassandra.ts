/**
 * Cost of archives in Cassandra, without the server around them: messages between two accounts, each of which is in two
 * archives, and pages from a long archive. CPU is that of this process alone.
 *
 *     WAXWING_CASSANDRA=127.0.0.1:9042 node dist/bench/cassandra.js [messages of the long archive]
 */
import { randomBytes } from 'node:crypto';
import { stanzaId } from '../src/server/stanza/ids.js';
import { type CassandraOptions, openCassandra } from '../src/storage/cassandra/index.js';

const { WAXWING_CASSANDRA: point = '127.0.0.1:9042' } = process.env;
const longest = Number(process.argv[2] ?? 100_000);
const messages = 20_000;
const accounts = 200;
/** Messages that wait for their acknowledgement at a time. */
const waiting = 400;
const rounds = 300;
const value = `<message xmlns='jabber:client' to='romeo@example.org' from='juliet@example.org/balcony' type='chat' id='x'><body>${'Good night, good night! '.repeat(5)}</body></message>`;

const options: CassandraOptions = {
  contactPoints: [point],
  port: 9042,
  localDatacenter: 'datacenter1',
  keyspace: `bench_${randomBytes(6).toString('hex')}`,
  consistency: 'one',
  answerWithin: 20_000,
  warn: (message) => console.error(message),
  schema: { replication: { datacenter1: 1 }, windowDays: 30 },
  expiry: 0,
};
const storage = await openCassandra(options);
const log = storage.log('archive');

/** Runs `work` for each number, some at a time. Returns µs of CPU and of time for each. */
async function measured(count: number, atOnce: number, work: (n: number) => Promise<unknown>) {
  let next = 0;
  const start = performance.now();
  const used = process.cpuUsage();
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const { user, system } = process.cpuUsage(used);
  const time = (performance.now() - start) * 1000;
  return { cpu: (user + system) / count, time: time / count };
}

const show = (what: string, { cpu, time }: { cpu: number; time: number }): void =>
  console.log(`${what.padEnd(44)} ${cpu.toFixed(0).padStart(6)} µs of CPU, ${time.toFixed(0).padStart(6)} µs`);

const between = (n: number): readonly [string, string] => {
  const from = n % accounts;
  return [`user${from}@example.org`, `user${(from * 7 + 3) % accounts}@example.org`];
};
const chat = async (n: number): Promise<void> => {
  const [from, to] = between(n);
  await Promise.all([
    log.append(from, { id: stanzaId(from), with: to, value }),
    log.append(to, { id: stanzaId(to), with: from, value }),
  ]);
};

await measured(2000, waiting, chat);
show('a message in two archives', await measured(messages, waiting, chat));
const owner = 'long@example.org';
const ids: string[] = [];
const day = 86_400_000;
const begin = Date.UTC(2025, 0);
// Three hundred a day.
const filling = await measured(longest, waiting, (n) => {
  const id = stanzaId(owner, begin + Math.floor((n * day) / 300));
  ids.push(id);
  return log.append(owner, { id, with: `user${n % 50}@example.org`, value });
});
show(`each of ${longest} in one archive`, filling);
for (const [what, query] of [
  ['the last page of 50', () => ({ backwards: true })],
  ['a page of 50, somewhere', (n: number) => ({ after: ids[(n * 7919) % (longest - 100)] })],
  ['the last 50 with one of 50 peers', (n: number) => ({ backwards: true, with: `user${n % 50}@example.org` })],
] as const)
  show(what, await measured(rounds, 1, (n) => log.page(owner, { limit: 50, ...query(n) })));
await storage.close();
