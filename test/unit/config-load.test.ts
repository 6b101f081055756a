import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { z } from 'zod';
import {
  ConfigError,
  type Finding,
  isEnabled,
  type LoadOptions,
  loadConfig,
  modulesToLoad,
} from '../../src/server/config/load.js';

const modules = [
  { name: 'mam', config: z.object({ page_limit: z.number().int().positive().default(50) }) },
  { name: 'bosh', optional: true },
  { name: 'strict', config: z.object({ nested: z.object({ url: z.url().optional() }).prefault({}) }) },
];

const load = (text: string, more: Partial<LoadOptions> = {}) => loadConfig({ text, modules, ...more });

function findings(text: string, more: Partial<LoadOptions> = {}): readonly Finding[] {
  try {
    load(text, more);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.findings;
  }
  return [];
}

/** Each finding as `LINE PATH: PROBLEM; HINT`. */
const reported = (text: string, more: Partial<LoadOptions> = {}) =>
  findings(text, more).map(({ line, path, problem, hint }) => `${line ?? '-'} ${path}: ${problem}; ${hint}`);

describe('a valid configuration', () => {
  test('an empty one has all defaults', () => {
    const config = load('');
    assert.deepEqual(Object.keys(config.hosts), ['localhost']);
    assert.equal(config.limits.stanza_bytes, 262_144);
    assert.equal(config.c2s.require_encryption, true);
    assert.deepEqual(config.modules.mam, { page_limit: 50, enabled: true });
  });

  test('amounts are numbers, text with a unit, or unlimited', () => {
    const { limits, auth } = load(`
      [limits]
      stanza_bytes = "64 KiB"
      login_deadline_seconds = "2 minutes"
      ping_timeout_seconds = 2.5
      connections = "unlimited"
      connections_per_address = inf
      [auth]
      fast_token_seconds = "14 days"
    `);
    assert.equal(limits.stanza_bytes, 65_536);
    assert.equal(limits.login_deadline_seconds, 120);
    assert.equal(limits.ping_timeout_seconds, 2.5);
    assert.equal(limits.connections, Infinity);
    assert.equal(limits.connections_per_address, Infinity);
    assert.equal(auth.fast_token_seconds, 1_209_600);
  });

  test('a single file stands for a list', () => {
    const { hosts } = load('[hosts.localhost]\ncertificate = "/a.crt"\nkey = ["/a.key"]');
    assert.deepEqual(hosts.localhost, {
      ...load('').hosts.localhost,
      certificate: ['/a.crt'],
      key: ['/a.key'],
    });
  });

  test('relative paths start at the folder of the file, or at the data folder', () => {
    const text = '[hosts.localhost]\ncertificate = "a.crt"\nkey = "a.key"\n[modules]\nload = ["./m.js", "npm-package"]';
    const config = load(text, { file: '/etc/waxwing/waxwing.toml' });
    assert.equal(config.data, '/etc/waxwing/data');
    assert.equal(config.storage.sqlite.file, '/etc/waxwing/data/waxwing.sqlite');
    assert.equal(config.admin.socket, '/etc/waxwing/data/admin.sock');
    assert.deepEqual(config.hosts.localhost?.certificate, ['/etc/waxwing/a.crt']);
    assert.deepEqual(config.modules.load, ['/etc/waxwing/m.js', 'npm-package']);
    assert.equal(config.log.file, '');
  });

  test('overrides replace values of the file', () => {
    const config = load('[limits]\nstanza_bytes = 20000\nstanza_depth = 50', {
      overrides: { limits: { stanza_depth: 60 }, hosts: { 'example.org': {} } },
    });
    assert.equal(config.limits.stanza_bytes, 20_000);
    assert.equal(config.limits.stanza_depth, 60);
    assert.deepEqual(Object.keys(config.hosts), ['example.org']);
  });

  test('modules run unless they are disabled, optional ones when they are enabled', () => {
    assert.equal(isEnabled(load(''), 'mam'), true);
    assert.equal(isEnabled(load('[modules]\ndisabled = ["mam"]'), 'mam'), false);
    assert.equal(isEnabled(load('[modules.mam]\nenabled = false'), 'mam'), false);
    assert.equal(isEnabled(load(''), 'bosh'), false);
    assert.equal(isEnabled(load('[modules.bosh]\nenabled = true'), 'bosh'), true);
  });

  test('a file is read, and its modules are known before their schemas', (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
    context.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'x.toml');
    writeFileSync(file, 'data = "d"\n[modules]\nload = ["./more.js", "waxwing-more"]\n[modules.more]\nx = 1');
    assert.deepEqual(modulesToLoad({ file }), [join(folder, 'more.js'), 'waxwing-more']);
    const config = loadConfig({ file, modules: [{ name: 'more', config: z.object({ x: z.number() }) }] });
    assert.equal(config.data, join(folder, 'd'));
    assert.deepEqual(config.modules.more, { x: 1, enabled: true });
  });

  const open = `
    data = "/tmp/waxwing"
    [listen]
    c2s = ["127.0.0.1:5222"]
    c2s_tls = ["[::1]:5223"]
    http = ["127.0.0.1:5280"]
    https = []
    [c2s]
    require_encryption = false
    allow_sasl_plain_without_tls = true`;
  test('plain TCP needs no confirmation on loopback addresses', () => assert.deepEqual(reported(open), []));
});

describe('an invalid configuration', () => {
  const table: readonly (readonly [name: string, text: string, ...expected: string[]])[] = [
    [
      'text where a number belongs',
      '[limits]\nstanza_bytes = "64k"',
      '2 limits.stanza_bytes: "64k" is text; write a number of bytes, such as 262144 or "256 KiB"',
    ],
    [
      'amounts out of bounds',
      '[limits]\nstanza_bytes = 100\nstanza_depth = 10.5\nlogin_deadline_seconds = "unlimited"\nroster_items = nan',
      '2 limits.stanza_bytes: 100 is too small; write at least 10 KB',
      '3 limits.stanza_depth: 10.5 is not a whole number; write 10 or 11',
      '4 limits.login_deadline_seconds: "unlimited" is not allowed here; write at most 2147483 seconds',
      '5 limits.roster_items: NaN is not a number; write a number',
    ],
    [
      'unknown keys at any level',
      'limts = 1\nstanza_bytes = 9\n[limits]\nstanza_byts = 1\nrate = { stanzaburst = 1 }\n[hosts.localhost]\ncertficate = "x"',
      '1 limts: no such key; did you mean limits?',
      '2 stanza_bytes: no such key; did you mean limits.stanza_bytes?',
      '4 limits.stanza_byts: no such key; did you mean limits.stanza_bytes?',
      '5 limits.rate.stanzaburst: no such key; did you mean limits.rate.stanza_burst?',
      '7 hosts.localhost.certficate: no such key; did you mean hosts.localhost.certificate?',
    ],
    [
      'tables of modules, with their own schemas',
      '[modules]\ndisabled = ["mem"]\n[modules.mam]\npage_limit = 0\npage = 1\n[modules.mum]\n[modules.strict.nested]\nurl = "x"\nul = 1',
      '2 modules.disabled[0]: no such module: "mem"; did you mean "mam"?',
      '4 modules.mam.page_limit: 0 is too small; write more than 0',
      '5 modules.mam.page: no such key; use one of page_limit, enabled',
      '6 modules.mum: no such module; did you mean modules.mam?',
      '8 modules.strict.nested.url: "x": Invalid URL; write text in quotes',
      '9 modules.strict.nested.ul: no such key; did you mean modules.strict.nested.url?',
    ],
    [
      'other types',
      'data = 5\nlimits = 3\n[auth]\nanonymous = "yes"\nmechanisms = "PLAIN"\n[log]\nfile = 1979-05-27\nlevel = "verbos"',
      '1 data: 5 is a number; write text in quotes, such as "data"',
      '2 limits: 3 is a number; write a table with keys such as stanza_bytes, stanza_bytes_server, stanza_bytes_unauthenticated',
      '4 auth.anonymous: "yes" is text; write true or false',
      '5 auth.mechanisms: "PLAIN" is text; write a list, such as ["SCRAM-SHA-512","SCRAM-SHA-256","SCRAM-SHA-1","PLAIN","EXTERNAL"]',
      '7 log.file: 1979-05-27 is a date; write text in quotes, such as "/var/log/waxwing/waxwing.log"',
      '8 log.level: "verbos" is not a known value; write one of "fatal", "error", "warn", "info", "debug", "trace", "silent"',
    ],
    [
      'a choice that is almost right',
      '[auth]\nmechanisms = [\n  "PLAIN",\n  "SCRAM-SHA256",\n]\n[tls]\nminimum_version = 1.2',
      '4 auth.mechanisms[1]: "SCRAM-SHA256" is not a known value; did you mean "SCRAM-SHA-256"?',
      '7 tls.minimum_version: 1.2 is a number; write one of "1.2", "1.3"',
    ],
    [
      'addresses and names',
      '[hosts."Example.ORG"]\n[hosts."a@b"]\n[hosts.localhost]\nadmins = ["alice"]\ncontact.abuse = ["me"]\n[listen]\nc2s = ["5222"]\nhttps = ["example.org:443"]\n[metrics]\nallow_from = ["10.0.0.0/33"]\npath = "metrics"',
      '1 hosts."Example.ORG": "Example.ORG" is not the normalised form of this domain; write "example.org"',
      '2 hosts."a@b": "a@b" is not a domain name; write one such as "example.org"',
      '4 hosts.localhost.admins[0]: "alice" is not an account address; write an address such as "alice@example.org"',
      '5 hosts.localhost.contact.abuse[0]: "me" is not a URI; write one such as "mailto:abuse@example.org", "xmpp:admin@example.org" or "https://example.org/contact"',
      '7 listen.c2s[0]: "5222" is not a listen address; write "address:port", such as "127.0.0.1:5222", "[::1]:5222" or "*:5222" (every address)',
      '8 listen.https[0]: "example.org:443" is not a listen address; write "address:port", such as "127.0.0.1:5222", "[::1]:5222" or "*:5222" (every address)',
      '10 metrics.allow_from[0]: "10.0.0.0/33" is not an address or network; write one such as "192.0.2.7" or "10.0.0.0/8"',
      '11 metrics.path: "metrics" is not a URL path; write one such as "/metrics"',
    ],
    [
      'a choice of several kinds',
      '[s2s]\nenabled = "yes"',
      '2 s2s.enabled: "yes" is text; write true or false, or "auto"',
    ],
    ['no hosts', 'hosts = {}', '1 hosts: {  } has no host; write a table such as [hosts."example.org"]'],
    [
      'ciphers that do not exist',
      '[tls]\nciphers = "NONSENSE"',
      '2 tls.ciphers: "NONSENSE" has no known cipher; write a list in the syntax of OpenSSL, such as "HIGH"',
    ],
    [
      'clients without TLS on the network',
      '[c2s]\nrequire_encryption = false',
      '2 c2s.require_encryption: false allows passwords and messages to be sent unencrypted on *:5222; keep it true and set c2s.allow_plain_tcp_on_loopback for tests, or listen on loopback addresses only, or confirm with c2s.confirm_plain_anywhere = true',
    ],
    [
      'HTTP without TLS on the network',
      '[listen]\nhttp = ["127.0.0.1:80", "0.0.0.0:8080"]',
      '2 listen.http[1]: "0.0.0.0:8080" would serve HTTP without TLS to the network; listen on 127.0.0.1, or use listen.https, or confirm with http.confirm_plain_anywhere = true',
    ],
    [
      'two listeners on one port',
      '[listen]\nc2s = ["*:5222"]\nc2s_tls = ["127.0.0.1:5222", "127.0.0.1:0", "127.0.0.1:0"]',
      '3 listen.c2s_tls[0]: "127.0.0.1:5222" is already used by listen.c2s; use a different port for each listener',
    ],
    [
      'contradictory values',
      '[hosts.localhost]\ncertificate = "a"\n[limits]\nstanza_bytes = "1 MiB"\nwrite_queue_bytes = "64 KiB"\n[stream_management]\nhibernate_seconds = "2 days"\n[auth]\nmechanisms = ["EXTERNAL"]',
      '2 hosts.localhost.certificate: there are 1 certificates and 0 keys; write one key per certificate, in the same order',
      '5 limits.write_queue_bytes: 65536 is less than one stanza of limits.stanza_bytes; write at least 1 MiB',
      '7 stream_management.hibernate_seconds: 172800 is more than stream_management.hibernate_max_seconds; write at most 1 day',
      '9 auth.mechanisms: nobody could log in: the only mechanism is EXTERNAL, but clients are not asked for certificates; set tls.client_certificates = true, or add a mechanism such as "SCRAM-SHA-256"',
    ],
    [
      'orders of certificates that could not work',
      '[tls.acme]\nchallenge = "dns-01"\neab_key_id = "x"\n[listen]\nhttp = ["127.0.0.1:80"]',
      '1 tls.acme.dns_hook: is empty, and nothing can set the records of tls.acme.challenge = "dns-01"; name a program that sets and removes TXT records',
      '3 tls.acme.eab_key_id: and tls.acme.eab_key belong together; set both of them, or neither',
    ],
    [
      'a port that proofs need',
      '[hosts."example.org"]\n[tls.acme]\nagree_terms = true\n[listen]\nhttp = ["127.0.0.1:80"]',
      '4 listen.acme[0]: "*:80" is already used by listen.http; use a different port for each listener',
    ],
    [
      'stores that Cassandra cannot hold',
      '[storage.stores]\narchive = "cassandra"\nrosters = "cassandra"',
      '3 storage.stores.rosters: "cassandra" is for the store archive alone; use another driver',
    ],
    [
      'everything in Cassandra',
      '[storage]\ndriver = "cassandra"',
      '2 storage.driver: "cassandra" is not a known value; write one of "sqlite", "postgresql", "memory"',
    ],
    [
      'a keyspace that needs quotes',
      '[storage.cassandra]\nkeyspace = "My-Archive"\ncontact_points = []\nreplication = { dc1 = 0 }',
      '2 storage.cassandra.keyspace: "My-Archive": is not the name of a keyspace; write text in quotes, such as "waxwing"',
      '3 storage.cassandra.contact_points: [] is too small; write at least 1 entries',
      '4 storage.cassandra.replication.dc1: 0 is too small; write at least 1',
    ],
    ['invalid TOML', 'a = 1\nb = = 2', '2 : is not valid TOML: invalid value; see https://toml.io for the syntax'],
  ];
  for (const [name, text, ...expected] of table) test(name, () => assert.deepEqual(reported(text), expected));

  test('a socket path that is too long for any system', () => {
    const data = `/${'long/'.repeat(20)}`;
    assert.match(reported(`data = "${data}"`)[0]!, /^- admin\.socket: the path .* is too long for a Unix socket/);
  });

  test('the same is valid with a confirmation', () => {
    assert.deepEqual(reported('[c2s]\nrequire_encryption = false\nconfirm_plain_anywhere = true'), []);
    assert.deepEqual(reported('[listen]\nhttp = ["*:80"]\n[http]\nconfirm_plain_anywhere = true'), []);
  });

  test('a contradiction is not reported for a key that is invalid itself', () => {
    assert.deepEqual(reported('[c2s]\nrequire_encryption = false\nconfirm_plain_anywhere = "yes"'), [
      '3 c2s.confirm_plain_anywhere: "yes" is text; write true or false',
    ]);
  });

  test('the message has file, line and column of each finding', () => {
    assert.throws(() => load('[limits]\n  stanza_bytes = "x"\n  depth = 1', { file: 'conf/w.toml' }), {
      name: 'ConfigError',
      message:
        'conf/w.toml:2:18: limits.stanza_bytes: "x" is text; write a number of bytes, such as 262144 or "256 KiB"\n' +
        'conf/w.toml:3:3: limits.depth: no such key; use one of stanza_bytes, stanza_bytes_server, ' +
        `${Object.keys(load('').limits).slice(2).join(', ')}`,
    });
  });

  test('an override has no line', () => {
    assert.deepEqual(
      reported('[limits]\nstanza_depth = 50', { overrides: { limits: { stanza_depth: 'x' } }, file: 'f' }),
      ['- limits.stanza_depth: "x" is text; write a whole number, such as 100'],
    );
  });

  test('a missing file', () => {
    assert.throws(() => loadConfig({ file: '/nowhere/w.toml', modules }), {
      message: '/nowhere/w.toml: no such file; set the file with --config',
    });
  });

  test('secrets are not repeated', () => {
    const secretive = [{ name: 'hook', config: z.object({ token: z.string().min(8).meta({ secret: true }) }) }];
    const text = '[modules.hook]\ntoken = "hunter2"';
    assert.deepEqual(reported(text, { modules: secretive }), [
      '2 modules.hook.token: the value is too small; write at least 8 characters',
    ]);
  });

  test('a missing key of a module', () => {
    const demanding = [{ name: 'hook', config: z.object({ url: z.string().meta({ example: 'https://x' }) }) }];
    assert.deepEqual(reported('', { modules: demanding }), [
      '- modules.hook.url: is missing; write text in quotes, such as "https://x"',
    ]);
  });
});
