/**
 * What was acknowledged is there after the power went: the server's data on an ext4 file system that loses, at a random
 * moment under load, all that was not synced. Needs root (loop device, mount); elsewhere it is skipped.
 *
 * SEED repeats a run as far as timing lets it; ROUNDS says how many (default: 3 where CI is set, else 20).
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
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

test(`${rounds} power cuts under a server, seed ${seed}`, { timeout: 60_000 + rounds * 40_000 }, async (t) => {
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
      // First the processor: what a sync says that the cut comes into is heard by nobody.
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
  await t.test('the archives are what they were', () => world.compareAll());
  await server.stop();
  disk.unmount();
});

/** The log is copied into the database, and begun anew, several times a second. */
test(`${rounds * 3} power cuts under the storage alone, seed ${seed}`, {
  timeout: 60_000 + rounds * 60_000,
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
