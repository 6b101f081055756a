import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster from '../../src/modules/rfc-6121-roster/index.js';
import disco from '../../src/modules/xep-0030-disco.js';
import caps from '../../src/modules/xep-0115-caps.js';
import ping from '../../src/modules/xep-0199-ping.js';
import { defineModule, disco as discoSource, iq, service } from '../../src/server/module/index.js';
import { provesCaps } from '../../src/server/stanza/caps.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import { type Element, el } from '../../src/server/xml/element.js';
import { startHost } from './module-host.js';

/** A service with one place in it, and a node for contacts on accounts. */
const places = defineModule({
  name: 'places',
  summary: 'A service for the test.',
  implements: {},
  features: { service: ['urn:places'] },
  start: () => [
    service({ subdomain: 'places', message() {}, presence() {} }),
    iq.get('service', 'urn:places', 'place', () => el('place', { xmlns: 'urn:places' })),
    discoSource('service', {
      identities: ({ to }) => {
        if (to.local !== undefined && to.local !== 'garden') throw new StanzaError('item-not-found');
        return [{ category: 'places', type: to.local === undefined ? 'all' : 'one' }];
      },
      items: ({ to }) => (to.local === undefined ? [{ jid: `garden@${to.domain}` }] : []),
    }),
    discoSource('account', {
      node: 'urn:open',
      identities: () => [{ category: 'pubsub', type: 'leaf' }],
      items: ({ to }) => [{ jid: to.bare, name: 'one' }],
    }),
    discoSource('server', {
      node: (node) => node.startsWith('secret:'),
      access: 'admins',
      identities: () => [{ category: 'hidden', type: 'thing' }],
    }),
  ],
});

const modules = [roster, disco, caps, ping, places];
const { host, connect, account, stop } = await startHost(modules);
after(stop);
await account('alice', { 'bob@example.org': 'from' });
await account('bob');
await account('carol');
const alice = connect('alice@example.org/a');
const bob = connect('bob@example.org/b');
const carol = connect('carol@example.org/c');
await alice.appears();

const info = (to: string, node = '') =>
  `<iq type="get" id="1" to="${to}"><query xmlns="${NS.discoInfo}"${node && ` node="${node}"`}/></iq>`;
const items = (to: string, node = '') =>
  `<iq type="get" id="1" to="${to}"><query xmlns="${NS.discoItems}"${node && ` node="${node}"`}/></iq>`;
const query = (answer: string): Element => Stanza.parse(answer).children()[0]!;
const vars = (answer: string) =>
  query(answer)
    .getChildren('feature')
    .map(({ attrs }) => attrs.var);
const isUnavailable = (answer: string) => assert.match(answer, /type="error".*<service-unavailable /);

test('the server: its identity, and the features of modules', async () => {
  const answer = await bob.asks(info('example.org'));
  assert.match(answer, /<identity category="server" type="im" name="Waxwing"\/>/);
  assert.deepEqual(
    new Set(vars(answer)),
    new Set([NS.discoInfo, NS.discoItems, NS.rsm, NS.caps, `${NS.caps}#optimize`, NS.ping]),
  );
});

test('the server: its services are its items', async () => {
  const answer = await bob.asks(items('example.org'));
  assert.match(answer, /<query xmlns="[^"]*#items"><item jid="places.example.org"\/><\/query>/);
});

test('an unknown node is not found, nor is a hidden one', async () => {
  for (const node of ['nope', 'secret:1'])
    for (const ask of [info, items]) assert.match(await bob.asks(ask('example.org', node)), /<item-not-found /);
});

test('an account, to itself and to its subscribers (XEP-0030 §8)', async () => {
  for (const client of [alice, bob]) {
    const answer = await client.asks(info('alice@example.org'));
    assert.match(answer, /<identity category="account" type="registered"\/>/);
    assert.ok(vars(answer).includes(NS.ping));
  }
});

test('an account that is not visible looks missing (XEP-0030 §8)', async () => {
  const hidden = await carol.asks(info('alice@example.org'));
  isUnavailable(hidden);
  assert.equal(hidden.replaceAll('alice', 'nobody'), await carol.asks(info('nobody@example.org')));
  isUnavailable(await carol.asks(info('alice@example.org', 'urn:open')));
  const empty = await carol.asks(items('alice@example.org'));
  assert.match(empty, /type="result".*<query xmlns="[^"]*#items"\/>/);
  assert.equal(empty.replaceAll('alice', 'nobody'), await carol.asks(items('nobody@example.org')));
});

test('resources are listed for subscribers', async () => {
  assert.match(await bob.asks(items('alice@example.org')), /<item jid="alice@example.org\/a"\/>/);
  assert.match(await bob.asks(items('bob@example.org')), /<query xmlns="[^"]*#items"\/>/); // bob is unavailable
});

test('the source of a node answers for it', async () => {
  assert.match(await bob.asks(items('alice@example.org', 'urn:open')), /node="urn:open"><item [^>]*name="one"/);
  assert.match(await bob.asks(info('alice@example.org', 'urn:open')), /node="urn:open"><identity category="pubsub"/);
  assert.match(await bob.asks(info('alice@example.org', 'urn:other')), /<item-not-found /);
});

test('an anonymous account has its own identity', async () => {
  const ghost = connect('ghost@example.org/g', 'ANONYMOUS');
  assert.match(await ghost.asks(info('ghost@example.org')), /category="account" type="anonymous"/);
});

test('services are described by their module, and by modules for all services', async () => {
  const answer = await bob.asks(info('places.example.org'));
  assert.match(answer, /<identity category="places" type="all"\/>/);
  assert.deepEqual(new Set(vars(answer)), new Set([NS.discoInfo, NS.discoItems, 'urn:places']));
  assert.match(await bob.asks(info('garden@places.example.org')), /type="one"/);
  assert.match(await bob.asks(info('desert@places.example.org')), /<item-not-found /);
  assert.match(await bob.asks(items('places.example.org')), /<item jid="garden@places.example.org"\/>/);
  isUnavailable(await bob.asks(info('garden@places.example.org/x')));
});

test('XEP-0115: the hash in the stream features matches disco#info, also of node#ver', async () => {
  const features = host.hooks.streamFeatures.map(({ feature }) =>
    feature({ secure: true, remoteAddress: '', kind: 'tls', account: undefined }),
  );
  const { node, ver, hash } = features.find((feature) => feature?.attrs.xmlns === NS.caps)!.attrs;
  assert.equal(hash, 'sha-1');
  const plain = query(await bob.asks(info('example.org')));
  const verified = query(await bob.asks(info('example.org', `${node}#${ver}`)));
  for (const answer of [plain, verified]) assert.equal(provesCaps(answer, 'sha-1', ver!), true);
  assert.equal(verified.attrs.node, `${node}#${ver}`);
  assert.match(await bob.asks(info('example.org', `${node}#AAAA`)), /<item-not-found /);
});
