/** Which of several addresses of a server is connected to (RFC 8305 §5, XEP-0495 §4.4), and what a silent one delays. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { dial } from '../../src/server/dialing.js';
import type { Place } from '../../src/server/stream/s2s/resolve.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { closed as closedSince, openNow } from '../left-open.js';

const address = '127.0.0.1';
const connections: Socket[] = [];
const never = new AbortController().signal;
const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;
const place = (port: number, more: Partial<Place> = {}): Place => ({ address, port, isDirectTls: false, ...more });

/** A port that accepts connections and says nothing. */
async function listening(): Promise<number> {
  const server = createServer((socket) => void connections.push(socket)).listen(0, address);
  after(() => {
    server.close();
    for (const socket of connections) socket.destroy();
  });
  await once(server, 'listening');
  return portOf(server);
}

/** A port at which connections neither succeed nor fail: its process accepts none, and its queue is full. */
async function stuck(): Promise<number> {
  const child = fork(fileURLToPath(import.meta.url), ['stuck']);
  const [port] = (await once(child, 'message')) as [number];
  const filling = Array.from({ length: 8 }, () => connect({ host: address, port }).on('error', () => {}));
  after(() => {
    for (const socket of filling) socket.destroy();
    child.kill('SIGKILL');
  });
  await once(filling[0]!, 'connect');
  return port;
}

async function closed(): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, 'listening');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}

/** The port that is connected to, and the ports that are left. */
async function dialed(...places: Place[]): Promise<readonly [number | undefined, ...number[]]> {
  const { transport, rest } = await dial(places, { rejectUnauthorized: false }, never);
  transport.destroy();
  return [places[places.length - rest.length - 1]?.port, ...rest.map(({ port }) => port)];
}

if (process.argv[2] === 'stuck') {
  const server = createServer().listen({ port: 0, host: address, backlog: 1 }, () => {
    process.send!(portOf(server));
    setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
  });
} else {
  test('the first address that answers, and those after it are left', async () => {
    const [one, other] = [await listening(), await listening()];
    assert.deepEqual(await dialed(place(one), place(other)), [one, other]);
    assert.deepEqual(await dialed(place(await closed()), place(one), place(other)), [one, other]);
  });

  test('RFC 8305 §5: an address that does not answer delays the next one by little', async () => {
    const [silent, one] = [await stuck(), await listening()];
    assert.deepEqual(await dialed(place(silent), place(one)), [one]);
  });

  test('XEP-0495 §4.1: a later priority has its turn once the earlier one has failed', async () => {
    const [silent, one, other] = [await stuck(), await listening(), await listening()];
    // Without priorities the second address would be connected to before the third has its turn.
    const refused = await closed();
    assert.deepEqual(
      await dialed(
        place(refused, { priority: 1 }),
        place(silent, { priority: 1 }),
        place(one, { priority: 1 }),
        place(other, { priority: 2 }),
      ),
      [one, other],
    );
    assert.deepEqual(await dialed(place(refused, { priority: 1 }), place(other, { priority: 2 })), [other]);
    // One that neither answers nor fails does not keep the others from being tried.
    assert.deepEqual(await dialed(place(silent, { priority: 1 }), place(other, { priority: 2 })), [other]);
  });

  test('XEP-0368: a port of direct TLS that says nothing is followed by the next place', async () => {
    const { certificate: cert, key } = makeSelfSigned(['server.example']);
    const server = createTlsServer({ cert, key }).listen(0, address);
    after(() => server.close());
    await once(server, 'listening');
    const [mute, good, plain] = [await listening(), portOf(server), await listening()];
    const direct = { isDirectTls: true };
    assert.deepEqual(await dialed(place(mute, direct), place(good, direct), place(plain)), [good, plain]);
    assert.deepEqual(await dialed(place(mute, direct), place(plain)), [plain]);
  });

  test('nothing is left when it is to stop: while it connects, in a handshake of TLS, before it begins', async () => {
    const [silent, mute] = [await stuck(), await listening()];
    const before = openNow();
    const stopped = async (places: readonly Place[], begun: () => Promise<unknown>) => {
      const stop = new AbortController();
      const end = assert.rejects(dial(places, { rejectUnauthorized: false }, stop.signal));
      await begun();
      stop.abort();
      await end;
      await closedSince(before);
    };
    await stopped([place(silent), place(silent, { priority: 1 })], async () => {});
    const made = connections.length;
    const direct = [place(mute, { isDirectTls: true }), place(mute)];
    await stopped(direct, async () => {
      while (connections.length === made) await new Promise(setImmediate);
      await once(connections.at(-1)!, 'readable');
      connections.at(-1)!.resume();
    });
    // The other place is not tried.
    assert.equal(connections.length, made + 1);
    await assert.rejects(dial([place(mute)], {}, AbortSignal.abort()));
    await closedSince(before);
  });

  test('all addresses fail', async () => {
    await assert.rejects(dialed(place(await closed()), place(await closed())), /ECONNREFUSED/);
  });
}
