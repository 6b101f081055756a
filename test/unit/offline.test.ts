import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import offline from '../../src/modules/xep-0160-offline/index.js';
import { isDispensable, isStorable, storedForm } from '../../src/modules/xep-0160-offline/stanzas.js';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule, message } from '../../src/server/module/index.js';
import type { Receipt } from '../../src/server/routing/link.js';
import { serverOrigin } from '../../src/server/routing/router.js';
import { Session } from '../../src/server/routing/session.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { startHost } from './module-host.js';

const hint = (name: string) => `<${name} xmlns='${NS.hints}'/>`;
const BODY = '<body>Hi</body>';
const TYPING = `<composing xmlns='${NS.chatStates}'/>`;

test('which messages are stored (XEP-0160 §3, XEP-0334 §4)', () => {
  const cases: [title: string, type: string, content: string, stored: boolean, dispensable?: boolean][] = [
    ['chat with a body', 'chat', BODY, true],
    ['normal with a body', 'normal', BODY, true],
    ['without a type, with a body', '', BODY, true],
    ['normal with another payload', 'normal', "<x xmlns='jabber:x:conference' jid='a@b'/>", true],
    ['encrypted without a body', 'chat', "<encrypted xmlns='urn:xmpp:omemo:2'/>", true],
    ['a subject', 'normal', '<subject>News</subject>', true],
    ['a receipt', 'chat', `<received xmlns='${NS.receipts}' id='1'/>`, true],
    ['a marker', 'chat', `<displayed xmlns='${NS.markers}' id='1'/>`, true],
    ['a chat state', 'chat', TYPING, false, true],
    ['a chat state of a thread', 'chat', `${TYPING}<thread>x</thread>${hint('no-permanent-store')}`, false, true],
    ['a chat state with a store hint', 'chat', TYPING + hint('store'), true],
    ['with no-store', 'chat', BODY + hint('no-store'), false, false],
    ['with no-permanent-store', 'chat', BODY + hint('no-permanent-store'), true],
    ['nothing', 'normal', '', false, true],
    ['an event of a node', '', `<event xmlns='${NS.pubsubEvent}'/>`, false, true],
    ['a carbon', 'chat', `<received xmlns='${NS.carbons}'/>`, false, true],
    ['headline', 'headline', BODY, false, false],
    ['groupchat', 'groupchat', BODY, false, false],
    ['groupchat without a body', 'groupchat', '', false, false],
    ['groupchat with a hint', 'groupchat', BODY + hint('store'), false, false],
    ['error', 'error', BODY + hint('store'), false, true],
  ];
  for (const [title, type, content, stored, dispensable] of cases) {
    const stanza = Stanza.parse(`<message${type === '' ? '' : ` type='${type}'`}>${content}</message>`);
    assert.equal(isStorable(stanza), stored, title);
    if (dispensable !== undefined) assert.equal(isDispensable(stanza), dispensable, title);
  }
});

test("the server's own delay is added once", () => {
  const owner = Jid.parse('romeo@example.org');
  const stanza = Stanza.parse(`<message to='romeo@example.org/x'>${BODY}</message>`);
  const stored = storedForm(stanza, owner, 'example.org', 0);
  assert.equal(
    stored.toXml(),
    '<message to="romeo@example.org"><body>Hi</body><delay xmlns="urn:xmpp:delay" from="example.org" stamp="1970-01-01T00:00:00.000Z"/></message>',
  );
  assert.equal(storedForm(stored, owner, 'example.org', 1).toXml(), stored.toXml());
});

const { host, storage, account, connect, directory, limits, stop } = await startHost([roster, presence, offline], {
  config: { limits: { offline_messages: 120 } },
});
after(stop);

/** A session whose client acknowledges when the test says so. */
function acknowledging(full: string) {
  const sent: { body: string; xml: string; receipt: Receipt | undefined }[] = [];
  const session = new Session(Jid.parse(full), {
    send: (stanza, receipt) => {
      if (stanza.name !== 'message') return;
      sent.push({ body: stanza.text(NS.client, 'body') ?? '', xml: stanza.toXml(), receipt });
      for (const watch of watchers.splice(0)) watch();
    },
  });
  const watchers: (() => void)[] = [];
  session.acknowledges = true;
  directory.add(session);
  const says = (xml: string) =>
    host.fromSession(Stanza.parse(xml).with({ from: session.jid }), session, { ...serverOrigin, session });
  return {
    session,
    sent,
    says,
    bodies: () => sent.map(({ body }) => body),
    /** Resolves once so many messages in total were sent to it. */
    has: async (count: number) => {
      while (sent.length < count) await new Promise<void>((resolve) => watchers.push(resolve));
    },
    ends: () => {
      directory.remove(session);
      void host.notify('gone', session);
      for (const { xml, receipt } of sent.splice(0)) receipt?.lost(Stanza.parse(xml));
    },
  };
}

/** From a session whose stream acknowledges; resolves with when that may be, as promises. */
const sender = connect('juliet@example.org/balcony');
const acknowledgement = async (xml: string) => {
  const durable: Promise<unknown>[] = [];
  const origin = {
    session: sender.session,
    acknowledges: true,
    acknowledgeAfter: (promise: Promise<unknown>) => void durable.push(promise),
  };
  await host.fromSession(Stanza.parse(xml).with({ from: sender.session.jid }), sender.session, origin);
  return durable;
};
const chat = (to: string, body: string, more = '') =>
  `<message to='${to}' type='chat'><body>${body}</body>${more}</message>`;
const log = storage.log('offline');
const stored = async (owner: string) =>
  (await log.page(`${owner}@example.org`, { limit: 1000 })).entries.map(({ value }) =>
    Stanza.parse(value).text(NS.client, 'body'),
  );
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
await account('juliet');

test('stored for an offline user, and delivered in order', async () => {
  await account('romeo');
  for (const body of ['1', '2', '3']) await sender.says(chat('romeo@example.org', body));
  await sender.says(`<message to='romeo@example.org' type='chat'>${TYPING}</message>`);
  await sender.says(
    chat('romeo@example.org/gone', '4', `<delay xmlns='${NS.delay}' from='EXAMPLE.org' stamp='1999-01-01T00:00:00Z'/>`),
  );
  assert.deepEqual(sender.received, []);
  assert.match(await sender.asks(chat('romeo@example.org', 'x', hint('no-store'))), /service-unavailable/);
  assert.match(await sender.asks(chat('nobody@example.org', 'x')), /service-unavailable/);
  assert.deepEqual(await stored('romeo'), ['1', '2', '3', '4']);

  const shy = acknowledging('romeo@example.org/shy');
  await shy.says('<presence><priority>-1</priority></presence>');
  await settled();
  assert.deepEqual(shy.bodies(), []);
  await shy.says('<presence><priority>0</priority></presence>');
  await shy.has(4);
  assert.deepEqual(shy.bodies(), ['1', '2', '3', '4']);
  const { xml } = shy.sent[3]!;
  assert.match(xml, /^<message to="romeo@example.org" from="juliet@example.org\/balcony" type="chat">/);
  assert.equal(xml.match(/<delay /g)?.length, 1);
  assert.doesNotMatch(xml, /1999/);
  assert.deepEqual(await stored('romeo'), ['1', '2', '3', '4'], 'until they are acknowledged');
  for (const { receipt } of shy.sent) receipt?.delivered();
  await settled();
  assert.deepEqual(await stored('romeo'), []);
  shy.ends();
});

test('a message in flight is durable before it is acknowledged, and deleted once it has arrived', async () => {
  await account('paris');
  const phone = acknowledging('paris@example.org/phone');
  await phone.says('<presence/>');
  await settled();
  const durable = await acknowledgement(chat('paris@example.org', 'a'));
  assert.equal(durable.length, 1);
  await Promise.all(durable);
  assert.deepEqual(phone.bodies(), ['a']);
  assert.doesNotMatch(phone.sent[0]!.xml, /delay/);
  assert.deepEqual(await stored('paris'), ['a']);

  const tablet = acknowledging('paris@example.org/tablet');
  await tablet.says('<presence/>');
  await settled();
  assert.deepEqual(tablet.bodies(), [], 'not what is on its way to another');

  await acknowledgement(chat('paris@example.org', 'b'));
  assert.deepEqual([phone.bodies(), tablet.bodies()], [['a', 'b'], ['b']]);
  tablet.sent[0]!.receipt?.delivered();
  phone.sent[0]!.receipt?.delivered();
  await settled();
  assert.deepEqual(await stored('paris'), [], 'one device is enough');

  assert.equal((await acknowledgement(`<message to='paris@example.org' type='chat'>${TYPING}</message>`)).length, 0);
  assert.equal(phone.sent.at(-1)?.receipt, undefined);
  phone.ends();
  tablet.ends();
  await settled();
  assert.deepEqual(await stored('paris'), []);
});

test('a lost message is an offline message, stored before or not', async () => {
  await account('benvolio');
  const phone = acknowledging('benvolio@example.org/phone');
  const tablet = acknowledging('benvolio@example.org/tablet');
  for (const client of [phone, tablet]) await client.says('<presence/>');
  await settled();
  await acknowledgement(chat('benvolio@example.org', 'spooled'));
  await sender.says(chat('benvolio@example.org', 'not spooled'));
  await sender.says(chat('benvolio@example.org/phone', 'for the phone'));
  assert.deepEqual(await stored('benvolio'), ['spooled']);
  tablet.ends();
  await settled();
  assert.deepEqual(await stored('benvolio'), ['spooled'], 'the phone may still acknowledge');
  phone.ends();
  await settled();
  assert.deepEqual(await stored('benvolio'), ['spooled', 'not spooled', 'for the phone']);
  const next = acknowledging('benvolio@example.org/next');
  await next.says('<presence/>');
  await next.has(3);
  assert.match(next.sent[2]!.xml, /^<message to="benvolio@example.org" .*<delay /);
});

test('a message lost by one session goes to another that is online', async () => {
  await account('mercutio');
  const phone = acknowledging('mercutio@example.org/phone');
  const desk = acknowledging('mercutio@example.org/desk');
  for (const client of [phone, desk]) await client.says('<presence/>');
  await settled();
  await sender.says(chat('mercutio@example.org/phone', '1'));
  await acknowledgement(chat('mercutio@example.org/phone', '2'));
  assert.deepEqual(desk.bodies(), []);
  phone.ends();
  await desk.has(2);
  assert.deepEqual(desk.bodies(), ['1', '2']);
});

test('messages being delivered are neither overtaken nor lost', async () => {
  await account('tybalt');
  for (let body = 0; body < 110; body++) await sender.says(chat('tybalt@example.org', String(body)));
  const phone = acknowledging('tybalt@example.org/phone');
  const available = phone.says('<presence/>');
  void sender.says(chat('tybalt@example.org', '110'));
  await available;
  await phone.has(50);
  await settled();
  assert.equal(phone.sent.length, 50, 'no more than it can take');
  void sender.says(chat('tybalt@example.org/phone', '111'));
  for (let done = 0; done < 112; ) {
    await phone.has(done + 1);
    phone.sent[done++]!.receipt?.delivered();
  }
  await settled();
  assert.deepEqual(
    phone.bodies(),
    Array.from({ length: 112 }, (_, body) => String(body)),
  );
  assert.deepEqual(await stored('tybalt'), []);
  await sender.says(chat('tybalt@example.org', 'now'));
  assert.equal(phone.bodies().at(-1), 'now');
  assert.doesNotMatch(phone.sent.at(-1)!.xml, /delay/);
});

test('the same for messages that were held back on their way', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const slow = defineModule({
    name: 'slow',
    summary: 'Holds up what says so, behind everything that looks where it goes.',
    implements: {},
    start: () => [
      message(
        'archive',
        async ({ way, stanza }) => {
          if (way === 'in' && stanza.text(NS.client, 'body') === 'late') await held;
        },
        { after: ['offline'] },
      ),
    ],
  });
  const { account: make, connect: dial, stop: end } = await startHost([roster, presence, offline, slow]);
  await make('romeo');
  await make('juliet');
  const romeo = dial('romeo@example.org/orchard');
  for (const body of ['1', '2']) await romeo.says(chat('juliet@example.org', body));
  const juliet = dial('juliet@example.org/balcony');
  const late = romeo.says(chat('juliet@example.org', 'late'));
  await settled();
  release();
  const appears = juliet.appears();
  await Promise.all([late, appears]);
  const bodies = () =>
    juliet.received.map((xml) => Stanza.parse(xml).text(NS.client, 'body')).filter((body) => body !== undefined);
  while (bodies().length < 3) await settled();
  assert.deepEqual(bodies(), ['1', '2', 'late']);
  end();
});

test('a second device does not wait for acknowledgements of the first', async () => {
  await account('sampson');
  for (let body = 0; body < 60; body++) await sender.says(chat('sampson@example.org', String(body)));
  const first = acknowledging('sampson@example.org/first');
  await first.says('<presence/>');
  await first.has(50);
  const second = acknowledging('sampson@example.org/second');
  await second.says('<presence/>');
  await second.has(10);
  assert.deepEqual(second.bodies(), first.bodies().slice(50));
  first.ends();
  await second.has(60);
  assert.deepEqual(new Set(second.bodies()).size, 60);
});

test('a lost message is not overtaken by unsent ones', async () => {
  await account('montague');
  for (let body = 0; body < 110; body++) await sender.says(chat('montague@example.org', String(body)));
  const first = acknowledging('montague@example.org/first');
  await first.says('<presence/>');
  await first.has(50);
  const second = acknowledging('montague@example.org/second');
  await second.says('<presence/>');
  await second.has(50);
  first.ends();
  await second.has(100);
  for (const { receipt } of [...second.sent]) receipt?.delivered();
  await second.has(110);
  const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => String(from + n));
  assert.deepEqual(second.bodies(), [...numbers(50, 100), ...numbers(0, 50), ...numbers(100, 110)]);
});

test('messages sent to a session before a restart are stored until they have arrived', async () => {
  const owner = await account('capulet');
  const phone = acknowledging('capulet@example.org/phone');
  const desk = acknowledging('capulet@example.org/desk');
  for (const client of [phone, desk]) await client.says('<presence/>');
  await settled();
  for (const body of ['1', '2', '3']) await acknowledgement(chat('capulet@example.org', body));
  await sender.says(chat('capulet@example.org', 'not spooled'));
  phone.sent[0]!.receipt?.delivered();
  await settled();
  const references = desk.sent.map(({ receipt }) => receipt?.reference);
  assert.deepEqual(
    references.map((reference) => reference?.slice(0, 0)),
    ['', '', '', undefined],
  );
  assert.equal(references[0], '', 'it has arrived on the phone');
  assert.deepEqual(await stored('capulet'), ['2', '3']);

  // The next process knows the log and the references.
  const { host: next, directory: sessions, stop: end } = await startHost([roster, presence, offline], { storage });
  const { receipt, readOut } = next.services.offline!;
  const [first, second, third] = references.slice(0, 3).map((reference) => receipt(owner, reference!));
  const secondElsewhere = receipt(owner, references[1]!);
  const sent: string[] = [];
  const session = new Session(owner.withResource('x'), {
    send: (stanza) => void sent.push(stanza.text(NS.client, 'body') ?? ''),
  });
  session.appears(Stanza.parse('<presence/>'));
  sessions.add(session);
  readOut(owner.bare);
  for (let turn = 0; turn < 5; turn++) await settled();
  assert.deepEqual(sent, [], 'it is on its way in the queues of sessions');
  first!.delivered();
  second!.lost(Stanza.parse('<message/>'));
  third!.delivered();
  for (let turn = 0; turn < 5; turn++) await settled();
  assert.deepEqual(sent, [], 'another session may still acknowledge it');
  assert.deepEqual(await stored('capulet'), ['2']);
  secondElsewhere.lost(Stanza.parse('<message/>'));
  for (let turn = 0; turn < 5; turn++) await settled();
  assert.deepEqual(sent, ['2']);
  end();
});

test('the store is limited, and the sender gets an error', async () => {
  await account('gregory');
  for (let body = 0; body < 120; body++) await sender.says(chat('gregory@example.org', String(body)));
  assert.deepEqual(sender.received, []);
  assert.match(await sender.asks(chat('gregory@example.org', 'x')), /type="error".*service-unavailable/);
  assert.deepEqual(limits, ['offline_messages']);
  assert.equal((await stored('gregory')).length, 120);
});

test('an unreachable session that lost a message is not tried again and again', async () => {
  await account('peter');
  await sender.says(chat('peter@example.org', '1'));
  let attempts = 0;
  const session = new Session(Jid.parse('peter@example.org/dead'), {
    send: (stanza, receipt) => {
      if (stanza.name === 'message') attempts++;
      receipt?.lost(stanza);
    },
  });
  session.acknowledges = true;
  directory.add(session);
  await host.fromSession(Stanza.parse('<presence/>').with({ from: session.jid }), session, {
    ...serverOrigin,
    session,
  });
  for (let turn = 0; turn < 5; turn++) await settled();
  assert.equal(attempts, 1);
  assert.deepEqual(await stored('peter'), ['1']);
});

test('messages lost in a restart are stored', async () => {
  await account('abraham');
  const { session } = acknowledging('abraham@example.org/x');
  directory.remove(session);
  const message = `<message from='juliet@example.org/balcony' to='abraham@example.org/x' type='chat'>${BODY}</message>`;
  await host.undeliverable(Stanza.parse(message), session);
  assert.deepEqual(await stored('abraham'), ['Hi']);
});
