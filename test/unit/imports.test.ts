/**
 * Imports point one way: xml ← address ← stanza ← accounts, cluster ← routing ← stream ← index. Modules reach what `module/` gives them, and of each other
 * the types of services alone; storage knows nothing of the server; the server names modules in its default list alone.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { test } from 'node:test';

interface Import {
  readonly from: string;
  /** A path below src/, or the name of a package. */
  readonly to: string;
  /** Gone once it is compiled. */
  readonly isType: boolean;
  /** Loaded when it is needed, and not with the file. */
  readonly isLate?: boolean;
}

const source = new URL('../../../src/', import.meta.url);
const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((name) => name.endsWith('.ts'));
const imports = files.flatMap((file) => importsOf(file, readFileSync(new URL(file, source), 'utf8')));

function importsOf(from: string, text: string): Import[] {
  const found: Import[] = [];
  const resolved = (name: string) =>
    name.startsWith('.') ? posix.join(posix.dirname(from), name).replace(/\.js$/, '.ts') : name;
  for (const [, type, name] of text.matchAll(/^(?:import|export)(\s+type)?\s(?:[^;'()]*?\sfrom\s+)?'([^']+)';/gm))
    found.push({ from, to: resolved(name!), isType: type !== undefined });
  // import('…') as a type, and at run time
  for (const [whole, name] of text.matchAll(/(?:await\s+|:\s*)?import\('([^']+)'\)/g))
    found.push({ from, to: resolved(name!), isType: whole.startsWith(':'), isLate: true });
  return found;
}

/**
 * What each part may import besides itself; `type`: types alone. A part that is not named is put together of all others
 * (index.ts, admin/, the loader), and may be imported by those alone.
 */
const parts: readonly (readonly [part: string, may: readonly string[], type: readonly string[]])[] = [
  ['server/xml/', [], []],
  ['server/address/', [], []],
  ['server/stanza/', ['server/address/', 'server/xml/', 'server/clock.ts'], []],
  ['server/limits/', ['server/config/address.ts', 'server/clock.ts', 'storage/recent.ts'], ['server/config/']],
  ['server/transport/', ['server/stanza/ids.ts', 'server/stanza/ns.ts', 'server/xml/', 'server/clock.ts'], []],
  ['server/config/', ['server/address/', 'server/stanza/', 'server/nearest.ts'], []],
  [
    'server/cluster/',
    ['server/address/', 'server/stanza/', 'server/clock.ts', 'storage/contract.ts', 'storage/hash.ts'],
    ['server/maybe.ts'],
  ],
  [
    'server/accounts/',
    [
      'server/address/',
      'server/stanza/',
      'server/clock.ts',
      'server/serial.ts',
      'storage/contract.ts',
      'storage/cache.ts',
    ],
    ['server/maybe.ts'],
  ],
  [
    'server/routing/',
    [
      'server/cluster/',
      'server/address/',
      'server/stanza/',
      'server/xml/element.ts',
      'server/clock.ts',
      'server/limits/portions.ts',
      'server/limits/turn-queue.ts',
      'storage/contract.ts',
      'storage/recent.ts',
    ],
    ['server/maybe.ts', 'server/module/', 'server/accounts/', 'server/config/', 'server/xml/reader.ts'],
  ],
  [
    'server/stream/',
    [
      'server/cluster/relay.ts',
      'server/routing/',
      'server/address/',
      'server/stanza/',
      'server/xml/',
      'server/config/',
      'server/accounts/',
      'server/clock.ts',
      'server/limits/',
      'server/serial.ts',
      'storage/contract.ts',
      'storage/hash.ts',
      'storage/recent.ts',
    ],
    ['server/maybe.ts', 'server/module/', 'server/transport/'],
  ],
  [
    'server/module/',
    ['server/routing/session-state.ts', 'server/stanza/', 'server/clock.ts'],
    [
      'server/maybe.ts',
      'server/routing/',
      'server/address/',
      'server/xml/',
      'server/config/',
      'server/accounts/',
      'storage/blobs.ts',
      'storage/contract.ts',
    ],
  ],
  ['server/outbound/', ['server/limits/breaker.ts', 'server/config/', 'server/clock.ts', 'storage/contract.ts'], []],
  [
    'modules/',
    [
      'server/module/',
      'server/outbound/',
      'server/address/',
      'server/stanza/',
      'server/xml/element.ts',
      'server/account-refusal.ts',
      // for their commands of the program
      'server/plain.ts',
      'server/words.ts',
      'server/clock.ts',
      'server/limits/holdings.ts',
      'server/limits/portions.ts',
      'server/limits/rates.ts',
      'server/serial.ts',
      'server/config/keys.ts',
      'server/config/units.ts',
      'server/config/address.ts',
      'server/http/assets.ts',
      'server/http/files.ts',
      'server/http/html.ts',
      'server/http/language.ts',
      'server/http/qr.ts',
      'server/transport/reset.ts',
      'storage/blobs.ts',
      'storage/contract.ts',
      // what belongs to the shapes and not to a driver
      'storage/cache.ts',
      'storage/recent.ts',
      'storage/order.ts',
      'storage/filter.ts',
      'storage/in-parallel.ts',
    ],
    ['server/routing/', 'server/accounts/', 'server/stream/counts.ts'],
  ],
  ['storage/', [], []],
];

/** Of single files, with the reason. */
const exceptions: Readonly<Record<string, string>> = {
  'storage/open.ts': 'server/config/schema.ts', // the type of its table
};

/** Groups of files each of which imports, by others or at once, all others of its group: types count as well. */
function circlesOf(edges: readonly Pick<Import, 'from' | 'to'>[]): string[][] {
  const targets = new Map<string, string[]>();
  for (const { from, to } of edges) targets.set(from, [...(targets.get(from) ?? []), to]);
  const found: string[][] = [];
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  // Tarjan's strongly connected components.
  const visit = (file: string): void => {
    index.set(file, index.size);
    low.set(file, index.get(file)!);
    open.push(file);
    for (const to of targets.get(file) ?? []) {
      if (!index.has(to)) {
        visit(to);
        low.set(file, Math.min(low.get(file)!, low.get(to)!));
      } else if (open.includes(to)) low.set(file, Math.min(low.get(file)!, index.get(to)!));
    }
    if (low.get(file) !== index.get(file)) return;
    const group = open.splice(open.indexOf(file));
    if (group.length > 1) found.push(group.sort());
  };
  for (const file of targets.keys()) if (!index.has(file)) visit(file);
  return found;
}

const partOf = (file: string) => parts.find(([part]) => file.startsWith(part));

test('imports are found', () => {
  assert.ok(imports.length > 300);
  assert.deepEqual(
    importsOf(
      'a/b.ts',
      `import x, {\n  y } from '../c.js';\nimport type { Z } from './d.js';\nimport 'node:fs';\nexport * from './e.js';\n`,
    ),
    [
      { from: 'a/b.ts', to: 'c.ts', isType: false },
      { from: 'a/b.ts', to: 'a/d.ts', isType: true },
      { from: 'a/b.ts', to: 'node:fs', isType: false },
      { from: 'a/b.ts', to: 'a/e.ts', isType: false },
    ],
  );
  for (const { from, to } of imports)
    if (to.endsWith('.ts')) assert.ok(files.includes(to), `${from} imports ${to}, which is not there`);
});

for (const [part, may, type] of parts) {
  test(`src/${part} imports only what it may`, () => {
    const wrong = imports
      .filter(({ from, to }) => partOf(from)?.[0] === part && !from.endsWith('modules/index.ts') && to.endsWith('.ts'))
      .filter(({ to }) => !to.startsWith(part))
      .filter(({ to, isType }) => ![...may, ...(isType ? type : [])].some((path) => to.startsWith(path)))
      .filter(({ from, to }) => exceptions[from] !== to)
      .map(({ from, to, isType }) => `${from} → ${to}${isType ? ' (type)' : ''}`);
    assert.deepEqual(wrong, []);
  });
}

test('a call of the program loads only the table of commands', () => {
  const loaded = new Set(['server/admin/cli.ts']);
  for (const file of loaded)
    for (const { from, to, isType, isLate } of imports) if (from === file && !isType && !isLate) loaded.add(to);
  const isLight = (name: string) =>
    /^(?:node:|smol-toml$|server\/(?:admin|config)\/|server\/module\/cli\.ts$|server\/\w+\.ts$)/.test(name);
  assert.deepEqual([...loaded].filter((name) => !isLight(name)).sort(), []);
  assert.ok(loaded.size < 40, `${loaded.size} files`);
});

test('circles are found', () => {
  const edges = ['ab', 'bc', 'ca', 'cd', 'de', 'ed', 'ef'].map((pair) => ({ from: pair[0]!, to: pair[1]! }));
  assert.deepEqual(circlesOf(edges).sort(), [
    ['a', 'b', 'c'],
    ['d', 'e'],
  ]);
  assert.deepEqual(circlesOf([{ from: 'a', to: 'b' }]), []);
});

test('there are no circular imports', () => {
  assert.deepEqual(circlesOf(imports.filter(({ to }) => to.endsWith('.ts'))), []);
});

/** Types only: the services of a module, for those that need them. */
const isService = ({ to, isType }: Import) => isType && to.endsWith('/services.ts');

test('modules import only types of services of each other', () => {
  /** A file, or a folder with all that is in it. */
  const moduleOf = (file: string) => file.split('/')[1];
  const wrong = imports
    .filter(({ from, to }) => from.startsWith('modules/') && to.startsWith('modules/'))
    .filter(({ from, to }) => moduleOf(from) !== 'index.ts' && moduleOf(from) !== moduleOf(to))
    .filter((found) => !isService(found))
    .map(({ from, to }) => `${from} → ${to}`);
  assert.deepEqual(wrong, []);
});

test('the server names modules only in its default list and in types of services', () => {
  const wrong = imports
    .filter((found) => !isService(found))
    .filter(({ from, to }) => !from.startsWith('modules/') && to.startsWith('modules/') && to !== 'modules/index.ts')
    .filter(({ from, isType }) => !from.startsWith('exports/') || !isType)
    .map(({ from, to }) => `${from} → ${to}`);
  assert.deepEqual(wrong, []);
});

test('modules use no packages except for their schemas', () => {
  const wrong = imports
    .filter(
      ({ from, to }) => from.startsWith('modules/') && !to.endsWith('.ts') && !to.startsWith('node:') && to !== 'zod',
    )
    .filter(({ isType }) => !isType)
    .map(({ from, to }) => `${from} → ${to}`);
  assert.deepEqual(wrong, []);
});

test('waxwing/module includes all services and events of the standard modules', () => {
  const merging = files.filter(
    (file) => file.startsWith('modules/') && /^declare module /m.test(readFileSync(new URL(file, source), 'utf8')),
  );
  const known = imports.filter(({ from }) => from === 'exports/module.ts').map(({ to }) => to);
  assert.deepEqual(
    merging.filter((file) => !known.includes(file)),
    [],
  );
  assert.ok(merging.length > 10);
});

/** A file is short enough to be read as a whole. */
const mostLines = 600;

/** Files that are longer, as long as they have not been divided. */
const long: readonly string[] = [];

test(`no file has more than ${mostLines} lines`, () => {
  const found = files.filter((file) => readFileSync(new URL(file, source), 'utf8').split('\n').length - 1 > mostLines);
  assert.deepEqual(
    found.filter((file) => !long.includes(file)),
    [],
  );
});
