import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IdleMemory } from '../../src/server/idle-memory.js';

const mb = 1_048_576;

test('garbage of a load peak is collected once, after it', () => {
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
  assert.equal(look(23, 0), 2, 'its empty pages are given back');
  assert.equal(look(23, 0), 2);
  // The next storm.
  assert.equal(look(100, 0), 3);
});

test('memory in use is checked less and less often', () => {
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
  for (let at = 0; at < 1000; at++) memory.look();
  assert.ok(collected > 1 && collected < 14, `${collected}`);
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

test('memory in use at the last check is collected once it is garbage', () => {
  let live = 20 * mb;
  let inUse = live;
  const memory = new IdleMemory(
    () => {
      inUse = live;
    },
    () => inUse,
    () => 0,
  );
  memory.stop();
  memory.look();
  live = inUse = 100 * mb;
  memory.look();
  // They go, and nothing is added.
  live = 20 * mb;
  for (let at = 0; at < 4; at++) memory.look();
  assert.equal(inUse, live);
});

test('if the queue budget was exhausted, a busy server collects too', () => {
  let inUse = 20 * mb;
  const memory = new IdleMemory(
    () => {
      inUse = 20 * mb;
    },
    () => inUse,
    () => 1,
  );
  memory.stop();
  memory.look();
  inUse = 100 * mb;
  memory.look();
  assert.equal(inUse, 100 * mb);
  memory.urge();
  memory.look();
  assert.equal(inUse, 20 * mb);
});
