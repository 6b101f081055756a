import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import register from '../../src/modules/xep-0077-register.js';
import type { Session } from '../../src/server/routing/session.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { serialize } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const query = (content: string) => `<query xmlns="${NS.register}">${content}</query>`;
const naming = (username: string, password = 'correct horse') =>
  query(`<username>${username}</username><password>${password}</password>`);
const set = (content: string, to = 'example.org') => `<iq type="set" id="1" to="${to}">${content}</iq>`;

type Started = Awaited<ReturnType<typeof startHost>>;

/** The answer on an unauthenticated stream: the condition of the error, or the payload of the result. */
async function unauthenticated(
  { host }: Started,
  type: 'get' | 'set',
  payload: string,
  { secure = true, remoteAddress = '192.0.2.1' } = {},
): Promise<string> {
  const stanza = Stanza.parse(`<iq type="${type}" id="r1">${payload}</iq>`);
  const handler = host.hooks.beforeLogin.get(`${type} query ${NS.register}`)!;
  try {
    const request = {
      stream: {},
      stanza,
      payload: stanza.children()[0]!,
      secure,
      trusted: true,
      remoteAddress,
      extendDeadline: () => {},
    };
    const answer = await handler(request);
    return answer === undefined ? 'result' : serialize(answer as never);
  } catch (error) {
    assert.ok(error instanceof StanzaError, String(error));
    return error.condition;
  }
}

const withConfig = (config: Record<string, unknown>) =>
  startHost([roster, register], { config: { modules: { register: config } } });

const closed = await withConfig({});
const open = await withConfig({ open: true, per_address: 'unlimited', in_all: 'unlimited' });
after(closed.stop);
after(open.stop);

const features = ({ host }: Started, secure: boolean, remoteAddress = '192.0.2.1') =>
  host.hooks.streamFeatures
    .filter(({ phase }) => phase === 'unauthenticated')
    .map(({ feature }) => feature({ secure, remoteAddress, kind: 'tcp', account: undefined }));

test('nobody can create accounts unless the configuration allows it', async () => {
  assert.equal(await unauthenticated(closed, 'get', query('')), 'service-unavailable');
  assert.equal(await unauthenticated(closed, 'set', naming('mercutio')), 'service-unavailable');
  assert.equal(await closed.accounts.exists('mercutio@example.org'), false);
  assert.deepEqual(features(closed, true), [undefined]);
  assert.match(String(features(open, true)[0]), /<register xmlns="http:\/\/jabber.org\/features\/iq-register"/);
});

test('not over an unencrypted connection, except from this machine', async () => {
  assert.equal(await unauthenticated(open, 'set', naming('plain'), { secure: false }), 'not-authorized');
  assert.deepEqual(features(open, false), [undefined]);
  const local = { secure: false, remoteAddress: '::1' };
  assert.notEqual(features(open, false, '::1')[0], undefined);
  assert.equal(await unauthenticated(open, 'set', naming('local'), local), 'result');
});

test('the fields, also as a form', async () => {
  const answer = await unauthenticated(open, 'get', query(''));
  assert.match(answer, /<instructions>Choose .* at least 8 characters\.<\/instructions><username\/><password\/><x /);
  assert.match(answer, /<value>jabber:iq:register<\/value>.*var="username".*<required\/>/);
});

test('an account is created once, under its normalised name', async () => {
  assert.equal(await unauthenticated(open, 'set', naming('Alice')), 'result');
  assert.notEqual(await open.accounts.verifyPassword('alice@example.org', 'correct horse'), undefined);
  assert.equal(await unauthenticated(open, 'set', naming('ALICE', 'taken over')), 'conflict');
  assert.equal(await open.accounts.verifyPassword('alice@example.org', 'taken over'), undefined);
});

test('an account is created by a form', async () => {
  const field = (name: string, value: string) => `<field var="${name}"><value>${value}</value></field>`;
  const form = (...fields: string[]) => query(`<x xmlns="jabber:x:data" type="submit">${fields.join('')}</x>`);
  assert.equal(
    await unauthenticated(open, 'set', form(field('username', 'formed'), field('password', 'correct horse'))),
    'result',
  );
  assert.equal(await open.accounts.exists('formed@example.org'), true);
  assert.equal(await unauthenticated(open, 'set', form(field('username', 'formed2'))), 'not-acceptable');
});

for (const [what, payload] of Object.entries({
  'no password': query('<username>x</username>'),
  'an empty password': query('<username>x</username><password/>'),
  'no name': query('<password>correct horse</password>'),
  'a short password': naming('x', 'short'),
  'an impossible name': naming('a b'),
  'an address with a resource': naming('x@example.org/r'),
  'an address of another host': naming('x@example.com'),
  nothing: query(''),
})) {
  test(`not acceptable: ${what}`, async () => {
    assert.equal(await unauthenticated(open, 'set', payload), 'not-acceptable');
  });
}

test("names that seem to be the operator's are reserved", async () => {
  for (const name of ['admin', 'Postmaster'])
    assert.equal(await unauthenticated(open, 'set', naming(name)), 'conflict');
});

test('accounts per address are limited', async () => {
  const server = await withConfig({ open: true, per_address: 2, in_all: 4 });
  after(server.stop);
  const from = (remoteAddress: string, name: string) => unauthenticated(server, 'set', naming(name), { remoteAddress });
  assert.equal(await from('2001:db8::1', 'a'), 'result');
  assert.equal(await from('2001:db8::2', 'a'), 'conflict'); // trying out names counts too
  assert.equal(await from('2001:db8::3', 'b'), 'resource-constraint');
  assert.equal(await from('2001:db8:0:1::1', 'b'), 'result');
  assert.equal(await from('192.0.2.1', 'c'), 'result');
  assert.equal(await from('192.0.2.2', 'd'), 'resource-constraint');
  assert.deepEqual(server.limits, ['registrations', 'registrations']);
});

// --- accounts

const connected = (session: Session, secure = true, remoteAddress = '192.0.2.1') => {
  session.connection = { kind: 'tcp', secure, remoteAddress, answered() {}, close() {} };
};
const alice = closed.connect('alice@example.org/a');
connected(alice.session);
await closed.accounts.create(alice.session.jid.toBare(), 'first password');
const isPassword = async (password: string) =>
  (await closed.accounts.verifyPassword('alice@example.org', password)) !== undefined;

test('an account learns that it is registered', async () => {
  for (const to of ['example.org', 'alice@example.org'])
    assert.match(
      await alice.asks(`<iq type="get" id="1" to="${to}">${query('')}</iq>`),
      /<registered\/><instructions>.*<\/instructions><username>alice<\/username><password\/>/,
    );
});

test('a user changes their password (§3.3)', async () => {
  assert.match(await alice.asks(set(naming('alice', 'second password'))), /^<iq [^>]*type="result"[^>]*\/>$/);
  assert.equal(await isPassword('second password'), true);
  assert.match(await alice.asks(`<iq type="set" id="2">${naming('ALICE', 'third password')}</iq>`), /type="result"/);
  assert.equal(await isPassword('third password'), true);
});

for (const [what, payload, condition] of [
  ['no password', query('<username>alice</username>'), 'bad-request'],
  ['an empty password', naming('alice', ''), 'bad-request'],
  ['no name', query('<password>secret word</password>'), 'bad-request'],
  ["another's name", naming('bob', 'secret word'), 'forbidden'],
  ['a short password', naming('alice', 'secret'), 'not-acceptable'],
] as const) {
  test(`the password is unchanged, and not repeated: ${what}`, async () => {
    const answer = await alice.asks(set(payload));
    assert.match(answer, new RegExp(`<${condition} `));
    assert.doesNotMatch(answer, /secret|<query/);
    assert.equal(await isPassword('third password'), true);
  });
}

test('no password over an unencrypted channel', async () => {
  const plain = closed.connect('alice@example.org/plain');
  connected(plain.session, false);
  assert.match(await plain.asks(set(naming('alice', 'fourth password'))), /<not-authorized /);
  assert.equal(await isPassword('third password'), true);
});

test('disabled by configuration', async () => {
  const strict = await withConfig({ password_change: false, removal: false });
  after(strict.stop);
  const bob = strict.connect('bob@example.org/b');
  connected(bob.session);
  await strict.account('bob');
  assert.match(await bob.asks(set(naming('bob'))), /<not-allowed /);
  assert.match(await bob.asks(set(query('<remove/>'))), /<not-allowed /);
  assert.equal(await strict.accounts.exists('bob@example.org'), true);
});

test('an anonymous account has no password to change', async () => {
  const ghost = closed.connect('ghost@example.org/g', 'ANONYMOUS');
  connected(ghost.session);
  for (const payload of [naming('ghost'), query('<remove/>')])
    assert.match(await ghost.asks(set(payload)), /<registration-required /);
});

test('a user deletes their account, and gets the result before the session ends (§3.2)', async () => {
  assert.match(await alice.asks(set(query('<remove/><username>alice</username>'))), /<bad-request /);
  await closed.host.emit('accountDeleting', { jid: alice.session.jid.toBare() });
  assert.deepEqual(alice.received, []); // failures caused by others are not answered
  const [result, end, ...further] = (await alice.asks(set(query('<remove/>')))).split('\n');
  assert.match(result!, /^<iq [^>]*type="result" id="1"\/>$/);
  assert.equal(end, '<stream:error><not-authorized/></stream:error>');
  assert.ok(further.length <= 1, 'what follows goes nowhere');
  assert.equal(await closed.accounts.exists('alice@example.org'), false);
});
