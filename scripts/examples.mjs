/**
 * Builds and tests the packages in examples/ as their authors would: each in a folder outside the tree, against the package that
 * `npm pack` makes of this one. Nothing is downloaded: its dependencies are linked from node_modules.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root, setupOrExit } from './setup.mjs';

await setupOrExit();
const folder = mkdtempSync(join(tmpdir(), 'waxwing-examples-'));
try {
  const waxwing = pack();
  for (const name of readdirSync(join(root, 'examples'))) test(name, waxwing);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** The package as it would be published, next to its dependencies. */
function pack() {
  run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], root);
  const [archive] = readdirSync(folder);
  run('tar', ['-xzf', archive], folder);
  const target = join(folder, 'package');
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'));
  // Without development dependencies.
  for (const name of Object.keys({ ...dependencies, ...peerDependencies })) link(name, target);
  link('@types/node', target); // of @types/ltx and the like
  return target;
}

function link(name, into, from = join(root, 'node_modules', name)) {
  const at = join(into, 'node_modules', name);
  mkdirSync(dirname(at), { recursive: true });
  symlinkSync(from, at);
}

function test(name, waxwing) {
  console.log(`\n== examples/${name}`);
  const at = join(folder, name);
  const isOwn = (path) => !/[\\/](dist|node_modules)$/.test(path);
  cpSync(join(root, 'examples', name), at, { recursive: true, filter: isOwn });
  link('waxwing', at, waxwing);
  const { devDependencies } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8'));
  for (const one of Object.keys(devDependencies)) if (one !== 'waxwing') link(one, at);
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.json'], at);
  run(process.execPath, ['--test', '--test-reporter=dot', join('dist', 'index.test.js')], at);
}

function run(command, args, cwd) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: 'inherit' });
  if (error !== undefined) throw error;
  if (status !== 0) {
    rmSync(folder, { recursive: true, force: true });
    process.exit(1);
  }
}
