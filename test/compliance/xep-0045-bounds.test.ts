/** XEP-0045 §13.6, XEP-0205: what one user can take of the service, and what malformed requests do to it. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configures, enters, founds, joins, quiets, service } from './rooms.js';

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
  // who has left a room has room for others
  await hag.sends(`<presence type='unavailable' to='${room('bound-1')}/thirdwitch'/>`);
  await quiets(hag, crone);
  await enters(witch, 'bound-1', 'secondwitch');
});

scenario('a presence with a great deal in it is refused', async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'bound-presence', 'firstwitch');
  await hag.sends(
    `<presence to='${room('bound-presence')}/thirdwitch'><x xmlns='${NS.muc}'/><status>${'x'.repeat(20_000)}</status></presence>`,
  );
  await hag.receives(`<presence type='error'>${refusal('modify', 'policy-violation')}</presence>`);
  await crone.receivesNothing();
});

scenario('malformed requests are answered with errors, once, and hurt nobody', async ({ actor }) => {
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
        // A room passes on what is for an occupant; the forms that a room offers are no errors.
        await crone.sends(`<iq type='${type}' id='bad' to='${to}'>${payload}</iq>`);
        const answer = await crone.receivesAny();
        assert.equal(answer.name, 'iq', payload);
        if (answer.attrs.type === 'error') continue;
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
