/** `waxwing status` in words, also of a server that is older than the program that asks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type StatusData, status } from '../../src/server/admin/running.js';

const data: StatusData = {
  version: '0.2.0',
  pid: 7,
  startedAt: '2026-01-01T00:00:00.000Z',
  uptimeSeconds: 7200,
  node: 'v20.0.0',
  hosts: ['montague.example'],
  webClients: ['https://capulet.example:5443/'],
  listening: [{ kind: 'c2s', address: '::', port: 5222 }],
  federation: { incoming: 1, outgoing: 2 },
  connections: { tcp: 3, websocket: 0 },
  sessions: 4,
  hibernating: 1,
  memory: { rss: 104_857_600, heapUsed: 1 },
  disk: { free: 1_073_741_824, total: 2_147_483_648, isLow: true },
  engines: [
    { name: 'sqlite', isWorking: true, failingSeconds: null, refused: 0, pending: 2 },
    { name: 'postgresql', isWorking: false, failingSeconds: 90, refused: 17, pending: 0 },
  ],
  certificates: [{ host: 'montague.example', expires: '2100-01-01T00:00:00.000Z', error: 'rate limited' }],
  configFile: '/etc/waxwing.toml',
  data: '/var/lib/waxwing',
  launch: { data: null, folder: '/' },
  supervised: false,
};

/** The table of commands does not know the types of their data. */
const textOf = (given: Partial<StatusData>) => status.text(given as never);

/** The names of the lines. */
const names = (text: string) => text.split('\n').map((line) => /^(.*?) {2}/.exec(line)?.[1]);

test('each fact has a line', async () => {
  const text = await textOf(data);
  assert.match(text, /^Waxwing +0\.2\.0, Node v20\.0\.0, process 7$/m);
  assert.match(text, /^Running since .*\(2 hours\)$/m);
  assert.match(text, /^Listens on +c2s \*:5222$/m);
  assert.match(text, /^Other servers +1 stream from them, 2 to them$/m);
  assert.match(
    text,
    /^Storage +sqlite works, postgresql HAS NOT WORKED FOR 1 minute 30 seconds \(17 requests refused since the start\)$/m,
  );
  assert.match(text, /^Connections +3 \(3 tcp\)$/m);
  assert.match(text, /^Sessions +4 \(1 hibernating\)$/m);
  assert.match(text, /^Certificates +montague\.example valid for .*; montague\.example not renewed: rate limited$/m);
  assert.match(text, /^Disk .* free \(low: /m);
  assert.match(await textOf({ ...data, federation: 'it is off' }), /^Other servers +none: it is off$/m);
});

test('what an older server does not send has no line', async () => {
  const { disk, federation, ...older } = data;
  assert.ok(disk !== null && typeof federation === 'object');
  const all = names(await textOf(data));
  const left = all.filter((name) => name !== 'Disk' && name !== 'Other servers');
  assert.equal(left.length, all.length - 2);
  assert.deepEqual(names(await textOf(older)), left);
  assert.deepEqual(
    names(await textOf({ ...data, disk: null })),
    all.filter((name) => name !== 'Disk'),
  );
  for (const key of Object.keys(data)) {
    const text = await textOf({ ...data, [key]: undefined });
    if (key !== 'version' && key !== 'pid' && key !== 'node') assert.doesNotMatch(text, /undefined|NaN/, key);
  }
});
