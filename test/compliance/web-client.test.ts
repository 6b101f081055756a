/** The web client: its page, its files, and what the administrator may change. test/web uses it in a browser. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { brotliDecompressSync } from 'node:zlib';
import { createServer } from '../../src/server/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type ScenarioOptions, type Scene, scenario } from './dialogue.js';

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

async function get({ stage }: Scene, path: string, headers = {}, method = 'GET'): Promise<Answer> {
  const sent = request({ host: '127.0.0.1', port: stage.port('http'), path, method, agent: false, headers });
  const [response] = (await once(sent.end(), 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) };
}

/** npm start and npm pack install it; a tree without it has no page. */
const isInstalled = existsSync(new URL('../../web/', import.meta.url));
const page = (title: string, options: ScenarioOptions, play: (scene: Scene) => Promise<void>) =>
  isInstalled ? scenario(title, options, play) : test(title, { skip: 'the web client is not installed' }, () => {});

const settingsOf = ({ body }: Answer): Record<string, unknown> =>
  JSON.parse(/<script type="application\/json" id="settings">(.*?)<\/script>/.exec(`${body}`)?.[1] ?? '');
const linksOf = ({ body }: Answer): string[] =>
  [...`${body}`.matchAll(/ (?:href|src)="([^"]*)"/g)].map(([, link]) => link!);

page('the page is configured for the requested host', {}, async (scene) => {
  for (const domain of ['localhost', 'elsewhere.example']) {
    const answer = await get(scene, '/', { host: `${domain}:5280` });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'text/html; charset=utf-8');
    assert.match(`${answer.body}`, new RegExp(`<title>${domain}</title>`));
    const settings = settingsOf(answer);
    assert.equal(settings.default_domain, domain);
    assert.equal(settings.muc_domain, `conference.${domain}`);
    assert.deepEqual([settings.websocket_url, settings.bosh_service_url], ['xmpp-websocket', 'http-bind']);
    assert.equal(settings.allow_registration, false);
  }
});

page('its policy lets no text run as a script', {}, async (scene) => {
  const { headers, body } = await get(scene, '/');
  const policy = `${headers['content-security-policy']}`;
  assert.match(policy, /(?:^|; )default-src 'none';/);
  assert.match(policy, /; script-src 'self' 'wasm-unsafe-eval';/);
  assert.doesNotMatch(policy, /script-src[^;]*'unsafe-inline'|'unsafe-eval'|(?:script|default)-src[^;]*https:/);
  for (const [, attributes, text] of `${body}`.matchAll(/<script([^>]*)>([^<]*)<\/script>/g))
    assert.ok(text === '' || attributes?.includes('type="application/json"'), attributes);
  assert.doesNotMatch(`${body}`, / on\w+=|javascript:|<style| style=/);
});

page('all that it links to is there; files are compressed, and cached forever', {}, async (scene) => {
  const links = linksOf(await get(scene, '/'));
  assert.ok(links.length >= 8, links.join());
  for (const link of links) {
    const answer = await get(scene, `/${link}`, { 'accept-encoding': 'br' });
    assert.equal(answer.status, 200, link);
    assert.equal(answer.headers['x-content-type-options'], 'nosniff');
    if (link.startsWith('web/')) assert.equal(answer.headers['cache-control'], 'public, max-age=31536000, immutable');
    if (link.endsWith('.js')) assert.equal(answer.headers['content-type'], 'text/javascript; charset=utf-8');
  }
  const script = links.find((link) => link.endsWith('/converse.min.js'))!;
  const compressed = await get(scene, `/${script}`, { 'accept-encoding': 'gzip, br' });
  assert.equal(compressed.headers['content-encoding'], 'br');
  const plain = await get(scene, `/${script}`);
  assert.ok(brotliDecompressSync(compressed.body).equals(plain.body));
  // What Converse.js loads when it needs it.
  for (const file of ['libomemo.esm.min.js', 'curve25519_compiled.wasm', 'emoji.json', 'sounds/msg_received.mp3'])
    assert.equal((await get(scene, `/${script.replace('converse.min.js', file)}`)).status, 200, file);
});

page('a page that has not changed is not sent again', {}, async (scene) => {
  const { headers } = await get(scene, '/');
  assert.equal(headers['cache-control'], 'no-cache');
  const again = await get(scene, '/', { 'if-none-match': headers.etag });
  assert.deepEqual([again.status, again.body.length], [304, 0]);
  // RFC 9111 §3.2: the browser replaces the headers of its copy by these.
  assert.equal(again.headers['content-security-policy'], headers['content-security-policy']);
});

page('the manifest has icons of the sizes that browsers want', {}, async (scene) => {
  const { headers, body } = await get(scene, '/manifest.webmanifest', { host: 'elsewhere.example' });
  assert.equal(headers['content-type'], 'application/manifest+json');
  const { name, display, icons } = JSON.parse(`${body}`) as {
    name: string;
    display: string;
    icons: { src: string; sizes: string; type: string }[];
  };
  assert.deepEqual([name, display], ['elsewhere.example', 'standalone']);
  for (const size of [192, 512]) {
    const { src } = icons.find(({ sizes }) => sizes === `${size}x${size}`)!;
    const icon = await get(scene, `/${src}`);
    // The width in the header of a PNG.
    assert.deepEqual([icon.headers['content-type'], icon.body.readUInt32BE(16)], ['image/png', size]);
  }
});

const withPush = { modules: { push_gateway: { enabled: true } } };
page('a service worker shows notifications, if the host has a push service', { config: withPush }, async (scene) => {
  const { body } = await get(scene, '/');
  assert.match(`${body}`, /<script type="application\/json" id="push">\{"service":"push\.localhost"\}<\/script>/);
  const { headers, body: script } = await get(scene, '/worker.js');
  assert.equal(headers['content-type'], 'text/javascript; charset=utf-8');
  // Browsers look for another one whenever the page is loaded.
  assert.equal(headers['cache-control'], 'no-cache');
  assert.match(`${headers['content-security-policy']}`, /^default-src 'none'; script-src 'self';/);
  assert.equal((await get(scene, '/worker.js', { 'if-none-match': headers.etag })).status, 304);
  const [, loaded] =
    /^self\.waxwing = \{.*\};\nimportScripts\("(web\/[0-9a-f]+\/worker\.js)"\);\n$/.exec(`${script}`) ?? [];
  const file = await get(scene, `/${loaded}`);
  assert.equal(file.status, 200);
  assert.equal(file.headers['cache-control'], 'public, max-age=31536000, immutable');
});

page('without a push service there is none', {}, async (scene) => {
  assert.doesNotMatch(`${(await get(scene, '/')).body}`, /id="push"/);
  assert.equal((await get(scene, '/worker.js')).status, 404);
});

const below = { modules: { ...withPush.modules, web_client: { path: '/chat' } } };
page('below another path the service worker is next to the page', { config: below }, async (scene) => {
  assert.equal((await get(scene, '/chat/worker.js')).status, 200);
  assert.equal((await get(scene, '/worker.js')).status, 404);
});

page('other paths: what browsers and search engines ask for by themselves', {}, async (scene) => {
  const favicon = await get(scene, '/favicon.ico');
  assert.equal(favicon.status, 307);
  assert.equal((await get(scene, `/${favicon.headers.location}`)).headers['content-type'], 'image/png');
  assert.match(`${(await get(scene, '/robots.txt')).body}`, /^User-agent: \*\n/);
});

page('hostile paths and methods', {}, async (scene) => {
  const version = linksOf(await get(scene, '/'))
    .find((link) => link.startsWith('web/'))!
    .split('/')[1];
  for (const path of [
    '/web',
    '/web/',
    `/web/${version}`,
    `/web/${version}/`,
    `/web/${version}/../../package.json`,
    `/web/${version}/..%2f..%2fpackage.json`,
    `/web/${version}/%2e%2e/package.json`,
    `/web/${version}//start.js`,
    `/web/${version}/start.js/`,
    `/web/${version}/start.js%00`,
    `/web/${version}/START.JS`,
    '/web/0123456789abcdef/start.js',
    '/web/own/style.css',
    '/web/own/../own/icon.svg',
    '/web/own/',
    '/web/constructor/__proto__',
    '/index.html',
  ])
    assert.equal((await get(scene, path)).status, 404, path);
  for (const method of ['POST', 'PUT', 'DELETE']) assert.equal((await get(scene, '/', {}, method)).status, 405);
  assert.equal((await get(scene, '/', {}, 'HEAD')).body.length, 0);
});

const folder = mkdtempSync(join(tmpdir(), 'waxwing-branding-'));
process.once('exit', () => rmSync(folder, { recursive: true }));
const css = 'body { color: red }';
writeFileSync(join(folder, 'style.css'), css);
writeFileSync(join(folder, 'icon.svg'), '<svg xmlns="http://www.w3.org/2000/svg"/>');
writeFileSync(join(folder, 'secret.txt'), 'not for all');

const changed = {
  http: { websocket_path: '/ws', bosh: { enabled: false } },
  modules: {
    register: { open: true },
    web_client: {
      path: '/our/chat',
      title: '</title><script>"Verona" & more',
      branding: folder,
      settings: { play_sounds: true, note: '</script><!--', muc_domain: 'rooms.example' },
    },
  },
};

page('what the administrator changes', { config: changed }, async (scene) => {
  assert.equal((await get(scene, '/')).status, 404);
  const redirect = await get(scene, '/our/chat');
  assert.deepEqual([redirect.status, redirect.headers.location], [307, 'chat/']);
  const answer = await get(scene, '/our/chat/');
  assert.match(`${answer.body}`, /<title>&lt;\/title&gt;&lt;script&gt;&quot;Verona&quot; &amp; more<\/title>/);
  const settings = settingsOf(answer);
  assert.deepEqual([settings.websocket_url, settings.bosh_service_url], ['../../ws', undefined]);
  assert.deepEqual([settings.allow_registration, settings.registration_domain], [true, 'localhost']);
  assert.deepEqual(
    [settings.play_sounds, settings.note, settings.muc_domain],
    [true, '</script><!--', 'rooms.example'],
  );
  assert.equal(`${answer.body}`.split('</script>').length, 4, 'three scripts');

  const links = linksOf(answer);
  assert.ok(links.includes('web/own/icon.svg') && links.includes('web/own/style.css'));
  const style = await get(scene, '/our/chat/web/own/style.css');
  assert.deepEqual([`${style.body}`, style.headers['cache-control']], [css, 'no-cache']);
  for (const path of ['secret.txt', 'icon-192.png', '../secret.txt'])
    assert.equal((await get(scene, `/our/chat/web/own/${path}`)).status, 404, path);
  for (const link of links) assert.equal((await get(scene, `/our/chat/${link}`)).status, 200, link);
});

page('it can be turned off', { config: { modules: { web_client: { enabled: false } } } }, async (scene) => {
  assert.equal((await get(scene, '/')).status, 404);
  assert.equal((await get(scene, '/favicon.ico')).status, 404);
});

test('a path of another form, and a folder that is missing, are refused', async (t: TestContext) => {
  const data = mkdtempSync(join(tmpdir(), 'waxwing-web-'));
  t.after(() => rmSync(data, { recursive: true }));
  for (const line of ['path = "/chat/"', 'path = "chat"', 'path = "/a//b"', 'path = "/.."', 'branding = "/missing"']) {
    if (!isInstalled && line.startsWith('branding')) continue;
    const text = `[modules.web_client]\n${line}\n`;
    await assert.rejects(createServer({ text, overrides: { data }, storage: new MemoryStorage() }), line);
  }
});
