/** Relayed streams (src/server/cluster/relay.ts): bytes arrive in order within the window, and a cut ends them. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { NodeName } from '../../src/server/cluster/frames.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { type RelayEnd, type RelayEvents, Relays, relayWindow } from '../../src/server/cluster/relay.js';
import type { Wire } from '../../src/server/cluster/wire.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const until = async (isTrue: () => boolean): Promise<void> => {
  while (!isTrue()) await turn();
};

/** One end, with its events. `isEager`: confirms immediately. */
class End implements RelayEvents {
  readonly chunks: Buffer[] = [];
  hasEnded = false;
  outcome: 'closed' | 'cut' | undefined;

  constructor(
    readonly relay: RelayEnd,
    public isEager = true,
  ) {}

  received(chunk: Buffer): void {
    this.chunks.push(Buffer.from(chunk));
    if (this.isEager) this.relay.took(chunk.length);
  }
  drained(): void {}
  ended(): void {
    this.hasEnded = true;
  }
  closed(isCut: boolean): void {
    assert.equal(this.outcome, undefined);
    this.outcome = isCut ? 'cut' : 'closed';
  }
  get bytes(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }
}

const a: NodeName = { id: 'a', epoch: 1 };
const b: NodeName = { id: 'b', epoch: 2 };
const peer = { ...b, address: 'b' };

function pair(network = new LocalNetwork(), isMember: (node: NodeName) => boolean = () => true) {
  const failures: unknown[] = [];
  const accepted = new Map<string, End>();
  const node = (self: NodeName) =>
    new Relays({
      self,
      address: self.id,
      network,
      isMember,
      accept: (opening, relay) => {
        if (opening === 'none of ours') throw new Error(opening);
        const end = new End(relay);
        accepted.set(opening, end);
        return end;
      },
      failed: (error) => failures.push(error),
    });
  const [near, far] = [node(a), node(b)];
  after(() => {
    near.close();
    far.close();
  });
  const open = (opening: string, to = peer): End => {
    let end: End | undefined;
    near.open(to, opening, (relay) => (end = new End(relay)));
    return end!;
  };
  return { network, near, far, open, accepted, failures };
}

for (const seed of [1, 2, 3, 4])
  test(`many streams in both directions, delayed (seed ${seed})`, async () => {
    const random = mulberry32(seed);
    const { near, far, open, accepted } = pair(new LocalNetwork({ random: mulberry32(seed + 50), delays: 0.3 }));
    const ends = Array.from({ length: 20 }, (_, n) => open(`${n}`));
    await until(() => accepted.size === ends.length);
    const sent = new Map<End, Buffer[]>();
    const all = [...ends, ...accepted.values()];
    for (let n = 0; n < 2000; n++) {
      const end = all[Math.floor(random() * all.length)]!;
      const chunk = Buffer.from(Array.from({ length: Math.floor(random() * 3000) }, () => Math.floor(random() * 256)));
      end.relay.send(chunk);
      sent.set(end, [...(sent.get(end) ?? []), chunk]);
      if (random() < 0.05) await turn();
    }
    for (const end of all) end.relay.end();
    await until(() => all.every((end) => end.hasEnded && end.relay.queued === 0));
    ends.forEach((end, n) => {
      const other = accepted.get(`${n}`)!;
      assert.deepEqual(other.chunks, sent.get(end) ?? []);
      assert.deepEqual(end.chunks, sent.get(other) ?? []);
    });
    assert.deepEqual([near.size, far.size], [20, 20]);
    for (const end of ends) end.relay.close();
    await until(() => far.size === 0);
    assert.equal(near.size, 0);
    for (const other of accepted.values()) assert.equal(other.outcome, 'closed');
  });

test('unconfirmed bytes are limited by the window', async () => {
  const { open, accepted } = pair();
  const [slow, quick] = [open('slow'), open('quick')];
  await until(() => accepted.size === 2);
  const far = accepted.get('slow')!;
  far.isEager = false;
  const chunk = Buffer.alloc(1000, 'x');
  for (let n = 0; n < 200; n++) slow.relay.send(chunk);
  quick.relay.send(chunk);
  await until(() => accepted.get('quick')!.bytes === 1000);
  assert.equal(slow.relay.queued, 200_000);
  assert.ok(far.bytes >= relayWindow && far.bytes < relayWindow + 1000, `${far.bytes} bytes`);
  far.isEager = true;
  far.relay.took(far.bytes);
  await until(() => far.bytes === 200_000);
  await until(() => slow.relay.queued === 0);
});

test('chunks queued beyond the window go along with the end of a stream, or are discarded', async () => {
  const { open, accepted } = pair();
  const [polite, abrupt] = [open('polite'), open('abrupt')];
  await until(() => accepted.size === 2);
  for (const far of accepted.values()) far.isEager = false;
  const chunks = Array.from({ length: 200 }, (_, n) => Buffer.alloc(1000, n));
  for (const chunk of chunks) for (const end of [polite, abrupt]) end.relay.send(chunk);
  polite.relay.close(true);
  polite.relay.close(true);
  abrupt.relay.close();
  await until(() => [...accepted.values()].every(({ outcome }) => outcome === 'closed'));
  assert.deepEqual(accepted.get('polite')!.chunks, chunks);
  const { bytes } = accepted.get('abrupt')!;
  assert.ok(bytes >= relayWindow && bytes < relayWindow + 1000, `${bytes} bytes`);
});

test('a lost wire ends all its streams, and the next stream opens a new wire', async () => {
  const { network, near, far, open, accepted } = pair();
  const end = open('1');
  await until(() => accepted.size === 1);
  network.cut('b');
  await until(() => end.outcome !== undefined && accepted.get('1')!.outcome !== undefined);
  assert.deepEqual([end.outcome, accepted.get('1')!.outcome], ['cut', 'cut']);
  assert.deepEqual([near.size, far.size], [0, 0]);
  end.relay.send(Buffer.from('x'));
  end.relay.end();
  end.relay.close();
  const next = open('2');
  await until(() => accepted.has('2'));
  next.relay.send(Buffer.from('y'));
  await until(() => accepted.get('2')!.bytes === 1);
});

test('streams of a former member end, and it can open none', async () => {
  let members = ['a', 'b'];
  const { near, far, open, accepted, failures } = pair(new LocalNetwork(), ({ id }) => members.includes(id));
  const end = open('1');
  await until(() => accepted.size === 1);
  members = ['b'];
  far.part();
  await until(() => end.outcome !== undefined);
  assert.equal(end.outcome, 'cut');
  const refused = open('2');
  await until(() => refused.outcome !== undefined);
  assert.deepEqual([accepted.size, near.size, far.size, failures.length], [1, 0, 0, 1]);
});

test('a stream for an earlier epoch, or without a home, ends', async () => {
  const { open, accepted, failures } = pair();
  const ends = [open('1', { ...peer, epoch: 1 }), open('2', { ...peer, address: 'nowhere' })];
  await until(() => ends.every(({ outcome }) => outcome === 'cut'));
  assert.deepEqual([accepted.size, failures.length], [0, 1]);
});

test('an invalid opening closes its wire, and is reported', async () => {
  const { open, failures } = pair();
  const end = open('none of ours');
  await until(() => end.outcome !== undefined);
  assert.match(String(failures[0]), /none of ours/);
});

test('invalid messages close the wire', async () => {
  const greeting = Buffer.from(JSON.stringify({ protocol: 1, from: a, to: b }));
  const message = (kind: number, id: number, body: Buffer = Buffer.alloc(0)): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUInt32BE(5 + body.length, 0);
    head[4] = kind;
    head.writeUInt32BE(id, 5);
    return Buffer.concat([head, body]);
  };
  const hello = message(0, 0, greeting);
  for (const bytes of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(9),
    message(1, 1, Buffer.from('no greeting')),
    Buffer.concat([hello, hello]),
    message(0, 0, Buffer.from('{')),
    message(0, 0, Buffer.from('null')),
    message(0, 0, Buffer.from(JSON.stringify({ protocol: 2, from: a, to: b }))),
    Buffer.concat([hello, message(1, 1), message(1, 1)]),
    Buffer.concat([hello, message(1, 1), message(99, 1)]),
    Buffer.concat([hello, message(1, 1), message(3, 1, Buffer.from([0, 0, 0, 1]))]),
    Buffer.concat([hello, message(1, 1), message(3, 1, Buffer.from([1]))]),
  ]) {
    const { network, far, failures } = pair();
    let hasEnded = false;
    const wire: Wire = network.dial('b', { bytes: () => {}, ended: () => (hasEnded = true) }, 'streams');
    wire.write(bytes);
    await until(() => hasEnded);
    assert.equal(failures.length, 1, bytes.toString('hex'));
    assert.equal(far.size, 0);
  }
});
