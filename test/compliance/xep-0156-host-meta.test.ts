/** XEP-0156: Discovering Alternative XMPP Connection Methods, and XEP-0487: Host Meta 2. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer } from '../../src/server/index.js';
import { defineModule } from '../../src/server/module/index.js';
import { parse } from '../../src/server/xml/element.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Scene, scenario } from './dialogue.js';

/** A module with another way to connect, one without TLS, and a link of another kind. */
const more = defineModule({
  name: 'more',
  summary: 'Adds links.',
  implements: {},
  needs: ['hostMeta'],
  start: ({ host, services: { hostMeta } }) => {
    hostMeta.add(() => ({ rel: 'urn:xmpp:alt-connections:other', href: `${host.publicUrl}/other?a=1&b="2"` }));
    hostMeta.add(() => ({ rel: 'urn:xmpp:alt-connections:xbosh', href: 'http://example.org/plain' }));
    hostMeta.add(() => ({ rel: 'lrdd', href: 'http://example.org/lrdd' }));
    hostMeta.add(() => undefined);
    return [];
  },
});

async function get({ stage }: Scene, path: string, host: string, headers = {}) {
  const asked = request({
    host: '127.0.0.1',
    port: stage.port('http'),
    path: `/.well-known/${path}`,
    agent: false,
    headers: { host, ...headers },
  });
  const [response] = await once(asked.end(), 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  assert.equal(response.statusCode, 200);
  return { headers: response.headers, text };
}

const config = {
  hosts: { localhost: {}, 'elsewhere.example': { public_url: 'https://chat.elsewhere.example/' }, 'third.example': {} },
  http: { websocket_path: '/ws', bosh: { path: '/bosh' } },
};
const websocket = 'urn:xmpp:alt-connections:websocket';
const xbosh = 'urn:xmpp:alt-connections:xbosh';

scenario('§2: links in XRD and JRD, for each host', { modules: [more], config }, async (scene) => {
  const third = `third.example:${scene.stage.port('https')}`;
  for (const [name, authority] of [
    ['elsewhere.example', 'chat.elsewhere.example'],
    ['chat.elsewhere.example:443', 'chat.elsewhere.example'],
    ['third.example', third],
  ] as const) {
    const expected = [
      { rel: websocket, href: `wss://${authority}/ws` },
      { rel: xbosh, href: `https://${authority}/bosh` },
      { rel: 'urn:xmpp:alt-connections:other', href: `https://${authority}/other?a=1&b="2"` },
      { rel: 'lrdd', href: 'http://example.org/lrdd' },
    ];
    const { text } = await get(scene, 'host-meta.json', name);
    assert.deepEqual(JSON.parse(text), { links: expected });
    const xml = await get(scene, 'host-meta', name);
    assert.match(xml.text, /^<\?xml version="1.0" encoding="UTF-8"\?>\n/);
    const xrd = parse(xml.text.replace(/^.*\n/, ''));
    assert.ok(xrd.is('XRD', 'http://docs.oasis-open.org/ns/xri/xrd-1.0'));
    assert.deepEqual(
      xrd.getChildren('Link').map(({ attrs: { rel, href } }) => ({ rel, href })),
      expected,
    );
  }
});

scenario('§2.2: connections without TLS are not listed', { config }, async (scene) => {
  // localhost is used without TLS
  assert.deepEqual(JSON.parse((await get(scene, 'host-meta.json', 'localhost')).text), { links: [] });
});

scenario('§3: pages of every origin may read it', { config }, async (scene) => {
  for (const [path, type] of [
    ['host-meta', 'application/xrd+xml; charset=utf-8'],
    ['host-meta.json', 'application/json'],
  ] as const) {
    const { headers } = await get(scene, path, 'elsewhere.example', { origin: 'https://anybody.example' });
    assert.equal(headers['content-type'], type);
    assert.equal(headers['access-control-allow-origin'], '*');
    assert.equal(headers['cache-control'], 'public, max-age=3600');
  }
});

const complete = {
  ...config,
  http: { websocket_path: '/ws', bosh: { enabled: false } },
  listen: { s2s: ['127.0.0.1:0'], c2s_tls: ['127.0.0.1:0'], s2s_tls: ['127.0.0.1:0'] },
  s2s: { enabled: true },
  modules: { host_meta: { ips: ['192.0.2.7', '2001:db8::7'], tls_port: 443, s2s_tls_port: 5270, ttl_seconds: 600 } },
};

scenario('XEP-0487 §2.1: all that is needed to connect', { config: complete }, async (scene) => {
  const { headers, text } = await get(scene, 'host-meta.json', 'elsewhere.example');
  assert.equal(headers['cache-control'], 'public, max-age=600');
  const reach = { weight: 50, ips: ['192.0.2.7', '2001:db8::7'] };
  assert.deepEqual(JSON.parse(text), {
    xmpp: { ttl: 600 },
    links: [
      { rel: 'urn:xmpp:alt-connections:tls', port: 443, priority: 10, sni: 'elsewhere.example', ...reach },
      { rel: 'urn:xmpp:alt-connections:s2s-tls', port: 5270, priority: 10, sni: 'elsewhere.example', ...reach },
      {
        rel: websocket,
        href: 'wss://chat.elsewhere.example/ws',
        priority: 20,
        sni: 'chat.elsewhere.example',
        ...reach,
      },
    ],
  });
});

test('XEP-0487 §2.2: not without ports for direct TLS, because SRV records are no longer looked up', async () => {
  const data = await mkdtemp(join(tmpdir(), 'waxwing-host-meta-'));
  try {
    for (const [listen, problem] of [
      ['c2s_tls = []', /set listen\.c2s_tls/],
      ['c2s_tls = ["127.0.0.1:0"]\ns2s_tls = []', /set listen\.s2s_tls/],
    ] as const) {
      const text = `[listen]\n${listen}\n[s2s]\nenabled = true\n[modules.host_meta]\nips = ["192.0.2.7"]\n`;
      await assert.rejects(createServer({ text, overrides: { data }, storage: new MemoryStorage() }), problem);
    }
  } finally {
    await rm(data, { recursive: true });
  }
});
