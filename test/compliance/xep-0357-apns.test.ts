/**
 * The push gateway and apps on Apple's devices: the protocol that Apple has published, over HTTP/2. A local server takes the
 * place of Apple's.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import { ApnsService } from '../apns-service.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { DnsServer } from '../dns-server.js';
import { takeClocks } from '../unit/clocks.js';
import { hits, type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { command, gateway, juliet, publish, type Registered, runs, summary, valueIn } from './gateway.js';
import { refusal } from './phrases.js';

const name = 'apns.example';
const authority = new CertificateAuthority('The push services');
const folder = mkdtempSync(join(tmpdir(), 'waxwing-apns-'));
writeFileSync(join(folder, 'ca.pem'), authority.pem.certificate);
const dns = await DnsServer.open({ addresses: { [name]: ['127.0.0.1'] } });
/** The service, and the one for apps under development. */
const apple = await ApnsService.open(name, authority.issues([name]));
const sandbox = await ApnsService.open(name, authority.issues([name]));
const file = join(folder, 'AuthKey_ABC123DEFG.p8');
writeFileSync(file, apple.newKey('ABC123DEFG'));
sandbox.keys.set('ABC123DEFG', apple.keys.get('ABC123DEFG')!);
after(() => {
  apple.close();
  sandbox.close();
  dns.close();
  rmSync(folder, { recursive: true });
});

const settings = (more: Readonly<Record<string, unknown>> = {}, ofApns: { key_id?: string } = {}) => ({
  s2s: { dns_servers: [dns.address] },
  modules: {
    push_gateway: {
      enabled: true,
      allow_networks: ['127.0.0.0/8'],
      ca: join(folder, 'ca.pem'),
      apns: {
        key: file,
        team_id: apple.team,
        topic: apple.topic,
        url: apple.origin,
        sandbox_url: sandbox.origin,
        ...ofApns,
      },
      ...more,
    },
  },
});
const play = (title: string, dialogue: (scene: Scene) => Promise<void>, more: ScenarioOptions = {}) =>
  scenario(title, { config: settings(), ...more }, dialogue);

let tokens = 0;
const newToken = (): string => (++tokens).toString(16).padStart(64, 'a');
/** As Monal names a device. */
const device = '0523AD60-ADD0-45A4-8D05-DC1AC59BB1CA';

async function registers(
  peer: Peer,
  token: string,
  more: Readonly<Record<string, string>> = {},
  node = 'v1-register-push',
): Promise<Registered> {
  const form = await runs(peer, node, { type: 'apns', node: device, token, ...more });
  assert.equal(valueIn(form, 'jid'), gateway);
  return { node: valueIn(form, 'node')!, secret: valueIn(form, 'secret')! };
}

async function publishes(peer: Peer, registered: Registered, fields: Readonly<Record<string, string>>): Promise<void> {
  await peer.sends(publish(registered, summary(fields)));
  await peer.receives(`<iq type='result' id='p'/>`);
}

const message = { 'message-count': '2', 'last-message-sender': 'romeo@localhost/x', 'last-message-body': 'secret' };
/** SHA-1 of address and device: the app knows its account, and Apple does not. */
const account = createHash('sha1').update(`${juliet}\0${device}`).digest('hex');

play('Monal registers; a message is an alert without sender, text and address', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  const token = newToken();
  const registered = await registers(one, token.toUpperCase());
  const before = Math.floor(Date.now() / 1000);
  await publishes(one, registered, message);
  const received = await apple.receives();
  assert.equal(received.token, token);
  assert.deepEqual(received.payload, {
    aps: { alert: { body: 'New message' }, sound: 'default', 'mutable-content': 1 },
    account,
    'message-count': '2',
  });
  assert.equal(received.headers['apns-priority'], '10');
  assert.equal(received.headers['apns-push-type'], 'alert');
  assert.equal(received.headers['apns-collapse-id'], registered.node);
  assert.ok(Number(received.headers['apns-expiration']) >= before + 86_400);
  // Nothing to show: a subscription request.
  await publishes(one, registered, { 'pending-subscription-count': '1' });
  const quiet = await apple.receives();
  assert.equal(quiet.headers['apns-push-type'], 'background');
  assert.deepEqual(quiet.payload, { aps: { 'content-available': 1 }, account, 'pending-subscription-count': '1' });
  // One connection, and one token of the provider.
  assert.equal(quiet.connection, received.connection);
  assert.equal(quiet.headers.authorization, received.headers.authorization);
});

play('an app is woken in the background, for calls, and in the sandbox, as it has registered', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  const background = await registers(one, newToken(), { 'push-type': 'background' });
  await publishes(one, background, message);
  assert.deepEqual((await apple.receives()).payload, {
    aps: { 'content-available': 1 },
    account,
    'message-count': '2',
  });
  const voip = await registers(one, newToken(), { 'push-type': 'voip', node: 'calls' });
  await publishes(one, voip, { 'message-count': '1' });
  const { headers, payload } = await apple.receives();
  assert.equal(headers['apns-topic'], `${apple.topic}.voip`);
  assert.deepEqual(payload.aps, {});
  assert.ok(Number(headers['apns-expiration']) <= Date.now() / 1000 + 30);
  const token = newToken();
  const developed = await registers(one, token, { environment: 'sandbox', 'device-id': 'test' }, 'register-push-apns');
  await publishes(one, developed, message);
  assert.equal((await sandbox.receives()).token, token);
});

play(
  'sender and text, if the administrator wants; a long text is cut to what Apple takes',
  async (scene) => {
    const one = await scene.actor(`${juliet}/phone`);
    const registered = await registers(one, newToken());
    await publishes(one, registered, message);
    const shown = { title: 'romeo@localhost/x', body: 'secret' };
    assert.deepEqual(ApnsService.alert(await apple.receives()), shown);
    await publishes(one, registered, { ...message, 'last-message-body': '"ö'.repeat(2000) });
    assert.match(ApnsService.alert(await apple.receives()).body as string, /^(?:"ö){100,}"?$/);
  },
  { config: settings({ unencrypted_content: true }) },
);

play(
  'tokens of devices that are gone: unknown, inactive; one that is inactive since before the registration is tried again',
  async (scene) => {
    const one = await scene.actor(`${juliet}/phone`, { presence: true });
    for (const wrong of [
      (token: string) => apple.unknown.add(token),
      (token: string) => apple.inactive.set(token, Date.now() + 1),
    ]) {
      const token = newToken();
      const registered = await registers(one, token);
      wrong(token);
      await one.sends(publish(registered, summary(message)));
      await one.receivesAnyOrder([
        `<iq type='result' id='p'/>`,
        `<message from='${gateway}'><pubsub xmlns='${NS.pubsub}' node='${registered.node}'>
          <affiliation jid='${juliet}' affiliation='none'/></pubsub></message>`,
      ]);
      await one.sends(publish(registered));
      await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
    }
    const registered = await registers(one, newToken());
    apple.replies.push({ status: 410, reason: 'Unregistered', timestamp: 1 });
    await publishes(one, registered, message);
    const first = await apple.receives();
    assert.deepEqual((await apple.receives()).payload, first.payload);
  },
);

play('throttling, outages and shutdown: the notification waits, and arrives', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  const registered = await registers(one, newToken());
  apple.replies.push(
    { status: 429, reason: 'TooManyRequests', headers: { 'retry-after': '1' } },
    { status: 500, reason: 'InternalServerError' },
    { status: 503, reason: 'Shutdown', headers: { 'retry-after': '1' } },
  );
  await publishes(one, registered, message);
  for (let tries = 0; tries < 4; tries++) assert.equal((await apple.receives()).payload['message-count'], '2');
});

play('what Apple will never take is given up, and the administrator sees why', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  const registered = await registers(one, newToken());
  const listed = () => scene.server.host('localhost')!.provided('pushGateway')!.failed({ limit: 10 });
  apple.replies.push({ status: 413, reason: 'PayloadTooLarge' });
  await publishes(one, registered, message);
  await apple.receives();
  // The next one of the device is tried after the first has been given up.
  await publishes(one, registered, message);
  await apple.receives();
  const [found] = await listed();
  assert.equal(found?.why, '413 PayloadTooLarge');
  assert.equal(found?.user, juliet);
});

const rotating = {
  ...settings({}, { key_id: 'ABC123DEFG' }),
  // The client says nothing for so long.
  limits: { ping_after_seconds: 86_400 },
};
play(
  'the token of the provider: renewed in time, with the key of the day',
  async (scene) => {
    const clocks = takeClocks();
    try {
      const one = await scene.actor(`${juliet}/phone`);
      const registered = await registers(one, newToken());
      const sends = async () => {
        await publishes(one, registered, message);
        return apple.receives();
      };
      const first = await sends();
      clocks.pass(35 * 60_000);
      assert.equal((await sends()).headers.authorization, first.headers.authorization);
      clocks.pass(10 * 60_000);
      const second = await sends();
      assert.notEqual(second.headers.authorization, first.headers.authorization);
      // Apple says that it is too old, and takes a new one.
      clocks.pass(25 * 60_000);
      apple.replies.push({ status: 403, reason: 'ExpiredProviderToken' });
      assert.equal((await sends()).headers.authorization, second.headers.authorization);
      assert.notEqual((await apple.receives()).headers.authorization, second.headers.authorization);
      // The team changes its key: the file is replaced, and the configuration names the new id.
      writeFileSync(file, apple.newKey('NEW456KEYS'));
      rotating.modules.push_gateway.apns.key_id = 'NEW456KEYS';
      await scene.server.reload();
      const last = await sends();
      assert.equal(last.keyId, 'NEW456KEYS');
      // A connection is for one key.
      assert.notEqual(last.connection, second.connection);
    } finally {
      clocks.restore();
    }
  },
  { config: rotating, alone: true, nodes: 1 },
);

play('registrations that are wrong; what an app has registered, it removes', async (scene) => {
  const one = await scene.actor(`${juliet}/phone`);
  for (const [fields, type, condition] of [
    [{ node: device, token: newToken() }, 'modify', 'bad-request'],
    [{ type: 'apns', node: device }, 'modify', 'bad-request'],
  ] as const) {
    await one.sends(command('v1-register-push', fields));
    await one.receives(`<iq type='error' id='c'>${refusal(type, condition)}</iq>`);
  }
  for (const fields of [
    { type: 'fcm', node: device, token: 'x' },
    { type: 'apns', node: device, token: '../../etc' },
    { type: 'apns', node: device, token: newToken(), 'push-type': 'liveactivity' },
    { type: 'apns', node: device, token: newToken(), environment: 'nowhere' },
  ]) {
    await one.sends(command('v1-register-push', fields));
    await one.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}'><note type='error'/></command></iq>`);
  }
  const kept = await registers(one, newToken(), { node: 'another' });
  const registered = await registers(one, newToken());
  await runs(one, 'v1-unregister-push', { type: 'apns', node: device });
  await one.sends(publish(registered));
  await one.receives(`<iq type='error' id='p'>${refusal('cancel', 'item-not-found')}</iq>`);
  assert.equal(valueIn(await runs(one, 'list-push-registrations'), 'registrations'), `apns ${kept.node}`);
  await runs(one, 'unregister-push-apns');
  assert.equal(valueIn(await runs(one, 'list-push-registrations'), 'registrations') ?? '', '');
});

play(
  'an account registers so often in an hour',
  async (scene) => {
    const one = await scene.actor(`${juliet}/phone`);
    for (let count = 0; count < 2; count++) await registers(one, newToken());
    await one.sends(command('v1-register-push', { type: 'apns', node: device, token: newToken() }));
    await one.receives(`<iq type='error' id='c'>${refusal('wait', 'resource-constraint')}</iq>`);
    assert.equal(await hits(scene, 'push_gateway.registrations_per_hour'), 1);
  },
  { config: settings({ registrations_per_hour: 2 }), alone: true, nodes: 1 },
);
