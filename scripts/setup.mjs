/**
 * Makes a fresh clone runnable with Node alone: installs the dependencies when they do not match package-lock.json, and
 * compiles the sources that changed. Takes some milliseconds when nothing changed. Imports only Node's own modules,
 * because no others may be installed yet.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installWeb, packWeb } from './web.mjs';

export const root = fileURLToPath(new URL('../', import.meta.url));

/**
 * What can be compiled: `server` is enough to run Waxwing, `all` adds the tests and benchmarks. Both write to dist/, and
 * each depends on its settings besides its sources.
 */
const projects = {
  server: { config: 'tsconfig.server.json', folders: ['src'] },
  all: { config: 'tsconfig.json', folders: ['src', 'test', 'bench'] },
};
const settings = ['tsconfig.json', 'tsconfig.server.json', 'package-lock.json'];

/** A command failed; its output has the reason. */
export class SetupError extends Error {}

/** Installs, and compiles the project `server`, with the web client, or `all`. Throws SetupError. */
export async function setup(project) {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`Waxwing needs Node 20.19 or later; this is ${process.version}.`);
  }
  await install();
  await build(project);
  if (project === 'server') {
    await installWeb(npm).catch((error) => {
      if (!(error instanceof SetupError)) throw error;
      console.error(`${error.message} The server has no web client until the next start succeeds in this.`);
    });
  }
  packWeb();
}

async function install() {
  const stampFile = join(root, 'node_modules/.waxwing');
  const stamp = [
    hash(readFileSync(join(root, 'package-lock.json'))),
    // a native addon fits one version and platform
    process.versions.modules,
    process.platform,
    process.arch,
  ].join(' ');
  const known = readIfThere(stampFile);
  if (known === stamp) return;
  // Work trees may share node_modules: what is there serves each of them whose packages it has.
  const isForThisNode = known === undefined || known.slice(known.indexOf(' ')) === stamp.slice(stamp.indexOf(' '));
  if (isForThisNode && isInstalled()) {
    if (known === undefined) writeFileSync(stampFile, stamp);
    return;
  }
  console.error('Installing dependencies …');
  // The compiler is a development dependency, needed even if NODE_ENV is "production".
  await npm('ci', '--include=dev', '--no-audit', '--no-fund');
  writeFileSync(stampFile, stamp);
}

/** Whether npm was run by hand: its own record of node_modules has what package-lock.json asks for. */
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
  const system = `Node ${process.version} on ${process.platform}-${process.arch}`;
  const slow = `still installing. Without a ready-made better-sqlite3 for ${system}, it is compiled, which can take minutes.`;
  return run(`npm ${args[0]}`, command, [...first, ...args], slow);
}

async function build(project) {
  const { config, folders } = projects[project];
  const stampFile = join(root, 'dist/.sources.json');
  const known = JSON.parse(readIfThere(stampFile) ?? 'null');
  const present = Object.fromEntries([...folders.flatMap(filesIn), ...settings].map((file) => [file, stampOf(file)]));
  const isOfProject = (file) => Object.hasOwn(present, file) || folders.some((folder) => file.startsWith(`${folder}/`));
  const before = Object.entries(known?.files ?? {}).filter(([file]) => isOfProject(file));
  const isUnchanged =
    before.length === Object.keys(present).length && before.every(([file, stamp]) => present[file] === stamp);
  if (isUnchanged && known.compiled.includes(project)) return;

  // The output of a deleted source would stay in dist/, and a deleted test would still run.
  const isGone = before.some(([file]) => !Object.hasOwn(present, file));
  if (known === null || isGone) rmSync(join(root, 'dist'), { recursive: true, force: true });
  mkdirSync(join(root, 'dist'), { recursive: true });
  const files = { ...(isGone ? {} : known?.files), ...present };
  const write = (compiled) => writeFileSync(stampFile, JSON.stringify({ compiled, files }));
  write([]);
  console.error('Compiling …');
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  await run('tsc', process.execPath, [compiler, '-p', join(root, config)], 'still compiling.');
  write(project === 'all' ? ['all', 'server'] : ['server']);
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

/** Runs a command to its end. `slow` is what it prints every 10 seconds while the command runs, with the time. */
async function run(name, command, args, slow) {
  const began = performance.now();
  const progress = setInterval(() => {
    console.error(`… ${Math.round((performance.now() - began) / 1000)} s: ${slow}`);
  }, 10_000);
  try {
    // Standard output belongs to the program that is being set up.
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
    const [status] = await once(child, 'close').catch((error) => {
      throw new SetupError(`${name} cannot be run: ${error.message}`);
    });
    if (status !== 0) throw new SetupError(`${name} failed.`);
  } finally {
    clearInterval(progress);
  }
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

/** Runs the setup for a command. If it fails, prints why and ends the process. */
export async function setupOrExit(project = 'all') {
  try {
    await setup(project);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setupOrExit(process.argv[2]);
