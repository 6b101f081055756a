import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressBlock } from '../../src/server/config/address.js';
import { Throttle, type ThrottleLimits } from '../../src/server/stream/sasl/throttle.js';

function world(limits: Partial<ThrottleLimits> = {}) {
  const clock = { now: 1_000_000 };
  const all = { addressLimit: 30, accountLimit: 10, lockout: 300_000, size: 1000, ...limits };
  const throttle = new Throttle({ limits: () => all, now: () => clock.now });
  /** A failure that is answered after its delay. */
  const fails = (address: string, account: string): number => {
    const { delay, answered } = throttle.failed(address, account);
    clock.now += delay;
    answered();
    return delay;
  };
  return { clock, throttle, fails, limits: all };
}
const repeat = <T>(times: number, what: (at: number) => T): T[] => Array.from({ length: times }, (_, at) => what(at));
const home = '192.0.2.1';

test('failures of an account at an address delay the answer, up to a limit, and then lock it there', () => {
  const { throttle, clock } = world();
  assert.deepEqual(
    repeat(9, () => throttle.failed(home, 'juliet').delay),
    [0, 0, 0, 250, 500, 1000, 2000, 4000, 8000],
  );
  assert.equal(throttle.refusal(home, 'juliet'), undefined);
  throttle.failed(home, 'juliet');
  assert.equal(throttle.refusal(home, 'juliet'), 'failures_per_account');
  for (const [address, account] of [
    [home, 'romeo'],
    ['192.0.2.2', 'juliet'],
  ] as const)
    assert.equal(throttle.refusal(address, account), undefined);
  clock.now += 300_000;
  assert.equal(throttle.refusal(home, 'juliet'), undefined);
  throttle.failed(home, 'juliet');
  assert.equal(throttle.refusal(home, 'juliet'), undefined);
});

test('failures expire', () => {
  const { throttle, clock } = world();
  repeat(5, () => throttle.failed(home, 'juliet'));
  clock.now += 2 * 60_000;
  assert.equal(throttle.failed(home, 'juliet').delay, 250);
  clock.now += 24 * 3_600_000;
  assert.equal(throttle.failed(home, 'juliet').delay, 0);
});

test('an old password retried for days locks nobody out, at any address', () => {
  const { throttle, clock, fails } = world();
  for (const account of ['bob', 'alice']) throttle.succeeded(home, account);
  const end = clock.now + 3 * 86_400_000;
  while (clock.now < end) {
    for (const _ of ['phone', 'tablet']) fails(home, 'bob');
    clock.now += 1000;
    for (const account of ['bob', 'alice', 'carol']) assert.equal(throttle.refusal(home, account), undefined);
    assert.equal(throttle.refusal('203.0.113.1', 'bob'), undefined);
  }
  assert.equal(fails(home, 'alice'), 0);
  assert.equal(fails('203.0.113.1', 'bob'), 0);
  // It expires like any other failure.
  clock.now += 10 * 60_000;
  assert.equal(fails(home, 'bob'), 0);
});

test('the same at an unknown address: only the account is locked there', () => {
  const { throttle, clock, fails } = world();
  for (let times = 0; times < 5000; times++) {
    if (throttle.refusal(home, 'bob') === undefined) fails(home, 'bob');
    clock.now += 1000;
    for (const [address, account] of [
      [home, 'alice'],
      ['203.0.113.1', 'bob'],
    ] as const)
      assert.equal(throttle.refusal(address, account), undefined);
  }
  assert.equal(fails(home, 'alice'), 0);
});

test('guesses at a known pair are limited by pending answers', () => {
  const { throttle } = world();
  throttle.succeeded(home, 'juliet');
  const failures = repeat(20, () => throttle.failed(home, 'juliet'));
  assert.equal(failures.at(-1)!.delay, 10_000);
  assert.equal(throttle.refusal(home, 'juliet'), 'failures_per_account');
  for (const { answered } of failures.slice(0, 13)) answered();
  assert.equal(throttle.refusal(home, 'juliet'), 'failures_per_account');
  for (const { answered } of failures.slice(13, 17)) answered();
  assert.equal(throttle.refusal(home, 'juliet'), undefined);
});

test('an address that guesses at many accounts is locked, except for accounts known there', () => {
  const { throttle, clock } = world();
  throttle.succeeded(home, 'juliet');
  const shut = (account: string) => throttle.refusal(home, account);
  repeat(29, (at) => repeat(3, () => throttle.failed(home, `user${at}`)));
  assert.equal(shut('nurse'), undefined);
  repeat(5, () => throttle.failed(home, 'user7'));
  assert.equal(shut('nurse'), undefined);
  throttle.failed(home, 'user29');
  assert.equal(shut('nurse'), 'failures_per_address');
  assert.equal(shut('juliet'), undefined);
  assert.equal(throttle.refusal('192.0.2.2', 'nurse'), undefined);
  clock.now += 300_000;
  assert.equal(shut('nurse'), undefined);
  clock.now += 31 * 86_400_000;
  repeat(31, (at) => throttle.failed(home, `user${at}`));
  assert.equal(shut('juliet'), 'failures_per_address');
});

test('the IPv6 addresses of a /64 count as one', () => {
  const { throttle } = world();
  repeat(30, (at) => throttle.failed(`2001:db8::${at + 1}`, `user${at}`));
  assert.equal(throttle.refusal('2001:db8::ffff', 'nurse'), 'failures_per_address');
  assert.equal(throttle.refusal('2001:db8:0:1::1', 'nurse'), undefined);
});

test('failures from many addresses slow an account down, but never lock it', () => {
  const { throttle } = world();
  throttle.succeeded(home, 'juliet');
  repeat(500, (at) => throttle.failed(`198.51.${at % 250}.${at % 7}`, 'juliet'));
  assert.equal(throttle.refusal('203.0.113.1', 'juliet'), undefined);
  assert.equal(throttle.failed('203.0.113.1', 'juliet').delay, 10_000);
  assert.equal(throttle.failed(home, 'juliet').delay, 0);
  assert.equal(throttle.failed('203.0.113.2', 'romeo').delay, 0);
});

test('a login resets the account, not the address', () => {
  const { throttle } = world({ addressLimit: 5 });
  repeat(6, () => throttle.failed(home, 'juliet'));
  repeat(4, (at) => throttle.failed(home, `user${at}`));
  assert.equal(throttle.refusal(home, 'nurse'), 'failures_per_address');
  throttle.succeeded(home, 'juliet');
  assert.equal(throttle.failed('192.0.2.9', 'juliet').delay, 0);
  assert.equal(throttle.failed(home, 'juliet').delay, 0);
  assert.equal(throttle.refusal(home, 'nurse'), 'failures_per_address');
});

test('unlimited also disables delays', () => {
  const unlimited = Number.POSITIVE_INFINITY;
  const both = world({ addressLimit: unlimited, accountLimit: unlimited });
  repeat(500, () => assert.equal(both.fails(home, 'juliet'), 0));
  repeat(500, (at) => assert.equal(both.fails(home, `user${at}`), 0));
  assert.equal(both.throttle.refusal(home, 'juliet'), undefined);
  const address = world({ addressLimit: unlimited });
  repeat(500, (at) => assert.equal(address.fails(home, `user${at}`), 0));
  const account = world({ accountLimit: unlimited });
  repeat(500, () => assert.equal(account.fails(home, 'juliet'), 0));
  // A limit that is lifted while the server runs lets in those that it shut out.
  const lifted = world();
  repeat(10, () => lifted.throttle.failed(home, 'juliet'));
  assert.equal(lifted.throttle.refusal(home, 'juliet'), 'failures_per_account');
  lifted.limits.accountLimit = unlimited;
  assert.equal(lifted.throttle.refusal(home, 'juliet'), undefined);
  assert.equal(lifted.throttle.failed(home, 'juliet').delay, 0);
});

test('memory is bounded, and an address evicts no more of others than its share', () => {
  const { throttle } = world({ addressLimit: Number.POSITIVE_INFINITY, size: 5000 });
  repeat(10, () => throttle.failed('198.51.100.1', 'juliet'));
  repeat(20_000, (at) => throttle.failed(home, `user${at}`));
  assert.equal(throttle.refusal('198.51.100.1', 'juliet'), 'failures_per_account');
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

test('failures of an address at other nodes count with its own', () => {
  const reported: string[] = [];
  const all = { addressLimit: 4, accountLimit: 10, lockout: 300_000, size: 1000 };
  const clock = { now: 1_000_000 };
  const throttle = new Throttle({
    limits: () => all,
    now: () => clock.now,
    addressFailed: (block) => reported.push(block),
  });
  for (const account of ['juliet', 'romeo', 'juliet']) throttle.failed('2001:db8::1', account);
  throttle.succeeded('2001:db8::1', 'nurse');
  throttle.failed('2001:db8::1', 'nurse');
  // An account counts once, and a known one not at all.
  assert.deepEqual(reported, ['2001:db8:0:0::/64', '2001:db8:0:0::/64']);
  throttle.addressFailedElsewhere('2001:db8:0:0::/64', 1);
  assert.equal(throttle.refusal('2001:db8::2', 'tybalt'), undefined);
  throttle.addressFailedElsewhere('2001:db8:0:0::/64', 1_000_000_000);
  assert.equal(throttle.refusal('2001:db8::2', 'tybalt'), 'failures_per_address');
  assert.equal(throttle.refusal('2001:db8::1', 'nurse'), undefined);
  assert.equal(throttle.refusal('192.0.2.7', 'tybalt'), undefined);
  clock.now += 300_000;
  assert.equal(throttle.refusal('2001:db8::2', 'tybalt'), undefined);
  assert.equal(reported.length, 2);
});
