/**
 * The push gateway: a push service of XEP-0357 §3 that wakes browsers by Web Push (RFC 8030, RFC 8291, RFC 8292). Local
 * HTTPS servers take the place of the browsers' push services.
 */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, verify } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { CommandError } from '../../src/server/module/cli.js';
import { NS } from '../../src/server/stanza/ns.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { DnsServer } from '../dns-server.js';
import { takeClocks } from '../unit/clocks.js';
import { Subscription, WebPushService } from '../web-push-service.js';
import { adminOf } from './admin.js';
import { hits, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import {
  command,
  enables,
  fieldsOf,
  gateway,
  isWithdrawn,
  juliet,
  publish,
  type Registered,
  registers,
  runs,
  summary,
  valueIn,
} from './gateway.js';
import { ask } from './http-client.js';
import { refusal } from './phrases.js';

const name = 'push.example';

const authority = new CertificateAuthority('The push services');
const folder = mkdtempSync(join(tmpdir(), 'waxwing-push-'));
writeFileSync(join(folder, 'ca.pem'), authority.pem.certificate);
const web = await WebPushService.open(name, authority.issues([name]));
/** Firebase Cloud Messaging, and Google's tokens. */
const google = await WebPushService.open(name, authority.issues([name]));
const maker = generateKeyPairSync('rsa', { modulusLength: 2048 });
writeFileSync(
  join(folder, 'firebase.json'),
  JSON.stringify({
    project_id: 'an-app',
    client_email: 'maker@an-app.example',
    private_key_id: 'k1',
    private_key: maker.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    token_uri: `${google.origin}/token`,
  }),
);
const dns = await DnsServer.open({
  addresses: { [name]: ['127.0.0.1'], 'inside.example': ['10.1.2.3', '::1'] },
});
after(() => {
  web.close();
  google.close();
  dns.close();
  rmSync(folder, { recursive: true });
});

const settings = (more: Readonly<Record<string, unknown>> = {}) => ({
  s2s: { dns_servers: [dns.address] },
  modules: {
    push: { pause_seconds: 1 },
    push_gateway: {
      enabled: true,
      contact: 'mailto:admin@example.org',
      allow_networks: ['127.0.0.0/8'],
      ca: join(folder, 'ca.pem'),
      fcm: { service_account: join(folder, 'firebase.json'), url: google.origin },
      ...more,
    },
  },
});
const play = (title: string, dialogue: (scene: Scene) => Promise<void>, more: ScenarioOptions = {}) =>
  scenario(title, { config: settings(), ...more }, async (scene) => {
    web.replies.length = 0;
    await dialogue(scene);
  });

let subscriptions = 0;
const subscription = (): Subscription => new Subscription(`${web.origin}/device/${++subscriptions}`);

play('§3.1, §4.2: a push service by its identity; the commands that apps use', async (scene) => {
  const one = await scene.actor(`${juliet}/browser`);
  await one.sends(`<iq type='get' id='i' to='${gateway}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await one.receives(
    `<iq type='result' id='i'><query xmlns='${NS.discoInfo}'><identity category='pubsub' type='push'/>
      <feature var='${NS.push}'/></query></iq>`,
  );
  await one.sends(`<iq type='get' id='i' to='${gateway}'><query xmlns='${NS.discoItems}' node='${NS.commands}'/></iq>`);
  await one.receives(
    `<iq type='result' id='i'><query xmlns='${NS.discoItems}'><item node='register-push-web'/>
      <item node='register-push-fcm'/><item node='v1-register-push'/><item node='unregister-push'/>
      <item node='v1-unregister-push'/><item node='unregister-push-fcm'/><item node='list-push-registrations'/>
      <item node='push-registration-token'/></query></iq>`,
  );
});

play('RFC 8030, 8291, 8292: a message wakes the browser of a user who has gone', async (scene) => {
  const browser = await scene.actor(`${juliet}/browser`, { presence: true });
  const key = valueIn(await runs(browser, 'register-push-web'), 'vapid-key')!;
  const device = subscription();
  await enables(browser, await registers(browser, fieldsOf(device)));
  await browser.closes();
  await browser.isClosed();
  const romeo = await scene.actor('romeo@localhost/orchard');
  await romeo.sends(`<message to='${juliet}' type='chat'><body>wherefore</body></message>`);
  const received = await web.receives();
  assert.equal(received.path, new URL(device.endpoint).pathname);
  // It is encrypted for the browser: the gateway of the host is told what others are told only if the configuration says so.
  const message = { sender: 'romeo@localhost/orchard', body: 'wherefore' };
  assert.deepEqual(device.reads(received), { account: juliet, count: 1, ...message });
  assert.equal(received.headers.ttl, '86400');
  assert.equal(received.headers.urgency, 'high');
  assert.match(received.headers.topic as string, /^[\w-]{1,32}$/);
  const { sub, exp } = web.proves(received, key);
  assert.equal(sub, 'mailto:admin@example.org');
  assert.ok((exp as number) * 1000 - Date.now() < 86_400_000);
});

play(
  'sender and text arrive encrypted; a long text is cut; a UnifiedPush endpoint without keys gets numbers',
  async (scene) => {
    const one = await scene.actor(`${juliet}/browser`);
    const device = subscription();
    const node = await registers(one, fieldsOf(device));
    const more = { 'message-count': '3', 'last-message-sender': 'romeo@localhost/x' };
    await one.sends(publish(node, summary({ ...more, 'last-message-body': 'ö&lt;'.repeat(1700) })));
    await one.receives(`<iq type='result' id='p' from='${gateway}'/>`);
    const { body, ...rest } = device.reads(await web.receives());
    assert.deepEqual(rest, { account: juliet, count: 3, sender: 'romeo@localhost/x' });
    assert.match(body as string, /^(?:ö<)+ö?$/);
    const plain = await registers(one, { endpoint: `${web.origin}/up` });
    await one.sends(publish(plain, summary({ ...more, 'last-message-body': 'secret' })));
    await one.receives(`<iq type='result' id='p'/>`);
    const received = await web.receives();
    assert.equal(received.headers['content-encoding'], undefined);
    assert.deepEqual(JSON.parse(received.body.toString()), { 'message-count': '3' });
  },
);

play('a device that registers again keeps its node, and gets another secret; it can be removed', async (scene) => {
  const one = await scene.actor(`${juliet}/browser`);
  const first = await registers(one, { ...fieldsOf(subscription()), 'device-id': 'desk' });
  const device = subscription();
  const again = await registers(one, { ...fieldsOf(device), 'device-id': 'desk' });
  assert.equal(again.node, first.node);
  await one.sends(publish(first));
  await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
  await one.sends(publish(again));
  await one.receives(`<iq type='result' id='p'/>`);
  assert.deepEqual(device.reads(await web.receives()), { account: juliet });
  assert.equal(valueIn(await runs(one, 'list-push-registrations'), 'registrations'), `webpush ${again.node}`);
  // Another user has other nodes, and removes only their own.
  const nurse = await scene.actor('nurse@localhost/chamber');
  assert.notEqual((await registers(nurse, { ...fieldsOf(device), 'device-id': 'desk' })).node, again.node);
  await runs(nurse, 'unregister-push');
  await one.sends(publish(again));
  await one.receives(`<iq type='result' id='p'/>`);
  await web.receives();
  await runs(one, 'unregister-push', { 'device-id': 'desk' });
  await one.sends(publish(again));
  await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
});

play('§3.2: others than the server of the user cannot publish, even with the secret', async (scene) => {
  const one = await scene.actor(`${juliet}/browser`);
  const registered = await registers(one, fieldsOf(subscription()));
  const other = await scene.actor('tybalt@elsewhere.example/street');
  await other.sends(publish(registered));
  await other.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
  // Nor can they register.
  await other.sends(command('register-push-web', fieldsOf(subscription())));
  await other.receives(`<iq type='error' id='c'>${refusal('cancel', 'forbidden')}</iq>`);
});

play(
  'RFC 8030 §8.4: endpoints at private addresses are refused, also by DNS when a connection is opened',
  async (scene) => {
    const one = await scene.actor(`${juliet}/browser`);
    for (const endpoint of [
      'http://push.example/x',
      'https://10.0.0.1/x',
      'https://[::1]/x',
      'https://[::ffff:10.0.0.1]/x',
      'https://169.254.169.254/latest',
      'https://0x0a000001/',
      'https://user@push.example/',
      'ftp://push.example/',
      'nonsense',
    ]) {
      await one.sends(command('register-push-web', { endpoint }));
      await one.receives(
        `<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'><note type='error'/></command></iq>`,
      );
    }
    for (const [p256dh, auth] of [
      ['AAAA', 'AAAA'],
      [subscription().p256dh, ''],
    ] as const) {
      await one.sends(command('register-push-web', { endpoint: `${web.origin}/x`, p256dh, auth }));
      await one.receives(
        `<iq type='result' id='c'><command xmlns='${NS.commands}'><note type='error'/></command></iq>`,
      );
    }
    // The name says nothing. The device is removed, and the user's server is told (XEP-0357 §8).
    const registered = await registers(one, { endpoint: 'https://inside.example/x' });
    await one.sends('<presence/>');
    await one.syncs();
    one.forgets();
    await one.sends(publish(registered));
    await isWithdrawn(one, registered);
    await one.sends(publish(registered));
    await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
  },
);

play("RFC 8030 §6.2: a subscription that is gone is removed; XEP-0357 §8: the user's server is told", async (scene) => {
  const one = await scene.actor(`${juliet}/browser`, { presence: true });
  for (const status of [404, 410]) {
    const registered = await registers(one, fieldsOf(subscription()));
    web.replies.push((response) => response.writeHead(status).end());
    await one.sends(publish(registered));
    await isWithdrawn(one, registered);
    await web.receives();
    await one.sends(publish(registered));
    await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
  }
});

play(
  'RFC 8030 §8.4: while a service has no time, one notification stands for all, and is tried again',
  async (scene) => {
    const one = await scene.actor(`${juliet}/browser`);
    const device = subscription();
    const registered = await registers(one, fieldsOf(device));
    let answer = () => {};
    web.replies.push((response) => {
      answer = () => response.writeHead(503, { 'retry-after': '1' }).end('later');
    });
    await one.sends(publish(registered, summary({ 'message-count': '1' })));
    await one.receives(`<iq type='result' id='p'/>`);
    assert.deepEqual(device.reads(await web.receives()), { account: juliet, count: 1 });
    for (const count of ['2', '3']) {
      await one.sends(publish(registered, summary({ 'message-count': count })));
      await one.receives(`<iq type='result' id='p'/>`);
    }
    answer();
    assert.deepEqual(device.reads(await web.receives()), { account: juliet, count: 1 });
    assert.deepEqual(device.reads(await web.receives()), { account: juliet, count: 5 });
  },
);

play('an endless answer is cut; a redirection is not followed; both services are used further', async (scene) => {
  const one = await scene.actor(`${juliet}/browser`);
  const registered = await registers(one, fieldsOf(subscription()));
  web.replies.push((response) => {
    response.writeHead(200).on('error', () => {});
    const more = () => {
      if (!response.destroyed) response.write('x'.repeat(65_536), () => setImmediate(more));
    };
    more();
  });
  await one.sends(publish(registered));
  await one.receives(`<iq type='result' id='p'/>`);
  await web.receives();
  web.replies.push((response) => response.writeHead(307, { location: `${web.origin}/elsewhere` }).end());
  await one.sends(publish(registered));
  await one.receives(`<iq type='result' id='p'/>`);
  assert.match((await web.receives()).path, /^\/device/);
  await one.sends(publish(registered));
  await one.receives(`<iq type='result' id='p'/>`);
  assert.match((await web.receives()).path, /^\/device/);
});

play(
  'what waits survives a restart, with the key by which the gateway is known',
  async (scene) => {
    const one = await scene.actor(`${juliet}/browser`);
    const key = valueIn(await runs(one, 'register-push-web'), 'vapid-key')!;
    const device = subscription();
    const registered = await registers(one, fieldsOf(device));
    web.usual = (response) => response.destroy();
    await one.sends(publish(registered, summary({ 'message-count': '7' })));
    await one.receives(`<iq type='result' id='p'/>`);
    await web.receives();
    await scene.stage.restart(async () => {
      web.usual = (response) => response.writeHead(201).end();
    });
    for (;;) {
      const received = await web.receives();
      assert.deepEqual(device.reads(received), { account: juliet, count: 7 });
      web.proves(received, key);
      if (received.headers.authorization !== undefined) break;
    }
  },
  { alone: true, nodes: 1 },
);

play(
  'limits: devices of a user and in all, notifications of a device, and what waits',
  async (scene) => {
    const one = await scene.actor(`${juliet}/browser`);
    const all: Registered[] = [];
    for (let count = 0; count < 3; count++) all.push(await registers(one, fieldsOf(subscription())));
    await one.sends(publish(all[0]!));
    await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
    const nurse = await scene.actor('nurse@localhost/chamber');
    await nurse.sends(command('register-push-web', fieldsOf(subscription())));
    await nurse.receives(`<iq type='error' id='c'>${refusal('wait', 'resource-constraint')}</iq>`);
    assert.equal(await hits(scene, 'push_gateway.devices'), 1);
    const held: (() => void)[] = [];
    web.replies.push((response) => held.push(() => response.writeHead(201).end()));
    await one.sends(publish(all[1]!));
    await one.receives(`<iq type='result' id='p'/>`);
    await web.receives();
    await one.sends(publish(all[2]!));
    await one.receives(`<iq type='error' id='p'>${refusal('wait', 'resource-constraint')}</iq>`);
    assert.equal(await hits(scene, 'push_gateway.pending'), 1);
    for (const answer of held) answer();
    await one.sends(publish(all[1]!));
    await one.receivesAny();
    await one.sends(publish(all[1]!));
    await one.receives(`<iq type='error' id='p'>${refusal('wait', 'resource-constraint')}</iq>`);
    assert.equal(await hits(scene, 'push_gateway.notifications_per_minute'), 1);
  },
  {
    config: settings({ devices_per_user: 2, devices: 2, pending: 1, notifications_per_minute: 2 }),
    alone: true,
    nodes: 1,
  },
);

play('§7: requests that are no notifications are refused', async (scene) => {
  const one = await scene.actor(`${juliet}/browser`);
  const { node } = await registers(one, fieldsOf(subscription()));
  for (const [request, type, condition] of [
    [`<items node='${node}'/>`, 'cancel', 'feature-not-implemented'],
    [`<publish node='${node}'/>`, 'modify', 'bad-request'],
    [`<publish node='${node}'><item/></publish>`, 'modify', 'bad-request'],
    [`<publish node='${node}'><item><notification xmlns='${NS.push}'/></item></publish>`, 'cancel', 'item-not-found'],
    [`<publish><item><notification xmlns='${NS.push}'/></item></publish>`, 'cancel', 'item-not-found'],
  ] as const) {
    await one.sends(`<iq type='set' id='x' to='${gateway}'><pubsub xmlns='${NS.pubsub}'>${request}</pubsub></iq>`);
    await one.receives(`<iq type='error' id='x'>${refusal(type, condition)}</iq>`);
  }
  await one.sends(command('register-push-web', { endpoint: '' }));
  await one.receives(`<iq type='error' id='c'>${refusal('modify', 'bad-request')}</iq>`);
  await one.sends(command('register-push-web', fieldsOf(subscription()), `someone@${gateway}`));
  await one.receives(`<iq type='error' id='c'>${refusal('cancel', 'item-not-found')}</iq>`);
});

play('by HTTP, with a token of the account, as with the app server of Monal and Yaxim', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  const form = await runs(one, 'push-registration-token');
  const token = valueIn(form, 'token')!;
  assert.equal(new URL(valueIn(form, 'url')!).pathname, '/push/v1');
  const posts = (what: string, fields: Readonly<Record<string, string>>, proof = token, more = {}) =>
    ask(scene, 'https', `/push/v1/${what}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${proof}`,
        'content-type': 'application/x-www-form-urlencoded',
        ...more,
      },
      body: new URLSearchParams(fields).toString(),
    });
  const device = subscription();
  const answer = await posts('register', { type: 'webpush', node: 'desk', ...fieldsOf(device) });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers['cache-control'], 'no-store');
  const [said, node, secret] = answer.text.split('\n');
  assert.equal(said, 'OK');
  const registered = { node: node!, secret: secret! };
  await one.sends(publish(registered));
  await one.receives(`<iq type='result' id='p'/>`);
  let received = await web.receives();
  // Earlier scenarios may have left some.
  while (received.path !== new URL(device.endpoint).pathname) received = await web.receives();
  assert.deepEqual(device.reads(received), { account: juliet });
  // Twice the same request: the same node, as by the command.
  const again = await posts('register', { type: 'webpush', node: 'desk', ...fieldsOf(device) });
  assert.equal(again.text.split('\n')[1], node);
  assert.equal((await registers(one, { ...fieldsOf(device), 'device-id': 'desk' })).node, node);
  for (const [status, ...request] of [
    [401, 'register', { type: 'webpush' }, ''],
    [401, 'register', { type: 'webpush' }, `${token.slice(0, -2)}AA`],
    [401, 'register', { type: 'webpush' }, `${Buffer.from('["romeo@localhost",9e15]').toString('base64url')}.AAAA`],
    [400, 'register', { type: 'webpush', ...fieldsOf(device), endpoint: 'https://10.0.0.1/' }, token],
    [400, 'register', { type: 'pigeon', node: 'x', token: 'x' }, token],
    [400, 'register', { type: 'fcm', node: 'x' }, token],
    [415, 'register', {}, token, { 'content-type': 'text/plain' }],
  ] as const)
    assert.equal((await posts(...(request as unknown as Parameters<typeof posts>))).status, status, request.join(' '));
  const clocks = takeClocks();
  try {
    clocks.step(601_000);
    assert.equal((await posts('register', { type: 'webpush', ...fieldsOf(device) })).status, 401);
  } finally {
    clocks.restore();
  }
  assert.equal((await posts('unregister', { type: 'webpush', node: 'desk' })).status, 200);
  assert.equal(valueIn(await runs(one, 'list-push-registrations'), 'registrations') ?? '', '');
});

play(
  'registrations of an account and from an address are limited',
  async (scene) => {
    const one = await scene.actor(`${juliet}/phone`);
    const posts = () =>
      ask(scene, 'https', '/push/v1/register', {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: 'type=webpush',
      });
    assert.deepEqual([(await posts()).status, (await posts()).status, (await posts()).status], [401, 401, 429]);
    for (let count = 0; count < 2; count++) await registers(one, fieldsOf(subscription()));
    await one.sends(command('register-push-web', fieldsOf(subscription())));
    await one.receives(`<iq type='error' id='c'>${refusal('wait', 'resource-constraint')}</iq>`);
    assert.equal(await hits(scene, 'push_gateway.registrations_per_hour'), 2);
  },
  { config: settings({ registrations_per_hour: 2 }), alone: true, nodes: 1 },
);

play(
  'waxwing push list, retry, drop: what push services have refused',
  async (scene) => {
    const admin = await adminOf(scene.stage);
    const at = { host: 'localhost' };
    const one = await scene.actor(`${juliet}/browser`);
    assert.equal(await admin.read('push list', at), 'There are none.');
    const device = subscription();
    const refused = await registers(one, fieldsOf(device));
    const isRefused = async (why: string) => {
      web.replies.push((response) => response.writeHead(400).end(why));
      await one.sends(publish(refused, summary({ 'message-count': '1', 'last-message-body': 'secret' })));
      await one.receives(`<iq type='result' id='p'/>`);
      assert.equal(device.reads(await web.receives()).body, 'secret');
      // A device gets one after the other: the one before has been given up.
      await one.sends(publish(refused, summary({ 'message-count': '9' })));
      await one.receives(`<iq type='result' id='p'/>`);
      assert.equal(device.reads(await web.receives()).count, 9);
    };
    await isRefused('first\u001b[31m');
    await isRefused('second');
    const { failed } = await admin.ask<{ failed: { key: string; user: string; why: string; tries: number }[] }>(
      'push list',
      at,
    );
    assert.deepEqual(
      failed.map(({ user, why, tries }) => [user, why, tries]),
      [
        [juliet, '400 first [31m', 1],
        [juliet, '400 second', 1],
      ],
    );
    const [first, second] = failed.map(({ key }) => key);
    const page = await admin.ask<{ failed: { key: string }[]; next: string | null }>('push list', {
      ...at,
      limit: 1,
    });
    assert.deepEqual([page.failed.map(({ key }) => key), page.next], [[first], first]);
    const rest = await admin.ask<{ failed: { key: string }[] }>('push list', { ...at, after: first! });
    assert.deepEqual(
      rest.failed.map(({ key }) => key),
      [second],
    );
    assert.match(
      await admin.read('push list', at),
      /PUBLISHED +ACCOUNT +TRIES +WHY +KEY\n.*juliet@localhost +1 +400 first/,
    );

    assert.equal(await admin.read('push retry', { ...at, key: first! }), '1 notification will be tried again.');
    // What was written is not kept for so long.
    assert.deepEqual(device.reads(await web.receives()), { account: juliet, count: 1 });
    assert.equal(await admin.read('push retry', { ...at, key: first! }), '0 notifications will be tried again.');
    assert.equal(await admin.read('push drop', { ...at, key: 'nonsense' }), '0 notifications dropped.');
    assert.equal(await admin.read('push drop', at), '1 notification dropped.');
    assert.equal(await admin.read('push list', at), 'There are none.');
    await assert.rejects(admin.ask('push list', { host: 'elsewhere.invalid' }), CommandError);
  },
  { alone: true },
);

interface Grant {
  readonly token: string;
  readonly seconds?: number;
}

/** Google gives an access token for the assertion of the app's maker (RFC 7523). */
const grants = ({ token, seconds = 3600 }: Grant) =>
  google.replies.push((response) =>
    response.writeHead(200).end(JSON.stringify({ access_token: token, expires_in: seconds, token_type: 'Bearer' })),
  );

async function isGranted(): Promise<void> {
  const { path, body } = await google.receives();
  assert.equal(path, '/token');
  const form = new URLSearchParams(body.toString());
  assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer');
  const [header, claims, signature] = form.get('assertion')!.split('.');
  const signed = Buffer.from(`${header}.${claims}`);
  assert.ok(verify('sha256', signed, maker.publicKey, Buffer.from(signature!, 'base64url')));
  const read = JSON.parse(Buffer.from(claims!, 'base64url').toString()) as Record<string, unknown>;
  assert.equal(read.iss, 'maker@an-app.example');
  assert.equal(read.aud, `${google.origin}/token`);
  assert.equal(read.scope, 'https://www.googleapis.com/auth/firebase.messaging');
  assert.equal((read.exp as number) - (read.iat as number), 3600);
}

const fails = (status: number, error: object, headers = {}) =>
  google.replies.push((response) => response.writeHead(status, headers).end(JSON.stringify({ error })));

async function isSent(access: string, token: string, data: object): Promise<void> {
  const { path, headers, body } = await google.receives();
  assert.equal(path, '/v1/projects/an-app/messages:send');
  assert.equal(headers.authorization, `Bearer ${access}`);
  const { message } = JSON.parse(body.toString()) as { message: Record<string, unknown> };
  assert.equal(message.token, token);
  assert.deepEqual(message.data, data);
}

play(
  'FCM: an app registers as with Conversations; tokens, throttling, outages and errors as published',
  async (scene) => {
    google.usual = (response) => response.writeHead(200).end('{"name":"projects/an-app/messages/1"}');
    const one = await scene.actor(`${juliet}/phone`);
    const form = await runs(one, 'register-push-fcm', { token: 'device:token', 'android-id': '0ab43f' });
    const registered = { node: valueIn(form, 'node')!, secret: valueIn(form, 'secret')! };
    const publishes = async () => {
      const body = { 'message-count': '1', 'last-message-body': 'secret' };
      await one.sends(publish(registered, summary(body)));
      await one.receives(`<iq type='result' id='p'/>`);
    };
    // As Conversations knows its accounts: SHA-1 of address and device.
    const account = createHash('sha1').update([juliet, '0ab43f'].join('\0')).digest('hex');
    const data = { account, 'message-count': '1' };
    grants({ token: 'first' });
    await publishes();
    await isGranted();
    await isSent('first', 'device:token', data);
    // A token is used again; one that is refused is replaced.
    fails(429, { status: 'RESOURCE_EXHAUSTED', message: 'slowly' }, { 'retry-after': '1' });
    fails(401, { status: 'UNAUTHENTICATED', message: 'revoked' });
    grants({ token: 'second' });
    fails(503, { status: 'UNAVAILABLE', message: 'later' });
    await publishes();
    await isSent('first', 'device:token', data);
    await isSent('first', 'device:token', data);
    await isGranted();
    await isSent('second', 'device:token', data);
    await isSent('second', 'device:token', data);
    fails(404, { status: 'NOT_FOUND', message: 'x', details: [{ '@type': 'FcmError', errorCode: 'UNREGISTERED' }] });
    await one.sends('<presence/>');
    await one.syncs();
    one.forgets();
    await one.sends(publish(registered, summary({ 'message-count': '1' })));
    await isWithdrawn(one, registered);
    await isSent('second', 'device:token', data);
  },
  { alone: true, nodes: 1 },
);
