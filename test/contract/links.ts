import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type Delivery, Inbox } from '../../src/server/cluster/inbox.js';
import { Link } from '../../src/server/cluster/link.js';
import { Parcel, ParcelError } from '../../src/server/cluster/parcel.js';
import { slotOf } from '../../src/server/cluster/slots.js';
import type { Network, Wire } from '../../src/server/cluster/wire.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

export interface NetworkUnderTest {
  readonly network: Network;
  /** Addresses at which a node can listen. */
  readonly addresses: readonly [string, string];
  /** Ends all wires. */
  cut(): void;
  close?(): Promise<void>;
}

const verona = { id: 'verona', epoch: 3 };
const padua = { id: 'padua', epoch: 5 };
const cluster = 'the houses';
const settings = {
  mostUnconfirmed: 2 ** 20,
  view: () => ({ version: 1, cluster }),
  refused: () => {},
  gone: () => {},
};

interface Handling {
  receive?(delivery: Delivery): void | Promise<void>;
  acts?(slot: number): boolean;
}

/** A link from verona to padua, and what arrives there. */
function joined(
  { network, addresses }: NetworkUnderTest,
  { receive, acts = () => true }: Handling = {},
  mostUnconfirmed?: number,
) {
  const arrived: { readonly to: readonly string[]; readonly payload: string }[] = [];
  const failures: unknown[] = [];
  const inbox = new Inbox({
    self: padua,
    cluster: () => cluster,
    receiver: {
      receive(delivery) {
        arrived.push({ to: delivery.to, payload: delivery.payload });
        return receive?.(delivery);
      },
      answer: async ({ payload }) => `answer to ${payload}`,
    },
    acts,
    answers: () => false,
    isMember: ({ id, epoch }) => id === verona.id && epoch === verona.epoch,
    unknownPeer: () => {},
    viewAnnounced: () => {},
    handed: () => {},
    at: () => {},
    caughtUp: () => {},
    answered: () => {},
    reply: () => {},
    failed: (error) => failures.push(error),
  });
  const stop = network.listen(addresses[1], (wire) => inbox.accept(wire));
  const link = new Link({
    ...settings,
    ...(mostUnconfirmed !== undefined && { mostUnconfirmed }),
    self: verona,
    peer: { ...padua, address: addresses[1] },
    network,
    broken: (error) => failures.push(error),
  });
  const send = (to: string | readonly string[], payload: string, isOnce = false): Parcel => {
    const all = typeof to === 'string' ? [to] : to;
    const parcel = new Parcel(all, slotOf(all[0]!.split('/')[0]!), payload, isOnce);
    link.send(parcel);
    return parcel;
  };
  const end = (): void => {
    link.close();
    inbox.close();
    stop();
  };
  return { link, inbox, arrived, failures, send, end };
}

/** A promise with its resolve function. */
function gate<T = void>(): { readonly promise: Promise<T>; resolve(value: T): void } {
  let resolve = (_: T): void => {};
  const promise = new Promise<T>((open) => {
    resolve = open;
  });
  return { promise, resolve };
}

const payloads = (arrived: readonly { payload: string }[]): string[] => arrived.map(({ payload }) => payload);

/** Resolves whether the promise is settled after some turns. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  for (let n = 0; n < 20; n++) await turn();
  return settled;
}

/** What every network promises to links. `make` gives a new one; by `faults` it delays and cuts, if it can. */
export function linkContract(
  name: string,
  open: (faults?: { readonly seed: number }) => NetworkUnderTest | Promise<NetworkUnderTest>,
): void {
  describe(`${name}: links`, () => {
    const opened: NetworkUnderTest[] = [];
    const make = async (faults?: { readonly seed: number }): Promise<NetworkUnderTest> => {
      const under = await open(faults);
      opened.push(under);
      return under;
    };
    afterEach(async () => {
      for (const under of opened.splice(0)) await under.close?.();
    });
    for (const seed of [1, 2, 3, 4]) {
      test(`each address gets all frames once and in order, across lost wires (seed ${seed})`, async () => {
        const random = mulberry32(seed);
        const under = await make({ seed });
        const { send, arrived, failures, end } = joined(under, {
          // Some handlers take a while, and some writes are durable later.
          receive: (delivery) => {
            if (random() < 0.2) delivery.acknowledgeAfter(turn());
            return random() < 0.3 ? turn() : undefined;
          },
        });
        const users = Array.from({ length: 9 }, (_, n) => `user${n}@verona.example`);
        const sent: Parcel[] = [];
        for (let n = 0; n < 400; n++) {
          const user = users[Math.floor(random() * users.length)]!;
          sent.push(send(`${user}/phone`, `${user} ${n} ${'ä😀'.repeat(random() * 90)}`));
          if (random() < 0.1) await turn();
          if (random() < 0.02) under.cut();
        }
        await Promise.all(sent.map(({ confirmed }) => confirmed));
        const inOrder = (user: string, of: readonly { payload: string }[]) =>
          payloads(of).filter((payload) => payload.startsWith(`${user} `));
        for (const user of users) assert.deepEqual(inOrder(user, arrived), inOrder(user, sent));
        assert.equal(arrived.length, sent.length);
        assert.deepEqual(failures, []);
        end();
      });
    }

    test('a frame that comes again is neither handled again nor confirmed before its writes are durable', async () => {
      const under = await make();
      const arrives = gate();
      const durable = gate();
      const { send, inbox, arrived, end } = joined(under, {
        receive: (delivery) => {
          delivery.acknowledgeAfter(durable.promise);
          arrives.resolve();
        },
      });
      const { confirmed } = send('juliet@capulet.example', 'a');
      await arrives.promise;
      under.cut();
      while (inbox.repeated === 0) await turn();
      assert.equal(await isSettled(confirmed), false);
      durable.resolve();
      await confirmed;
      assert.deepEqual(payloads(arrived), ['a']);
      end();
    });

    test('a frame is confirmed once it is handled and its writes are durable', async () => {
      const handled = gate();
      const durable = gate();
      const { send, link, end } = joined(await make(), {
        receive: (delivery) => {
          delivery.acknowledgeAfter(durable.promise);
          return handled.promise;
        },
      });
      const { confirmed } = send('juliet@capulet.example', 'a');
      assert.equal(await isSettled(confirmed), false);
      handled.resolve();
      assert.equal(await isSettled(confirmed), false);
      durable.resolve();
      await confirmed;
      assert.deepEqual(link.unconfirmed, { frames: 0, bytes: 0 });
      end();
    });

    test('a slow handler of one address delays no other', async () => {
      const slow = gate();
      const { send, arrived, end } = joined(await make(), {
        receive: ({ to }) => (to[0]!.startsWith('nurse') ? slow.promise : undefined),
      });
      const waiting = [send('nurse@capulet.example/a', '1'), send('nurse@capulet.example/b', '2')];
      await send('juliet@capulet.example', '3').confirmed;
      assert.deepEqual(payloads(arrived), ['1', '3']);
      slow.resolve();
      await Promise.all(waiting.map(({ confirmed }) => confirmed));
      assert.deepEqual(payloads(arrived), ['1', '3', '2']);
      end();
    });

    test('a failed handler is reported at the receiver, and affects no later frame', async () => {
      let isFirst = true;
      const { send, failures, end } = joined(await make(), {
        receive: (delivery) => {
          delivery.acknowledgeAfter(Promise.reject(new Error('not durable')));
          const wasFirst = isFirst;
          isFirst = false;
          if (wasFirst) throw new Error('a bug');
        },
      });
      await Promise.all(
        [send('romeo@montague.example', '1'), send('romeo@montague.example', '2')].map((p) => p.confirmed),
      );
      assert.deepEqual(failures.map(String).sort(), ['Error: a bug', 'Error: not durable', 'Error: not durable']);
      end();
    });

    test('several addressees in one frame, whatever their characters', async () => {
      const { send, arrived, end } = joined(await make());
      const to = ['rømeo@montague.example/ä', 'rømeo@montague.example/😀 "<&', 'rømeo@montague.example'];
      const payload = '<message>\u0000\u{10ffff}ﬀ</message>';
      await send(to, payload).confirmed;
      assert.deepEqual(arrived, [{ to, payload }]);
      end();
    });

    test('a frame with many addressees is sent once, and a turn is one write', async () => {
      const under = await make();
      const written: number[] = [];
      const network: Network = {
        listen: (address, accept) => under.network.listen(address, accept),
        dial: (address, events) => {
          const wire = under.network.dial(address, events);
          return {
            close: () => wire.close(),
            write: (bytes) => {
              written.push(bytes.length);
              wire.write(bytes);
            },
          };
        },
      };
      const { send, link, end } = joined({ ...under, network });
      await send('juliet@capulet.example', 'first').confirmed;
      const before = written.length;
      const big = 'x'.repeat(20_000);
      const sent = Array.from({ length: 500 }, (_, n) => send(`guest${n}@capulet.example/phone`, big));
      assert.ok(link.unconfirmed.bytes < 100_000);
      await Promise.all(sent.map(({ confirmed }) => confirmed));
      assert.equal(written.length, before + 1);
      assert.ok(written.at(-1)! < 45_000, `${written.at(-1)} bytes`);
      end();
    });

    test('the queue for a peer is bounded, and drains with its confirmations', async () => {
      const handled = gate();
      const { send, link, arrived, end } = joined(await make(), { receive: () => handled.promise }, 10_000);
      const sent: Parcel[] = [];
      for (let n = 0; link.hasRoom; n++) sent.push(send('nurse@capulet.example', `${n} ${'x'.repeat(900)}`));
      assert.ok(sent.length >= 9 && sent.length <= 11);
      const room = link.room();
      assert.equal(await isSettled(room), false);
      const refused: Parcel[] = [];
      for (let n = 0; n < 30; n++) refused.push(send('nurse@capulet.example', `more ${n} ${'x'.repeat(900)}`));
      const outcomes = refused.map(({ confirmed }) =>
        confirmed.then(
          () => 'confirmed',
          (error: unknown) => (error instanceof ParcelError ? error.reason : error),
        ),
      );
      assert.ok(link.unconfirmed.bytes <= 22_000);
      handled.resolve();
      await room;
      await Promise.all(sent.map(({ confirmed }) => confirmed));
      const reasons = await Promise.all(outcomes);
      assert.ok(reasons.includes('full'));
      assert.equal(arrived.length, sent.length + reasons.filter((reason) => reason === 'confirmed').length);
      assert.equal(link.hasRoom, true);
      end();
    });

    test('frames that a peer has not started are withdrawn by a drain, and not handled by it', async () => {
      const begun = gate();
      const { send, link, arrived, end } = joined(await make({ seed: 9 }), {
        receive: ({ to }) => (to[0]!.startsWith('juliet') ? begun.promise : undefined),
      });
      const all = ['1', '2', '3'].map((payload) => send('juliet@capulet.example', payload));
      const other = send('romeo@montague.example', '4');
      await other.confirmed;
      const slots = new Set([slotOf('juliet@capulet.example')]);
      assert.deepEqual(link.slots, slots);
      const drained = link.drain([...slots]);
      assert.equal(await isSettled(drained), false);
      begun.resolve();
      await drained;
      assert.deepEqual(payloads(link.takeBack(slots)), ['2', '3']);
      await all[0]!.confirmed;
      await send('juliet@capulet.example', '5').confirmed;
      assert.deepEqual(payloads(arrived).sort(), ['1', '4', '5']);
      assert.equal(await isSettled(all[1]!.confirmed), false);
      end();
    });

    test('nothing is handled for a slot before the node acts for it', async () => {
      let acts = false;
      const { send, inbox, arrived, end } = joined(await make(), { acts: () => acts });
      const { confirmed } = send('juliet@capulet.example', '1');
      assert.equal(await isSettled(confirmed), false);
      assert.deepEqual(arrived, []);
      acts = true;
      inbox.resume();
      await confirmed;
      assert.deepEqual(payloads(arrived), ['1']);
      end();
    });

    test('the pending frames of a closed link keep their origin', async () => {
      const { send, link, end } = joined(await make(), { acts: () => false });
      send('juliet@capulet.example', '1');
      send('juliet@capulet.example', '2');
      for (let n = 0; n < 5; n++) await turn();
      const left = link.close();
      assert.deepEqual(
        left.map(({ payload, again }) => [payload, again]),
        [
          ['1', { ...verona, number: 1 }],
          ['2', { ...verona, number: 2 }],
        ],
      );
      end();
    });

    test('other epochs, other members and other clusters are refused, and the difference is named', async () => {
      const under = await make();
      const { arrived, end } = joined(under);
      const refused = [
        { self: { id: 'verona', epoch: 2 }, peer: padua, why: 'verona (epoch 2) is not a member' },
        { self: { id: 'mantua', epoch: 3 }, peer: padua, why: 'mantua (epoch 3) is not a member' },
        { self: verona, peer: { id: 'padua', epoch: 4 }, why: 'padua (epoch 4) is now node padua (epoch 5)' },
        { self: verona, peer: padua, cluster: 'others', why: 'verona is of another cluster than node padua' },
      ].map(({ self, peer, why, cluster: other = cluster }) => {
        const reason = gate<string>();
        const link = new Link({
          ...settings,
          view: () => ({ version: 1, cluster: other }),
          refused: reason.resolve,
          self,
          peer: { ...peer, address: under.addresses[1] },
          network: under.network,
          broken: assert.fail,
        });
        const parcel = new Parcel(['juliet@capulet.example'], slotOf('juliet@capulet.example'), 'forged', false);
        link.send(parcel);
        return { link, parcel, why, reason: reason.promise };
      });
      for (const { reason, why } of refused) assert.ok((await reason).includes(why), await reason);
      for (const { parcel } of refused) assert.equal(await isSettled(parcel.confirmed), false);
      assert.deepEqual(arrived, []);
      for (const { link } of refused) assert.notEqual(link.downSince, undefined);
      for (const { link } of refused) link.close();
      end();
    });

    test('invalid bytes close the wire, and affect nothing else', async () => {
      const under = await make();
      const { send, failures, end } = joined(under);
      await send('juliet@capulet.example', '1').confirmed;
      const ended = gate();
      const wire: Wire = under.network.dial(under.addresses[1], { bytes: () => {}, ended: () => ended.resolve() });
      wire.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
      await ended.promise;
      assert.equal(failures.length, 1);
      await send('juliet@capulet.example', '2').confirmed;
      end();
    });

    test('an unreachable peer is known to be down, and gets everything later', async () => {
      const under = await make();
      const link = new Link({
        ...settings,
        self: verona,
        peer: { ...padua, address: under.addresses[1] },
        network: under.network,
        broken: assert.fail,
      });
      const parcel = new Parcel(['juliet@capulet.example'], slotOf('juliet@capulet.example'), '1', false);
      link.send(parcel);
      assert.equal(await isSettled(parcel.confirmed), false);
      assert.notEqual(link.downSince, undefined);
      const { arrived, end } = joined(under);
      await parcel.confirmed;
      assert.equal(link.downSince, undefined);
      assert.equal(payloads(arrived).filter((payload) => payload === '1').length, 1);
      link.close();
      end();
    });
  });
}
