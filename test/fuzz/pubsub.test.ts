/** Random requests to nodes (XEP-0060): each is answered once, and none causes an internal error. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { standardModules } from '../../src/modules/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import { startHost } from '../unit/module-host.js';

const { connect, account, storage, stop } = await startHost(standardModules, {
  config: { modules: { pubsub: { changes_per_minute: 'unlimited', creations_per_hour: 'unlimited' } } },
});
after(stop);

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const users = ['romeo@example.org', 'juliet@example.org', 'paris@example.org'];
const attached = `${NS.attachments}/xmpp:romeo@example.org?;node=n;item=a`;
const nodes = [
  'n',
  'm',
  'o',
  '',
  attached,
  `${NS.attachmentsSummary}/n`,
  'urn:xmpp:pps:subscribers:0/n',
  'urn:xmpp:pps:subscriptions:0',
  NS.bookmarks,
  'x'.repeat(1100),
  '__proto__',
];
const ids = ['a', 'b', 'c', '', 'romeo@example.org', 'juliet@example.org', '__proto__'];
const options: readonly (readonly [string, readonly string[]])[] = [
  ['access_model', ['open', 'presence', 'roster', 'authorize', 'whitelist', 'x']],
  ['publish_model', ['open', 'subscribers', 'publishers']],
  ['persist_items', ['0', '1', 'x']],
  ['deliver_payloads', ['0', '1']],
  ['max_items', ['0', '1', 'max', '-1', '3']],
  ['publish_node_full', ['reject', 'retract-oldest', 'discard-oldest']],
  ['itemreply', ['owner', 'publisher', 'none']],
  ['presence_based_delivery', ['0', '1']],
  ['tempsub', ['0', '1']],
  ['purge_offline', ['0', '1']],
  ['notify_sub', ['1']],
  ['notify_config', ['1']],
  ['item_expire', ['1', 'max', '0']],
  ['type', [NS.spaces, NS.atom, '']],
  ['node_type', ['leaf', 'collection']],
  ['contact', ['a@b', '@']],
  ['deliver', ['0', '1']],
  ['expire', ['presence', '2999-01-01T00:00:00Z', 'x']],
  ['show-values', ['away', 'online', 'x']],
  ['include_body', ['0', '1']],
  ['digest', ['0', '1']],
];

function requests(random: () => number): string {
  const one = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)]!;
  const maybe = (text: string, chance = 0.8): string => (random() < chance ? text : '');
  const node = (): string => maybe(` node="${random() < 0.7 ? one(['n', 'm']) : one(nodes)}"`, 0.97);
  const jid = (): string => maybe(` jid="${one([...users, `${one(users)}/r`, '@', 'far@away.example'])}"`, 0.9);
  const form = (type: string): string =>
    maybe(
      `<x xmlns="${NS.dataForms}" type="${one(['submit', 'submit', 'submit', 'cancel', 'form', 'x'])}">${maybe(
        `<field var="FORM_TYPE"><value>${NS.pubsub}#${type}</value></field>`,
      )}${Array.from({ length: Math.floor(random() * 4) }, () => {
        const [name, values] = one(options);
        return `<field var="pubsub#${name}"><value>${one(values)}</value></field>`;
      }).join('')}</x>`,
    );
  const payload = (): string =>
    one([
      '',
      '<x xmlns="urn:x"/>',
      `<attachments xmlns="${NS.attachments}"><noticed/><reactions><reaction>x</reaction></reactions></attachments>`,
      `<entry xmlns="${NS.atom}"><title>x</title></entry>`,
      '<x xmlns="urn:x"/><y xmlns="urn:x"/>',
    ]);
  const item = (): string => `<item${maybe(` id="${one(ids)}"`)}>${payload()}</item>`;
  const set = maybe(
    `<set xmlns="${NS.rsm}">${one(['<max>1</max>', '<max>x</max>', '<after>a</after>', '<before/>', '<index>1</index>'])}</set>`,
    0.3,
  );
  const order = maybe(`<order xmlns="${NS.orderBy}" by="${one(['creation', 'modification', 'x'])}"/>`, 0.3);
  const gets = random() < 0.4;
  const setting: readonly (() => string)[] = [
    () =>
      `<publish${node()}>${maybe(item())}</publish>${maybe(`<publish-options>${form('publish-options')}</publish-options>`, 0.4)}`,
    () => `<publish${node()}>${item()}</publish>`,
    () => `<retract${node()}${maybe(' notify="1"')}>${maybe(item())}</retract>`,
    () => `<create${node()}/>${maybe(`<configure>${form('node_config')}</configure>`)}`,
    () =>
      `<subscribe${node()}${jid()}>${maybe(`<public xmlns="${NS.pps}"/>`, 0.3)}</subscribe>${maybe(`<options>${form('subscribe_options')}</options>`, 0.4)}`,
    () => `<unsubscribe${node()}${jid()}/>`,
    () => `<options${node()}${jid()}>${maybe(form('subscribe_options'))}</options>`,
  ];
  const getting: readonly (() => string)[] = [
    () => `<options${node()}${jid()}/>`,
    () =>
      `<items${node()}${maybe(` max_items="${one(['1', '0', 'x'])}"`, 0.2)}>${maybe(item(), 0.2)}</items>${set}${order}`,
    () => `<subscriptions${node()}/>`,
    () => `<affiliations${node()}/>`,
    () => `<default${node()}/>`,
  ];
  const ownedGets: readonly (() => string)[] = [
    () => `<configure${node()}/>`,
    () => `<default${maybe(` type="${one(['leaf', 'collection', 'x'])}"`, 0.4)}/>`,
    () => `<affiliations${node()}/>`,
    () => `<subscriptions${node()}/>`,
  ];
  const owned: readonly (() => string)[] = [
    () => `<configure${node()}>${maybe(form('node_config'))}</configure>`,
    () => `<delete${node()}>${maybe('<redirect uri="xmpp:x?;node=y"/>', 0.3)}</delete>`,
    () => `<purge${node()}/>`,
    () =>
      `<affiliations${node()}>${maybe(`<affiliation${jid()} affiliation="${one(['owner', 'member', 'publisher', 'outcast', 'none', 'x'])}"/>`)}</affiliations>`,
    () =>
      `<subscriptions${node()}>${maybe(`<subscription${jid()} subscription="${one(['subscribed', 'pending', 'none', 'x'])}"/>`)}</subscriptions>`,
  ];
  const type = gets === random() < 0.97 ? 'get' : 'set';
  const to = maybe(` to="${one([...users, 'pubsub.example.org', 'pubsub.example.org', 'nobody@example.org'])}"`, 0.7);
  const inner =
    random() < 0.65
      ? `<pubsub xmlns="${NS.pubsub}">${one(gets ? getting : setting)()}</pubsub>`
      : random() < 0.7
        ? `<pubsub xmlns="${NS.pubsubOwner}">${one(gets ? ownedGets : owned)()}</pubsub>`
        : one([
            `<query xmlns="${NS.mam}"${node()}/>`,
            `<query xmlns="${NS.discoInfo}"${node()}/>`,
            `<query xmlns="${NS.discoItems}"${node()}>${set}</query>`,
          ]);
  return `<iq xmlns="${NS.client}" type="${type}" id="f"${to}>${inner}</iq>`;
}

for (const user of users)
  await account(
    user.split('@')[0]!,
    Object.fromEntries(users.filter((one) => one !== user).map((one) => [one, 'both'])),
  );
const clients = users.map((user) => connect(`${user}/r`));
for (const client of clients) await client.says(`<presence xmlns="${NS.client}"/>`);

for (const seed of [1, 2, 3])
  test(`seed ${seed}: every request is answered once, and never with an internal error`, async () => {
    const random = randomOf(seed);
    const answered = { result: 0, error: 0 };
    for (let n = 0; n < 2000; n++) {
      const client = clients[Math.floor(random() * clients.length)]!;
      if (random() < 0.01) {
        await client.says(`<presence xmlns="${NS.client}" type="unavailable"/>`);
        await client.says(`<presence xmlns="${NS.client}"/>`);
      }
      for (const other of clients) other.received.length = 0;
      const xml = requests(random);
      await client.says(xml);
      const answers = client.received.filter((text) => text.startsWith('<iq') && text.includes(' id="f"'));
      assert.equal(answers.length, 1, xml);
      assert.doesNotMatch(answers[0]!, /internal-server-error/, xml);
      answered[answers[0]!.includes(' type="result"') ? 'result' : 'error']++;
    }
    assert.ok(answered.result > 300 && answered.error > 300, JSON.stringify(answered));
  });

test('counters match the stored data', async () => {
  const items = storage.map<{ readonly xml: string }>('pubsub_items');
  const usage = storage.document<{ readonly items: number; readonly bytes: number }>('pubsub_usage');
  const owners = await items.owners({ limit: 100 });
  assert.ok(owners.length > 0);
  for (const owner of owners) {
    const all = [...(await items.all(owner)).values()];
    const bytes = all.reduce((sum, { xml }) => sum + Buffer.byteLength(xml), 0);
    const published = [...(await storage.map<{ readonly bytes: number }>('pubsub_publishers').all(owner)).values()];
    const isService = published.length > 0;
    const counted = { items: all.length, bytes, ...(isService && { byPublisher: true }) };
    assert.deepEqual(await usage.get(owner), counted, owner);
    if (isService)
      assert.equal(
        published.reduce((sum, { bytes }) => sum + bytes, 0),
        bytes,
        owner,
      );
  }
  // Nothing is left of nodes that are gone.
  for (const owner of await storage.map('pubsub_nodes').owners({ limit: 100 })) {
    const nodes = await storage.map<{ readonly movedTo?: string }>('pubsub_nodes').all(owner);
    const left = [...nodes].flatMap(([name, { movedTo }]) => (movedTo === undefined ? name : []));
    for (const store of ['pubsub_items', 'pubsub_subscriptions'])
      for (const key of (await storage.map(store).all(owner)).keys())
        assert.ok(left.includes(key.split('\u0001')[0]!), `${store}: ${JSON.stringify(key)}`);
  }
});
