/** RFC 6120 §3.2, RFC 2782, XEP-0368: where the server of a domain is, asked of a real DNS server. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { networks } from '../../src/server/config/address.js';
import { dnsResolver } from '../../src/server/stream/s2s/lookups.js';
import { type ResolveParts, resolve, UnresolvedError } from '../../src/server/stream/s2s/resolve.js';
import { DnsServer, type Zone } from '../dns-server.js';

let server: DnsServer;
before(async () => {
  server = await DnsServer.open({});
});
after(() => server.close());

/** "address:port", with "!" before it for direct TLS. */
async function places(zone: Zone, domain: string, more: Partial<ResolveParts> = {}): Promise<string[]> {
  server.zone = zone;
  const parts = {
    dns: dnsResolver([server.address]),
    override: () => undefined,
    allowed: () => networks([]),
    random: () => 0,
    ...more,
  };
  const found = await resolve(domain, parts);
  return found.map(({ address, port, isDirectTls }) => `${isDirectTls ? '!' : ''}${address}:${port}`);
}

const reason = (wanted: UnresolvedError['reason']) => (error: unknown) =>
  error instanceof UnresolvedError && error.reason === wanted;

const addresses = { 'a.example': ['203.0.113.1'], 'b.example': ['203.0.113.2'], 'c.example': ['203.0.113.3'] };

test('RFC 6120 §3.2.1, XEP-0368 §3: records of both services ordered by priority', async () => {
  const srv = {
    '_xmpp-server._tcp.example.org': ['20 0 5269 c.example', '5 0 5269 a.example'],
    '_xmpps-server._tcp.example.org': ['10 0 5270 b.example'],
  };
  assert.deepEqual(await places({ addresses, srv }, 'example.org'), [
    '203.0.113.1:5269',
    '!203.0.113.2:5270',
    '203.0.113.3:5269',
  ]);
});

test('RFC 2782: among equal priorities the order is random, by weight', async () => {
  const srv = {
    '_xmpp-server._tcp.example.org': ['1 60 5269 a.example', '1 30 5269 b.example', '1 10 5269 c.example'],
  };
  const firstOf = async (random: number) =>
    (await places({ addresses, srv }, 'example.org', { random: () => random }))[0];
  // In the order of weights: up to 10, up to 40, up to 100 of 101.
  assert.equal(await firstOf(0.05), '203.0.113.3:5269');
  assert.equal(await firstOf(0.2), '203.0.113.2:5269');
  assert.equal(await firstOf(0.5), '203.0.113.1:5269');
  assert.equal(await firstOf(0.999), '203.0.113.1:5269');
});

test('RFC 6120 §3.2.1: the target "." means that there is no such service', async () => {
  const none = ['0 0 0 .'];
  const plain = { '_xmpp-server._tcp.example.org': none };
  await assert.rejects(
    places({ addresses: { 'example.org': ['203.0.113.9'] }, srv: plain }, 'example.org'),
    reason('none'),
  );
  const direct = { ...plain, '_xmpps-server._tcp.example.org': ['0 0 5270 a.example'] };
  assert.deepEqual(await places({ addresses, srv: direct }, 'example.org'), ['!203.0.113.1:5270']);
});

test('RFC 6120 §3.2.2: without records, addresses of the domain, IPv6 and IPv4 alternately', async () => {
  const zone = { addresses: { 'example.org': ['203.0.113.1', '203.0.113.2', '2001:db8::1'] } };
  assert.deepEqual(await places(zone, 'example.org'), ['2001:db8::1:5269', '203.0.113.1:5269', '203.0.113.2:5269']);
});

test('an internationalised domain is looked up as A-labels', async () => {
  const zone = { addresses: { 'xn--exmple-cua.org': ['203.0.113.1'] } };
  assert.deepEqual(await places(zone, 'exämple.org'), ['203.0.113.1:5269']);
  assert.ok(server.asked.includes('SRV _xmpp-server._tcp.xn--exmple-cua.org'));
});

test('a target without an address is skipped', async () => {
  const srv = {
    '_xmpp-server._tcp.example.org': ['1 0 5269 nowhere.example', '2 0 5269 broken.example', '3 0 5269 a.example'],
  };
  assert.deepEqual(await places({ addresses, srv, broken: ['broken.example'] }, 'example.org'), ['203.0.113.1:5269']);
});

test('no address, and no answer', async () => {
  await assert.rejects(places({}, 'example.org'), reason('none'));
  await assert.rejects(places({ broken: ['example.org'] }, 'example.org'), reason('unknown'));
});

test('without an answer to an SRV query, a domain without addresses may have a server', async () => {
  for (const service of ['_xmpp-server', '_xmpps-server']) {
    const broken = [`${service}._tcp.example.org`];
    await assert.rejects(places({ broken }, 'example.org'), reason('unknown'));
    assert.deepEqual(await places({ broken, addresses: { 'example.org': ['203.0.113.1'] } }, 'example.org'), [
      '203.0.113.1:5269',
    ]);
  }
});

test('RFC 8305 §3, XEP-0495 §4.2: what DNS does not answer delays nothing that it does', async () => {
  const six = { 'a.example': ['203.0.113.1', '2001:db8:1::1'], 'b.example': ['203.0.113.2'] };
  const srv = {
    '_xmpp-server._tcp.example.org': ['1 0 5269 a.example', '2 0 5269 b.example'],
    '_xmpps-server._tcp.example.org': ['3 0 5270 b.example'],
  };
  const all = ['2001:db8:1::1:5269', '203.0.113.1:5269', '203.0.113.2:5269', '!203.0.113.2:5270'];
  const zone = { addresses: six, srv };
  const before = server.asked.length;
  assert.deepEqual(await places({ ...zone, silent: ['AAAA a.example'] }, 'example.org'), all.slice(1));
  const asked = server.asked.slice(before).filter((question) => question === 'AAAA a.example');
  assert.equal(asked.length, 1, 'the resolver has asked again');
  for (const [silent, found] of [
    ['A a.example', all.toSpliced(1, 1)],
    ['a.example', all.slice(2)],
    ['SRV _xmpps-server._tcp.example.org', all.slice(0, 3)],
    ['SRV _xmpp-server._tcp.example.org', all.slice(3)],
  ] as const)
    assert.deepEqual(await places({ ...zone, silent: [silent] }, 'example.org'), found, silent);
});

test('literal addresses and configured domains are not looked up', async () => {
  assert.deepEqual(await places({}, '203.0.113.7'), ['203.0.113.7:5269']);
  assert.deepEqual(await places({}, '[2001:db8::7]'), ['2001:db8::7:5269']);
  const asked = server.asked.length;
  const override = (text: string) => ({ override: () => text });
  assert.deepEqual(await places({}, 'example.org', override('127.0.0.1:15269')), ['127.0.0.1:15269']);
  assert.deepEqual(await places({}, 'example.org', override('[::1]:15269')), ['::1:15269']);
  assert.equal(server.asked.length, asked);
  assert.deepEqual(await places({ addresses }, 'example.org', override('a.example:15269')), ['203.0.113.1:15269']);
});

test('private addresses are refused unless they are allowed', async () => {
  for (const inside of [
    '127.0.0.1',
    '10.1.2.3',
    '192.168.1.1',
    '169.254.169.254',
    '0.0.0.0',
    '::1',
    'fd00::1',
    'fe80::1',
  ]) {
    const zone = { addresses: { 'example.org': [inside] } };
    await assert.rejects(places(zone, 'example.org'), reason('refused'), inside);
    const allowed = { allowed: () => networks([inside]) };
    assert.deepEqual(await places(zone, 'example.org', allowed), [`${inside}:5269`]);
  }
  await assert.rejects(places({}, '[::ffff:127.0.0.1]'), reason('refused'));
  await assert.rejects(places({}, '127.0.0.1'), reason('refused'));
  const both = { addresses: { 'example.org': ['10.0.0.1', '203.0.113.1'] } };
  assert.deepEqual(await places(both, 'example.org'), ['203.0.113.1:5269']);
});

test('the number of places is limited, however many DNS returns', async () => {
  const many = Array.from({ length: 20 }, (_, n) => `203.0.113.${n}`);
  const srv = { '_xmpp-server._tcp.example.org': many.map((_, n) => `${n} 0 5269 a.example`) };
  assert.equal((await places({ addresses: { 'a.example': many }, srv }, 'example.org')).length, 16);
});

test('XEP-0487 §3: without SRV records, what the host metadata say comes first; addresses as everywhere', async () => {
  const link = (priority: number, port: number, ...ips: string[]) => ({
    rel: 'urn:xmpp:alt-connections:s2s-tls',
    ...{ ips, port, priority, weight: 0, sni: 'x.example' },
  });
  const asked: string[] = [];
  const more = {
    hostMeta: async (name: string, of: readonly string[]) => {
      asked.push(`${name} ${of}`);
      return JSON.stringify({
        xmpp: { ttl: 1 },
        links: [link(2, 444, '203.0.113.8', '10.0.0.1', '127.0.0.1'), link(1, 443, '2001:db8:1::1')],
      });
    },
  };
  const zone = { addresses: { ...addresses, 'example.org': ['203.0.113.9'] } };
  assert.deepEqual(await places(zone, 'example.org', more), [
    '!2001:db8:1::1:443',
    '!203.0.113.8:444',
    '203.0.113.9:5269',
  ]);
  assert.deepEqual(asked.splice(0), ['example.org 203.0.113.9']);
  const srv = { '_xmpp-server._tcp.example.org': ['20 0 5269 c.example'] };
  assert.deepEqual(await places({ ...zone, srv }, 'example.org', more), ['203.0.113.3:5269']);
  assert.deepEqual(asked, [], 'there are SRV records');
  await assert.rejects(places({ addresses: { 'example.org': ['10.0.0.1'] } }, 'example.org', more), reason('refused'));
  assert.deepEqual(asked, [], 'the web server is private too');
  assert.deepEqual(await places(zone, 'example.org', { hostMeta: async () => undefined }), ['203.0.113.9:5269']);
});
