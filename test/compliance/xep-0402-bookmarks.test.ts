/** XEP-0402: PEP Native Bookmarks, one with those of XEP-0048 in both of their homes, and XEP-0411. */
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { appears } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { configure, create, error, event, type Options, owner, pubsub, result, submitted } from './pubsub.js';

const romeo = 'romeo@localhost';
const room = 'theplay@conference.localhost';
const other = 'orchard@conference.localhost';

/** §3.3, as clients send them. */
const options: Options = {
  persist_items: 'true',
  max_items: 'max',
  send_last_published_item: 'never',
  access_model: 'whitelist',
};

const conference = (inner = '', attributes = `name='The Play' autojoin='true'`): string =>
  `<conference xmlns='${NS.bookmarks}' ${attributes}>${inner}</conference>`;

const publish = (id: string, payload: string, publishOptions: Options | null = options): string =>
  pubsub(
    'set',
    `<publish node='${NS.bookmarks}'><item id='${id}'>${payload}</item></publish>${
      publishOptions === null
        ? ''
        : `<publish-options>${submitted('publish-options', publishOptions)}</publish-options>`
    }`,
  );
const retract = (id: string): string =>
  pubsub('set', `<retract node='${NS.bookmarks}' notify='true'><item id='${id}'/></retract>`);

const storage = (inner: string): string => `<storage xmlns='${NS.bookmarksPrivate}'>${inner}</storage>`;
const publishStorage = (inner: string): string =>
  pubsub('set', `<publish node='${NS.bookmarksPrivate}'><item id='current'>${storage(inner)}</item></publish>`);
const setPrivate = (inner: string): string =>
  `<iq type='set' id='s'><query xmlns='${NS.private}'>${inner}</query></iq>`;

/** The complete bookmarks in all three forms. */
async function finds(peer: Peer, items: Readonly<Record<string, string>>, list: string): Promise<void> {
  await peer.sends(pubsub('get', `<items node='${NS.bookmarks}'/>`));
  const inner = Object.entries(items).map(([id, payload]) => `<item id='${id}'>${payload}</item>`);
  await peer.receives(
    withAddress(
      peer,
      'p',
      `<pubsub xmlns='${NS.pubsub}'><items node='${NS.bookmarks}'>${inner.join('')}</items></pubsub>`,
    ),
    {
      exactly: true,
    },
  );
  await peer.sends(pubsub('get', `<items node='${NS.bookmarksPrivate}'/>`));
  await peer.receives(
    withAddress(
      peer,
      'p',
      `<pubsub xmlns='${NS.pubsub}'><items node='${NS.bookmarksPrivate}'><item id='current'>${storage(list)}</item></items></pubsub>`,
    ),
    { exactly: true },
  );
  await peer.sends(
    `<iq type='get' id='g'><query xmlns='${NS.private}'><storage xmlns='${NS.bookmarksPrivate}'/></query></iq>`,
  );
  await peer.receives(withAddress(peer, 'g', `<query xmlns='${NS.private}'>${storage(list)}</query>`), {
    exactly: true,
  });
}

const withAddress = (peer: Peer, id: string, inner: string): string =>
  `<iq type='result' id='${id}' to='${peer.jid}'>${inner}</iq>`;

// --- XEP-0402 -------------------------------------------------------------------------------------------------------

scenario('§6: the unified forms are announced', async ({ actor }) => {
  const peer = await actor(`${romeo}/orchard`);
  await peer.sends(`<iq type='get' id='d' to='${romeo}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await peer.receives(`<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.bookmarks}#compat'/>
    <feature var='${NS.bookmarks}#compat-pep'/><feature var='urn:xmpp:bookmarks-conversion:0'/></query></iq>`);
});

scenario('§3.3: the node has the configuration that clients request, requested or not', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish(room, conference(), null));
  await orchard.receives(result());
  await orchard.sends(publish(room, conference()));
  await orchard.receives(result());
  // Made before anything is published
  await orchard.sends(owner('set', `<delete node='${NS.bookmarks}'/>`));
  await orchard.receives(result());
  await orchard.sends(create(NS.bookmarks, undefined));
  await orchard.receives(result());
  await orchard.sends(publish(room, conference()));
  await orchard.receives(result());
  // Contacts see nothing of it
  const juliet = await actor('juliet@localhost/balcony');
  for (const node of [NS.bookmarks, NS.bookmarksPrivate]) {
    await juliet.sends(pubsub('get', `<items node='${node}'/>`, romeo));
    await juliet.receives(error('cancel', 'not-allowed', 'closed-node'));
  }
});

scenario('§3, §4: bookmarks are added, changed and removed, and other clients are notified', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  await appears(garden, `${NS.bookmarks}+notify`);
  for (const payload of [conference('<nick>JC</nick>'), conference('<nick>Romeo</nick>'), conference('', '')]) {
    await orchard.sends(publish(room, payload));
    await orchard.receives(result());
    await garden.receives(
      event(romeo, `${romeo}/garden`, `<items node='${NS.bookmarks}'><item id='${room}'>${payload}</item></items>`),
    );
  }
  await orchard.sends(retract(room));
  await orchard.receives(result());
  await garden.receives(
    event(romeo, `${romeo}/garden`, `<items node='${NS.bookmarks}'><retract id='${room}'/></items>`),
  );
});

scenario('§2: an invalid bookmark is refused', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish(room, conference('<nick>JC</nick>')));
  await orchard.receives(result());
  const refused: readonly (readonly [id: string, payload: string])[] = [
    [room, `<conference xmlns='${NS.bookmarksPrivate}' jid='${room}'/>`],
    [room, storage('')],
    [room, `<x xmlns='${NS.bookmarks}'/>`],
    [room, conference('', `autojoin='perhaps'`)],
    [room, conference('<nick>a</nick><nick>b</nick>')],
    [room, conference('<extensions/><extensions/>')],
    ['@', conference()],
    [`${room}/nick`, conference()],
    ['a b@conference.localhost', conference()],
  ];
  for (const [id, payload] of refused) {
    await orchard.sends(publish(id, payload));
    await orchard.receives(error('modify', 'bad-request', 'invalid-payload'));
  }
  // The list of the older form
  for (const payload of [conference(), `<storage xmlns='${NS.bookmarks}'/>`, `<x xmlns='${NS.bookmarksPrivate}'/>`]) {
    await orchard.sends(
      pubsub('set', `<publish node='${NS.bookmarksPrivate}'><item id='current'>${payload}</item></publish>`),
    );
    await orchard.receives(error('modify', 'bad-request', 'invalid-payload'));
  }
  await orchard.sends(setPrivate(storage('') + storage('')));
  await orchard.receives(`<iq type='error' id='s'>${refusal('modify', 'bad-request')}</iq>`);
  await finds(
    orchard,
    { [room]: conference('<nick>JC</nick>') },
    `<conference jid='${room}' name='The Play' autojoin='true'><nick>JC</nick></conference>`,
  );
});

scenario('§5.3.1: an item appears in the lists, with its extensions', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const state = `<state xmlns='urn:example:state' minimized='true'><deep a='1'/></state>`;
  // XEP-0492
  const notify = `<notify xmlns='urn:xmpp:notification-settings:1'><on-mention/></notify>`;
  await orchard.sends(
    publish(room, conference(`<nick>JC</nick><password>s</password><extensions>${state}${notify}</extensions>`)),
  );
  await orchard.receives(result());
  await orchard.sends(publish(other, conference('', `name='Orchard'`)));
  await orchard.receives(result());
  const first = `<conference jid='${room}' name='The Play' autojoin='true'><nick>JC</nick><password>s</password><extensions>${state}${notify}</extensions></conference>`;
  const second = `<conference jid='${other}' name='Orchard'/>`;
  await finds(
    orchard,
    {
      [room]: conference(`<nick>JC</nick><password>s</password><extensions>${state}${notify}</extensions>`),
      [other]: conference('', `name='Orchard'`),
    },
    first + second,
  );
  await orchard.sends(retract(room));
  await orchard.receives(result());
  await finds(orchard, { [other]: conference('', `name='Orchard'`) }, second);
  await orchard.sends(owner('set', `<purge node='${NS.bookmarks}'/>`));
  await orchard.receives(result());
  await finds(orchard, {}, '');
});

scenario('§5.3.2: a list becomes items; only changes are notified, and extensions are kept', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  const notify = `<extensions><notify xmlns='urn:xmpp:notification-settings:1'><never/></notify></extensions>`;
  for (const id of [room, other]) {
    await orchard.sends(publish(id, conference(`<nick>JC</nick>${notify}`)));
    await orchard.receives(result());
  }
  await appears(garden, `${NS.bookmarks}+notify`);
  // The client knows no extensions; it changes one nick, leaves the other as it is, and adds one.
  await orchard.sends(
    publishStorage(
      `<conference jid='${room}' name='The Play' autojoin='1'><nick>JC</nick></conference>` +
        `<conference jid='${other}' name='The Play' autojoin='true'><nick>Romeo</nick></conference>` +
        `<conference jid='new@conference.localhost'/><conference name='nowhere'/><conference jid='@'/><url name='x' url='http://x.example/'/>`,
    ),
  );
  await orchard.receives(result());
  const changed = conference(`<nick>Romeo</nick>${notify}`);
  for (const [id, payload] of [
    [other, changed],
    ['new@conference.localhost', conference('', '')],
  ])
    await garden.receives(
      event(romeo, `${romeo}/garden`, `<items node='${NS.bookmarks}'><item id='${id}'>${payload}</item></items>`),
    );
  await garden.receivesNothing();
  // One is gone
  await orchard.sends(
    publishStorage(`<conference jid='${room}' name='The Play' autojoin='1'><nick>JC</nick></conference>`),
  );
  await orchard.receives(result());
  await garden.receives(
    event(
      romeo,
      `${romeo}/garden`,
      `<items node='${NS.bookmarks}'><retract id='${other}'/><retract id='new@conference.localhost'/></items>`,
    ),
  );
  await garden.receivesNothing();
  await finds(
    orchard,
    { [room]: conference(`<nick>JC</nick>${notify}`) },
    `<conference jid='${room}' name='The Play' autojoin='1'><nick>JC</nick></conference>`,
  );
  // The next change by item brings the extensions to the list.
  await orchard.sends(publish(room, conference(`<nick>Juliet</nick>${notify}`)));
  await orchard.receives(result());
  await finds(
    orchard,
    { [room]: conference(`<nick>Juliet</nick>${notify}`) },
    `<conference jid='${room}' name='The Play' autojoin='true'><nick>Juliet</nick>${notify}</conference>`,
  );
});

scenario('§5.3: concurrent changes of two devices are merged', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  const rooms = Array.from({ length: 6 }, (_, at) => `r${at}@conference.localhost`);
  for (const [at, id] of rooms.entries())
    await (at % 2 === 0 ? orchard : garden).sends(publish(id, conference('', '')));
  for (const at of rooms.keys()) await (at % 2 === 0 ? orchard : garden).receives(result());
  await orchard.sends(pubsub('get', `<items node='${NS.bookmarksPrivate}'/>`));
  await orchard.receives(
    result(
      `<items node='${NS.bookmarksPrivate}'><item id='current'>${storage(rooms.map((id) => `<conference jid='${id}'/>`).join(''))}</item></items>`,
    ),
  );
});

scenario(
  '§5.3.1: the total size of bookmarks is limited',
  { config: { modules: { pubsub: { item_bytes: 2000 } } } },
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`);
    const large = conference('', `name='${'x'.repeat(1500)}'`);
    await orchard.sends(publish(room, large));
    await orchard.receives(result());
    await orchard.sends(publish(other, large));
    await orchard.receives(error('wait', 'resource-constraint'));
    await finds(orchard, { [room]: large }, `<conference jid='${room}' name='${'x'.repeat(1500)}'/>`);
  },
);

scenario(
  '§5.3.2: a list with too many rooms is refused',
  { config: { modules: { pubsub: { items_per_node: 3 } } } },
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`);
    await orchard.sends(publish(room, conference('', '')));
    await orchard.receives(result());
    const many = Array.from({ length: 4 }, (_, at) => `<conference jid='r${at}@conference.localhost'/>`).join('');
    await orchard.sends(publishStorage(many));
    await orchard.receives(error('wait', 'resource-constraint'));
    await orchard.sends(setPrivate(storage(many)));
    await orchard.receives(`<iq type='error' id='s'>${refusal('wait', 'resource-constraint')}</iq>`);
    await finds(orchard, { [room]: conference('', '') }, `<conference jid='${room}'/>`);
    // Removed bookmarks make room for new ones.
    for (const names of ['abc', 'def']) {
      const lists = [...names].map((name) => `<conference jid='${name}@c.localhost'/>`).join('');
      await orchard.sends(setPrivate(storage(lists)));
      await orchard.receives(`<iq type='result' id='s'/>`);
      await finds(
        orchard,
        Object.fromEntries([...names].map((name) => [`${name}@c.localhost`, conference('', '')])),
        lists,
      );
    }
  },
);

// --- XEP-0048 and XEP-0049 --------------------------------------------------------------------------------------------

scenario('XEP-0048 §3.2, XEP-0411 §4: clients are notified in their own form', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  const attic = await actor(`${romeo}/attic`);
  await appears(garden, `${NS.bookmarks}+notify`);
  await appears(attic, `${NS.bookmarksPrivate}+notify`);
  await garden.syncs();
  garden.forgets();
  await orchard.sends(setPrivate(storage(`<conference jid='${room}' name='The Play'><nick>JC</nick></conference>`)));
  await orchard.receives(`<iq type='result' id='s'/>`);
  await garden.receives(
    event(
      romeo,
      `${romeo}/garden`,
      `<items node='${NS.bookmarks}'><item id='${room}'>${conference('<nick>JC</nick>', `name='The Play'`)}</item></items>`,
    ),
  );
  await attic.receives(
    event(
      romeo,
      `${romeo}/attic`,
      `<items node='${NS.bookmarksPrivate}'><item id='current'>${storage(`<conference jid='${room}' name='The Play'><nick>JC</nick></conference>`)}</item></items>`,
    ),
  );
  await orchard.sends(retract(room));
  await orchard.receives(result());
  await garden.receives(
    event(romeo, `${romeo}/garden`, `<items node='${NS.bookmarks}'><retract id='${room}'/></items>`),
  );
  await attic.receives(
    event(
      romeo,
      `${romeo}/attic`,
      `<items node='${NS.bookmarksPrivate}'><item id='current'>${storage('')}</item></items>`,
    ),
  );
});

scenario('XEP-0048 §2: web pages and unknown elements stay where they are', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const list = (nick: string, last = '') =>
    `<url name='Works' url='http://works.example/'/><conference jid='${room}' name='The Play' autojoin='true'><nick>${nick}</nick><minimize xmlns='xmpp:gajim.org/bookmarks'>true</minimize></conference><other xmlns='urn:example:other'/>${last}`;
  const minimize = `<extensions><minimize xmlns='xmpp:gajim.org/bookmarks'>true</minimize></extensions>`;
  await orchard.sends(setPrivate(storage(list('JC'))));
  await orchard.receives(`<iq type='result' id='s'/>`);
  await finds(orchard, { [room]: conference(`<nick>JC</nick>${minimize}`) }, list('JC'));
  await orchard.sends(publish(room, conference(`<nick>Romeo</nick>${minimize}`)));
  await orchard.receives(result());
  await orchard.sends(publish(other, conference('', '')));
  await orchard.receives(result());
  await finds(
    orchard,
    { [room]: conference(`<nick>Romeo</nick>${minimize}`), [other]: conference('', '') },
    list('Romeo', `<conference jid='${other}'/>`),
  );
  // Taken away as a whole by a client that has moved on: the items stay.
  await orchard.sends(owner('set', `<delete node='${NS.bookmarksPrivate}'/>`));
  await orchard.receives(result());
  await orchard.sends(publish(other, conference('', `name='Orchard'`)));
  await orchard.receives(result());
  await finds(
    orchard,
    { [room]: conference(`<nick>Romeo</nick>${minimize}`), [other]: conference('', `name='Orchard'`) },
    `<conference jid='${room}' name='The Play' autojoin='true'><nick>Romeo</nick>${minimize}</conference><conference jid='${other}' name='Orchard'/>`,
  );
});

scenario('XEP-0411 §5: nothing is copied to where others have access', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const juliet = await actor('juliet@localhost/balcony');
  for (const node of [NS.bookmarks, NS.bookmarksPrivate]) {
    await orchard.sends(create(node, { access_model: 'open' }));
    await orchard.receives(result());
  }
  await orchard.sends(setPrivate(storage(`<conference jid='${room}'/>`)));
  await orchard.receives(`<iq type='result' id='s'/>`);
  for (const node of [NS.bookmarks, NS.bookmarksPrivate]) {
    await juliet.sends(pubsub('get', `<items node='${node}'/>`, romeo));
    await juliet.receives(error('cancel', 'not-allowed', 'closed-node'));
    await orchard.sends(configure(node, { access_model: 'open' }));
    await orchard.receives(result());
  }
  await orchard.sends(publish(room, conference(), null));
  await orchard.receives(result());
  await juliet.sends(pubsub('get', `<items node='${NS.bookmarksPrivate}'/>`, romeo));
  await juliet.receives(error('cancel', 'not-allowed', 'closed-node'));
});

scenario('§5.3: only the account can change bookmarks', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const juliet = await actor('juliet@localhost/balcony');
  await orchard.sends(publish(room, conference()));
  await orchard.receives(result());
  for (const inner of [
    `<publish node='${NS.bookmarks}'><item id='${room}'>${conference('', '')}</item></publish>`,
    `<publish node='${NS.bookmarksPrivate}'><item id='current'>${storage('')}</item></publish>`,
    `<retract node='${NS.bookmarks}'><item id='${room}'/></retract>`,
  ]) {
    await juliet.sends(pubsub('set', inner, romeo));
    await juliet.receives(error('auth', 'forbidden'));
  }
  await finds(orchard, { [room]: conference() }, `<conference jid='${room}' name='The Play' autojoin='true'/>`);
});

const before = new MemoryStorage();
scenario(
  'XEP-0411 §4: older bookmarks are available when a client logs in',
  { storage: () => before },
  async ({ actor }) => {
    const url = `<url name='Works' url='http://works.example/'/>`;
    const list = storage(`${url}<conference jid='${room}' name='The Play' autojoin='1'/><conference jid='${other}'/>`);
    await before.map('private').set(romeo, [[`{${NS.bookmarksPrivate}}storage`, [list]]]);
    const orchard = await actor(`${romeo}/orchard`);
    await finds(
      orchard,
      { [room]: conference('', `name='The Play' autojoin='1'`), [other]: conference('', '') },
      `${url}<conference jid='${room}' name='The Play' autojoin='1'/><conference jid='${other}'/>`,
    );
    // Older data that turn up again are added, and take nothing away.
    await orchard.sends(publish(room, conference('', `name='New'`)));
    await orchard.receives(result());
    const more = storage(`<conference jid='${room}' name='Old'/><conference jid='third@conference.localhost'/>`);
    await before.map('private').set(romeo, [[`{${NS.bookmarksPrivate}}storage`, [more]]]);
    const garden = await actor(`${romeo}/garden`);
    await finds(
      garden,
      {
        [other]: conference('', ''),
        [room]: conference('', `name='New'`),
        'third@conference.localhost': conference('', ''),
      },
      `${url}<conference jid='${room}' name='New'/><conference jid='${other}'/><conference jid='third@conference.localhost'/>`,
    );
  },
);

const tooMuch = new MemoryStorage();
scenario(
  'XEP-0411 §4: bookmarks that exceed the limit stay where they are',
  { storage: () => tooMuch, config: { modules: { pubsub: { items_per_node: 2 } } } },
  async ({ actor }) => {
    const three = storage(['a', 'b', 'c'].map((name) => `<conference jid='${name}@c.localhost'/>`).join(''));
    await tooMuch.map('private').set(romeo, [[`{${NS.bookmarksPrivate}}storage`, [three]]]);
    const orchard = await actor(`${romeo}/orchard`);
    const ask = `<iq type='get' id='g'><query xmlns='${NS.private}'>${storage('')}</query></iq>`;
    await orchard.sends(ask);
    await orchard.receives(withAddress(orchard, 'g', `<query xmlns='${NS.private}'>${three}</query>`), {
      exactly: true,
    });
    // The client's next write replaces everything.
    await orchard.sends(setPrivate(storage(`<conference jid='${room}'/>`)));
    await orchard.receives(`<iq type='result' id='s'/>`);
    const garden = await actor(`${romeo}/garden`);
    await finds(garden, { [room]: conference('', '') }, `<conference jid='${room}'/>`);
  },
);
