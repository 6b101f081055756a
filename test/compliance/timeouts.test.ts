/**
 * What time does to streams and sessions (RFC 6120 §4.4, §4.6, §13.12; XEP-0198 §5; XEP-0199 §4.1). The server's clocks
 * and its intervals are the test's: nothing here waits.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { mock } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { NS } from '../../src/server/stanza/ns.js';
import { takeClocks } from '../unit/clocks.js';
import { type ConnectOptions, eachNode, hits, overTcp, type Peer, type Scene, scenarioWith } from './dialogue.js';

const scenario = scenarioWith(overTcp);

mock.timers.enable({ apis: ['setInterval'] });
const clocks = takeClocks({ still: true });

/** Lets so many seconds pass, one by one. */
function pass(seconds: number): void {
  for (let second = 0; second < seconds; second++) {
    clocks.pass(1000);
    mock.timers.tick(1000);
  }
}

const r = `<r xmlns='${NS.sm}'/>`;
const sent = (body: string) => `<message type='chat'><body>${body}</body></message>`;

/** Romeo gets her unavailable presence. */
async function isGone(romeo: Peer, juliet: Peer): Promise<void> {
  await romeo.receives(`<presence from='${juliet.jid}' type='unavailable'/>`);
}

// --- the login ------------------------------------------------------------------------------------------------------------

scenario('§4.9.3.4: nothing extends the login deadline', async ({ connect, known }) => {
  const silent = await connect();
  const idle = await connect();
  await idle.opens();
  await idle.receivesFeatures();
  const overTls = await connect({ transport: 'tls' });
  await overTls.opens();
  await overTls.receivesFeatures();
  const handshake = await connect();
  await handshake.opens();
  await handshake.receivesFeatures();
  await handshake.sends(`<starttls xmlns='${NS.tls}'/>`);
  await handshake.receives(`<proceed xmlns='${NS.tls}'/>`);
  const unbound = await known('romeo@localhost', { transport: 'websocket' });
  pass(15);
  // Neither white space nor an attempt extends the deadline.
  await idle.sends('   ');
  await overTls.sends(`<abort xmlns='${NS.sasl}'/>`);
  await overTls.receives(`<failure xmlns='${NS.sasl}'><aborted/></failure>`);
  pass(16);
  for (const peer of [silent, idle, overTls, unbound]) await peer.receivesStreamError('connection-timeout');
  pass(6);
  await handshake.ends();
});

const upgradeRequest = [
  'GET /xmpp-websocket HTTP/1.1',
  'Host: localhost',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Protocol: xmpp',
].join('\r\n');
const clientHello = Buffer.from('16030102000100', 'hex');

scenario(
  'the deadline starts with the connection, on every port',
  { config: { listen: { proxy_protocol: ['127.9.0.1'] } } },
  async (scene) => {
    const { stage, server } = scene;
    const before = await hits(scene, 'login_deadline_seconds');
    const cases = (['c2s', 'c2s_tls', 'http', 'https'] as const).flatMap((kind) => [
      { kind, from: '127.0.0.1', says: '' },
      { kind, from: '127.0.0.1', says: kind === 'http' ? 'GET / HT' : kind === 'c2s' ? '<?xml' : clientHello },
      // A proxy that sends nothing, or half a header.
      { kind, from: '127.9.0.1', says: '' },
      { kind, from: '127.9.0.1', says: 'PROXY TCP4 192.0.' },
      // A proxy whose client sends nothing.
      { kind, from: '127.9.0.1', says: 'PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\n' },
    ]);
    cases.push({ kind: 'http', from: '127.0.0.1', says: upgradeRequest });
    cases.push({ kind: 'http', from: '127.0.0.1', says: `${upgradeRequest}\r\n\r\n` });
    const sockets = cases.map(({ kind, from, says }) => {
      const socket = connectTcp({ port: stage.port(kind), host: '127.0.0.1', localAddress: from, allowHalfOpen: true });
      socket
        .on('error', () => {})
        .resume()
        .write(says);
      return socket;
    });
    // TLS is there, and no request.
    const overTls = connectTls({ port: stage.port('https'), host: '127.0.0.1', rejectUnauthorized: false });
    sockets.push(overTls.on('error', () => {}).resume());
    await once(overTls, 'secureConnect');
    const ends = Promise.all(
      sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve).once('end', () => socket.end()))),
    );
    while (server.inspect().connections < sockets.length) await new Promise((resolve) => setImmediate(resolve));
    pass(29);
    assert.equal(server.inspect().connections, sockets.length);
    pass(4);
    await ends;
    assert.equal(await hits(scene, 'login_deadline_seconds'), before + sockets.length);
    assert.deepEqual(server.connections, { tcp: 0, tls: 0, websocket: 0, bosh: 0 });
  },
);

const signUps = {
  config: { modules: { register: { open: true } }, limits: { registrations_per_address: 2 } },
  alone: true,
};
const form = `<iq type='get' id='form'><query xmlns='${NS.register}'/></iq>`;

/** A user who is reading the registration form. */
async function readsForm({ connect }: Pick<Scene, 'connect'>, options: ConnectOptions = {}): Promise<Peer> {
  const peer = await connect(options);
  await peer.opens();
  await peer.receivesFeatures();
  await peer.sends(form);
  await peer.receives(`<iq type='result' id='form'/>`);
  return peer;
}

scenario('XEP-0077: a registration form extends the deadline once', signUps, async (scene) => {
  const person = await readsForm(scene);
  const dawdler = await readsForm(scene, { transport: 'websocket' });
  pass(300);
  await person.sends(`<iq type='get' id='ping'><ping xmlns='${NS.ping}'/></iq>`);
  await person.receives(`<iq type='error' id='ping'/>`);
  await dawdler.sends(form);
  await dawdler.receives(`<iq type='result' id='form'/>`);
  const account = '<username>juliet</username><password>password</password>';
  await person.sends(`<iq type='set' id='new'><query xmlns='${NS.register}'>${account}</query></iq>`);
  await person.receives(`<iq type='result' id='new'/>`);
  await person.authenticates('juliet', 'password');
  pass(1);
  await person.binds('balcony');
  pass(299);
  await dawdler.receivesStreamError('connection-timeout');
});

scenario('XEP-0077: extended deadlines per address are limited', { ...signUps, ...eachNode }, async (scene) => {
  const address = '127.7.0.1';
  const first = [await readsForm(scene, { address }), await readsForm(scene, { address })];
  const third = await readsForm(scene, { address });
  const elsewhere = await readsForm(scene, { address: '127.7.0.2' });
  pass(31);
  await third.receivesStreamError('connection-timeout');
  for (const peer of [...first, elsewhere]) {
    await peer.sends(form);
    await peer.receives(`<iq type='result' id='form'/>`);
  }
  first[0]!.cut();
  while (scene.server.connections.tcp! > 3) await new Promise((resolve) => setImmediate(resolve));
  await readsForm(scene, { address });
  pass(31);
  await first[1]!.sends(form);
  await first[1]!.receives(`<iq type='result' id='form'/>`);
});

scenario('a client that binds in time stays connected', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  pass(120);
  await romeo.receivesNothing();
});

for (const step of [3_600_000, -3_600_000]) {
  const how = step > 0 ? 'forward' : 'back';
  scenario(`setting the clock ${how} ends no login, stream or session`, async ({ actor, known, connect, server }) => {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await juliet.sends(`<enable xmlns='${NS.sm}' resume='true' max='20'/>`);
    const { id } = (await juliet.receives(`<enabled xmlns='${NS.sm}'/>`)).attrs;
    const idle = await connect();
    await idle.opens();
    await idle.receivesFeatures();
    juliet.cut();
    while (server.hibernating === 0) await romeo.syncs();
    clocks.step(step);
    pass(15);
    await romeo.receivesNothing();
    await idle.authenticates('romeo');
    const again = await known('juliet@localhost');
    await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
    await again.receives(`<resumed xmlns='${NS.sm}'/>`);
    again.cut();
    while (server.hibernating === 0) await romeo.syncs();
    pass(21);
    assert.equal(server.hibernating, 0, 'its time is over all the same');
  });

  scenario(`XEP-0500: setting the clock ${how} mutes nobody`, async ({ actor }) => {
    const room = 'orchard@conference.localhost';
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await romeo.sends(`<presence to='${room}/r'><x xmlns='${NS.muc}'/></presence>`);
    const fields = [
      ['FORM_TYPE', `${NS.muc}#roomconfig`],
      ['muc#roomconfig_slow_mode_duration', '60'],
    ].map(([name, value]) => `<field var='${name}'><value>${value}</value></field>`);
    const form = `<x xmlns='jabber:x:data' type='submit'>${fields.join('')}</x>`;
    await romeo.sends(`<iq type='set' id='c' to='${room}'><query xmlns='${NS.mucOwner}'>${form}</query></iq>`);
    await romeo.syncs();
    await juliet.sends(`<presence to='${room}/j'><x xmlns='${NS.muc}'/></presence>`);
    await juliet.syncs();
    const says = async (body: string) => {
      juliet.forgets();
      await juliet.sends(`<message to='${room}' type='groupchat' id='${body}'><body>${body}</body></message>`);
    };
    await says('one');
    await juliet.receives(`<message type='groupchat' id='one'/>`);
    clocks.step(step);
    await says('two');
    await juliet.receives(`<message type='error' id='two'/>`);
    pass(61);
    await says('three');
    await juliet.receives(`<message type='groupchat' id='three'/>`);
  });
}

// --- ends -----------------------------------------------------------------------------------------------------------------

scenario('§4.4: a client that does not close its half is disconnected', async ({ actor, server }) => {
  for (const transport of ['tcp', 'tls'] as const) {
    const romeo = await actor('romeo@localhost/orchard', { transport, halfOpen: true });
    await romeo.sends('<oops/>');
    await romeo.receivesStreamError('unsupported-stanza-type');
    pass(6);
    await romeo.isCut();
    assert.deepEqual(server.connections, { tcp: 0, tls: 0, websocket: 0, bosh: 0 });
  }
});

scenario('RFC 7395 §3.6: so is a WebSocket client that does not send <close/>', async ({ actor, server }) => {
  const romeo = await actor('romeo@localhost/orchard', { transport: 'websocket' });
  await romeo.sends('<oops xmlns="x"/>');
  await romeo.receives(`<error xmlns='${NS.stream}'/>`);
  romeo.stopsReading();
  pass(6);
  while (server.connections.websocket! > 0) await new Promise((resolve) => setImmediate(resolve));
});

// --- silence --------------------------------------------------------------------------------------------------------------

for (const transport of ['tcp', 'websocket'] as const) {
  scenario(
    `XEP-0199 §4.1: a silent client is pinged, and disconnected without a response (${transport})`,
    async ({ actor }) => {
      const juliet = await actor('juliet@localhost/balcony', { transport, presence: true });
      const romeo = await actor('romeo@localhost/orchard', { presence: true });
      await juliet.sends(`<presence to='${romeo.jid}'/>`);
      await romeo.receives(`<presence from='${juliet.jid}'/>`);
      pass(301);
      for (const peer of [romeo, juliet]) {
        const ping = await peer.receives(`<iq type='get' from='localhost'><ping xmlns='${NS.ping}'/></iq>`);
        if (peer === romeo) await peer.sends(`<iq type='result' to='localhost' id='${ping.attrs.id}'/>`);
      }
      await romeo.syncs();
      pass(61);
      await isGone(romeo, juliet);
      await romeo.receivesNothing();
    },
  );
}

scenario(
  'XEP-0198 §4: with stream management by <r/>, and the session hibernates',
  async ({ actor, known, server }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await juliet.sends(`<enable xmlns='${NS.sm}' resume='true' max='1000'/>`);
    const { id } = (await juliet.receives(`<enabled xmlns='${NS.sm}'/>`)).attrs;
    pass(250);
    await romeo.syncs();
    pass(51);
    await juliet.receives(r);
    // Any sign of life is one.
    await juliet.sends(' ');
    while (server.hibernating > 0) await romeo.syncs();
    await juliet.sends(`<r xmlns='${NS.sm}'/>`);
    await juliet.receives(`<a xmlns='${NS.sm}' h='0'/>`);
    await romeo.syncs();
    pass(299);
    await romeo.syncs();
    pass(62);
    await juliet.ends();
    assert.equal(server.hibernating, 1);
    await romeo.sends(`<message to='${juliet.jid}' type='chat'><body>away</body></message>`);
    await romeo.syncs();
    const again = await known('juliet@localhost');
    await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
    await again.receives(`<resumed xmlns='${NS.sm}'/>`);
    await again.receives(sent('away'));
  },
);

scenario(
  '§4.6.1: white space, if configured',
  { config: { limits: { idle_whitespace_seconds: 60 } } },
  async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony', { transport: 'websocket' });
    pass(130);
    await romeo.syncs();
    assert.match(romeo.raw(), /S: {1,3}(\n|<)/);
    // RFC 7395 §3.8: not there.
    await juliet.receivesNothing();
    assert.doesNotMatch(juliet.raw(), /S: +$/m);
  },
);

// --- sessions that wait -----------------------------------------------------------------------------------------------------

scenario('XEP-0198 §5: a hibernating session expires', async ({ actor, known }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<presence to='${romeo.jid}'/>`);
  await romeo.receives(`<presence from='${juliet.jid}'/>`);
  await juliet.sends(`<enable xmlns='${NS.sm}' resume='true' max='20'/>`);
  const { id } = (await juliet.receives(`<enabled xmlns='${NS.sm}'/>`)).attrs;
  await juliet.sends(`<iq type='get' id='1' to='localhost'><ping xmlns='${NS.ping}'/></iq>`);
  await juliet.receives(`<iq type='result' id='1'/>`);
  juliet.halfCloses();
  await juliet.receives(r);
  await juliet.ends();
  const request = `<iq type='get' id='2' to='${juliet.jid}'><query xmlns='nope'/></iq>`;
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>away</body></message>${request}`);
  await romeo.syncs();
  pass(19);
  await romeo.receivesNothing();
  pass(2);
  await romeo.receivesAnyOrder([
    `<presence from='${juliet.jid}' type='unavailable'/>`,
    `<iq type='error' id='2' from='${juliet.jid}'/>`,
  ]);
  const again = await known('juliet@localhost');
  await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
  await again.receives(`<failed xmlns='${NS.sm}' h='1'><item-not-found xmlns='${NS.stanzas}'/></failed>`);
  await again.binds('balcony');
  await again.sends('<presence/>');
  await again.receives(`<presence from='${again.jid}'/>`);
  await again.receives(sent('away'));
});

scenario('XEP-0198 §5: also after a restart', { alone: true }, async ({ actor, stage }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<enable xmlns='${NS.sm}' resume='true' max='100'/>`);
  await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
  await romeo.sends(`<message to='juliet@localhost' type='chat'><body>1</body></message>`);
  await juliet.receives(sent('1'));
  juliet.cut();
  await romeo.syncs();
  await stage.restart();
  assert.equal(stage.server.hibernating, 1);
  pass(102);
  assert.equal(stage.server.hibernating, 0);
  const again = await actor('juliet@localhost/garden');
  await again.sends('<presence/>');
  await again.receives(`<presence from='${again.jid}'/>`);
  await again.receives(sent('1'));
});
