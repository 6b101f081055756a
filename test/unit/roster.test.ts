import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import roster, { changesSince, digest, interested, readSet } from '../../src/modules/rfc-6121-roster/index.js';
import type { RosterItem } from '../../src/modules/rfc-6121-roster/services.js';
import { Jid } from '../../src/server/address/jid.js';
import { StanzaError } from '../../src/server/stanza/errors.js';
import { NS } from '../../src/server/stanza/ns.js';
import { parse } from '../../src/server/xml/element.js';
import { type Client, startHost } from './module-host.js';

const query = (items: string) => parse(`<query xmlns='${NS.roster}'>${items}</query>`);
const get = (ver?: string) =>
  `<iq type='get' id='1'><query xmlns='${NS.roster}'${ver === undefined ? '' : ` ver='${ver}'`}/></iq>`;
const set = (items: string) => `<iq type='set' id='2'><query xmlns='${NS.roster}'>${items}</query></iq>`;
const versionIn = (xml: string) => / ver="([^"]+)"/.exec(xml)?.[1];
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

const condition = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return error instanceof StanzaError ? error.condition : error;
  }
  return 'none';
};

test('roster sets are checked (RFC 6121 §2.3.3)', () => {
  const group = (name: string) => `<group>${name}</group>`;
  const refused: [string, string][] = [
    ['', 'bad-request'],
    ['<item jid="a@b"/><item jid="c@d"/>', 'bad-request'],
    ['<item name="Nobody"/>', 'bad-request'],
    ['<item jid="@b"/>', 'jid-malformed'],
    [`<item jid="a@b">${group('x')}${group('x')}</item>`, 'bad-request'],
    [`<item jid="a@b">${group('e\u0301')}${group('\u00e9')}</item>`, 'bad-request'],
    ['<item jid="a@b"><group/></item>', 'not-acceptable'],
    [`<item jid="a@b">${group('x'.repeat(1024))}</item>`, 'not-acceptable'],
    [`<item jid="a@b" name="${'x'.repeat(1024)}"/>`, 'not-acceptable'],
    [
      `<item jid="a@b">${Array.from({ length: 101 }, (_, index) => group(String(index))).join('')}</item>`,
      'not-acceptable',
    ],
  ];
  for (const [items, expected] of refused)
    assert.equal(
      condition(() => readSet(query(items))),
      expected,
      items,
    );
});

test('read-only attributes are ignored', () => {
  const { contact, wanted } = readSet(
    query('<item jid="Juliet@Example.org/x" name="J" subscription="both" ask="subscribe" approved="true"/>'),
  );
  assert.equal(contact.full, 'juliet@example.org');
  assert.deepEqual(wanted, { name: 'J', groups: [] });
  assert.equal(readSet(query('<item jid="a@b" subscription="remove"/>')).wanted, undefined);
});

test('the version depends only on what clients see', () => {
  const item = (more: Partial<RosterItem> = {}): RosterItem => ({ groups: [], subscription: 'none', ...more });
  const base = digest(
    new Map([
      ['a@b', item()],
      ['c@d', item()],
    ]),
  );
  assert.equal(
    digest(
      new Map([
        ['c@d', item()],
        ['a@b', item({ name: undefined, ask: false })],
      ]),
    ),
    base,
  );
  assert.equal(
    digest(
      new Map([
        ['a@b', item()],
        ['c@d', item({ pendingIn: '<x/>' })],
      ]),
    ),
    base,
  );
  assert.equal(
    digest(
      new Map([
        ['a@b', item()],
        ['c@d', item()],
        ['e@f', item({ hidden: true })],
      ]),
    ),
    base,
  );
  for (const changed of [{ name: 'x' }, { groups: ['x'] }, { subscription: 'to' }, { ask: true }, { approved: true }])
    assert.notEqual(
      digest(
        new Map([
          ['a@b', item()],
          ['c@d', item(changed as Partial<RosterItem>)],
        ]),
      ),
      base,
    );
});

test('changes since a version contain each contact once, in the order of their last change', () => {
  const items = new Map<string, RosterItem>(
    ['a', 'b', 'c'].map((contact) => [contact, { groups: [], subscription: 'none' }]),
  );
  const changes = [
    { version: '1', contact: 'a' },
    { version: '2', contact: 'b' },
    { version: '3', contact: 'a' },
  ];
  const state = { items, version: '4', changes };
  assert.deepEqual(changesSince(state, '4'), []);
  assert.deepEqual(changesSince(state, '3'), [{ contact: 'a', version: '4' }]);
  assert.deepEqual(changesSince(state, '1'), [
    { contact: 'b', version: '3' },
    { contact: 'a', version: '4' },
  ]);
  assert.equal(changesSince(state, '0'), undefined);
  assert.equal(changesSince({ ...state, items: new Map() }, '1'), undefined, 'the whole is shorter');
});

const { host, account, connect, limits, storage, stop } = await startHost([roster], {
  config: { limits: { roster_items: 3 } },
});
after(stop);

const asked = async (client: Client, xml: string) => {
  await client.says(xml);
  await nextTurn();
  return client.received.splice(0);
};

test('a set is pushed to all clients that requested the roster, and stored', async () => {
  const owner = await account('romeo');
  const phone = connect('romeo@example.org/phone');
  const desk = connect('romeo@example.org/desk');
  const silent = connect('romeo@example.org/silent');
  assert.match(
    (await asked(desk, get())).join(),
    /^<iq to="romeo@example.org\/desk" type="result" id="1"><query xmlns="jabber:iq:roster"\/><\/iq>$/,
  );
  const answers = await asked(
    phone,
    set('<item jid="juliet@example.com" name="J &amp; N"><group>Friends</group></item>'),
  );
  assert.equal(answers.length, 1, 'the phone has not asked for the roster');
  assert.match(answers[0]!, /type="result" id="2"/);
  assert.equal(silent.received.length, 0);
  const [push] = desk.received.splice(0);
  assert.match(
    push!,
    /^<iq to="romeo@example.org\/desk" type="set" id="[^"]+"><query xmlns="jabber:iq:roster" ver="[^"]+">/,
  );
  assert.match(
    push!,
    /<item jid="juliet@example.com" name="J &amp; N" subscription="none"><group>Friends<\/group><\/item>/,
  );
  assert.deepEqual((await storage.map<RosterItem>('roster').get(owner.bare, 'juliet@example.com'))?.groups, [
    'Friends',
  ]);

  await asked(phone, set('<item jid="juliet@example.com" subscription="remove"/>'));
  assert.match(desk.received.splice(0).join(), /<item jid="juliet@example.com" subscription="remove"\/>/);
  assert.equal(await storage.map('roster').get(owner.bare, 'juliet@example.com'), undefined);
  assert.match(
    (await asked(phone, set('<item jid="juliet@example.com" subscription="remove"/>'))).join(),
    /item-not-found/,
  );
});

test('only the owner can access a roster, and it is limited', async () => {
  await account('tybalt');
  const client = connect('tybalt@example.org/x');
  const other = (type: string, to: string) => `<iq type='${type}' id='3' to='${to}'><query xmlns='${NS.roster}'/></iq>`;
  for (const to of ['romeo@example.org', 'nobody@example.org'])
    for (const type of ['get', 'set']) assert.match((await asked(client, other(type, to))).join(), /<forbidden/);
  for (const name of ['a', 'b', 'c'])
    assert.match((await asked(client, set(`<item jid="${name}@x"/>`))).join(), /result/);
  assert.match((await asked(client, set('<item jid="d@x"/>'))).join(), /resource-constraint/);
  assert.deepEqual(limits, ['roster_items']);
  assert.match((await asked(client, set('<item jid="a@x" name="still changes"/>'))).join(), /result/);
  assert.match((await asked(client, set('<item jid="tybalt@example.org"/>'))).join(), /not-allowed/);
});

test('versions (§2.6): up to date, changes, or all', async () => {
  await account('mercutio', { 'a@x': 'both', 'b@x': 'both' });
  const client = connect('mercutio@example.org/x');
  const [full] = await asked(client, get(''));
  const version = versionIn(full!)!;
  assert.match(full!, /jid="a@x".*jid="b@x"/);
  assert.deepEqual(await asked(client, get(version)), ['<iq to="mercutio@example.org/x" type="result" id="1"/>']);
  assert.match((await asked(client, get('unknown'))).join(), /jid="a@x".*jid="b@x"/);

  client.session.set(interested, false);
  await asked(client, set('<item jid="a@x" name="A"/>'));
  await asked(client, set('<item jid="b@x" subscription="remove"/>'));
  await asked(client, set('<item jid="c@x"/>'));
  const [whole, ...pushes] = await asked(client, get(version));
  assert.match(whole!, /jid="a@x" name="A".*jid="c@x"/, 'three contacts changed: the whole is shorter');
  assert.equal(pushes.length, 0);

  const before = versionIn(whole!)!;
  client.session.set(interested, false);
  await asked(client, set('<item jid="c@x" name="C"/>'));
  const [empty, push, ...rest] = await asked(client, get(before));
  assert.match(empty!, /type="result" id="1"\/>$/);
  assert.match(push!, /type="set".*<item jid="c@x" name="C"/);
  assert.equal(rest.length, 0);
  assert.equal(client.session.get(interested), true);
  assert.deepEqual(await asked(client, get(versionIn(push!)!)), [
    '<iq to="mercutio@example.org/x" type="result" id="1"/>',
  ]);
});

test('a pending request is hidden, and too many are refused', async () => {
  const owner = await account('benvolio');
  const client = connect('benvolio@example.org/x');
  await asked(client, get());
  const service = host.services.roster!;
  const hidden: RosterItem = { groups: [], subscription: 'none', hidden: true, pendingIn: '<presence/>' };
  for (let index = 0; index < 200; index++) await service.set(owner, Jid.parse(`spam${index}@x`), hidden);
  assert.throws(() => service.set(owner, Jid.parse('spam@x'), hidden), StanzaError);
  assert.equal(client.received.length, 0);
  assert.doesNotMatch((await asked(client, get())).join(), /<item/);
  await asked(client, set('<item jid="spam1@x" name="No spam"/>'));
  const items = await service.get(owner.bare);
  assert.deepEqual([items.get('spam1@x')?.hidden, items.get('spam1@x')?.pendingIn], [undefined, '<presence/>']);
});

test('a change that cannot be stored is reverted', async () => {
  const owner = await account('paris');
  const service = host.services.roster!;
  await service.get(owner.bare);
  await storage.close();
  await assert.rejects(service.set(owner, Jid.parse('a@x'), { groups: [], subscription: 'none' }));
  await assert.rejects(async () => service.get(owner.bare), 'it is read again');
});
