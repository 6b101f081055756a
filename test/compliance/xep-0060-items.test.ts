/** XEP-0060 §6.5, §7, §12: publishing, retrieving and deleting items, at accounts; who may publish, at a service. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { scenario } from './dialogue.js';
import { configure, create, error, owner, payload, publish, pubsub, result } from './pubsub.js';

const romeo = 'romeo@localhost';
const service = 'pubsub.localhost';
const ids = (...names: string[]): string => names.map((id) => `<item id='${id}'/>`).join('');
const items = (inner = '', attributes = ''): string => `<items node='n'${attributes}>${inner}</items>`;
const set = (inner: string): string => `<set xmlns='${NS.rsm}'>${inner}</set>`;

scenario('§6.5: all items, the latest, or some by id', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  for (const id of ['a', 'b', 'c']) {
    await orchard.sends(publish('n', id, id, { options: { max_items: 'max' } }));
    await orchard.receives(result(`<publish node='n'><item id='${id}'/></publish>`));
  }
  await orchard.sends(publish('n', 'a', 'again'));
  await orchard.receives(result());
  await orchard.sends(pubsub('get', items()));
  const all = await orchard.receives(
    result(
      items(
        `<item id='b'>${payload('b')}</item><item id='c'>${payload('c')}</item><item id='a'>${payload('again')}</item>`,
      ),
    ),
    { exactly: false },
  );
  const order = all
    .getChild('pubsub')!
    .getChild('items')!
    .getChildren('item')
    .map(({ attrs }) => attrs.id);
  assert.deepEqual(order, ['b', 'c', 'a'], '§12: what is published again is the newest');
  await orchard.sends(pubsub('get', items('', ` max_items='2'`)));
  await orchard.receives(result(items(ids('c', 'a'))));
  await orchard.sends(pubsub('get', items(ids('c', 'z', 'b'))));
  await orchard.receives(result(items(ids('c', 'b'))));
  await orchard.sends(pubsub('get', `<items node='m'/>`));
  await orchard.receives(error('cancel', 'item-not-found'));
  await orchard.sends(pubsub('get', '<items/>'));
  await orchard.receives(error('modify', 'bad-request', 'nodeid-required'));
  await orchard.sends(pubsub('get', items('', ` max_items='x'`)));
  await orchard.receives(error('modify', 'bad-request'));
});

scenario('§6.5.4: pages (XEP-0059)', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  for (const id of ['a', 'b', 'c', 'd', 'e']) {
    await orchard.sends(publish('n', id, id, { options: { max_items: '10' } }));
    await orchard.receives(result());
  }
  const pages: readonly (readonly [string, readonly string[], string])[] = [
    [`<max>2</max>`, ['a', 'b'], '0'],
    [`<max>2</max><after>b</after>`, ['c', 'd'], '2'],
    [`<max>2</max><after>d</after>`, ['e'], '4'],
    [`<max>2</max><before/>`, ['d', 'e'], '3'],
    [`<max>2</max><before>d</before>`, ['b', 'c'], '1'],
    [`<max>2</max><index>1</index>`, ['b', 'c'], '1'],
  ];
  for (const [asked, found, index] of pages) {
    await orchard.sends(pubsub('get', items() + set(asked)));
    await orchard.receives(
      result(
        items(ids(...found)) +
          set(`<first index='${index}'>${found[0]}</first><last>${found.at(-1)}</last><count>5</count>`),
      ),
    );
  }
  await orchard.sends(pubsub('get', items() + set('<max>0</max>')));
  await orchard.receives(result(items() + set('<count>5</count>')));
  await orchard.sends(pubsub('get', items() + set('<max>2</max><after>z</after>')));
  await orchard.receives(error('cancel', 'item-not-found'));
});

scenario('§7.1: generated ids; one item, one payload, one node', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish('n', undefined, 'x'));
  await orchard.receives(result(`<publish node='n'><item id='{made}'/></publish>`));
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(result(items(`<item id='{made}'>${payload('x')}</item>`)));
  const wrong: readonly (readonly [string, string])[] = [
    [`<publish><item id='a'>${payload('x')}</item></publish>`, error('modify', 'bad-request', 'nodeid-required')],
    [`<publish node='n'/>`, error('modify', 'bad-request', 'item-required')],
    [`<publish node='n'><item/></publish>`, error('modify', 'bad-request', 'payload-required')],
    [
      `<publish node='n'><item>${payload('x')}${payload('y')}</item></publish>`,
      error('modify', 'bad-request', 'invalid-payload'),
    ],
    [
      `<publish node='n'><item>${payload('x')}</item><item>${payload('y')}</item></publish>`,
      error('cancel', 'not-allowed', 'max-items-exceeded'),
    ],
    [`<publish node='${'n'.repeat(1024)}'><item>${payload('x')}</item></publish>`, error('modify', 'not-acceptable')],
    [
      `<publish node='n'><item id='${'n'.repeat(1024)}'>${payload('x')}</item></publish>`,
      error('modify', 'not-acceptable'),
    ],
    ['', error('modify', 'bad-request')],
    ['<unknown/>', error('modify', 'bad-request')],
  ];
  for (const [inner, refused] of wrong) {
    await orchard.sends(pubsub('set', inner));
    await orchard.receives(refused);
  }
});

scenario('§7.1.2.4: the server sets the publisher', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const balcony = await actor('juliet@localhost/balcony');
  await orchard.sends(create('n', { publish_model: 'open', max_items: 'max' }, service));
  await orchard.receives(result());
  const forged = `<publish node='n'><item id='a' publisher='${romeo}'>${payload('x')}</item></publish>`;
  await balcony.sends(pubsub('set', forged, service));
  await balcony.receives(error('auth', 'forbidden'));
  await balcony.sends(pubsub('set', forged.replace(romeo, 'juliet@localhost/balcony'), service));
  await balcony.receives(result());
  await orchard.sends(pubsub('get', items(), service));
  await orchard.receives(result(items(`<item id='a' publisher='juliet@localhost'>${payload('x')}</item>`)));
});

scenario('§7.1.3.4, §12: a full node, and an item that is too large', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  const options = { max_items: '2', publish_node_full: 'reject', max_payload_size: '100' };
  for (const id of ['a', 'b']) {
    await orchard.sends(publish('n', id, id, { options }));
    await orchard.receives(result());
  }
  await orchard.sends(publish('n', 'c', 'c'));
  await orchard.receives(error('cancel', 'conflict', 'node-full'));
  await orchard.sends(publish('n', 'b', 'instead'));
  await orchard.receives(result());
  await orchard.sends(publish('n', 'b', 'x'.repeat(100)));
  await orchard.receives(error('modify', 'not-acceptable', 'payload-too-big'));
  await orchard.sends(configure('n', { max_items: '1' }));
  await orchard.receives(result());
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(result(items(ids('b'))), { exactly: false });
});

scenario(
  'nodes and items are limited',
  { config: { modules: { pubsub: { nodes_per_account: 10, items_per_account: 15, items_per_node: 10 } } } },
  async ({ actor }) => {
    const orchard = await actor(`${romeo}/orchard`);
    for (let n = 0; n < 10; n++) {
      await orchard.sends(publish(`n${n}`, 'a', 'x', { options: { max_items: 'max' } }));
      await orchard.receives(result());
    }
    await orchard.sends(publish('n10', 'a', 'x'));
    await orchard.receives(error('wait', 'resource-constraint', 'max-nodes-exceeded'));
    for (let n = 0; n < 5; n++) {
      await orchard.sends(publish('n0', `i${n}`, 'x'));
      await orchard.receives(result());
    }
    await orchard.sends(publish('n0', 'more', 'x'));
    await orchard.receives(error('wait', 'resource-constraint'));
    await orchard.sends(publish('n0', 'i0', 'y'));
    await orchard.receives(result());
    await orchard.sends(pubsub('set', `<retract node='n0'>${ids('i1')}</retract>`));
    await orchard.receives(result());
    await orchard.sends(publish('n0', 'more', 'x'));
    await orchard.receives(result());
  },
);

scenario('§7.2: deleting items', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish('n', 'a', 'x'));
  await orchard.receives(result());
  const wrong: readonly (readonly [string, string])[] = [
    [`<retract>${ids('a')}</retract>`, error('modify', 'bad-request', 'nodeid-required')],
    [`<retract node='n'/>`, error('modify', 'bad-request', 'item-required')],
    [`<retract node='n'><item/></retract>`, error('modify', 'bad-request', 'item-required')],
    [`<retract node='n'>${ids('b')}</retract>`, error('cancel', 'item-not-found')],
    [`<retract node='m'>${ids('a')}</retract>`, error('cancel', 'item-not-found')],
  ];
  for (const [inner, refused] of wrong) {
    await orchard.sends(pubsub('set', inner));
    await orchard.receives(refused);
  }
  await orchard.sends(pubsub('set', `<retract node='n'>${ids('a')}</retract>`));
  await orchard.receives(result());
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(result(items()));
});

scenario('§8.5: an owner purges a node', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  for (const id of ['a', 'b']) {
    await orchard.sends(publish('n', id, id, { options: { max_items: '5' } }));
    await orchard.receives(result());
  }
  await orchard.sends(owner('set', `<purge node='n'/>`));
  await orchard.receives(result());
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(result(items()));
  await orchard.sends(owner('set', `<purge node='m'/>`));
  await orchard.receives(error('cancel', 'item-not-found'));
});

scenario('a node without persistent items has none to retrieve (§6.5.9.7)', async ({ actor }) => {
  const orchard = await actor(`${romeo}/orchard`);
  await orchard.sends(publish('n', 'a', 'x', { options: { persist_items: '0' } }));
  await orchard.receives(result());
  await orchard.sends(pubsub('get', items()));
  await orchard.receives(error('cancel', 'feature-not-implemented', 'unsupported'));
});
