import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import adhoc from '../../src/modules/xep-0050-adhoc.js';
import admin from '../../src/modules/xep-0133-admin/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { el, serialize } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const { accounts, connect, account, stop } = await startHost([roster, disco, adhoc, admin], {
  config: { hosts: { 'example.org': { admins: ['root@example.org'] } } },
});
after(stop);
for (const name of ['root', 'alice', 'bob', 'carol']) await account(name, { 'romeo@example.net': 'both' });
const root = connect('root@example.org/r');
const alice = connect('alice@example.org/a');

const command = (node: string, attributes = '', content = '') =>
  `<iq type="set" id="1" to="example.org"><command xmlns="${NS.commands}" node="${NS.admin}#${node}"${attributes}>${content}</command></iq>`;

/** Asks for the form, checks that it has these fields, and submits them. */
async function run(node: string, values?: Record<string, string | readonly string[]>): Promise<string> {
  const first = await root.asks(command(node));
  if (values === undefined) return first;
  assert.match(first, /status="executing"/, first);
  for (const name of Object.keys(values)) assert.ok(first.includes(`var="${name}"`), `${name} in ${first}`);
  const session = /sessionid="([^"]+)"/.exec(first)![1];
  const fields = Object.entries(values).map(([name, value]) =>
    el('field', { var: name }, ...[value].flat().map((one) => el('value', null, one))),
  );
  const form = el('x', { xmlns: NS.dataForms, type: 'submit' }, ...fields);
  return root.asks(command(node, ` sessionid="${session}"`, serialize(form)));
}

const isDone = (answer: string) => assert.match(answer, /type="result".*status="completed"/, answer);

const fails = (answer: string) => assert.match(answer, /status="completed".*<note type="error"/, answer);

test('only administrators can list and run the commands', async () => {
  const list = `<iq type="get" id="1" to="example.org"><query xmlns="${NS.discoItems}" node="${NS.commands}"/></iq>`;
  assert.equal((await root.asks(list)).match(/<item [^>]*node="http:\/\/jabber.org\/protocol\/admin#/g)?.length, 30);
  assert.doesNotMatch(await alice.asks(list), /<item /);
  assert.match(await alice.asks(command('get-online-users-num')), /<forbidden /);
  assert.match(await alice.asks(command('delete-user')), /<forbidden /);
});

test('add a user', async () => {
  const values = { accountjid: 'dave@example.org', password: 'correct horse', 'password-verify': 'correct horse' };
  isDone(await run('add-user', values));
  assert.notEqual(await accounts.verifyPassword('dave@example.org', 'correct horse'), undefined);
  assert.match(await run('add-user', values), /<conflict /);
  fails(await run('add-user', { ...values, 'password-verify': 'other' }));
  fails(await run('add-user', { ...values, accountjid: 'eve@example.com' }));
  fails(await run('add-user', { ...values, accountjid: '' }));
});

test('change a password', async () => {
  isDone(await run('change-user-password', { accountjid: 'dave@example.org', password: 'battery staple' }));
  assert.notEqual(await accounts.verifyPassword('dave@example.org', 'battery staple'), undefined);
  fails(await run('change-user-password', { accountjid: 'nobody@example.org', password: 'battery staple' }));
});

test('disable and enable users', async () => {
  isDone(await run('disable-user', { accountjids: ['bob@example.org', 'carol@example.org'] }));
  assert.equal((await accounts.get('bob@example.org'))?.disabled, true);
  assert.match(await run('get-disabled-users-num'), /<value>2<\/value>/);
  assert.match(
    await run('get-disabled-users-list', { max_items: '25' }),
    /bob@example.org<\/value><value>carol@example/,
  );
  isDone(await run('reenable-user', { accountjids: ['bob@example.org', 'carol@example.org'] }));
  assert.equal((await accounts.get('bob@example.org'))?.disabled, false);
});

test('delete users: all or none, and not oneself', async () => {
  fails(await run('delete-user', { accountjids: ['dave@example.org', 'nobody@example.org'] }));
  assert.match(await run('delete-user', { accountjids: ['dave@example.org', 'root@example.org'] }), /<not-allowed /);
  assert.equal(await accounts.exists('dave@example.org'), true);
  isDone(await run('delete-user', { accountjids: 'dave@example.org' }));
  assert.equal(await accounts.exists('dave@example.org'), false);
});

test('numbers and lists', async () => {
  assert.match(await run('get-registered-users-num'), /var="registeredusersnum"[^>]*><value>4<\/value>/);
  const all = await run('get-registered-users-list', { max_items: 'none' });
  assert.deepEqual(
    [...all.matchAll(/<value>([^<]*@example.org)/g)].map(([, jid]) => jid),
    ['alice@example.org', 'bob@example.org', 'carol@example.org', 'root@example.org'],
  );
  assert.doesNotMatch(all, /<note/);
  await alice.appears('<presence><show>away</show></presence>');
  assert.match(await run('get-online-users-num'), /var="onlineusersnum"[^>]*><value>2<\/value>/);
  assert.match(await run('get-active-users-num'), /<value>0<\/value>/);
  assert.match(await run('get-idle-users', { max_items: '25' }), /alice@example.org.*root@example.org/);
  assert.match(
    await run('get-online-users-list', { max_items: '25', after: 'b' }),
    /jids"[^>]*><value>root@example.org/,
  );
});

test('a truncated list says so, and continues', async () => {
  for (let n = 0; n < 30; n++) await account(`user${String(n).padStart(2, '0')}`);
  const cut = await run('get-registered-users-list', { max_items: '25' });
  const last = /<note type="warn">The list continues after (.*?)\.<\/note>/.exec(cut)![1]!;
  const rest = await run('get-registered-users-list', { max_items: '25', after: last });
  const listed = [...`${cut}${rest}`.matchAll(/<value>([^<]*@example.org)/g)].map(([, jid]) => jid);
  assert.equal(new Set(listed).size, 34);
  assert.equal(listed.length, 34);
});

test('roster, statistics, last login', async () => {
  const contacts = await run('get-user-roster', { accountjids: 'alice@example.org' });
  assert.match(contacts, /<query xmlns="jabber:iq:roster"><item jid="romeo@example.net" subscription="both"\/>/);
  alice.session.connection = { kind: 'tls', secure: true, remoteAddress: '192.0.2.7', answered() {}, close() {} };
  const stats = await run('user-stats', { accountjid: 'alice@example.org' });
  assert.match(stats, /<value>192.0.2.7<\/value>.*rostersize"[^>]*><value>1<.*onlineresources"[^>]*><value>a</);
  accounts.noteLogin('alice@example.org');
  assert.match(await run('get-user-lastlogin', { accountjids: 'alice@example.org' }), /lastlogin"[^>]*><value>20\d\d-/);
});

test('end one session, or all', async () => {
  const [one, other] = [connect('bob@example.org/1'), connect('bob@example.org/2')];
  isDone(await run('end-user-session', { accountjids: one.session.jid.full }));
  assert.match(
    await run('user-stats', { accountjid: 'bob@example.org' }),
    /onlineresources"[^>]*><value>2<\/value><\/field>/,
  );
  isDone(await run('end-user-session', { accountjids: other.session.jid.bare }));
  assert.match(await run('get-online-users-num'), /<value>2<\/value>/);
});

test('an announcement reaches all online users', async () => {
  alice.received.length = 0;
  isDone(await run('announce', { announcement: ['Going down', 'in a minute'] }));
  assert.equal(alice.received.length, 1);
  assert.match(
    alice.received[0]!,
    /from="example.org" type="headline"><subject>Announcement.*<body>Going down\nin a minute</,
  );
});

test('the message of the day is sent once, immediately or at the next login', async () => {
  alice.received.length = 0;
  isDone(await run('set-motd', { motd: ['Be kind.'] }));
  assert.match(alice.received.splice(0).join(), /<body>Be kind.</);
  await alice.appears();
  assert.deepEqual(alice.received, []);
  const bob = connect('bob@example.org/b');
  await bob.appears();
  assert.match(bob.received.splice(0).join(), /<body>Be kind.</);

  const edited = await run('edit-motd', { motd: ['Be kinder.'] });
  isDone(edited);
  await bob.appears();
  assert.deepEqual(bob.received, []); // bob had it
  const carol = connect('carol@example.org/c');
  await carol.appears();
  assert.match(carol.received.splice(0).join(), /<body>Be kinder.</);
  assert.match(await root.asks(command('edit-motd')), /<value>Be kinder.<\/value>/);

  isDone(await run('set-motd', { motd: ['News.'] }));
  assert.match(bob.received.splice(0).join(), /<body>News.</);
  isDone(await run('delete-motd'));
  const late = connect('user01@example.org/x');
  await late.appears();
  assert.deepEqual(late.received, []);
});

test('new accounts get the welcome message once, existing ones do not', async () => {
  isDone(await run('set-welcome', { welcome: ['Hello', 'there'] }));
  const before = connect('user02@example.org/x');
  await before.appears();
  assert.deepEqual(before.received, []);
  await account('zoe');
  const fresh = connect('zoe@example.org/x');
  await fresh.appears();
  assert.match(fresh.received.splice(0).join(), /<subject>Welcome<.*<body>Hello\nthere</);
  await fresh.appears();
  assert.deepEqual(fresh.received, []);
  isDone(await run('delete-welcome'));
});
