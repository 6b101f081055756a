/** XEP-0205, RFC 6120 §13.12: what a client may send, queue and leave unread, before and after login. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import { NS } from '../../src/server/stanza/ns.js';
import { base64, eachNode, hits, overTcp, type Peer, type Scene, scenario } from './dialogue.js';
import { befriends, unlimitedRate } from './phrases.js';
import { enters, founds } from './rooms.js';
import { greeted } from './sasl.js';

const chat = (to: string, body: string) => `<message to='${to}' type='chat'><body>${body}</body></message>`;
const messages = (body: string) => `<message type='chat'><body>${body}</body></message>`;
const header = `<stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}' to='localhost' version='1.0'`;

// --- sizes ----------------------------------------------------------------------------------------------------------------

for (const transport of ['tcp', 'tls'] as const) {
  scenario(
    `before login, elements have a small limit, enforced while they are read (${transport})`,
    async ({ connect }) => {
      const long = await connect({ transport });
      await long.sends(`${header} x='${'x'.repeat(10_001)}`);
      await long.receivesStreamError('policy-violation');
      for (const xml of [
        `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${'A'.repeat(10_001)}`,
        `<iq type='get' id='${'x'.repeat(10_001)}`,
        `<x y='${'&#65;'.repeat(2001)}`,
        `<${'x'.repeat(300)}`,
      ]) {
        const [peer] = await greeted(connect, { transport });
        await peer.sends(xml);
        await peer.receivesStreamError('policy-violation');
      }
    },
  );

  scenario(`after login, a stanza may be as large as the limit (${transport})`, async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { transport });
    const text = 'x'.repeat(262_144 - chat('juliet@localhost', '').length);
    await romeo.sends(chat('juliet@localhost', text));
    assert.equal((await juliet.receives(messages('*'))).getChildText('body'), text);
    await romeo.sends(chat('juliet@localhost', `${text}x`).slice(0, -1));
    await romeo.receivesStreamError('policy-violation');
    await juliet.receivesNothing();
  });
}

scenario('many small stanzas do not count as a large one', async ({ actor }) => {
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  const text = 'x'.repeat(10_000);
  await romeo.sends(chat('juliet@localhost', text).repeat(60));
  for (let at = 0; at < 60; at++) await juliet.receives(messages(text));
});

// --- rates ----------------------------------------------------------------------------------------------------------------

const slow = {
  config: {
    limits: {
      rate: { stanzas_per_second: 200, stanza_burst: 20, bytes_per_second: 'unlimited', byte_burst: 'unlimited' },
      rate_unauthenticated: {
        stanzas_per_second: 100,
        stanza_burst: 5,
        bytes_per_second: 'unlimited',
        byte_burst: 'unlimited',
      },
    },
  },
};

for (const transport of ['tcp', 'websocket'] as const) {
  scenario(
    `a client that sends too fast is read more slowly, and loses nothing (${transport})`,
    slow,
    async (scene) => {
      const { actor } = scene;
      const juliet = await actor('juliet@localhost/balcony', { presence: true });
      const romeo = await actor('romeo@localhost/orchard', { transport });
      const all = Array.from({ length: 100 }, (_, at) => String(at));
      // in one write: a busy machine is slow with many small ones
      await Promise.all(all.map((body) => romeo.sends(chat('juliet@localhost', body))));
      for (const body of all) await juliet.receives(messages(body));
      assert.ok((await hits(scene, 'rate')) > 0);
    },
  );
}

scenario('so is an unauthenticated client', slow, async (scene) => {
  const [peer] = await greeted(scene.connect, { transport: 'tls' });
  const before = await hits(scene, 'rate');
  const abort = `<abort xmlns='${NS.sasl}'/>`;
  await peer.sends(abort.repeat(3));
  for (let at = 0; at < 3; at++) await peer.receives(`<failure xmlns='${NS.sasl}'><aborted/></failure>`);
  await peer.receivesStreamError('policy-violation');
  const [asking] = await greeted(scene.connect);
  await asking.sends(`<iq type='get' id='1'><query xmlns='${NS.register}'/></iq>`.repeat(20));
  for (let at = 0; at < 20; at++) await asking.receives(`<iq type='error' id='1'/>`);
  assert.ok((await hits(scene, 'rate')) > before);
});

const narrow = {
  config: {
    limits: {
      rate: {
        bytes_per_second: 100_000,
        byte_burst: 10_000,
        stanzas_per_second: 'unlimited',
        stanza_burst: 'unlimited',
      },
    },
  },
};

scenario('the same for bytes', narrow, async (scene) => {
  const { actor } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const romeo = await actor('romeo@localhost/orchard');
  const text = 'x'.repeat(1000);
  await romeo.sends(chat('juliet@localhost', text).repeat(30));
  for (let at = 0; at < 30; at++) await juliet.receives(messages(text));
  assert.ok((await hits(scene, 'rate')) > 0);
});

// --- connections ------------------------------------------------------------------------------------------------------------

scenario(
  'connections per address are limited',
  { ...eachNode, ...overTcp, config: { limits: { connections_per_address: 3 } } },
  async (scene) => {
    const { connect, server } = scene;
    const address = '127.4.0.1';
    const held: Peer[] = [];
    for (const transport of ['tcp', 'tls', 'websocket'] as const)
      held.push((await greeted(connect, { address, transport }))[0]);
    const refused = await connect({ address });
    await refused.ends();
    await assert.rejects(connect({ address, transport: 'websocket' }));
    assert.ok((await hits(scene, 'connections_per_address')) >= 2);
    await greeted(connect, { address: '127.4.0.2' });
    held[0]!.cut();
    while (server.connections.tcp! > 1) await new Promise((resolve) => setImmediate(resolve));
    await greeted(connect, { address });
  },
);

scenario(
  'new connections per address and minute are limited',
  { ...eachNode, ...overTcp, config: { limits: { connections_per_minute: 2 } } },
  async (scene) => {
    const { connect } = scene;
    const address = '127.4.0.1';
    for (const transport of ['tcp', 'tls'] as const) (await greeted(connect, { address, transport }))[0].cut();
    await (await connect({ address })).ends();
    await greeted(connect, { address: '127.4.0.2' });
    assert.equal(await hits(scene, 'connections_per_minute'), 1);
  },
);

scenario(
  'spread over the minute, beyond the connections that the address may have',
  { ...eachNode, ...overTcp, config: { limits: { connections_per_minute: 6, connections_per_address: 2 } } },
  async (scene) => {
    const { connect, server } = scene;
    const address = '127.4.0.1';
    for (let count = 0; count < 2; count++) (await greeted(connect, { address }))[0].cut();
    while (server.connections.tcp! > 0) await new Promise((resolve) => setImmediate(resolve));
    await (await connect({ address })).ends();
    assert.equal(await hits(scene, 'connections_per_minute'), 1);
  },
);

scenario(
  'except for a proxy on the same machine',
  { ...eachNode, config: { limits: { connections_per_minute: 1, connections_per_address: 1 } } },
  async ({ connect }) => {
    for (let count = 0; count < 3; count++) await greeted(connect, { address: '127.0.0.1' });
  },
);

scenario(
  'connections in total are limited',
  { ...eachNode, ...overTcp, config: { limits: { connections: 2 } } },
  async (scene) => {
    const { connect } = scene;
    await greeted(connect, { address: '127.4.0.1' });
    await greeted(connect, { address: '127.4.0.2' });
    await (await connect({ address: '127.4.0.3' })).ends();
    assert.equal(await hits(scene, 'connections'), 1);
  },
);

scenario(
  '§13.12: a silent HTTP connection is closed',
  { config: { limits: { login_deadline_seconds: 1 } } },
  async ({ stage }) => {
    const half = connectTcp(stage.port('http'), '127.0.0.1');
    half.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n');
    const noHandshake = connectTcp(stage.port('https'), '127.0.0.1');
    noHandshake.write('GET');
    await Promise.all([half, noHandshake].map((socket) => once(socket.resume(), 'close')));
  },
);

// --- clients that do not read -----------------------------------------------------------------------------------------------

const shallow = {
  config: {
    limits: { write_queue_bytes: 65_536, stanza_bytes: 65_536, rate: unlimitedRate, rate_account: unlimitedRate },
    stream_management: { queue_stanzas: 10_000, queue_bytes: 1_048_576 },
  },
};

/** Sends until juliet's connection is gone; how many it were. */
async function floods(scene: Scene, romeo: Peer, juliet: Peer): Promise<number> {
  const before = await hits(scene, 'write_queue_bytes');
  const text = 'x'.repeat(50_000);
  for (let sent = 0; ; sent += 10) {
    assert.ok(sent < 2000, 'nothing stops it');
    await romeo.sends(chat(juliet.jid, text).repeat(10));
    await romeo.syncs();
    if ((await hits(scene, 'write_queue_bytes')) > before) return sent + 10;
  }
}

for (const transport of ['tcp', 'tls', 'websocket'] as const) {
  scenario(`a client that does not read is disconnected (${transport})`, shallow, async (scene) => {
    const { actor, server } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const tybalt = await actor('tybalt@localhost/street', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { transport });
    juliet.stopsReading();
    await floods(scene, romeo, juliet);
    assert.equal(server.sessions.of('juliet@localhost').length, 0);
    // Messages that arrive too late for her are returned to the sender; other conversations continue.
    romeo.forgets();
    await romeo.sends(chat(tybalt.jid, 'still there?'));
    await tybalt.receives(messages('still there?'));
  });
}

scenario(
  'with stream management its session hibernates, and nothing is lost',
  { ...shallow, ...overTcp },
  async (scene) => {
    const { actor, known } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const { id } = (await juliet.managesStream()).attrs;
    juliet.stopsReading();
    const r = `<r xmlns='${NS.sm}'/>`;
    // Other output counts as well: answers that are not read.
    const before = await hits(scene, 'write_queue_bytes');
    for (let sent = 0; (await hits(scene, 'write_queue_bytes')) === before; sent++) {
      assert.ok(sent < 2000, 'nothing stops it');
      await juliet.sends(r.repeat(40_000));
      await romeo.syncs();
    }
    for (let at = 0; at < 20; at++) await romeo.sends(chat(juliet.jid, `${at} ${'x'.repeat(40_000)}`));
    await romeo.syncs();
    const again = await known('juliet@localhost');
    await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
    await again.receives(`<resumed xmlns='${NS.sm}'/>`);
    for (let at = 0; at < 20; ) {
      const element = await again.receivesAny();
      // Meanwhile the server requests an acknowledgement, and continues when it gets one.
      if (element.name === 'r') await again.sends(`<a xmlns='${NS.sm}' h='${at}'/>`);
      else assert.equal(Number.parseInt(element.getChildText('body')!, 10), at++);
    }
  },
);

scenario(
  'an unauthenticated client that does not read is disconnected too',
  { ...shallow, ...overTcp },
  async (scene) => {
    const { connect } = scene;
    const address = '127.4.0.7';
    const [peer] = await greeted(connect, { address });
    peer.stopsReading();
    // The output that it can cause is limited by its attempts.
    for (let at = 0; at < 5; at++) await peer.sends(`<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64('x')}</auth>`);
    peer.readsAgain();
    for (let at = 0; at < 3; at++) await peer.receives(`<failure xmlns='${NS.sasl}'/>`);
    await peer.receivesStreamError('policy-violation');
  },
);

scenario(
  'presence has its own size limit, wherever it is sent',
  { config: { limits: { presence_bytes: 10_000 } } },
  async ({ actor, server }) => {
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await befriends(romeo, juliet);
    const status = (bytes: number, letter = 'x') =>
      `<status>${letter.repeat(bytes / Buffer.byteLength(letter) - 17)}</status>`;
    const refused = (to: string) =>
      `<presence type='error'${to}><error type='modify'><policy-violation xmlns='${NS.stanzas}'/></error></presence>`;
    for (const letter of ['x', '\u{1f600}']) {
      await romeo.sends(`<presence>${status(9_999, letter)}</presence>`);
      await juliet.receives(`<presence from='romeo@localhost/orchard'/>`);
      await romeo.syncs();
      romeo.forgets();
      for (const to of ['', " to='juliet@localhost'", " to='room@conference.localhost/r'", " to='pubsub.localhost'"]) {
        await romeo.sends(`<presence${to}>${status(10_200, letter)}</presence>`);
        await romeo.receives(refused(to.replace('to=', 'from=')));
      }
    }
    await juliet.receivesNothing();
    assert.equal(await hits({ server }, 'presence_bytes'), 8);
  },
);

scenario(
  'a stanza to many recipients is limited by its total size',
  { config: { limits: { fan_out_bytes: 1_048_576 } } },
  async ({ actor, server }) => {
    const peers: Peer[] = [];
    for (let n = 0; n < 6; n++) {
      const peer = await actor(`user${n}@localhost/r`, { presence: true });
      if (n === 0) await founds(peer, 'room', 'n0');
      else await enters(peer, 'room', `n${n}`);
      peers.push(peer);
    }
    const [owner, other] = peers as [Peer, Peer];
    for (const peer of peers) await peer.syncs();
    for (const peer of peers) peer.forgets();
    const says = (bytes: number) =>
      owner.sends(
        `<message id='m' type='groupchat' to='room@conference.localhost'><body>${'x'.repeat(bytes)}</body></message>`,
      );
    // A sixth of it for each of six
    await says(174_000);
    await owner.receives(`<message id='m' type='groupchat' from='room@conference.localhost/n0'/>`);
    await other.receives(`<message id='m' type='groupchat'/>`);
    await says(175_000);
    await owner.receives(
      `<message id='m' type='error'><error type='modify'><policy-violation xmlns='${NS.stanzas}'/></error></message>`,
    );
    await other.receivesNothing();
    for (const peer of peers) await peer.syncs();
    for (const peer of peers) peer.forgets();

    // Likewise for those who subscribed
    const pubsub = (id: string, inside: string) =>
      `<iq type='set' id='${id}' to='pubsub.localhost'><pubsub xmlns='${NS.pubsub}'>${inside}</pubsub></iq>`;
    const result = (id: string) => `<iq type='result' id='${id}'/>`;
    await owner.sends(pubsub('create', "<create node='n'/>"));
    await owner.receives(result('create'));
    for (const peer of peers) {
      await peer.sends(pubsub('sub', `<subscribe node='n' jid='${peer.jid}'/>`));
      await peer.receives(result('sub'));
      peer.forgets();
    }
    const publishes = (bytes: number) =>
      owner.sends(
        pubsub('p', `<publish node='n'><item id='i'><x xmlns='urn:x'>${'x'.repeat(bytes)}</x></item></publish>`),
      );
    await publishes(174_000);
    await other.receives(`<message type='headline' from='pubsub.localhost'/>`);
    await owner.syncs();
    owner.forgets();
    await publishes(175_000);
    await owner.receives(
      `<iq type='error' id='p'><error type='modify'><policy-violation xmlns='${NS.stanzas}'/></error></iq>`,
    );
    await other.receivesNothing();
    assert.equal(await hits({ server }, 'fan_out_bytes'), 2);
  },
);
