import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { readArguments } from '../../src/server/admin/arguments.js';
import { CommandError, localNames, type RawValues } from '../../src/server/admin/command.js';
import { allCommands, ownCommands } from '../../src/server/admin/commands.js';
import { completionScript } from '../../src/server/admin/completion.js';
import { cliReference, explain, overview } from '../../src/server/admin/help.js';
import * as local from '../../src/server/admin/local.js';
import { newPassword } from '../../src/server/admin/password.js';
import { readValues } from '../../src/server/admin/values.js';
import { loadConfig } from '../../src/server/config/load.js';
import { findPlaces } from '../../src/server/config/places.js';
import { oneLine, plain, plainJson } from '../../src/server/plain.js';
import { columns, duration } from '../../src/server/words.js';

const commands = allCommands(standardModules);
const named = (name: string) => commands.find((command) => command.name === name)!;
const read = (line: string) => readArguments(commands, line === '' ? [] : line.split(' '));

describe('command lines', () => {
  const right: readonly (readonly [line: string, name: string | undefined, raw: RawValues])[] = [
    ['', undefined, {}],
    ['status', 'status', {}],
    ['user add a@b --admin', 'user add', { jid: 'a@b', admin: true }],
    ['user add --admin a@b --password-stdin', 'user add', { jid: 'a@b', admin: true }],
    ['user add -- --odd', 'user add', { jid: '--odd' }],
    ['--config f.toml user list --host=b --limit 5', 'user list', { host: 'b', limit: 5 }],
    ['logs level debug', 'logs level', { level: 'debug' }],
    ['logs level streams debug', 'logs level', { area: 'streams', level: 'debug' }],
    ['session list', 'session list', {}],
    ['session kick a@b/c --reason=so=so', 'session kick', { jid: 'a@b/c', reason: 'so=so' }],
    ['help user add', 'help', { command: 'user add' }],
    ['user --help', 'help', { command: 'user' }],
    ['--help user', 'help', { command: 'user' }],
    ['--version', 'version', {}],
  ];
  for (const [line, name, raw] of right) {
    test(`waxwing ${line}`, () => {
      const call = read(line);
      assert.equal(call.command?.name, name);
      assert.deepEqual(call.raw, raw);
    });
  }

  const wrong: readonly (readonly [line: string, message: RegExp])[] = [
    ['statis', /unknown command: statis; did you mean status\?/],
    ['user ad a@b', /unknown command: user ad; did you mean user add\?/],
    ['user', /unknown command: user; use user add, user passwd/],
    ['user add', /missing argument JID/],
    ['user add a@b c@d', /unexpected argument "c@d"/],
    ['user add a@b --pasword-stdin', /unknown option --pasword-stdin; did you mean --password-stdin\?/],
    ['user add a@b --password secret', /other users can read/],
    ['user add a@b --admin=yes', /--admin takes no value/],
    ['user list --limit many', /limit: "many" is not a whole number/],
    ['user list --host', /--host needs a value/],
    ['status -x', /unknown option -x/],
    ['logs level loud', /invalid level "loud"; use one of fatal/],
    ['completion tcsh', /use one of bash, zsh, fish/],
  ];
  for (const [line, message] of wrong) {
    test(`waxwing ${line} is refused`, () => {
      assert.throws(
        () => read(line),
        (error) => error instanceof CommandError && error.failure === 'usage' && message.test(error.message),
      );
    });
  }

  test('options of every command', () => {
    const call = read('status --json --config a.toml --data d -h');
    assert.deepEqual([call.json, call.config, call.data, call.help], [true, 'a.toml', 'd', true]);
    assert.equal(read('user passwd a@b --password-stdin').secretFromStdin, true);
    assert.equal(read('user delete a@b --yes').yes, true);
  });
});

test('values are validated when they are used', () => {
  const add = named('user add');
  const values = readValues(add, { jid: 'Alice@Example.ORG', password: 'p' });
  assert.ok(Jid.parse('alice@example.org').equals(values.jid as unknown as Jid));
  assert.deepEqual([values.password, values.admin, values.generate], ['p', false, false]);
  for (const raw of [
    {},
    { jid: 'example.org' },
    { jid: 'a@b/c' },
    { jid: 5 },
    { jid: 'a@b', admin: 'yes' },
    { jid: 'a@b', other: 1 },
    { jid: 'a@b', constructor: 1 },
    { jid: 'a@b', password: { length: 8 } },
  ])
    assert.throws(() => readValues(add, raw as RawValues), CommandError, JSON.stringify(raw));
  assert.throws(() => readValues(named('user list'), { limit: 0 }), CommandError);
  assert.throws(() => readValues(named('logs level'), { level: 'loud' }), CommandError);
});

test('command names are unique, and every command has a description', () => {
  const names = commands.map(({ name }) => name);
  assert.deepEqual(names, [...new Set(names)]);
  const [all, page] = [overview(commands), cliReference(commands)];
  for (const command of commands) {
    assert.ok(all.includes(`  ${command.name}`), command.name);
    assert.ok(page.includes(`## \`waxwing ${command.name}`), command.name);
    assert.ok(explain(command).startsWith(`Usage: waxwing ${command.name}`), command.name);
    assert.match(command.summary, /^[A-Z].*[^.]$/);
  }
});

test('completion scripts contain all commands, and are valid for their shells', () => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    const script = completionScript(shell, commands);
    for (const word of ['passwd', '--password-stdin', 'completion', 'silent']) {
      assert.ok(script.includes(shell === 'fish' ? word.replace(/^--/, '-l ') : word), `${shell}: ${word}`);
    }
    const options = shell === 'fish' ? ['--no-execute'] : ['-n'];
    const { error, status, stderr } = spawnSync(shell, [...options], { input: script, encoding: 'utf8' });
    // zsh and fish are not everywhere
    if (error === undefined) assert.equal(status, 0, `${shell}: ${stderr}`);
    else assert.notEqual(shell, 'bash');
  }
});

test('the paths of files are those of the configuration', () => {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  const file = join(folder, 'waxwing.toml');
  try {
    for (const [text, data] of [
      ['', undefined],
      ['data = "store"', undefined],
      ['data = "/srv/waxwing"\n[admin]\nsocket = "../run/w.sock"', undefined],
      ['[admin]\nsocket = "/run/w.sock"\n[log]\nfile = "logs/w.log"', '/elsewhere'],
    ] as const) {
      writeFileSync(file, text);
      const places = findPlaces({ file, data });
      const config = loadConfig({ file, modules: [], overrides: { data } });
      assert.equal(places.file, file);
      assert.equal(places.data, config.data);
      assert.equal(places.socket, config.admin.socket);
      assert.equal(places.logFile, config.log.file === '' ? join(config.data, 'waxwing.log') : config.log.file);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('splitting into words', () => {
  assert.equal(duration(0.4), '0 seconds');
  assert.equal(duration(61), '1 minute 1 second');
  assert.equal(duration(86_400 * 2 + 3600 + 5), '2 days 1 hour');
  assert.equal(
    columns(
      [
        ['a', 'b'],
        ['ccc', ''],
      ],
      ['X', 'Y'],
    ),
    'X    Y\na    b\nccc',
  );
  assert.equal(plain('a\u001b[2Jb\u202ec\nd'), 'a\ufffd[2Jb\ufffdc\nd');
  const hostile = [
    '\r',
    '\t',
    '\b',
    '\u0085',
    '\u009b2J',
    '\u061c',
    '\u2028',
    '\u2029',
    '\u2066',
    '\ufeff',
    '\u{e0041}',
    '\ud800',
  ];
  for (const text of hostile) {
    assert.equal(plain(`a${text}`).slice(0, 2), 'a\ufffd', JSON.stringify(text));
    const json = plainJson({ text });
    assert.match(json, /^[\x20-\x7e]*$/);
    assert.deepEqual(JSON.parse(json), { text });
  }
  // What people write is left as it is.
  for (const text of ['Ünïcödé', '👩‍👩‍👧', 'می‌خواهم', '日本語']) assert.equal(oneLine(text), text);
  assert.equal(oneLine('a\nb'), 'a\ufffdb');
  assert.equal(columns([['tea\nROOM  forged', '1']]), 'tea\ufffdROOM  forged  1');
});

test('generated passwords', () => {
  const made = Array.from({ length: 50 }, newPassword);
  assert.equal(new Set(made).size, 50);
  for (const password of made) assert.match(password, /^(?:[2-9a-hjkmnp-z]{7}-){3}[2-9a-hjkmnp-z]{7}$/);
});

test('no module can have the name of a program command', () => {
  const names = Object.values(local).flatMap((one) => (typeof one === 'object' ? [one.name] : []));
  assert.deepEqual(names.sort(), [...localNames].sort());
  for (const name of localNames) assert.ok(ownCommands.some((command) => command.name === name));
});
