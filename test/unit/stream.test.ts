/**
 * A stream that is not a client's: what stream.ts does for any handler, over real sockets. The handler here accepts
 * streams of other servers (`jabber:server`) and echoes each element.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { loadConfig } from '../../src/server/config/load.js';
import { Backlog } from '../../src/server/limits/backlog.js';
import { Congestion } from '../../src/server/limits/congestion.js';
import { Queues } from '../../src/server/limits/queues.js';
import { Shares } from '../../src/server/limits/shares.js';
import { StreamError } from '../../src/server/stanza/errors.js';
import {
  type Allowance,
  demandVersion,
  type StreamHandler,
  type StreamParts,
} from '../../src/server/stream/handler.js';
import { XmlStream } from '../../src/server/stream/stream.js';
import { Sweeper, type Swept } from '../../src/server/stream/sweeper.js';
import { TcpTransport } from '../../src/server/transport/tcp.js';
import type { Transport } from '../../src/server/transport/transport.js';
import type { StreamOpen, TopLevel } from '../../src/server/xml/reader.js';

const accepted: Socket[] = [];
const listener = createServer({ allowHalfOpen: true }, (socket) => void accepted.push(socket)).listen(0, '127.0.0.1');
await once(listener, 'listening');
after(() => listener.close());

const HEADER = `<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' to='verona' from='mantua' version='1.0'>`;

const allowance: Allowance = {
  rate: (limits) => limits.rate,
  elementBytes: (limits) => limits.stanza_bytes,
};

/** Of `limits`, in TOML. */
function parts(limits = ''): StreamParts & { readonly hits: string[]; readonly queues: Queues } {
  const config = loadConfig({ text: `data = "/nowhere"\n[hosts.verona]\n[limits]\n${limits}`, modules: [] });
  const hits: string[] = [];
  const limitHit = (limit: string) => void hits.push(limit);
  return {
    hits,
    limitHit,
    config: () => config,
    counts: { streamErrors: new Map() },
    log: pino({ enabled: false }),
    backlog: new Backlog(() => config.limits, limitHit),
    shares: new Shares(
      () => config.limits,
      limitHit,
      () => false,
    ),
    queues: new Queues(
      () => config.limits.outbound_bytes,
      () => {},
      () => [],
      new Congestion(() => config.limits.outbound_bytes, limitHit.bind(undefined, 'congestion')),
    ),
  };
}

class Echo implements StreamHandler, Swept {
  readonly ns = 'jabber:server';
  readonly mayLag = 0;
  readonly needsKeepalive = true;
  readonly xml: XmlStream;
  /** What happened, in order. */
  readonly events: string[] = [];
  /** Handles `<slow/>` once it is called. */
  finishSlow = () => {};

  constructor(transport: Transport, given: StreamParts) {
    this.xml = new XmlStream(transport, this, given);
  }

  opened(header: StreamOpen): void {
    demandVersion(header);
    this.events.push(`opened ${header.attrs.from}`);
    this.xml.open('verona', header.attrs.from);
    this.xml.write(this.xml.framing.features([]));
    this.xml.establish();
  }

  element(item: TopLevel): void | Promise<void> {
    this.events.push(item.name);
    if (item.name === 'restart') return this.xml.restart();
    if (item.name === 'fail') throw new StreamError('policy-violation', 'No.');
    if (item.name === 'break') return Promise.reject(new Error('a bug'));
    const answer = () => this.xml.write(`<${item.name}>${item.content}</${item.name}>`);
    if (item.name !== 'slow') return answer();
    return new Promise<void>((resolve) => {
      this.finishSlow = resolve;
    }).then(answer);
  }

  isFree(): boolean {
    return false;
  }
  ahead(): boolean {
    return false;
  }
  drained(): void {
    this.events.push('drained');
  }
  closed(error: StreamError | undefined): void {
    this.events.push(`closed ${error?.condition ?? 'in order'}`);
  }
  lost(): void {
    this.events.push('lost');
  }
  gone(): void {
    this.events.push('gone');
  }
  isLate(): boolean {
    return false;
  }
  expire(): void {}
  checkPace(now: number): void {
    this.xml.checkPace(now);
  }
  askAlive(): void {
    this.xml.write('<ping/>');
  }
}

interface Pair {
  readonly peer: Socket;
  readonly echo: Echo;
  /** Resolves when all that the peer has received matches. */
  reads(pattern: RegExp): Promise<string>;
  /** Resolves when the events of the stream end with this one. */
  becomes(event: string): Promise<void>;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Both ends of a connection. Others may connect too: whoever used the port before. */
async function connected(): Promise<readonly [peer: Socket, socket: Socket]> {
  const { port } = listener.address() as { port: number };
  const peer = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(peer, 'connect');
  for (;;) {
    const socket = accepted.find(({ remotePort }) => remotePort === peer.localPort);
    if (socket !== undefined) return [peer, socket];
    await once(listener, 'connection');
  }
}

async function pair(given: StreamParts = parts()): Promise<Pair> {
  const [peer, socket] = await connected();
  const echo = new Echo(new TcpTransport(socket, () => ({})), given);
  let received = '';
  peer.setEncoding('utf8').on('data', (text: string) => {
    received += text;
  });
  peer.on('error', () => {});
  after(() => {
    peer.destroy();
    socket.destroy();
  });
  return {
    peer,
    echo,
    reads: async (pattern) => {
      while (!pattern.test(received)) await once(peer, 'data');
      return received;
    },
    becomes: async (event) => {
      while (echo.events.at(-1) !== event) await turn();
    },
  };
}

const seen = (echo: Echo) => echo.events.filter((event) => event !== 'drained');

test('a handler gets the header, each element in order, and the end', async () => {
  const { peer, echo, reads, becomes } = await pair();
  peer.write(`${HEADER}<a/><slow/><b><c/></b>`);
  while (echo.events.at(-1) !== 'slow') await turn();
  assert.deepEqual(seen(echo), ['opened mantua', 'a', 'slow'], 'b waits for what was before it');
  echo.finishSlow();
  const sent = await reads(/<\/b>$/);
  assert.match(
    sent,
    /^<\?xml version='1.0'\?><stream:stream xmlns="jabber:server" [^>]*to="mantua" from="verona"[^>]*><stream:features\/><a><\/a><slow><\/slow><b><c\/><\/b>$/,
  );
  peer.end('</stream:stream>');
  await reads(/<\/stream:stream>$/);
  await becomes('gone');
  assert.deepEqual(seen(echo), ['opened mantua', 'a', 'slow', 'b', 'closed in order', 'gone']);
});

test('a header of another kind of stream, or without a version, ends it with an error after our header', async () => {
  for (const [header, condition] of [
    [HEADER.replace('jabber:server', 'jabber:client'), 'invalid-namespace'],
    [HEADER.replace(" version='1.0'", ''), 'unsupported-version'],
    ['<a/>', 'bad-format|not-well-formed|invalid-namespace'],
  ] as const) {
    const given = parts();
    const { peer, echo, reads } = await pair(given);
    peer.write(header);
    const sent = await reads(/<\/stream:stream>$/);
    assert.match(
      sent,
      new RegExp(`^<\\?xml [^>]*><stream:stream [^>]*from="verona"[^>]*><stream:error><(${condition}) `),
    );
    assert.match(seen(echo).at(-1)!, new RegExp(`^closed (${condition})$`));
    assert.equal(given.counts.streamErrors.size, 1);
  }
});

test('an exception of a handler ends the stream; a bug is not described to the peer', async () => {
  for (const [name, condition] of [
    ['fail', 'policy-violation'],
    ['break', 'internal-server-error'],
  ] as const) {
    const { peer, echo, reads } = await pair();
    peer.write(`${HEADER}<${name}/><a/>`);
    const sent = await reads(/<\/stream:stream>$/);
    assert.match(sent, new RegExp(`<stream:error><${condition} `));
    assert.doesNotMatch(sent, /a bug|<a>/);
    assert.deepEqual(seen(echo), ['opened mantua', name, `closed ${condition}`]);
  }
});

test("the peer's stream error ends the stream, and is not answered by another one (RFC 6120 §4.9.1.1)", async () => {
  const { peer, echo, reads } = await pair();
  peer.write(`${HEADER}<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error><a/>`);
  assert.doesNotMatch(await reads(/<\/stream:stream>$/), /stream:error|<a>/);
  assert.deepEqual(seen(echo), ['opened mantua', 'closed in order']);
});

test('after a restart the next header is required', async () => {
  const { peer, echo, reads } = await pair();
  peer.write(`${HEADER}<restart/>`);
  await reads(/features\/>$/);
  while (echo.events.at(-1) !== 'restart') await turn();
  assert.equal(echo.xml.state, 'opening');
  peer.write(HEADER.replace('mantua', 'padua'));
  await reads(/features\/>.*to="padua".*features\/>$/);
  assert.deepEqual(seen(echo), ['opened mantua', 'restart', 'opened padua']);
});

test('a lost connection ends the stream, after earlier data is handled', async () => {
  const { peer, echo, becomes } = await pair();
  peer.write(`${HEADER}<slow/><a/>`);
  while (echo.events.at(-1) !== 'slow') await turn();
  peer.resetAndDestroy();
  while (!echo.xml.isCut) await turn();
  assert.deepEqual(seen(echo), ['opened mantua', 'slow']);
  echo.finishSlow();
  await becomes('gone');
  assert.deepEqual(seen(echo), ['opened mantua', 'slow', 'a', 'lost', 'gone']);
});

test('an outgoing stream sends its header first', async () => {
  const [peer, socket] = await connected();
  after(() => {
    peer.destroy();
    socket.destroy();
  });
  const given = parts();
  const answering = new Echo(new TcpTransport(socket, () => ({})), given);
  class Asking extends Echo {
    override opened(header: StreamOpen): void {
      this.events.push(`opened ${header.attrs.from}`);
      this.xml.establish();
      this.xml.write('<a/><b/>');
    }
    override element(item: TopLevel): void {
      this.events.push(item.name);
      if (item.name === 'b') this.xml.close();
    }
  }
  const asking = new Asking(new TcpTransport(peer, () => ({})), given);
  asking.xml.open('mantua', 'verona');
  assert.equal(asking.xml.state, 'opening');
  while (asking.events.at(-1) !== 'gone' || answering.events.at(-1) !== 'gone') await turn();
  assert.deepEqual(seen(asking), ['opened verona', 'features', 'a', 'b', 'closed in order', 'gone']);
  assert.deepEqual(seen(answering), ['opened mantua', 'a', 'b', 'closed in order', 'gone']);
  assert.equal(given.counts.streamErrors.size, 0);
});

test('held output is sent on request, and counted meanwhile', async () => {
  const given = parts();
  const { peer, echo, reads } = await pair(given);
  peer.write(HEADER);
  await reads(/features\/>$/);
  echo.xml.hold();
  echo.xml.write('x'.repeat(20_000));
  echo.xml.write('<y/>');
  assert.equal(given.queues.size, 20_004);
  assert.equal(echo.xml.hasRoom, false);
  assert.deepEqual(
    echo.xml.release().map((xml) => xml.length),
    [20_000, 4],
  );
  assert.equal(given.queues.size, 0);
  assert.equal(echo.xml.hasRoom, true);
  echo.xml.write('<z/>');
  assert.doesNotMatch(await reads(/<z\/>$/), /x{20}|<y\/>/);
});

test('a closing stream discards held output and its count', async () => {
  const given = parts();
  const { peer, echo, reads, becomes } = await pair(given);
  peer.write(HEADER);
  await reads(/features\/>$/);
  echo.xml.hold();
  echo.xml.write('x'.repeat(20_000));
  echo.xml.close(new StreamError('system-shutdown'));
  assert.doesNotMatch(await reads(/<\/stream:stream>$/), /xx/);
  assert.equal(given.queues.size, 0);
  peer.end();
  await becomes('gone');
});

test('a peer that does not read is disconnected', async () => {
  const given = parts('write_queue_bytes = "256 KiB"\noutbound_bytes = "4 MiB"\n');
  const { peer, echo, reads, becomes } = await pair(given);
  peer.write(HEADER);
  await reads(/features\/>$/);
  peer.pause();
  for (let n = 0; n < 1000 && echo.xml.state === 'open'; n++) echo.xml.write('x'.repeat(65_536));
  await becomes('gone');
  assert.deepEqual(given.hits, ['write_queue_bytes']);
  assert.equal(given.queues.size, 0);
  assert.equal(given.shares.size, 0);
});

test('a fast sender is slowed down to its rate; a known peer has a higher one', async () => {
  const given = parts(
    '[limits.rate_unauthenticated]\nstanzas_per_second = 1000\nstanza_burst = 2\nbytes_per_second = "1 MiB"\nbyte_burst = "1 MiB"\n',
  );
  for (const isKnown of [false, true]) {
    const { peer, echo, reads } = await pair(given);
    peer.write(HEADER);
    await reads(/features\/>$/);
    if (isKnown) echo.xml.admit(allowance, given.shares.ofAccount('mantua'));
    peer.write('<a/>'.repeat(20));
    await reads(/(<a><\/a>){20}$/);
    assert.deepEqual(given.hits.splice(0), isKnown ? [] : ['rate']);
  }
});

test('idle peers get white space, then a ping, then are disconnected', async () => {
  const given = parts('idle_whitespace_seconds = 60\nping_after_seconds = 300\nping_timeout_seconds = 30\n');
  const { peer, echo, reads, becomes } = await pair(given);
  peer.write(HEADER);
  await reads(/features\/>$/);
  const sweeper = new Sweeper([[echo]], { sweep() {} }, () => {}, given.config);
  sweeper.stop();
  const start = echo.xml.silence.lastRead;
  // Not at the limit itself: sums of fractions of a millisecond are rounded.
  sweeper.sweep(start + 60_500);
  await reads(/features\/> $/);
  sweeper.sweep(start + 300_500);
  await reads(/<ping\/>$/);
  sweeper.sweep(start + 329_000);
  assert.equal(echo.xml.state, 'open');
  sweeper.sweep(start + 331_000);
  await becomes('gone');
  assert.deepEqual(seen(echo), ['opened mantua', 'lost', 'gone']);
});
