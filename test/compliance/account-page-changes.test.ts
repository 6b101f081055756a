/** The account page: what users see and change there, and what they cannot do to others. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule, portable } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { parse } from '../../src/server/xml/element.js';
import { oneProcess, type Peer, type Scene, scenario } from './dialogue.js';
import { uploads } from './files.js';
import { begin } from './http-client.js';
import { attempts, greeted, outcome } from './sasl.js';
import { noticeOf, problemsOf, type ShownForm, unescapeHtml, type Visitor, visitor } from './visitor.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
/** Would run if it were read as HTML. */
const harmful = `<img src=x onerror="alert(1)"> & 'quotes' "double"`;
const xml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;').replaceAll("'", '&apos;');

const isInert = (text: string) => assert.doesNotMatch(text, /<img|<script/);
/** The form whose row has this text. */
const rowWith = (page: Visitor, text: string) => {
  const row = page.page!.text.split('<tr>').find((one) => unescapeHtml(one).includes(text));
  assert.ok(row, `no row has ${text}`);
  return ({ html }: ShownForm) => row.includes(html);
};

/** A phone with a token (XEP-0484) for which it needs no password. */
async function remembers(scene: Scene, owner: string, clientId: string, device?: string): Promise<void> {
  const { accounts } = scene.stage.home(owner);
  const { epoch } = (await accounts.get(owner))!;
  const mechanism = 'HT-SHA-256-NONE';
  await accounts.tokens.issue(owner, { clientId, mechanism, epoch, login: 'PLAIN', agent: { device } });
}
const remembered = async (scene: Scene, owner: string): Promise<string[]> =>
  (await scene.stage.home(owner).accounts.tokens.devices(owner)).map(({ clientId }) => clientId);

// --- devices ------------------------------------------------------------------------------------------------------

scenario('a connected app is shown, and signed out', async (scene) => {
  const resource = `the <orchard> & "wall" \u05d0`;
  const phone = await scene.actor(`${romeo}/phone`);
  const odd = await scene.known(romeo);
  await odd.sends(`<iq type='set' id='b'><bind xmlns='${NS.bind}'><resource>${xml(resource)}</resource></bind></iq>`);
  await odd.receives(`<iq type='result' id='b'/>`);
  const page = await visitor(scene, romeo);
  const { text } = await page.sees('devices');
  assert.match(text, /<bdi>the &lt;orchard&gt; &amp; &quot;wall&quot; \u05d0<\/bdi>/);
  const ended = await page.sends('devices/end', {}, rowWith(page, resource));
  assert.equal(noticeOf(ended), 'It was signed out.');
  await odd.receivesStreamError('policy-violation');
  await phone.syncs();
  // Another one has the same name as soon as it is back; the old form is not for it.
  await page.sees('devices');
  const { values } = page.form('devices/end', rowWith(page, 'phone'));
  await phone.closes();
  await phone.isClosed();
  const gone = await page.posts('devices/end', values);
  assert.equal(gone.headers.location, '/account/devices?done=notThere');
});

scenario('an app with a token loses it with its session', async (scene) => {
  await scene.stage.account(romeo);
  const id = 'd4565fa7-4d72-4749-b3d3-740edbf87770';
  const [phone] = await greeted(scene.connect, { transport: 'tls', account: romeo }, { from: romeo });
  const inline = `<user-agent id='${id}'><software>${xml(harmful)}</software></user-agent><request-token xmlns='${NS.fast}' mechanism='HT-SHA-256-NONE'/><bind xmlns='${NS.bind2}'/>`;
  assert.equal(outcome(await attempts(phone, { inline })), 'success');
  await phone.receivesAny();
  await remembers(scene, romeo, 'tablet', `A tablet ${harmful}`);
  const page = await visitor(scene, romeo);
  isInert((await page.sees('devices')).text);
  assert.deepEqual((await remembered(scene, romeo)).sort(), [id, 'tablet'].sort());
  const ended = await page.sends('devices/end', {}, (one) => one.values.kind === 'session');
  assert.equal(noticeOf(ended), 'It was signed out.');
  await phone.receivesStreamError('policy-violation');
  assert.deepEqual(await remembered(scene, romeo), ['tablet']);
  await page.sends('devices/end', {}, rowWith(page, 'A tablet'));
  assert.deepEqual(await remembered(scene, romeo), []);
  assert.match(page.page!.text, /No app is connected[\s\S]*No device is remembered/);
});

scenario('all others are signed out, and this page stays', async (scene) => {
  const apps = [await scene.actor(`${romeo}/phone`), await scene.actor(`${romeo}/desk`)];
  const foreign = await scene.actor(`${juliet}/phone`);
  for (const owner of [romeo, juliet]) await remembers(scene, owner, 'tablet');
  const [page, other, hers] = [await visitor(scene, romeo), await visitor(scene, romeo), await visitor(scene, juliet)];
  await page.sees('devices');
  const done = await page.sends('devices/end', {}, (one) => one.values.kind === 'others');
  assert.equal(noticeOf(done), 'Everything else was signed out.');
  for (const app of apps) await app.receivesStreamError('policy-violation');
  assert.deepEqual(await remembered(scene, romeo), []);
  assert.deepEqual([await page.isIn(), await other.isIn()], [true, false]);
  await foreign.syncs();
  assert.deepEqual(await remembered(scene, juliet), ['tablet']);
  assert.ok(await hers.isIn());
});

scenario('ids of somebody else, and made up ones, end nothing', async (scene) => {
  const phone = await scene.actor(`${juliet}/phone`);
  await remembers(scene, juliet, 'tablet');
  const hers = await visitor(scene, juliet);
  await hers.sees('devices');
  const ids = hers.forms.flatMap(({ values }) => (values.id === undefined ? [] : [values]));
  assert.deepEqual(ids.map(({ kind }) => kind).sort(), ['device', 'session']);
  const page = await visitor(scene, romeo);
  for (const { kind, id } of [
    ...ids,
    { kind: 'login', id: 'x' },
    { kind: 'session', id: '' },
    { kind: 'device', id: harmful },
  ]) {
    await page.sees('devices');
    const { token } = page.form('devices/end', ({ values }) => values.kind === 'others').values;
    const { headers } = await page.posts('devices/end', { token: token!, kind: kind!, id: id! });
    assert.equal(headers.location, '/account/devices?done=notThere');
  }
  await page.sees('devices');
  const { token } = page.form('devices/end', ({ values }) => values.kind === 'others').values;
  assert.equal((await page.posts('devices/end', { token: token!, kind: 'all' })).status, 403);
  await phone.syncs();
  assert.deepEqual(await remembered(scene, juliet), ['tablet']);
  assert.ok(await hers.isIn());
});

// --- the password -------------------------------------------------------------------------------------------------

const logsIn = async (scene: Scene, secret: string): Promise<string> => {
  const [peer] = await greeted(scene.connect, { account: romeo });
  const result = outcome(await attempts(peer, { secret }));
  peer.cut();
  return result;
};

scenario('the password is changed, after the old one was entered again', async (scene) => {
  const phone = await scene.actor(`${romeo}/phone`);
  await remembers(scene, romeo, 'tablet');
  const [page, other] = [await visitor(scene, romeo), await visitor(scene, romeo)];
  const fresh = 'a nightingale "&" <lark>';
  const right = { password: 'pencil', new: fresh, again: fresh };
  await page.sees('password');
  assert.match(page.page!.text, /readonly aria-describedby|value="romeo@localhost"/);
  for (const [fields, status, field] of [
    [{ ...right, password: 'wrong' }, 403, 'password'],
    [{ ...right, password: '' }, 422, 'password'],
    [{ ...right, new: '', again: '' }, 422, 'new'],
    [{ ...right, new: 'abc', again: 'abc' }, 422, 'new'],
    [{ ...right, again: `${fresh} ` }, 422, 'again'],
    [{ ...right, new: 'with\u0007bell', again: 'with\u0007bell' }, 422, 'new'],
    [{ ...right, new: 'x'.repeat(2000), again: 'x'.repeat(2000) }, 422, 'new'],
  ] as const) {
    const answer = await page.sends('password', fields);
    assert.equal(answer.status, status, JSON.stringify(fields));
    assert.ok(answer.text.includes(`<a href="#${field}">`), answer.text);
    assert.match(
      answer.text,
      new RegExp(`id="${field}" [^>]*aria-describedby="${field}-error[^>]*aria-invalid="true"`),
    );
    assert.doesNotMatch(answer.text, /nightingale|pencil/);
  }
  assert.equal(await logsIn(scene, 'pencil'), 'success');
  const done = await page.sends('password', right);
  assert.match(noticeOf(done), /^The password was changed/);
  assert.deepEqual([await page.isIn(), await other.isIn()], [false, false]);
  assert.equal(await logsIn(scene, 'pencil'), 'not-authorized');
  assert.equal(await logsIn(scene, fresh), 'success');
  // Tokens are of the old password; who is connected stays unless asked.
  assert.deepEqual(await remembered(scene, romeo), []);
  await phone.syncs();
  assert.match((await page.logsIn('romeo')).text, /role="alert"/);
  await page.logsIn('romeo', fresh);
  await page.sees('password');
  await page.sends('password', { password: fresh, new: 'pencil', again: 'pencil', others: '1' });
  await phone.receivesStreamError('policy-violation');
});

scenario(
  'what the administrator has turned off is not there',
  { config: { modules: { register: { password_change: false }, account_page: { removal: false, export: false } } } },
  async (scene) => {
    const page = await visitor(scene, romeo);
    assert.doesNotMatch(page.page!.text, /Password|Download|Delete/);
    await page.sees('devices');
    for (const part of ['password', 'export', 'removal']) {
      assert.equal((await page.sees(part)).status, 404, part);
      assert.equal((await page.posts(part, { password: 'pencil' })).status, 404, part);
    }
  },
);

// --- notifications ------------------------------------------------------------------------------------------------

const enables = async (peer: Peer, owner: string, node: string): Promise<void> => {
  await peer.sends(
    `<iq type='set' id='e' to='${owner}'><enable xmlns='${NS.push}' jid='push.example' node='${xml(node)}'/></iq>`,
  );
  await peer.receives(`<iq type='result' id='e'/>`);
};

scenario('apps that are woken are shown, and removed', async (scene) => {
  const phone = await scene.actor(`${romeo}/phone`);
  const foreign = await scene.actor(`${juliet}/phone`);
  await enables(phone, romeo, harmful);
  await enables(phone, romeo, 'second');
  await enables(foreign, juliet, 'hers');
  const [page, hers] = [await visitor(scene, romeo), await visitor(scene, juliet)];
  const { text } = await page.sees('notifications');
  isInert(text);
  // The node is a secret between the app and its service.
  assert.doesNotMatch(text, /second/);
  const of = () => page.forms.filter(({ action }) => action === '/account/notifications/remove');
  assert.equal(of().length, 2);
  await hers.sees('notifications');
  const { id } = hers.form('notifications/remove').values;
  const foreignId = await page.sends('notifications/remove', { id: id! }, (one) => one.html === of()[0]!.html);
  assert.match(noticeOf(foreignId), /^It was not there/);
  assert.equal(of().length, 2);
  await page.sends('notifications/remove', {}, (one) => one.html === of()[0]!.html);
  assert.match(noticeOf(page.page!), /no more notifications/);
  await page.sends('notifications/remove');
  assert.match(page.page!.text, /No app gets notifications/);
  assert.equal(
    (await scene.stage.home(juliet).host('localhost')!.provided('pushApps')!.list(Jid.parse(juliet))).length,
    1,
  );
});

// --- files --------------------------------------------------------------------------------------------------------

scenario('files are shown and deleted, and nobody else’s', async (scene) => {
  const [his, hers] = [await scene.actor(`${romeo}/phone`), await scene.actor(`${juliet}/phone`)];
  const names = [`${harmful}.txt`, 'picture \u202egnp.exe', 'plain.txt'];
  for (const name of names) await uploads(scene, his, name, `content of ${name}`);
  await uploads(scene, hers, 'letter.txt', 'hers');
  const [page, other] = [await visitor(scene, romeo), await visitor(scene, juliet)];
  const { text } = await page.sees('files');
  isInert(text);
  assert.doesNotMatch(text, /\u202e/);
  assert.match(text, /3 files, \d+ B together/);
  const idsOf = (one: Visitor) => [...one.page!.text.matchAll(/name="file" value="([^"]+)"/g)].map(([, id]) => id!);
  await other.sees('files');
  const [foreign = ''] = idsOf(other);
  const ids = idsOf(page);
  const { token = '' } = page.form('files/delete').values;
  const none = await page.posts('files/delete', { token });
  assert.equal(none.status, 422);
  assert.equal(problemsOf(none), 'Choose at least one file.');
  const sends = async (chosen: readonly string[]) => {
    await page.sees('files');
    const fields = new URLSearchParams({ token: page.form('files/delete').values.token! });
    for (const id of chosen) fields.append('file', id);
    return (await page.posts('files/delete', fields)).headers.location;
  };
  assert.equal(await sends([foreign, '', '../x', 'a'.repeat(300)]), '/account/files?done=notThere');
  assert.equal(await sends([ids[0]!, foreign, ids[0]!]), '/account/files?done=filesDeleted');
  assert.equal(idsOf({ page: await page.sees('files') } as Visitor).length, 2);
  assert.equal(await sends(ids), '/account/files?done=filesDeleted');
  assert.match((await page.sees('files')).text, /You have no files/);
  await other.sees('files');
  assert.deepEqual(idsOf(other), [foreign]);
});

scenario('many files have pages', async (scene) => {
  const peer = await scene.actor(`${romeo}/phone`);
  await uploads(scene, peer, 'first.txt', '1');
  const host = scene.stage.home(romeo).host('localhost')!;
  const { files } = await host.provided('uploads')!.latest(Jid.parse(juliet), 1);
  assert.deepEqual(files, []);
  const page = await visitor(scene, romeo);
  for (const query of ['1', '2', '0', '-1', 'x', '99999999999', '1e3'])
    assert.match((await page.sees(`files?page=${query}`)).text, /first\.txt/, query);
});

// --- the data -----------------------------------------------------------------------------------------------------

scenario('the data of the account is downloaded, after the password was entered again', async (scene) => {
  const peer = await scene.actor(`${romeo}/phone`);
  await peer.sends(
    `<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='${juliet}' name='${xml(harmful)}'/></query></iq>`,
  );
  await peer.receives(`<iq type='result' id='r'/>`);
  await peer.sends(`<message to='${romeo}' type='chat'><body>note &lt;to&gt; oneself</body></message>`);
  await peer.syncs();
  const page = await visitor(scene, romeo);
  await page.sees('export');
  assert.equal(problemsOf(await page.sends('export', { password: 'wrong' })), 'The password is not right.');
  const { headers, text, status } = await page.sends('export', { password: 'pencil' });
  assert.equal(status, 200);
  assert.equal(headers['content-disposition'], 'attachment; filename="account.xml"');
  assert.equal(headers['cache-control'], 'no-store');
  const data = parse(text.replace(/^<\?xml.*?\?>/, ''));
  const user = data.getChild('host', NS.pie)!.getChild('user', NS.pie)!;
  assert.equal(data.getChild('host', NS.pie)!.attrs.jid, 'localhost');
  assert.equal(user.attrs.name, 'romeo');
  assert.equal(user.getChild('query', NS.roster)!.getChild('item')!.attrs.name, harmful);
  assert.match(text, /note &lt;to&gt; oneself/);
  // Neither the keys of the password nor who is logged in to the page.
  assert.doesNotMatch(text, /scram|stored-key|waxwing-login/i);
});

/** Exports a first part, and a second one once the test asks for it. */
function slowExport() {
  let goOn = () => {};
  const told = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const module = defineModule({
    name: 'slow',
    summary: 'Exports slowly.',
    implements: {},
    start: () => [
      portable({
        takes: [],
        async *export() {
          yield `<slow xmlns='urn:example:slow'>${'x'.repeat(100_000)}`;
          await told;
          yield `${'y'.repeat(100_000)}</slow>`;
        },
        import: async () => {},
      }),
    ],
  });
  return { module, goOn };
}

const slow = slowExport();

scenario(
  'an account that is deleted during its download: the file does not end, as if it were whole',
  { ...oneProcess, modules: [slow.module] },
  async (scene) => {
    const page = await visitor(scene, romeo);
    await page.sees('export');
    const body = new URLSearchParams({ ...page.form('export').values, password: 'pencil' }).toString();
    const headers = { ...page.headers, 'content-type': 'application/x-www-form-urlencoded' };
    const download = begin(scene, 'http', '/account/export', { method: 'POST', headers, body });
    download.end(body);
    const answer = await download.answer;
    assert.equal(answer.status, 200);
    const [first] = await new Promise<Buffer[]>((resolve) => answer.body.once('data', (chunk) => resolve([chunk])));
    answer.body.pause();
    assert.match(String(first), /^<\?xml/);
    // One at a time.
    await page.sees('export');
    const second = await page.sends('export', { password: 'pencil' });
    assert.equal(second.status, 429);
    await page.sees('removal');
    const removed = await page.sends('removal', { address: romeo, password: 'pencil' });
    assert.equal(removed.status, 200);
    slow.goOn();
    await assert.rejects(buffer(answer.body));
  },
);

// --- removal ------------------------------------------------------------------------------------------------------

scenario('the account is deleted, after its address was typed and the password entered again', async (scene) => {
  const phone = await scene.actor(`${romeo}/phone`);
  const page = await visitor(scene, romeo);
  const { accounts } = scene.stage.home(romeo);
  await page.sees('removal');
  for (const [fields, status] of [
    [{ address: '', password: 'pencil' }, 422],
    [{ address: juliet, password: 'pencil' }, 422],
    [{ address: 'romeo', password: 'pencil' }, 422],
    [{ address: `${romeo}/phone`, password: 'pencil' }, 422],
    [{ address: harmful, password: 'pencil' }, 422],
    [{ address: romeo, password: 'wrong' }, 403],
    [{ address: romeo, password: '' }, 422],
  ] as const) {
    const answer = await page.sends('removal', fields);
    assert.equal(answer.status, status, JSON.stringify(fields));
    isInert(answer.text);
  }
  await phone.syncs();
  const { values } = page.form('removal');
  const fields = { ...values, address: ' Romeo@LOCALHOST ', password: 'pencil' };
  const statuses = (await Promise.all([1, 2].map(() => page.posts('removal', fields)))).map(({ status }) => status);
  // The second one comes before the account is gone, or after it.
  assert.equal(statuses.filter((status) => status === 200).length, 1);
  assert.ok(statuses.some((status) => status === 409 || status === 403));
  await phone.receivesStreamError('not-authorized');
  assert.equal(await accounts.exists(romeo), false);
  assert.ok(!(await page.isIn()));
  assert.equal((await page.posts('removal', fields)).status, 403);
  // An account of the same name is another one.
  await accounts.create(Jid.parse(romeo), 'pencil');
  assert.ok(!(await page.isIn()));
  await accounts.remove(romeo);
});
