/**
 * Nothing created by an unknown or blocked sender reaches a user who did not ask for it, in whatever form and through
 * whichever service it is sent. Each form is also sent by a known sender, to show that it would arrive
 * (docs/decisions/0008-consent.md).
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type ScenarioOptions, type Scene, scenario } from './dialogue.js';
import { create, owner, publish, pubsub } from './pubsub.js';
import { configuration, configures, enters, founds, joins, quiets, service } from './rooms.js';

const mark = 'Buy-gold';
const body = `<body>${mark}</body>`;
const store = 'pubsub.localhost';
const juliets = 'juliet@localhost';
const hall = `hall@${service}`;
const den = `den@${service}`;

interface Cast {
  readonly juliet: Peer;
  readonly romeo: Peer;
  /** Has the same relation to juliet as romeo. */
  readonly tybalt: Peer;
}

interface Form {
  readonly title: string;
  send(cast: Cast): Promise<void>;
  /** Whether a user who knows the sender gets it. Default: yes. */
  readonly known?: false;
  /** Whether the user gets it from an unknown sender, because she asked for it by joining a room or subscribing. */
  readonly asked?: true;
}

const sent = (title: string, xml: (to: string) => string, more: Partial<Form> = {}): Form => ({
  title,
  send: async ({ romeo, juliet }) => romeo.sends(xml(juliet.jid)),
  ...more,
});
const toBare = (title: string, xml: (to: string) => string, more: Partial<Form> = {}): Form =>
  sent(`${title} to the account`, () => xml(juliets), more);

const message = (type: string, inside: string) => (to: string) =>
  `<message type='${type}' to='${to}'>${inside}</message>`;
const presence = (type: string, inside: string) => (to: string) =>
  `<presence${type === '' ? '' : ` type='${type}'`} to='${to}'>${inside}</presence>`;
const iq = (type: string, inside: string) => (to: string) => `<iq type='${type}' id='q' to='${to}'>${inside}</iq>`;
const text = `<status>${mark}</status><nick xmlns='http://jabber.org/protocol/nick'>${mark}</nick>`;
const gone = `<error type='cancel'><gone xmlns='${NS.stanzas}'>${mark}</gone><text xmlns='${NS.stanzas}'>${mark}</text></error>`;
const multicast = (to: string) => `<addresses xmlns='${NS.addresses}'><address type='bcc' jid='${to}'/></addresses>`;
const admin = (room: string, affiliation: string) => `<iq type='set' id='a' to='${room}'><query xmlns='${NS.mucAdmin}'>
  <item affiliation='${affiliation}' jid='${juliets}'><reason>${mark}</reason></item></query></iq>`;
const subscribes = (node: string) =>
  owner(
    'set',
    `<subscriptions node='${node}'><subscription jid='${juliets}' subscription='subscribed'/></subscriptions>`,
    store,
  );

const forms: readonly Form[] = [
  ...['chat', 'normal', 'headline'].flatMap((type) => [
    sent(`a ${type} message`, message(type, `<subject>${mark}</subject>${body}`)),
    toBare(`a ${type} message`, message(type, body)),
  ]),
  sent('a groupchat message', message('groupchat', body)),
  sent('a subject', message('groupchat', `<subject>${mark}</subject>`)),
  sent('an error', message('error', `${body}${gone}`)),
  sent('a message without a body', message('chat', `<x xmlns='urn:example:shown'>${mark}</x>`)),
  sent('a direct invitation', message('normal', `<x xmlns='${NS.conference}' jid='${hall}' reason='${mark}'/>`)),
  sent(
    'a forged invitation of a room',
    message('normal', `<x xmlns='${NS.mucUser}'><invite from='nurse@localhost'><reason>${mark}</reason></invite></x>`),
  ),
  sent('a call', message('chat', `<propose xmlns='${NS.jingleMessage}' id='${mark}'/>`)),
  sent('attention', message('headline', `<attention xmlns='urn:xmpp:attention:0'>${mark}</attention>`)),
  sent('a forged event', message('headline', `<event xmlns='${NS.pubsubEvent}'><items node='${mark}'/></event>`)),
  ...[sent, toBare].flatMap((form) => [
    form('presence with text', presence('', text)),
    form('unavailable presence with text', presence('unavailable', text)),
    form('a presence error', presence('error', `${text}${gone}`)),
    form('an unsubscription', presence('unsubscribe', text), { known: false }),
    form('an unsolicited approval', presence('subscribed', text), { known: false }),
  ]),
  toBare('a subscription request', presence('subscribe', text)),
  sent('an IQ get', iq('get', `<query xmlns='jabber:iq:version'><name>${mark}</name></query>`)),
  sent('a file', iq('set', `<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='${mark}'/>`)),
  sent('an IQ result', iq('result', `<query xmlns='urn:example:shown'>${mark}</query>`)),
  sent('an IQ error', iq('error', gone)),
  {
    title: 'a multicast',
    send: ({ romeo, juliet }) =>
      romeo.sends(`<message to='localhost' type='chat'>${multicast(juliet.jid)}${body}</message>`),
  },
  {
    title: 'multicast presence',
    send: ({ romeo }) => romeo.sends(`<presence to='localhost'>${multicast(juliets)}${text}</presence>`),
  },
  {
    title: 'an invitation by a room',
    send: ({ romeo }) =>
      romeo.sends(
        `<message to='${den}'><x xmlns='${NS.mucUser}'><invite to='${juliets}'><reason>${mark}</reason></invite></x></message>`,
      ),
  },
  {
    title: 'affiliations with a reason, repeatedly',
    send: async ({ romeo }) => {
      for (let count = 0; count < 20; count++) await romeo.sends(admin(den, count % 2 === 0 ? 'member' : 'none'));
    },
  },
  {
    title: 'membership of a members-only room, repeatedly',
    known: false,
    send: async ({ romeo }) => {
      await romeo.sends(configuration('den', { 'muc#roomconfig_membersonly': '1' }));
      for (let count = 0; count < 20; count++) await romeo.sends(admin(den, count % 2 === 0 ? 'member' : 'none'));
    },
  },
  {
    title: 'a mention in a room that she has not joined',
    send: async ({ romeo }) => {
      await romeo.sends(admin(den, 'member').replace(/<reason>.*<.reason>/, ''));
      await romeo.sends(
        `<message type='groupchat' to='${den}'>${body}<reference xmlns='${NS.reference}' type='mention' uri='xmpp:${juliets}'/></message>`,
      );
    },
  },
  {
    title: 'a registration in a room that she was made an owner of',
    send: async ({ romeo, tybalt }) => {
      await romeo.sends(admin('gate@conference.localhost', 'owner').replace(/<reason>.*<.reason>/, ''));
      await romeo.syncs();
      await tybalt.sends(`<iq type='set' id='r' to='gate@${service}'><query xmlns='${NS.register}'>
        <x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.mucRegister}</value></field>
        <field var='muc#register_roomnick'><value>${mark}</value></field></x></query></iq>`);
    },
  },
  {
    title: 'a private message in a room',
    asked: true,
    send: ({ romeo }) => romeo.sends(`<message type='chat' to='${hall}/juliet'>${body}</message>`),
  },
  {
    title: 'an IQ through a room',
    asked: true,
    send: ({ romeo }) => romeo.sends(iq('get', `<query xmlns='urn:example:shown'>${mark}</query>`)(`${hall}/juliet`)),
  },
  {
    title: 'a request for voice in a room that she moderates',
    asked: true,
    send: async ({ romeo, juliet, tybalt }) => {
      await romeo.sends(admin(hall, 'admin').replace(/<reason>.*<.reason>/, ''));
      await romeo.sends(configuration('hall', { 'muc#roomconfig_moderatedroom': '1' }));
      await romeo.syncs();
      await tybalt.sends(joins(`${hall}/${mark}`));
      await tybalt.syncs();
      await juliet.syncs();
      juliet.forgets();
      await tybalt.sends(`<message to='${hall}'><x xmlns='${NS.dataForms}' type='submit'>
        <field var='FORM_TYPE'><value>${NS.mucRequest}</value></field>
        <field var='muc#role'><value>participant</value></field></x></message>`);
    },
  },
  {
    title: 'events of a node to which an owner subscribed her, after she subscribed herself',
    send: async ({ romeo }) => {
      await romeo.sends(subscribes(`${mark}-1`));
      await romeo.sends(publish(`${mark}-1`, 'a', mark, { to: store }));
      await romeo.sends(owner('set', `<purge node='${mark}-1'/>`, store));
      await romeo.sends(owner('set', `<delete node='${mark}-1'/>`, store));
    },
  },
  {
    title: 'events of a node to which its owner subscribed her',
    send: async ({ romeo }) => {
      await romeo.sends(create(mark, { access_model: 'open' }));
      await romeo.sends(subscribes(mark).replace(` to='${store}'`, ''));
      await romeo.sends(publish(mark, 'a', mark));
    },
  },
  {
    title: 'events of a node to which she subscribed',
    asked: true,
    send: async ({ romeo, juliet }) => {
      await juliet.sends(pubsub('set', `<subscribe node='${mark}-2' jid='${juliets}'/>`, store));
      await juliet.syncs();
      juliet.forgets();
      await romeo.sends(publish(`${mark}-2`, 'a', mark, { to: store }));
    },
  },
  {
    title: 'a subscription request for a node that she was made an owner of',
    send: async ({ romeo, tybalt }) => {
      await romeo.sends(
        owner(
          'set',
          `<affiliations node='${mark}-3'><affiliation jid='${juliets}' affiliation='owner'/></affiliations>`,
          store,
        ),
      );
      await romeo.syncs();
      await tybalt.sends(pubsub('set', `<subscribe node='${mark}-3' jid='tybalt@localhost'/>`, store));
    },
  },
  {
    title: 'a report',
    known: false,
    send: ({ romeo }) =>
      romeo.sends(
        `<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${juliets}'><report xmlns='${NS.reporting}' reason='urn:xmpp:reporting:spam'><text>${mark}</text></report></item></block></iq>`,
      ),
  },
  {
    title: 'an announcement to all users',
    known: false,
    send: ({ romeo }) =>
      romeo.sends(
        `<iq type='set' id='c' to='localhost'><command xmlns='${NS.commands}' node='http://jabber.org/protocol/admin#announce' action='execute'><x xmlns='${NS.dataForms}' type='submit'><field var='announcement'><value>${mark}</value></field></x></command></iq>`,
      ),
  },
];

const shownIn = [
  `<status>${mark}</status>`,
  `<show>${mark}</show>`,
  `<x xmlns='urn:example:shown'>${mark}</x>`,
  `<c xmlns='${NS.caps}' hash='sha-1' node='n' ver='v'>${mark}</c>`,
];
/** Rooms and nodes of romeo's; the three are there, and juliet has done nothing but enter the hall. */
async function cast({ actor }: Scene): Promise<Cast> {
  const juliet = await actor(`${juliets}/balcony`, { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const tybalt = await actor('tybalt@localhost/street', { presence: true });
  await founds(romeo, 'hall', 'romeo');
  await enters(juliet, 'hall', 'juliet');
  await founds(romeo, 'den', 'romeo', { 'muc#roomconfig_forwardmentions': '1' });
  await founds(romeo, 'gate', 'romeo');
  await configures(romeo, 'gate', { 'muc#roomconfig_registration_approval': '1' });
  for (const [node, options] of [
    [`${mark}-1`, { notify_retract: '1', notify_delete: '1' }],
    [`${mark}-2`, {}],
    [`${mark}-3`, { access_model: 'authorize' }],
  ] as const)
    await romeo.sends(create(node, options, store));
  await quiets(romeo, juliet, tybalt);
  return { juliet, romeo, tybalt };
}

const roster = (jid: string) => `<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='${jid}'/></query></iq>`;

/** Sets up the relation of the two senders to her; the rest of the scene is the same. */
const relations: Readonly<Record<'known' | 'stranger' | 'blocked', (juliet: Peer) => Promise<void>>> = {
  known: async (juliet) => {
    for (const jid of ['romeo@localhost', 'tybalt@localhost']) await juliet.sends(roster(jid));
  },
  stranger: async () => {},
  blocked: (juliet) =>
    juliet.sends(
      `<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='romeo@localhost'/><item jid='tybalt@localhost'/></block></iq>`,
    ),
};

async function appears(scene: Scene, form: Form, relation: keyof typeof relations): Promise<readonly string[]> {
  const all = await cast(scene);
  await relations[relation](all.juliet);
  await scene.stage.settle();
  for (const peer of Object.values(all)) peer.forgets();
  await form.send(all);
  await scene.stage.settle();
  return all.juliet.forgets().map(String);
}

const where = (settings: object): ScenarioOptions => ({
  config: {
    modules: {
      strangers: { local_users: 'strangers', ...settings },
      muc: { creations_per_hour: 'unlimited', presences_per_minute: 'unlimited' },
      pubsub: { creations_per_hour: 'unlimited', changes_per_minute: 'unlimited' },
    },
  },
});

for (const form of forms) {
  scenario(`${form.title}, from a known sender`, where({ messages: 'refuse' }), async (scene) => {
    const shown = (await appears(scene, form, 'known')).join('\n').includes(mark);
    assert.equal(shown, form.known !== false);
  });
  for (const messages of ['refuse', 'hold'])
    scenario(`${form.title}, from an unknown sender (${messages})`, where({ messages }), async (scene) => {
      const got = await appears(scene, form, 'stranger');
      assert.equal(got.join('\n').includes(mark), form.asked === true, got.join('\n'));
    });
  scenario(`${form.title}, from a blocked sender`, where({ messages: 'allow' }), async (scene) => {
    assert.deepEqual(await appears(scene, form, 'blocked'), []);
  });
}

scenario(
  'presence of an unknown sender with visible content counts as a message',
  { ...where({ messages: 'limit', per_sender: 1 }), alone: true, stays: 'each node counts a sender for itself' },
  async ({ actor }) => {
    const juliet = await actor(`${juliets}/balcony`, { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await romeo.sends(message('chat', body)(juliets));
    await juliet.receives(`<message type='chat'/>`);
    for (const inside of shownIn) await romeo.sends(presence('', inside)(juliet.jid));
    await juliet.receivesNothing();
    await romeo.sends(
      presence('', `<show>away</show><c xmlns='${NS.caps}' hash='sha-1' node='n' ver='v'/>`)(juliet.jid),
    );
    await juliet.receives(`<presence><show>away</show></presence>`);
  },
);

for (const isForMembers of [false, true])
  scenario(`§9: changes of an affiliation are limited (${isForMembers})`, async ({ actor }) => {
    const juliet = await actor(`${juliets}/balcony`, { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const room = isForMembers ? 'cell' : 'den';
    await founds(romeo, room, 'romeo', isForMembers ? { 'muc#roomconfig_membersonly': '1' } : {});
    for (let count = 0; count < 50; count++)
      await romeo.sends(admin(`${room}@${service}`, count % 2 === 0 ? 'member' : 'none'));
    await quiets(romeo);
    await juliet.syncs();
    const received = juliet.forgets().map(String);
    assert.equal(received.length, 5);
    assert.doesNotMatch(received.join('\n'), new RegExp(mark));
  });

scenario(
  'refusing unknown senders affects neither administrators nor responses',
  { ...where({ messages: 'refuse' }), alone: true },
  async ({ actor, server }) => {
    const juliet = await actor(`${juliets}/balcony`, { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await juliet.sends(`<iq type='get' id='v' to='${romeo.jid}'><query xmlns='jabber:iq:version'/></iq>`);
    // Romeo is not her contact
    await juliet.receives(`<iq type='error' id='v' from='${romeo.jid}'/>`);
    await romeo.sends(`<presence to='${juliets}'/>`);
    await romeo.syncs();
    await juliet.sends(`<iq type='get' id='v' to='${romeo.jid}'><query xmlns='jabber:iq:version'/></iq>`);
    await romeo.receives(`<iq type='get' id='v'/>`);
    for (let count = 0; count < 2; count++)
      await romeo.sends(`<iq type='result' id='v' to='${juliet.jid}'><query xmlns='jabber:iq:version'/></iq>`);
    await juliet.receives(`<iq type='result' id='v'/>`);
    await juliet.receivesNothing();
    await server.accounts.setRole('romeo@localhost', 'admin');
    await romeo.sends(message('chat', body)(juliets));
    await juliet.receives(`<message type='chat'/>`);
  },
);
