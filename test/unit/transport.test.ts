import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { reset } from '../../src/server/transport/reset.js';
import { TcpTransport } from '../../src/server/transport/tcp.js';
import { beforeFlush, flushAbove } from '../../src/server/transport/transport.js';

const server = createServer().listen(0, '127.0.0.1');
await once(server, 'listening');
after(() => server.close());

async function pair(): Promise<{
  transport: TcpTransport;
  received: () => string;
  until: (text: string) => Promise<void>;
}> {
  const peer = connect((server.address() as { port: number }).port, '127.0.0.1');
  const [socket] = (await once(server, 'connection')) as [Socket];
  let received = '';
  peer.setEncoding('utf8').on('data', (text: string) => {
    received += text;
  });
  after(() => {
    peer.destroy();
    socket.destroy();
  });
  return {
    transport: new TcpTransport(socket, () => ({})),
    received: () => received,
    until: async (text) => {
      while (received !== text) await once(peer, 'data');
    },
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('deferred output is sent with other output, in the order of writing', async () => {
  const { transport, received, until } = await pair();
  transport.write('1', 10);
  transport.write('2', 10);
  await turn();
  assert.equal(transport.queued, 2);
  assert.equal(received(), '');
  transport.write('3');
  transport.write('4', 10);
  await turn();
  assert.equal(transport.queued, 0);
  await until('1234');
});

test('work before the flush writes in the same turn, and one that throws stops no other', async () => {
  const { transport, until } = await pair();
  const errors: unknown[] = [];
  const caught = new Promise<void>((resolve) => {
    process.setUncaughtExceptionCaptureCallback((error) => {
      errors.push(error);
      resolve();
    });
  });
  transport.write('1');
  beforeFlush(() => transport.write('2'));
  beforeFlush(() => {
    throw new Error('a fault');
  });
  beforeFlush(() => transport.write('3'));
  await caught;
  process.setUncaughtExceptionCaptureCallback(null);
  await until('123');
  assert.match(String(errors), /a fault/);
});

test('a connection that is cut before its turn for the TLS handshake gives the turn back', async () => {
  const peer = connect((server.address() as { port: number }).port, '127.0.0.1').on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const events: string[] = [];
  let asked = () => {};
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  const transport = new TcpTransport(
    socket,
    () => assert.fail('it was not its turn'),
    () => {
      asked();
      return () => void events.push('withdrawn');
    },
  );
  const isClosed = new Promise<void>((resolve) => {
    transport.reader = { ...transport.reader, closed: resolve };
  });
  transport.startTls((error) => events.push(error === undefined ? 'secure' : 'failed'));
  connectTls({ socket: peer }).on('error', () => {});
  await isAsked;
  transport.destroy();
  await isClosed;
  assert.deepEqual(events, ['withdrawn', 'failed']);
});

test('deferred output is sent by itself, once more each time', async () => {
  const { transport, until } = await pair();
  for (const [n, text] of ['1', '12', '123'].entries()) {
    transport.write(String(n + 1), 10);
    await until(text);
  }
});

test('much deferred output is sent immediately, and so is any at the end', async () => {
  const { transport, until } = await pair();
  const much = 'x'.repeat(flushAbove + 1);
  transport.write(much, 10);
  await until(much);
  transport.write('last', 10);
  transport.end();
  await until(`${much}last`);
});

for (const [moment, before] of [
  ['that is open', () => {}],
  ['whose end was received', (socket: Socket) => void socket.end()],
  [
    'whose end was sent',
    async (socket: Socket) => {
      socket.end();
      await once(socket, 'finish');
    },
  ],
] as const)
  test(`a connection ${moment} is reset and closed`, async () => {
    const peer = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1', allowHalfOpen: true });
    peer.on('error', () => {}).resume();
    const [socket] = (await once(server, 'connection')) as [Socket];
    await before(socket);
    reset(socket);
    await once(socket, 'close'); // an error would reject this
    peer.destroy();
  });
