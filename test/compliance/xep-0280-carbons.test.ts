/** XEP-0280: copies of messages for the account's other clients. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const enable = `<iq type='set' id='enable'><enable xmlns='${NS.carbons}'/></iq>`;
const disable = `<iq type='set' id='disable'><disable xmlns='${NS.carbons}'/></iq>`;

async function enables(peer: Peer): Promise<void> {
  await peer.sends(enable);
  await peer.receives(`<iq type='result' id='enable' to='${peer.jid}'/>`);
}

/** Of a message to `to`, as its account sees it. */
const copy = (way: 'sent' | 'received', to: string, message: string, type = 'chat') =>
  `<message from='${to.split('/')[0]}' to='${to}' ${type && `type='${type}'`}><${way} xmlns='${NS.carbons}'>
    <forwarded xmlns='${NS.forward}'>${message.replace('<message', `<message xmlns='jabber:client'`)}</forwarded></${way}></message>`;

/** Romeo in the orchard, and in the garden with carbons; Juliet on the balcony, and in the chamber with carbons. */
async function cast({ actor }: Pick<Scene, 'actor'>) {
  const orchard = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden', { presence: true });
  const balcony = await actor('juliet@localhost/balcony', { presence: true });
  const chamber = await actor('juliet@localhost/chamber', { presence: '<presence><priority>-1</priority></presence>' });
  await enables(garden);
  await enables(chamber);
  const all = [orchard, garden, balcony, chamber];
  for (const peer of all) await peer.syncs();
  for (const peer of all) peer.forgets();
  return { orchard, garden, balcony, chamber, all };
}

const inner = (
  content: string,
  attributes = `type='chat'`,
  to = 'juliet@localhost/balcony',
  from = 'romeo@localhost/orchard',
) => `<message from='${from}' to='${to}' ${attributes}>${content}</message>`;

scenario('§3: support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(`<iq type='result' id='1'><query xmlns='${NS.discoInfo}'>
    <feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:carbons:rules:0'/></query></iq>`);
});

scenario('§7, §8: all clients with carbons enabled see a conversation', async (scene) => {
  const { orchard, garden, balcony, chamber } = await cast(scene);
  const content = `<body>What man art thou?</body><thread>0e31</thread><x xmlns='urn:example'/>`;
  await orchard.sends(`<message to='juliet@localhost/balcony' type='chat' id='1'>${content}</message>`);
  await balcony.receives(inner(content));
  const got = await chamber.receives(copy('received', chamber.jid, inner(content, `type='chat' id='1'`)));
  const sent = await garden.receives(copy('sent', garden.jid, inner(content, `type='chat' id='1'`)));
  // XEP-0359: each with the id of the own archive, and no other
  for (const [carbon, way, by] of [
    [got, 'received', 'juliet@localhost'],
    [sent, 'sent', 'romeo@localhost'],
  ] as const) {
    const forwarded = carbon.getChild(way, NS.carbons)!.getChild('forwarded', NS.forward)!.getChild('message')!;
    assert.deepEqual(
      forwarded.getChildren('stanza-id', NS.stanzaId).map(({ attrs }) => attrs.by),
      [by],
    );
  }
  await chamber.sends(`<message to='romeo@localhost/orchard' type='chat' id='2'><body>Me.</body></message>`);
  const answer = inner('<body>Me.</body>', `type='chat' id='2'`, 'romeo@localhost/orchard', 'juliet@localhost/chamber');
  await orchard.receives(answer);
  await garden.receives(copy('received', garden.jid, answer));
  for (const peer of [orchard, garden, balcony, chamber]) await peer.receivesNothing();
});

scenario('§7: a recipient of the message gets no copy', async (scene) => {
  const { orchard, garden, balcony, chamber } = await cast(scene);
  await enables(balcony);
  await enables(orchard);
  await chamber.sends('<presence/>');
  await chamber.syncs();
  for (const peer of [balcony, chamber]) peer.forgets();
  await orchard.sends(`<message to='juliet@localhost' type='chat'><body>both</body></message>`);
  for (const peer of [balcony, chamber])
    await peer.receives(inner('<body>both</body>', `type='chat'`, 'juliet@localhost'));
  await garden.receives(copy('sent', garden.jid, inner('<body>both</body>', `type='chat'`, 'juliet@localhost')));
  await orchard.sends(`<message to='romeo@localhost' type='chat'><body>to myself</body></message>`);
  for (const peer of [orchard, garden])
    await peer.receives(inner('<body>to myself</body>', `type='chat'`, 'romeo@localhost'));
  for (const peer of [orchard, garden, balcony, chamber]) await peer.receivesNothing();
});

scenario('§7: an unavailable client gets copies, also of messages that are stored', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const silent = await actor('juliet@localhost/silent');
  await enables(silent);
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>1</body></message>`);
  await silent.receives(copy('received', silent.jid, inner('<body>1</body>', `type='chat'`, 'juliet@localhost')));
  const balcony = await actor('juliet@localhost/balcony');
  await balcony.sends('<presence/>');
  await balcony.receives(`<presence/>`);
  await balcony.receives(inner('<body>1</body>', `type='chat'`, 'juliet@localhost'));
  await silent.receivesNothing();
});

const body = '<body>x</body>';
const eligible: readonly (readonly [what: string, type: string, content: string, isCopied: boolean])[] = [
  ['chat', 'chat', body, true],
  ['chat with nothing', 'chat', '', true],
  ['encrypted chat', 'chat', `<encrypted xmlns='eu.siacs.conversations.axolotl'/>`, true],
  [
    'a Jingle proposal',
    'chat',
    `<propose xmlns='urn:xmpp:jingle-message:0' id='a'/><store xmlns='${NS.hints}'/>`,
    true,
  ],
  ['normal with body', 'normal', body, true],
  ['no type with body', '', body, true],
  ['normal without body', 'normal', `<x xmlns='urn:example'/>`, false],
  ['receipt', 'normal', `<received xmlns='${NS.receipts}' id='1'/>`, true],
  ['receipt without type', '', `<received xmlns='${NS.receipts}' id='1'/>`, true],
  ['chat state', 'normal', `<composing xmlns='${NS.chatStates}'/>`, true],
  ['marker', 'normal', `<displayed xmlns='${NS.markers}' id='1'/>`, true],
  ['headline', 'headline', body, false],
  ['groupchat', 'groupchat', body, false],
  ['invitation', 'normal', `<x xmlns='${NS.conference}' jid='room@chat.example'/>`, true],
  ['mediated invitation', 'normal', `<x xmlns='${NS.mucUser}'><invite from='a@b.example'/></x>`, true],
  ['private', 'chat', `${body}<private xmlns='${NS.carbons}'/>`, false],
  ['private, normal', 'normal', `${body}<private xmlns='${NS.carbons}'/><no-copy xmlns='${NS.hints}'/>`, false],
  ['no-copy (XEP-0334)', 'chat', `${body}<no-copy xmlns='${NS.hints}'/>`, false],
];
scenario('§6.1, §9: which messages are copied', async (scene) => {
  const { orchard, garden, balcony, chamber } = await cast(scene);
  for (const [what, type, content, isCopied] of eligible) {
    const attributes = `id='${what}' ${type && `type='${type}'`}`;
    await orchard.sends(`<message to='juliet@localhost/balcony' ${attributes}>${content}</message>`);
    const message = inner(content, attributes);
    await balcony.receives(message);
    if (isCopied) {
      await chamber.receives(copy('received', chamber.jid, message, type));
      await garden.receives(copy('sent', garden.jid, message, type));
    }
    for (const peer of [orchard, garden, balcony, chamber]) await peer.receivesNothing();
  }
});

scenario('§6.1: private messages in rooms', async (scene) => {
  const { orchard, garden, balcony, chamber } = await cast(scene);
  const content = `${body}<x xmlns='${NS.mucUser}'/>`;
  await orchard.sends(`<message to='juliet@localhost/balcony' type='chat'>${content}</message>`);
  // The one who sends has it copied; the one who receives has it from the room in each client that is there
  await balcony.receives(inner(content));
  await garden.receives(copy('sent', garden.jid, inner(content)));
  await chamber.receivesNothing();
});

scenario('§6.1: an error is copied if its message was', async (scene) => {
  const { orchard, garden, chamber, balcony } = await cast(scene);
  await orchard.sends(`<message to='nobody@localhost' type='chat' id='1'>${body}</message>`);
  await garden.receives(copy('sent', garden.jid, inner(body, `type='chat' id='1'`, 'nobody@localhost')));
  const error = `<message id='1' from='nobody@localhost' to='romeo@localhost/orchard' type='error'>${body}
    ${refusal('cancel', 'service-unavailable')}</message>`;
  await orchard.receives(error);
  await garden.receives(copy('received', garden.jid, error, 'error'));
  await orchard.sends(
    `<message to='nobody@localhost' type='chat' id='2'>${body}<private xmlns='${NS.carbons}'/></message>`,
  );
  await orchard.receives(`<message id='2' type='error'/>`);
  // A message without a sender causes no error
  await balcony.sends(
    `<message id='3' to='romeo@localhost/orchard' type='error'>${refusal('cancel', 'gone')}</message>`,
  );
  await orchard.receives(`<message id='3' type='error'/>`);
  for (const peer of [orchard, garden, chamber]) await peer.receivesNothing();
});

scenario('§4, §5, §10: each client enables and disables copies for itself', async (scene) => {
  const { orchard, garden, balcony } = await cast(scene);
  await enables(garden); // twice is no error
  await garden.sends(disable);
  await garden.receives(`<iq type='result' id='disable'/>`);
  await garden.sends(disable);
  await garden.receives(`<iq type='result' id='disable'/>`);
  await orchard.sends(`<message to='juliet@localhost/balcony' type='chat'>${body}</message>`);
  await balcony.receives(inner(body));
  await garden.receivesNothing();
  // A new session has to enable it again
  await enables(garden);
  garden.cut();
  const again = await scene.actor('romeo@localhost/garden', { presence: true });
  await orchard.syncs();
  orchard.forgets();
  await orchard.sends(`<message to='juliet@localhost/balcony' type='chat'>${body}</message>`);
  await balcony.receives(inner(body));
  await again.receivesNothing();
});

scenario('§4.1: carbons of other accounts cannot be enabled, as for a missing account', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await actor('juliet@localhost/balcony', { presence: true });
  for (const whom of ['juliet@localhost', 'nobody@localhost', 'juliet@localhost/nowhere'])
    for (const request of [enable, disable]) {
      await romeo.sends(request.replace('<iq', `<iq to='${whom}'`));
      await romeo.receives(`<iq type='error' from='${whom}'>${refusal('cancel', 'service-unavailable')}</iq>`);
    }
});

scenario('§11: a forged copy is not accepted', async (scene) => {
  const { orchard, garden, balcony, chamber } = await cast(scene);
  const paris = await scene.actor('paris@elsewhere.example/street', { presence: true });
  for (const way of ['sent', 'received'] as const) {
    for (const type of ['chat', 'normal', 'headline']) {
      const forged = copy(way, 'juliet@localhost/balcony', inner(body, `type='chat'`, 'juliet@localhost'), type)
        .replace(/from='[^']*' /, '')
        .replace('<message', `<message id='f'`);
      await paris.sends(forged);
      await paris.receives(`<message type='error' id='f'>${refusal('cancel', 'not-allowed')}</message>`);
    }
  }
  // Nor one of our own clients
  await orchard.sends(copy('sent', garden.jid, inner(body)).replace(/from='[^']*' /, ''));
  await orchard.receives(`<message type='error'>${refusal('cancel', 'not-allowed')}</message>`);
  for (const peer of [orchard, garden, balcony, chamber]) await peer.receivesNothing();
});

scenario('§11: an error for a copy goes nowhere', async (scene) => {
  const { orchard, garden, balcony, chamber } = await cast(scene);
  await orchard.sends(`<message to='juliet@localhost/balcony' type='chat' id='1'>${body}</message>`);
  await balcony.receives(inner(body));
  const carbon = await chamber.receives(copy('received', chamber.jid, inner(body)));
  const quoted = carbon.getChildElements().join('');
  await chamber.sends(
    `<message to='juliet@localhost' type='error' id='1'>${quoted}${refusal('cancel', 'service-unavailable')}</message>`,
  );
  await chamber.sends(
    `<message to='juliet@localhost' type='error'>${refusal('cancel', 'service-unavailable')}</message>`,
  );
  await garden.receives(copy('sent', garden.jid, inner(body)));
  for (const peer of [orchard, garden, balcony, chamber]) await peer.receivesNothing();
});
