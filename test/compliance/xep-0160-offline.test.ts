/** XEP-0160: messages stored for offline users, and their delivery. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NS } from '../../src/server/stanza/ns.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { around } from '../../src/storage/wrappers.js';
import { overTcp, type Peer, Stage, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const delay = `<delay xmlns='${NS.delay}' from='localhost' stamp='*'/>`;
const stored = (id: string, content = '') =>
  `<message id='${id}' type='chat' from='romeo@localhost/orchard' to='juliet@localhost'>${content}${delay}</message>`;

const message = (id: string, content = '') =>
  `<message id='${id}' type='chat' to='juliet@localhost'><body>${id}</body>${content}</message>`;

async function says(peer: Peer, ...ids: string[]): Promise<void> {
  for (const id of ids) await peer.sends(message(id));
  await peer.syncs();
}

/** For messages that are not archived. */
const noPermanentStore = `<no-permanent-store xmlns='${NS.hints}'/>`;

/** Becomes available, and ignores her own presence. */
async function comes(peer: Peer, priority = 0): Promise<void> {
  await peer.sends(`<presence><priority>${priority}</priority></presence>`);
  await peer.receives(`<presence from='${peer.jid}'/>`);
}

scenario('§2: stored messages are delivered once, in order, with their time', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const before = Date.now();
  const ids = Array.from({ length: 120 }, (_, n) => `m${n}`);
  await says(romeo, ...ids);
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await juliet.receivesNothing();
  await comes(juliet);
  for (const id of ids) {
    const message = await juliet.receives(stored(id, `<body>${id}</body>`));
    const stamps = message.getChildren('delay', NS.delay).map(({ attrs }) => attrs.stamp!);
    assert.equal(stamps.length, 1);
    assert.match(stamps[0]!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/); // XEP-0203 §4: UTC
    const at = Date.parse(stamps[0]!);
    // Stamps of one owner rise by a millisecond at least, so they may be ahead of the clock by some.
    assert.ok(at >= before - 1000 && at <= Date.now() + 1000);
  }
  await juliet.receivesNothing();
  // Neither again, nor to another
  await juliet.sends('<presence><show>away</show></presence>');
  await juliet.receives(`<presence from='juliet@localhost/balcony'/>`);
  await juliet.receivesNothing();
  const chamber = await actor('juliet@localhost/chamber', { presence: true });
  await chamber.receivesNothing();
  await juliet.syncs();
  juliet.forgets();
  // Later messages have no delay
  await says(romeo, 'now');
  const message = await juliet.receives(`<message id='now' type='chat'/>`);
  assert.equal(message.getChild('delay', NS.delay), undefined);
});

const contents: readonly (readonly [what: string, attributes: string, content: string, isKept: boolean])[] = [
  ['no type', '', '<body>x</body>', true],
  ['normal', `type='normal'`, '<body>x</body>', true],
  ['chat', `type='chat'`, '<body>x</body>', true],
  ['subject', `type='normal'`, '<subject>x</subject>', true],
  ['headline', `type='headline'`, '<body>x</body>', false],
  ['error', `type='error'`, `<body>x</body>${refusal('cancel', 'gone')}`, false],
  ['chat state alone', `type='chat'`, `<composing xmlns='${NS.chatStates}'/>`, false],
  ['chat state and thread', `type='chat'`, `<thread>t</thread><paused xmlns='${NS.chatStates}'/>`, false],
  ['chat state and body', `type='chat'`, `<active xmlns='${NS.chatStates}'/><body>x</body>`, true],
  ['receipt', `type='chat'`, `<received xmlns='${NS.receipts}' id='1'/>`, true],
  ['nothing', `type='chat'`, '', false],
];
scenario('§3: which messages are stored, by type and content', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const [what, attributes, content] of contents)
    await romeo.sends(`<message id='${what}' ${attributes} to='juliet@localhost'>${content}</message>`);
  await romeo.receivesNothing();
  await romeo.sends(`<message id='room' type='groupchat' to='juliet@localhost'><body>x</body></message>`);
  await romeo.receives(`<message id='room' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  const juliet = await actor('juliet@localhost/balcony');
  await comes(juliet);
  for (const [what, attributes, content, isKept] of contents)
    if (isKept) await juliet.receives(`<message id='${what}' ${attributes}>${content}${delay}</message>`);
  await juliet.receivesNothing();
});

scenario('§2: a client gets none until its priority is not negative', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const cellar = await actor('juliet@localhost/cellar');
  await comes(cellar, -1);
  await says(romeo, '1', '2');
  await cellar.receivesNothing();
  await comes(cellar, -2);
  await cellar.receivesNothing();
  await comes(cellar, 0);
  await cellar.receives(stored('1'));
  await cellar.receives(stored('2'));
  await cellar.receivesNothing();
});

scenario(
  '§2: a message right after the initial presence is neither lost nor early',
  overTcp,
  async ({ actor, stage }) => {
    await stage.account('juliet@localhost');
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    for (let round = 0; round < 5; round++) {
      const juliet = await actor(`juliet@localhost/r${round}`);
      const ids = Array.from({ length: 70 }, (_, n) => `k${n}`);
      await says(romeo, ...ids);
      await Promise.all([juliet.sends('<presence/>'), says(romeo, 'a', 'b', 'c')]);
      await juliet.receives(`<presence/>`);
      for (const id of [...ids, 'a', 'b', 'c']) await juliet.receives(`<message id='${id}' type='chat'/>`);
      await juliet.receivesNothing();
      juliet.cut();
      await stage.settle();
    }
  },
);

scenario('§2: the first available client gets them, even if another follows at once', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await says(romeo, '1', '2', '3');
  const balcony = await actor('juliet@localhost/balcony');
  const chamber = await actor('juliet@localhost/chamber');
  await Promise.all([balcony.sends('<presence/>'), chamber.sends('<presence/>')]);
  await stage.settle();
  const ids = (peer: Peer) =>
    peer
      .forgets()
      .filter(({ name }) => name === 'message')
      .map(({ attrs }) => attrs.id);
  const got = [ids(balcony), ids(chamber)];
  assert.ok(
    got.some((some) => some.join() === '1,2,3'),
    `one of them has all: ${JSON.stringify(got)}`,
  );
  for (const some of got) assert.equal(new Set(some).size, some.length, 'and none has one twice');
});

const lasting = new MemoryStorage();
scenario('§2: stored across a restart', { storage: () => lasting }, async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await says(romeo, '1', '2');
  await stage.restart();
  const again = await actor('romeo@localhost/orchard', { presence: true });
  await says(again, '3');
  await stage.restart();
  const juliet = await actor('juliet@localhost/balcony');
  await comes(juliet);
  for (const id of ['1', '2', '3']) await juliet.receives(stored(id, `<body>${id}</body>`));
  await juliet.receivesNothing();
  await stage.restart();
  const later = await actor('juliet@localhost/balcony');
  await comes(later);
  await later.receivesNothing();
});

scenario('§2: the number is limited', { config: { limits: { offline_messages: 2 } } }, async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  await stage.account('paris@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(message('1', noPermanentStore));
  await romeo.sends(message('2'));
  await romeo.sends(message('again', noPermanentStore));
  await romeo.receivesNothing();
  await romeo.sends(message('3', noPermanentStore));
  await romeo.receives(`<message id='3' type='error' from='juliet@localhost' to='romeo@localhost/orchard'>
    <body>3</body>${refusal('cancel', 'service-unavailable')}</message>`);
  // Archived messages are limited only by the archive, and all are delivered.
  await romeo.sends(message('4'));
  await romeo.receivesNothing();
  // Another's are not counted
  await romeo.sends(`<message to='paris@localhost'><body>x</body>${noPermanentStore}</message>`);
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await comes(juliet);
  await juliet.receives(stored('1'));
  await juliet.receives(stored('2'));
  await juliet.receives(stored('again'));
  await juliet.receives(stored('4'));
  await juliet.receivesNothing();
  await juliet.sends(`<iq type='set' id='archive'><query xmlns='${NS.mam}'/></iq>`);
  for (const id of ['2', '4'])
    await juliet.receives(`<message><result xmlns='${NS.mam}'><forwarded xmlns='${NS.forward}'>
      <message xmlns='jabber:client' id='${id}' type='chat'/></forwarded></result></message>`);
  await juliet.receives(`<iq type='result' id='archive'/>`);
  juliet.cut();
  await stage.settle();
  await romeo.sends(message('5', noPermanentStore));
  await romeo.receivesNothing();
});

scenario(
  '§2: the size is limited',
  { config: { modules: { offline: { bytes: '4kB' } } } },
  async ({ actor, stage }) => {
    await stage.account('juliet@localhost');
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    await romeo.sends(message('1', `<x xmlns='urn:example'>${'x'.repeat(5000)}</x>${noPermanentStore}`));
    await romeo.receivesNothing();
    await romeo.sends(message('2', noPermanentStore));
    await romeo.receives(`<message id='2' type='error'>${refusal('cancel', 'service-unavailable')}</message>`);
  },
);

scenario('XEP-0203 §6: forged delays from the server are removed', async ({ actor, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const forged = (from: string) => `<delay xmlns='${NS.delay}' from='${from}' stamp='2002-09-10T23:08:25Z'/>`;
  const delayed = (id: string) =>
    message(id, forged('localhost') + forged(' LOCALHOST ') + forged('room@chat.example'));
  await romeo.sends(delayed('kept'));
  await romeo.syncs();
  const juliet = await actor('juliet@localhost/balcony');
  await comes(juliet);
  const first = await juliet.receives(stored('kept', forged('room@chat.example')));
  assert.equal(first.getChildren('delay', NS.delay).length, 2);
  assert.notEqual(
    first.getChildren('delay', NS.delay).find(({ attrs }) => attrs.from === 'localhost')?.attrs.stamp,
    '2002-09-10T23:08:25Z',
  );
  await romeo.sends(delayed('now'));
  const second = await juliet.receives(`<message id='now' type='chat'>${forged('room@chat.example')}</message>`);
  assert.equal(second.getChildren('delay', NS.delay).length, 1);
});

scenario('§2: a new account with an old name has none', async ({ actor, server, stage }) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await says(romeo, '1');
  await server.accounts.remove('juliet@localhost');
  const juliet = await actor('juliet@localhost/balcony');
  await comes(juliet);
  await juliet.receivesNothing();
});

scenario('§4: support is announced', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await romeo.sends(`<iq type='get' id='1' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`);
  await romeo.receives(
    `<iq type='result' id='1'><query xmlns='${NS.discoInfo}'><feature var='msgoffline'/></query></iq>`,
  );
});

scenario('archived messages are delivered in pages, however many there are', async ({ actor, stage }) => {
  const count = 1100;
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (let n = 0; n < count; n++)
    await romeo.sends(`<message to='juliet@localhost' id='${n}' type='chat'><body>${n}</body></message>`);
  await romeo.receivesNothing();
  const juliet = await actor('juliet@localhost/balcony');
  await comes(juliet);
  for (let n = 0; n < count; n++)
    await juliet.receives(`<message id='${n}' type='chat'><delay xmlns='${NS.delay}'/></message>`);
  await juliet.receivesNothing();
});

/** How many messages the server has received from clients. */
async function messagesOf({ server }: Stage): Promise<number> {
  const { text } = await server.metrics.text();
  return Number(/^waxwing_stanzas_received_total\{kind="message"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

for (const isArchived of [true, false])
  test(`messages that arrive while the store is being read have no delay (${isArchived ? 'archived' : 'not archived'})`, async () => {
    let isHolding = false;
    let go!: () => void;
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const storage = around(new MemoryStorage(), ({ name, operation }, run) => {
      if (!isHolding || name !== 'offline' || operation !== 'page') return run();
      isHolding = false;
      return gate.then(() => run());
    });
    const stage = await Stage.open({ storage: () => storage });
    try {
      await stage.account('juliet@localhost');
      const romeo = await stage.actor('romeo@localhost/orchard', { presence: true });
      const more = isArchived ? '' : noPermanentStore;
      await romeo.sends(message('early', more));
      await romeo.syncs();
      const juliet = await stage.actor('juliet@localhost/balcony');
      isHolding = true;
      await comes(juliet);
      const before = await messagesOf(stage);
      await romeo.sends(message('live', more));
      // It waits: whether others precede it is not known before the storage answers.
      while ((await messagesOf(stage)) === before) await new Promise((resolve) => setImmediate(resolve));
      go();
      await juliet.receives(stored('early'));
      const live = await juliet.receives(`<message id='live' type='chat'/>`);
      assert.equal(live.getChild('delay', NS.delay), undefined);
    } finally {
      go();
      await stage.close();
    }
  });
