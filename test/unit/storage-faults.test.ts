import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { type Storage, StorageError, type StorageFailure } from '../../src/storage/contract.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';

const folder = mkdtempSync(join(tmpdir(), 'storage-faults-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

function newFile(): string {
  return join(folder, `${files++}.db`);
}

async function fails(promise: Promise<unknown>, failure: StorageFailure, message = /./): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof StorageError, String(error));
    assert.equal(error.failure, failure, error.message);
    assert.match(error.message, message);
    return true;
  });
}

/** Another process; resolves when it has printed its first line. */
async function other(t: TestContext, task: string, file: string): Promise<ChildProcess> {
  const script = fileURLToPath(new URL('storage-child.js', import.meta.url));
  const child = spawn(process.execPath, [script, task, file], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

/** A small file system of its own, or undefined where that is not allowed. */
function smallDisk(t: TestContext, size: string): string | undefined {
  const place = join(folder, `disk${files++}`);
  mkdirSync(place);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', place], { stdio: 'ignore' });
  } catch {
    t.skip('needs the right to mount');
    return undefined;
  }
  t.after(() => execFileSync('umount', ['-l', place]));
  return place;
}

/** Writes until it is refused; how many entries were promised. */
async function fill(storage: Storage, value: string): Promise<number> {
  const log = storage.log('filler');
  for (let n = 0; ; n++) {
    const writes = Array.from({ length: 10 }, (_, i) => log.append('filler', { id: `${n}-${i}`, value }));
    const results = await Promise.allSettled(writes);
    const refused = results.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    for (const { reason } of refused) assert.equal((reason as StorageError).failure, 'full', String(reason));
    if (refused.length > 0) return n * 10 + 10 - refused.length;
  }
}

async function fullDisk(storage: Storage, value: string): Promise<void> {
  await storage.document('d').set('romeo', 'before');
  const promised = await fill(storage, value);
  assert.equal(await storage.log('filler').count('filler', {}), promised);
  assert.equal(await storage.log('filler').size('filler'), promised * value.length);
  assert.equal(await storage.document('d').get('romeo'), 'before');
  // A write that is too large fails, a smaller one beside it succeeds.
  const [large] = await Promise.allSettled([
    storage.document('d').set('juliet', 'x'.repeat(2 ** 20)),
    storage.document('d').delete('romeo'),
  ]);
  assert.equal(large.status, 'rejected');
  assert.equal(await storage.document('d').get('juliet'), undefined);
}

test('a file that cannot grow refuses writes as full, keeps acknowledged data, and recovers', async () => {
  const storage = await openSqlite({ file: newFile(), maxBytes: 2 ** 20 });
  await fullDisk(storage, 'x'.repeat(5000));
  await storage.log('filler').trim('filler', { keep: 10 });
  await storage.document('d').set('romeo', 'after');
  assert.equal(await storage.document('d').get('romeo'), 'after');
  await storage.close();
});

test('a full disk', async (t) => {
  const place = smallDisk(t, '3m');
  if (place === undefined) return;
  const ballast = join(place, 'ballast');
  writeFileSync(ballast, Buffer.alloc(2 ** 20));
  const storage = await openSqlite({ file: join(place, 'x.db'), walBytes: 2 ** 18 });
  await fullDisk(storage, 'x'.repeat(5000));
  rmSync(ballast);
  await storage.document('d').set('romeo', 'after');
  assert.equal(await storage.document('d').get('romeo'), 'after');
  await storage.close();
  const again = await openSqlite({ file: join(place, 'x.db') });
  assert.equal(await again.document('d').get('romeo'), 'after');
  await again.close();
});

test('a folder without write permission', async (t) => {
  const place = smallDisk(t, '3m');
  if (place === undefined) return;
  const file = join(place, 'x.db');
  await (await openSqlite({ file })).close();
  execFileSync('mount', ['-o', 'remount,ro', place]);
  await fails(openSqlite({ file }), 'read-only');
  execFileSync('mount', ['-o', 'remount,rw', place]);
  await (await openSqlite({ file })).close();
});

test('a file without write permission', { skip: process.getuid?.() === 0 && 'root may write' }, async () => {
  const file = newFile();
  await (await openSqlite({ file })).close();
  chmodSync(file, 0o400);
  await fails(openSqlite({ file }), 'read-only');
  chmodSync(file, 0o600);
  await (await openSqlite({ file })).close();
});

test('a missing folder, and a file in place of a folder', async () => {
  await fails(openSqlite({ file: join(folder, 'nowhere', 'x.db') }), 'unavailable', /nowhere/);
  const file = newFile();
  mkdirSync(file);
  await fails(openSqlite({ file }), 'unavailable');
});

/** Makes writes to a file fail while it is open; undefined where that cannot be done. */
function immutable(t: TestContext, file: string): ((on: boolean) => void) | undefined {
  const change = (on: boolean): void => {
    execFileSync('chattr', [on ? '+i' : '-i', file], { stdio: 'ignore' });
  };
  try {
    change(true);
    change(false);
    const probe = openSync(file, 'r+');
    try {
      change(true);
      writeSync(probe, '');
      const copy = Buffer.alloc(1);
      writeSync(probe, copy, 0, 1, 2 ** 30);
      truncateSync(file, 0);
    } catch {
      return change;
    } finally {
      closeSync(probe);
      change(false);
    }
  } catch {
    // No chattr, no right to use it, or another file system.
  }
  t.skip('needs a file system with immutable files, and the right to make them');
  return undefined;
}

test('I/O errors fail the affected writes; reads continue, and writes once the disk recovers', async (t) => {
  const probe = newFile();
  writeFileSync(probe, '');
  if (immutable(t, probe) === undefined) return;
  const file = newFile();
  const setImmutable = (on: boolean): void => {
    execFileSync('chattr', [on ? '+i' : '-i', `${file}-wal`]);
  };
  const storage = await openSqlite({ file });
  t.after(() => existsSync(`${file}-wal`) && setImmutable(false));
  const document = storage.document<number>('d');
  await document.set('romeo', 1);
  setImmutable(true);
  for (let n = 0; n < 3; n++) {
    const results = await Promise.allSettled([document.set('romeo', 2), document.set('juliet', 2)]);
    for (const result of results) {
      assert.equal(result.status, 'rejected');
      assert.ok(result.reason instanceof StorageError);
      assert.match(result.reason.failure, /^(unavailable|read-only)$/);
    }
    assert.equal(await document.get('romeo'), 1);
    assert.equal(await document.get('juliet'), undefined);
  }
  setImmutable(false);
  await document.set('romeo', 3);
  assert.equal(await document.get('romeo'), 3);
  await storage.close();
});

test('a file of another server is refused until that ends, in whatever way', async (t) => {
  const file = newFile();
  const first = await other(t, 'open', file);
  await fails(openSqlite({ file }), 'locked', /open in another process/);
  first.stdin!.end('end');
  await ended(first);
  await (await openSqlite({ file })).close();
  const second = await other(t, 'open', file);
  await fails(openSqlite({ file }), 'locked');
  second.kill('SIGKILL');
  await ended(second);
  const storage = await openSqlite({ file });
  await fails(openSqlite({ file }), 'locked'); // nor twice in one process
  await storage.close();
});

test('while another process writes, writes wait without blocking, and are completed later', async (t) => {
  const file = newFile();
  const storage = await openSqlite({ file });
  const document = storage.document<number>('d');
  await document.set('romeo', 1);
  const locker = await other(t, 'lock', file);
  const written = document.set('romeo', 2);
  const read = document.get('romeo'); // sees the write, so it waits for it
  assert.equal(await storage.map('m').count('romeo'), 0); // does not
  locker.stdin!.end('end');
  await written;
  assert.equal(await read, 2);
  await ended(locker);
  await storage.close();
});

test('another process writes for too long', async (t) => {
  const file = newFile();
  const storage = await openSqlite({ file, lockTimeout: 30 });
  const document = storage.document<number>('d');
  await document.set('romeo', 1);
  const locker = await other(t, 'lock', file);
  const written = document.set('romeo', 2);
  const read = document.get('romeo');
  await fails(written, 'locked');
  assert.equal(await read, 1);
  locker.stdin!.end('end');
  await ended(locker);
  await document.set('romeo', 3);
  assert.equal(await document.get('romeo'), 3);
  await storage.close();
});

test('another process reads for long: the log grows, and is copied later', async (t) => {
  const file = newFile();
  const storage = await openSqlite({ file, walBytes: 2 ** 16 });
  const log = storage.log('l');
  const write = async (name: string): Promise<void> => {
    for (let n = 0; n < 300; n += 10) {
      const ids = Array.from({ length: 10 }, (_, i) => `${name}${n + i}`);
      await Promise.all(ids.map((id) => log.append('romeo', { id, value: 'x'.repeat(1000) })));
    }
  };
  await write('a');
  const reader = await other(t, 'read', file);
  await write('b');
  reader.stdin!.end('end');
  await ended(reader);
  await write('c');
  assert.equal(await log.count('romeo', {}), 900);
  await storage.close();
});

test("not a database, or another program's", async () => {
  const garbage = newFile();
  writeFileSync(garbage, 'this is no database '.repeat(1000));
  await fails(openSqlite({ file: garbage }), 'corrupt');
  await fails(openSqlite({ file: garbage }), 'corrupt'); // and is not locked by the first attempt
  const foreign = newFile();
  const db = new Sqlite(foreign);
  db.exec('CREATE TABLE theirs (x)');
  db.close();
  await fails(openSqlite({ file: foreign }), 'unavailable', /another program/);
});

test('a truncated database', async () => {
  const file = newFile();
  const storage = await openSqlite({ file });
  await storage.document('d').set('romeo', 'x'.repeat(100_000));
  await storage.close();
  truncateSync(file, 8192);
  await fails(openSqlite({ file }), 'corrupt');
});

test('damaged pages fail only what needs them, until the file is repaired', async () => {
  const file = newFile();
  const first = await openSqlite({ file });
  await first.document('small').set('romeo', 'fine');
  await first.document('large').set('romeo', 'x'.repeat(2_000_000));
  for (let n = 0; n < 300; n++) void first.map('m').set(`owner ${n}`, [['key', 'x'.repeat(1000)]]);
  await first.close();
  copyFileSync(file, `${file}.whole`);
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Buffer.alloc(4096 * 60, 0xa5), 0, 4096 * 60, 4096 * 500);
  closeSync(descriptor);

  const storage = await openSqlite({ file });
  await storage.document('small').set('romeo', 'still fine');
  const owners = Array.from({ length: 300 }, (_, n) => storage.map('m').all(`owner ${n}`));
  const outcome = await Promise.allSettled(owners);
  const bad = outcome.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
  assert.ok(bad.length > 0);
  for (const { reason } of bad) assert.equal((reason as StorageError).failure, 'corrupt', String(reason));
  assert.equal(await storage.document('small').get('romeo'), 'still fine');
  await storage.close();
  copyFileSync(`${file}.whole`, file);
  const again = await openSqlite({ file });
  assert.equal((await again.map('m').all('owner 7')).size, 1);
  await again.close();
});

test('acknowledged data survives a killed process', async (t) => {
  const file = newFile();
  const promised = new Map<string, Set<string>>();
  let counter = -1;
  for (let round = 0; round < 4; round++) {
    const child = await other(t, 'append', file);
    const lines = createInterface({ input: child.stdout! });
    // Not only between writes: some are always on their way.
    let left = 200 + Math.floor(Math.random() * 2000);
    for await (const line of lines) {
      const [owner, id] = line.split(' ') as [string, string];
      if (owner === 'counter') counter = Number(id);
      else {
        const ids = promised.get(owner) ?? new Set();
        promised.set(owner, ids.add(id));
      }
      if (--left === 0) child.kill('SIGKILL');
    }
    await ended(child);

    const storage = await openSqlite({ file });
    for (const [owner, ids] of promised) {
      const { entries } = await storage.log('archive').page(owner, { limit: Number.POSITIVE_INFINITY });
      const present = new Set(entries.map(({ id }) => id));
      for (const id of ids) assert.ok(present.has(id), `${id} was acknowledged`);
      const log = storage.log('archive', { text: (value) => value });
      assert.equal(await log.count(owner, { words: 'night' }), entries.length);
    }
    const last = (await storage.document<number>('last').get('counter')) ?? -1;
    assert.ok(last >= counter, `${counter} was acknowledged, ${last} is there`);
    await storage.close();
    const db = new Sqlite(file);
    assert.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
  }
  assert.ok(promised.size > 0);
});
