/**
 * `npm test`: compiles, lints, and runs every suite that needs no outside service. Arguments choose test files by parts of
 * their paths (`npm test -- mam`), or leave them out (`npm test -- compliance/ '!compliance/cli'`); then nothing is linted.
 * Ends with the failures, the slowest files and the totals; the exit code is 1 where anything failed or no test ran.
 */
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setupOrExit } from './setup.mjs';

const suites = ['unit', 'contract', 'compliance', 'fuzz'];
/** In ms. A file that takes longer is taken to hang; on a quiet machine the slowest takes half a minute. */
const timeout = 900_000;
/** In ms. A process that has run its last file ends within it. */
const grace = 120_000;
/** They take longest, and are begun first. */
const slow = ['compliance/cli', 'compliance/clock', 'compliance/pacing', 'unit/cluster-nodes', 'compliance/damaged'];

/** The file and the last begun test of each process that runs some. */
const running = new Map();
// A run that exceeds its budget is ended from outside (.ci/run): it says what it was doing.
process.once('SIGTERM', () => {
  for (const { file, test } of running.values()) console.log(`\nended while it ran ${file}: ${test}`);
  for (const child of running.keys()) child.kill('SIGKILL');
  process.exit(1);
});

const args = process.argv.slice(2);
const wanted = args.filter((part) => !part.startsWith('!'));
const unwanted = args.filter((part) => part.startsWith('!')).map((part) => part.slice(1));
await setupOrExit();
const isLintClean = args.length > 0 || lint();
const files = suites
  .flatMap(testsIn)
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .filter((file) => !unwanted.some((part) => file.includes(part)));
const { failures, totals, times } = await runAll(files);

for (const { file, name, error } of failures) console.log(`\n✖ ${name}\n  ${file}\n${error.replace(/^/gm, '  ')}`);
console.log();
if (!isLintClean) console.log('✖ the linter has findings, see the beginning');
if (files.length === 0) console.log(`✖ no test file matches ${args.join(' or ')}`);
const slowest = times.sort((a, b) => b.seconds - a.seconds).slice(0, 5);
console.log(`# slowest ${slowest.map(({ file, seconds }) => `${file} ${seconds.toFixed(1)} s`).join(', ')}`);
for (const [name, value] of Object.entries(totals)) console.log(`# ${name} ${value}`);
process.exitCode = isLintClean && failures.length === 0 && totals.tests > 0 ? 0 : 1;

function lint() {
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  const passes = (...args) => spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status === 0;
  const isClean = passes(biome, 'check', '.');
  return passes(join(root, 'scripts/promises.mjs')) && isClean;
}

function testsIn(suite) {
  const folder = join(root, 'dist/test', suite);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => join(folder, file))
    .sort();
}

/**
 * Runs the files in some processes, each of which takes another file when it has finished one. Prints a dot for every
 * test, an x for one that failed.
 */
async function runAll(files) {
  const began = performance.now();
  const failures = [];
  const totals = { tests: 0, pass: 0, fail: 0, skipped: 0, todo: 0 };
  const times = [];
  const isSlow = (file) => slow.some((part) => file.includes(part));
  const queue = [...files.filter(isSlow), ...files.filter((file) => !isSlow(file))];
  let column = 0;
  const mark = (sign) => {
    process.stdout.write(sign);
    if (++column % 100 === 0) process.stdout.write('\n');
  };
  const heard = (file, { kind, name, error, isSkipped, isTodo }) => {
    const isFailed = error !== undefined && !isTodo;
    if (isFailed)
      failures.push({ file: relative(root, file), name: kind === 'file' ? 'the file as a whole' : name, error });
    if (kind !== 'test') return;
    totals.tests++;
    totals[isTodo ? 'todo' : isSkipped ? 'skipped' : isFailed ? 'fail' : 'pass']++;
    mark(isFailed ? 'x' : '.');
  };
  const work = async () => {
    while (queue.length > 0) await runSome(queue, heard, times);
  };
  // some of them wait
  await Promise.all(Array.from({ length: availableParallelism() + 1 }, work));
  totals.time = `${((performance.now() - began) / 1000).toFixed(1)} s`;
  return { failures, totals, times };
}

/**
 * A process that runs files of the queue until that is empty, or one has failed, which may have left things behind. A file
 * that changes what belongs to its process has one for itself.
 */
async function runSome(queue, heard, times) {
  const child = fork(join(root, 'scripts/test-lane.mjs'), {
    execArgv: [
      `--test-reporter=${pathToFileURL(join(root, 'scripts/test-report.mjs'))}`,
      // A tenth less processor time: most of what a test makes is garbage soon.
      ...['--min-semi-space-size=16', '--max-semi-space-size=64'],
    ],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  child.stdout.pipe(process.stderr, { end: false });
  let file;
  let began;
  let begunTest = '';
  let timer;
  let isLast = false;
  let isTold = false;
  let isOver = false;
  const fails = (error) => {
    heard(file, { kind: 'file', error });
    isTold = true;
  };
  const next = () => {
    clearTimeout(timer);
    if (file !== undefined) {
      times.push({ file: relative(join(root, 'dist/test'), file), seconds: (performance.now() - began) / 1000 });
    }
    if (isLast || queue.length === 0 || (file !== undefined && isAlone(queue[0]))) {
      isOver = true;
      timer = setTimeout(() => {
        if (!isTold) fails('Its process does not end, though nothing is left to do.');
        child.kill('SIGKILL');
      }, grace);
      child.send(null);
      return;
    }
    file = queue.shift();
    began = performance.now();
    isLast = isAlone(file);
    timer = setTimeout(() => {
      fails(`It takes longer than ${timeout / 1000} s. The last test that began: ${begunTest}`);
      child.kill('SIGKILL');
    }, timeout);
    child.send(file);
  };
  child.on('message', (event) => {
    if (event.kind === 'begun') {
      begunTest = event.name;
      running.set(child, { file: relative(root, file), test: begunTest });
      return;
    }
    if (event.error !== undefined && !event.isTodo) isTold = isLast = true;
    heard(file, event);
    if (event.kind === 'file') next();
  });
  next();
  const [code, signal] = await once(child, 'exit');
  running.delete(child);
  clearTimeout(timer);
  if (!isTold && (!isOver || code !== 0)) fails(`Its process ended with ${signal ?? code}.`);
}

/**
 * Whether a test file changes what belongs to its process: the timers of all its tests, or its clocks. Ids and timestamps
 * of a process never go back, so they stay in the future after a clock was set forward.
 */
function isAlone(file) {
  return /(?<!\bt\.)\bmock\.timers\.enable|\btakeClocks\(/.test(readFileSync(file, 'utf8'));
}
