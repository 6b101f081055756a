/**
 * Makes a fresh clone runnable with Node alone: installs the dependencies when they do not match package-lock.json, and
 * compiles when a source changed. Where nothing changed it costs some milliseconds. Uses nothing but Node itself, as
 * there may be nothing else yet.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../', import.meta.url));

const sources = ['src', 'test', 'bench'];
/** What the result of compiling depends on besides the sources. */
const settings = ['tsconfig.json', 'package-lock.json'];

/** A command failed, and has said why. */
export class SetupError extends Error {}

/** Throws SetupError. */
export function setup() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`Waxwing needs Node 20.19 or later; this is ${process.version}.`);
  }
  install();
  build();
}

function install() {
  const stampFile = join(root, 'node_modules/.waxwing');
  const stamp = [
    hash(readFileSync(join(root, 'package-lock.json'))),
    // addons are compiled for one of each
    process.versions.modules,
    process.platform,
    process.arch,
  ].join(' ');
  const known = readIfThere(stampFile);
  if (known === stamp) return;
  if (known === undefined && isInstalled()) {
    writeFileSync(stampFile, stamp);
    return;
  }
  console.error('Installing dependencies …');
  // the compiler is one of the development dependencies, also where NODE_ENV says "production"
  npm('ci', '--include=dev', '--no-audit', '--no-fund');
  writeFileSync(stampFile, stamp);
}

/** Whether somebody ran npm already: its own record of node_modules has what package-lock.json asks for. */
function isInstalled() {
  const wanted = readIfThere(join(root, 'package-lock.json'));
  const found = readIfThere(join(root, 'node_modules/.package-lock.json'));
  if (wanted === undefined || found === undefined) return false;
  const installed = JSON.parse(found).packages;
  return Object.entries(JSON.parse(wanted).packages).every(
    ([path, { version, optional }]) =>
      path === '' || installed[path]?.version === version || (optional && !installed[path]),
  );
}

function npm(...args) {
  const own = process.env.npm_execpath;
  const isNpm = own !== undefined && /npm-cli\.c?js$/.test(own) && existsSync(own);
  const [command, ...first] = isNpm ? [process.execPath, own] : [process.platform === 'win32' ? 'npm.cmd' : 'npm'];
  run(`npm ${args[0]}`, command, [...first, ...args]);
}

function build() {
  const stampFile = join(root, 'dist/.sources.json');
  const files = Object.fromEntries([...sources.flatMap(filesIn), ...settings].map((file) => [file, stampOf(file)]));
  const stamp = (isWhole) => JSON.stringify({ isWhole, files });
  const known = readIfThere(stampFile);
  if (known === stamp(true)) return;
  // what was compiled from a file that is gone would still be there, and its tests would run
  const before = known === undefined ? undefined : Object.keys(JSON.parse(known).files);
  if (before === undefined || before.some((file) => !Object.hasOwn(files, file))) {
    rmSync(join(root, 'dist'), { recursive: true, force: true });
  }
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(stampFile, stamp(false));
  console.error('Compiling …');
  run('tsc', process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.json')]);
  writeFileSync(stampFile, stamp(true));
}

function filesIn(folder) {
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

function stampOf(file) {
  const { mtimeMs, size } = statSync(join(root, file));
  return `${mtimeMs} ${size}`;
}

function run(name, command, args) {
  // standard output is the program's own
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (error !== undefined) throw new SetupError(`${name} cannot be run: ${error.message}`);
  if (status !== 0) throw new SetupError(`${name} failed.`);
}

function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function hash(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Runs the setup for a command; says what went wrong and ends the process where it fails. */
export function setupOrExit() {
  try {
    setup();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setupOrExit();
