/**
 * Lost connections and crashes of the server under load: nothing that was acknowledged is lost or done twice, and each
 * result is right. Runs ROUNDS rounds, chosen by SEED.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { Storage } from '../../src/storage/contract.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { dropAll, newSchema, openIn, sql } from './server.js';

const rounds = Number(process.env.ROUNDS ?? 12);
const random = mulberry32(Number(process.env.SEED ?? 1));
const below = (limit: number): number => Math.floor(random() * limit);

after(dropAll);

/** Process ids of the connections of a storage, which has its schema as application name. */
async function connectionsOf(schema: string): Promise<number[]> {
  const rows = await sql('SELECT pid FROM pg_stat_activity WHERE application_name = $1', [schema]).catch(() => []);
  return rows.map(({ pid }) => pid as number);
}

/** Waits until the server answers again. */
async function recovered(): Promise<void> {
  for (;;) {
    try {
      await sql('SELECT 1');
      return;
    } catch {
      await wait(50);
    }
  }
}

interface Worker {
  /** Ends after the operation under way. */
  stop(): void;
  readonly done: Promise<void>;
  readonly operations: () => number;
}

/** One owner's operations, each checked against what must be there. */
function worker(storage: Storage, owner: string): Worker {
  const log = storage.log('l');
  const map = storage.map<number>('m');
  const counter = storage.document<number>('counter');
  const last = storage.document<number>('last');
  const ids = new Set<string>();
  let count = 0;
  let n = 0;
  let isStopped = false;
  const run = async (): Promise<void> => {
    while (!isStopped) {
      n++;
      const id = String(n).padStart(6, '0');
      await Promise.all([
        log.append(owner, { id, value: `entry ${n}` }),
        last.set(owner, n),
        map.set(owner, [[id, n]]),
      ]);
      ids.add(id);
      assert.equal(
        await counter.compareAndSet(owner, count === 0 ? undefined : count, count + 1),
        true,
        `${owner} ${n}`,
      );
      count++;
      if (n % 3 === 0) {
        assert.equal(await log.remove(owner, [id, 'none']), 1);
        ids.delete(id);
        assert.equal(await map.delete(owner, [id]), 1);
      }
      if (n % 7 === 0) {
        const gone = [...ids].slice(0, Math.max(0, ids.size - 5));
        assert.equal(await log.trim(owner, { keep: 5 }), gone.length);
        for (const one of gone) ids.delete(one);
      }
    }
    const { entries } = await log.page(owner, { limit: Number.POSITIVE_INFINITY });
    assert.deepEqual(
      entries.map((entry) => entry.id),
      [...ids],
    );
    assert.equal(await counter.get(owner), count);
    assert.equal(await last.get(owner), n);
    assert.equal(await map.count(owner), n - Math.floor(n / 3));
  };
  return {
    stop: () => {
      isStopped = true;
    },
    done: run(),
    operations: () => n,
  };
}

async function underLoad(harm: (schema: string) => Promise<void>): Promise<void> {
  const schema = newSchema();
  const storage = await openIn(schema, {
    client: { connectionString: process.env.WAXWING_POSTGRESQL!, application_name: schema },
    patience: 60_000,
  });
  const workers = Array.from({ length: 8 }, (_, n) => worker(storage, `owner ${n}`));
  const failed = Promise.race(workers.map(({ done }) => done.then(() => assert.fail('a worker ended early'))));
  failed.catch(() => {});
  const total = (): number => workers.reduce((sum, { operations }) => sum + operations(), 0);
  for (let round = 0; round < rounds; round++) {
    // Some operations between two rounds.
    for (const before = total(); total() < before + 20; ) await Promise.race([wait(1 + below(10)), failed]);
    await harm(schema);
  }
  for (const one of workers) one.stop();
  await Promise.all(workers.map(({ done }) => done));
  await storage.close();
}

test('connections that the server ends', () =>
  underLoad(async (schema) => {
    for (const pid of await connectionsOf(schema)) {
      if (below(3) > 0) await sql('SELECT pg_terminate_backend($1)', [pid]);
    }
  }));

test('a process of the server that is killed, which restarts all of it', () =>
  underLoad(async (schema) => {
    const pids = await connectionsOf(schema);
    try {
      if (pids.length > 0) process.kill(pids[below(pids.length)]!, 'SIGKILL');
    } catch (error) {
      // It has ended since: a round without a crash.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    await recovered();
  }));
