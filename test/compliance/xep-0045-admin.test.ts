/** Rooms as the server's administrators have them, in clients and by `waxwing room`; and XEP-0045 §11.2, its end. */
import assert from 'node:assert/strict';
import { allCommands } from '../../src/server/admin/commands.js';
import { run } from '../../src/server/admin/run.js';
import { NS } from '../../src/server/stanza/ns.js';
import { oneProcess, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configures, enters, founds, grants, item, joins, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;
const error = (type: string, condition: string) => `<iq type='error'>${refusal(type, condition)}</iq>`;
const ruled = { config: { hosts: { localhost: { admins: ['macbeth@localhost'] }, 'elsewhere.example': {} } } };
const archive = (name: string) => `<iq type='set' id='q' to='${room(name)}'><query xmlns='${NS.mam}'/></iq>`;

scenario('§11.2: a service that shuts down notifies each occupant, and keeps the rooms', oneProcess, async (scene) => {
  const { actor, stage } = scene;
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  await founds(crone, 'heath', 'firstwitch', { 'muc#roomconfig_persistentroom': '1' });
  await founds(crone, 'moor', 'firstwitch');
  await enters(hag, 'heath', 'thirdwitch');
  await quiets(crone, hag);
  const farewell = (name: string, nick: string) =>
    `<presence type='unavailable' from='${room(name)}/${nick}'><x xmlns='${NS.mucUser}'>
      <item affiliation='*' role='none'/><status code='110'/><status code='332'/></x></presence>`;
  await Promise.all([
    stage.restart(),
    (async () => {
      await hag.receives(farewell('heath', 'thirdwitch'));
      await hag.receivesStreamError('system-shutdown');
    })(),
    (async () => {
      await crone.receivesAnyOrder([farewell('heath', 'firstwitch'), farewell('moor', 'firstwitch')]);
      await crone.receivesStreamError('system-shutdown');
    })(),
  ]);
  const again = await actor('crone1@localhost/desktop');
  // also for a temporary room, whose occupants may come back
  for (const name of ['heath', 'moor']) {
    await again.sends(joins(`${room(name)}/firstwitch`));
    const self = await again.receives(
      `<presence><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}</x></presence>`,
    );
    assert.doesNotMatch(self.toString(), /code="201"/);
    await quiets(again);
  }
});

scenario('an administrator of the host owns all rooms, and is on no list', ruled, async ({ actor }) => {
  const crone = await actor('crone1@localhost/desktop');
  const hag = await actor('hag66@localhost/pda');
  const macbeth = await actor('macbeth@localhost/castle');
  await founds(crone, 'ruled', 'firstwitch', {
    'muc#roomconfig_membersonly': '1',
    'muc#roomconfig_passwordprotectedroom': '1',
    'muc#roomconfig_roomsecret': 'cauldronburn',
    'muc#roomconfig_maxusers': '1',
  });
  await grants(crone, 'ruled', 'hag66@localhost', 'admin');
  await macbeth.sends(archive('ruled'));
  await macbeth.receives(`<iq type='result' id='q'/>`);
  await macbeth.sends(joins(`${room('ruled')}/thane`));
  await macbeth.receives(`<presence from='${room('ruled')}/firstwitch'/>`);
  await macbeth.receives(
    `<presence from='${room('ruled')}/thane'><x xmlns='${NS.mucUser}'>
      <item affiliation='owner' role='moderator' jid='macbeth@localhost/castle'/><status code='110'/></x></presence>`,
  );
  await quiets(crone, macbeth);
  // admins of the room cannot change a host administrator
  const outcast = `<iq type='set' id='s' to='${room('ruled')}'><query xmlns='${NS.mucAdmin}'>
    <item affiliation='outcast' jid='macbeth@localhost'/></query></iq>`;
  await hag.sends(outcast);
  await hag.receives(error('cancel', 'not-allowed'));
  await crone.sends(
    `<iq type='get' id='g' to='${room('ruled')}'><query xmlns='${NS.mucAdmin}'><item affiliation='owner'/></query></iq>`,
  );
  const owners = await crone.receives(`<iq type='result' id='g'/>`);
  assert.doesNotMatch(owners.toString(), /macbeth/);
  // the administrator configures a room
  await configures(macbeth, 'ruled', { 'muc#roomconfig_membersonly': '0' });
  await quiets(crone);
  await macbeth.sends(
    `<iq type='set' id='d' to='${room('ruled')}'><query xmlns='${NS.mucOwner}'><destroy/></query></iq>`,
  );
  await crone.receives(`<presence type='unavailable'><x xmlns='${NS.mucUser}'><destroy/></x></presence>`);
  await macbeth.receivesAnyOrder([`<presence type='unavailable'/>`, `<iq type='result' id='d'/>`]);
});

scenario('a former administrator owns no rooms', async ({ actor, server }) => {
  const crone = await actor('crone1@localhost/desktop');
  const banquo = await actor('banquo@localhost/castle');
  await founds(crone, 'deposed', 'firstwitch', { 'muc#roomconfig_membersonly': '1' });
  await server.accounts.setRole('banquo@localhost', 'admin');
  await banquo.sends(archive('deposed'));
  await banquo.receives(`<iq type='result' id='q'/>`);
  await server.accounts.setRole('banquo@localhost', 'user');
  await banquo.sends(archive('deposed'));
  await banquo.receives(error('auth', 'forbidden'));
});

scenario(
  'an administrator has no special rights if configured so, nor in rooms of other hosts',
  { config: { ...ruled.config, modules: { muc: { admins_own_rooms: false } } } },
  async ({ actor }) => {
    const crone = await actor('crone1@localhost/desktop');
    const macbeth = await actor('macbeth@localhost/castle');
    await founds(crone, 'unruled', 'firstwitch', { 'muc#roomconfig_membersonly': '1' });
    await macbeth.sends(joins(`${room('unruled')}/thane`));
    await macbeth.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
  },
);

scenario('rooms of other hosts cannot be administered', ruled, async ({ actor }) => {
  const far = await actor('siward@elsewhere.example/camp');
  const macbeth = await actor('macbeth@localhost/castle');
  const address = 'camp@conference.elsewhere.example';
  await far.sends(joins(`${address}/siward`));
  await far.syncs();
  await macbeth.sends(joins(`${address}/thane`));
  await macbeth.receives(`<presence type='error'>${refusal('cancel', 'item-not-found')}</presence>`);
});

scenario('waxwing room: create, list, show and destroy', { alone: true }, async ({ actor, server, stage }) => {
  const call = async (name: string, values: Record<string, unknown> = {}) => {
    const command = allCommands(server.modules).find((one) => one.name === name)!;
    const context = {
      config: server.config,
      modules: server.modules,
      server,
      launch: { file: undefined, data: undefined, folder: '.' },
      accounts: async () => server.accounts,
      opened: async () => server,
      output: async () => {},
      progress: () => {},
      shutdown: async () => {},
    };
    const data = (await run(command, context as Parameters<typeof run>[1], values)) as never;
    return { data: JSON.parse(JSON.stringify(data)), text: await command.text(data) };
  };
  assert.equal((await call('room list')).text, 'There are no rooms.');
  await stage.account('crone1@localhost');
  const made = await call('room create', {
    room: room('coven'),
    owner: 'crone1@localhost',
    name: 'A Dark Cave',
    hidden: true,
    'members-only': true,
  });
  assert.deepEqual(made.data, { jid: room('coven'), owner: 'crone1@localhost' });
  await assert.rejects(call('room create', { room: room('coven'), owner: 'hag66@localhost' }), /already/);
  const long = { room: room('long'), owner: 'hag66@localhost', name: 'x'.repeat(201) };
  await assert.rejects(call('room create', long), /200 characters/);
  await assert.rejects(
    call('room create', { room: 'coven@nowhere.example', owner: 'hag66@localhost' }),
    /has no rooms; this server has rooms at conference\.localhost/,
  );
  await assert.rejects(call('room show', { room: '@' }), /is not the address of a room/);
  await assert.rejects(call('room show', { room: room('nowhere') }), /there is no room/);
  // it is open at once, and its owner's
  const crone = await actor('crone1@localhost/desktop');
  await crone.sends(joins(`${room('coven')}/firstwitch`));
  const self = await crone.receives(`<presence><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}</x></presence>`);
  assert.doesNotMatch(self.toString(), /code="201"/);
  await quiets(crone);
  const hag = await actor('hag66@localhost/pda');
  await hag.sends(joins(`${room('coven')}/thirdwitch`));
  await hag.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
  await founds(crone, 'moor', 'firstwitch');
  const { data, text } = await call('room list', { host: 'localhost', limit: 1 });
  assert.equal(data.next, room('coven'));
  assert.match(text, /coven@\S+ +A Dark Cave +1 +hidden, persistent, members only +crone1@localhost/);
  const next = await call('room list', { after: data.next });
  assert.deepEqual(
    next.data.rooms.map(({ jid }: { jid: string }) => jid),
    [room('moor')],
  );
  const shown = await call('room show', { room: room('coven') });
  assert.deepEqual(shown.data.present, [{ nick: 'firstwitch', role: 'moderator', jids: ['crone1@localhost/desktop'] }]);
  assert.match(shown.text, /Owners +crone1@localhost/);
  await quiets(crone);
  await call('room destroy', { room: room('coven'), reason: 'Macbeth doth come.' });
  await crone.receives(
    `<presence type='unavailable' from='${room('coven')}/firstwitch'><x xmlns='${NS.mucUser}'>
      <destroy><reason>Macbeth doth come.</reason></destroy></x></presence>`,
  );
  await assert.rejects(call('room destroy', { room: room('coven') }), /there is no room/);
});

/** A client that resumes learns from its queue that it was removed (XEP-0198). */
scenario('§11.2: a hibernating session is notified when it is resumed', oneProcess, async (scene: Scene) => {
  const { actor, stage, known } = scene;
  const hag = await actor('hag66@localhost/pda');
  await founds(hag, 'sleepers', 'thirdwitch', { 'muc#roomconfig_persistentroom': '1' });
  await hag.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  const enabled = await hag.receives(`<enabled xmlns='${NS.sm}' resume='true' id='*'/>`);
  hag.cut();
  await stage.restart();
  const back = await known('hag66@localhost');
  await back.sends(`<resume xmlns='${NS.sm}' previd='${enabled.attrs.id}' h='0'/>`);
  await back.receives(`<resumed xmlns='${NS.sm}'/>`);
  await back.receives(
    `<presence type='unavailable' from='${room('sleepers')}/thirdwitch'><x xmlns='${NS.mucUser}'>
      <status code='332'/></x></presence>`,
  );
});
