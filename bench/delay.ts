/**
 * Latency of a message between two clients at low load, compared with a relay of plain sockets: the difference is what
 * the server adds to the machine and Node. Fifty pairs take turns; p50, p95 and p99 in ms, medians of rounds that
 * alternate between the two.
 *
 *     node dist/bench/delay.js [messages a second] [rounds]
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { medians, percentile } from './measure.js';
import { startServer, Wire } from './wire.js';

const rate = Number(process.argv[2] ?? 500);
const rounds = Number(process.argv[3] ?? 5);
const seconds = 4;
const pairs = 50;
const serverPort = 15_224;

interface Pair {
  readonly from: Wire;
  readonly to: Wire;
  readonly address: string;
}

/** Connects incoming connections in pairs, in order of arrival. */
function relay(): void {
  let first: Socket | undefined;
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    const other = first;
    first = other === undefined ? socket : undefined;
    if (other === undefined) return;
    other.on('data', (chunk) => socket.write(chunk));
    socket.on('data', (chunk) => other.write(chunk));
  });
  server.listen(0, '127.0.0.1', () => parentPort!.postMessage((server.address() as AddressInfo).port));
}

async function bare(port: number): Promise<Pair> {
  const wires = [];
  for (let n = 0; n < 2; n++) {
    const wire = new Wire(port);
    await once(wire.socket, 'connect');
    wires.push(wire);
  }
  return { from: wires[0]!, to: wires[1]!, address: 'nobody@localhost' };
}

async function users(n: number): Promise<Pair> {
  const [from, to] = [`user${2 * n}`, `user${2 * n + 1}`];
  const wires = [await new Wire(serverPort).login(from, 'r'), await new Wire(serverPort).login(to, 'r')];
  return { from: wires[0]!, to: wires[1]!, address: `${to}@localhost/r` };
}

/** Returns delays in ms, ascending. */
async function talk(those: readonly Pair[]): Promise<number[]> {
  const delays: number[] = [];
  for (const { to } of those) to.recordDelays(delays);
  const begin = performance.now();
  for (let sent = 0; performance.now() - begin < seconds * 1000; await pause(1)) {
    for (const due = ((performance.now() - begin) / 1000) * rate; sent < due; sent++) {
      const { from, address } = those[sent % those.length]!;
      from.sendTimestamp(address, 'x'.repeat(100));
    }
  }
  await pause(200);
  return delays.sort((a, b) => a - b);
}

async function measure(): Promise<void> {
  const thread = new Worker(new URL(import.meta.url));
  const [relayPort] = (await once(thread, 'message')) as [number];
  const server = await startServer(
    serverPort,
    Array.from({ length: 2 * pairs }, (_, n) => `user${n}`),
  );
  try {
    const through = { 'bare relay': [] as Pair[], Waxwing: [] as Pair[] };
    for (let n = 0; n < pairs; n++) {
      through['bare relay'].push(await bare(relayPort));
      through.Waxwing.push(await users(n));
    }
    const found = { 'bare relay': [] as number[][], Waxwing: [] as number[][] };
    // The first round is discarded: it includes compilation.
    for (let round = 0; round <= rounds; round++)
      for (const name of ['bare relay', 'Waxwing'] as const) {
        const delays = await talk(through[name]);
        if (round > 0) found[name].push([0.5, 0.95, 0.99].map((part) => percentile(delays, part)));
      }
    console.log(`| ${rate} messages a second | p50 | p95 | p99 |\n| --- | ---: | ---: | ---: |`);
    for (const [name, all] of Object.entries(found))
      console.log(`| ${[name, ...medians(all).map((figure) => figure.toFixed(2))].join(' | ')} |`);
    for (const { from, to } of Object.values(through).flat()) for (const wire of [from, to]) wire.end();
  } finally {
    await Promise.all([server.stop(), thread.terminate()]);
  }
}

if (isMainThread) await measure();
else relay();
