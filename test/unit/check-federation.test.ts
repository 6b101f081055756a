import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import rtbl from '../../src/modules/rtbl.js';
import { checkFederation } from '../../src/server/admin/check/federation.js';
import type { Finding } from '../../src/server/admin/check/finding.js';
import type { StatusData } from '../../src/server/admin/running.js';
import { loadConfig } from '../../src/server/config/load.js';
import { type DnsResolver, dnsResolver } from '../../src/server/stream/s2s/lookups.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { DnsServer, type Zone } from '../dns-server.js';

const root = mkdtempSync(join(tmpdir(), 'waxwing-check-'));
after(() => rmSync(root, { recursive: true }));

const configOf = (text: string, data = join(root, 'none')) =>
  loadConfig({ text: `data = "${data}"\n${text}`, modules: [rtbl] });
const running = (federation: StatusData['federation'] | undefined) => ({ federation }) as unknown as StatusData;
const on = running({ incoming: 0, outgoing: 0 });
const told = (findings: readonly Finding[]) => findings.map(({ level, what }) => `${level}: ${what}`);
const services = new Map([['verona.it', ['conference.verona.it']]]);

interface Asked {
  readonly zone?: Zone;
  readonly text?: string;
  readonly status?: StatusData | undefined;
  readonly closed?: readonly string[];
  readonly resolver?: DnsResolver;
}

/** Everything is found and reached, unless asked otherwise. */
async function look(
  context: { after(done: () => void): void },
  { zone, text = '[hosts."verona.it"]', closed = [], ...more }: Asked,
) {
  const dns = await DnsServer.open(zone ?? whole);
  context.after(() => dns.close());
  return checkFederation(
    { config: configOf(text), running: 'status' in more ? more.status : on },
    {
      resolver: more.resolver ?? dnsResolver([dns.address]),
      domains: services,
      reach: async (address) => (closed.includes(address) ? 'ETIMEDOUT' : undefined),
    },
  );
}

const whole: Zone = {
  srv: {
    '_xmpp-server._tcp.verona.it': ['0 5 5269 xmpp.verona.it'],
    '_xmpp-server._tcp.conference.verona.it': ['0 5 5269 xmpp.verona.it'],
  },
  addresses: { 'xmpp.verona.it': ['192.0.2.1', '2001:db8::1'] },
};

test('records for the host and its services, and an open port', async (context) => {
  assert.deepEqual(told(await look(context, {})), [
    'ok: _xmpp-server._tcp.verona.it: xmpp.verona.it:5269',
    'ok: _xmpp-server._tcp.conference.verona.it: xmpp.verona.it:5269',
    'ok: [2001:db8::1]:5269 accepts connections',
    'ok: 192.0.2.1:5269 accepts connections',
  ]);
});

test('without records port 5269 of the address is used; a service without either is a warning', async (context) => {
  const findings = await look(context, { zone: { addresses: { 'verona.it': ['192.0.2.1'] } } });
  assert.deepEqual(told(findings), [
    'ok: verona.it: no SRV record, so other servers use port 5269 of its address 192.0.2.1',
    'warning: no SRV record and no address: conference.verona.it',
    'ok: 192.0.2.1:5269 accepts connections',
  ]);
  assert.match(findings[1]!.advice!, /_xmpp-server\._tcp\.conference\.verona\.it\. SRV 0 5 5269/);
  const moved = await look(context, {
    zone: { addresses: { 'verona.it': ['192.0.2.1'], 'conference.verona.it': ['192.0.2.1'] } },
    text: '[hosts."verona.it"]\n[listen]\ns2s = ["*:7269"]',
  });
  assert.deepEqual(
    moved.map(({ level }) => level),
    ['warning', 'warning', 'ok'],
  );
  assert.match(moved[0]!.what, /but listen\.s2s has port 7269$/);
});

test('missing and wrong records in DNS', async (context) => {
  const lost = await look(context, { zone: {} });
  assert.deepEqual(told(lost), [
    'error: verona.it: no SRV record _xmpp-server._tcp, and no address',
    'warning: no SRV record and no address: conference.verona.it',
  ]);
  const findings = await look(context, {
    zone: {
      srv: {
        '_xmpp-server._tcp.verona.it': ['0 5 5269 gone.verona.it', '0 5 443 xmpp.verona.it'],
        '_xmpps-server._tcp.verona.it': ['0 5 5270 xmpp.verona.it'],
        '_xmpp-server._tcp.conference.verona.it': ['0 0 0 .'],
      },
      addresses: { 'xmpp.verona.it': ['192.0.2.1'] },
    },
  });
  assert.deepEqual(told(findings).slice(0, 4), [
    'error: _xmpp-server._tcp.verona.it: its target gone.verona.it has no address',
    'warning: _xmpp-server._tcp.verona.it leads to xmpp.verona.it:443, but listen.s2s has port 5269',
    'warning: _xmpps-server._tcp.verona.it leads to xmpp.verona.it:5270, but listen.s2s_tls has no port',
    'warning: conference.verona.it: DNS declares that it has no XMPP server (an SRV record with the target ".")',
  ]);
});

test('without a network, one finding that DNS did not answer', async (context) => {
  const broken = Object.assign(new Error('timeout'), { code: 'ETIMEOUT' });
  const resolver: DnsResolver = { srv: () => Promise.reject(broken), addresses: () => Promise.reject(broken) };
  assert.deepEqual(told(await look(context, { resolver })), [
    'warning: DNS could not be asked about verona.it, conference.verona.it (ETIMEOUT)',
  ]);
});

test('a port that cannot be reached, and a server that does not run', async (context) => {
  const [, , first, second] = await look(context, { closed: ['192.0.2.1'] });
  assert.equal(first!.level, 'ok');
  assert.deepEqual(told([second!]), ['warning: 192.0.2.1:5269 cannot be reached from this machine (ETIMEDOUT)']);
  const stopped = await look(context, { status: undefined });
  assert.deepEqual(told(stopped).slice(2), [
    'note: connections from outside were not tried, because the server is not running',
  ]);
});

test('real connections', async () => {
  const listener = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const resolver: DnsResolver = {
    srv: async (name) => (name.startsWith('_xmpp-') ? [{ name: 'xmpp.verona.it', port, priority: 0, weight: 0 }] : []),
    addresses: async () => ['127.0.0.1'],
  };
  const config = configOf(`[hosts."verona.it"]\n[listen]\ns2s = ["127.0.0.1:${port}"]`);
  const check = () => checkFederation({ config, running: on }, { resolver, domains: services });
  assert.deepEqual(told(await check()).slice(2), [`ok: 127.0.0.1:${port} accepts connections`]);
  listener.close();
  await once(listener, 'close');
  assert.deepEqual(told(await check()).slice(2), [
    `warning: 127.0.0.1:${port} cannot be reached from this machine (ECONNREFUSED)`,
  ]);
});

test('off, and wanted and missing', async (context) => {
  assert.deepEqual(told(await look(context, { text: '[hosts.localhost]' })), ['ok: off: no host is a public domain']);
  const off = await look(context, { text: '[hosts."verona.it"]\n[s2s]\nenabled = false' });
  assert.equal(off[0]!.level, 'note');
  const [failed] = await look(context, { status: running('listen.s2s: *:5269: another program already uses it') });
  assert.deepEqual(told([failed!]), [
    'error: the running server has none: listen.s2s: *:5269: another program already uses it',
  ]);
  // An older server says nothing about it.
  assert.equal((await look(context, { status: running(undefined) }))[0]!.level, 'ok');
});

test('a block list whose service the policy denies', async (context) => {
  const lists = (s2s: string, ...names: string[]) =>
    look(context, {
      text: `[hosts."verona.it"]\n${s2s}\n[modules.rtbl]\nlists = ${JSON.stringify(names)}\nserver_lists = ["lists.padua.it/spam"]`,
    });
  const denials = async (...asked: Parameters<typeof lists>) =>
    told((await lists(...asked)).filter(({ what }) => what.startsWith('the block list')));
  assert.deepEqual(await denials('', 'lists.mantua.it/bans'), []);
  assert.deepEqual(await denials('[s2s.domains."padua.it"]\npolicy = "deny"', 'lists.mantua.it/bans'), [
    'warning: the block list lists.padua.it/spam cannot be fetched for verona.it: s2s.domains."padua.it" denies lists.padua.it',
  ]);
  assert.deepEqual(
    await denials(
      '[s2s]\npolicy = "deny"\n[s2s.domains."padua.it"]\npolicy = "allow"',
      'lists.mantua.it/bans',
      'verona.it/own',
    ),
    ['warning: the block list lists.mantua.it/bans cannot be fetched for verona.it: s2s.policy denies lists.mantua.it'],
  );
});

test('a certificate that lacks services and components', async (context) => {
  const data = join(root, 'lacking');
  mkdirSync(data);
  const write = (name: string, ...domains: string[]) => {
    const { certificate, key } = makeSelfSigned(domains);
    writeFileSync(join(data, `${name}.crt`), certificate);
    writeFileSync(join(data, `${name}.key`), key);
  };
  write('lacking', 'verona.it');
  write('whole', 'verona.it', 'conference.verona.it');
  const dns = await DnsServer.open(whole);
  context.after(() => dns.close());
  const check = (name: string) =>
    checkFederation(
      {
        config: configOf(`[hosts."verona.it"]\ncertificate = "${data}/${name}.crt"\nkey = "${data}/${name}.key"`),
        running: undefined,
      },
      { resolver: dnsResolver([dns.address]), domains: services },
    );
  const lacking = (await check('lacking')).at(-1)!;
  assert.deepEqual(told([lacking]), [`warning: ${data}/lacking.crt is not for conference.verona.it`]);
  assert.match(lacking.advice!, /-d verona\.it -d conference\.verona\.it/);
  assert.equal((await check('whole')).at(-1)!.level, 'note');
});
