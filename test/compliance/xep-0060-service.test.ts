/** XEP-0060 at a service: subscribing (§6), owning nodes (§8), discovery (§5). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenario } from './dialogue.js';
import { subscribes } from './phrases.js';
import { configure, create, error, event, owner, payload, publish, pubsub, result, submitted } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const paris = 'paris@localhost';
const service = 'pubsub.localhost';
const to = service;

const subscription = (jid: string, state: string): string =>
  `<subscription node='n' jid='${jid}' subscription='${state}'/>`;
const subscribe = (jid: string): string => pubsub('set', `<subscribe node='n' jid='${jid}'/>`, service);
const news = (address: string, id: string, text: string): string =>
  event(service, address, `<items node='n'><item id='${id}' publisher='${romeo}'>${payload(text)}</item></items>`);

type Actor = (address: string, options?: { presence: true }) => Promise<Peer>;

/** Romeo owns the node n; all three are there. */
async function three(actor: Actor, options?: Parameters<typeof create>[1]) {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const tomb = await actor(`${paris}/tomb`, { presence: true });
  await orchard.sends(create('n', options, service));
  await orchard.receives(result());
  return { orchard, balcony, tomb };
}

// --- §6 subscribers ---------------------------------------------------------------------------------------------------

scenario('§6.1, §6.2, §7.1.2: subscribers are notified until they unsubscribe', async ({ actor }) => {
  const { orchard, balcony, tomb } = await three(actor);
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result(subscription(juliet, 'subscribed')));
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result(subscription(juliet, 'subscribed')));
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.receives(news(juliet, 'a', 'x'));
  await balcony.sends(pubsub('get', '<subscriptions/>', service));
  await balcony.receives(result(`<subscriptions>${subscription(juliet, 'subscribed')}</subscriptions>`));
  await orchard.sends(pubsub('set', `<retract node='n' notify='1'><item id='a'/></retract>`, service));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, `<items node='n'><retract id='a'/></items>`));
  await balcony.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(result(subscription(juliet, 'none')));
  await balcony.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(error('wait', 'unexpected-request', 'not-subscribed'));
  await orchard.sends(publish('n', 'b', 'x', { to }));
  await orchard.receives(result());
  await balcony.receivesNothing();
  await tomb.receivesNothing();
});

scenario('§6.1.3: refused subscriptions', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  const wrong: readonly (readonly [string, string])[] = [
    [`<subscribe node='n' jid='${romeo}'/>`, error('modify', 'bad-request', 'invalid-jid')],
    [`<subscribe node='n' jid='@'/>`, error('modify', 'bad-request', 'invalid-jid')],
    [`<subscribe node='n'/>`, error('modify', 'bad-request', 'jid-required')],
    [`<subscribe jid='${juliet}'/>`, error('modify', 'bad-request', 'nodeid-required')],
    [`<subscribe node='m' jid='${juliet}'/>`, error('cancel', 'item-not-found')],
  ];
  for (const [inner, refused] of wrong) {
    await balcony.sends(pubsub('set', inner, service));
    await balcony.receives(refused);
  }
  await orchard.sends(configure('n', { access_model: 'whitelist' }, service));
  await orchard.receives(result());
  await balcony.sends(subscribe(juliet));
  await balcony.receives(error('cancel', 'not-allowed', 'closed-node'));
  await orchard.sends(
    owner('set', `<affiliations node='n'><affiliation jid='${juliet}' affiliation='member'/></affiliations>`, service),
  );
  await orchard.receives(result());
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result(subscription(juliet, 'subscribed')));
  // an outcast gets nothing more
  await orchard.sends(
    owner('set', `<affiliations node='n'><affiliation jid='${juliet}' affiliation='outcast'/></affiliations>`, service),
  );
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, subscription(juliet, 'none')));
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.receivesNothing();
  await balcony.sends(subscribe(juliet));
  await balcony.receives(error('auth', 'forbidden'));
  await balcony.sends(pubsub('get', `<items node='n'/>`, service));
  await balcony.receives(error('auth', 'forbidden'));
});

scenario('§6.1.7: the last item is sent on subscription', async ({ actor }) => {
  const { orchard, balcony } = await three(actor, { send_last_published_item: 'on_sub' });
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.sends(subscribe(`${juliet}/balcony`));
  await balcony.receives(result(subscription(`${juliet}/balcony`, 'subscribed')));
  await balcony.receives(news(`${juliet}/balcony`, 'a', 'x'));
});

scenario('§6.3, §6.4: options of a subscription', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  const about = `<options node='n' jid='${juliet}'/>`;
  await balcony.sends(pubsub('get', about, service));
  await balcony.receives(error('wait', 'unexpected-request', 'not-subscribed'));
  const options = (deliver: string) => submitted('subscribe_options', { deliver });
  await balcony.sends(
    pubsub('set', `<subscribe node='n' jid='${juliet}'/><options>${options('0')}</options>`, service),
  );
  await balcony.receives(result(subscription(juliet, 'subscribed')));
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.receivesNothing();
  await balcony.sends(pubsub('get', about, service));
  await balcony.receives(
    result(
      `<options node='n' jid='${juliet}'><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#deliver'><value>0</value></field></x></options>`,
    ),
  );
  await balcony.sends(pubsub('set', `<options node='n' jid='${juliet}'>${options('1')}</options>`, service));
  await balcony.receives(result());
  await orchard.sends(publish('n', 'b', 'x', { to }));
  await orchard.receives(result());
  await balcony.receives(news(juliet, 'b', 'x'));
  await balcony.sends(pubsub('get', '<default/>', service));
  await balcony.receives(result(`<default><x xmlns='${NS.dataForms}' type='form'/></default>`));
});

scenario('§8.6: owners are asked for approval, and answer', async ({ actor }) => {
  const { orchard, balcony, tomb } = await three(actor, { access_model: 'authorize' });
  for (const [peer, jid, allow] of [
    [balcony, juliet, '1'],
    [tomb, paris, '0'],
  ] as const) {
    await peer.sends(subscribe(jid));
    await peer.receives(result(subscription(jid, 'pending')));
    await orchard.receives(
      `<message from='${service}' to='${romeo}'><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#subscriber_jid'><value>${jid}</value></field></x></message>`,
    );
    await peer.sends(subscribe(jid));
    await peer.receives(error('auth', 'not-authorized', 'pending-subscription'));
    await peer.sends(pubsub('get', `<items node='n'/>`, service));
    await peer.receives(error('auth', 'not-authorized', 'not-subscribed'));
    const answer = submitted('subscribe_authorization', { node: 'n', subscriber_jid: jid, allow });
    await peer.sends(`<message to='${service}' id='p'>${answer}</message>`); // not from the owner
    await peer.receives(
      `<message type='error' id='p'><error type='auth'><forbidden xmlns='${NS.stanzas}'/></error></message>`,
    );
    await orchard.sends(`<message to='${service}'>${answer}</message>`);
    await peer.receives(event(service, jid, subscription(jid, allow === '1' ? 'subscribed' : 'none')));
  }
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.receives(news(juliet, 'a', 'x'));
  await tomb.receivesNothing();
  await balcony.sends(pubsub('get', `<items node='n'/>`, service));
  await balcony.receives(result(`<items node='n'><item id='a'/></items>`));
});

scenario('§8.6: the owner of an account is asked and answers too', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  await orchard.sends(publish('n', 'a', 'x', { options: { access_model: 'authorize' } }));
  await orchard.receives(result());
  await balcony.sends(pubsub('set', `<subscribe node='n' jid='${juliet}'/>`, romeo));
  await balcony.receives(result(subscription(juliet, 'pending')));
  await orchard.receives(`<message from='${romeo}' to='${romeo}'><x xmlns='${NS.dataForms}' type='form'/></message>`);
  const answer = submitted('subscribe_authorization', { node: 'n', subscriber_jid: juliet, allow: '1' });
  await orchard.sends(`<message to='${romeo}'>${answer}</message>`);
  await balcony.receives(event(romeo, juliet, subscription(juliet, 'subscribed')));
  await balcony.receives(event(romeo, juliet, `<items node='n'><item id='a'/></items>`));
  await orchard.receivesNothing();
});

// --- §8 owners --------------------------------------------------------------------------------------------------------

scenario('§8.1: creating nodes', async ({ actor }) => {
  const { orchard, balcony } = await three(actor, { title: 'News' });
  await balcony.sends(create('n', undefined, service));
  await balcony.receives(error('cancel', 'conflict'));
  await balcony.sends(pubsub('set', '<create/>', service));
  await balcony.receives(result(`<create node='*'/>`));
  await balcony.sends(create('m', { access_model: 'nonsense' }, service));
  await balcony.receives(error('modify', 'not-acceptable'));
  await orchard.sends(owner('get', `<configure node='n'/>`, service));
  await orchard.receives(
    result(
      `<configure node='n'><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#title'><value>News</value></field><field var='pubsub#access_model'><value>open</value></field></x></configure>`,
      NS.pubsubOwner,
    ),
  );
  await orchard.sends(owner('get', '<default/>', service));
  await orchard.receives(result(`<default><x xmlns='${NS.dataForms}' type='form'/></default>`, NS.pubsubOwner));
  const addressed = pubsub('get', `<items node='n'/>`, `x@${service}`);
  await orchard.sends(addressed);
  await orchard.receives(error('cancel', 'item-not-found'));
});

scenario(
  'who can create nodes is configured',
  { config: { modules: { pubsub: { create: 'admins' } } } },
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`);
    await orchard.sends(create('n', undefined, service));
    await orchard.receives(error('auth', 'forbidden'));
    await orchard.sends(publish('n', 'a', 'x', { to }));
    await orchard.receives(error('auth', 'forbidden'));
  },
);

scenario(
  '§8: administrators of the host own the nodes of the service',
  { config: { hosts: { localhost: { admins: [juliet] }, 'elsewhere.example': {} } } },
  async ({ actor }) => {
    const { orchard, balcony, tomb } = await three(actor, { access_model: 'whitelist' });
    await balcony.sends(owner('get', `<configure node='n'/>`, service));
    await balcony.receives(result(`<configure node='n'/>`, NS.pubsubOwner));
    await balcony.sends(
      owner('set', `<affiliations node='n'><affiliation jid='${paris}' affiliation='member'/></affiliations>`, service),
    );
    await balcony.receives(result());
    await tomb.sends(pubsub('get', `<items node='n'/>`, service));
    await tomb.receives(result());
    await balcony.sends(pubsub('get', `<items node='n'/>`, service)); // they cannot read its items
    await balcony.receives(error('cancel', 'not-allowed', 'closed-node'));
    await balcony.sends(owner('set', `<delete node='n'/>`, service));
    await balcony.receives(result());
    await orchard.sends(publish('own', 'a', 'x'));
    await orchard.receives(result());
    await balcony.sends(owner('set', `<delete node='own'/>`, romeo)); // an account's are its own
    await balcony.receives(error('auth', 'forbidden'));
  },
);

scenario('§8: only owners manage a node', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  for (const [type, inner] of [
    ['get', `<configure node='n'/>`],
    ['set', `<configure node='n'>${submitted('node_config', { access_model: 'whitelist' })}</configure>`],
    ['set', `<delete node='n'/>`],
    ['set', `<purge node='n'/>`],
    ['get', `<affiliations node='n'/>`],
    ['set', `<affiliations node='n'><affiliation jid='${juliet}' affiliation='owner'/></affiliations>`],
    ['get', `<subscriptions node='n'/>`],
    ['set', `<subscriptions node='n'><subscription jid='${juliet}' subscription='subscribed'/></subscriptions>`],
  ] as const) {
    await balcony.sends(owner(type, inner, service));
    await balcony.receives(error('auth', 'forbidden'));
    await balcony.sends(owner(type, inner.replace(`node='n'`, `node='m'`), service));
    await balcony.receives(error('cancel', 'item-not-found'));
  }
  for (const inner of [
    `<publish node='n'><item id='b'>${payload('x')}</item></publish>`,
    `<retract node='n'><item id='a'/></retract>`,
  ]) {
    await balcony.sends(pubsub('set', inner, service));
    await balcony.receives(error('auth', 'forbidden'));
  }
});

scenario('§8.9: affiliations', async ({ actor }) => {
  const { orchard, balcony, tomb } = await three(actor, { max_items: 'max' });
  const set = (jid: string, affiliation: string) =>
    owner(
      'set',
      `<affiliations node='n'><affiliation jid='${jid}' affiliation='${affiliation}'/></affiliations>`,
      service,
    );
  await orchard.sends(set(juliet, 'publisher'));
  await orchard.receives(result());
  await orchard.sends(set(paris, 'publish-only'));
  await orchard.receives(result());
  await orchard.sends(owner('get', `<affiliations node='n'/>`, service));
  await orchard.receives(
    result(
      `<affiliations node='n'><affiliation jid='${romeo}' affiliation='owner'/><affiliation jid='${juliet}' affiliation='publisher'/><affiliation jid='${paris}' affiliation='publish-only'/></affiliations>`,
      NS.pubsubOwner,
    ),
  );
  await balcony.sends(pubsub('get', '<affiliations/>', service));
  await balcony.receives(result(`<affiliations><affiliation node='n' affiliation='publisher'/></affiliations>`));
  await balcony.sends(publish('n', 'j', 'x', { to }));
  await balcony.receives(result());
  await tomb.sends(publish('n', 'p', 'x', { to }));
  await tomb.receives(result());
  await tomb.sends(pubsub('get', `<items node='n'/>`, service));
  await tomb.receives(error('auth', 'forbidden'));
  await balcony.sends(pubsub('set', `<retract node='n'><item id='p'/></retract>`, service)); // another’s
  await balcony.receives(error('auth', 'forbidden'));
  await balcony.sends(pubsub('set', `<retract node='n'><item id='j'/></retract>`, service));
  await balcony.receives(result());
  await orchard.sends(set(romeo, 'none')); // §8.9.2.4: the only owner
  await orchard.receives(error('modify', 'not-acceptable'));
  await orchard.sends(set(juliet, 'king'));
  await orchard.receives(error('modify', 'bad-request'));
});

scenario('§8.8: owners manage subscriptions', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  await knows(balcony, romeo);
  const set = (state: string) => makes(juliet, state);
  await orchard.sends(set('subscribed'));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, subscription(juliet, 'subscribed')));
  await orchard.sends(owner('get', `<subscriptions node='n'/>`, service));
  await orchard.receives(
    result(
      `<subscriptions node='n'><subscription jid='${juliet}' subscription='subscribed'/></subscriptions>`,
      NS.pubsubOwner,
    ),
  );
  await orchard.sends(set('none'));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, subscription(juliet, 'none')));
  await orchard.sends(set('subscribed').replace(juliet, 'somebody@far.example'));
  await orchard.receives(error('modify', 'not-acceptable'));
});

/** The state that an owner sets for a subscription. */
const makes = (jid: string, state: string, node = 'n') =>
  owner(
    'set',
    `<subscriptions node='${node}'><subscription jid='${jid}' subscription='${state}'/></subscriptions>`,
    service,
  );
/** Adds a contact for her. */
async function knows(peer: Peer, jid: string): Promise<void> {
  await peer.sends(`<iq type='set' id='r'><query xmlns='${NS.roster}'><item jid='${jid}'/></query></iq>`);
  await peer.receives(`<iq type='result' id='r'/>`);
}
const mine = pubsub('get', '<subscriptions/>', service);

scenario('§8.8.2: an owner cannot subscribe users who do not know them', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  // The owner cannot tell whom they know, nor whether there is such an account.
  for (const jid of [juliet, 'ghost@localhost']) {
    await orchard.sends(makes(jid, 'subscribed'));
    await orchard.receives(result());
  }
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result('<publish/>'));
  await balcony.sends(mine);
  const none = await balcony.receives(result('<subscriptions/>'));
  assert.doesNotMatch(String(none), /<subscription /);
  await balcony.receivesNothing();
  await orchard.receivesNothing();
  // Once romeo is her contact
  await knows(balcony, romeo);
  await orchard.sends(publish('n', 'b', 'x', { to }));
  await orchard.receives(result('<publish/>'));
  await balcony.receives(news(juliet, 'b', 'x'));
  await balcony.sends(mine);
  await balcony.receives(result(`<subscriptions><subscription node='n' jid='${juliet}'/></subscriptions>`));
  // She declines it for good.
  await balcony.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(`<iq type='result' id='p'/>`);
  await orchard.sends(makes(juliet, 'subscribed'));
  await orchard.receives(error('modify', 'not-acceptable'));
  await balcony.receivesNothing();
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result(`<subscription subscription='subscribed'/>`));
});

const stored = new MemoryStorage();
scenario(
  '§8.8.2: subscriptions made by an owner, and declined ones, are known after a restart',
  { storage: () => stored },
  async ({ actor, stage }) => {
    const { orchard, balcony, tomb } = await three(actor);
    await knows(tomb, romeo);
    for (const jid of [juliet, paris]) {
      await orchard.sends(makes(jid, 'subscribed'));
      await orchard.receives(result());
    }
    await tomb.receives(event(service, paris, subscription(paris, 'subscribed')));
    await tomb.sends(pubsub('set', `<unsubscribe node='n' jid='${paris}'/>`, service));
    await tomb.receives(`<iq type='result' id='p'/>`);
    await balcony.receivesNothing();
    await stage.restart();
    const again = await actor(`${romeo}/orchard`, { presence: true });
    const later = await actor(`${juliet}/balcony`, { presence: true });
    await again.sends(publish('n', 'a', 'x', { to }));
    await again.receives(result('<publish/>'));
    await later.receivesNothing();
    await again.sends(makes(paris, 'subscribed'));
    await again.receives(error('modify', 'not-acceptable'));
  },
);

scenario("§6.1: a subscription made by an owner becomes the user's own when they request it", async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  await orchard.sends(makes(juliet, 'subscribed'));
  await orchard.receives(result());
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result(`<subscription subscription='subscribed'/>`));
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result('<publish/>'));
  await balcony.receives(news(juliet, 'a', 'x'));
});

scenario(
  '§8.8.2: subscriptions that an owner makes for others count for the owner',
  { config: { modules: { pubsub: { subscriptions_per_user: 2 } } }, alone: true },
  async ({ actor }) => {
    const { orchard, balcony } = await three(actor);
    const nodes = ['n', 'n2', 'n3'];
    for (const node of nodes.slice(1)) {
      await orchard.sends(create(node, undefined, service));
      await orchard.receives(result());
    }
    for (const node of nodes.slice(0, 2)) {
      await orchard.sends(makes(juliet, 'subscribed', node));
      await orchard.receives(result());
    }
    await orchard.sends(makes(juliet, 'subscribed', 'n3'));
    await orchard.receives(error('wait', 'policy-violation', 'too-many-subscriptions'));
    await balcony.sends(pubsub('set', `<subscribe node='n3' jid='${juliet}'/>`, service));
    await balcony.receives(result(`<subscription subscription='subscribed'/>`));
    await orchard.sends(makes(juliet, 'none'));
    await orchard.receives(result());
    await orchard.sends(makes('paris@localhost', 'subscribed'));
    await orchard.receives(result());
  },
);

scenario('§8.2, §8.4: subscribers are notified of a changed configuration and of the deletion', async ({ actor }) => {
  const { orchard, balcony } = await three(actor, { notify_config: '1' });
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  await orchard.sends(configure('n', { title: 'Other news' }, service));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, `<configuration node='n'/>`));
  await orchard.sends(owner('set', `<delete node='n'><redirect uri='xmpp:elsewhere?;node=n'/></delete>`, service));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, `<delete node='n'><redirect uri='xmpp:elsewhere?;node=n'/></delete>`));
  for (const inner of [`<subscribe node='n' jid='${juliet}'/>`, `<unsubscribe node='n' jid='${juliet}'/>`]) {
    await balcony.sends(pubsub('set', inner, service));
    await balcony.receives(
      `<iq type='error' id='p'><error><gone xmlns='${NS.stanzas}'>xmpp:elsewhere?;node=n</gone></error></iq>`,
    );
  }
  await balcony.sends(pubsub('get', `<items node='n'/>`, service));
  await balcony.receives(`<iq type='error' id='p'><error><gone xmlns='${NS.stanzas}'/></error></iq>`);
  await orchard.sends(create('n', undefined, service));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.receivesNothing(); // of a new node
});

scenario('a deleted account leaves no rights behind', async ({ actor, server }) => {
  const { orchard, balcony } = await three(actor);
  await orchard.sends(
    owner('set', `<affiliations node='n'><affiliation jid='${juliet}' affiliation='owner'/></affiliations>`, service),
  );
  await orchard.receives(result());
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  await server.accounts.remove(juliet);
  const again = await actor(`${juliet}/balcony`, { presence: true });
  await again.sends(owner('get', `<configure node='n'/>`, service));
  await again.receives(error('auth', 'forbidden'));
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await again.receivesNothing();
});

// --- §5 discovery -----------------------------------------------------------------------------------------------------

scenario('§5: the service, its nodes, their metadata and items', async ({ actor }) => {
  const { orchard, balcony } = await three(actor, { title: 'News', type: 'urn:example:entry' });
  await orchard.sends(create('secret', { access_model: 'whitelist' }, service));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  const info = (node = '') => `<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoInfo}'${node}/></iq>`;
  await balcony.sends(info());
  await balcony.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><identity category='pubsub' type='service'/><feature var='${NS.pubsub}'/><feature var='${NS.pubsub}#publish'/></query></iq>`,
  );
  await balcony.sends(info(` node='n'`));
  await balcony.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}' node='n'><identity category='pubsub' type='leaf'/>
      <x xmlns='${NS.dataForms}' type='result'><field var='FORM_TYPE'><value>${NS.pubsub}#meta-data</value></field>
        <field var='pubsub#title'><value>News</value></field><field var='pubsub#owner'><value>${romeo}</value></field></x></query></iq>`,
  );
  // §5.3: the metadata of a node can be queried without read access, except that a closed node only reveals that it is
  // closed
  await balcony.sends(info(` node='secret'`));
  const closed = await balcony.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}' node='secret'><identity category='pubsub' type='leaf'/>
      <feature var='${NS.pubsub}'/>
      <x xmlns='${NS.dataForms}' type='result'><field var='FORM_TYPE' type='hidden'><value>${NS.pubsub}#meta-data</value></field>
        <field var='pubsub#access_model' type='list-single'><value>whitelist</value></field></x></query></iq>`,
  );
  assert.doesNotMatch(String(closed), /owner|creator|title/);
  await balcony.sends(info(` node='none'`));
  await balcony.receives(error('cancel', 'item-not-found'));
  await balcony.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}'/></iq>`);
  const listed = await balcony.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoItems}'><item jid='${service}' node='n' name='News'/></query></iq>`,
  );
  assert.equal(listed.getChild('query')!.getChildren('item').length, 1);
  await balcony.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}' node='secret'/></iq>`);
  await balcony.receives(error('cancel', 'not-allowed'));
  await balcony.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}' node='n'/></iq>`);
  await balcony.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoItems}' node='n'><item jid='${service}' name='a'/></query></iq>`,
  );
});

scenario('§5.3, §5.4: a user who needs approval for a node can see its metadata', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  for (const access_model of ['authorize', 'presence', 'roster'])
    for (const to of [service, undefined]) {
      await orchard.sends(create(access_model, { access_model, title: 'News' }, to));
      await orchard.receives(result());
    }
  await subscribes(balcony, orchard);
  for (const model of ['authorize', 'presence', 'roster'])
    for (const to of [service, romeo]) {
      await balcony.sends(`<iq type='get' id='p' to='${to}'><query xmlns='${NS.discoInfo}' node='${model}'/></iq>`);
      await balcony.receives(`<iq type='result' id='p'><query xmlns='${NS.discoInfo}' node='${model}'>
        <identity category='pubsub' type='leaf'/><feature var='${NS.pubsub}'/>
        <x xmlns='${NS.dataForms}' type='result'><field var='pubsub#title'><value>News</value></field>
          <field var='pubsub#access_model'><value>${model}</value></field></x></query></iq>`);
    }
});

scenario('§5.2, XEP-0059: many nodes are listed in pages, requested or not', async ({ actor }) => {
  const { orchard, balcony } = await three(actor);
  const names = Array.from({ length: 120 }, (_, n) => `page-${String(n).padStart(3, '0')}`);
  for (const name of names.slice(0, 90)) await orchard.sends(create(name, { title: 'x'.repeat(1000) }, service));
  for (const name of names.slice(90)) await balcony.sends(create(name, { title: 'x'.repeat(1000) }, service));
  await orchard.syncs();
  await balcony.syncs();
  for (const peer of [orchard, balcony]) peer.forgets();
  const page = async (set: string) => {
    await balcony.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}'>${set}</query></iq>`);
    const listed = (await balcony.receives(`<iq type='result' id='p'/>`)).getChildElements()[0]!;
    const nodes = listed.getChildren('item').map(({ attrs }) => attrs.node!);
    return { nodes, set: listed.getChild('set', NS.rsm) };
  };
  const rsm = (inner: string) => `<set xmlns='${NS.rsm}'>${inner}</set>`;
  const all: string[] = [];
  for (let after = ''; ; ) {
    const { nodes, set } = await page(rsm(`<max>50</max><after>${after}</after>`));
    assert.ok(nodes.length <= 50);
    if (nodes.length === 0) break;
    assert.equal(set?.getChildText('first'), nodes[0]);
    assert.equal(Number(set?.getChild('first')?.attrs.index), all.length);
    all.push(...nodes);
    after = nodes.at(-1)!;
  }
  for (const name of names) assert.equal(all.filter((one) => one === name).length, 1);
  assert.deepEqual((await page(rsm('<max>2</max><before/>'))).nodes, all.slice(-2));
  const counted = await page(rsm('<max>0</max>'));
  assert.deepEqual([counted.nodes, counted.set?.getChildText('count')], [[], String(all.length)]);
  await balcony.sends(
    `<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}'>${rsm('<after>none</after>')}</query></iq>`,
  );
  await balcony.receives(error('cancel', 'item-not-found'));
});
