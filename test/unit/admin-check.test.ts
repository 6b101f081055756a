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
import type { StatusData } from '../../src/server/admin/running.js';
import { loadConfig } from '../../src/server/config/load.js';
import { isPrivateName } from '../../src/server/config/public-names.js';
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

describe('DNS', () => {
  const zone = (records: Record<string, readonly string[]>): DnsResolver => ({
    srv: async (name) =>
      (records[`SRV ${name}`] ?? []).map((text) => {
        const [host = '', port] = text.split(':');
        return { name: host, port: Number(port), priority: 0, weight: 0 };
      }),
    addresses: async (name) => records[name] ?? [],
  });
  const look = (resolver: DnsResolver, text = '[hosts."example.org"]') =>
    checkDns({ config: configOf(`${text}\n[listen]\nc2s_tls = ["*:443"]\nhttps = ["*:5443"]`) }, resolver);

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
    assert.deepEqual(levels(await look(zone({ 'example.org': ['2001:db8::1'] }))), ['ok']);
    const lost = await look(zone({}));
    assert.deepEqual(levels(lost), ['error']);
    assert.match(lost[0]!.advice!, /_xmpp-client\._tcp\.example\.org → this machine, port 5222/);
  });

  test('other ports, dead targets and denied services', async () => {
    const findings = await look(
      zone({
        'SRV _xmpp-client._tcp.example.org': ['a.example.org:15222', 'b.example.org:5222'],
        'a.example.org': ['192.0.2.1'],
      }),
    );
    assert.deepEqual(levels(findings), ['warning', 'error']);
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
  test('a self-signed one is ok for a private name, and a warning for others', async () => {
    const data = folder();
    const config = configOf('[hosts.localhost]\n[hosts."example.org"]', data);
    assert.deepEqual(levels(await checkCertificates({ config })), ['ok', 'warning']);
    for (const host of ['localhost', 'example.org']) await ensureSelfSigned(join(data, 'certs'), [host]);
    assert.deepEqual(levels(await checkCertificates({ config })), ['ok', 'warning']);
    assert.deepEqual(levels(await checkCertificates({ config }, Date.now() + 900 * day)), [
      'error',
      'error',
      'warning',
    ]);
  });

  test('an unusable one is an error, a readable key a warning', async () => {
    const data = folder();
    await ensureSelfSigned(join(data, 'certs'), ['localhost']);
    const key = join(data, 'certs/localhost.key');
    chmodSync(key, 0o644);
    const config = configOf('[hosts.localhost]', data);
    assert.deepEqual(levels(await checkCertificates({ config })), ['warning']);
    writeFileSync(key, 'nonsense');
    assert.deepEqual(levels(await checkCertificates({ config })), ['error']);
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
