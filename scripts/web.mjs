/**
 * Packs the web client into dist/web/HASH: the built files of Converse.js that browsers load, unmodified, and those of web/.
 * HASH is that of their content, so browsers may cache each file forever (docs/decisions/0018-web-client.md). Run as a program
 * it packs if Converse.js is installed. Imports only Node's own modules, because no others may be installed yet.
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
const own = join(root, 'web');
const client = join(own, 'node_modules/converse.js');
const target = join(root, 'dist/web');

/** What browsers load of the package; the rest are sources, source maps, and builds for other uses. */
const isNeeded = (path) =>
  path === 'LICENSE' ||
  /^dist\/(?:converse\.min\.(?:js|css)|libomemo\.esm\.min\.js|curve25519_compiled\.wasm|emoji\.json)$/.test(path) ||
  /^dist\/(?:chunkjs\/.*\.js|images\/.*|sounds\/.*|webfonts\/.*)$/.test(path);
const isOwn = (path) => !/^(?:node_modules|package.*\.json|\.)/.test(path);

/** Installs Converse.js unless it is there in the version of web/package-lock.json. `npm` runs npm with arguments. */
export async function installWeb(npm) {
  const { packages } = JSON.parse(readFileSync(join(own, 'package-lock.json'), 'utf8'));
  const wanted = packages['node_modules/converse.js'].version;
  const manifest = join(client, 'package.json');
  if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version === wanted) return;
  console.error('Installing the web client …');
  await npm('ci', '--prefix', own, '--ignore-scripts', '--no-audit', '--no-fund');
}

/** Packs the files unless they are packed. Returns false if Converse.js is not installed. */
export function packWeb() {
  if (!existsSync(client)) return false;
  const files = [
    ...filesIn(client, isNeeded).map((path) => [path.replace(/^dist\//, ''), join(client, path)]),
    ...filesIn(own, isOwn).map((path) => [path, join(own, path)]),
  ];
  const hash = createHash('sha256');
  for (const [path, source] of files) hash.update(`${path}\0`).update(readFileSync(source)).update('\0');
  const name = hash.digest('hex').slice(0, 16);
  if (existsSync(join(target, name))) return true;
  // Renamed when it is complete, so that a server never starts with a part of it.
  const unfinished = join(root, 'dist', `.web-${process.pid}`);
  for (const [path, source] of files) {
    mkdirSync(dirname(join(unfinished, name, path)), { recursive: true });
    cpSync(source, join(unfinished, name, path));
  }
  rmSync(target, { recursive: true, force: true });
  renameSync(unfinished, target);
  return true;
}

function filesIn(folder, isWanted) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .replaceAll('\\', '/'),
    )
    .filter(isWanted)
    .sort();
}

if (process.argv[1] === fileURLToPath(import.meta.url) && !packWeb())
  console.error('The web client is left out: it is not installed. npm start and npm pack install it.');
