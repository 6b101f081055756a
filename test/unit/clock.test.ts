import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { elapsedSince, moment, monotonic, wall } from '../../src/server/clock.js';
import { takeClocks } from './clocks.js';

const source = new URL('../../../src/', import.meta.url);
const hour = 3_600_000;

test('only the clock module reads a clock', () => {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.ts') && name !== 'server/clock.ts');
  assert.ok(files.length > 200);
  /** The storage knows nothing of the server, and measures durations alone, except that requests to S3 are dated. */
  const isOurs = (file: string, reading: string) =>
    (file.startsWith('storage/') && reading === 'performance.now') ||
    (file === 'storage/s3/client.ts' && reading === 'Date.now');
  for (const file of files) {
    const text = readFileSync(new URL(file, source), 'utf8');
    const readings = text.match(/\bDate\.now\b|\bnew Date\(\)|\bDate\(\)|performance\.now\b|\bhrtime\b/g) ?? [];
    const wrong = readings.filter((reading) => !isOurs(file, reading));
    assert.deepEqual(wrong, [], `${file}: use wall() or monotonic() of server/clock.ts`);
  }
});

test('a step of the wall clock is not elapsed time', () => {
  const clocks = takeClocks();
  try {
    for (const step of [hour, -2 * hour]) {
      const before = { wall: wall(), monotonic: monotonic() };
      clocks.step(step);
      assert.ok(Math.abs(wall() - before.wall - step) < 1000);
      assert.ok(monotonic() >= before.monotonic && monotonic() - before.monotonic < 1000);
    }
  } finally {
    clocks.restore();
  }
});

test('time elapsed between two processes', () => {
  const then = { wall: 10 * hour, uptime: 5 * hour };
  const cases = [
    ['a correct clock', { wall: 11 * hour, uptime: 6 * hour }, hour],
    ['a clock set back', { wall: 9 * hour, uptime: 6 * hour }, hour],
    ['a clock set forward', { wall: 99 * hour, uptime: 5 * hour }, 0],
    ['a reboot', { wall: 11 * hour, uptime: 0.5 * hour }, hour],
    ['a reboot, with the clock set back', { wall: 9 * hour, uptime: 0.5 * hour }, 0.5 * hour],
  ] as const;
  for (const [what, now, elapsed] of cases) assert.equal(elapsedSince(then, now), elapsed, what);
  assert.ok(elapsedSince(moment()) < 1000);
});
