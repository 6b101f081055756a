import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { checked } from '../../src/storage/checked.js';
import type { Storage } from '../../src/storage/contract.js';
import { late } from '../../src/storage/late.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import { type QuotaRules, Usages } from '../../src/storage/usage.js';
import { measured, routed } from '../../src/storage/wrappers.js';
import { documentContract } from './document.js';
import { fenceContract, joinContract } from './fence.js';
import { logContract } from './log.js';
import { mapContract } from './map.js';
import { persistenceContract, storageContract } from './whole.js';

const folder = mkdtempSync(join(tmpdir(), 'storage-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

const memory = async (): Promise<Storage> => new MemoryStorage();
const sqlite = (): Promise<Storage> => openSqlite({ file: join(folder, `${files++}.db`) });

/** Everything is counted, and there is always room. */
const openEnded: QuotaRules = {
  archives: new Set(['archive']),
  exempt: new Set(),
  isCounted: () => true,
  quotaOf: async () => ({ archive: 1e12, data: 1e12 }),
  near: () => {},
  reached: () => {},
  failed: (error) => {
    throw error;
  },
};

const drivers: Readonly<Record<string, () => Promise<Storage>>> = {
  memory,
  sqlite,
  'memory, late': async () => late(await memory(), 1),
  'sqlite, late': async () => late(await sqlite(), 2),
  'memory, checked': async () => checked(await memory(), () => {}),
  'sqlite, checked': async () => checked(await sqlite(), () => {}),
  'memory, counted': async () => new Usages(await memory(), openEnded).storage,
  'sqlite, counted': async () => new Usages(await sqlite(), openEnded).storage,
  'memory, measured': async () => measured(await memory(), () => {}),
  'memory and sqlite, routed': async () =>
    routed({
      default: await memory(),
      stores: { d: await sqlite(), 'document-1': await sqlite(), 'map-1': await sqlite(), 'log-1': await sqlite() },
    }),
};

for (const [name, open] of Object.entries(drivers)) {
  documentContract(name, open);
  mapContract(name, open);
  logContract(name, open);
  storageContract(name, open);
  joinContract(name, open);
}

/** Handles on one storage in memory, each with what `wrap` puts around it. */
const shared = (wrap: (storage: Storage) => Storage) => async (): Promise<() => Promise<Storage>> => {
  const data = new MemoryStorage();
  return async () => wrap(data.handle());
};
fenceContract(
  'memory',
  shared((storage) => storage),
);
fenceContract(
  'memory, late',
  shared((storage) => late(storage, 3)),
);
fenceContract(
  'memory, checked',
  shared((storage) => checked(storage, () => {})),
);

persistenceContract('sqlite', (place) => openSqlite({ file: join(folder, `${place}.db`) }));
