/** XEP-0163: Personal Eventing Protocol, with XEP-0222, XEP-0223 and what XEP-0115 has to do with it. */
import { NS } from '../../src/server/stanza/ns.js';
import { appears, capabilities, explains } from './capabilities.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, subscribes } from './phrases.js';
import { configure, error, event, itemEvent, owner, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const tune = 'urn:example:tune';
const wanted = `${tune}+notify`;

const items = (inner = '', attributes = ''): string => `<items node='${tune}'${attributes}>${inner}</items>`;

/** Both see each other, and want to know. */
const friends = async (actor: (address: string) => Promise<Peer>): Promise<{ orchard: Peer; balcony: Peer }> => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  await befriends(orchard, balcony);
  await appears(orchard, wanted);
  await appears(balcony, wanted);
  await orchard.syncs();
  orchard.forgets();
  return { orchard, balcony };
};

// --- §4 notifications -----------------------------------------------------------------------------------------------

scenario('§4.3: interested contacts and own clients are notified once, and nobody else', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  const chamber = await actor(`${juliet}/chamber`);
  await appears(chamber, 'urn:example:other+notify');
  const garden = await actor(`${romeo}/garden`, { presence: true });
  for (const peer of [orchard, balcony, chamber]) {
    await peer.syncs();
    peer.forgets();
  }
  await orchard.sends(publish(tune, 'current', 'Lute'));
  await orchard.receivesAnyOrder([
    itemEvent(romeo, `${romeo}/orchard`, tune, 'current', 'Lute'),
    result(`<publish node='${tune}'><item id='current'/></publish>`),
  ]);
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'current', 'Lute'), { exactly: false });
  await chamber.receivesNothing();
  await garden.receivesNothing();
});

scenario('§4.3: neither users without a subscription nor blocked ones are notified', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  await subscribes(orchard, balcony); // Romeo is subscribed to Juliet, but not vice versa
  await appears(orchard);
  await appears(balcony, wanted);
  await orchard.syncs();
  orchard.forgets();
  await orchard.sends(publish(tune, 'current', 'Lute'));
  await orchard.receives(result());
  await balcony.receivesNothing();

  await subscribes(balcony, orchard);
  await balcony.syncs();
  balcony.forgets();
  await orchard.sends(`<iq type='set' id='b'><block xmlns='${NS.blocking}'><item jid='${juliet}'/></block></iq>`);
  await orchard.receives(`<iq type='result' id='b'/>`);
  await orchard.syncs();
  orchard.forgets();
  await balcony.syncs();
  balcony.forgets();
  await orchard.sends(publish(tune, 'current', 'Drum'));
  await orchard.receives(result());
  await balcony.receivesNothing();
});

scenario('§4.3.2: an interested client gets the last item once when it becomes available', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await orchard.syncs();
  await balcony.syncs();
  orchard.forgets();
  balcony.forgets();
  for (const [address, account] of [
    [`${romeo}/garden`, romeo],
    [`${juliet}/chamber`, juliet],
  ] as const) {
    const late = await actor(address);
    const caps = capabilities(wanted);
    await late.sends(caps.presence);
    await explains(late, caps);
    // The presence of a contact may come from another node, and in between.
    await late.receivesFirst(itemEvent(romeo, address, tune, 'a', 'Lute'));
    await late.sends(caps.presence.replace('<c', '<show>away</show><c'));
    await late.syncs();
    if (late.forgets().some(({ name }) => name === 'message')) throw new Error(`${account} got the last item twice`);
    // A new interest is another matter.
    const more = capabilities(wanted, 'urn:example:mood+notify');
    await late.sends(more.presence);
    await explains(late, more);
    await late.syncs();
    if (late.forgets().some(({ name }) => name === 'message')) throw new Error(`${account} got the last item again`);
  }
});

scenario('§7: a contact gets the last item when it may see the presence', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`);
  await appears(balcony, wanted);
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await orchard.receives(result());
  await orchard.sends(`<presence to='${juliet}' type='subscribed'/>`);
  await orchard.syncs();
  await balcony.sends(`<presence to='${romeo}' type='subscribe'/>`);
  await balcony.receivesAnyOrder([
    `<presence from='${romeo}/orchard'/>`,
    itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'),
  ]);
});

scenario(
  'XEP-0115 §5.4: a disco#info result that does not match the hash counts for its session only',
  async ({ actor }) => {
    const { orchard, balcony } = await friends(actor);
    const honest = capabilities(wanted);
    const liar = await actor(`${juliet}/liar`);
    await liar.sends(honest.presence);
    await explains(liar, { ...honest, info: honest.info.replace(wanted, 'urn:example:nothing+notify') });
    await liar.syncs();
    const chamber = await actor(`${juliet}/chamber`);
    await chamber.sends(honest.presence);
    await explains(chamber, honest); // is asked all the same
    for (const peer of [liar, chamber, orchard, balcony]) {
      await peer.syncs();
      peer.forgets();
    }
    // Now it is known.
    const attic = await actor(`${juliet}/attic`);
    await attic.sends(honest.presence);
    await attic.syncs();
    for (const peer of [liar, chamber, orchard, balcony, attic]) {
      await peer.syncs();
      peer.forgets();
    }
    await orchard.sends(publish(tune, 'a', 'Lute'));
    await chamber.receives(itemEvent(romeo, `${juliet}/chamber`, tune, 'a', 'Lute'));
    await attic.receives(itemEvent(romeo, `${juliet}/attic`, tune, 'a', 'Lute'));
    await liar.receivesNothing();
  },
);

// --- §5 defaults, access ----------------------------------------------------------------------------------------------

scenario('§5: the default access model is presence; others get nothing', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  const paris = await actor('paris@localhost/tomb');
  await orchard.sends(publish(tune, 'a', 'Lute'));
  await orchard.syncs();
  orchard.forgets();
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'));
  await balcony.sends(pubsub('get', items(), romeo));
  await balcony.receives(result(items(`<item id='a'/>`)));
  await paris.sends(pubsub('get', items(), romeo));
  await paris.receives(error('auth', 'not-authorized', 'presence-subscription-required'));
  await paris.sends(pubsub('set', `<subscribe node='${tune}' jid='paris@localhost'/>`, romeo));
  await paris.receives(error('auth', 'not-authorized', 'presence-subscription-required'));
  for (const [type, inner] of [
    ['set', `<publish node='${tune}'><item id='a'/></publish>`],
    ['set', `<publish node='another'><item id='a'/></publish>`],
    ['set', `<retract node='${tune}'><item id='a'/></retract>`],
    ['set', `<retract node='another'><item id='a'/></retract>`],
    ['set', `<create node='another'/>`],
  ] as const) {
    await paris.sends(pubsub(type, inner, romeo));
    await paris.receives(error('auth', 'forbidden'));
  }
  for (const node of [tune, 'another'])
    for (const [type, inner] of [
      ['get', `<configure node='${node}'/>`],
      ['set', `<delete node='${node}'/>`],
      ['set', `<purge node='${node}'/>`],
      ['get', `<affiliations node='${node}'/>`],
      ['set', `<affiliations node='${node}'><affiliation jid='paris@localhost' affiliation='owner'/></affiliations>`],
      ['get', `<subscriptions node='${node}'/>`],
      [
        'set',
        `<subscriptions node='${node}'><subscription jid='paris@localhost' subscription='subscribed'/></subscriptions>`,
      ],
    ] as const) {
      await paris.sends(owner(type, inner, romeo));
      await paris.receives(error('auth', 'forbidden'));
    }
  await paris.sends(configure(tune, { access_model: 'open' }, romeo));
  await paris.receives(error('auth', 'forbidden'));
  await paris.sends(owner('get', '<default/>', romeo));
  await paris.receives(error('auth', 'forbidden'));
  await orchard.receivesNothing();
});

scenario('a missing account is answered like one without nodes', async ({ actor }) => {
  await actor(`${romeo}/orchard`);
  const paris = await actor('paris@localhost/tomb');
  for (const to of [romeo, 'nobody@localhost']) {
    await paris.sends(pubsub('get', items(), to));
    await paris.receives(error('cancel', 'item-not-found'));
    await paris.sends(publish(tune, 'a', 'x', { to }));
    await paris.receives(error('auth', 'forbidden'));
    await paris.sends(owner('get', `<configure node='${tune}'/>`, to));
    await paris.receives(error('auth', 'forbidden'));
  }
});

scenario('§5: everybody can read an open node (XEP-0222, XEP-0384)', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const paris = await actor('paris@localhost/tomb');
  const options = { persist_items: 'true', access_model: 'open', max_items: 'max' };
  for (const id of ['a', 'b']) {
    await orchard.sends(publish('bundles', id, id, { options }));
    await orchard.receives(result(`<publish node='bundles'><item id='${id}'/></publish>`));
  }
  await paris.sends(pubsub('get', `<items node='bundles'/>`, romeo));
  await paris.receives(result(`<items node='bundles'><item id='a'/><item id='b'/></items>`));
  await paris.sends(pubsub('get', `<items node='bundles'><item id='b'/><item id='c'/></items>`, romeo));
  await paris.receives(result(`<items node='bundles'><item id='b'/></items>`), { exactly: false });
});

scenario(
  'XEP-0223, XEP-0402: a private node is visible only to its owner, whose clients are all notified',
  async ({ actor }) => {
    const { orchard, balcony } = await friends(actor);
    const garden = await actor(`${romeo}/garden`);
    await appears(garden, wanted);
    for (const peer of [orchard, balcony]) {
      await peer.syncs();
      peer.forgets();
    }
    const options = {
      persist_items: 'true',
      max_items: 'max',
      send_last_published_item: 'never',
      access_model: 'whitelist',
    };
    await orchard.sends(publish(tune, 'room@conference.localhost', 'Room', { options }));
    await orchard.receivesAnyOrder([
      itemEvent(romeo, `${romeo}/orchard`, tune, 'room@conference.localhost', 'Room'),
      result(),
    ]);
    await garden.receives(itemEvent(romeo, `${romeo}/garden`, tune, 'room@conference.localhost', 'Room'));
    await balcony.sends(pubsub('get', items(), romeo));
    await balcony.receives(error('cancel', 'not-allowed', 'closed-node'));
    await balcony.sends(`<iq type='get' id='p' to='${romeo}'><query xmlns='${NS.discoItems}'/></iq>`);
    const answer = await balcony.receives(`<iq type='result' id='p'><query xmlns='${NS.discoItems}'/></iq>`);
    const nodes = answer
      .getChild('query')!
      .getChildren('item')
      .flatMap(({ attrs }) => attrs.node ?? []);
    if (nodes.length > 0) throw new Error('a whitelisted node is listed');
    await balcony.sends(`<iq type='get' id='p' to='${romeo}'><query xmlns='${NS.discoInfo}' node='${tune}'/></iq>`);
    await balcony.receives(error('cancel', 'not-allowed'));
    await balcony.receivesNothing();
    await garden.sends(
      pubsub('set', `<retract node='${tune}' notify='true'><item id='room@conference.localhost'/></retract>`),
    );
    await garden.receivesAnyOrder([
      event(romeo, `${romeo}/garden`, items(`<retract id='room@conference.localhost'/>`)),
      result(),
    ]);
    await orchard.receives(event(romeo, `${romeo}/orchard`, items(`<retract id='room@conference.localhost'/>`)));
    await balcony.receivesNothing();
  },
);

scenario('access model roster: roster groups decide, also about the last item', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  const options = { access_model: 'roster', roster_groups_allowed: ['Capulets', 'Friends'] };
  await orchard.sends(publish(tune, 'a', 'Lute', { options }));
  await orchard.syncs();
  orchard.forgets();
  await balcony.receivesNothing();
  await balcony.sends(pubsub('get', items(), romeo));
  await balcony.receives(error('auth', 'not-authorized', 'not-in-roster-group'));
  await orchard.sends(
    `<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='${juliet}'><group>Friends</group></item></query></iq>`,
  );
  await orchard.syncs();
  orchard.forgets();
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'));
  await orchard.sends(owner('get', `<configure node='${tune}'/>`)); // §8.2.2: those to choose from
  await orchard.receives(
    result(
      `<configure node='${tune}'><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#roster_groups_allowed'><value>Capulets</value><value>Friends</value><option><value>Friends</value></option></field></x></configure>`,
      NS.pubsubOwner,
    ),
  );
  await balcony.sends(pubsub('get', items(), romeo));
  await balcony.receives(result(items(`<item id='a'/>`)));
  await orchard.sends(publish(tune, 'a', 'Drum'));
  await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Drum'));
});

scenario(
  'XEP-0060 §12.1: users who gain access by a new model get the last item; those who lose it get nothing',
  async ({ actor }) => {
    const { orchard, balcony } = await friends(actor);
    await orchard.sends(publish(tune, 'a', 'Lute', { options: { access_model: 'whitelist' } }));
    await orchard.receivesAnyOrder([itemEvent(romeo, `${romeo}/orchard`, tune, 'a', 'Lute'), result()]);
    await balcony.receivesNothing();
    await orchard.sends(configure(tune, { access_model: 'presence' }));
    await orchard.receives(result());
    await balcony.receives(itemEvent(romeo, `${juliet}/balcony`, tune, 'a', 'Lute'));
    await orchard.sends(configure(tune, { access_model: 'whitelist' }));
    await orchard.receives(result());
    await orchard.sends(publish(tune, 'a', 'Drum'));
    await orchard.receivesAnyOrder([itemEvent(romeo, `${romeo}/orchard`, tune, 'a', 'Drum'), result()]);
    await balcony.receivesNothing();
  },
);

// --- XEP-0060 §7.1.5 preconditions ------------------------------------------------------------------------------------

scenario('XEP-0060 §7.1.5: publish options create the node, and are preconditions afterwards', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish(tune, 'a', 'x', { options: { access_model: 'open', max_items: '5' } }));
  await orchard.receives(result());
  for (const options of [
    { access_model: 'open' },
    { max_items: '5' },
    { persist_items: '1' },
    { send_last_published_item: 'on_sub_and_presence' },
    { roster_groups_allowed: [] },
    { title: '' },
  ]) {
    await orchard.sends(publish(tune, 'a', 'x', { options }));
    await orchard.receives(result());
  }
  for (const options of [
    { access_model: 'presence' },
    { max_items: 'max' },
    { persist_items: '0' },
    { send_last_published_item: 'never' },
    { publish_model: 'open' },
    { title: 'x' },
    { roster_groups_allowed: ['x'] },
    { access_model: 'open', notify_retract: 'false' },
  ]) {
    await orchard.sends(publish(tune, 'b', 'x', { options }));
    await orchard.receives(error('cancel', 'conflict', 'precondition-not-met'));
  }
  await orchard.sends(publish(tune, 'b', 'x', { options: { no_such_option: 'x' } }));
  await orchard.receives(error('cancel', 'feature-not-implemented'));
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(result(items(`<item id='a'/>`)));
});

scenario('two clients publish to a missing node at once, and both succeed', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const garden = await actor(`${romeo}/garden`);
  const options = { access_model: 'open', max_items: 'max' };
  await Promise.all([
    orchard.sends(publish(tune, 'a', 'x', { options })),
    garden.sends(publish(tune, 'b', 'x', { options })),
  ]);
  await orchard.receives(result());
  await garden.receives(result());
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(result(items(`<item id='a'/><item id='b'/>`)));
});

scenario('items and access models survive a restart', { alone: true }, async ({ actor, stage }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const known = capabilities(wanted);
  await orchard.sends(known.presence);
  await explains(orchard, known);
  await orchard.syncs();
  const options = { access_model: 'whitelist', max_items: '2' };
  for (const id of ['a', 'b', 'c']) await orchard.sends(publish(tune, id, id, { options }));
  await orchard.syncs();
  await stage.restart();
  const garden = await actor(`${romeo}/garden`);
  await garden.sends(known.presence); // no further queries
  await garden.receives(`<presence/>`);
  await garden.receives(itemEvent(romeo, `${romeo}/garden`, tune, 'c', 'c'));
  await garden.sends(pubsub('get', items()));
  await garden.receives(result(items(`<item id='b'/><item id='c'/>`)));
  await garden.sends(publish(tune, 'd', 'd', { options }));
  await garden.receivesAnyOrder([itemEvent(romeo, `${romeo}/garden`, tune, 'd', 'd'), result()]);
});

// --- §6 discovery -----------------------------------------------------------------------------------------------------

scenario('§6: an account announces personal eventing to itself and its contacts', async ({ actor }) => {
  const { orchard, balcony } = await friends(actor);
  const paris = await actor('paris@localhost/tomb');
  for (const peer of [orchard, balcony]) {
    await peer.sends(`<iq type='get' id='p' to='${romeo}'><query xmlns='${NS.discoInfo}'/></iq>`);
    await peer.receives(
      `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><identity category='pubsub' type='pep'/>
        ${[
          'publish-options',
          'auto-create',
          'filtered-notifications',
          'config-node-max',
          'access-whitelist',
          'pubsub-on-a-jid',
        ]
          .map((name) => `<feature var='${NS.pubsub}#${name}'/>`)
          .join('')}</query></iq>`,
    );
  }
  await paris.sends(`<iq type='get' id='p' to='${romeo}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await paris.receives(error('cancel', 'service-unavailable'));
});

scenario(
  'XEP-0115 §5.3: a client that announces other capabilities before it answered is queried again',
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`);
    const first = capabilities('urn:example:first+notify');
    const second = capabilities(wanted);
    await orchard.sends(first.presence + second.presence);
    await explains(orchard, first);
    await explains(orchard, second);
    await orchard.syncs();
    orchard.forgets();
    await orchard.sends(publish('urn:example:first', 'a', 'x'));
    await orchard.receives(result());
    await orchard.sends(publish(tune, 'a', 'Lute'));
    await orchard.receivesAnyOrder([itemEvent(romeo, `${romeo}/orchard`, tune, 'a', 'Lute'), result()]);
  },
);
