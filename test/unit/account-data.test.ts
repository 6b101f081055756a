import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import last from '../../src/modules/xep-0012-last.js';
import privateStorage from '../../src/modules/xep-0049-private.js';
import vcard from '../../src/modules/xep-0054-vcard.js';
import { NS } from '../../src/server/stanza/ns.js';
import { startHost } from './module-host.js';

const modules = [roster, last, privateStorage, vcard];
const limits = { vcard_bytes: 500, private_bytes: 500 };
const { storage, limits: limitsHit, connect, account, stop } = await startHost(modules, { config: { limits } });
after(stop);
await account('alice', { 'bob@example.org': 'from', 'dave@example.org': 'to' });
await account('bob');
await account('carol');
const alice = connect('alice@example.org/a');
const bob = connect('bob@example.org/b');
const carol = connect('carol@example.org/c');

const iq = (type: 'get' | 'set', payload: string, to?: string) =>
  `<iq type="${type}" id="1"${to === undefined ? '' : ` to="${to}"`}>${payload}</iq>`;
const isEmptyResult = (answer: string) => assert.match(answer, /^<iq [^>]*type="result"[^>]*\/>$/);

// --- XEP-0054

const card = `<vCard xmlns="vcard-temp"><FN>Alice &amp; Co</FN><PHOTO><TYPE>image/png</TYPE></PHOTO></vCard>`;
const askCard = '<vCard xmlns="vcard-temp"/>';

test('a vCard is stored unchanged, and public', async () => {
  assert.match(await alice.asks(iq('get', askCard)), /type="result" id="1"><vCard xmlns="vcard-temp"\/>/);
  isEmptyResult(await alice.asks(iq('set', card)));
  assert.ok((await alice.asks(iq('get', askCard))).includes(card));
  assert.ok((await carol.asks(iq('get', askCard, 'alice@example.org'))).includes(card));
});

test('a missing vCard and a missing account get the same answer (XEP-0054 §3.3)', async () => {
  const none = await carol.asks(iq('get', askCard, 'bob@example.org'));
  assert.match(none, /<service-unavailable /);
  assert.equal(none.replaceAll('bob', 'nobody'), await carol.asks(iq('get', askCard, 'nobody@example.org')));
});

test('only the owner can write the vCard, whether or not the account exists', async () => {
  for (const to of ['alice@example.org', 'nobody@example.org'])
    assert.match(await carol.asks(iq('set', card, to)), /<forbidden /);
  assert.deepEqual(await storage.document('vcards').owners({ limit: 10 }), ['alice@example.org']);
});

test('the size of a vCard is limited', async () => {
  const large = card.replace('Co', 'x'.repeat(600));
  assert.match(await alice.asks(iq('set', large)), /<policy-violation /);
  assert.ok((await alice.asks(iq('get', askCard))).includes(card));
  assert.deepEqual(limitsHit.splice(0), ['vcard_bytes']);
});

// --- XEP-0049

const asPrivate = (...xml: string[]) => `<query xmlns="jabber:iq:private">${xml.join('')}</query>`;

test('private elements are stored by name', async () => {
  isEmptyResult(await alice.asks(iq('set', asPrivate('<one xmlns="urn:a"><b>1</b></one>', '<two xmlns="urn:a"/>'))));
  assert.match(
    await alice.asks(iq('get', asPrivate('<one xmlns="urn:a"/>'))),
    /<query xmlns="jabber:iq:private"><one xmlns="urn:a"><b>1<\/b><\/one><\/query>/,
  );
  assert.match(await alice.asks(iq('get', asPrivate('<one xmlns="urn:b"/>'))), /<one xmlns="urn:b"\/>/);
});

test('several elements of one name are stored and replaced together', async () => {
  await alice.asks(iq('set', asPrivate('<x xmlns="urn:x">1</x>', '<x xmlns="urn:x">2</x>')));
  assert.match(await alice.asks(iq('get', asPrivate('<x xmlns="urn:x"/>'))), />1<\/x><x xmlns="urn:x">2<\/x>/);
  await alice.asks(iq('set', asPrivate('<x xmlns="urn:x">3</x>')));
  assert.match(
    await alice.asks(iq('get', asPrivate('<x xmlns="urn:x"/>'))),
    /private"><x xmlns="urn:x">3<\/x><\/query>/,
  );
});

test('private data is readable only by its owner, whether or not the account exists', async () => {
  for (const to of ['alice@example.org', 'nobody@example.org']) {
    assert.match(await bob.asks(iq('get', asPrivate('<one xmlns="urn:a"/>'), to)), /<forbidden /);
    assert.match(await bob.asks(iq('set', asPrivate('<one xmlns="urn:a"/>'), to)), /<forbidden /);
  }
});

test('invalid private queries are refused', async () => {
  assert.match(await alice.asks(iq('get', asPrivate())), /<bad-request /);
  assert.match(await alice.asks(iq('get', asPrivate('<a xmlns="urn:a"/>', '<b xmlns="urn:b"/>'))), /<bad-request /);
  assert.match(await alice.asks(iq('set', asPrivate())), /<not-acceptable /);
  for (const reserved of ['<own/>', '<q xmlns="jabber:iq:roster"/>', askCard])
    assert.match(await alice.asks(iq('set', asPrivate(reserved))), /<not-acceptable /);
});

test('the total size of private data is limited', async () => {
  const large = `<large xmlns="urn:l">${'x'.repeat(450)}</large>`;
  assert.match(await alice.asks(iq('set', asPrivate(large))), /<policy-violation /);
  assert.match(await alice.asks(iq('get', asPrivate('<large xmlns="urn:l"/>'))), /<large xmlns="urn:l"\/>/);
  assert.deepEqual(limitsHit.splice(0), ['private_bytes']);
});

// --- XEP-0012

const askLast = `<query xmlns="${NS.last}"/>`;

test('an online user is active now; an offline one was active when they left', async () => {
  assert.match(await alice.asks(iq('get', askLast)), /<item-not-found /);
  await alice.appears();
  assert.match(await bob.asks(iq('get', askLast, 'alice@example.org')), /<query xmlns="jabber:iq:last" seconds="0"\/>/);
  const second = connect('alice@example.org/2');
  await second.appears();
  await second.vanishes();
  assert.match(await bob.asks(iq('get', askLast, 'alice@example.org')), /seconds="0"\/>/);
  await alice.vanishes('<presence type="unavailable"><status>Gone &lt;fishing&gt;</status></presence>');
  assert.match(
    await bob.asks(iq('get', askLast, 'alice@example.org')),
    /seconds="\d+"[^>]*>Gone &lt;fishing(&gt;|>)<\/query>/,
  );
});

test('without access to presence nothing is revealed, not even resources (XEP-0012 §3, §4)', async () => {
  for (const to of ['alice@example.org', 'nobody@example.org', 'alice@example.org/a', 'nobody@example.org/a'])
    assert.match(await carol.asks(iq('get', askLast, to)), /<forbidden /);
});

test('a request to a resource is forwarded from users with access', async () => {
  const back = connect('alice@example.org/back');
  assert.equal(await bob.asks(iq('get', askLast, 'alice@example.org/back')), '');
  assert.equal(back.received.length, 1);
  await carol.asks(iq('get', askLast, 'alice@example.org/back'));
  assert.equal(back.received.length, 1);
});

test('the server returns its uptime', async () => {
  assert.match(await carol.asks(iq('get', askLast, 'example.org')), /<query xmlns="jabber:iq:last" seconds="\d+"\/>/);
});

test('after a crash, an account counts as online until the server was last seen running', async () => {
  const store = storage.document<unknown>('last_activity');
  const hour = 3_600_000;
  const now = Date.now();
  await storage.document('server_runs').set('example.org', [
    { from: now - 10 * hour, to: now - 5 * hour },
    { from: now - 4 * hour, to: now - 2 * hour },
  ]);
  await store.set('bob@example.org', { at: now - 9 * hour, run: now - 10 * hour });
  const restarted = await startHost(modules, { storage });
  after(restarted.stop);
  const answer = await restarted.connect('bob@example.org/x').asks(iq('get', askLast));
  const seconds = Number(/seconds="(\d+)"/.exec(answer)![1]);
  assert.ok(seconds >= 5 * 3600 && seconds < 9 * 3600, answer);
});
