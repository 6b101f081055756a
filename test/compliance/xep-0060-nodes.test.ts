/** XEP-0060 §7 and §8: all options of nodes, as configuration and as preconditions; bounds; what else is done with nodes. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { appears } from './capabilities.js';
import { scenario } from './dialogue.js';
import {
  configure,
  create,
  error,
  event,
  type Options,
  owner,
  payload,
  publish,
  pubsub,
  result,
  submitted,
} from './pubsub.js';

const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const service = 'pubsub.localhost';
const to = service;
const ids = (...names: string[]): string => names.map((id) => `<item id='${id}'/>`).join('');
const items = (inner = '', attributes = ''): string => `<items node='n'${attributes}>${inner}</items>`;

/** Every option of §16.4.4 with a value that is not the usual one. */
const options: Options = {
  access_model: 'authorize',
  body_xslt: 'http://example.org/body.xslt',
  contact: ['bard@localhost', 'clown@elsewhere.example'],
  dataform_xslt: 'http://example.org/form.xslt',
  deliver_notifications: '0',
  deliver_payloads: '0',
  description: 'What is new',
  item_expire: '604800',
  itemreply: 'owner',
  language: 'en',
  max_items: '7',
  max_payload_size: '1028',
  node_type: 'leaf',
  notification_type: 'normal',
  notify_config: '1',
  notify_delete: '0',
  notify_retract: '0',
  notify_sub: '1',
  persist_items: '1',
  presence_based_delivery: '1',
  publish_model: 'subscribers',
  publish_node_full: 'reject',
  purge_offline: '1',
  roster_groups_allowed: ['Friends', 'Foes'],
  send_last_published_item: 'on_sub',
  tempsub: '1',
  subscribe: '0',
  title: 'News',
  type: 'urn:example:type',
};

const fieldsOf = (all: Options): string =>
  Object.entries(all)
    .map(
      ([name, values]) =>
        `<field var='pubsub#${name}'>${[values]
          .flat()
          .map((value) => `<value>${value}</value>`)
          .join('')}</field>`,
    )
    .join('');

scenario('§8.2, §16.4.4: every option is stored and returned', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(create('n', options, service));
  await orchard.receives(result());
  await orchard.sends(owner('get', `<configure node='n'/>`, service));
  await orchard.receives(
    result(
      `<configure node='n'><x xmlns='${NS.dataForms}' type='form'>${fieldsOf(options)}</x></configure>`,
      NS.pubsubOwner,
    ),
  );
  await orchard.sends(owner('get', `<default type='leaf'/>`, service));
  await orchard.receives(result(`<default><x xmlns='${NS.dataForms}' type='form'/></default>`, NS.pubsubOwner));
  // The static part is shown to those who may read (§5.4)
  await orchard.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoInfo}' node='n'/></iq>`);
  const { title, description, type, language, contact, max_items } = options;
  await orchard.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><x xmlns='${NS.dataForms}' type='result'>${fieldsOf({
      title: title!,
      description: description!,
      type: type!,
      language: language!,
      contact: contact!,
      max_items: max_items!,
    })}</x></query></iq>`,
  );
});

scenario('§7.1.5: every option is a precondition', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const all = { ...options, deliver_payloads: '1' };
  await orchard.sends(publish('n', 'a', 'x', { options: all }));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'a', 'x', { options: all }));
  await orchard.receives(result());
  await orchard.sends(publish('m', 'a', 'x'));
  await orchard.receives(result());
  for (const [name, value] of Object.entries(all)) {
    await orchard.sends(publish('n', 'a', 'x', { options: { [name]: value } }));
    await orchard.receives(result());
    if (['node_type', 'persist_items', 'deliver_payloads'].includes(name)) continue; // as usual
    await orchard.sends(publish('m', 'b', 'x', { options: { [name]: value } }));
    await orchard.receives(error('cancel', 'conflict', 'precondition-not-met'));
  }
});

scenario('§8.1: unsupported features', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const model = error('modify', 'not-acceptable', 'unsupported-access-model');
  const cases: readonly (readonly [string, string])[] = [
    [create('n', { access_model: 'secret' }, service), model],
    [create('n', { collection: 'all' }, service), error('cancel', 'item-not-found')],
    [create('n', { item_expire: '0' }, service), error('modify', 'not-acceptable')],
    [create('n', { contact: 'a@b@c' }, service), error('modify', 'not-acceptable')],
    [create('n', { itemreply: 'nobody' }, service), error('modify', 'not-acceptable')],
    [
      pubsub('set', `<create node='n'/><configure node='n'>${submitted('node_config', {})}</configure>`, service),
      error('modify', 'bad-request'),
    ],
    [
      pubsub('set', `<configure>${submitted('node_config', {})}</configure><create node='n'/>`, service),
      error('modify', 'bad-request'),
    ],
    [owner('get', '<configure/>', service), error('modify', 'bad-request', 'nodeid-required')],
    [
      owner('set', `<configure node='m'>${submitted('node_config', {})}</configure>`, service),
      error('cancel', 'item-not-found'),
    ],
  ];
  for (const [request, refused] of cases) {
    await orchard.sends(request);
    await orchard.receives(refused);
  }
  await orchard.sends(create('n', { collection: '', node_type: 'leaf' }, service));
  await orchard.receives(result());
  // §8.2.5.1
  await orchard.sends(
    owner('set', `<configure node='n'><x xmlns='${NS.dataForms}' type='cancel'/></configure>`, service),
  );
  await orchard.receives(result());
});

scenario('§4.3: events without items, payloads and publishers', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const subscribes = async () => {
    await balcony.sends(pubsub('set', `<subscribe node='n' jid='${juliet}'/>`, service));
    await balcony.receives(result());
  };
  await orchard.sends(create('n', { persist_items: '0', deliver_payloads: '0' }, service));
  await orchard.receives(result());
  await subscribes();
  await orchard.sends(pubsub('set', `<publish node='n'/>`, service));
  await orchard.receives(result(`<publish node='n'/>`), { exactly: false });
  const bare = await balcony.receives(event(service, juliet, items()));
  assert.equal(bare.getChild('event')!.getChild('items')!.getChildElements().length, 0);
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(error('modify', 'bad-request', 'item-forbidden'));
  await orchard.sends(configure('n', { persist_items: '1' }, service));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  const short = await balcony.receives(event(service, juliet, items(`<item id='a' publisher='${romeo}'/>`)));
  assert.equal(short.getChild('event')!.getChild('items')!.getChild('item')!.getChildElements().length, 0);
  await orchard.sends(configure('n', { deliver_payloads: '1', itemreply: 'none', notification_type: 'chat' }, service));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  const unnamed = await balcony.receives(
    `<message type='chat' from='${service}'><event xmlns='${NS.pubsubEvent}'>${items(`<item id='a'>${payload('x')}</item>`)}</event></message>`,
  );
  assert.equal(unnamed.getChild('event')!.getChild('items')!.getChild('item')!.attrs.publisher, undefined);
  await balcony.sends(pubsub('get', items(), service)); // §7.1.2.4: nor elsewhere
  const got = await balcony.receives(result(items(ids('a'))));
  assert.equal(got.getChild('pubsub')!.getChild('items')!.getChild('item')!.attrs.publisher, undefined);
  await orchard.sends(configure('n', { itemreply: 'owner' }, service));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'a', 'x', { to }));
  await orchard.receives(result());
  await balcony.receives(
    `<message type='chat' from='${service}'><event xmlns='${NS.pubsubEvent}'/><addresses xmlns='${NS.addresses}'><address type='replyto' jid='${romeo}'/></addresses></message>`,
  );
});

scenario("pubsub#purge_offline: items are purged with their publisher's last client", async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const garden = await actor(`${romeo}/garden`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  const open = { purge_offline: '1', max_items: 'max', publish_model: 'open' };
  await balcony.sends(create('n', open, service));
  await balcony.receives(result());
  await balcony.sends(pubsub('set', `<subscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(result());
  await balcony.sends(publish('n', 'hers', 'x', { to }));
  await balcony.receivesAnyOrder([result(), `<message type='headline' from='${service}'/>`]);
  await orchard.sends(publish('n', 'his', 'x', { to }));
  await orchard.sends(publish('own', 'a', 'x', { options: { purge_offline: '1' } }));
  await balcony.receives(`<message type='headline' from='${service}'/>`);
  await garden.sends(`<presence type='unavailable'/>`);
  await garden.syncs();
  await balcony.receivesNothing();
  await orchard.sends(`<presence type='unavailable'/>`);
  await balcony.receives(event(service, juliet, items(`<retract id='his'/>`)));
  await balcony.sends(pubsub('get', items(), service));
  const left = await balcony.receives(result(items(ids('hers'))));
  assert.equal(left.getChild('pubsub')!.getChild('items')!.getChildren('item').length, 1);
  await orchard.syncs();
  orchard.forgets();
  await orchard.sends(pubsub('get', `<items node='own'/>`));
  const own = await orchard.receives(result(`<items node='own'/>`));
  assert.equal(own.getChild('pubsub')!.getChild('items')!.getChildren('item').length, 0);
});

scenario('pubsub#item_expire: expired items are not returned', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish('n', 'a', 'x', { options: { item_expire: '1', max_items: '5' } }));
  await orchard.receives(result());
  const published = Date.now();
  while (Date.now() <= published + 1000) await orchard.syncs();
  await orchard.sends(pubsub('get', items()));
  const answer = await orchard.receives(result(items()));
  assert.equal(answer.getChild('pubsub')!.getChild('items')!.getChildren('item').length, 0);
});

scenario('§7.1.2.6: a full node deletes its oldest item, with a notification', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  await orchard.sends(create('n', { max_items: '1' }, service));
  await orchard.receives(result());
  await balcony.sends(pubsub('set', `<subscribe node='n' jid='${juliet}'/>`, service));
  await balcony.receives(result());
  for (const id of ['a', 'b']) {
    await orchard.sends(publish('n', id, id, { to }));
    await orchard.receives(result());
  }
  await balcony.receives(event(service, juliet, items(ids('a'))));
  await balcony.receives(event(service, juliet, items(`<retract id='a'/>`)));
  await balcony.receives(event(service, juliet, items(ids('b'))));
});

// --- bounds -------------------------------------------------------------------------------------------------------------

scenario(
  'the sizes of an account and of the service are limited',
  { config: { modules: { pubsub: { bytes_per_account: 10_000, service_bytes: 10_000 } } } },
  async ({ actor, server }) => {
    const orchard = await actor(`${romeo}/orchard`);
    const large = 'x'.repeat(4000);
    for (const at of [undefined, service]) {
      const where = at === undefined ? {} : { to: at };
      const more = { options: { max_items: 'max' }, ...where };
      for (const id of ['a', 'b']) {
        await orchard.sends(publish('n', id, large, more));
        await orchard.receives(result());
      }
      await orchard.sends(publish('n', 'c', large, more));
      await orchard.receives(error('wait', 'resource-constraint'));
      await orchard.sends(publish('n', 'a', large, more)); // in the place of another
      await orchard.receives(result());
      await orchard.sends(pubsub('set', `<retract node='n'>${ids('b')}</retract>`, at));
      await orchard.receives(result());
      await orchard.sends(publish('n', 'c', large, more));
      await orchard.receives(result());
      await orchard.sends(owner('set', `<delete node='n'/>`, at));
      await orchard.receives(result());
      await orchard.sends(publish('m', 'a', large, where));
      await orchard.receives(result());
    }
    const { text } = await server.metrics.text();
    for (const limit of ['pubsub.bytes_per_account', 'pubsub.service_bytes'])
      assert.ok(text.includes(`limit="${limit}"`));
  },
);

scenario(
  "one publisher gets a quarter of the service's free space, also after a restart",
  { alone: true, config: { modules: { pubsub: { service_bytes: 40_000, item_bytes: 1000 } } } },
  async ({ actor, stage }) => {
    const fill = async (name: string, node: string, prefix: string): Promise<number> => {
      const one = await actor(`${name}/orchard`);
      for (let n = 0; ; n++) {
        await one.sends(
          publish(node, `${prefix}${n}`, 'x'.repeat(900), { options: { max_items: 'max' }, to: service }),
        );
        const answer = await one.receivesAny();
        if (answer.attrs.type === 'result') continue;
        assert.equal(answer.getChild('error')!.attrs.type, 'wait');
        return n;
      }
    };
    const [first, second] = [await fill(romeo, 'n', 'a'), await fill(juliet, 'm', 'a')];
    assert.ok(first > 5 && first < 10 && second > 4 && second < first, `${first} and ${second}`);
    await stage.restart();
    assert.equal(await fill(romeo, 'n', 'b'), 0);
    assert.equal(await fill(juliet, 'm', 'b'), 0);
  },
);

scenario(
  'the usage of an account is known after a restart',
  { alone: true, config: { modules: { pubsub: { bytes_per_account: 10_000 } } } },
  async ({ actor, stage }) => {
    const orchard = await actor(`${romeo}/orchard`);
    for (const id of ['a', 'b']) {
      await orchard.sends(publish('n', id, 'x'.repeat(4000), { options: { max_items: 'max' } }));
      await orchard.receives(result());
    }
    await stage.restart();
    const again = await actor(`${romeo}/orchard`);
    await again.sends(publish('m', 'c', 'x'.repeat(4000)));
    await again.receives(error('wait', 'resource-constraint'));
    await again.sends(publish('m', 'c', 'x'));
    await again.receives(result());
  },
);

// --- discovery and order ------------------------------------------------------------------------------------------------

scenario('XEP-0462, XEP-0059: nodes by type, in pages', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  for (const [node, type] of [
    ['a', NS.microblog],
    ['b', ''],
    ['c', 'urn:example:comments'],
    ['d', NS.microblog],
  ] as const) {
    await orchard.sends(create(node, { type }, service));
    await orchard.receives(result());
  }
  const nodesFor = async (inner: string): Promise<unknown[]> => {
    await orchard.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}'>${inner}</query></iq>`);
    const answer = await orchard.receives(`<iq type='result' id='p'><query xmlns='${NS.discoItems}'/></iq>`);
    return answer
      .getChild('query')!
      .getChildren('item')
      .map(({ attrs }) => attrs.node);
  };
  const filter = (...fields: string[]): string =>
    `<filter xmlns='${NS.pubsubFilter}'><x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE' type='hidden'><value>${NS.pubsubFilter}</value></field>${fields.join('')}</x></filter>`;
  const field = (name: string, ...values: string[]): string =>
    `<field var='${name}-types' type='list-multi'>${values.map((value) => `<value>${value}</value>`).join('')}</field>`;
  assert.deepEqual(await nodesFor(''), ['a', 'b', 'c', 'd']);
  assert.deepEqual(await nodesFor(filter(field('included', NS.microblog))), ['a', 'd']);
  assert.deepEqual(await nodesFor(filter(field('included', NS.microblog, ''))), ['a', 'b', 'd']);
  assert.deepEqual(await nodesFor(filter(field('excluded', NS.microblog))), ['b', 'c']);
  assert.deepEqual(await nodesFor(filter(field('excluded', ''))), ['a', 'c', 'd']);
  assert.deepEqual(await nodesFor(`<set xmlns='${NS.rsm}'><max>2</max><after>a</after></set>`), ['b', 'c']);
  assert.deepEqual(await nodesFor(`<set xmlns='${NS.rsm}'><max>1</max><before/></set>`), ['d']);
  await orchard.sends(
    `<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoItems}'>${filter(field('included', 'x'), field('excluded', 'y'))}</query></iq>`,
  );
  await orchard.receives(error('modify', 'bad-request'));
});

scenario('XEP-0413: items ordered by creation or modification', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  for (const id of ['A', 'B', 'C', 'D', 'C', 'A']) {
    await orchard.sends(publish('n', id, 'x', { options: { max_items: 'max' } }));
    await orchard.receives(result());
  }
  const order = (by: string, more = '') => `<order xmlns='${NS.orderBy}' by='${by}'${more}/>`;
  const set = (inner: string) => `<set xmlns='${NS.rsm}'>${inner}</set>`;
  const cases: readonly (readonly [string, string, string])[] = [
    [items(), order('creation'), 'ABCD'],
    [items(), order('modification'), 'BDCA'],
    [items(), order('creation', ` desc='true'`), 'DCBA'],
    [items('', ` max_items='3'`), order('modification', ` desc='1'`), 'ACD'],
    [items(), order('modification') + set('<max>2</max>'), 'BD'],
    [items(), order('modification') + set('<max>2</max><after>D</after>'), 'CA'],
    [items(), order('creation', ` desc='true'`) + set('<max>2</max><after>C</after>'), 'BA'],
  ];
  for (const [asked, ordered, wanted] of cases) {
    await orchard.sends(pubsub('get', asked + ordered));
    const answer = await orchard.receives(result(items()));
    const found = answer.getChild('pubsub')!.getChild('items')!.getChildren('item');
    assert.equal(found.map(({ attrs }) => attrs.id).join(''), wanted, ordered);
  }
  await orchard.sends(pubsub('get', items() + order('colour')));
  await orchard.receives(error('cancel', 'feature-not-implemented'));
});

// --- XEP-0442 -----------------------------------------------------------------------------------------------------------

scenario('XEP-0442: the archive of a node, with the access rules of the node', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  for (const at of [undefined, service]) {
    const where = at === undefined ? {} : { to: at };
    for (const id of ['a', 'b', 'c']) {
      await orchard.sends(publish('n', id, id, { options: { max_items: 'max', access_model: 'open' }, ...where }));
      await orchard.receives(result());
    }
    const query = (inner = '', node = 'n') =>
      `<iq type='set' id='q' to='${at ?? romeo}'><query xmlns='${NS.mam}' queryid='f' node='${node}'>${inner}</query></iq>`;
    const found = (id: string, stamp: string) =>
      `<message from='${at ?? romeo}'><result xmlns='${NS.mam}' queryid='f' id='${stamp}'><forwarded xmlns='${NS.forward}'><delay xmlns='${NS.delay}'/><message xmlns='${NS.client}'><event xmlns='${NS.pubsubEvent}'><items node='n'><item id='${id}'>${payload(id)}</item></items></event></message></forwarded></result></message>`;
    const name = at === undefined ? 'own' : 'service';
    await balcony.sends(query());
    for (const id of ['a', 'b', 'c']) await balcony.receives(found(id, `{${name}${id}}`));
    await balcony.receives(
      `<iq type='result' id='q'><fin xmlns='${NS.mam}' complete='true'><set xmlns='${NS.rsm}'><first>{${name}a}</first><last>{${name}c}</last></set></fin></iq>`,
    );
    await balcony.sends(query(`<set xmlns='${NS.rsm}'><max>1</max><before>{${name}c}</before></set>`));
    await balcony.receives(found('b', `{${name}b}`));
    await balcony.receives(`<iq type='result' id='q'><fin xmlns='${NS.mam}'/></iq>`);
    await balcony.sends(query(`<order xmlns='${NS.orderBy}' by='creation' desc='true'/>`));
    for (const id of ['c', 'b', 'a']) await balcony.receives(found(id, `{${name}${id}}`));
    await balcony.receives(`<iq type='result' id='q'/>`);
    await balcony.sends(query('', 'm'));
    await balcony.receives(`<iq type='error' id='q'><error><item-not-found xmlns='${NS.stanzas}'/></error></iq>`);
    await orchard.sends(configure('n', { access_model: 'whitelist' }, at));
    await orchard.receives(result());
    await balcony.sends(query());
    await balcony.receives(`<iq type='error' id='q'><error><not-allowed xmlns='${NS.stanzas}'/></error></iq>`);
  }
  await balcony.sends(`<iq type='set' id='q' to='${romeo}'><query xmlns='${NS.mam}'/></iq>`);
  await balcony.receives(`<iq type='error' id='q'><error><forbidden xmlns='${NS.stanzas}'/></error></iq>`);
  await balcony.sends(`<iq type='get' id='p' to='${service}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await balcony.receives(
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><feature var='${NS.mam}'/></query></iq>`,
  );
});

// --- XEP-0465, XEP-0503 -------------------------------------------------------------------------------------------------

scenario('XEP-0465: public subscriptions', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor(`${juliet}/balcony`);
  const list = 'urn:xmpp:pps:subscribers:0/n';
  await orchard.sends(publish('n', 'a', 'x', { options: { access_model: 'open' } }));
  await orchard.receives(result());
  const subscribe = (inner: string) => pubsub('set', `<subscribe node='n' jid='${juliet}'>${inner}</subscribe>`, romeo);
  const listed = async (): Promise<number> => {
    await orchard.sends(pubsub('get', `<items node='${list}'/>`));
    const answer = await orchard.receives(result(`<items node='${list}'/>`));
    return answer.getChild('pubsub')!.getChild('items')!.getChildren('item').length;
  };
  await balcony.sends(subscribe(`<public xmlns='${NS.pps}'/>`));
  await balcony.receives(result());
  await orchard.sends(pubsub('get', `<items node='${list}'/>`));
  await orchard.receives(
    result(`<items node='${list}'><item id='*'><subscriber xmlns='${NS.pps}' jid='${juliet}'/></item></items>`),
  );
  await balcony.sends(subscribe('')); // §4.3: no more
  await balcony.receives(result());
  assert.equal(await listed(), 0);
  await balcony.sends(subscribe(`<public xmlns='${NS.pps}'/>`));
  await balcony.receives(result());
  assert.equal(await listed(), 1);
  await balcony.sends(pubsub('set', `<unsubscribe node='n' jid='${juliet}'/>`, romeo));
  await balcony.receives(result());
  assert.equal(await listed(), 0);
  for (const request of [
    publish(list, 'x', 'x'),
    publish('urn:xmpp:pps:subscribers:0/other', 'x', 'x'),
    pubsub('set', `<create node='urn:xmpp:pps:subscribers:0/other'/>`),
    owner('set', `<delete node='${list}'/>`),
    owner('set', `<purge node='${list}'/>`),
  ]) {
    await orchard.sends(request);
    await orchard.receives(error('auth', 'forbidden'));
  }
  // It is for those who may read the node
  await orchard.sends(configure('n', { access_model: 'whitelist' }));
  await orchard.receives(result());
  await balcony.sends(pubsub('get', `<items node='${list}'/>`, romeo));
  await balcony.receives(error('cancel', 'not-allowed', 'closed-node'));
});

scenario('XEP-0503 §3: the properties of a space', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(create('dev', { type: NS.spaces, title: 'The developers corner' }, service));
  await orchard.receives(result());
  await orchard.sends(owner('get', `<configure node='dev'/>`, service));
  await orchard.receives(
    result(
      `<configure node='dev'><x xmlns='${NS.dataForms}' type='form'>${fieldsOf({
        type: NS.spaces,
        notify_retract: '1',
        persist_items: '1',
        purge_offline: '0',
        notify_sub: '1',
        notify_config: '1',
        notify_delete: '1',
        access_model: 'open',
      })}</x></configure>`,
      NS.pubsubOwner,
    ),
  );
  for (const wrong of [
    { persist_items: '0' },
    { purge_offline: '1' },
    { notify_retract: '0' },
    { access_model: 'roster' },
  ]) {
    await orchard.sends(create('bad', { type: NS.spaces, ...wrong } as Options, service));
    await orchard.receives(error('modify', 'not-acceptable'));
  }
  // §5.4: its content is of many kinds
  for (const [id, content] of [
    ['room@conference.localhost', `<conference xmlns='urn:xmpp:bookmarks:1' name='Room'/>`],
    ['urn:xmpp:spaces:avatar:metadata:0', `<metadata xmlns='urn:xmpp:avatar:metadata'/>`],
  ]) {
    await orchard.sends(pubsub('set', `<publish node='dev'><item id='${id}'>${content}</item></publish>`, service));
    await orchard.receives(result());
  }
});

// --- leaks --------------------------------------------------------------------------------------------------------------

scenario('XEP-0163 §4.3.1, §6.2: without access to a node nothing about it is revealed', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`);
  await appears(balcony, 'n+notify', 'urn:xmpp:pps:subscribers:0/n+notify');
  for (const access_model of ['presence', 'roster', 'authorize', 'whitelist']) {
    await orchard.sends(publish('n', 'a', 'x', { options: { access_model } }));
    await orchard.receives(result());
    for (const request of [
      pubsub('get', items(), romeo),
      pubsub('get', items(ids('a')), romeo),
      pubsub('set', `<retract node='n'>${ids('a')}</retract>`, romeo),
      pubsub('get', `<options node='n' jid='${juliet}'/>`, romeo),
      owner('get', `<configure node='n'/>`, romeo),
      owner('get', `<subscriptions node='n'/>`, romeo),
      owner('get', `<affiliations node='n'/>`, romeo),
      `<iq type='get' id='p' to='${romeo}'><query xmlns='${NS.discoInfo}' node='n'/></iq>`,
      `<iq type='set' id='p' to='${romeo}'><query xmlns='${NS.mam}' node='n'/></iq>`,
    ]) {
      await balcony.sends(request);
      await balcony.receives(`<iq type='error' id='p'/>`);
    }
    await balcony.sends(`<iq type='get' id='p' to='${romeo}'><query xmlns='${NS.discoItems}'/></iq>`);
    const answer = await balcony.receives(`<iq type='result' id='p'><query xmlns='${NS.discoItems}'/></iq>`);
    assert.deepEqual(answer.getChild('query')!.getChildElements(), []);
    await balcony.receivesNothing();
    await orchard.sends(owner('set', `<delete node='n'/>`));
    await orchard.receives(result());
    await balcony.receivesNothing();
  }
});
