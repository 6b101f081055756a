/** Who makes many bytes wait for clients waits first (XEP-0205 §3). */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { loadConfig } from '../../src/server/config/load.js';
import { Congestion } from '../../src/server/limits/congestion.js';
import { Share } from '../../src/server/limits/shares.js';

const { limits } = loadConfig({ text: '', modules: standardModules });
const budget = 8_000_000;
/** From here on others wait. */
const full = budget / 8;

function world(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  let stops = 0;
  const congestion = new Congestion(
    () => budget,
    () => void stops++,
  );
  const share = () =>
    new Share(
      'rate_account',
      () => limits.rate_account,
      () => {},
    );
  /** Whether a stanza is handled and adds so much to the queues of others; otherwise it waits. */
  const says = (one: Share, length: number, copies: number, done: () => void = () => {}): void => {
    if (congestion.stops(one, length)) {
      congestion.wait(one, () => says(one, length, copies, done));
      return;
    }
    congestion.holds(length * copies);
    one.multiplied += length * copies;
    done();
  };
  const tick = (ms = 0): void => {
    t.mock.timers.tick(0);
    for (let passed = 0; passed < ms; passed += 100) t.mock.timers.tick(100);
  };
  return { congestion, share, says, stops: () => stops, tick };
}

test('long stanzas wait until clients have read earlier output; short ones of others do not', (t) => {
  const { congestion, share, says, stops, tick } = world(t);
  const [hostile, other] = [share(), share()];
  const handled: string[] = [];
  says(hostile, 250_000, 10, () => handled.push('first'));
  says(hostile, 250_000, 10, () => handled.push('second'));
  says(hostile, 100, 10, () => handled.push('short, of who multiplied'));
  says(other, 100, 10, () => handled.push('short'));
  says(other, 20_000, 1, () => handled.push('long'));
  assert.deepEqual(handled, ['first', 'short']);
  assert.equal(stops(), 3);
  tick();
  assert.deepEqual(handled, ['first', 'short'], 'nothing was taken');
  congestion.holds(-2_500_000);
  assert.deepEqual(handled, ['first', 'short'], 'not from within');
  tick();
  // Whose stanzas were multiplied less comes first; one that is large again stops the rest.
  assert.deepEqual(handled, ['first', 'short', 'long', 'second']);
  congestion.holds(-2_500_000);
  tick();
  assert.deepEqual(handled.slice(4), ['short, of who multiplied']);
});

test('slow readers do not delay anybody for long', (t) => {
  const { congestion, share, says, tick } = world(t);
  congestion.holds(2 * full);
  let isHandled = false;
  says(share(), 20_000, 1, () => {
    isHandled = true;
  });
  tick(1000);
  assert.equal(isHandled, false);
  // A sixteenth of the budget is forgotten each second.
  tick(1500);
  assert.equal(isHandled, true);
});

test('output that is evicted and read later is not counted twice', (t) => {
  const { congestion, tick } = world(t);
  congestion.holds(full);
  tick(1000);
  congestion.holds(-full);
  congestion.holds(full - 1);
  assert.equal(congestion.isFull, false);
  congestion.holds(1);
  assert.equal(congestion.isFull, true);
});
