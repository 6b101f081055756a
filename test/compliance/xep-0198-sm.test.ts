/** XEP-0198: Stream Management. Inline in SASL2: xep-0388-sasl2.test.ts. */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { defineModule, iq } from '../../src/server/module/index.js';
import { NS } from '../../src/server/stanza/ns.js';
import type { SavedSm } from '../../src/server/stream/xep-0198-record.js';
import type { Element } from '../../src/server/xml/element.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import {
  type ConnectOptions,
  hits,
  overTcp,
  type Peer,
  type ScenarioOptions,
  type Scene,
  scenario,
} from './dialogue.js';
import { Gate } from './gate.js';
import { refusal } from './phrases.js';

const r = `<r xmlns='${NS.sm}'/>`;
const a = (h: number) => `<a xmlns='${NS.sm}' h='${h}'/>`;
const ping = (id: string) => `<iq type='get' id='${id}' to='localhost'><ping xmlns='${NS.ping}'/></iq>`;
const pong = (id: string) => `<iq type='result' id='${id}'/>`;
const chat = (to: string, body: string) => `<message to='${to}' type='chat'><body>${body}</body></message>`;
const sent = (body: string) => `<message type='chat'><body>${body}</body></message>`;
const failed = (condition: string) => `<failed xmlns='${NS.sm}'><${condition} xmlns='${NS.stanzas}'/></failed>`;

/** Enables it, without acknowledging anything. Returns the id that resumes. */
async function enables(peer: Peer, attributes = "resume='true'"): Promise<string> {
  await peer.sends(`<enable xmlns='${NS.sm}' ${attributes}/>`);
  const enabled = await peer.receives(`<enabled xmlns='${NS.sm}'/>`);
  return enabled.attrs.id ?? '';
}

const resume = (previd: string, h: number) => `<resume xmlns='${NS.sm}' previd='${previd}' h='${h}'/>`;

/** Another connection asks for the session. */
async function returns(
  scene: Scene,
  address: string,
  previd: string,
  h: number,
  options: ConnectOptions = {},
): Promise<Peer> {
  const peer = await scene.known(address, options);
  await peer.sends(resume(previd, h));
  return peer;
}

/** Juliet, available and not acknowledging, gets `count` messages and as many as there are of them. */
async function gets(peer: Peer, ...bodies: string[]): Promise<void> {
  for (const body of bodies) await peer.receives(sent(body));
}

// --- §2, §3: enabling -------------------------------------------------------------------------------------------------

scenario('§2: offered after authentication', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  const romeo = await connect();
  await romeo.opens();
  assert.equal((await romeo.receivesFeatures()).getChild('sm', NS.sm), undefined);
  assert.ok((await romeo.authenticates('romeo')).getChild('sm', NS.sm));
});

scenario('§3: with and without resumption', async ({ actor }) => {
  for (const [attributes, answer] of [
    ['', ''],
    [`resume='false'`, ''],
    [`resume='0' max='60'`, ''],
    [`resume='true' max='0'`, ''],
    [`resume='true'`, `id='*' resume='true' max='600'`],
    [`resume='1' max='60'`, `id='*' resume='true' max='60'`],
    [`resume='true' max='9999999999'`, `id='*' resume='true' max='86400'`],
    [`resume='true' max='long'`, `id='*' resume='true' max='600'`],
  ] as const) {
    const romeo = await actor('romeo@localhost/orchard');
    await romeo.sends(`<enable xmlns='${NS.sm}' ${attributes}/>`);
    await romeo.receives(`<enabled xmlns='${NS.sm}' ${answer}/>`, { exactly: true });
    romeo.cut();
  }
});

scenario('§3: only after binding, and only once', async ({ known }) => {
  const romeo = await known('romeo@localhost');
  await romeo.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  await romeo.receives(failed('unexpected-request'));
  await romeo.binds('orchard');
  await enables(romeo);
  await romeo.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  await romeo.receives(failed('unexpected-request'));
  await romeo.sends(r);
  await romeo.receives(a(0));
});

scenario('§3: not before authentication, which continues', async ({ connect, stage }) => {
  await stage.account('romeo@localhost');
  for (const transport of ['tcp', 'websocket'] as const) {
    const romeo = await connect({ transport });
    await romeo.opens();
    await romeo.receivesFeatures();
    const early = [`<enable xmlns='${NS.sm}' resume='true'/>`, resume('x', 0), r, a(0)];
    for (const xml of [...early, ...early]) {
      await romeo.sends(xml);
      await romeo.receives(failed('unexpected-request'));
    }
    await romeo.authenticates('romeo');
    for (const xml of early.filter((xml) => !xml.startsWith('<resume'))) {
      await romeo.sends(xml);
      await romeo.receives(failed('unexpected-request'));
    }
    await romeo.binds('orchard');
    await enables(romeo);
    romeo.cut();
  }
});

scenario(
  '§3: repeating it before authentication is throttled like other requests',
  { config: { limits: { rate_unauthenticated: { stanza_burst: 20, stanzas_per_second: 1 } } } },
  async (scene) => {
    const peer = await scene.connect();
    await peer.opens();
    await peer.receivesFeatures();
    const before = await hits(scene, 'rate');
    await peer.sends(r.repeat(21));
    for (let n = 0; n < 21; n++) await peer.receives(failed('unexpected-request'));
    assert.equal(await hits(scene, 'rate'), before + 1);
  },
);

scenario('§6: elements at a wrong time are refused', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  for (const xml of [r, a(0), resume('x', 0)]) {
    await romeo.sends(xml);
    await romeo.receives(failed('unexpected-request'));
  }
  await enables(romeo);
  await romeo.sends(resume('x', 0));
  await romeo.receives(failed('unexpected-request'));
  await romeo.sends(`<whatever xmlns='${NS.sm}'/>`);
  await romeo.receivesStreamError('unsupported-stanza-type');
});

// --- §4: acks -----------------------------------------------------------------------------------------------------------

for (const transport of ['tcp', 'websocket'] as const) {
  scenario(`§4: only stanzas are counted (${transport})`, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard', { transport });
    // Stanzas after <enable/> count, whether or not the answer has arrived.
    await romeo.sends(`<enable xmlns='${NS.sm}'/>`);
    await romeo.sends(ping('1'));
    await romeo.receives(`<enabled xmlns='${NS.sm}'/>`);
    await romeo.receives(pong('1'));
    await romeo.receives(r);
    await romeo.sends(a(1));
    const steps: readonly (readonly [string, number])[] = [
      ['', 1],
      [`<message to='localhost' type='headline'/>`, 2],
      [`<message to='@' type='error'/>`, 3],
      [`<iq type='result' id='7'/>`, 4],
      [`<presence to='juliet@localhost'/>`, 5],
      [a(1), 5],
      [`<inactive xmlns='${NS.csi}'/>`, 5],
      ['', 5],
    ];
    for (const [xml, h] of steps) {
      if (xml !== '') await romeo.sends(xml);
      await romeo.sends(r);
      await romeo.receives(a(h), { exactly: true });
    }
  });
}

scenario('§4: the server requests acknowledgements', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await enables(juliet);
  await romeo.sends(chat('juliet@localhost', '1'));
  await juliet.receives(sent('1'));
  await juliet.receives(r);
  await romeo.sends(chat('juliet@localhost', '2'));
  await juliet.receives(sent('2'));
  await juliet.sends(a(1));
  await juliet.receives(r);
  await juliet.sends(a(2));
  // The client may tell without being asked.
  await juliet.sends(a(2));
  await juliet.sends(ping('1'));
  await juliet.receives(pong('1'));
});

for (const h of ['2', '4294967295']) {
  scenario(`§6: ${h} of one stanza is too high`, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    await enables(romeo);
    await romeo.sends(ping('1'));
    await romeo.receives(pong('1'));
    await romeo.receives(r);
    await romeo.sends(`<a xmlns='${NS.sm}' h='${h}'/>`);
    const error = await romeo.receivesStreamError('undefined-condition');
    const about = error.getChild('handled-count-too-high', NS.sm);
    assert.deepEqual([about?.attrs.h, about?.attrs['send-count']], [h, '1']);
  });
}

scenario('§4: a count cannot decrease', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  await enables(romeo);
  await romeo.sends(ping('1'));
  await romeo.receives(pong('1'));
  await romeo.receives(r);
  await romeo.sends(a(1));
  await romeo.sends(a(0));
  await romeo.receivesStreamError('undefined-condition');
});

scenario('§4: invalid counts', async ({ actor }) => {
  for (const attributes of ['', `h=''`, `h='-1'`, `h='1.0'`, `h='4294967296'`, `h='x'`, `h=' 1'`]) {
    const romeo = await actor('romeo@localhost/orchard');
    await enables(romeo);
    await romeo.sends(`<a xmlns='${NS.sm}' ${attributes}/>`);
    await romeo.receivesStreamError('invalid-xml');
  }
});

// --- acknowledged is on disk ----------------------------------------------------------------------------------------------

/** A server whose disk can be made to wait. */
function slowly(title: string, play: (scene: Scene, gate: Gate) => Promise<void>, options: ScenarioOptions = {}): void {
  const gate = new Gate();
  scenario(title, { ...options, storage: () => gate.around(new MemoryStorage()) }, async (scene) => {
    try {
      await play(scene, gate);
    } finally {
      gate.open();
    }
  });
}

slowly(
  '§4: <r/> is answered when all earlier stanzas are on disk, and everything else meanwhile',
  async ({ actor, stage }, gate) => {
    await stage.account('juliet@localhost');
    const romeo = await actor('romeo@localhost/orchard');
    await enables(romeo);
    gate.close();
    await romeo.sends(chat('juliet@localhost', '1') + r + chat('juliet@localhost', '2') + r + ping('p'));
    await romeo.receives(pong('p'));
    await romeo.receives(r);
    await romeo.sends(a(1));
    await romeo.sends(ping('q'));
    await romeo.receives(pong('q'));
    await romeo.receives(r);
    gate.open();
    // Both questions have been answered once the last is.
    let reported = -1;
    while (reported < 2) reported = Number((await romeo.receives(`<a xmlns='${NS.sm}' h='*'/>`)).attrs.h);
    assert.ok(reported <= 4);
  },
);

slowly('§4: a request without new stanzas is answered immediately', async ({ actor, stage }, gate) => {
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard');
  await enables(romeo);
  await romeo.sends(chat('juliet@localhost', '1') + r);
  await romeo.receives(a(1));
  gate.close();
  await romeo.sends(r);
  await romeo.receives(a(1));
  await romeo.sends(`<presence to='nobody@localhost'/>${r}`);
  await romeo.receives(a(2));
});

slowly('§5: <resumed/> waits for the disk, and tells all that was handled', async (scene, gate) => {
  const { actor, stage } = scene;
  await stage.account('juliet@localhost');
  const romeo = await actor('romeo@localhost/orchard');
  const id = await enables(romeo);
  gate.close();
  await romeo.sends(chat('juliet@localhost', '1') + chat('juliet@localhost', '2') + ping('p'));
  await romeo.receives(pong('p'));
  const again = await returns(scene, 'romeo@localhost', id, 0);
  await romeo.receives(r);
  await romeo.receivesStreamError('conflict');
  assert.deepEqual(again.forgets(), []);
  gate.open();
  await again.receives(`<resumed xmlns='${NS.sm}' previd='${id}' h='3'/>`);
  await again.receives(pong('p'));
});

// --- §5: resumption -----------------------------------------------------------------------------------------------------

for (const [first, second] of [
  ['tcp', 'tcp'],
  ['tls', 'websocket'],
  ['websocket', 'starttls'],
] as const) {
  scenario(`§5: a session is resumed where it stopped (${first}, ${second})`, async (scene) => {
    const { actor } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true, transport: first });
    await juliet.sends(`<presence to='${romeo.jid}'/>`);
    await romeo.receives(`<presence from='${juliet.jid}'/>`);
    const id = await enables(juliet);
    await juliet.sends(ping('1'));
    await juliet.sends(ping('2'));
    await juliet.receives(pong('1'));
    await juliet.receives(r);
    await juliet.receives(pong('2'));
    await romeo.sends(chat('juliet@localhost', 'seen') + chat('juliet@localhost', 'unseen'));
    await gets(juliet, 'seen', 'unseen');
    juliet.cut();
    await romeo.sends(chat('juliet@localhost', 'away') + chat(juliet.jid, 'to her'));
    await romeo.receivesNothing();
    const again = await returns(scene, 'juliet@localhost', id, 3, { transport: second });
    await again.receives(`<resumed xmlns='${NS.sm}' previd='${id}' h='2'/>`, { exactly: true });
    await gets(again, 'unseen', 'away', 'to her');
    await again.receives(r);
    await again.sends(a(6));
    again.jid = juliet.jid;
    // She is bound and available, but nobody was notified.
    await romeo.sends(chat('juliet@localhost', 'back'));
    await again.receives(`<message from='${romeo.jid}' type='chat'><body>back</body></message>`);
    await again.receives(r);
    await again.sends(a(7));
    await again.sends(chat(romeo.jid, 'yes'));
    await romeo.receives(`<message from='${juliet.jid}' type='chat'><body>yes</body></message>`);
    await romeo.receivesNothing();
  });
}

scenario('§5: an open connection is closed, and its later data is discarded', async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  // At one node, so that what is sent later comes later.
  const juliet = await actor('juliet@localhost/balcony', { presence: true, node: 0 });
  const id = await enables(juliet);
  const again = await returns(scene, 'juliet@localhost', id, 0, { node: 0 });
  await juliet.sends(chat(romeo.jid, 'late'));
  const resumed = await again.receives(`<resumed xmlns='${NS.sm}' previd='${id}' h='*'/>`);
  await juliet.receivesStreamError('conflict');
  again.jid = juliet.jid;
  await again.sends(chat(romeo.jid, 'new'));
  // In a cluster a resumption waits until the node has all sessions of the account: what comes meanwhile counts.
  if (scene.stage.nodes.length > 1 && resumed.attrs.h === '1') await romeo.receives(sent('late'));
  else assert.equal(resumed.attrs.h, '0');
  await romeo.receives(sent('new'));
  await romeo.receivesNothing();
});

scenario('§5: of two concurrent resumptions the last one gets the session', async (scene) => {
  const { actor, known } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  const [one, two] = [await known('juliet@localhost'), await known('juliet@localhost')];
  await Promise.all([one.sends(resume(id, 0)), two.sends(resume(id, 0))]);
  // The other is closed after its answer, or before.
  const firsts = await Promise.all([one, two].map((peer) => peer.receivesAny()));
  assert.ok(firsts.some(({ name, attrs }) => name === 'resumed' && attrs.previd === id));
  await romeo.sends(chat('juliet@localhost', 'which?'));
  const answers = await Promise.all(
    [one, two].map((peer, at) => (firsts[at]!.name === 'error' ? firsts[at]! : peer.receivesAny())),
  );
  assert.deepEqual(answers.map(({ name }) => name).sort(), ['error', 'message']);
});

scenario('§5: two pipelined binds, and <enable/> twice', async ({ known, server }) => {
  const romeo = await known('romeo@localhost');
  const bind = (resource: string) =>
    `<iq type='set' id='${resource}'><bind xmlns='${NS.bind}'><resource>${resource}</resource></bind></iq>`;
  const enable = `<enable xmlns='${NS.sm}' resume='true'/>`;
  await romeo.sends(bind('one') + bind('two') + enable + enable);
  await romeo.receives(`<iq type='result' id='one'/>`);
  await romeo.receives(`<iq type='error' id='two'/>`);
  await romeo.receives(`<enabled xmlns='${NS.sm}' id='*'/>`);
  await romeo.receives(failed('unexpected-request'));
  await romeo.closes();
  await romeo.isClosed();
  assert.deepEqual([server.sessions.size, server.hibernating], [0, 0]);
});

scenario('§5: a stream cannot resume its own session', async (scene) => {
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  await juliet.sends(resume(id, 0) + resume(id, 0) + ping('1'));
  await juliet.receives(failed('unexpected-request'));
  await juliet.receives(failed('unexpected-request'));
  await juliet.receives(pong('1'));
});

/** Completes a request when the test says so, or never. */
function slowModule(): {
  readonly modules: NonNullable<ScenarioOptions['modules']>;
  finish(): void;
  began(): Promise<void>;
} {
  let finish = () => {};
  let begin = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const began = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const slow = defineModule({
    name: 'slow',
    summary: 'Takes its time.',
    implements: {},
    start: () => [
      iq.set('account', 'urn:example:slow', 'query', () => {
        begin();
        return finished;
      }),
    ],
  });
  return { modules: [slow], finish, began: () => began };
}
const slowRequest = `<iq type='set' id='slow'><query xmlns='urn:example:slow'/></iq>`;

{
  const slow = slowModule();
  scenario('§5: a stanza being handled on the old connection counts once it is done', slow, async (scene) => {
    const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
    const id = await enables(juliet);
    await juliet.sends(slowRequest + ping('not taken'));
    await slow.began();
    const [one, two] = [await scene.known('juliet@localhost'), await scene.known('juliet@localhost')];
    await one.sends(resume(id, 0));
    await juliet.receivesStreamError('conflict');
    await two.sends(resume(id, 0));
    // Both wait. The later has asked before the handler ends.
    await scene.actor('juliet@localhost/garden').then((peer) => peer.syncs());
    slow.finish();
    await one.receivesStreamError('conflict');
    await two.receives(`<resumed xmlns='${NS.sm}' previd='${id}' h='1'/>`);
    await two.receives(`<iq type='result' id='slow'/>`);
  });
}

scenario(
  '§5: a session whose handler never completes is given up, and another one is bound',
  { ...slowModule(), ...overTcp, config: { limits: { login_deadline_seconds: 2 } } },
  async (scene) => {
    const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
    const id = await enables(juliet);
    await juliet.sends(ping('1') + slowRequest);
    await juliet.receives(pong('1'));
    juliet.cut();
    const again = await returns(scene, 'juliet@localhost', id, 0);
    // §5: the count that is certain comes along.
    await again.receives(`<failed xmlns='${NS.sm}' h='1'><item-not-found xmlns='${NS.stanzas}'/></failed>`);
    await again.binds('balcony');
    assert.deepEqual([scene.server.sessions.size, scene.server.hibernating], [1, 0]);
  },
);

scenario('§5: an unknown session is not found; a resource can be bound instead', async ({ known }) => {
  const romeo = await known('romeo@localhost');
  for (const previd of ['nope', '', '__proto__']) {
    await romeo.sends(resume(previd, 0));
    await romeo.receives(failed('item-not-found'), { exactly: true });
  }
  await romeo.binds('orchard');
  await romeo.receivesNothing();
});

scenario("§5, §10: another account's session is not found either", async (scene) => {
  const { actor } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  const tybalt = await returns(scene, 'tybalt@localhost', id, 0);
  await tybalt.receives(failed('item-not-found'), { exactly: true });
  // Also when she is offline, and when her session has ended.
  juliet.cut();
  await tybalt.sends(resume(id, 0));
  await tybalt.receives(failed('item-not-found'), { exactly: true });
  const again = await returns(scene, 'juliet@localhost', id, 0);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  await again.closes();
  await again.isClosed();
  await tybalt.sends(resume(id, 0));
  await tybalt.receives(failed('item-not-found'), { exactly: true });
});

scenario('§6: a count that is too high while resuming', async (scene) => {
  const { actor } = scene;
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  juliet.cut();
  const wrong = await returns(scene, 'juliet@localhost', id, 1);
  const error = await wrong.receivesStreamError('undefined-condition');
  assert.equal(error.getChild('handled-count-too-high', NS.sm)?.attrs['send-count'], '0');
  const again = await returns(scene, 'juliet@localhost', id, 0);
  await again.receives(`<resumed xmlns='${NS.sm}' h='0'/>`);
});

scenario('§5: a resumption without a count is refused', async (scene) => {
  const { actor, known } = scene;
  const juliet = await actor('juliet@localhost/balcony');
  const id = await enables(juliet);
  const wrong = await known('juliet@localhost');
  await wrong.sends(`<resume xmlns='${NS.sm}' previd='${id}'/>`);
  await wrong.receivesStreamError('invalid-xml');
});

scenario('§7: a closed stream ends its session, and the final count is sent', async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<presence to='${romeo.jid}'/>`);
  await romeo.receives(`<presence from='${juliet.jid}'/>`);
  const id = await enables(juliet);
  await juliet.sends(ping('1'));
  await juliet.receives(pong('1'));
  await juliet.receives(r);
  await juliet.closes();
  await juliet.isClosed();
  await romeo.receives(`<presence from='${juliet.jid}' type='unavailable'/>`);
  const again = await returns(scene, 'juliet@localhost', id, 0);
  await again.receives(`<failed xmlns='${NS.sm}' h='1'><item-not-found xmlns='${NS.stanzas}'/></failed>`);
});

scenario('§5: new stanzas do not overtake resent ones', async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  juliet.cut();
  const all = Array.from({ length: 200 }, (_, at) => String(at));
  for (const body of all.slice(0, 100)) await romeo.sends(chat('juliet@localhost', body));
  await romeo.syncs();
  const [again] = await Promise.all([
    returns(scene, 'juliet@localhost', id, 0),
    (async () => {
      for (const body of all.slice(100)) await romeo.sends(chat('juliet@localhost', body));
    })(),
  ]);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  const arrived: string[] = [];
  while (arrived.length < all.length) {
    const element = await again.receivesAny();
    if (element.name === 'message') arrived.push(element.getChildText('body')!);
  }
  assert.deepEqual(arrived, all);
});

scenario('§5: repeated resumptions neither lose nor duplicate stanzas', async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  let juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  const arrived: string[] = [];
  for (let round = 0; round < 5; round++) {
    await romeo.sends(chat('juliet@localhost', `${round} live`));
    const element = await juliet.receivesAny();
    arrived.push(element.getChildText('body')!);
    juliet.cut();
    await romeo.sends(chat('juliet@localhost', `${round} away`));
    await romeo.syncs();
    juliet = await returns(scene, 'juliet@localhost', id, arrived.length);
    await juliet.receives(`<resumed xmlns='${NS.sm}'/>`);
    arrived.push((await juliet.receivesAny()).getChildText('body')!);
    await juliet.receives(r);
    await juliet.sends(a(arrived.length));
  }
  assert.deepEqual(arrived, Array.from({ length: 5 }, (_, round) => [`${round} live`, `${round} away`]).flat());
});

// --- unacknowledged stanzas -------------------------------------------------------------------------------------------------

for (const [title, attributes, end] of [
  ['a lost connection', '', async (peer: Peer) => peer.cut()],
  ['a closed stream', `resume='true'`, async (peer: Peer) => peer.closes()],
] as const) {
  scenario(`§4: ${title} loses no unacknowledged message`, overTcp, async ({ actor }) => {
    const romeo = await actor('romeo@localhost/orchard');
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    await enables(juliet, attributes);
    await romeo.sends(chat('juliet@localhost', '1') + chat('juliet@localhost', '2') + chat('juliet@localhost', '3'));
    await juliet.receives(sent('1'));
    await juliet.receives(r);
    await gets(juliet, '2', '3');
    await juliet.sends(a(1));
    await juliet.receives(r);
    await end(juliet);
    await romeo.receivesNothing();
    const again = await actor('juliet@localhost/garden');
    await again.sends('<presence/>');
    await again.receives(`<presence from='${again.jid}'/>`);
    await gets(again, '2', '3');
    await again.receivesNothing();
  });
}

scenario('§4: an unacknowledged request is answered with an error', async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await enables(juliet, '');
  await romeo.sends(`<iq type='get' id='1' to='${juliet.jid}'><query xmlns='nope'/></iq>`);
  await juliet.receives(`<iq type='get' id='1'/>`);
  juliet.cut();
  await romeo.receives(`<iq type='error' id='1' from='${juliet.jid}'>${refusal('cancel', 'service-unavailable')}</iq>`);
});

// --- bounds -----------------------------------------------------------------------------------------------------------------

const few = {
  config: { stream_management: { queue_stanzas: 10, hibernated_per_account: 2 }, limits: { stalled_seconds: 1 } },
};

const fewAtOnce = { ...few, stays: 'about messages that come in one turn' };
scenario('a client that does not acknowledge is disconnected, and its session hibernates', fewAtOnce, async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  const all = Array.from({ length: 15 }, (_, at) => String(at));
  await romeo.sends(all.map((body) => chat('juliet@localhost', body)).join(''));
  const first = await juliet.drains();
  assert.equal(first.filter(({ name }) => name === 'message').length, 15);
  await romeo.sends(chat('juliet@localhost', 'and more'));
  await romeo.syncs();
  const again = await returns(scene, 'juliet@localhost', id, 5);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  await gets(again, ...all.slice(5), 'and more');
});

scenario('a session that cannot be resumed ends, and nothing is lost', few, async ({ actor }) => {
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<enable xmlns='${NS.sm}'/>`);
  await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
  const all = Array.from({ length: 15 }, (_, at) => String(at));
  await romeo.sends(all.map((body) => chat('juliet@localhost', body)).join(''));
  for (;;) {
    const element = await juliet.receivesAny();
    if (element.name === 'error') break;
  }
  const again = await actor('juliet@localhost/garden');
  await again.sends('<presence/>');
  await again.receives(`<presence from='${again.jid}'/>`);
  await gets(again, ...all);
});

/** Juliet, available, loses her connection and hibernates. The id resumes her session. */
async function hibernates(scene: Scene, first = ''): Promise<string> {
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  await juliet.sends(first);
  await juliet.syncs();
  juliet.cut();
  while (scene.server.sessions.of('juliet@localhost')[0]!.connection !== undefined)
    await new Promise((resolve) => setImmediate(resolve));
  return id;
}

/** Messages that a client gets until the last of these, which it acknowledges as it is asked. */
async function takesUntil(peer: Peer, last: string, before = 0): Promise<string[]> {
  const bodies: string[] = [];
  for (let count = before; bodies.at(-1) !== last; ) {
    const element = await peer.receivesAny();
    if (element.name === 'r') await peer.sends(a(count));
    if (element.getNS() !== NS.client) continue;
    count++;
    if (element.name === 'message') bodies.push(element.getChildText('body') ?? '');
  }
  return bodies;
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, at) => String(at));
const says = (bodies: readonly string[], to = 'juliet@localhost') => bodies.map((body) => chat(to, body)).join('');
const archives = [
  ['archived', ''],
  ['not archived', `<iq type='set' id='never'><prefs xmlns='${NS.mam}' default='never'><always/><never/></prefs></iq>`],
] as const;

for (const [title, prefs] of archives) {
  scenario(`a session that hibernates with a full queue is like an offline user (${title})`, few, async (scene) => {
    const romeo = await scene.actor('romeo@localhost/orchard');
    const before = prefs === '' ? 1 : 2;
    const id = await hibernates(scene, prefs);
    const all = numbered(60);
    await romeo.sends(says(all.slice(0, 40)));
    // To the very session it is no different.
    await romeo.sends(says(all.slice(40), 'juliet@localhost/balcony'));
    await romeo.syncs();
    const again = await returns(scene, 'juliet@localhost', id, before);
    await again.receives(`<resumed xmlns='${NS.sm}'/>`);
    // Later messages follow.
    await romeo.sends(says(['live']));
    assert.deepEqual(await takesUntil(again, 'live', before), [...all, 'live']);
    await again.sends(`<r xmlns='${NS.sm}'/>`);
    await again.closes();
    const later = await scene.actor('juliet@localhost/garden', { presence: true });
    await later.receivesNothing();
  });

  scenario(`stanzas queued for a session go to its replacement, in order (${title})`, few, async (scene) => {
    const romeo = await scene.actor('romeo@localhost/orchard');
    await hibernates(scene, prefs);
    const all = numbered(60);
    await romeo.sends(says(all));
    await romeo.syncs();
    const again = await scene.actor('juliet@localhost/balcony');
    await again.sends('<presence/>');
    await again.receives(`<presence from='${again.jid}'/>`);
    await gets(again, ...all);
    await again.receivesNothing();
  });

  scenario(`another client gets what the hibernating session does (${title})`, few, async (scene) => {
    const romeo = await scene.actor('romeo@localhost/orchard');
    const id = await hibernates(scene, prefs);
    const all = numbered(60);
    await romeo.sends(says(all));
    await romeo.syncs();
    const other = await scene.actor('juliet@localhost/garden');
    await other.sends('<presence/>');
    const bodies: string[] = [];
    // Each message once: the hibernating session ends when its queue is full, and its queue comes last.
    while (bodies.length < all.length) {
      const element = await other.receivesAny();
      if (element.name === 'message') bodies.push(element.getChildText('body')!);
    }
    assert.deepEqual(new Set(bodies), new Set(all));
    await other.receivesNothing();
    const again = await returns(scene, 'juliet@localhost', id, 1);
    await again.receives(failed('item-not-found'));
  });
}

scenario('a hibernating session keeps the last presence of each address', few, async (scene) => {
  const romeo = await scene.actor('romeo@localhost/orchard', { presence: true });
  const id = await hibernates(scene);
  const juliet = 'juliet@localhost/balcony';
  for (let at = 0; at < 100; at++) {
    await romeo.sends(`<presence to='${juliet}'><status>${at}</status></presence>`);
    if (at === 50) await romeo.sends(chat('juliet@localhost', 'said'));
  }
  await romeo.syncs();
  const again = await returns(scene, 'juliet@localhost', id, 1);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  const arrived: Element[] = [];
  while (arrived.at(-1)?.getChildText('status') !== '99') {
    const element = await again.receivesAny();
    // She acknowledged one of her pings.
    if (element.getNS() === NS.client && element.name !== 'iq') arrived.push(element);
  }
  assert.deepEqual(
    arrived.map((element) => element.getChildText('status') ?? element.getChildText('body')),
    ['50', 'said', '99'],
  );
});

scenario(
  'a session with a full queue of stanzas that cannot be stored ends, and its messages are stored',
  few,
  async (scene) => {
    const romeo = await scene.actor('romeo@localhost/orchard');
    const id = await hibernates(scene);
    const all = numbered(15);
    await romeo.sends(says(all));
    const headline = (at: number) =>
      `<message to='juliet@localhost' type='headline'><subject>${at}</subject></message>`;
    for (let at = 0; at < 15; at++) await romeo.sends(headline(at));
    await romeo.syncs();
    const again = await returns(scene, 'juliet@localhost', id, 1);
    await again.receives(failed('item-not-found'));
    await again.binds('garden');
    await again.sends('<presence/>');
    await again.receives(`<presence from='${again.jid}'/>`);
    await gets(again, ...all);
    await again.receivesNothing();
  },
);

scenario('messages stored for a hibernating session survive a restart', { ...few, alone: true }, async (scene) => {
  const romeo = await scene.actor('romeo@localhost/orchard');
  const id = await hibernates(scene);
  const all = numbered(40);
  await romeo.sends(says(all));
  await romeo.syncs();
  await scene.stage.restart();
  const again = await scene.actor('romeo@localhost/orchard');
  await again.sends(says(['more']));
  await again.syncs();
  const back = await returns(scene, 'juliet@localhost', id, 1);
  await back.receives(`<resumed xmlns='${NS.sm}'/>`);
  assert.deepEqual(await takesUntil(back, 'more', 1), [...all, 'more']);
});

scenario('hibernating sessions per account are limited', { ...few, ...overTcp }, async (scene) => {
  const { actor, server, stage } = scene;
  const ids: string[] = [];
  for (const resource of ['1', '2', '3']) {
    const juliet = await actor(`juliet@localhost/${resource}`);
    ids.push(await enables(juliet));
    await stage.nodesAtRest();
    const gone = server.connections.tcp!;
    juliet.cut();
    while (server.connections.tcp === gone) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(server.hibernating, 2);
  const first = await returns(scene, 'juliet@localhost', ids[0]!, 0);
  await first.receives(failed('item-not-found'));
  const last = await returns(scene, 'juliet@localhost', ids[2]!, 0);
  await last.receives(`<resumed xmlns='${NS.sm}'/>`);
});

scenario('§5: a hibernating session ends when its resource is bound again', async (scene) => {
  const { actor } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  juliet.cut();
  await romeo.sends(chat('juliet@localhost', 'away'));
  await romeo.syncs();
  const again = await actor('juliet@localhost/balcony');
  await again.sends('<presence/>');
  await again.receives(`<presence from='${again.jid}'/>`);
  await again.receives(sent('away'));
  const late = await returns(scene, 'juliet@localhost', id, 0);
  await late.receives(failed('item-not-found'));
});

// --- restarts -----------------------------------------------------------------------------------------------------------------

scenario(
  'a session is resumed after a restart of the server',
  { ...overTcp, alone: true, stays: 'about a restart' },
  async (scene) => {
    const { actor, stage } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const juliet = await actor('juliet@localhost/balcony', { presence: true });
    const id = await enables(juliet);
    await juliet.sends(ping('1'));
    await juliet.receives(pong('1'));
    await juliet.receives(r);
    await juliet.sends(a(1));
    await romeo.sends(chat('juliet@localhost', '1') + chat('juliet@localhost', '2'));
    await juliet.receives(sent('1'));
    await juliet.receives(r);
    await juliet.receives(sent('2'));
    await Promise.all([stage.restart(), juliet.receivesStreamError('system-shutdown')]);
    // She stays available.
    const again = await actor('romeo@localhost/orchard', { presence: true });
    await again.sends(chat('juliet@localhost', '3'));
    await again.receivesNothing();
    const back = await returns(scene, 'juliet@localhost', id, 2);
    await back.receives(`<resumed xmlns='${NS.sm}' previd='${id}' h='1'/>`);
    await gets(back, '2', '3');
    await back.receives(r);
    await back.sends(a(4));
    back.jid = juliet.jid;
    await back.sends(chat(again.jid, 'here'));
    await again.receives(`<message from='${juliet.jid}' type='chat'><body>here</body></message>`);
    await back.sends(ping('9'));
    await back.receives(pong('9'));
  },
);

scenario('§4: counts wrap after 2^32 - 1', { alone: true }, async (scene) => {
  const { actor, stage } = scene;
  const romeo = await actor('romeo@localhost/orchard');
  const juliet = await actor('juliet@localhost/balcony', { presence: true });
  const id = await enables(juliet);
  juliet.cut();
  await romeo.syncs();
  const high = 2 ** 32 - 2;
  await stage.restart(async (storage) => {
    const store = storage.document<SavedSm>('stream_management');
    const saved = await store.get(id);
    await store.set(id, { ...saved!, received: high, acknowledged: high });
  });
  const back = await returns(scene, 'juliet@localhost', id, high);
  await back.receives(`<resumed xmlns='${NS.sm}' h='${high}'/>`);
  for (const [at, h] of [high + 1, 0, 1].entries()) {
    await back.sends(ping(`p${at}`) + r);
    await back.receives(pong(`p${at}`));
    await back.receives(r);
    await back.receives(a(h));
    await back.sends(a(h));
  }
  await back.sends(ping('x') + ping('y'));
  await back.receives(pong('x'));
  await back.receives(r);
  await back.receives(pong('y'));
  back.cut();
  const third = await returns(scene, 'juliet@localhost', id, 2);
  await third.receives(`<resumed xmlns='${NS.sm}' h='3'/>`);
  await third.receives(pong('y'));
});

// --- after a session has ended -----------------------------------------------------------------------------------------

/** The second client of Juliet, who gets copies (XEP-0280). */
async function copied(scene: Scene): Promise<Peer> {
  const chamber = await scene.actor('juliet@localhost/chamber', { presence: true });
  await chamber.sends(`<iq type='set' id='c'><enable xmlns='${NS.carbons}'/></iq>`);
  await chamber.receives(`<iq type='result' id='c'/>`);
  return chamber;
}
const copy = (body: string) =>
  `<message type='chat'><received xmlns='${NS.carbons}'><forwarded xmlns='${NS.forward}'><message xmlns='${NS.client}'><body>${body}</body></message></forwarded></received></message>`;

for (const sender of ['without stream management', 'with it'])
  scenario(`a message that another client got as a copy is not delivered again (sender ${sender})`, async (scene) => {
    const romeo = await scene.actor('romeo@localhost/orchard');
    if (sender === 'with it') await romeo.managesStream();
    const balcony = await scene.actor('juliet@localhost/balcony', { presence: true });
    await enables(balcony);
    const chamber = await copied(scene);
    chamber.forgets();
    balcony.cut();
    while (scene.server.hibernating === 0) await romeo.syncs();
    await romeo.sends(chat(balcony.jid, 'once'));
    await chamber.receives(copy('once'));
    scene.server.kick(scene.server.sessions.find(Jid.parse(balcony.jid))!);
    await chamber.receives(`<presence from='${balcony.jid}' type='unavailable'/>`);
    await chamber.receivesNothing();
    const again = await scene.actor('juliet@localhost/garden');
    await again.sends('<presence/>');
    await again.receivesAnyOrder([`<presence from='${again.jid}'/>`, `<presence from='${chamber.jid}'/>`]);
    await again.receivesNothing();
  });

scenario('nor is an unacknowledged copy delivered to the next client', async (scene) => {
  const romeo = await scene.actor('romeo@localhost/orchard');
  await romeo.managesStream();
  const balcony = await scene.actor('juliet@localhost/balcony', { presence: true });
  await enables(balcony);
  const chamber = await copied(scene);
  await enables(chamber);
  for (const peer of [balcony, chamber]) peer.cut();
  while (scene.server.hibernating < 2) await romeo.syncs();
  await romeo.sends(chat(balcony.jid, 'nobody had it'));
  await romeo.syncs();
  for (const peer of [balcony, chamber]) scene.server.kick(scene.server.sessions.find(Jid.parse(peer.jid))!);
  const again = await scene.actor('juliet@localhost/garden');
  await again.sends('<presence/>');
  await again.receives(`<presence from='${again.jid}'/>`);
  await again.receives(sent('nobody had it'));
  await again.receivesNothing();
});
