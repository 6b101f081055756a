/**
 * Stored records are input: a damaged one is logged with its store, owner and key, counted, and affects nothing else.
 * The test fills every store of a server, damages the records of one account and those shared with others, and then
 * uses every feature with that account and another one.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { newKeys } from '../../src/modules/push-gateway/rfc-8292-vapid.js';
import { Jid } from '../../src/server/address/jid.js';
import { storedName } from '../../src/server/loader.js';
import { stanzaId } from '../../src/server/stanza/ids.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Shape, Storage } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, Stage } from './dialogue.js';

const victim = 'alice@localhost';
const bystander = 'carol@localhost';
const rooms = 'conference.localhost';
/** In every damaged value that can hold text: a log line must not have it. */
const secret = 'TOP-SECRET';

const message = (from: string, to: string) =>
  `<message xmlns="jabber:client" from="${from}" to="${to}" type="chat" id="m"><body>kept</body></message>`;
const at = Date.now();
const slot = { mechanism: 'HT-SHA-256-NONE', epoch: 'e', issued: at, expires: at + 1e9, count: 0, proof: 'eA==' };

interface Sample {
  readonly shape: Shape;
  readonly name: string;
  readonly owner: string;
  readonly key?: string;
  readonly value: unknown;
}

/** The id of an uploaded file of an account. */
const fileOf = (account: string): string => createHash('md5').update(account).digest('hex');

/** A record in each store. One that is not here fails the test. */
function samples(account: string): Sample[] {
  const other = 'dave@localhost';
  const room = `${account.split('@')[0]}-room@${rooms}`;
  const document = (name: string, value: unknown, owner = account): Sample => ({
    shape: 'document',
    name,
    owner,
    value,
  });
  const map = (name: string, key: string, value: unknown, owner = account): Sample => ({
    shape: 'map',
    name,
    owner,
    key,
    value,
  });
  const log = (name: string, value: string, owner = account): Sample => ({
    shape: 'log',
    name,
    owner,
    key: stanzaId(owner),
    value,
  });
  const archived = log('archive', message(other, account));
  return [
    map('account_page/logins', 'digest', {
      epoch: 'e',
      at,
      until: at + 1e9,
      address: '::1',
      used: [['n', at]],
      floor: 0,
    }),
    archived,
    log('archive', message(other, account)),
    log('archive', `<message xmlns="jabber:client" from="${room}/n" type="groupchat"><body>x</body></message>`, room),
    log('offline', message(other, account)),
    log('offline', message(other, account)),
    map('offline_archived', archived.key!, 5),
    log('held', message('stranger@example.org', account)),
    map('acquaintances', other, at),
    map('roster', other, { groups: ['g'], subscription: 'both', name: 'D' }),
    map('roster', 'erin@localhost', {
      groups: [],
      subscription: 'none',
      pendingIn: `<presence xmlns="jabber:client" from="erin@localhost" to="${account}" type="subscribe"/>`,
    }),
    map('blocked', 'mallory@localhost', true),
    document('quotas', { archive: 10_000_000, data: null }),
    document('archive_preferences', { default: 'always', always: [], never: ['mallory@localhost'] }),
    document('vcards', '<vCard xmlns="vcard-temp"><FN>A</FN></vCard>'),
    map('private', '{urn:x}x', ['<x xmlns="urn:x"/>']),
    map('inbox', other, { last: archived.key, message: archived.key, unread: 1, ids: ['m'], at: [archived.key] }),
    document('last_activity', { at, status: 'gone' }),
    document('registered', { at }),
    document('last_logins', { at }),
    document('greeted', { motd: 'x', isNew: true }),
    map('fast_tokens', 'client', {
      v: 1,
      software: 'S',
      device: 'D',
      login: 'PLAIN',
      since: at,
      seen: at,
      current: slot,
      next: slot,
    }),
    map('pam', 'pubsub.localhost\u0001news', { state: 'subscribed' }),
    document('pam_version', 'v'),
    map('pubsub_nodes', 'urn:xmpp:bookmarks:1', {
      v: 1,
      config: { 'pubsub#access_model': 'whitelist', 'pubsub#max_items': 'max' },
      creator: account,
      created: at,
      affiliations: { [other]: 'member' },
    }),
    map('pubsub_items', `urn:xmpp:bookmarks:1\u0001${room}`, {
      at: stanzaId(victim),
      by: account,
      xml: '<conference xmlns="urn:xmpp:bookmarks:1" autojoin="true" name="R"/>',
    }),
    map('pubsub_subscriptions', `urn:xmpp:bookmarks:1\u0001${other}`, { state: 'subscribed' }),
    document('pubsub_usage', { items: 1, bytes: 70 }),
    map('pubsub_publishers', account, { bytes: 70 }, 'pubsub.localhost'),
    map('client_caps', 'hash', { at, features: ['urn:x'] }),
    document('muc_rooms', room === '' ? undefined : storedRoom(account), room),
    map('presence/visible', `${account}/phone`, { isAvailable: true, directed: [`${room}/n`] }, '1 node localhost'),
    map('muc_members', account, { affiliation: 'owner', nick: 'n' }, room),
    document('muc_vcards', '<vCard xmlns="vcard-temp"/>', room),
    map('muc_left', room, { at: stanzaId(victim) }),
    map('upload/files', fileOf(account), { name: 'a.png', size: 3, type: 'image/png', at, purpose: 'message' }),
    map('push/apps', 'push.example node', { at, resource: 'phone' }),
    map('shared_groups/links', other, { groups: { team: 'Team' }, isMade: true }),
    document('upload/owners', { owner: account }, fileOf(account)),
    document('upload/days', { day: Math.floor(at / 86_400_000), bytes: 3, files: 1 }),
    document('passing', true, `${account.split('@')[0]}-anonymous@localhost`),
    document(
      'stream_management',
      {
        jid: `${account}/asleep`,
        mechanism: 'SCRAM-SHA-1',
        received: 1,
        acknowledged: 0,
        queue: [{ xml: message(other, account) }],
        state: {
          presence: `<presence xmlns="jabber:client" from="${account}/asleep"/>`,
          priority: 1,
          interested: true,
          carbons: true,
          directed: [room],
          seen: [],
        },
        expires: 0,
        holdSeconds: 300,
      },
      `session-${account}`,
    ),
  ];
}

/** Records of the host for all users. */
const shared: Sample[] = [
  { shape: 'document', name: 'greetings', owner: 'localhost', value: { motd: { id: 'm', text: 't' }, welcome: 'w' } },
  { shape: 'document', name: 'policies', owner: 'localhost', value: { blocked: ['mallory@localhost'] } },
  {
    shape: 'document',
    name: 'outage/outage',
    owner: 'localhost',
    value: { planned: true, beginning: '2026-11-29T12:00:00Z', message: { en: 'Upgrade' } },
  },
  { shape: 'document', name: 'stanza_ids', owner: 'ids', value: { until: at } },
  { shape: 'document', name: 'server_runs', owner: 'localhost', value: [{ from: 1, to: 2 }] },
  { shape: 'document', name: 'account_secrets', owner: 'server', value: { salts: 'c2VjcmV0' } },
  { shape: 'document', name: 'upload/hosts', owner: 'localhost', value: { secret: 'c2VjcmV0', since: at } },
  {
    shape: 'map',
    name: 'invites/invites',
    owner: 'localhost',
    key: 'id',
    value: { by: victim, registers: true, connects: true, uses: 1, at, until: at },
  },
  {
    shape: 'document',
    name: 'push_gateway/keys',
    owner: 'push.localhost',
    value: { ...newKeys() },
  },
  {
    shape: 'map',
    name: 'push_gateway/devices',
    owner: 'push.localhost',
    key: 'node',
    value: { user: victim, at, secret: 'hash', token: { kind: 'webpush', url: 'https://push.example/1' } },
  },
  { shape: 'map', name: 'push_gateway/listings', owner: 'push.localhost', key: `${victim} node`, value: { at } },
  ...(['pending', 'failed'] as const).map(
    (name): Sample => ({
      shape: 'map',
      name: `push_gateway/${name}`,
      owner: 'push.localhost',
      // Out of date: no service is asked.
      key: `node ${stanzaId(victim)}`,
      value: { value: { lane: 'https://push.example', notice: { count: 1 } }, at: at - 1000, until: at, tries: 1 },
    }),
  ),
  ...(['pending', 'failed'] as const).map(
    (name): Sample => ({
      shape: 'map',
      name: `webhooks/${name}`,
      owner: 'localhost',
      key: `crm:${victim} ${stanzaId(victim)}`,
      value: { value: { id: 'e', kind: 'account', body: '{}' }, at: at - 1000, until: at, tries: 1 },
    }),
  ),
  {
    shape: 'map',
    name: 'shared_groups/groups',
    owner: 'localhost',
    key: 'team',
    value: { name: 'Team', members: [victim] },
  },
  { shape: 'map', name: 'directory', owner: 'localhost', key: victim, value: { first: 'A' } },
  { shape: 'map', name: 'rtbl', owner: 'localhost', key: 'lists.example/n\u0001hash', value: true },
  {
    shape: 'log',
    name: 'reports',
    owner: 'localhost',
    key: stanzaId(victim),
    value: JSON.stringify({ by: victim, jid: 'mallory@localhost', reason: 'spam', text: '', messages: [] }),
  },
  {
    shape: 'map',
    name: 'pubsub_nodes',
    owner: 'pubsub.localhost',
    key: 'news',
    value: { v: 1, config: {}, creator: victim, created: at, affiliations: { [victim]: 'owner' } },
  },
];

function storedRoom(creator: string): object {
  return {
    v: 1,
    config: { name: 'Room', persistent: true, public: true, logging: true },
    creator,
    created: at,
    secret: 'c2VjcmV0',
    subject: { text: 's', xml: `<message xmlns="jabber:client" from="${creator}"><subject>s</subject></message>`, at },
  };
}

async function write(storage: Storage, { shape, name, owner, key, value }: Sample): Promise<void> {
  if (shape === 'document') await storage.document(name).set(owner, value);
  else if (shape === 'map') await storage.map(name).set(owner, [[key!, value]]);
  else await storage.log(name).append(owner, { id: key!, value: String(value) });
}

const truncated = `<message xmlns="jabber:client" to="${victim}"><body>${secret}`;
/** By a reader that loses count of bytes (A1). */
const notNested = `<message xmlns="jabber:client"><body>${secret}</body><é></é></message><x/>`;

/** The damaged record. Undefined keeps it unchanged. */
const damages: Record<string, (sample: Sample) => unknown> = {
  'truncated XML': () => truncated,
  'XML that is not well-formed': () => notNested,
  'another element': () => `<iq xmlns='jabber:client' to='@@@'>${secret}</iq>`,
  'an empty text': () => '',
  null: () => null,
  'a number': () => -1.5,
  'an empty list': () => [],
  'a list of null': () => [null],
  'an empty object': () => ({}),
  'a huge text': () => secret.repeat(100_000),
  'garbage for addresses': ({ value }) => JSON.parse(JSON.stringify(value).replace(/[a-z-]+@[a-z.]+/g, `@${secret}@`)),
  ...Object.fromEntries(
    Array.from({ length: 14 }, (_, index) => [
      `field ${index} of another type`,
      ({ value }: Sample) => {
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
        const name = Object.keys(value)[index];
        return name === undefined ? undefined : { ...value, [name]: { [secret]: [secret] } };
      },
    ]),
  ),
};

const uses = (self: string): string[] => {
  const room = `${self.split('@')[0]}-room@${rooms}`;
  const iq = (type: 'get' | 'set', payload: string, to = '') =>
    `<iq type='${type}' id='#'${to === '' ? '' : ` to='${to}'`}>${payload}</iq>`;
  const pubsub = (payload: string) => `<pubsub xmlns='${NS.pubsub}'>${payload}</pubsub>`;
  return [
    iq('get', `<query xmlns='jabber:iq:roster'/>`),
    `<presence/>`,
    iq('set', `<query xmlns='jabber:iq:roster'><item jid='frank@localhost'/></query>`),
    `<presence type='subscribed' to='erin@localhost'/>`,
    `<presence type='subscribe' to='dave@localhost'/>`,
    `<message to='dave@localhost' type='chat' id='c'><body>hello</body></message>`,
    `<message to='${bystander}' type='chat' id='c'><body>hello</body></message>`,
    iq('get', `<blocklist xmlns='urn:xmpp:blocking'/>`),
    iq('set', `<block xmlns='urn:xmpp:blocking'><item jid='x@localhost'/></block>`),
    iq('set', `<unblock xmlns='urn:xmpp:blocking'/>`),
    iq('set', `<query xmlns='urn:xmpp:mam:2' queryid='q'/>`),
    iq(
      'set',
      `<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>1</max><before/></set></query>`,
    ),
    iq('get', `<metadata xmlns='urn:xmpp:mam:2'/>`),
    iq('get', `<prefs xmlns='urn:xmpp:mam:2'/>`),
    iq('set', `<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>`),
    iq('get', `<vCard xmlns='vcard-temp'/>`),
    iq('set', `<vCard xmlns='vcard-temp'><FN>A</FN></vCard>`),
    iq('get', `<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>`),
    iq('set', `<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>`),
    iq('get', `<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>`),
    iq('get', `<query xmlns='jabber:iq:last'/>`, self),
    iq('get', `<query xmlns='http://jabber.org/protocol/disco#info'/>`, self),
    iq('get', `<query xmlns='http://jabber.org/protocol/disco#items'/>`, self),
    iq('get', pubsub(`<items node='urn:xmpp:bookmarks:1'/>`)),
    iq('get', pubsub(`<subscriptions/>`)),
    iq(
      'set',
      pubsub(
        `<publish node='urn:xmpp:bookmarks:1'><item id='b@${rooms}'><conference xmlns='urn:xmpp:bookmarks:1'/></item></publish>`,
      ),
    ),
    iq('set', pubsub(`<publish node='mood'><item><mood xmlns='http://jabber.org/protocol/mood'/></item></publish>`)),
    iq('get', pubsub(`<items node='news'/>`), 'pubsub.localhost'),
    iq('set', pubsub(`<create node='news'/>`), 'pubsub.localhost'),
    iq('get', `<query xmlns='http://jabber.org/protocol/disco#items'/>`, 'pubsub.localhost'),
    iq('get', `<query xmlns='http://jabber.org/protocol/disco#items'/>`, rooms),
    iq('get', `<query xmlns='http://jabber.org/protocol/disco#info'/>`, room),
    `<presence to='${room}/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
    `<message to='${room}' type='groupchat' id='g'><body>all</body></message>`,
    iq('get', `<query xmlns='http://jabber.org/protocol/muc#owner'/>`, room),
    iq('get', `<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='owner'/></query>`, room),
    iq('set', `<query xmlns='urn:xmpp:mam:2'/>`, room),
    iq('get', `<vCard xmlns='vcard-temp'/>`, room),
    `<presence to='new-${room}/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>`,
    iq('get', `<inbox xmlns='urn:xmpp:inbox:1'/>`),
    iq('get', `<query xmlns='jabber:iq:search'/>`, 'directory.localhost'),
    iq('get', `<query xmlns='http://jabber.org/protocol/disco#info'/>`, 'push.localhost'),
    iq('get', `<services xmlns='urn:xmpp:extdisco:2'/>`, 'localhost'),
    iq('get', `<request xmlns='${NS.upload}' filename='b.png' size='3'/>`, 'upload.localhost'),
    iq('set', `<command xmlns='http://jabber.org/protocol/commands' node='files'/>`, 'localhost'),
    iq(
      'set',
      `<block xmlns='urn:xmpp:blocking'><item jid='m@localhost'><report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/></item></block>`,
    ),
    iq('set', `<unblock xmlns='urn:xmpp:blocking'/>`),
    `<presence type='unavailable'/>`,
    `<presence/>`,
  ];
};

/** Sends all, and waits until every IQ was answered. Gives the types of the answers. */
async function useAll(peer: Peer, self: string): Promise<Map<string, string>> {
  const asked = new Map<string, string>();
  for (const [index, xml] of uses(self).entries()) {
    const id = `use-${index}`;
    const sent = xml.replace("id='#'", `id='${id}'`);
    if (xml.startsWith('<iq')) asked.set(id, sent);
    await peer.sends(sent);
  }
  const answers = new Map<string, string>();
  while (answers.size < asked.size) {
    const element = await peer.receivesAny().catch((error: unknown) => {
      const missing = [...asked.values()].filter((xml) => !answers.has(xml));
      throw new Error(`not answered: ${missing.join('\n')}`, { cause: error });
    });
    const { id = '', type = '' } = element.attrs as Record<string, string>;
    const question = element.name === 'iq' ? asked.get(id) : undefined;
    if (question !== undefined) answers.set(question, type);
  }
  await peer.syncs();
  return answers;
}

const config = {
  modules: {
    directory: { enabled: true },
    push_gateway: { enabled: true },
    webhooks: { enabled: true },
    strangers: { messages: 'hold', local_users: 'known' },
    rtbl: { lists: ['lists.example/n'] },
  },
  muc: {},
};

async function opened(): Promise<Stage> {
  const { muc: _, ...rest } = config;
  const stage = await Stage.open({ config: rest, storage: () => new MemoryStorage(), nodes: 1, errors: true });
  for (const account of [victim, bystander, 'dave@localhost']) await stage.account(account);
  return stage;
}

/** The damaged records that the server logged. Fails if the log has anything else, or contains a value. */
function damagedIn(lines: readonly string[]): string[] {
  return lines.map((line) => {
    assert.ok(!line.includes(secret), `a value in the log: ${line.slice(0, 500)}`);
    const { msg, store, owner } = JSON.parse(line) as { msg: string; store?: string; owner?: string };
    if (/could not be (fetched|subscribed)|block list|not fetched/.test(msg)) return '';
    if (/storage: corrupt/.test(msg)) return '';
    assert.equal(msg, 'a stored record is damaged', line.slice(0, 1000));
    assert.ok(store !== undefined && owner !== undefined);
    return store;
  });
}

test('the samples are valid, and cover every store', { timeout: 180_000 }, async () => {
  const stage = await opened();
  try {
    await stage.restart(async (storage) => {
      for (const sample of [...samples(victim), ...shared]) await write(storage, sample);
    });
    const alice = await stage.actor(`${victim}/desk`);
    const answers = await useAll(alice, victim);
    const errors = [...answers].filter(([, type]) => type === 'error').map(([xml]) => xml);
    // There is a node already.
    assert.deepEqual(
      errors.filter((xml) => !xml.includes('<create') && !xml.includes('extdisco')),
      [],
    );
    assert.deepEqual(damagedIn(stage.takeErrors()), []);
    const sampled = new Set([...samples(victim), ...shared].map(({ name }) => name).concat('accounts'));
    const declared = stage.server.modules.flatMap(({ name: module, stores }) =>
      Object.entries(stores ?? {})
        // The content of a file is not parsed.
        .filter(([, { shape }]) => shape !== 'blobs')
        .map(([name, store]) => ({ name: storedName(module, name, store), hasSchema: store.value !== undefined })),
    );
    const present = (await stage.server.storage.stores()).map(({ name }) => name);
    assert.deepEqual(
      [...declared.map(({ name }) => name), ...present].filter((name) => !sampled.has(name)),
      [],
    );
    const unchecked = declared.filter(({ hasSchema }) => !hasSchema).map(({ name }) => name);
    assert.deepEqual(unchecked, [], 'stores without a schema');
  } finally {
    await stage.close();
  }
});

for (const [kind, damage] of Object.entries(damages)) {
  test(`damaged by ${kind}`, { timeout: 180_000 }, async () => {
    const stage = await opened();
    try {
      await stage.restart(async (storage) => {
        for (const sample of samples(bystander)) await write(storage, sample);
        for (const sample of [...samples(victim), ...shared]) {
          await write(storage, sample);
          const value = damage(sample);
          if (value !== undefined) await write(storage, { ...sample, value });
        }
      });
      const alice = await stage.actor(`${victim}/desk`);
      await useAll(alice, victim);
      const carol = await stage.actor(`${bystander}/desk`);
      const answers = await useAll(carol, bystander);
      const errors = [...answers].filter(([, type]) => type === 'error').map(([xml]) => xml);
      assert.deepEqual(
        errors.filter((xml) => !xml.includes("node='news'") && !xml.includes('extdisco')),
        [],
        'a bystander is refused',
      );
      damagedIn(stage.takeErrors());
      // Repeats it with the data stored meanwhile.
      await stage.restart();
      await useAll(await stage.actor(`${victim}/desk`), victim);
      damagedIn(stage.takeErrors());
    } finally {
      await stage.close();
    }
  });
}

for (const [kind, damage] of Object.entries(damages)) {
  test(`the account record is damaged by ${kind}: nobody gets the account, others are served`, {
    timeout: 180_000,
  }, async () => {
    const stage = await opened();
    try {
      let isDamaged = false;
      await stage.restart(async (storage) => {
        const accounts = storage.document('accounts');
        const value = damage({ shape: 'document', name: 'accounts', owner: victim, value: await accounts.get(victim) });
        isDamaged = value !== undefined && JSON.stringify(value) !== JSON.stringify(await accounts.get(victim));
        if (isDamaged) await accounts.set(victim, value);
      });
      if (!isDamaged) return;
      const carol = await stage.actor(`${bystander}/desk`, { presence: true });
      await carol.sends(`<message to='${victim}' type='chat' id='c'><body>hello</body></message>`);
      await carol.receives(`<message type='error' id='c' from='${victim}'><error type='wait'/></message>`);
      await assert.rejects(async () => stage.server.accounts.exists(victim));
      await assert.rejects(stage.server.accounts.create(Jid.parse(victim), 'another password'));
      const unauthenticated = await stage.connect();
      await unauthenticated.opens();
      await unauthenticated.receivesFeatures();
      await unauthenticated.sends(
        `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${Buffer.from(`\0alice\0pencil`).toString('base64')}</auth>`,
      );
      assert.notEqual((await unauthenticated.receivesAny()).name, 'success');
      assert.ok(damagedIn(stage.takeErrors()).includes('accounts'));
      // An administrator can remove it, and the name is free again.
      assert.equal(await stage.server.accounts.remove(victim), true);
      await stage.account(victim);
      await stage.actor(`${victim}/desk`);
    } finally {
      await stage.close();
    }
  });
}
