import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import mamTrim from '../../src/modules/proto-mam-trim.js';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import offline from '../../src/modules/xep-0160-offline/index.js';
import carbons, { enabled } from '../../src/modules/xep-0280-carbons.js';
import mam from '../../src/modules/xep-0313-mam/index.js';
import type { Archives } from '../../src/modules/xep-0313-mam/services.js';
import stanzaIds from '../../src/modules/xep-0359-stanza-id.js';
import retraction, { isByAuthor } from '../../src/modules/xep-0424-retraction.js';
import mamPreferences from '../../src/modules/xep-0441-mam-prefs.js';
import { Jid } from '../../src/server/address/jid.js';
import type { Receipt } from '../../src/server/routing/link.js';
import { serverOrigin } from '../../src/server/routing/router.js';
import { Session } from '../../src/server/routing/session.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { el } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const modules = [roster, presence, stanzaIds, mam, mamPreferences, mamTrim, retraction, offline, carbons];
const { host, storage, account, connect, directory, stop } = await startHost(modules, {
  config: { limits: { offline_messages: 3 } },
});
after(stop);
const archive: Archives = host.services.archive!;
const log = storage.log('archive');
const offlineLog = storage.log('offline');
/** Offline messages that the archive has. */
const references = storage.map<number>('offline_archived');

let users = 0;
/** Two accounts of their own. */
const couple = async () => {
  users++;
  return { romeo: await account(`romeo${users}`), juliet: await account(`juliet${users}`) };
};
const stored = async (owner: Jid) => (await log.page(owner.bare, { limit: 100 })).entries;
const bodies = async (owner: Jid) =>
  (await stored(owner)).map(({ value }) => Stanza.parse(value).text(NS.client, 'body') ?? '');
const chat = (to: Jid, body: string, more = '', id = body) =>
  `<message to='${to}' type='chat' id='${id}'><body>${body}</body>${more}</message>`;

test('a message is in both archives, under ids that only their owners see (§3.5)', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  const garden = connect(`${romeo}/garden`);
  garden.session.set(enabled, true);
  const balcony = connect(`${juliet}/balcony`);
  await balcony.appears();
  const forged = `<stanza-id xmlns='${NS.stanzaId}' by='${romeo}' id='forged'/>`;
  await orchard.says(chat(juliet, 'But soft', forged + forged.replace(romeo.bare, ` ${juliet}/x`)));
  const [sent] = await stored(romeo);
  const [received] = await stored(juliet);
  assert.equal(sent!.with, juliet.bare);
  assert.equal(received!.with, romeo.bare);
  assert.notEqual(sent!.id, received!.id);
  assert.equal(
    received!.value,
    `<message xmlns="jabber:client" to="${juliet}" from="${romeo}/orchard" type="chat" id="But soft"><body>But soft</body></message>`,
  );
  const idsOf = (xml: string) => [...xml.matchAll(/<stanza-id [^>]*\bid=["']([^"']*)["']/g)].map(([, id]) => id);
  assert.deepEqual(idsOf(balcony.received.join()), [received!.id]);
  assert.deepEqual(
    idsOf(garden.received.join()),
    ['forged', sent!.id],
    "what claims to be Juliet's is for her to take off",
  );
});

test('a message to oneself is archived once', async () => {
  const { romeo } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  await orchard.appears();
  await orchard.says(chat(romeo, 'remember'));
  await orchard.says('<message type="chat"><body>and this</body></message>');
  assert.deepEqual(await bodies(romeo), ['remember', 'and this']);
  assert.equal((await stored(romeo))[0]!.with, romeo.bare);
});

test('the acknowledgement waits for both archives, the message does not', async () => {
  const { romeo, juliet } = await couple();
  const balcony = connect(`${juliet}/balcony`);
  await balcony.appears();
  const waiting: Promise<unknown>[] = [];
  const session = connect(`${romeo}/orchard`).session;
  const origin = { session, acknowledges: true, acknowledgeAfter: (one: Promise<unknown>) => void waiting.push(one) };
  // The data of the account is cached after its first message.
  await host.fromSession(Stanza.parse(chat(juliet, 'one')).with({ from: session.jid }), session, origin);
  waiting.length = 0;
  const done = host.fromSession(Stanza.parse(chat(juliet, 'two')).with({ from: session.jid }), session, origin);
  assert.equal(done, undefined, 'nothing was waited for');
  assert.equal(balcony.received.length, 2);
  assert.equal(waiting.length, 2);
  await Promise.all(waiting);
});

test('an anonymous account has no archive (XEP-0175)', async () => {
  const { juliet } = await couple();
  const guest = connect('guest@example.org/x', 'ANONYMOUS');
  await guest.says(chat(juliet, 'hello'));
  assert.deepEqual(await bodies(Jid.parse('guest@example.org')), []);
  assert.deepEqual(await bodies(juliet), ['hello']);
});

test("a refused message is not in the recipient's archive", async () => {
  const { romeo } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  await orchard.says(chat(Jid.parse('nobody@example.org'), 'anybody there?'));
  assert.deepEqual(await stored(Jid.parse('nobody@example.org')), []);
  assert.match(orchard.received.join(), /service-unavailable/);
});

test('texts are stored for a search only if it is enabled', async () => {
  for (const search of [true, false]) {
    const { host, storage, stop } = await startHost([mam], { config: { modules: { mam: { search } } } });
    const room = Jid.parse('verona@rooms.example.org');
    const stanza = Stanza.parse(`<message from='${room}/romeo' type='groupchat'><body>But soft</body></message>`);
    await host.services.archive!.append(room, stanza, {}).durable;
    assert.equal(await storage.log('archive').count(room.bare, { words: 'soft' }), search ? 1 : 0);
    stop();
  }
});

// ---------------------------------------------------------------------------------------------------------------
// Offline messages

const query = (inner = '') => `<iq type='set' id='q'><query xmlns='${NS.mam}'>${inner}</query></iq>`;

test('an offline message has its archive id, and is deleted when its owner reads the archive (§6.1.1)', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  await orchard.says(chat(juliet, 'one'));
  await orchard.says(chat(juliet, 'two', `<no-permanent-store xmlns='${NS.hints}'/>`));
  const [one] = await stored(juliet);
  assert.deepEqual([...(await references.all(juliet.bare)).keys()], [one!.id]);
  assert.equal(await offlineLog.count(juliet.bare, {}), 1, 'what is in no archive is kept whole');
  const balcony = connect(`${juliet}/balcony`);
  await balcony.asks(query());
  assert.equal(await references.count(juliet.bare), 0);
  assert.equal(await offlineLog.count(juliet.bare, {}), 1);
  await balcony.appears();
  while (balcony.received.length === 0) await new Promise(setImmediate);
  assert.match(balcony.received.join(), /<body>two</);
  assert.doesNotMatch(balcony.received.join(), /<body>one</);
});

test('binding by XEP-0386 deletes only offline messages that are archived', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  await orchard.says(chat(juliet, 'one'));
  await orchard.says(chat(juliet, 'two', `<no-permanent-store xmlns='${NS.hints}'/>`));
  const { session } = connect(`${juliet}/balcony`);
  const answers = await Promise.all(host.hooks.binding.map((bind) => bind(session)));
  const left = (await offlineLog.page(juliet.bare, { limit: 10 })).entries;
  assert.deepEqual(
    left.map(({ value }) => Stanza.parse(value).text(NS.client, 'body')),
    ['two'],
  );
  assert.equal(await references.count(juliet.bare), 0);
  const { id } = (await stored(juliet))[0]!;
  const metadata = answers.find((answer) => answer !== undefined);
  assert.equal(metadata?.getChild('start')?.attrs.id, id);
  assert.equal(metadata?.getChild('end')?.attrs.id, id);
});

test('messages in flight to a session with stream management are not deleted', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  const receipts: Receipt[] = [];
  const phone = new Session(juliet.withResource('phone'), {
    send: (_, receipt) => void (receipt !== undefined && receipts.push(receipt)),
  });
  phone.acknowledges = true;
  phone.appears(Stanza.parse('<presence/>'));
  directory.add(phone);
  const origin = { ...serverOrigin, session: orchard.session, acknowledges: true };
  const stanza = Stanza.parse(chat(juliet, 'one')).with({ from: orchard.session.jid });
  await host.fromSession(stanza, orchard.session, origin);
  assert.equal(await references.count(juliet.bare), 1);
  await connect(`${juliet}/balcony`).asks(query());
  assert.equal(await references.count(juliet.bare), 1);
  receipts[0]!.delivered();
  await new Promise(setImmediate);
  assert.equal(await references.count(juliet.bare), 0);
  assert.equal(await offlineLog.count(juliet.bare, {}), 0, 'the archive has what it says');
});

test('archived and other offline messages are delivered in order, also by the next process', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  await orchard.says(chat(juliet, 'one'));
  await orchard.says(chat(juliet, 'two', `<no-permanent-store xmlns='${NS.hints}'/>`));
  await orchard.says(chat(juliet, 'three'));
  await references.set(juliet.bare, [['an id that is not archived', 1]]);
  const [one] = await stored(juliet);
  const next = await startHost([roster, presence, stanzaIds, mam, offline], { storage });
  const balcony = next.connect(`${juliet}/balcony`);
  await balcony.appears();
  await new Promise(setImmediate);
  const came = balcony.received.map((xml) => Stanza.parse(xml)).filter(({ name }) => name === 'message');
  assert.deepEqual(
    came.map((stanza) => stanza.text(NS.client, 'body')),
    ['one', 'two', 'three'],
  );
  assert.equal(came[0]!.child(NS.stanzaId, 'stanza-id')?.attrs.id, one!.id);
  assert.equal(came[0]!.child(NS.delay, 'delay')?.attrs.from, host.domain);
  assert.equal(await references.count(juliet.bare), 0);
});

test('many of both are delivered in order, page by page', async () => {
  const { romeo, juliet } = await couple();
  const { connect: dial } = await startHost([roster, presence, stanzaIds, mam, offline], {
    storage,
    config: { limits: { offline_messages: 1000 } },
  });
  const orchard = dial(`${romeo}/orchard`);
  const all = Array.from({ length: 240 }, (_, n) => `${n}`);
  // Sixty of one kind at a time, and then by turns.
  const isWhole = (n: number) => (n < 120 ? n < 60 : n % 3 === 0);
  for (const [n, body] of all.entries())
    await orchard.says(chat(juliet, body, isWhole(n) ? `<no-permanent-store xmlns='${NS.hints}'/>` : ''));
  const gone = [...(await references.all(juliet.bare)).keys()].slice(0, 55);
  const bodiesGone = (await stored(juliet))
    .slice(0, 55)
    .map(({ value }) => Stanza.parse(value).text(NS.client, 'body'));
  await storage.log('archive').remove(juliet.bare, gone);
  const balcony = dial(`${juliet}/balcony`);
  await balcony.appears();
  const bodies = () =>
    balcony.received
      .map((xml) => Stanza.parse(xml))
      .filter(({ name }) => name === 'message')
      .map((stanza) => stanza.text(NS.client, 'body'));
  while (bodies().length < all.length - gone.length) await new Promise(setImmediate);
  assert.deepEqual(
    bodies(),
    all.filter((body) => !bodiesGone.includes(body)),
  );
  await storage.flush();
  assert.deepEqual([await references.count(juliet.bare), await offlineLog.count(juliet.bare, {})], [0, 0]);
});

test('a full offline store loses nothing that is archived', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  for (let n = 0; n < 5; n++) await orchard.says(chat(juliet, `${n}`));
  assert.deepEqual(orchard.received, []);
  // The limit is for messages that are not archived.
  assert.equal(await references.count(juliet.bare), 5);
  assert.equal((await stored(juliet)).length, 5);
  const whole = (body: string) => chat(juliet, body, `<no-permanent-store xmlns='${NS.hints}'/>`);
  for (let n = 0; n < 3; n++) await orchard.says(whole(`whole ${n}`));
  assert.deepEqual(orchard.received, []);
  await orchard.says(whole('one too many'));
  assert.match(orchard.received.join(), /service-unavailable/);
});

// ---------------------------------------------------------------------------------------------------------------
// Preferences

const prefs = (policy: string, lists = '') =>
  `<iq type='set' id='p'><prefs xmlns='${NS.mam}' default='${policy}'>${lists}</prefs></iq>`;

test('preferences decide (XEP-0441 §2.3)', async () => {
  const { romeo } = await couple();
  const sender = connect('anybody@example.org/home');
  const orchard = connect(`${romeo}/orchard`);
  await storage.map('roster').set(romeo.bare, [
    ['friend@example.org', { subscription: 'both', groups: [] }],
    ['hidden@example.org', { subscription: 'none', groups: [], hidden: true }],
  ]);
  const cases: [preferences: string, peer: string, isKept: boolean][] = [
    [prefs('always'), 'stranger@example.org/x', true],
    [prefs('never'), 'friend@example.org/x', false],
    [prefs('roster'), 'friend@example.org/x', true],
    [prefs('roster'), 'stranger@example.org/x', false],
    [prefs('roster'), 'hidden@example.org/x', false],
    [prefs('roster'), `${romeo}/x`, true],
    [prefs('never', '<always><jid>a@example.org</jid></always>'), 'a@example.org/x', true],
    [prefs('never', '<always><jid>a@example.org/y</jid></always>'), 'a@example.org/x', false],
    [prefs('never', '<always><jid>a@example.org/y</jid></always>'), 'a@example.org/y', true],
    [prefs('always', '<never><jid>a@example.org</jid></never>'), 'a@example.org/x', false],
    [prefs('always', '<never><jid>a@example.org</jid></never>'), 'b@example.org/x', true],
    [
      prefs('always', '<never><jid>a@example.org</jid></never><always><jid>a@example.org</jid></always>'),
      'a@example.org/x',
      false,
    ],
  ];
  for (const [preferences, peer, isKept] of cases) {
    await orchard.asks(preferences);
    await archive.trim(romeo);
    await host.route(Stanza.parse(chat(romeo, 'x')).with({ from: Jid.parse(peer) }), {
      ...serverOrigin,
      session: sender.session,
    });
    assert.equal((await stored(romeo)).length, isKept ? 1 : 0, `${preferences} ${peer}`);
    await archive.trim(romeo);
    await orchard.says(chat(Jid.parse(peer), 'x'));
    if (!peer.startsWith(romeo.bare))
      assert.equal((await stored(romeo)).length, isKept ? 1 : 0, `to: ${preferences} ${peer}`);
  }
});

// ---------------------------------------------------------------------------------------------------------------
// Retractions and trimming

const retract = (to: Jid, id: string, own = 'r') =>
  `<message to='${to}' type='chat' id='${own}'><retract xmlns='${NS.retract}' id='${id}'/></message>`;

/** Until every retraction was dealt with: they look into the archive one after the other. */
const settled = async () => {
  for (let n = 0; n < 50; n++) await new Promise(setImmediate);
};

test('a retracted message is a tombstone on both sides, with its corrections (XEP-0424 §4)', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  const phone = connect(`${romeo}/phone`);
  await orchard.says(chat(juliet, 'secret', '', 'm1'));
  await orchard.says(chat(juliet, 'secrett', `<replace xmlns='${NS.correct}' id='m1'/>`, 'm2'));
  await orchard.says(chat(juliet, 'harmless', '', 'm3'));
  const search = query(
    `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.mam}</value></field><field var='{${NS.fullText}}fulltext'><value>secret</value></field></x>`,
  );
  assert.match(await phone.asks(search), /<body>secret</);
  await phone.says(retract(juliet, 'm1'));
  await settled();
  assert.doesNotMatch(await phone.asks(search), /<body>/);
  for (const owner of [romeo, juliet]) {
    const entries = await stored(owner);
    assert.deepEqual(await bodies(owner), ['', '', 'harmless', '']);
    const tombstone = Stanza.parse(entries[0]!.value);
    assert.equal(tombstone.id, 'm1');
    assert.equal(tombstone.from?.full, `${romeo}/orchard`);
    const { id, stamp } = tombstone.child(NS.retract, 'retracted')!.attrs;
    assert.equal(id, 'r');
    assert.ok(Date.parse(stamp!) > Date.now() - 60_000);
    assert.equal(tombstone.childCount, 1);
    assert.equal(entries[0]!.with, owner === romeo ? juliet.bare : romeo.bare);
    assert.deepEqual(await bodies(owner), ['', '', 'harmless', '']);
  }
});

test('only the author can retract a message', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  const balcony = connect(`${juliet}/balcony`);
  await orchard.says(chat(juliet, 'mine', '', 'm1'));
  await balcony.says(retract(romeo, 'm1'));
  await connect('tybalt@example.org/x').says(retract(juliet, 'm1'));
  await orchard.says(retract(juliet, 'm1', '').replace("id=''", ''));
  await settled();
  assert.equal((await bodies(juliet))[0], 'mine');
  assert.equal((await bodies(romeo))[0], 'mine');
});

test('occupants of a room are distinct authors', () => {
  const from = (resource: string, x = '') =>
    Stanza.parse(`<message from='verona@rooms.example.org/${resource}'>${x}</message>`);
  const x = `<x xmlns='${NS.mucUser}'/>`;
  assert.equal(isByAuthor(from('romeo', x), from('romeo', x)), true);
  assert.equal(isByAuthor(from('romeo', x), from('tybalt', x)), false);
  assert.equal(isByAuthor(from('romeo', x), from('tybalt')), false);
  assert.equal(isByAuthor(from('romeo'), from('tybalt', x)), false);
  assert.equal(isByAuthor(from('phone'), from('desk')), true);
  assert.equal(isByAuthor(Stanza.parse('<message/>'), Stanza.parse('<message/>')), false);
});

test('a room keeps the retraction of a message', async () => {
  const room = Jid.parse('verona@rooms.example.org');
  const stanza = Stanza.parse(
    `<message from='${room}/romeo' type='groupchat' id='m'><body>x</body><occupant-id xmlns='${NS.occupantId}' id='o'/></message>`,
  );
  const { id, durable } = archive.append(room, stanza, { with: Jid.parse('romeo@example.org') });
  await durable;
  const retracted = el('retracted', { xmlns: NS.retract, id: 'r' }, el('moderated', { xmlns: NS.moderate }));
  assert.equal(await archive.tombstone(room, id, retracted, ({ ns }) => ns === NS.occupantId), true);
  assert.equal(await archive.tombstone(room, 'x', retracted), false);
  assert.deepEqual(await archive.read(room, { limit: 5 }), {
    entries: [
      {
        id,
        with: 'romeo@example.org',
        value: `<message xmlns="jabber:client" from="${room}/romeo" type="groupchat" id="m"><occupant-id xmlns="urn:xmpp:occupant-id:0" id="o"/><retracted xmlns="urn:xmpp:message-retract:1" id="r"><moderated xmlns="urn:xmpp:message-moderate:1"/></retracted></message>`,
      },
    ],
    complete: true,
  });
});

test('trims up to a message, or everything', async () => {
  const { romeo, juliet } = await couple();
  const orchard = connect(`${romeo}/orchard`);
  for (const body of ['1', '2', '3', '4']) await orchard.says(chat(juliet, body));
  const entries = await stored(romeo);
  await archive.trim(romeo, entries[1]!.id);
  assert.deepEqual(await bodies(romeo), ['3', '4']);
  await assert.rejects(archive.trim(romeo, entries[1]!.id), { condition: 'item-not-found' });
  await archive.trim(romeo);
  await archive.trim(romeo);
  assert.deepEqual(await bodies(romeo), []);
  assert.equal((await stored(juliet)).length, 4);
});
