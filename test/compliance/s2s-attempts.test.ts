/**
 * Streams to another server are opened once, however many users write to it at the same time, in both directions, with
 * dialback (XEP-0220) and bidirectional streams (XEP-0288). Every sender's stanzas arrive in order (RFC 6120 §10.1).
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { DialbackKeys } from '../../src/server/stream/s2s/dialback.js';
import { makeSelfSigned, type Pem } from '../../src/server/tls/self-signed.js';
import type { Peer } from './dialogue.js';
import { Impostor, lure, play, Relay, type Servers, type Trap } from './servers.js';

const [montague, capulet] = ['montague.example', 'capulet.example'];
const [users, each] = [10, 5];
const secret = 's3cr3tf0rd14lb4ck';
const bidi = `<bidi xmlns='${NS.bidi}'/>`;

const names = Array.from({ length: users }, (_, n) => `user${n}`);
const message = (to: string, id: string) => `<message to='${to}' type='chat' id='${id}'><body>${id}</body></message>`;

/** Users of a server, in its cluster at any node. */
const crowd = (servers: Servers, domain: string): Promise<Peer[]> =>
  Promise.all(names.map((name) => servers.stage(domain).actor(`${name}@${domain}/r`, { presence: true })));

/** Each sends stanzas to the user of the same name, all at once: those numbered from `first` on. */
async function talk(peers: readonly Peer[], domain: string, first = 0): Promise<void> {
  await Promise.all(
    peers.map(async (peer, n) => {
      for (let at = 0; at < each; at++) await peer.sends(message(`${names[n]}@${domain}`, String(first + at)));
    }),
  );
  await Promise.all(peers.map((peer) => peer.syncs()));
}

/** So many stanzas of each user, in order. Other elements are passed over. */
async function hearsAll(peer: Impostor, count: number): Promise<void> {
  const next = new Map<string, number>();
  for (let left = users * count; left > 0; ) {
    const item = await peer.hears();
    assert.ok(item.kind === 'element', JSON.stringify(item));
    if (item.name !== 'message') continue;
    const { from = '', id = '' } = item.attrs;
    const expected = next.get(from) ?? 0;
    assert.equal(id, String(expected), from);
    next.set(from, expected + 1);
    left--;
  }
}

/** Montague sends. DNS leads it to a trap that poses as Capulet. */
const trusted: Pem = makeSelfSigned([capulet]);
const sending = {
  [montague]: { s2s: { require_valid_certificate: false, dialback_secret: secret }, trusts: [trusted] },
};

async function trapOf(servers: Servers): Promise<Trap> {
  const trap = await lure(`from='${capulet}' to='${montague}'`);
  servers.leads(capulet, trap.port);
  return trap;
}

/** Capulet accepts the dialback key of a stream that it was asked for. */
async function accepts(server: Impostor): Promise<void> {
  await server.answers(makeSelfSigned([capulet]), 'some-id');
  await server.hearsElement('result');
  server.says(`<db:result from='${capulet}' to='${montague}' type='valid'/>`);
}

/** Capulet connects, over a stream for both directions. */
async function connects(servers: Servers): Promise<Impostor> {
  const friend = Impostor.connect(servers.stage(montague).port('s2s'), `from='${capulet}' to='${montague}'`);
  await friend.opensWithTls(trusted);
  const identity = Buffer.from(capulet).toString('base64');
  friend.says(`${bidi}<auth xmlns='${NS.sasl}' mechanism='EXTERNAL'>${identity}</auth>`);
  await friend.hearsElement('success');
  await friend.opens();
  return friend;
}

/** From now on stanzas may be sent over it. */
async function isUsed(friend: Impostor): Promise<void> {
  friend.says(`<iq from='${capulet}' to='${montague}' type='get' id='p'><ping xmlns='${NS.ping}'/></iq>`);
}

play('many users, and a server that is slow to answer: one connection', sending, async (servers) => {
  const trap = await trapOf(servers);
  const peers = await crowd(servers, montague);
  await talk(peers, capulet);
  const server = await trap.next();
  await talk(peers, capulet, each);
  assert.equal(trap.made(), 1);
  await accepts(server);
  await hearsAll(server, 2 * each);
  assert.equal(trap.made(), 1);
});

play('XEP-0198: one connection again after it was lost', sending, async (servers) => {
  const trap = await trapOf(servers);
  const peers = await crowd(servers, montague);
  await talk(peers, capulet);
  const first = await trap.next();
  await accepts(first);
  await hearsAll(first, each);
  first.cut();
  await talk(peers, capulet);
  const second = await trap.next();
  await talk(peers, capulet, each);
  assert.equal(trap.made(), 2);
  await accepts(second);
  await hearsAll(second, 2 * each);
  assert.equal(trap.made(), 2);
});

play('XEP-0220: a key that is presented again is verified once', sending, async (servers) => {
  const trap = await trapOf(servers);
  const peers = await crowd(servers, montague);
  const friend = Impostor.connect(servers.stage(montague).port('s2s'), `from='${capulet}' to='${montague}'`);
  const { id } = await friend.opensWithTls();
  const key = new DialbackKeys(secret).make({ receiving: montague, originating: capulet, streamId: id });
  friend.says(`<db:result from='${capulet}' to='${montague}'>${key}</db:result>`.repeat(5));
  const authoritative = await trap.next();
  // Stanzas to the same domain have a connection of their own: a stream for them would have to be proved first.
  await talk(peers, capulet);
  const server = await trap.next();
  friend.says(`<db:result from='${capulet}' to='${montague}'>${key}</db:result>`.repeat(5));
  await authoritative.answers(makeSelfSigned([capulet]), 'verifying');
  const { attrs } = await authoritative.hearsElement('verify');
  authoritative.says(`<db:verify from='${capulet}' to='${montague}' id='${attrs.id}' type='valid'/>`);
  assert.equal((await friend.hearsElement('result')).attrs.type, 'valid');
  await accepts(server);
  await hearsAll(server, each);
  assert.equal(trap.made(), 2);
});

play('XEP-0288: no connection while the stream of the other server is there', sending, async (servers) => {
  const trap = await trapOf(servers);
  const peers = await crowd(servers, montague);
  const friend = await connects(servers);
  await isUsed(friend);
  await friend.hearsElement('iq');
  await talk(peers, capulet);
  await hearsAll(friend, each);
  assert.equal(trap.made(), 0);
  friend.cut();
  await talk(peers, capulet);
  const server = await trap.next();
  await accepts(server);
  await hearsAll(server, each);
  assert.equal(trap.made(), 1);
});

play(
  'XEP-0288: what waits for a server that cannot be reached is sent when that server connects',
  sending,
  async (servers) => {
    const trap = await trapOf(servers);
    const peers = await crowd(servers, montague);
    await talk(peers, capulet);
    const attempt = await trap.next();
    const friend = await connects(servers);
    await isUsed(friend);
    // An attempt that is under way goes on, without another beside it.
    await talk(peers, capulet, each);
    assert.equal(trap.made(), 1);
    attempt.cut();
    await hearsAll(friend, 2 * each);
    assert.equal(trap.made(), 1);
    for (const peer of peers) await peer.receivesNothing();
  },
);

play('two servers whose users write to each other at once', { [montague]: {}, [capulet]: {} }, async (servers) => {
  const relays = new Map<string, Relay>();
  for (const domain of [montague, capulet]) {
    const stage = servers.stage(domain);
    const relay = await Relay.open(stage.port('s2s', stage.nodes.at(-1)));
    relays.set(domain, relay);
    servers.leads(domain, relay.port);
  }
  const [ours, theirs] = await Promise.all([crowd(servers, montague), crowd(servers, capulet)]);
  await Promise.all([talk(ours, capulet), talk(theirs, montague)]);
  await Promise.all([talk(ours, capulet, each), talk(theirs, montague, each)]);
  for (const [peers, from] of [
    [ours, capulet],
    [theirs, montague],
  ] as const)
    for (const [n, peer] of peers.entries()) {
      for (let at = 0; at < 2 * each; at++)
        await peer.receives(`<message from='${names[n]}@${from}/r' type='chat' id='${at}'/>`);
      await peer.receivesNothing();
    }
  for (const { made } of relays.values()) assert.ok(made <= 1, `${made} connections`);
});
