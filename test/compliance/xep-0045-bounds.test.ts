/** XEP-0045 §14.6, XEP-0205: the resources that one user can use, and malformed requests. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { eachNode, hits, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configures, enters, founds, grants, joins, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const bounded = {
  config: {
    modules: {
      muc: {
        lock_new_rooms: false,
        rooms_per_user: 2,
        joins_per_user: 3,
        occupants: 2,
        nickname_length: 12,
        subject_length: 10,
        invitations: 1,
        members: 3,
      },
    },
  },
};

scenario('rooms, joins, occupants, names, subjects, invitations and lists are bounded', bounded, async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const others = [await actor('hag66@localhost/pda'), await actor('wiccarocks@localhost/laptop')];
  const [hag, witch] = others as [(typeof others)[0], (typeof others)[0]];
  await enters(crone, 'bound-1', 'firstwitch');
  await enters(crone, 'bound-2', 'firstwitch');
  await crone.sends(joins(`${room('bound-3')}/firstwitch`));
  await crone.receives(`<presence type='error'>${refusal('wait', 'resource-constraint')}</presence>`);
  // instant rooms are open at once
  await enters(hag, 'bound-1', 'thirdwitch');
  await witch.sends(joins(`${room('bound-1')}/secondwitch`));
  await witch.receives(`<presence type='error'>${refusal('wait', 'service-unavailable')}</presence>`);
  await witch.sends(joins(`${room('bound-2')}/averylongnickname`));
  await witch.receives(`<presence type='error'>${refusal('modify', 'not-acceptable')}</presence>`);
  await quiets(crone, hag);
  await crone.sends(`<message type='groupchat' to='${room('bound-1')}'><subject>Toil and trouble</subject></message>`);
  await crone.receives(`<message type='error'>${refusal('modify', 'not-acceptable')}</message>`);
  await crone.sends(
    `<message to='${room('bound-1')}'><x xmlns='${NS.mucUser}'><invite to='a@localhost'/><invite to='b@localhost'/></x></message>`,
  );
  await crone.receives(`<message type='error'>${refusal('modify', 'not-acceptable')}</message>`);
  const members = ['a', 'b', 'c'].map((name) => `<item affiliation='member' jid='${name}@localhost'/>`).join('');
  await crone.sends(
    `<iq type='set' id='s' to='${room('bound-1')}'><query xmlns='${NS.mucAdmin}'>${members}</query></iq>`,
  );
  await crone.receives(`<iq type='error'>${refusal('wait', 'resource-constraint')}</iq>`);
  // leaving a room makes room for another join
  await hag.sends(`<presence type='unavailable' to='${room('bound-1')}/thirdwitch'/>`);
  await quiets(hag, crone);
  await enters(witch, 'bound-1', 'secondwitch');
});

scenario('presence that is too large is refused', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'bound-presence', 'firstwitch');
  await hag.sends(
    `<presence to='${room('bound-presence')}/thirdwitch'><x xmlns='${NS.muc}'/><status>${'x'.repeat(20_000)}</status></presence>`,
  );
  await hag.receives(`<presence type='error'>${refusal('modify', 'policy-violation')}</presence>`);
  await crone.receivesNothing();
});

scenario('malformed requests get one error each, and affect nobody', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  await founds(crone, 'bound-malformed', 'firstwitch', { 'muc#roomconfig_persistentroom': '1' });
  const payloads = [
    ...[NS.mucAdmin, NS.mucOwner, NS.register].flatMap((ns) => [
      `<query xmlns='${ns}'><item/><item affiliation='king' jid='@'/></query>`,
      `<query xmlns='${ns}'><item affiliation='member' jid='a@b@c/'/></query>`,
      `<query xmlns='${ns}'><item role='moderator'/></query>`,
      `<query xmlns='${ns}'><item nick='' role='none'/></query>`,
      `<query xmlns='${ns}'><item nick='&#x202e;' role='none'/></query>`,
      `<query xmlns='${ns}'><x xmlns='${NS.dataForms}'/></query>`,
      `<query xmlns='${ns}'><x xmlns='${NS.dataForms}' type='submit'><field/></x></query>`,
      `<query xmlns='${ns}'><destroy xmlns='${ns}' jid='@'/></query>`,
    ]),
    `<moderate xmlns='${NS.moderate}'/>`,
    `<moderate xmlns='${NS.moderate}' id='x'/>`,
    `<apply-to xmlns='${NS.fasten}'/>`,
    `<request xmlns='${NS.mucToken}' counter='-1'/>`,
    `<revoke xmlns='${NS.mucToken}'/>`,
    `<command xmlns='${NS.commands}' node='${NS.hatsCommands}:assign'><x xmlns='${NS.dataForms}' type='submit'/></command>`,
    `<unique xmlns='${NS.mucUnique}'/>`,
    `<search xmlns='${NS.channelSearchQuery}'><x xmlns='${NS.dataForms}' type='submit'/></search>`,
    `<nothing xmlns='nothing'/>`,
  ];
  for (const to of [room('bound-malformed'), service, `${room('bound-malformed')}/firstwitch`, room('bound-nowhere')]) {
    for (const type of ['get', 'set']) {
      for (const payload of payloads) {
        // A room forwards requests to an occupant; the room's own forms are no errors.
        await crone.sends(`<iq type='${type}' id='bad' to='${to}'>${payload}</iq>`);
        const answer = await crone.receivesAny();
        assert.equal(answer.name, 'iq', payload);
        if (answer.attrs.type === 'error') continue;
        // XEP-0050: errors in a command's form are in its note.
        const note = answer.getChild('command', NS.commands)?.getChild('note', NS.commands);
        if (type === 'set' && note?.attrs.type === 'error') continue;
        assert.ok(
          (type === 'get' && answer.attrs.type === 'result') ||
            answer.attrs.from === `${room('bound-malformed')}/firstwitch`,
          `${type} ${payload}: ${answer}`,
        );
      }
    }
  }
  await crone.syncs();
  await configures(crone, 'bound-malformed', { 'muc#roomconfig_persistentroom': '0' });
});

scenario('XEP-0004: unknown fields are ignored, malformed ones change nothing', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  await founds(crone, 'bound-forms', 'firstwitch', { 'muc#roomconfig_roomname': 'A Dark Cave', 'of#nobody': '1' });
  const field = (name: string, ...values: string[]) =>
    `<field var='${name}'>${values.map((value) => `<value>${value}</value>`).join('')}</field>`;
  const submits = (fields: string, formType: string = NS.mucRoomConfig) =>
    `<iq type='set' id='f' to='${room('bound-forms')}'><query xmlns='${NS.mucOwner}'>
      <x xmlns='${NS.dataForms}' type='submit'>${field('FORM_TYPE', formType)}${fields}</x></query></iq>`;
  const renamed = field('muc#roomconfig_roomname', 'Mine');
  const cases: [string, string, string?][] = [
    [renamed + renamed, 'bad-request'],
    [renamed, 'bad-request', NS.mucRegister],
    [`${renamed + field('muc#roomconfig_roomname2')}<field><value>x</value></field>`, 'bad-request'],
    [renamed + field('muc#roomconfig_publicroom', 'perhaps'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_publicroom', '1', '0'), 'bad-request'],
    [renamed + field('muc#maxhistoryfetch', '-1'), 'not-acceptable'],
    [renamed + field('muc#maxhistoryfetch', '1e99'), 'not-acceptable'],
    [renamed + field('muc#maxhistoryfetch', '99999999999999999999'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_maxusers', '2147483648'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_slow_mode_duration', '100000'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_presencebroadcast', 'king'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_roomadmins', '@'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_roomadmins', 'localhost'), 'not-acceptable'],
    [renamed + field('muc#roomconfig_roomdesc', 'x'.repeat(2001)), 'not-acceptable'],
    [renamed + field('muc#roomconfig_roomsecret', 'x'.repeat(201)), 'not-acceptable'],
  ];
  for (const [fields, condition, formType] of cases) {
    await crone.sends(submits(fields, formType));
    await crone.receives(`<iq type='error' id='f'>${refusal('modify', condition)}</iq>`);
  }
  await crone.receivesNothing();
  await crone.sends(`<iq type='get' id='d' to='${room('bound-forms')}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await crone.receives(
    `<iq type='result'><query xmlns='${NS.discoInfo}'><identity category='conference' name='A Dark Cave'/></query></iq>`,
  );
});

scenario('XEP-0059: impossible pages and missing items', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  await founds(crone, 'bound-pages', 'firstwitch');
  const asks: ((set: string) => string)[] = [
    (set) => `<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}'>${set}</query></iq>`,
    (set) =>
      `<iq type='get' id='p' to='${room('bound-pages')}'><query xmlns='${NS.mucAdmin}'><item affiliation='owner'/>${set}</query></iq>`,
    (set) =>
      `<iq type='get' id='p' to='${service}'><search xmlns='${NS.channelSearchQuery}'>${set}
        <x xmlns='${NS.dataForms}' type='submit'><field var='all'><value>1</value></field></x></search></iq>`,
    (set) => `<iq type='set' id='p' to='${room('bound-pages')}'><query xmlns='${NS.mam}'>${set}</query></iq>`,
  ];
  const cases: [string, string][] = [
    ['<max>-1</max>', 'bad-request'],
    ['<max>many</max>', 'bad-request'],
    ['<max>99999999999</max>', 'bad-request'],
    ['<max>1</max><max>2</max>', 'bad-request'],
    ['<max>1</max><after>nobody@nowhere</after>', 'item-not-found'],
    ['<max>1</max><before>nobody@nowhere</before>', 'item-not-found'],
    [`<max>1</max><after>${'x'.repeat(3000)}</after>`, 'item-not-found'],
  ];
  for (const ask of asks) {
    for (const [set, condition] of cases) {
      await crone.sends(ask(`<set xmlns='${NS.rsm}'>${set}</set>`));
      await crone.receives(
        `<iq type='error' id='p'>${refusal(condition === 'bad-request' ? 'modify' : 'cancel', condition)}</iq>`,
      );
    }
    // the largest page, the count only, and a page after the end
    for (const set of ['<max>9999999999</max>', '<max>0</max>', '<before/>']) {
      await crone.sends(ask(`<set xmlns='${NS.rsm}'>${set}</set>`));
      await crone.receives(`<iq type='result' id='p'/>`);
    }
  }
  await crone.sends(asks[0]!(`<set xmlns='${NS.rsm}'><max>10</max><index>9999999</index></set>`));
  const beyond = await crone.receives(`<iq type='result' id='p'/>`);
  assert.equal(beyond.getChild('query', NS.discoItems)!.getChildren('item').length, 0);
});

scenario(
  'rooms in total, nicknames given by admins, and reasons are limited',
  { config: { modules: { muc: { lock_new_rooms: false, rooms: 2, nickname_length: 12 } } } },
  async ({ actor }) => {
    const crone = await actor('crone1@localhost/desktop');
    const hag = await actor('hag66@localhost/pda');
    await enters(crone, 'bound-all-1', 'firstwitch');
    await enters(hag, 'bound-all-2', 'thirdwitch');
    await hag.sends(joins(`${room('bound-all-3')}/thirdwitch`));
    await hag.receives(`<presence type='error'>${refusal('wait', 'resource-constraint')}</presence>`);
    const gives = (nick: string, reason = '') =>
      `<iq type='set' id='s' to='${room('bound-all-1')}'><query xmlns='${NS.mucAdmin}'>
        <item affiliation='member' jid='hag66@localhost' nick='${nick}'>${reason}</item></query></iq>`;
    await crone.sends(gives('averylongnickname'));
    await crone.receives(`<iq type='error'>${refusal('modify', 'not-acceptable')}</iq>`);
    await crone.sends(gives('hag', `<reason>${'x'.repeat(5000)}</reason>`));
    await quiets(crone, hag);
    await crone.sends(
      `<iq type='get' id='g' to='${room('bound-all-1')}'><query xmlns='${NS.mucAdmin}'><item affiliation='member'/></query></iq>`,
    );
    const list = await crone.receives(`<iq type='result' id='g'/>`);
    const member = list.getChild('query', NS.mucAdmin)!.getChild('item', NS.mucAdmin)!;
    assert.equal(member.getChildText('reason', NS.mucAdmin)?.length, 1000);
    assert.equal(member.attrs.nick, 'hag');
  },
);

scenario('§17.4: the oldest unanswered requests are dropped', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'bound-iqs', 'firstwitch');
  await enters(hag, 'bound-iqs', 'thirdwitch');
  await quiets(crone);
  for (let n = 0; n <= 100; n++)
    await hag.sends(
      `<iq type='get' id='v${n}' to='${room('bound-iqs')}/firstwitch'><query xmlns='${NS.version}'/></iq>`,
    );
  await hag.syncs();
  await crone.syncs();
  const asked = crone.forgets().filter(({ name }) => name === 'iq');
  assert.equal(asked.length, 101);
  const answers = async (id: string) => {
    await crone.sends(`<iq type='result' id='${id}' to='${room('bound-iqs')}/thirdwitch'/>`);
  };
  await answers(asked[0]!.attrs.id!);
  await hag.receivesNothing();
  await answers(asked[100]!.attrs.id!);
  await hag.receives(`<iq type='result' id='v100' from='${room('bound-iqs')}/firstwitch'/>`);
});

scenario(
  '§14.6: a user who joins, leaves or changes too often is told to wait',
  { ...eachNode, config: { modules: { muc: { presences_per_minute: 4, lock_new_rooms: false } } } },
  async ({ actor }) => {
    const crone = await actor('crone1@localhost/desktop');
    const hag = await actor('hag66@localhost/pda');
    await enters(crone, 'bound-pace', 'firstwitch');
    await enters(hag, 'bound-pace', 'thirdwitch');
    const waits = `<presence type='error'>${refusal('wait', 'policy-violation')}</presence>`;
    await hag.sends(`<presence to='${room('bound-pace')}/thirdwitch'><show>away</show></presence>`);
    await hag.sends(`<presence to='${room('bound-pace')}/oldhag'/>`);
    await hag.sends(joins(`${room('bound-pace')}/oldhag`));
    await quiets(hag, crone);
    await hag.sends(`<presence to='${room('bound-pace')}/hag'/>`);
    await hag.receives(waits);
    // leaving is always possible
    await hag.sends(`<presence type='unavailable' to='${room('bound-pace')}/oldhag'/>`);
    await hag.receives(`<presence type='unavailable'/>`);
    await crone.receives(`<presence type='unavailable' from='${room('bound-pace')}/oldhag'/>`);
    await hag.sends(joins(`${room('bound-pace')}/oldhag`));
    await hag.receives(waits);
    await crone.receivesNothing();
    // each for himself, and in each room
    await crone.sends(`<presence to='${room('bound-pace')}/firstwitch'><show>away</show></presence>`);
    await crone.receives(`<presence from='${room('bound-pace')}/firstwitch'><show>away</show></presence>`);
    await enters(hag, 'bound-pace-2', 'thirdwitch');
  },
);

const rated = { ...eachNode, config: { modules: { muc: { invitations_per_hour: 3 } } } };

scenario('invitations are limited per user, over all rooms and forms', rated, async ({ actor, server }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda', { presence: true });
  await founds(crone, 'rate-1', 'firstwitch');
  await founds(crone, 'rate-2', 'firstwitch', { 'muc#roomconfig_membersonly': '1' });
  const invites = (name: string, ...to: string[]) =>
    `<message to='${room(name)}' id='i'><x xmlns='${NS.mucUser}'>${to.map((jid) => `<invite to='${jid}'/>`).join('')}</x></message>`;
  const isInvited = (name: string) =>
    hag.receives(`<message from='${room(name)}'><x xmlns='${NS.mucUser}'><invite/></x></message>`);
  const refused = `<message type='error' id='i'>${refusal('wait', 'policy-violation')}</message>`;
  // all or none
  await crone.sends(invites('rate-1', 'a@localhost', 'b@localhost', 'c@localhost', 'hag66@localhost'));
  await crone.receives(refused);
  await crone.sends(invites('rate-1', 'hag66@localhost', 'hag66@localhost'));
  await isInvited('rate-1');
  await isInvited('rate-1');
  // becoming a member is an invitation (§9.5)
  await grants(crone, 'rate-2', 'hag66@localhost', 'member');
  await isInvited('rate-2');
  for (const name of ['rate-1', 'rate-2']) {
    await crone.sends(invites(name, 'hag66@localhost'));
    await crone.receives(refused);
  }
  // one can still make members: they are just not invited
  await grants(crone, 'rate-2', 'hag66@localhost', 'none');
  await quiets(hag);
  await grants(crone, 'rate-2', 'hag66@localhost', 'member');
  await hag.receivesNothing();
  // others are not held back by that
  await enters(hag, 'rate-1', 'thirdwitch');
  await hag.sends(invites('rate-1', 'crone1@localhost/desktop'));
  await quiets(hag);
  await crone.syncs();
  assert.ok(crone.forgets().some((one) => one.getChild('x', NS.mucUser)?.getChild('invite', NS.mucUser)));
  assert.ok((await hits({ server }, 'muc.invitations_per_hour')) > 0);
});
