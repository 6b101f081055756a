/** What modules answer over HTTP (RFC 9110). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { defineModule, type HttpRequest, http, service } from '../../src/server/module/index.js';
import { hits, type Scene, scenario } from './dialogue.js';

async function asks({ stage }: Scene, request: string): Promise<string> {
  const socket = connect({ port: stage.port('http'), host: '127.0.0.1' });
  let answer = '';
  socket.on('data', (chunk) => {
    answer += chunk;
  });
  socket.on('error', () => {});
  socket.write(request);
  await once(socket, 'close');
  return answer;
}

const get = (scene: Scene, path: string, headers = 'Host: localhost\r\n', method = 'GET') =>
  asks(scene, `${method} ${path} HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`);
const post = (scene: Scene, path: string, body: string) => {
  const headers = `Host: localhost\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n`;
  return asks(scene, `POST ${path} HTTP/1.1\r\n${headers}\r\n${body}`);
};

const echo = defineModule({
  name: 'echo',
  summary: 'Says what it was asked.',
  implements: {},
  start: ({ host }) => {
    const say = ({ method, path, rest, query, body, address, secure }: HttpRequest) => ({
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        host: host.domain,
        method,
        path,
        rest,
        query: [...query],
        body: `${body}`,
        address,
        secure,
      }),
    });
    return [
      service({ subdomain: 'echo' }),
      http('GET', '/echo', say),
      http('POST', '/echo', async (request) => say(request), { body: 10 }),
      http('GET', '/files', say, { below: true }),
      http('PUT', '/files/private', () => ({})),
      http('GET', '/files/private/mine', () => ({ status: 403, body: Buffer.from('no') })),
      http('GET', '/bug', async () => {
        throw new Error('a bug');
      }),
      http('GET', '/split', ({ query }) => ({ headers: { 'x-said': query.get('said') ?? '' }, body: '' })),
    ];
  },
});
const modules = [echo];

const dataOf = (answer: string) => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as Record<string, unknown>;

scenario('a hook answers its path', { modules }, async (scene) => {
  const answer = await get(scene, '/echo?a=1&b=%20');
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(answer, /content-type: application\/json\r\n/);
  assert.match(answer, /content-length: \d+\r\n/);
  assert.deepEqual(dataOf(answer), {
    host: 'localhost',
    method: 'GET',
    path: '/echo',
    rest: '',
    query: [
      ['a', '1'],
      ['b', ' '],
    ],
    body: '',
    address: '127.0.0.1',
    secure: false,
  });
  assert.equal(dataOf(await get(scene, 'http://localhost/echo')).path, '/echo');
});

scenario('§9.3.2: HEAD is answered like GET, without the content', { modules }, async (scene) => {
  const answer = await get(scene, '/echo', 'Host: localhost\r\n', 'HEAD');
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[\s\S]*content-length: \d+\r\n[\s\S]*\r\n\r\n$/);
});

scenario('§15.5: missing paths and disallowed methods', { modules }, async (scene) => {
  for (const path of ['/ech', '/echo/', '/echo/below', '/ECHO', '//echo', '/%65cho', '/constructor', '/../echo'])
    assert.match(
      await get(scene, path),
      /^HTTP\/1\.1 404 Not Found\r\n[\s\S]*\r\n\r\n\{"title":"Not Found","status":404\}$/,
      path,
    );
  assert.match(
    await get(scene, '/echo', 'Host: localhost\r\n', 'DELETE'),
    /^HTTP\/1\.1 405 [\s\S]*allow: GET, HEAD, POST\r\n/,
  );
  assert.match(await get(scene, '*', 'Host: localhost\r\n', 'OPTIONS'), /^HTTP\/1\.1 404 /);
  assert.match(await get(scene, '/metrics'), /^HTTP\/1\.1 200 OK\r\n[\s\S]*waxwing_/);
  assert.match(await get(scene, '/files/private/mine'), /^HTTP\/1\.1 403 [\s\S]*text\/plain[\s\S]*\r\n\r\nno$/);
});

scenario('the nearest hook above answers for all paths below it', { modules }, async (scene) => {
  for (const [path, rest] of [
    ['/files', ''],
    ['/files/', '/'],
    ['/files/a/b', '/a/b'],
    ['/files/..%2f/a', '/..%2f/a'],
    ['/files//', '//'],
    [`/files${'/a'.repeat(3000)}`, '/a'.repeat(3000)],
  ] as const)
    assert.equal(dataOf(await get(scene, path)).rest, rest);
  // a service with its own hooks has only these
  assert.match(await get(scene, '/files/private'), /^HTTP\/1\.1 405 [\s\S]*allow: PUT\r\n/);
  assert.match(await get(scene, '/files/private', 'Host: localhost\r\n', 'PUT'), /^HTTP\/1\.1 204 No Content\r\n/);
  assert.equal(dataOf(await get(scene, '/files/private/yours')).rest, '/private/yours');
  assert.match(await get(scene, '/filesystem'), /^HTTP\/1\.1 404 /);
});

scenario('§7.2: the Host header selects the host', { modules }, async (scene) => {
  for (const [name, host] of [
    ['elsewhere.example', 'elsewhere.example'],
    ['Elsewhere.Example.:5280', 'elsewhere.example'],
    ['echo.elsewhere.example', 'elsewhere.example'],
    ['127.0.0.1:5280', 'localhost'],
    ['[::1]:5280', 'localhost'],
    ['nobody.example', 'localhost'],
    ['__proto__', 'localhost'],
  ] as const)
    assert.equal(dataOf(await get(scene, '/echo', `Host: ${name}\r\n`)).host, host, name);
  assert.equal(dataOf(await get(scene, 'http://elsewhere.example/echo')).host, 'elsewhere.example');
});

scenario('a body is read as a whole, and bounded', { modules }, async (scene) => {
  assert.equal(dataOf(await post(scene, '/echo', 'ä😀 12')).body, 'ä😀 12');
  assert.match(await post(scene, '/echo', 'x'.repeat(11)), /^HTTP\/1\.1 413 /);
  const chunked = (text: string) =>
    asks(
      scene,
      `POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${text}`,
    );
  assert.equal(dataOf(await chunked('4\r\nWhat\r\n3\r\n no\r\n0\r\n\r\n')).body, 'What no');
  assert.match(await chunked('9\r\nWhat noww\r\n9\r\nWhat noww\r\n0\r\n\r\n'), /^HTTP\/1\.1 413 /);
  const large = 'x'.repeat(0xffff);
  assert.match(await chunked(`ffff\r\n${large}\r\n`.repeat(20)), /^HTTP\/1\.1 413 /);
  assert.ok((await hits(scene, 'http_body')) >= 3);
  const upgrade = 'Connection: Upgrade\r\nUpgrade: h2c\r\n';
  assert.match(
    await asks(scene, `POST /echo HTTP/1.1\r\nHost: localhost\r\n${upgrade}Content-Length: 1\r\n\r\nx`),
    /^HTTP\/1\.1 400 /,
  );
});

scenario('a client that disconnects during a body affects nobody', { modules, alone: true }, async (scene) => {
  const socket = connect({ port: scene.stage.port('http'), host: '127.0.0.1' });
  socket.write('POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf');
  while (scene.server.inspect().connections === 0) await setImmediate();
  await get(scene, '/echo');
  socket.resetAndDestroy();
  while (scene.server.inspect().connections > 0) await setImmediate();
  assert.match(await get(scene, '/echo'), /^HTTP\/1\.1 200 /);
});

scenario('an exception is answered with 500 and logged', { modules, errors: true, alone: true }, async (scene) => {
  assert.match(
    await get(scene, '/bug'),
    /^HTTP\/1\.1 500 [\s\S]*\r\n\r\n\{"title":"Internal Server Error","status":500\}$/,
  );
  const split = await get(scene, '/split?said=a%0d%0aset-cookie:%20b');
  assert.match(split, /^HTTP\/1\.1 500 /);
  assert.doesNotMatch(split, /set-cookie/);
  assert.match(await get(scene, '/split?said=a'), /x-said: a\r\n/);
});

scenario(
  'a trusted proxy names the client',
  { modules, config: { http: { forwarded_from: ['127.0.0.1'] } } },
  async (scene) => {
    const from = (headers: string) => get(scene, '/echo', `Host: localhost\r\n${headers}`);
    const { address, secure } = dataOf(await from('X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n'));
    assert.deepEqual([address, secure], ['203.0.113.7', true]);
    assert.match(await from('X-Forwarded-For: somebody\r\n'), /^HTTP\/1\.1 400 /);
  },
);
