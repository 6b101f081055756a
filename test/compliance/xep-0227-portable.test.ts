/** XEP-0227: accounts exported from one server and imported into another, as an administrator does it. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { CommandError } from '../../src/server/admin/command.js';
import type { ImportData } from '../../src/server/portable/import.js';
import { parse } from '../../src/server/xml/element.js';
import { mulberry32 } from '../../src/storage/wrappers.js';
import { adminOf } from './admin.js';
import { type Peer, Stage, scenarioWith } from './dialogue.js';

// The admin socket of a server belongs to the test that opens it.
const scenario = scenarioWith({ alone: true });

const folder = mkdtempSync(join(tmpdir(), 'waxwing-portable-'));
after(() => rmSync(folder, { recursive: true }));
let files = 0;

/** Writes a file and returns its path. */
function fileOf(text: string | Buffer, name = `${files++}.xml`): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const pie = (host: string, users: string) =>
  `<?xml version='1.0' encoding='UTF-8'?><server-data xmlns='urn:xmpp:pie:0'><host jid='${host}'>${users}</host></server-data>`;

const refusal = (failure: string, message: RegExp) => (error: CommandError) => {
  assert.equal(error.failure, failure, error.message);
  assert.match(error.message, message);
  return true;
};

const importing = async (stage: Pick<Stage, 'server' | 'folder'>, values: Readonly<Record<string, unknown>>) =>
  (await adminOf(stage)).ask<ImportData>('import', values);

const nodes = 'http://jabber.org/protocol/pubsub';
const options = `<publish-options><x xmlns="jabber:x:data" type="submit"><field var="FORM_TYPE" type="hidden"><value>${nodes}#publish-options</value></field><field var="pubsub#access_model"><value>whitelist</value></field><field var="pubsub#max_items"><value>max</value></field></x></publish-options>`;
const publish = (node: string, id: string, payload: string, more = '') =>
  `<pubsub xmlns="${nodes}"><publish node="${node}"><item id="${id}">${payload}</item></publish>${more}</pubsub>`;

/** What a client can store. */
const stored = [
  `<query xmlns="jabber:iq:roster"><item jid="tybalt@far.example" name="T &amp; &lt;b&gt; '&quot;"><group>Foes ]]&gt;</group></item></query>`,
  `<vCard xmlns="vcard-temp"><FN>Romeo &#128512;</FN></vCard>`,
  `<query xmlns="jabber:iq:private"><exodus xmlns="exodus:prefs"><a b="c"/></exodus></query>`,
  `<block xmlns="urn:xmpp:blocking"><item jid="mallory@far.example"/></block>`,
  `<prefs xmlns="urn:xmpp:mam:2" default="always"><never><jid>spam@far.example</jid></never></prefs>`,
  publish('urn:xmpp:bookmarks:1', 'z@conference.localhost', '<conference xmlns="urn:xmpp:bookmarks:1"/>', options),
  publish('urn:xmpp:bookmarks:1', 'a@conference.localhost', '<conference xmlns="urn:xmpp:bookmarks:1"/>'),
  publish('urn:xmpp:bookmarks:1', 'z@conference.localhost', '<conference xmlns="urn:xmpp:bookmarks:1" name="Z"/>'),
  publish('http://jabber.org/protocol/nick', 'current', '<nick xmlns="http://jabber.org/protocol/nick">R</nick>'),
  `<enable xmlns="urn:xmpp:push:0" jid="push.far.example" node="n"/>`,
];

/** Stores all of it, and messages before and after the client has gone. */
async function fill(romeo: Peer, juliet: Peer): Promise<void> {
  for (const [at, payload] of stored.entries()) {
    await romeo.sends(`<iq type="set" id="s${at}">${payload}</iq>`);
    await romeo.receivesFirst(`<iq type="result" id="s${at}"/>`).catch(() => romeo.syncs());
  }
  for (let at = 0; at < 120; at++)
    await juliet.sends(`<message to="romeo@localhost" type="chat" id="m${at}"><body>number ${at}</body></message>`);
  await juliet.syncs();
  await romeo.closes();
  await romeo.drains();
  await juliet.sends(`<message to="romeo@localhost" type="chat"><body>while you were away</body></message>`);
  await juliet.sends(`<presence to="romeo@localhost" type="subscribe"/>`);
  await juliet.syncs();
}

const exported = async (stage: Stage, addresses = 'romeo@localhost') => (await adminOf(stage)).exported({ addresses });

/** Runs with a second server. */
async function withAnother(work: (other: Stage) => Promise<void>): Promise<void> {
  const other = await Stage.open();
  try {
    await work(other);
  } finally {
    await other.close();
  }
}

const whole = {
  accounts: 1,
  failed: [],
  refused: [],
  unknown: [],
  foreign: [],
  withoutPassword: [],
  furtherRefused: 0,
};
const isWhole = (data: ImportData) => assert.deepEqual({ ...data, ...whole }, data);

scenario(
  '§4: an account moves to another Waxwing with everything, and its user logs in there',
  async ({ stage, actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await fill(romeo, juliet);
    const before = await exported(stage);
    parse(before);
    // §4.3, §4.4, §4.6 to §4.11
    for (const part of [
      /<scram-credentials xmlns="urn:xmpp:pie:0#scram" mechanism="SCRAM-SHA-1"><iter-count>4096<\/iter-count><salt>/,
      /<query xmlns="jabber:iq:roster"><item jid="tybalt@far.example"/,
      /<offline-messages xmlns="urn:xmpp:pie:0"><message xmlns="jabber:client"[^>]* from="juliet@localhost\/balcony"/,
      /<query xmlns="jabber:iq:private"><exodus xmlns="exodus:prefs">/,
      /<vCard xmlns="vcard-temp"><FN>/,
      /<presence xmlns="jabber:client" to="romeo@localhost" from="juliet@localhost" type="subscribe"/,
      /<pubsub xmlns="http:\/\/jabber.org\/protocol\/pubsub#owner"><configure node="/,
      /<archive xmlns="urn:xmpp:pie:0#mam"><result xmlns="urn:xmpp:mam:2" id="\w{16}"><forwarded/,
    ])
      assert.match(before, part);
    await withAnother(async (other) => {
      const file = fileOf(before);
      isWhole(await importing(other, { file, 'dry-run': true }));
      assert.equal(await other.server.accounts.get('romeo@localhost'), undefined, 'a dry run writes nothing');
      isWhole(await importing(other, { file }));
      assert.equal(await exported(other), before);
      // The same file again doubles nothing.
      isWhole({ ...(await importing(other, { file, existing: 'merge' })), existing: 0 });
      assert.equal(await exported(other), before);
      isWhole({ ...(await importing(other, { file, existing: 'replace' })), existing: 0 });
      assert.equal(await exported(other), before);
      // Compared through a client.
      const again = await other.actor('romeo@localhost/orchard');
      await again.sends('<iq type="get" id="r"><query xmlns="jabber:iq:roster"/></iq>');
      await again.receives(
        `<iq type="result" id="r"><query xmlns="jabber:iq:roster"><item jid="tybalt@far.example" subscription="none" name="T &amp; &lt;b&gt; '&quot;"><group>Foes ]]&gt;</group></item></query></iq>`,
      );
      await again.sends(
        `<iq type="get" id="n"><pubsub xmlns="${nodes}"><items node="urn:xmpp:bookmarks:1"/></pubsub></iq>`,
      );
      const items = (await again.receivesFirst(`<iq type="result" id="n"/>`)).getChild('pubsub')!.getChild('items')!;
      assert.deepEqual(
        items.getChildElements().map(({ attrs }) => attrs.id),
        ['a@conference.localhost', 'z@conference.localhost'],
      );
      await again.sends(
        '<iq type="set" id="q"><query xmlns="urn:xmpp:mam:2"><set xmlns="http://jabber.org/protocol/rsm"><max>0</max></set></query></iq>',
      );
      await again.receivesFirst(
        '<iq type="result" id="q"><fin xmlns="urn:xmpp:mam:2"><set xmlns="http://jabber.org/protocol/rsm"><count>121</count></set></fin></iq>',
      );
      await again.sends('<presence/>');
      await again.receivesFirst('<message type="chat"><body>while you were away</body></message>');
    });
  },
);

const archived = (id: string, stamp: string, body: string) =>
  `<result xmlns='urn:xmpp:mam:2' id='${id}'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='${stamp}'/><message xmlns='jabber:client' from='juliet@capulet.lit/b' to='romeo@localhost/o' type='chat'><body>${body}</body></message></forwarded></result>`;

/** As other servers write it. */
const foreign = `<user name='Romeo' password='pencil'>
  <query xmlns='jabber:iq:roster'><item jid='juliet@capulet.lit' subscription='both' ask='none'><group>F</group></item><item jid='@' subscription='none'/></query>
  <offline-messages><message xmlns='jabber:client' from='juliet@capulet.lit/b' to='romeo@localhost'><body>offline</body><delay xmlns='urn:xmpp:delay' from='localhost' stamp='2010-07-21T00:32:29Z'/></message></offline-messages>
  <query xmlns='jabber:iq:private'><roundcube xmlns='r:p'>1</roundcube></query>
  <query xmlns='jabber:iq:privacy'><default name='public'/><list name='public'><item type='jid' value='tybalt@example.com' action='deny' order='1'/><item type='jid' value='half@example.com' action='deny' order='2'><message/></item><item action='allow' order='3'/></list><list name='other'><item type='jid' value='x@example.com' action='deny' order='1'/></list></query>
  <presence xmlns='jabber:client' type='subscribe' id='xk3h1v69' from='mercutio@montague.net/r'><nick xmlns='http://jabber.org/protocol/nick'>M</nick></presence>
  <pubsub xmlns='${nodes}#owner'><configure node='urn:xmpp:bookmarks:1'><x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>${nodes}#node_config</value></field><field var='pubsub#access_model'><value>whitelist</value></field><field var='pubsub#max_items'><value>10</value></field><field var='x#odd'><value>1</value></field></x></configure><affiliations node='urn:xmpp:bookmarks:1'><affiliation jid='mercutio@example.net' affiliation='member'/></affiliations><subscriptions node='urn:xmpp:bookmarks:1'><subscription jid='mercutio@example.net' subscription='subscribed' subid='123-abc'/></subscriptions></pubsub>
  <pubsub xmlns='${nodes}'><items node='urn:xmpp:bookmarks:1'><item id='z@c.lit'><conference xmlns='urn:xmpp:bookmarks:1'/></item><item id='a@c.lit'><conference xmlns='urn:xmpp:bookmarks:1'/></item></items><items node='secret'><item id='1'><x xmlns='y'/></item></items></pubsub>
  <archive xmlns='urn:xmpp:pie:0#mam'>${archived('28482-98726', '2010-07-10T23:08:25Z', 'one')}${archived('z', '2010-07-10T23:08:25Z', 'two')}${archived('a', '2010-07-10T23:08:25Z', 'three')}${archived('b', 'never', 'lost')}</archive>
  <odd xmlns='urn:odd'>x</odd><odd xmlns='urn:odd'/>
</user>`;

scenario('§4: what other servers write is imported; the rest is counted and named', async ({ stage, actor }) => {
  const file = fileOf(pie('localhost', foreign));
  const data = await importing(stage, { file });
  assert.deepEqual(data.unknown, [{ ns: 'urn:odd', name: 'odd', count: 2 }]);
  assert.deepEqual(
    data.refused.map(({ account, what, count }) => [account, what, count]),
    [
      ['romeo@localhost', 'a roster item', 1],
      ['romeo@localhost', 'a rule of a privacy list', 1],
      ['romeo@localhost', 'an archived message', 1],
    ],
  );
  const first = await exported(stage);
  await importing(stage, { file, existing: 'merge' });
  assert.equal(await exported(stage), first, 'the same file again');
  // §4.2: by its password
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends('<iq type="get" id="b"><blocklist xmlns="urn:xmpp:blocking"/></iq>');
  await romeo.receives(
    '<iq type="result" id="b"><blocklist xmlns="urn:xmpp:blocking"><item jid="tybalt@example.com"/></blocklist></iq>',
  );
  await romeo.sends('<iq type="set" id="q"><query xmlns="urn:xmpp:mam:2"/></iq>');
  for (const body of ['one', 'two', 'three'])
    await romeo.receives(
      `<message><result xmlns="urn:xmpp:mam:2"><forwarded xmlns="urn:xmpp:forward:0"><delay xmlns="urn:xmpp:delay" stamp="2010-07-10T23:08:25.000Z"/><message xmlns="jabber:client"><body>${body}</body></message></forwarded></result></message>`,
    );
  await romeo.receivesFirst('<iq type="result" id="q"/>');
  await romeo.sends('<presence/>');
  await romeo.receivesFirst(
    '<message><body>offline</body><delay xmlns="urn:xmpp:delay" from="localhost" stamp="2010-07-21T00:32:29Z"/></message>',
  );
  // Nothing says who may read a node without a configuration (§4.10.2).
  assert.match(first, /<configure node="secret">.*?access_model"[^>]*>.*?<value>whitelist<\/value>/);
});

/** The files of `ejabberdctl export_piefxis` 26.07, whose keys are encoded twice, for the password "pencil". */
const ejabberd = {
  main: `<?xml version='1.0' encoding='UTF-8'?><server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='ejabberd_localhost.xml'/></server-data>`,
  host: `<?xml version='1.0' encoding='UTF-8'?><host xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude' jid='localhost'><user name='romeo'><scram-credentials xmlns='urn:xmpp:pie:0#scram' mechanism='SCRAM-SHA-1'><iter-count>4096</iter-count><salt>NWFpTnMyd2tmVlpaNHd2Q1k2YmhWZz09</salt><server-key>eDc2MHNKQ3N6bGx2eHFFcnlUVms1N2JWVzVRPQ==</server-key><stored-key>NjJjZnZnQ0U0ZUZPakw1WDhTRFF1c2ZaNldZPQ==</stored-key></scram-credentials><vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard><query xmlns='jabber:iq:roster'><item subscription='both' name='J' jid='juliet@capulet.lit'><group>F</group></item></query></user></host>`,
};

/** A file of prosody-migrator 13, one for each account. */
const prosody = `<server-data xmlns='urn:xmpp:pie:0'><host jid='localhost'><user name='benvolio' xmlns:ns1='http://prosody.im/protocol/extended-xep0227' ns1:created='1700000000'><scram-credentials mechanism='SCRAM-SHA-1' xmlns='urn:xmpp:pie:0#scram'><server-key>0pdXGK0GZOqT4fBKtw7RjCXSsaI=</server-key><stored-key>Q6r/wO4W5PHbXS2LH16LTMXRoLE=</stored-key><iter-count>10000</iter-count><salt>czRsdC1zNGx0</salt></scram-credentials><query xmlns='jabber:iq:roster' version='2'><item jid='juliet@capulet.lit' name='J' subscription='both'><group>F</group></item></query><presence type='subscribe' from='mercutio@far.example'/></user></host></server-data>`;

scenario('the exports of ejabberd 26.07 and Prosody 13 are imported, and the password is right', async ({ stage }) => {
  fileOf(ejabberd.host, 'ejabberd_localhost.xml');
  const { accounts } = stage.server;
  const data = await importing(stage, { file: fileOf(ejabberd.main, 'ejabberd.xml') });
  assert.deepEqual([data.accounts, data.refused, data.unknown, data.onlySha1], [1, [], [], 1]);
  assert.ok(await accounts.verifyPassword('romeo@localhost', 'pencil'));
  assert.match(await exported(stage), /jid="juliet@capulet.lit" name="J" subscription="both"><group>F</);
  mkdirSync(join(folder, 'prosody'));
  writeFileSync(join(folder, 'prosody', 'benvolio@localhost.xml'), prosody);
  const more = await importing(stage, { file: join(folder, 'prosody') });
  assert.deepEqual([more.accounts, more.refused, more.unknown, more.onlySha1], [1, [], [], 1]);
  assert.match(await exported(stage, 'benvolio@localhost'), /from="mercutio@far.example"/);
});

scenario(
  'an account that exists is refused, skipped, merged or replaced; its sessions end',
  async ({ stage, actor, connect }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends('<iq type="set" id="r"><query xmlns="jabber:iq:roster"><item jid="old@x.example"/></query></iq>');
    await romeo.syncs();
    const item = (jid: string) => `<query xmlns='jabber:iq:roster'><item jid='${jid}' subscription='both'/></query>`;
    const file = fileOf(
      pie('localhost', `<user name='romeo' password='stolen'>${item('new@x.example')}</user><user name='mercutio'/>`),
    );
    await assert.rejects(importing(stage, { file }), refusal('conflict', /romeo@localhost/));
    assert.equal(await stage.server.accounts.get('mercutio@localhost'), undefined, 'nothing was imported');
    const skipped = await importing(stage, { file, existing: 'skip' });
    assert.deepEqual([skipped.accounts, skipped.skipped, skipped.withoutPassword], [1, 1, ['mercutio@localhost']]);
    await romeo.syncs();
    await importing(stage, { file, existing: 'merge' });
    await romeo.drains();
    const merged = await exported(stage);
    assert.match(merged, /old@x\.example/);
    assert.match(merged, /new@x\.example/);
    const again = await actor('romeo@localhost/orchard'); // the password stays
    await again.syncs();
    await importing(stage, { file, existing: 'replace' });
    await again.drains();
    assert.doesNotMatch(await exported(stage), /old@x\.example/);
    const replaced = await connect({ host: 'localhost', account: 'romeo@localhost' } as never);
    await replaced.opens();
    await replaced.receivesFeatures();
    await replaced.authenticates('romeo', 'stolen');
  },
);

scenario('an interrupted import is continued, and nobody logs in before', { nodes: 1 }, async ({ stage, connect }) => {
  const { accounts } = stage.server;
  const { Jid } = await import('../../src/server/address/jid.js');
  await accounts.beginImport(Jid.parse('half@localhost'));
  assert.equal((await accounts.get('half@localhost'))?.importing, true);
  const client = await connect({ host: 'localhost', account: 'half@localhost' } as never);
  await client.opens();
  await client.receivesFeatures();
  await assert.rejects(client.authenticates('half', 'pencil'));
  const file = fileOf(pie('localhost', `<user name='half' password='pencil'/>`));
  const data = await importing(stage, { file });
  assert.deepEqual([data.accounts, data.existing], [1, 0]);
  assert.equal((await accounts.get('half@localhost'))?.disabled, false);
  await accounts.remove('half@localhost');
});

scenario(
  'names are checked, users listed twice, and hosts that are not served are reported (§4.1)',
  async ({ stage }) => {
    const users = `<user name='a@b'/><user name=''/><user/><user name='sp ace'/><user name='x/y'/><user name='twice'/><user name='TWICE'/>`;
    const text = pie('localhost', users).replace(
      '</server-data>',
      `<host jid='far.example'><user name='f'><odd xmlns='o'/></user></host><host jid='@@'><user name='g'/></host></server-data>`,
    );
    const data = await importing(stage, { file: fileOf(text) });
    assert.equal(data.accounts, 1);
    assert.deepEqual(
      data.refused.map(({ why, count }) => [why, count]),
      Array.from({ length: 4 }, (_, at) => ['its name is not valid', at === 1 ? 2 : 1]),
    );
    assert.deepEqual(data.failed, [{ account: 'twice@localhost', why: 'it exists already, or is in the file twice' }]);
    assert.deepEqual(data.foreign, [
      { host: 'far.example', users: 1 },
      { host: '@@', users: 1 },
    ]);
    assert.deepEqual(data.unknown, []);
    await stage.server.accounts.remove('twice@localhost');
  },
);

scenario('XInclude (§5): files below the folder are read, others and loops are not', async ({ stage }) => {
  const inner = join(folder, 'tree');
  mkdirSync(join(inner, 'localhost'), { recursive: true });
  const xi = `xmlns:xi='http://www.w3.org/2001/XInclude'`;
  const include = (href: string, more = '') => `<xi:include ${xi} href='${href}'${more}/>`;
  writeFileSync(join(folder, 'outside.xml'), `<user xmlns='urn:xmpp:pie:0' name='outsider'/>`);
  symlinkSync(join(folder, 'outside.xml'), join(inner, 'link.xml'));
  writeFileSync(
    join(inner, 'main.xml'),
    `<server-data xmlns='urn:xmpp:pie:0'>${include('localhost.xml')}</server-data>`,
  );
  const hrefs = [
    'localhost/ju%6Ciet.xml',
    '../outside.xml',
    '/etc/passwd',
    'file:///etc/passwd',
    'link.xml',
    'none.xml',
    'localhost',
    'localhost.xml',
    '%00.xml',
    '%zz',
  ];
  writeFileSync(
    join(inner, 'localhost.xml'),
    `<host xmlns='urn:xmpp:pie:0' jid='localhost'>${hrefs.map((href) => include(href)).join('')}${include('localhost/juliet.xml', ` parse='text'`)}</host>`,
  );
  // §6: one within a child of <user/> is data.
  writeFileSync(
    join(inner, 'localhost', 'juliet.xml'),
    `<user xmlns='urn:xmpp:pie:0' name='juliet' ${xi}><xi:include href='card.xml'/><query xmlns='jabber:iq:private'><mine xmlns='m'>${include('card.xml')}</mine></query></user>`,
  );
  writeFileSync(join(inner, 'localhost', 'card.xml'), `<vCard xmlns='vcard-temp'><FN>Included</FN></vCard>`);
  const data = await importing(stage, { file: join(inner, 'main.xml') });
  assert.equal(data.accounts, 1);
  const text = await exported(stage, 'juliet@localhost');
  assert.match(text, /<FN>Included<\/FN>/);
  assert.match(text, /<mine xmlns="m"><include xmlns="http:\/\/www.w3.org\/2001\/XInclude"/);
  assert.equal(
    data.refused.reduce((sum, { count }) => sum + count, 0),
    hrefs.length - 2 + 1,
  );
  // A file in a place where it means nothing.
  assert.deepEqual(data.unknown, [{ ns: 'urn:xmpp:pie:0', name: 'host', count: 1 }]);
  await stage.server.accounts.remove('juliet@localhost');
});

test('bad files are refused before anything is imported', async () => {
  await withAnother(async (stage) => {
    const user = `<user name='romeo' password='pencil'/>`;
    const entities = `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>`;
    const bad: readonly (readonly [string | Buffer, RegExp])[] = [
      [pie('localhost', user).slice(0, -20), /not well-formed XML, or it is cut off/],
      [pie('localhost', `${user}<user name='x'>`), /line 1: it is not well-formed/],
      [`${entities}<server-data xmlns='urn:xmpp:pie:0'>&b;</server-data>`, /document type declaration/],
      [pie('localhost', `<user name='&unknown;'/>`), /not well-formed/],
      [`<server-data xmlns='urn:other'/>`, /the root is not/],
      [`<?xml version='1.0' encoding='ISO-8859-1'?><server-data xmlns='urn:xmpp:pie:0'/>`, /not UTF-8/],
      [Buffer.concat([Buffer.from(pie('localhost', user)), Buffer.from([0xff])]), /not UTF-8/],
      [pie('localhost', `<user name='${'x'.repeat(20 * 2 ** 20)}'/>`), /longer than \d+ characters/],
      ['', /not well-formed/],
    ];
    for (const [text, message] of bad) {
      await assert.rejects(importing(stage, { file: fileOf(text) }), refusal('failed', message));
      assert.equal(await stage.server.accounts.get('romeo@localhost'), undefined);
    }
    await assert.rejects(
      importing(stage, { file: join(folder, 'no.xml') }),
      refusal('failed', /cannot be read \(ENOENT\)/),
    );
    await assert.rejects(
      importing(stage, { file: fileOf(pie('localhost', user)), host: 'no.example' }),
      refusal('not-found', /no host/),
    );
  });
});

test('a part that is too large or too deep is left out, and the rest imported', async () => {
  await withAnother(async (stage) => {
    const deep = `<a xmlns='d'>${'<a>'.repeat(200)}${'</a>'.repeat(200)}</a>`;
    const large = `<a xmlns='l'><b>${'0123456789'.repeat(900_000)}</b><c/></a>`;
    const text = `<user name='romeo'><query xmlns='jabber:iq:private'>${deep}${large}<fine xmlns='f'/></query></user>`;
    const data = await importing(stage, { file: fileOf(pie('localhost', text)) });
    assert.deepEqual(
      data.refused.map(({ what }) => what),
      ['<a xmlns="d">', '<a xmlns="l">'],
    );
    assert.match(await exported(stage), /<query xmlns="jabber:iq:private"><fine xmlns="f"\/><\/query>/);
  });
});

test('random accounts: exported, imported and exported again, nothing changes', async () => {
  const seed = Number(process.env.SEED ?? 1);
  const random = mulberry32(seed);
  const pick = (most: number) => Math.floor(random() * most);
  const odd = ['a', 'é', '&amp;', '&lt;', ']]&gt;', '&#13;', '\u{1f600}', '"', '\u2028', ' ', '&#9;', '\u0301'];
  const text = () => Array.from({ length: 1 + pick(8) }, () => odd[pick(odd.length)]).join('');
  const users = Array.from({ length: 10 }, (_, at) => {
    const items = Array.from({ length: pick(20) }, (_, n) =>
      `<item jid='c${n}@x.example/' name="n${n}" subscription='${['none', 'to', 'from', 'both'][pick(4)]}'/>`.replace(
        "/'",
        "'",
      ),
    );
    const messages = Array.from({ length: pick(150) }, (_, n) =>
      archived(`i${n}`, new Date(1e12 + pick(50) * 1000).toISOString(), `${text()}`),
    );
    const offline = Array.from(
      { length: pick(9) },
      (_, n) =>
        `<message xmlns='jabber:client' from='j@x.example'><body>${text()}</body><delay xmlns='urn:xmpp:delay' stamp='${new Date(1e12 + n).toISOString()}'/></message>`,
    );
    const published = Array.from({ length: pick(9) }, (_, n) => `<item id='${n}'><x xmlns='u'>${text()}</x></item>`);
    return `<user name='u${at}' password='pencil'><query xmlns='jabber:iq:roster'>${items.join('')}</query><vCard xmlns='vcard-temp'><FN>${text()}</FN></vCard><offline-messages>${offline.join('')}</offline-messages><pubsub xmlns='${nodes}'><items node='n'>${published.join('')}</items></pubsub><archive xmlns='urn:xmpp:pie:0#mam'>${messages.join('')}</archive></user>`;
  });
  await withAnother(async (one) => {
    const data = await importing(one, { file: fileOf(pie('localhost', users.join(''))) });
    assert.deepEqual([data.accounts, data.refused, data.failed], [10, [], []], `seed ${seed}`);
    const first = await (await adminOf(one)).exported({});
    await withAnother(async (two) => {
      isWhole({ ...(await importing(two, { file: fileOf(first) })), accounts: 1 });
      assert.equal(await (await adminOf(two)).exported({}), first, `seed ${seed}`);
    });
  });
});
