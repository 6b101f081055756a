/** Two libraries talk to each other through the server: everything that people do with a client in a day. */
import assert from 'node:assert/strict';
import { describe, type TestContext } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import type { Device } from './device.js';
import type { Relay } from './relay.js';
import { Stage, without } from './stage.js';
import { steps } from './steps.js';
import { type Way, ways } from './ways.js';

const stage = Stage.forThisFile();

/** Each way once as the first and once as the second, with another library. */
const pairs: readonly (readonly [Way, Way])[] = [
  [ways.xmppJsStartTls, ways.strophe],
  [ways.xmppJsTls, ways.slixmppStartTls],
  [ways.xmppJsWebSocket, ways.stanzaJs],
  [ways.stanzaJs, ways.slixmppTls],
  [ways.strophe, ways.xmppJsTls],
  [ways.slixmppStartTls, ways.xmppJsWebSocket],
  [ways.slixmppTls, ways.xmppJsStartTls],
];

/** Texts that are difficult to transport; each has to arrive unchanged. */
const texts = [
  'Grüße – 日本語 – עברית – 👩‍👩‍👧‍👦 🏳️‍🌈',
  '<b>&amp; "quoted" \'so\' ]]> &lt;/body></b> & <!-- - -->',
  'two\nlines,\ttabbed,  spaced ',
  'a long one: '.repeat(5000),
];

for (const [one, other] of pairs) {
  const skip = without(one.program) || without(other.program);
  describe(`${one.name}; with ${other.name}`, { skip, concurrency: false }, () => converse(one, other));
}

function converse(one: Way, other: Way): void {
  const step = steps();
  let a: Device;
  let second: Device;
  let b: Device;
  let relay: Relay;
  let juliet: string;
  let romeo: string;

  step('logs in', async () => {
    relay = await stage.relay(one.listener);
    const account = stage.account('phone');
    a = await stage.keep(one.device(account, relay.port));
    second = await stage.keep(one.device({ ...account, resource: 'desk' }, stage.port(one.listener)));
    b = await stage.keep(other.device(stage.account('home'), stage.port(other.listener)));
    await Promise.all([a.online(), second.online(), b.online()]);
    juliet = bare(a.jid);
    romeo = bare(b.jid);
    assert.equal(a.mechanism, one.mechanism);
    assert.match(a.jid, /@localhost\/.*phone/);
  });

  step('both subscribe, approve, and see each other', async () => {
    await a.setContact(romeo, 'Roméo <R&J>', ['Friends', 'Vérone']);
    await a.subscribe(romeo);
    await b.inbox.next('presence', { from: juliet, type: 'subscribe' });
    await b.accept(juliet);
    await a.inbox.next('presence', { from: romeo, type: 'subscribed' });
    await a.inbox.next('presence', { from: b.jid, type: 'available' });
    await second.inbox.next('presence', { from: b.jid, type: 'available' });
    await b.subscribe(juliet);
    await a.inbox.next('presence', { from: romeo, type: 'subscribe' });
    await a.accept(romeo);
    await b.inbox.next('presence', { from: juliet, type: 'subscribed' });
    await b.inbox.next('presence', { from: a.jid, type: 'available' });
    await b.inbox.next('presence', { from: second.jid, type: 'available' });
    await a.inbox.next('contact', { jid: romeo, subscription: 'both', name: 'Roméo <R&J>' });
    const contact = (await a.roster()).find(({ jid }) => jid === romeo);
    assert.deepEqual(
      { ...contact, groups: [...(contact?.groups ?? [])].sort() },
      { jid: romeo, subscription: 'both', name: 'Roméo <R&J>', groups: ['Friends', 'Vérone'] },
    );
    assert.equal((await b.roster()).find(({ jid }) => jid === juliet)?.subscription, 'both');
  });

  step('both send messages, which arrive unchanged', async () => {
    for (const text of texts) {
      await a.say(b.jid, text);
      assert.equal((await b.inbox.next('message', { from: a.jid })).body, text);
      await b.say(a.jid, text);
      assert.equal((await a.inbox.next('message', { from: b.jid, carbon: undefined })).body, text);
    }
    await b.say(juliet, 'for both');
    for (const device of [a, second]) await device.inbox.next('message', { from: b.jid, body: 'for both' });
  });

  step('other devices get carbons (XEP-0280)', async () => {
    await second.enableCarbons();
    await b.say(a.jid, 'for the phone');
    await second.inbox.next('message', { from: b.jid, body: 'for the phone', carbon: 'received' });
    await a.say(b.jid, 'from the phone');
    await second.inbox.next('message', { from: a.jid, body: 'from the phone', carbon: 'sent' });
    await a.inbox.next('message', { body: 'for the phone', carbon: undefined });
    await b.inbox.next('message', { body: 'from the phone' });
  });

  step('a lost connection is resumed (XEP-0198)', async (t) => {
    await resumes(t, a, b, relay, one.miscounts === true);
  });

  step('vCard, private storage, service discovery and version', async () => {
    await a.setCard('Juliet Càpulet & <sons>');
    assert.equal(await b.card(juliet), 'Juliet Càpulet & <sons>');
    await a.setPrivate('ünder <us>');
    assert.equal(await second.private(), 'ünder <us>');
    await a.ping('localhost');
    assert.match(await a.version('localhost'), /^Waxwing/);
    const features = await a.features('localhost');
    for (const feature of [NS.ping, NS.blocking, NS.carbons, NS.commands, NS.vcardTemp])
      assert.ok(features.includes(feature), `the server does not tell of ${feature}`);
    assert.ok((await a.features(juliet)).length > 0);
    assert.ok(Array.isArray(await a.commands('localhost')));
  });

  step('blocks a user (XEP-0191)', async () => {
    b.inbox.take('presence');
    await a.block(romeo);
    assert.deepEqual(await a.blocked(), [romeo]);
    await b.inbox.next('presence', { from: a.jid, type: 'unavailable' });
    await b.say(juliet, 'hello?');
    // Answered after it.
    await b.ping('localhost');
    await a.unblock(romeo);
    await b.inbox.next('presence', { from: a.jid, type: 'available' });
    await b.say(juliet, 'hello!');
    await a.inbox.next('message', { from: b.jid, body: 'hello!' });
    assert.deepEqual(
      a.inbox.take('message').map(({ body }) => body),
      [],
    );
    assert.deepEqual(await a.blocked(), []);
  });

  step('messages to an offline user are delivered later (XEP-0160)', async () => {
    b.inbox.take('presence');
    await Promise.all([a.offline(), second.offline()]);
    for (const from of [a.jid, second.jid]) await b.inbox.next('presence', { from, type: 'unavailable' });
    for (const text of ['one', 'two', texts[1]!]) await b.say(juliet, text);
    // Answered after them.
    await b.ping('localhost');
    await a.online();
    if (one.readsArchive !== true)
      for (const body of ['one', 'two', texts[1]!]) await a.inbox.next('message', { from: b.jid, body, delayed: true });
    const { messages } = await a.history({ with: romeo, before: '', max: 50 });
    assert.deepEqual(
      messages.slice(-3).map(({ body }) => body),
      ['one', 'two', texts[1]],
    );
  });

  step('removes a contact from the roster', async () => {
    await a.removeContact(romeo);
    await b.inbox.next('presence', { from: a.jid, type: 'unavailable' });
    assert.deepEqual(await a.roster(), []);
    await Promise.all([a.offline(), b.offline()]);
  });
}

/** Messages on both ways around the cut: each arrives, and once. */
async function resumes(t: TestContext, a: Device, b: Device, relay: Relay, miscounts: boolean): Promise<void> {
  a.inbox.take('back');
  a.inbox.take('message');
  b.inbox.take('message');
  b.inbox.take('presence');
  const jid = a.jid;
  await a.say(b.jid, 'before');
  relay.cut();
  for (const text of ['1', '2', '3']) await b.say(jid, text);
  await a.inbox.next('back', { resumed: true });
  await b.say(jid, '4');
  await a.say(b.jid, 'after');
  for (const body of ['1', '2', '3', '4']) await a.inbox.next('message', { from: b.jid, body, carbon: undefined });
  for (const body of ['before', 'after']) await b.inbox.next('message', { from: jid, body });
  assert.equal(a.jid, jid);
  const doubled = a.inbox.take('message');
  if (!miscounts) assert.deepEqual(doubled, [], 'nothing came twice');
  assert.deepEqual(b.inbox.take('message'), [], 'nothing came twice');
  assert.deepEqual(b.inbox.take('presence'), [], 'nobody noticed');
  t.diagnostic(`${a.library} resumed ${jid}`);
}

const bare = (jid: string): string => jid.split('/')[0]!;
