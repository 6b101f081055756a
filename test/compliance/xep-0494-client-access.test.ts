/** XEP-0494: Client Access Management. */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';
import { attempts, greeted } from './sasl.js';
import { visitor } from './visitor.js';

const romeo = 'romeo@localhost';
const list = `<iq type='get' id='l'><list xmlns='${NS.clientAccess}'/></iq>`;
const revoke = (attributes: string) => `<iq type='set' id='r'><revoke xmlns='${NS.clientAccess}' ${attributes}/></iq>`;
const idOf = (client: Element) => `id='${client.attrs.id}'`;

/** The clients that are listed, which have what §3.1 demands. */
async function listed(peer: Peer): Promise<Element[]> {
  await peer.sends(list);
  const answer = await peer.receives(`<iq type='result' id='l'/>`);
  const clients = answer.getChild('clients', NS.clientAccess)!.getChildElements();
  for (const client of clients) {
    assert.match(client.attrs.id!, /^[\w-]{20,}$/);
    const [first, last] = ['first-seen', 'last-seen'].map((name) => Date.parse(client.getChildText(name)!));
    assert.ok(first! <= last!);
    assert.equal(client.getChild('permission')!.attrs.status, 'unrestricted');
  }
  assert.equal(new Set(clients.map(idOf)).size, clients.length);
  return clients;
}

/** What a user sees of a client: its type, its state, its device, and how it logged in. */
const described = (client: Element): string =>
  [
    client.attrs.type,
    client.attrs.connected === 'true' ? 'connected' : 'away',
    client.getChild('user-agent')?.getChildText('device') ?? '-',
    ...client
      .getChild('auth')!
      .getChildElements()
      .map(({ name }) => name),
  ].join(' ');
const shown = async (peer: Peer): Promise<string[]> => (await listed(peer)).map(described).sort();
const named = async (peer: Peer, description: string): Promise<Element> => {
  const found = (await listed(peer)).filter((client) => described(client) === description);
  assert.equal(found.length, 1, description);
  return found[0]!;
};

/** A device with a token, which got it with this login (XEP-0484). */
async function remembers({ stage }: Scene, clientId: string, device: string, login: string): Promise<void> {
  const { accounts } = stage.home(romeo);
  const { epoch } = (await accounts.get(romeo))!;
  await accounts.tokens.issue(romeo, { clientId, mechanism: 'HT-SHA-256-NONE', epoch, login, agent: { device } });
}
const remembered = async ({ stage }: Scene): Promise<string[]> =>
  (await stage.home(romeo).accounts.tokens.devices(romeo)).map(({ clientId }) => clientId);

const phoneId = 'd4565fa7-4d72-4749-b3d3-740edbf87770';
/** A client that describes itself, with a token. */
async function phone({ stage, connect }: Scene): Promise<Peer> {
  await stage.account(romeo);
  const [peer] = await greeted(connect, { transport: 'tls' });
  const agent = `<user-agent id='${phoneId}'><software>Sender &amp; Co</software><device>Phone \u{1f4f1}</device></user-agent>`;
  const request = `<request-token xmlns='${NS.fast}' mechanism='HT-SHA-256-NONE'/>`;
  const success = await attempts(peer, { inline: `${agent}${request}<bind xmlns='${NS.bind2}'/>` });
  assert.equal(success.name, 'success');
  await peer.receives(`<features xmlns='${NS.stream}'/>`);
  return peer;
}

scenario('§3.1: clients that are connected, have tokens, or are logged in to the account page', async (scene) => {
  const mobile = await phone(scene);
  const desktop = await scene.actor(`${romeo}/desktop`);
  await scene.actor('juliet@localhost/balcony');
  await remembers(scene, 'another', 'Tablet', 'EXTERNAL');
  await visitor(scene, romeo);
  const expected = [
    'access away - password',
    'session away Tablet fast mechanism',
    'session connected - password',
    'session connected Phone \u{1f4f1} password fast',
  ];
  assert.deepEqual(await shown(desktop), expected);
  const own = await named(mobile, expected[3]!);
  assert.equal(own.getChild('user-agent')!.getChildText('software'), 'Sender & Co');
  await mobile.closes();
  await mobile.isClosed();
  expected[3] = 'session away Phone \u{1f4f1} password fast';
  assert.deepEqual(await shown(desktop), [expected[0]!, expected[3], expected[1]!, expected[2]!]);
});

scenario('§3.1: the account announces it', async ({ actor }) => {
  const desktop = await actor(`${romeo}/desktop`);
  await desktop.sends(`<iq type='get' id='d' to='${romeo}'><query xmlns='${NS.discoInfo}'/></iq>`);
  await desktop.receives(
    `<iq type='result' id='d'><query xmlns='${NS.discoInfo}'><feature var='${NS.clientAccess}'/></query></iq>`,
  );
});

scenario('§3.2: a client that knows the password keeps its access until that changes', async (scene) => {
  const desktop = await scene.actor(`${romeo}/desktop`);
  const mobile = await phone(scene);
  const known = await named(desktop, 'session connected Phone \u{1f4f1} password fast');
  await desktop.sends(revoke(idOf(known)));
  const required = `<password-reset-required xmlns='${NS.clientAccess}'/>`;
  await desktop.receives(
    `<iq type='error' id='r'><error type='cancel'><service-unavailable xmlns='${NS.stanzas}'/>${required}</error></iq>`,
  );
  assert.deepEqual(await remembered(scene), [phoneId]);
  await mobile.syncs();
  await desktop.sends(
    `<iq type='set' id='p' to='localhost'><query xmlns='${NS.register}'><username>romeo</username><password>a new password</password></query></iq>`,
  );
  await desktop.receives(`<iq type='result' id='p'/>`);
  const left = await named(desktop, 'session connected Phone \u{1f4f1}');
  assert.equal(idOf(left), idOf(known));
  await desktop.sends(revoke(idOf(left)));
  await desktop.receives(`<iq type='result' id='r'/>`);
  await mobile.receivesStreamError('not-authorized');
  assert.equal((await listed(desktop)).length, 1);
});

scenario('§3.2: a client with a token alone loses it, once', async (scene) => {
  const desktop = await scene.actor(`${romeo}/desktop`);
  await remembers(scene, 'one', 'Tablet', 'EXTERNAL');
  await remembers(scene, 'two', 'Watch', 'EXTERNAL');
  const tablet = await named(desktop, 'session away Tablet fast mechanism');
  await desktop.sends(revoke(idOf(tablet)));
  await desktop.receives(`<iq type='result' id='r'/>`);
  assert.deepEqual(await remembered(scene), ['two']);
  await desktop.sends(revoke(idOf(tablet)));
  await desktop.receives(`<iq type='error' id='r'>${refusal('cancel', 'item-not-found')}</iq>`);
});

scenario('§3.2: a client that ends its own access gets the result', async (scene) => {
  const desktop = await scene.actor(`${romeo}/desktop`);
  await scene.stage.home(romeo).accounts.setPassword(romeo, 'a new password');
  await desktop.sends(revoke(idOf(await named(desktop, 'session connected -'))));
  await desktop.receives(`<iq type='result' id='r'/>`);
  await desktop.receivesStreamError('not-authorized');
});

scenario('§3.2: ids that nobody has', async ({ actor }) => {
  const desktop = await actor(`${romeo}/desktop`);
  for (const [attributes, type, condition] of [
    ['', 'modify', 'bad-request'],
    [`id=''`, 'modify', 'bad-request'],
    [`id='${'\u{1f4f1}'.repeat(100)}'`, 'cancel', 'item-not-found'],
  ] as const) {
    await desktop.sends(revoke(attributes));
    await desktop.receives(`<iq type='error' id='r'>${refusal(type, condition)}</iq>`);
  }
});

scenario('§4: nobody else sees or ends them', async (scene) => {
  const desktop = await scene.actor(`${romeo}/desktop`);
  const mallory = await scene.actor('mallory@localhost/x');
  await remembers(scene, 'one', 'Tablet', 'EXTERNAL');
  const tablet = await named(desktop, 'session away Tablet fast mechanism');
  for (const request of [list, revoke(idOf(tablet))]) {
    await mallory.sends(request.replace('<iq', `<iq to='${romeo}'`));
    await mallory.receives(`<iq type='error' from='${romeo}'>${refusal('cancel', 'service-unavailable')}</iq>`);
  }
  // Of their own account they have no such client.
  await mallory.sends(revoke(idOf(tablet)));
  await mallory.receives(`<iq type='error' id='r'>${refusal('cancel', 'item-not-found')}</iq>`);
  assert.deepEqual(await remembered(scene), ['one']);
});
