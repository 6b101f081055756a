import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdleMemory } from '../../src/server/idle-memory.js';

const mb = 1_048_576;

test('what a storm has left is collected once, when it is over', () => {
  let inUse = 20 * mb;
  let utilization = 0;
  let collected = 0;
  const memory = new IdleMemory(
    () => {
      collected++;
      inUse = 22 * mb;
    },
    () => inUse,
    () => utilization,
  );
  memory.stop();
  const look = (used: number, busy: number): number => {
    inUse = used * mb;
    utilization = busy;
    memory.look();
    return collected;
  };
  assert.equal(look(20, 0), 0);
  assert.equal(look(30, 0), 0, 'not worth it');
  assert.equal(look(200, 0.9), 0, 'busy');
  assert.equal(look(200, 0.1), 1);
  assert.equal(inUse, 22 * mb);
  assert.equal(look(23, 0), 1);
  // The next storm.
  assert.equal(look(100, 0), 2);
});

test('what is really in use is not collected again and again', () => {
  let inUse = 20 * mb;
  let collected = 0;
  const memory = new IdleMemory(
    () => collected++,
    () => inUse,
    () => 0,
  );
  memory.stop();
  memory.look();
  inUse = 150 * mb;
  for (let at = 0; at < 10; at++) memory.look();
  assert.equal(collected, 1);
});

test('a large heap is left to V8', () => {
  let inUse = 500 * mb;
  const memory = new IdleMemory(
    () => assert.fail('collected'),
    () => inUse,
    () => 0,
  );
  memory.stop();
  memory.look();
  inUse = 900 * mb;
  memory.look();
});
