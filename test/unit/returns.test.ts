import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Returns } from '../../src/server/limits/returns.js';

test('new sessions take turns for a minute after a node has failed', () => {
  let now = 1000;
  const returns = new Returns(
    () => 10,
    () => now,
  );
  for (let n = 0; n < 1000; n++) assert.equal(returns.turn(), 0);
  returns.begin();
  assert.deepEqual([returns.turn(), returns.turn(), returns.turn()], [0, 100, 200]);
  now += 250;
  assert.equal(returns.turn(), 50);
  let last: number | undefined = 0;
  let admitted = 0;
  for (let n = 0; n < 1000; n++) {
    const wait = returns.turn();
    if (wait !== undefined) {
      last = wait;
      admitted++;
    }
  }
  // The rest come back later: nobody waits for more than 20 s.
  assert.ok(last! <= 20_000 && admitted < 210, `${admitted}, ${last}`);
  now += 30_000;
  assert.equal(returns.turn(), 0);
  assert.equal(returns.turn(), 100);
  // A second failure begins another minute.
  returns.begin();
  now += 59_999;
  assert.equal(returns.turn(), 0);
  assert.equal(returns.turn(), 100);
  now += 1;
  for (let n = 0; n < 1000; n++) assert.equal(returns.turn(), 0);
});
