import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainProbe } from '../../src/server/admin/s2s-findings.js';
import type { PlaceReport, ProbeReport } from '../../src/server/stream/s2s/probe.js';

const place: PlaceReport = {
  address: '192.0.2.1',
  port: 5269,
  directTls: false,
  servername: null,
  stage: 'authentication',
  connectMs: 3,
  tls: { protocol: 'TLSv1.3', cipher: 'TLS_AES_128_GCM_SHA256' },
  certificate: { subject: '', issuer: '', names: [], notBefore: '', notAfter: '', problems: [] },
  features: [],
  mechanisms: [],
  dialback: true,
  externalRefused: null,
  dialbackRefused: null,
  authentication: null,
  streamError: null,
  error: null,
};
const report = (...places: readonly Partial<PlaceReport>[]): ProbeReport => ({
  domain: 'there.example',
  from: 'here.example',
  accepted: places.some(({ stage }) => stage === 'accepted'),
  denied: false,
  requiresCertificate: true,
  lookups: [],
  unresolved: null,
  places: places.map((one) => ({ ...place, ...one })),
});
const context = { connect: null, pauses: [] };
const explain = (...places: readonly Partial<PlaceReport>[]) => explainProbe(report(...places), context);

const table: readonly (readonly [Partial<PlaceReport>, end: string | undefined, what: RegExp, advice: RegExp])[] = [
  [{ stage: 'connection', error: 'ETIMEDOUT' }, undefined, /does not answer \(ETIMEDOUT\)/, /firewall/],
  [{ stage: 'connection', error: 'EHOSTUNREACH' }, undefined, /no route/, /firewall/],
  [{ stage: 'tls', error: 'ECONNRESET' }, 'there', /TLS could not be started/, /tls\.minimum_version/],
  [{ stage: 'certificate', certificate: null }, 'there', /the certificate is missing/, /have to install/],
  [{ dialback: false }, 'here', /neither SASL EXTERNAL nor dialback/, /waxwing check/],
  [{ dialback: false, externalRefused: 'not-authorized' }, 'here', /does not accept our certificate/, /here\.example/],
  [{ dialbackRefused: 'invalid' }, 'here', /did not confirm our dialback key/, /s2s\.dialback_secret/],
  [{ dialbackRefused: 'remote-server-not-found' }, 'here', /in DNS/, /_xmpp-server\._tcp\.here\.example/],
  [{ dialbackRefused: 'remote-connection-failed' }, 'here', /cannot reach the server of here\.example/, /5269/],
  [{ dialbackRefused: 'policy-violation' }, 'there', /refuses streams from here\.example/, /block/],
  [{ dialbackRefused: 'item-not-found' }, 'there', /does not serve there\.example/, /DNS records/],
  [{ dialbackRefused: 'resource-constraint' }, 'there', /could not check/, /later/],
  [{ error: 'no answer in time' }, 'here', /did not finish dialback \(no answer in time\)/, /5269/],
  [{ streamError: 'not-authorized' }, 'there', /refuses streams from here\.example/, /block/],
  [{ stage: 'stream', streamError: 'resource-constraint' }, 'there', /ended the stream/, /later/],
  [{ stage: 'stream', error: 'The server does not offer TLS.' }, 'there', /does not offer TLS/, /./],
];
for (const [one, end, what, advice] of table) {
  test(`a place that fails: ${JSON.stringify(one)}`, () => {
    const [finding, ...more] = explain(one);
    assert.deepEqual([finding!.level, finding!.end, more], ['error', end, []]);
    assert.match(finding!.what, what);
    assert.match(finding!.advice, advice);
  });
}

test('a machine without IPv6: not a problem of the other server', () => {
  const [finding] = explain(
    { address: '2001:db8::1', stage: 'connection', error: 'ENETUNREACH' },
    { stage: 'accepted' },
  );
  assert.equal(finding!.level, 'note');
  assert.match(finding!.what, /^\[2001:db8::1\]:5269 cannot be reached: this machine has no IPv6/);
});

test('places that were not tried, and an override', () => {
  const findings = explainProbe(report({ stage: 'accepted' }, { stage: 'untried' }, { stage: 'untried' }), {
    ...context,
    connect: '192.0.2.7:5269',
  });
  assert.deepEqual(
    findings.map(({ level, what }) => [level, what]),
    [
      ['note', 'DNS is not used: s2s.connect sets 192.0.2.7:5269'],
      ['warning', '2 further addresses were not tried: the time limit was reached'],
    ],
  );
});
