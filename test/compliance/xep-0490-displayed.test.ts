/** XEP-0490: Message Displayed Synchronization, and what XEP-0430 makes of it. */
import { NS } from '../../src/server/stanza/ns.js';
import { appears } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { bareOf } from './phrases.js';
import { create, error, event, type Options, pubsub, result, submitted } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';

const state = (id: string, by = romeo): string =>
  `<displayed xmlns='${NS.displayed}'><stanza-id xmlns='${NS.stanzaId}' by='${by}' id='${id}'/></displayed>`;
const options: Options = {
  persist_items: 'true',
  max_items: 'max',
  send_last_published_item: 'never',
  access_model: 'whitelist',
};
const publish = (peer: string, id: string, by?: string): string =>
  pubsub(
    'set',
    `<publish node='${NS.displayed}'><item id='${peer}'>${state(id, by)}</item></publish><publish-options>${submitted('publish-options', options)}</publish-options>`,
  );
const reported = (to: string, peer: string, payload: string): string =>
  event(romeo, to, `<items node='${NS.displayed}'><item id='${peer}'>${payload}</item></items>`);

const enableCarbons = async (peer: Peer): Promise<void> => {
  await peer.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
  await peer.receives(`<iq type='result' id='c'/>`);
};

scenario('§4.5.2: assistance is announced', async ({ actor }) => {
  const peer = await actor(`${romeo}/orchard`);
  await peer.sends(`<iq type='get' id='d' to='${romeo}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await peer.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='urn:xmpp:mds:server-assist:0'/></query></iq>`,
  );
});

scenario('§4.2 to §4.4: published, sent to other clients, and read by later ones', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  await appears(garden, `${NS.displayed}+notify`);
  for (const [peer, id] of [
    [juliet, 'a'],
    ['room@conference.localhost', 'b'],
    [juliet, 'c'],
  ] as const) {
    await orchard.sends(publish(peer, id));
    await orchard.receives(result());
    await garden.receives(reported(`${romeo}/garden`, peer, state(id)));
  }
  const attic = await actor(`${romeo}/attic`);
  await attic.sends(pubsub('get', `<items node='${NS.displayed}'/>`));
  await attic.receives(
    result(
      `<items node='${NS.displayed}'><item id='room@conference.localhost'>${state('b')}</item><item id='${juliet}'>${state('c')}</item></items>`,
    ),
  );
  const balcony = await actor(`${juliet}/balcony`);
  await balcony.sends(pubsub('get', `<items node='${NS.displayed}'/>`, romeo));
  await balcony.receives(error('cancel', 'not-allowed', 'closed-node'));
});

scenario('§4.5.3, §5.2: a marker inside a message is published, and visible to nobody else', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  await appears(garden, `${NS.displayed}+notify`);
  await enableCarbons(garden);
  const marker = `<displayed xmlns='${NS.markers}' id='m1'/>`;
  await orchard.sends(`<message to='${juliet}' type='chat' id='x'>${marker}${state('id1')}</message>`);
  const archived = (by: string): string => `<stanza-id xmlns='${NS.stanzaId}' by='${by}' id='*'/>`;
  const sent = (id: string): string =>
    `<message type='chat' from='${romeo}' to='${romeo}/garden'><sent xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'><message xmlns='jabber:client' to='${juliet}' from='${romeo}/orchard' type='chat' id='${id}'>${marker}${archived(romeo)}</message></forwarded></sent></message>`;
  const received = (id: string): string =>
    `<message from='${romeo}/orchard' to='${juliet}' type='chat' id='${id}'>${marker}${archived(juliet)}</message>`;
  await garden.receivesAnyOrder([reported(`${romeo}/garden`, juliet, state('id1')), sent('x')]);
  await balcony.receives(received('x'), { exactly: true });
  // The archives have nothing of it
  for (const peer of [orchard, balcony]) {
    await peer.sends(`<iq type='set' id='q'><query xmlns='${NS.mam}'/></iq>`);
    await peer.receives(
      `<message from='${bareOf(peer)}' to='${peer.jid}'><result xmlns='${NS.mam}' id='*'><forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}' stamp='*'/><message xmlns='jabber:client' to='${juliet}' from='${romeo}/orchard' type='chat' id='x'>${marker}</message></forwarded></result></message>`,
      { exactly: true },
    );
    await peer.receives(`<iq type='result' id='q'/>`);
  }
  // An invalid state is not published, but removed all the same
  await orchard.sends(
    `<message to='${juliet}' type='chat' id='y'>${marker}<displayed xmlns='${NS.displayed}'/></message>`,
  );
  await balcony.receives(received('y'), { exactly: true });
  await garden.receives(sent('y'), { exactly: true });
  await garden.receivesNothing();
});

scenario('§5.2, §7: the node is private, whoever created it', async ({ actor }) => {
  const balcony = await actor(`${juliet}/balcony`);
  const orchard = await actor(`${romeo}/orchard`);
  const marker = `<displayed xmlns='${NS.markers}' id='m1'/>`;
  await orchard.sends(create(NS.displayed, { access_model: 'open' }));
  await orchard.receives(result());
  await orchard.sends(`<message to='${juliet}' type='chat'>${marker}${state('id1')}</message>`);
  await orchard.syncs();
  await balcony.sends(pubsub('get', `<items node='${NS.displayed}'/>`, romeo));
  await balcony.receives(error('cancel', 'not-allowed', 'closed-node'));
  await orchard.sends(pubsub('get', `<items node='${NS.displayed}'/>`));
  await orchard.receives(result(`<items node='${NS.displayed}'><item id='${juliet}'>${state('id1')}</item></items>`));
});

scenario(
  '§4.5.3: if the node is full, the message is delivered anyway',
  { config: { modules: { pubsub: { items_per_account: 10 } } } },
  async ({ actor }) => {
    const balcony = await actor(`${juliet}/balcony`, { presence: true });
    const orchard = await actor(`${romeo}/orchard`);
    for (let n = 0; n < 10; n++) {
      await orchard.sends(publish(`c${n}@localhost`, 'a'));
      await orchard.receives(result());
    }
    const marker = `<displayed xmlns='${NS.markers}' id='m1'/>`;
    await orchard.sends(`<message to='${juliet}' type='chat'>${marker}${state('id1')}</message>`);
    await balcony.receives(`<message from='${romeo}/orchard' to='${juliet}' type='chat'>${marker}</message>`);
    await orchard.receivesNothing();
  },
);

scenario('XEP-0430: the inbox counts by displayed markers', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`);
  const nurse = await actor('nurse@localhost/house');
  const counts = async (...unread: readonly (readonly [who: string, unread: number])[]): Promise<void> => {
    await orchard.sends(`<iq type='get' id='i'><inbox xmlns='${NS.inbox}' messages='false'/></iq>`);
    for (const [who, number] of unread)
      await orchard.receives(`<message><entry xmlns='${NS.inbox}' jid='${who}' unread='${number}' id='*'/></message>`);
    await orchard.receives(`<iq type='result' id='i'/>`);
  };
  for (const n of [1, 2, 3]) {
    await balcony.sends(`<message to='${romeo}' type='chat' id='m${n}'><body>${n}</body></message>`);
    await orchard.receives(
      `<message from='${juliet}/balcony' type='chat' id='m${n}'><stanza-id xmlns='${NS.stanzaId}' by='${romeo}' id='{entry${n}}'/></message>`,
    );
  }
  await nurse.sends(`<message to='${romeo}' type='chat' id='n'><body>n</body></message>`);
  await orchard.receives(`<message from='nurse@localhost/house' type='chat' id='n'/>`);
  await counts(['nurse@localhost', 1], [juliet, 3]);
  await orchard.sends(publish(juliet, '{entry2}'));
  await orchard.receives(result());
  await counts(['nurse@localhost', 1], [juliet, 1]);
  // From another conversation, from another sender, or for a missing message: ignored
  for (const [peer, id, by] of [
    ['nurse@localhost', '{entry3}', romeo],
    [juliet, '{entry3}', juliet],
    [juliet, 'zzzzzzzzzzzzzzzz', romeo],
    [juliet, '{entry1}', romeo],
  ] as const) {
    await orchard.sends(publish(peer, id, by));
    await orchard.receives(result());
    await counts(['nurse@localhost', 1], [juliet, 1]);
  }
  await orchard.sends(
    `<message to='${juliet}' type='chat'><displayed xmlns='${NS.markers}' id='nope'/>${state('{entry3}')}</message>`,
  );
  await orchard.syncs();
  await counts([juliet, 0], ['nurse@localhost', 1]);
});
