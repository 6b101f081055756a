import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { standardModules } from '../../src/modules/index.js';
import { diffConfig } from '../../src/server/config/diff.js';
import { loadConfig } from '../../src/server/config/load.js';
import { redact } from '../../src/server/config/redact.js';
import { configReference } from '../../src/server/config/reference.js';
import { bytes } from '../../src/server/config/units.js';

const modules = [
  {
    name: 'upload',
    summary: 'Files over HTTP.',
    implements: { 'XEP-0363': '1.1.0' },
    optional: true,
    config: z.object({
      size: bytes({ min: 1000 }).default(10_485_760).describe('Largest file').meta({ live: true }),
      access_token: z.string().default('').describe('For the store.'),
      keys: z.record(z.string(), z.string()).default({}).describe('By host.').meta({ secret: true }),
      s3: z
        .object({ bucket: z.string().optional().describe('Where files go.') })
        .prefault({})
        .describe('S3.'),
    }),
  },
];

const load = (text: string) => loadConfig({ text, modules });

describe('the reference', () => {
  const { toml, markdown } = configReference(modules);

  test('equals the defaults when it is loaded', () => assert.deepEqual(load(toml), load('')));

  test('has every key with its description', () => {
    assert.match(
      toml,
      /^# Files over HTTP\. \(XEP-0363\)\n\[modules\.upload\]\n# Largest file\. At least 1 KB\. \(live\)\nsize = "10 MiB"$/m,
    );
    assert.match(toml, /^# The domains of the server, one table each\..*\n\[hosts\.localhost\]$/m);
    assert.match(toml, /^# Maximum size of a stanza .*\(live\)\nstanza_bytes = "256 KiB"$/m);
    assert.match(toml, /^# Where files go\.\n(?!bucket)/m);
    assert.match(markdown, /^\| `stanza_bytes` ● \| `"256 KiB"` \| Maximum size of a stanza/m);
    assert.match(markdown, /^### `\[modules\.upload\]`\n\nFiles over HTTP\. \(XEP-0363\)$/m);
  });

  test('has a description for every key', () => {
    const lines = toml.split('\n');
    const silent = lines.filter((line, index) => /^[a-z_]+ = /.test(line) && !lines[index - 1]?.startsWith('# '));
    assert.deepEqual(silent, []);
  });
});

describe('changes', () => {
  test('are divided by whether they need a restart', () => {
    const before = load('[hosts.localhost]\nadmins = ["a@localhost"]\n[hosts."b.example"]');
    const after = load(`
      [hosts.localhost]
      admins = ["b@localhost"]
      [hosts."c.example"]
      [limits]
      rate = { stanza_burst = 5 }
      [listen]
      c2s = []
      [tls]
      session_seconds = 60
      [modules.upload]
      enabled = true
      size = 5000
    `);
    assert.deepEqual(diffConfig(before, after, modules), {
      live: ['hosts.localhost.admins', 'tls.session_seconds', 'limits.rate.stanza_burst', 'modules.upload.size'],
      restart: ['hosts."b.example"', 'hosts."c.example"', 'listen.c2s', 'modules.upload.enabled'],
    });
  });

  test('equal configurations have none', () => {
    assert.deepEqual(diffConfig(load(''), load(''), modules), { live: [], restart: [] });
  });
});

test('secrets are hidden when a configuration is shown', () => {
  const text = '[modules.upload]\naccess_token = "hunter2"\nkeys = { a = "hunter3" }';
  const shown = redact(load(text), modules);
  assert.doesNotMatch(JSON.stringify(shown), /hunter/);
  assert.deepEqual(shown.limits, load('').limits);
  assert.equal(redact(load(''), modules).auth.fast_token_seconds, 1_814_400);
});

describe('with the modules of the server', () => {
  test('the reference equals the defaults when it is loaded', () => {
    const { toml } = configReference(standardModules);
    assert.deepEqual(
      loadConfig({ text: toml, modules: standardModules }),
      loadConfig({ text: '', modules: standardModules }),
    );
  });

  for (const name of ['minimal', 'loadtest']) {
    test(`conf/${name}.toml is valid`, () => {
      const file = fileURLToPath(new URL(`../../../conf/${name}.toml`, import.meta.url));
      assert.ok(loadConfig({ file, modules: standardModules }));
    });
  }
});
