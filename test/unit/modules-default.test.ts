/** The standard modules, as everybody gets them. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { createServer } from '../../src/server/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';

/** Starts and stops a server with these tables; returns its logged errors and warnings. */
async function runs(modules: Readonly<Record<string, unknown>>): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  const logged: string[] = [];
  try {
    const server = await createServer({
      text: '',
      overrides: {
        data: folder,
        listen: { c2s: [], c2s_tls: [], https: [], http: [] },
        log: { level: 'warn' },
        // its usual port may be another test's
        modules: { proxy65: { listen: ['127.0.0.1:0'] }, ...modules },
      },
      storage: new MemoryStorage(),
      logTo: { write: (line) => void logged.push(line) },
    });
    await server.start();
    await server.stop();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return logged;
}

test('each starts without configuration, and logs nothing', async () => {
  assert.deepEqual(await runs({}), []);
  const optional = standardModules.filter((module) => module.optional === true).map(({ name }) => name);
  assert.deepEqual(await runs(Object.fromEntries(optional.map((name) => [name, { enabled: true }]))), []);
});

test('each can be disabled with its dependents', async () => {
  for (const { name } of standardModules) {
    const gone = new Set([name]);
    for (let size = 0; size < gone.size; ) {
      size = gone.size;
      const services = standardModules
        .filter((module) => gone.has(module.name))
        .flatMap(({ provides = [] }) => provides);
      for (const module of standardModules)
        if (module.needs?.some((service) => services.includes(service))) gone.add(module.name);
    }
    assert.deepEqual(await runs({ disabled: [...gone] }), [], `without ${[...gone].join(', ')}`);
  }
});

test('a module whose dependency is disabled does not start, and the error names it', async () => {
  await assert.rejects(runs({ disabled: ['roster'] }), /roster/);
});

test('an unknown module cannot be disabled', async () => {
  await assert.rejects(runs({ disabled: ['pign'] }), /no such module: "pign".*"ping"/s);
  await assert.rejects(runs({ pign: {} }), /pign/);
});

test('each has a summary of one sentence', () => {
  for (const { name, summary } of standardModules) {
    assert.match(name, /^[a-z][a-z0-9_]*$/);
    assert.match(summary, /^[A-Z].*\.$/, name);
  }
  const names = standardModules.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
});
