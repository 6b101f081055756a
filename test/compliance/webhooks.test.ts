/** Webhooks: programs are notified of events by signed HTTPS requests. A local HTTPS server takes the place of a program. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { keyOf, signatureOf } from '../../src/modules/webhooks/request.js';
import { loadConfig } from '../../src/server/config/load.js';
import { redact } from '../../src/server/config/redact.js';
import { standardModules } from '../../src/server/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { DnsServer } from '../dns-server.js';
import { type Received, WebPushService } from '../web-push-service.js';
import { adminOf } from './admin.js';
import { hits, oneProcess, type ScenarioOptions, type Scene, Stage, scenario } from './dialogue.js';

const name = 'crm.example';
const secret = 'a secret of sixteen or more';
const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';

const authority = new CertificateAuthority('Of receivers');
const folder = mkdtempSync(join(tmpdir(), 'waxwing-webhooks-'));
const ca = join(folder, 'ca.pem');
writeFileSync(ca, authority.pem.certificate);
const dns = await DnsServer.open({ addresses: { [name]: ['127.0.0.1'], 'inside.example': ['10.1.2.3', '::1'] } });
const open: WebPushService[] = [];
after(() => {
  for (const one of open) one.close();
  dns.close();
  rmSync(folder, { recursive: true });
});

async function receiver(): Promise<WebPushService> {
  const made = await WebPushService.open(name, authority.issues([name]));
  open.push(made);
  return made;
}

// All before the first test: a test that ends alone would be the end of the file.
const brief = await receiver();
const whole = await receiver();
const people = await receiver();
const busy = await receiver();
const strict = await receiver();
const unused = await receiver();
const full = await receiver();
const refusing = await receiver();

type Receivers = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
const settings = (receivers: Receivers, more: Readonly<Record<string, unknown>> = {}) => ({
  s2s: { dns_servers: [dns.address] },
  modules: { webhooks: { enabled: true, receivers, allow_networks: ['127.0.0.0/8'], ca, ...more } },
});

interface Event {
  readonly id: string;
  readonly type: string;
  readonly timestamp: string;
  readonly host: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What a receiver does: it checks the signature before it believes anything. */
function believes({ headers, body }: Received): Event {
  const { 'webhook-id': id, 'webhook-timestamp': seconds, 'webhook-signature': signature } = headers;
  const expected = createHmac('sha256', secret).update(`${id}.${seconds}.${body}`).digest('base64');
  assert.equal(signature, `v1,${expected}`);
  assert.ok(Math.abs(Number(seconds) - Date.now() / 1000) < 300);
  assert.equal(headers['content-type'], 'application/json');
  const event = JSON.parse(String(body)) as Event;
  assert.equal(event.id, id);
  return event;
}
const next = async (at: WebPushService): Promise<Event> => believes(await at.receives());

test('requests are signed as Standard Webhooks says', () => {
  const key = keyOf('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
  const signature = signatureOf(key, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}');
  assert.equal(signature, 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
});

const chat = (to: string, body: string) => `<message to='${to}' type='chat' id='m'><body>${body}</body></message>`;

scenario(
  'messages, in order for each account, with their text only for those who are to have it',
  {
    config: settings({
      brief: { url: `${brief.origin}/in`, secret, events: ['message'] },
      whole: { url: `${whole.origin}/in`, secret, events: ['message'], content: true },
    }),
  },
  async (scene) => {
    const [one, other] = [
      await scene.actor(`${romeo}/phone`, { presence: true }),
      await scene.actor(`${juliet}/phone`, { presence: true }),
    ];
    const bodies = Array.from({ length: 20 }, (_, at) => `line ${at} &lt;b&gt;`);
    for (const body of bodies) await one.sends(chat(juliet, body));
    // What nobody wrote is no event.
    await one.sends(`<message to='${juliet}' type='chat'><composing xmlns='${NS.chatStates}'/></message>`);
    for (const body of bodies) await other.receives(`<message type='chat'><body>${body}</body></message>`);
    for (const at of [brief, whole]) {
      const got: Event[] = [];
      for (let count = 0; count < 2 * bodies.length; count++) got.push(await next(at));
      assert.equal(new Set(got.map(({ id }) => id)).size, got.length);
      for (const [type, account] of [
        ['message.sent', romeo],
        ['message.received', juliet],
      ]) {
        const own = got.filter((event) => event.type === type);
        assert.equal(own.length, bodies.length);
        assert.ok(own.every(({ data, host }) => data.account === account && host === 'localhost'));
        assert.ok(own.every(({ data }) => data.from === `${romeo}/phone` && data.to === juliet));
        const texts = at === whole ? bodies.map((_, line) => `line ${line} <b>`) : bodies.map(() => undefined);
        assert.deepEqual(
          own.map(({ data }) => data.body),
          texts,
        );
      }
    }
  },
);

scenario(
  'accounts, presence, rooms and reports',
  {
    alone: true,
    config: settings({ crm: { url: people.origin, secret, events: ['account', 'presence', 'room', 'report'] } }),
  },
  async (scene) => {
    await scene.stage.account(romeo);
    const awaits = async (type: string, data: Readonly<Record<string, unknown>>) => {
      const event = await next(people);
      assert.equal(event.type, type);
      for (const [key, value] of Object.entries(data)) assert.equal(event.data[key], value, key);
    };
    await awaits('account.created', { account: romeo });
    const peer = await scene.actor(`${romeo}/phone`);
    await peer.sends(`<presence><show>away</show><status>secret</status></presence>`);
    await awaits('presence.available', { session: `${romeo}/phone`, show: 'away', status: undefined });
    const room = 'garden@conference.localhost';
    await peer.sends(`<presence to='${room}/r'><x xmlns='${NS.muc}'/></presence>`);
    await awaits('room.created', { room, by: romeo });
    const report = `<report xmlns='${NS.reporting}' reason='urn:xmpp:reporting:spam'/>`;
    await peer.sends(
      `<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='spammer@evil.example'>${report}</item></block></iq>`,
    );
    await awaits('report.made', { by: romeo, about: 'spammer@evil.example', reason: 'urn:xmpp:reporting:spam' });
    await peer.sends(`<iq type='set' id='d' to='${room}'><query xmlns='${NS.mucOwner}'><destroy/></query></iq>`);
    await awaits('room.destroyed', { room });
    const { accounts } = scene.stage.home(romeo);
    await accounts.setPassword(romeo, 'another');
    await awaits('account.password_changed', { account: romeo });
    await peer.sends(`<presence type='unavailable'/>`);
    await awaits('presence.unavailable', { session: `${romeo}/phone` });
    await accounts.disable(romeo);
    await awaits('account.disabled', { account: romeo });
    await accounts.remove(romeo);
    await awaits('account.deleted', { account: romeo });
  },
);

scenario(
  'a receiver that fails gets the event again, with the same id, and later ones of the account after it',
  { ...oneProcess, config: settings({ crm: { url: busy.origin, secret, events: ['account'] } }) },
  async (scene) => {
    busy.replies.push((response) => response.writeHead(503).end('later'));
    const { accounts } = scene.server;
    await scene.stage.account(romeo);
    await accounts.setPassword(romeo, 'another');
    const first = await next(busy);
    const again = await next(busy);
    assert.deepEqual([first.type, again.type], ['account.created', 'account.created']);
    assert.equal(first.id, again.id);
    assert.equal((await next(busy)).type, 'account.password_changed');
    // What waits is there after a restart.
    busy.replies.push((response) => void response.destroy());
    await accounts.setPassword(romeo, 'a third');
    const cut = await next(busy);
    await scene.stage.restart();
    const after = await next(busy);
    assert.equal(after.id, cut.id);
    assert.equal(after.type, 'account.password_changed');
  },
);

scenario(
  'waxwing webhooks list, retry, drop: what receivers have refused',
  { ...oneProcess, config: settings({ crm: { url: `${strict.origin}/?token=1`, secret, events: ['account'] } }) },
  async (scene) => {
    const admin = await adminOf(scene.stage);
    assert.equal(await admin.read('webhooks list', { host: 'localhost' }), 'There are none.');
    const isGivenUp = async (dead: number) => {
      const read = async () =>
        Number(/^waxwing_webhooks_dead_total (\d+)/m.exec((await scene.server.metrics.text()).text)![1]);
      while ((await read()) < dead) await new Promise((resolve) => setImmediate(resolve));
    };
    strict.replies.push((response) => response.writeHead(400).end(`no ${'x'.repeat(100)}\u001b[31m`));
    strict.replies.push((response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end());
    await scene.stage.account(romeo);
    await scene.server.accounts.setPassword(romeo, 'another');
    const events = [await next(strict), await next(strict)];
    await isGivenUp(2);
    const listed = await admin.read('webhooks list', { host: 'localhost' });
    assert.match(listed, /crm +account +romeo@localhost +1 +the receiver answered 400/);
    assert.match(listed, /the receiver answered 302/);
    assert.doesNotMatch(listed, /token|xxx/);
    assert.equal(await admin.read('webhooks retry', { host: 'localhost' }), '2 events will be tried again.');
    assert.deepEqual(
      [(await next(strict)).id, (await next(strict)).id],
      events.map(({ id }) => id),
    );
    assert.equal(await admin.read('webhooks drop', { host: 'localhost' }), '0 events dropped.');
  },
);

const inside: ScenarioOptions = {
  alone: true,
  config: settings({
    private: { url: `https://inside.example:${unused.port}/`, secret, events: ['account'] },
    public: { url: unused.origin, secret, events: ['account'] },
  }),
};
scenario('a name that leads to private addresses is refused when it is used', inside, async (scene: Scene) => {
  await scene.stage.account(romeo);
  assert.equal((await next(unused)).type, 'account.created');
  const read = async () => (await scene.server.metrics.text()).text;
  while (!/^waxwing_webhooks_dead_total 1/m.test(await read())) await new Promise((resolve) => setImmediate(resolve));
});

scenario(
  'events for which there is no room are lost and counted, and chat does not notice',
  { ...oneProcess, config: settings({ crm: { url: full.origin, secret, events: ['message'] } }, { pending: 1 }) },
  async (scene) => {
    const answers: (() => void)[] = [];
    full.usual = (response) => void answers.push(() => response.writeHead(200).end());
    const peer = await scene.actor(`${romeo}/phone`, { presence: true });
    for (const body of ['one', 'two', 'three']) {
      await peer.sends(chat(romeo, body));
      await peer.receives(`<message type='chat'><body>${body}</body></message>`);
    }
    await next(full);
    assert.ok((await hits(scene, 'webhooks.pending')) > 0);
    full.usual = (response) => void response.writeHead(200).end();
    for (const answer of answers) answer();
  },
);

scenario(
  'what was given up is kept without its content',
  { ...oneProcess, config: settings({ crm: { url: refusing.origin, secret, events: ['message'], content: true } }) },
  async (scene) => {
    refusing.replies.push(
      (response) => response.writeHead(400).end(),
      (response) => response.writeHead(400).end(),
    );
    const peer = await scene.actor(`${romeo}/phone`, { presence: true });
    await peer.sends(chat(romeo, 'hush'));
    const told = [await next(refusing), await next(refusing)];
    assert.deepEqual(
      told.map(({ data }) => data.body),
      ['hush', 'hush'],
    );
    const webhooks = scene.server.host('localhost')!.provided('webhooks')!;
    while ((await webhooks.failed({ limit: 10 })).length < 2) await new Promise((resolve) => setImmediate(resolve));
    await webhooks.retry(undefined);
    const again = [await next(refusing), await next(refusing)];
    assert.deepEqual(again.map(({ id }) => id).sort(), told.map(({ id }) => id).sort());
    assert.deepEqual(
      again.map(({ data }) => data.body),
      [undefined, undefined],
    );
  },
);

test('settings that cannot work stop the start', async () => {
  for (const [one, why] of [
    [{ url: 'https://crm.example/', events: [] }, /set either secret or secret_file/],
    [{ url: 'https://crm.example/', secret, secret_file: '/x', events: [] }, /set either secret or secret_file/],
    [{ url: 'https://crm.example/', secret: 'short', events: [] }, /fewer than 16 characters/],
    [{ url: 'https://crm.example/', secret_file: join(folder, 'none'), events: [] }, /secret_file cannot be read/],
    [{ url: 'https://10.0.0.1/', secret, events: [] }, /private address/],
    [{ url: '', secret, events: [] }, /url cannot be used/],
    [{ url: 'https://user:pass@crm.example/', secret, events: [] }, /url cannot be used/],
  ] as const)
    await assert.rejects(Stage.open({ config: settings({ crm: one }) }), why);
});

test('secrets are not shown', () => {
  const config = loadConfig({
    text: '',
    modules: standardModules,
    overrides: settings({ crm: { url: 'https://a.example', secret } }),
  });
  assert.doesNotMatch(JSON.stringify(redact(config, standardModules)), new RegExp(secret));
});
