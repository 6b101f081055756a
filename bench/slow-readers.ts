/**
 * Server memory taken by clients that do not read, and what remains after they have left. Runs twice, to distinguish
 * leaks from memory that the allocator retains for reuse. Prints resident memory, and the heap after a garbage
 * collection.
 *
 *     node dist/bench/slow-readers.js [kind] [sessions]
 *
 * Kinds: `pages` (each requests a hundred archive pages, half of them with stream management), `chat` (they receive
 * messages), `unacknowledged` (they read but never acknowledge), `websocket` (pages over WebSocket), `handshakes` (TLS
 * handshakes that stop half-way).
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type BenchServer, startServer, WebSocketWire, Wire } from './wire.js';

const kinds = ['pages', 'chat', 'unacknowledged', 'websocket', 'handshakes'] as const;
type Kind = (typeof kinds)[number];

const [kind = 'pages', count = '900'] = process.argv.slice(2) as [Kind?, string?];
if (!kinds.includes(kind)) throw new Error(`kinds: ${kinds.join(', ')}`);
const sessions = Number(count);
const port = 15_224;
const http = 15_225;
const perAccount = 18;
const messages = 60;
const accounts = Array.from({ length: Math.ceil(sessions / perAccount) }, (_, n) => `reader${n}`);

const enable = "<enable xmlns='urn:xmpp:sm:3' resume='true' max='5'/>";
const ping = "<iq type='get' id='s'><ping xmlns='urn:xmpp:ping'/></iq>";
const said = (user: string, n: number) =>
  `<message to='${user}@localhost' type='chat'><body>${n} ${'z'.repeat(2000)}</body></message>`;
const page = (id: number) =>
  `<iq type='set' id='p${id}'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>50</max></set></query></iq>`;
const pages = Array.from({ length: 100 }, (_, id) => page(id));

const mb = (bytes: number) => Math.round(bytes / 1_048_576);
async function printMemory(what: string, server: BenchServer, collect: boolean): Promise<void> {
  const { rss, heapUsed, heapTotal, external, arrayBuffers } = await server.memory(collect);
  const parts = [rss, heapUsed, heapTotal, external, arrayBuffers].map(mb);
  console.log(
    `${what}: RSS ${parts[0]} MB, heap ${parts[1]} of ${parts[2]}, external ${parts[3]} (buffers ${parts[4]})`,
  );
}

async function sendMessages(writer: Wire, each: number): Promise<void> {
  for (const user of accounts)
    for (let n = 0; n < each; n++) {
      writer.send(said(user, n));
      if (n % 20 === 19) await writer.ask(ping, 'id="s"');
    }
}

async function storm(server: BenchServer, writer: Wire): Promise<void> {
  const wires: Wire[] = [];
  try {
    for (let n = 0; n < sessions; n++) {
      if (kind === 'handshakes') {
        const wire = new Wire(port);
        await wire.ask(Wire.header, '</stream:features>');
        await wire.ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", '<proceed');
        // The start of a ClientHello that announces a longer one.
        wire.socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]));
        wires.push(wire);
        continue;
      }
      const wire = kind === 'websocket' ? new WebSocketWire(http) : new Wire(port);
      wires.push(wire);
      await wire.login(accounts[n % accounts.length]!, String(Math.floor(n / accounts.length)));
    }
    await printMemory('connected', server, true);
    for (const [n, wire] of wires.entries()) {
      if (kind === 'handshakes') break;
      if (kind !== 'unacknowledged') wire.socket.pause();
      if (n % 2 === 0 || kind === 'unacknowledged') wire.send(enable);
      if (kind === 'pages' || kind === 'websocket') for (const text of pages) wire.send(text);
      if (n % 50 === 49) await pause(50);
    }
    if (kind === 'chat' || kind === 'unacknowledged') await sendMessages(writer, 100);
    let most = server.megabytes();
    for (let second = 0; second < 20; second++) {
      await pause(1000);
      most = Math.max(most, server.megabytes());
    }
    console.log(`at most: RSS ${most} MB`);
    await printMemory('while they do not read', server, false);
  } finally {
    for (const wire of wires) wire.end();
  }
  await pause(20_000);
  await printMemory('20 s after disconnecting', server, false);
  await printMemory('the same, after a garbage collection', server, true);
  await pause(2000);
  await printMemory('two seconds later', server, false);
}

const server = await startServer(port, [...accounts, 'writer'], { http });
try {
  const writer = await new Wire(port).login('writer', 'w');
  if (kind === 'pages' || kind === 'websocket') await sendMessages(writer, messages);
  console.log(`${kind}, ${sessions} sessions`);
  await printMemory('before', server, true);
  for (let round = 1; round <= 2; round++) {
    console.log(`round ${round}`);
    await storm(server, writer);
  }
  writer.end();
} finally {
  await server.stop();
}
