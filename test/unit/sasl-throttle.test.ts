import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressBlock } from '../../src/server/config/address.js';
import { Throttle, type ThrottleOptions } from '../../src/server/stream/sasl/throttle.js';

function world(options: Partial<ThrottleOptions> = {}) {
  const clock = { now: 1_000_000 };
  return { clock, throttle: new Throttle({ now: () => clock.now, ...options }) };
}
const repeat = <T>(times: number, what: (at: number) => T): T[] => Array.from({ length: times }, (_, at) => what(at));

test('failures make the answer slower and slower, up to a limit', () => {
  const { throttle } = world({ longestDelay: 2000 });
  assert.deepEqual(
    repeat(9, () => throttle.failed('192.0.2.1')),
    [0, 0, 0, 250, 500, 1000, 2000, 2000, 2000],
  );
  assert.equal(throttle.failed('192.0.2.2'), 0);
});

test('failures are forgotten with time', () => {
  const { throttle, clock } = world();
  repeat(5, () => throttle.failed('192.0.2.1'));
  clock.now += 2 * 60_000;
  assert.equal(throttle.failed('192.0.2.1'), 250);
  clock.now += 24 * 3_600_000;
  assert.equal(throttle.failed('192.0.2.1'), 0);
});

test('an address with too many failures is shut out for a while', () => {
  const { throttle, clock } = world();
  repeat(29, () => throttle.failed('192.0.2.1'));
  assert.equal(throttle.shutOut('192.0.2.1'), 0);
  throttle.failed('192.0.2.1');
  assert.equal(throttle.shutOut('192.0.2.1'), 900_000);
  assert.equal(throttle.shutOut('192.0.2.1', 'juliet@capulet.example'), 900_000);
  assert.equal(throttle.shutOut('192.0.2.2', 'juliet@capulet.example'), 0);
  clock.now += 900_000;
  assert.equal(throttle.shutOut('192.0.2.1'), 0);
  throttle.failed('192.0.2.1');
  assert.equal(throttle.shutOut('192.0.2.1'), 0);
});

test('an account that is guessed at from many addresses is shut to strangers, not to its owner', () => {
  const { throttle, clock } = world();
  throttle.succeeded('198.51.100.7', 'juliet');
  repeat(50, (at) => throttle.failed(`192.0.2.${at}`, 'juliet'));
  assert.equal(throttle.shutOut('203.0.113.1', 'juliet'), 900_000);
  assert.equal(throttle.shutOut('203.0.113.1', 'romeo'), 0);
  assert.equal(throttle.shutOut('203.0.113.1'), 0);
  assert.equal(throttle.shutOut('198.51.100.7', 'juliet'), 0);
  clock.now += 31 * 86_400_000;
  repeat(50, (at) => throttle.failed(`192.0.2.${at}`, 'juliet'));
  assert.equal(throttle.shutOut('198.51.100.7', 'juliet'), 900_000);
});

test('the account slows strangers, whatever their address', () => {
  const { throttle } = world();
  throttle.succeeded('198.51.100.7', 'juliet');
  repeat(6, (at) => throttle.failed(`192.0.2.${at}`, 'juliet'));
  assert.ok(throttle.failed('203.0.113.1', 'juliet') > 0);
  assert.equal(throttle.failed('198.51.100.7', 'juliet'), 0);
});

test('a login lets the account begin anew, not the address', () => {
  const { throttle } = world();
  repeat(6, () => throttle.failed('192.0.2.1', 'juliet'));
  throttle.succeeded('192.0.2.1', 'juliet');
  assert.equal(throttle.failed('192.0.2.9', 'juliet'), 0);
  assert.ok(throttle.failed('192.0.2.1', 'romeo') > 0);
});

test('it keeps a bounded number of addresses and accounts, the longest untouched go', () => {
  const { throttle } = world({ size: 10 });
  repeat(6, () => throttle.failed('192.0.2.1', 'juliet'));
  repeat(9, (at) => throttle.failed(`198.51.100.${at}`, `user${at}`));
  assert.ok(throttle.failed('192.0.2.1', 'juliet') > 0);
  repeat(10, (at) => throttle.failed(`203.0.113.${at}`, `other${at}`));
  assert.equal(throttle.failed('192.0.2.1', 'juliet'), 0);
});

for (const [address, block] of [
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::FFFF:192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8::3:4:5:6:7', '2001:db8:0:3::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['1::', '1:0:0:0::/64'],
  ['1:2:3::192.0.2.1', '1:2:3:0::/64'],
  ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['unix', 'unix'],
  ['', ''],
] as const) {
  test(`the block of ${address || 'nothing'} is ${block || 'nothing'}`, () => {
    assert.equal(addressBlock(address), block);
  });
}
