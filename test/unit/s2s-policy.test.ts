/** The rules about other servers (`s2s.domains`, `hosts.NAME.s2s`): which one decides, and whose rates are shared. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { ConfigError, loadConfig } from '../../src/server/config/load.js';
import { Shares } from '../../src/server/limits/shares.js';
import { Policy, patternsOf } from '../../src/server/stream/s2s/policy.js';

const load = (text: string) => loadConfig({ text, modules: standardModules });

function policyOf(text: string, isListed: (domain: string) => boolean = () => false) {
  let config = load(text);
  const shares = new Shares(
    () => config.limits,
    () => {},
    () => false,
  );
  const policy = new Policy({
    config: () => config,
    shares,
    host: (domain) => ({ domain: domain.replace(/^rooms\./, ''), hooks: { serverGates: [isListed] } }),
  });
  return { policy, limits: () => config.limits, reload: (next: string) => void (config = load(next)) };
}

test('the patterns of a domain, the most specific first', () => {
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['a.b.c', ['a.b.c', '*.b.c', 'b.c', '*.c', 'c']],
    ['localhost', ['localhost']],
    ['[2001:db8::1]', ['[2001:db8::1]']],
  ];
  for (const [domain, patterns] of cases) assert.deepEqual([...patternsOf(domain)], patterns);
});

const hosts = '[hosts."home.example"]\n[hosts."work.example"]\n';

test('the rule of the host, the rule of all, lists, the policy of the host, the policy of all', () => {
  const { policy } = policyOf(
    `${hosts}
    [hosts."home.example".s2s]
    policy = "allow"
    [hosts."home.example".s2s.domains."a.example"]
    policy = "deny"
    [hosts."home.example".s2s.domains."b.example"]
    require_valid_certificate = false
    [s2s]
    policy = "deny"
    [s2s.domains."a.example"]
    policy = "allow"
    [s2s.domains."b.example"]
    policy = "allow"
    [s2s.domains."*.b.example"]
    require_valid_certificate = true`,
    (domain) => domain === 'b.example' || domain === 'c.example',
  );
  const cases: readonly (readonly [local: string, remote: string, isDenied: boolean])[] = [
    ['home.example', 'a.example', true],
    ['rooms.home.example', 'x.a.example', true],
    ['work.example', 'a.example', false],
    // A rule without this setting does not decide it.
    ['home.example', 'b.example', false],
    ['home.example', 'x.b.example', false],
    ['home.example', 'c.example', true],
    ['home.example', 'd.example', false],
    ['work.example', 'd.example', true],
    ['home.example', 'aa.example', false],
  ];
  for (const [local, remote, isDenied] of cases)
    assert.equal(policy.denies(local, remote), isDenied, `${local} ${remote}`);
  assert.equal(policy.requiresCertificate('home.example', 'x.b.example'), false);
  assert.equal(policy.requiresCertificate('work.example', 'x.b.example'), true);
  assert.equal(policy.requiresCertificate('work.example', 'b.example'), true);
});

test('domains of one rule share its rates, others have their own; a reload changes them', () => {
  const rule = (rate: number) => `[s2s.domains."evil.example"]\nstanzas_per_second = ${rate}\nstanza_bytes = "20 KB"`;
  const { policy, limits, reload } = policyOf(rule(3));
  const share = (remote: string) => policy.terms('localhost', remote).share();
  assert.equal(share('a.evil.example'), share('evil.example'));
  assert.equal(share('good.example'), share('good.example'));
  assert.notEqual(share('x.good.example'), share('good.example'));
  const { allowance } = policy.terms('localhost', 'a.evil.example');
  assert.equal(allowance, policy.terms('localhost', 'evil.example').allowance);
  assert.deepEqual(allowance.rate(limits()), { ...limits().rate_server, stanzas_per_second: 3 });
  assert.equal(allowance.elementBytes(limits()), 20_000);
  reload(rule(5));
  assert.equal(allowance.rate(limits()).stanzas_per_second, 5);
  assert.equal(share('evil.example').rates().stanzas_per_second, 5);
  reload('');
  assert.deepEqual(allowance.rate(limits()), limits().rate_server);
  assert.equal(allowance.elementBytes(limits()), limits().stanza_bytes_server);
});

test('invalid patterns are refused in the configuration', () => {
  for (const [pattern, wanted] of [
    ['*', /is not a domain/],
    ['a@example.net', /is not a domain/],
    ['*.*.example.net', /is not a domain/],
    ['Example.NET', /is not the normalised form.*write "example\.net"/s],
    ['*.EXAMPLE.net', /is not the normalised form.*write "\*\.example\.net"/s],
  ] as const)
    assert.throws(
      () => load(`[s2s.domains."${pattern}"]\npolicy = "deny"`),
      (error: unknown) => error instanceof ConfigError && wanted.test(error.message),
      pattern,
    );
});
