/**
 * From the first start to a conversation, as a user goes: `npm start`, the printed address and password, the page, and two
 * browsers that chat.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { patience, within } from '../interop/server.js';
import { Browser, type Page, until } from './browser.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'waxwing-web-'));
const config = join(folder, 'waxwing.toml');
writeFileSync(
  config,
  `[listen]
c2s = ["127.0.0.1:0"]
c2s_tls = []
https = ["127.0.0.1:0"]
http = ["127.0.0.1:0"]
[modules.proxy65]
listen = []
`,
);

let server: ChildProcess;
let browser: Browser;
/** As the first start prints them. */
let address = '';
let password = '';
let invitation = '';
const secondPassword = 'a nightingale, not a lark';

/** Resolves with the output once it matches. */
async function printed(child: ChildProcess, pattern: RegExp): Promise<string> {
  let text = '';
  for await (const chunk of child.stdout!) {
    text += chunk;
    if (pattern.test(text)) return text;
  }
  throw new Error(`the program ended without what was awaited: ${text}`);
}

/** What a command of the program prints. */
async function asks(command: readonly string[], given = ''): Promise<string> {
  const child = spawn(
    process.execPath,
    ['bin/waxwing.js', ...command, '--config', config, '--data', join(folder, 'data')],
    { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] },
  );
  child.stdin!.end(given);
  let text = '';
  child.stdout!.on('data', (chunk) => {
    text += chunk;
  });
  assert.deepEqual(await once(child, 'close'), [0, null]);
  return text;
}

/**
 * Resolves once so many devices of an account have published their keys. Converse.js makes those after a login, which
 * takes long on a busy machine.
 */
async function haveKeys(account: string, devices: number): Promise<void> {
  const bundles = /node=["']eu\.siacs\.conversations\.axolotl\.bundles:\d+["']/g;
  await within(patience, `the keys of ${account}`, async () => {
    for (;;) {
      const exported = await asks(['export', '-', account]);
      if (new Set(exported.match(bundles)).size >= devices) return;
      await pause(100);
    }
  });
}

before(async () => {
  server = spawn('npm', ['--silent', 'start', '--', '--config', config, '--data', join(folder, 'data')], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  const text = await printed(server, /web client .*[\s\S]*password .*[\s\S]*web client .*\n[\s\S]*\/invite\/\S+\n/);
  server.stdout!.resume();
  address = /password .*\n\s+web client +(\S+)/.exec(text)?.[1] ?? '';
  password = /password +(\S+)/.exec(text)?.[1] ?? '';
  invitation = /(http:\/\/localhost:\d+\/invite\/\S+)/.exec(text)?.[1] ?? '';
  assert.match(address, /^http:\/\/localhost:\d+\/$/);
  await asks(['user', 'add', 'juliet@localhost', '--password-stdin'], `${secondPassword}\n`);
  browser = await Browser.launch();
});

after(async () => {
  await browser?.close();
  // npm does not pass signals on to what it runs.
  if (server.exitCode === null) {
    const ended = once(server, 'exit');
    process.kill(-server.pid!, 'SIGTERM');
    await ended;
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** `SCREENSHOTS=1` writes the picture anew. */
async function picture(page: Page, name: string): Promise<void> {
  if (process.env.SCREENSHOTS !== '1') return;
  const at = join(root, 'docs/screenshots');
  mkdirSync(at, { recursive: true });
  await page.screenshot({ path: join(at, `${name}.png`), animations: 'disabled' });
}

async function logIn(page: Page, name: string, secret: string): Promise<void> {
  await page.fill('input[name="jid"]', name);
  await page.fill('input[name="password"]', secret);
  await page.click('converse-login-form button[type="submit"]');
  await page.waitForSelector('converse-user-profile');
}

const input = 'converse-message-form .chat-textarea, converse-muc-message-form .chat-textarea';
async function say(page: Page, text: string): Promise<void> {
  await page.fill(input, text);
  await page.press(input, 'Enter');
}
const sees = (page: Page, text: string) => page.waitForSelector(`.chat-msg__text:has-text("${text}")`);
const opens = (page: Page, contact: string) => page.click(`.open-chat[data-jid="${contact}"]`);
const image = '.chat-msg img.chat-image';
/** Waits until the browser has loaded and decoded the picture. */
async function seesPicture(page: Page): Promise<void> {
  await page.waitForSelector(image);
  const width = await page.evaluate(
    `(async (img) => (await img.decode(), img.naturalWidth))(document.querySelector('${image}'))`,
  );
  assert.equal(width, 192);
}

/** Barriers in Converse.js itself, whose files are not changed (docs/decisions/0018-web-client.md): rule and element. */
const ofConverse = [
  'button-name: <button type="button" class="btn p-0" data-toggle="popover"',
  'image-alt: <img class="chat-image',
  'link-name: <a class="chat-image__link"',
  'list: <ul class="items-list occupant-list">',
  'listitem: <li class="list-item occupant"',
];

let admin: Page;
let juliet: Page;
let other: Page;

/** Each step goes on from the one before it. */
let isBroken = false;
function step(title: string, play: () => Promise<void>, known?: RegExp): void {
  test(title, async (context) => {
    if (isBroken) {
      context.skip('an earlier step failed');
      return;
    }
    isBroken = true;
    await play();
    browser.demandNoProblems(known);
    isBroken = false;
  });
}

step("the page: for the browser's language, and without JavaScript", async () => {
  const german = await browser.open('german', address, { locale: 'de' });
  await german.waitForSelector('converse-login-form button[type="submit"]:has-text("Anmelden")');
  const plain = await browser.open('plain', address, { javaScriptEnabled: false });
  await plain.waitForSelector('.plain:has-text("@localhost")');
  assert.deepEqual(await Browser.barriers(german, ofConverse), []);
});

step('it can be installed as an app', async () => {
  const page = await browser.open('installing', address);
  await page.waitForSelector('converse-login-form');
  assert.deepEqual(await Browser.obstacles(page), []);
});

step(
  'an error is a page for people',
  async () => {
    const page = await browser.open('lost', new URL('nowhere', address).href);
    await page.waitForSelector('h1');
    assert.deepEqual(await Browser.barriers(page), []);
  },
  /404/,
);

step('the printed password works, by the name alone and by the address', async () => {
  admin = await browser.open('admin', address);
  await admin.waitForSelector('converse-login-form');
  await picture(admin, 'login');
  await logIn(admin, 'admin', password);
  juliet = await browser.open('juliet', address);
  await logIn(juliet, 'juliet@localhost', secondPassword);
});

step('the invitation of the first start: an account of another name, and into the chat', async () => {
  const page = await browser.open('invited', invitation);
  await page.waitForSelector('form');
  await picture(page, 'invitation');
  assert.deepEqual(await Browser.barriers(page), []);
  await page.fill('#name', 'Rosaline');
  await page.fill('#password', secondPassword);
  await page.click('form button');
  await page.waitForSelector('converse-user-profile');
  assert.equal(page.url(), address);
  assert.deepEqual(await page.evaluate(`Object.keys(sessionStorage).filter((key) => /login|password/.test(key))`), []);
});

step('an invitation without JavaScript', async () => {
  const made = await asks(['invite', 'create']);
  const link = /http\S+/.exec(made)![0];
  const page = await browser.open('without scripts', link, { javaScriptEnabled: false, locale: 'de' });
  await page.fill('#name', 'benvolio');
  await page.fill('#password', secondPassword);
  await page.click('form button');
  await page.waitForSelector('h1:has-text("Ihr Konto ist bereit")');
});

step('two users become contacts and chat', async () => {
  await admin.click('#converse-roster .dropdown-toggle');
  await admin.click('.add-contact');
  await admin.fill('.modal.show input[name="jid"]', 'juliet@localhost');
  await admin.click('.modal.show button[type="submit"], .modal.show input[type="submit"]');
  await admin.waitForSelector('.modal.show', { state: 'detached' });
  await juliet.click('.requesting-xmpp-contact .dropdown-toggle');
  await juliet.click('.accept-xmpp-request');
  await juliet.click('.modal.show button[type="submit"], .modal.show input[type="submit"]');
  await juliet.waitForSelector('.modal.show', { state: 'detached' });
  await admin.waitForSelector('.current-xmpp-contact.online [data-jid="juliet@localhost"]');

  await opens(admin, 'juliet@localhost');
  await say(admin, 'Good evening, and <welcome> & enjoy');
  await opens(juliet, 'admin@localhost');
  await sees(juliet, 'Good evening, and <welcome> & enjoy');
  await say(juliet, 'Is it yet so near day?');
  await sees(admin, 'Is it yet so near day?');
});

step('a picture', async () => {
  await admin.setInputFiles('.fileupload', join(root, 'web/icon-192.png'));
  await seesPicture(admin);
  await seesPicture(juliet);
  await picture(juliet, 'chat');
  assert.deepEqual(await Browser.barriers(juliet, ofConverse), []);
});

step('an encrypted message (OMEMO)', async () => {
  // Converse.js looks for the devices of a contact when it opens the chat, which may have been before they were published.
  for (const account of ['admin@localhost', 'juliet@localhost']) await haveKeys(account, 1);
  await admin.reload();
  await admin.waitForSelector('converse-user-profile');
  await opens(admin, 'juliet@localhost');
  await admin.click('.toggle-omemo[data-disabled="false"]');
  await admin.waitForSelector('.toggle-omemo .fa-lock');
  await say(admin, 'Between us alone');
  await sees(juliet, 'Between us alone');
  await juliet.waitForSelector('.chat-msg[data-encrypted="true"]');
});

step('a reload goes on where it was; a new browser has the history', async () => {
  await juliet.reload();
  await juliet.waitForSelector('converse-user-profile');
  await opens(juliet, 'admin@localhost');
  await sees(juliet, 'Between us alone');
  await say(juliet, 'I have reloaded');
  await sees(admin, 'I have reloaded');

  other = await browser.open('other', address);
  await logIn(other, 'juliet', secondPassword);
  await opens(other, 'admin@localhost');
  await sees(other, 'Good evening, and <welcome> & enjoy');
  await sees(other, 'Is it yet so near day?');
  await seesPicture(other);
});

// Converse.js does not cancel what is pending when it logs out, and then misses the session.
const afterLogout = /^other: (?:Cannot read properties of (?:undefined|null)|api\.disco\.)/;
step(
  'one of two browsers logs out',
  async () => {
    await haveKeys('juliet@localhost', 2);
    await other.click('.show-profile');
    await other.click('.modal.show .modal-footer .btn-danger');
    await other.click('converse-confirm-modal button[type="submit"]');
    await other.waitForSelector('converse-login-form');
    // Converse.js shows the form before it has forgotten the session.
    await until(other, `localStorage.getItem('conversejs-session-jid') === null`);
    await other.reload();
    await other.waitForSelector('converse-login-form');
    await say(admin, 'Are you still there?');
    await sees(juliet, 'Are you still there?');
  },
  afterLogout,
);

async function enters(page: Page, room: string, nick?: string): Promise<void> {
  await page.click('#chatrooms .dropdown-toggle');
  await page.click('.show-add-muc-modal');
  await page.fill('.modal.show input[name="chatroom"]', room);
  if (nick !== undefined) await page.fill('.modal.show input[name="nickname"]', nick);
  // The suggestions of addresses may cover the button.
  await page.press('.modal.show input[name="nickname"]', 'Enter');
  await page.waitForSelector('converse-muc .chat-textarea');
}

step('a room', async () => {
  for (const page of [admin, juliet]) await enters(page, 'garden');
  await admin.waitForSelector('converse-muc-occupants :text("juliet")');
  await say(admin, 'Welcome to the garden');
  await sees(juliet, 'Welcome to the garden');
  await say(juliet, 'The orchard walls are high');
  await sees(admin, 'The orchard walls are high');
  assert.deepEqual(await Browser.barriers(juliet, ofConverse), []);
  await admin.emulateMedia({ colorScheme: 'dark' });
  await picture(admin, 'room');
});

/** Would change the page if it were read as HTML. Reading it as a picture would ask for a file that is not there. */
const harmful = `<img src=x onerror=document.title='owned'>`;

step('names of rooms, people and files are text', async () => {
  await asks(['room', 'create', 'trap@conference.localhost', '--owner', 'admin@localhost', '--name', `The ${harmful}`]);
  await enters(admin, 'trap', `A ${harmful}`);
  await enters(juliet, 'trap', `J ${harmful}`);
  await admin.waitForSelector(`converse-muc-occupants :text("J ${harmful}")`);
  await juliet.waitForSelector(`converse-muc-heading :text("The ${harmful}")`);
  await say(admin, `Look: ${harmful}`);
  await sees(juliet, `Look: ${harmful}`);
  for (const [name, content] of [
    [`${harmful}.png`, readFileSync(join(root, 'web/icon-192.png'))],
    [`${harmful}.txt`, Buffer.from(harmful)],
  ] as const) {
    const file = join(folder, name);
    writeFileSync(file, content);
    await admin.setInputFiles('converse-muc .fileupload', file);
  }
  await seesPicture(juliet);
  await juliet.waitForSelector('.chat-msg a[href$=".txt"]');
  for (const page of [admin, juliet]) {
    assert.equal(await page.evaluate('document.querySelectorAll("[onerror], [onload]").length'), 0);
    assert.doesNotMatch(String(await page.evaluate('document.title')), /owned/);
  }
});

// --- the account page -----------------------------------------------------------------------------------------------

const parts = ['', '/password', '/devices', '/notifications', '/files', '/export', '/removal'];

async function entersAccount(page: Page, name: string, secret: string): Promise<void> {
  await page.fill('#address', name);
  await page.fill('#password', secret);
  await page.click('main button');
}

let account: Page;
let accountAddress = '';

step(
  'the account page: a wrong password, and the right one; nothing of it keeps anybody out',
  async () => {
    accountAddress = new URL('account', address).href;
    account = await browser.open('account', accountAddress);
    assert.deepEqual(await Browser.barriers(account), []);
    await entersAccount(account, 'admin@localhost', 'not this one');
    await account.waitForSelector('[role="alert"]');
    assert.deepEqual(await Browser.barriers(account), []);
    await entersAccount(account, 'admin', password);
    await account.waitForSelector('header strong:has-text("admin@localhost")');
    for (const part of parts) {
      await account.goto(`${accountAddress}${part}`);
      await account.waitForSelector(part === '' ? '[aria-current]' : `[aria-current][href$="${part}"]`);
      for (const colorScheme of ['light', 'dark'] as const) {
        await account.emulateMedia({ colorScheme });
        assert.deepEqual(await Browser.barriers(account), [], `${part} ${colorScheme}`);
      }
    }
  },
  /403/,
);

step('the account page: files are listed with their names as text, and deleted', async () => {
  await account.goto(`${accountAddress}/files`);
  await account.waitForSelector(`td a:has-text("${harmful}.txt")`);
  assert.equal(await account.evaluate('document.querySelectorAll("img, [onerror]").length'), 0);
  const before = Number(await account.evaluate('document.querySelectorAll("tbody tr").length'));
  await account.click(`tr:has(a:has-text("${harmful}.txt")) input`);
  await account.click('main button');
  await account.waitForSelector('[role="status"]');
  assert.equal(await account.evaluate('document.querySelectorAll("tbody tr").length'), before - 1);
});

step('the account page: the data is downloaded', async () => {
  await account.goto(`${accountAddress}/export`);
  await account.fill('#password', password);
  const [download] = await Promise.all([account.waitForEvent('download'), account.click('main button')]);
  const data = readFileSync(await download.path(), 'utf8');
  assert.match(data, /^<\?xml [\s\S]*<user [^>]*name="admin">[\s\S]*Is it yet so near day\?[\s\S]*<\/server-data>\n$/);
});

step(
  'the account page: a device is signed out, and its stream ends',
  async () => {
    const page = await browser.open('account of juliet', accountAddress, { javaScriptEnabled: false });
    await entersAccount(page, 'juliet@localhost', secondPassword);
    await page.waitForSelector('header');
    await page.goto(`${accountAddress}/devices`);
    // Converse.js connects again, with the password that it knows.
    const again = juliet.waitForEvent('websocket');
    await page.click('main tr button');
    await page.waitForSelector('[role="status"]');
    await again;
    await juliet.waitForSelector('converse-user-profile');
  },
  /^juliet: /,
);

step(
  'the account page: a new password; the old one is refused, also to the client that was connected',
  async () => {
    const fresh = 'it was the lark, the herald of the morn';
    const page = await browser.open('new password', accountAddress, { javaScriptEnabled: false, locale: 'de' });
    await entersAccount(page, 'juliet', secondPassword);
    await page.waitForSelector('header');
    await page.goto(`${accountAddress}/password`);
    await page.fill('#password', secondPassword);
    await page.fill('#new', fresh);
    await page.fill('#again', fresh);
    await page.click('#others');
    await page.click('main form button');
    await page.waitForSelector('[role="status"]:has-text("Das Passwort wurde geändert")');
    await juliet.waitForSelector('converse-login-form');
    await entersAccount(page, 'juliet', secondPassword);
    await page.waitForSelector('[role="alert"]');
    await entersAccount(page, 'juliet', fresh);
    await page.waitForSelector('header');
  },
  /^juliet: |403/,
);

step('the account page: an account is deleted', async () => {
  const page = await browser.open('leaving', accountAddress, { javaScriptEnabled: false });
  await entersAccount(page, 'benvolio', secondPassword);
  await page.waitForSelector('header');
  await page.goto(`${accountAddress}/removal`);
  await page.fill('#address', 'benvolio@localhost');
  await page.fill('#password', secondPassword);
  await page.click('main button');
  await page.waitForSelector('h1:has-text("Your account is deleted")');
  assert.doesNotMatch(await asks(['user', 'list']), /benvolio/);
});
