/** Old names of configuration keys: they work like the new ones, and each causes a warning. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { ConfigError, formatFinding, isEnabled, type LoadOptions, loadConfig } from '../../src/server/config/load.js';
import { createServer } from '../../src/server/index.js';

/** Loads a configuration; returns it with its warnings, each as one line. */
function load(text: string, more: Partial<LoadOptions> = {}) {
  const warnings: string[] = [];
  const warn: LoadOptions['warn'] = (finding) => warnings.push(formatFinding(finding));
  return { config: loadConfig({ text, file: 'w.toml', modules: standardModules, warn, ...more }), warnings };
}

const problems = (text: string, more: Partial<LoadOptions> = {}): string[] => {
  try {
    load(text, more);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.findings.map(formatFinding);
  }
  return [];
};

test('an old key sets the new one, with a warning that has its line', () => {
  const { config, warnings } = load(`[stream_management]
keep_after_seconds = 3
[c2s]
news_delay_seconds = "20 ms"
[modules.reports]
kept = 7
tell = ["romeo@localhost"]
tell_admins = false
[modules.client_caps]
kept = 70
`);
  assert.equal(config.stream_management.snapshot_after_seconds, 3);
  assert.equal(config.c2s.notification_delay_seconds, 0.02);
  const { reports, client_caps } = config.modules as Record<string, Record<string, unknown>>;
  assert.deepEqual([reports!.stored, reports!.notify, reports!.notify_admins], [7, ['romeo@localhost'], false]);
  assert.equal(client_caps!.stored, 70);
  assert.deepEqual(warnings, [
    'w.toml:2:22: stream_management.keep_after_seconds: has a new name; write stream_management.snapshot_after_seconds',
    'w.toml:4:22: c2s.news_delay_seconds: has a new name; write c2s.notification_delay_seconds',
    'w.toml:6:8: modules.reports.kept: has a new name; write modules.reports.stored',
    'w.toml:7:8: modules.reports.tell: has a new name; write modules.reports.notify',
    'w.toml:8:15: modules.reports.tell_admins: has a new name; write modules.reports.notify_admins',
    'w.toml:10:8: modules.client_caps.kept: has a new name; write modules.client_caps.stored',
  ]);
});

test('the old name of a module works for its table and in modules.disabled', () => {
  const table = load('[modules.passing]\nenabled = false\n');
  assert.equal(isEnabled(table.config, 'client_protocols'), false);
  assert.deepEqual(table.warnings, ['w.toml:1:1: modules.passing: has a new name; write modules.client_protocols']);
  const list = load('[modules]\ndisabled = ["ping", "passing"]\n');
  assert.equal(isEnabled(list.config, 'client_protocols'), false);
  assert.deepEqual(list.config.modules.disabled, ['ping', 'client_protocols']);
  assert.deepEqual(list.warnings, [
    'w.toml:2:21: modules.disabled[1]: "passing" has a new name; write "client_protocols"',
  ]);
});

test('new names cause no warning', () => {
  const text = '[c2s]\nnotification_delay_seconds = 0\n[modules]\ndisabled = ["client_protocols"]\n';
  assert.deepEqual(load(text).warnings, []);
});

test('the old and the new key together are refused', () => {
  assert.deepEqual(problems('[c2s]\nnews_delay_seconds = 0\nnotification_delay_seconds = 0.5\n'), [
    'w.toml:2:22: c2s.news_delay_seconds: is the old name of c2s.notification_delay_seconds, which is also set; remove it',
  ]);
});

test('an override replaces a value of the file, whichever name either uses', () => {
  for (const key of ['news_delay_seconds', 'notification_delay_seconds'])
    for (const other of ['news_delay_seconds', 'notification_delay_seconds']) {
      const { config } = load(`[c2s]\n${key} = 0.5\n`, { overrides: { c2s: { [other]: 0.25 } } });
      assert.equal(config.c2s.notification_delay_seconds, 0.25);
    }
  const { warnings } = load('', { overrides: { c2s: { news_delay_seconds: 0 } } });
  assert.deepEqual(warnings, ['c2s.news_delay_seconds: has a new name; write c2s.notification_delay_seconds']);
});

test('a wrong value has the path and position as written', () => {
  assert.deepEqual(problems('[c2s]\nnews_delay_seconds = true\n[modules.passing]\nenable = 1\n'), [
    'w.toml:2:22: c2s.news_delay_seconds: true is a boolean; write a number of seconds, such as 0.01 or "10 ms"',
    'w.toml:4:1: modules.passing.enable: no such key; did you mean modules.client_protocols.enabled?',
  ]);
  assert.match(problems('', { overrides: { c2s: { news_delay_seconds: 'x' } } })[0]!, /^c2s\.news_delay_seconds: "x" /);
  assert.match(problems('c2s = 1')[0]!, /^w\.toml:1:7: c2s: 1 is a number; /);
});

test('the configuration passed in is left unchanged', () => {
  const overrides = { c2s: { news_delay_seconds: 0 }, modules: { disabled: ['passing'] } };
  load('', { overrides });
  assert.deepEqual(overrides, { c2s: { news_delay_seconds: 0 }, modules: { disabled: ['passing'] } });
});

test('a server logs each old name once, when it starts', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const logged: string[] = [];
  const server = await createServer({
    text: `data = "${folder}"\n[storage]\ndriver = "memory"\n[c2s]\nnews_delay_seconds = 0\n`,
    overrides: {
      listen: { c2s: [], c2s_tls: [], https: [], http: [], component: [] },
      log: { level: 'warn' },
      modules: { disabled: ['proxy65', 'passing'] },
    },
    logTo: { write: (line) => void logged.push(line) },
  });
  context.after(() => server.stop());
  await server.start();
  await server.reload();
  assert.deepEqual(
    logged.map((line) => {
      const { area, msg } = JSON.parse(line) as Record<string, unknown>;
      return [area, msg];
    }),
    [
      ['config', 'c2s.news_delay_seconds: has a new name; write c2s.notification_delay_seconds'],
      ['config', 'modules.disabled[1]: "passing" has a new name; write "client_protocols"'],
    ],
  );
});
