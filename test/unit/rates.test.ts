import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rates } from '../../src/server/limits/rates.js';

const times = (count: number, take: () => boolean): number =>
  Array.from({ length: count }, take).filter(Boolean).length;

test('a burst, then a constant rate', () => {
  let now = 1_000_000;
  const rates = new Rates(3, 3000, 10, () => now);
  assert.equal(
    times(5, () => rates.take('a')),
    3,
  );
  assert.ok(rates.take('b'));
  now += 1000;
  assert.equal(
    times(5, () => rates.take('a')),
    1,
  );
  now += 100_000;
  assert.equal(
    times(5, () => rates.take('a')),
    3,
  );
});

test('several at once, or none of them', () => {
  const rates = new Rates(5, 1000, 10, () => 5);
  assert.deepEqual(
    [6, 3, 3, 2, 1].map((count) => rates.take('a', count)),
    [false, true, false, true, false],
  );
});

test('a number that does not divide the period', () => {
  const rates = new Rates(7, 1000, 10, () => 5);
  assert.equal(
    times(20, () => rates.take('a')),
    7,
  );
});

test('zero, and unlimited', () => {
  assert.equal(new Rates(0, 1000).take('a'), false);
  const unlimited = new Rates(Infinity, 1000);
  assert.equal(
    times(100, () => unlimited.take('a')),
    100,
  );
});

test('of several, all or nothing', () => {
  const [wide, narrow] = [new Rates(3, 1000, 10, () => 5), new Rates(1, 1000, 10, () => 5)];
  const both = () => Rates.takeAll([wide, 'a'], [narrow, 'b']);
  assert.equal(both(), undefined);
  assert.equal(both(), 1);
  assert.equal(both(), 1);
  assert.equal(
    times(5, () => wide.take('a')),
    2,
  );
});

test('memory is bounded', () => {
  const rates = new Rates(1, 1000, 4, () => 5);
  for (let key = 0; key < 100; key++) assert.ok(rates.take(`k${key}`));
  assert.ok(rates.take('k0'), 'forgotten');
  assert.equal(rates.take('k99'), false);
});

test('counts move with their addresses, and are not lost by moving back', () => {
  let now = 1_000_000;
  const [one, other] = [new Rates(3, 3000, 10, () => now), new Rates(3, 3000, 10, () => now - 500_000)];
  const keys = ['room a', 'room b', 'hall a'];
  for (const key of keys) one.take(key, 3);
  const memories = [one, other].map((rates) => rates.memory('rates', (key) => key.split(' ')[0]!));
  const move = (from: number, to: number, address: string) => {
    for (const [bare, counted] of [...memories[from]!.describe((bare) => bare === address)])
      memories[to]!.restore(bare, counted);
  };
  move(0, 1, 'room');
  assert.deepEqual(
    keys.map((key) => other.take(key)),
    [false, false, true],
  );
  now += 1000;
  assert.ok(other.take('room a'));
  move(1, 0, 'room');
  assert.equal(one.take('room a'), false);
  assert.ok(one.take('room b'));
});
