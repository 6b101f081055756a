/** A shared bound that no holder can exhaust. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Holdings } from '../../src/server/limits/holdings.js';
import { Portions } from '../../src/server/limits/portions.js';
import { mulberry32 } from '../../src/storage/wrappers.js';

test("each holder evicts its own entries first, then the largest holder's", () => {
  const holdings = new Holdings<number>(3);
  for (let at = 0; at < 100; at++) assert.equal(holdings.set('greedy', String(at), at, 5), false);
  assert.equal(holdings.size, 3);
  assert.equal(holdings.set('a', 'x', 1, 5), false);
  assert.equal(holdings.set('b', 'x', 1, 5), false);
  assert.equal(holdings.set('c', 'x', 1, 5), true);
  assert.equal(holdings.size, 5);
  assert.deepEqual([...holdings.of('greedy')!.keys()], ['98', '99']);
  holdings.delete('a', 'x');
  holdings.delete('a', 'x');
  assert.equal(holdings.size, 4);
  assert.equal(holdings.get('a', 'x'), undefined);
});

test("among equals the least recently used holder's entries are evicted", () => {
  const holdings = new Holdings<number>(3);
  for (const holder of ['a', 'b', 'c']) holdings.set(holder, 'x', 1, 3);
  holdings.set('a', 'x', 2, 3);
  holdings.set('d', 'x', 1, 3);
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((holder) => holdings.get(holder, 'x')),
    [2, undefined, 1, 1],
  );
});

test('a holder with fewer entries than others loses none to them, whatever they do', () => {
  const random = mulberry32(7);
  const holdings = new Holdings<number>(10);
  holdings.set('honest', 'x', 1, 50);
  for (let at = 0; at < 20_000; at++) {
    const holder = `greedy${Math.floor(random() * 12)}`;
    if (random() < 0.1) holdings.delete(holder, String(Math.floor(random() * 30)));
    else holdings.set(holder, String(Math.floor(random() * 30)), at, 50);
    assert.ok(holdings.size <= 50);
    assert.equal(holdings.get('honest', 'x'), 1);
  }
});

for (const [greedy, all, each] of [
  [1, 100, 1000],
  [10, 1000, 100],
  [50, 1000, 100],
  [100, 10_000, 10_000],
] as const)
  test(`${greedy} holders that use all they can of ${all} leave room for others`, () => {
    const portions = new Portions(() => ({ all, each }));
    for (let at = 0; at < all; at++) for (let holder = 0; holder < greedy; holder++) portions.take(`greedy${holder}`);
    assert.ok(portions.size < all, `${portions.size} of ${all}`);
    assert.equal(portions.take('honest'), undefined);
    assert.equal(portions.take('greedy0') === undefined, false);
  });

test('a place is released once, and bounds name the exceeded limit', () => {
  const portions = new Portions(() => ({ all: 2, each: 1 }));
  assert.equal(portions.take('a'), undefined);
  assert.equal(portions.take('a'), 'each');
  assert.equal(portions.take('b'), undefined);
  assert.equal(portions.take('c'), 'all');
  portions.give('c');
  portions.give('a');
  portions.give('a');
  assert.deepEqual([portions.size, portions.holders], [1, 1]);
  assert.equal(portions.take('c'), undefined);
  const open = new Portions(() => ({ all: Number.POSITIVE_INFINITY, each: Number.POSITIVE_INFINITY }));
  for (let at = 0; at < 10; at++) assert.equal(open.take('a'), undefined);
});
