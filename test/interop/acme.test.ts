/** Certificates by ACME (RFC 8555) from Pebble: all challenges, renewal, refusals. */
import assert from 'node:assert/strict';
import type { X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { Jid } from '../../src/server/address/jid.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { createServer, type Server, type ServerOptions } from '../../src/server/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { hasPebble, Pebble } from './pebble.js';
import { freePorts } from './ports.js';
import { patience, within } from './server.js';

const host = 'montague.lit';

interface Setup {
  readonly challenge: string;
  /** Further lines of tls.acme. */
  readonly more?: string;
  readonly data?: string;
  /** Where the configuration is written. */
  readonly file?: string;
  readonly acme?: string;
  readonly http?: number;
  readonly https?: number;
  /** Default: those of Pebble. */
  readonly directory?: string;
  readonly authority?: string;
  readonly dns?: string;
  /** Of uploaded files. Default: one in the data folder. */
  readonly files?: string;
}

describe('ACME', { skip: !hasPebble && 'Pebble is not installed' }, () => {
  let pebble: Pebble;
  let folder: string;
  /** A program that sets the records of Pebble's DNS server, except those of gateways; and what it did. */
  let hook: string;
  let log: string;
  let ports: { http: number; tls: number };
  const servers = new Set<Server>();

  before(async () => {
    const [http = 0, tls = 0] = await freePorts(2);
    ports = { http, tls };
    pebble = await Pebble.start(ports);
    await pebble.setDomain(host);
    folder = await mkdtemp(join(tmpdir(), 'waxwing-acme-'));
    log = join(folder, 'hook.log');
    hook = join(folder, 'hook.mjs');
    // Its DNS server adds values to a name, and clears them together.
    await writeFile(
      hook,
      `import { appendFileSync } from 'node:fs';
       const [action, name, value] = process.argv.slice(2);
       if (name.includes('gateway')) process.exit();
       appendFileSync(${JSON.stringify(log)}, action + ' ' + name + '\\n');
       const path = action === 'add' ? '/set-txt' : '/clear-txt';
       await fetch(${JSON.stringify(pebble.dnsApi)} + path, { method: 'POST', body: JSON.stringify({ host: name + '.', value }) });`,
    );
  });
  afterEach(async () => {
    for (const server of servers) await stop(server);
  });
  after(async () => {
    await pebble?.stop();
    await rm(folder, { recursive: true });
  });

  /** The server listens where Pebble looks. */
  const text = (setup: Setup) => `
    data = ${JSON.stringify(setup.data)}
    [hosts."${host}"]
    [hosts.localhost]
    [listen]
    c2s = ["127.0.0.1:0"]
    c2s_tls = ["127.0.0.1:0"]
    https = ["127.0.0.1:${setup.https ?? ports.tls}"]
    http = ["127.0.0.1:${setup.http ?? 0}"]
    component = ["127.0.0.1:0"]
    acme = [${setup.acme ?? `"127.0.0.1:${ports.http}"`}]
    [s2s]
    enabled = false
    dns_servers = ["${setup.dns ?? pebble.dns}"]
    [tls.acme]
    agree_terms = true
    directory = "${setup.directory ?? pebble.directory}"
    authorities = [${JSON.stringify(setup.authority ?? pebble.authority)}]
    challenge = "${setup.challenge}"
    contact = ["mailto:admin@montague.lit"]
    dns_wait_seconds = 0
    ${setup.more ?? ''}
    [storage]
    low_space_bytes = 0
    ${setup.files === undefined ? '' : `files.folder = ${JSON.stringify(setup.files)}`}
    [modules.proxy65]
    listen = ["127.0.0.1:0"]
    [log]
    level = "silent"`;

  async function start(setup: Setup, more: ServerOptions = {}): Promise<Server> {
    const written = text({ data: await mkdtemp(join(folder, 'data-')), ...setup });
    const { file } = setup;
    if (file !== undefined) await writeFile(file, written);
    const server = await createServer({ ...more, ...(file === undefined ? { text: written } : { file }) });
    servers.add(server);
    await server.start();
    return server;
  }

  async function stop(server: Server): Promise<void> {
    servers.delete(server);
    await server.stop();
  }

  /** The certificate that a client gets. */
  async function offered(server: Server, kind = 'c2s_tls', servername = host): Promise<X509Certificate> {
    const { port } = server.listening.find((one) => one.kind === kind)!;
    return new Promise((resolve, reject) => {
      const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false }, () => {
        resolve(socket.getPeerX509Certificate()!);
        socket.destroy();
      });
      socket.once('error', reject);
    });
  }

  const isPebbles = (certificate: X509Certificate): boolean => certificate.issuer.includes('Pebble');

  /** The certificate, once the first order is done. */
  async function ordered(server: Server): Promise<X509Certificate> {
    await within(patience, 'the order', async () => {
      for (;;) {
        const [status] = server.acme.status;
        assert.equal(status?.error ?? null, null);
        if (Date.parse(status?.renewAt ?? '') > Date.now()) return;
        await pause(100);
      }
    });
    const certificate = await offered(server);
    assert.equal(isPebbles(certificate), true);
    return certificate;
  }

  async function failed(server: Server): Promise<string> {
    return within(patience, 'the failure', async () => {
      for (;;) {
        const error = server.acme.status[0]?.error;
        if (error != null) return error;
        await pause(100);
      }
    });
  }

  const namesOf = (certificate: X509Certificate): string[] =>
    (certificate.subjectAltName ?? '')
      .split(', ')
      .map((name) => name.replace(/^DNS:/, ''))
      .sort();

  test('http-01: ordered at the start, used at once, renewed by command, kept by a restart', async () => {
    await pebble.setDomain(`conference.${host}`);
    const server = await start({ challenge: 'http-01' });
    const first = await ordered(server);
    assert.deepEqual(namesOf(first), [`conference.${host}`, host].sort());
    assert.equal((await offered(server, 'https')).fingerprint256, first.fingerprint256);
    // The private name keeps its own.
    assert.equal(isPebbles(await offered(server, 'c2s_tls', 'localhost')), false);
    const [status] = server.acme.status;
    assert.equal(server.acme.status.length, 1);
    const life = Date.parse(first.validTo) - Date.parse(first.validFrom);
    const share = (Date.parse(status!.renewAt!) - Date.parse(first.validFrom)) / life;
    assert.ok(share > 0.5 && share < 0.9, `renewed after ${share} of its life`);
    const withoutAddress = status!.leftOut.filter(({ why }) => why === 'has no address in DNS');
    assert.ok(withoutAddress.length > 0, 'services without an address are left out');

    // Both calls get the same order.
    await Promise.all([server.acme.renew(host), server.acme.renew(host)]);
    const second = await offered(server);
    assert.notEqual(second.serialNumber, first.serialNumber);
    assert.equal(second.publicKey.equals(first.publicKey), true);

    // Revoked, and replaced with its key.
    await server.acme.revoke(host, 1);
    assert.equal((await pebble.statusOf(second.serialNumber)).Status, 'Revoked');
    await server.acme.renew(host, { newKey: true });
    const third = await offered(server);
    assert.equal(third.publicKey.equals(second.publicKey), false);

    const { data } = server.config;
    for (const name of [...(await readdir(join(data, 'certs'))).map((one) => `certs/${one}`), 'acme'])
      assert.equal((await stat(join(data, name))).mode & 0o077, 0, name);
    for (const name of await readdir(join(data, 'acme')))
      assert.equal((await stat(join(data, 'acme', name))).mode & 0o077, 0, name);
    await stop(server);

    const again = await start({ challenge: 'http-01', data });
    assert.equal((await offered(again)).fingerprint256, third.fingerprint256);
    // Nothing else is served on this port, and nothing without an order.
    const get = (path: string) => fetch(`http://127.0.0.1:${ports.http}${path}`).then(({ status: code }) => code);
    assert.deepEqual(
      await Promise.all(['/', '/metrics', '/xmpp-websocket', '/.well-known/acme-challenge/x'].map(get)),
      [404, 404, 404, 404],
    );
    await again.acme.renew(host);
    assert.notEqual((await offered(again)).serialNumber, third.serialNumber);
  });

  test('http-01 through a proxy: proofs are also on listen.http', async () => {
    const server = await start({ challenge: 'http-01', acme: '', http: ports.http });
    await ordered(server);
    assert.equal(
      server.listening.some(({ kind }) => kind === 'acme'),
      false,
    );
  });

  test('a corrected configuration is tried at once, and another authority has another account', async () => {
    const file = join(folder, 'waxwing.toml');
    const data = await mkdtemp(join(folder, 'data-'));
    const [nobody = 0] = await freePorts(1);
    const directory = `https://localhost:${nobody}/dir`;
    const server = await start({ challenge: 'http-01', directory, data, file });
    await failed(server);
    await writeFile(file, text({ challenge: 'http-01', data }));
    await server.reload();
    await within(patience, 'the order', async () => {
      while (server.acme.status[0]?.error !== null) await pause(50);
    });
    await ordered(server);
    const names = await readdir(join(data, 'acme'));
    assert.equal(names.filter((name) => name.startsWith('account-')).length, 2);
  });

  test('external account binding (§7.3.4): the right key, and a wrong one', async () => {
    const key = Buffer.alloc(32, 7).toString('base64url');
    const binding = { externalAccountBindingRequired: true, externalAccountMACKeys: { romeo: key } };
    const strict = await Pebble.start(ports, binding);
    try {
      await strict.setDomain(host);
      const at = { directory: strict.directory, dns: strict.dns, authority: strict.authority, challenge: 'http-01' };
      const server = await start({ ...at, more: `eab_key_id = "romeo"\neab_key = "${key}"` });
      await ordered(server);
      await stop(server);
      const wrong = await start({ ...at, more: `eab_key_id = "romeo"\neab_key = "${key.replace('B', 'C')}"` });
      assert.match(await failed(wrong), /external account|unauthorized|malformed/i);
      await stop(wrong);
      assert.match(await failed(await start(at)), /set tls\.acme\.eab_key_id/);
    } finally {
      for (const server of servers) await stop(server);
      await strict.stop();
    }
  });

  for (const challenge of ['http-01', 'tls-alpn-01'])
    test(`${challenge} in a cluster: the authority reaches only one node, and either orders`, async () => {
      const storage = new MemoryStorage();
      const network = new LocalNetwork();
      const node = (name: string) => ({ node: name, address: name, network });
      const files = await mkdtemp(join(folder, 'files-'));
      const reached = await start({ challenge, files }, { storage: storage.handle(), cluster: node('node1') });
      const hidden = await start(
        { challenge, files, acme: '"127.0.0.1:0"', https: 0 },
        { storage: storage.handle(), cluster: node('node2') },
      );
      const both = [reached, hidden];
      await within(patience, 'the first certificate', async () => {
        while (!isPebbles(await offered(hidden))) await pause(50);
      });
      for (const [home, other] of [both, both.toReversed()]) {
        const { node: here } = both.find((one) => one.node!.of(Jid.parse(host)) === undefined)!;
        if (here !== home!.node) await here!.give([here!.slotOf(Jid.parse(host))], home!.node!.name.id);
        await within(patience, 'rest', async () => {
          while (!both.every((one) => one.node!.isAtRest)) await pause(10);
        });
        const before = await offered(home!);
        await other!.acme.renew(host);
        const certificate = await offered(home!);
        assert.notEqual(certificate.serialNumber, before.serialNumber);
        assert.equal((await offered(other!)).fingerprint256, certificate.fingerprint256);
        assert.equal((await pebble.statusOf(certificate.serialNumber)).Status, 'Valid');
      }
    });

  test('tls-alpn-01, without a port for HTTP', async () => {
    const server = await start({ challenge: 'tls-alpn-01' });
    assert.equal(
      server.listening.some(({ kind }) => kind === 'acme'),
      false,
    );
    await ordered(server);
  });

  test('dns-01: a hook sets the records, and the certificate has a wildcard', async () => {
    const more = `dns_hook = [${JSON.stringify(process.execPath)}, ${JSON.stringify(hook)}]`;
    const server = await start({ challenge: 'dns-01', more });
    assert.deepEqual(namesOf(await ordered(server)), [`*.${host}`, host]);
    const name = `_acme-challenge.${host}`;
    const lines = (await readFile(log, 'utf8')).trim().split('\n');
    assert.deepEqual(lines, [`add ${name}`, `add ${name}`, `remove ${name}`, `remove ${name}`]);
  });

  test('dns-01: a deeper domain that cannot be verified is left out once, not asked for without end', async () => {
    const deep = `irc.gateway.${host}`;
    const component = `[components."${deep}"]\nsecret = "a pound of apothecary"`;
    const more = `dns_hook = [${JSON.stringify(process.execPath)}, ${JSON.stringify(hook)}]\n${component}`;
    const server = await start({ challenge: 'dns-01', more });
    assert.deepEqual(namesOf(await ordered(server)), [`*.${host}`, host]);
    const [left, ...others] = server.acme.status[0]!.leftOut;
    assert.deepEqual([left?.domain, others], [deep, []]);
    assert.match(left!.why, /could not verify irc\.gateway\.montague\.lit/);
  });

  test('a hook that fails is the reason; the self-signed certificate stays', async () => {
    const more = `dns_hook = ["/bin/sh", "-c", "echo no such zone >&2; exit 3"]`;
    const server = await start({ challenge: 'dns-01', more });
    assert.match(await failed(server), /failed with status 3: no such zone/);
    assert.equal(isPebbles(await offered(server)), false);
    const [status] = server.acme.status;
    assert.ok(Date.parse(status!.nextAttempt!) > Date.now() + 10 * 60_000);
  });

  test('a refused challenge: of a service it is left out, of the host the order fails', async () => {
    await pebble.setDomain(`conference.${host}`, '127.0.0.77');
    const server = await start({ challenge: 'http-01' });
    const certificate = await ordered(server);
    assert.deepEqual(namesOf(certificate), [host]);
    const left = () => server.acme.status[0]!.leftOut.find(({ domain }) => domain === `conference.${host}`)!.why;
    assert.match(left(), /could not verify conference\.montague\.lit/);

    await pebble.setDomain(host, '127.0.0.77');
    await assert.rejects(server.acme.renew(host), /could not verify montague\.lit/);
    assert.equal((await offered(server)).serialNumber, certificate.serialNumber);
    assert.equal(server.acme.status[0]!.failures, 1);
    // The failure survives a restart, and does not lead to an order at each start.
    const { data } = server.config;
    await stop(server);
    const again = await start({ challenge: 'http-01', data });
    await within(patience, 'the status', async () => {
      while (again.acme.status[0]?.error == null) await pause(50);
    });
    assert.equal(again.acme.status[0]!.failures, 1);
    await pebble.setDomain(host);
    await again.acme.renew(host);
    assert.equal(again.acme.status[0]!.error, null);
  });

  test('an authority that is down, and one that is not trusted', async () => {
    const [nobody = 0] = await freePorts(1);
    const down = await start({ challenge: 'http-01', directory: `https://localhost:${nobody}/dir` });
    assert.match(await failed(down), /ECONNREFUSED/);
    assert.equal(isPebbles(await offered(down)), false);
    await stop(down);
    const server = await start({ challenge: 'http-01', directory: pebble.directory.replace('localhost', '127.0.0.1') });
    assert.match(await failed(server), /altnames|IP/i);
  });
});
