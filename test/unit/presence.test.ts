import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import presence, { priorityOf } from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import type { RosterItem } from '../../src/modules/rfc-6121-roster/services.js';
import { admit, defineModule, event } from '../../src/server/module/index.js';
import { readStates, type SessionState, writeStates } from '../../src/server/routing/session-state.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { type Client, startHost } from './module-host.js';

/** Presence does not reach `blocked@example.org`; and the events for modules. */
const reported: string[] = [];
const observer = defineModule({
  name: 'observer',
  summary: 'For the test.',
  implements: {},
  start: () => [
    admit(({ peer }) => {
      if (peer.local === 'blocked') throw new StanzaError('not-acceptable');
    }),
    event('available', ({ session }) => void reported.push(`${session.jid.resource} available`)),
    event('unavailable', ({ session }) => void reported.push(`${session.jid.resource} unavailable`)),
    event('presenceChanged', ({ session, priorityBefore }) => {
      reported.push(`${session.jid.resource} from ${priorityBefore} to ${session.priority}`);
    }),
  ],
});

const { host, account, connect, directory, limits, router, storage, stop } = await startHost(
  [roster, presence, observer],
  { config: { modules: { presence: { directed: 10 } } } },
);
after(stop);

/** Stanzas for other servers. */
const remote: string[] = [];
router.remote = { receive: (stanza) => void remote.push(stanza.toXml()) };

const taken = (client: Client) => client.received.splice(0);
const sentAway = () => remote.splice(0);
const asksForRoster = async (client: Client) => {
  await client.says(`<iq type='get' id='r'><query xmlns='${NS.roster}'/></iq>`);
  taken(client);
};
const from = (xml: string) => host.route(Stanza.parse(xml));
const itemOf = (owner: string, contact: string) => storage.map<RosterItem>('roster').get(owner, contact);
const ends = async (client: Client) => {
  directory.remove(client.session);
  await host.notify('gone', client.session);
};
const isPush = (xml: string) => xml.startsWith('<iq');

test('priorities (§4.7.2.3)', () => {
  const given = (priority: string) => Stanza.parse(`<presence><priority>${priority}</priority></presence>`);
  assert.equal(priorityOf(Stanza.parse('<presence/>')), 0);
  for (const [text, value] of [
    ['5', 5],
    ['-128', -128],
    ['127', 127],
    ['+1', 1],
    [' 7\n', 7],
    ['007', 7],
  ] as const)
    assert.equal(priorityOf(given(text)), value);
  for (const text of ['', 'x', '128', '-129', '1.5', '1e1', '0x1', '99999'])
    assert.throws(() => priorityOf(given(text)), { condition: 'bad-request' }, text);
});

test('becoming available, changing, and becoming unavailable (§4.2, §4.4, §4.5)', async () => {
  await account('romeo', { 'juliet@example.org': 'both', 'far@remote.example': 'both', 'idle@example.org': 'both' });
  await account('juliet', { 'romeo@example.org': 'both' });
  await account('idle', { 'romeo@example.org': 'both' });
  const balcony = connect('juliet@example.org/balcony');
  await balcony.says('<presence><show>away</show></presence>');
  assert.deepEqual(taken(balcony), [
    '<presence to="juliet@example.org/balcony" from="juliet@example.org/balcony"><show>away</show></presence>',
  ]);
  const orchard = connect('romeo@example.org/orchard');
  await orchard.says('<presence><priority>-1</priority></presence>');
  assert.deepEqual(taken(orchard), [
    '<presence to="romeo@example.org/orchard" from="romeo@example.org/orchard"><priority>-1</priority></presence>',
    '<presence to="romeo@example.org/orchard" from="juliet@example.org/balcony"><show>away</show></presence>',
  ]);
  assert.deepEqual(taken(balcony), [
    '<presence to="juliet@example.org" from="romeo@example.org/orchard"><priority>-1</priority></presence>',
  ]);
  assert.deepEqual(sentAway(), [
    '<presence to="far@remote.example" from="romeo@example.org/orchard"><priority>-1</priority></presence>',
    '<presence to="far@remote.example" from="romeo@example.org/orchard" type="probe"/>',
  ]);
  assert.equal(orchard.session.priority, -1);

  const home = connect('romeo@example.org/home');
  await home.says('<presence/>');
  assert.deepEqual(taken(orchard), ['<presence to="romeo@example.org/orchard" from="romeo@example.org/home"/>']);
  const [self, other, contact] = taken(home);
  assert.equal(self, '<presence to="romeo@example.org/home" from="romeo@example.org/home"/>');
  assert.match(other!, /^<presence to="romeo@example.org\/home" from="romeo@example.org\/orchard">/);
  assert.match(contact!, /^<presence to="romeo@example.org\/home" from="juliet@example.org\/balcony">/);
  taken(balcony);
  sentAway();

  await orchard.says('<presence><show>dnd</show></presence>');
  assert.equal(orchard.session.priority, 0);
  for (const client of [orchard, home, balcony]) assert.match(taken(client).join(), /orchard"><show>dnd<\/show>/);
  assert.equal(sentAway().length, 1, 'no probe any more');
  assert.match(await orchard.asks('<presence><priority>200</priority></presence>'), /bad-request/);
  assert.match(orchard.session.presence!.toXml(), /dnd/, 'what was refused changes nothing');

  await orchard.says('<presence type="unavailable"><status>Gone</status></presence>');
  for (const client of [orchard, home, balcony])
    assert.match(taken(client).join(), /orchard" type="unavailable"><status>Gone<\/status>/);
  assert.match(sentAway().join(), /^<presence to="far@remote.example" [^>]*type="unavailable">/);
  await ends(orchard);
  assert.equal(taken(balcony).length, 0, 'it was told once');
  await ends(home);
  assert.deepEqual(taken(balcony), [
    '<presence to="juliet@example.org" from="romeo@example.org/home" type="unavailable"/>',
  ]);
  assert.deepEqual(reported.splice(0), [
    'balcony available',
    'orchard available',
    'home available',
    'orchard from -1 to 0',
    'orchard unavailable',
    'home unavailable',
  ]);
  sentAway();
});

test('directed presence ends with the session, once (§4.6)', async () => {
  await account('mercutio', { 'benvolio@example.org': 'from' });
  await account('benvolio');
  await account('paris');
  const paris = connect('paris@example.org/x');
  const benvolio = connect('benvolio@example.org/x');
  await paris.says('<presence/>');
  await benvolio.says('<presence/>');
  const client = connect('mercutio@example.org/x');
  for (const to of ['room@muc.remote/nick', 'paris@example.org', 'left@muc.remote/nick'])
    await client.says(`<presence to='${to}'/>`);
  assert.match(taken(paris).join(), /<presence to="paris@example.org" from="mercutio@example.org\/x"\/>/);
  await client.says("<presence to='left@muc.remote/nick' type='unavailable'/>");
  await client.says('<presence/>');
  await client.says("<presence to='benvolio@example.org'/>");
  sentAway();
  taken(benvolio);
  await ends(client);
  assert.deepEqual(sentAway(), [
    '<presence to="room@muc.remote/nick" from="mercutio@example.org/x" type="unavailable"/>',
  ]);
  assert.deepEqual(taken(paris).slice(-1), [
    '<presence to="paris@example.org" from="mercutio@example.org/x" type="unavailable"/>',
  ]);
  assert.equal(taken(benvolio).length, 1, 'a subscriber hears of it as such');
});

test('directed presence is limited, and forgotten when a room ends it', async () => {
  await account('tybalt');
  const client = connect('tybalt@example.org/x');
  for (let room = 0; room < 10; room++) await client.says(`<presence to='r${room}@muc.remote/t'/>`);
  assert.match(await client.asks("<presence to='more@muc.remote/t'/>"), /resource-constraint/);
  assert.deepEqual(limits, ['presence.directed']);
  await client.says("<presence to='r1@muc.remote/t'><show>away</show></presence>");
  await from("<presence from='r2@muc.remote/t' to='tybalt@example.org/x' type='unavailable'/>");
  assert.match(taken(client).join(), /unavailable/);
  sentAway();
  await client.says("<presence to='more@muc.remote/t'/>");
  assert.equal(sentAway().length, 1);
  await ends(client);
  assert.doesNotMatch(sentAway().join(), /r2@/);
});

test('two users become contacts, and unsubscribe (§3)', async () => {
  await account('ann');
  await account('bob');
  const ann = connect('ann@example.org/a');
  const bob = connect('bob@example.org/b');
  for (const client of [ann, bob]) {
    await asksForRoster(client);
    await client.says('<presence/>');
    taken(client);
  }
  await ann.says("<presence to='bob@example.org/b' type='subscribe'><status>Hello</status></presence>");
  const [push, ...none] = taken(ann);
  assert.match(push!, /<item jid="bob@example.org" subscription="none" ask="subscribe"\/>/);
  assert.deepEqual(none, []);
  assert.deepEqual(taken(bob), [
    '<presence to="bob@example.org" from="ann@example.org" type="subscribe"><status>Hello</status></presence>',
  ]);
  await ann.says("<presence to='bob@example.org' type='subscribe'/>");
  assert.deepEqual(taken(bob), [], 'one request is enough');
  assert.deepEqual(taken(ann), []);

  await bob.says("<presence to='ann@example.org' type='subscribed'/>");
  assert.match(taken(bob).join(), /^<iq[^\n]*<item jid="ann@example.org" subscription="from"\/>/);
  const [subscribed, to, available] = taken(ann);
  assert.equal(subscribed, '<presence to="ann@example.org" from="bob@example.org" type="subscribed"/>');
  assert.match(to!, /<item jid="bob@example.org" subscription="to"\/>/);
  assert.equal(available, '<presence to="ann@example.org" from="bob@example.org/b"/>');
  assert.equal((await itemOf('ann@example.org', 'bob@example.org'))?.subscription, 'to');

  await bob.says("<presence to='ann@example.org' type='subscribe'/>");
  await ann.says("<presence to='bob@example.org' type='subscribed'/>");
  assert.match(taken(ann).filter(isPush).join(), /subscription="both"/);
  assert.match(taken(bob).filter(isPush).at(-1)!, /subscription="both"/);

  // §3.3: ann no longer wants to see bob
  await ann.says("<presence to='bob@example.org' type='unsubscribe'/>");
  const [from_, gone] = taken(ann);
  assert.match(from_!, /<item jid="bob@example.org" subscription="from"\/>/);
  assert.equal(gone, '<presence to="ann@example.org" from="bob@example.org/b" type="unavailable"/>');
  const [unsubscribe, pushed] = taken(bob);
  assert.equal(unsubscribe, '<presence to="bob@example.org" from="ann@example.org" type="unsubscribe"/>');
  assert.match(pushed!, /subscription="to"/);

  // §3.2: and bob must not see her presence
  await ann.says("<presence to='bob@example.org' type='unsubscribed'/>");
  assert.match(taken(ann).join(), /subscription="none"/);
  const [unavailable, unsubscribed, none_] = taken(bob);
  assert.equal(unavailable, '<presence to="bob@example.org" from="ann@example.org/a" type="unavailable"/>');
  assert.equal(unsubscribed, '<presence to="bob@example.org" from="ann@example.org" type="unsubscribed"/>');
  assert.match(none_!, /subscription="none"/);
});

test('removing a contact ends both subscriptions (§2.5.2)', async () => {
  await account('carl', { 'dora@example.org': 'both' });
  await account('dora', { 'carl@example.org': 'both' });
  const carl = connect('carl@example.org/c');
  const dora = connect('dora@example.org/d');
  for (const client of [carl, dora]) {
    await asksForRoster(client);
    await client.says('<presence/>');
  }
  taken(carl);
  taken(dora);
  await carl.says(
    `<iq type='set' id='1'><query xmlns='${NS.roster}'><item jid='dora@example.org' subscription='remove'/></query></iq>`,
  );
  const forCarl = taken(carl);
  assert.match(forCarl[0]!, /<item jid="dora@example.org" subscription="remove"\/>/);
  assert.match(forCarl.join(), /from="dora@example.org\/d" type="unavailable"/);
  assert.match(forCarl.at(-1)!, /type="result"/);
  const types = taken(dora).map((xml) => /type="([a-z]+)"/.exec(xml)?.[1]);
  assert.deepEqual(types, ['unsubscribe', 'set', 'unavailable', 'unsubscribed', 'set']);
  assert.equal((await itemOf('dora@example.org', 'carl@example.org'))?.subscription, 'none');
});

test('a request stays pending for the next session until it is answered (§3.1.3)', async () => {
  await account('emma');
  await from(
    "<presence from='frank@remote.example/x' to='emma@example.org' type='subscribe' id='1'><nick xmlns='http://jabber.org/protocol/nick'>Frank</nick></presence>",
  );
  await from("<presence from='frank@remote.example' to='emma@example.org' type='subscribe' id='2'/>");
  for (let time = 0; time < 2; time++) {
    const client = connect('emma@example.org/e');
    await asksForRoster(client);
    await client.says('<presence/>');
    const requests = taken(client).filter((xml) => xml.includes('type="subscribe"'));
    assert.equal(requests.length, 1);
    assert.match(
      requests[0]!,
      /^<presence xmlns="jabber:client" to="emma@example.org" from="frank@remote.example" type="subscribe" id="1"><nick|^<presence to="emma@example.org" from="frank@remote.example" type="subscribe" id="1"><nick/,
    );
    if (time === 1) {
      await client.says("<presence to='frank@remote.example' type='unsubscribed'/>");
      assert.deepEqual(sentAway(), [
        '<presence to="frank@remote.example" from="emma@example.org" type="unsubscribed"/>',
      ]);
      assert.deepEqual(taken(client), [], 'there never was an item to push');
      assert.equal(await itemOf('emma@example.org', 'frank@remote.example'), undefined);
    }
    await ends(client);
  }
});

test('subscribed and pre-approved requests are approved automatically (§3.1.3, §3.4)', async () => {
  await account('gus', { 'hal@remote.example': 'from' });
  const client = connect('gus@example.org/g');
  await asksForRoster(client);
  await client.says('<presence/>');
  taken(client);
  sentAway();
  await from("<presence from='hal@remote.example' to='gus@example.org' type='subscribe'/>");
  const answer = [
    '<presence to="hal@remote.example" from="gus@example.org" type="subscribed"/>',
    '<presence to="hal@remote.example" from="gus@example.org/g"/>',
  ];
  assert.deepEqual(sentAway(), answer);
  assert.deepEqual(taken(client), []);

  await client.says("<presence to='ida@remote.example' type='subscribed'/>");
  assert.match(taken(client).join(), /<item jid="ida@remote.example" subscription="none" approved="true"\/>/);
  assert.deepEqual(sentAway(), []);
  await from("<presence from='ida@remote.example' to='gus@example.org' type='subscribe'/>");
  assert.deepEqual(
    sentAway(),
    answer.map((xml) => xml.replace('hal@', 'ida@')),
  );
  const [push, ...rest] = taken(client);
  assert.match(push!, /<item jid="ida@remote.example" subscription="from" approved="true"\/>/);
  assert.deepEqual(rest, []);
});

test('only the server answers probes (§4.3.2)', async () => {
  await account('kate', { 'luke@remote.example': 'from', 'mary@remote.example': 'to' });
  const probe = async (who: string, to = 'kate@example.org') => {
    await from(`<presence from='${who}' to='${to}' type='probe'/>`);
    return sentAway();
  };
  assert.deepEqual(await probe('luke@remote.example/x'), [
    '<presence to="luke@remote.example/x" from="kate@example.org" type="unavailable"/>',
  ]);
  const client = connect('kate@example.org/k');
  await client.says('<presence><show>xa</show></presence>');
  sentAway();
  taken(client);
  const here = '<presence to="luke@remote.example/x" from="kate@example.org/k"><show>xa</show></presence>';
  assert.deepEqual(await probe('luke@remote.example/x'), [here]);
  assert.deepEqual(await probe('luke@remote.example/x', 'kate@example.org/k'), [here]);
  assert.deepEqual(await probe('luke@remote.example/x', 'kate@example.org/other'), [
    '<presence to="luke@remote.example/x" from="kate@example.org/other" type="unavailable"/>',
  ]);
  for (const outsider of ['mary@remote.example/x', 'nobody@remote.example/x'])
    assert.deepEqual(await probe(outsider), [
      `<presence to="${outsider.slice(0, -2)}" from="kate@example.org" type="unsubscribed"/>`,
    ]);
  assert.deepEqual(taken(client), []);
});

test('presence is delivered by address (§8.5)', async () => {
  await account('nora');
  const present = connect('nora@example.org/1');
  const absent = connect('nora@example.org/2');
  await present.says('<presence/>');
  taken(present);
  await from("<presence from='o@remote.example/x' to='nora@example.org'/>");
  assert.deepEqual([taken(present).length, taken(absent).length], [1, 0]);
  await from("<presence from='o@remote.example/x' to='nora@example.org/2'/>");
  assert.deepEqual([taken(present).length, taken(absent).length], [0, 1]);
  await from("<presence from='o@remote.example/x' to='nora@example.org/3'/>");
  await from("<presence from='o@remote.example/x' to='nora@example.org' type='nonsense'/>");
  assert.deepEqual([taken(present).length, taken(absent).length], [0, 0]);
  assert.match(await absent.asks("<presence type='nonsense'/>"), /bad-request/);
  assert.match(await absent.asks("<presence type='subscribe'/>"), /bad-request/);
  assert.match(await absent.asks("<presence type='subscribe' to='nora@example.org'/>"), /not-allowed/);
});

test('a blocked contact gets no presence', async () => {
  await account('otto', { 'blocked@example.org': 'both' });
  await account('blocked', { 'otto@example.org': 'both' });
  const blocked = connect('blocked@example.org/b');
  await blocked.says('<presence/>');
  const otto = connect('otto@example.org/o');
  await otto.says('<presence/>');
  await ends(otto);
  assert.doesNotMatch(taken(blocked).join(), /otto/);
  assert.doesNotMatch(taken(otto).join(), /blocked/);
});

test('an unreachable contact gets no presence until it sends some', async () => {
  await account('pia', { 'quinn@remote.example': 'both' });
  const client = connect('pia@example.org/p');
  await client.says('<presence/>');
  assert.equal(sentAway().length, 2);
  const error = "<error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
  await from(`<presence from='quinn@remote.example' to='pia@example.org/p' type='error'>${error}</presence>`);
  assert.match(taken(client).at(-1)!, /remote-server-not-found/);
  await client.says('<presence><show>away</show></presence>');
  assert.deepEqual(sentAway(), []);
  await from("<presence from='quinn@remote.example/q' to='pia@example.org'/>");
  await client.says('<presence/>');
  assert.equal(sentAway().length, 1);
});

test('recipients of presence are the same after a restart', async () => {
  await account('rosaline', { 'far@remote.example': 'both', 'near@other.example': 'from' });
  const client = connect('rosaline@example.org/x');
  await client.says('<presence/>');
  await client.says("<presence to='room@muc.remote/nick'/>");
  await from(
    "<presence from='far@remote.example' to='rosaline@example.org/x' type='error'><error type='cancel'><remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>",
  );
  const failed = (state: SessionState) => assert.fail(state.name);
  const { values } = writeStates(host.hooks.sessionStates, (state) => client.session.get(state), failed);
  directory.remove(client.session);
  const again = connect('rosaline@example.org/x');
  readStates(again.session, host.hooks.sessionStates, JSON.parse(JSON.stringify(values)), failed);
  sentAway();
  await again.says('<presence><show>away</show></presence>');
  assert.deepEqual(
    sentAway().map((xml) => / to="([^"]*)"/.exec(xml)?.[1]),
    ['near@other.example'],
  );
  await ends(again);
  assert.deepEqual(
    sentAway()
      .map((xml) => / to="([^"]*)"/.exec(xml)?.[1])
      .sort(),
    ['near@other.example', 'room@muc.remote/nick'],
  );
});

test('an account that is deleted cancels its subscriptions', async () => {
  const jid = await account('rita', { 'sam@remote.example': 'both', 'tess@remote.example': 'from' });
  const client = connect('rita@example.org/r');
  await client.says('<presence/>');
  sentAway();
  await host.emit('accountDeleting', { jid });
  assert.deepEqual(
    sentAway().map((xml) => /to="([a-z]+).* type="([a-z]+)"/.exec(xml)?.slice(1).join(' ')),
    ['sam unavailable', 'tess unavailable', 'sam unsubscribe', 'sam unsubscribed', 'tess unsubscribed'],
  );
  assert.equal(client.session.available, false);
});
