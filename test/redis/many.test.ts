/** A Redis Cluster, and a primary that Sentinels know and that is replaced. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Redis } from 'ioredis';
import { StorageError } from '../../src/storage/contract.js';
import { openRedis, type RedisStorage } from '../../src/storage/redis/index.js';
import { documentContract } from '../contract/document.js';
import { mapContract } from '../contract/map.js';
import { freePort } from '../interop/ports.js';
import { clientAt, Engine, newPrefix } from './server.js';

const engines: Engine[] = [];
const clients: Redis[] = [];
const opened: RedisStorage[] = [];
after(async () => {
  for (const one of opened) await one.close();
  for (const client of clients) client.disconnect();
  for (const engine of engines) await engine.remove();
});

const starts = async (more: readonly string[], port?: number): Promise<Engine> => {
  const engine = await Engine.start(more, port);
  engines.push(engine);
  return engine;
};

const raw = (port: number): Redis => {
  const client = new Redis({ host: '127.0.0.1', port });
  client.on('error', () => {});
  clients.push(client);
  return client;
};

/** Two nodes with half of the slots each. */
async function newCluster(): Promise<readonly Engine[]> {
  const arguments_ = async () => [
    '--cluster-enabled',
    'yes',
    '--cluster-config-file',
    'nodes.conf',
    '--cluster-port',
    String(await freePort()),
    '--cluster-node-timeout',
    '5000',
  ];
  const first = await arguments_();
  const second = await arguments_();
  const nodes = [await starts(first), await starts(second)];
  const [one, other] = nodes.map(({ port }) => raw(port));
  await one!.call('CLUSTER', 'ADDSLOTSRANGE', '0', '8191');
  await other!.call('CLUSTER', 'ADDSLOTSRANGE', '8192', '16383');
  await one!.call('CLUSTER', 'MEET', '127.0.0.1', String(nodes[1]!.port), second[5]!);
  for (const client of [one!, other!])
    while (!String(await client.call('CLUSTER', 'INFO')).includes('cluster_state:ok'));
  return nodes;
}

let cluster: Promise<readonly Engine[]> | undefined;
const openCluster = async (): Promise<RedisStorage> => {
  cluster ??= newCluster();
  const [node] = await cluster;
  return openRedis({ client: clientAt(node!.port, { mode: 'cluster' }), prefix: newPrefix(), server: 'me' });
};

documentContract('redis cluster', openCluster);
mapContract('redis cluster', openCluster);

test('a primary is replaced: the storage goes on at the next one', async () => {
  const first = await starts(['--repl-diskless-sync-delay', '0']);
  const second = await starts(['--repl-diskless-sync-delay', '0', '--replicaof', `127.0.0.1 ${first.port}`]);
  const replica = raw(second.port);
  while (!/master_link_status:up/.test(await replica.info('replication')));
  const sentinel = await starts(['--sentinel']);
  const control = raw(sentinel.port);
  await control.call('SENTINEL', 'MONITOR', 'main', '127.0.0.1', String(first.port), '1');
  await control.call('SENTINEL', 'SET', 'main', 'down-after-milliseconds', '500');
  await control.call('SENTINEL', 'SET', 'main', 'failover-timeout', '3000');
  const primary = raw(first.port);
  while (!/slave0:.*state=online/.test(await primary.info('replication')));
  while (((await control.call('SENTINEL', 'REPLICAS', 'main')) as unknown[]).length === 0);
  let lost = 0;
  const client = clientAt(sentinel.port, { mode: 'sentinel', primary: 'main' });
  const storage = await openRedis({ client, server: 'me', lost: () => lost++ });
  opened.push(storage);
  assert.equal(storage.away, undefined);
  await storage.map('m').set('romeo', [['a', 1]]);
  while (!(await replica.exists('waxwing:map:m:{romeo}')));
  await first.stop('SIGKILL');
  for (;;) {
    try {
      await storage.map('m').set('romeo', [['b', 2]]);
      break;
    } catch (error) {
      assert.ok(error instanceof StorageError);
      // A round trip to somebody who is there.
      await control.ping();
    }
  }
  assert.ok(lost > 0);
  const all = await storage.map('m').all('romeo');
  assert.deepEqual(
    all,
    new Map([
      ['a', 1],
      ['b', 2],
    ]),
  );
  assert.equal(await replica.hget('waxwing:map:m:{romeo}', 'b'), '2');
});
