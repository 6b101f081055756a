/**
 * Acknowledged data survives a power cut. The server's data, and then the storage's alone, are on an ext4 file system
 * that loses all unsynced data at a random moment under load. This needs root (loop device, mount), and is skipped
 * without it. On any system the write-ahead log is also left as by a disk that reorders writes: truncated, with holes,
 * with garbage after the synced part.
 *
 * SEED repeats a run as far as timing allows; ROUNDS sets the number of rounds (default: 3 if CI is set, otherwise 20).
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, fdatasync, fstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Sqlite from 'better-sqlite3';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import { Disk } from './disk.js';
import { randomFrom } from './random.js';
import { cast, type Ending, round, seedOf, serve } from './rounds.js';
import { World } from './world.js';

const seed = seedOf();
const rounds = Number(process.env.ROUNDS ?? (process.env.CI === undefined ? 20 : 3));
const random = randomFrom(seed);

test(`${rounds} power cuts under a server, seed ${seed}`, { timeout: 300_000 + rounds * 60_000 }, async (t) => {
  const disk = Disk.make(512);
  if (typeof disk === 'string') {
    t.skip(disk);
    return;
  }
  const server = await serve({ data: join(disk.place, 'data') });
  t.after(() => server.close());
  const cut: Ending = {
    name: 'power cut',
    inOrder: false,
    end: async (server) => {
      // The process stops first, so that nobody sees the result of an interrupted sync.
      process.kill(server.pid, 'SIGSTOP');
      disk.shutdown();
      await server.kill();
      server.takeLog(); // that its disk is gone
      disk.unmount();
      disk.mount();
      await server.start();
    },
  };
  const port = () => server.port('c2s');
  const world = new World({ cast, random, port, rooms: ['hall', 'yard'], newcomers: true, burst: 8 });
  for (let n = 0; n < rounds; n++)
    await t.test(`round ${n + 1}`, (t) => round(t, { server, world, random, ending: cut }));
  await t.test('the archives are unchanged', () => world.compareAll());
  await server.stop();
  disk.unmount();
});

/** The log is checkpointed and restarted several times a second. */
test(`${rounds * 3} power cuts under the storage alone, seed ${seed}`, {
  timeout: 300_000 + rounds * 60_000,
}, async (t) => {
  const disk = Disk.make(512);
  if (typeof disk === 'string') {
    t.skip(disk);
    return;
  }
  const file = join(disk.place, 'x.db');
  const script = fileURLToPath(new URL('../unit/storage-child.js', import.meta.url));
  const promised = new Map<string, Set<string>>();
  let counter = -1;
  for (let n = 0; n < rounds * 3; n++) {
    const child = spawn(process.execPath, [script, 'append', file], { stdio: ['pipe', 'pipe', 'ignore'] });
    const exited = once(child, 'exit');
    let left = random.between(200, 4000);
    for await (const line of createInterface({ input: child.stdout })) {
      const [owner, id] = line.split(' ') as [string, string];
      if (owner === 'counter') counter = Number(id);
      else promised.set(owner, (promised.get(owner) ?? new Set()).add(id));
      if (--left > 0) continue;
      if (left === 0) {
        child.kill('SIGSTOP');
        disk.shutdown();
      }
      child.kill('SIGKILL');
    }
    await exited;
    disk.unmount();
    disk.mount();
    const db = new Sqlite(file);
    assert.equal(db.pragma('integrity_check', { simple: true }), 'ok');
    db.close();
    const storage = await openSqlite({ file });
    for (const [owner, ids] of promised) {
      const { entries } = await storage.log('archive').page(owner, { limit: Number.POSITIVE_INFINITY });
      const present = new Set(entries.map(({ id }) => id));
      const lost = [...ids].filter((id) => !present.has(id));
      assert.deepEqual(lost.slice(0, 10), [], `${lost.length} of ${ids.size} were acknowledged and are not there`);
    }
    const last = (await storage.document<number>('last').get('counter')) ?? -1;
    assert.ok(last >= counter, `${counter} was acknowledged, ${last} is there`);
    await storage.close();
  }
  t.diagnostic(`${[...promised.values()].reduce((sum, ids) => sum + ids.size, 0)} entries acknowledged, none lost`);
  disk.unmount();
});

/** Bytes that a disk writes as a whole. */
const sector = 512;
/** The number of variants of each moment. */
const ways = 5;

test(`${rounds * 5} moments, each left in ${ways} ways, seed ${seed}`, {
  timeout: 300_000 + rounds * 20_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-power-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'x.db');
  /** Bytes of the log that were synced. */
  let synced = 0;
  const storage = await openSqlite({
    file,
    walBytes: 2 ** 40, // else it would not only grow
    sync: (descriptor, done) => {
      const { size } = fstatSync(descriptor);
      fdatasync(descriptor, (error) => {
        if (!error) synced = size;
        done(error);
      });
    },
  });
  const promised: string[] = [];
  let isOver = false;
  let count = 0;
  const write = async (): Promise<void> => {
    while (!isOver) {
      const id = String(count++).padStart(8, '0');
      await storage.log('archive').append('romeo', { id, value: 'x'.repeat(random.between(0, 2000)) });
      promised.push(id);
    }
  };
  const writers = Array.from({ length: 20 }, write);
  const copy = join(folder, 'copy.db');
  for (let n = 0; n < rounds * 5; n++) {
    await pause(random.between(1, 30));
    const [there, durable] = [promised.length, synced];
    copyFileSync(file, `${copy}.then`);
    const log = readFileSync(`${file}-wal`);
    for (let way = 0; way < ways; way++) {
      copyFileSync(`${copy}.then`, copy);
      writeFileSync(`${copy}-wal`, left(log, durable));
      rmSync(`${copy}-shm`, { force: true });
      const again = await openSqlite({ file: copy });
      const { entries } = await again.log('archive').page('romeo', { limit: Number.POSITIVE_INFINITY });
      const present = new Set(entries.map(({ id }) => id));
      const lost = promised.slice(0, there).filter((id) => !present.has(id));
      assert.deepEqual(lost.slice(0, 10), [], `${lost.length} of ${there} were acknowledged and are not there`);
      await again.close();
    }
  }
  isOver = true;
  await Promise.all(writers);
  await storage.close();
});

/** The log after a power cut: the synced part, and of the rest some sectors, nothing, or garbage. */
function left(log: Buffer, durable: number): Buffer {
  const end = random.chance(0.3) ? random.between(durable, log.length + 1) : log.length;
  const rest = Buffer.from(log.subarray(0, end));
  for (let at = Math.ceil(durable / sector) * sector; at < rest.length; at += sector) {
    if (random.chance(0.5)) continue;
    rest.fill(random.chance(0.5) ? 0 : random.between(1, 256), at, Math.min(at + sector, rest.length));
  }
  return rest;
}
