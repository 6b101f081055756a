/** What hostile HTTP clients cannot do (sections of RFC 9112, RFC 9113 and XEP-0205). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { defineModule, http } from '../../src/server/module/index.js';
import { takeClocks } from '../unit/clocks.js';
import { hits, type Scene, scenario } from './dialogue.js';
import { begin } from './http-client.js';

let called = 0;
const modules = [
  defineModule({
    name: 'bounds',
    summary: 'Answers requests, some of them never.',
    implements: {},
    start: () => [
      http('POST', '/', ({ body, headers }) => ({ body: `${headers['transfer-encoding'] ?? ''}${body}` })),
      http('POST', '/short', ({ body }) => ({ body }), { body: 100 }),
      http('GET', '/', () => ({ body: 'root' })),
      http('GET', '/secret', () => ({ body: 'secret' })),
      http('GET', '/large', () => ({ body: Buffer.alloc(30_000_000) })),
      http('GET', '/never', () => {
        called++;
        return new Promise(() => {});
      }),
      http(
        'PUT',
        '/stream',
        async ({ stream }) => {
          for await (const _chunk of stream);
          return {};
        },
        { body: 'stream' },
      ),
    ],
  }),
];
/** The web client would answer at `/`. */
const whole = { modules, config: { modules: { web_client: { enabled: false } } } };

function open({ stage }: Scene, text = ''): Socket {
  const socket = connect({ port: stage.port('http'), host: '127.0.0.1' });
  socket.on('error', () => {});
  socket.write(text, 'latin1');
  return socket;
}

async function asks(scene: Scene, text: string): Promise<string> {
  const socket = open(scene, text);
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  await once(socket, 'close');
  return answer;
}

/** Statuses of all answers on the connection. */
const statuses = async (scene: Scene, text: string) =>
  [...(await asks(scene, text)).matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));

const next = 'GET /secret HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';
const post = (headers: string, body = '') => `POST / HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n${body}`;

scenario('RFC 9112 §11.2: no request is hidden in another', whole, async (scene) => {
  for (const [request, expected] of [
    // the plain cases
    [post('Content-Length: 4\r\n', 'four') + next, [200, 200]],
    [post('Transfer-Encoding: chunked\r\n', '4\r\nfour\r\n0\r\n\r\n') + next, [200, 200]],
    // §6.3: two lengths, or a length beside chunks
    [post(`Content-Length: 0\r\nContent-Length: ${next.length}\r\n`, next), 'refused'],
    [post(`Content-Length: 0, ${next.length}\r\n`, next), 'refused'],
    [post(`Content-Length: ${next.length}\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${next}`), 'refused'],
    [post(`Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`, `0\r\n\r\n${next}`), 'refused'],
    // lengths that parsers read differently
    ...['+4', '0x4', '4 4', '-1', '4,', '', '4\x0b', '99999999999999999999', '4.0', '\xb2'].map(
      (length) => [post(`Content-Length: ${length}\r\n`, `four${next}`), 'refused'] as const,
    ),
    // §6.1: codings other than chunked, in whatever spelling
    [post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', `0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: identity\r\n', next), 'refused'],
    [post('Transfer-Encoding: gzip, chunked\r\n', `0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: chunked, chunked\r\n', `0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding:\x0bchunked\r\n', `0\r\n\r\n${next}`), 'refused'],
    [post('X: y\n Transfer-Encoding: chunked\r\n', `0\r\n\r\n${next}`), 'refused'],
    [`POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${next}`, 'refused'],
    // §7.1: chunks
    [post('Transfer-Encoding: chunked\r\n', `-4\r\nfour\r\n0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: chunked\r\n', `0x4\r\nfour\r\n0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: chunked\r\n', `4\r\nfourfive\r\n0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: chunked\r\n', `fffffffffffffffff\r\nfour\r\n0\r\n\r\n${next}`), 'refused'],
    [post('Transfer-Encoding: chunked\r\n', `4\nfour\n0\n\n${next}`), 'refused'],
    // §5.2, §2.2: folded lines, bare line ends, NUL
    [post('X: a\r\n b\r\n') + next, 'refused'],
    ['GET / HTTP/1.1\nHost: localhost\n\n', 'refused'],
    [post('X: a\0b\r\n'), 'refused'],
    // §3.2: hosts
    ['GET / HTTP/1.1\r\n\r\n', 'refused'],
    ['GET / HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example\r\n\r\n', 'refused'],
    ['GET / HTTP/1.1\r\nHost: local host\r\n\r\n', 'refused'],
    ['GET / HTTP/1.1\r\nHost: localhost/secret\r\n\r\n', 'refused'],
    ['GET / HTTP/1.1\r\nHost: a@localhost\r\n\r\n', 'refused'],
    // §3: the request line
    ['GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n', 'refused'],
    ['GET / HTTP/9.9\r\nHost: localhost\r\n\r\n', 'refused'],
    ['GET\0 / HTTP/1.1\r\nHost: localhost\r\n\r\n', 'refused'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'refused'],
  ] as const) {
    const found = await statuses(scene, request);
    // An error within a body ends the connection.
    const isRefused = found.length === 0 || (found.length === 1 && [400, 501].includes(found[0]!));
    assert.deepEqual(isRefused ? 'refused' : found, expected, JSON.stringify(request));
  }
});

scenario('RFC 9110 §15.5.14: after a body that is too large', whole, async (scene) => {
  const large = (headers: string, body: string) => `POST /short HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n${body}`;
  // What is left of it is read if it is not much; otherwise the connection ends.
  assert.deepEqual(await statuses(scene, large('Content-Length: 5000\r\n', 'x'.repeat(5000)) + next), [413, 200]);
  const chunk = `1388\r\n${'x'.repeat(5000)}\r\n`;
  for (const text of [
    large('Transfer-Encoding: chunked\r\n', `${chunk}0\r\n\r\n`),
    large('Content-Length: 100000\r\n', 'x'.repeat(5000)),
    large('Content-Length: 5000\r\nExpect: 100-continue\r\n', ''),
  ])
    assert.deepEqual(await statuses(scene, text + next), [413], text.slice(0, 80));
});

scenario('§3.2, §9.1: paths and methods', whole, async (scene) => {
  const get = (path: string, method = 'GET') =>
    statuses(scene, `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  for (const path of [
    '/secret/..;/',
    '/./secret',
    '/x/../secret',
    '/%2e%2e/secret',
    '/secret%00',
    '/secret%2f',
    '//secret',
    '/\\secret',
    'http:///secret/x',
    '/secret;a=b',
    '/%73ecret',
  ])
    assert.deepEqual(await get(path), [404], path);
  assert.deepEqual(await get('/secret?../../etc/passwd'), [200]);
  assert.deepEqual(await get('/secret#x'), [200]);
  for (const method of ['PUT', 'TRACE', 'PROPFIND', 'OPTIONS', 'M-SEARCH'])
    assert.deepEqual(await get('/secret', method), [405], method);
  for (const method of ['get', 'BREW', '__proto__']) assert.deepEqual(await get('/secret', method), [400], method);
  assert.deepEqual(await get('localhost:443', 'CONNECT'), []);
});

scenario('XEP-0205: headers are bounded', whole, async (scene) => {
  const field = `X: ${'y'.repeat(1000)}\r\n`;
  assert.deepEqual(await statuses(scene, `GET / HTTP/1.1\r\nHost: localhost\r\n${field.repeat(17)}\r\n`), [431]);
  assert.deepEqual(await statuses(scene, `GET /${'x'.repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`), [431]);
  assert.deepEqual(await statuses(scene, `GET / HTTP/1.1\r\nHost: localhost\r\n${'a:b\r\n'.repeat(100)}\r\n`), [431]);
  assert.ok((await hits(scene, 'http_headers')) >= 2);
  const few = 'a:b\r\n'.repeat(90);
  assert.deepEqual(
    await statuses(scene, `GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${few}\r\n`),
    [200],
  );
});

scenario('XEP-0205: requests before the first answer are bounded', { ...whole, alone: true }, async (scene) => {
  called = 0;
  const socket = open(scene, 'GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(500));
  await once(socket, 'close');
  assert.equal(called, 100);
  assert.ok((await hits(scene, 'http_requests')) > 0);
});

const quickly = { ...whole, alone: true, config: { ...whole.config, limits: { http_bytes_per_second: 1000 } } };
scenario('XEP-0205: slow bodies and slow readers', quickly, async (scene) => {
  const clocks = takeClocks();
  try {
    for (const way of ['http', 'h2'] as const) {
      for (const path of ['/', '/stream']) {
        const headers = { 'content-length': 60_000 };
        const method = path === '/' ? 'POST' : 'PUT';
        const slow = begin(scene, way, path, { method, headers, isUnfinished: true });
        slow.write('x'.repeat(1000));
        while (scene.server.inspect().connections === 0) await setImmediate();
        let answered: number | undefined;
        const answer = slow.answer.then(({ status }) => (answered = status));
        for (let seconds = 0; answered === undefined && seconds < 100; seconds++) {
          clocks.pass(1000);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        assert.equal(await answer, 408, `${way} ${path}`);
        slow.cut();
      }
      const reader = begin(scene, way, '/large');
      if (way === 'http') reader.end();
      const { body } = await reader.answer;
      body.on('error', () => {}).pause();
      for (const before = await hits(scene, 'http_bytes_per_second'); ; ) {
        if ((await hits(scene, 'http_bytes_per_second')) > before) break;
        clocks.pass(60_000_000);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      reader.cut();
    }
    assert.equal(await hits(scene, 'http_bytes_per_second'), 6);
  } finally {
    clocks.restore();
  }
});

// --- HTTP/2 ---------------------------------------------------------------------------------------------------------

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const settings = frame(4, 0, 0);
/** GET /never of localhost, in the static table and literals (RFC 7541 §6). */
const get = Buffer.concat([
  Buffer.from([0x82, 0x87, 0x04, 6]),
  Buffer.from('/never'),
  Buffer.from([0x01, 9]),
  Buffer.from('localhost'),
]);
const streamOf = (n: number) => 2 * n + 1;
const number = (value: number, bytes = 4) => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
};

/**
 * Sends frames in pieces until the server closes the connection or `most` are sent; reads nothing if asked. Then lets
 * time pass until the connection is closed.
 */
async function floods(scene: Scene, made: (n: number) => Buffer, most: number, reads = true): Promise<void> {
  const socket = connectTls({
    port: scene.stage.port('https'),
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
  });
  let isOver = false;
  socket.on('error', () => {}).once('close', () => (isOver = true));
  await once(socket, 'secureConnect');
  if (reads) socket.resume();
  socket.write(Buffer.concat([preface, settings]));
  for (let n = 0; n < most && !isOver; ) {
    const frames: Buffer[] = [];
    for (const end = Math.min(most, n + 200); n < end; n++) frames.push(made(n));
    socket.write(Buffer.concat(frames));
    await setImmediate();
  }
  const clocks = takeClocks();
  try {
    while (scene.server.inspect().connections > 0) {
      clocks.pass(3000);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    clocks.restore();
    socket.destroy();
  }
}

scenario('RFC 9113 §10.5: floods end the connection', { ...whole, alone: true }, async (scene) => {
  const tooLong = Buffer.concat([get, Buffer.from([0x40, 1, 97, 0x7f, 0x81, 0x7c]), Buffer.alloc(16_000, 'x')]);
  const resets = (n: number) => Buffer.concat([frame(1, 5, streamOf(n), get), frame(3, 0, streamOf(n), number(8))]);
  called = 0;
  await floods(scene, resets, 5000);
  assert.ok(called < 2000, `${called} requests were handled`);
  for (const [made, most, reads] of [
    [(n) => (n === 0 ? frame(1, 0, 1, get) : frame(9, 0, 1, Buffer.from([0x40, 1, 97, 1, 98]))), 20_000],
    [(n) => (n === 0 ? frame(1, 0, 1, get) : frame(9, 0, 1)), 20_000],
    [(n) => frame(1, 5, streamOf(n), tooLong), 500],
    [() => frame(0, 0, 1, Buffer.alloc(17_000)), 1],
    [() => frame(8, 0, 0, number(0x7fffffff)), 2],
    [() => frame(8, 0, 99, number(1)), 1000],
    [() => frame(1, 5, 2, get), 1],
    [() => settings, 50_000, false],
    [() => frame(6, 0, 0, Buffer.alloc(8)), 50_000, false],
  ] as readonly (readonly [(n: number) => Buffer, number, boolean?])[])
    await floods(scene, made, most, reads);
  // others notice nothing
  const client = connectHttp2(`https://127.0.0.1:${scene.stage.port('https')}`, { rejectUnauthorized: false });
  const stream = client.request({ ':path': '/secret', ':authority': 'localhost' });
  assert.equal(`${Buffer.concat(await stream.toArray())}`, 'secret');
  client.destroy();
});

scenario('RFC 9113 §5.1.2: open streams are bounded', { ...whole, alone: true }, async (scene) => {
  called = 0;
  await floods(scene, (n) => frame(1, 5, streamOf(n), get), 1000);
  assert.equal(called, 100);
});

scenario('RFC 7301: HTTP/1.1 stays available over TLS', whole, async (scene) => {
  for (const [offered, chosen] of [
    [['h2', 'http/1.1'], 'h2'],
    [['http/1.1'], 'http/1.1'],
    [undefined, false],
  ] as const) {
    const socket = connectTls({
      port: scene.stage.port('https'),
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...(offered === undefined ? {} : { ALPNProtocols: [...offered] }),
    });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    assert.equal(socket.alpnProtocol, chosen);
    if (chosen !== 'h2') {
      socket.write(next);
      assert.match(`${Buffer.concat(await socket.toArray())}`, /^HTTP\/1\.1 200 [\s\S]*secret$/);
    } else {
      socket.end(Buffer.concat([preface, settings]));
      await once(socket.resume(), 'close');
    }
    socket.destroy();
  }
});
