/**
 * `npm test`: compiles, lints, and runs every suite that needs no outside service. Arguments choose test files by parts of
 * their paths (`npm test -- mam`), or leave them out (`npm test -- compliance/ '!compliance/cli'`); then nothing is linted.
 * Ends with the totals of Node's test runner; the exit code is 1 where anything failed or no test ran.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';
import { root, setupOrExit } from './setup.mjs';

const suites = ['unit', 'contract', 'compliance', 'fuzz'];
/** In ms. A file that takes longer is taken to hang. */
const timeout = 400_000;

const args = process.argv.slice(2);
const wanted = args.filter((part) => !part.startsWith('!'));
const unwanted = args.filter((part) => part.startsWith('!')).map((part) => part.slice(1));
await setupOrExit();
const isLintClean = args.length > 0 || lint();
const files = suites
  .flatMap(testsIn)
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .filter((file) => !unwanted.some((part) => file.includes(part)));
const { failures, totals } = await runAll(files);

for (const { file, name, error } of failures) {
  console.log(`\n✖ ${name}\n  ${file}\n${inspect(error, { depth: 4 }).replace(/^/gm, '  ')}`);
}
console.log();
if (!isLintClean) console.log('✖ the linter has findings, see the beginning');
if (files.length === 0) console.log(`✖ no test file matches ${args.join(' or ')}`);
for (const total of totals) console.log(`# ${total}`);

const count = (name) => Number(totals.find((total) => total.startsWith(`${name} `))?.slice(name.length + 1) ?? 0);
const isPassed = failures.length === 0 && count('fail') === 0 && count('cancelled') === 0 && count('tests') > 0;
process.exitCode = isLintClean && isPassed ? 0 : 1;

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

/** Runs the files, a process each. A dot for every test, an x for one that failed. */
async function runAll(files) {
  const failures = [];
  const totals = [];
  if (files.length === 0) return { failures, totals: ['tests 0', 'pass 0', 'fail 0'] };
  const concurrency = Math.max(2, availableParallelism());
  let column = 0;
  const mark = (sign) => {
    process.stdout.write(sign);
    if (++column % 100 === 0) process.stdout.write('\n');
  };
  for await (const { type, data } of run({ files, concurrency, timeout })) {
    switch (type) {
      case 'test:pass':
        if (data.details.type !== 'suite') mark('.');
        break;
      case 'test:fail': {
        const { error, type: kind } = data.details;
        // a suite fails because of its tests, which are reported themselves
        if (error.failureType === 'subtestsFailed' || data.todo !== undefined) break;
        if (kind !== 'suite') mark('x');
        failures.push({ file: relative(root, data.file ?? ''), name: data.name, error: error.cause ?? error });
        break;
      }
      case 'test:stdout':
      case 'test:stderr':
        process.stderr.write(data.message);
        break;
      case 'test:diagnostic':
        // the totals of all files; those of single files come with the file
        if (
          data.nesting === 0 &&
          /^(?:tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) /.test(data.message)
        ) {
          totals.push(data.message);
        }
        break;
    }
  }
  return { failures, totals };
}
