/**
 * A server that is stopped (SIGTERM) under load: every client gets `system-shutdown` and a closed stream; nothing is
 * lost or duplicated; and every session is resumed with the next server.
 *
 * SEED repeats a run as far as timing allows; ROUNDS sets the number of rounds (default: 3 if CI is set, otherwise 20).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { WebSocket } from 'ws';
import { NS } from '../../src/server/stanza/ns.js';
import { patience, type ServerProcess, within } from '../interop/server.js';
import { randomFrom } from './random.js';
import { cast, type Ending, round, seedOf, serve } from './rounds.js';
import { World } from './world.js';

const seed = seedOf();
const rounds = Number(process.env.ROUNDS ?? (process.env.CI === undefined ? 20 : 3));
const random = randomFrom(seed);
/** Sessions end only by the server's shutdown. */
const faithful = cast.filter(([, habit]) => habit !== 'fickle');

test(`${rounds} stops, seed ${seed}`, { timeout: 300_000 + rounds * 60_000 }, async (t) => {
  const server = await serve();
  t.after(() => server.close());
  const port = () => server.port('c2s');
  const world = new World({ cast: faithful, random, port, rooms: ['hall', 'yard'], newcomers: true, burst: 8 });
  const stop: Ending = {
    name: 'stop',
    inOrder: true,
    end: async (server) => {
      const bystanders = await Promise.all([...raw.map((way) => way(server)), framed(server)]);
      for (const { client } of world.actors) client.end = undefined;
      const there = world.actors.filter(({ client, habit }) => client.online && habit === 'steady');
      await server.stop();
      // This process may hear of the end of the server before it has read what the server sent.
      await within(patience, 'the end of streams', async () => {
        while (there.some(({ client }) => client.end === undefined)) await pause(10);
      });
      for (const { name, sent } of bystanders)
        assert.match(await sent, /<system-shutdown .*(<\/stream:stream>|<close [^>]*>)$/s, name);
      for (const { address, client } of there)
        assert.deepEqual(client.end, { condition: 'system-shutdown', closed: true, reset: false }, address);
      for (const { address, client } of world.actors)
        if (client.end !== undefined) assert.equal(client.end.condition, 'system-shutdown', address);
      await server.start();
    },
  };
  for (let n = 0; n < rounds; n++) {
    await t.test(`round ${n + 1}`, async (t) => {
      const before = world.actors.reduce((sum, { client }) => sum + client.resumed, 0);
      await round(t, { server, world, random, ending: stop });
      const resumed = world.actors.reduce((sum, { client }) => sum + client.resumed, 0) - before;
      t.diagnostic(`${resumed} times a session was resumed`);
      for (const { address, client } of world.actors) assert.equal(client.refused, 0, `${address} could not resume`);
    });
  }
  await t.test('the archives are unchanged', () => world.compareAll());
});

/** A connection without a resumable session, and everything received on it until it was closed. */
interface Bystander {
  readonly name: string;
  readonly sent: Promise<string>;
}

const header = `<stream:stream to='localhost' version='1.0' xmlns='${NS.client}' xmlns:stream='${NS.stream}'>`;
const login = `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${Buffer.from('\0hans\0pencil').toString('base64')}</auth>`;
const bind = `<iq type='set' id='bind'><bind xmlns='${NS.bind}'/></iq>`;

const plain = ({ port }: { port: number }): Socket => connect({ host: '127.0.0.1', port });
const encrypted = ({ port }: { port: number }): Socket =>
  connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });

const raw: readonly ((server: ServerProcess) => Promise<Bystander>)[] = [
  (server) => stream('that has just connected', plain({ port: server.port('c2s') }), [header], '</stream:features>'),
  (server) => stream('that uses TLS', encrypted({ port: server.port('c2s_tls') }), [header], '</stream:features>'),
  (server) =>
    stream('that uses no XEP-0198', plain({ port: server.port('c2s') }), [header, login, header, bind], '</iq>'),
];

/** Sends elements one by one, each after the answer to the previous one; the last answer contains `until`. */
async function stream(name: string, socket: Socket, says: readonly string[], until: string): Promise<Bystander> {
  let received = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    received += text;
  });
  const answers = ['</stream:features>', '<success', '</stream:features>', until];
  for (const [n, text] of says.entries()) {
    received = '';
    socket.write(text);
    const answer = n === says.length - 1 ? until : answers[n]!;
    await within(patience, `an answer to ${name}`, async () => {
      while (!received.includes(answer)) await once(socket, 'data');
    });
  }
  const sent = new Promise<string>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('end', () => resolve(received));
  });
  return { name, sent: within(patience, `the end of ${name}`, () => sent) };
}

/** RFC 7395. */
async function framed(server: ServerProcess): Promise<Bystander> {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port('http')}/xmpp-websocket`, 'xmpp');
  await once(socket, 'open');
  let received = '';
  const sent = new Promise<string>((resolve, reject) => {
    socket.on('message', (data) => {
      received += String(data);
      if (String(data).startsWith('<close')) socket.send(`<close xmlns='${NS.framing}'/>`);
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(received));
  });
  socket.send(`<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`);
  await once(socket, 'message');
  return { name: 'who comes by WebSocket', sent: within(patience, 'the end of a WebSocket', () => sent) };
}
