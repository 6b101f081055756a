/** What every HTTP handler may rely on: errors (RFC 9457), security headers, other origins (CORS), bodies as streams. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate } from 'node:timers/promises';
import { defineModule, HttpError, http } from '../../src/server/module/index.js';
import { scenario } from './dialogue.js';
import { type Asked, ask, begin, type Pending, ways } from './http-client.js';

/** What happened to streams, in order. */
const happened: string[] = [];
let isWaiting = () => {};
const waiting = () => new Promise<void>((resolve) => (isWaiting = resolve));

const frozen = Object.freeze({ 'x-said': 'frozen' });
const anyOrigin = { origins: '*', headers: ['Authorization'], exposed: ['X-Said'] } as const;
const someOrigins = { origins: () => ['https://chat.example.org', 'capacitor://localhost'] };
const modules = [
  defineModule({
    name: 'answers',
    summary: 'Answers in every way.',
    implements: {},
    start: () => [
      http('GET', '/refused', () => {
        throw new HttpError(403, 'Not <you> & "others"', { title: 'Closed', headers: { 'x-said': 'no' } });
      }),
      http('GET', '/invalid', () => {
        throw new HttpError(403, undefined, { headers: { 'content-encoding': 'gzip', 'x-said': 'a\r\nb' } });
      }),
      http('GET', '/page', () => ({
        headers: { 'content-type': 'text/html', 'content-security-policy': "default-src 'self'", vary: 'Accept' },
        body: '<p>',
      })),
      http('GET', '/frozen', ({ query }) => (query.has('none') ? { headers: frozen } : { headers: frozen, body: 'x' })),
      http('GET', '/open', () => ({ body: 'open' }), { cors: anyOrigin }),
      http('PUT', '/open', () => ({}), { cors: anyOrigin, body: 3 }),
      http('DELETE', '/open', () => ({})),
      http('GET', '/some', () => ({ headers: { vary: 'Accept' }, body: 'some' }), { cors: someOrigins }),
      http('POST', '/some', () => Promise.reject(new HttpError(409)), { cors: someOrigins }),
      http('GET', '/own', () => ({})),
      http('OPTIONS', '/own', () => ({ body: 'mine' }), { cors: anyOrigin }),
      http(
        'PUT',
        '/count',
        async ({ stream, body, length }) => {
          let bytes = 0;
          for await (const chunk of stream) bytes += (chunk as Buffer).length;
          return { body: JSON.stringify([length ?? 'unknown', bytes, body.length]) };
        },
        { body: 'stream' },
      ),
      http('PUT', '/unwanted', () => ({ status: 507, body: 'full' }), { body: 'stream' }),
      http(
        'PUT',
        '/broken',
        async ({ stream }) => {
          for await (const _chunk of stream) break; // destroys it
          throw new HttpError(507);
        },
        { body: 'stream' },
      ),
      http(
        'PUT',
        '/cut',
        async ({ stream, gone }) => {
          gone.addEventListener('abort', () => happened.push('gone'));
          isWaiting();
          try {
            await pipeline(stream, async (source) => {
              for await (const _chunk of source) happened.push('chunk');
            });
          } catch (error) {
            happened.push((error as Error).name);
            isWaiting();
            throw error;
          }
          return {};
        },
        { body: 'stream' },
      ),
      http('GET', '/pieces', () => ({ body: Readable.from(['one, ', 'two']) })),
      http('GET', '/endless', () => ({
        body: new Readable({
          read() {
            this.push(Buffer.alloc(65_536));
          },
          destroy(error, callback) {
            happened.push('destroyed');
            isWaiting();
            callback(error);
          },
        }),
      })),
      http('GET', '/fails', () => ({
        body: new Readable({
          read() {
            if (!this.push('half')) process.nextTick(() => this.destroy(new Error('the disk is on fire')));
          },
          highWaterMark: 1,
        }),
      })),
      http('GET', '/short', () => ({ headers: { 'content-length': 9 }, body: Readable.from(['four']) })),
      http('GET', '/wait', async ({ gone }) => {
        const aborted = once(gone, 'abort');
        isWaiting();
        await aborted;
        happened.push('gone');
        isWaiting();
        return { body: 'nobody' };
      }),
    ],
  }),
];

for (const way of ways) {
  scenario(
    `${way}: RFC 9457: an error is problem details for programs, and a page for people`,
    { modules },
    async (scene) => {
      for (const accept of [undefined, '*/*', 'application/json', 'text/htmlx', 'application/xhtml+xml, */*;q=0.8']) {
        const { status, headers, text } = await ask(
          scene,
          way,
          '/refused',
          accept === undefined ? {} : { headers: { accept } },
        );
        assert.equal(status, 403);
        assert.equal(headers['content-type'], 'application/problem+json');
        assert.equal(headers['x-said'], 'no');
        assert.deepEqual(JSON.parse(text), { title: 'Closed', status: 403, detail: 'Not <you> & "others"' });
      }
      for (const accept of ['text/html', 'text/html,application/xhtml+xml,*/*;q=0.8', 'image/png , TEXT/HTML;q=0.9']) {
        const { status, headers, text } = await ask(scene, way, '/refused', { headers: { accept } });
        assert.equal(status, 403);
        assert.equal(headers['content-type'], 'text/html; charset=utf-8');
        assert.match(text, /<h1>403 Closed<\/h1>\n<p>Not &lt;you&gt; &amp; &quot;others&quot;<\/p>/);
        assert.doesNotMatch(text, /<you>/);
      }
      const missing = await ask(scene, way, '/nothing', { headers: { accept: 'text/html' } });
      assert.match(missing.text, /<title>404 Not Found<\/title>/);
    },
  );

  scenario(
    `${way}: an error with an invalid header is a bug`,
    { modules, errors: true, alone: true },
    async (scene) => {
      const { status, headers } = await ask(scene, way, '/invalid');
      assert.equal(status, 500);
      assert.equal(headers['content-encoding'], undefined);
      assert.equal(headers['x-frame-options'], 'DENY');
    },
  );

  scenario(`${way}: every answer has the security headers; a handler may replace one`, { modules }, async (scene) => {
    for (const path of ['/open', '/refused', '/nothing', '/metrics', '/page']) {
      const { headers } = await ask(scene, way, path);
      assert.equal(headers['x-content-type-options'], 'nosniff', path);
      assert.equal(headers['x-frame-options'], 'DENY', path);
      assert.equal(headers['referrer-policy'], 'no-referrer', path);
      assert.match(`${headers['permissions-policy']}`, /microphone=\(\)/, path);
      const policy = path === '/page' ? "default-src 'self'" : "default-src 'none'; frame-ancestors 'none'";
      assert.equal(headers['content-security-policy'], policy, path);
      // RFC 6797 §7.2: not without TLS; and localhost has other ports without TLS
      assert.equal(headers['strict-transport-security'], undefined, path);
    }
  });

  scenario(`${way}: RFC 6797: HSTS if TLS ends here, for public names`, { modules }, async (scene) => {
    for (const host of ['example.org', 'example.org:5443', 'localhost', '127.0.0.1', 'chat.local'])
      assert.equal(
        (await ask(scene, way, '/nothing', { host })).headers['strict-transport-security'],
        way !== 'http' && host.startsWith('example.org') ? 'max-age=15552000' : undefined,
        host,
      );
  });

  scenario(`${way}: CORS: pages of every origin`, { modules }, async (scene) => {
    const origin = 'https://anybody.example';
    const preflight = (path: string, method: string) =>
      ask(scene, way, path, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': method } });
    for (const method of ['GET', 'HEAD', 'PUT']) {
      const { status, headers } = await preflight('/open', method);
      assert.equal(status, 204);
      assert.equal(headers['access-control-allow-origin'], '*');
      assert.equal(headers['access-control-allow-methods'], 'GET, PUT');
      assert.equal(headers['access-control-allow-headers'], 'Authorization');
      assert.equal(headers['access-control-max-age'], '7200');
      assert.equal(headers['access-control-allow-credentials'], undefined);
    }
    // this method of the path is not for other origins
    assert.equal((await preflight('/open', 'DELETE')).headers['access-control-allow-origin'], undefined);
    assert.equal((await preflight('/open', 'PATCH')).status, 405);
    assert.equal((await preflight('/page', 'GET')).headers['access-control-allow-origin'], undefined);
    assert.equal((await preflight('/nothing', 'GET')).status, 404);
    assert.equal((await preflight('/own', 'GET')).text, 'mine');
    for (const [method, status, body] of [
      ['GET', 200, undefined],
      ['PUT', 204, 'abc'],
      ['PUT', 413, 'abcd'],
      ['PATCH', 405, undefined],
    ] as const) {
      const answer = await ask(scene, way, '/open', { method, headers: { origin }, body });
      assert.equal(answer.status, status);
      assert.equal(answer.headers['access-control-allow-origin'], '*', `${method} ${status}`);
      assert.equal(answer.headers['access-control-expose-headers'], 'X-Said');
    }
    assert.equal(
      (await ask(scene, way, '/page', { headers: { origin } })).headers['access-control-allow-origin'],
      undefined,
    );
  });

  scenario(`${way}: CORS: pages of listed origins`, { modules }, async (scene) => {
    for (const [origin, allowed] of [
      ['https://chat.example.org', true],
      ['capacitor://localhost', true],
      ['https://chat.example.org.evil.example', false],
      ['http://chat.example.org', false],
      ['null', false],
      ['', false],
      [undefined, false],
    ] as const) {
      const headers = origin === undefined ? {} : { origin };
      const expected = allowed ? origin : undefined;
      const got = await ask(scene, way, '/some', { headers });
      assert.equal(got.headers['access-control-allow-origin'], expected, origin);
      assert.equal(got.headers.vary, 'Origin, Accept');
      const refused = await ask(scene, way, '/some', { method: 'POST', headers });
      assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [409, expected], origin);
      const asked = { ...headers, 'access-control-request-method': 'POST' };
      const preflight = await ask(scene, way, '/some', { method: 'OPTIONS', headers: asked });
      assert.equal(preflight.headers['access-control-allow-origin'], expected, origin);
      assert.equal(preflight.headers['access-control-allow-methods'], allowed ? 'GET, POST' : undefined);
    }
  });

  scenario(`${way}: a body as a stream`, { modules }, async (scene) => {
    const body = randomBytes(3_000_000);
    const put = (path: string, asked: Asked) => ask(scene, way, path, { method: 'PUT', ...asked });
    assert.equal(
      (await put('/count', { headers: { 'content-length': body.length }, body })).text,
      '[3000000,3000000,0]',
    );
    const chunked = way === 'h2' ? {} : { headers: { 'transfer-encoding': 'chunked' } };
    assert.equal((await put('/count', { ...chunked, body })).text, '["unknown",3000000,0]');
    const none = { headers: { 'content-length': 0 }, body: '' };
    assert.equal((await put('/count', none)).text, '[0,0,0]');
    const long = { headers: { 'content-length': 1e9 }, body: 'a', isUnfinished: true };
    const refused = await put('/unwanted', long);
    assert.deepEqual([refused.status, refused.text], [507, 'full']);
    if (way !== 'h2') assert.equal(refused.headers.connection, 'close');
    assert.equal((await put('/broken', long)).status, 507);
  });

  scenario(`${way}: RFC 9110 §10.1.1: 100 (Continue) only if the body is wanted`, { modules }, async (scene) => {
    for (const [path, length, expected] of [
      ['/count', 3, 'continue'],
      ['/unwanted', 3, 507],
      ['/open', 4, 413],
      ['/nothing', 3, 404],
      ['/open', 3, 'continue'],
    ] as const) {
      const headers = { expect: '100-continue', 'content-length': length };
      const pending = begin(scene, way, path, { method: 'PUT', headers, isUnfinished: true });
      const first = await Promise.race([
        pending.continued.then(() => 'continue'),
        pending.answer.then(({ status }) => status),
      ]);
      assert.equal(first, expected, path);
      if (first === 'continue') {
        pending.end('abc');
        assert.ok((await pending.answer).status < 300);
      }
      pending.cut();
    }
  });

  scenario(`${way}: a client that disconnects`, { modules, alone: true }, async (scene) => {
    const after = async (path: string, asked: Asked, begun?: (pending: Pending) => Promise<void>) => {
      happened.length = 0;
      const called = waiting();
      const pending = begin(scene, way, path, asked);
      if (asked.isUnfinished) pending.write('half');
      else pending.end();
      await (begun === undefined ? called : begun(pending));
      const ended = waiting();
      pending.cut();
      await ended;
      // of the body and of the answer
      if (asked.isUnfinished) while (!happened.includes('gone')) await setImmediate();
      return happened.filter((what) => what !== 'chunk').sort();
    };
    const uploading = { method: 'PUT', headers: { 'content-length': 9 }, isUnfinished: true };
    assert.deepEqual(await after('/cut', uploading), ['Disconnected', 'gone']);
    assert.deepEqual(await after('/wait', {}), ['gone']);
    const first = async (pending: Pending) => void (await once((await pending.answer).body, 'data'));
    assert.deepEqual(await after('/endless', {}, first), ['destroyed']);
  });

  scenario(`${way}: headers of one answer do not reach the next`, { modules }, async (scene) => {
    for (const [path, type, length] of [
      ['/frozen', 'text/plain; charset=utf-8', '1'],
      ['/frozen?none', undefined, undefined],
      ['/frozen', 'text/plain; charset=utf-8', '1'],
    ] as const) {
      const { headers } = await ask(scene, way, path);
      assert.deepEqual([headers['content-type'], headers['content-length']], [type, length]);
      assert.equal(headers['x-said'], 'frozen');
    }
  });

  scenario(`${way}: an answer as a stream`, { modules }, async (scene) => {
    const { headers, text } = await ask(scene, way, '/pieces');
    assert.equal(text, 'one, two');
    assert.equal(headers['content-type'], 'application/octet-stream');
    assert.equal((await ask(scene, way, '/pieces', { method: 'HEAD' })).text, '');
    assert.equal((await ask(scene, way, '/endless', { method: 'HEAD' })).status, 200);
  });

  scenario(
    `${way}: an answer that fails halfway is cut, and logged`,
    { modules, errors: true, alone: true },
    async (scene) => {
      await assert.rejects(ask(scene, way, '/fails'));
      await assert.rejects(ask(scene, way, '/short'));
    },
  );
}
