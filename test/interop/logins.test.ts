/** Each mechanism of each library over each transport: log in, send a message to oneself, log out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ListenerKind } from '../../src/server/listeners.js';
import type { Account, Device } from './device.js';
import { slixmpp } from './slixmpp.js';
import { certificate, hardPassword, Stage, without } from './stage.js';
import { stanzaJs } from './stanzajs.js';
import { strophe } from './strophe.js';
import { type XmppJsOptions, xmppJs } from './xmppjs.js';

const stage = Stage.forThisFile({ auth: { anonymous: true } });

const port = (kind: ListenerKind): number => stage.port(kind);
const webSocket = () => `ws://localhost:${port('http')}/xmpp-websocket`;
const bosh = () => `http://localhost:${port('http')}/http-bind`;
const secureBosh = () => `https://localhost:${port('https')}/http-bind`;
const secureWebSocket = () => `wss://localhost:${port('https')}/xmpp-websocket`;

function login(
  title: string,
  program: 'javascript' | 'slixmpp',
  mechanism: string,
  make: (account: Account) => Device | Promise<Device>,
  secret?: typeof hardPassword,
): void {
  test(`${title} by ${mechanism}`, { skip: without(program), timeout: 180_000 }, async () => {
    const account = stage.account('login', secret);
    const device = await stage.keep(make(account));
    await device.online();
    assert.equal(device.mechanism, mechanism);
    await talksToItself(device);
    await device.offline();
  });
}

async function talksToItself(device: Device): Promise<void> {
  await device.ping('localhost');
  await device.say(device.jid, 'Is it me?');
  await device.inbox.next('message', { from: device.jid, body: 'Is it me?' });
}

// The library uses the first mechanism that it supports, or the given one.
const services = {
  STARTTLS: () => `xmpp://localhost:${port('c2s')}`,
  'direct TLS': () => `xmpps://localhost:${port('c2s_tls')}`,
  WebSocket: secureWebSocket,
} as const;
for (const [name, service] of Object.entries(services)) {
  for (const only of ['SCRAM-SHA-1', 'PLAIN'])
    login(`xmpp.js, ${name}`, 'javascript', only, (account) => xmppJs({ ...account, service: service(), only }));
  login(`xmpp.js, ${name}`, 'javascript', 'ANONYMOUS', (account) =>
    xmppJs({ ...account, service: service(), anonymous: true }),
  );
  test(`xmpp.js, ${name}, by a token (XEP-0484)`, { skip: without('javascript'), timeout: 180_000 }, async () => {
    const tokens: NonNullable<XmppJsOptions['tokens']> = {};
    const options = { ...stage.account('token'), service: service(), tokens, clientId: crypto.randomUUID() };
    const first = await stage.keep(xmppJs(options));
    await first.online();
    assert.equal(first.mechanism, 'SCRAM-SHA-1');
    assert.ok(tokens.token !== undefined, 'there was no token');
    await first.offline();
    const again = await stage.keep(xmppJs(options));
    await again.online();
    assert.equal(again.mechanism, 'HT-SHA-256-NONE');
    await talksToItself(again);
    await again.offline();
  });
}
login('xmpp.js, WebSocket without TLS', 'javascript', 'SCRAM-SHA-1', (account) =>
  xmppJs({ ...account, service: webSocket() }),
);

const stanzaMechanisms = ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'];
for (const [at, mechanism] of stanzaMechanisms.entries())
  login('StanzaJS, WebSocket', 'javascript', mechanism, (account) =>
    stanzaJs({
      ...account,
      service: secureWebSocket(),
      without: stanzaMechanisms.slice(0, at),
    }),
  );
login('StanzaJS, WebSocket without TLS', 'javascript', 'SCRAM-SHA-256', (account) =>
  stanzaJs({ ...account, service: webSocket() }),
);

for (const [only, mechanism] of [
  ['SHA512', 'SCRAM-SHA-512'],
  ['SHA256', 'SCRAM-SHA-256'],
  ['SHA1', 'SCRAM-SHA-1'],
  ['Plain', 'PLAIN'],
] as const)
  login('Strophe.js, WebSocket', 'javascript', mechanism, (account) =>
    strophe({ ...account, service: secureWebSocket(), only }),
  );
login('Strophe.js, WebSocket without TLS', 'javascript', 'SCRAM-SHA-512', (account) =>
  strophe({ ...account, service: webSocket() }),
);
for (const [name, service] of [
  ['BOSH', secureBosh],
  ['BOSH without TLS', bosh],
] as const) {
  login(`Strophe.js, ${name}`, 'javascript', 'SCRAM-SHA-512', (account) => strophe({ ...account, service: service() }));
  login(`StanzaJS, ${name}`, 'javascript', 'SCRAM-SHA-256', (account) => stanzaJs({ ...account, service: service() }));
}
login(
  'Strophe.js, with a hard password,',
  'javascript',
  'SCRAM-SHA-512',
  (account) => strophe({ ...account, service: secureWebSocket() }),
  hardPassword,
);
for (const only of ['SCRAM-SHA-512', 'PLAIN'])
  login(
    'slixmpp, with a hard password,',
    'slixmpp',
    only,
    (account) => slixmpp({ ...account, port: port('c2s_tls'), tls: 'direct', certificate, only }),
    hardPassword,
  );

for (const [tls, kind] of [
  ['starttls', 'c2s'],
  ['direct', 'c2s_tls'],
] as const) {
  for (const only of ['SCRAM-SHA-512', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'])
    login(`slixmpp, ${tls}`, 'slixmpp', only, (account) =>
      slixmpp({ ...account, port: port(kind), tls, certificate, only }),
    );
  // Left to itself on TLS 1.2 it binds to the channel in a way that the server does not know; it has to find another.
  login(`slixmpp, ${tls} with TLS 1.2`, 'slixmpp', 'SCRAM-SHA-512', (account) =>
    slixmpp({ ...account, port: port(kind), tls, certificate, tls12: true }),
  );
}
