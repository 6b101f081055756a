/** The account page: logging in, and what keeps others out. test/web has it in a browser. */
import assert from 'node:assert/strict';
import { takeClocks } from '../unit/clocks.js';
import { hits, oneProcess, type Scene, scenario } from './dialogue.js';
import { ask, begin, ways } from './http-client.js';
import { attempts, greeted, outcome } from './sasl.js';
import { noticeOf, problemsOf, Visitor, visitor } from './visitor.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';

const wrong = 'The address or the password is not right.';
const later = /^There were too many attempts/;

scenario('a login by name or address, and a logout', async (scene) => {
  await scene.stage.account(romeo);
  for (const address of ['romeo', romeo, ' ROMEO@LOCALHOST ']) {
    const page = new Visitor(scene);
    assert.ok(!(await page.isIn()));
    const { status, text } = await page.logsIn(address);
    assert.equal(status, 200, address);
    assert.match(text, /<strong><bdi>romeo@localhost<\/bdi><\/strong>/);
    const left = await page.sends('logout');
    assert.equal(noticeOf(left), 'You are signed out.');
    assert.ok(!(await page.isIn()));
  }
});

for (const way of ways)
  scenario(`the cookie is for this page alone, and pages for nobody else (${way})`, async (scene) => {
    await scene.stage.account(romeo);
    const page = new Visitor(scene, { way });
    await page.sees();
    const { values } = page.form('login');
    const { headers, status } = await page.posts('login', { ...values, address: 'romeo', password: 'pencil' });
    assert.equal(status, 303);
    const cookie = [headers['set-cookie']].flat().find((one) => /waxwing-login=./.test(one!))!;
    const attributes = cookie.split('; ').slice(1);
    const own = way === 'http' ? ['Path=/account'] : ['Path=/', 'Secure'];
    assert.deepEqual(attributes.sort(), [...own, 'HttpOnly', 'SameSite=Strict', 'Max-Age=1800'].sort());
    assert.equal(cookie.startsWith('__Host-waxwing-login='), way !== 'http');
    for (const part of ['', 'password', 'devices', 'notifications', 'files', 'export', 'removal']) {
      const { status: found, headers: all, text } = await page.sees(part);
      assert.equal(found, 200, part);
      assert.equal(all['cache-control'], 'no-store');
      assert.equal(
        all['content-security-policy'],
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
      );
      assert.equal(all['x-frame-options'], 'DENY');
      assert.doesNotMatch(text, /<script|<style| style=| on\w+=|pencil/);
      assert.match(text, /<html lang="en">/);
    }
    assert.equal((await page.sees('style.css')).headers['content-type'], 'text/css; charset=utf-8');
  });

scenario('in the language of the visitor', async (scene) => {
  const page = new Visitor(scene, { headers: { 'accept-language': 'fr, de-CH;q=0.9, en;q=0.2' } });
  await scene.stage.account(romeo);
  const { text, headers } = await page.logsIn('romeo', 'wrong');
  assert.equal(headers['content-language'], 'de');
  assert.match(text, /<html lang="de">[\s\S]*Adresse oder Passwort stimmen nicht/);
  await page.logsIn('romeo');
  for (const part of ['', 'password', 'devices', 'notifications', 'files', 'export', 'removal'])
    assert.match((await page.sees(part)).text, /<html lang="de">[\s\S]*Abmelden/);
});

scenario('who may not log in is told the same as who has a wrong password', async (scene) => {
  for (const name of ['romeo', 'tybalt']) await scene.stage.account(`${name}@localhost`);
  await scene.stage.home('tybalt@localhost').accounts.disable('tybalt@localhost');
  const page = new Visitor(scene);
  const told: string[] = [];
  for (const [address, password] of [
    ['romeo', 'wrong'],
    ['tybalt', 'pencil'],
    ['nobody', 'pencil'],
    ['romeo@elsewhere.example', 'pencil'],
    ['romeo@localhost/phone', 'pencil'],
    ['localhost', 'pencil'],
    ['"><script>@localhost', 'pencil'],
    ['a'.repeat(3000), 'pencil'],
    ['romeo\0', 'pencil'],
    ['romeo', 'x'.repeat(2000)],
  ] as const) {
    const answer = await page.logsIn(address, password);
    assert.equal(answer.status, 403, address);
    assert.equal(problemsOf(answer), wrong, address);
    assert.doesNotMatch(answer.text, /<script>/);
    told.push(answer.text.replace(/value="[^"]*"/g, ''));
  }
  assert.equal(new Set(told).size, 1);
  for (const [address, password] of [
    ['', 'pencil'],
    ['romeo', ''],
  ] as const) {
    const answer = await page.logsIn(address, password);
    assert.equal(answer.status, 422);
    assert.match(answer.text, /aria-invalid="true" autofocus/);
  }
});

const strict = { alone: true, config: { auth: { failures_per_account: 3 } } } as const;

scenario('guesses are counted together with those of streams', strict, async (scene) => {
  const page = new Visitor(scene);
  await scene.stage.account(romeo);
  for (const guess of ['one', 'two', 'three']) assert.equal(problemsOf(await page.logsIn('romeo', guess)), wrong);
  const { status } = await page.logsIn('romeo');
  assert.equal(status, 429);
  assert.match(problemsOf(page.page!), later);
  assert.equal(await hits(scene, 'auth.failures_per_account'), 1);
  const [stream] = await greeted(scene.connect, { account: romeo });
  assert.equal(outcome(await attempts(stream)), 'temporary-auth-failure');
  // Another account is not concerned.
  await visitor(scene, juliet);
});

scenario('guesses at once are bounded as well, and the right one among them is refused', strict, async (scene) => {
  await scene.stage.account(romeo);
  const page = new Visitor(scene);
  await page.sees();
  const { values } = page.form('login');
  const guesses = Array.from({ length: 12 }, (_, at) => `guess ${at}`);
  const answers = await Promise.all(
    guesses.map((password) => page.posts('login', { ...values, address: 'romeo', password })),
  );
  assert.equal(answers.filter(({ status }) => status === 403).length, 3);
  assert.equal((await page.logsIn('romeo')).status, 429);
});

scenario('guesses within a login are counted too', strict, async (scene) => {
  const page = await visitor(scene, romeo);
  await page.sees('export');
  const told: string[] = [];
  for (let at = 0; at < 8; at++) told.push(problemsOf(await page.sends('export', { password: `guess ${at}` })));
  assert.ok(told.every((one) => one === 'The password is not right.' || later.test(one)));
  assert.equal(told[0], 'The password is not right.');
});

const cookieNames = ['waxwing-login'] as const;

scenario('a cookie is worth nothing with another account or at another host', async (scene) => {
  const page = await visitor(scene, romeo);
  await scene.stage.account(juliet);
  await scene.stage.account('romeo@elsewhere.example');
  const [name] = cookieNames;
  const [, secret] = page.cookies.get(name)!.split('.');
  const as = async (value: string, host = 'localhost') => {
    const thief = new Visitor(scene, { host });
    thief.cookies.set(name, value);
    return (await thief.isIn()) ? 'in' : 'out';
  };
  const encoded = (text: string) => Buffer.from(text).toString('base64url');
  assert.equal(await as(page.cookies.get(name)!), 'in');
  for (const local of ['juliet', 'nobody', 'romeo@localhost', 'ROMEO', 'romeo/phone', 'romeo\0', '', 'é'])
    assert.equal(await as(`${encoded(local)}.${secret}`), 'out', local);
  assert.equal(await as(page.cookies.get(name)!, 'elsewhere.example'), 'out');
  for (const value of [
    'x',
    '.',
    `${encoded('romeo')}.`,
    `${encoded('romeo')}.${'A'.repeat(32)}`,
    'a.b.c',
    '%00',
    'a'.repeat(5000),
  ])
    assert.equal(await as(value), 'out', value);
  // With the name of the cookie over TLS, it is not one for a connection without.
  const other = new Visitor(scene);
  other.cookies.set(`__Host-${name}`, page.cookies.get(name)!);
  assert.ok(!(await other.isIn()));
});

scenario('a form without its token, with a forged one, or of somebody else, changes nothing', async (scene) => {
  const page = await visitor(scene, romeo);
  const other = await visitor(scene, juliet);
  await other.sees('devices');
  const foreign = other.form('devices/end').values.token!;
  await page.sees('devices');
  const { token = '' } = page.form('devices/end', ({ values }) => values.kind === 'others').values;
  const phone = await scene.actor(`${romeo}/phone`);
  const [at, nonce, proof] = token.split('.');
  const logout = page.form('logout').values.token!;
  for (const wrongToken of [
    '',
    'x',
    foreign,
    logout,
    `${token}x`,
    `${at}.${nonce}.${'A'.repeat(43)}`,
    `${at}.${'A'.repeat(16)}.${proof}`,
    `${(Number.parseInt(at!, 36) + 1).toString(36)}.${nonce}.${proof}`,
  ]) {
    const answer = await page.posts('devices/end', { token: wrongToken, kind: 'others' });
    assert.equal(answer.status, 403, wrongToken);
    assert.match(problemsOf(answer), /^The form was not made for this page/);
  }
  assert.equal((await page.posts('devices/end', { kind: 'others' })).status, 403);
  // From a page of another site, if its visitor's browser sent the cookie all the same.
  for (const site of ['cross-site', 'same-site', 'none']) {
    const answer = await page.posts('devices/end', { token, kind: 'others' }, { 'sec-fetch-site': site });
    assert.equal(answer.status, 403, site);
  }
  const plain = await page.posts('devices/end', { token, kind: 'others' }, { 'content-type': 'text/plain' });
  assert.equal(plain.status, 415);
  await phone.syncs();
  // Unused so far.
  const own = await page.posts('devices/end', { token, kind: 'others' }, { 'sec-fetch-site': 'same-origin' });
  assert.equal(own.status, 303);
  await phone.receivesStreamError('policy-violation');
});

scenario('the same form twice does its work once, one after the other or at once', async (scene) => {
  const page = await visitor(scene, romeo);
  await page.sees('devices');
  const of = () => page.form('devices/end', ({ values }) => values.kind === 'others').values;
  const first = of();
  assert.equal((await page.posts('devices/end', first)).status, 303);
  const again = await page.posts('devices/end', first);
  assert.equal(again.status, 409);
  assert.match(problemsOf(again), /^This form was sent before/);
  await page.sees('devices');
  const values = of();
  const statuses = await Promise.all([1, 2, 3, 4].map(async () => (await page.posts('devices/end', values)).status));
  assert.deepEqual(statuses.sort(), [303, 409, 409, 409]);
});

scenario('nobody is logged in by a form of another site', async (scene) => {
  await scene.stage.account(romeo);
  const victim = new Visitor(scene);
  const attacker = new Visitor(scene);
  await attacker.sees();
  const fields = { ...attacker.form('login').values, address: 'romeo', password: 'pencil' };
  const without = await victim.posts('login', fields);
  assert.equal(without.status, 403);
  assert.match(problemsOf(without), /cookies/);
  await victim.sees();
  assert.equal((await victim.posts('login', fields)).status, 403);
  assert.ok(!(await victim.isIn()));
  const crossing = await attacker.posts('login', fields, { 'sec-fetch-site': 'cross-site' });
  assert.equal(crossing.status, 403);
});

scenario('half a form does nothing, and a long one is refused', async (scene) => {
  const page = await visitor(scene, romeo);
  await page.sees('devices');
  const { token } = page.form('devices/end', ({ values }) => values.kind === 'others').values;
  const phone = await scene.actor(`${romeo}/phone`);
  const body = new URLSearchParams({ kind: 'others', token: token! }).toString();
  const headers = {
    ...page.headers,
    'content-type': 'application/x-www-form-urlencoded',
    'content-length': String(body.length + 100),
    expect: '100-continue',
  };
  const half = begin(scene, 'http', '/account/devices/end', { method: 'POST', headers });
  await half.continued;
  half.write(body);
  half.cut();
  await phone.syncs();
  const long = await page.posts('devices/end', { kind: 'others', token: token!, more: 'x'.repeat(20_000) });
  assert.equal(long.status, 413);
  await phone.syncs();
  await page.sees('devices');
  assert.equal(
    noticeOf(await page.sends('devices/end', {}, ({ values }) => values.kind === 'others')),
    'Everything else was signed out.',
  );
  await phone.receivesStreamError('policy-violation');
});

scenario('a login lasts for its time', { alone: true }, async (scene) => {
  const page = await visitor(scene, romeo);
  await page.sees('devices');
  const { values } = page.form('devices/end', (one) => one.values.kind === 'others');
  const clocks = takeClocks();
  try {
    clocks.pass(1_801_000);
    assert.ok(!(await page.isIn()));
    const late = await page.posts('devices/end', values);
    assert.equal(late.status, 403);
    assert.match(problemsOf(late), /^You are not signed in any more/);
  } finally {
    clocks.restore();
  }
});

scenario('a further login ends the oldest', { config: { modules: { account_page: { logins: 2 } } } }, async (scene) => {
  const pages: Visitor[] = [];
  for (let at = 0; at < 4; at++) pages.push(await visitor(scene, romeo));
  const standing: boolean[] = [];
  for (const page of pages) standing.push(await page.isIn());
  assert.deepEqual(standing, [false, false, true, true]);
});

scenario('a login survives a restart, with the forms that were sent', oneProcess, async (scene) => {
  const page = await visitor(scene, romeo);
  await page.sees('devices');
  const { values } = page.form('devices/end', (one) => one.values.kind === 'others');
  assert.equal((await page.posts('devices/end', values)).status, 303);
  await scene.stage.restart();
  assert.ok(await page.isIn());
  assert.equal((await page.posts('devices/end', values)).status, 409);
});

scenario('a second login in one browser ends the first', async (scene) => {
  const page = await visitor(scene, romeo);
  const first = new Visitor(scene);
  for (const [name, value] of page.cookies) first.cookies.set(name, value);
  await scene.stage.account(juliet);
  const old = page.cookies.get('waxwing-login')!;
  page.cookies.delete('waxwing-login');
  await page.sees();
  const { values } = page.form('login');
  page.cookies.set('waxwing-login', old);
  assert.equal((await page.posts('login', { ...values, address: 'juliet', password: 'pencil' })).status, 303);
  assert.match((await page.sees()).text, /juliet@localhost/);
  assert.ok(!(await first.isIn()));
});

scenario('a part for people who are logged in leads there after the login', async (scene) => {
  await scene.stage.account(romeo);
  const page = new Visitor(scene);
  const there = await page.sees('files');
  assert.deepEqual([there.status, there.headers.location], [303, '/account?next=files']);
  await page.sees('?next=files');
  assert.match((await page.sends('login', { address: 'romeo', password: 'pencil' })).text, /<h1>Files<\/h1>/);
  // Nowhere else.
  for (const next of ['//evil.example', 'https://evil.example/', '../x', 'overview', 'constructor']) {
    const other = new Visitor(scene);
    await other.sees(`?next=${encodeURIComponent(next)}&done=${encodeURIComponent('<b>')}`);
    assert.doesNotMatch(other.page!.text, /evil|<b>/);
    const { values } = other.form('login');
    const { headers } = await other.posts('login', { ...values, next, address: 'romeo', password: 'pencil' });
    assert.equal(headers.location, '/account');
  }
});

scenario('addresses that are not there, and those of forms', async (scene) => {
  const page = await visitor(scene, romeo);
  for (const part of ['nothing', 'overview', 'devices/', 'constructor', '..%2f', 'devices/end/x', '%3Cscript%3E'])
    assert.equal((await page.sees(part)).status, 404, part);
  for (const [part, to] of [
    ['devices/end', '/account/devices'],
    ['login', '/account'],
    ['logout', '/account'],
  ] as const)
    assert.equal((await page.sees(part)).headers.location, to);
  assert.equal((await page.posts('nothing', {})).status, 404);
  assert.equal((await page.posts('constructor', {})).status, 404);
  const { status } = await ask(scene, 'http', '/account', { method: 'DELETE' });
  assert.equal(status, 405);
});

const proxied = { config: { http: { forwarded_from: ['127.0.0.0/8'] } } };

scenario('without encryption nobody gets a form from afar', proxied, async (scene) => {
  await scene.stage.account(romeo);
  const from = (proto: string) => ({ 'x-forwarded-for': '203.0.113.7', 'x-forwarded-proto': proto });
  const plain = new Visitor(scene, { headers: from('http') });
  const { status, text } = await plain.sees();
  assert.equal(status, 403);
  assert.doesNotMatch(text, /<form/);
  assert.equal((await plain.posts('login', { address: 'romeo', password: 'pencil' })).status, 403);
  const secure = new Visitor(scene, { headers: from('https') });
  await secure.logsIn('romeo');
  assert.ok(secure.cookies.has('__Host-waxwing-login'));
  assert.ok(await secure.isIn());
  assert.match((await secure.sees('devices')).text, /203\.0\.113\.7/);
});

const off = { config: { modules: { account_page: { enabled: false } } } };

scenario('it can be turned off', off, async (scene: Scene) => {
  assert.equal((await ask(scene, 'http', '/account')).status, 404);
});
