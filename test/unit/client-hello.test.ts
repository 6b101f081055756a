/** The name in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3), as hostile as it may come. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { readHello } from '../../src/server/transport/client-hello.js';

/** The first message of OpenSSL. */
async function helloOf(servername: string, ALPNProtocols: string[] = []): Promise<Buffer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    servername,
    ALPNProtocols,
  });
  client.on('error', () => {});
  const [socket] = await accepted;
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  client.destroy();
  server.close();
  return bytes;
}

const hello = await helloOf('a.example');
const body = hello.subarray(5);
const record = (payload: Buffer) =>
  Buffer.concat([Buffer.from([22, 3, 1, payload.length >> 8, payload.length & 255]), payload]);

test('is found in any number of pieces and records', () => {
  assert.deepEqual(readHello(hello), { servername: 'a.example' });
  for (let end = 0; end < hello.length; end++) assert.equal(readHello(hello.subarray(0, end)), undefined, String(end));
  for (const at of [1, 3, 50, body.length - 1]) {
    const split = Buffer.concat([record(body.subarray(0, at)), record(body.subarray(at))]);
    assert.deepEqual(readHello(split), { servername: 'a.example' });
  }
});

test('is missing without SNI', async () => {
  assert.deepEqual(readHello(await helloOf('')), { servername: undefined });
});

test('an authority that looks for a proof names one protocol (RFC 8737 §4)', async () => {
  const wanted = { servername: 'a.example', isAcme: true };
  assert.deepEqual(readHello(await helloOf('a.example', ['acme-tls/1'])), wanted);
  for (const protocols of [['acme-tls/1', 'http/1.1'], ['acme-tls/2'], ['xmpp-client']])
    assert.deepEqual(readHello(await helloOf('a.example', protocols)), { servername: 'a.example' });
});

test('input that is not a ClientHello is unreadable, and never waited for endlessly', () => {
  for (const text of ['GET / HTTP/1.1', '<stream:stream', '\x16\x02', '\x16\x03\x01\x00\x00'])
    assert.equal(readHello(Buffer.from(text, 'latin1')), 'unreadable');
  const endless = Buffer.alloc(20_000, record(Buffer.from([1, 255, 255, 255])));
  assert.equal(readHello(endless), 'unreadable');
  const tiny = Buffer.concat(Array.from({ length: 5000 }, () => record(Buffer.from([1]))));
  assert.equal(readHello(tiny), 'unreadable');
});

test('no damaged byte makes it throw', () => {
  for (let at = 0; at < hello.length; at++)
    for (const byte of [0, 1, 127, 255]) {
      const wrong = Buffer.from(hello);
      wrong[at] = byte;
      const read = readHello(wrong);
      assert.ok(read === undefined || read === 'unreadable' || 'servername' in read);
    }
});
