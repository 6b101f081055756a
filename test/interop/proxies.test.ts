/** HAProxy and NGINX as reverse proxies: clients keep their own addresses. docs/admin.md has the same settings. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import { type ConnectOptions, connectionOf, type Peer, Stage } from '../compliance/dialogue.js';
import { temporaryFolders } from './nginx.js';
import { freePorts } from './ports.js';
import { patience, within } from './server.js';
import { certificate } from './stage.js';

const client = '127.7.0.1';
const [haproxyAddress, nginxAddress] = ['127.9.0.1', '127.8.0.1'];

const place = (program: string): string | undefined =>
  [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
    .map((folder) => join(folder, program))
    .find((file) => existsSync(file));
const absent = ['haproxy', 'nginx'].filter((program) => place(program) === undefined);

/** Resolves once all ports are listened on. */
async function listening(program: string, child: ChildProcess, ports: readonly number[]): Promise<void> {
  let sent = '';
  child.stderr!.on('data', (chunk) => {
    sent = `${sent}${chunk}`.slice(-2000);
  });
  const accepts = (port: number) =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      }).once('error', () => resolve(false));
    });
  await within(patience, `the start of ${program}`, async () => {
    for (const port of ports)
      while (!(await accepts(port))) {
        assert.equal(child.exitCode, null, `${program} did not start: ${sent}`);
        await pause(20);
      }
  });
}

describe('reverse proxies', { skip: absent.length > 0 && `${absent.join(' and ')} is not installed` }, () => {
  let stage: Stage;
  let folder: string;
  const ports = { starttls: 0, direct: 0, ended: 0, web: 0 };
  const children: ChildProcess[] = [];

  const comes = async (options: ConnectOptions): Promise<Peer> => {
    const peer = await stage.actor('romeo@localhost/orchard', { address: client, ...options });
    assert.equal(connectionOf(stage, peer).remoteAddress, client);
    return peer;
  };

  before(async () => {
    stage = await Stage.open({
      config: { listen: { proxy_protocol: [haproxyAddress] }, http: { forwarded_from: [nginxAddress] } },
    });
    folder = await mkdtemp(join(tmpdir(), 'waxwing-proxies-'));
    [ports.starttls = 0, ports.direct = 0, ports.ended = 0, ports.web = 0] = await freePorts(4);
    const both = join(folder, 'both.pem');
    await writeFile(both, [await readFile(certificate), await readFile(certificate.replace(/crt$/, 'key'))].join(''));
    const way = (name: string, bind: string, to: number, how: string) =>
      `listen ${name}\n  bind 127.0.0.1:${bind}\n  server waxwing 127.0.0.1:${to} source ${haproxyAddress} ${how}\n`;
    await writeFile(
      join(folder, 'haproxy.cfg'),
      `global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
${way('starttls', `${ports.starttls}`, stage.port('c2s'), 'send-proxy-v2')}
${way('direct', `${ports.direct}`, stage.port('c2s_tls'), 'send-proxy')}
${way('ended', `${ports.ended} ssl crt ${both}`, stage.port('c2s'), 'send-proxy-v2-ssl')}`,
    );
    await writeFile(
      join(folder, 'nginx.conf'),
      `daemon off;
error_log stderr;
pid ${folder}/nginx.pid;
events {}
http {
  access_log off;
${temporaryFolders(folder)}
  server {
    listen 127.0.0.1:${ports.web} ssl;
    ssl_certificate ${both};
    ssl_certificate_key ${both};
    location /xmpp-websocket {
      proxy_pass http://127.0.0.1:${stage.port('http')};
      proxy_bind ${nginxAddress};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 1h;
    }
  }
}
`,
    );
    const start = (program: string, ...args: string[]) => {
      const child = spawn(place(program)!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      children.push(child);
      return child;
    };
    const haproxy = start('haproxy', '-db', '-f', join(folder, 'haproxy.cfg'));
    const nginx = start('nginx', '-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf'));
    await listening('haproxy', haproxy, [ports.starttls, ports.direct, ports.ended]);
    await listening('nginx', nginx, [ports.web]);
  });

  after(async () => {
    await stage?.close();
    for (const child of children) {
      if (child.exitCode !== null) continue;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    }
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  test('HAProxy, version 2, STARTTLS', async () => {
    const peer = await comes({ transport: 'starttls', port: ports.starttls });
    assert.equal(connectionOf(stage, peer).kind, 'tls');
  });

  test('HAProxy, version 1, direct TLS', async () => {
    const peer = await comes({ transport: 'tls', port: ports.direct });
    assert.ok(connectionOf(stage, peer).secure);
  });

  test('HAProxy terminates TLS', async () => {
    const peer = await stage.connect({ transport: 'tls', port: ports.ended, address: client });
    await peer.opens();
    const features = await peer.receivesFeatures();
    assert.equal(features.getChild('starttls', NS.tls), undefined);
    assert.ok(features.getChild('mechanisms', NS.sasl));
    peer.cut();
    assert.ok(connectionOf(stage, await comes({ transport: 'tls', port: ports.ended })).secure);
  });

  test('NGINX, WebSocket', async () => {
    const peer = await comes({ transport: 'wss', port: ports.web });
    assert.ok(connectionOf(stage, peer).secure);
  });
});
