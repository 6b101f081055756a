import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StorageFailures, storageRefusal } from '../../src/server/routing/failing.js';
import { StorageError } from '../../src/storage/contract.js';
import { failureWithCode } from '../../src/storage/sqlite/errors.js';
import { takeClocks } from './clocks.js';

test('similar errors are logged once, then counted each minute until they end', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const clocks = takeClocks();
  t.after(clocks.restore);
  const lines: string[] = [];
  const failures = new StorageFailures({
    first: ({ failure }) => void lines.push(failure),
    repeated: (failure, count) => void lines.push(`${failure} ${count}`),
  });
  const pass = (seconds: number) => {
    clocks.pass(seconds * 1000);
    t.mock.timers.tick(seconds * 1000);
  };
  const taken = () => lines.splice(0);
  assert.equal(failures.isFailing, false);
  for (let n = 0; n < 1000; n++) failures.note(new StorageError('full', 'x'));
  failures.note(new StorageError('locked', 'x'));
  assert.deepEqual(taken(), ['full', 'locked']);
  assert.equal(failures.isFailing, true);
  pass(60);
  assert.equal(failures.isFailing, false);
  assert.deepEqual(taken(), ['full 999']);
  failures.note(new StorageError('full', 'x'));
  pass(60);
  assert.deepEqual(taken(), ['full 1']);
  pass(60);
  failures.note(new StorageError('full', 'x'));
  assert.deepEqual(taken(), ['full'], 'it began anew');
  failures.note(new StorageError('full', 'x'));
  failures.end();
  assert.deepEqual(taken(), ['full 1']);
});

test('error texts for peers', () => {
  for (const failure of ['full', 'unavailable', 'locked'] as const)
    assert.equal(storageRefusal(new StorageError(failure, '')).condition, 'resource-constraint');
  for (const failure of ['corrupt', 'read-only'] as const)
    assert.equal(storageRefusal(new StorageError(failure, '')).condition, 'internal-server-error');
});

test('an error from another thread keeps its code', () => {
  const failureOf = (code?: string) => failureWithCode(code, 'it failed', '/nowhere/x').failure;
  assert.equal(failureOf('SQLITE_FULL'), 'full');
  assert.equal(failureOf('SQLITE_IOERR_WRITE'), 'unavailable');
  assert.equal(failureOf('SQLITE_CORRUPT'), 'corrupt');
  assert.equal(failureOf('SQLITE_BUSY'), 'locked');
  assert.equal(failureOf(), 'unavailable');
  assert.match(failureWithCode('SQLITE_FULL', 'it failed', '/x').message, /SQLITE_FULL/);
});
