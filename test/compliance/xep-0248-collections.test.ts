/** XEP-0248: nodes that contain nodes, at the service. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { configure, create, error, owner, payload, publish, pubsub, result, submitted } from './pubsub.js';

const service = 'pubsub.localhost';
const to = service;
const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const all = { node_type: 'collection' };

const does = async (peer: Peer, request: string, expected = result()) => {
  await peer.sends(request);
  return peer.receives(expected);
};

/** A notification by way of a collection. */
const by = (collection: string, inner: string) =>
  `<message type='headline' from='${service}' to='${juliet}'><event xmlns='${NS.pubsubEvent}'>${inner}</event>
    <headers xmlns='${NS.shim}'><header name='Collection'>${collection}</header></headers></message>`;

const subscribe = (node: string, options?: Readonly<Record<string, string>>) =>
  pubsub(
    'set',
    `<subscribe node='${node}' jid='${juliet}'/>${
      options === undefined ? '' : `<options>${submitted('subscribe_options', options)}</options>`
    }`,
    service,
  );
const subscribed = (node: string) => result(`<subscription node='${node}' jid='${juliet}' subscription='subscribed'/>`);

const link = (collection: string, change: 'associate' | 'dissociate', node: string) =>
  owner('set', `<collection node='${collection}'><${change} node='${node}'/></collection>`, service);

/** Romeo owns the collection `blogs` with the collection `deep` in it, and the leaves `near` in the one, `far` in the other. */
async function library(actor: Scene['actor']) {
  const orchard = await actor(`${romeo}/orchard`, { presence: true });
  const balcony = await actor(`${juliet}/balcony`, { presence: true });
  await does(orchard, create('blogs', { ...all, title: 'Blogs' }, service));
  await does(orchard, create('deep', { ...all, collection: 'blogs' }, service));
  await does(orchard, create('near', { collection: 'blogs', title: 'Near' }, service));
  await does(orchard, create('far', { collection: 'deep' }, service));
  return { orchard, balcony };
}

const fieldsOf = (peer: Peer, node: string) =>
  does(peer, owner('get', `<configure node='${node}'/>`, service), `<iq type='result' id='p'/>`).then((answer) => {
    const fields = new Map<string, string[]>();
    const form = answer.getChildElements()[0]!.getChildElements()[0]!.getChild('x', NS.dataForms)!;
    for (const field of form.getChildren('field'))
      fields.set(
        field.attrs.var!.replace('pubsub#', ''),
        field.getChildren('value').map((value) => value.getText()),
      );
    return fields;
  });

const disco = (ns: string, node?: string) =>
  `<iq type='get' id='p' to='${service}'><query xmlns='${ns}'${node === undefined ? '' : ` node='${node}'`}/></iq>`;

scenario('§4.1, §4.2: collections are discovered level by level', async ({ actor }) => {
  const { balcony } = await library(actor);
  await does(
    balcony,
    disco(NS.discoInfo),
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><feature var='${NS.pubsub}#collections'/>
      <feature var='${NS.pubsub}#multi-collections'/></query></iq>`,
  );
  await does(
    balcony,
    disco(NS.discoInfo, 'blogs'),
    `<iq type='result' id='p'><query xmlns='${NS.discoInfo}'><identity category='pubsub' type='collection'/></query></iq>`,
  );
  const nodes = async (node?: string) => {
    const answer = await does(balcony, disco(NS.discoItems, node), `<iq type='result' id='p'/>`);
    const items = answer.getChildElements()[0]!.getChildren('item');
    return items.map(({ attrs }) => [attrs.jid, attrs.node, attrs.name]);
  };
  assert.deepEqual(await nodes(), [[service, 'blogs', 'Blogs']]);
  assert.deepEqual(await nodes('blogs'), [
    [service, 'deep', undefined],
    [service, 'near', 'Near'],
  ]);
  assert.deepEqual(await nodes('deep'), [[service, 'far', undefined]]);
  assert.deepEqual(await nodes('far'), []);
});

scenario('§4.3.1, §5.1: items of contained nodes, up to the requested depth', async ({ actor }) => {
  const { orchard, balcony } = await library(actor);
  await does(balcony, subscribe('blogs', { subscription_type: 'items' }), subscribed('blogs'));
  await does(orchard, publish('near', 'a', 'x', { to }));
  await balcony.receives(by('blogs', `<items node='near'><item id='a'>${payload('x')}</item></items>`));
  await does(orchard, publish('far', 'a', 'x', { to }));
  await balcony.receivesNothing();
  await does(
    balcony,
    pubsub(
      'set',
      `<options node='blogs' jid='${juliet}'>${submitted('subscribe_options', { subscription_depth: 'all' })}</options>`,
      to,
    ),
  );
  await does(
    balcony,
    pubsub('get', `<options node='blogs' jid='${juliet}'/>`, to),
    result(`<options node='blogs'><x xmlns='${NS.dataForms}' type='form'>
      <field var='pubsub#subscription_type' type='list-single'><value>items</value></field>
      <field var='pubsub#subscription_depth' type='text-single'><value>all</value></field></x></options>`),
  );
  await does(orchard, publish('far', 'b', 'y', { to }));
  await balcony.receives(by('blogs', `<items node='far'><item id='b'>${payload('y')}</item></items>`));
  await does(orchard, pubsub('set', `<retract node='far' notify='1'><item id='b'/></retract>`, to));
  await balcony.receives(by('blogs', `<items node='far'><retract id='b'/></items>`));
  await does(orchard, owner('set', `<purge node='far'/>`, to));
  await balcony.receives(by('blogs', `<purge node='far'/>`));
  // Nodes are another matter
  await does(orchard, create('new', { collection: 'blogs' }, service));
  await does(balcony, pubsub('set', `<unsubscribe node='blogs' jid='${juliet}'/>`, to), `<iq type='result' id='p'/>`);
  await does(orchard, publish('near', 'c', 'x', { to }));
  await balcony.receivesNothing();
  for (const subscription_depth of ['-1', 'x', '1.5'])
    await does(balcony, subscribe('blogs', { subscription_depth }), error('modify', 'bad-request', 'invalid-options'));
});

scenario('§4.3.1, §4.3.2: nodes are added, changed and removed', async ({ actor }) => {
  const { orchard, balcony } = await library(actor);
  await does(balcony, subscribe('blogs'), subscribed('blogs'));
  await does(orchard, publish('near', 'a', 'x', { to }));
  await does(orchard, create('new', { collection: 'blogs', notify_config: '1' }, service));
  await balcony.receives(by('blogs', `<create node='new'/>`));
  await does(orchard, configure('new', { title: 'New' }, to));
  await balcony.receives(by('blogs', `<configuration node='new'/>`));
  await does(orchard, create('other', {}, service));
  await does(orchard, link('blogs', 'associate', 'other'));
  await balcony.receives(by('blogs', `<collection node='blogs'><associate node='other'/></collection>`));
  await does(orchard, link('blogs', 'dissociate', 'other'));
  await balcony.receives(by('blogs', `<collection node='blogs'><dissociate node='other'/></collection>`));
  await does(orchard, configure('other', { collection: ['blogs', 'deep'] }, to));
  await balcony.receives(by('blogs', `<collection node='blogs'><associate node='other'/></collection>`));
  await does(orchard, owner('set', `<delete node='other'/>`, to));
  await balcony.receives(by('blogs', `<delete node='other'/>`));
  await balcony.receivesNothing();
});

scenario('§6.1, §6.2, §8.3: the graph is configured from both ends', async ({ actor }) => {
  const { orchard } = await library(actor);
  const blogs = await fieldsOf(orchard, 'blogs');
  assert.deepEqual(blogs.get('node_type'), ['collection']);
  assert.deepEqual(blogs.get('children'), ['deep', 'near']);
  assert.deepEqual(blogs.get('children_association_policy'), ['owners']);
  const near = await fieldsOf(orchard, 'near');
  assert.deepEqual(near.get('collection'), ['blogs']);
  assert.equal(near.has('children'), false);
  await does(orchard, create('other', {}, service));
  await does(orchard, configure('blogs', { children: ['near', 'other'] }, to));
  assert.deepEqual((await fieldsOf(orchard, 'other')).get('collection'), ['blogs']);
  assert.deepEqual((await fieldsOf(orchard, 'deep')).get('collection'), []);
  // An empty name is the root
  await does(orchard, configure('near', { collection: '' }, to));
  assert.deepEqual((await fieldsOf(orchard, 'blogs')).get('children'), ['other']);
  await does(
    orchard,
    owner('get', `<default type='collection'/>`, to),
    result(
      `<default><x xmlns='${NS.dataForms}' type='form'><field var='pubsub#node_type'><value>collection</value></field>
        <field var='pubsub#children'/><field var='pubsub#children_max'/></x></default>`,
      NS.pubsubOwner,
    ),
  );
  // §7.2: its former children continue without it
  await does(orchard, owner('set', `<delete node='blogs'/>`, to));
  assert.deepEqual((await fieldsOf(orchard, 'other')).get('collection'), []);
  await does(orchard, create('whole', { ...all, children: ['near', 'other'] }, service));
  assert.deepEqual((await fieldsOf(orchard, 'near')).get('collection'), ['whole']);
});

scenario('§6.2.3: invalid graphs', async ({ actor }) => {
  const { orchard } = await library(actor);
  const invalid = error('cancel', 'not-allowed', 'invalid-options');
  const full = error('cancel', 'not-allowed', 'max-nodes-exceeded');
  await does(orchard, create('other', {}, service));
  const cases: readonly (readonly [string, string])[] = [
    [configure('near', { children: 'other' }, to), invalid],
    [configure('other', { collection: 'near' }, to), invalid],
    [link('near', 'associate', 'other'), invalid],
    [configure('blogs', { collection: 'deep' }, to), invalid], // a cycle
    [configure('deep', { children: 'blogs' }, to), invalid],
    [configure('blogs', { collection: 'blogs' }, to), invalid],
    [link('deep', 'associate', 'blogs'), invalid],
    [link('blogs', 'associate', 'blogs'), invalid],
    [create('self', { ...all, collection: 'self' }, service), error('cancel', 'item-not-found')],
    [create('self', { ...all, children: 'self' }, service), invalid],
    [create('both', { ...all, collection: 'deep', children: 'blogs' }, service), invalid],
    [configure('deep', { node_type: 'leaf' }, to), invalid],
    [configure('blogs', { children_max: '1' }, to), full],
    [configure('blogs', { children: ['deep', 'none'] }, to), error('cancel', 'item-not-found')],
    [configure('other', { collection: 'none' }, to), error('cancel', 'item-not-found')],
    [link('none', 'associate', 'other'), error('cancel', 'item-not-found')],
    [link('blogs', 'associate', 'none'), error('cancel', 'item-not-found')],
    [link('blogs', 'dissociate', 'other'), error('modify', 'bad-request')],
    [owner('set', `<collection node='blogs'/>`, to), error('modify', 'bad-request')],
    [publish('blogs', 'a', 'x', { to }), error('cancel', 'feature-not-implemented', 'unsupported')],
    [pubsub('get', `<items node='blogs'/>`, to), error('cancel', 'feature-not-implemented', 'unsupported')],
    [owner('set', `<purge node='blogs'/>`, to), error('cancel', 'feature-not-implemented', 'unsupported')],
  ];
  for (const [request, refused] of cases) await does(orchard, request, refused);
  assert.deepEqual((await fieldsOf(orchard, 'blogs')).get('children'), ['deep', 'near'], 'all as it was');
  await does(orchard, configure('blogs', { children_max: '2' }, to));
  await does(orchard, link('blogs', 'associate', 'other'), full);
  // §6.2.4: a leaf with items becomes a collection
  await does(orchard, publish('other', 'a', 'x', { to }));
  await does(orchard, configure('other', all, to));
  const shown = `<iq type='result' id='p'><query xmlns='${NS.discoItems}' node='other'/></iq>`;
  const listed = await does(orchard, disco(NS.discoItems, 'other'), shown);
  assert.deepEqual(listed.getChildElements()[0]!.children, []);
});

scenario('§6.5, §6.6: who may associate nodes', async ({ actor }) => {
  const { orchard, balcony } = await library(actor);
  await does(balcony, create('hers', {}, service));
  const forbidden = error('cancel', 'forbidden');
  await does(balcony, link('blogs', 'associate', 'hers'), forbidden);
  await does(balcony, configure('hers', { collection: 'blogs' }, to), forbidden);
  // Not even an owner puts others' nodes into a collection, which others may read
  await does(orchard, link('blogs', 'associate', 'hers'), forbidden);
  await does(orchard, configure('blogs', { children: ['deep', 'near', 'hers'] }, to), forbidden);
  await does(
    orchard,
    configure('blogs', { children_association_policy: 'whitelist', children_association_whitelist: juliet }, to),
  );
  await does(balcony, link('blogs', 'associate', 'hers'));
  await does(orchard, link('blogs', 'dissociate', 'hers'));
  await does(orchard, configure('blogs', { children_association_policy: 'all' }, to));
  await does(balcony, configure('hers', { collection: 'blogs' }, to));
  await does(balcony, link('blogs', 'dissociate', 'near'), forbidden);
  await does(balcony, link('blogs', 'dissociate', 'hers'));
});

scenario('§10: the collection decides who is notified; an outcast is not', async ({ actor }) => {
  const { orchard, balcony } = await library(actor);
  await does(balcony, subscribe('blogs', { subscription_type: 'all', subscription_depth: 'all' }), subscribed('blogs'));
  await does(orchard, configure('near', { access_model: 'whitelist' }, to));
  await does(orchard, publish('near', 'a', 'x', { to }));
  await balcony.receives(by('blogs', `<items node='near'><item id='a'/></items>`));
  const rules = (affiliation: string) =>
    owner(
      'set',
      `<affiliations node='near'><affiliation jid='${juliet}' affiliation='${affiliation}'/></affiliations>`,
      to,
    );
  await does(orchard, rules('outcast'));
  await does(orchard, publish('near', 'b', 'x', { to }));
  await does(orchard, rules('none'));
  await does(orchard, configure('blogs', { access_model: 'whitelist' }, to));
  await balcony.receives(
    `<message type='headline'><event xmlns='${NS.pubsubEvent}'><subscription node='blogs' subscription='none'/></event></message>`,
  );
  await does(orchard, publish('near', 'c', 'x', { to }));
  await balcony.receivesNothing();
});
