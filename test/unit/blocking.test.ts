import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import adhoc from '../../src/modules/xep-0050-adhoc.js';
import blocking, { covered, matches } from '../../src/modules/xep-0191-blocking.js';
import ping from '../../src/modules/xep-0199-ping.js';
import reports from '../../src/modules/xep-0377-reports/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { startHost } from './module-host.js';

test('rules match by address, account, resource of a domain, and domain (XEP-0191 §6)', () => {
  const hits = (rule: string, ...addresses: string[]) =>
    addresses.filter((address) => matches(new Set([rule]), Jid.parse(address)));
  const all = ['a@x.org/r', 'a@x.org/s', 'a@x.org', 'b@x.org', 'x.org', 'x.org/r', 'a@sub.x.org', 'sub.x.org'];
  assert.deepEqual(hits('a@x.org/r', ...all), ['a@x.org/r']);
  assert.deepEqual(hits('a@x.org', ...all), ['a@x.org/r', 'a@x.org/s', 'a@x.org']);
  assert.deepEqual(hits('x.org/r', ...all), ['a@x.org/r', 'x.org/r']);
  assert.deepEqual(hits('x.org', ...all), all.slice(0, 6));
});

test('the presence subscribers that a rule matches', () => {
  const items = new Map(
    Object.entries({ 'a@x.org': 'both', 'b@x.org': 'from', 'c@x.org': 'to', 'x.org': 'from', 'a@y.org': 'both' }).map(
      ([jid, subscription]) => [jid, { subscription: subscription as 'both', groups: [] }],
    ),
  );
  const who = (...rules: string[]) =>
    covered(
      rules.map((rule) => Jid.parse(rule)),
      items,
      ({ subscription }) => subscription !== 'to',
    ).map(({ full }) => full);
  assert.deepEqual(who('a@x.org'), ['a@x.org']);
  assert.deepEqual(who('a@x.org/r'), ['a@x.org/r']);
  assert.deepEqual(who('c@x.org'), []);
  assert.deepEqual(who('x.org'), ['a@x.org', 'b@x.org', 'x.org']);
  assert.deepEqual(who('x.org/r'), ['x.org/r']);
  assert.deepEqual(who('x.org', 'a@x.org', 'y.org', 'x.org').sort(), ['a@x.org', 'a@y.org', 'b@x.org', 'x.org']);
});

const { host, accounts, storage, limits, connect, account, stop } = await startHost(
  [disco, roster, blocking, presence, adhoc, ping, reports],
  {
    config: {
      hosts: { 'example.org': { admins: ['admin@example.org'] } },
      modules: { blocking: { max_items: 5 }, reports: { per_day: 2 } },
    },
  },
);
after(stop);
await account('alice', { 'bob@example.org': 'both' });
await account('bob', { 'alice@example.org': 'both' });
for (const name of ['carol', 'admin']) await account(name);
const alice = connect('alice@example.org/a');
const alice2 = connect('alice@example.org/2');
const bob = connect('bob@example.org/b');
const carol = connect('carol@example.org/c');
for (const client of [alice, alice2, bob, carol]) await client.says('<presence/>');
for (const client of [alice, alice2, bob, carol]) client.received.length = 0;

const set = (name: string, ...items: string[]) =>
  `<iq type="set" id="1"><${name} xmlns="urn:xmpp:blocking">${items
    .map((item) => (item.startsWith('<') ? item : `<item jid="${item}"/>`))
    .join('')}</${name}></iq>`;
const list = '<iq type="get" id="1"><blocklist xmlns="urn:xmpp:blocking"/></iq>';
const message = (to: string, type = 'chat') => `<message type="${type}" to="${to}"><body>hi</body></message>`;
const pings = (to: string) => `<iq type="get" id="p" to="${to}"><ping xmlns="${NS.ping}"/></iq>`;
const gone = (received: string[]) => received.filter((xml) => xml.includes('type="unavailable"'));

test('the list, and pushes to clients that requested it', async () => {
  assert.match(await alice.asks(list), /<blocklist xmlns="urn:xmpp:blocking"\/>/);
  const answer = await alice.asks(set('block', 'eve@x.org', 'EVIL.org'));
  assert.match(
    answer,
    /<iq [^>]*type="set"[^>]*><block [^>]*><item jid="eve@x.org"\/><item jid="evil.org"\/><\/block>/,
  );
  assert.match(answer, /<iq [^>]*type="result" id="1"\/>/);
  assert.deepEqual(alice2.received.splice(0), []);
  assert.match(await alice2.asks(list), /<item jid="eve@x.org"\/><item jid="evil.org"\/>/);
  await alice.asks(set('unblock', 'evil.org'));
  assert.match(alice2.received.splice(0).join(), /<unblock [^>]*><item jid="evil.org"\/><\/unblock>/);
  await alice.asks(set('unblock'));
  assert.match(alice2.received.splice(0).join(), /<unblock xmlns="urn:xmpp:blocking"\/>/);
  assert.match(await alice.asks(list), /<blocklist xmlns="urn:xmpp:blocking"\/>/);
});

test('invalid rules are refused', async () => {
  assert.match(await alice.asks(set('block')), /<bad-request /);
  assert.match(await alice.asks(set('block', '<item/>')), /<bad-request /);
  assert.match(await alice.asks(set('block', '@x')), /<jid-malformed /);
  assert.match(await alice.asks(set('block', 'a', 'b', 'c', 'd', 'e', 'f')), /<resource-constraint /);
  assert.deepEqual(limits.splice(0), ['blocking.max_items']);
  assert.match(await alice.asks(list), /<blocklist xmlns="urn:xmpp:blocking"\/>/);
});

test('a blocked contact sees every session go offline, and gets errors as for a missing account', async () => {
  await alice.asks(set('block', 'bob@example.org'));
  assert.deepEqual(
    gone(bob.received.splice(0)).map((xml) => /from="([^"]*)"/.exec(xml)![1]),
    ['alice@example.org/a', 'alice@example.org/2'],
  );
  alice.received.length = alice2.received.length = 0;
  assert.match(await bob.asks(message('alice@example.org')), /type="error".*<service-unavailable /);
  assert.match(await bob.asks(message('alice@example.org/a')), /<service-unavailable /);
  assert.match(await bob.asks(pings('alice@example.org/a')), /<service-unavailable /);
  const probe = await bob.asks(`<iq type="get" id="1" to="alice@example.org"><query xmlns="${NS.discoInfo}"/></iq>`);
  assert.match(probe, /<service-unavailable /);
  for (const type of ['probe', 'subscribe', 'unavailable'])
    assert.equal(await bob.asks(`<presence type="${type}" to="alice@example.org"/>`), '');
  assert.equal(await bob.asks('<iq type="result" id="x" to="alice@example.org/a"/>'), '');
  assert.deepEqual([...alice.received, ...alice2.received], []);
  // presence to all leaves the blocked out
  await alice.says('<presence><show>away</show></presence>');
  assert.deepEqual(bob.received, []);
  alice.received.length = alice2.received.length = 0;
});

test('nothing is sent to blocked addresses (§3.2)', async () => {
  for (const xml of [message('bob@example.org'), pings('bob@example.org/b'), '<presence to="bob@example.org"/>']) {
    const answer = await alice.asks(xml);
    assert.match(answer, /from="bob@example.org[^"]*" type="error"/);
    assert.match(
      answer,
      /<error type="cancel"[^>]*><not-acceptable [^>]*\/><blocked xmlns="urn:xmpp:blocking:errors"\/>/,
    );
  }
  assert.deepEqual(bob.received, []);
});

test('others are not affected', async () => {
  await carol.says(message('alice@example.org/a'));
  assert.equal(alice.received.splice(0).length, 1);
  assert.match(await carol.asks(message('nobody@example.org')), /<service-unavailable /);
});

test('unblocking sends presence again', async () => {
  await alice.asks(set('unblock', 'bob@example.org'));
  assert.match(
    bob.received.splice(0).join(),
    /from="alice@example.org\/a"[^>]*><show>away<\/show>.*from="alice@example.org\/2"/,
  );
  await bob.says(message('alice@example.org/a'));
  assert.equal(alice.received.splice(0).length, 1);
});

test('presence is withheld while another rule still matches', async () => {
  await alice.asks(set('block', 'bob@example.org', 'bob@example.org/b'));
  bob.received.length = 0;
  await alice.asks(set('unblock', 'bob@example.org/b'));
  assert.deepEqual(bob.received, []);
  await alice.asks(set('unblock'));
});

test('recipients of directed presence get unavailable presence', async () => {
  await alice.says('<presence to="carol@example.org/c"/>');
  carol.received.length = 0;
  await alice.asks(set('block', 'carol@example.org'));
  assert.match(carol.received.splice(0).join(), /^<presence [^>]*from="alice@example.org\/a" type="unavailable"\/>$/);
  await alice.asks(set('unblock'));
  assert.deepEqual(carol.received, []); // she was never a contact
  alice2.received.length = 0;
});

test("a user's own server and account keep working, whatever is blocked", async () => {
  await alice.asks(set('block', 'example.org', 'alice@example.org'));
  assert.match(await alice.asks(pings('example.org')), /type="result"/);
  assert.match(await alice.asks(pings('alice@example.org')), /type="result"/);
  await alice2.says(message('alice@example.org/a'));
  assert.match(alice.received.splice(0).join(), /<body>hi/);
  assert.match(await carol.asks(message('alice@example.org/a')), /<service-unavailable /);
  await alice.asks(set('unblock'));
  alice2.received.length = 0;
});

test('stanzas of a blocked occupant are dropped, without leaving the room', async () => {
  await alice.asks(set('block', 'carol@example.org/c'));
  assert.equal(await carol.asks(message('alice@example.org/a', 'groupchat')), '');
  assert.deepEqual(alice.received.splice(0), []);
  await alice.asks(set('unblock'));
});

test('the service for other modules', async () => {
  const { isBlocked } = host.services.blocking!;
  await alice.asks(set('block', 'x.org'));
  assert.equal(await isBlocked('alice@example.org', Jid.parse('a@x.org/r')), true);
  assert.equal(isBlocked('alice@example.org', Jid.parse('a@y.org')), false); // at once, once it is known
  await alice.asks(set('unblock'));
});

test('reports are stored for administrators, up to a daily limit (XEP-0377)', async () => {
  const report = (text: string) =>
    `<item jid="eve@x.org"><report xmlns="urn:xmpp:reporting:1" reason="urn:xmpp:reporting:spam"><text>${text}</text>` +
    '<stanza-id xmlns="urn:xmpp:sid:0" by="x.org" id="s1"/></report></item>';
  for (const text of ['one', 'two', 'three']) await bob.asks(set('block', report(text)));
  assert.ok(limits.includes('reports.per_day'));
  assert.equal(await storage.log('reports').count('example.org', {}), 2);
  const admin = connect('admin@example.org/x');
  const shown = await admin.asks(
    `<iq type="set" id="1" to="example.org"><command xmlns="${NS.commands}" node="reports"/></iq>`,
  );
  for (const value of ['two', 'bob@example.org', 'eve@x.org', 'urn:xmpp:reporting:spam', 's1'])
    assert.ok(shown.includes(`<value>${value}</value>`), value);
  assert.ok(!shown.includes('three'));
});

test('a new account with an old name has an empty list', async () => {
  const dave = await account('dave');
  assert.match(await connect('dave@example.org/d').asks(set('block', 'x.org')), /type="result"/);
  await accounts.remove(dave.bare);
  await storage.map('blocked').forget(dave.bare); // as createServer() does before it tells
  await host.emit('accountDeleted', { jid: dave });
  await account('dave');
  assert.match(await connect('dave@example.org/d').asks(list), /<blocklist xmlns="urn:xmpp:blocking"\/>/);
});

test('the list survives a restart', async () => {
  const again = await startHost([disco, roster, blocking], { storage });
  after(again.stop);
  assert.match(await again.connect('bob@example.org/x').asks(list), /<item jid="eve@x.org"\/>/);
});
