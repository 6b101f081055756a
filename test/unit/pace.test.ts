/** Pacing of repeated actions (stream/pace.ts). */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Pace } from '../../src/server/stream/pace.js';

test('the first is done at once; those that follow soon are done together', (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => mock.timers.reset());
  let now = 1000;
  t.mock.method(performance, 'now', () => now);
  let count = 0;
  const pace = new Pace(5, () => count++);
  const pass = (ms: number): void => {
    now += ms;
    mock.timers.tick(ms);
  };
  pace.due();
  assert.equal(count, 1);
  pace.due();
  pace.due();
  pass(4);
  assert.equal(count, 1);
  pass(1);
  assert.equal(count, 2);
  pass(100);
  assert.equal(count, 2, 'nothing is due');
  pace.due();
  assert.equal(count, 3, 'it was not done recently');
  pace.actIfDue();
  assert.equal(count, 3, 'nothing is due');
  pace.due();
  pace.actIfDue();
  assert.equal(count, 4);
  pass(5);
  assert.equal(count, 4, 'it was done early');
  pace.due();
  pace.due();
  pace.cancel();
  pass(5);
  assert.equal(count, 5, 'it is no longer due');
  pace.act();
  pace.act();
  assert.equal(count, 7);
  pace.due();
  assert.equal(count, 7, 'a direct call counts');
});
