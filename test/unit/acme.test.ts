/** ACME (RFC 8555): requests, renewal, hooks; test/interop/acme.test.ts has the orders. */
import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { signed } from '../../src/server/outbound/jws.js';
import { demandUsable } from '../../src/server/tls/acme/authority.js';
import { Challenges } from '../../src/server/tls/acme/challenges.js';
import { AcmeClient } from '../../src/server/tls/acme/client.js';
import { signingRequest } from '../../src/server/tls/acme/csr.js';
import { runHook } from '../../src/server/tls/acme/hook.js';
import { boundKey, thumbprint } from '../../src/server/tls/acme/jose.js';
import { AcmeError } from '../../src/server/tls/acme/protocol.js';
import { FileRecords, noFailure } from '../../src/server/tls/acme/records.js';
import { pauseAfter, renewalTime } from '../../src/server/tls/acme/renewal.js';
import { readDer, readOne } from '../../src/server/tls/der.js';
import { writeWhole } from '../../src/server/tls/files.js';
import { filesOf, makeSelfSigned, newKey, nextKeyOf, settleKey } from '../../src/server/tls/self-signed.js';

const folder = mkdtempSync(join(tmpdir(), 'waxwing-acme-'));
after(() => rmSync(folder, { recursive: true }));
const minute = 60_000;
const day = 24 * 60 * minute;
const forever = new AbortController().signal;

describe('requests', () => {
  const key = newKey();
  const own = makeSelfSigned(['localhost']);
  /** By path: status, body, headers. A text is the body. */
  let answers: Record<string, (request: IncomingMessage) => [number, string, Record<string, string>?]>;
  let server: Server;
  let base: string;
  const asked: string[] = [];

  before(async () => {
    server = createServer({ cert: own.certificate, key: own.key }, (request, response) => {
      const path = request.url ?? '';
      asked.push(`${request.method} ${path}`);
      request.resume();
      const [status, body, headers = {}] = answers[path]?.(request) ?? [404, ''];
      response.writeHead(status, { 'replay-nonce': `nonce-${asked.length}`, ...headers }).end(body);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    base = `https://localhost:${(server.address() as AddressInfo).port}`;
  });
  after(() => void server.close());

  const directory = (more: object = {}) =>
    JSON.stringify({ newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: `${base}/order`, ...more });
  const client = (more: typeof answers, signal = forever) => {
    asked.length = 0;
    answers = { '/dir': () => [200, directory()], '/nonce': () => [200, ''], ...more };
    return new AcmeClient({ directory: `${base}/dir`, ca: [own.certificate], userAgent: 'test', key, signal });
  };
  const problem = (type: string, detail = '') =>
    JSON.stringify({ type: `urn:ietf:params:acme:error:${type}`, detail, status: 400 });

  test('a stale nonce is replaced, a few times (§6.5)', async () => {
    let left = 2;
    const patient = client({
      '/account': () => (left-- > 0 ? [400, problem('badNonce')] : [201, '{}', { location: `${base}/account/1` }]),
    });
    assert.equal(await patient.register({ contact: [] }), `${base}/account/1`);
    assert.deepEqual(asked, ['GET /dir', 'POST /account', 'POST /account', 'POST /account']);
    const endless = client({ '/account': () => [400, problem('badNonce')] });
    await assert.rejects(endless.register({ contact: [] }), AcmeError);
    assert.equal(asked.length, 11);
  });

  test('a refusal has the words of the authority, and how long to wait', async () => {
    const limited = client({ '/account': () => [429, problem('rateLimited', 'too\nmany'), { 'retry-after': '7200' }] });
    await assert.rejects(limited.register({ contact: [] }), (error: AcmeError) => {
      assert.deepEqual([error.message, error.type, error.retryAfter], ['too many (rateLimited)', 'rateLimited', 7200]);
      return true;
    });
    const page = client({ '/account': () => [503, '<html>'] });
    await assert.rejects(page.register({ contact: [] }), /answered with status 503/);
  });

  test('answers that are no use are refused: other addresses, too long, no JSON, cut off', async () => {
    const plain = client({ '/dir': () => [200, directory({ newOrder: 'http://localhost/order' })] });
    await assert.rejects(plain.directory(), /invalid answer: newOrder/);
    await assert.rejects(client({ '/dir': () => [200, '['] }).directory(), /invalid answer/);
    await assert.rejects(client({ '/dir': () => [200, ' '.repeat(2 ** 20 + 1)] }).directory(), /more than/);
    await assert.rejects(client({ '/dir': () => [302, '', { location: `${base}/x` }] }).directory(), /invalid answer/);
    const cut = client({
      '/dir': (request) => {
        request.socket.destroy();
        return [200, '{}'];
      },
    });
    await assert.rejects(cut.directory());
  });

  test('an account needs a binding where the authority says so (§7.3.4)', async () => {
    const bound = client({ '/dir': () => [200, directory({ meta: { externalAccountRequired: true } })] });
    await assert.rejects(bound.register({ contact: [] }), /set tls\.acme\.eab_key_id/);
  });

  test('stopping ends a request', async () => {
    const stop = new AbortController();
    const waiting = client(
      {
        '/dir': () => {
          stop.abort();
          return [200, directory()];
        },
      },
      stop.signal,
    );
    await assert.rejects(waiting.directory(), { name: 'AbortError' });
  });
});

test('signatures (§6.2) and bindings (§7.3.4) can be verified', () => {
  const key = newKey();
  const jws = signed(key, { nonce: 'n', url: 'u' }, undefined);
  assert.equal(jws.payload, '');
  const isValid = verify(
    'sha256',
    Buffer.from(`${jws.protected}.`),
    { key: createPublicKey(key), dsaEncoding: 'ieee-p1363' },
    Buffer.from(jws.signature, 'base64url'),
  );
  assert.equal(isValid, true);
  const header = JSON.parse(Buffer.from(jws.protected, 'base64url').toString());
  assert.deepEqual(header, { alg: 'ES256', nonce: 'n', url: 'u' });
  const binding = boundKey(key, 'id', Buffer.from('secret').toString('base64url'), 'u');
  const jwk = Buffer.from(binding.payload, 'base64url').toString();
  // RFC 7638 §3: members in order, no white space.
  assert.match(jwk, /^\{"crv":"P-256","kty":"EC","x":"[\w-]+","y":"[\w-]+"\}$/);
  assert.equal(createHash('sha256').update(jwk).digest('base64url'), thumbprint(key));
});

test('a signing request is signed by its key', () => {
  const key = newKey();
  const [info, , signature] = readDer(readOne(signingRequest(['a.example', '*.a.example'], key), 0x30));
  const der = signingRequest(['a.example'], key);
  assert.notDeepEqual(der, info!.content);
  const head = Buffer.from([0x30, 0x82, info!.content.length >> 8, info!.content.length & 255]);
  const body = info!.content.length > 255 ? head : Buffer.from([0x30, 0x81, info!.content.length]);
  const text = Buffer.concat([body, info!.content]);
  assert.equal(verify('sha256', text, createPublicKey(key), signature!.content.subarray(1)), true);
});

describe('renewal', () => {
  const made = makeSelfSigned(['a.example']);
  const certificate = new X509Certificate(made.certificate);
  const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];

  test('after two thirds of the life, or in the window of the authority', () => {
    const usual = renewalTime(certificate);
    assert.ok(usual >= from + ((to - from) * 2) / 3 && usual <= from + (to - from) * 0.7);
    assert.equal(renewalTime(certificate), usual);
    const window = { start: from + 5 * day, end: from + 6 * day };
    const wished = renewalTime(certificate, window);
    assert.ok(wished >= window.start && wished <= window.end);
    assert.equal(renewalTime(certificate, { start: 0, end: 1 }), from + day, 'not on the first day');
  });

  test('pauses grow, keep to what the authority asks, and end somewhere', () => {
    assert.equal(pauseAfter(1, 0, 0), 15 * minute);
    assert.equal(pauseAfter(3, 0, 0), 60 * minute);
    for (const failures of [10, 1000, 1e9]) assert.equal(pauseAfter(failures, 0, 0), day);
    assert.equal(pauseAfter(1, 7200, 0), 120 * minute);
    assert.equal(pauseAfter(1, 1e12, 0), 7 * day);
    assert.equal(pauseAfter(1, 0, 1), 15 * minute * 1.25);
  });

  test('what an authority sends is checked before it is used', () => {
    const key = newKey();
    const other = makeSelfSigned(['a.example'], key);
    assert.throws(() => demandUsable('', key, []), /no certificate/);
    assert.throws(() => demandUsable(made.certificate, key, ['a.example']), /another key/);
    assert.throws(() => demandUsable(other.certificate, key, ['a.example']), /self-signed/);
  });
});

test('a new key takes its place once its certificate is there, also after a crash', async () => {
  const files = filesOf(join(folder, 'certs'), 'a.example');
  const [before, next] = [makeSelfSigned(['a.example']), makeSelfSigned(['a.example'])];
  await writeWhole(files.certificate, before.certificate);
  await writeWhole(files.key, before.key);
  await settleKey(files);
  await writeWhole(nextKeyOf(files.key), next.key);
  await settleKey(files);
  assert.equal(readFileSync(files.key, 'utf8'), before.key);
  await writeWhole(files.certificate, next.certificate);
  await settleKey(files);
  assert.equal(readFileSync(files.key, 'utf8'), next.key);
  assert.equal(existsSync(nextKeyOf(files.key)), false);
  assert.equal(statSync(files.key).mode & 0o077, 0);
});

test('records survive, and damage is named', async () => {
  const data = join(folder, 'records');
  const { account } = await new FileRecords(data).account('https://ca.example/dir');
  assert.deepEqual((await new FileRecords(data).account('https://ca.example/dir')).account, account);
  assert.notEqual((await new FileRecords(data).account('https://other.example/dir')).account.key, account.key);
  await new FileRecords(data).setFailure('a.example', new Map([['a.example', { ...noFailure, failures: 2 }]]));
  assert.equal((await new FileRecords(data).failures([])).get('a.example')?.failures, 2);
  writeFileSync(join(data, 'acme/failures.json'), '{"a.example":');
  await assert.rejects(new FileRecords(data).failures([]), /failures\.json is damaged; delete it/);
});

describe('hooks', () => {
  const shell = (script: string) => ['/bin/sh', '-c', script];

  test('get their arguments as they are', async () => {
    const file = join(folder, 'arguments');
    await runHook([...shell(`printf '%s\\n' "$@" > ${file}`), 'sh', 'add', '$(reboot); `x` "', ''], 20, forever);
    assert.equal(readFileSync(file, 'utf8'), 'add\n$(reboot); `x` "\n\n');
  });

  test('fail with the end of what they wrote, in one line', async () => {
    await assert.rejects(
      runHook(shell('yes no | head -c 100000 >&2; printf "the\\033[2J\\nend" >&2; exit 4'), 20, forever),
      (error: Error) => {
        assert.match(error.message, /^\/bin\/sh failed with status 4: .*the\ufffd\[2J end$/);
        assert.ok(error.message.length < 600);
        return true;
      },
    );
    await assert.rejects(runHook([join(folder, 'none')], 20, forever), /could not be started: .*ENOENT/);
    await assert.rejects(runHook(shell('kill -TERM $$'), 20, forever), /was ended by SIGTERM/);
  });

  test('are ended in time, with what they started, or with the server', async () => {
    await assert.rejects(runHook(shell('sleep 100 & sleep 100'), 0.05, forever), /was not done after 0\.05 seconds/);
    await assert.rejects(runHook(shell('sleep 100'), 20, AbortSignal.abort()), /was stopped with the server/);
    // What it leaves behind keeps its output open.
    await runHook(shell('sleep 2 & exit 0'), 20, forever);
  });
});

test('proofs are answered while their order is open, and no other token', async () => {
  const challenges = new Challenges();
  const dns = { hook: [], hookSeconds: 1, waitSeconds: 0, signal: forever };
  const proof = { domain: 'a.example', token: 'abc', keyAuthorization: 'abc.def' };
  const path = '/.well-known/acme-challenge/abc';
  const http = challenges.responder('http-01', dns);
  await http.prepare([proof]);
  assert.equal(challenges.answer('GET', path)?.body, 'abc.def');
  for (const other of ['/.well-known/acme-challenge/', `${path}/`, `${path}d`, '/abc', `${path}%00`])
    assert.equal(challenges.answer('GET', other), undefined, other);
  assert.equal(challenges.answer('POST', path), undefined);
  await http.withdraw([proof]);
  assert.equal(challenges.answer('GET', path), undefined);

  const alpn = challenges.responder('tls-alpn-01', dns);
  await alpn.prepare([proof]);
  assert.notEqual(challenges.contextFor({ servername: 'A.example', isAcme: true }), undefined);
  for (const hello of [
    'unreadable',
    { servername: 'a.example' },
    { servername: 'b.example', isAcme: true },
    { servername: undefined, isAcme: true },
  ] as const)
    assert.equal(challenges.contextFor(hello), undefined);
  await alpn.withdraw([proof]);
  assert.equal(challenges.contextFor({ servername: 'a.example', isAcme: true }), undefined);
});
