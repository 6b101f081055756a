/** XEP-0045 §8, §9, §10, §7.10, §7.12: what moderators, admins and owners do, and everybody else does not. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configuration, configures, enters, founds, grants, item, joins, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const sets = (name: string, items: string, ns: string = NS.mucAdmin) =>
  `<iq type='set' id='s' to='${room(name)}'><query xmlns='${ns}'>${items}</query></iq>`;
const gets = (name: string, items: string, ns: string = NS.mucAdmin) =>
  `<iq type='get' id='g' to='${room(name)}'><query xmlns='${ns}'>${items}</query></iq>`;
const error = (type: string, condition: string) => `<iq type='error'>${refusal(type, condition)}</iq>`;

/** An owner, an admin, a member and a user without an affiliation, all in an open room. */
async function court({ actor }: Scene, name: string, fields: Readonly<Record<string, string>> = {}) {
  const owner = await actor('owner@localhost/desktop');
  const admin = await actor('admin@localhost/desktop');
  const member = await actor('member@localhost/desktop');
  const guest = await actor('guest@localhost/desktop');
  await founds(owner, name, 'owner', fields);
  await grants(owner, name, 'admin@localhost', 'admin');
  await grants(owner, name, 'member@localhost', 'member');
  await enters(admin, name, 'admin');
  await enters(member, name, 'member');
  await enters(guest, name, 'guest');
  await quiets(owner, admin, member, guest);
  return { owner, admin, member, guest, all: [owner, admin, member, guest] as Peer[] };
}

scenario('§8.2: kicking', async (scene) => {
  const { owner, admin, member, guest } = await court(scene, 'kick');
  const kick = (nick: string) => sets('kick', `<item nick='${nick}' role='none'><reason>Avaunt!</reason></item>`);
  await member.sends(kick('guest'));
  await member.receives(error('auth', 'forbidden'));
  await admin.sends(kick('owner'));
  await admin.receives(error('cancel', 'not-allowed'));
  await admin.sends(kick('nobody'));
  await admin.receives(error('cancel', 'item-not-found'));
  await admin.sends(kick('admin'));
  await admin.receives(error('cancel', 'conflict'));
  await admin.sends(kick('guest'));
  const out = (own: string) =>
    `<presence type='unavailable' from='${room('kick')}/guest'><x xmlns='${NS.mucUser}'>
      <item affiliation='none' role='none'><actor nick='admin'/><reason>Avaunt!</reason></item>
      <status code='307'/>${own}</x></presence>`;
  await guest.receives(out(`<status code='110'/>`));
  await owner.receives(out(''));
  await member.receives(out(''));
  await admin.receivesAnyOrder([out(''), `<iq type='result' id='s'/>`]);
  await enters(guest, 'kick', 'guest');
});

scenario('§8.3, §8.4, §9.6, §9.7: granting and revoking voice and moderator status', async (scene) => {
  const { owner, admin, member, guest } = await court(scene, 'roles');
  const give = (nick: string, role: string) => sets('roles', `<item nick='${nick}' role='${role}'/>`);
  const changed = (nick: string, affiliation: string, role: string) =>
    `<presence from='${room('roles')}/${nick}'><x xmlns='${NS.mucUser}'>${item(affiliation, role)}</x></presence>`;
  await guest.sends(give('guest', 'moderator'));
  await guest.receives(error('auth', 'forbidden'));
  await admin.sends(give('guest', 'visitor'));
  await member.receives(changed('guest', 'none', 'visitor'));
  await admin.sends(give('guest', 'moderator'));
  await member.receives(changed('guest', 'none', 'moderator'));
  await quiets(owner, admin, guest);
  // a moderator by role manages only visitors and participants
  await guest.sends(give('admin', 'participant'));
  await guest.receives(error('cancel', 'not-allowed'));
  await guest.sends(give('member', 'moderator'));
  await guest.receives(error('auth', 'forbidden'));
  await guest.sends(give('member', 'visitor'));
  await member.receives(changed('member', 'member', 'visitor'));
  await admin.sends(give('guest', 'participant'));
  await member.receives(changed('guest', 'none', 'participant'));
  await quiets(owner, admin, guest);
  // §17.4
  await admin.sends(sets('roles', `<item nick='guest' role='visitor' affiliation='member'/>`));
  await admin.receives(error('modify', 'bad-request'));
});

scenario('§9.1, §9.2: bans', async (scene) => {
  const { owner, admin, member, guest } = await court(scene, 'ban');
  const ban = (...jids: string[]) =>
    sets('ban', jids.map((jid) => `<item affiliation='outcast' jid='${jid}'><reason>Treason</reason></item>`).join(''));
  await member.sends(ban('guest@localhost'));
  await member.receives(error('auth', 'forbidden'));
  await admin.sends(ban('guest@localhost', 'owner@localhost'));
  await admin.receives(error('cancel', 'not-allowed'));
  // users cannot ban themselves: by address, domain or nickname, alone or with others
  for (const [peer, name] of [
    [admin, 'admin'],
    [owner, 'owner'],
  ] as const) {
    const byNick = sets('ban', `<item affiliation='outcast' nick='${name}'/>`);
    for (const request of [
      ban(`${name}@localhost`),
      ban('localhost'),
      ban('guest@localhost', `${name}@localhost/x`),
      byNick,
    ]) {
      await peer.sends(request);
      await peer.receives(error('cancel', 'conflict'));
    }
  }
  await member.sends(ban('member@localhost'));
  await member.receives(error('auth', 'forbidden'));
  // all or nothing
  await guest.receivesNothing();
  await admin.sends(ban('guest@localhost/desktop'));
  await guest.receives(
    `<presence type='unavailable' from='${room('ban')}/guest'><x xmlns='${NS.mucUser}'>
      <item affiliation='outcast' role='none'><actor nick='admin'/><reason>Treason</reason></item>
      <status code='301'/><status code='110'/></x></presence>`,
  );
  await member.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='301'/></x></presence>`);
  await guest.sends(joins(`${room('ban')}/guest`));
  await guest.receives(`<presence type='error'>${refusal('auth', 'forbidden')}</presence>`);
  await quiets(admin, owner, member);
  await admin.sends(gets('ban', `<item affiliation='outcast'/>`));
  await admin.receives(
    `<iq type='result'><query xmlns='${NS.mucAdmin}'><item affiliation='outcast' jid='guest@localhost'>
      <reason>Treason</reason></item></query></iq>`,
  );
  for (const peer of [member, guest]) {
    await peer.sends(gets('ban', `<item affiliation='outcast'/>`));
    await peer.receives(error('auth', 'forbidden'));
  }
  await admin.sends(sets('ban', `<item affiliation='none' jid='guest@localhost'/>`));
  await quiets(admin);
  await enters(guest, 'ban', 'guest');
});

scenario('§9.3-9.5, §10.3-10.8: affiliations are changed only downwards, and the last owner stays', async (scene) => {
  const { owner, admin, member, guest } = await court(scene, 'ranks');
  const give = (jid: string, affiliation: string) => sets('ranks', `<item jid='${jid}' affiliation='${affiliation}'/>`);
  for (const peer of [member, guest])
    for (const affiliation of ['owner', 'admin', 'member', 'none']) {
      await peer.sends(give('guest@localhost', affiliation));
      await peer.receives(error('auth', 'forbidden'));
    }
  for (const affiliation of ['owner', 'admin']) {
    await admin.sends(give('admin@localhost', affiliation));
    await admin.receives(error('auth', 'forbidden'));
  }
  for (const jid of ['owner@localhost', 'admin@localhost']) {
    await admin.sends(give(jid, 'none'));
    await admin.receives(error('cancel', 'not-allowed'));
  }
  await admin.sends(give('guest@localhost', 'member'));
  await member.receives(
    `<presence from='${room('ranks')}/guest'><x xmlns='${NS.mucUser}'>${item('member', 'participant')}</x></presence>`,
  );
  await quiets(owner, admin, guest);
  // §10.4
  await owner.sends(give('owner@localhost', 'admin'));
  await owner.receives(error('cancel', 'conflict'));
  await owner.sends(give('member@localhost', 'owner'));
  await member.receives(
    `<presence from='${room('ranks')}/member'><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}</x></presence>`,
  );
  await quiets(owner);
  await owner.sends(give('owner@localhost', 'none'));
  await member.receives(
    `<presence from='${room('ranks')}/owner'><x xmlns='${NS.mucUser}'>${item('none', 'participant')}</x></presence>`,
  );
});

scenario('§9.5, §10.5, §10.8: access to the lists', async (scene) => {
  const { owner, admin, member, guest } = await court(scene, 'lists');
  const can = async (peer: Peer, list: string, isAllowed: boolean) => {
    await peer.sends(gets('lists', `<item ${list}/>`));
    await peer.receives(
      isAllowed ? `<iq type='result'><query xmlns='${NS.mucAdmin}'/></iq>` : error('auth', 'forbidden'),
    );
  };
  const table: [string, boolean, boolean, boolean, boolean][] = [
    ["affiliation='owner'", true, false, false, false],
    ["affiliation='admin'", true, false, false, false],
    ["affiliation='member'", true, true, false, false],
    ["affiliation='outcast'", true, true, false, false],
    ["role='moderator'", true, true, false, false],
    ["role='participant'", true, true, false, false],
  ];
  for (const [list, ...allowed] of table)
    for (const [n, peer] of [owner, admin, member, guest].entries()) await can(peer, list, allowed[n]!);
  await configures(owner, 'lists', { 'muc#roomconfig_whois': 'anyone' });
  await quiets(admin, member, guest);
  for (const list of ['owner', 'admin', 'member']) {
    await can(member, `affiliation='${list}'`, true);
    await can(guest, `affiliation='${list}'`, false);
  }
  await can(member, "affiliation='outcast'", false);
  // a page
  await grants(owner, 'lists', 'zoe@localhost', 'member');
  await owner.sends(gets('lists', `<item affiliation='member'/><set xmlns='${NS.rsm}'><max>1</max></set>`));
  await owner.receives(
    `<iq type='result'><query xmlns='${NS.mucAdmin}'><item affiliation='member' jid='member@localhost' nick='member'/>
      <set xmlns='${NS.rsm}'><first index='0'>member@localhost</first><count>2</count></set></query></iq>`,
  );
});

scenario('§10.2: only owners configure the room', async (scene) => {
  const { owner, admin, guest } = await court(scene, 'config');
  for (const peer of [admin, guest]) {
    await peer.sends(gets('config', '', NS.mucOwner));
    await peer.receives(error('auth', 'forbidden'));
    await peer.sends(configuration('config', { 'muc#roomconfig_roomname': 'mine' }));
    await peer.receives(error('auth', 'forbidden'));
    await peer.sends(sets('config', '<destroy/>', NS.mucOwner));
    await peer.receives(error('auth', 'forbidden'));
  }
  await owner.sends(gets('config', '', NS.mucOwner));
  await owner.receives(
    `<iq type='result'><query xmlns='${NS.mucOwner}'><x xmlns='${NS.dataForms}' type='form'>
      <field var='FORM_TYPE' type='hidden'><value>${NS.mucRoomConfig}</value></field>
      <field var='muc#roomconfig_roomname' type='text-single'/>
      <field var='muc#roomconfig_whois' type='list-single'><value>moderators</value></field></x></query></iq>`,
  );
  const reported = async (fields: Readonly<Record<string, string>>, ...codes: string[]) => {
    await owner.sends(configuration('config', fields));
    const message = await guest.receives(
      `<message type='groupchat' from='${room('config')}'><x xmlns='${NS.mucUser}'/></message>`,
    );
    const found = message.getChild('x', NS.mucUser)!.getChildElements();
    assert.deepEqual(
      found.map(({ attrs }) => attrs.code),
      codes,
    );
    await quiets(owner, admin);
  };
  await reported({ 'muc#roomconfig_roomname': 'A Dark Cave' }, '104');
  await reported({ 'muc#roomconfig_whois': 'anyone' }, '104', '172');
  await reported({ 'muc#roomconfig_whois': 'moderators' }, '104', '173');
  await reported({ 'muc#roomconfig_enablelogging': '1', 'muc#roomconfig_roomdesc': 'x' }, '104', '170');
  await reported({ 'muc#roomconfig_enablelogging': '0' }, '104', '171');
  for (const fields of [
    { 'muc#roomconfig_whois': 'nobody' },
    { 'muc#roomconfig_passwordprotectedroom': '1' },
    { 'muc#roomconfig_maxusers': '0' },
    { 'muc#roomconfig_roomname': 'x'.repeat(300) },
  ]) {
    await owner.sends(configuration('config', fields as unknown as Record<string, string>));
    await owner.receives(error('modify', 'not-acceptable'));
  }
  await owner.sends(configuration('config', { 'muc#roomconfig_roomowners': [] }));
  await owner.receives(error('cancel', 'conflict'));
});

scenario('§9.4: a room becomes members-only', async (scene) => {
  const { owner, member, guest } = await court(scene, 'closing');
  await configures(owner, 'closing', { 'muc#roomconfig_membersonly': '1' });
  await guest.receives(`<message type='groupchat'><x xmlns='${NS.mucUser}'><status code='104'/></x></message>`);
  await guest.receives(
    `<presence type='unavailable' from='${room('closing')}/guest'><x xmlns='${NS.mucUser}'>
      ${item('none', 'none')}<status code='322'/><status code='110'/></x></presence>`,
  );
  await quiets(member);
  await owner.sends(sets('closing', `<item affiliation='none' jid='member@localhost'/>`));
  await member.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='321'/></x></presence>`);
});

scenario('§10.9: destroying a room', async (scene) => {
  const { owner, all } = await court(scene, 'heath', { 'muc#roomconfig_persistentroom': '1' });
  await owner.sends(
    sets('heath', `<destroy jid='coven@${service}'><reason>Macbeth doth come.</reason></destroy>`, NS.mucOwner),
  );
  for (const [n, peer] of all.entries()) {
    const farewell = `<presence type='unavailable' from='${room('heath')}/${['owner', 'admin', 'member', 'guest'][n]}'>
      <x xmlns='${NS.mucUser}'>${item('none', 'none')}
      <destroy jid='coven@${service}'><reason>Macbeth doth come.</reason></destroy><status code='110'/></x></presence>`;
    await peer.receivesAnyOrder(peer === owner ? [farewell, `<iq type='result' id='s'/>`] : [farewell]);
    await peer.receivesNothing();
  }
  const [, , , guest] = all;
  await guest!.sends(joins(`${room('heath')}/guest`));
  await guest!.receives(
    `<presence><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}<status code='201'/></x></presence>`,
  );
});

scenario('§10.1.3: cancelling the initial configuration destroys the room', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  await enters(owner, 'cancelled', 'owner');
  await owner.sends(sets('cancelled', `<x xmlns='${NS.dataForms}' type='cancel'/>`, NS.mucOwner));
  await owner.receivesAnyOrder([
    `<presence type='unavailable'><x xmlns='${NS.mucUser}'><destroy/></x></presence>`,
    `<iq type='result' id='s'/>`,
  ]);
});

scenario('§7.10, §7.12: registration reserves a nickname', async (scene) => {
  const { owner, guest, member } = await court(scene, 'register');
  await guest.sends(gets('register', '', NS.register));
  await guest.receives(
    `<iq type='result'><query xmlns='${NS.register}'><x xmlns='${NS.dataForms}' type='form'>
      <field var='FORM_TYPE' type='hidden'><value>${NS.mucRegister}</value></field>
      <field var='muc#register_roomnick' type='text-single'><required/></field></x></query></iq>`,
  );
  const registers = (nick: string) =>
    sets(
      'register',
      `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.mucRegister}</value></field>
        <field var='muc#register_roomnick'><value>${nick}</value></field></x>`,
      NS.register,
    );
  await guest.sends(registers('owner'));
  await guest.receives(error('cancel', 'conflict'));
  await guest.sends(sets('register', '', NS.register));
  await guest.receives(error('modify', 'bad-request'));
  await guest.sends(registers('thane'));
  await owner.receives(
    `<presence from='${room('register')}/guest'><x xmlns='${NS.mucUser}'>${item('member', 'participant')}</x></presence>`,
  );
  await quiets(guest, member);
  await guest.sends(gets('register', '', NS.register));
  await guest.receives(
    `<iq type='result'><query xmlns='${NS.register}'><registered/><username>thane</username></query></iq>`,
  );
  await guest.sends(
    `<iq type='get' id='n' to='${room('register')}'><query xmlns='${NS.discoInfo}' node='x-roomuser-item'/></iq>`,
  );
  await guest.receives(
    `<iq type='result'><query xmlns='${NS.discoInfo}'><identity category='conference' type='text' name='thane'/></query></iq>`,
  );
  await member.sends(`<presence to='${room('register')}/Thane'/>`);
  await member.receives(`<presence type='error'>${refusal('cancel', 'conflict')}</presence>`);
  await guest.sends(sets('register', '<remove/>', NS.register));
  await guest.syncs();
  assert.ok(guest.forgets().some(({ attrs }) => attrs.id === 's' && attrs.type === 'result'));
  await configures(owner, 'register', { 'muc#roomconfig_registration': '0' });
  await quiets(guest);
  await guest.sends(gets('register', '', NS.register));
  await guest.receives(error('cancel', 'not-allowed'));
});

scenario('§7.10: nobody can register in a members-only room', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  const guest = await actor('guest@localhost/desktop');
  await founds(owner, 'register-members', 'owner', { 'muc#roomconfig_membersonly': '1' });
  await guest.sends(gets('register-members', '', NS.register));
  await guest.receives(error('cancel', 'not-allowed'));
  await guest.sends(
    sets(
      'register-members',
      `<x xmlns='${NS.dataForms}' type='submit'><field var='muc#register_roomnick'><value>thane</value></field></x>`,
      NS.register,
    ),
  );
  await guest.receives(error('cancel', 'not-allowed'));
  await owner.receivesNothing();
});

scenario('§7.10: a listed user without a nickname can register one', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  await founds(owner, 'nameless', 'owner', { 'muc#roomconfig_registration': '0' });
  await owner.sends(gets('nameless', '', NS.register));
  await owner.receives(
    `<iq type='result'><query xmlns='${NS.register}'><x xmlns='${NS.dataForms}' type='form'/></query></iq>`,
  );
  await owner.sends(applies('nameless', 'duncan'));
  await quiets(owner);
  await owner.sends(gets('nameless', '', NS.register));
  await owner.receives(
    `<iq type='result'><query xmlns='${NS.register}'><registered/><username>duncan</username></query></iq>`,
  );
});

const applies = (name: string, nick: string) =>
  sets(
    name,
    `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.mucRegister}</value></field>
      <field var='muc#register_roomnick'><value>${nick}</value></field></x>`,
    NS.register,
  );
const decides = (name: string, jid: string, nick: string, allow: string) =>
  `<message to='${room(name)}' id='d'><x xmlns='${NS.dataForms}' type='submit'>
    <field var='FORM_TYPE'><value>${NS.mucRegister}</value></field>
    <field var='muc#jid'><value>${jid}</value></field>
    <field var='muc#register_roomnick'><value>${nick}</value></field>
    <field var='muc#register_allow'><value>${allow}</value></field></x></message>`;

scenario('§9.9: admins decide about registrations, also from outside the room', async (scene) => {
  const owner = await scene.actor('owner@localhost/desktop', { presence: true });
  const admin = await scene.actor('admin@localhost/phone', { presence: true });
  const guest = await scene.actor('guest@localhost/desktop', { presence: true });
  const other = await scene.actor('member@localhost/desktop', { presence: true });
  await founds(owner, 'approve', 'owner', {
    'muc#roomconfig_membersonly': '1',
    'muc#roomconfig_registration_approval': '1',
  });
  await grants(owner, 'approve', 'admin@localhost', 'admin');
  await quiets(admin);
  // §7.2.6, §7.10: a non-member is refused, and sends a request
  await guest.sends(joins(`${room('approve')}/thane`));
  await guest.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
  await guest.sends(applies('approve', 'thane'));
  await guest.receives(`<iq type='result' id='s'/>`);
  const request = `<message from='${room('approve')}' id='*'><x xmlns='${NS.dataForms}' type='form'>
    <field var='FORM_TYPE' type='hidden'><value>${NS.mucRegister}</value></field>
    <field var='muc#jid'><value>guest@localhost</value></field>
    <field var='muc#register_roomnick'><value>thane</value></field>
    <field var='muc#register_allow' type='boolean'><value>0</value></field></x></message>`;
  await owner.receives(request);
  await admin.receives(request);
  // once, however often the request is sent
  await guest.sends(applies('approve', 'thane'));
  await guest.receives(`<iq type='result' id='s'/>`);
  await admin.receivesNothing();
  // not by himself, nor by other strangers
  for (const peer of [guest, other]) {
    await peer.sends(decides('approve', 'guest@localhost', 'thane', '1'));
    await peer.receives(`<message type='error' id='d'>${refusal('auth', 'forbidden')}</message>`);
  }
  await admin.sends(decides('approve', 'guest@localhost', 'thane', '0'));
  await guest.receivesNothing();
  await admin.sends(decides('approve', 'guest@localhost', 'thane', '1'));
  // §9.5: a new member of a members-only room is invited
  await guest.receives(
    `<message from='${room('approve')}'><x xmlns='${NS.mucUser}'><invite from='admin@localhost'/></x></message>`,
  );
  await enters(guest, 'approve', 'thane');
  await guest.sends(gets('approve', '', NS.register));
  await guest.receives(
    `<iq type='result'><query xmlns='${NS.register}'><registered/><username>thane</username></query></iq>`,
  );
  // approving it again changes nothing
  await admin.sends(decides('approve', 'guest@localhost', 'macbeth', '1'));
  await guest.receivesNothing();
  await quiets(owner, admin);
  // the nickname is now registered
  await other.sends(applies('approve', 'Thane'));
  await other.receives(error('cancel', 'conflict'));
  await admin.sends(decides('approve', 'member@localhost', 'thane', '1'));
  await admin.receives(`<message type='error' id='d'>${refusal('cancel', 'conflict')}</message>`);
  for (const bad of ['', '@', 'localhost']) {
    await admin.sends(decides('approve', bad, 'x', '1'));
    await admin.receives(`<message type='error' id='d'>${refusal('modify', 'bad-request')}</message>`);
  }
  await grants(owner, 'approve', 'member@localhost', 'outcast');
  await other.sends(applies('approve', 'witch'));
  await other.receives(error('auth', 'forbidden'));
});

scenario('§7.10, §7.6: a registered nickname is enforced if the room is configured so', async (scene) => {
  const { owner, guest, member } = await court(scene, 'locked-nicks', { 'muc#roomconfig_lock_nicknames': '1' });
  await guest.sends(applies('locked-nicks', 'thane'));
  await quiets(owner, member, guest);
  await guest.sends(`<presence to='${room('locked-nicks')}/king'/>`);
  await guest.receives(`<presence type='error'>${refusal('modify', 'not-acceptable')}</presence>`);
  await guest.sends(`<presence to='${room('locked-nicks')}/thane'/>`);
  await quiets(owner, member, guest);
  await guest.sends(`<presence type='unavailable' to='${room('locked-nicks')}/thane'/>`);
  await quiets(owner, member, guest);
  await guest.sends(joins(`${room('locked-nicks')}/king`));
  await member.receives(`<presence from='${room('locked-nicks')}/thane'/>`);
  await guest.syncs();
  const self = guest.forgets().find(({ attrs }) => attrs.from === `${room('locked-nicks')}/thane`)!;
  assert.match(self.toString(), /code="210"/);
  // without a registered nickname any name is free
  await member.sends(`<presence to='${room('locked-nicks')}/thane2'/>`);
  await member.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='303'/></x></presence>`);
});

scenario('§18.1: an absent user is notified of a changed affiliation', async (scene) => {
  const owner = await scene.actor('owner@localhost/desktop');
  const member = await scene.actor('member@localhost/desktop', { presence: true });
  await founds(owner, 'absent', 'owner');
  await grants(owner, 'absent', 'member@localhost', 'admin');
  await member.receives(
    `<message from='${room('absent')}' to='member@localhost'><x xmlns='${NS.mucUser}'>
      <item affiliation='admin' jid='member@localhost'/><status code='101'/></x></message>`,
  );
  // §9.1: a banned user is not notified before they try to enter
  await grants(owner, 'absent', 'member@localhost', 'outcast');
  await member.receivesNothing();
  // nor of one's own changes
  await grants(owner, 'absent', 'member@localhost', 'none');
  await member.sends(applies('absent', 'thane'));
  await member.receives(`<iq type='result' id='s'/>`);
  await member.receivesNothing();
});

scenario('§9.2: a ban of a domain removes its users, and no others', async (scene) => {
  const owner = await scene.actor('owner@localhost/desktop');
  const far = await scene.actor('macbeth@elsewhere.example/castle');
  const friend = await scene.actor('banquo@elsewhere.example/castle');
  await founds(owner, 'domain', 'owner');
  await grants(owner, 'domain', 'banquo@elsewhere.example', 'member');
  await enters(far, 'domain', 'macbeth');
  await enters(friend, 'domain', 'banquo');
  await quiets(owner, far, friend);
  await owner.sends(sets('domain', `<item affiliation='outcast' jid='elsewhere.example'/>`));
  await far.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='301'/></x></presence>`);
  await friend.receives(`<presence type='unavailable' from='${room('domain')}/macbeth'/>`);
  await friend.receivesNothing();
});

scenario("an account's affiliations are deleted with it", async (scene) => {
  const { owner } = await court(scene, 'heirs', { 'muc#roomconfig_persistentroom': '1' });
  await scene.server.accounts.remove('admin@localhost');
  await quiets(owner);
  await owner.sends(gets('heirs', `<item affiliation='admin'/>`));
  const list = await owner.receives(`<iq type='result'><query xmlns='${NS.mucAdmin}'/></iq>`);
  assert.doesNotMatch(list.toString(), /admin@localhost/);
  await owner.sends(sets('heirs', '<destroy/>', NS.mucOwner));
  await quiets(owner);
});

/** The values of each field in the owner's form. */
async function formOf(owner: Peer, name: string): Promise<Map<string, string[]>> {
  await owner.sends(gets(name, '', NS.mucOwner));
  const answer = await owner.receives(`<iq type='result' id='g'/>`);
  const fields = answer.getChild('query', NS.mucOwner)!.getChild('x', NS.dataForms)!.getChildren('field', NS.dataForms);
  return new Map(
    fields.map((field) => [field.attrs.var!, field.getChildren('value', NS.dataForms).map((value) => value.getText())]),
  );
}

async function isArchived(peer: Peer, name: string): Promise<boolean> {
  await peer.sends(`<iq type='get' id='d' to='${room(name)}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const answer = await peer.receives(`<iq type='result' id='d'/>`);
  const features = answer.getChild('query', NS.discoInfo)!.getChildren('feature', NS.discoInfo);
  return features.some(({ attrs }) => attrs.var === NS.mam);
}

scenario('§10.2: archive and public log are two settings, under every name in use', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  const guest = await actor('guest@localhost/desktop');
  // as Gajim 2.6 makes a room, and Conversations a group
  const gajim = {
    'muc#roomconfig_persistentroom': '1',
    'muc#roomconfig_membersonly': '0',
    'muc#roomconfig_enablelogging': '0',
    'muc#roomconfig_enablearchiving': '1',
    mam: '1',
  };
  const conversations = {
    'muc#roomconfig_persistentroom': '1',
    'muc#roomconfig_membersonly': '1',
    'muc#roomconfig_publicroom': '0',
    'muc#roomconfig_whois': 'anyone',
    'muc#roomconfig_changesubject': '0',
    'muc#roomconfig_allowinvites': '0',
    'muc#roomconfig_enablearchiving': '1',
    'muc#roomconfig_mam': '1',
    mam: '1',
  };
  for (const [name, fields] of Object.entries({ gajim, conversations })) {
    await founds(owner, name, 'owner', fields);
    assert.equal(await isArchived(owner, name), true);
  }
  await founds(owner, 'names', 'owner');
  assert.equal(await isArchived(owner, 'names'), true);
  // missing fields stay unchanged; if names disagree, the first of these wins
  const [own, prefixed, short] = ['muc#roomconfig_enablearchiving', 'muc#roomconfig_mam', 'mam'] as const;
  const cases: [Readonly<Record<string, string>>, boolean][] = [
    [{ 'muc#roomconfig_enablelogging': '0' }, true],
    [{ [short]: '0' }, false],
    [{ 'muc#roomconfig_enablelogging': '1' }, false],
    [{ [prefixed]: 'true' }, true],
    [{ [own]: 'false' }, false],
    [{ [short]: '0', [prefixed]: '1' }, true],
    [{ [short]: '1', [prefixed]: '1', [own]: '0' }, false],
    [{ [own]: '', [short]: '1' }, true],
  ];
  for (const [fields, archived] of cases) {
    await configures(owner, 'names', fields);
    assert.equal(await isArchived(owner, 'names'), archived, JSON.stringify(fields));
    assert.deepEqual((await formOf(owner, 'names')).get(own), [archived ? '1' : '0']);
  }
  // 170 and 171 follow what outsiders can read
  await configures(owner, 'names', { [own]: '1', 'muc#roomconfig_enablelogging': '1' });
  await guest.sends(joins(`${room('names')}/guest`));
  await guest.receives(`<presence from='${room('names')}/owner'/>`);
  await guest.receives(
    `<presence from='${room('names')}/guest'><x xmlns='${NS.mucUser}'><status code='170'/><status code='110'/></x></presence>`,
  );
  await quiets(guest, owner);
  const reported = async (fields: Readonly<Record<string, string>>, ...codes: string[]) => {
    await owner.sends(configuration('names', fields));
    await guest.receives(
      `<message type='groupchat'><x xmlns='${NS.mucUser}'>${codes.map((code) => `<status code='${code}'/>`).join('')}</x></message>`,
    );
    await quiets(owner);
  };
  const protect = { 'muc#roomconfig_roomsecret': 'cauldronburn' };
  await reported(protect, '104', '171');
  await reported({ 'muc#roomconfig_passwordprotectedroom': '0' }, '104', '170');
  await reported({ [own]: '0' }, '104', '171');
});

scenario('§10.2: fields of clients and of older versions', async (scene) => {
  const { owner, guest } = await court(scene, 'fields');
  const leaves = async (
    fields: Readonly<Record<string, string | readonly string[]>>,
    name: string,
    ...left: string[]
  ) => {
    await configures(owner, 'fields', fields);
    await quiets(guest);
    assert.deepEqual((await formOf(owner, 'fields')).get(`muc#roomconfig_${name}`), left, JSON.stringify(fields));
  };
  await leaves({ 'muc#roomconfig_allowpm': '0' }, 'allowpm', 'none');
  await leaves({ allow_private_messages: '1' }, 'allowpm', 'anyone');
  await leaves({ 'muc#roomconfig_allowpm': 'moderators', allow_private_messages: '1' }, 'allowpm', 'moderators');
  await leaves({ '{http://prosody.im/protocol/muc}roomconfig_allowmemberinvites': '1' }, 'allowinvites', '1');
  await leaves(
    { 'muc#roomconfig_getmemberlist': ['moderator', 'participant', 'member'] },
    'getmemberlist',
    'moderator',
    'participant',
  );
  await leaves({ 'muc#roomconfig_presencebroadcast': ['none', 'visitor'] }, 'presencebroadcast', 'visitor');
  await leaves(
    { 'muc#roomconfig_presencebroadcast': ['moderator', 'participant', 'visitor'] },
    'presencebroadcast',
    'moderator',
    'participant',
    'visitor',
  );
  await leaves({ 'muc#roomconfig_maxusers': '20' }, 'maxusers', '20');
  await leaves({ 'muc#roomconfig_maxusers': '' }, 'maxusers', '20');
  await leaves({ 'muc#roomconfig_maxusers': 'none' }, 'maxusers', 'none');
  await leaves({ public_list: '1' }, 'publicoccupants', '1');
  // a password alone protects, an empty one does not
  await leaves({ 'muc#roomconfig_roomsecret': 'cauldronburn' }, 'passwordprotectedroom', '1');
  await leaves({ 'muc#roomconfig_roomdesc': 'x' }, 'passwordprotectedroom', '1');
  await leaves({ 'muc#roomconfig_roomsecret': '' }, 'passwordprotectedroom', '0');
  // a new password protects even if the user has overlooked the checkbox
  const [protect, secret] = ['muc#roomconfig_passwordprotectedroom', 'muc#roomconfig_roomsecret'] as const;
  await leaves({ [protect]: '0', [secret]: 'a' }, 'passwordprotectedroom', '1');
  await leaves({ [protect]: '0', [secret]: 'b' }, 'roomsecret', 'b');
  await leaves({ [protect]: '0', [secret]: 'b' }, 'passwordprotectedroom', '0');
  await leaves({ [protect]: '1', [secret]: 'b' }, 'roomsecret', 'b');
  await owner.sends(configuration('fields', { [protect]: '1', [secret]: '' }));
  await owner.receives(error('modify', 'not-acceptable'));
  await leaves({ [protect]: '0', [secret]: '' }, 'roomsecret');
  // registration rests while only members may enter, and a form that is returned as it came changes nothing
  await leaves({ 'muc#roomconfig_membersonly': '1' }, 'registration', '0');
  const whole = Object.fromEntries(await formOf(owner, 'fields'));
  delete whole.FORM_TYPE;
  await leaves(whole, 'registration', '0');
  await leaves({ 'muc#roomconfig_registration_approval': '1' }, 'registration', '1');
  await leaves({ 'muc#roomconfig_registration_approval': '0', 'muc#roomconfig_membersonly': '0' }, 'registration', '1');
  await leaves({ 'muc#roomconfig_registration': '0' }, 'registration', '0');
});

const opened = { config: { modules: { muc: { lists_for: 'occupants', defaults: { public_occupants: true } } } } };

scenario('§6.5, §9.5: occupants and lists can be public by configuration', opened, async (scene) => {
  const { owner, guest } = await court(scene, 'opened', { 'muc#roomconfig_whois': 'anyone' });
  const outsider = await scene.actor('stranger@localhost/desktop');
  await guest.sends(gets('opened', `<item affiliation='member'/>`));
  await guest.receives(`<iq type='result'><query xmlns='${NS.mucAdmin}'><item jid='member@localhost'/></query></iq>`);
  await guest.sends(gets('opened', `<item affiliation='outcast'/>`));
  await guest.receives(error('auth', 'forbidden'));
  await outsider.sends(gets('opened', `<item affiliation='member'/>`));
  await outsider.receives(error('auth', 'forbidden'));
  await outsider.sends(`<iq type='get' id='d' to='${room('opened')}'><query xmlns='${NS.discoItems}'/></iq>`);
  const items = await outsider.receives(`<iq type='result' id='d'/>`);
  assert.equal(items.getChild('query', NS.discoItems)!.getChildren('item', NS.discoItems).length, 4);
  await configures(owner, 'opened', { 'muc#roomconfig_whois': 'moderators' });
  await quiets(guest);
  await guest.sends(gets('opened', `<item affiliation='member'/>`));
  await guest.receives(error('auth', 'forbidden'));
});

const closed = { config: { modules: { muc: { lists_for: 'admins' } } } };

scenario('§9.5: lists can be for admins only, or for roles that the owner chooses', closed, async (scene) => {
  const { owner, admin, member } = await court(scene, 'private', { 'muc#roomconfig_whois': 'anyone' });
  const asks = (peer: Peer) => peer.sends(gets('private', `<item affiliation='member'/>`));
  await asks(member);
  await member.receives(error('auth', 'forbidden'));
  await asks(admin);
  await admin.receives(`<iq type='result'/>`);
  await configures(owner, 'private', { 'muc#roomconfig_getmemberlist': 'participant' });
  await quiets(admin, member);
  await asks(member);
  await member.receives(`<iq type='result'/>`);
});
