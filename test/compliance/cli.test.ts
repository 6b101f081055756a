/** The program as administrators call it: servers as real processes, and the commands over their sockets or without. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { openSqlite } from '../../src/storage/sqlite/index.js';
import {
  built,
  configure,
  dataIn,
  dataOf,
  errorOf,
  home,
  logIn,
  portOf,
  type Ready,
  root,
  start,
  waxwing,
} from './program.js';
import { warmWaxwing } from './warm.js';

describe('waxwing', { concurrency: 2 }, () => {
  describe('the life of a server', { concurrency: 1 }, () => {
    const at = home('[hosts.localhost]\n[admin]\nshutdown_grace_seconds = 1\n');

    test('the first start creates an account and prints its password once; the password works', async () => {
      const server = await start(at);
      const { admin } = server.ready;
      assert.equal(admin?.jid, 'admin@localhost');
      assert.equal(statSync(join(at.data, 'admin.sock')).mode & 0o777, 0o600);
      const client = await logIn(portOf(server.ready), admin.jid, admin.password);

      // SIGTERM: clients get a stream error, and the process exits with 0.
      server.child.kill('SIGTERM');
      await client.read.until(/<system-shutdown/);
      client.socket.end('</stream:stream>');
      assert.equal(await server.ended, 0, server.err.text + server.out.text);
      assert.equal(server.out.text.split(admin.password).length, 2, 'it was printed once');
      assert.equal(existsSync(join(at.data, 'admin.sock')), false);
    });

    test('the next start creates none; commands administer the running server', async () => {
      const server = await start(at);
      assert.equal(server.ready.admin, null);

      const status = dataIn(await waxwing(at, ['status', '--json']));
      assert.deepEqual(
        Object.keys(status).sort(),
        [
          ...[
            'certificates',
            'configFile',
            'connections',
            'data',
            'disk',
            'engines',
            'federation',
            'hibernating',
            'hosts',
            'launch',
            'listening',
            'memory',
            'node',
            'pid',
          ],
          ...['sessions', 'startedAt', 'supervised', 'uptimeSeconds', 'version', 'webClients'],
        ].sort(),
      );
      assert.equal(status.pid, server.ready.pid);

      const juliet = ['user', 'add', 'Juliet@localhost', '--password-stdin'];
      assert.deepEqual(await dataOf(at, juliet, 'nightingale\nlark\n'), { jid: 'juliet@localhost', admin: false });
      assert.deepEqual(await errorOf(at, juliet, 'nightingale\n'), ['conflict', 1]);
      assert.deepEqual(await errorOf(at, ['user', 'add', 'nurse@localhost', '--password-stdin'], 'lark'), ['usage', 2]);
      assert.deepEqual(await errorOf(at, ['user', 'add', 'nurse@verona.example', '--generate']), ['not-found', 1]);

      const { certificates } = (await dataOf(at, ['certificates', 'list'])) as {
        certificates: Record<string, unknown>[];
      };
      assert.deepEqual(
        certificates.map(({ host, selfSigned, problems, acme }) => ({ host, selfSigned, problems, acme })),
        [{ host: 'localhost', selfSigned: true, problems: [], acme: null }],
      );
      assert.match((await warmWaxwing(at, ['certificates', 'list'])).out, /^localhost +\d+ days .* self-signed/m);
      assert.match((await warmWaxwing(at, ['certificates', 'show', 'localhost'])).out, /^Names +localhost, /m);
      assert.deepEqual(await errorOf(at, ['certificates', 'show', 'verona.example']), ['not-found', 1]);
      assert.deepEqual(await errorOf(at, ['certificates', 'renew', 'constructor']), ['not-found', 1]);
      assert.deepEqual(await errorOf(at, ['certificates', 'renew']), ['failed', 1]);

      const client = await logIn(portOf(server.ready), 'juliet@localhost', 'nightingale');
      const { sessions } = (await dataOf(at, ['session', 'list'])) as { sessions: Record<string, unknown>[] };
      assert.equal(sessions.length, 1);
      const { since, ...session } = sessions[0]!;
      assert.match(String(since), /^\d{4}-\d\d-\d\dT.*Z$/);
      assert.deepEqual(session, {
        jid: 'juliet@localhost/desk',
        connected: true,
        transport: 'tls',
        secure: true,
        address: '127.0.0.1',
        mechanism: 'PLAIN',
        priority: null,
        node: null,
      });
      assert.deepEqual(await dataOf(at, ['session', 'kick', 'juliet@localhost/desk', '--reason=The lark sings']), {
        kicked: ['juliet@localhost/desk'],
      });
      assert.match(await client.read.until(/<\/stream:error>/), /The lark sings/);
      client.socket.end('</stream:stream>');

      await warmWaxwing(at, ['user', 'disable', 'juliet@localhost']);
      await assert.rejects(logIn(portOf(server.ready), 'juliet@localhost', 'nightingale'));
      assert.doesNotMatch(server.out.text, /nightingale/);

      // a second server on the same data folder
      const second = await warmWaxwing(at, ['start']);
      assert.equal(second.code, 1);
      assert.match(second.err, /a server is already running/);

      // SIGHUP
      configure(at, '[hosts.localhost]\n[limits]\nstanza_bytes = 99999\n');
      server.child.kill('SIGHUP');
      await server.out.until(/the configuration was reloaded/);
      const { config } = (await dataOf(at, ['config', 'show'])) as { config: { limits: { stanza_bytes: number } } };
      assert.equal(config.limits.stanza_bytes, 99_999);
      configure(at, '[limits]\nstanza_byte = 1\n');
      const refused = await warmWaxwing(at, ['reload']);
      assert.equal(refused.code, 4);
      assert.match(refused.err, /did you mean limits\.stanza_bytes\?/);
      configure(at, '[admin]\nshutdown_grace_seconds = 1\n[c2s]\nnews_delay_seconds = 0\n');

      const checked = (await dataOf(at, ['check'])) as { findings: Record<string, string>[]; errors: number };
      assert.equal(checked.errors, 0);
      const renamed = checked.findings.find(({ area, level }) => area === 'configuration' && level === 'warning');
      assert.match(renamed!.what!, /\.toml:\d+:22: c2s\.news_delay_seconds: has a new name$/);
      assert.equal(renamed!.advice, 'Write c2s.notification_delay_seconds.');
      configure(at, '[admin]\nshutdown_grace_seconds = 1\n');
      assert.deepEqual(
        new Set(checked.findings.map(({ area }) => area)),
        new Set([
          'configuration',
          'server',
          'certificates',
          'ports',
          'storage',
          'clock',
          'dns',
          'federation',
          'limits',
        ]),
      );

      // A killed server leaves its socket and nothing else.
      server.child.kill('SIGKILL');
      await server.ended;
      assert.equal(existsSync(join(at.data, 'admin.sock')), true);
      assert.deepEqual(await errorOf(at, ['status']), ['not-running', 3]);
      const next = await start(at);
      const stopped = await warmWaxwing(at, ['stop']);
      assert.deepEqual([stopped.code, stopped.out], [0, 'The server has stopped.\n']);
      assert.equal(await next.ended, 0);
    });
  });

  describe('how a server ends', { concurrency: 1 }, () => {
    test('a second SIGINT ends it immediately', async () => {
      const patient = home('[admin]\nshutdown_grace_seconds = 60\n');
      const server = await start(patient);
      const { jid, password } = server.ready.admin!;
      const client = await logIn(portOf(server.ready), jid, password);
      server.child.kill('SIGINT');
      await client.read.until(/<system-shutdown/); // and the client does not close
      server.child.kill('SIGINT');
      assert.equal(await server.ended, 130);
      client.socket.destroy();
    });

    test('in the background: start, restart, stop', async () => {
      const quiet = home();
      try {
        const first = dataIn(await waxwing(quiet, ['start', '--background', '--json'])) as unknown as Ready & {
          background: string;
        };
        assert.equal(first.background, join(quiet.data, 'waxwing.log'));
        assert.equal(first.admin?.jid, 'admin@localhost');
        assert.deepEqual(await errorOf(quiet, ['start', '--background']), ['conflict', 1]);
        const second = dataIn(await waxwing(quiet, ['restart', '--json'])) as unknown as Ready;
        assert.notEqual(second.pid, first.pid);
        assert.equal(second.admin, null);
        assert.equal((await dataOf(quiet, ['status'])).pid, second.pid);
        // What could not start is not stopped for.
        configure(quiet, '[limits]\nnonsense = 1\n');
        assert.deepEqual(await errorOf(quiet, ['restart']), ['configuration', 4]);
        assert.doesNotMatch(readFileSync(first.background, 'utf8'), new RegExp(first.admin!.password));
      } finally {
        assert.equal((await waxwing(quiet, ['stop'])).code, 0);
      }
      const failed = await warmWaxwing(quiet, ['start', '--background']);
      assert.equal(failed.code, 4);
      assert.match(failed.err, /limits\.nonsense: no such key/);
    });
  });

  describe('without a running server', { concurrency: 1 }, () => {
    const at = home('[hosts.localhost]\nadmins = ["romeo@localhost"]\n');

    test('accounts are administered in the storage', async () => {
      const made = await dataOf(at, ['user', 'add', 'romeo@localhost', '--generate']);
      assert.match(String(made.password), /^[2-9a-z-]{31}$/);
      await dataOf(at, ['user', 'add', 'paris@localhost', '--generate', '--admin']);
      const { accounts, next } = await dataOf(at, ['user', 'list', '--limit', '2']);
      assert.deepEqual(
        (accounts as Record<string, unknown>[]).map(({ created, ...account }) => account),
        ['paris@localhost', 'romeo@localhost'].map((jid) => ({ jid, admin: true, disabled: false, lastLogin: null })),
      );
      assert.equal(next, 'romeo@localhost');
      assert.deepEqual(await errorOf(at, ['user', 'delete', 'paris@localhost']), ['usage', 2]);
      assert.deepEqual(await dataOf(at, ['user', 'delete', 'paris@localhost', '--yes']), {
        jid: 'paris@localhost',
        deleted: true,
      });
      assert.deepEqual(await errorOf(at, ['user', 'show', 'paris@localhost']), ['not-found', 1]);
    });

    test('commands that need a server report that none is running', async () => {
      const { code, err } = await waxwing(at, ['session', 'list']);
      assert.equal(code, 3);
      assert.match(err, /^waxwing: no server is running/);
    });

    test('a storage that another process has open is left alone', async () => {
      const storage = await openSqlite({ file: join(at.data, 'waxwing.sqlite') });
      try {
        const list = await warmWaxwing(at, ['user', 'list']);
        assert.equal(list.code, 1);
        assert.match(list.err, /is open in another process/);
        const checked = await warmWaxwing(at, ['check']);
        assert.equal(checked.code, 4);
        assert.match(checked.out, /ERROR +storage: .* is open in another process/);
      } finally {
        await storage.close();
      }
    });

    const refused: readonly (readonly [title: string, config: string, modules: readonly string[], what: RegExp])[] = [
      [
        'two modules with a store of the same name',
        '',
        [
          'name: "one", stores: { things: { shape: "map", storedAs: "things" } }',
          'name: "two", stores: { items: { shape: "map", storedAs: "things" } }',
        ],
        /module two declares a store things, which module one already has/,
      ],
      [
        'a command of the server',
        '',
        ['name: "one", cli: [{ name: "user add" }]'],
        /module one declares the command "user add", which the server already has/,
      ],
      [
        'two modules with the same command',
        '',
        ['name: "one", cli: [{ name: "greet" }]', 'name: "two", cli: [{ name: "greet" }]'],
        /module two declares the command "greet", which module one already has/,
      ],
      ['a command of three words', '', ['name: "one", cli: [{ name: "a b c" }]'], /invalid command name "a b c"/],
      [
        'a path of the metrics',
        '',
        ['name: "one", start: () => [{ kind: "http", method: "GET", path: "/metrics", handler() {}, options: {} }]'],
        /module one answers GET \/metrics; choose another metrics\.path/,
      ],
      ['two modules with the same name', '', ['name: "one"', 'name: "one"'], /two modules are named one/],
      ['a module without a service that it needs', '', ['name: "one", needs: ["things"]'], /module one needs things/],
      ['a module that fails', '', ['name: "one", start: () => { throw new Error("no luck") }'], /no luck/],
      [
        'a host with the name of a service',
        '[hosts.localhost]\n[hosts."conference.localhost"]\n',
        [],
        /conference\.localhost/,
      ],
      ['a log that cannot be written', '[log]\nfile = "/dev/null/waxwing.log"\n', [], /log\.file .*\/dev\/null/],
    ];
    for (const [title, config, modules, what] of refused)
      test(`check finds what start refuses: ${title}`, async () => {
        const at = home();
        const folder = dirname(at.file);
        modules.forEach((text, index) => {
          const start = text.includes('start:') ? '' : ', start: () => []';
          writeFileSync(
            join(folder, `m${index}.mjs`),
            `export default { summary: "Is one.", implements: {}, ${text}${start} };\n`,
          );
        });
        const load = modules.map((_, index) => `"./m${index}.mjs"`).join(', ');
        configure(at, `${config}[modules]\nload = [${load}]\n`);
        const started = await warmWaxwing(at, ['start']);
        assert.notEqual(started.code, 0);
        assert.match(started.err, what);
        assert.doesNotMatch(started.err, /^ {4}at /m, 'a stack');
        rmSync(at.data, { recursive: true, force: true });
        const { code, out } = await warmWaxwing(at, ['check']);
        assert.equal(code, 4, out);
        assert.match(out.replace(/\s+/g, ' '), what);
        assert.equal(existsSync(at.data), false);
      });

    test("only the server's user can read logs, existing ones included", async () => {
      const folder = join(root, 'logs');
      const at = home(`[log]\nfile = "${join(folder, 'waxwing.log')}"\n`);
      const mode = (path: string) => statSync(path).mode & 0o777;
      const runs = async () => {
        const server = await start(at);
        assert.equal((await warmWaxwing(at, ['stop'])).code, 0);
        await server.ended;
      };
      await runs();
      assert.equal(mode(folder), 0o700);
      assert.equal(mode(join(folder, 'waxwing.log')), 0o600);
      chmodSync(join(folder, 'waxwing.log'), 0o644);
      await runs();
      assert.equal(mode(join(folder, 'waxwing.log')), 0o600);
    });

    test('text chosen by users neither moves the cursor nor breaks lines', async () => {
      const at = home('[admin]\nshutdown_grace_seconds = 1\n');
      const server = await start(at);
      const name = 'tea\n\u001b[2J\u202egone';
      await dataOf(at, [
        'room',
        'create',
        'tea',
        '--owner',
        server.ready.admin?.jid ?? 'admin@localhost',
        '--name',
        name,
      ]);
      for (const args of [
        ['room', 'list'],
        ['room', 'show', 'tea'],
      ]) {
        const { out } = await warmWaxwing(at, args);
        assert.match(out, /tea\ufffd\ufffd\[2J\ufffdgone/);
        const json = (await warmWaxwing(at, [...args, '--json'])).out;
        assert.match(json, /^[\x20-\x7e]*\n$/);
        assert.ok(json.includes(JSON.stringify(name).slice(1, 5)));
      }
      assert.equal((await warmWaxwing(at, ['stop'])).code, 0);
      await server.ended;
    });

    test('check finds every error of a configuration', async () => {
      const broken = home('[limits]\nstanza_byte = 1\nconnections = "many"\n');
      const { code, out } = await warmWaxwing(broken, ['check']);
      assert.equal(code, 4);
      assert.match(out, /stanza_byte: no such key\n\s+Did you mean limits\.stanza_bytes\?/);
      assert.match(out, /connections: "many"/);
      assert.match(out, /Errors: 2, warnings: 0\.$/m);
      assert.equal(existsSync(broken.data), false);
    });
  });
});

test('commands without a server run one after another', { timeout: 300_000 }, async () => {
  const at = home('[hosts.localhost]\n');
  const names = Array.from({ length: 2 }, (_, n) => `user${n}@localhost`);
  const made = await Promise.all(names.map((jid) => waxwing(at, ['user', 'add', jid, '--generate', '--json'])));
  assert.deepEqual(
    made.map((ended) => dataIn(ended).jid),
    names,
  );
});

test('the running server answers while its file is not valid TOML', { timeout: 300_000 }, async () => {
  const text = '[hosts.localhost]\n[admin]\nsocket = "other.sock"\nshutdown_grace_seconds = 1\n';
  const at = home(text);
  const server = await start(at);
  const written = readFileSync(at.file, 'utf8');
  writeFileSync(at.file, `${written}\n[limits\nrate = = 1\n`);
  assert.equal((await dataOf(at, ['status'])).pid, server.ready.pid);
  // Commands that read the file report the error, and the server continues.
  assert.deepEqual(await errorOf(at, ['reload']), ['configuration', 4]);
  assert.equal((await dataOf(at, ['status'])).pid, server.ready.pid);
  server.child.kill('SIGTERM');
  await server.ended;
});

test('backup of a running server, and restore', { timeout: 300_000 }, async () => {
  const at = home();
  const add = ['user', 'add', 'juliet@localhost', '--password-stdin'];
  const copy = join(at.data, '..', 'copy');
  const first = await start(at);
  await dataOf(at, add, 'nightingale\n');
  const { bytes } = await dataOf(at, ['backup', copy]);
  assert.equal(statSync(copy).size, bytes);
  assert.equal(statSync(copy).mode & 0o777, 0o600);
  assert.deepEqual(await errorOf(at, ['backup', copy]), ['failed', 1]);
  await dataOf(at, ['backup', copy, '--force']);
  assert.deepEqual(await errorOf(at, ['restore', copy]), ['conflict', 1]);
  await dataOf(at, ['user', 'delete', 'juliet@localhost', '--yes']);
  await logIn(portOf(first.ready), first.ready.admin!.jid, first.ready.admin!.password);
  first.child.kill('SIGKILL');
  await first.ended;

  // a power cut, with most data still in the log
  assert.deepEqual(await errorOf(at, ['restore', join(at.data, 'admin.sock')]), ['failed', 1]);
  const { previous, kept } = (await dataOf(at, ['restore', copy])) as { previous: string; kept: string };
  assert.ok(existsSync(previous));
  assert.equal(kept, previous, 'the deprecated name');
  assert.equal(existsSync(`${join(at.data, 'waxwing.sqlite')}-wal`), false);
  const second = await start(at);
  await logIn(portOf(second.ready), 'juliet@localhost', 'nightingale');
  second.child.kill('SIGTERM');
  await second.ended;

  // without a server
  const again = join(at.data, '..', 'again');
  assert.match((await warmWaxwing(at, ['backup', again])).out, /contains the whole database/);
  assert.match((await warmWaxwing(at, ['restore', previous])).out, /to go back: waxwing restore/);
  const users = await warmWaxwing(at, ['user', 'list']);
  assert.doesNotMatch(users.out, /juliet/);

  // a start that finds no database gives advice
  rmSync(join(at.data, 'waxwing.sqlite'));
  const { code, err } = await warmWaxwing(at, ['start']);
  assert.equal(code, 1);
  assert.match(err, /waxwing\.sqlite is missing.*waxwing restore FILE/s);
});

test('bash completes commands, options and choices', async () => {
  const { out } = await warmWaxwing(home(), ['completion', 'bash']);
  const complete = (...words: string[]) => {
    const line = words.map((word) => `'${word}'`).join(' ');
    const script = `${out}\nCOMP_WORDS=(waxwing ${line}); COMP_CWORD=${words.length}; _waxwing; echo "\${COMPREPLY[@]}"`;
    const { stdout, stderr, status } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };
  assert.equal(complete('sta'), 'start status');
  assert.equal(complete('user', 'dis'), 'disable');
  assert.equal(complete('--config', '/etc/x', 'user', 'add', 'me@localhost', '--pass'), '--password-stdin');
  assert.equal(complete('logs', 'level', 'w'), 'warn');
});

test('a command for the running server loads no part of it: no storage, no logs, no TLS', () => {
  const { file } = home();
  const loader = `
    import { createRequire } from 'node:module';
    import 'node:http'; // which loads TLS by itself from Node 26 on
    const before = new Set(process.moduleLoadList);
    const { main } = await import(${JSON.stringify(join(built, 'src/server/admin/cli.js'))});
    process.exitCode = await main(['status', '--config', ${JSON.stringify(file)}]);
    const own = process.moduleLoadList.filter((name) => /NativeModule (?:tls|crypto|worker_threads)$/.test(name) && !before.has(name));
    console.log(JSON.stringify([...own, ...Object.keys(createRequire(import.meta.url).cache)]));`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', loader], { encoding: 'utf8' });
  assert.deepEqual(JSON.parse(stdout), []);
});
