/** XEP-0055: the directory of users who want to be found. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';
import { logsInAnonymously } from './phrases.js';

const directory = 'directory.localhost';
const configOf = (more: Readonly<Record<string, unknown>> = {}) => ({
  modules: { directory: { enabled: true, ...more } },
});
const config = configOf();

async function asks(peer: Peer, type: 'get' | 'set', ns: string, content = ''): Promise<Element> {
  await peer.sends(`<iq type='${type}' id='1' to='${directory}'><query xmlns='${ns}'>${content}</query></iq>`);
  return peer.receives(`<iq type='result' id='1' from='${directory}' to='${peer.jid}'/>`);
}

async function refused(peer: Peer, type: 'get' | 'set', ns: string, content: string, condition: string): Promise<void> {
  await peer.sends(`<iq type='${type}' id='1' to='${directory}'><query xmlns='${ns}'>${content}</query></iq>`);
  await peer.receives(`<iq type='error' id='1'><error><${condition} xmlns='${NS.stanzas}'/></error></iq>`);
}

const enters = (peer: Peer, fields: string) => asks(peer, 'set', NS.register, fields);
const searches = async (peer: Peer, fields: string) =>
  (await asks(peer, 'set', NS.search, fields)).getChild('query', NS.search)!;
const jids = (query: Element) => query.getChildren('item').map(({ attrs }) => attrs.jid);
const submit = (formType: string, fields: Readonly<Record<string, string>>) =>
  `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${formType}</value></field>${Object.entries(
    fields,
  )
    .map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`)
    .join('')}</x>`;

scenario('disabled by default', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='${directory}'><query xmlns='${NS.search}'/></iq>`);
  await romeo.receives(`<iq type='error' id='1'/>`);
});

scenario('found by service discovery', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='${directory}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><identity category='directory' type='user'/>
      <feature var='jabber:iq:search'/></query></iq>`,
  );
});

scenario('§2.1: fields, search, results', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  const tybalt = await actor('tybalt@localhost/street');
  const offered = (await asks(romeo, 'get', NS.search)).getChild('query', NS.search)!;
  assert.deepEqual(
    offered.getChildElements().map(({ name }) => name),
    ['instructions', 'first', 'last', 'nick', 'email', 'x'],
  );
  await enters(
    juliet,
    '<first>Juliet</first><last>Capulet</last><nick>JuliC</nick><email>juliet@shakespeare.example</email>',
  );
  await enters(tybalt, '<first>Tybalt</first><last>Capulet</last>');
  await romeo.sends(
    `<iq type='set' id='1' to='${directory}'><query xmlns='${NS.search}'><last>capUL</last></query></iq>`,
  );
  await romeo.receives(
    `<iq type='result' id='1' from='${directory}' to='romeo@localhost/orchard'><query xmlns='${NS.search}'>
      <item jid='juliet@localhost'><first>Juliet</first><last>Capulet</last><nick>JuliC</nick><email>juliet@shakespeare.example</email></item>
      <item jid='tybalt@localhost'><first>Tybalt</first><last>Capulet</last><nick/><email/></item>
    </query></iq>`,
    { exactly: true },
  );
  assert.deepEqual(jids(await searches(romeo, '<last>Capulet</last><first>tyb</first>')), ['tybalt@localhost']);
  // No results: the query is empty in either form
  assert.equal((await searches(romeo, '<last>Montague</last>')).getChildElements().length, 0);
  assert.equal((await searches(romeo, submit(NS.search, { last: 'Montague' }))).getChildElements().length, 0);
});

scenario('§3: by a data form', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  const form = (await asks(romeo, 'get', NS.search)).getChild('query')!.getChild('x', NS.dataForms)!;
  assert.equal(form.attrs.type, 'form');
  assert.deepEqual(
    form.getChildren('field').map(({ attrs }) => [attrs.var, attrs.type]),
    [
      ['FORM_TYPE', 'hidden'],
      ['first', 'text-single'],
      ['last', 'text-single'],
      ['nick', 'text-single'],
      ['email', 'text-single'],
    ],
  );
  await enters(juliet, submit(NS.register, { first: 'Juliet', nick: 'JuliC' }));
  await romeo.sends(
    `<iq type='set' id='1' to='${directory}'><query xmlns='${NS.search}'>${submit(NS.search, { nick: 'julic' })}</query></iq>`,
  );
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.search}'><x xmlns='${NS.dataForms}' type='result'>
      <field var='FORM_TYPE' type='hidden'><value>jabber:iq:search</value></field>
      <reported><field var='first'/><field var='last'/><field var='nick'/><field var='email'/><field var='jid' type='jid-single'/></reported>
      <item><field var='first'><value>Juliet</value></field><field var='last'/><field var='nick'><value>JuliC</value></field>
        <field var='email'/><field var='jid'><value>juliet@localhost</value></field></item>
    </x></query></iq>`,
  );
  await refused(romeo, 'set', NS.search, submit(NS.register, { nick: 'x' }), 'bad-request');
  await refused(romeo, 'set', NS.search, `<x xmlns='${NS.dataForms}' type='form'/>`, 'bad-request');
});

scenario(
  'XEP-0077: a user who registers sees their entry, and can remove it',
  { config },
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony');
    const before = (await asks(juliet, 'get', NS.register)).getChild('query', NS.register)!;
    assert.equal(before.getChild('registered'), undefined);
    await refused(juliet, 'set', NS.register, '<first> </first>', 'not-acceptable');
    await refused(juliet, 'set', NS.register, `<first>${'x'.repeat(201)}</first>`, 'not-acceptable');
    await enters(juliet, '<first>Juliet</first>');
    const after = (await asks(juliet, 'get', NS.register)).getChild('query', NS.register)!;
    assert.ok(after.getChild('registered'));
    assert.equal(after.getChildText('first'), 'Juliet');
    // There are no other entries
    assert.deepEqual(jids(await searches(romeo, '')), ['juliet@localhost']);
    await asks(juliet, 'set', NS.register, '<remove/>');
    assert.deepEqual(jids(await searches(romeo, '')), []);
    await enters(juliet, '<nick>J</nick>');
    await server.accounts.remove('juliet@localhost');
    assert.deepEqual(jids(await searches(romeo, '')), []);
  },
);

scenario(
  "XEP-0054: registration suggests data of the user's vCard, and publishes none of it before",
  { config },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony');
    await juliet.sends(
      `<iq type='set' id='c'><vCard xmlns='${NS.vcardTemp}'><N><FAMILY>Capulet</FAMILY><GIVEN>Juliet</GIVEN></N>
      <NICKNAME>${'J'.repeat(300)}</NICKNAME><EMAIL><USERID>juliet@shakespeare.example</USERID></EMAIL></vCard></iq>`,
    );
    await juliet.receives(`<iq type='result' id='c'/>`);
    const offered = (await asks(juliet, 'get', NS.register)).getChild('query', NS.register)!;
    assert.equal(offered.getChild('registered'), undefined);
    assert.deepEqual(
      ['first', 'last', 'nick', 'email'].map((name) => offered.getChildText(name)),
      ['Juliet', 'Capulet', '', 'juliet@shakespeare.example'],
    );
    assert.deepEqual(jids(await searches(romeo, '')), []);
  },
);

scenario('XEP-0059: result pages', { config: configOf({ page: 2 }) }, async ({ actor }) => {
  const users = ['a', 'b', 'c', 'd', 'e'];
  for (const user of users) await enters(await actor(`${user}@localhost/x`), '<last>Capulet</last>');
  const romeo = await actor('romeo@localhost/orchard');
  const page = async (set: string) => {
    const query = await searches(romeo, `<last>Capulet</last><set xmlns='${NS.rsm}'>${set}</set>`);
    const about = query.getChild('set', NS.rsm)!;
    return [
      jids(query)
        .map((jid) => jid![0])
        .join(''),
      about.getChild('first')?.attrs.index,
      about.getChildText('count'),
    ];
  };
  assert.deepEqual(await page('<max>2</max>'), ['ab', '0', '5']);
  assert.deepEqual(await page('<max>2</max><after>b@localhost</after>'), ['cd', '2', '5']);
  assert.deepEqual(await page('<max>2</max><after>d@localhost</after>'), ['e', '4', '5']);
  assert.deepEqual(await page('<max>2</max><before/>'), ['de', '3', '5']);
  assert.deepEqual(await page('<max>1</max><before>c@localhost</before>'), ['b', '1', '5']);
  assert.deepEqual(await page('<max>2</max><index>3</index>'), ['de', '3', '5']);
  assert.deepEqual(await page('<max>0</max>'), ['', undefined, '5']);
  assert.deepEqual(await page('<max>100</max>'), ['ab', '0', '5'], 'no page is larger than the configuration says');
  const rest = `<last>Capulet</last><set xmlns='${NS.rsm}'><max>2</max><after>nobody@localhost</after></set>`;
  await refused(romeo, 'set', NS.search, rest, 'item-not-found');
  // A request without a page gets exactly one
  assert.equal(jids(await searches(romeo, '')).length, 2);
});

scenario('users of other hosts get no results', { config }, async ({ actor }) => {
  const tybalt = await actor('tybalt@elsewhere.example/street');
  for (const ns of [NS.search, NS.register])
    for (const type of ['get', 'set'] as const) await refused(tybalt, type, ns, '', 'service-unavailable');
});

scenario('limits', { config: configOf({ entries: 1, searches_per_minute: 3 }) }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony');
  await enters(romeo, '<nick>R</nick>');
  await refused(juliet, 'set', NS.register, '<nick>J</nick>', 'resource-constraint');
  await enters(romeo, '<nick>Ro</nick>');
  for (let round = 0; round < 3; round++) await searches(romeo, '');
  await refused(romeo, 'set', NS.search, '', 'resource-constraint');
});

scenario(
  'XEP-0175: anonymous accounts have neither entries nor access',
  { config: { ...config, auth: { anonymous: true } } },
  async ({ connect }) => {
    const peer = await logsInAnonymously(connect);
    for (const ns of [NS.register, NS.search]) await refused(peer, 'set', ns, '<nick>N</nick>', 'forbidden');
  },
);

scenario('survives a restart', { config, alone: true }, async ({ actor, stage }) => {
  await enters(await actor('juliet@localhost/balcony'), '<nick>J</nick>');
  await stage.restart();
  assert.deepEqual(jids(await searches(await actor('romeo@localhost/orchard'), '')), ['juliet@localhost']);
});

scenario('text that grows when it is normalised is limited by its normalised length', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  // U+FDFA becomes 18 letters
  await enters(romeo, `<nick>${'\ufdfa'.repeat(10)}</nick>`);
  const found = await searches(romeo, `<nick>${'\ufdfa'.repeat(10)}</nick>`);
  assert.deepEqual(jids(found), ['romeo@localhost']);
  await refused(romeo, 'set', NS.search, `<nick>${'\ufdfa'.repeat(12)}</nick>`, 'not-acceptable');
  await enters(romeo, `<nick>${'\ufdfa'.repeat(200)}</nick>`);
  assert.deepEqual(jids(await searches(romeo, `<nick>${'\ufdfa'.repeat(2)}</nick>`)), ['romeo@localhost']);
});
