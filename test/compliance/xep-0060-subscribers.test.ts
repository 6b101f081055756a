/** XEP-0060 §6.1 to §6.4, §8.6 to §8.9, §12: subscriptions with all their options. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenario } from './dialogue.js';
import { create, error, event, owner, payload, publish, pubsub, result, submitted } from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const paris = 'paris@localhost';
const service = 'pubsub.localhost';
const to = service;

const subscription = (jid: string, state: string): string =>
  `<subscription node='n' jid='${jid}' subscription='${state}'/>`;
const subscribe = (jid: string, options?: Parameters<typeof submitted>[1]): string =>
  pubsub(
    'set',
    `<subscribe node='n' jid='${jid}'/>${
      options === undefined ? '' : `<options>${submitted('subscribe_options', options)}</options>`
    }`,
    service,
  );
const setOptions = (jid: string, options: Parameters<typeof submitted>[1]): string =>
  pubsub('set', `<options node='n' jid='${jid}'>${submitted('subscribe_options', options)}</options>`, service);
const news = (address: string, id: string, text: string): string =>
  event(service, address, `<items node='n'><item id='${id}' publisher='${romeo}'>${payload(text)}</item></items>`);

type Actor = (address: string, options?: { presence: true }) => Promise<Peer>;

/** Romeo owns the node n; both are there. */
async function two(actor: Actor, options?: Parameters<typeof create>[1]) {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  await orchard.sends(create('n', options, service));
  await orchard.receives(result());
  return { orchard, balcony };
}

async function publishes(peer: Peer, id: string, text = 'x'): Promise<void> {
  await peer.sends(publish('n', id, text, { to }));
  await peer.receives(result());
}

// --- options (§6.3) -----------------------------------------------------------------------------------------------------

scenario('§6.3.2, §6.4: options are offered and returned', async ({ actor }) => {
  const { balcony } = await two(actor);
  await balcony.sends(subscribe(juliet, { deliver: '1', 'show-values': ['chat', 'online'] }));
  const values = `<field var='pubsub#deliver'><value>1</value></field><field var='pubsub#show-values'><value>chat</value><value>online</value></field><field var='pubsub#subscription_depth'><value>1</value></field>`;
  await balcony.receives(
    result(
      `${subscription(juliet, 'subscribed')}<options><x xmlns='${NS.dataForms}' type='form'>${values}</x></options>`,
    ),
  );
  await balcony.sends(pubsub('get', `<options node='n' jid='${juliet}'/>`, service));
  await balcony.receives(
    result(`<options node='n' jid='${juliet}'><x xmlns='${NS.dataForms}' type='form'>${values}</x></options>`),
  );
  await balcony.sends(pubsub('get', `<default node='n'/>`, service));
  await balcony.receives(result(`<default node='n'><x xmlns='${NS.dataForms}' type='form'/></default>`));
});

scenario('§6.3.4, §6.3.6.2, §6.3.7: access to options, and invalid ones', async ({ actor }) => {
  const { orchard, balcony } = await two(actor);
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  const about = (attributes: string) => pubsub('get', `<options ${attributes}/>`, service);
  const wrong: readonly (readonly [string, string])[] = [
    [about(`node='n'`), error('modify', 'bad-request', 'jid-required')],
    [about(`node='n' jid='${romeo}'`), error('auth', 'forbidden')],
    [about(`jid='${juliet}'`), error('modify', 'bad-request', 'nodeid-required')],
    [about(`node='m' jid='${juliet}'`), error('cancel', 'item-not-found')],
    [about(`node='n' jid='${juliet}/balcony'`), error('wait', 'unexpected-request', 'not-subscribed')],
    [setOptions(juliet, { digest: '1' }), error('modify', 'bad-request', 'invalid-options')],
    [setOptions(juliet, { 'show-values': 'merry' }), error('modify', 'bad-request', 'invalid-options')],
    [setOptions(juliet, { expire: 'tomorrow' }), error('modify', 'bad-request', 'invalid-options')],
    [setOptions(juliet, { expire: '2001-01-01T00:00:00Z' }), error('modify', 'bad-request', 'invalid-options')],
    [setOptions(juliet, { subscription_type: 'nodes' }), error('modify', 'bad-request', 'invalid-options')],
    [setOptions(juliet, { include_body: '1' }), error('modify', 'bad-request', 'invalid-options')],
    [pubsub('set', `<options node='n' jid='${juliet}'/>`, service), error('modify', 'bad-request', 'invalid-options')],
    [
      pubsub(
        'set',
        `<subscribe node='n' jid='${juliet}'/><options node='n'>${submitted('subscribe_options', {})}</options>`,
        service,
      ),
      error('modify', 'bad-request'),
    ],
    [pubsub('set', `<unsubscribe node='n' jid='${romeo}'/>`, service), error('auth', 'forbidden')], // §6.2.3.3
    [pubsub('set', `<unsubscribe node='m' jid='${juliet}'/>`, service), error('cancel', 'item-not-found')],
  ];
  for (const [request, refused] of wrong) {
    await balcony.sends(request);
    await balcony.receives(refused);
  }
  await balcony.sends(setOptions(juliet, { digest: '0', deliver: '0' }));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  await balcony.receivesNothing();
  await balcony.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(result(subscription(juliet, 'none')));
});

scenario('§6.3 pubsub#show-values: notifications depend on availability', async ({ actor }) => {
  const { orchard, balcony } = await two(actor);
  await balcony.sends(subscribe(juliet, { 'show-values': ['chat', 'online'] }));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  await balcony.receives(news(juliet, 'a', 'x'));
  await balcony.sends(`<presence><show>dnd</show></presence>`);
  await balcony.receives(`<presence/>`);
  await publishes(orchard, 'b');
  await balcony.receivesNothing();
  await balcony.sends(`<presence><show>chat</show></presence>`);
  await balcony.syncs();
  balcony.forgets();
  await publishes(orchard, 'c');
  await balcony.receives(news(juliet, 'c', 'x'));
});

scenario('§12.7 pubsub#include_body: notifications with a text', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { type: NS.atom });
  await balcony.sends(subscribe(juliet, { include_body: '1' }));
  await balcony.receives(result());
  const entry = `<entry xmlns='${NS.atom}'><title>Soliloquy</title><summary>To be</summary></entry>`;
  await orchard.sends(pubsub('set', `<publish node='n'><item id='a'>${entry}</item></publish>`, service));
  await orchard.receives(result());
  await balcony.receives(
    `<message type='headline' from='${service}'><event xmlns='${NS.pubsubEvent}'/><body>Soliloquy\nTo be</body></message>`,
  );
  await publishes(orchard, 'b'); // in no words that we know
  await balcony.receives(news(juliet, 'b', 'x'));
});

scenario('§12.4: presence-based subscriptions', async ({ actor }) => {
  const { orchard, balcony } = await two(actor);
  await balcony.sends(subscribe(`${juliet}/balcony`, { expire: 'presence' }));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  await balcony.receives(news(`${juliet}/balcony`, 'a', 'x'));
  await balcony.sends(`<presence type='unavailable'/>`);
  await balcony.receives(`<presence type='unavailable'/>`);
  await balcony.sends('<presence/>');
  await balcony.receives('<presence/>');
  await balcony.sends(pubsub('get', '<subscriptions/>', service));
  await balcony.receives(result('<subscriptions/>'), { exactly: false });
  await publishes(orchard, 'b');
  await balcony.receivesNothing();
});

scenario('§12.4 pubsub#tempsub: required by the owner', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { tempsub: '1' });
  const chamber = await actor(`${juliet}/chamber`, { presence: true });
  await balcony.syncs();
  balcony.forgets();
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  await balcony.sends(`<presence type='unavailable'/>`);
  await balcony.syncs();
  await chamber.syncs();
  chamber.forgets();
  await publishes(orchard, 'a');
  await chamber.receives(news(juliet, 'a', 'x')); // one of hers is still there
  await chamber.sends(`<presence type='unavailable'/>`);
  await chamber.syncs();
  await orchard.sends(owner('get', `<subscriptions node='n'/>`, service));
  const answer = await orchard.receives(result(`<subscriptions node='n'/>`, NS.pubsubOwner));
  if (answer.getChild('pubsub')!.getChild('subscriptions')!.getChildElements().length > 0)
    throw new Error('still there');
});

scenario('§12.18: a lease expires', async ({ actor }) => {
  const { orchard, balcony } = await two(actor);
  const soon = new Date(Date.now() + 60_000).toISOString();
  await balcony.sends(subscribe(juliet, { expire: soon }));
  await balcony.receives(
    result(`<options><x xmlns='${NS.dataForms}'><field var='pubsub#expire'><value>*</value></field></x></options>`),
  );
  // Renewed (§12.18), the next is not
  await balcony.sends(setOptions(juliet, { expire: new Date(Date.now() + 3_600_000).toISOString() }));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  await balcony.receives(news(juliet, 'a', 'x'));
  const over = new Date(Date.now() + 1500);
  await balcony.sends(setOptions(juliet, { expire: over.toISOString() }));
  await balcony.receives(result());
  while (Date.now() <= over.getTime()) await balcony.syncs();
  await balcony.sends(pubsub('get', '<subscriptions/>', service));
  const answer = await balcony.receives(result('<subscriptions/>'));
  if (answer.getChild('pubsub')!.getChild('subscriptions')!.getChildElements().length > 0) throw new Error('not over');
  await publishes(orchard, 'b');
  await balcony.receivesNothing();
});

scenario('§12.5 pubsub#presence_based_delivery: only to available subscribers', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { presence_based_delivery: '1', notification_type: 'normal' });
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  await balcony.receives(
    `<message from='${service}'><event xmlns='${NS.pubsubEvent}'><items node='n'/></event></message>`,
  );
  await balcony.sends(`<presence type='unavailable'/>`);
  await balcony.receives(`<presence type='unavailable'/>`);
  await publishes(orchard, 'b');
  await balcony.sends('<presence/>'); // events are not stored for later, but the last item is sent
  await balcony.receives('<presence/>');
  await balcony.receives(
    `<message from='${service}' to='${juliet}/balcony'><event xmlns='${NS.pubsubEvent}'><items><item id='b'/></items></event><delay xmlns='${NS.delay}'/></message>`,
  );
  await balcony.receivesNothing();
});

scenario('§4.3: the last item is sent on presence, once', async ({ actor }) => {
  const { orchard, balcony } = await two(actor);
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  await balcony.receives(news(juliet, 'a', 'x'));
  const chamber = await actor(`${juliet}/chamber`);
  await chamber.sends('<presence/>');
  await chamber.receivesAnyOrder([
    `<presence from='${juliet}/balcony'/>`,
    `<presence from='${juliet}/chamber'/>`,
    news(`${juliet}/chamber`, 'a', 'x'),
  ]);
  await chamber.sends('<presence><show>away</show></presence>');
  await chamber.receives('<presence/>');
  await chamber.receivesNothing();
});

// --- bounds -------------------------------------------------------------------------------------------------------------

scenario(
  '§6.1.3.9: limits on subscriptions of a user and on pending ones',
  { config: { modules: { pubsub: { subscriptions_per_user: 2, pending_per_node: 1 } } } },
  async ({ actor }) => {
    const { orchard, balcony } = await two(actor, { access_model: 'authorize' });
    const tomb = await actor(`${paris}/tomb`);
    await orchard.sends(create('o', undefined, service));
    await orchard.receives(result());
    await balcony.sends(subscribe(juliet));
    await balcony.receives(result(subscription(juliet, 'pending')));
    await orchard.receives(`<message from='${service}'/>`);
    await tomb.sends(subscribe(paris));
    await tomb.receives(error('wait', 'policy-violation', 'too-many-subscriptions'));
    await orchard.receivesNothing();
    for (const [jid, refused] of [
      [juliet, undefined],
      [`${juliet}/balcony`, error('wait', 'policy-violation', 'too-many-subscriptions')],
      [juliet, undefined], // repeating it adds none
    ] as const) {
      await balcony.sends(pubsub('set', `<subscribe node='o' jid='${jid}'/>`, service));
      await balcony.receives(refused ?? result());
    }
  },
);

// --- owners -------------------------------------------------------------------------------------------------------------

scenario('pubsub#notify_sub: owners are notified of subscriptions', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { notify_sub: '1' });
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result());
  await orchard.receives(event(service, romeo, subscription(juliet, 'subscribed')));
  await balcony.sends(subscribe(juliet)); // nothing new
  await balcony.receives(result());
  await balcony.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(result());
  await orchard.receives(event(service, romeo, subscription(juliet, 'none')));
  await orchard.receivesNothing();
});

scenario('§8.7: pending subscriptions are listed again, and approved by an affiliation', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { access_model: 'authorize' });
  const tomb = await actor(`${paris}/tomb`, { presence: true });
  for (const [peer, jid] of [
    [balcony, juliet],
    [tomb, paris],
  ] as const) {
    await peer.sends(subscribe(jid));
    await peer.receives(result(subscription(jid, 'pending')));
    await orchard.receives(`<message from='${service}'/>`);
  }
  await orchard.sends(owner('get', `<subscriptions node='n'/>`, service)); // §8.8.1.2: not those
  const listed = await orchard.receives(result(`<subscriptions node='n'/>`, NS.pubsubOwner));
  if (listed.getChild('pubsub')!.getChild('subscriptions')!.getChildElements().length > 0) throw new Error('listed');
  const command = (inner: string, session = '') =>
    `<iq type='set' id='c' to='${service}'><command xmlns='${NS.commands}' node='${NS.pubsub}#get-pending'${session}>${inner}</command></iq>`;
  await balcony.sends(command(''));
  await balcony.receives(
    `<iq type='error' id='c'><error type='cancel'><forbidden xmlns='${NS.stanzas}'/></error></iq>`,
  );
  await orchard.sends(command(''));
  await orchard.receives(
    `<iq type='result' id='c'><command xmlns='${NS.commands}' sessionid='{session}' status='executing'><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#node'><option><value>n</value></option></field></x></command></iq>`,
  );
  const chosen = `<x xmlns='${NS.dataForms}' type='submit'><field var='pubsub#node'><value>n</value></field></x>`;
  await orchard.sends(command(chosen, ` sessionid='{session}'`));
  await orchard.receives(`<iq type='result' id='c'><command xmlns='${NS.commands}' status='completed'/></iq>`);
  await orchard.receivesAnyOrder(
    [juliet, paris].map(
      (jid) =>
        `<message from='${service}' to='${romeo}'><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#subscriber_jid'><value>${jid}</value></field></x></message>`,
    ),
  );
  const affiliation = (jid: string, what: string) =>
    owner('set', `<affiliations node='n'><affiliation jid='${jid}' affiliation='${what}'/></affiliations>`, service);
  await orchard.sends(affiliation(juliet, 'publisher'));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, subscription(juliet, 'subscribed')));
  await orchard.sends(affiliation(paris, 'outcast'));
  await orchard.receives(result());
  await tomb.receives(event(service, paris, subscription(paris, 'none')));
  // The form cannot be used up again
  await orchard.sends(command(chosen, ` sessionid='{session}'`));
  await orchard.receives(`<iq type='error' id='c'/>`);
});

scenario("§8.6: an owner of another account's node approves subscriptions too", async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const tomb = await actor(`${paris}/tomb`, { presence: true });
  await orchard.sends(publish('n', 'a', 'x', { options: { access_model: 'authorize' } }));
  await orchard.receives(result());
  await orchard.sends(
    owner('set', `<affiliations node='n'><affiliation jid='${juliet}' affiliation='owner'/></affiliations>`),
  );
  await orchard.receives(result());
  await tomb.sends(pubsub('set', `<subscribe node='n' jid='${paris}'/>`, romeo));
  await tomb.receives(result(subscription(paris, 'pending')));
  for (const peer of [orchard, balcony]) await peer.receives(`<message from='${romeo}'/>`);
  const answer = submitted('subscribe_authorization', { node: 'n', subscriber_jid: paris, allow: '1' });
  await tomb.sends(`<message to='${romeo}' type='chat'>${answer}</message>`); // not from the owner
  await orchard.receives(`<message from='${paris}/tomb' type='chat'/>`);
  await tomb.receivesNothing();
  await balcony.sends(`<message to='${romeo}'>${answer}</message>`);
  await tomb.receives(event(romeo, paris, subscription(paris, 'subscribed')));
  await orchard.receivesNothing();
});

scenario('§8.6: a cancelled form leaves the subscription pending', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { access_model: 'authorize' });
  await balcony.sends(subscribe(juliet));
  await balcony.receives(result(subscription(juliet, 'pending')));
  await orchard.receives(`<message from='${service}'/>`);
  await orchard.sends(
    `<message to='${service}'>${submitted('subscribe_authorization', {}).replace(`type='submit'`, `type='cancel'`)}</message>`,
  );
  await orchard.syncs();
  await balcony.sends(subscribe(juliet));
  await balcony.receives(error('auth', 'not-authorized', 'pending-subscription'));
  // §8.4.2: it is notified of the deletion of the node
  await orchard.sends(owner('set', `<delete node='n'/>`, service));
  await orchard.receives(result());
  await balcony.receives(event(service, juliet, `<delete node='n'/>`));
});

scenario('§4.1, §8.9.2.4: allowed changes of affiliations; several are applied atomically', async ({ actor }) => {
  const { orchard } = await two(actor);
  const set = (...entries: readonly (readonly [string, string])[]) =>
    owner(
      'set',
      `<affiliations node='n'>${entries.map(([jid, one]) => `<affiliation jid='${jid}' affiliation='${one}'/>`).join('')}</affiliations>`,
      service,
    );
  const refused = (...entries: readonly (readonly [string, string])[]) =>
    `<iq type='error' id='p'><pubsub xmlns='${NS.pubsubOwner}'><affiliations node='n'>${entries
      .map(([jid, one]) => `<affiliation jid='${jid}' affiliation='${one}'/>`)
      .join('')}</affiliations></pubsub><error type='modify'><not-acceptable xmlns='${NS.stanzas}'/></error></iq>`;
  await orchard.sends(set([juliet, 'owner'], [paris, 'publisher']));
  await orchard.receives(result());
  await orchard.sends(set([juliet, 'outcast'], [paris, 'none']));
  await orchard.receives(refused([juliet, 'owner'], [paris, 'publisher']));
  await orchard.sends(set([paris, 'member']));
  await orchard.receives(refused([paris, 'publisher']));
  await orchard.sends(set([juliet, 'none']));
  await orchard.receives(refused([juliet, 'owner'])); // she resigns
  await orchard.sends(set([paris, 'none'], [paris, 'outcast']));
  await orchard.receives(error('modify', 'bad-request'));
  await orchard.sends(set([romeo, 'none']));
  await orchard.receives(result()); // there is another
  await orchard.sends(set([paris, 'none']));
  await orchard.receives(error('auth', 'forbidden'));
});

scenario('§8.8.2.4: several subscriptions are changed atomically', async ({ actor }) => {
  const { orchard, balcony } = await two(actor);
  await orchard.sends(
    owner(
      'set',
      `<subscriptions node='n'><subscription jid='${juliet}' subscription='subscribed'/><subscription jid='${paris}' subscription='king'/></subscriptions>`,
      service,
    ),
  );
  await orchard.receives(
    `<iq type='error' id='p'><pubsub xmlns='${NS.pubsubOwner}'><subscriptions node='n'><subscription jid='${juliet}' subscription='none'/><subscription jid='${paris}' subscription='none'/></subscriptions></pubsub><error type='modify'><not-acceptable xmlns='${NS.stanzas}'/></error></iq>`,
  );
  await balcony.receivesNothing();
});

scenario('§12.3: a permanently unreachable subscriber is removed', async ({ actor }) => {
  const { orchard, balcony } = await two(actor, { notification_type: 'normal' });
  await balcony.sends(subscribe(`${juliet}/balcony`));
  await balcony.receives(result());
  await publishes(orchard, 'a');
  const reported = await balcony.receives(`<message from='${service}'/>`);
  const bounces = async (type: string, condition: string): Promise<number> => {
    await balcony.sends(
      `<message type='error' to='${service}' id='${reported.attrs.id}'>${reported.getChild('event')!.toString()}<error type='${type}'><${condition} xmlns='${NS.stanzas}'/></error></message>`,
    );
    await balcony.syncs();
    await balcony.sends(pubsub('get', '<subscriptions/>', service));
    const answer = await balcony.receives(result('<subscriptions/>'));
    return answer.getChild('pubsub')!.getChild('subscriptions')!.getChildElements().length;
  };
  // An outage and a policy may pass.
  for (const condition of ['not-allowed', 'remote-server-not-found', 'remote-server-timeout', 'policy-violation'])
    assert.equal(await bounces('cancel', condition), 1, condition);
  assert.equal(await bounces('cancel', 'gone'), 0);
});

// --- presence at the service ----------------------------------------------------------------------------------------------

scenario('§12.4, §12.5: presence shows that a subscriber on another server is online', async ({ actor }) => {
  const { orchard } = await two(actor, { presence_based_delivery: '1' });
  const nurse = await actor('nurse@elsewhere.example/hall');
  await nurse.sends(subscribe('nurse@elsewhere.example'));
  await nurse.receives(result());
  await publishes(orchard, 'a');
  await nurse.receivesNothing();
  await nurse.sends(`<presence to='${service}'/>`);
  await nurse.receives(news('nurse@elsewhere.example/hall', 'a', 'x')); // §4.3
  await nurse.sends('<presence/>');
  await nurse.receives('<presence/>');
  await publishes(orchard, 'b');
  await nurse.receives(news('nurse@elsewhere.example', 'b', 'x'));
  await nurse.sends(setOptions('nurse@elsewhere.example', { expire: 'presence' }));
  await nurse.receives(result());
  await nurse.sends(`<presence to='${service}' type='unavailable'/>`);
  await nurse.syncs();
  await nurse.sends(pubsub('get', '<subscriptions/>', service));
  const answer = await nurse.receives(result('<subscriptions/>'));
  if (answer.getChild('pubsub')!.getChild('subscriptions')!.getChildElements().length > 0)
    throw new Error('still there');
});

scenario(
  '§6.1.3.6: subscriptions of anonymous users end with their sessions',
  { config: { auth: { anonymous: true } } },
  async ({ actor, connect }) => {
    const orchard = await actor(`${romeo}/orchard`);
    await orchard.sends(create('n', undefined, service));
    await orchard.receives(result());
    const guest = await connect();
    await guest.opens();
    await guest.receivesFeatures();
    await guest.sends(`<auth xmlns='${NS.sasl}' mechanism='ANONYMOUS'/>`);
    await guest.receives(`<success xmlns='${NS.sasl}'/>`);
    await guest.opens();
    await guest.receivesFeatures();
    await guest.binds();
    await guest.sends('<presence/>');
    await guest.receives('<presence/>');
    await guest.sends(subscribe(guest.jid));
    await guest.receives(error('cancel', 'forbidden'));
    await guest.sends(subscribe(guest.jid, { expire: 'presence' }));
    await guest.receives(result());
  },
);

// --- several subscriptions (§6.1.6) ---------------------------------------------------------------------------------------

const lasting = new MemoryStorage();

scenario(
  '§6.1.6, §6.2.3, §6.3.4: an address has several subscriptions with different options',
  { storage: () => lasting },
  async ({ actor, stage }) => {
    const { orchard, balcony } = await two(actor);
    const subscribes = async (options?: Parameters<typeof submitted>[1]): Promise<string> => {
      await balcony.sends(subscribe(juliet, options));
      const answer = await balcony.receives(result(subscription(juliet, 'subscribed')));
      return answer.getChildElements()[0]!.getChild('subscription')!.attrs.subid!;
    };
    const first = await subscribes();
    // Subscribing again returns the existing subscription
    assert.equal(await subscribes(), first);
    assert.equal(await subscribes({ deliver: '1' }), first);
    await publishes(orchard, 'a');
    const alone = await balcony.receives(news(juliet, 'a', 'x'));
    assert.equal(alone.getChild('headers', NS.shim), undefined);
    const second = await subscribes({ 'show-values': ['chat'] });
    assert.notEqual(second, first);
    const third = await subscribes({ deliver: '0' });
    assert.equal(new Set([first, second, third]).size, 3);
    // §7.1.2.7: one notification, for those of them that want it
    const both = (id: string) =>
      news(juliet, id, 'x').replace(
        '</message>',
        `<headers xmlns='${NS.shim}'><header name='SubID'>${first}</header><header name='SubID'>${second}</header></headers></message>`,
      );
    await publishes(orchard, 'b');
    await balcony.receives(both('b'));
    await balcony.receivesNothing();
    await balcony.sends(pubsub('get', `<subscriptions node='n'/>`, service));
    const listed = await balcony.receives(`<iq type='result' id='p'/>`);
    const ids = listed.getChildElements()[0]!.getChild('subscriptions')!.getChildren('subscription');
    assert.deepEqual(ids.map(({ attrs }) => attrs.subid).sort(), [first, second, third].sort());

    const required = error('modify', 'bad-request', 'subid-required');
    const invalid = error('modify', 'not-acceptable', 'invalid-subid');
    const options = submitted('subscribe_options', { deliver: '0' });
    for (const [type, name, inner] of [
      ['set', 'unsubscribe', ''],
      ['get', 'options', ''],
      ['set', 'options', options],
    ] as const) {
      await balcony.sends(pubsub(type, `<${name} node='n' jid='${juliet}'>${inner}</${name}>`, service));
      await balcony.receives(required);
      await balcony.sends(pubsub(type, `<${name} node='n' jid='${juliet}' subid='x'>${inner}</${name}>`, service));
      await balcony.receives(invalid);
    }
    await balcony.sends(pubsub('get', `<items node='n'/>`, service));
    await balcony.receives(required);
    await balcony.sends(pubsub('get', `<items node='n' subid='x'/>`, service));
    await balcony.receives(invalid);
    await balcony.sends(pubsub('get', `<items node='n' subid='${second}'/>`, service));
    await balcony.receives(`<iq type='result' id='p'/>`);

    // They are there after a restart
    await stage.restart();
    const again = await actor(`${juliet}/balcony`, { presence: true });
    again.forgets();
    const romeos = await actor(`${romeo}/orchard`, { presence: true });
    await publishes(romeos, 'c');
    await again.receives(both('c'));
    await again.sends(
      pubsub('set', `<options node='n' jid='${juliet}' subid='${second}'>${options}</options>`, service),
    );
    await again.receives(result());
    await again.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}' subid='${first}'/>`, service));
    await again.receives(result(`<subscription node='n' jid='${juliet}' subid='${first}' subscription='none'/>`));
    await publishes(romeos, 'd');
    await again.receivesNothing();
    // An owner ends all of them
    await romeos.sends(
      owner(
        'set',
        `<subscriptions node='n'><subscription jid='${juliet}' subscription='none'/></subscriptions>`,
        service,
      ),
    );
    await romeos.receives(result());
    await again.receivesAnyOrder(
      [second, third].map((subid) =>
        event(service, juliet, `<subscription node='n' jid='${juliet}' subid='${subid}' subscription='none'/>`),
      ),
    );
    await again.sends(pubsub('get', `<subscriptions node='n'/>`, service));
    await again.receives(result(`<subscriptions node='n'/>`));
  },
);

scenario(
  'XEP-0248 §5.1.3: subscriptions to the items and to the nodes of a collection send nothing twice',
  async ({ actor }) => {
    const { balcony } = await two(actor, { node_type: 'collection' });
    for (const type of ['nodes', 'items']) {
      await balcony.sends(subscribe(juliet, { subscription_type: type }));
      await balcony.receives(result(subscription(juliet, 'subscribed')));
    }
    await balcony.sends(subscribe(juliet, { subscription_type: 'items', subscription_depth: 'all' }));
    await balcony.receives(error('cancel', 'conflict'));
  },
);

scenario('§6.1.3.9: subscriptions are limited', async ({ actor }) => {
  const { balcony } = await two(actor);
  const shows = ['away', 'chat', 'dnd', 'xa'];
  for (let n = 1; n <= 10; n++) {
    await balcony.sends(subscribe(juliet, { 'show-values': shows.filter((_, bit) => (n >> bit) % 2 === 1) }));
    await balcony.receives(result(subscription(juliet, 'subscribed')));
  }
  await balcony.sends(subscribe(juliet, { deliver: '0' }));
  await balcony.receives(error('wait', 'policy-violation', 'too-many-subscriptions'));
});
