/** XEP-0198 §4: when received stanzas are acknowledged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonic } from '../../src/server/clock.js';
import { counterOf, distance, Received } from '../../src/server/stream/xep-0198-received.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A stanza that is handled, and whose write is pending until the returned function is called. */
function takes(received: Received): () => Promise<unknown> {
  let write = () => {};
  received.begin();
  received.waitFor(
    new Promise<void>((resolve) => {
      write = resolve;
    }),
  );
  received.handled();
  return () => {
    write();
    return turn();
  };
}

test('a request is answered once all stanzas before it are durable, in whichever order they become so', async () => {
  const written: number[] = [];
  const received = new Received((h) => written.push(h));
  received.requested();
  assert.deepEqual(written, [0]);
  const [first, second] = [takes(received), takes(received)];
  received.requested();
  const third = takes(received);
  await second();
  assert.equal(received.h, 0);
  assert.deepEqual(written, [0]);
  await first();
  assert.deepEqual(written, [0, 2]);
  assert.ok(received.whenCaughtUp() !== undefined);
  const caughtUp = received.whenCaughtUp();
  await third();
  await caughtUp;
  assert.equal(received.whenCaughtUp(), undefined);
  received.requested();
  assert.deepEqual(written, [0, 2, 3]);
});

test('an answer that is due for long is given with the present count, and again when it is complete', async () => {
  const written: number[] = [];
  const received = new Received((h) => written.push(h));
  const first = takes(received);
  const second = takes(received);
  received.requested();
  const now = monotonic();
  received.answerLate(now + 9000);
  assert.deepEqual(written, []);
  await first();
  received.answerLate(now + 11_000);
  assert.deepEqual(written, [1]);
  received.answerLate(now + 12_000);
  assert.deepEqual(written, [1]);
  await second();
  assert.deepEqual(written, [1, 2]);
  received.answerLate(now + 60_000);
  assert.deepEqual(written, [1, 2]);
});

test('a stanza that closes the stream does not count; counters wrap', () => {
  const received = new Received(() => {});
  received.restore(2 ** 32 - 1);
  received.begin();
  received.handled();
  assert.equal(received.h, 0);
  received.begin();
  received.rejected();
  assert.equal(received.h, 0);
  assert.equal(received.isCaughtUp, true);
  assert.equal(distance(2 ** 32 - 1, 1), 2);
  assert.equal(distance(1, 2 ** 32 - 1), -2);
  assert.deepEqual([undefined, '', '-1', '4294967296', '4294967295', '007'].map(counterOf), [
    undefined,
    undefined,
    undefined,
    undefined,
    4294967295,
    7,
  ]);
});
