/** `waxwing s2s test`: the way to another server, step by step, and at whose end it is blocked. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

import type { ProbeFinding } from '../../src/server/admin/s2s-findings.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { ProbeReport } from '../../src/server/stream/s2s/probe.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { adminOf } from './admin.js';
import { refusal } from './phrases.js';
import { type Impostor, lure, playAlone as play, type ServerOptions, type Servers } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const both = { [montague]: {}, [capulet]: {} };
const day = 86_400_000;

type Tested = ProbeReport & { readonly findings: readonly ProbeFinding[] };

async function testFrom(servers: Servers, domain = capulet, more: Readonly<Record<string, unknown>> = {}) {
  const admin = await adminOf(servers.stage(montague));
  const values = { domain, ...more };
  const result = await admin.ask<Tested>('s2s test', values);
  return { ...result, admin, place: result.places[0]! };
}

/** The findings of a level, each as "end: what". */
const told = ({ findings }: Pick<Tested, 'findings'>, level: ProbeFinding['level']) =>
  findings.filter((one) => one.level === level).map(({ end, what }) => `${end}: ${what}`);

play('a server that works: each step, and what was found on the way', both, async (servers) => {
  const { admin, place, ...result } = await testFrom(servers);
  assert.deepEqual([result.domain, result.from, result.accepted, result.findings], [capulet, montague, true, []]);
  const port = servers.stage(capulet).port('s2s');
  assert.deepEqual(result.lookups, [
    { question: `SRV _xmpp-server._tcp.${capulet}`, answers: [`0 0 ${port} here.example`], error: null },
    { question: `SRV _xmpps-server._tcp.${capulet}`, answers: [], error: null },
    { question: 'addresses of here.example', answers: ['127.0.0.1'], error: null },
  ]);
  assert.equal(result.places.length, 1);
  assert.deepEqual([place.address, place.port, place.directTls, place.stage], ['127.0.0.1', port, false, 'accepted']);
  assert.match(place.tls!.protocol, /^TLSv1\.[23]$/);
  assert.deepEqual(place.certificate!.names, [capulet, `conference.${capulet}`]);
  assert.deepEqual(place.certificate!.problems, []);
  assert.equal(place.certificate!.issuer, `CN=${capulet}`);
  assert.ok(Date.parse(place.certificate!.notAfter) > Date.now());
  assert.ok(place.dialback);
  assert.equal(place.authentication, 'EXTERNAL');
  assert.deepEqual(admin.progress, [`looking up ${capulet}`, `connecting to 127.0.0.1 port ${port}`]);
  const text = await admin.read('s2s test', { domain: 'CAPULET.example' });
  assert.match(text, /^Streams from montague\.example to capulet\.example work\.$/m);
  assert.match(text, /^ {2}Login +EXTERNAL accepted$/m);
  assert.match(text, /^ {2}Result +accepts stanzas$/m);
  // The test leaves no stream.
  assert.deepEqual((await admin.ask<{ streams: unknown[] }>('s2s list')).streams, []);
});

play('XEP-0368: direct TLS, and a port that does not speak it', both, async (servers) => {
  servers.dns.zone = { addresses: {}, srv: {} };
  servers.leads(capulet, servers.stage(capulet).port('s2s_tls'), true);
  const { accepted, place } = await testFrom(servers);
  assert.deepEqual([accepted, place.directTls, place.authentication], [true, true, 'EXTERNAL']);
  servers.leads(capulet, servers.stage(capulet).port('s2s'), true);
  const plain = await testFrom(servers);
  assert.deepEqual([plain.accepted, plain.place.stage], [false, 'tls']);
  assert.match(told(plain, 'error')[0]!, /^there: 127\.0\.0\.1:\d+: TLS could not be started/);
  assert.match(plain.findings[0]!.advice, /_xmpps-server/);
});

const dialing = {
  [montague]: { certificate: makeSelfSigned([montague]) },
  [capulet]: { s2s: { require_valid_certificate: false } },
};
play('a certificate that the other server does not accept, and dialback', dialing, async (servers) => {
  const { accepted, place, findings } = await testFrom(servers);
  assert.deepEqual([accepted, findings], [true, []]);
  assert.equal(place.authentication, 'dialback');
});

const strict = { ...dialing, [capulet]: {} };
play(
  'XEP-0220 §2.5: the other server cannot verify our key, because our own certificate is invalid',
  strict,
  async (servers) => {
    const { accepted, place, findings } = await testFrom(servers);
    assert.equal(accepted, false);
    assert.deepEqual([place.stage, place.dialbackRefused], ['authentication', 'remote-server-timeout']);
    assert.match(
      told({ findings }, 'error')[0]!,
      /^here: .* the other server cannot reach the server of montague\.example/,
    );
    assert.match(findings[0]!.advice, /5269.*valid certificate|valid certificate.*5269/s);
  },
);

play('XEP-0220 §2.5: the other server does not find ours in DNS', dialing, async (servers) => {
  const { srv = {}, addresses = {} } = servers.dns.zone;
  servers.dns.zone = {
    addresses,
    srv: Object.fromEntries(Object.entries(srv).filter(([name]) => !name.endsWith(montague))),
  };
  const { place, findings } = await testFrom(servers);
  assert.equal(place.dialbackRefused, 'remote-server-not-found');
  assert.match(told({ findings }, 'error')[0]!, /^here: .* does not find a server for montague\.example in DNS/);
  assert.match(findings[0]!.advice, /_xmpp-server\._tcp\.montague\.example/);
});

play(
  'XEP-0220 §2.1.1: DNS leads the other server to a third one, which does not know our key',
  dialing,
  async (servers) => {
    servers.leads(montague, servers.stage(capulet).port('s2s'));
    const { place, findings } = await testFrom(servers);
    assert.notEqual(place.dialbackRefused, null);
    assert.match(told({ findings }, 'error')[0]!, /^here: /);
  },
);

const bad = (names: readonly string[], now = Date.now()): ServerOptions => {
  const certificate = makeSelfSigned(names, undefined, now);
  return { certificate, trusts: [certificate] };
};
const certificates: readonly (readonly [title: string, options: ServerOptions, checks: string[], what: RegExp])[] = [
  ['self-signed', { certificate: makeSelfSigned([capulet]) }, ['authority'], /the certificate is self-signed$/],
  ['for another domain', bad(['verona.example']), ['name'], /is not for capulet\.example, only for verona\.example$/],
  ['expired', bad([capulet], Date.now() - 1000 * day), ['time'], /expired on \d{4}-\d\d-\d\d$/],
  [
    'expired and for another domain',
    bad(['verona.example'], Date.now() - 1000 * day),
    ['time', 'name'],
    /expired on .*, and is not for capulet\.example/,
  ],
  ['of the future', bad([capulet], Date.now() + 10 * day), ['time'], /is not valid before/],
];
for (const [title, options, checks, what] of certificates) {
  play(`a certificate that is ${title}`, { [montague]: {}, [capulet]: options }, async (servers) => {
    const { accepted, place, findings } = await testFrom(servers);
    assert.deepEqual([accepted, place.stage, place.authentication], [false, 'certificate', null]);
    assert.deepEqual(
      place.certificate!.problems.map(({ check }) => check),
      checks,
    );
    assert.match(told({ findings }, 'error')[0]!, /^there: /);
    assert.match(findings[0]!.what, what);
    assert.equal(/tls\.server_authorities/.test(findings[0]!.advice), checks.includes('authority'));
  });
}

const lenient = { [montague]: { s2s: { require_valid_certificate: false } }, [capulet]: certificates[0]![1] };
play('an invalid certificate that the configuration allows is a warning', lenient, async (servers) => {
  const { accepted, ...result } = await testFrom(servers);
  assert.equal(accepted, true);
  assert.match(
    told(result, 'warning')[0]!,
    /^there: .* is self-signed; it is used because require_valid_certificate is off/,
  );
});

play('a key is not given to a server whose certificate is invalid', both, async (servers) => {
  const trap = await lure(`from='${capulet}'`);
  servers.leads(capulet, trap.port);
  const testing = testFrom(servers);
  const impostor = await trap.next();
  await impostor.answers(makeSelfSigned([capulet]), 'id');
  // The stream ends with nothing but its end.
  assert.equal((await impostor.hears()).kind, 'close');
  const { place } = await testing;
  assert.deepEqual([place.stage, place.dialback, place.features], ['certificate', true, ['dialback']]);
});

play('DNS: no such domain, no server, no answer, and an address of this network', both, async (servers) => {
  const none = await testFrom(servers, 'verona.example');
  assert.deepEqual([none.accepted, none.unresolved!.reason, none.places.length], [false, 'none', 0]);
  assert.match(told(none, 'error')[0]!, /^there: verona\.example has no address/);
  const { zone } = servers.dns;
  servers.dns.zone = { ...zone, srv: { '_xmpp-server._tcp.verona.example': ['0 0 0 .'] } };
  const declared = await testFrom(servers, 'verona.example');
  assert.match(told(declared, 'error')[0]!, /^there: DNS says that verona\.example has no XMPP server/);
  servers.dns.zone = {
    ...zone,
    broken: ['_xmpp-server._tcp.verona.example', '_xmpps-server._tcp.verona.example', 'verona.example'],
  };
  const broken = await testFrom(servers, 'verona.example');
  assert.deepEqual(
    [broken.unresolved!.reason, broken.lookups.map(({ error }) => error)],
    ['unknown', ['ESERVFAIL', 'ESERVFAIL', 'ESERVFAIL']],
  );
  assert.match(told(broken, 'error')[0]!, /^there: /);
  assert.match(broken.findings[0]!.advice, /DNSSEC/);
  servers.dns.zone = { ...zone, addresses: { 'verona.example': ['10.0.0.7'] } };
  const inside = await testFrom(servers, 'verona.example');
  assert.equal(inside.unresolved!.reason, 'refused');
  assert.match(inside.findings[0]!.advice, /s2s\.allow_networks/);
  assert.deepEqual(inside.lookups.find(({ question }) => question === 'addresses of verona.example')!.answers, [
    '10.0.0.7',
  ]);
});

play('the resolver itself does not answer', both, async (servers) => {
  const admin = await adminOf(servers.stage(montague));
  servers.dns.close();
  const result = await admin.ask<Tested>('s2s test', { domain: 'verona.example' });
  servers.dns.close = () => {};
  assert.equal(result.unresolved!.reason, 'unknown');
  assert.match(told(result, 'error')[0]!, /^here: /);
  assert.match(result.findings[0]!.advice, /resolv\.conf/);
});

play('DNS that does not answer: the time limit ends the test', both, async (servers) => {
  const admin = await adminOf(servers.stage(montague));
  servers.dns.zone = { ...servers.dns.zone, silent: ['_xmpp-server._tcp.verona.example'] };
  const result = await admin.ask<Tested>('s2s test', { domain: 'verona.example', seconds: 1 });
  assert.deepEqual([result.accepted, result.unresolved!.reason], [false, 'unknown']);
  assert.match(told(result, 'error')[0]!, /DNS did not answer within the time limit$/);
});

play('a target without an address is a warning if another one works', both, async (servers) => {
  const { zone } = servers.dns;
  const name = `_xmpp-server._tcp.${capulet}`;
  servers.dns.zone = { ...zone, srv: { ...zone.srv, [name]: [...zone.srv![name]!, '5 0 5269 gone.example'] } };
  const result = await testFrom(servers);
  assert.equal(result.accepted, true);
  assert.deepEqual(told(result, 'warning'), ['there: an SRV record leads to gone.example, which has no address']);
});

play('no server listens, and one of two addresses works', both, async (servers) => {
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const { port } = closed.address() as AddressInfo;
  closed.close();
  await once(closed, 'close');
  servers.leads('verona.example', port);
  const none = await testFrom(servers, 'verona.example');
  assert.deepEqual([none.accepted, none.place.stage, none.place.error], [false, 'connection', 'ECONNREFUSED']);
  assert.deepEqual(told(none, 'error'), [`there: 127.0.0.1:${port} refuses the connection`]);
  const { zone } = servers.dns;
  const name = `_xmpp-server._tcp.${capulet}`;
  servers.dns.zone = { ...zone, srv: { ...zone.srv, [name]: [`0 0 ${port} here.example`, ...zone.srv![name]!] } };
  const half = await testFrom(servers);
  assert.equal(half.accepted, true);
  assert.deepEqual(half.places.map(({ stage }) => stage).sort(), ['accepted', 'connection']);
  assert.deepEqual(told(half, 'warning'), [`there: 127.0.0.1:${port} refuses the connection`]);
  assert.deepEqual(told(half, 'error'), []);
});

play('a server of other domains (RFC 6120 §4.9.3.6), and one that refuses ours', both, async (servers) => {
  servers.leads('padua.example', servers.stage(capulet).port('s2s'));
  const other = await testFrom(servers, 'padua.example');
  assert.deepEqual([other.place.stage, other.place.streamError], ['stream', 'host-unknown']);
  assert.match(told(other, 'error')[0]!, /^there: .* does not serve padua\.example \(host-unknown\)/);

  const trap = await lure(`from='verona.example' id='x'`);
  servers.leads('verona.example', trap.port);
  const testing = testFrom(servers, 'verona.example');
  const impostor: Impostor = await trap.next();
  assert.equal((await impostor.hears()).kind, 'open');
  impostor.sendsHeader();
  impostor.says(`<stream:error><policy-violation xmlns='${NS.streams}'/></stream:error></stream:stream>`);
  const refused = await testing;
  assert.match(told(refused, 'error')[0]!, /^there: .* refuses streams from montague\.example \(policy-violation\)/);
});

play('a server that says nothing: the time limit ends the test', both, async (servers) => {
  const trap = await lure('');
  servers.leads('verona.example', trap.port);
  const { accepted, place, findings } = await testFrom(servers, 'verona.example', { seconds: 1 });
  assert.deepEqual([accepted, place.stage, place.error], [false, 'stream', 'no answer in time']);
  assert.match(told({ findings }, 'error')[0]!, /^there: /);
});

play('from a service, and what is refused', both, async (servers) => {
  const { accepted, from } = await testFrom(servers, capulet, { from: `conference.${montague}` });
  assert.deepEqual([accepted, from], [true, `conference.${montague}`]);
  const admin = await adminOf(servers.stage(montague));
  const refused = (values: Readonly<Record<string, unknown>>, why: RegExp) =>
    assert.rejects(admin.ask('s2s test', values), why);
  await refused({ domain: montague }, /is a domain of this server; waxwing check looks at it/);
  await refused({ domain: capulet, from: 'verona.example' }, /is not a domain of this server/);
  await refused({ domain: 'juliet@capulet.example' }, /is not a domain/);
  await refused({ domain: capulet, seconds: 1000 }, /at most 100/);
  await refused({}, /domain: missing/);
});

const configured = { [montague]: { s2s: { connect: { 'verona.example': '127.0.0.1:1' } } }, [capulet]: {} };
play('s2s.connect is used instead of DNS', configured, async (servers) => {
  const { lookups, places, ...result } = await testFrom(servers, 'verona.example');
  assert.deepEqual([lookups, places.map(({ address, port }) => [address, port])], [[], [['127.0.0.1', 1]]]);
  assert.match(told(result, 'note')[0]!, /s2s\.connect sets 127\.0\.0\.1:1$/);
});

const denying = { [montague]: { s2s: { domains: { '*.verona.example': { policy: 'deny' } } } }, [capulet]: {} };
play('a domain that the policy denies: nothing is tried', denying, async (servers) => {
  const { accepted, denied, lookups, findings } = await testFrom(servers, 'court.verona.example');
  assert.deepEqual([accepted, denied, lookups], [false, true, []]);
  assert.match(told({ findings }, 'error')[0]!, /^here: .* its policy or a block list forbids them$/);
  assert.deepEqual(servers.dns.asked, []);
});

play('back-off is reported', both, async (servers) => {
  const romeo = await servers.stage(montague).actor('romeo@montague.example/orchard');
  const { zone } = servers.dns;
  servers.dns.zone = {};
  await romeo.sends(`<message to='juliet@capulet.example' id='1'><body>?</body></message>`);
  await romeo.receives(
    `<message type='error' id='1' from='juliet@capulet.example'>${refusal('cancel', 'remote-server-not-found')}</message>`,
  );
  servers.dns.zone = zone;
  const result = await testFrom(servers);
  assert.equal(result.accepted, true);
  const [warning, ...more] = told(result, 'warning');
  assert.match(warning!, /^here: after 1 failed attempt, stanzas from montague\.example are refused until/);
  assert.deepEqual(more, []);
});

play('tests that are in progress are bounded', both, async (servers) => {
  const trap = await lure('');
  servers.leads('verona.example', trap.port);
  const admin = await adminOf(servers.stage(montague));
  const running = Array.from({ length: 4 }, () =>
    admin.ask<Tested>('s2s test', { domain: 'verona.example', seconds: 2 }),
  );
  for (let n = 0; n < 4; n++) await trap.next();
  await assert.rejects(admin.ask('s2s test', { domain: capulet }), /other tests are in progress/);
  for (const { accepted } of await Promise.all(running)) assert.equal(accepted, false);
  assert.equal((await admin.ask<Tested>('s2s test', { domain: capulet })).accepted, true);
});
