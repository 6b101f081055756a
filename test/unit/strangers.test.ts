import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import strangers, { covers, isContact } from '../../src/modules/strangers/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { idAt } from '../../src/server/stanza/ids.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { startHost } from './module-host.js';

async function stage(settings: object, storage = new MemoryStorage()) {
  const config = { modules: { strangers: { local_users: 'strangers', ...settings } } };
  const started = await startHost([roster, presence, strangers], { config, storage });
  after(started.stop);
  const sent: string[] = [];
  started.router.remote = { receive: (stanza) => void sent.push(stanza.toXml()) };
  await started.account('alice', { 'friend@remote.example': 'both' });
  const alice = started.connect('alice@example.org/a');
  await alice.says('<presence/>');
  alice.received.length = 0;
  /** A stanza of a user of another server, and the answer. */
  const comes = async (xml: string): Promise<string> => {
    sent.length = 0;
    await started.host.route(Stanza.parse(xml));
    return sent.splice(0).join('');
  };
  return { ...started, alice, comes, sent };
}

const message = (from: string, type = 'chat') =>
  `<message type="${type}" id="m" from="${from}" to="alice@example.org"><body>x</body></message>`;

test('rules', () => {
  const hits = (pattern: string) =>
    ['a@x.org', 'b@x.org', 'a@y.x.org', 'a@yx.org'].filter((jid) => covers(pattern, Jid.parse(jid)));
  assert.deepEqual(hits('a@x.org'), ['a@x.org']);
  assert.deepEqual(hits('x.org'), ['a@x.org', 'b@x.org']);
  assert.deepEqual(hits('*.x.org'), ['a@y.x.org']);
});

test('a subscription request alone does not make a contact', () => {
  assert.equal(isContact(undefined), false);
  assert.equal(isContact({ subscription: 'none', groups: [], hidden: true, pendingIn: '<presence/>' }), false);
  assert.equal(isContact({ subscription: 'none', groups: [] }), true);
});

test('unknown senders of one server are limited together, contacts are not', async () => {
  const { alice, comes, limits } = await stage({ per_domain: 2 });
  assert.equal(await comes(message('a@remote.example/x')), '');
  assert.equal(await comes(message('b@remote.example/x')), '');
  assert.match(await comes(message('c@remote.example/x')), /type="error".*<policy-violation /);
  assert.deepEqual(limits, ['strangers.per_domain']);
  assert.equal(await comes(message('c@other.example/x')), '');
  for (let count = 0; count < 5; count++) assert.equal(await comes(message('friend@remote.example/x')), '');
  assert.equal(alice.received.length, 8);
});

test('subscription requests are answered with the error', async () => {
  const { alice, comes } = await stage({ subscriptions: 'refuse' });
  const answer = await comes('<presence type="subscribe" id="s" from="a@remote.example" to="alice@example.org"/>');
  assert.match(
    answer,
    /^<presence to="a@remote.example" from="alice@example.org" type="error" id="s">.*<policy-violation /,
  );
  assert.deepEqual(alice.received, []);
});

test('joined rooms elsewhere are known senders', async () => {
  const { alice, comes } = await stage({ messages: 'refuse' });
  const whisper = message('hall@rooms.example/romeo');
  assert.match(await comes(whisper), /<policy-violation /);
  await alice.says('<presence to="hall@rooms.example/alice"><x xmlns="http://jabber.org/protocol/muc"/></presence>');
  assert.equal(await comes(whisper), '');
});

test('an address asked for something important is known', async () => {
  const { alice, comes } = await stage({ messages: 'refuse' });
  const news = message('pubsub.remote.example', 'headline');
  assert.match(await comes(news), /<policy-violation /);
  await alice.says(
    '<iq type="set" id="1" to="pubsub.remote.example"><pubsub xmlns="http://jabber.org/protocol/pubsub"/></iq>',
  );
  assert.equal(await comes(news), '');
});

test('remembered addresses are limited; the oldest day is evicted', async () => {
  const { alice, storage, comes } = await stage({ messages: 'refuse', remembered: 10 });
  for (let count = 0; count < 15; count++)
    await alice.says(`<message type="chat" to="u${count}@remote.example"><body>x</body></message>`);
  assert.equal(await storage.map('acquaintances').count('alice@example.org'), 10);
  assert.match(await comes(message('u4@remote.example')), /<policy-violation /);
  assert.equal(await comes(message('u5@remote.example')), '');
});

test('messages held for too long are returned', async () => {
  const { alice, host, storage, comes, sent } = await stage({ messages: 'hold', held_seconds: 60 });
  assert.equal(await comes(message('a@remote.example/x')), '');
  assert.match(alice.received.splice(0).join(), /from="example.org".*a@remote.example has written/);
  const old = { id: idAt(1), with: 'b@remote.example', value: message('b@remote.example/x') };
  await storage.log('held').append('alice@example.org', { ...old, id: old.id.replace(/^.{9}/, '000000001') });
  sent.length = 0;
  for (const { handler } of host.hooks.timers) await handler();
  assert.match(sent.join(), /^<message to="b@remote.example\/x" from="alice@example.org" type="error" id="m">/);
  assert.equal(await storage.log('held').count('alice@example.org', {}), 1);
  assert.deepEqual(alice.received, []);
});
