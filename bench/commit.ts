/**
 * Cost of a durable row: this driver compared with SQLite with synchronous=FULL, in the same thread and in a worker
 * thread. Writes archive rows of 300 bytes for 1,000 owners, a fixed number per turn of the event loop; a turn starts
 * when fewer than `inFlight` rows are pending. The file already holds 200,000 rows. See
 * docs/decisions/0002-sqlite-commit.md.
 *
 *     node dist/bench/commit.js [seconds for each case]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import Sqlite, { type Database } from 'better-sqlite3';
import { searchableIn } from '../src/modules/xep-0313-mam/archivable.js';
import { openSqlite } from '../src/storage/sqlite/index.js';

interface Row {
  readonly owner: number;
  readonly id: string;
  readonly peer: string;
  readonly value: string;
}

interface Target {
  write(rows: readonly Row[]): Promise<unknown>;
  close(): Promise<unknown>;
}

const before = 200_000;
const inFlight = (perTurn: number): number => Math.max(64, 2 * perTurn);
const value = `<message>${'x'.repeat(282)}</message>`;

/** The driver's own schema, without its bookkeeping for owners. */
function plain(file: string): (rows: readonly Row[]) => void {
  const db: Database = new Sqlite(file);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.exec(`
    CREATE TABLE log (seq INTEGER PRIMARY KEY, owner INTEGER, id TEXT, bytes INTEGER, peer TEXT, tag TEXT, value TEXT);
    CREATE INDEX ids ON log (owner, id, bytes);
    CREATE INDEX peers ON log (owner, peer, id) WHERE peer IS NOT NULL;`);
  const insert = db.prepare('INSERT INTO log (owner, id, bytes, peer, value) VALUES (?, ?, ?, ?, ?)');
  return db.transaction((rows: readonly Row[]) => {
    for (const { owner, id, peer, value } of rows) insert.run(owner, id, Buffer.byteLength(value), peer, value);
  });
}

const targets: Readonly<Record<string, (file: string) => Promise<Target>>> = {
  'this driver': async (file) => {
    const storage = await openSqlite({ file });
    const log = storage.log('archive', { text: searchableIn });
    return {
      write: (rows) =>
        Promise.all(
          rows.map(({ owner, id, peer, value }) => log.append(`u${owner}@localhost`, { id, with: peer, value })),
        ),
      close: () => storage.close(),
    };
  },
  'FULL, same thread': async (file) => {
    const write = plain(file);
    return { write: async (rows) => write(rows), close: async () => {} };
  },
  'FULL, worker thread': async (file) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: file });
    const pending: (() => void)[] = [];
    worker.on('message', () => pending.shift()!());
    return {
      write: (rows) =>
        new Promise<void>((resolve) => {
          pending.push(resolve);
          worker.postMessage(rows);
        }),
      close: () => worker.terminate(),
    };
  },
};

let made = 0;

function makeRows(count: number): Row[] {
  return Array.from({ length: count }, () => {
    const owner = (made * 7919) % 1000;
    const id = (1_700_000_000_000 + made++).toString(36).padStart(20, '0');
    return { owner, id, peer: `u${(owner * 7 + (made % 5)) % 1000}@localhost`, value };
  });
}

async function measure(target: Target, perTurn: number, milliseconds: number): Promise<void> {
  let written = 0;
  let pending = 0;
  let wake = (): void => {};
  const fewer = async (limit: number): Promise<void> => {
    while (pending >= limit) await new Promise<void>((resolve) => (wake = resolve));
  };
  const latencies: number[] = [];
  const start = performance.now();
  const cpuBefore = process.cpuUsage();
  const loopBefore = performance.eventLoopUtilization();
  while (performance.now() - start < milliseconds) {
    written += perTurn;
    pending += perTurn;
    const called = performance.now();
    void target.write(makeRows(perTurn)).then(() => {
      pending -= perTurn;
      wake();
      latencies.push(performance.now() - called);
    });
    await setImmediate();
    await fewer(inFlight(perTurn));
  }
  await fewer(1);
  const { user, system } = process.cpuUsage(cpuBefore);
  const { active } = performance.eventLoopUtilization(loopBefore);
  const rate = (written / (performance.now() - start)) * 1000;
  const latency = latencies.sort((a, b) => a - b)[latencies.length >> 1]!;
  const columns = [
    `${perTurn} a turn`.padStart(10),
    `${rate.toFixed(0).padStart(8)} rows/s`,
    `${((user + system) / written).toFixed(1).padStart(6)} us CPU a row`,
    `${((active / written) * 1000).toFixed(1).padStart(6)} us of the event loop`,
    `durable after ${latency.toFixed(2)} ms (median)`,
  ];
  console.log(columns.join('  '));
}

if (!isMainThread) {
  const write = plain(workerData as string);
  parentPort!.on('message', (rows: Row[]) => {
    write(rows);
    parentPort!.postMessage(0);
  });
} else {
  const milliseconds = Number(process.argv[2] ?? 3) * 1000;
  const folder = mkdtempSync(join(tmpdir(), 'commit-'));
  try {
    for (const [name, open] of Object.entries(targets)) {
      console.log(name);
      for (const perTurn of [1, 32, 256]) {
        const target = await open(join(folder, `${name} ${perTurn}.db`));
        for (let n = 0; n < before; n += 1000) await target.write(makeRows(1000));
        await measure(target, perTurn, milliseconds);
        await target.close();
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}
