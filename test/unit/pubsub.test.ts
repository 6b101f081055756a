import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import presence from '../../src/modules/rfc-6121-presence/index.js';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import { type Barrier, barrier, mayPublish } from '../../src/modules/xep-0060-pubsub/access.js';
import { withBody } from '../../src/modules/xep-0060-pubsub/events.js';
import pubsub from '../../src/modules/xep-0060-pubsub/index.js';
import type { Affiliation, Holder, Node } from '../../src/modules/xep-0060-pubsub/node.js';
import {
  defaults,
  demand,
  differing,
  type NodeConfig,
  readConfig,
  readOptions,
  roomFor,
} from '../../src/modules/xep-0060-pubsub/node-config.js';
import { settings } from '../../src/modules/xep-0060-pubsub/settings.js';
import clientCaps from '../../src/modules/xep-0115-client-caps/index.js';
import { Jid } from '../../src/server/address/jid.js';
import { capsHash } from '../../src/server/stanza/caps.js';
import { form } from '../../src/server/stanza/forms.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { parse } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

const usual = settings.parse({});

// ---------------------------------------------------------------------------------------------------------------
// Configuration

const options = (fields: Record<string, string | readonly string[]>) =>
  form({
    type: 'submit',
    formType: `${NS.pubsub}#publish-options`,
    fields: Object.entries(fields).map(([name, value]) => ({ var: `pubsub#${name}`, type: 'text-multi', value })),
  });

test('options are read with their types, and limited to those of the service', () => {
  const read = readOptions(
    options({ max_items: '99999', persist_items: 'true', access_model: 'open', max_payload_size: '99999999' }),
    usual,
  );
  assert.deepEqual(read, {
    'pubsub#max_items': usual.items_per_node,
    'pubsub#persist_items': true,
    'pubsub#access_model': 'open',
    'pubsub#max_payload_size': usual.item_bytes,
  });
  assert.deepEqual(readOptions(options({ max_items: 'max' }), usual), { 'pubsub#max_items': 'max' });
  for (const wrong of [{ access_model: 'x' }, { max_items: '-1' }, { max_items: 'all' }, { unknown: '1' }])
    assert.throws(() => readOptions(options(wrong), usual), { name: 'StanzaError' });
  const foreign = form({ type: 'submit', formType: `${NS.pubsub}#subscribe_options`, fields: [] });
  assert.throws(() => readConfig(foreign, usual), { condition: 'bad-request' }, 'another FORM_TYPE');
});

test('a precondition is met by an equal value; lists are sets', () => {
  const config: NodeConfig = { ...defaults(true, usual), 'pubsub#roster_groups_allowed': ['a', 'b'] };
  demand({}, config);
  demand(
    { 'pubsub#roster_groups_allowed': ['b', 'a'], 'pubsub#access_model': 'presence', 'pubsub#max_items': 1 },
    config,
  );
  const others: Partial<NodeConfig>[] = [
    { 'pubsub#roster_groups_allowed': ['a'] },
    { 'pubsub#access_model': 'open' },
    { 'pubsub#max_items': 'max' },
  ];
  for (const other of others) assert.throws(() => demand(other, config), { condition: 'conflict' });
});

test('only differences of a configuration are stored', () => {
  const from = defaults(false, usual);
  assert.deepEqual(differing(from, from), {});
  assert.deepEqual(differing({ ...from, 'pubsub#title': 'x', 'pubsub#roster_groups_allowed': [] }, from), {
    'pubsub#title': 'x',
  });
  assert.equal(roomFor({ ...from, 'pubsub#max_items': 'max' }, usual), usual.items_per_node);
  assert.equal(roomFor({ ...from, 'pubsub#max_items': 3 }, usual), 3);
});

// ---------------------------------------------------------------------------------------------------------------
// Access

const romeo = Jid.parse('romeo@example.org');
const holder: Holder = {
  jid: romeo,
  isAccount: true,
  defaults: defaults(true, usual),
  nodes: new Map(),
  children: new Map(),
  moved: new Map(),
  subscribers: new Map(),
  forced: new Map(),
  fleeting: new Set(),
  items: 0,
  bytes: 0,
  publishers: new Map(),
};

function node(changed: Partial<NodeConfig>, affiliations: Record<string, Affiliation> = {}): Node {
  const made: Node = {
    name: 'n',
    stored: { v: 1, config: changed, creator: romeo.bare, created: 0, affiliations },
    config: { ...holder.defaults, ...changed },
    subscriptions: new Map(),
    several: false,
    leased: false,
    items: undefined,
    loading: undefined,
  };
  for (const [jid, state] of [
    ['subscriber@x/r', 'subscribed'],
    ['waiting@x', 'pending'],
  ] as const)
    made.subscriptions.set(jid, { jid: Jid.parse(jid), node: made, subid: '1', state });
  return made;
}

const groups = ['Friends'];
const contact = { subscription: 'both', groups } as const;

test('read access by access model', () => {
  type Row = readonly [NodeConfig['pubsub#access_model'], string, typeof contact | undefined, Barrier | undefined];
  const rows: Row[] = [
    ['open', 'stranger@x', undefined, undefined],
    ['presence', 'stranger@x', undefined, 'presence'],
    ['presence', 'friend@x', contact, undefined],
    ['roster', 'stranger@x', undefined, 'roster'],
    ['roster', 'friend@x', contact, undefined],
    ['authorize', 'friend@x', contact, 'authorize'],
    ['authorize', 'subscriber@x', undefined, undefined],
    ['authorize', 'waiting@x', undefined, 'authorize'],
    ['whitelist', 'friend@x', contact, 'whitelist'],
    ['whitelist', 'subscriber@x', contact, 'whitelist'],
    ['whitelist', 'romeo@example.org', undefined, undefined],
  ];
  for (const [model, who, entry, expected] of rows) {
    const asked = node({ 'pubsub#access_model': model, 'pubsub#roster_groups_allowed': groups });
    assert.equal(barrier(holder, asked, who, entry), expected, `${model}: ${who}`);
  }
  const strict = node({ 'pubsub#access_model': 'roster', 'pubsub#roster_groups_allowed': ['Family'] });
  assert.equal(barrier(holder, strict, 'friend@x', contact), 'roster');
  const one = node({ 'pubsub#access_model': 'roster', 'pubsub#roster_groups_allowed': groups });
  assert.equal(barrier(holder, one, 'friend@x', { subscription: 'to', groups }), 'roster', 'he does not see us');
});

test('read and publish access by affiliation', () => {
  const rows: readonly (readonly [Affiliation, Barrier | undefined, boolean])[] = [
    ['owner', undefined, true],
    ['publisher', undefined, true],
    ['publish-only', 'publish-only', true],
    ['member', undefined, false],
    ['outcast', 'outcast', false],
    ['none', 'whitelist', false],
  ];
  for (const [affiliation, reading, publishing] of rows) {
    const asked = node({ 'pubsub#access_model': 'whitelist' }, { 'x@x': affiliation });
    assert.equal(barrier(holder, asked, 'x@x', undefined), reading, affiliation);
    assert.equal(mayPublish(holder, asked, 'x@x'), publishing, affiliation);
  }
  const open = node({ 'pubsub#publish_model': 'open', 'pubsub#access_model': 'open' }, { 'x@x': 'outcast' });
  assert.equal(mayPublish(holder, open, 'x@x'), false);
  assert.equal(mayPublish(holder, open, 'y@x'), true);
  assert.equal(barrier(holder, open, 'x@x', contact), 'outcast');
  const subscribers = node({ 'pubsub#publish_model': 'subscribers' });
  assert.deepEqual(
    ['subscriber@x', 'waiting@x', 'y@x'].map((who) => mayPublish(holder, subscribers, who)),
    [true, false, false],
  );
});

// ---------------------------------------------------------------------------------------------------------------
// On a host

const { connect, account, storage, limits, host, stop } = await startHost([roster, presence, clientCaps, pubsub], {
  config: { modules: { pubsub: { cached: 10 }, client_caps: { stored: 10 } } },
});
after(stop);

const publish = (name: string, id: string, text: string, to = '') =>
  `<iq type="set" id="p"${to}><pubsub xmlns="${NS.pubsub}"><publish node="${name}"><item id="${id}"><x xmlns="urn:x">${text}</x></item></publish><publish-options><x xmlns="jabber:x:data" type="submit"><field var="pubsub#max_items"><value>max</value></field></x></publish-options></pubsub></iq>`;
const items = (name: string, to = '') =>
  `<iq type="get" id="i"${to}><pubsub xmlns="${NS.pubsub}"><items node="${name}"/></pubsub></iq>`;

test("concurrent creations of a node see each other's items", async () => {
  await account('many');
  const clients = Array.from({ length: 20 }, (_, n) => connect(`many@example.org/${n}`));
  const answers = await Promise.all(clients.map((client, n) => client.asks(publish('made', `i${n}`, 'x'))));
  for (const answer of answers) assert.match(answer, /type="result"/);
  const all = await clients[0]!.asks(items('made'));
  assert.equal(all.match(/<item /g)!.length, 20);
  assert.equal((await storage.map('pubsub_items').all('many@example.org')).size, 20);
});

test('evicted accounts are loaded unchanged', async () => {
  const names = Array.from({ length: 30 }, (_, n) => `user${n}`);
  for (const name of names) await account(name);
  for (const round of ['one', 'two'])
    for (const name of names) {
      const client = connect(`${name}@example.org/r`);
      assert.match(await client.asks(publish('n', round, name)), /type="result"/);
    }
  for (const name of names) {
    const answer = await connect(`${name}@example.org/s`).asks(items('n'));
    assert.deepEqual(
      [...answer.matchAll(/item id="(\w+)"/g)].map(([, id]) => id),
      ['one', 'two'],
    );
  }
});

test('queries for offline users leave nothing behind', async () => {
  await account('asker');
  const client = connect('asker@example.org/r');
  for (let n = 0; n < 5; n++) {
    assert.match(await client.asks(items('n', ` to="nobody${n}@example.org"`)), /item-not-found/);
    assert.match(await client.asks(publish('n', 'a', 'x', ` to="nobody${n}@example.org"`)), /forbidden/);
  }
  const owners = await storage.map('pubsub_nodes').owners({ limit: 1000 });
  assert.deepEqual(
    owners.filter((owner) => owner.startsWith('nobody')),
    [],
  );
});

test('stored capabilities are bounded; the oldest are evicted', async () => {
  await account('caps');
  for (let n = 0; n < 15; n++) {
    const client = connect(`caps@example.org/${n}`);
    const ver = capsHash([{ category: 'client', type: 'pc', name: `c${n}` }], ['urn:x+notify']);
    await client.appears(
      `<presence xmlns="jabber:client"><c xmlns="${NS.caps}" hash="sha-1" node="urn:c" ver="${ver}"/></presence>`,
    );
    const asked = client.received.splice(0).join('');
    const id = /id="([^"]+)"/.exec(asked)![1];
    await client.says(
      `<iq type="result" id="${id}" to="example.org"><query xmlns="${NS.discoInfo}"><identity category="client" type="pc" name="c${n}"/><feature var="urn:x+notify"/></query></iq>`,
    );
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(host.services.clientCaps!.features(client.session).has('urn:x+notify'), true);
    await client.vanishes();
    assert.equal(host.services.clientCaps!.features(client.session).size, 0);
  }
  assert.equal(await storage.map('client_caps').count('example.org'), 10);
  assert.deepEqual(limits, []);
});

test('visitors of an account are bounded, those without a subscription first', async () => {
  const owner = await account('visited', { 'friend@far.example': 'both' });
  const caps = host.services.clientCaps!;
  const arrives = (from: string) =>
    host.emit('contactPresence', {
      owner,
      stanza: Stanza.build('presence', { from: Jid.parse(from), to: owner }),
    });
  for (let n = 0; n < 60; n++) await arrives(`stranger${n}@far.example/r`);
  assert.equal(caps.visitors(owner.bare).size, 50);
  assert.deepEqual(limits.splice(0), Array(10).fill('client_caps.visitors'));
  for (let n = 0; n < 60; n++) await arrives(`friend@far.example/${n}`);
  assert.equal(caps.visitors(owner.bare).size, 110);
  await host.emit('contactPresence', {
    owner,
    stanza: Stanza.build('presence', { from: Jid.parse('friend@far.example'), to: owner, type: 'unavailable' }),
  });
  assert.equal(caps.visitors(owner.bare).size, 50, 'a bare address is all of its resources');
  await host.emit('accountDeleted', { jid: owner });
  assert.equal(caps.visitors(owner.bare).size, 0);
  assert.deepEqual(limits, []);
});

test('usage of an account is counted, and counted again after a crash', async () => {
  const owner = await account('counted');
  const client = connect(`${owner.bare}/r`);
  for (const id of ['a', 'b', 'b']) assert.match(await client.asks(publish('n', id, 'text')), /type="result"/);
  const usage = storage.document<{ items: number; bytes: number }>('pubsub_usage');
  const bytes = Buffer.byteLength('<x xmlns="urn:x">text</x>') * 2;
  assert.deepEqual(await usage.get(owner.bare), { items: 2, bytes });
  // As after a crash, and after the account went out of memory
  await usage.set(owner.bare, { items: 1, bytes: 1 });
  for (let n = 0; n < 15; n++) {
    const other = await account(`other${n}`);
    await connect(`${other.bare}/r`).asks(items('n'));
  }
  assert.match(await client.asks(publish('n', 'c', 'text')), /type="result"/);
  assert.deepEqual(await usage.get(owner.bare), { items: 3, bytes: (bytes / 2) * 3 });
});

test('concurrent subscriptions are all stored, up to the limit', async () => {
  const owner = await account('popular');
  const client = connect(`${owner.bare}/r`);
  assert.match(
    await client.asks(publish('open', 'a', 'x').replace('max_items', 'access_model').replace('>max<', '>open<')),
    /result/,
  );
  const fans = await Promise.all(Array.from({ length: 20 }, (_, n) => account(`fan${n}`)));
  const answers = await Promise.all(
    fans.map(({ bare }) =>
      connect(`${bare}/r`).asks(
        `<iq type="set" id="s" to="${owner.bare}"><pubsub xmlns="${NS.pubsub}"><subscribe node="open" jid="${bare}"/></pubsub></iq>`,
      ),
    ),
  );
  assert.equal(answers.filter((answer) => answer.includes('subscription="subscribed"')).length, 20);
  assert.equal(await storage.map('pubsub_subscriptions').count(owner.bare), 20);
});

// ---------------------------------------------------------------------------------------------------------------
// Events

test('the body describes an entry in words', () => {
  const entry = (inner: string) =>
    Stanza.build(
      'message',
      { from: romeo },
      parse(
        `<event xmlns="${NS.pubsubEvent}"><items node="n"><item id="a"><entry xmlns="${NS.atom}">${inner}</entry></item></items></event>`,
      ),
    );
  const rows = [
    ['<title>One</title><summary>Two</summary>', 'One\nTwo'],
    ['<title>One</title><summary>One</summary>', 'One'],
    ['<title type="text"> One &amp; all </title>', 'One & all'],
    ['<id>x</id>', undefined],
  ] as const;
  for (const [inner, body] of rows) assert.equal(withBody(entry(inner)).text(NS.client, 'body'), body);
});
