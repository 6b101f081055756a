import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Door } from '../../src/server/cluster/door.js';
import { protocol } from '../../src/server/cluster/frames.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { JoinError } from '../../src/server/cluster/probe.js';
import type { View } from '../../src/server/cluster/view.js';
import type { Network } from '../../src/server/cluster/wire.js';

const settings = { hosts: 'example.org', components: '' };
const member = (id: string, address = id) => ({ id, number: 0, epoch: 1, address, version: '1', isLeaving: false });
const viewOf = (...members: ReturnType<typeof member>[]): View => ({
  cluster: 'verona',
  version: 1,
  members,
  slots: [],
  handingOver: null,
});

function doorOf(network: Network, node: string, more: { settings?: Record<string, string>; address?: string } = {}) {
  const warnings: string[] = [];
  const log = { warn: (message: string) => void warnings.push(message) };
  return { door: new Door({ node, address: node, network, version: '1', settings, log, ...more }), warnings };
}

const refusal = (door: Door, view: View): Promise<string> =>
  door.check(view).then(
    () => 'admitted',
    (error: unknown) => {
      assert.ok(error instanceof JoinError);
      return error.message;
    },
  );

/** A member that replies as another version, or on another machine, would. */
function fakeMember(network: Network, address: string, reply: (facts: Record<string, unknown>) => unknown): void {
  network.listen(
    address,
    (wire) => ({
      bytes: (bytes) => {
        const { facts } = JSON.parse(String(bytes));
        wire.write(Buffer.from(`${JSON.stringify(reply({ ...facts, node: address, cluster: 'verona' }))}\n`));
      },
      ended: () => {},
    }),
    'probe',
  );
}

test('a node joins members that it reaches, that reach it, and that are configured alike', async () => {
  const network = new LocalNetwork();
  const { door: a } = doorOf(network, 'a');
  a.cluster = 'verona';
  const { door: b, warnings } = doorOf(network, 'b');
  assert.equal(await refusal(b, viewOf(member('a'))), 'admitted');
  assert.deepEqual(warnings, []);
  // Nobody but itself is there yet, or it is there from an earlier run.
  assert.equal(await refusal(b, viewOf()), 'admitted');
  assert.equal(await refusal(b, viewOf(member('a'), member('b'))), 'admitted');
  assert.equal(await refusal(b, viewOf(member('a'), member('b', 'an old address'))), 'admitted');
});

test('a difference is named', async () => {
  const network = new LocalNetwork();
  const { door: a } = doorOf(network, 'a');
  a.cluster = 'verona';
  const { door: b } = doorOf(network, 'b', { settings: { ...settings, hosts: 'example.net' } });
  assert.match(
    await refusal(b, viewOf(member('a'))),
    /^hosts is "example.net" at this node and "example.org" at node a/,
  );
  const { door: c } = doorOf(network, 'c');
  a.cluster = 'padua';
  assert.match(await refusal(c, viewOf(member('a'))), /another cluster/);
  a.cluster = 'verona';
  // Another node has moved to the address of a member.
  assert.match(await refusal(c, viewOf(member('d', 'a'))), /is now node a/);
  fakeMember(network, 'other', (facts) => ({ facts: { ...facts, protocol: 99 }, time: Date.now(), isReached: true }));
  assert.match(await refusal(c, viewOf(member('other'))), new RegExp(`protocol 99 .*protocol ${protocol}`));
});

test('clocks may differ by a second', async () => {
  const network = new LocalNetwork();
  const { door } = doorOf(network, 'a');
  for (const [at, ahead] of [
    ['early', -3_600_000],
    ['late', 3_600_000],
    ['close', 500],
  ] as const)
    fakeMember(network, at, (facts) => ({ facts, time: Date.now() + ahead, isReached: true }));
  assert.match(await refusal(door, viewOf(member('late'))), /3600.0 s ahead/);
  assert.match(await refusal(door, viewOf(member('early'))), /3600.0 s behind/);
  assert.equal(await refusal(door, viewOf(member('close'))), 'admitted');
});

test('a second node of one name is refused while the first runs', async () => {
  const network = new LocalNetwork();
  doorOf(network, 'a').door.cluster = 'verona';
  const { door } = doorOf(network, 'a', { address: 'elsewhere' });
  assert.match(await refusal(door, viewOf(member('a'))), /node a at a is running: two nodes cannot have one name/);
});

test('a member whose process is gone keeps nobody out; one that cannot be reached, or not reach back, does', async () => {
  const network = new LocalNetwork();
  const { door, warnings } = doorOf(network, 'a');
  assert.equal(await refusal(door, viewOf(member('gone'))), 'admitted');
  assert.match(warnings.join(), /gone is not running: it will be expelled/);
  doorOf(network, 'b').door.cluster = 'verona';
  network.part('b');
  assert.match(await refusal(door, viewOf(member('b'))), /cannot be reached.*waxwing cluster remove b/);
  network.rejoin('b');
  const { door: hidden } = doorOf(network, 'c');
  network.part('c');
  assert.match(await refusal(hidden, viewOf(member('b'))), /node b at b cannot reach this node at c/);
});

test('bytes that are no request and no reply are ignored', async () => {
  const network = new LocalNetwork();
  const { door: a } = doorOf(network, 'a');
  a.cluster = 'verona';
  for (const text of ['\n', 'null\n', '{}\n', '{"facts":1}\n', 'x'.repeat(300_000), '{"facts":']) {
    const ended = new Promise<void>((resolve) => {
      const wire = network.dial('a', { bytes: () => assert.fail(), ended: () => resolve() }, 'probe');
      wire.write(Buffer.from(text));
      if (text.length < 20 && !text.endsWith('\n')) wire.close();
    });
    await ended;
  }
  fakeMember(network, 'liar', () => ({ time: 'never' }));
  const { door: b } = doorOf(network, 'b');
  assert.match(await refusal(b, viewOf(member('liar'))), /cannot be reached/);
  assert.equal(await refusal(b, viewOf(member('a'))), 'admitted');
});
