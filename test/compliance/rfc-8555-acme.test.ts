/** ACME (RFC 8555) when things go wrong around it; test/interop/acme.test.ts has orders from a real authority. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkPorts } from '../../src/server/admin/check/ports.js';
import { createServer, type Server } from '../../src/server/index.js';

const host = 'montague.lit';

describe('orders of certificates', () => {
  let folder: string;
  /** An authority that accepts connections and says nothing. */
  let silent: TcpServer;
  let port: number;
  /** Sockets of the silent authority. */
  const sockets: { destroy(): unknown }[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'waxwing-acme-'));
    silent = createTcpServer((socket) => void sockets.push(socket.on('error', () => {}))).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    ({ port } = silent.address() as AddressInfo);
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    silent.close();
    await rm(folder, { recursive: true });
  });

  const text = (data: string, acme: string, challenge: string) => `
    data = ${JSON.stringify(data)}
    [hosts."${host}"]
    [listen]
    c2s = ["127.0.0.1:0"]
    c2s_tls = []
    https = []
    http = ["127.0.0.1:0"]
    acme = ["${acme}"]
    [s2s]
    enabled = false
    dns_servers = ["127.0.0.1:${port}"]
    [tls.acme]
    agree_terms = true
    directory = "https://127.0.0.1:${port}/"
    challenge = "${challenge}"
    dns_hook = ["/bin/true"]
    [storage]
    driver = "memory"
    low_space_bytes = 0
    [modules]
    disabled = ["proxy65"]
    [log]
    level = "silent"`;

  async function start(data: string, acme: string, challenge = 'http-01'): Promise<Server> {
    const server = await createServer({ text: text(data, acme, challenge) });
    await server.start();
    return server;
  }

  test('a port for proofs that is taken: the server starts, and check says so', async () => {
    const server = await start(join(folder, 'taken'), `127.0.0.1:${port}`);
    try {
      assert.equal(
        server.listening.some(({ kind }) => kind === 'acme'),
        false,
      );
      const found = await checkPorts({ config: server.config, running: undefined });
      assert.match(found[0]!.what, /look for proofs \(http-01\) at port 80, where this server does not listen/);
      const ours = found.find(({ what }) => what.startsWith('listen.acme'));
      assert.match(`${ours?.what} ${ours?.why}`, /another program already uses it .*cannot order certificates/);
    } finally {
      await server.stop();
    }
  });

  test('the port for proofs serves nothing else, whatever is asked', async () => {
    const server = await start(join(folder, 'port'), '127.0.0.1:0');
    try {
      const { port: proofs } = server.listening.find(({ kind }) => kind === 'acme')!;
      const ask = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${proofs}${path}`, init);
      for (const path of ['/', '/metrics', '/xmpp-websocket', '/.well-known/acme-challenge/', '/%00', '//host/'])
        assert.equal((await ask(path)).status, 404, path);
      assert.equal((await ask('/', { method: 'POST', body: 'x'.repeat(100_000) })).status, 404);
      const upgrade = await ask('/xmpp-websocket', { headers: { 'sec-websocket-version': '13' } });
      assert.equal(upgrade.status, 404);
      assert.equal(upgrade.headers.get('connection'), 'close');
    } finally {
      await server.stop();
    }
  });

  test('a stop does not wait for an authority that says nothing', async () => {
    const connected = once(silent, 'connection');
    const server = await start(join(folder, 'silent'), '127.0.0.1:0', 'dns-01');
    const renewed = assert.rejects(server.acme.renew(host));
    await connected;
    await server.stop();
    await renewed;
    await assert.rejects(server.acme.renew(host), /does not run/);
    assert.deepEqual(server.acme.status[0]?.failures, 0, 'to be stopped is no failure');
  });

  test('a stop does not wait for DNS', async () => {
    const resolver = createSocket('udp4').bind(port, '127.0.0.1');
    const server = await start(join(folder, 'dns'), '127.0.0.1:0');
    await once(resolver, 'message');
    await server.stop();
    resolver.close();
  });

  test('damaged records of failures are replaced', async () => {
    const data = join(folder, 'damaged');
    await mkdir(join(data, 'acme'), { recursive: true });
    const file = join(data, 'acme/failures.json');
    await writeFile(file, '{"montague.lit":{"failures":-1}}');
    const hangUp = (socket: Socket) => void socket.destroy();
    silent.on('connection', hangUp);
    const server = await start(data, '127.0.0.1:0', 'dns-01');
    try {
      await assert.rejects(server.acme.renew(host));
      const { failures } = server.acme.status[0]!;
      assert.ok(failures > 0);
      assert.equal(JSON.parse(await readFile(file, 'utf8'))[host].failures, failures);
    } finally {
      silent.off('connection', hangUp);
      await server.stop();
    }
  });
});
