/**
 * XEP-0205, RFC 6120 §13.12: badly behaved clients. None monopolises the server, everything received before a stream
 * ends is handled, other clients lose nothing meanwhile, and each limit that is reached is counted. limits.test.ts
 * tests each limit.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { hits, overTcp, type Peer, type Scene, scenario, type TransportName } from './dialogue.js';
import { unlimitedRate } from './phrases.js';

const chat = (to: string, body: string) => `<message to='${to}' type='chat'><body>${body}</body></message>`;
const messages = (body: string) => `<message type='chat'><body>${body}</body></message>`;
async function isCounted({ server }: Scene, ...limits: readonly string[]): Promise<void> {
  const { text } = await server.metrics.text();
  for (const limit of limits) assert.match(text, new RegExp(`waxwing_limits_hit_total\\{limit="${limit}"\\} [1-9]`));
}

/** Two who have nothing to do with it. */
async function neighbours({ actor }: Scene): Promise<() => Promise<void>> {
  const [one, other] = [await actor('nurse@localhost/house'), await actor('peter@localhost/house')];
  let messages = 0;
  return async () => {
    for (let count = 0; count < 20; count++) {
      const body = `${++messages}`;
      await one.sends(chat(other.jid, body));
      await other.receives(`<message type='chat' from='${one.jid}'><body>${body}</body></message>`);
    }
  };
}

// --- turns ----------------------------------------------------------------------------------------------------------------

const many = Array.from({ length: 1000 }, (_, at) => String(at));
const all = (peer: Peer, xml: (body: string) => string, framed: boolean): Promise<unknown> =>
  framed ? Promise.all(many.map((body) => peer.sends(xml(body)))) : peer.sends(many.map(xml).join(''));

const ends: readonly (readonly [string, readonly TransportName[], (peer: Peer) => unknown])[] = [
  ['the end of the stream', ['tcp', 'tls', 'websocket', 'wss'], (peer) => peer.closes()],
  ['the end of its half', ['tcp', 'tls', 'websocket', 'wss'], (peer) => peer.halfCloses()],
];

for (const [what, transports, finishes] of ends)
  for (const transport of transports)
    scenario(
      `stanzas before ${what} are delivered (${transport})`,
      { config: { limits: { rate: unlimitedRate, rate_account: unlimitedRate } } },
      async (scene) => {
        const { actor, server } = scene;
        const juliet = await actor('juliet@localhost/balcony', { presence: true });
        const romeo = await actor('romeo@localhost/orchard', { transport });
        const sent = all(romeo, (body) => chat(juliet.jid, body), transport === 'websocket' || transport === 'wss');
        finishes(romeo);
        await sent;
        for (const body of many) await juliet.receives(messages(body));
        while (server.sessions.of('romeo@localhost').length > 0) await new Promise((resolve) => setImmediate(resolve));
      },
    );

for (const transport of ['tcp', 'tls'] as const)
  scenario(`and stanzas whose handler is pending (${transport})`, async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard', { transport });
    const keepsOpen = (id: string) =>
      `<iq type='set' id='${id}'><query xmlns='${NS.private}'><x xmlns='urn:example:x'>${id}</x></query></iq>`;
    void romeo.sends(`${keepsOpen('1')}${chat(juliet.jid, 'one')}${keepsOpen('2')}${chat(juliet.jid, 'two')}`);
    romeo.halfCloses();
    await juliet.receives(messages('one'));
    await juliet.receives(messages('two'));
  });

scenario(
  'an acknowledgement follows the handling of all earlier stanzas',
  { config: { limits: { rate: unlimitedRate, rate_account: unlimitedRate } } },
  async ({ actor }) => {
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(`<enable xmlns='${NS.sm}'/>`);
    await romeo.receives(`<enabled xmlns='${NS.sm}'/>`);
    await romeo.sends(`${many.map((body) => chat(juliet.jid, body)).join('')}<r xmlns='${NS.sm}'/>`);
    // The server may have requested an acknowledgement already.
    let h = 0;
    while (h < 1000) {
      const reported = Number((await romeo.receives(`<a xmlns='${NS.sm}' h='*'/>`)).attrs.h);
      assert.ok(reported > h, `${reported} after ${h}`);
      h = reported;
    }
    assert.equal(h, 1000);
    for (const body of many) await juliet.receives(messages(body));
  },
);

// --- other clients meanwhile ------------------------------------------------------------------------------------------------

// After the burst, hardly anything is read: the flood reaches the rate however slow the machine is.
const slowRate = { config: { limits: { rate: { bytes_per_second: 1000, byte_burst: 1_000_000 } } } };

scenario("a flood is read at the permitted rate; the rest stays in the sender's socket", slowRate, async (scene) => {
  const talk = await neighbours(scene);
  const { tls } = await scene.actor('tybalt@localhost/street', { transport: 'tls' });
  const flood = Buffer.from(chat('peter@localhost/cellar', 'x'.repeat(1000)).repeat(1000));
  for (let count = 0; count < 32; count++) tls!.write(flood);
  await talk();
  while ((await hits(scene, 'rate')) === 0) await talk();
  assert.ok(tls!.writableLength > 0, 'the server took 32 MB');
});

const crowded = { config: { limits: { connections: 30, login_deadline_seconds: 1 } } };

scenario('silent connections are limited and closed', { ...crowded, ...overTcp }, async (scene) => {
  const talk = await neighbours(scene);
  const unauthenticated: Peer[] = [];
  for (let count = 0; count < 60; count++)
    unauthenticated.push(await scene.connect({ address: `127.5.0.${1 + count}` }));
  await talk();
  await Promise.all(unauthenticated.map((peer) => peer.drains()));
  await talk();
  await isCounted(scene, 'connections', 'login_deadline_seconds');
});

scenario(
  'an account has a maximum number of sessions',
  { config: { limits: { sessions_per_account: 5 } } },
  async (scene) => {
    const talk = await neighbours(scene);
    for (let count = 0; count < 30; count++) {
      const peer = await scene.known('tybalt@localhost');
      await peer.sends(`<iq type='set' id='b'><bind xmlns='${NS.bind}'><resource>${count}</resource></bind></iq>`);
      await peer.receives(`<iq type='${count < 5 ? 'result' : 'error'}' id='b'/>`);
    }
    assert.equal(scene.server.sessions.of('tybalt@localhost').length, 5);
    await talk();
    await isCounted(scene, 'sessions_per_account');
  },
);

// Over WebSocket such a message ends the connection at once (RFC 6455 §7.4.1).
scenario('stanzas that are too large, repeatedly', overTcp, async (scene) => {
  const talk = await neighbours(scene);
  for (let count = 0; count < 5; count++) {
    const tybalt = await scene.actor('tybalt@localhost/street');
    await tybalt.sends(chat('peter@localhost', 'x'.repeat(262_144)).slice(0, 262_145));
    await tybalt.receivesStreamError('policy-violation');
    await talk();
  }
  await isCounted(scene, 'stanza');
});

scenario(
  'memory for a client that does not acknowledge is bounded',
  {
    config: {
      stream_management: { queue_stanzas: 50 },
      limits: { rate: unlimitedRate, rate_account: unlimitedRate, stalled_seconds: 1 },
    },
  },
  async (scene) => {
    const talk = await neighbours(scene);
    const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
    const romeo = await scene.actor('romeo@localhost/orchard');
    await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
    await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
    for (const body of many.slice(0, 60)) await romeo.sends(chat(juliet.jid, body));
    await romeo.syncs();
    // She is disconnected first, and can queue as much again before she returns.
    await juliet.drains();
    for (const body of many.slice(0, 60)) await romeo.sends(chat(juliet.jid, body));
    await romeo.syncs();
    // Stanzas beyond that are stored like messages for an offline user (pacing.test.ts).
    const [session] = scene.server.sessions.of('juliet@localhost');
    assert.equal(session?.connection, undefined);
    assert.equal(session?.isBacklogged, true);
    await talk();
  },
);
