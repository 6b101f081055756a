/**
 * Effect of a misbehaving client on others: latency of quiet conversations while nothing else happens, while the client
 * misbehaves towards another server on the same machine, and while it misbehaves towards theirs, under default limits.
 * The slowdown in the second case is due to the machine, any further slowdown in the third to the server. p50, p95 and
 * p99 in ms, ratios of the p95, and the server's memory before and after.
 *
 *     node dist/bench/neighbours.js [seconds for each] [rounds, of which the medians are taken]
 */
import { fork } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { medians, percentile } from './measure.js';
import { startServer, Wire } from './wire.js';

const seconds = Number(process.argv[2] ?? 3);
const rounds = Number(process.argv[3] ?? 5);
const here = 15_222;
const elsewhere = 15_223;
/** Set in the misbehaving process: the index of its behaviour, and the port of its target. */
const [manner, towards] = process.argv.slice(4).map(Number);
/** The port that this process connects to. */
const port = towards ?? here;
const accounts = [
  ...Array.from({ length: 20 }, (_, n) => `quiet${n}`),
  ...Array.from({ length: 8 }, (_, n) => `bad${n}`),
];

const isOver = (until: number): boolean => performance.now() >= until;

/** Its title, what it does, and whether measuring starts only when it calls `begin`. */
type Manner = readonly [string, (until: number, begin: () => void) => Promise<void>, 'when it says so'?];

const manners: readonly Manner[] = [
  [
    'a sender who floods, as fast as it is read',
    async (until) => {
      const wire = await new Wire(port).login('bad0', 'r');
      const message = `<message to='bad1@localhost' type='chat'><body>${'x'.repeat(200)}</body></message>`.repeat(50);
      while (!isOver(until)) {
        if (!wire.send(message)) await pause(5);
      }
      wire.end();
    },
  ],
  [
    'a reader who does not read what many send',
    async (until) => {
      const slow = await new Wire(port).login('bad1', 'slow');
      slow.socket.pause();
      const senders = await Promise.all([2, 3, 4, 5].map((n) => new Wire(port).login(`bad${n}`, 'r')));
      while (!isOver(until)) {
        for (const wire of senders)
          wire.send(`<message to='bad1@localhost/slow' type='chat'><body>${'y'.repeat(5000)}</body></message>`);
        await pause(10);
      }
      for (const wire of [slow, ...senders]) wire.end();
    },
  ],
  [
    '5,000 connections that never log in',
    async (until) => {
      const wires: Wire[] = [];
      for (let n = 0; n < 5000 && !isOver(until); n++) {
        const wire = new Wire(port, `127.0.${1 + (n >> 8)}.${1 + (n & 127)}`);
        wire.send(Wire.header);
        wires.push(wire);
        if (n % 20 === 0) await pause(10);
      }
      while (!isOver(until)) await pause(50);
      for (const wire of wires) wire.end();
    },
  ],
  [
    '10,000 that are there already, and never log in',
    async (_, begin) => {
      const wires: Wire[] = [];
      for (let n = 0; n < 10_000; n++) {
        const wire = new Wire(port, `127.0.${1 + (n >> 7)}.${1 + (n & 127)}`);
        wires.push(wire);
        if (n % 100 === 0) await wire.ask(Wire.header, '</stream:features>').catch(() => {});
        else wire.send(Wire.header);
      }
      await pause(1000);
      begin();
      await pause(seconds * 1000);
      for (const wire of wires) wire.end();
    },
    'when it says so',
  ],
  [
    'one account with as many sessions as it gets, all changing presence',
    async (until) => {
      const wires: Wire[] = [];
      for (let n = 0; n < 1000 && !isOver(until); n++) {
        const wire = new Wire(port);
        const isIn = await wire.login('bad6', `r${n}`).then(
          () => true,
          () => false,
        );
        if (!isIn) break;
        wires.push(wire);
      }
      while (!isOver(until)) {
        for (const wire of wires) wire.send('<presence><show>away</show></presence>');
        await pause(100);
      }
      for (const wire of wires) wire.end();
    },
  ],
  [
    'the largest stanza that is allowed, again and again',
    async (until) => {
      const wire = await new Wire(port).login('bad7', 'r');
      const giant = `<message to='bad7@localhost/r' type='chat'><body>${'<b/>'.repeat(10).replaceAll('<b/>', 'z'.repeat(20_000))}</body></message>`;
      while (!isOver(until)) {
        if (!wire.send(giant)) await pause(5);
      }
      wire.end();
    },
  ],
  [
    'wrong passwords, eight at a time',
    async (until) => {
      const wrong = Buffer.from('\0quiet0\0wrong').toString('base64');
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (!isOver(until)) {
            const wire = new Wire(port, '127.0.0.9');
            await wire
              .ask(Wire.header, '</stream:features>')
              .then(() =>
                wire.ask(
                  `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${wrong}</auth>`,
                  '<failure',
                ),
              )
              .catch(() => pause(20));
            wire.end();
          }
        }),
      );
    },
  ],
];

/** Runs in a process of its own, which does not take time from the measuring one. Resolves when it has begun. */
const misbehave = (which: number, at: number): Promise<{ readonly ended: Promise<unknown> }> =>
  new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [seconds, rounds, which, at].map(String));
    const ended = new Promise((end) => child.once('exit', end));
    child.once('error', reject);
    child.once('message', () => resolve({ ended }));
  });

/**
 * Quiet pairs: each sends a message every 50 ms, and its partner records the delay. Returns delays in ms, ascending.
 */
async function conversations(
  meanwhile: () => Promise<{ readonly ended?: Promise<unknown> }> = async () => ({}),
): Promise<number[]> {
  const delays: number[] = [];
  const pairs = await Promise.all(
    Array.from({ length: 10 }, async (_, n) => {
      const [one, other] = await Promise.all([
        new Wire(port).login(`quiet${2 * n}`, 'r'),
        new Wire(port).login(`quiet${2 * n + 1}`, 'r'),
      ]);
      other.recordDelays(delays);
      return { one, other, to: `quiet${2 * n + 1}@localhost/r` };
    }),
  );
  const { ended } = await meanwhile();
  const until = performance.now() + seconds * 1000;
  while (performance.now() < until) {
    for (const { one, to } of pairs) {
      one.sendTimestamp(to);
      await pause(5);
    }
  }
  await ended;
  await pause(500);
  for (const { one, other } of pairs) for (const wire of [one, other]) wire.end();
  return delays.sort((a, b) => a - b);
}

async function measure(): Promise<void> {
  const theirs = await startServer(here, accounts);
  const other = await startServer(elsewhere, accounts);
  try {
    await conversations(); // warm-up
    console.log(
      '| meanwhile | calm p95 | elsewhere p95 | p50 | p95 | p99 | × calm | × elsewhere | MB before | after |',
    );
    console.log('| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |');
    for (const [n, [title]] of manners.entries()) {
      const before = theirs.megabytes();
      const found: number[][] = [];
      for (let round = 0; round < rounds; round++) {
        const calm = percentile(await conversations(), 0.95);
        const away = percentile(await conversations(() => misbehave(n, elsewhere)), 0.95);
        const delays = await conversations(() => misbehave(n, here));
        found.push([calm, away, ...[0.5, 0.95, 0.99].map((part) => percentile(delays, part))]);
      }
      const [calm, away, p50, p95, p99] = medians(found) as [number, number, number, number, number];
      const figures = [calm, away, p50, p95, p99, p95 / calm, p95 / away].map((figure) => figure.toFixed(2));
      console.log(`| ${[title, ...figures, before, theirs.megabytes()].join(' | ')} |`);
    }
  } finally {
    await Promise.all([theirs.stop(), other.stop()]);
  }
}

if (manner === undefined) await measure();
else {
  // With low priority, as on a machine of its own, it leaves the cores to the server and the measuring process.
  setPriority(constants.priority.PRIORITY_LOW);
  const begin = () => void process.send!('begun');
  const [, behave, begins] = manners[manner]!;
  if (begins === undefined) begin();
  await behave(performance.now() + seconds * 1000, begin);
  process.disconnect();
}
