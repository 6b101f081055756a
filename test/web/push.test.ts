/**
 * A message for somebody whose page is closed: from the server through its push gateway and a push service to Chromium, which
 * decrypts it and starts the service worker, which opens the chat. Chromium is configured to use a local push service
 * (chromium-push.ts) instead of Google's. The address that it reports is still Google's: the page replaces it.
 *
 * A click on a notification cannot be produced: the worker gets its event, and the test opens the page that it asks for.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type DeviceKeys, encrypt } from '../../src/modules/push-gateway/rfc-8291-encryption.js';
import { Jid } from '../../src/server/address/jid.js';
import { createServer, type Server } from '../../src/server/index.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { CertificateAuthority } from '../certificate-authority.js';
import { DnsServer } from '../dns-server.js';
import { WebPushService } from '../web-push-service.js';
import { Browser, type Page, until, type Worker } from './browser.js';
import { ChromiumPush } from './chromium-push.js';

const name = 'push.example';
const password = 'a nightingale, not a lark';
const folder = mkdtempSync(join(tmpdir(), 'waxwing-web-push-'));
const authority = new CertificateAuthority('The push services');
writeFileSync(join(folder, 'ca.pem'), authority.pem.certificate);

let service: WebPushService;
/** The part of it that the browser sees. */
let push: ChromiumPush;
let dns: DnsServer;
let server: Server;
let browser: Browser;
let origin = '';

before(async () => {
  service = await WebPushService.open(name, authority.issues([name]));
  push = await ChromiumPush.open(authority.issues(['127.0.0.1']));
  dns = await DnsServer.open({ addresses: { [name]: ['127.0.0.1'] } });
  server = await createServer({
    text: '',
    overrides: {
      data: folder,
      hosts: { localhost: {} },
      listen: { c2s: [], c2s_tls: [], https: [], http: ['127.0.0.1:0'] },
      auth: { scram_iterations: 4096 },
      storage: { low_space_bytes: 0 },
      admin: { shutdown_grace_seconds: 1 },
      log: { level: 'error' },
      s2s: { dns_servers: [dns.address] },
      modules: {
        proxy65: { listen: [] },
        push: { pause_seconds: 1 },
        push_gateway: { enabled: true, allow_networks: ['127.0.0.0/8'], ca: join(folder, 'ca.pem') },
      },
    },
    storage: new MemoryStorage(),
  });
  await server.start();
  origin = `http://localhost:${server.listening.find(({ kind }) => kind === 'http')!.port}`;
  const host = server.host('localhost')!;
  const groups = host.provided('sharedGroups')!;
  await groups.create('verona', 'Verona');
  for (const user of ['juliet', 'romeo', 'nurse']) {
    const jid = Jid.parse(`${user}@localhost`);
    await server.accounts.create(jid, password);
    await groups.add('verona', jid);
  }
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  service?.close();
  push?.close();
  dns?.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** Where Chromium says that messages are to be sent, at our service. */
const elsewhere = (origin: string): string => `
  const { toJSON } = PushSubscription.prototype;
  PushSubscription.prototype.toJSON = function () {
    const { endpoint, ...rest } = toJSON.call(this);
    return { ...rest, endpoint: '${origin}' + new URL(endpoint).pathname };
  };`;

/** The subscription of the service worker. */
const subscription = `(async () => (await navigator.serviceWorker.getRegistration('/'))?.pushManager.getSubscription())()`;

async function logIn(page: Page, user: string): Promise<void> {
  await page.fill('input[name="jid"]', `${user}@localhost`);
  await page.fill('input[name="password"]', password);
  await page.click('converse-login-form button[type="submit"]');
  await page.waitForSelector('converse-user-profile');
}

async function says(page: Page, to: string, text: string): Promise<void> {
  await page.click(`.open-chat[data-jid="${to}@localhost"]`);
  const input = `converse-chat-message-form .chat-textarea, converse-message-form .chat-textarea`;
  await page.fill(input, text);
  await page.press(input, 'Enter');
}
const sees = (page: Page, text: string) => page.waitForSelector(`.chat-msg__text:has-text("${text}")`);

interface Shown {
  readonly title: string;
  readonly body: string;
  readonly icon: string;
  readonly data: unknown;
}

/** The notifications that the user sees, as a page of the server reads them. */
async function shown(page: Page): Promise<Shown[]> {
  const there = `(async () => (await navigator.serviceWorker.getRegistration('/')).getNotifications())()`;
  await until(page, `${there}.then(({ length }) => length > 0)`);
  return (await page.evaluate(
    `${there}.then((all) => all.map(({ title, body, icon, data }) => ({ title, body, icon, data })))`,
  )) as Shown[];
}

/** The user clicks on the only notification. Resolves with the address of the window that the worker opens, if it does. */
const clicks = (worker: Worker): Promise<unknown> =>
  worker.evaluate(`(async () => {
    const [notification] = await registration.getNotifications();
    let opened;
    clients.openWindow = async (url) => { opened = url; };
    WindowClient.prototype.focus = async function () { return this; };
    const event = new NotificationEvent('notificationclick', { notification });
    const work = [];
    event.waitUntil = (promise) => work.push(promise);
    dispatchEvent(event);
    await Promise.all(work);
    return opened;
  })()`);

test('a message while the page is closed: a notification, and the chat', async () => {
  const page = await browser.open('juliet', `${origin}/`, {
    permissions: ['notifications'],
    script: elsewhere(service.origin),
    own: { folder: join(folder, 'browser'), args: push.args },
  });
  await logIn(page, 'juliet');
  await until(page, `localStorage.getItem('waxwing-push') !== null`);
  const romeo = await browser.open('romeo', `${origin}/`);
  await logIn(romeo, 'romeo');
  // Once it has arrived, the server has also enabled notifications.
  await says(page, 'romeo', 'Good night, good night');
  await romeo.click('.open-chat[data-jid="juliet@localhost"]');
  await sees(romeo, 'Good night, good night');

  const context = page.context();
  const key = (await page.evaluate(`fetch('/push/vapid-key').then((answer) => answer.text())`)) as string;
  const { keys } = (await page.evaluate(`${subscription}.then((one) => one.toJSON())`)) as { keys: DeviceKeys };
  const idle = await context.newPage();
  await page.close();

  await says(romeo, 'juliet', 'Wherefore art thou gone?');
  const received = await service.receives();
  service.proves(received, key);
  const token = received.path.split('/').at(-1)!;
  push.deliver(token, received.body);

  // A page of the server that is not the chat.
  await idle.goto(`${origin}/robots.txt`);
  const [notification, ...others] = await shown(idle);
  assert.deepEqual(others, []);
  assert.equal(notification!.title, 'romeo@localhost');
  assert.equal(notification!.body, 'Wherefore art thou gone?');
  assert.equal((await fetch(notification!.icon)).status, 200);

  const worker = context.serviceWorkers().find((one) => one.url() === `${origin}/worker.js`)!;
  const opened = (await clicks(worker)) as string;
  assert.ok(opened.startsWith(`${origin}/#`), opened);
  const again = await context.newPage();
  // Converse.js logs in by itself with what it has kept.
  await again.goto(opened);
  await sees(again, 'Wherefore art thou gone?');
  assert.equal(again.url(), `${origin}/`);

  // The page is open now, and shows the chat that the next notification is about.
  const other = { account: 'juliet@localhost', count: 2, sender: 'nurse@localhost/chamber' };
  push.deliver(token, encrypt(JSON.stringify(other), keys));
  const [second] = await shown(idle);
  assert.equal(second!.body, '2 new messages');
  assert.equal(await clicks(worker), undefined);
  await again.waitForSelector('converse-chat-heading:has-text("nurse")');

  // Who logs out gets no more of them.
  await again.click('.show-profile');
  await again.click('.modal.show .modal-footer .btn-danger');
  await again.click('converse-confirm-modal button[type="submit"]');
  await again.waitForSelector('converse-login-form');
  await until(
    again,
    `${subscription}.then((found) => found === null && localStorage.getItem('waxwing-push') === null)`,
  );
  browser.demandNoProblems(/Cannot read properties of (?:undefined|null)|api\.disco\./);
});
