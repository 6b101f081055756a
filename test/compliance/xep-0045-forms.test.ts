/**
 * XEP-0045 §10.1, §10.2, §6.4: rooms as Conversations, Converse.js, Dino, Gajim, Monal and Psi configure them
 * (docs/decisions/0017-client-forms.md).
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import {
  bareForm,
  type Changes,
  desktopForm,
  fieldsOf,
  typedForm,
  valuesOf,
  webForm,
  wholeForm,
} from './client-forms.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configuration, configures, enters, founds, grants, item, joins, quiets, service } from './rooms.js';

const room = (name: string) => `${name}@${service}`;

async function formOf(owner: Peer, name: string): Promise<Element> {
  await owner.sends(`<iq type='get' id='form' to='${room(name)}'><query xmlns='${NS.mucOwner}'/></iq>`);
  const answer = await owner.receives(`<iq type='result' id='form'/>`);
  return answer.getChild('query', NS.mucOwner)!.getChild('x', NS.dataForms)!;
}

const submits = (owner: Peer, name: string, form: Element): Promise<void> =>
  owner.sends(
    `<iq type='set' id='config' to='${room(name)}'><query xmlns='${NS.mucOwner}'>${form.toString()}</query></iq>`,
  );

interface Info {
  readonly features: readonly string[];
  /** The fields of muc#roominfo. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
}

/** Conversations reads the first form only. */
async function infoOf(peer: Peer, name: string): Promise<Info> {
  await peer.sends(`<iq type='get' id='info' to='${room(name)}'><query xmlns='${NS.discoInfo}'/></iq>`);
  const answer = await peer.receives(`<iq type='result' id='info'/>`);
  const query = answer.getChild('query', NS.discoInfo)!;
  return {
    features: query.getChildren('feature', NS.discoInfo).map(({ attrs }) => attrs.var!),
    fields: new Map(
      fieldsOf(query.getChild('x', NS.dataForms)!).map((field) => [field.attrs.var!, valuesOf(field)] as const),
    ),
  };
}

async function listOf(peer: Peer, name: string, affiliation: string): Promise<string[]> {
  await peer.sends(
    `<iq type='get' id='list' to='${room(name)}'><query xmlns='${NS.mucAdmin}'><item affiliation='${affiliation}'/></query></iq>`,
  );
  const answer = await peer.receives(`<iq type='result' id='list'/>`);
  const items = answer.getChild('query', NS.mucAdmin)!.getChildren('item', NS.mucAdmin);
  return items.map(({ attrs }) => attrs.jid!).sort();
}

const clients = { wholeForm, bareForm, typedForm, desktopForm, webForm };

scenario('§10.2: a form that comes back as it was changes nothing', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  const guest = await actor('guest@localhost/desktop');
  await founds(owner, 'returned', 'owner', {
    'muc#roomconfig_roomname': 'A &lt;Dark> "Cave" &amp; more',
    'muc#roomconfig_membersonly': '0',
    'muc#roomconfig_roomsecret': 'cauldron &amp; burn',
    'muc#roomconfig_maxusers': '30',
    'muc#roomconfig_presencebroadcast': ['moderator', 'visitor'],
    'muc#roomconfig_getmemberlist': 'participant',
    'muc#maxhistoryfetch': '7',
    'muc#roomconfig_allowpm': 'participants',
  });
  for (const name of ['owner2', 'owner3']) await grants(owner, 'returned', `${name}@localhost`, 'owner');
  for (const name of ['admin1', 'admin2']) await grants(owner, 'returned', `${name}@localhost`, 'admin');
  await enters(guest, 'returned', 'guest', '<password>cauldron &amp; burn</password>');
  await quiets(owner, guest);
  const before = await formOf(owner, 'returned');
  for (const [client, returned] of Object.entries(clients)) {
    await submits(owner, 'returned', returned(before, {}));
    await owner.receives(`<iq type='result' id='config'/>`);
    await guest.receivesNothing();
    assert.equal((await formOf(owner, 'returned')).toString(), before.toString(), client);
    // and with a change it changes that alone
    await submits(owner, 'returned', returned(before, { 'muc#roomconfig_roomdesc': client }));
    await guest.receives(`<message type='groupchat'><x xmlns='${NS.mucUser}'><status code='104'/></x></message>`);
    await quiets(owner);
    const after = await formOf(owner, 'returned');
    const changed = fieldsOf(after).filter((field, n) => field.toString() !== fieldsOf(before)[n]!.toString());
    assert.deepEqual(
      changed.map((field) => [field.attrs.var, valuesOf(field)]),
      [['muc#roomconfig_roomdesc', [client]]],
    );
    await configures(owner, 'returned', { 'muc#roomconfig_roomdesc': '' });
    await quiets(guest);
  }
  assert.deepEqual(
    await listOf(owner, 'returned', 'owner'),
    ['owner2', 'owner3', 'owner'].map((name) => `${name}@localhost`),
  );
  assert.deepEqual(
    await listOf(owner, 'returned', 'admin'),
    ['admin1', 'admin2'].map((name) => `${name}@localhost`),
  );
});

scenario('§10.1.3: only the form of a new room has the lists of admins and owners', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  const lists = ['muc#roomconfig_roomadmins', 'muc#roomconfig_roomowners'];
  const listsIn = (form: Element) => fieldsOf(form).filter((field) => lists.includes(field.attrs.var!));
  for (const [client, returned] of Object.entries(clients)) {
    const name = `lists-${client.toLowerCase()}`;
    await enters(owner, name, 'owner');
    const form = await formOf(owner, name);
    assert.deepEqual(listsIn(form).map(valuesOf), [[], ['owner@localhost']]);
    await submits(owner, name, returned(form, { 'muc#roomconfig_roomadmins': 'admin1@localhost' }));
    await quiets(owner);
    assert.deepEqual(await listOf(owner, name, 'admin'), ['admin1@localhost']);
    assert.deepEqual(await listOf(owner, name, 'owner'), ['owner@localhost']);
    assert.deepEqual(listsIn(await formOf(owner, name)), []);
    // XEP-0045 §10.2: whoever sends the lists replaces them
    await owner.sends(configuration(name, { 'muc#roomconfig_roomadmins': ['admin2@localhost', 'admin3@localhost'] }));
    await quiets(owner);
    assert.deepEqual(await listOf(owner, name, 'admin'), ['admin2@localhost', 'admin3@localhost']);
  }
});

interface Creation {
  readonly fill: (form: Element, changes: Changes) => Element;
  readonly changes: Changes;
  /** Fields that the client demands of the form. */
  readonly needs: readonly string[];
  readonly features: readonly string[];
  readonly name?: string;
  /** Number of earlier messages that a new occupant gets. */
  readonly history: number;
}

const group = ['muc_membersonly', 'muc_nonanonymous', 'muc_persistent', 'muc_unmoderated', 'muc_unsecured'];
const config = (fields: Changes): Changes =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [`muc#roomconfig_${name}`, value]));

const creations: Readonly<Record<string, Creation>> = {
  'as Dino makes the room of a group call': {
    fill: wholeForm,
    changes: config({ allowinvites: '1', persistentroom: '0', membersonly: '1', whois: 'anyone' }),
    needs: [],
    features: ['muc_membersonly', 'muc_nonanonymous', 'muc_temporary', 'muc_unmoderated', 'muc_unsecured'],
    history: 1,
  },
  'as Monal makes a group': {
    fill: (form, changes) => {
      // options that are not mandatory are set only where the form has a value
      const valued = fieldsOf(form).filter((field) => valuesOf(field).length > 0);
      const names = valued.map((field) => field.attrs.var!);
      return wholeForm(form, Object.fromEntries(Object.entries(changes).filter(([name]) => names.includes(name))));
    },
    changes: {
      ...config({ persistentroom: '1', membersonly: '1', whois: 'anyone', enablelogging: '0', changesubject: '0' }),
      ...config({ allowinvites: '0', getmemberlist: 'participant', publicroom: '0', moderatedroom: '0' }),
      'muc#maxhistoryfetch': '0',
    },
    needs: Object.keys(config({ persistentroom: '1', membersonly: '1', whois: 'anyone' })),
    features: [...group, 'muc_hidden'],
    history: 0,
  },
  'as Conversations makes a private group': {
    fill: bareForm,
    changes: {
      ...config({ persistentroom: '1', membersonly: '1', publicroom: '0', whois: 'anyone', changesubject: '0' }),
      ...config({ allowinvites: '0', enablearchiving: '1', mam: '1', roomname: 'Kith & kin' }),
    },
    needs: [],
    features: [...group, 'muc_hidden'],
    name: 'Kith & kin',
    history: 1,
  },
  'as Conversations makes a public channel': {
    fill: bareForm,
    changes: config({
      persistentroom: '1',
      membersonly: '0',
      publicroom: '1',
      whois: 'moderators',
      changesubject: '0',
    }),
    needs: [],
    features: ['muc_open', 'muc_semianonymous', 'muc_persistent', 'muc_public', 'muc_unmoderated', 'muc_unsecured'],
    history: 1,
  },
  'as Gajim makes a private group': {
    fill: wholeForm,
    changes: {
      ...config({ allowinvites: '1', allowpm: 'anyone', changesubject: '0', enablelogging: '0', membersonly: '1' }),
      ...config({ moderatedroom: '0', passwordprotectedroom: '0', persistentroom: '1', publicroom: '0' }),
      ...config({ whois: 'moderators', enablearchiving: '1', roomname: 'Kin' }),
    },
    needs: [],
    features: ['muc_membersonly', 'muc_semianonymous', 'muc_persistent', 'muc_hidden', 'muc_unmoderated'],
    name: 'Kin',
    history: 1,
  },
  'as Converse.js makes a room by its setting roomconfig': {
    fill: wholeForm,
    changes: config({ changesubject: '1', membersonly: '0', persistentroom: '1', publicroom: '1', whois: 'anyone' }),
    needs: [],
    features: ['muc_open', 'muc_nonanonymous', 'muc_persistent', 'muc_public'],
    history: 1,
  },
  'as Psi makes a room in its form': {
    fill: desktopForm,
    changes: config({ roomname: 'Cave', roomsecret: 'cauldronburn', moderatedroom: '1' }),
    needs: [],
    features: ['muc_passwordprotected', 'muc_moderated', 'muc_temporary', 'muc_open', 'muc_semianonymous'],
    name: 'Cave',
    history: 1,
  },
};

for (const [title, { fill, changes, needs, features, name, history }] of Object.entries(creations)) {
  scenario(`§10.1.3: ${title}`, async ({ actor }) => {
    const owner = await actor('owner@localhost/desktop');
    const member = await actor('member@localhost/desktop');
    const guest = await actor('guest@localhost/desktop');
    const local = title.toLowerCase().replaceAll(/[^a-z]+/g, '-');
    await owner.sends(joins(`${room(local)}/owner`));
    await owner.receives(
      `<presence from='${room(local)}/owner'><x xmlns='${NS.mucUser}'>${item('owner', 'moderator')}
        <status code='201'/><status code='110'/></x></presence>`,
    );
    await quiets(owner);
    const form = await formOf(owner, local);
    for (const needed of needs)
      assert.ok(
        fieldsOf(form).some((field) => field.attrs.var === needed),
        needed,
      );
    await submits(owner, local, fill(form, changes));
    const received = await owner.receivesAnyOrder([
      `<iq type='result' id='config'/>`,
      `<message type='groupchat'><x xmlns='${NS.mucUser}'/></message>`,
    ]);
    // Dino queries the room again if the first code is 104
    const [first] = received.flatMap((stanza) => stanza.getChild('x', NS.mucUser)?.getChildElements() ?? []);
    assert.equal(first?.attrs.code, '104');
    const info = await infoOf(guest, local);
    for (const feature of [...features, NS.mam, NS.stanzaId, NS.occupantId])
      assert.ok(info.features.includes(feature), feature);
    assert.deepEqual(info.fields.get('muc#roomconfig_roomname'), name === undefined ? undefined : [name]);
    // who may enter
    await owner.sends(`<message type='groupchat' id='m' to='${room(local)}'><body>Hail!</body></message>`);
    await quiets(owner);
    await guest.sends(joins(`${room(local)}/guest`));
    const isOpen = features.includes('muc_open');
    const isProtected = features.includes('muc_passwordprotected');
    if (!isOpen) await guest.receives(`<presence type='error'>${refusal('auth', 'registration-required')}</presence>`);
    else if (isProtected)
      await guest.receives(`<presence type='error'>${refusal('auth', 'not-authorized')}</presence>`);
    else await guest.receives(`<presence from='${room(local)}/owner'/>`);
    await quiets(guest);
    await grants(owner, local, 'member@localhost', 'member');
    await member.sends(joins(`${room(local)}/member`, isProtected ? '<password>cauldronburn</password>' : ''));
    await member.syncs();
    const stanzas = member.forgets();
    // whois
    const shown = stanzas.find(({ attrs }) => attrs.from === `${room(local)}/owner`)!;
    const { jid } = shown.getChild('x', NS.mucUser)!.getChild('item', NS.mucUser)!.attrs;
    assert.equal(jid, features.includes('muc_nonanonymous') ? 'owner@localhost/desktop' : undefined);
    const delayed = stanzas.filter((stanza) => stanza.getChild('body', NS.client) !== undefined);
    assert.equal(delayed.length, history);
    await member.sends(`<iq type='set' id='mam' to='${room(local)}'><query xmlns='${NS.mam}'/></iq>`);
    await member.receives(`<message from='${room(local)}'><result xmlns='${NS.mam}'/></message>`);
    await member.receives(`<iq type='result' id='mam'/>`);
    // Dino and Monal encrypt for the members of a group, present or not
    if (features.includes('muc_membersonly') && features.includes('muc_nonanonymous')) {
      assert.deepEqual(await listOf(member, local, 'member'), ['member@localhost']);
      assert.deepEqual(await listOf(member, local, 'owner'), ['owner@localhost']);
      assert.deepEqual(await listOf(member, local, 'admin'), []);
    }
  });
}

scenario('§7.2: Monal joins again after it has configured a room', async ({ actor }) => {
  const owner = await actor('owner@localhost/phone');
  await founds(owner, 'again', 'owner', { 'muc#roomconfig_membersonly': '1', 'muc#roomconfig_whois': 'anyone' });
  await owner.sends(joins(`${room('again')}/owner`));
  await owner.receives(
    `<presence from='${room('again')}/owner'><x xmlns='${NS.mucUser}'>
      <item affiliation='owner' role='moderator' jid='owner@localhost/phone'/>
      <status code='100'/><status code='110'/></x></presence>`,
  );
  await owner.receives(`<message type='groupchat' from='${room('again')}'><subject/></message>`);
});

scenario('§6.4: what clients read of a room', async ({ actor }) => {
  const owner = await actor('owner@localhost/desktop');
  const guest = await actor('guest@localhost/desktop');
  await founds(owner, 'info', 'owner', { 'muc#roomconfig_publicroom': '1' });
  const plain = await infoOf(guest, 'info');
  assert.equal(plain.fields.get('muc#roomconfig_roomname'), undefined);
  // Converse.js takes any value for a yes
  assert.equal(plain.fields.get('muc#roominfo_changesubject'), undefined);
  const own = ['muc#roominfo_subjectmod', 'muc#roomconfig_changesubject'];
  for (const field of own) assert.deepEqual(plain.fields.get(field), ['0']);
  const pubsub = 'xmpp:pubsub.localhost?;node=the-coven-node';
  await configures(owner, 'info', {
    'muc#roomconfig_roomname': 'A Dark Cave',
    'muc#roomconfig_changesubject': '1',
    'muc#roomconfig_lang': 'en',
    'muc#roomconfig_pubsub': pubsub,
  });
  const { fields } = await infoOf(guest, 'info');
  for (const field of [...own, 'muc#roominfo_changesubject']) assert.deepEqual(fields.get(field), ['1'], field);
  assert.deepEqual(fields.get('muc#roomconfig_roomname'), ['A Dark Cave']);
  assert.deepEqual(fields.get('muc#roominfo_lang'), ['en']);
  assert.deepEqual(fields.get('muc#roomconfig_pubsub'), [pubsub]);
  // addresses of owners are not for everybody
  assert.equal(fields.get('muc#roominfo_contactjid'), undefined);
});
