/** XEP-0215: STUN and TURN servers, and credentials for them. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { parseUri } from '../../src/modules/xep-0215-external-services.js';
import { parseDateTime } from '../../src/server/stanza/datetime.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { type Peer, scenario } from './dialogue.js';

const secret = 'north';
const settings = {
  uris: [
    'stun:turn.example.org',
    'turn:turn.example.org:3479?transport=udp',
    'turn:turn.example.org:3478?transport=tcp',
    'turns:[2001:db8::1]',
  ],
  secret,
  credentials_seconds: 3600,
  name: 'Our relay',
  more: { lent: { uris: ['turn:lent.example'], username: 'all', password: 'open' } },
};
const config = { modules: { external_services: settings } };

async function asks(peer: Peer, payload: string): Promise<Element> {
  await peer.sends(`<iq type='get' id='1' to='localhost'>${payload}</iq>`);
  const result = await peer.receives(`<iq type='result' id='1' from='localhost' to='${peer.jid}'/>`);
  return result.getChildElements()[0]!;
}

const services = (type = '') => `<services xmlns='${NS.externalServices}'${type && ` type='${type}'`}/>`;

/** As coturn does: the password is derived from the user name, which contains the expiry. */
function assertHolds({ attrs }: Element, before: number): void {
  const { username = '', password, expires = '', restricted } = attrs;
  assert.match(username, /^\d+:[0-9a-f]{16}$/);
  assert.equal(password, createHmac('sha1', secret).update(username).digest('base64'));
  const ends = Number.parseInt(username, 10);
  assert.equal(parseDateTime(expires), ends * 1000);
  assert.ok(expires.endsWith('Z'), '§2: in UTC');
  assert.ok(ends >= Math.floor(before / 1000) + 3600 && ends <= Date.now() / 1000 + 3600);
  assert.equal(restricted, 'true');
}

scenario('§3.1: all services, in the order of the configuration', { config }, async ({ actor }) => {
  const before = Date.now();
  const romeo = await actor('romeo@localhost/orchard');
  const answer = await asks(romeo, services());
  assert.ok(answer.is('services', NS.externalServices));
  const found = answer.getChildElements();
  assert.deepEqual(
    found.map(({ attrs: { type, host, port, transport } }) => [type, host, port, transport]),
    [
      ['stun', 'turn.example.org', '3478', 'udp'],
      ['turn', 'turn.example.org', '3479', 'udp'],
      ['turn', 'turn.example.org', '3478', 'tcp'],
      ['turns', '2001:db8::1', '5349', 'tcp'],
      ['turn', 'lent.example', '3478', 'udp'],
    ],
  );
  const [stun, ...turns] = found;
  assert.deepEqual(
    [stun!.attrs.username, stun!.attrs.restricted, stun!.attrs.name],
    [undefined, undefined, 'Our relay'],
  );
  for (const service of turns.slice(0, 3)) assertHolds(service, before);
  const { username, password, expires, restricted } = turns[3]!.attrs;
  assert.deepEqual([username, password, expires, restricted], ['all', 'open', undefined, 'true']);
});

scenario('credentials differ by account, and do not contain its name', { config }, async ({ actor }) => {
  const word = async (address: string) => {
    const answer = await asks(await actor(address), services('turns'));
    return answer.getChildElements()[0]!.attrs.username!.split(':')[1];
  };
  const romeo = await word('romeo@localhost/orchard');
  assert.equal(await word('romeo@localhost/home'), romeo);
  assert.notEqual(await word('juliet@localhost/balcony'), romeo);
});

scenario('§3.2: services by type', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const answer = await asks(romeo, services('turn'));
  assert.equal(answer.attrs.type, 'turn');
  assert.deepEqual(
    answer.getChildElements().map(({ attrs }) => attrs.port),
    ['3479', '3478', '3478'],
  );
  assert.equal((await asks(romeo, services('ftp'))).getChildElements().length, 0);
});

const credentials = (...wanted: string[]) =>
  `<credentials xmlns='${NS.externalServices}'>${wanted.map((attributes) => `<service ${attributes}/>`).join('')}</credentials>`;

scenario('§3.3: credentials for a service, by host and type, on one port or all', { config }, async ({ actor }) => {
  const before = Date.now();
  const romeo = await actor('romeo@localhost/orchard');
  const all = await asks(romeo, credentials(`host='turn.example.org' type='turn'`));
  assert.ok(all.is('credentials', NS.externalServices));
  assert.deepEqual(
    all.getChildElements().map(({ attrs }) => attrs.port),
    ['3479', '3478'],
  );
  for (const service of all.getChildElements()) assertHolds(service, before);
  const one = await asks(romeo, credentials(`host='turn.example.org' type='turn' port='3478'`));
  assert.deepEqual(
    one.getChildElements().map(({ attrs }) => attrs.port),
    ['3478'],
  );
});

scenario('§3.3: missing credentials, missing services, missing names', { config }, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const refused = async (payload: string, condition: string) => {
    await romeo.sends(`<iq type='get' id='1' to='localhost'>${payload}</iq>`);
    await romeo.receives(`<iq type='error' id='1'><error><${condition} xmlns='${NS.stanzas}'/></error></iq>`);
  };
  await refused(credentials(`host='turn.example.org' type='stun'`), 'item-not-found');
  await refused(credentials(`host='elsewhere.example.org' type='turn'`), 'item-not-found');
  await refused(credentials(`host='turn.example.org' type='turn' port='1'`), 'item-not-found');
  await refused(credentials(`host='turn.example.org'`), 'bad-request');
  await refused(credentials(), 'bad-request');
});

scenario('users of other hosts get nothing', { config }, async ({ actor }) => {
  const juliet = await actor('juliet@elsewhere.example/balcony');
  for (const payload of [services(), credentials(`host='turn.example.org' type='turn'`)]) {
    await juliet.sends(`<iq type='get' id='1' to='localhost'>${payload}</iq>`);
    await juliet.receives(`<iq type='error' id='1'><error><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`);
  }
});

const info = `<query xmlns='${NS.discoInfo}'/>`;
const features = async (peer: Peer) =>
  (await asks(peer, info)).getChildren('feature').map(({ attrs }) => attrs.var as string);

scenario('§5: support is announced', { config }, async ({ actor }) => {
  assert.ok((await features(await actor('romeo@localhost/orchard'))).includes('urn:xmpp:extdisco:2'));
});

scenario('§5: without services it is neither announced nor answered', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  assert.ok(!(await features(romeo)).includes(NS.externalServices));
  await romeo.sends(`<iq type='get' id='1' to='localhost'>${services()}</iq>`);
  await romeo.receives(`<iq type='error' id='1'><error><service-unavailable xmlns='${NS.stanzas}'/></error></iq>`);
});

/** The server reads it again when it reloads. */
const changing = { ...settings };

scenario(
  '§3.2: only clients that requested the services get pushes',
  { config: { modules: { external_services: changing } }, alone: true },
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony');
    const nurse = await actor('nurse@localhost/chamber');
    await asks(romeo, services());
    await asks(juliet, services('stun'));
    Object.assign(changing, {
      uris: ['stun:turn.example.org', 'stun:stun.example.org', 'turn:turn.example.org:3479?transport=udp'],
      more: { lent: { uris: ['turn:lent.example'], username: 'all', password: 'changed' } },
    });
    const { restart, applied } = await server.reload();
    assert.deepEqual(restart, []);
    assert.ok(applied.includes('modules.external_services.uris'));
    const push = await romeo.receives(
      `<iq type='set' id='{push}' from='localhost' to='romeo@localhost/orchard'><services xmlns='${NS.externalServices}'/></iq>`,
    );
    assert.deepEqual(
      push
        .getChild('services', NS.externalServices)!
        .getChildElements()
        .map(({ attrs: { action, type, host, port, password } }) => [action, type, host, port, password]),
      [
        ['delete', 'turn', 'turn.example.org', '3478', undefined],
        ['delete', 'turns', '2001:db8::1', '5349', undefined],
        ['add', 'stun', 'stun.example.org', '3478', undefined],
        ['modify', 'turn', 'lent.example', '3478', 'changed'],
      ],
    );
    await romeo.sends(`<iq type='result' id='{push}' to='localhost'/>`);
    await juliet.receives(
      `<iq type='set' from='localhost'><services xmlns='${NS.externalServices}' type='stun'>
        <service action='add' type='stun' host='stun.example.org' port='3478' transport='udp' name='Our relay'/>
      </services></iq>`,
      { exactly: false },
    );
    for (const peer of [romeo, juliet, nurse]) await peer.receivesNothing();
    await server.reload();
    for (const peer of [romeo, juliet, nurse]) await peer.receivesNothing();
  },
);

test('RFC 7064, RFC 7065: URIs of services', () => {
  const read = (text: string) => {
    const address = parseUri(text);
    return address && [address.type, address.host, address.port, address.transport].join(' ');
  };
  assert.equal(read('stun:example.org'), 'stun example.org 3478 udp');
  assert.equal(read('stuns:example.org'), 'stuns example.org 5349 tcp');
  assert.equal(read('turns:example.org:443?transport=udp'), 'turns example.org 443 udp');
  assert.equal(read('TURN:192.0.2.1:1?transport=TCP'), 'turn 192.0.2.1 1 tcp');
  assert.equal(read('turn:[::1]:65535'), 'turn ::1 65535 udp');
  for (const text of [
    '',
    'turn.example.org',
    'turn://example.org',
    'turn:user@example.org',
    'turn:example.org:0',
    'turn:example.org:65536',
    'turn:[1::2::3]',
    'turn:::1',
    'turn:a..b',
    'turn:a b',
    'turn:example.org?transport=sctp',
    'http:example.org',
  ])
    assert.equal(read(text), undefined, text);
});
