/**
 * NGINX and HAProxy in front, and requests that two parsers of HTTP may read differently (RFC 9112 §11.2). The proxies mark
 * each request that they send. Whatever a client sends, this server handles marked requests only, each once, and the answers
 * of other clients, which come over the same connections of the proxy, stay their own.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { defineModule, type HttpRequest, http } from '../../src/server/module/index.js';
import { Stage } from '../compliance/dialogue.js';
import { temporaryFolders } from './nginx.js';
import { freePorts } from './ports.js';
import { patience, within } from './server.js';
import { certificate } from './stage.js';

const place = (program: string): string | undefined =>
  [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
    .map((folder) => join(folder, program))
    .find((file) => existsSync(file));
const absent = ['haproxy', 'nginx'].filter((program) => place(program) === undefined);

/** What reached the handlers: the marks of the proxies. */
let marks: (string | undefined)[] = [];
function note({ headers }: HttpRequest): void {
  marks.push(headers['x-proxied']?.toString());
}

const echo = defineModule({
  name: 'echo',
  summary: 'Answers with what it got.',
  implements: {},
  start: () => [
    http('POST', '/', (request) => {
      note(request);
      return { body: `posted ${request.body.length}` };
    }),
    http('GET', '/', (request) => {
      note(request);
      return { body: 'root' };
    }),
    http('GET', '/hidden', (request) => {
      note(request);
      return { body: 'hidden' };
    }),
    http('GET', '/own', (request) => {
      note(request);
      return { body: `own ${request.query.get('n')}` };
    }),
  ],
});

const hidden = 'GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n';
const post = (headers: string, body: string, target = '/', version = '1.1') =>
  `POST ${target} HTTP/${version}\r\nHost: localhost\r\n${headers}\r\n${body}`;
const chunks = `0\r\n\r\n${hidden}`;
const chunked = 'Transfer-Encoding: chunked\r\n';
const long = `Content-Length: ${chunks.length}\r\n`;
const both = (coding: string) => post(`${long}${coding}`, chunks);

/** Over HTTP/1.1, by what they try. */
const attacks: Readonly<Record<string, readonly string[]>> = {
  'CL.TE': [both(chunked), post(`${chunked}${long}`, chunks), post(`${chunked}Content-Length: 4\r\n`, chunks)],
  'TE.CL': [
    post(`Content-Length: 4\r\n${chunked}`, `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`),
    post(
      `Content-Length: 4\r\nTransfer-Encoding: CHUNKED\r\n`,
      `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
    ),
  ],
  'TE.TE': [
    'Transfer-Encoding: xchunked',
    'Transfer-Encoding : chunked',
    'Transfer-Encoding:\tchunked',
    'Transfer-Encoding:\x0bchunked',
    'Transfer-Encoding: chunked, identity',
    'Transfer-Encoding: identity, chunked',
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: x',
    'Transfer-Encoding: x\r\nTransfer-Encoding: chunked',
    'Transfer-Encoding: "chunked"',
    'Transfer-Encoding: chunked;q=1',
    ' Transfer-Encoding: chunked',
    'X: y\nTransfer-Encoding: chunked',
    'X: y\rTransfer-Encoding: chunked',
    'Transfer_Encoding: chunked',
    'Transfer-Encoding\0: chunked',
    'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked',
    'Connection: Content-Length',
  ].map((coding) => both(`${coding}\r\n`)),
  'two lengths': [
    post(`Content-Length: 0\r\n${long}`, chunks),
    post(`${long}Content-Length: 0\r\n`, chunks),
    post(`Content-Length: 0, ${hidden.length}\r\n`, hidden),
    post(`Content-Length: +${hidden.length}\r\n`, hidden),
    post(`Content-Length: 0x${hidden.length.toString(16)}\r\n`, hidden),
    post(`Content-Length: 0\r\nContent-Length\x0b: ${hidden.length}\r\n`, hidden),
    post(`Content-Length : ${hidden.length}\r\n`, hidden),
    post(`Content-Length:\r\n`, hidden),
  ],
  'folded lines and bare line ends': [
    post(`X: y\r\n ${chunked}`, chunks),
    post(`Content-Length:\r\n ${hidden.length}\r\n`, hidden),
    `POST / HTTP/1.1\nHost: localhost\nContent-Length: ${hidden.length}\n\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: localhost\r\nX: y\n\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: localhost\r\nX: y\r\r${hidden}`,
  ],
  chunks: [
    post(chunked, `4;x="\r\n"\r\nfour\r\n${chunks}`),
    post(chunked, `4;${'x'.repeat(20_000)}\r\nfour\r\n${chunks}`),
    post(chunked, `4;x\nfour\r\n${chunks}`),
    post(chunked, `0004\r\nfour\r\n${chunks}`),
    post(chunked, `4 \r\nfour\r\n${chunks}`),
    post(chunked, `+4\r\nfour\r\n${chunks}`),
    post(chunked, `fffffffffffffffd\r\nfour\r\n${chunks}`),
    post(chunked, `4\r\nfourfour\r\n${chunks}`),
    post(chunked, `0\r\nX: y\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}`),
    post(chunked, `0\n\n${hidden}`),
    post(chunked, `0\r\n\r${hidden}`),
  ],
  'targets and hosts': [
    post(long, chunks, 'http://localhost/'),
    post(long, chunks, 'http://elsewhere.example/hidden'),
    `GET http://localhost/ HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n`,
    `GET /?\r\n\r\n${hidden}`,
    `GET / HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example\r\n\r\n`,
    `GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n`,
    `GET /%0d%0a%0d%0aGET%20/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    `GET /\x0bHTTP/1.1\r\nHost: localhost\r\n\r\n`,
  ],
  'old versions, upgrades and expectations': [
    post(`${chunked}`, chunks, '/', '1.0'),
    post(`Connection: keep-alive\r\n${long}${chunked}`, chunks, '/', '1.0'),
    post(`Connection: Upgrade\r\nUpgrade: websocket\r\n${long}`, chunks),
    post(`Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n`, hidden),
    post(`Expect: 100-continue\r\n${long}`, chunks),
    `GET / HTTP/1.1\r\nHost: localhost\r\n${long}\r\n${chunks}`,
    `HEAD / HTTP/1.1\r\nHost: localhost\r\n${long}\r\n${chunks}`,
  ],
  'a request behind a refused one': [
    `BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n${hidden}`,
    post(`Content-Length: 99999999\r\n`, hidden),
    `GET / HTTP/1.1\r\nHost: a@b\r\n\r\n${hidden}`,
  ],
};

function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541 §6.2.2, without Huffman coding. */
function field(name: string, value: string): Buffer {
  const text = (it: string) => Buffer.concat([Buffer.of(it.length), Buffer.from(it, 'latin1')]);
  return Buffer.concat([Buffer.of(0), text(name), text(value)]);
}

/** Over HTTP/2, which the proxies translate: fields beside the usual ones, and the body. */
const downgrades: Readonly<Record<string, readonly [Readonly<Record<string, string>>, string]>> = {
  'a coding': [{ 'transfer-encoding': 'chunked' }, chunks],
  'a short length': [{ 'content-length': '0' }, hidden],
  'a long length': [{ 'content-length': '99' }, 'x'],
  'a line end in a value': [{ x: `y\r\n${chunked.trim()}` }, chunks],
  'a bare line end in a value': [{ x: `y\nContent-Length: 0` }, hidden],
  'a line end in a name': [{ [`x: y\r\n${chunked.trim()}\r\nz`]: 'z' }, chunks],
  'a request in the path': [{ ':path': '/ HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hidden' }, ''],
  'a request in the method': [{ ':method': 'GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\nPOST' }, ''],
  'a request in the host': [{ ':authority': 'localhost\r\n\r\nGET /hidden HTTP/1.1\r\nHost: localhost' }, ''],
  'a host beside the authority': [{ host: 'elsewhere.example' }, ''],
};

function translated(fields: Readonly<Record<string, string>>, body: string): Buffer {
  const all = { ':method': 'POST', ':scheme': 'https', ':path': '/', ':authority': 'localhost', ...fields };
  const block = Buffer.concat(Object.entries(all).map(([name, value]) => field(name, value)));
  return Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'),
    frame(4, 0, 0),
    frame(1, 4, 1, block),
    frame(0, 1, 1, Buffer.from(body)),
  ]);
}

describe('request smuggling', { skip: absent.length > 0 && `${absent.join(' and ')} is not installed` }, () => {
  let stage: Stage;
  let folder: string;
  const children: ChildProcess[] = [];
  const ports = { nginx: 0, nginxTls: 0, haproxy: 0, haproxyTls: 0 };

  before(async () => {
    stage = await Stage.open({ modules: [echo], config: { modules: { web_client: { enabled: false } } } });
    folder = await mkdtemp(join(tmpdir(), 'waxwing-smuggling-'));
    [ports.nginx = 0, ports.nginxTls = 0, ports.haproxy = 0, ports.haproxyTls = 0] = await freePorts(4);
    const both = join(folder, 'both.pem');
    await writeFile(both, [await readFile(certificate), await readFile(certificate.replace(/crt$/, 'key'))].join(''));
    const http = stage.port('http');
    await writeFile(
      join(folder, 'haproxy.cfg'),
      `global
  maxconn 200
defaults
  mode http
  timeout connect 5s
  timeout client 2s
  timeout server 20s
  timeout http-request 2s
frontend in
  bind 127.0.0.1:${ports.haproxy}
  bind 127.0.0.1:${ports.haproxyTls} ssl crt ${both} alpn h2,http/1.1
  http-request set-header X-Proxied %[uuid()]
  default_backend waxwing
backend waxwing
  http-reuse always
  server waxwing 127.0.0.1:${http} maxconn 2
`,
    );
    await writeFile(
      join(folder, 'nginx.conf'),
      `daemon off;
error_log stderr crit;
pid ${folder}/nginx.pid;
events {}
http {
  access_log off;
${temporaryFolders(folder)}
  client_header_timeout 2s;
  client_body_timeout 2s;
  keepalive_timeout 2s;
  upstream waxwing {
    server 127.0.0.1:${http};
    keepalive 1;
  }
  server {
    listen 127.0.0.1:${ports.nginx};
    listen 127.0.0.1:${ports.nginxTls} ssl http2;
    ssl_certificate ${both};
    ssl_certificate_key ${both};
    location / {
      proxy_pass http://waxwing;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection "";
      proxy_set_header X-Proxied $request_id;
      proxy_read_timeout 20s;
    }
  }
}
`,
    );
    for (const [program, ...args] of [
      ['haproxy', '-db', '-f', join(folder, 'haproxy.cfg')],
      ['nginx', '-p', folder, '-e', 'stderr', '-c', join(folder, 'nginx.conf')],
    ] as const)
      children.push(spawn(place(program)!, args, { stdio: 'ignore' }));
    const accepts = (port: number) =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => {
          socket.destroy();
          resolve(true);
        }).once('error', () => resolve(false));
      });
    await within(patience, 'the start of the proxies', async () => {
      for (const port of Object.values(ports)) while (!(await accepts(port))) await pause(20);
    });
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

  /** Another client asks for its own page, over the connections of the proxy that the attacker may have spoiled. */
  async function asksForItsOwn(port: number, times: number): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 2 });
    const one = async (n: number) => {
      const [response] = await once(get({ host: '127.0.0.1', port, path: `/own?n=${n}`, agent }), 'response');
      let body = '';
      for await (const chunk of response) body += chunk;
      assert.deepEqual([response.statusCode, body], [200, `own ${n}`], 'the answer of another request');
    };
    await Promise.all(Array.from({ length: times }, (_, n) => one(n)));
    agent.destroy();
  }

  /** What was handled is what the proxy has sent. */
  async function check(port: number, attack: string): Promise<void> {
    await asksForItsOwn(port, 4);
    assert.ok(marks.length >= 4, 'the proxies mark what they send');
    assert.ok(!marks.includes(undefined), `${JSON.stringify(attack)}: a request that the proxy has not sent`);
    assert.equal(new Set(marks).size, marks.length, `${JSON.stringify(attack)}: a request was handled twice`);
    marks = [];
  }

  for (const proxy of ['nginx', 'haproxy'] as const) {
    for (const [title, texts] of Object.entries(attacks))
      test(`${proxy}, ${title}`, async () => {
        for (const text of texts) {
          const socket = connect(ports[proxy], '127.0.0.1');
          socket.on('error', () => {});
          socket.resume().end(text, 'latin1');
          await Promise.all([once(socket, 'close'), asksForItsOwn(ports[proxy], 4)]);
          await check(ports[proxy], text);
        }
      });

    for (const [title, [fields, body]] of Object.entries(downgrades))
      test(`${proxy}, HTTP/2: ${title}`, async () => {
        const port = ports[`${proxy}Tls`];
        const socket = connectTls({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false });
        socket.on('error', () => {});
        await once(socket, 'secureConnect');
        socket.resume().end(translated(fields, body));
        await Promise.all([once(socket, 'close'), asksForItsOwn(ports[proxy], 4)]);
        await check(ports[proxy], title);
      });
  }
});
