/**
 * Uploading and downloading a file of 100 MB (XEP-0363) over HTTP without TLS: ms of CPU of the server, how long its
 * event loop was busy at a time, and its memory. Beside it, a bare process that writes what a socket gives it to a file
 * and syncs it: nothing can cost less. Then 200 of 2 MB at once, half of whose clients are slow.
 *
 * With WAXWING_S3, the address of an S3 server (test/s3/server.ts), another server keeps its files there, in turn with the
 * first one.
 *
 *     node dist/bench/uploads.js [rounds]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { newBucket } from '../test/s3/server.js';
import { median } from './measure.js';
import { type BenchServer, startServer, Wire } from './wire.js';

const [rounds = '5'] = process.argv.slice(2);
const port = 15_226;
const http = 15_227;
/** Ports of the server with S3. */
const s3Port = 15_228;
const s3Http = 15_229;
const large = 100_000_000;
const small = 2_000_000;
const atOnce = 200;
const chunk = Buffer.alloc(65_536, 'z');

const tables = `
[modules.upload]
account_bytes = "unlimited"
day_bytes = "unlimited"
day_files = "unlimited"
slots_per_account = 1000
`;

/** The paths of a slot. */
async function slotOf(wire: Wire, size: number): Promise<{ readonly put: string; readonly get: string }> {
  let text = '';
  const add = (part: string) => {
    text += part;
  };
  wire.socket.on('data', add);
  const asked = `<request xmlns='urn:xmpp:http:upload:0' filename='a.bin' size='${size}'/>`;
  await wire.ask(`<iq type='get' id='u' to='upload.localhost'>${asked}</iq>`, '</slot>');
  wire.socket.off('data', add);
  const url = (name: string) => new URL(new RegExp(`<${name} url="([^"]+)"`).exec(text)![1]!);
  const put = url('put');
  return { put: put.pathname + put.search, get: url('get').pathname };
}

/** `bytesPerSecond`: the pace of a slow client. */
async function upload(
  at: number,
  path: string,
  size: number,
  bytesPerSecond = Number.POSITIVE_INFINITY,
): Promise<void> {
  const headers = { host: 'localhost', 'content-length': size };
  const asked = request({ host: '127.0.0.1', port: at, method: 'PUT', path, headers, agent: false });
  const answered = once(asked, 'response') as Promise<[IncomingMessage]>;
  for (let sent = 0; sent < size; sent += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, size - sent));
    if (!asked.write(part)) await once(asked, 'drain');
    if (bytesPerSecond !== Number.POSITIVE_INFINITY) await pause((part.length / bytesPerSecond) * 1000);
  }
  asked.end();
  const [{ statusCode }] = await answered;
  if (statusCode !== 201) throw new Error(`uploading was answered with ${statusCode}`);
}

async function download(at: number, path: string, bytesPerSecond = Number.POSITIVE_INFINITY): Promise<number> {
  const asked = request({ host: '127.0.0.1', port: at, path, headers: { host: 'localhost' }, agent: false });
  asked.end();
  const [message] = (await once(asked, 'response')) as [IncomingMessage];
  let bytes = 0;
  for await (const part of message as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytesPerSecond !== Number.POSITIVE_INFINITY) await pause((part.length / bytesPerSecond) * 1000);
  }
  return bytes;
}

/** The bare process: answers each connection with its ms of CPU for it. */
async function bare(): Promise<void> {
  const path = join(tmpdir(), `waxwing-bench-${process.pid}`);
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    const before = process.cpuUsage();
    const file = await open(path, 'w');
    for await (const bytes of socket.iterator({ destroyOnReturn: false })) await file.write(bytes as Buffer);
    await file.sync();
    await file.close();
    const { user, system } = process.cpuUsage(before);
    socket.end(String((user + system) / 1000));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.send!((server.address() as AddressInfo).port);
  await once(process, 'disconnect');
  server.close();
  rmSync(path, { force: true });
}

async function writeTo(bareAt: number): Promise<number> {
  const socket = connect({ port: bareAt, host: '127.0.0.1' });
  let answer = '';
  socket.on('data', (text) => {
    answer += text;
  });
  const closed = once(socket, 'close');
  for (let sent = 0; sent < large; sent += chunk.length)
    if (!socket.write(chunk.subarray(0, Math.min(chunk.length, large - sent)))) await once(socket, 'drain');
  socket.end();
  await closed;
  return Number(answer);
}

if (rounds === 'bare') {
  await bare();
  process.exit();
}
const users = Array.from({ length: atOnce / 10 }, (_, n) => `user${n}`);
const child = fork(process.argv[1]!, ['bare']);
const [bareAt] = (await once(child, 'message')) as [number];
/** The table of a bucket of its own on the server that WAXWING_S3 names. */
async function s3Tables(place: string): Promise<{ readonly tables: string; readonly env: NodeJS.ProcessEnv }> {
  const { origin, username, password } = new URL(place);
  const bucket = await newBucket();
  const table = `[storage.files]\ndriver = "s3"\n[storage.s3]\nendpoint = "${origin}"\nbucket = "${bucket}"\naccess_key_id = "${username}"\n`;
  return { tables: tables + table, env: { ...process.env, AWS_SECRET_ACCESS_KEY: password } };
}

interface Measured {
  readonly name: string;
  readonly port: number;
  readonly http: number;
  readonly server: BenchServer;
  readonly wires: Wire[];
  readonly uploads: number[];
  readonly downloads: number[];
}

async function started(name: string, port: number, http: number, more: Parameters<typeof startServer>[2]) {
  const server = await startServer(port, users, { http, tables, ...more });
  return { name, port, http, server, wires: [], uploads: [], downloads: [] } satisfies Measured;
}

const { WAXWING_S3 } = process.env;
const servers: Measured[] = [await started('files', port, http, {})];
if (WAXWING_S3 !== undefined) servers.push(await started('S3', s3Port, s3Http, await s3Tables(WAXWING_S3)));

/** Prints what the server needed for some work. */
async function measure({ server, name }: Measured, what: string, work: () => Promise<unknown>): Promise<number> {
  await server.load();
  let most = server.megabytes();
  const timer = setInterval(() => {
    most = Math.max(most, server.megabytes());
  }, 50);
  const before = performance.now();
  await work();
  const seconds = (performance.now() - before) / 1000;
  clearInterval(timer);
  const load = await server.load();
  const delays = `event loop p99 ${load.p99.toFixed(1)} ms, at most ${load.most.toFixed(1)} ms`;
  console.log(`${name}: ${what}: ${load.cpu.toFixed(0)} ms of CPU, ${delays}, RSS ${most} MB, ${seconds.toFixed(1)} s`);
  return load.cpu;
}

try {
  for (const { port, wires } of servers)
    wires.push(...(await Promise.all(users.map((user) => new Wire(port).login(user, 'bench')))));
  const least: number[] = [];
  for (let round = 0; round < Number(rounds); round++) {
    for (const one of servers) {
      const slot = await slotOf(one.wires[0]!, large);
      one.uploads.push(await measure(one, 'upload of 100 MB', () => upload(one.http, slot.put, large)));
      one.downloads.push(await measure(one, 'download of 100 MB', () => download(one.http, slot.get)));
    }
    least.push(await writeTo(bareAt));
  }
  for (const { name, uploads, downloads } of servers) {
    const [up, down, floor] = [uploads, downloads, least].map((all) => median(all).toFixed(0));
    console.log(
      `${name}: medians: ${up} ms of CPU for an upload, ${down} ms for a download; the bare process ${floor} ms`,
    );
  }
  const pace = (n: number) => (n % 2 === 0 ? Number.POSITIVE_INFINITY : small / 5);
  for (const one of servers) {
    const slots: Awaited<ReturnType<typeof slotOf>>[] = [];
    for (let n = 0; n < atOnce; n++) slots.push(await slotOf(one.wires[n % one.wires.length]!, small));
    await measure(one, `${atOnce} uploads of 2 MB at once`, () =>
      Promise.all(slots.map(({ put }, n) => upload(one.http, put, small, pace(n)))),
    );
    await measure(one, `${atOnce} downloads of 2 MB at once`, () =>
      Promise.all(slots.map(({ get }, n) => download(one.http, get, pace(n)))),
    );
  }
  for (const { wires } of servers) for (const wire of wires) wire.end();
} finally {
  child.disconnect();
  for (const { server } of servers) await server.stop();
}
