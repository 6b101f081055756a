/** XEP-0492: Chat notification settings, in the bookmarks (XEP-0402) of rooms whose messages wake apps (XEP-0357). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { ComponentScene } from './component.js';
import { hits, type Peer } from './dialogue.js';
import { pubsub } from './pubsub.js';
import { enables, isPushed, juliet, leaves, play, push, romeo } from './push.js';
import { configures, enters, founds, grants, quiets, service as rooms } from './rooms.js';

const notify = (inner: string): string =>
  `<extensions><notify xmlns='${NS.notificationSettings}'>${inner}</notify></extensions>`;

async function bookmarks(peer: Peer, room: string, inner = '', attributes = `autojoin='true'`): Promise<void> {
  const conference = `<conference xmlns='${NS.bookmarks}' ${attributes}><nick>Capulet</nick>${inner}</conference>`;
  await peer.sends(
    pubsub('set', `<publish node='${NS.bookmarks}'><item id='${room}@${rooms}'>${conference}</item></publish>`),
  );
  await peer.syncs();
  peer.forgets();
}

const says = (room: string, body: string, more = ''): string =>
  `<message to='${room}@${rooms}' type='groupchat'><body>${body}</body>${more}</message>`;

/** Romeo's room, of which Juliet is a member. She has bookmarked it, and is away. */
async function sets(scene: ComponentScene, room: string, inner = '', membersOnly = true): Promise<Peer> {
  const owner = await scene.actor(`${romeo}/orchard`);
  await founds(owner, room, 'Montague', {
    'muc#roomconfig_membersonly': membersOnly ? '1' : '0',
    'muc#roomconfig_persistentroom': '1',
  });
  await grants(owner, room, juliet, 'member');
  const one = await scene.actor(`${juliet}/balcony`);
  await bookmarks(one, room, inner);
  await one.closes();
  await one.isClosed();
  await leaves(scene);
  return owner;
}

play('a message in a private room wakes the apps of members who are away', async (scene, app) => {
  const owner = await sets(scene, 'private');
  await owner.sends(says('private', 'hello'));
  await isPushed(app, 'phone');
  for (const other of [
    `<message to='private@${rooms}' type='groupchat'><composing xmlns='${NS.chatStates}'/></message>`,
    `<message to='private@${rooms}' type='groupchat'><subject>a subject</subject></message>`,
    says('private', 'corrected', `<replace xmlns='${NS.correct}' id='x'/>`),
    says('private', 'not stored', `<no-store xmlns='${NS.hints}'/>`),
  ])
    await owner.sends(other);
  await owner.syncs();
  assert.deepEqual(await app.syncs(), []);
});

play('in the absence of settings: mentions in a public room', async (scene, app) => {
  const owner = await sets(scene, 'public', '', false);
  for (const body of ['hello', 'capulets are many', 'xCapulet']) await owner.sends(says('public', body));
  await owner.syncs();
  assert.deepEqual(await app.syncs(), []);
  await owner.sends(says('public', 'art thou there, CAPULET?'));
  await isPushed(app, 'phone');
});

const mention = (uri: string) => `<reference xmlns='${NS.reference}' type='mention' uri='${uri}'/>`;

play('on-mention: by nickname, reference, reply and group', async (scene, app) => {
  const owner = await sets(scene, 'mention', notify('<on-mention/>'));
  const address = `mention@${rooms}`;
  for (const more of [
    mention(`xmpp:${romeo}`),
    mention(`xmpp:${address}/Montague`),
    mention('xmpp:%E0%A4%A'),
    `<reference xmlns='${NS.reference}' type='data' uri='xmpp:${juliet}'/>`,
    `<reply xmlns='${NS.reply}' id='1' to='${address}/Montague'/>`,
  ])
    await owner.sends(says('mention', 'hello', more));
  await owner.syncs();
  assert.deepEqual(await app.syncs(), []);
  for (const more of [
    mention(`xmpp:${juliet}`),
    mention(`xmpp:${address}/Capulet`),
    `<reply xmlns='${NS.reply}' id='1' to='${address}/Capulet'/>`,
    `<mention xmlns='${NS.explicitMentions}' mentions='${NS.explicitMentions}#channel'/>`,
    // What is encrypted may mention the user.
    `<encrypted xmlns='${NS.omemo}'><header/><payload>AAAA</payload></encrypted>`,
  ]) {
    await owner.sends(says('mention', 'hello', more));
    await isPushed(app, 'phone');
  }
});

play('on-mention: by occupant id and reserved nickname, which only the room knows', async (scene, app) => {
  const owner = await sets(scene, 'known', notify('<on-mention/>'));
  const one = await scene.actor(`${juliet}/desk`);
  await one.sends(
    `<iq type='set' id='r' to='known@${rooms}'><query xmlns='${NS.register}'><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>${NS.mucRegister}</value></field>
      <field var='muc#register_roomnick'><value>Registered</value></field></x></query></iq>`,
  );
  await one.receives(`<iq type='result' id='r'/>`);
  await one.sends(`<presence to='known@${rooms}/Registered'><x xmlns='${NS.muc}'/></presence>`);
  await one.syncs();
  const id = one
    .forgets()
    .flatMap((element) => element.getChild('occupant-id', NS.occupantId)?.attrs.id ?? [])
    .at(-1);
  await one.closes();
  await one.isClosed();
  await owner.sends(says('known', 'hello', `<mention xmlns='${NS.explicitMentions}' occupantid='${id}'/>`));
  await isPushed(app, 'phone');
  await owner.sends(says('known', 'hello', mention(`xmpp:known@${rooms}/Registered`)));
  await isPushed(app, 'phone');
});

play('never; and the most specific element counts: for phones, clients, all', async (scene, app) => {
  const owner = await sets(
    scene,
    'never',
    notify(`<always/><always identity-category='client' identity-type='pc'/>
      <on-mention identity-category='client'/><never identity-category='client' identity-type='phone'/>`),
  );
  await owner.sends(says('never', 'Capulet'));
  await owner.syncs();
  assert.deepEqual(await app.syncs(), []);
  // A change counts when the user has left the room again.
  const desk = await scene.actor(`${juliet}/desk`);
  await bookmarks(desk, 'never', notify(`<always identity-category='client'/><never/>`));
  await enters(desk, 'never', 'Capulet');
  await owner.sends(says('never', 'to the desk'));
  await owner.syncs();
  await desk.syncs();
  desk.forgets();
  assert.deepEqual(await app.syncs(), []);
  await desk.closes();
  await desk.isClosed();
  await owner.sends(says('never', 'hello'));
  await isPushed(app, 'phone');
});

play('XEP-0402: rooms that are not bookmarked, or are not to be entered, wake nothing', async (scene, app) => {
  const owner = await sets(scene, 'bookmarked');
  await founds(owner, 'unknown', 'Montague');
  await grants(owner, 'unknown', juliet, 'member');
  await owner.sends(says('unknown', 'hello Capulet'));
  await owner.syncs();
  assert.deepEqual(await app.syncs(), []);
  const desk = await scene.actor(`${juliet}/desk`);
  await bookmarks(desk, 'bookmarked', '', `autojoin='false'`);
  await owner.sends(says('bookmarked', 'hello Capulet'));
  await owner.syncs();
  assert.deepEqual(await app.syncs(), []);
});

play(
  'RFC 6121 §8.5.2.1.1: a groupchat message to an account is refused, or dropped; no client gets it',
  async (scene) => {
    await sets(scene, 'nobody');
    const forger = await scene.actor('tybalt@elsewhere.example/street');
    const desk = await scene.actor(`${juliet}/desk`, { presence: true });
    await forger.sends(`<message to='${juliet}' type='groupchat' id='f'><body>hello</body></message>`);
    await forger.receives(`<message type='error' id='f' from='${juliet}'/>`);
    await desk.receivesNothing();
  },
);

play(
  'a client in the room that has lost its connection is woken; its own messages do not wake it',
  async (scene, app) => {
    const owner = await scene.actor(`${romeo}/orchard`);
    await founds(owner, 'asleep', 'Montague');
    const phone = await scene.actor(`${juliet}/phone`, { presence: true });
    const desk = await scene.actor(`${juliet}/desk`, { presence: true });
    await phone.syncs();
    phone.forgets();
    await enables(phone, 'phone');
    await enters(phone, 'asleep', 'Juliet');
    await enters(desk, 'asleep', 'Juliet');
    await quiets(phone, desk);
    await phone.managesStream();
    await bookmarks(desk, 'asleep', notify('<on-mention/>'));
    phone.cut();
    await desk.sends(says('asleep', 'I, Juliet, am here'));
    await owner.sends(says('asleep', 'Capulet'));
    await owner.syncs();
    assert.deepEqual(await app.syncs(), []);
    await owner.sends(says('asleep', 'Juliet!'));
    await isPushed(app, 'phone');
  },
);

play('a mention that a room forwards (XEP-0452) wakes once', async (scene, app) => {
  const owner = await sets(scene, 'forwarded');
  await configures(owner, 'forwarded', { 'muc#roomconfig_forwardmentions': '1' });
  await owner.sends(says('forwarded', 'hello', mention(`xmpp:${juliet}`)));
  await isPushed(app, 'phone', { 'message-count': '1' });
  await owner.sends(says('forwarded', 'hello', mention(`xmpp:${juliet}`)));
  await isPushed(app, 'phone', { 'message-count': '1' });
});

play(
  'the copies of one message are bounded',
  async (scene, app) => {
    const owner = await sets(scene, 'bounded');
    await grants(owner, 'bounded', 'nurse@localhost', 'member');
    await scene.stage.account('nurse@localhost');
    await owner.sends(says('bounded', 'hello'));
    await owner.syncs();
    assert.equal(await hits(scene, 'muc.away_copies'), 1);
    await app.syncs();
  },
  { ...push(), config: { modules: { push: { pause_seconds: 1 }, muc: { away_copies: 1 } } }, alone: true },
);
