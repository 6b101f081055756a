/** Turns of expensive work (limits/turns.ts). */
import assert from 'node:assert/strict';
import { mock, type TestContext, test } from 'node:test';
import { Turns } from '../../src/server/limits/turns.js';

function stage(t: TestContext, most: number, pauseMs: number, longestMs = 1000) {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.after(() => mock.timers.reset());
  let now = 1000;
  t.mock.method(performance, 'now', () => now);
  const turns = new Turns({ most: () => most, pauseMs, longestMs });
  const begun: string[] = [];
  const done = new Map<string, () => void>();
  return {
    turns,
    done,
    /** What has begun since the last call. */
    begins: () => begun.splice(0).join(' '),
    take: (name: string) =>
      turns.take(name[0]!, (end) => {
        begun.push(name);
        done.set(name, end);
      }),
    pass(ms: number): void {
      for (let n = 0; n < ms; n++) {
        now++;
        mock.timers.tick(1);
      }
    },
  };
}

test('so many at once; the holders take turns, each in its order', (t) => {
  const { turns, take, begins, done } = stage(t, 2, 0);
  for (const name of ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1']) take(name);
  assert.equal(begins(), 'a1 a2');
  assert.deepEqual([turns.active, turns.waiting], [2, 5]);
  for (const [ended, next] of [
    ['a1', 'a3'],
    ['a3', 'b1'],
    ['a2', 'c1'],
    ['b1', 'a4'],
    ['c1', 'b2'],
    ['a4', ''],
  ] as const) {
    done.get(ended)!();
    done.get(ended)!();
    assert.equal(begins(), next);
  }
  assert.deepEqual([turns.active, turns.waiting], [1, 0]);
});

test('a pause between two, from the moment at which the first began', (t) => {
  const { turns, take, begins, pass } = stage(t, 10, 8);
  take('a1');
  take('a2');
  take('b1');
  assert.equal(begins(), 'a1');
  pass(7);
  assert.equal(begins(), '');
  pass(1);
  assert.equal(begins(), 'a2');
  pass(8);
  assert.equal(begins(), 'b1');
  pass(20);
  take('a3');
  assert.equal(begins(), 'a3', 'nothing began recently');
  assert.equal(turns.waiting, 0);
});

test('what takes too long makes room, and its end counts once', (t) => {
  const { turns, take, begins, pass, done } = stage(t, 1, 0, 50);
  take('a1');
  take('a2');
  pass(49);
  assert.equal(begins(), 'a1');
  pass(1);
  assert.equal(begins(), 'a2');
  done.get('a1')!();
  assert.equal(turns.active, 1);
  done.get('a2')!();
  assert.equal(turns.active, 0);
});

test('what is withdrawn does not begin', (t) => {
  const { turns, take, begins, done, pass } = stage(t, 1, 8);
  take('a1');
  const withdraw = [take('a2'), take('b1')];
  take('b2');
  for (const one of [...withdraw, ...withdraw]) one();
  assert.equal(turns.waiting, 1);
  done.get('a1')!();
  pass(8);
  assert.equal(begins(), 'a1 b2');
  take('c1')();
  done.get('b2')!();
  pass(8);
  assert.equal(begins(), '');
  assert.deepEqual([turns.active, turns.waiting], [0, 0]);
});
