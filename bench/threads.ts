/**
 * Cost of handing work to another thread or process, for batches of stanzas of 250 bytes that go there and back.
 * `alone`: one batch in flight; `busy`: 32 batches. µs per stanza, of CPU of all threads and processes, and of this
 * event loop. See docs/decisions/0005-memory-and-cores.md.
 *
 *     node dist/bench/threads.js [part of the name of a case]
 *
 * - reading: in place, or by a worker that gets the chunk by copy or transfer and posts back the stanzas; with shared
 *   memory it returns numbers, from which the strings of a header are created here.
 * - TCP and TLS: to the other end of a connection within this process and back, which is two writes and two reads.
 * - hops: chunks posted to a worker and back, the overhead of threads without the work; and over a Unix socket to
 *   another process and back.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { makeSelfSigned } from '../src/server/tls/self-signed.js';
import { type TopLevel, XmlReader } from '../src/server/xml/reader.js';
import { median } from './measure.js';

const file = fileURLToPath(import.meta.url);
const stanzaBytes = 250;
const [start, end] = [
  "<message to='romeo@example.net/orchard' type='chat' id='b7c1a2f0-93d4-4e57-8a6b-0c1d2e3f4a5b'><body>",
  "</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
];
const stanza = start.padEnd(stanzaBytes - end.length, 'Wherefore art thou Romeo? ') + end;

function newReader(): XmlReader {
  const reader = new XmlReader('stream', { stanzaBytes: 1 << 16, depth: 100, attributes: 100 });
  reader.push(Buffer.from("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"));
  reader.next();
  return reader;
}

function read(reader: XmlReader, chunk: Uint8Array): TopLevel[] {
  reader.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length));
  const items: TopLevel[] = [];
  for (let item = reader.next(); item?.kind === 'element'; item = reader.next()) items.push(item);
  return items;
}

/** The cheapest form for posting of those tried (objects, JSON). */
const posted = ({ name, attrs, content, children }: TopLevel): readonly unknown[] => [
  name,
  attrs.to,
  attrs.type,
  attrs.id,
  content,
  ...children,
];

// --- shared memory: a ring of batches
// ----------------------------------------------------------------------------------

const places = 32;
/** Positions of a stanza's fields and children. */
const numbers = 16;
const mostStanzas = 32;
const mostBytes = mostStanzas * stanzaBytes;
const [asked, answers] = [0, 1];

interface Shared {
  /** Number of batches requested and answered so far. */
  readonly counters: Int32Array;
  readonly lengths: Int32Array;
  readonly chunks: Uint8Array;
  readonly fields: Int32Array;
}

const newShared = (): Shared => ({
  counters: new Int32Array(new SharedArrayBuffer(8)),
  lengths: new Int32Array(new SharedArrayBuffer(4 * places)),
  chunks: new Uint8Array(new SharedArrayBuffer(places * mostBytes)),
  fields: new Int32Array(new SharedArrayBuffer(4 * places * mostStanzas * numbers)),
});

/** The positions of to, type, id and content; the same in each stanza. */
const spans = ['romeo@example.net/orchard', 'chat', 'b7c1a2f0-93d4-4e57-8a6b-0c1d2e3f4a5b', stanza.slice(94, -10)].map(
  (text) => [stanza.indexOf(text), stanza.indexOf(text) + text.length] as const,
);

function serveShared({ counters, lengths, chunks, fields }: Shared): void {
  const reader = newReader();
  for (let done = 0; ; done++) {
    while (Atomics.load(counters, asked) === done) Atomics.wait(counters, asked, done);
    if (Atomics.load(counters, asked) < 0) return;
    const place = done % places;
    const items = read(reader, chunks.slice(place * mostBytes, place * mostBytes + lengths[place]!));
    let at = place * mostStanzas * numbers;
    for (let n = 0; n < items.length; n++, at += numbers)
      for (let span = 0; span < spans.length; span++) {
        fields[at + 2 * span] = n * stanzaBytes + spans[span]![0];
        fields[at + 2 * span + 1] = n * stanzaBytes + spans[span]![1];
      }
    Atomics.store(counters, answers, done + 1);
    Atomics.notify(counters, answers);
  }
}

// --- the far ends
// -----------------------------------------------------------------------------------------------------

const role = isMainThread ? process.argv[2] : (workerData as { readonly role: string }).role;

function serve(): boolean {
  if (role === 'far process') {
    const socket = connect(process.argv[3]!);
    socket.on('data', (chunk) => socket.write(chunk));
    process.on('message', () => process.send!(process.cpuUsage()));
    return true;
  }
  if (isMainThread) return false;
  const reader = newReader();
  if (role === 'shared') serveShared((workerData as { readonly shared: Shared }).shared);
  else if (role === 'reader')
    parentPort!.on('message', (chunk: Uint8Array) => parentPort!.postMessage(read(reader, chunk).map(posted)));
  else parentPort!.on('message', (chunk: Uint8Array) => parentPort!.postMessage(chunk, [chunk.buffer as ArrayBuffer]));
  return true;
}

interface Way {
  /** Sends a batch. Its answer is reported with the same number. */
  post(slot: number): void;
  /** µs of CPU of another process so far. */
  elsewhere?(): Promise<number>;
  close(): unknown;
}
type Open = (batch: number, underWay: number, answered: (slot: number) => void) => Promise<Way>;

// Like a chunk from a socket, with memory of its own.
const newChunk = (template: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(template);
const templateOf = (batch: number): Uint8Array => new TextEncoder().encode(stanza.repeat(batch));

const inPlace: Open = async (batch, _, answered) => {
  const template = templateOf(batch);
  const reader = newReader();
  return {
    post(slot) {
      if (read(reader, newChunk(template)).length !== batch) throw new Error('not all was read');
      queueMicrotask(() => answered(slot));
    },
    close() {},
  };
};

const overPort =
  (role: 'reader' | 'echo', isMoved: boolean): Open =>
  async (batch, _, answered) => {
    const template = templateOf(batch);
    const worker = new Worker(file, { workerData: { role } });
    await once(worker, 'online');
    const pending: number[] = [];
    worker.on('message', (answer: { readonly length: number }) => {
      if (answer.length !== (role === 'reader' ? batch : template.length)) throw new Error('not all came back');
      answered(pending.shift()!);
    });
    return {
      post(slot) {
        pending.push(slot);
        const chunk = newChunk(template);
        worker.postMessage(chunk, isMoved ? [chunk.buffer] : []);
      },
      close: () => worker.terminate(),
    };
  };

const overSharedMemory: Open = async (batch, _, answered) => {
  const template = templateOf(batch);
  const shared = newShared();
  const { counters, lengths, chunks, fields } = shared;
  const texts = Buffer.from(chunks.buffer);
  const worker = new Worker(file, { workerData: { role: 'shared', shared } });
  await once(worker, 'online');
  const pending: number[] = [];
  let taken = 0;
  let length = 0;
  const take = (): void => {
    const place = taken++ % places;
    let at = place * mostStanzas * numbers;
    for (let n = 0; n < batch; n++, at += numbers)
      for (let span = 0; span < 2 * spans.length; span += 2)
        length += texts.toString(
          'utf8',
          place * mostBytes + fields[at + span]!,
          place * mostBytes + fields[at + span + 1]!,
        ).length;
    answered(pending.shift()!);
  };
  // ES2024, missing in the types.
  const { waitAsync } = Atomics as unknown as {
    waitAsync(array: Int32Array, index: number, value: number): { readonly async: boolean; readonly value: unknown };
  };
  const alive = setInterval(() => {}, 1000); // waitAsync does not keep the process alive
  const listen = async (): Promise<void> => {
    while (Atomics.load(counters, asked) >= 0) {
      while (taken < Atomics.load(counters, answers)) take();
      const next = waitAsync(counters, answers, taken);
      if (next.async) await next.value;
    }
  };
  void listen();
  return {
    post(slot) {
      pending.push(slot);
      const before = Atomics.load(counters, asked);
      chunks.set(template, (before % places) * mostBytes);
      lengths[before % places] = template.length;
      Atomics.store(counters, asked, before + 1);
      Atomics.notify(counters, asked);
    },
    async close() {
      if (length === 0) throw new Error('nothing came back');
      clearInterval(alive);
      await worker.terminate();
    },
  };
};

/** Calls `came` after each `bytes` bytes. */
function whole(socket: Socket, bytes: number, came: () => void): void {
  let left = bytes;
  socket.on('data', (chunk) => {
    for (left -= chunk.length; left <= 0; left += bytes) came();
  });
}

const overLoopback =
  (isTls: boolean): Open =>
  async (batch, underWay, answered) => {
    const text = stanza.repeat(batch);
    const echo = (socket: Socket): void => {
      socket.setNoDelay();
      socket.on('error', () => {});
      whole(socket, text.length, () => socket.write(text));
    };
    const { key, certificate: cert } = makeSelfSigned(['localhost']);
    const server: Server = isTls ? createTlsServer({ key, cert }, echo) : createServer(echo);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as { readonly port: number };
    const sockets: Socket[] = [];
    for (let slot = 0; slot < underWay; slot++) {
      const socket = isTls
        ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
        : connect({ port, host: '127.0.0.1' });
      await once(socket, isTls ? 'secureConnect' : 'connect');
      socket.setNoDelay();
      whole(socket, text.length, () => answered(slot));
      sockets.push(socket);
    }
    return {
      post: (slot) => void sockets[slot]!.write(text),
      close() {
        for (const socket of sockets) socket.destroy();
        server.close();
      },
    };
  };

const overUnixSocket: Open = async (batch, _, answered) => {
  const text = stanza.repeat(batch);
  const folder = mkdtempSync(join(tmpdir(), 'threads-'));
  const path = join(folder, 'socket');
  const server = createServer();
  await once(server.listen(path), 'listening');
  const child = fork(file, ['far process', path]);
  const [socket] = (await once(server, 'connection')) as [Socket];
  const pending: number[] = [];
  whole(socket, text.length, () => answered(pending.shift()!));
  return {
    post(slot) {
      pending.push(slot);
      socket.write(text);
    },
    async elsewhere() {
      child.send('cpu');
      const [{ user, system }] = (await once(child, 'message')) as [NodeJS.CpuUsage];
      return user + system;
    },
    async close() {
      socket.destroy();
      server.close();
      child.disconnect();
      await once(child, 'exit');
      rmSync(folder, { recursive: true });
    },
  };
};

const ways: Readonly<Record<string, Open>> = {
  'reading: in place': inPlace,
  'reading: worker, chunks copied': overPort('reader', false),
  'reading: worker, chunks moved': overPort('reader', true),
  'reading: worker, shared memory': overSharedMemory,
  'TCP, both ends': overLoopback(false),
  'TLS, both ends': overLoopback(true),
  'hop: to a worker and back': overPort('echo', true),
  'hop: to a process and back': overUnixSocket,
};

/** µs of CPU and of the event loop per stanza: medians of three runs. */
async function measure(open: Open, batch: number, underWay: number): Promise<{ cpu: number; loop: number }> {
  let until = 0;
  let done = 0;
  let out = 0;
  let ended = (): void => {};
  const way = await open(batch, underWay, (slot) => {
    done++;
    if (performance.now() < until) way.post(slot);
    else if (--out === 0) ended();
  });
  const run = async (milliseconds: number): Promise<{ cpu: number; loop: number }> => {
    done = 0;
    out = underWay;
    const ending = new Promise<void>((resolve) => (ended = resolve));
    const elsewhereBefore = (await way.elsewhere?.()) ?? 0;
    const before = process.cpuUsage();
    const loopBefore = performance.eventLoopUtilization();
    until = performance.now() + milliseconds;
    for (let slot = 0; slot < underWay; slot++) way.post(slot);
    await ending;
    const { active } = performance.eventLoopUtilization(loopBefore);
    const { user, system } = process.cpuUsage(before);
    const elsewhere = ((await way.elsewhere?.()) ?? 0) - elsewhereBefore;
    const stanzas = done * batch;
    return { cpu: (user + system + elsewhere) / stanzas, loop: (active * 1000) / stanzas };
  };
  await run(60);
  const runs = [await run(60), await run(60), await run(60)];
  await way.close();
  return { cpu: median(runs.map(({ cpu }) => cpu)), loop: median(runs.map(({ loop }) => loop)) };
}

if (!serve()) {
  const rows: Record<string, Record<string, string>> = {};
  for (const [name, open] of Object.entries(ways)) {
    if (!name.includes(role ?? '')) continue;
    for (const batch of [1, 8, 32]) {
      const alone = await measure(open, batch, 1);
      const busy = await measure(open, batch, 32);
      rows[`${name}, ${batch}`] = {
        'alone: CPU µs': alone.cpu.toFixed(2),
        'loop µs': alone.loop.toFixed(2),
        'busy: CPU µs': busy.cpu.toFixed(2),
        'loop µs ': busy.loop.toFixed(2),
      };
    }
  }
  console.table(rows);
}
