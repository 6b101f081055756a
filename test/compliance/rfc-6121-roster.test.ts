/** RFC 6121 §2: managing the roster. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { type Peer, scenario } from './dialogue.js';
import { befriends, refusal } from './phrases.js';

const query = (...items: string[]) => `<query xmlns='${NS.roster}'>${items.join('')}</query>`;
const set = (id: string, ...items: string[]) => `<iq type='set' id='${id}'>${query(...items)}</iq>`;

/** Asks for the roster and answers with its version. */
async function asks(peer: Peer, ver?: string, wanted: string = query()): Promise<string | undefined> {
  const attribute = ver === undefined ? '' : ` ver='${ver}'`;
  await peer.sends(`<iq type='get' id='roster'><query xmlns='${NS.roster}'${attribute}/></iq>`);
  const result = await peer.receives(`<iq type='result' id='roster'>${wanted}</iq>`);
  return result.getChild('query', NS.roster)?.attrs.ver;
}

/** Has exactly these items. */
async function has(peer: Peer, ...items: string[]): Promise<void> {
  await peer.sends(`<iq type='get' id='has'>${query()}</iq>`);
  const result = await peer.receives(`<iq type='result' id='has'>${query(...items)}</iq>`);
  const found = result.getChild('query', NS.roster)!.getChildElements();
  assert.equal(found.length, items.length, 'as many items as were wanted');
}

scenario('§2.1.3, §2.2: a new account has an empty roster', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1'>${query()}</iq>`);
  await romeo.receives(`<iq type='result' id='1' to='romeo@localhost/orchard'>${query()}</iq>`);
  await romeo.sends(`<iq type='get' id='2' to='romeo@localhost'>${query()}</iq>`);
  await romeo.receives(`<iq type='result' id='2' from='romeo@localhost' to='romeo@localhost/orchard'>${query()}</iq>`);
  await has(romeo);
  await romeo.receivesNothing();
});

scenario('§2.1.6, §2.3: a set is answered, and pushed to clients that requested the roster', async ({ actor }) => {
  const orchard = await actor('romeo@localhost/orchard');
  const garden = await actor('romeo@localhost/garden');
  const street = await actor('romeo@localhost/street', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await asks(orchard);
  await asks(garden);
  await orchard.sends(
    set('add', `<item jid='nurse@localhost' name='The &lt;Nurse&gt; &amp; c&#111;.'><group>Servants</group></item>`),
  );
  const item = `<item jid='nurse@localhost' name='The &lt;Nurse&gt; &amp; co.' subscription='none'>
    <group>Servants</group></item>`;
  const [push] = await orchard.receivesAnyOrder([
    `<iq type='set' id='*' to='romeo@localhost/orchard'>${query(item)}</iq>`,
    `<iq type='result' id='add' to='romeo@localhost/orchard'/>`,
  ]);
  // §2.1.6: from the account, or without an address
  assert.ok(push!.attrs.from === undefined || push!.attrs.from === 'romeo@localhost');
  await garden.receives(`<iq type='set' id='*' to='romeo@localhost/garden'>${query(item)}</iq>`);
  await street.receivesNothing();
  await juliet.receivesNothing();
  await orchard.receivesNothing();
  await has(street, item);
});

scenario("§2.1.6: a client's response to a push is ignored", async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await asks(romeo);
  await romeo.sends(set('1', `<item jid='nurse@localhost'/>`));
  await romeo.receives(`<iq type='set' id='{push}'>${query(`<item jid='nurse@localhost'/>`)}</iq>`);
  await romeo.receives(`<iq type='result' id='1'/>`);
  await romeo.sends(`<iq type='result' id='{push}'/>`);
  await romeo.sends(`<iq type='error' id='{push}'>${refusal('cancel', 'service-unavailable')}</iq>`);
  await romeo.receivesNothing();
});

scenario('§2.4: an update replaces the whole item', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(set('1', `<item jid='Nurse@LOCALHOST/kitchen' name='N'><group>A</group><group>Ä Ö</group></item>`));
  await romeo.receives(`<iq type='result' id='1'/>`);
  await has(romeo, `<item jid='nurse@localhost' name='N'><group>A</group><group>Ä Ö</group></item>`);
  await romeo.forgets();
  await romeo.sends(set('2', `<item jid='nurse@localhost'><group>B</group></item>`));
  await romeo.receives(`<iq type='set' id='*'>${query(`<item jid='nurse@localhost'><group>B</group></item>`)}</iq>`);
  await romeo.receives(`<iq type='result' id='2'/>`);
  await romeo.sends(`<iq type='get' id='3'>${query()}</iq>`);
  const result = await romeo.receives(`<iq type='result' id='3'>${query(`<item jid='nurse@localhost'/>`)}</iq>`);
  const item = result.getChild('query', NS.roster)!.getChild('item')!;
  assert.equal(item.attrs.name, undefined);
  assert.deepEqual(
    item.getChildren('group').map((group) => group.getText()),
    ['B'],
  );
});

scenario('§2.1.2: a client cannot set the subscription state', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await romeo.sends(set('1', `<item jid='juliet@localhost' subscription='both' ask='subscribe' approved='true'/>`));
  await romeo.receives(`<iq type='result' id='1'/>`);
  await romeo.sends(`<iq type='get' id='2'>${query()}</iq>`);
  const result = await romeo.receives(`<iq type='result' id='2'>${query(`<item jid='juliet@localhost'/>`)}</iq>`);
  const { ask, approved, subscription } = result.getChild('query', NS.roster)!.getChild('item')!.attrs;
  assert.deepEqual([ask, approved, subscription], [undefined, undefined, 'none']);
  await juliet.receivesNothing();

  await befriends(romeo, juliet);
  await romeo.sends(set('3', `<item jid='juliet@localhost' name='J' subscription='none'/>`));
  await romeo.receives(
    `<iq type='set' id='*'>${query(`<item jid='juliet@localhost' name='J' subscription='both'/>`)}</iq>`,
  );
  await romeo.receives(`<iq type='result' id='3'/>`);
  await juliet.receivesNothing();
});

const long = 'x'.repeat(1024);
const wrong: readonly (readonly [what: string, items: string, refusal: string])[] = [
  ['no item', '', refusal('modify', 'bad-request')],
  ['two items', `<item jid='a@localhost'/><item jid='b@localhost'/>`, refusal('modify', 'bad-request')],
  ['no address', '<item/>', refusal('modify', 'bad-request')],
  [
    'a duplicate group',
    `<item jid='a@localhost'><group>G</group><group>G</group></item>`,
    refusal('modify', 'bad-request'),
  ],
  ['an empty group', `<item jid='a@localhost'><group/></item>`, refusal('modify', 'not-acceptable')],
  ['a long group', `<item jid='a@localhost'><group>${long}</group></item>`, refusal('modify', 'not-acceptable')],
  ['a long name', `<item jid='a@localhost' name='${long}'/>`, refusal('modify', 'not-acceptable')],
  ['an invalid address', `<item jid='a@@localhost'/>`, refusal('modify', 'jid-malformed')],
  ['oneself', `<item jid='romeo@localhost'/>`, refusal('cancel', 'not-allowed')],
];
scenario('§2.3.3: a refused set has no effect', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await asks(romeo);
  for (const [what, items, error] of wrong) {
    await romeo.sends(set(what, items));
    // The request is repeated in the error, because clients rely on it
    await romeo.receives(`<iq type='error' id='${what}'><query xmlns='${NS.roster}'/>${error}</iq>`);
  }
  await has(romeo);
  await romeo.receivesNothing();
});

scenario('§2.5: an item is removed', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const garden = await actor('romeo@localhost/garden');
  await asks(romeo);
  await romeo.sends(set('1', `<item jid='nurse@localhost'/>`));
  await asks(garden);
  await romeo.syncs();
  romeo.forgets();
  garden.forgets();
  await romeo.sends(set('2', `<item jid='nurse@localhost' subscription='remove'/>`));
  const push = query(`<item jid='nurse@localhost' subscription='remove'/>`);
  await romeo.receives(`<iq type='set' id='*'>${push}</iq>`);
  await romeo.receives(`<iq type='result' id='2'/>`);
  await garden.receives(`<iq type='set' id='*'>${push}</iq>`);
  await has(romeo);
  // §2.5.3
  await romeo.sends(set('3', `<item jid='nurse@localhost' subscription='remove'/>`));
  await romeo.receives(`<iq type='error' id='3'>${refusal('cancel', 'item-not-found')}</iq>`);
  await garden.receivesNothing();
});

scenario('§2.5.2: removing a contact ends the subscriptions between the two', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await asks(romeo);
  await asks(juliet);
  await befriends(romeo, juliet);
  await romeo.sends(set('1', `<item jid='juliet@localhost' subscription='remove'/>`));
  await romeo.receivesAnyOrder([
    `<iq type='set' id='*'>${query(`<item jid='juliet@localhost' subscription='remove'/>`)}</iq>`,
    `<iq type='result' id='1'/>`,
    `<presence type='unavailable' from='juliet@localhost/balcony'/>`,
  ]);
  const item = (subscription: string) => query(`<item jid='romeo@localhost' subscription='${subscription}'/>`);
  await juliet.receivesAnyOrder([
    `<presence type='unavailable' from='romeo@localhost/orchard'/>`,
    `<presence type='unsubscribe' from='romeo@localhost' to='juliet@localhost'/>`,
    `<presence type='unsubscribed' from='romeo@localhost' to='juliet@localhost'/>`,
    `<iq type='set' id='*'>${item('to')}</iq>`,
    `<iq type='set' id='*'>${item('none')}</iq>`,
  ]);
  await romeo.sends('<presence><show>away</show></presence>');
  await romeo.receives(`<presence from='romeo@localhost/orchard'><show>away</show></presence>`);
  await juliet.receivesNothing();
  await has(romeo);
  await has(juliet, `<item jid='romeo@localhost' subscription='none'/>`);
});

scenario("§2.1.3, §2.3.3: another's roster is refused, as is that of a missing account", async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await asks(juliet);
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const whose of ['juliet@localhost', 'nobody@localhost']) {
    for (const type of ['get', 'set']) {
      const items = type === 'get' ? [] : [`<item jid='romeo@localhost' subscription='both'/>`];
      await romeo.sends(`<iq type='${type}' id='1' to='${whose}'>${query(...items)}</iq>`);
      await romeo.receives(`<iq type='error' id='1' from='${whose}'>${refusal('auth', 'forbidden')}</iq>`);
    }
  }
  await juliet.receivesNothing();
  await has(juliet);
});

scenario('§2.1.6: a push from another sender is delivered with their address, and has no effect', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await asks(juliet);
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(
    `<iq type='set' id='1' to='juliet@localhost/balcony'>${query(`<item jid='romeo@localhost'/>`)}</iq>`,
  );
  await juliet.receives(`<iq type='set' id='1' from='romeo@localhost/orchard'/>`);
  await juliet.sends(`<iq type='error' id='1' to='romeo@localhost/orchard'>${refusal('cancel', 'forbidden')}</iq>`);
  await romeo.receives(`<iq type='error' id='1' from='juliet@localhost/balcony'/>`);
  await has(juliet);
});

const few = { config: { limits: { roster_items: 2 } } };
scenario('§2.3.3: a full roster refuses new items, but items can be changed', few, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const name of ['a', 'b']) {
    await romeo.sends(set(name, `<item jid='${name}@localhost'/>`));
    await romeo.receives(`<iq type='result' id='${name}'/>`);
  }
  await romeo.sends(set('c', `<item jid='c@localhost'/>`));
  await romeo.receives(`<iq type='error' id='c'>${refusal('wait', 'resource-constraint')}</iq>`);
  await romeo.sends(`<presence type='subscribe' to='d@localhost' id='d'/>`);
  await romeo.receives(`<presence type='error' id='d'>${refusal('wait', 'resource-constraint')}</presence>`);
  await romeo.sends(set('b', `<item jid='b@localhost' name='B'/>`));
  await romeo.receives(`<iq type='result' id='b'/>`);
  await romeo.sends(set('a', `<item jid='a@localhost' subscription='remove'/>`));
  await romeo.receives(`<iq type='result' id='a'/>`);
  await romeo.sends(set('c', `<item jid='c@localhost'/>`));
  await romeo.receives(`<iq type='result' id='c'/>`);
  await has(romeo, `<item jid='b@localhost' name='B'/>`, `<item jid='c@localhost'/>`);
});

scenario('§2.6.1: versions are announced', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  await romeo.receivesFeatures();
  const features = await romeo.authenticates('romeo');
  assert.ok(features.getChild('ver', NS.rosterver));
});

scenario('§2.6.2, §2.6.3: a client with an older version gets the changes', async ({ actor }) => {
  const garden = await actor('romeo@localhost/garden');
  const empty = await asks(garden, '', query());
  assert.ok(empty);
  await garden.sends(set('1', `<item jid='a@localhost'/>`));
  await garden.receives(
    `<iq type='set'><query xmlns='${NS.roster}' ver='{first}'><item jid='a@localhost'/></query></iq>`,
  );
  await garden.receives(`<iq type='result' id='1'/>`);
  await garden.sends(set('2', `<item jid='b@localhost'/>`));
  await garden.receives(
    `<iq type='set'><query xmlns='${NS.roster}' ver='{second}'><item jid='b@localhost'/></query></iq>`,
  );
  await garden.receives(`<iq type='result' id='2'/>`);

  const ask = async (peer: Peer, ver: string) => {
    await peer.sends(`<iq type='get' id='versions'><query xmlns='${NS.roster}' ver='${ver}'/></iq>`);
    const result = await peer.receives(`<iq type='result' id='versions'/>`);
    return result.getChild('query', NS.roster);
  };
  const orchard = await actor('romeo@localhost/orchard');
  assert.equal(await ask(orchard, '{second}'), undefined, 'nothing has changed');
  await orchard.receivesNothing();

  const street = await actor('romeo@localhost/street');
  assert.equal(await ask(street, '{first}'), undefined, 'changes come as pushes');
  await street.receives(`<iq type='set' id='*'><query xmlns='${NS.roster}' ver='{second}'>
    <item jid='b@localhost' subscription='none'/></query></iq>`);
  await street.receivesNothing();

  const tomb = await actor('romeo@localhost/tomb');
  const whole = await ask(tomb, 'a version that never was');
  assert.equal(whole?.getChildElements().length, 2);
  // An item that is gone by now
  await tomb.sends(set('3', `<item jid='a@localhost' subscription='remove'/>`));
  await tomb.receives(`<iq type='set'><query xmlns='${NS.roster}' ver='{third}'/></iq>`);
  await tomb.receives(`<iq type='result' id='3'/>`);
  const cell = await actor('romeo@localhost/cell');
  assert.equal(await ask(cell, '{second}'), undefined);
  await cell.receives(`<iq type='set' id='*'><query xmlns='${NS.roster}' ver='{third}'>
    <item jid='a@localhost' subscription='remove'/></query></iq>`);
  await cell.receivesNothing();
});

const lasting = new MemoryStorage();
scenario(
  '§2, §2.6: the roster and its version survive a restart',
  { storage: () => lasting },
  async ({ actor, stage }) => {
    const before = await actor('romeo@localhost/orchard', { presence: true });
    await before.sends(set('1', `<item jid='juliet@localhost' name='J'><group>Friends</group></item>`));
    await before.receives(`<iq type='result' id='1'/>`);
    await before.sends(`<presence type='subscribe' to='juliet@localhost'/>`);
    await before.syncs();
    before.forgets();
    const item = `<item jid='juliet@localhost' name='J' ask='subscribe'><group>Friends</group></item>`;
    const ver = await asks(before, '', query(item));
    await stage.restart();
    const after = await actor('romeo@localhost/orchard');
    assert.equal(await asks(after, '', query(item)), ver);
    await after.sends(`<iq type='get' id='2'><query xmlns='${NS.roster}' ver='${ver}'/></iq>`);
    const result = await after.receives(`<iq type='result' id='2'/>`);
    assert.equal(result.getChildElements().length, 0);
    await has(after, item);
  },
);
