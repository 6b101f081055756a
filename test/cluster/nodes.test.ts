/** Nodes that are processes: users reach each other through any of them, and a node that must not join says why. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { slotOf } from '../../src/server/cluster/slots.js';
import { Client } from '../durability/client.js';
import { ServerProcess } from '../interop/server.js';
import { dropAll } from '../postgresql/server.js';
import { Cluster, links, names } from './nodes.js';

const password = 'pencil';
const users = Array.from({ length: 6 }, (_, n) => `user${n}@localhost`);
let cluster: Cluster;

before(async () => {
  cluster = await Cluster.start({ accounts: Object.fromEntries(users.map((user) => [user, password])) });
});
after(async () => {
  await cluster.close();
  await dropAll();
});

/** Its resource is its own: two clients with one would end each other's sessions. */
const clientOf = (user: string, received?: (text: string) => void): Client =>
  new Client({
    address: `${user}/${received === undefined ? 'sender' : 'receiver'}`,
    password,
    port: () => cluster.port(),
    received: (stanza) => received?.(stanza.toString()),
  });

/** Sends a message from one account to another, and returns the ms until it arrived; connects again as often as needed. */
async function reaches(from: string, to: string): Promise<number> {
  const started = Date.now();
  let arrived = (): void => {};
  const has = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const text = `hello ${started} ${Math.random()}`;
  const receiver = clientOf(to, (xml) => {
    if (xml.includes(text)) arrived();
  });
  const sender = clientOf(from);
  const online = async (client: Client): Promise<void> => {
    while (!client.online) await client.connect().catch(() => pause(20));
  };
  let isOver = false;
  const keeps = async (client: Client): Promise<void> => {
    while (!isOver) {
      await online(client);
      await pause(20);
    }
  };
  const kept = [keeps(receiver), keeps(sender)];
  await online(receiver);
  sender.send(`<message to='${to}' type='chat'><body>${text}</body></message>`);
  await has;
  isOver = true;
  await Promise.all(kept);
  await Promise.all([sender.leave(), receiver.leave()]);
  return Date.now() - started;
}

/** What nodes say about a node that they ask whether they reach it, and that has gone: it knows why it must not join. */
const unreached = /is not running|cannot be reached|closes links at once/;

test('users of all nodes reach each other, whichever node they connect to', async () => {
  const homes = new Set(await Promise.all(users.map((user) => cluster.homeOf(slotOf(user)))));
  assert.deepEqual([...homes].sort(), [...names]);
  await Promise.all(users.slice(1).map((user, n) => reaches(user, users[n]!)));
  assert.deepEqual(cluster.complaints(/^$/), []);
});

test('a node that must not join says why', { timeout: 120_000 }, async () => {
  const start = (name: string, more: Record<string, unknown>, clock = 0) =>
    ServerProcess.start({ ...cluster.options(name, more), clock } as never).then(
      async (node) => {
        await node.close();
        return 'joined';
      },
      (error: Error) => error.message,
    );
  assert.match(await start('a', {}), /node a at 127.0.0.1:\d+ is running: two nodes cannot have one name/);
  assert.match(
    await start('d', { hosts: { 'other.example': {} } }),
    /hosts is "other.example" at this node and "localhost" at/,
  );
  const stranger = { cluster: { ...links, node: 'd', secret: 'another secret, of another cluster' } };
  assert.match(await start('d', stranger), /cannot be reached/);
  // Nobody has noticed.
  await Promise.all(users.slice(1).map((user, n) => reaches(user, users[n]!)));
  const { members } = await cluster.view();
  const isOfMember = (line: string): boolean => members.some(({ address }) => line.includes(address));
  const complaints = cluster.complaints(/a connection without the secret of the cluster was refused/);
  assert.deepEqual(
    complaints.filter((line) => isOfMember(line) || !unreached.test(line)),
    [],
  );
});
