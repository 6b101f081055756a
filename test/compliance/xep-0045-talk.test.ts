/** XEP-0045 §7.4 to §7.9, §7.13, §8.1, §8.6, §11: messages, nicknames and presence of occupants. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configuration, enters, founds, grants, item, joins, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const says = (name: string, body: string, more = '') =>
  `<message type='groupchat' to='${room(name)}' id='m'><body>${body}</body>${more}</message>`;

/** An owner and a participant in an open room. */
async function pair(
  { actor }: Scene,
  name: string,
  fields: Readonly<Record<string, string | readonly string[]>> = {},
): Promise<[Peer, Peer]> {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, name, 'firstwitch', fields);
  await enters(hag, name, 'thirdwitch');
  await quiets(crone, hag);
  return [crone, hag];
}

scenario('§7.4: a message is sent to all occupants with its id; others are refused', async (scene) => {
  const [crone, hag] = await pair(scene, 'talk');
  const outsider = await scene.actor('macbeth@elsewhere.example/castle');
  await hag.sends(says('talk', 'Harpier cries'));
  for (const peer of [crone, hag])
    await peer.receives(
      `<message type='groupchat' id='m' from='${room('talk')}/thirdwitch'><body>Harpier cries</body>
        <occupant-id xmlns='${NS.occupantId}' id='{hag}'/>
        <stanza-id xmlns='${NS.stanzaId}' id='{archived}' by='${room('talk')}'/></message>`,
    );
  await outsider.sends(says('talk', 'hail'));
  await outsider.receives(
    `<message type='error' id='m' from='${room('talk')}'><body>hail</body>${refusal('modify', 'not-acceptable')}</message>`,
  );
  await outsider.sends(says('talk-nowhere', 'hail'));
  await outsider.receives(`<message type='error'>${refusal('cancel', 'item-not-found')}</message>`);
  // §17.2
  await hag.sends(`<message to='${room('talk')}' id='m'><body>to whom?</body></message>`);
  await hag.receives(`<message type='error'>${refusal('modify', 'bad-request')}</message>`);
  await crone.receivesNothing();
});

scenario('elements reserved for the room are removed from messages of occupants', async (scene) => {
  const [crone, hag] = await pair(scene, 'forged');
  await hag.sends(
    says(
      'forged',
      'x',
      `<x xmlns='${NS.mucUser}'><status code='104'/></x>
       <occupant-id xmlns='${NS.occupantId}' id='1'/><occupant-id xmlns='${NS.occupantId}' id='2'/>
       <stanza-id xmlns='${NS.stanzaId}' id='forged' by='${room('forged').toUpperCase()}'/>
       <stanza-id xmlns='${NS.stanzaId}' id='other' by='elsewhere.example'/>
       <delay xmlns='${NS.delay}' stamp='2001-01-01T00:00:00Z' from='${room('forged')}'/>
       <origin-id xmlns='${NS.stanzaId}' id='mine'/>`,
    ),
  );
  const message = await crone.receives(`<message type='groupchat' id='m'><origin-id xmlns='${NS.stanzaId}' id='mine'/>
    <stanza-id xmlns='${NS.stanzaId}' id='other' by='elsewhere.example'/></message>`);
  assert.equal(message.getChild('x', NS.mucUser), undefined);
  assert.equal(message.getChild('delay', NS.delay), undefined);
  assert.equal(message.getChildren('occupant-id', NS.occupantId).length, 1);
  assert.doesNotMatch(message.toString(), /forged"|id="[12]"/);
  assert.equal(message.getChildren('stanza-id', NS.stanzaId).length, 2);
  await hag.sends(
    `<presence to='${room('forged')}/thirdwitch'><show>xa</show><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}
      <status code='110'/></x><occupant-id xmlns='${NS.occupantId}' id='1'/>
      <hats xmlns='${NS.hats}'><hat title='King' uri='urn:king'/></hats></presence>`,
  );
  const presence = await crone.receives(
    `<presence from='${room('forged')}/thirdwitch'><show>xa</show>
      <x xmlns='${NS.mucUser}'>${item('none', 'participant')}</x></presence>`,
  );
  assert.equal(presence.getChildren('x', NS.mucUser).length, 1);
  assert.equal(presence.getChildren('occupant-id', NS.occupantId).length, 1);
  assert.equal(presence.getChild('hats', NS.hats), undefined);
  assert.doesNotMatch(presence.toString(), /110/);
});

scenario('§7.5: private messages, between occupants only', async (scene) => {
  const [crone, hag] = await pair(scene, 'whisper');
  const outsider = await scene.actor('macbeth@localhost/castle');
  const to = (nick: string, type = 'chat') =>
    `<message type='${type}' to='${room('whisper')}/${nick}' id='p'><body>I'll give thee a wind.</body></message>`;
  await hag.sends(to('firstwitch'));
  await crone.receives(
    `<message type='chat' id='p' from='${room('whisper')}/thirdwitch'><body>I'll give thee a wind.</body>
      <x xmlns='${NS.mucUser}'/><occupant-id xmlns='${NS.occupantId}' id='*'/></message>`,
  );
  await hag.sends(to('firstwitch', 'groupchat'));
  await hag.receives(`<message type='error'>${refusal('modify', 'bad-request')}</message>`);
  await hag.sends(to('nobody'));
  await hag.receives(`<message type='error'>${refusal('cancel', 'item-not-found')}</message>`);
  await outsider.sends(to('firstwitch'));
  await outsider.receives(`<message type='error'>${refusal('modify', 'not-acceptable')}</message>`);
  await crone.receivesNothing();
});

scenario('§7.5, muc#roomconfig_allowpm: participants may still ask a moderator', async (scene) => {
  const [crone, hag] = await pair(scene, 'whisper-less', { 'muc#roomconfig_allowpm': 'moderators' });
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  await enters(witch, 'whisper-less', 'secondwitch');
  await quiets(crone, hag);
  await hag.sends(`<message type='chat' to='${room('whisper-less')}/secondwitch'><body>psst</body></message>`);
  await hag.receives(`<message type='error'>${refusal('auth', 'forbidden')}</message>`);
  await hag.sends(`<message type='chat' to='${room('whisper-less')}/firstwitch'><body>help</body></message>`);
  await crone.receives(`<message type='chat'><body>help</body></message>`);
  await witch.receivesNothing();
});

scenario('§7.6: changing nicknames', async (scene) => {
  const [crone, hag] = await pair(scene, 'nicks');
  await hag.sends(`<presence to='${room('nicks')}/oldhag'/>`);
  for (const [peer, own] of [
    [crone, ''],
    [hag, `<status code='110'/>`],
  ] as const) {
    await peer.receives(
      `<presence type='unavailable' from='${room('nicks')}/thirdwitch'><x xmlns='${NS.mucUser}'>
        <item affiliation='none' role='participant' nick='oldhag'/><status code='303'/>${own}</x></presence>`,
    );
    await peer.receives(
      `<presence from='${room('nicks')}/oldhag'><x xmlns='${NS.mucUser}'>${item('none', 'participant')}${own}</x></presence>`,
    );
  }
  await hag.sends(`<presence to='${room('nicks')}/FirstWitch'/>`);
  await hag.receives(
    `<presence type='error' from='${room('nicks')}/FirstWitch'>${refusal('cancel', 'conflict')}</presence>`,
  );
  // the old name is free, and the new one works
  await hag.sends(says('nicks', 'still here'));
  await crone.receives(`<message type='groupchat' from='${room('nicks')}/oldhag'/>`);
  await enters(await scene.actor('wiccarocks@localhost/laptop'), 'nicks', 'thirdwitch');
});

scenario('§7.7: changing availability', async (scene) => {
  const [crone, hag] = await pair(scene, 'away');
  await hag.sends(
    `<presence to='${room('away')}/thirdwitch' id='kr7v'><show>xa</show><status>gone where the goblins go</status></presence>`,
  );
  await crone.receives(
    `<presence from='${room('away')}/thirdwitch'><show>xa</show><status>gone where the goblins go</status>
      <x xmlns='${NS.mucUser}'><item affiliation='none' role='participant' jid='hag66@localhost/pda'/></x></presence>`,
  );
  await hag.receives(`<presence id='kr7v'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`);
});

scenario('§8.1: the subject, set by moderators, or by all if the owner allows it', async (scene) => {
  const [crone, hag] = await pair(scene, 'subject');
  const subject = (text: string) =>
    `<message type='groupchat' to='${room('subject')}'><subject>${text}</subject></message>`;
  await hag.sends(subject('Toil'));
  await hag.receives(`<message type='error'>${refusal('auth', 'forbidden')}</message>`);
  await crone.sends(subject('Trouble'));
  for (const peer of [crone, hag])
    await peer.receives(
      `<message type='groupchat' from='${room('subject')}/firstwitch'><subject>Trouble</subject></message>`,
    );
  // a message that also has a body is no change
  await hag.sends(`<message type='groupchat' to='${room('subject')}'><subject>Toil</subject><body>x</body></message>`);
  await crone.receives(`<message type='groupchat'><subject>Toil</subject><body>x</body></message>`);
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  await witch.sends(joins(`${room('subject')}/secondwitch`, `<history maxstanzas='0'/>`));
  await witch.syncs();
  const last = witch.forgets().at(-1)!;
  assert.equal(last.getChildText('subject'), 'Trouble');
  assert.equal(last.attrs.from, `${room('subject')}/firstwitch`);
  assert.equal(last.getChild('delay', NS.delay)?.attrs.from, room('subject'));
});

scenario('§7.8.2: mediated invitations, and declining them', async (scene) => {
  const [crone, hag] = await pair(scene, 'invite', { 'muc#roomconfig_passwordprotectedroom': '0' });
  const hecate = await scene.actor('hecate@localhost/broom', { presence: true });
  const outsider = await scene.actor('macbeth@localhost/castle');
  const invitation = `<message to='${room('invite')}' id='i'><x xmlns='${NS.mucUser}'>
    <invite to='hecate@localhost'><reason>Hey Hecate</reason></invite></x></message>`;
  await hag.sends(invitation);
  await hecate.receives(
    `<message from='${room('invite')}' id='i'><x xmlns='${NS.mucUser}'>
      <invite from='hag66@localhost'><reason>Hey Hecate</reason></invite></x>
      <body>hag66@localhost invites you to the room ${room('invite')} (Hey Hecate)</body></message>`,
  );
  const declines = (to: string) => `<message to='${room('invite')}' id='d'><x xmlns='${NS.mucUser}'>
    <decline to='${to}'><reason>Too busy</reason></decline></x></message>`;
  // only to the inviter, and only from the invited user
  await hecate.sends(declines('crone1@localhost'));
  await hecate.receives(`<message type='error'>${refusal('cancel', 'item-not-found')}</message>`);
  await outsider.sends(declines('hag66@localhost'));
  await outsider.receives(`<message type='error'>${refusal('cancel', 'item-not-found')}</message>`);
  await hecate.sends(declines('hag66@localhost'));
  await hag.receives(
    `<message from='${room('invite')}' id='d'><x xmlns='${NS.mucUser}'>
      <decline from='hecate@localhost'><reason>Too busy</reason></decline></x>
      <body>hecate@localhost declines the invitation to the room ${room('invite')} (Too busy)</body></message>`,
  );
  await outsider.sends(invitation);
  await outsider.receives(`<message type='error'>${refusal('modify', 'not-acceptable')}</message>`);
  await crone.receivesNothing();
});

scenario('§9.5: only admins invite to a members-only room, which makes members', async (scene) => {
  const { actor } = scene;
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  const hecate = await actor('hecate@localhost/broom', { presence: true });
  await founds(crone, 'invite-members', 'firstwitch', {
    'muc#roomconfig_membersonly': '1',
    'muc#roomconfig_passwordprotectedroom': '1',
    'muc#roomconfig_roomsecret': 'cauldronburn',
  });
  await grants(crone, 'invite-members', 'hag66@localhost', 'member');
  await enters(hag, 'invite-members', 'thirdwitch', '<password>cauldronburn</password>');
  await quiets(crone, hag);
  const invitation = `<message to='${room('invite-members')}'><x xmlns='${NS.mucUser}'>
    <invite to='hecate@localhost'/></x></message>`;
  await hag.sends(invitation);
  await hag.receives(`<message type='error'>${refusal('auth', 'forbidden')}</message>`);
  await crone.sends(invitation);
  await hecate.receives(
    `<message from='${room('invite-members')}'><x xmlns='${NS.mucUser}'><invite from='crone1@localhost'/>
      <password>cauldronburn</password></x>
      <body>crone1@localhost invites you to the room ${room('invite-members')}</body></message>`,
  );
  await enters(hecate, 'invite-members', 'hecate', '<password>cauldronburn</password>');
});

scenario('§7.13, §8.6: visitors have no voice, request it and get it', async (scene) => {
  const [crone, hag] = await pair(scene, 'voice', { 'muc#roomconfig_moderatedroom': '1' });
  await hag.sends(says('voice', 'may I?'));
  await hag.receives(`<message type='error'>${refusal('auth', 'forbidden')}</message>`);
  const form = (...fields: [string, string][]) =>
    `<message to='${room('voice')}' id='v'><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>${NS.mucRequest}</value></field>
      <field var='muc#role'><value>participant</value></field>
      ${fields.map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`).join('')}</x></message>`;
  // nobody can grant it to themselves
  await hag.sends(form(['muc#roomnick', 'thirdwitch'], ['muc#request_allow', 'true']));
  await hag.receives(`<message type='error'>${refusal('auth', 'forbidden')}</message>`);
  await hag.sends(form());
  await crone.receives(
    `<message from='${room('voice')}'><x xmlns='${NS.dataForms}' type='form'>
      <field var='FORM_TYPE' type='hidden'><value>${NS.mucRequest}</value></field>
      <field var='muc#role'><value>participant</value></field>
      <field var='muc#jid'><value>hag66@localhost/pda</value></field>
      <field var='muc#roomnick'><value>thirdwitch</value></field>
      <field var='muc#request_allow' type='boolean'><value>0</value></field></x></message>`,
  );
  await crone.sends(form(['muc#roomnick', 'thirdwitch'], ['muc#request_allow', 'true']));
  await hag.receives(
    `<presence from='${room('voice')}/thirdwitch'><x xmlns='${NS.mucUser}'>${item('none', 'participant')}</x></presence>`,
  );
  await quiets(crone);
  await hag.sends(says('voice', 'thanks'));
  await crone.receives(`<message type='groupchat'><body>thanks</body></message>`);
});

scenario('muc#roomconfig_presencebroadcast: visitors are hidden until their role changes', async (scene) => {
  const [crone, hag] = await pair(scene, 'unseen', {
    'muc#roomconfig_moderatedroom': '1',
    'muc#roomconfig_presencebroadcast': ['moderator', 'participant'],
  });
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  await witch.sends(joins(`${room('unseen')}/secondwitch`));
  await witch.receives(`<presence from='${room('unseen')}/firstwitch'/>`);
  await witch.receives(
    `<presence from='${room('unseen')}/secondwitch'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`,
  );
  await quiets(witch);
  await crone.receivesNothing();
  await hag.receivesNothing();
  await crone.sends(
    `<iq type='set' id='v' to='${room('unseen')}'><query xmlns='${NS.mucAdmin}'>
      <item nick='secondwitch' role='participant'/></query></iq>`,
  );
  await hag.receives(`<presence from='${room('unseen')}/secondwitch'/>`);
  await quiets(crone);
  await crone.sends(
    `<iq type='set' id='v' to='${room('unseen')}'><query xmlns='${NS.mucAdmin}'>
      <item nick='secondwitch' role='visitor'/></query></iq>`,
  );
  await hag.receives(`<presence type='unavailable' from='${room('unseen')}/secondwitch'/>`);
});

scenario(
  'muc#roomconfig_presencebroadcast: a hidden occupant becomes unavailable, and available again later',
  async (scene) => {
    const [crone, hag] = await pair(scene, 'veiled');
    const seen = async (...roles: string[]) => {
      await crone.sends(configuration('veiled', { 'muc#roomconfig_presencebroadcast': roles }));
      await crone.receivesAny();
    };
    await seen('moderator');
    // §7.14: to the others the visitor seems to have left
    await crone.receives(
      `<presence type='unavailable' from='${room('veiled')}/thirdwitch'><x xmlns='${NS.mucUser}'>
      ${item('none', 'none')}</x></presence>`,
    );
    await quiets(crone, hag);
    // the visitor is there, sees the others, and their presence is not broadcast
    await hag.sends(`<presence to='${room('veiled')}/thirdwitch'><show>away</show></presence>`);
    await hag.receives(`<presence from='${room('veiled')}/thirdwitch'><show>away</show></presence>`);
    await hag.sends(`<presence to='${room('veiled')}/oldhag'/>`);
    await quiets(hag);
    await crone.receivesNothing();
    await crone.sends(`<iq type='get' id='d' to='${room('veiled')}'><query xmlns='${NS.discoItems}'/></iq>`);
    const listed = await crone.receives(`<iq type='result' id='d'/>`);
    assert.doesNotMatch(listed.toString(), /oldhag/);
    await seen('moderator', 'participant');
    await crone.receives(
      `<presence from='${room('veiled')}/oldhag'><x xmlns='${NS.mucUser}'>
      <item affiliation='none' role='participant' jid='hag66@localhost/pda'/></x></presence>`,
    );
    await quiets(crone, hag);
    await seen('moderator');
    await quiets(crone, hag);
    await hag.sends(`<presence type='unavailable' to='${room('veiled')}/oldhag'/>`);
    await hag.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`);
    await crone.receivesNothing();
  },
);

scenario('§7.2.10, §17.2: a locked room looks missing to all except its owner', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await enters(crone, 'locked', 'firstwitch');
  for (const message of [
    says('locked', 'hail'),
    `<message to='${room('locked')}/firstwitch' type='chat'><body>hail</body></message>`,
    `<message to='${room('locked')}'><x xmlns='${NS.dataForms}' type='submit'/></message>`,
  ]) {
    await hag.sends(message);
    await hag.receives(`<message type='error'>${refusal('cancel', 'item-not-found')}</message>`);
  }
  for (const payload of [`<ping xmlns='${NS.ping}'/>`, `<vCard xmlns='${NS.vcardTemp}'/>`]) {
    await hag.sends(`<iq type='get' id='p' to='${room('locked')}'>${payload}</iq>`);
    await hag.receives(`<iq type='error'>${refusal('cancel', 'item-not-found')}</iq>`);
  }
  await crone.sends(says('locked', 'hail'));
  await crone.receives(`<message type='groupchat'><body>hail</body></message>`);
});

scenario('§11.1, §18.1.2: an unreachable occupant is removed', async (scene) => {
  const [crone, hag] = await pair(scene, 'ghosts');
  await hag.sends(
    `<message type='error' to='${room('ghosts')}/firstwitch'>${refusal('wait', 'recipient-unavailable')}</message>`,
  );
  await crone.receives(
    `<presence type='unavailable' from='${room('ghosts')}/thirdwitch'><x xmlns='${NS.mucUser}'>
      ${item('none', 'none')}<status code='333'/></x></presence>`,
  );
  await hag.receives(
    `<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='110'/><status code='333'/></x></presence>`,
  );
  // other errors are harmless
  await crone.sends(
    `<message type='error' to='${room('ghosts')}/firstwitch'>${refusal('auth', 'forbidden')}</message>`,
  );
  await crone.receivesNothing();
});

scenario('XEP-0500: slow mode limits all except admins', async (scene) => {
  const [crone, hag] = await pair(scene, 'slow', { 'muc#roomconfig_slow_mode_duration': '3600' });
  await hag.sends(says('slow', 'one'));
  await hag.receives(`<message type='groupchat'><body>one</body></message>`);
  await hag.sends(says('slow', 'two'));
  await hag.receives(`<message type='error'>${refusal('wait', 'policy-violation')}</message>`);
  await hag.sends(`<message type='groupchat' to='${room('slow')}'><composing xmlns='${NS.chatStates}'/></message>`);
  await hag.receives(`<message type='groupchat'><composing xmlns='${NS.chatStates}'/></message>`);
  // leaving and coming back is no way round it
  await hag.sends(`<presence type='unavailable' to='${room('slow')}/thirdwitch'/>`);
  await quiets(hag);
  await enters(hag, 'slow', 'another');
  await hag.sends(says('slow', 'two'));
  await hag.receives(`<message type='error'>${refusal('wait', 'policy-violation')}</message>`);
  await quiets(crone);
  for (const body of ['three', 'four']) {
    await crone.sends(says('slow', body));
    await crone.receives(`<message type='groupchat'><body>${body}</body></message>`);
  }
});

scenario('XEP-0452: mentions reach affiliated users who are not in the room', async (scene) => {
  const [crone] = await pair(scene, 'mentions', { 'muc#roomconfig_forwardmentions': '1' });
  const hecate = await scene.actor('hecate@localhost/broom', { presence: true });
  const outsider = await scene.actor('macbeth@localhost/castle', { presence: true });
  await grants(crone, 'mentions', 'hecate@localhost', 'member');
  await quiets(hecate);
  const mention = (jid: string) => `<reference xmlns='${NS.reference}' type='mention' uri='xmpp:${jid}'/>`;
  await crone.sends(says('mentions', 'Hecate?', mention('hecate@localhost') + mention('macbeth@localhost')));
  await hecate.receives(
    `<message from='${room('mentions')}'><mentions xmlns='${NS.mentions}'><forwarded xmlns='${NS.forward}'>
      <delay xmlns='${NS.delay}' stamp='*'/>
      <message xmlns='jabber:client' type='groupchat' from='${room('mentions')}/firstwitch'><body>Hecate?</body>
        <stanza-id xmlns='${NS.stanzaId}' id='*' by='${room('mentions')}'/></message>
      </forwarded></mentions></message>`,
  );
  await outsider.receivesNothing();
});

scenario(
  '§7.4, XEP-0191: a user who blocked an occupant gets none of their stanzas, and stays in the room',
  async (scene) => {
    const [crone, hag] = await pair(scene, 'blocked');
    await hag.sends(
      `<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${room('blocked')}/firstwitch'/></block></iq>`,
    );
    await quiets(hag);
    await crone.sends(says('blocked', 'hear me'));
    await crone.receives(`<message type='groupchat'/>`);
    await hag.receivesNothing();
    await hag.sends(says('blocked', 'lalala'));
    await crone.receives(`<message type='groupchat' from='${room('blocked')}/thirdwitch'/>`);
    await hag.receives(`<message type='groupchat' from='${room('blocked')}/thirdwitch'/>`);
    // a private message is not delivered, and removes nobody
    await crone.sends(`<message type='chat' to='${room('blocked')}/thirdwitch'><body>hear me</body></message>`);
    await crone.sends(`<presence to='${room('blocked')}/firstwitch'><show>away</show></presence>`);
    await quiets(crone);
    await hag.receivesNothing();
    await hag.sends(says('blocked', 'still here'));
    await crone.receives(`<message type='groupchat' from='${room('blocked')}/thirdwitch'/>`);
  },
);

/** The items of an occupant's latest presence, its show, and the number of presences; none if there were none. */
async function seen(peer: Peer, from: string) {
  await peer.syncs();
  const presences = peer.forgets().filter(({ name, attrs }) => name === 'presence' && attrs.from === from);
  const last = presences.at(-1);
  const x = last?.getChild('x', NS.mucUser);
  return {
    count: presences.length,
    type: last?.attrs.type,
    show: last?.getChildText('show', NS.client) ?? '',
    jids: (x?.getChildren('item', NS.mucUser) ?? []).map(({ attrs }) => attrs.jid),
    codes: (x?.getChildren('status', NS.mucUser) ?? []).map(({ attrs }) => attrs.code),
  };
}

scenario('§7.7: of several clients with one nickname, the most available presence is shown', async (scene) => {
  const [crone, pda] = await pair(scene, 'devices');
  const laptop = await scene.actor('hag66@localhost/laptop');
  const other = await scene.actor('wiccarocks@localhost/laptop');
  await enters(other, 'devices', 'secondwitch');
  await enters(laptop, 'devices', 'thirdwitch');
  await quiets(crone, pda, laptop, other);
  const nick = `${room('devices')}/thirdwitch`;
  const says = async (peer: Peer, inner: string) => {
    await quiets(pda, laptop);
    await peer.sends(`<presence to='${nick}' id='p'>${inner}</presence>`);
    await peer.receives(`<presence from='${nick}' id='p'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`);
  };
  const pdaFirst = ['hag66@localhost/pda', 'hag66@localhost/laptop'];
  const laptopFirst = [...pdaFirst].reverse();
  // One is away and the other is not: nobody sees that, except for the order of addresses.
  await says(laptop, '<show>away</show>');
  assert.deepEqual(await seen(crone, nick), { count: 1, type: undefined, show: '', jids: pdaFirst, codes: [] });
  assert.equal((await seen(other, nick)).count, 0);
  await says(pda, '<show>xa</show>');
  assert.deepEqual(await seen(crone, nick), { count: 1, type: undefined, show: 'away', jids: laptopFirst, codes: [] });
  assert.deepEqual(await seen(other, nick), { count: 1, type: undefined, show: 'away', jids: [undefined], codes: [] });
  await says(pda, '<show>dnd</show>');
  assert.equal((await seen(other, nick)).count, 0);
  await says(pda, '<show>chat</show><status>here</status>');
  assert.equal((await seen(other, nick)).show, 'chat');
  // of equals the one with the higher priority, then the latest
  await says(laptop, '<show>chat</show><priority>5</priority>');
  await says(pda, '<show>chat</show><priority>4</priority>');
  assert.deepEqual((await seen(crone, nick)).jids, laptopFirst);
  await says(pda, '<show>chat</show><priority>5</priority>');
  assert.deepEqual((await seen(crone, nick)).jids, pdaFirst);
  // one leaves, and the other's presence counts
  await says(laptop, '<show>away</show>');
  await quiets(crone, other, pda, laptop);
  await pda.sends(`<presence to='${nick}' type='unavailable'/>`);
  await pda.receives(
    `<presence from='${nick}' type='unavailable'><x xmlns='${NS.mucUser}'>
      <item jid='hag66@localhost/pda' affiliation='none' role='none'/><status code='110'/></x></presence>`,
  );
  for (const peer of [crone, other]) {
    const { show, type } = await seen(peer, nick);
    assert.deepEqual([show, type], ['away', undefined]);
  }
  assert.deepEqual(await seen(laptop, nick), {
    count: 1,
    type: undefined,
    show: 'away',
    jids: ['hag66@localhost/laptop'],
    codes: ['110'],
  });
});

scenario('§7.6: a nickname is in use if another user has it, not another client of the same user', async (scene) => {
  const [crone, one] = await pair(scene, 'moves');
  const two = await scene.actor('hag66@localhost/two');
  const three = await scene.actor('hag66@localhost/three');
  const at = (nick: string) => `${room('moves')}/${nick}`;
  await enters(two, 'moves', 'thirdwitch');
  await enters(three, 'moves', 'oldhag');
  await quiets(crone, one, two, three);
  const jids = (...resources: readonly string[]) => resources.map((resource) => `hag66@localhost/${resource}`);
  // from a shared nickname to one that exists
  await one.sends(`<presence to='${at('oldhag')}'/>`);
  await one.receives(
    `<presence type='unavailable' from='${at('thirdwitch')}'><x xmlns='${NS.mucUser}'>
      <item nick='oldhag' jid='hag66@localhost/pda'/><status code='303'/><status code='110'/></x></presence>`,
  );
  await one.receives(`<presence from='${at('thirdwitch')}'/>`);
  await one.receives(
    `<presence from='${at('oldhag')}'><x xmlns='${NS.mucUser}'><item jid='hag66@localhost/pda'/>
      <item jid='hag66@localhost/three'/><status code='110'/></x></presence>`,
  );
  await one.receivesNothing();
  await crone.receives(
    `<presence from='${at('thirdwitch')}'><x xmlns='${NS.mucUser}'><item jid='hag66@localhost/two'/></x></presence>`,
  );
  assert.deepEqual((await seen(crone, at('oldhag'))).jids, jids('pda', 'three'));
  assert.deepEqual((await seen(two, at('thirdwitch'))).codes, ['110']);
  assert.deepEqual((await seen(three, at('oldhag'))).codes, ['110']);
  await one.sends(says('moves', 'hail'));
  await crone.receives(`<message type='groupchat' from='${at('oldhag')}'/>`);
  await quiets(one, two, three);
  // the last one leaves its old nickname: for all it is the new one now
  await two.sends(`<presence to='${at('oldhag')}'/>`);
  await crone.receives(
    `<presence type='unavailable' from='${at('thirdwitch')}'><x xmlns='${NS.mucUser}'>
      <item nick='oldhag'/><status code='303'/></x></presence>`,
  );
  assert.deepEqual((await seen(crone, at('oldhag'))).jids, jids('two', 'pda', 'three'));
  await quiets(one, two, three);
  // to one that is free
  await three.sends(`<presence to='${at('crone')}'/>`);
  await crone.receives(
    `<presence from='${at('oldhag')}'><x xmlns='${NS.mucUser}'><item jid='hag66@localhost/two'/></x></presence>`,
  );
  await crone.receives(
    `<presence from='${at('crone')}'><x xmlns='${NS.mucUser}'><item jid='hag66@localhost/three'/></x></presence>`,
  );
  await quiets(one, two, three);
  // and never to another user's, nor into a room that is full
  await three.sends(`<presence to='${at('firstwitch')}'/>`);
  await three.receives(`<presence type='error' from='${at('firstwitch')}'>${refusal('cancel', 'conflict')}</presence>`);
  await crone.sends(configuration('moves', { 'muc#roomconfig_maxusers': '3' }));
  await quiets(crone, one, two, three);
  await one.sends(`<presence to='${at('another')}'/>`);
  await one.receives(
    `<presence type='error' from='${at('another')}'>${refusal('wait', 'service-unavailable')}</presence>`,
  );
  // all names are free again once all have left
  for (const [peer, nick] of [
    [one, 'oldhag'],
    [two, 'oldhag'],
    [three, 'crone'],
  ] as const) {
    await peer.sends(`<presence to='${at(nick)}' type='unavailable'/>`);
    await quiets(peer);
  }
  await quiets(crone);
  const witch = await scene.actor('wiccarocks@localhost/laptop');
  for (const nick of ['oldhag', 'crone', 'thirdwitch']) {
    await enters(witch, 'moves', nick);
    await witch.sends(`<presence to='${at(nick)}' type='unavailable'/>`);
    await quiets(witch);
  }
});

/** The ids by which an account's archive knows messages with a body, and what their bodies are. */
async function archiveOf(peer: Peer): Promise<[string, string][]> {
  await quiets(peer);
  await peer.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
  await peer.syncs();
  return peer
    .forgets()
    .flatMap((one) => one.getChild('result', NS.mam) ?? [])
    .flatMap((result): [string, string][] => {
      const body = result
        .getChild('forwarded', NS.forward)!
        .getChild('message', NS.client)!
        .getChildText('body', NS.client);
      return body === null ? [] : [[result.attrs.id!, body]];
    });
}

scenario(
  '§7.5, XEP-0313 §6.1.1: a private message to several clients is one message of their account',
  async (scene) => {
    const crone = await scene.actor('crone2@localhost/desktop', { presence: true });
    const croneAway = await scene.actor('crone2@localhost/away', { presence: true });
    const clients: Peer[] = [];
    for (const resource of ['pda', 'laptop', 'phone'])
      clients.push(await scene.actor(`hag67@localhost/${resource}`, { presence: true }));
    const elsewhere = await scene.actor('hag67@localhost/elsewhere', { presence: true });
    for (const one of [croneAway, elsewhere]) {
      await one.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
      await quiets(one);
    }
    await founds(crone, 'private-many', 'firstwitch');
    for (const client of clients) await enters(client, 'private-many', 'thirdwitch');
    await quiets(crone, croneAway, elsewhere, ...clients);
    const nick = (name: string) => `${room('private-many')}/${name}`;
    await crone.sends(
      `<message type='chat' to='${nick('thirdwitch')}' id='p'><body>psst</body><x xmlns='${NS.mucUser}'/>
      <stanza-id xmlns='${NS.stanzaId}' by='hag67@localhost' id='forged'/></message>`,
    );
    const ids = new Set<string | undefined>();
    for (const [n, client] of clients.entries()) {
      const message = await client.receives(
        `<message type='chat' id='p' from='${nick('firstwitch')}' to='hag67@localhost/${['pda', 'laptop', 'phone'][n]}'>
        <body>psst</body><x xmlns='${NS.mucUser}'/></message>`,
      );
      const given = message.getChildren('stanza-id', NS.stanzaId).filter(({ attrs }) => attrs.by === 'hag67@localhost');
      assert.equal(given.length, 1);
      ids.add(given[0]!.attrs.id);
      await client.receivesNothing();
    }
    assert.equal(ids.size, 1);
    assert.deepEqual(await archiveOf(clients[0]!), [[[...ids][0]!, 'psst']]);
    // XEP-0280 §6.1: neither who got it nor who sent it copies it to clients that are not in the room
    await elsewhere.receivesNothing();
    await croneAway.receivesNothing();
    assert.deepEqual(
      (await archiveOf(crone)).map(([, body]) => body),
      ['psst'],
    );
    await clients[0]!.sends(`<iq type='get' id='i'><inbox xmlns='${NS.inbox}' messages='false'/></iq>`);
    await clients[0]!.receives(`<message><entry xmlns='${NS.inbox}' unread='1' jid='*'/></message>`);
    await quiets(...clients);
    // one that has gone is not waited for
    await clients[2]!.sends(`<presence type='unavailable' to='${nick('thirdwitch')}'/>`);
    await quiets(crone, ...clients);
    await crone.sends(`<message type='chat' to='${nick('thirdwitch')}' id='p2'><body>again</body></message>`);
    for (const client of clients.slice(0, 2)) await client.receives(`<message type='chat' id='p2'/>`);
    await clients[2]!.receivesNothing();
    assert.equal((await archiveOf(clients[1]!)).length, 2);
  },
);

scenario("XEP-0359 §5, §3: a room does not forward stanza ids that claim to be the account's", async (scene) => {
  const [crone, hag] = await pair(scene, 'forged');
  const forged = [
    `<stanza-id xmlns='${NS.stanzaId}' by='hag66@localhost' id='f'/>`,
    `<stanza-id xmlns='${NS.stanzaId}' by='HAG66@localhost ' id='f'/>`,
    `<stanza-id xmlns='${NS.stanzaId}' by='hag66@localhost/pda' id='f'/>`,
    `<sent xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'/></sent>`,
    `<received xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'/></received>`,
  ];
  const isClean = (stanza: string) => !stanza.includes('id="f"') && !stanza.includes(NS.carbons);
  for (const [n, element] of forged.entries()) {
    if (element.includes(NS.carbons)) continue; // refused: those are of the server
    await crone.sends(
      says('forged', `n${n}`, `${element}<stanza-id xmlns='${NS.stanzaId}' by='other@localhost' id='o'/>`),
    );
    const arrived = await hag.receives(
      `<message type='groupchat' from='${room('forged')}/firstwitch'><body>n${n}</body>
        <stanza-id xmlns='${NS.stanzaId}' by='other@localhost' id='o'/>
        <stanza-id xmlns='${NS.stanzaId}' by='${room('forged')}' id='*'/></message>`,
    );
    assert.ok(isClean(arrived.toString()), arrived.toString());
  }
  // in the history as well
  await hag.sends(`<presence type='unavailable' to='${room('forged')}/thirdwitch'/>`);
  await quiets(hag);
  await hag.sends(joins(`${room('forged')}/thirdwitch`));
  await hag.syncs();
  const history = hag.forgets().filter((one) => one.getChild('body', NS.client) !== undefined);
  assert.equal(history.length, 3);
  for (const one of history) assert.ok(isClean(one.toString()), one.toString());
});
