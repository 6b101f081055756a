/** XEP-0487: host metadata as a way to find another server (stream/s2s/host-meta.ts). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { createSecureContext } from 'node:tls';
import { linksOf, readHostMeta } from '../../src/server/stream/s2s/host-meta.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';

const tls = {
  rel: 'urn:xmpp:alt-connections:s2s-tls',
  ips: ['192.0.2.1'],
  port: 443,
  priority: 1,
  weight: 2,
  sni: 'x.example',
};
const file = (...links: unknown[]) => JSON.stringify({ xmpp: { ttl: 60 }, links });

test('§2.1: links to servers by direct TLS; what is not understood is skipped', () => {
  const { rel: _, ...link } = tls;
  assert.deepEqual(linksOf(file(tls)), [link]);
  for (const other of [
    { ...tls, rel: 'urn:xmpp:alt-connections:tls' },
    { ...tls, ips: [] },
    { ...tls, ips: ['xmpp.example'] },
    { ...tls, ips: undefined },
    { ...tls, port: 0 },
    { ...tls, port: 65_536 },
    { ...tls, port: '443' },
    { ...tls, priority: -1 },
    { ...tls, weight: 1.5 },
    { ...tls, sni: 'a b' },
    { ...tls, sni: 'x'.repeat(300) },
    { ...tls, sni: undefined },
    null,
    [],
    'x',
  ])
    assert.deepEqual(linksOf(file(other, tls)), [link], JSON.stringify(other));
  const many = Array.from({ length: 1000 }, () => ({ ...tls, ips: Array.from({ length: 100 }, () => '::1') }));
  assert.equal(linksOf(file(...many)).length, 100);
  assert.equal(linksOf(file(...many))[0]!.ips.length, 16);
});

test('§3: a file without the object "xmpp" is one of XEP-0156', () => {
  for (const text of [
    JSON.stringify({ links: [tls] }),
    '{"xmpp":{"ttl":1}}',
    '{}',
    '[]',
    'null',
    '',
    '<XRD/>',
    '{"xmpp":',
  ])
    assert.deepEqual(linksOf(text), [], text);
});

test('§3: read over HTTPS alone, with a certificate for the domain; bounded', async (context) => {
  const pem = makeSelfSigned(['verona.example']);
  const secureContext = createSecureContext({ ca: pem.certificate });
  const answers: Readonly<Record<string, RequestListener>> = {
    file: ({ url, headers }, response) => response.end(`${url} ${headers.host}`),
    missing: (_, response) => response.writeHead(404).end('no'),
    moved: (_, response) => response.writeHead(302, { Location: '/x' }).end(),
    endless: (_, response) => {
      const more = (): void => {
        // The close of the connection is seen in another turn of the event loop.
        if (!response.destroyed) response.write('x'.repeat(50_000), () => setImmediate(more));
      };
      more();
    },
    broken: (_, response) => {
      response.writeHead(200, { 'Content-Length': '10' }).write('x');
      response.destroy();
    },
  };
  let answer = answers.file!;
  const server = createServer({ cert: pem.certificate, key: pem.key }, (...of) => answer(...of)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const never = new AbortController().signal;
  const look = (domain = 'verona.example', trusted = secureContext, addresses = ['127.0.0.1'], stop = never) =>
    readHostMeta(domain, addresses, trusted, stop, port);
  assert.equal(await look(), '/.well-known/host-meta.json verona.example');
  // The first address has no web server.
  assert.equal(
    await look('verona.example', secureContext, ['127.0.0.2', '127.0.0.1']),
    '/.well-known/host-meta.json verona.example',
  );
  assert.equal(await look('verona.example', secureContext, []), undefined);
  assert.equal(await look('mantua.example'), undefined, 'the certificate is for another domain');
  assert.equal(await look('verona.example', createSecureContext()), undefined, 'the certificate is not trusted');
  await context.test('a stop', async () => {
    const stop = new AbortController();
    answer = () => stop.abort();
    assert.equal(await look('verona.example', secureContext, ['127.0.0.1'], stop.signal), undefined);
    assert.equal(await look('verona.example', secureContext, ['127.0.0.1'], stop.signal), undefined);
  });
  for (const name of ['missing', 'moved', 'endless', 'broken']) {
    answer = answers[name]!;
    await context.test(name, async () => assert.equal(await look(), undefined));
  }
});
