/** `waxwing check` finds every reason why the server refuses to start, and changes nothing. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { configure, dataOf, type Home, home, start } from './program.js';
import { warmWaxwing } from './warm.js';

interface Refusal {
  readonly config?: string;
  /** All of the configuration, instead of that. */
  readonly whole?: string;
  /** A module that is loaded, as the text of its definition. */
  readonly module?: string;
  /** What lies there before. */
  readonly prepare?: (at: Home) => void | Promise<unknown>;
  /** The output of start, and the finding of check. If one is missing, both are the same. */
  readonly start: RegExp;
  readonly check?: RegExp;
}

/** A module with its declarations and the hooks that it starts with. */
const hooks = (list: string) => `name: "one", summary: "Is one.", implements: {}, start: () => [${list}]`;
const declares = (what: string) => `summary: "Is one.", implements: {}, start: () => [], ${what}`;
const event = (order: string) => `{ kind: "event", name: "started", handler() {}, order: ${order} }`;

function certificate(at: Home, name: string): void {
  const file = join(dirname(at.file), name);
  const options = ['-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '9', '-subj', `/CN=${name}.example`];
  const { status } = spawnSync('openssl', ['req', ...options, '-keyout', `${file}.key`, '-out', `${file}.pem`]);
  assert.equal(status, 0);
}
const withCertificate = (crt: string, key: string) =>
  `[hosts."a.example"]\ncertificate = "${crt}.pem"\nkey = "${key}.key"\n`;

const refusals: Readonly<Record<string, Refusal>> = {
  'an unknown option': { config: '[limits]\nstanza_byte = 1\n', start: /did you mean limits\.stanza_bytes\?/i },
  'a text where a number belongs': { config: '[limits]\nstanza_bytes = "many"\n', start: /limits\.stanza_bytes/ },
  'no TOML': { whole: '[', start: /waxwing\.toml:1/ },
  'two listeners on one port': {
    whole: '[listen]\nc2s = ["127.0.0.1:15999"]\nc2s_tls = ["127.0.0.1:15999"]\n',
    start: /listen\.c2s_tls.* is already used by listen\.c2s/,
  },
  'an address that this machine lacks': {
    whole: '[listen]\nc2s = ["192.0.2.1:15999"]\n',
    start: /listen\.c2s: 192\.0\.2\.1:15999: this machine does not have this address/,
    check: /listen\.c2s 192\.0\.2\.1:15999: this machine does not have this address/,
  },
  'a missing certificate': { config: withCertificate('a', 'a'), start: /a\.pem: no such file/ },
  'an invalid certificate': {
    config: withCertificate('a', 'a'),
    prepare: (at) => {
      for (const end of ['pem', 'key']) writeFileSync(join(dirname(at.file), `a.${end}`), 'nonsense');
    },
    start: /a\.pem: contains no certificate in PEM/,
  },
  'the key of another certificate': {
    config: withCertificate('a', 'b'),
    prepare: (at) => {
      certificate(at, 'a');
      certificate(at, 'b');
    },
    start: /b\.key: does not match .*a\.pem/,
  },
  'a data folder that is a file': {
    prepare: (at) => writeFileSync(at.data, ''),
    start: /data .*: is not a folder/,
    check: /data: is not a folder/,
  },
  'not a database': {
    prepare: (at) => {
      mkdirSync(at.data);
      writeFileSync(join(at.data, 'waxwing.sqlite'), 'nonsense'.repeat(1000));
    },
    start: /waxwing\.sqlite: file is not a database/,
  },
  'a database in a missing folder': {
    config: '[storage.sqlite]\nfile = "elsewhere/x.sqlite"\n',
    start: /x\.sqlite.*ENOENT/,
    check: /storage\.sqlite\.file .*x\.sqlite: .*elsewhere does not exist/,
  },
  'an unknown store': {
    config: '[storage.stores]\narchiv = "memory"\n',
    start: /storage\.stores: no module has a store archiv; did you mean archive\?/,
  },
  'a socket in a missing folder': {
    config: '[admin]\nsocket = "elsewhere/x.sock"\n',
    start: /admin\.socket .*x\.sock cannot be opened \(E\w+\)/,
    check: /admin\.socket .*x\.sock: .*elsewhere does not exist/,
  },
  'a socket whose path is too long': { config: `[admin]\nsocket = "${'x'.repeat(120)}"\n`, start: /admin\.socket/ },
  'another file in place of the socket': {
    prepare: (at) => {
      mkdirSync(at.data);
      writeFileSync(join(at.data, 'admin.sock'), '');
    },
    start: /admin\.sock exists and is not a socket/,
    check: /admin\.sock: exists and is not a socket/,
  },
  'a module that cannot be loaded': { module: '(', start: /m\.mjs cannot be loaded/ },
  'a module with a name of the configuration': { module: declares('name: "load"'), start: /this name is not allowed/ },
  'a module with an invalid name': { module: declares('name: "one/two"'), start: /this name is not allowed/ },
  'a module without specifications': {
    module: 'name: "one", summary: "Is one.", start: () => []',
    start: /module one .*implements must be an object/,
  },
  'a module whose options are no schema': {
    module: declares('name: "one", config: { size: 1 }'),
    start: /config must be a z\.object\(\)/,
  },
  'a module with a store without a shape': {
    module: declares('name: "one", stores: { items: { shape: "heap" } }'),
    start: /the store items must be made by/,
  },
  'a module with a store of the server': {
    module: declares('name: "one", stores: { items: { shape: "map", storedAs: "accounts" } }'),
    start: /a store accounts, which the server already has/,
  },
  'a module that starts with no hooks': {
    module: 'name: "one", summary: "Is one.", implements: {}, start: () => undefined',
    start: /could not start module one: its start\(\) must return an array of hooks/,
  },
  'a hook of an unknown kind': { module: hooks('{ kind: "spell" }'), start: /unknown kind of hook: "spell"/ },
  'an IQ that another module answers': {
    module: hooks(
      '{ kind: "iq", type: "get", target: "server", ns: "urn:xmpp:ping", name: "ping", access: "anyone", absent: false, handler() {} }',
    ),
    start: /modules ping and one both answer server IQ get ping/,
  },
  'hooks with circular order': {
    module: hooks(event('{ after: ["proxy65"], before: ["proxy65"] }')),
    start: /have circular order constraints in event started/,
  },
  'a module that needs itself': {
    module: declares('name: "one", needs: ["thing"], provides: ["thing"]'),
    start: /circular dependency of modules: one → one/,
  },
  'a service that another module provides': {
    module: declares('name: "one", provides: ["roster"]'),
    start: /modules \w+ and \w+ both provide roster/,
  },
  'a module that does not provide its service': {
    module: declares('name: "one", provides: ["thing"]'),
    start: /module one declares that it provides thing, but does not provide it/,
  },
  'a session state of the server': {
    module: declares('name: "one", sessionStates: [{ name: "priority" }]'),
    start: /session state priority|could not start/,
  },
};

describe('check finds every reason why start refuses', { concurrency: 2 }, () => {
  for (const [title, { config = '', whole, module, prepare, start: refused, check = refused }] of Object.entries(
    refusals,
  ))
    test(title, { timeout: 180_000 }, async () => {
      const at = home();
      const load = module === undefined ? '' : '[modules]\nload = ["./m.mjs"]\n';
      if (module !== undefined) writeFileSync(join(dirname(at.file), 'm.mjs'), `export default { ${module} };\n`);
      if (whole !== undefined) writeFileSync(at.file, whole);
      else configure(at, `${config}${load}`);
      await prepare?.(at);
      const before = existsSync(at.data);

      const checked = await warmWaxwing(at, ['check']);
      assert.equal(checked.code, 4, `${checked.out}${checked.err}`);
      assert.match(`${checked.out}${checked.err}`.replace(/\s+/g, ' '), check);
      assert.doesNotMatch(checked.out + checked.err, /^ {4}at /m, 'a stack');
      assert.equal(existsSync(at.data), before, 'check has made something');

      const { code, out, err } = await warmWaxwing(at, ['start']);
      assert.ok(code !== 0 && code !== null, out);
      assert.match(err.replace(/\s+/g, ' '), refused);
      assert.doesNotMatch(err, /^ {4}at /m, 'a stack');
    });

  test('a port that another program uses', { timeout: 180_000 }, async () => {
    const taken = createServer();
    const { port } = await new Promise<{ port: number }>((resolve) =>
      taken.listen({ port: 0, host: '127.0.0.1' }, () => resolve(taken.address() as { port: number })),
    );
    try {
      const at = home();
      writeFileSync(at.file, `[listen]\nc2s = ["127.0.0.1:${port}"]\n`);
      const checked = await warmWaxwing(at, ['check']);
      assert.equal(checked.code, 4);
      assert.match(checked.out, /another program already uses it/);
      const { code, err } = await warmWaxwing(at, ['start']);
      assert.equal(code, 1);
      assert.match(err, /another program already uses it/);
    } finally {
      taken.close();
    }
  });

  test('a damaged self-signed certificate', { timeout: 180_000 }, async () => {
    const at = home();
    const server = await start(at);
    server.child.kill('SIGTERM');
    await server.ended;
    const folder = join(at.data, 'certs');
    for (const file of readdirSync(folder))
      writeFileSync(join(folder, file), readFileSync(join(folder, file)).fill(0x78));
    for (const command of ['check', 'start']) {
      const { code, out, err } = await warmWaxwing(at, [command]);
      assert.equal(code, command === 'check' ? 4 : 1);
      assert.match(out + err, /localhost\.crt:? contains no certificate in PEM/);
    }
    rmSync(folder, { recursive: true });
  });

  test('the first password has to have the minimum length', { timeout: 180_000 }, async () => {
    const at = home();
    configure(at, 'password_min_length = 64\n');
    const { errors } = await dataOf(at, ['check']);
    assert.equal(errors, 0);
    const server = await start(at);
    assert.ok(server.ready.admin!.password.length >= 64);
    assert.ok(String((await dataOf(at, ['user', 'add', 'romeo@localhost', '--generate'])).password).length >= 64);
    server.child.kill('SIGTERM');
    assert.equal(await server.ended, 0);
  });
});
