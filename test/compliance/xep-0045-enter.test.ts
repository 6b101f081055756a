/** XEP-0045 §6, §7.2, §7.14, §10.1: finding, creating, entering and leaving rooms. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configures, enters, founds, grants, item, joins, opens, quiets, service } from './rooms.js';

scenario('§10.1.2: an instant room is locked until its owner accepts the default configuration', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await crone.sends(joins('coven@conference.localhost/firstwitch'));
  await crone.receives(
    `<presence from='coven@conference.localhost/firstwitch' to='crone1@localhost/desktop'>
      <x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}<status code='110'/><status code='201'/></x>
      <occupant-id xmlns='${NS.occupantId}' id='*'/></presence>`,
  );
  await crone.receives(`<message type='groupchat' from='coven@conference.localhost'><subject/></message>`);
  // §7.2.10
  await hag.sends(joins('coven@conference.localhost/thirdwitch'));
  await hag.receives(
    `<presence type='error' from='coven@conference.localhost/thirdwitch'><x xmlns='${NS.muc}'/>
      ${refusal('cancel', 'item-not-found')}</presence>`,
  );
  // §6.4: except for its owner there is no such room yet
  const info = `<iq type='get' id='d' to='coven@conference.localhost'><query xmlns='${NS.discoInfo}'/></iq>`;
  await hag.sends(info);
  await hag.receives(`<iq type='error'>${refusal('cancel', 'item-not-found')}</iq>`);
  await crone.sends(info);
  await crone.receives(`<iq type='result'><query xmlns='${NS.discoInfo}'/></iq>`);
  await opens(crone, 'coven');
  await hag.sends(joins('coven@conference.localhost/thirdwitch'));
  // §7.2.2: the others first, then oneself
  await hag.receives(
    `<presence from='coven@conference.localhost/firstwitch'>
      <x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}</x></presence>`,
  );
  await hag.receives(
    `<presence from='coven@conference.localhost/thirdwitch'>
      <x xmlns='${NS.mucUser}'>${item('none', 'participant')}<status code='110'/></x></presence>`,
  );
  await hag.receives(`<message type='groupchat'><subject/></message>`);
  await crone.receives(
    `<presence from='coven@conference.localhost/thirdwitch'>
      <x xmlns='${NS.mucUser}'><item affiliation='none' role='participant' jid='hag66@localhost/pda'/></x></presence>`,
  );
  // §7.14
  await hag.sends(
    `<presence type='unavailable' to='coven@conference.localhost/thirdwitch'><status>gone</status></presence>`,
  );
  await hag.receives(
    `<presence type='unavailable' from='coven@conference.localhost/thirdwitch'><status>gone</status>
      <x xmlns='${NS.mucUser}'>${item('none', 'none')}<status code='110'/></x></presence>`,
  );
  await crone.receives(
    `<presence type='unavailable' from='coven@conference.localhost/thirdwitch'><status>gone</status>
      <x xmlns='${NS.mucUser}'>${item('none', 'none')}</x></presence>`,
  );
  await hag.receivesNothing();
  await crone.receivesNothing();
});

const room = (name: string) => `${name}@${service}`;
const refused = (address: string, error: string) =>
  `<presence type='error' from='${address}'><x xmlns='${NS.muc}'/>${error}</presence>`;

scenario('§7.2.1: a nickname is required, and has to be visible', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  await crone.sends(joins(room('enter-nick')));
  await crone.receives(refused(room('enter-nick'), refusal('modify', 'jid-malformed')));
  await crone.sends(joins(`${room('enter-nick')}/\u00a0 `));
  await crone.receives(`<presence type='error'>${refusal('modify', 'jid-malformed')}</presence>`);
  // blanks that are no spaces, fillers, and marks without a letter
  for (const nick of [
    '\u2800',
    '\u2800 \u2800',
    '\u{16FE4}',
    '\u{13441}',
    '\u{1D159}',
    '\u3164',
    '\u0301',
    '\u2800\u0301x',
  ]) {
    await crone.sends(joins(`${room('enter-nick')}/${nick}`));
    await crone.receives(`<presence type='error'>${refusal('modify', 'jid-malformed')}</presence>`);
  }
  await crone.sends(joins(`${room('enter-nick')}/${'x'.repeat(300)}`));
  await crone.receives(`<presence type='error'>${refusal('modify', 'not-acceptable')}</presence>`);
  await crone.receivesNothing();
});

scenario('§7.2.18: presence without <x/> does not join; its sender gets an error', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-old', 'firstwitch');
  for (const name of ['enter-old', 'enter-nowhere']) {
    await hag.sends(`<presence to='${room(name)}/thirdwitch'/>`);
    await hag.receives(
      `<presence type='unavailable' from='${room(name)}/thirdwitch'><x xmlns='${NS.mucUser}'>
        ${item('none', 'none')}<status code='110'/><status code='307'/><status code='333'/></x></presence>`,
    );
  }
  // §17.3
  await hag.sends(`<presence type='probe' to='${room('enter-old')}/firstwitch'/>`);
  await hag.sends(`<presence type='unavailable' to='${room('enter-old')}/firstwitch'/>`);
  await hag.receivesNothing();
  await crone.receivesNothing();
});

scenario('§7.2.5: passwords', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-pw', 'firstwitch', {
    'muc#roomconfig_passwordprotectedroom': '1',
    'muc#roomconfig_roomsecret': 'cauldronburn',
  });
  const address = `${room('enter-pw')}/thirdwitch`;
  await hag.sends(joins(address));
  await hag.receives(refused(address, refusal('auth', 'not-authorized')));
  await hag.sends(joins(address, '<password>cauldron</password>'));
  await hag.receives(refused(address, refusal('auth', 'not-authorized')));
  await crone.receivesNothing();
  await enters(hag, 'enter-pw', 'thirdwitch', '<password>cauldronburn</password>');
});

scenario('§7.2.6, §7.2.7, §9.2: members-only rooms, bans, and bans of domains', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  const far = await actor('macbeth@elsewhere.example/castle');
  await founds(crone, 'enter-members', 'firstwitch', { 'muc#roomconfig_membersonly': 'true' });
  const address = `${room('enter-members')}/thirdwitch`;
  await hag.sends(joins(address));
  await hag.receives(refused(address, refusal('auth', 'registration-required')));
  await grants(crone, 'enter-members', 'hag66@localhost', 'member');
  await enters(hag, 'enter-members', 'thirdwitch');

  await founds(crone, 'enter-banned', 'firstwitch');
  await grants(crone, 'enter-banned', 'hag66@localhost', 'outcast');
  await grants(crone, 'enter-banned', 'elsewhere.example', 'outcast');
  for (const banned of [hag, far]) {
    banned.forgets();
    await banned.sends(joins(`${room('enter-banned')}/thirdwitch`));
    await banned.receives(refused(`${room('enter-banned')}/thirdwitch`, refusal('auth', 'forbidden')));
    await banned.receivesNothing();
  }
});

scenario('§7.2.8: a nickname in use, in any case', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-conflict', 'FirstWitch');
  for (const nick of ['FirstWitch', 'firstwitch']) {
    await hag.sends(joins(`${room('enter-conflict')}/${nick}`));
    await hag.receives(refused(`${room('enter-conflict')}/${nick}`, refusal('cancel', 'conflict')));
  }
  await crone.receivesNothing();
});

scenario('§7.2.9: a full room, which admins can still join', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-full', 'firstwitch', { 'muc#roomconfig_maxusers': '1' });
  await hag.sends(joins(`${room('enter-full')}/thirdwitch`));
  await hag.receives(refused(`${room('enter-full')}/thirdwitch`, refusal('wait', 'service-unavailable')));
  await grants(crone, 'enter-full', 'hag66@localhost', 'admin');
  await enters(hag, 'enter-full', 'thirdwitch');
});

scenario(
  '§10.1.1: who can create rooms is configured',
  { config: { modules: { muc: { creation: 'admins' } }, hosts: { localhost: { admins: ['crone1@localhost'] } } } },
  async ({ actor }) => {
    const hag = await actor('hag66@localhost/pda');
    const crone = await actor('crone1@localhost/desktop');
    await hag.sends(joins(`${room('enter-rights')}/thirdwitch`));
    await hag.receives(refused(`${room('enter-rights')}/thirdwitch`, refusal('cancel', 'not-allowed')));
    await founds(crone, 'enter-rights', 'firstwitch');
    await enters(hag, 'enter-rights', 'thirdwitch');
  },
);

scenario('by default users of other hosts cannot create rooms', async ({ actor }) => {
  const macbeth = await actor('macbeth@elsewhere.example/castle');
  await macbeth.sends(joins(`${room('enter-stranger')}/thane`));
  await macbeth.receives(refused(`${room('enter-stranger')}/thane`, refusal('cancel', 'not-allowed')));
});

scenario("§7.2.3, §7.2.12: a user who joins learns the room's properties", async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  const witch = await actor('wiccarocks@localhost/laptop');
  await founds(crone, 'enter-nonanon', 'firstwitch', { 'muc#roomconfig_whois': 'anyone' });
  await hag.sends(joins(`${room('enter-nonanon')}/thirdwitch`));
  await hag.receives(
    `<presence from='${room('enter-nonanon')}/firstwitch'><x xmlns='${NS.mucUser}'>
      <item affiliation='owner' role='moderator' jid='crone1@localhost/desktop'/></x></presence>`,
  );
  await hag.receives(
    `<presence from='${room('enter-nonanon')}/thirdwitch'><x xmlns='${NS.mucUser}'>
      <item affiliation='none' role='participant' jid='hag66@localhost/pda'/>
      <status code='100'/><status code='110'/></x></presence>`,
  );
  hag.forgets();
  // §7.2.4: semi-anonymous is the usual
  await founds(crone, 'enter-semi', 'firstwitch');
  await enters(hag, 'enter-semi', 'thirdwitch');
  await witch.sends(joins(`${room('enter-semi')}/ secondwitch  `));
  const [first, third, self] = [await witch.receivesAny(), await witch.receivesAny(), await witch.receivesAny()];
  for (const other of [first, third]) {
    assert.equal(other.attrs.type, undefined);
    assert.equal(other.getChild('x', NS.mucUser)!.getChild('item', NS.mucUser)!.attrs.jid, undefined);
  }
  // §7.2.2: the room has trimmed the nickname
  assert.equal(self.attrs.from, `${room('enter-semi')}/secondwitch`);
  assert.match(self.toString(), /code="210"/);
  await hag.syncs();
  const [seen] = hag.forgets();
  assert.doesNotMatch(seen!.toString(), /wiccarocks/);
  await crone.syncs();
  assert.match(crone.forgets().at(-1)!.toString(), /wiccarocks@localhost\/laptop/);
});

scenario('§7.2.8: several clients of one user are one occupant', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const pda = await actor('hag66@localhost/pda');
  const laptop = await actor('hag66@localhost/laptop');
  await founds(crone, 'enter-clients', 'firstwitch');
  await enters(pda, 'enter-clients', 'thirdwitch');
  await quiets(crone);
  await enters(laptop, 'enter-clients', 'thirdwitch');
  const occupant = (more: string, ...clients: readonly string[]) =>
    `<presence from='${room('enter-clients')}/thirdwitch'><x xmlns='${NS.mucUser}'>${clients
      .map((client) => `<item affiliation='none' role='participant' jid='hag66@localhost/${client}'/>`)
      .join('')}${more}</x></presence>`;
  const own = `<status code='110'/>`;
  // who sees real addresses sees one more, and an item for each
  await crone.receives(occupant('', 'laptop', 'pda'));
  await pda.receives(occupant(own, 'laptop', 'pda'));
  await crone.sends(`<message type='groupchat' to='${room('enter-clients')}' id='1'><body>hail</body></message>`);
  for (const client of [crone, pda, laptop])
    await client.receives(`<message type='groupchat' from='${room('enter-clients')}/firstwitch' id='1'/>`);
  await pda.sends(`<presence type='unavailable' to='${room('enter-clients')}/thirdwitch'/>`);
  await pda.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`);
  await crone.receives(occupant('', 'laptop'));
  await laptop.receives(occupant(own, 'laptop'));
  await pda.receivesNothing();
  // a session that vanishes leaves
  laptop.cut();
  await crone.receives(
    `<presence type='unavailable' from='${room('enter-clients')}/thirdwitch'>
      <x xmlns='${NS.mucUser}'>${item('none', 'none')}</x></presence>`,
  );
});

scenario('§17.3: an occupant who joins again gets everything again', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-again', 'firstwitch');
  await enters(hag, 'enter-again', 'thirdwitch');
  await quiets(crone);
  await hag.sends(joins(`${room('enter-again')}/thirdwitch`));
  await hag.receives(`<presence from='${room('enter-again')}/firstwitch'/>`);
  await hag.receives(
    `<presence from='${room('enter-again')}/thirdwitch'><x xmlns='${NS.mucUser}'><status code='110'/></x></presence>`,
  );
  await hag.receives(`<message type='groupchat'><subject/></message>`);
  await hag.receivesNothing();
  await crone.receivesNothing();
});

scenario('§7.2.13, §7.2.14: history, and its limits', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  await founds(crone, 'enter-history', 'firstwitch');
  for (const n of [1, 2, 3])
    await crone.sends(
      `<message type='groupchat' to='${room('enter-history')}' id='h${n}'><body>line ${n}</body></message>`,
    );
  // not worth remembering
  await crone.sends(
    `<message type='groupchat' to='${room('enter-history')}'><composing xmlns='${NS.chatStates}'/></message>`,
  );
  await crone.syncs();
  const cases: [string, string[]][] = [
    ['', ['h1', 'h2', 'h3']],
    [`<history maxstanzas='2'/>`, ['h2', 'h3']],
    [`<history maxstanzas='0'/>`, []],
    [`<history maxchars='0'/>`, []],
    [`<history maxchars='900'/>`, ['h2', 'h3']],
    [`<history seconds='0'/>`, []],
    [`<history seconds='180'/>`, ['h1', 'h2', 'h3']],
    [`<history since='1970-01-01T00:00:00Z'/>`, ['h1', 'h2', 'h3']],
    [`<history since='2999-01-01T00:00:00Z'/>`, []],
  ];
  for (const [n, [history, ids]] of cases.entries()) {
    const hag = await actor(`hag${n}@localhost/pda`);
    await hag.sends(joins(`${room('enter-history')}/hag${n}`, history));
    await hag.syncs();
    const messages = hag.forgets().filter(({ name }) => name === 'message');
    // §7.2.15: the subject is the last
    assert.notEqual(messages.pop()!.getChild('subject'), undefined);
    assert.deepEqual(
      messages.map(({ attrs }) => attrs.id),
      ids,
      history,
    );
    for (const message of messages) {
      assert.equal(message.attrs.from, `${room('enter-history')}/firstwitch`);
      assert.equal(message.getChild('delay', NS.delay)?.attrs.from, room('enter-history'));
      assert.notEqual(message.getChild('occupant-id', NS.occupantId), undefined);
      assert.equal(message.getChild('stanza-id', NS.stanzaId)?.attrs.by, room('enter-history'));
    }
  }
});

scenario('§6: discovery; hidden rooms and occupants stay hidden', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'disco-open', 'firstwitch', {
    'muc#roomconfig_roomname': 'A Dark Cave',
    'muc#roomconfig_roomdesc': 'The place for all good witches!',
  });
  await founds(crone, 'disco-hidden', 'firstwitch', { 'muc#roomconfig_publicroom': '0' });
  const asks = (to: string, ns: string, inside = '') =>
    `<iq type='get' id='d' to='${to}'><query xmlns='${ns}'>${inside}</query></iq>`;
  await hag.sends(asks(service, NS.discoInfo));
  await hag.receives(
    `<iq type='result' id='d' from='${service}'><query xmlns='${NS.discoInfo}'>
      <identity category='conference' type='text' name='*'/><feature var='${NS.muc}'/>
      <feature var='${NS.mucStableId}'/><feature var='${NS.occupantId}'/></query></iq>`,
  );
  await hag.sends(asks(service, NS.discoItems));
  const list = await hag.receives(`<iq type='result'><query xmlns='${NS.discoItems}'>
    <item jid='${room('disco-open')}' name='A Dark Cave'/></query></iq>`);
  assert.doesNotMatch(list.toString(), /disco-hidden/);
  await hag.sends(asks(service, NS.discoItems, `<set xmlns='${NS.rsm}'><max>1</max></set>`));
  await hag.receives(`<iq type='result'><query xmlns='${NS.discoItems}'>
    <item jid='*'/><set xmlns='${NS.rsm}'><first index='0'>*</first><last>*</last><count>*</count></set></query></iq>`);
  await hag.sends(asks(room('disco-open'), NS.discoInfo));
  await hag.receives(
    `<iq type='result'><query xmlns='${NS.discoInfo}'>
      <identity category='conference' type='text' name='A Dark Cave'/>
      <feature var='${NS.muc}'/><feature var='${NS.mucStableId}'/><feature var='muc_unsecured'/>
      <feature var='muc_public'/><feature var='muc_temporary'/><feature var='muc_open'/>
      <feature var='muc_unmoderated'/><feature var='muc_semianonymous'/>
      <feature var='${NS.selfPing}'/><feature var='${NS.occupantId}'/><feature var='${NS.moderate}'/>
      <feature var='${NS.mam}'/>
      <x xmlns='${NS.dataForms}' type='result'>
        <field var='FORM_TYPE' type='hidden'><value>${NS.mucRoomInfo}</value></field>
        <field var='muc#roominfo_description'><value>The place for all good witches!</value></field>
        <field var='muc#roominfo_occupants'><value>1</value></field>
        <field var='muc#roomconfig_allowinvites'><value>0</value></field>
        <field var='muc#roomconfig_allowpm'><value>anyone</value></field></x></query></iq>`,
  );
  await hag.sends(asks(room('disco-nowhere'), NS.discoInfo));
  await hag.receives(`<iq type='error'>${refusal('cancel', 'item-not-found')}</iq>`);
  // §6.5, §6.6
  await hag.sends(asks(room('disco-open'), NS.discoItems));
  const items = await hag.receives(`<iq type='result'><query xmlns='${NS.discoItems}'/></iq>`);
  assert.equal(items.getChild('query', NS.discoItems)!.getChildElements().length, 0);
  await crone.sends(asks(room('disco-open'), NS.discoItems));
  await crone.receives(`<iq type='result'><query xmlns='${NS.discoItems}'>
    <item jid='${room('disco-open')}/firstwitch'/></query></iq>`);
  await hag.sends(asks(`${room('disco-open')}/firstwitch`, NS.discoInfo));
  await hag.receives(`<iq type='error'>${refusal('modify', 'bad-request')}</iq>`);
  // §18.1.1
  await hag.sends(
    `<iq type='get' id='d' to='${room('disco-open')}'><query xmlns='${NS.discoInfo}' node='${NS.mucTraffic}'/></iq>`,
  );
  await hag.receives(`<iq type='error'>${refusal('cancel', 'service-unavailable')}</iq>`);
});

scenario(
  '§10.1.3: a room whose owner leaves before configuring it is destroyed',
  { config: { modules: { muc: { defaults: { persistent: true } } } } },
  async ({ actor }) => {
    const crone = await actor('crone1@localhost/desktop');
    const hag = await actor('hag66@localhost/pda');
    await enters(crone, 'enter-unconfigured', 'firstwitch');
    await crone.sends(`<presence type='unavailable' to='${room('enter-unconfigured')}/firstwitch'/>`);
    await quiets(crone);
    await hag.sends(joins(`${room('enter-unconfigured')}/thirdwitch`));
    await hag.receives(
      `<presence><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}<status code='201'/></x></presence>`,
    );
  },
);

scenario('§6.3: the list of rooms is ordered and current', { alone: true }, async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const listed = async () => {
    await crone.sends(`<iq type='get' id='l' to='${service}'><query xmlns='${NS.discoItems}'/></iq>`);
    const { children } = (await crone.receives(`<iq type='result' id='l'/>`)).getChild('query', NS.discoItems)!;
    return children.map((child) => (typeof child === 'string' ? child : child.attrs.name));
  };
  for (const name of ['m', 'c', 'z', 'a', 'p']) await founds(crone, name, 'firstwitch');
  assert.deepEqual(await listed(), ['a', 'c', 'm', 'p', 'z']);
  await configures(crone, 'm', { 'muc#roomconfig_publicroom': '0' });
  await configures(crone, 'a', { 'muc#roomconfig_roomname': 'Agora' });
  assert.deepEqual(await listed(), ['Agora', 'c', 'p', 'z']);
  await crone.sends(`<presence type='unavailable' to='${room('p')}/firstwitch'/>`);
  await quiets(crone);
  await configures(crone, 'm', { 'muc#roomconfig_publicroom': '1' });
  assert.deepEqual(await listed(), ['Agora', 'c', 'm', 'z']);
});

scenario('a temporary room is deleted with its last occupant, and so is its archive', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-temporary', 'firstwitch');
  await crone.sends(`<message type='groupchat' to='${room('enter-temporary')}'><body>secret</body></message>`);
  await crone.sends(`<presence type='unavailable' to='${room('enter-temporary')}/firstwitch'/>`);
  await crone.syncs();
  await hag.sends(joins(`${room('enter-temporary')}/thirdwitch`));
  await hag.receives(
    `<presence><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}<status code='201'/></x></presence>`,
  );
  await hag.receives(`<message type='groupchat'><subject/></message>`);
  await hag.receivesNothing();
});

scenario("§7.2.8: a nickname that looks like another's is in conflict with it", async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'enter-blank', 'firstwitch');
  for (const nick of ['firstwitch\u2800', '\u2800FirstWitch', 'firstwitch\u{13441} ']) {
    await hag.sends(joins(`${room('enter-blank')}/${nick}`));
    await hag.receives(`<presence type='error'>${refusal('cancel', 'conflict')}</presence>`);
  }
  await hag.sends(joins(`${room('enter-blank')}/third\u2800witch`));
  await hag.receives(`<presence from='${room('enter-blank')}/firstwitch'/>`);
  await hag.receives(
    `<presence from='${room('enter-blank')}/third witch'><x xmlns='${NS.mucUser}'>
      <status code='110'/><status code='210'/></x></presence>`,
  );
});
