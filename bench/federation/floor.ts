/**
 * What a message between two servers costs at least: two bare processes of Node that only pass text on, over TCP from and
 * to the users and over TLS between them, in the turns of the event loop in which a server does. One process that passes
 * the same text from user to user is the least cost of a local message.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import type { Authority } from '../../test/interop/federation/authority.js';
import { median } from '../measure.js';
import { cpuOf } from './cpu.js';

const host = '127.0.1.120';
const patience = 15_000;
const greeting = 'hail';

/** Text that is written at the end of a turn, all at once. */
class Out {
  #text = '';

  constructor(readonly socket: Socket) {}

  write(text: string): void {
    if (this.#text === '') setImmediate(() => this.#flush());
    this.#text += text;
  }

  #flush(): void {
    this.socket.write(this.#text);
    this.#text = '';
  }
}

/** Calls `take` for each message of a connection. */
function read(socket: Socket, bytes: number, take: (message: string) => void): void {
  let rest = '';
  socket
    .on('error', () => {})
    .on('data', (chunk: Buffer) => {
      rest += chunk.toString('latin1');
      let at = 0;
      for (; at + bytes <= rest.length; at += bytes) take(rest.slice(at, at + bytes));
      rest = rest.slice(at);
    });
}

const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;

interface Job {
  readonly bytes: number;
  /** The certificate and key of the process that the other one connects to; the port of that one. Neither: local. */
  readonly pem?: { readonly certificate: string; readonly key: string };
  readonly link?: number;
}

/** Answers with the ports. */
async function relay({ bytes, pem, link }: Job): Promise<{ readonly users: number; readonly link?: number }> {
  const users: Out[] = [];
  // A message begins with the number of its recipient.
  const deliver = (message: string) => users[Number(message[0])]!.write(message);
  const peer =
    link === undefined ? undefined : new Out(connectTls({ host, port: link, rejectUnauthorized: false }).setNoDelay());
  const server = createServer({ noDelay: true }, (socket) => {
    users.push(new Out(socket));
    socket.write(greeting);
    read(socket, bytes, peer === undefined ? deliver : (message) => peer.write(message));
  }).listen(0, host);
  await once(server, 'listening');
  if (pem === undefined) return { users: portOf(server) };
  const links = createTlsServer({ cert: pem.certificate, key: pem.key, noDelay: true }, (socket) =>
    read(socket, bytes, deliver),
  ).listen(0, host);
  await once(links, 'listening');
  return { users: portOf(server), link: portOf(links) };
}

interface Relay {
  readonly pid: number;
  readonly users: number;
  readonly link?: number;
  end(): void;
}

async function start(job: Job): Promise<Relay> {
  const child = fork(fileURLToPath(import.meta.url), ['relay'], { execArgv: ['--max-semi-space-size=32'] });
  child.send(job);
  const [ports] = (await once(child, 'message')) as [{ users: number; link?: number }];
  return { pid: child.pid!, ...ports, end: () => void child.kill() };
}

async function user({ users }: Relay): Promise<Socket> {
  const socket = connect({ host, port: users, noDelay: true });
  // Recipients are numbered in the order in which the process accepts them.
  await once(socket, 'data');
  return socket;
}

export interface FloorOptions {
  readonly authority: Authority;
  readonly seconds: number;
  readonly rounds: number;
  readonly window: number;
  readonly bytes: number;
  readonly counts: readonly number[];
}

/** Prints the table. */
export async function measureFloor({ authority, seconds, rounds, window, bytes, counts }: FloorOptions): Promise<void> {
  const most = Math.max(...counts);
  const relays: Relay[] = [];
  const sockets: Socket[] = [];
  const begin = async (job: Job): Promise<Relay> => {
    const one = await start(job);
    relays.push(one);
    return one;
  };
  try {
    const local = await begin({ bytes });
    const second = await begin({ bytes, pem: authority.issue(['floor.example']) });
    const first = await begin({ bytes, link: second.link! });
    const rows = [];
    for (const [title, from, to] of [
      ['bare Node, local', local, local],
      ['bare Node, TLS between two', first, second],
    ] as const) {
      const recipients: Socket[] = [];
      for (let n = 0; n < most; n++) recipients.push(await user(to));
      const senders: Socket[] = [];
      for (let n = 0; n < most; n++) senders.push(await user(from));
      sockets.push(...recipients, ...senders);
      const pids = [...new Set([from.pid, to.pid])];
      const pairs = senders.map((sender, n) => ({
        sender,
        recipient: recipients[n]!,
        text: `${n}`.padEnd(bytes, 'x'),
      }));
      await exchange(pairs, seconds, window, bytes);
      rows.push({ title, pids, pairs, figures: counts.map((count) => ({ count, all: [] as number[] })) });
    }
    for (let round = 0; round < rounds; round++)
      for (const { pids, pairs, figures } of rows)
        for (const { count, all } of figures) {
          const before = cpuOf(pids);
          const passed = await exchange(pairs.slice(0, count), seconds, window, bytes);
          all.push((cpuOf(pids) - before) / passed);
        }
    console.log(`\nµs of CPU a message of processes that only pass it on, window ${window}, ${bytes} bytes\n`);
    console.log(`| | ${counts.map((count) => (count === 1 ? '1 pair' : `${count} pairs`)).join(' | ')} |`);
    console.log(`| --- |${' ---: |'.repeat(counts.length)}`);
    for (const { title, figures } of rows)
      console.log(`| ${[title, ...figures.map(({ all }) => median(all).toFixed(1))].join(' | ')} |`);
  } finally {
    for (const socket of sockets) socket.destroy();
    for (const one of relays) one.end();
  }
}

interface Pair {
  readonly sender: Socket;
  readonly recipient: Socket;
  readonly text: string;
}

/** Sends for so many seconds. Resolves with the number of messages, once all of them have arrived. */
function exchange(pairs: readonly Pair[], seconds: number, window: number, bytes: number): Promise<number> {
  const until = performance.now() + seconds * 1000;
  let [sent, arrived] = [0, 0];
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('messages were lost')), seconds * 1000 + patience);
    for (const { sender, recipient, text } of pairs) {
      recipient.removeAllListeners('data');
      read(recipient, bytes, () => {
        arrived++;
        if (performance.now() < until) {
          sent++;
          sender.write(text);
        } else if (arrived === sent) {
          clearTimeout(late);
          resolve(arrived);
        }
      });
      for (let n = 0; n < window; n++) {
        sent++;
        sender.write(text);
      }
    }
  });
}

if (process.argv[2] === 'relay') {
  process.on('disconnect', () => process.exit());
  process.once('message', (job: Job) => {
    relay(job).then(
      (ports) => process.send!(ports),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
}
