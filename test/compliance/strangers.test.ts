/** What strangers send is let in so often, held, or refused; its sender always hears of it (RFC 6120 §8.3). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { eachNode, type Peer, type ScenarioOptions, scenario } from './dialogue.js';
import { bareOf, befriends, logsInAnonymously, refusal } from './phrases.js';
import { founds, joins, service } from './rooms.js';

const strangers = (settings: object, more: object = {}): ScenarioOptions => ({
  config: { modules: { strangers: { local_users: 'strangers', ...settings } }, ...more },
  alone: true,
});
const says = (to: string, id = 'm', body = 'x') =>
  `<message id='${id}' type='chat' to='${to}'><body>${body}</body></message>`;
const asks = (to: string, id = 's') => `<presence id='${id}' type='subscribe' to='${to}'/>`;
const later = refusal('wait', 'policy-violation');
const never = refusal('cancel', 'policy-violation');
const juliets = 'juliet@localhost';
const notice = `<message from='localhost' to='${juliets}'><body>*</body></message>`;

async function isDelivered(peer: Peer, hearer: Peer, id: string): Promise<void> {
  await peer.sends(says(bareOf(hearer), id));
  await hearer.receives(`<message id='${id}' type='chat' from='${peer.jid}'/>`);
}
async function isRefused(peer: Peer, to: string, error: string): Promise<void> {
  await peer.sends(says(to, 'no'));
  await peer.receives(`<message id='no' type='error' from='${to}'>${error}</message>`);
}

scenario('by default, users of the server are known senders, and unknown senders are admitted', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  for (let count = 0; count < 100; count++) await romeo.sends(says(juliets, `m${count}`));
  for (let count = 0; count < 100; count++) await juliet.receives(`<message id='m${count}' type='chat'/>`);
});

scenario(
  'with open registration, users of the server can count as unknown senders',
  {
    config: { modules: { register: { open: true }, strangers: { messages: 'refuse', local_users: 'auto' } } },
    alone: true,
  },
  async ({ actor }) => {
    await actor('juliet@localhost/balcony', { presence: true });
    await isRefused(await actor('romeo@localhost/orchard'), juliets, never);
  },
);

const eachCounts = (settings: object, more?: object) => ({ ...strangers(settings, more), ...eachNode });

scenario('messages of one unknown sender are limited', eachCounts({ per_sender: 2 }), async ({ actor, server }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  const paris = await actor('paris@localhost/street');
  await isDelivered(romeo, juliet, '1');
  await isDelivered(romeo, juliet, '2');
  await isRefused(romeo, juliets, later);
  await isDelivered(paris, juliet, '3');
  await juliet.receivesNothing();
  const { text } = await server.metrics.text();
  assert.match(text, /waxwing_limits_hit_total\{limit="strangers\.per_sender"\} 1/);
});

scenario('messages to one account are limited', strangers({ per_receiver: 2 }), async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  await isDelivered(await actor('a@localhost/x'), juliet, '1');
  await isDelivered(await actor('b@localhost/x'), juliet, '2');
  const romeo = await actor('romeo@localhost/orchard');
  await isRefused(romeo, juliets, later);
  await isDelivered(romeo, nurse, '3');
});

const perSender = { ...strangers({ per_sender: 1 }), stays: 'each node counts a sender for itself' };
scenario('subscription requests count too, and get an error', perSender, async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const nurse = await actor('nurse@localhost/kitchen', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(asks(juliets));
  await juliet.receives(`<presence type='subscribe' from='romeo@localhost'/>`);
  await romeo.sends(asks('nurse@localhost', 's2'));
  await romeo.receives(
    `<presence id='s2' type='error' from='nurse@localhost' to='romeo@localhost'>${later}</presence>`,
  );
  for (const peer of [juliet, nurse]) await peer.receivesNothing();
});

scenario(
  'a sender in the roster is known',
  strangers({ messages: 'refuse', subscriptions: 'refuse' }),
  async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const paris = await actor('paris@localhost/street', { presence: true });
    for (const peer of [romeo, paris]) await isRefused(peer, juliets, never);
    await romeo.sends(asks(juliets));
    await romeo.receives(`<presence type='error' from='${juliets}'>${never}</presence>`);
    // Put there by its owner, whatever the subscription
    await juliet.sends(`<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='romeo@localhost'/></query></iq>`);
    await juliet.receives(`<iq type='result' id='r'/>`);
    await isDelivered(romeo, juliet, '1');
    await romeo.sends(asks(juliets));
    await juliet.receives(`<presence type='subscribe' from='romeo@localhost'/>`);
    // She sends a subscription request
    await juliet.sends(asks('paris@localhost'));
    await paris.receives(`<presence type='subscribe' from='${juliets}'/>`);
    await isDelivered(paris, juliet, '2');
    await juliet.receivesNothing();
  },
);

scenario('a pending request does not make a contact', strangers({ messages: 'refuse' }), async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(asks(juliets));
  await juliet.receives(`<presence type='subscribe'/>`);
  await isRefused(romeo, juliets, never);
});

const lasting = new MemoryStorage();
scenario(
  'a user whom one has written to is known, also after a restart',
  { ...strangers({ messages: 'refuse', allow_from: ['juliet@localhost'] }), storage: () => lasting },
  async ({ actor, stage }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    // Automatic stanzas of clients do not count as written messages
    await juliet.sends(`<message id='c' to='romeo@localhost' type='chat'><active xmlns='${NS.chatStates}'/></message>`);
    await romeo.receives(`<message id='c' type='chat'/>`);
    await isRefused(romeo, juliets, never);
    await isDelivered(juliet, romeo, '1');
    await isDelivered(romeo, juliet, '2');
    await stage.restart();
    const later = await actor('juliet@localhost/balcony', { presence: true });
    await isDelivered(await actor('romeo@localhost/orchard'), later, '3');
    await isRefused(await actor('paris@localhost/street'), juliets, never);
  },
);

scenario(
  "messages of rooms are delivered; an invitation through a room counts as the inviter's",
  strangers({ messages: 'refuse' }),
  async ({ actor, stage }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await founds(romeo, 'hall', 'romeo');
    await juliet.sends(joins(`hall@${service}/juliet`));
    await stage.settle();
    juliet.forgets();
    romeo.forgets();
    await romeo.sends(`<message id='g' type='groupchat' to='hall@${service}'><body>x</body></message>`);
    await juliet.receives(`<message id='g' type='groupchat'/>`);
    await romeo.sends(`<message id='p' type='chat' to='hall@${service}/juliet'><body>x</body></message>`);
    await juliet.receives(`<message id='p' type='chat'/>`);
    romeo.forgets();
    const invites = `<message to='hall@${service}'><x xmlns='${NS.mucUser}'><invite to='${juliets}'/></x></message>`;
    await romeo.sends(invites);
    await juliet.receivesNothing();
    await juliet.sends(`<message to='romeo@localhost' type='chat'><body>x</body></message>`);
    await stage.settle();
    juliet.forgets();
    await romeo.sends(invites);
    await juliet.receives(`<message from='hall@${service}'><x xmlns='${NS.mucUser}'><invite/></x></message>`);
  },
);

scenario(
  'rules for addresses, domains and subdomains',
  strangers({
    allow_from: ['Good.example', 'romeo@localhost'],
    refuse_from: ['localhost', '*.elsewhere.example', 'elsewhere.example'],
  }),
  async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await isDelivered(await actor('romeo@localhost/orchard'), juliet, '1');
    await isRefused(await actor('paris@localhost/street'), juliets, never);
    await isRefused(await actor('tybalt@elsewhere.example/street'), juliets, never);
  },
);

scenario('responses are not messages of unknown senders', strangers({ messages: 'refuse' }), async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(`<message id='e' type='error' to='${juliet.jid}'>${refusal('cancel', 'gone')}</message>`);
  await juliet.receives(`<message id='e' type='error'/>`);
});

scenario('new contacts are limited', strangers({ new_contacts: 3 }), async ({ actor, stage, server }) => {
  for (const name of ['a', 'b', 'c', 'd']) await stage.account(`${name}@localhost`);
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await befriends(romeo, juliet); // that is one
  await romeo.sends(says('a@localhost'));
  await romeo.sends(says('a@localhost'));
  await romeo.sends(asks('b@localhost'));
  await romeo.receivesNothing();
  await isRefused(romeo, 'c@localhost', later);
  await isRefused(romeo, 'nobody@remote.example', later);
  await romeo.sends(asks('d@localhost'));
  await romeo.receives(`<presence id='s' type='error' from='d@localhost'>${later}</presence>`);
  // contacts still receive Romeo's messages
  await isDelivered(romeo, juliet, '1');
  await romeo.sends(says('a@localhost'));
  await romeo.sends(says('b@localhost'));
  await romeo.receivesNothing();
  const { text } = await server.metrics.text();
  assert.match(text, /waxwing_limits_hit_total\{limit="strangers\.new_contacts"\} 3/);
});

scenario(
  'known users, and users who wrote first, are not new contacts',
  strangers({ new_contacts: 1, local_users: 'known' }),
  async ({ actor, stage }) => {
    for (const name of ['a', 'b']) await stage.account(`${name}@localhost`);
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    for (const to of ['a@localhost', 'b@localhost', 'nobody@remote.example']) await romeo.sends(says(to));
    await romeo.receives(`<message type='error' from='nobody@remote.example'/>`);
    await isRefused(romeo, 'somebody@remote.example', later);
  },
);
scenario('a reply does not make a new contact', strangers({ new_contacts: 1 }), async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const others = await Promise.all(['a', 'b', 'c'].map((name) => actor(`${name}@localhost/x`, { presence: true })));
  for (const other of others.slice(0, 2)) {
    await isDelivered(other, romeo, '1');
    await isDelivered(romeo, other, '2');
  }
  await isDelivered(romeo, others[2]!, '3');
  await isRefused(romeo, 'nobody@remote.example', later);
});

scenario(
  'address lists (XEP-0033) do not circumvent the limit',
  strangers({ new_contacts: 2 }),
  async ({ actor, stage }) => {
    const names = ['a', 'b', 'c'];
    for (const name of names) await stage.account(`${name}@localhost`);
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const addresses = names.map((name) => `<address type='bcc' jid='${name}@localhost'/>`).join('');
    await romeo.sends(
      `<message to='localhost' id='m'><addresses xmlns='${NS.addresses}'>${addresses}</addresses><body>x</body></message>`,
    );
    await romeo.receives(
      `<message id='m' type='error' from='c@localhost'>${refusal('modify', 'not-acceptable')}</message>`,
    );
    await romeo.receivesNothing();
  },
);

scenario('neither do rooms, which forward invitations', strangers({ new_contacts: 1 }), async ({ actor, stage }) => {
  for (const name of ['a', 'b']) await stage.account(`${name}@localhost`);
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await founds(romeo, 'hall', 'romeo');
  const invites = (to: string) =>
    `<message id='i' to='hall@${service}'><x xmlns='${NS.mucUser}'><invite to='${to}'/></x></message>`;
  await romeo.sends(invites('a@localhost'));
  await romeo.receivesNothing();
  await romeo.sends(invites('b@localhost'));
  await romeo.receives(`<message id='i' type='error' from='hall@${service}'>${later}</message>`);
});

for (const messages of ['limit', 'hold'])
  scenario(
    `typing notifications of unknown senders are not messages (${messages})`,
    strangers({ messages, per_sender: 1 }),
    async ({ actor }) => {
      const juliet = await actor('juliet@localhost/balcony', { presence: true });
      const romeo = await actor('romeo@localhost/orchard');
      for (let count = 0; count < 3; count++)
        await romeo.sends(`<message type='chat' to='${juliets}'><composing xmlns='${NS.chatStates}'/></message>`);
      await juliet.receivesNothing();
      await romeo.receivesNothing();
      await romeo.sends(says(juliets));
      await juliet.receives(messages === 'hold' ? notice : `<message type='chat'/>`);
    },
  );

scenario(
  'XEP-0175: anonymous accounts are unknown senders, and count together',
  eachCounts(
    { local_users: 'known', per_domain: 1 },
    { auth: { anonymous: true, scram_iterations: 4096, password_min_length: 4 } },
  ),
  async ({ actor, connect }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await isDelivered(await logsInAnonymously(connect), juliet, '1');
    await isRefused(await logsInAnonymously(connect), juliets, later);
    await isDelivered(await actor('romeo@localhost/orchard'), juliet, '2');
  },
);

// --- held -------------------------------------------------------------------------------------------------------

for (const [how, turns] of [
  [
    'adds romeo to her contacts',
    `<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='romeo@localhost'/></query></iq>`,
  ],
  ['writes to romeo', says('romeo@localhost', 'hi')],
] as const)
  scenario(`held until the recipient ${how}`, strangers({ messages: 'hold' }), async ({ actor, stage }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(says(juliets, '1'));
    const reported = await juliet.receives(notice);
    assert.match(reported.getChildText('body') ?? '', /^romeo@localhost has written to you/);
    await romeo.sends(says(juliets, '2'));
    await juliet.receivesNothing();
    await romeo.receivesNothing();
    await juliet.sends(turns);
    await stage.settle();
    const [first, second] = juliet.forgets().filter(({ name }) => name === 'message');
    assert.deepEqual([first?.attrs.id, second?.attrs.id], ['1', '2']);
    assert.equal(first?.getChild('delay', NS.delay)?.attrs.from, 'localhost');
    await isDelivered(romeo, juliet, '3');
  });

scenario(
  'a held message that is requested twice at once is delivered once',
  strangers({ messages: 'hold' }),
  async ({ actor, stage }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    for (const id of ['1', '2']) await romeo.sends(says(juliets, id));
    await juliet.receives(notice);
    await juliet.sends(
      `${says('romeo@localhost', 'hi')}<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='romeo@localhost'/></query></iq>${asks('romeo@localhost')}`,
    );
    await stage.settle();
    const received = juliet.forgets().filter(({ name, attrs }) => name === 'message' && attrs.type === 'chat');
    assert.deepEqual(
      received.map(({ attrs }) => attrs.id),
      ['1', '2'],
    );
  },
);

scenario(
  'a held message of a blocked sender is returned',
  strangers({ messages: 'hold' }),
  async ({ actor, stage }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await romeo.sends(says(juliets, '1', 'Buy gold'));
    await juliet.receives(notice);
    await juliet.sends(
      `<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='romeo@localhost'/></block></iq>`,
    );
    await juliet.receives(`<iq type='result' id='b'/>`);
    await stage.settle();
    await romeo.receives(`<message id='1' type='error' from='${juliets}'><body>Buy gold</body>${never}</message>`);
    await juliet.receivesNothing();
  },
);

scenario(
  'held messages of a deleted account are returned',
  strangers({ messages: 'hold' }),
  async ({ actor, server }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await romeo.sends(says(juliets, '1'));
    await juliet.receives(notice);
    await server.accounts.remove(juliets);
    await romeo.receives(`<message id='1' type='error' from='${juliets}'>${never}</message>`);
  },
);

scenario('held messages are limited', strangers({ messages: 'hold', held: 2 }), async ({ actor, stage }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const id of ['1', '2']) await romeo.sends(says(juliets, id));
  await juliet.receives(notice);
  await isRefused(romeo, juliets, later);
  await stage.settle();
  await juliet.receivesNothing();
});
