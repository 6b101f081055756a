import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import carbons, { isEligible } from '../../src/modules/xep-0280-carbons.js';
import stanzaIds from '../../src/modules/xep-0359-stanza-id.js';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule, message } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { withoutIdsBy } from '../../src/server/stanza/stanza-id.js';
import { type Client, startHost } from './module-host.js';

const BODY = '<body>Hi</body>';
const PRIVATE = `<private xmlns='${NS.carbons}'/>`;
const ROOM = `<x xmlns='${NS.mucUser}'/>`;

test('which messages are copied (§6.1)', () => {
  const peer = Jid.parse('juliet@example.com/balcony');
  const occupant = Jid.parse('room@muc.example.com/nick');
  const room = Jid.parse('room@muc.example.com');
  const cases: [title: string, type: string, content: string, expected: boolean, way?: 'in' | 'out', peer?: Jid][] = [
    ['chat', 'chat', '', true],
    ['normal with a body', 'normal', BODY, true],
    ['without a type, with a body', '', BODY, true],
    ['normal without a body', 'normal', '', false],
    ['a receipt', 'normal', `<received xmlns='${NS.receipts}' id='1'/>`, true],
    ['a marker', 'normal', `<displayed xmlns='${NS.markers}' id='1'/>`, true],
    ['a chat state', '', `<active xmlns='${NS.chatStates}'/>`, true],
    ['groupchat', 'groupchat', BODY, false],
    ['headline', 'headline', BODY, false],
    ['private', 'chat', BODY + PRIVATE, false],
    ['not to be copied (XEP-0334)', 'chat', `${BODY}<no-copy xmlns='${NS.hints}'/>`, false],
    ['a direct invitation', 'normal', `<x xmlns='${NS.conference}' jid='r@m'/>`, true],
    ['a mediated invitation', 'normal', `<x xmlns='${NS.mucUser}'><invite from='a@b'/></x>`, true, 'in', room],
    ['other messages of a room', 'normal', ROOM, false, 'in', room],
    ['private, from a room', 'chat', BODY + ROOM, false, 'in', occupant],
    ['private, to a room', 'chat', BODY + ROOM, true, 'out', occupant],
  ];
  for (const [title, type, content, expected, way = 'in', other = peer] of cases) {
    const stanza = Stanza.parse(`<message${type === '' ? '' : ` type='${type}'`}>${content}</message>`);
    assert.equal(isEligible(stanza, way, other), expected, title);
  }
});

test('forged ids of the account are removed, however spelled; others stay', () => {
  const owner = Jid.parse('romeo@example.org');
  const id = (by: string) => `<stanza-id xmlns='${NS.stanzaId}' id='1' by='${by}'/>`;
  const origin = `<origin-id xmlns='${NS.stanzaId}' id='2'/>`;
  const forged = ['romeo@example.org', 'ROMEO@Example.org', ' romeo@example.org', 'romeo@example.org/x'];
  const stored = id('juliet@example.org') + id('example.org') + origin + BODY;
  const stanza = Stanza.parse(`<message>${forged.map(id).join('')}${stored}</message>`);
  assert.equal(withoutIdsBy(stanza, owner).content, stored);
  const clean = Stanza.parse(`<message>${stored}</message>`);
  assert.equal(withoutIdsBy(clean, owner), clean);
});

/** Stands for the archive: gives every message an id. */
const archive = defineModule({
  name: 'mam',
  summary: 'For the test.',
  implements: {},
  start: () => [
    message('archive', (passage) => {
      if (passage.stanza.id === 'keep') passage.archivedAs = `in ${passage.owner.local}'s archive`;
    }),
  ],
});

const { host, account, connect, stop } = await startHost([roster, presence, carbons, stanzaIds, archive]);
after(stop);

const taken = (client: Client) => client.received.splice(0);
const enable = `<iq type='set' id='e'><enable xmlns='${NS.carbons}'/></iq>`;
const online = async (full: string, withCarbons: boolean) => {
  const client = connect(full);
  await client.says('<presence/>');
  if (withCarbons) assert.match(await client.asks(enable), /type="result" id="e"/);
  return client;
};
await account('romeo');
await account('juliet');
const garden = await online('romeo@example.org/garden', true);
const home = await online('romeo@example.org/home', true);
const old = await online('romeo@example.org/old', false);
const balcony = await online('juliet@example.org/balcony', true);
const chamber = await online('juliet@example.org/chamber', true);
const clients = [garden, home, old, balcony, chamber];
for (const client of clients) taken(client);

/** Who got what: the message itself, or a copy of it. */
const outcome = () =>
  clients.map((client) => {
    const got = taken(client).map((xml) => /<(sent|received) xmlns="urn:xmpp:carbons:2"/.exec(xml)?.[1] ?? 'message');
    return got.join();
  });

test('other clients of the sender and of the recipient get copies (§7, §8)', async () => {
  await garden.says(`<message to='juliet@example.org/balcony' type='chat' id='1'>${BODY}</message>`);
  const [sent] = home.received;
  assert.equal(
    sent,
    '<message to="romeo@example.org/home" from="romeo@example.org" type="chat"><sent xmlns="urn:xmpp:carbons:2"><forwarded xmlns="urn:xmpp:forward:0"><message xmlns="jabber:client" to="juliet@example.org/balcony" from="romeo@example.org/garden" type="chat" id="1"><body>Hi</body></message></forwarded></sent></message>',
  );
  assert.equal(
    chamber.received[0],
    sent
      .replaceAll('sent', 'received')
      .replace('romeo@example.org/home', 'juliet@example.org/chamber')
      .replace('from="romeo@example.org"', 'from="juliet@example.org"'),
  );
  assert.deepEqual(outcome(), ['', 'sent', '', 'message', 'received']);
  await garden.says(`<message to='juliet@example.org' type='chat'>${BODY}</message>`);
  assert.deepEqual(outcome(), ['', 'sent', '', 'message', 'message'], 'who has the message needs no copy');
  await garden.says(`<message to='juliet@example.org/balcony' type='chat'>${BODY}${PRIVATE}</message>`);
  assert.match(balcony.received.join(), /<private /);
  assert.deepEqual(outcome(), ['', '', '', 'message', '']);
});

test('a copy has the archive id of its owner', async () => {
  await garden.says(`<message to='juliet@example.org/balcony' type='chat' id='keep'>${BODY}</message>`);
  assert.match(home.received.join(), /by="romeo@example.org"/);
  assert.doesNotMatch(home.received.join(), /by="juliet/);
  assert.match(chamber.received.join(), /by="juliet@example.org"/);
  outcome();
});

test('a message to oneself is copied once', async () => {
  await garden.says(`<message to='romeo@example.org/old' type='chat'>${BODY}</message>`);
  assert.deepEqual(outcome(), ['', 'received', 'message', '', '']);
});

test('only an error for a copied message is copied', async () => {
  const error = (id: string) =>
    `<message to='romeo@example.org/garden' type='error' id='${id}'>${BODY}<error type='cancel'/></message>`;
  await garden.says(`<message to='juliet@example.org/balcony' type='chat' id='known'>${BODY}</message>`);
  outcome();
  await balcony.says(error('known'));
  assert.deepEqual(outcome(), ['message', 'received', '', '', 'sent']);
  await balcony.says(error('unknown'));
  assert.deepEqual(outcome(), ['message', '', '', '', '']);
});

test('forged copies are dropped (§11)', async () => {
  const forged = `<received xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client'/></forwarded></received>`;
  assert.match(
    await garden.asks(`<message to='juliet@example.org' type='chat'>${BODY}${forged}</message>`),
    /not-allowed/,
  );
  await garden.says(`<message to='romeo@example.org' type='error'>${forged}</message>`);
  assert.deepEqual(outcome(), ['', '', '', '', '']);
  await host.route(
    Stanza.parse(
      `<message from='tybalt@remote.example/x' to='juliet@example.org/balcony' type='chat'>${BODY}${forged}</message>`,
    ),
  );
  assert.doesNotMatch(balcony.received.join(), /carbons/);
  assert.deepEqual(outcome(), ['', '', '', 'message', 'received']);
});

test('disabled, nothing is copied; enabling twice is allowed (§5, §10)', async () => {
  assert.match(await home.asks(enable), /result/);
  assert.match(await home.asks(`<iq type='set' id='d'><disable xmlns='${NS.carbons}'/></iq>`), /result/);
  assert.match(
    await garden.asks(`<iq type='set' id='d' to='juliet@example.org'><enable xmlns='${NS.carbons}'/></iq>`),
    /error/,
  );
  await garden.says(`<message to='juliet@example.org' type='chat'>${BODY}</message>`);
  assert.deepEqual(outcome(), ['', '', '', 'message', 'message']);
});
