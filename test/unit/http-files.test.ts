/** Conditional requests and ranges (sections of RFC 9110), and assets from a folder. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import type { IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { contentType, loadAssets } from '../../src/server/http/assets.js';
import { fileAnswer, sendFile } from '../../src/server/http/files.js';
import { type HttpAnswer, HttpError, type HttpMethod } from '../../src/server/module/http.js';

const modified = new Date('2026-03-01T12:00:00.500Z');
const before = 'Sun, 01 Mar 2026 11:59:59 GMT';
const same = 'Sun, 01 Mar 2026 12:00:00 GMT';
const text = 'what light through yonder window breaks';

function status(headers: IncomingHttpHeaders, method: HttpMethod = 'GET', etag: string | undefined = '"1"'): string {
  const read = (start: number, end: number) => Buffer.from(text.slice(start, end));
  const policy = "default-src 'self'";
  const own = { 'content-type': 'text/plain', 'cache-control': 'no-cache', 'content-security-policy': policy };
  try {
    const file = { size: text.length, etag, modified, headers: own, read };
    const { status: code = 200, headers: sent, body } = fileAnswer({ method, headers }, file);
    assert.equal(sent!.etag, etag);
    assert.equal(sent!['cache-control'], 'no-cache');
    assert.equal(sent!['content-security-policy'], policy);
    assert.equal(sent!['content-type'], code === 304 ? undefined : 'text/plain');
    if (body !== undefined) assert.equal(sent!['content-length'], (body as Buffer).length);
    return code === 206 ? `206 ${sent!['content-range']} ${body}` : `${code}${body === undefined ? '' : ' body'}`;
  } catch (error) {
    assert.ok(error instanceof HttpError);
    return `${error.status} ${error.headers['content-range'] ?? ''}`.trim();
  }
}

test('§13: conditional requests', () => {
  for (const [headers, expected] of [
    [{}, '200 body'],
    [{ 'if-none-match': '"1"' }, '304'],
    [{ 'if-none-match': '"0", W/"1"' }, '304'],
    [{ 'if-none-match': '*' }, '304'],
    [{ 'if-none-match': '"2"' }, '200 body'],
    [{ 'if-none-match': '1' }, '200 body'],
    [{ 'if-none-match': '"2"', 'if-modified-since': same }, '200 body'],
    [{ 'if-modified-since': same }, '304'],
    [{ 'if-modified-since': before }, '200 body'],
    [{ 'if-modified-since': 'yesterday' }, '200 body'],
    [{ 'if-match': '"1"' }, '200 body'],
    [{ 'if-match': 'W/"1"' }, '412'],
    [{ 'if-match': '"2"' }, '412'],
    [{ 'if-match': '*' }, '200 body'],
    [{ 'if-match': '"1"', 'if-unmodified-since': before }, '200 body'],
    [{ 'if-unmodified-since': before }, '412'],
    [{ 'if-unmodified-since': same }, '200 body'],
    [{ 'if-match': '"2"', 'if-none-match': '"1"' }, '412'],
  ] as const)
    assert.equal(status(headers), expected, JSON.stringify(headers));
  assert.equal(status({ 'if-none-match': '"1"' }, 'HEAD'), '304');
  assert.equal(status({}, 'HEAD'), '200');
});

test('§14: ranges', () => {
  const { length } = text;
  for (const [range, expected] of [
    ['bytes=0-3', `206 bytes 0-3/${length} what`],
    ['bytes=5-9', `206 bytes 5-9/${length} light`],
    ['BYTES = 5-9', `206 bytes 5-9/${length} light`],
    ['bytes=33-', `206 bytes 33-${length - 1}/${length} breaks`],
    ['bytes=33-999999999999999999999999', `206 bytes 33-${length - 1}/${length} breaks`],
    ['bytes=-6', `206 bytes 33-${length - 1}/${length} breaks`],
    ['bytes=-9999', `206 bytes 0-${length - 1}/${length} ${text}`],
    ['bytes=0-0', `206 bytes 0-0/${length} w`],
    [`bytes=${length}-`, `416 bytes */${length}`],
    ['bytes=99999999999999999999-', `416 bytes */${length}`],
    ['bytes=-0', `416 bytes */${length}`],
    ['bytes=9-5', '200 body'],
    ['bytes=-', '200 body'],
    ['bytes=0-3,5-9', '200 body'],
    ['bytes=0x1-3', '200 body'],
    ['bytes=--3', '200 body'],
    ['lines=0-3', '200 body'],
    ['', '200 body'],
  ] as const)
    assert.equal(status({ range }), expected, range);
  assert.equal(status({ range: 'bytes=0-3' }, 'HEAD'), '200');
});

test('§13.1.5: If-Range', () => {
  const part = `206 bytes 0-3/${text.length} what`;
  for (const [condition, expected] of [
    ['"1"', part],
    ['"2"', '200 body'],
    ['W/"1"', '200 body'],
    [same, part],
    [before, '200 body'],
    ['nonsense', '200 body'],
  ] as const)
    assert.equal(status({ range: 'bytes=0-3', 'if-range': condition }), expected, condition);
});

test('an empty file', () => {
  const empty = { size: 0, read: () => Buffer.alloc(0) };
  assert.equal(fileAnswer({ method: 'GET', headers: {} }, empty).status, undefined);
  for (const range of ['bytes=0-', 'bytes=-1'])
    assert.throws(() => fileAnswer({ method: 'GET', headers: { range } }, empty), { status: 416 });
});

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'waxwing-files-'));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function bodyOf({ body }: HttpAnswer): Promise<Buffer> {
  if (!(body instanceof Readable)) return Buffer.from(body ?? '');
  return Buffer.concat(await body.toArray());
}

test('a file of the file system', () =>
  withFolder(async (folder) => {
    const path = join(folder, 'file');
    await writeFile(path, text);
    const ask = (headers: IncomingHttpHeaders = {}, file = path) => sendFile({ method: 'GET', headers }, file, {});
    const whole = await ask();
    assert.equal(`${await bodyOf(whole)}`, text);
    assert.equal(`${await bodyOf(await ask({ range: 'bytes=5-9' }))}`, 'light');
    const etag = `${whole.headers!.etag}`;
    assert.equal((await ask({ 'if-none-match': etag })).status, 304);
    await truncate(path, 4);
    const shorter = await ask();
    assert.notEqual(shorter.headers!.etag, etag);
    assert.equal((await bodyOf(shorter)).length, 4);
    await truncate(path, 0);
    assert.equal((await bodyOf(await ask())).length, 0);
    await assert.rejects(ask({ range: 'bytes=0-' }), { status: 416 });
    for (const missing of [join(folder, 'none'), join(path, 'below'), folder])
      await assert.rejects(ask({}, missing), { status: 404 });
  }));

test('assets', () =>
  withFolder(async (folder) => {
    await mkdir(join(folder, 'assets', '.git'), { recursive: true });
    const script = 'export const light = "yonder";\n'.repeat(100);
    await writeFile(join(folder, 'index.html'), '<p>');
    await writeFile(join(folder, 'assets', 'main-1a2b3c4d.js'), script);
    await writeFile(join(folder, 'assets', 'photo.png'), Buffer.alloc(5000));
    for (const hidden of ['.env', 'assets/.git/config']) await writeFile(join(folder, hidden), 'secret');
    await symlink('nowhere', join(folder, '.broken'));
    const assets = await loadAssets(folder, { isHashed: (path) => /-[\da-f]{8}\./.test(path) });
    assert.deepEqual(assets.paths, ['assets/main-1a2b3c4d.js', 'assets/photo.png', 'index.html']);
    const ask = (path: string, accepted?: string, headers = {}) =>
      assets.answer({ method: 'GET', headers: { 'accept-encoding': accepted, ...headers } }, path);
    for (const path of [
      '',
      '.env',
      'assets',
      'assets/',
      '/index.html',
      'assets/../index.html',
      'INDEX.HTML',
      '__proto__',
    ])
      assert.equal(ask(path), undefined, path);

    const first = ask('assets/main-1a2b3c4d.js', 'gzip, deflate, br');
    assert.ok(first instanceof Promise);
    assert.equal(`${brotliDecompressSync(await bodyOf(await first))}`, script);
    const again = ask('assets/main-1a2b3c4d.js', 'br;q=0.5') as HttpAnswer;
    assert.deepEqual(again, await first);
    const { etag } = again.headers!;
    assert.deepEqual(again.headers, {
      'content-type': 'text/javascript; charset=utf-8',
      'cache-control': 'public, max-age=31536000, immutable',
      vary: 'Accept-Encoding',
      'content-encoding': 'br',
      etag,
      'accept-ranges': 'bytes',
      'content-length': (again.body as Buffer).length,
    });
    for (const accepted of ['gzip', 'x-br, gzip', 'br;q=0, gzip', 'br;q=0.0,gzip;q=1'])
      assert.equal(`${gunzipSync(await bodyOf(await ask('assets/main-1a2b3c4d.js', accepted)!))}`, script, accepted);
    for (const accepted of [undefined, '', 'identity', 'zstd', 'gzip;q=0', 'brotli']) {
      const plain = await ask('assets/main-1a2b3c4d.js', accepted)!;
      assert.equal(`${await bodyOf(plain)}`, script, accepted);
      assert.notEqual(plain.headers!.etag, etag);
      assert.equal(plain.headers!.vary, 'Accept-Encoding');
    }
    assert.equal((await ask('assets/main-1a2b3c4d.js', 'br', { 'if-none-match': etag })!).status, 304);

    const photo = await ask('assets/photo.png', 'br')!;
    assert.equal(photo.headers!['content-encoding'], undefined);
    assert.equal(photo.headers!['cache-control'], 'no-cache');
    assert.equal((await ask('index.html', 'br')!).headers!['content-type'], 'text/html; charset=utf-8');

    await assert.rejects(loadAssets(folder, { maxBytes: 1000 }), /more than 1000 bytes/);
    await assert.rejects(loadAssets(join(folder, 'none')), { code: 'ENOENT' });
  }));

test('media types', () => {
  for (const [name, type] of [
    ['a.b.JS', 'text/javascript; charset=utf-8'],
    ['a', 'application/octet-stream'],
    ['.html', 'application/octet-stream'],
    ['a.constructor', 'application/octet-stream'],
    ['a.exe', 'application/octet-stream'],
  ] as const)
    assert.equal(contentType(name), type, name);
});
