/**
 * µs of CPU of the server: for requests over kept HTTP/1.1 connections, beside a bare server of node:http that writes the
 * same bytes; and for chat messages over WebSocket, beside TCP.
 *
 *     node dist/bench/http.js [rounds]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { median } from './measure.js';
import { startServer, WebSocketWire, Wire } from './wire.js';

const [rounds = '5'] = process.argv.slice(2);
const port = 15_228;
const http = 15_229;
const requests = 20_000;
const messages = 10_000;
const connections = 16;

const requestOf = (path: string, headers = '') =>
  `GET ${path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, deflate, br\r\nUser-Agent: bench\r\n${headers}\r\n`;

/** Sends requests over several connections, one at a time on each. Resolves with the first answer. */
async function load(at: number, request: string, count: number): Promise<string> {
  let first = '';
  let left = count;
  const one = async () => {
    const socket = connect({ host: '127.0.0.1', port: at, noDelay: true });
    let expected = 0;
    let seen = 0;
    const next = () => {
      if (left-- <= 0) socket.destroy();
      else socket.write(request);
    };
    socket.on('data', (bytes: Buffer) => {
      if (expected === 0) {
        // All answers have the same length.
        const text = bytes.toString('latin1');
        if (first === '') first = text;
        const end = text.indexOf('\r\n\r\n') + 4;
        expected = end + Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      }
      seen += bytes.length;
      if (seen < expected) return;
      seen -= expected;
      next();
    });
    socket.once('connect', next);
    await once(socket, 'close');
  };
  await Promise.all(Array.from({ length: connections }, one));
  return first;
}

/** A bare server: answers each request with these bytes, and a signal with its ms of CPU since the last one. */
async function bare(): Promise<void> {
  const body = Buffer.alloc(Number(process.argv[3]), 'x');
  const server = createServer((_request, response) => {
    response.setHeader('content-length', body.length);
    response.end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.send!((server.address() as AddressInfo).port);
  let before = process.cpuUsage();
  process.on('message', () => {
    const { user, system } = process.cpuUsage(before);
    before = process.cpuUsage();
    process.send!((user + system) / 1000);
  });
  await once(process, 'disconnect');
  server.close();
}

if (rounds === 'bare') {
  await bare();
  process.exit();
}
const page = new URL('http-page.js', import.meta.url).pathname;
const rates = ['stanzas_per_second', 'stanza_burst', 'bytes_per_second', 'byte_burst'];
const shared = [...rates, 'cpu_ms_per_second', 'cpu_ms_burst'];
const unlimited = (table: string, keys: readonly string[]) =>
  `[limits.${table}]\n${keys.map((key) => `${key} = "unlimited"\n`).join('')}`;
const tables = unlimited('rate', rates) + unlimited('rate_account', shared) + unlimited('rate_address', shared);
const server = await startServer(port, ['romeo', 'juliet'], { http, load: [page], tables });

async function measureRequests(what: string, request: string): Promise<void> {
  const first = await load(http, request, 2000);
  const length = /content-length: (\d+)/i.exec(first)?.[1] ?? '0';
  const child = fork(process.argv[1]!, ['bare', length]);
  const [bareAt] = (await once(child, 'message')) as [number];
  await load(bareAt, request, 2000);
  const own: number[] = [];
  const least: number[] = [];
  for (let round = 0; round < Number(rounds); round++) {
    await server.load();
    await load(http, request, requests);
    own.push(((await server.load()).cpu * 1000) / requests);
    child.send('');
    await once(child, 'message');
    await load(bareAt, request, requests);
    child.send('');
    const [cpu] = (await once(child, 'message')) as [number];
    least.push((cpu * 1000) / requests);
  }
  child.disconnect();
  const status = first.slice(9, 12);
  console.log(
    `${what} (${status}, ${length} bytes): ${median(own).toFixed(1)} µs, bare node:http ${median(least).toFixed(1)} µs`,
  );
}

async function measureChat(): Promise<void> {
  const cost = async (make: () => Wire) => {
    const [romeo, juliet] = [await make().login('romeo', 'bench'), await make().login('juliet', 'bench')];
    let received = 0;
    let tail = '';
    juliet.socket.on('data', (text: string) => {
      const parts = (tail + text).split('</message>');
      received += parts.length - 1;
      tail = parts.at(-1)!.slice(-'</message'.length);
    });
    const chat = async (count: number) => {
      received = 0;
      for (let sent = 0; sent < count; sent++) {
        romeo.sendTimestamp('juliet@localhost', 'but soft, what light through yonder window breaks');
        if (sent % 20 === 19) while (received < sent - 200) await once(juliet.socket, 'data');
      }
      while (received < count) await once(juliet.socket, 'data');
    };
    await chat(2000);
    await server.load();
    await chat(messages);
    const { cpu } = await server.load();
    romeo.end();
    juliet.end();
    return (cpu * 1000) / messages;
  };
  const tcp: number[] = [];
  const websocket: number[] = [];
  for (let round = 0; round < Number(rounds); round++) {
    tcp.push(await cost(() => new Wire(port)));
    websocket.push(await cost(() => new WebSocketWire(http)));
  }
  const [over, under] = [median(websocket), median(tcp)];
  console.log(`chat: WebSocket ${over.toFixed(1)} µs, TCP ${under.toFixed(1)} µs, ratio ${(over / under).toFixed(2)}`);
}

try {
  await measureRequests('a short text', requestOf('/text'));
  await measureRequests('a cached asset', requestOf('/assets/main-1a2b3c4d.js'));
  await measureRequests('an unchanged asset', requestOf('/assets/main-1a2b3c4d.js', 'If-None-Match: *\r\n'));
  await measureRequests('no such path', requestOf('/assets/none'));
  await measureChat();
} finally {
  await server.stop();
}
