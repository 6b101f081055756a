/** Memory of the bodies of BOSH requests. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyMemory, BoshBody } from '../../src/server/transport/bosh/bodies.js';

test('no address takes what others need', () => {
  const memory = new BodyMemory(1000);
  let greedy = 0;
  while (memory.take('a', 10)) greedy += 10;
  assert.equal(greedy, 500);
  assert.equal(memory.take('b', 250), true);
  assert.equal(memory.take('b', 1), false);
  assert.equal(memory.take('c', 125), true);
  assert.equal(memory.total, 875);
  memory.release('a', 500);
  assert.equal(memory.take('c', 125), true);
  memory.release('b', 250);
  memory.release('c', 250);
  assert.equal(memory.total, 0);
  assert.equal(memory.take('b', 500), true);
});

const chunk = Buffer.alloc(1000, 'x');
const unasked = (): never => assert.fail('asked for a short body');

test('a body is counted until it is released, also in single bytes', () => {
  const memory = new BodyMemory(100_000);
  const body = new BoshBody(memory, '192.0.2.1', 0, 5000, unasked);
  for (let n = 0; n < 3; n++) assert.equal(body.takes(chunk), true);
  assert.equal(body.bytes().length, 3000);
  assert.ok(memory.total >= 3000 && memory.total < 4000, `${memory.total}`);
  body.drop();
  assert.ok(memory.total >= 3000);
  body.release();
  body.release();
  assert.equal(memory.total, 0);
  const bytes = new BoshBody(memory, '192.0.2.1', 0, 5000, unasked);
  let taken = 0;
  while (bytes.takes(Buffer.from('x'))) taken++;
  assert.ok(bytes.isRefused && taken < 1000, `${taken}`);
  assert.equal(memory.total, 0);
});

test('the beginning of a long body says how long it may be', () => {
  const memory = new BodyMemory(1_000_000);
  for (const announced of [0, 9000]) {
    const asked: number[] = [];
    const body = new BoshBody(memory, '192.0.2.1', announced, 2500, (bytes) => {
      asked.push(bytes.length);
      return 9000;
    });
    for (let n = 0; n < 9; n++) assert.equal(body.takes(chunk), true);
    assert.deepEqual(asked, [announced === 0 ? 3000 : 1000]);
    assert.equal(body.takes(chunk), false);
    assert.ok(body.isTooLong && !body.isRefused);
    body.release();
  }
  const announced = new BoshBody(memory, '192.0.2.1', 9001, 2500, () => 9000);
  assert.equal(announced.takes(chunk), false);
  assert.ok(announced.isTooLong);
  announced.release();
  assert.equal(memory.total, 0);
});
