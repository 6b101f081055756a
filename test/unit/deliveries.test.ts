/** The durable queue for services of others. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import {
  Deliveries,
  type DeliveriesParts,
  type Outcome,
  type StoredDelivery,
} from '../../src/server/outbound/deliveries.js';
import { stanzaId } from '../../src/server/stanza/ids.js';
import { MemoryStorage } from '../../src/storage/memory.js';

// Its timers do not keep a process alive.
const alive = setInterval(() => {}, 1000);
after(() => clearInterval(alive));

const owner = 'hooks.localhost';
const hour = 3_600_000;
const retry = (isOutage = false): Outcome => ({ kind: 'retry', why: 'later', isOutage, afterMs: 1 });

interface Attempt {
  readonly to: string;
  readonly value: string;
  ends(outcome: Outcome): void;
}

/** A queue whose pauses are almost none, and the attempts that it makes. */
function queue(more: Partial<DeliveriesParts<string>> & { readonly limits?: never; readonly most?: object } = {}) {
  const storage = new MemoryStorage();
  const stores = {
    pending: storage.map<StoredDelivery<string>>('pending'),
    dead: storage.map<StoredDelivery<string>>('dead'),
  };
  const attempts: Attempt[] = [];
  const waiting: ((attempt: Attempt) => void)[] = [];
  const gone: string[] = [];
  const outages: [string, boolean][] = [];
  const { most, ...parts } = more;
  const make = () =>
    new Deliveries<string>({
      owner,
      ...stores,
      id: () => stanzaId(owner),
      laneOf: (destination) => destination.split('/')[0]!,
      attempt: (to, value) =>
        new Promise((ends) => {
          const attempt = { to, value, ends };
          const taker = waiting.shift();
          if (taker === undefined) attempts.push(attempt);
          else taker(attempt);
        }),
      remains: (value) => value,
      merge: () => undefined,
      gone: async (destination) => void gone.push(destination),
      limits: () => ({ pending: 100, dead: 2, tries: 3, atOnce: 2, timeoutMs: 60_000, ...most }),
      outage: (lane, isOver) => outages.push([lane, isOver]),
      broke: (error) => {
        throw error;
      },
      // Pauses of half their length; firstPause is 2 s, so tests take none from the queue itself but the last ones.
      random: () => -0.4999,
      ...parts,
    });
  return {
    ...stores,
    gone,
    outages,
    attempts,
    make,
    next: (): Promise<Attempt> => {
      const attempt = attempts.shift();
      return attempt === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(attempt);
    },
    left: async () => [...(await stores.pending.all(owner)).values()].map(({ value }) => value),
  };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await setImmediate();
}

test('entries of one destination are tried in order, one at a time; others at once', async () => {
  const it = queue();
  const deliveries = it.make();
  for (const [to, value] of [
    ['a/1', 'one'],
    ['a/1', 'two'],
    ['b/1', 'three'],
  ] as const)
    assert.equal(await deliveries.add(to, value, hour), true);
  const first = await it.next();
  const other = await it.next();
  assert.deepEqual([first.value, other.value], ['one', 'three']);
  await settled();
  assert.equal(it.attempts.length, 0);
  first.ends({ kind: 'delivered' });
  assert.equal((await it.next()).value, 'two');
  other.ends({ kind: 'delivered' });
  await settled();
  assert.deepEqual(await it.left(), ['two']);
  deliveries.close();
});

test('a failed entry is tried again before the next one of its destination, and after a restart', async () => {
  const it = queue();
  const deliveries = it.make();
  await deliveries.add('a/1', 'one', hour);
  await deliveries.add('a/1', 'two', hour);
  (await it.next()).ends(retry());
  const again = await it.next();
  assert.equal(again.value, 'one');
  // The process ends while it is under way.
  deliveries.close();
  again.ends({ kind: 'delivered' });
  await settled();
  assert.deepEqual(await it.left(), ['one', 'two']);
  const next = it.make();
  await next.open();
  assert.equal(next.size, 2);
  const third = await it.next();
  assert.equal(third.value, 'one');
  third.ends({ kind: 'delivered' });
  (await it.next()).ends({ kind: 'delivered' });
  await settled();
  assert.deepEqual(await it.left(), []);
  assert.equal(next.size, 0);
  next.close();
});

test('after so many tries an entry is given up; the oldest of those are dropped; they can be tried again', async () => {
  const it = queue();
  const deliveries = it.make();
  for (const value of ['one', 'two', 'three']) await deliveries.add('a/1', value, hour);
  for (let tries = 0; tries < 3; tries++) (await it.next()).ends(retry());
  (await it.next()).ends({ kind: 'refused', why: 'never' });
  (await it.next()).ends({ kind: 'refused', why: 'never' });
  await settled();
  const dead = await deliveries.listDead({ limit: 10 });
  assert.deepEqual(
    dead.map(([, { value, tries, why }]) => [value, tries, why]),
    [
      ['two', 1, 'never'],
      ['three', 1, 'never'],
    ],
  );
  assert.equal(await deliveries.retry([dead[0]![0], 'a/1 unknown'], hour), 1);
  const again = await it.next();
  assert.equal(again.value, 'two');
  again.ends({ kind: 'delivered' });
  assert.equal(await deliveries.drop([dead[1]![0]]), 1);
  assert.deepEqual(await deliveries.listDead({ limit: 10 }), []);
  assert.deepEqual(deliveries.counts, { delivered: 1, retried: 2, gone: 0, dead: 3 });
  deliveries.close();
});

test('all entries of a destination that is gone are dropped; what is out of date is not tried', async () => {
  const it = queue();
  const deliveries = it.make();
  for (const value of ['one', 'two']) await deliveries.add('a/1', value, hour);
  await deliveries.add('b/1', 'late', 0);
  (await it.next()).ends({ kind: 'gone' });
  await settled();
  assert.deepEqual(it.gone, ['a/1']);
  assert.deepEqual(await it.left(), []);
  assert.deepEqual(
    (await deliveries.listDead({ limit: 10 })).map(([, { value }]) => value),
    ['late'],
  );
  assert.equal(it.attempts.length, 0);
  deliveries.close();
});

test('entries that wait are merged, and the one that is under way is not', async () => {
  const it = queue({ merge: (waiting, later) => `${waiting}+${later}` });
  const deliveries = it.make();
  await deliveries.add('a/1', 'one', hour);
  const first = await it.next();
  for (const value of ['two', 'three', 'four']) await deliveries.add('a/1', value, hour);
  assert.equal(deliveries.size, 2);
  assert.deepEqual(await it.left(), ['one', 'two+three+four']);
  first.ends({ kind: 'delivered' });
  assert.equal((await it.next()).value, 'two+three+four');
  deliveries.close();
});

test('a lane has so many attempts at once, in turn; too many entries are refused', async () => {
  const it = queue({ most: { pending: 5 } });
  const deliveries = it.make();
  for (const to of ['a/1', 'a/2', 'a/3', 'a/3']) await deliveries.add(to, to, hour);
  await deliveries.add('a/1', 'again', hour);
  assert.equal(await deliveries.add('b/1', 'x', hour), false);
  const [first, second] = [await it.next(), await it.next()];
  await settled();
  assert.equal(it.attempts.length, 0);
  first.ends({ kind: 'delivered' });
  // Not the further entry of the first destination.
  assert.equal((await it.next()).to, 'a/3');
  second.ends({ kind: 'delivered' });
  assert.equal((await it.next()).value, 'again');
  deliveries.close();
});

test('a service that does not work is left alone, tries are not used up, and others are not concerned', async () => {
  const it = queue({ most: { tries: 100, atOnce: 5 } });
  const deliveries = it.make();
  for (let to = 0; to < 5; to++) await deliveries.add(`a/${to}`, 'x', hour);
  for (let to = 0; to < 5; to++) (await it.next()).ends(retry(true));
  await settled();
  assert.deepEqual(it.outages, [['a', false]]);
  assert.equal(deliveries.outages, 1);
  await deliveries.add('b/1', 'other', hour);
  for (;;) {
    const attempt = await it.next();
    attempt.ends({ kind: 'delivered' });
    if (attempt.to === 'b/1') break;
  }
  // Once it works again, all are delivered.
  while ((await it.left()).length > 0) {
    if (it.attempts.length > 0) it.attempts.shift()!.ends({ kind: 'delivered' });
    await setImmediate();
  }
  assert.equal(deliveries.size, 0);
  deliveries.close();
});

test('what waits for a destination can be forgotten', async () => {
  const it = queue();
  const deliveries = it.make();
  for (const value of ['one', 'two', 'three']) await deliveries.add('a/1', value, hour);
  const first = await it.next();
  await deliveries.forget('a/1');
  assert.deepEqual(await it.left(), ['one']);
  first.ends(retry());
  (await it.next()).ends({ kind: 'gone' });
  await settled();
  assert.deepEqual(await it.left(), []);
  deliveries.close();
});

test('after a stop nothing is tried; what was under way or is still added is for the next process', async () => {
  const { make, next, attempts, left } = queue();
  const first = make();
  await first.add('a/1', 'one', hour);
  const { value, ends } = await next();
  assert.equal(value, 'one');
  first.stop();
  ends({ kind: 'delivered' });
  assert.ok(await first.add('a/1', 'two', hour));
  await first.open();
  await settled();
  assert.deepEqual(attempts, []);
  assert.equal(first.size, 0);
  assert.deepEqual(await left(), ['one', 'two']);
  const second = make();
  await second.open();
  for (const expected of ['one', 'two']) {
    const attempt = await next();
    assert.equal(attempt.value, expected);
    attempt.ends({ kind: 'delivered' });
  }
  await settled();
  assert.deepEqual(await left(), []);
});
