/** XEP-0363: HTTP File Upload. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { NS } from '../../src/server/stanza/ns.js';
import { takeClocks } from '../unit/clocks.js';
import { hits, type Scene, scenario } from './dialogue.js';
import { answerTo, asks, begins, gets, puts, refused, service, slotOf, slotRequest, uploads } from './files.js';
import { logsInAnonymously, refusal } from './phrases.js';

const romeoJid = 'romeo@localhost/orchard';
const configOf = (upload: Readonly<Record<string, unknown>>) => ({ config: { modules: { upload } } });

/** Unfinished and finished contents on the disk. */
const contentsOf = ({ stage }: Scene): string[] =>
  readdirSync(stage.folder, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes('/upload/contents'))
    .map((entry) => join(entry.parentPath, entry.name));

scenario('§3: the service is found, with the size of files and its purposes', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoItems}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoItems}'><item jid='${service}'/></query></iq>`,
  );
  const described = (to: string, size: string) => `<iq type='result' id='2' from='${to}'>
    <query xmlns='${NS.discoInfo}'>
      <identity category='store' type='file' name='HTTP File Upload'/>
      <feature var='urn:xmpp:http:upload:0'/><feature var='urn:xmpp:http:upload'/>
      <feature var='urn:xmpp:http:upload:purpose:0#message'/><feature var='urn:xmpp:http:upload:purpose:0#profile'/>
      <feature var='urn:xmpp:http:upload:purpose:0#ephemeral'/><feature var='urn:xmpp:http:upload:purpose:0#permanent'/>
      <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>
        <field var='max-file-size'><value>${size}</value></field></x>
      <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload</value></field>
        <field var='max-file-size'><value>${size}</value></field></x>
    </query></iq>`;
  await romeo.sends(`<iq type='get' id='2' to='${service}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(described(service, '104857600'));
});

scenario('§4, §7: a file is uploaded and downloaded', { isOnFiles: true }, async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const content = randomBytes(300_001);
  const slot = await slotOf(romeo, { filename: 'très cool.jpg', size: content.length, 'content-type': 'image/jpeg' });
  // The name stays, and the address for downloading tells nothing about that for uploading.
  assert.match(slot.get, /^\/upload\/[0-9a-f]{32}\/tr%C3%A8s%20cool\.jpg$/);
  assert.ok(slot.put.startsWith(`${slot.get}?slot=`));
  assert.equal((await gets(scene, slot.get)).status, 404);
  const stored = await puts(scene, slot.put, content, { 'content-type': 'image/jpeg' });
  assert.deepEqual([stored.status, stored.body.length], [201, 0]);
  assert.equal(stored.headers['access-control-allow-origin'], '*');
  const { status, headers, body } = await gets(scene, slot.get);
  assert.equal(status, 200);
  assert.ok(body.equals(content));
  assert.equal(headers['content-type'], 'image/jpeg');
  assert.equal(headers['content-length'], '300001');
  assert.equal(
    headers['content-disposition'],
    `inline; filename="tr_s cool.jpg"; filename*=UTF-8''tr%C3%A8s%20cool.jpg`,
  );
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.match(String(headers['content-security-policy']), /default-src 'none'.*frame-ancestors 'none'; sandbox/);
  assert.equal(headers['access-control-allow-origin'], '*');
  assert.match(headers['cache-control']!, /^private, max-age=86400, immutable$/);
  assert.equal(contentsOf(scene).length, 1);

  // HEAD, parts and conditions (RFC 9110)
  const head = await asks(scene, 'HEAD', slot.get);
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, '300001', 0]);
  const part = await gets(scene, slot.get, { range: 'bytes=100-199' });
  assert.deepEqual([part.status, part.headers['content-range']], [206, 'bytes 100-199/300001']);
  assert.ok(part.body.equals(content.subarray(100, 200)));
  const last = await gets(scene, slot.get, { range: 'bytes=-5' });
  assert.ok(last.body.equals(content.subarray(-5)));
  assert.equal((await gets(scene, slot.get, { range: 'bytes=300001-' })).status, 416);
  assert.equal((await gets(scene, slot.get, { 'if-none-match': headers.etag! })).status, 304);
  assert.equal((await gets(scene, slot.get, { 'if-modified-since': headers['last-modified']! })).status, 304);
  const changed = await gets(scene, slot.get, { range: 'bytes=0-1', 'if-range': '"other"' });
  assert.deepEqual([changed.status, changed.body.length], [200, 300_001]);

  // The name in the path is decoration. Nothing is listed.
  const id = slot.get.split('/')[2]!;
  for (const path of [`/upload/${id}`, `/upload/${id}/`, `/upload/${id}/other.html`]) {
    const found = await gets(scene, path);
    assert.deepEqual([found.status, found.headers['content-type']], [200, 'image/jpeg']);
  }
  for (const path of ['/upload', '/upload/', `/upload/${id}/a/b`, `/upload/${id.toUpperCase()}`, `/upload/${id}0`])
    assert.equal((await gets(scene, path)).status, 404, path);
});

scenario('§8: pages of other origins may upload and download', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const slot = await slotOf(romeo, { filename: 'a', size: 1 });
  const preflight = await asks(scene, 'OPTIONS', slot.put, {
    headers: {
      origin: 'https://chat.example',
      'access-control-request-method': 'PUT',
      'access-control-request-headers': 'content-type',
    },
  });
  assert.equal(preflight.status, 204);
  assert.equal(preflight.headers['access-control-allow-origin'], '*');
  assert.match(preflight.headers['access-control-allow-methods']!, /PUT/);
  assert.match(preflight.headers['access-control-allow-headers']!, /Content-Type/i);
  assert.equal((await puts(scene, slot.put, 'a', { origin: 'https://chat.example' })).status, 201);
  for (const method of ['POST', 'DELETE', 'PATCH', 'PROPFIND']) {
    const { status, headers } = await asks(scene, method, slot.get);
    assert.equal(status, 405, method);
    assert.equal(headers['access-control-allow-origin'], '*');
  }
});

scenario('version 0.2 of the protocol', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const request = (size: number) => `<iq type='get' id='old' to='${service}'><request xmlns='urn:xmpp:http:upload'>
    <filename>a b.txt</filename><size>${size}</size><content-type>text/plain</content-type></request></iq>`;
  await romeo.sends(request(5));
  const answer = await romeo.receives(
    `<iq type='result' id='old'><slot xmlns='urn:xmpp:http:upload'><put>*</put><get>*</get></slot></iq>`,
  );
  const slot = answer.getChild('slot', 'urn:xmpp:http:upload')!;
  const put = new URL(slot.getChildText('put')!);
  assert.equal((await puts(scene, put.pathname + put.search, 'hello')).status, 201);
  const { body, headers } = await gets(scene, new URL(slot.getChildText('get')!).pathname);
  assert.deepEqual([body.toString(), headers['content-type']], ['hello', 'text/plain']);
  await romeo.sends(request(1e10));
  await romeo.receives(`<iq type='error' id='old'><error type='modify'><not-acceptable xmlns='${NS.stanzas}'/>
    <file-too-large xmlns='urn:xmpp:http:upload'><max-file-size>104857600</max-file-size></file-too-large></error></iq>`);
});

scenario('§6: requests that are refused', async ({ actor }) => {
  const romeo = await actor(romeoJid);
  const request = { filename: 'a.jpg', size: 5, 'content-type': 'image/jpeg' };
  for (const [attributes, what] of [
    [{ size: 5 }, 'no name'],
    [{ filename: '', size: 5 }, 'an empty name'],
    [{ filename: 'a'.repeat(4097), size: 5 }, 'a name without end'],
    [{ filename: 'a' }, 'no size'],
    ...['0', '-1', '1.5', '1e3', ' ', '5 bytes', '0x5'].map(
      (size) => [{ filename: 'a', size }, `size ${size}`] as const,
    ),
    ...['a', 'a/', 'text/html\r\nX: y', 'text/a"b', '/', 'a/b/c'].map(
      (type) => [{ ...request, 'content-type': type }, `type ${type}`] as const,
    ),
  ] as const) {
    const error = await refused(romeo, slotRequest(attributes as Record<string, string>));
    assert.ok(error.getChild('bad-request'), what);
  }
  for (const size of [104_857_601, '99999999999999999999999999999999']) {
    const error = await refused(romeo, slotRequest({ ...request, size }));
    assert.ok(error.getChild('not-acceptable'));
    assert.equal(error.getChild('file-too-large', NS.upload)!.getChildText('max-file-size'), '104857600');
  }
  // Not an address of the service
  for (const to of [`somebody@${service}`, `${service}/here`]) {
    await romeo.sends(slotRequest(request, '', to));
    await romeo.receives(`<iq type='error' id='slot'>${refusal('cancel', 'service-unavailable')}</iq>`);
  }
  // Users of this host alone
  const other = await actor('juliet@elsewhere.example/balcony');
  assert.ok((await refused(other, slotRequest(request))).getChild('forbidden'));
});

scenario('anonymous users upload nothing', { config: { auth: { anonymous: true } } }, async ({ connect }) => {
  const anonymous = await logsInAnonymously(connect);
  assert.ok((await refused(anonymous, slotRequest({ filename: 'a', size: 5 }))).getChild('forbidden'));
});

scenario('§5: purposes', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const purpose = (name: string, attributes = '') => `<${name} xmlns='${NS.uploadPurpose}' ${attributes}/>`;
  const later = new Date(Date.now() + 3_600_000).toISOString();
  for (const [content, age] of [
    [purpose('message'), 86_400],
    [purpose('profile'), 86_400],
    [purpose('permanent'), 86_400],
    [purpose('ephemeral', `expire-before='${later}'`), 3600],
  ] as const) {
    const path = await uploads(scene, romeo, 'a', 'abc', undefined, content);
    const { status, headers } = await gets(scene, path);
    assert.equal(status, 200);
    const maxAge = Number(/max-age=(\d+)/.exec(headers['cache-control']!)![1]);
    assert.ok(maxAge <= age && maxAge > age - 60, `${content}: ${maxAge}`);
  }
  const request = { filename: 'a', size: 3_000_000 };
  const large = await refused(romeo, slotRequest(request, purpose('profile')));
  assert.equal(large.getChild('file-too-large', NS.upload)!.getChildText('max-file-size'), '2097152');
  for (const [content, condition] of [
    [purpose('ephemeral'), 'bad-request'],
    [purpose('ephemeral', `expire-before='tomorrow'`), 'bad-request'],
    [purpose('ephemeral', `expire-before='2020-01-01T00:00:00Z'`), 'bad-request'],
    [purpose('message') + purpose('profile'), 'bad-request'],
    [purpose('secret'), 'feature-not-implemented'],
  ] as const)
    assert.ok((await refused(romeo, slotRequest(request, content))).getChild(condition), content);
  // Children of other namespaces are ignored.
  await slotOf(romeo, request, `<profile xmlns='other'/>`);
});

scenario('§5.3: an ephemeral file is gone when it expires', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const soon = new Date(Date.now() + 700).toISOString();
  const path = await uploads(
    scene,
    romeo,
    'a',
    'abc',
    undefined,
    `<ephemeral xmlns='${NS.uploadPurpose}' expire-before='${soon}'/>`,
  );
  let status = 200;
  while (status !== 404) ({ status } = await gets(scene, path));
  assert.ok(Date.now() >= Date.parse(soon));
});

scenario(
  'purposes without space are not offered',
  configOf({ profile_bytes: 0, permanent_bytes: 0 }),
  async ({ actor }) => {
    const romeo = await actor(romeoJid);
    await romeo.sends(`<iq type='get' id='1' to='${service}'><query xmlns='${NS.discoInfo}'/></iq>`);
    const info = (await romeo.receives(`<iq type='result' id='1'/>`)).getChild('query')!;
    const features = info.getChildren('feature').map(({ attrs }) => attrs.var);
    assert.ok(features.includes('urn:xmpp:http:upload:purpose:0#message'));
    assert.ok(!features.some((feature) => /profile|permanent/.test(feature!)));
    const error = await refused(
      romeo,
      slotRequest({ filename: 'a', size: 1 }, `<profile xmlns='${NS.uploadPurpose}'/>`),
    );
    assert.ok(error.getChild('feature-not-implemented'));
  },
);

scenario('§7: what does not fit its slot is refused, and the slot stays usable', { isOnFiles: true }, async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const before = contentsOf(scene).length;
  const slot = await slotOf(romeo, { filename: 'a.txt', size: 5, 'content-type': 'text/plain' });
  assert.equal((await puts(scene, slot.put, 'four')).status, 400);
  assert.equal((await puts(scene, slot.put, 'sixsix')).status, 413);
  assert.equal((await puts(scene, slot.put, '12345', { 'content-type': 'text/html' })).status, 415);
  // Without a length, of any size
  for (const body of ['12345', '123456']) {
    const chunked = begins(scene, 'PUT', slot.put, { headers: { 'transfer-encoding': 'chunked' } });
    chunked.on('error', () => {});
    chunked.write(body);
    assert.equal((await answerTo(chunked)).status, 411);
    chunked.destroy();
  }
  // Less than was announced
  const cut = begins(scene, 'PUT', slot.put, { headers: { 'content-length': 5 } });
  cut.on('error', () => {});
  cut.write('123');
  await once(cut, 'socket');
  await once(cut.socket!, 'connect');
  cut.destroy();
  assert.equal((await gets(scene, slot.get)).status, 404);
  const stored = await puts(scene, slot.put, '12345', { 'content-type': 'TEXT/plain; charset=utf-8' });
  assert.equal(stored.status, 201);
  assert.equal(contentsOf(scene).length, before + 1);
});

scenario('a slot is used once, and nothing is overwritten', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const slot = await slotOf(romeo, { filename: 'a', size: 5 });
  assert.equal((await puts(scene, slot.put, 'first')).status, 201);
  for (const body of ['first', 'other']) assert.equal((await puts(scene, slot.put, body)).status, 409);
  assert.equal((await gets(scene, slot.get)).body.toString(), 'first');
  // Many at once: one of them is stored.
  const busy = await slotOf(romeo, { filename: 'a', size: 5 });
  const texts = ['12345', '23456', '34567', '45678'];
  const answers = await Promise.all(texts.map((text) => puts(scene, busy.put, text)));
  const stored = answers.flatMap(({ status }, at) => (status === 201 ? [texts[at]] : []));
  assert.equal(stored.length, 1);
  for (const { status } of answers) assert.ok(status === 201 || status === 409);
  assert.equal((await gets(scene, busy.get)).body.toString(), stored[0]);
});

scenario('a client that lost its connection uploads again with the same slot', { isOnFiles: true }, async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const slot = await slotOf(romeo, { filename: 'a', size: 10 });
  const stuck = begins(scene, 'PUT', slot.put, { headers: { 'content-length': 10 } });
  const answer = answerTo(stuck);
  stuck.write('01234');
  // It is being uploaded.
  while (contentsOf(scene).every((path) => !path.includes(slot.get.split('/')[2]!))) await setImmediate();
  assert.equal((await puts(scene, slot.put, 'abcdefghij')).status, 201);
  assert.equal((await answer).status, 409);
  stuck.destroy();
  assert.equal((await gets(scene, slot.get)).body.toString(), 'abcdefghij');
});

scenario('slots that are forged, changed, foreign or expired', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const one = await slotOf(romeo, { filename: 'a', size: 5 });
  const other = await slotOf(romeo, { filename: 'a', size: 5 });
  const [text = '', mac = ''] = one.put.split('slot=')[1]!.split('.');
  const changedTo = (change: Record<string, unknown>) => {
    const slot = { ...(JSON.parse(Buffer.from(text, 'base64url').toString()) as object), ...change };
    return `${one.get}?slot=${Buffer.from(JSON.stringify(slot)).toString('base64url')}.${mac}`;
  };
  for (const path of [
    one.get,
    `${one.get}?slot=`,
    `${one.get}?slot=${text}`,
    `${one.get}?slot=${text}.`,
    `${one.get}?slot=.${mac}`,
    `${one.get}?slot=${text}.${mac}.${mac}`,
    `${one.get}?slot=${text}.${mac.slice(0, -2)}`,
    `${one.get}?slot=${'a'.repeat(5000)}.${mac}`,
    `${one.get}?slot=bnVsbA.${mac}`,
    `${other.get}?slot=${text}.${mac}`,
    `/upload/..%2f..%2fetc%2fpasswd?slot=${text}.${mac}`,
    `/upload/?slot=${text}.${mac}`,
    changedTo({ owner: 'juliet@localhost' }),
    changedTo({ owner: 'juliet@nowhere.example' }),
    changedTo({ owner: '@' }),
    changedTo({ size: 500 }),
    changedTo({ until: Date.now() + 1e9 }),
    changedTo({ id: '../../../etc/passwd' }),
    changedTo({ type: 'text/html' }),
  ])
    assert.equal((await puts(scene, path, '12345')).status, 403, path);
  assert.equal((await puts(scene, one.put, '12345')).status, 201);
  assert.equal((await puts(scene, other.put, '12345')).status, 201);
});

scenario('§8: a slot expires', configOf({ slot_seconds: 10 }), async (scene) => {
  const romeo = await scene.actor(romeoJid);
  const slot = await slotOf(romeo, { filename: 'a', size: 5 });
  const clocks = takeClocks();
  try {
    clocks.pass(11_000);
    assert.equal((await puts(scene, slot.put, '12345')).status, 403);
  } finally {
    clocks.restore();
  }
});

scenario('names and types are data', async (scene) => {
  const romeo = await scene.actor(romeoJid);
  for (const [name, path, disposition] of [
    ['../../etc/passwd', 'passwd', 'attachment; filename="passwd"'],
    ['C:\\Windows\\evil.exe', 'evil.exe', 'attachment; filename="evil.exe"'],
    ['..', 'file', 'attachment; filename="file"'],
    ['/', 'file', 'attachment; filename="file"'],
    ['a"b\\c;d=e.txt', 'c%3Bd%3De.txt', 'attachment; filename="c;d=e.txt"'],
    ['"quoted".txt', '%22quoted%22.txt', `attachment; filename="_quoted_.txt"; filename*=UTF-8''%22quoted%22.txt`],
    ['100%.txt', '100%25.txt', `attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt`],
    ["(it's) *mine*!", '%28it%27s%29%20%2Amine%2A%21', `attachment; filename="(it's) *mine*!"`],
    [
      '<script>alert(1)<b>.html',
      '%3Cscript%3Ealert%281%29%3Cb%3E.html',
      'attachment; filename="<script>alert(1)<b>.html"',
    ],
    ['gpj.\u202eexe', 'gpj.exe', 'attachment; filename="gpj.exe"'],
    ['.htaccess', '.htaccess', 'attachment; filename=".htaccess"'],
    ['trailing. . ', 'trailing', 'attachment; filename="trailing"'],
    ['?a#b&c', '%3Fa%23b%26c', 'attachment; filename="?a#b&c"'],
    ['\u{1f600}.png', '%F0%9F%98%80.png', `attachment; filename="_.png"; filename*=UTF-8''%F0%9F%98%80.png`],
  ] as const) {
    const found = await uploads(scene, romeo, name, 'abc');
    assert.equal(found.split('/').slice(3).join('/'), path, name);
    const { status, headers } = await gets(scene, found);
    assert.equal(status, 200);
    assert.equal(headers['content-disposition'], disposition);
    assert.equal(headers['content-type'], 'application/octet-stream');
  }
  const long = await uploads(scene, romeo, `${'ä'.repeat(500)}.tar.gz`, 'abc');
  const name = decodeURIComponent(long.split('/')[3]!);
  assert.match(name, /^ä+\.tar\.gz$/);
  assert.ok(Buffer.byteLength(name) <= 255);

  for (const [type, served, how] of [
    ['image/png', 'image/png', 'inline'],
    ['video/MP4; codecs="avc1"', 'video/mp4', 'inline'],
    ['audio/ogg', 'audio/ogg', 'inline'],
    ['application/pdf', 'application/pdf', 'attachment'],
    ['text/plain', 'text/plain', 'attachment'],
    ...[
      'text/html',
      'TEXT/HTML ; charset=utf-8',
      'image/svg+xml',
      'application/xhtml+xml',
      'text/xml',
      'application/javascript',
      'text/javascript',
      'application/x-shockwave-flash',
      'application/wasm',
    ].map((type) => [type, 'application/octet-stream', 'attachment'] as const),
  ] as const) {
    const { headers } = await gets(scene, await uploads(scene, romeo, 'a.html', '<script>alert(1)</script>', type));
    assert.equal(headers['content-type'], served, type);
    assert.match(headers['content-disposition']!, new RegExp(`^${how};`), type);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.match(String(headers['content-security-policy']), /sandbox/);
  }
});

scenario(
  'an account has a quota for each purpose',
  configOf({ account_bytes: 100, profile_bytes: 10 }),
  async (scene) => {
    const romeo = await scene.actor(romeoJid);
    await uploads(scene, romeo, 'a', 'a'.repeat(60));
    const slot = await slotOf(romeo, { filename: 'b', size: 30 });
    // The slot counts before it is used.
    const before = await hits(scene, 'upload.message_bytes');
    const error = await refused(romeo, slotRequest({ filename: 'c', size: 20 }));
    assert.equal(error.attrs.type, 'wait');
    assert.ok(error.getChild('resource-constraint'));
    // When the first file expires
    const stamp = Date.parse(error.getChild('retry', NS.upload)!.attrs.stamp!);
    assert.ok(Math.abs(stamp - Date.now() - 90 * 86_400_000) < 60_000);
    assert.equal(await hits(scene, 'upload.message_bytes'), before + 1);
    assert.equal((await puts(scene, slot.put, 'b'.repeat(30))).status, 201);
    await uploads(scene, romeo, 'c', 'c'.repeat(10));
    await uploads(scene, romeo, 'd', 'd'.repeat(10), undefined, `<profile xmlns='${NS.uploadPurpose}'/>`);
    const profile = await refused(
      romeo,
      slotRequest({ filename: 'e', size: 1 }, `<profile xmlns='${NS.uploadPurpose}'/>`),
    );
    assert.equal(profile.attrs.type, 'cancel');
    assert.equal(profile.getChild('retry', NS.upload), undefined);
    // Others have their own.
    const juliet = await scene.actor('juliet@localhost/balcony');
    await uploads(scene, juliet, 'a', 'a'.repeat(100));
  },
);

scenario(
  'a day has a limit, and administrators have others',
  configOf({ day_files: 2, slots_per_account: 3, admins: { file_bytes: 200_000_000 } }),
  async (scene) => {
    const romeo = await scene.actor(romeoJid);
    await uploads(scene, romeo, 'a', 'a');
    await uploads(scene, romeo, 'b', 'b');
    const error = await refused(romeo, slotRequest({ filename: 'c', size: 1 }));
    const stamp = Date.parse(error.getChild('retry', NS.upload)!.attrs.stamp!);
    assert.equal(stamp % 86_400_000, 0);
    assert.ok(stamp > Date.now() && stamp <= Date.now() + 86_400_000);
    await scene.stage.account('mercutio@localhost');
    await scene.server.accounts.setRole('mercutio@localhost', 'admin');
    const mercutio = await scene.actor('mercutio@localhost/street');
    for (const name of ['a', 'b', 'c']) await uploads(scene, mercutio, name, 'a');
    for (let n = 0; n < 3; n++) await slotOf(mercutio, { filename: 'a', size: 200_000_000 });
    const slots = await refused(mercutio, slotRequest({ filename: 'a', size: 1 }));
    assert.ok(Date.parse(slots.getChild('retry', NS.upload)!.attrs.stamp!) <= Date.now() + 300_000);
  },
);

scenario(
  'files have a domain of their own',
  configOf({ public_url: 'https://files.example.org/x/' }),
  async (scene) => {
    const romeo = await scene.actor(romeoJid);
    await romeo.sends(slotRequest({ filename: 'a', size: 5 }));
    const answer = await romeo.receives(`<iq type='result' id='slot'><slot xmlns='${NS.upload}'/></iq>`);
    const slot = answer.getChild('slot', NS.upload)!;
    for (const name of ['put', 'get'])
      assert.match(slot.getChild(name)!.attrs.url!, /^https:\/\/files\.example\.org\/x\/upload\//);
    const { pathname, search } = new URL(slot.getChild('put')!.attrs.url!);
    // A proxy passes it on, under whatever name.
    const path = pathname.replace('/x', '');
    assert.equal((await puts(scene, path + search, '12345', { host: 'files.example.org' })).status, 201);
    assert.equal((await gets(scene, path, { host: 'files.example.org' })).body.toString(), '12345');
  },
);
