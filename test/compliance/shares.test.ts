/** Clients with expensive requests are read later, and others are not (XEP-0205 §3; RFC 6120 §13.12). */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';
import { hits, isHit, overTcp, type Peer, scenario } from './dialogue.js';
import { enters, founds, quiets, service } from './rooms.js';

const store = (id: string, payload: string) =>
  `<iq type='set' id='${id}'><query xmlns='${NS.private}'>${payload}</query></iq>`;
const get = (id: string) => `<iq type='get' id='${id}'><query xmlns='${NS.private}'><x xmlns='dear'/></query></iq>`;
const chat = (to: string, text: string, id = text) =>
  `<message to='${to}' type='chat' id='${id}'><body>${text}</body></message>`;

/** A message between two other users arrives. */
async function talk(one: Peer, other: Peer, rounds = 5): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await one.sends(chat(other.jid, `to ${round}`));
    await other.receives(`<message type='chat' from='${one.jid}'><body>to ${round}</body></message>`);
    await other.sends(chat(one.jid, `fro ${round}`));
    await one.receives(`<message type='chat' from='${other.jid}'><body>fro ${round}</body></message>`);
  }
}

const answers = {
  config: { limits: { rate_account: { answer_byte_burst: 100_000, answer_bytes_per_second: 6000 } } },
};

scenario('answers count for all connections of the account; acknowledgements do not wait', answers, async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const tybalt = await actor('tybalt@localhost/street');
  await tybalt.managesStream();
  await tybalt.sends(store('s', `<x xmlns='dear'>${'a'.repeat(16_000)}</x>`));
  await tybalt.receives(`<iq type='result' id='s'/>`);
  const second = await actor('tybalt@localhost/square');
  await tybalt.sends([1, 2, 3, 4, 5, 6, 7, 8].map((id) => get(`g${id}`)).join(''));
  // In debt now, so that requests after pending answers still wait.
  for (let id = 1; id <= 7; id++) await tybalt.receives(`<iq type='result' id='g${id}'/>`);
  await second.sends(get('last'));
  await tybalt.sends(`<r xmlns='${NS.sm}'/>`);
  await tybalt.receives(`<a xmlns='${NS.sm}'/>`);
  await talk(romeo, juliet);
  await tybalt.receives(`<iq type='result' id='g8'/>`);
  // In its turn, with all that was handled before it.
  await tybalt.receives(`<a xmlns='${NS.sm}'/>`);
  await second.receives(`<iq type='result' id='last'/>`);
  assert.ok((await hits(scene, 'rate_account.answer_bytes_per_second')) > 0);
});

const writing = {
  config: { limits: { rate_account: { stanza_burst: 60, stanzas_per_second: 10 } } },
};

scenario('all connections of an account share its rate, and nothing is lost', writing, async (scene) => {
  const { actor } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const all: Peer[] = [];
  for (let at = 0; at < 10; at++) all.push(await actor(`tybalt@localhost/${at}`));
  await Promise.all(
    all.map((peer, at) => peer.sends([1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => chat(juliet.jid, `${at}.${n}`)).join(''))),
  );
  const next = new Map<string, number>();
  for (let message = 0; message < 90; message++) {
    const [at, n] = (await juliet.receives(`<message type='chat'/>`)).getChildText('body')!.split('.') as [
      string,
      string,
    ];
    assert.equal(Number(n), (next.get(at) ?? 0) + 1);
    next.set(at, Number(n));
  }
  assert.ok((await hits(scene, 'rate_account.stanzas_per_second')) > 0);
});

const storing = {
  config: {
    limits: {
      archive_bytes: 400_000,
      rate: { byte_burst: 'unlimited', bytes_per_second: 'unlimited' },
      rate_account: { byte_burst: 400_000, bytes_per_second: 400_000 },
    },
  },
};

scenario(
  'twenty connections of an account cannot exceed its quota, and the archive keeps its size',
  storing,
  async (scene) => {
    const { actor, server } = scene;
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const all: Peer[] = [];
    for (let at = 0; at < 20; at++) all.push(await actor(`tybalt@localhost/${at}`));
    await Promise.all(all.map((peer, at) => peer.sends(chat(juliet.jid, 'x'.repeat(50_000), `m${at}`))));
    const received = new Set<string>();
    for (let message = 0; message < all.length; message++)
      received.add((await juliet.receives(`<message type='chat'/>`)).attrs.id!);
    assert.equal(received.size, all.length, 'each once');
    assert.ok((await hits(scene, 'rate_account.bytes_per_second')) > 0);
    for (const owner of ['tybalt@localhost', 'juliet@localhost'])
      while ((await server.storage.log('archive').size(owner)) > 450_000)
        await new Promise((resolve) => setImmediate(resolve));
    assert.ok((await hits(scene, 'archive_bytes')) > 0);
  },
);

// --- the disk -------------------------------------------------------------------------------------------------------------

/** A storage whose appends become durable when the test releases them. */
function gated() {
  let waiting: (() => void)[] = [];
  let isOpen = true;
  const storage = around(new MemoryStorage(), async ({ operation }, run) => {
    const result = await run();
    if (operation === 'append' && !isOpen) await new Promise<void>((resolve) => waiting.push(resolve));
    return result;
  });
  return {
    storage,
    get waiting() {
      return waiting.length;
    },
    shut: () => {
      isOpen = false;
    },
    open: () => {
      isOpen = true;
      for (const resolve of waiting) resolve();
      waiting = [];
    },
  };
}

const gate = gated();

scenario(
  'large messages to many recipients delay only their sender',
  {
    storage: () => gate.storage,
    isTimed: true,
    config: {
      limits: {
        waiting_for_disk_bytes_per_account: 1_048_576,
        rate: { byte_burst: 'unlimited' },
        rate_account: { byte_burst: 'unlimited' },
      },
    },
  },
  async (scene) => {
    const { actor } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const victims = await Promise.all([0, 1, 2, 3].map((at) => actor(`victim${at}@localhost/x`, { presence: true })));
    const tybalt = await actor('tybalt@localhost/street');
    const other = await actor('tybalt@localhost/square');
    try {
      // Their first words go to the archives; now the disk is slow.
      gate.shut();
      const large = 'x'.repeat(200_000);
      const sent = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((at) => chat(victims[at % 4]!.jid, large, `l${at}`));
      await tybalt.sends(sent.join(''));
      await other.sends(sent.join(''));
      // Each is stored twice: the third is one too many.
      await victims[0]!.receives(`<message type='chat' id='l0'/>`);
      await isHit(scene, 'waiting_for_disk_bytes_per_account');
      await talk(romeo, juliet, 10);
      await romeo.syncs();
      assert.ok(gate.waiting <= 2 * 10 * 2 + 8, `${gate.waiting} writes wait`);
    } finally {
      gate.open();
    }
    // Everything arrives once, and nothing is refused.
    for (const [at, victim] of victims.entries()) {
      const expected = at === 0 ? 5 : 6;
      for (let message = 0; message < expected; message++) await victim.receives(`<message type='chat'/>`);
      await victim.receivesNothing();
    }
    for (const peer of [tybalt, other, romeo, juliet]) await peer.receivesNothing();
  },
);

// --- what clients have yet to take ----------------------------------------------------------------------------------------

scenario(
  'concurrent senders of long messages to one room wait for each other, and lose neither sessions nor messages',
  { config: { limits: { outbound_bytes: '4 MiB' } } },
  async (scene) => {
    const { actor } = scene;
    const listeners = await Promise.all(
      [0, 1, 2, 3].map((at) => actor(`listener${at}@localhost/x`, { presence: true })),
    );
    const senders = await Promise.all(
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((at) => actor(`sender${at}@localhost/x`, { presence: true })),
    );
    const [first] = listeners;
    await founds(first!, 'agora', 'listener0');
    for (const [at, peer] of [...listeners.slice(1), ...senders].entries()) await enters(peer, 'agora', `nick${at}`);
    await quiets(...listeners, ...senders);
    for (const peer of listeners) await peer.managesStream();
    const say = (id: string, text: string) =>
      `<message to='agora@${service}' type='groupchat' id='${id}'><body>${text}</body></message>`;
    // 14 times 100 KB each, of which half a megabyte may be on its way.
    await Promise.all(senders.map((peer, at) => peer.sends(say(`long${at}`, 'x'.repeat(100_000)))));
    await first!.sends(say('short', 'x'));
    for (const peer of [...listeners, ...senders]) {
      const received = new Set<string>();
      for (let message = 0; message <= senders.length; message++)
        received.add((await peer.receives(`<message type='groupchat'/>`)).attrs.id!);
      assert.equal(received.size, senders.length + 1, 'each once');
    }
    await quiets(...listeners, ...senders);
    assert.ok((await hits(scene, 'outbound_bytes.congestion')) > 0);
    assert.equal(await hits(scene, 'outbound_bytes'), 0);
  },
);

scenario(
  'a long message of a client that disconnected is delivered in its turn',
  { ...overTcp, config: { limits: { outbound_bytes: '4 MiB' } } },
  async (scene) => {
    const { actor } = scene;
    const listener = await actor('listener@localhost/x', { presence: true });
    const senders = await Promise.all([0, 1, 2, 3, 4, 5].map((at) => actor(`sender${at}@localhost/x`)));
    await listener.managesStream();
    await Promise.all(
      senders.map(async (peer, at) => {
        await peer.sends(chat(listener.jid, 'x'.repeat(200_000), `long${at}`));
        peer.halfCloses();
        await peer.drains();
      }),
    );
    const received = new Set<string>();
    for (let message = 0; message < senders.length; message++)
      received.add((await listener.receives(`<message type='chat'/>`)).attrs.id!);
    assert.equal(received.size, senders.length, 'each once');
    assert.ok((await hits(scene, 'outbound_bytes.congestion')) > 0);
  },
);
