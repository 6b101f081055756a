/** XEP-0077: in-band registration, of strangers where that is wanted, and of accounts. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { bareForm, desktopForm, typedForm, webForm, wholeForm } from './client-forms.js';
import { type ConnectOptions, type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const open = { config: { modules: { register: { open: true } } } };
const ask = `<query xmlns='${NS.register}'/>`;
const wanted = (username: string, password: string) =>
  `<query xmlns='${NS.register}'><username>${username}</username><password>${password}</password></query>`;
const set = (id: string, query: string) => `<iq type='set' id='${id}'>${query}</iq>`;

/** A stream that has not authenticated, and its features. */
async function unauthenticated({ connect }: Pick<Scene, 'connect'>, options: ConnectOptions = {}) {
  const peer = await connect(options);
  await peer.opens();
  return { peer, features: await peer.receivesFeatures() };
}

async function registers(peer: Peer, username: string, password = 'password'): Promise<void> {
  await peer.sends(set('new', wanted(username, password)));
  await peer.receives(`<iq type='result' id='new'/>`);
}

const uninvited = { config: { modules: { invites: { enabled: false } } } };
scenario('§3.1, §7: disabled by default', uninvited, async (scene) => {
  const { peer, features } = await unauthenticated(scene);
  assert.equal(features.getChild('register', NS.registerFeature), undefined);
  await peer.sends(`<iq type='get' id='1'>${ask}</iq>`);
  await peer.receives(`<iq type='error' id='1'>${refusal('cancel', 'service-unavailable')}</iq>`);
  await peer.sends(set('2', wanted('juliet', 'password')));
  await peer.receives(`<iq type='error' id='2'>${refusal('cancel', 'service-unavailable')}</iq>`);
  assert.equal(await scene.server.accounts.exists('juliet@localhost'), false);
});

scenario('§3.1, §7: a new account logs in', open, async (scene) => {
  const { peer, features } = await unauthenticated(scene);
  assert.ok(features.getChild('register', NS.registerFeature));
  await peer.sends(`<iq type='get' id='1' to='localhost'>${ask}</iq>`);
  await peer.receives(`<iq type='result' id='1'><query xmlns='${NS.register}'><instructions>*</instructions>
    <username/><password/><x xmlns='${NS.dataForms}' type='form'>
    <field var='FORM_TYPE' type='hidden'><value>jabber:iq:register</value></field>
    <field var='username'/><field var='password'/></x></query></iq>`);
  await registers(peer, 'Juliet');
  await peer.authenticates('juliet', 'password');
  await peer.binds('balcony');
  await peer.sends(`<iq type='get' id='2'>${ask}</iq>`);
  await peer.receives(
    `<iq type='result' id='2'><query xmlns='${NS.register}'><registered/><username>juliet</username></query></iq>`,
  );
  await scene.server.accounts.remove('juliet@localhost');
});

scenario('§3.1: the instructions contain the minimum length of a password', open, async (scene) => {
  const { peer } = await unauthenticated(scene);
  await peer.sends(`<iq type='get' id='1'>${ask}</iq>`);
  const query = (await peer.receives(`<iq type='result' id='1'/>`)).getChild('query', NS.register)!;
  const form = query.getChild('x', NS.dataForms)!;
  for (const text of [query.getChildText('instructions'), form.getChildText('instructions')])
    assert.match(text ?? '', /at least 4 characters/);
});

scenario('RFC 6120 §8.3.3.11: pings are answered during the registration', open, async (scene) => {
  for (const transport of ['tcp', 'tls', 'websocket'] as const) {
    const { peer } = await unauthenticated(scene, { transport });
    await peer.sends(`<iq type='get' id='1'>${ask}</iq>`);
    await peer.receives(`<iq type='result' id='1'/>`);
    for (const [id, to, payload] of [
      ['2', '', `<ping xmlns='${NS.ping}'/>`],
      ['3', `to='localhost'`, `<ping xmlns='${NS.ping}'/>`],
      ['4', `to='juliet@localhost'`, `<ping xmlns='${NS.ping}'/>`],
      ['5', '', `<query xmlns='${NS.roster}'/>`],
      ['6', '', `<bind xmlns='${NS.bind}'/>`],
    ] as const) {
      await peer.sends(`<iq type='get' id='${id}' ${to}>${payload}</iq>`);
      await peer.receives(`<iq type='error' id='${id}'>${refusal('auth', 'not-authorized')}</iq>`);
    }
    await registers(peer, `juliet-${transport}`);
    await peer.authenticates(`juliet-${transport}`, 'password');
    await peer.binds('balcony');
    await scene.server.accounts.remove(`juliet-${transport}@localhost`);
  }
});

scenario('RFC 6120 §4.9.3.12: only IQs, and a limited number of them', open, async (scene) => {
  const hasty = await unauthenticated(scene);
  await hasty.peer.sends(`<iq type='get' id='1'><ping xmlns='${NS.ping}'/></iq>`);
  await hasty.peer.receivesStreamError('not-authorized');
  const { peer } = await unauthenticated(scene);
  await peer.sends(`<iq type='get' id='form'>${ask}</iq>`);
  await peer.receives(`<iq type='result' id='form'/>`);
  for (let at = 0; at < 100; at++) {
    await peer.sends(`<iq type='get' id='${at}'><ping xmlns='${NS.ping}'/></iq>`);
    await peer.receives(`<iq type='error' id='${at}'/>`);
  }
  await peer.sends(`<iq type='get' id='100'><ping xmlns='${NS.ping}'/></iq>`);
  await peer.receivesStreamError('not-authorized');
  for (const xml of [
    '<presence/>',
    `<message to='juliet@localhost'><body>hi</body></message>`,
    `<iq type='result' id='1'/>`,
    `<iq type='get'><ping xmlns='${NS.ping}'/></iq>`,
  ]) {
    const other = await unauthenticated(scene);
    await other.peer.sends(xml);
    await other.peer.receivesStreamError('not-authorized');
  }
});

scenario('§4: by a data form', open, async (scene) => {
  const { peer } = await unauthenticated(scene);
  await peer.sends(
    set(
      '1',
      `<query xmlns='${NS.register}'><x xmlns='${NS.dataForms}' type='submit'>
      <field var='FORM_TYPE'><value>jabber:iq:register</value></field>
      <field var='username'><value>juliet</value></field><field var='password'><value>password</value></field></x></query>`,
    ),
  );
  await peer.receives(`<iq type='result' id='1'/>`);
  await peer.authenticates('juliet', 'password');
  await scene.server.accounts.remove('juliet@localhost');
});

const unlimited = { config: { modules: { register: { open: true, per_address: 1000 } } } };
scenario('§4: the form, as clients return it', unlimited, async (scene) => {
  for (const [client, fill] of Object.entries({ bareForm, desktopForm, typedForm, webForm, wholeForm })) {
    const { peer } = await unauthenticated(scene);
    await peer.sends(`<iq type='get' id='1'>${ask}</iq>`);
    const query = (await peer.receives(`<iq type='result' id='1'/>`)).getChild('query', NS.register)!;
    const username = client.toLowerCase();
    const form = fill(query.getChild('x', NS.dataForms)!, { username, password: 'pass & word' });
    await peer.sends(set('2', `<query xmlns='${NS.register}'>${form}</query>`));
    await peer.receives(`<iq type='result' id='2'/>`);
    await peer.authenticates(username, 'pass & word');
    await scene.server.accounts.remove(`${username}@localhost`);
  }
});

scenario('§3.1: refused registrations', unlimited, async (scene) => {
  await scene.stage.account('romeo@localhost');
  const { peer } = await unauthenticated(scene);
  const refused: readonly (readonly [username: string, password: string, error: string])[] = [
    ['romeo', 'password', refusal('cancel', 'conflict')],
    ['ROMEO', 'password', refusal('cancel', 'conflict')],
    ['admin', 'password', refusal('cancel', 'conflict')],
    ['Abuse', 'password', refusal('cancel', 'conflict')],
    ['', 'password', refusal('modify', 'not-acceptable')],
    ['juliet', '', refusal('modify', 'not-acceptable')],
    ['juliet', '123', refusal('modify', 'not-acceptable')],
    ['a b', 'password', refusal('modify', 'not-acceptable')],
    ['juliet@elsewhere.example', 'password', refusal('modify', 'not-acceptable')],
    ['juliet@localhost/balcony', 'password', refusal('modify', 'not-acceptable')],
    ['x'.repeat(1024), 'password', refusal('modify', 'not-acceptable')],
  ];
  for (const [username, password, error] of refused) {
    await peer.sends(set('1', wanted(username, password)));
    await peer.receives(`<iq type='error' id='1'>${error}</iq>`);
  }
  await peer.sends(set('2', `<query xmlns='${NS.register}'><remove/></query>`));
  await peer.receives(`<iq type='error' id='2'/>`);
  // Nothing was taken over
  await scene.actor('romeo@localhost/orchard');
  assert.equal(await scene.server.accounts.exists('juliet@localhost'), false);
});

const few = { config: { modules: { register: { open: true, per_address: 2 } } } };
scenario('§11: registrations per address are limited', { nodes: 2, ...few }, async (scene) => {
  const { peer } = await unauthenticated(scene, { address: '127.0.0.7', node: 0 });
  await registers(peer, 'a');
  const { peer: again } = await unauthenticated(scene, { address: '127.0.0.7', node: 1 });
  await registers(again, 'b');
  await again.sends(set('1', wanted('c', 'password')));
  await again.receives(`<iq type='error' id='1'>${refusal('wait', 'resource-constraint')}</iq>`);
  const { peer: other } = await unauthenticated(scene, { address: '127.0.0.8' });
  await registers(other, 'c');
  for (const name of ['a', 'b', 'c']) await scene.server.accounts.remove(`${name}@localhost`);
});

scenario('§3.3: changing the password keeps the sessions', async ({ actor, connect }) => {
  const orchard = await actor('romeo@localhost/orchard');
  const garden = await actor('romeo@localhost/garden');
  await orchard.sends(`<iq type='set' id='1' to='localhost'>${wanted('romeo', 'new password')}</iq>`);
  await orchard.receives(`<iq type='result' id='1' from='localhost'/>`);
  await garden.receivesNothing();
  await actor('romeo@localhost/street', { password: 'new password' });
  const old = await connect({ address: '127.1.0.77' });
  await old.opens();
  await old.receivesFeatures();
  await assert.rejects(old.authenticates('romeo'), /failure/);
});

scenario('§3.3: a refused password is neither set nor repeated', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard');
  const refused: readonly (readonly [query: string, error: string])[] = [
    [wanted('romeo', ''), refusal('modify', 'bad-request')],
    [wanted('', 'secret'), refusal('modify', 'bad-request')],
    [wanted('juliet', 'secret'), refusal('auth', 'forbidden')],
    [wanted('nobody', 'secret'), refusal('auth', 'forbidden')],
    [wanted('romeo', '123'), refusal('modify', 'not-acceptable')],
  ];
  for (const [query, error] of refused) {
    await romeo.sends(`<iq type='set' id='1' to='localhost'>${query}</iq>`);
    const answer = await romeo.receives(`<iq type='error' id='1'>${error}</iq>`);
    assert.equal(answer.getChild('query', NS.register), undefined);
  }
  for (const whose of ['juliet@localhost', 'nobody@localhost']) {
    await romeo.sends(`<iq type='set' id='2' to='${whose}'>${wanted('juliet', 'secret')}</iq>`);
    await romeo.receives(`<iq type='error' id='2' from='${whose}'>${refusal('cancel', 'service-unavailable')}</iq>`);
  }
  await actor('juliet@localhost/balcony');
  await actor('romeo@localhost/garden');
});

scenario('§3.2: a user deletes their account with all its data', async ({ actor, server }) => {
  const orchard = await actor('romeo@localhost/orchard', { presence: true });
  const garden = await actor('romeo@localhost/garden', { presence: true });
  orchard.forgets();
  await orchard.sends(set('1', `<vCard xmlns='${NS.vcardTemp}'><FN>Romeo</FN></vCard>`));
  await orchard.receives(`<iq type='result' id='1'/>`);
  await orchard.sends(set('2', `<query xmlns='${NS.roster}'><item jid='juliet@localhost'/></query>`));
  await orchard.receives(`<iq type='result' id='2'/>`);
  await orchard.sends(set('3', `<query xmlns='${NS.register}'><remove/></query>`));
  await orchard.receivesAnyOrder([
    `<presence type='unavailable' from='romeo@localhost/orchard'/>`,
    `<iq type='result' id='3'/>`,
  ]);
  for (const peer of [orchard, garden]) {
    for (;;) {
      const element = await peer.receivesAny();
      if (element.name !== 'presence') {
        assert.ok(element.getChild('not-authorized', NS.streams));
        break;
      }
    }
    await peer.isClosed();
  }
  assert.equal(await server.accounts.exists('romeo@localhost'), false);
  // Who takes the name takes nothing else
  const next = await actor('romeo@localhost/orchard');
  await next.sends(`<iq type='get' id='4'><vCard xmlns='${NS.vcardTemp}'/></iq>`);
  await next.receives(`<iq type='result' id='4' to='romeo@localhost/orchard'><vCard xmlns='${NS.vcardTemp}'/></iq>`, {
    exactly: true,
  });
  await next.sends(`<iq type='get' id='5'><query xmlns='${NS.roster}'/></iq>`);
  const roster = await next.receives(`<iq type='result' id='5'><query xmlns='${NS.roster}'/></iq>`);
  assert.deepEqual(roster.getChildElements()[0]!.children, []);
});

const closed = { config: { modules: { register: { removal: false, password_change: false } } } };
scenario('§3.2, §3.3: disabled changes and removals', closed, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(set('1', `<query xmlns='${NS.register}'><remove/></query>`));
  await romeo.receives(`<iq type='error' id='1'>${refusal('cancel', 'not-allowed')}</iq>`);
  await romeo.sends(set('2', wanted('romeo', 'new password')));
  await romeo.receives(`<iq type='error' id='2'>${refusal('cancel', 'not-allowed')}</iq>`);
  await actor('romeo@localhost/garden');
});
