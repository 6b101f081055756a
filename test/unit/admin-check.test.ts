import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import proxy65 from '../../src/modules/xep-0065-proxy65/index.js';
import { checkCertificates } from '../../src/server/admin/check/certificates.js';
import { checkClock } from '../../src/server/admin/check/clock.js';
import { checkComponents } from '../../src/server/admin/check/components.js';
import { checkDns } from '../../src/server/admin/check/dns.js';
import type { Finding } from '../../src/server/admin/check/finding.js';
import { checkLimits } from '../../src/server/admin/check/limits.js';
import { checkPorts } from '../../src/server/admin/check/ports.js';
import { checkStorage } from '../../src/server/admin/check/storage.js';
import { checkWeb } from '../../src/server/admin/check/web.js';
import type { StatusData } from '../../src/server/admin/running.js';
import { loadConfig } from '../../src/server/config/load.js';
import { isPrivateName } from '../../src/server/config/public-names.js';
import type { Config } from '../../src/server/config/schema.js';
import type { DnsResolver } from '../../src/server/stream/s2s/lookups.js';
import { ensureSelfSigned } from '../../src/server/tls/self-signed.js';
import { openSqlite } from '../../src/storage/sqlite/index.js';

const root = mkdtempSync(join(tmpdir(), 'waxwing-check-'));
after(() => rmSync(root, { recursive: true }));
const day = 86_400_000;

let folders = 0;
const folder = () => join(root, String(folders++));
const configOf = (text: string, data = folder()) => loadConfig({ text: `data = "${data}"\n${text}`, modules: [] });
const levels = (findings: readonly Finding[]) => findings.map(({ level }) => level);

test('components that could take over a host, or act for accounts over the network', () => {
  const look = (more: string) =>
    checkComponents({ config: configOf(`[components.mantua]\nsecret = "a pound of apothecary"\n${more}`) });
  const granted = '[components.mantua.privileges.localhost]\n';
  assert.deepEqual(look('allow_from = ["192.0.2.1"]'), []);
  assert.deepEqual(
    look(`allow_from = ["127.0.0.0/8", "::1"]\n${granted}roster = "both"\niq = { "jabber:iq:register" = "get" }`),
    [],
  );
  const found = look(
    `allow_from = ["127.0.0.1", "192.0.2.0/24"]\n${granted}` +
      `iq = { "http://jabber.org/protocol/commands" = "set", "jabber:iq:register" = "both" }`,
  );
  assert.deepEqual(levels(found), ['warning', 'warning', 'warning']);
  assert.match(found[0]!.what, /mantua may run the commands of administrators of localhost/);
  assert.match(found[1]!.what, /mantua may change passwords and delete accounts of localhost/);
  assert.match(found[2]!.what, /mantua, which acts for accounts, may connect from 192\.0\.2\.0\/24/);
});

test('web clients find WebSocket', async () => {
  const asked: string[] = [];
  const config = configOf('[hosts."example.org"]\n[hosts.localhost]');
  const look = async (answer: Response | Error, other: Partial<Config> = {}) => {
    const [found, ...others] = await checkWeb({ config: { ...config, ...other }, running: undefined }, async (url) => {
      asked.push(url);
      if (answer instanceof Error) throw answer;
      return answer;
    });
    assert.deepEqual(others, []);
    return found && [found.level, found.what.replace(/^\S+ /, '')];
  };
  const link = '<Link rel="urn:xmpp:alt-connections:websocket" href="wss://example.org/ws"/>';
  assert.deepEqual(await look(new Response(link)), ['ok', 'names WebSocket']);
  assert.deepEqual(await look(new Response('<html>')), ['note', 'does not name WebSocket']);
  assert.deepEqual(await look(new Response(' '.repeat(500_000) + link)), ['note', 'does not name WebSocket']);
  assert.deepEqual(await look(new Response('', { status: 404 })), ['note', 'is answered with status 404']);
  const refused = new TypeError('fetch failed', {
    cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }),
  });
  assert.deepEqual(await look(refused), ['note', 'cannot be read (ECONNREFUSED)']);
  assert.deepEqual([...new Set(asked)], ['https://example.org/.well-known/host-meta']);
  assert.equal(await look(refused, { modules: { ...config.modules, disabled: ['host_meta'] } }), undefined);
  assert.equal(await look(refused, { listen: { ...config.listen, http: [], https: [] } }), undefined);
});

test('browsers reach the announced address, with a certificate that they accept', async () => {
  const failed = (code: string) => new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) });
  const look = async (text: string, answer: Error | undefined, listening: StatusData['listening']) => {
    const config = configOf(text);
    const off = { ...config, modules: { ...config.modules, disabled: ['host_meta'] } };
    const found = await checkWeb({ config: off, running: { listening } as unknown as StatusData }, async () => {
      if (answer !== undefined) throw answer;
      return new Response('', { status: 404 });
    });
    return found.map(({ level, what }) => `${level}: ${what}`);
  };
  const https = [{ kind: 'https', address: '::', port: 8443 }];
  const host = '[hosts."example.org"]';
  assert.deepEqual(await look(host, undefined, https), ['ok: https://example.org:8443 answers']);
  const moved = `${host}\npublic_url = "https://chat.example.org"`;
  assert.deepEqual(await look(moved, undefined, https), ['ok: https://chat.example.org answers']);
  assert.deepEqual(await look(host, failed('ENOTFOUND'), []), [
    'warning: https://example.org:5443 cannot be reached from this machine (ENOTFOUND)',
  ]);
  for (const code of [
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  ])
    assert.deepEqual(await look(host, failed(code), https), [
      `warning: https://example.org:8443 has a certificate that browsers refuse (${code})`,
    ]);
  assert.deepEqual(await look('[hosts.localhost]', undefined, https), []);
});

describe('DNS', () => {
  const zone = (records: Record<string, readonly string[]>): DnsResolver => ({
    srv: async (name) =>
      (records[`SRV ${name}`] ?? []).map((text) => {
        const [host = '', port] = text.split(':');
        return { name: host, port: Number(port), priority: 0, weight: 0 };
      }),
    addresses: async (name) => records[name] ?? [],
  });
  const listen = '[listen]\nc2s_tls = ["*:443"]\nhttps = ["*:5443"]';
  const look = async (resolver: DnsResolver, text = '[hosts."example.org"]') => {
    const findings = await checkDns({ config: configOf(`${text}\n${listen}`), running: undefined }, { resolver });
    return findings.filter(({ what }) => !/were not tried/.test(what));
  };

  test('records that point to this server are ok', async () => {
    const findings = await look(
      zone({
        'SRV _xmpp-client._tcp.example.org': ['xmpp.example.org:5222'],
        'SRV _xmpps-client._tcp.example.org': ['xmpp.example.org:443'],
        'xmpp.example.org': ['192.0.2.1'],
      }),
    );
    assert.deepEqual(levels(findings), ['ok', 'ok']);
  });

  test("without SRV records the host's own address is tried", async () => {
    const found = await look(zone({ 'example.org': ['2001:db8::1'] }));
    assert.deepEqual(levels(found), ['ok', 'note']);
    // XEP-0368: clients use direct TLS only if a record names it.
    assert.equal(found[1]!.advice, 'Add the record _xmpps-client._tcp.example.org. SRV 0 5 443 example.org.');
    const lost = await look(zone({}));
    assert.deepEqual(levels(lost), ['error', 'note']);
    assert.match(lost[0]!.advice!, /_xmpp-client\._tcp\.example\.org\. SRV 0 5 5222 TARGET\./);
  });

  test('clients, and an authority that wants a proof, reach the ports', async () => {
    const asked: string[] = [];
    const resolver = zone({
      'SRV _xmpp-client._tcp.example.org': ['xmpp.example.org:5222'],
      'SRV _xmpps-client._tcp.example.org': ['xmpp.example.org:443'],
      'xmpp.example.org': ['192.0.2.1', '2001:db8::1'],
      'example.org': ['192.0.2.80'],
    });
    const reach = async (address: string, port: number) => {
      asked.push(`${address} ${port}`);
      return port === 443 || port === 80 ? 'ECONNREFUSED' : undefined;
    };
    const config = configOf(`[hosts."example.org"]\n[tls.acme]\nagree_terms = true\n${listen}`);
    const found = await checkDns({ config, running: {} as StatusData }, { resolver, reach });
    assert.deepEqual(
      found.slice(2).map(({ level, what }) => `${level}: ${what}`),
      [
        'ok: 192.0.2.1:5222 accepts connections',
        'ok: [2001:db8::1]:5222 accepts connections',
        'warning: 192.0.2.1:443 cannot be reached from this machine (ECONNREFUSED)',
        'warning: [2001:db8::1]:443 cannot be reached from this machine (ECONNREFUSED)',
        'warning: 192.0.2.80:80 cannot be reached from this machine (ECONNREFUSED)',
      ],
    );
    assert.match(found.at(-1)!.why!, /^Authorities that issue certificates /);
    const stopped = await checkDns({ config, running: undefined }, { resolver, reach });
    assert.deepEqual(levels(stopped), ['ok', 'ok', 'note']);
    assert.equal(asked.length, 5);
  });

  test('other ports, dead targets and denied services', async () => {
    const findings = await look(
      zone({
        'SRV _xmpp-client._tcp.example.org': ['a.example.org:15222', 'b.example.org:5222'],
        'a.example.org': ['192.0.2.1'],
      }),
    );
    assert.deepEqual(levels(findings), ['warning', 'error', 'note']);
    assert.match(findings[0]!.what, /a\.example\.org:15222, but listen\.c2s has port 5222/);
    assert.match(findings[1]!.what, /b\.example\.org has no address/);
  });

  test('a missing answer is a finding, and private names are not looked up', async () => {
    const broken = Object.assign(new Error('timeout'), { code: 'ETIMEOUT' });
    const resolver: DnsResolver = { srv: () => Promise.reject(broken), addresses: () => Promise.reject(broken) };
    const findings = await look(resolver, '[hosts.localhost]\n[hosts."example.org"]');
    assert.deepEqual(levels(findings), ['ok', 'warning']);
    assert.match(findings[1]!.what, /ETIMEOUT/);
  });

  test('private names', () => {
    for (const name of ['localhost', 'capulet.example', 'a.b.test', 'box.local', 'intranet', 'abc.onion', '192.0.2.1'])
      assert.equal(isPrivateName(name), true, name);
    for (const name of ['example.org', 'xn--bcher-kva.example.com', 'local.net'])
      assert.equal(isPrivateName(name), false);
  });
});

describe('certificates', () => {
  const look = (config: ReturnType<typeof configOf>, now?: number, certificates: StatusData['certificates'] = []) =>
    checkCertificates({ config, running: { certificates } as StatusData }, now);

  test('a self-signed one is ok for a private name, and a warning for others', async () => {
    const data = folder();
    const config = configOf('[hosts.localhost]\n[hosts."example.org"]', data);
    assert.deepEqual(levels(await look(config)), ['ok', 'warning']);
    for (const host of ['localhost', 'example.org']) await ensureSelfSigned(join(data, 'certs'), [host]);
    assert.deepEqual(levels(await look(config)), ['ok', 'warning']);
    assert.deepEqual(levels(await look(config, Date.now() + 900 * day)), ['error', 'error', 'warning']);
  });

  test('an unusable one is an error, a readable key a warning', async () => {
    const data = folder();
    await ensureSelfSigned(join(data, 'certs'), ['localhost']);
    const key = join(data, 'certs/localhost.key');
    chmodSync(key, 0o644);
    const config = configOf('[hosts.localhost]', data);
    assert.deepEqual(levels(await look(config)), ['warning']);
    writeFileSync(key, 'nonsense');
    assert.deepEqual(levels(await look(config)), ['error']);
  });

  test('certificates that are ordered: the cause of a failure', async () => {
    const config = configOf('[hosts.localhost]\n[hosts."example.org"]\n[tls.acme]\nagree_terms = true');
    assert.deepEqual(levels(await look(config)), ['ok', 'warning']);
    assert.deepEqual(levels(await checkCertificates({ config, running: undefined })), ['ok', 'note']);
    const error = 'the authority could not verify example.org: connection refused';
    const found = await look(config, undefined, [{ host: 'example.org', expires: '2026-01-01T00:00:00.000Z', error }]);
    assert.deepEqual(levels(found), ['error', 'ok', 'warning']);
    assert.match(found[0]!.what, /connection refused/);
    const without = configOf('[hosts."example.org"]');
    assert.match((await look(without))[0]!.advice!, /tls\.acme\.agree_terms = true/);
  });
});

test('ports: free, in use, used by the running server', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as AddressInfo;
  const config = configOf(
    `[listen]\nc2s = ["127.0.0.1:${port}"]\nc2s_tls = ["127.0.0.1:0"]\nhttps = ["192.0.2.77:5443"]\nhttp = []`,
  );
  const findings = await checkPorts({ config, running: undefined });
  assert.deepEqual(levels(findings), ['error', 'ok', 'error']);
  assert.match(findings[0]!.what, /another program already uses it/);
  assert.match(findings[2]!.what, /does not have this address/);
  const running = { listening: [{ kind: 'c2s', address: '127.0.0.1', port }] } as unknown as StatusData;
  assert.deepEqual(levels(await checkPorts({ config, running })), ['ok', 'ok', 'error']);
  const withProxy = loadConfig({
    text: `data = "${folder()}"\n[listen]\nc2s = ["127.0.0.1:0"]\n[modules.proxy65]\nlisten = ["127.0.0.1:${port}"]`,
    modules: [proxy65],
  });
  const proxy = await checkPorts({ config: withProxy, running: undefined });
  assert.equal(proxy.at(-1)!.level, 'warning');
  assert.match(proxy.at(-1)!.what, /^modules\.proxy65\.listen .*another program already uses it/);
  const having = { listening: [{ kind: 'files', address: '127.0.0.1', port }] } as unknown as StatusData;
  assert.equal((await checkPorts({ config: withProxy, running: having })).at(-1)!.level, 'ok');
  await new Promise((resolve) => taken.close(resolve));
  const nowhere = configOf('[listen]\nc2s = []\nc2s_tls = []\nhttps = []\nhttp = []');
  assert.deepEqual(levels(await checkPorts({ config: nowhere, running: undefined })), ['warning']);
});

describe('storage', () => {
  const look = (data: string, text = '', running?: StatusData) =>
    checkStorage({ config: configOf(text, data), running, full: false });

  test('a new one has no findings', async () => {
    const findings = await look(folder());
    assert.ok(
      findings.every(({ level }) => level === 'ok'),
      JSON.stringify(findings),
    );
  });

  test("one in use is sound; another process's lock is an error", async () => {
    const data = folder();
    mkdirSync(data, { mode: 0o700 });
    const file = join(data, 'waxwing.sqlite');
    const storage = await openSqlite({ file });
    await storage.document('vcards').set('alice@localhost', { name: 'Alice' });
    const beside = await look(data, '', {} as StatusData);
    assert.match(beside.at(-1)!.what, /is valid/);
    await storage.close();
    assert.match((await look(data)).at(-1)!.what, /is valid/);
    chmodSync(file, 0o644);
    assert.deepEqual(levels(await look(data)).slice(-2), ['warning', 'ok']);
  });

  test('not a database, not a folder', async () => {
    const data = folder();
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(join(data, 'waxwing.sqlite'), 'x'.repeat(5000), { mode: 0o600 });
    const found = (await look(data)).at(-1)!;
    assert.equal(found.level, 'error');
    assert.match(found.what, /not a database/);
    const file = folder();
    writeFileSync(file, '');
    assert.deepEqual(levels(await look(file)), ['error']);
  });

  test('the folder of uploaded files', async () => {
    const data = folder();
    mkdirSync(data, { mode: 0o700 });
    const elsewhere = join(folder(), 'files');
    const findings = await look(data, `[storage.files]\nfolder = "${elsewhere}"`);
    assert.equal(findings.filter(({ what }) => / free at /.test(what)).length, 2);
    assert.ok(levels(findings).every((level) => level === 'ok'));
    const file = folder();
    writeFileSync(file, '');
    const wrong = await look(data, `[storage.files]\nfolder = "${join(file, 'files')}"`);
    const found = wrong.find(({ level }) => level === 'error')!;
    assert.match(found.what, /storage\.files\.folder .*cannot create it/);
  });

  test('memory storage, and a folder that others can write to', async () => {
    const data = folder();
    mkdirSync(data);
    chmodSync(data, 0o777);
    const findings = await look(data, '[storage]\ndriver = "memory"');
    assert.deepEqual(
      levels(findings).filter((level) => level !== 'ok'),
      ['warning', 'warning'],
    );
  });
});

test('the clock is not earlier than existing files', async () => {
  const data = folder();
  mkdirSync(data);
  const config = configOf('', data);
  assert.deepEqual(levels(await checkClock({ config })), ['ok']);
  const ahead = new Date(Date.now() + day);
  writeFileSync(join(data, 'waxwing.sqlite'), '');
  utimesSync(join(data, 'waxwing.sqlite'), ahead, ahead);
  assert.deepEqual(levels(await checkClock({ config })), ['error']);
  assert.deepEqual(levels(await checkClock({ config: configOf('') }, 0)), ['error']);
});

test('the limit of open files is compared to the allowed connections', async () => {
  const config = configOf('[limits]\nconnections = 2000');
  const level = async (limit: number | undefined) =>
    levels(await checkLimits({ config, running: undefined }, Promise.resolve(limit)))[0];
  assert.equal(await level(65_536), 'ok');
  assert.equal(await level(Infinity), 'ok');
  assert.equal(await level(1024), 'note');
  assert.equal(await level(256), 'warning');
  assert.equal(await level(undefined), 'note');
});
