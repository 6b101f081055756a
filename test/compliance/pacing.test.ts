/**
 * Output is sent as fast as the client reads (docs/decisions/0009-pacing.md): XEP-0198 §4, XEP-0045 §7.1, XEP-0313 §4,
 * RFC 6121 §4.3. No limit ends a client that reads and acknowledges.
 */
import assert from 'node:assert/strict';
import { Jid } from '../../src/server/address/jid.js';
import { serverOrigin } from '../../src/server/routing/router.js';
import { Session } from '../../src/server/routing/session.js';
import { NS } from '../../src/server/stanza/ns.js';
import { Stanza } from '../../src/server/stanza/stanza.js';
import type { Element } from '../../src/server/xml/element.js';
import { hits, overTcp, type Peer, type ScenarioOptions, type Scene, scenario as scenarioOf } from './dialogue.js';
import { unlimitedRate } from './phrases.js';
import { configures, joins, service } from './rooms.js';

const busy = {
  config: {
    limits: { rate: unlimitedRate, rate_account: unlimitedRate },
    modules: {
      muc: { presences_per_minute: 'unlimited', creations_per_hour: 'unlimited', rooms_per_user: 1000 },
      mam: { page_limit: 250 },
    },
  },
};
/** A window of ten stanzas. */
const narrow = { config: { ...busy.config, stream_management: { queue_stanzas: 20 } } };

/** A room paces clients of its own node; to those of other nodes it sends as to another server. */
const pacedRoom = { ...narrow, nodes: 1, alone: true };

/** A scenario with sessions that have no connection, and end with it. */
const extras: Session[] = [];
const scenario = (title: string, options: ScenarioOptions, play: (scene: Scene) => Promise<void>): void =>
  scenarioOf(title, options, async (scene) => {
    try {
      await play(scene);
    } finally {
      for (const session of extras.splice(0)) scene.server.sessions.remove(session);
    }
  });

type Says = (xml: string) => Promise<void>;

/** A session without a connection. */
function extra({ server }: Scene, name: string): Says {
  const session = new Session(Jid.parse(`${name}@localhost/extra`), { send: () => {} });
  server.sessions.add(session);
  extras.push(session);
  const origin = { ...serverOrigin, session };
  return async (xml) => {
    const stanza = Stanza.parse(xml.replace(/^<\w+/, `$& xmlns='${NS.client}'`)).with({ from: session.jid });
    await server.host('localhost')!.fromSession(stanza, session, origin);
  };
}

/** A room with so many occupants, named 0, 1 …; the first one owns it. */
async function crowd(scene: Scene, room: string, size: number): Promise<Says[]> {
  const owner = await scene.actor('owner@localhost/x');
  await owner.sends(joins(`${room}@${service}/owner`));
  await owner.syncs();
  await configures(owner, room, { 'muc#roomconfig_persistentroom': '1' });
  await owner.sends(`<presence to='${room}@${service}/owner' type='unavailable'/>`);
  await owner.syncs();
  owner.forgets();
  const all = Array.from({ length: size }, (_, at) => extra(scene, `${room}-${at}`));
  for (const [at, says] of all.entries()) await says(joins(`${room}@${service}/${at}`));
  return all;
}

const isSubject = ({ name, children }: Element) =>
  name === 'message' && children.some((child) => typeof child !== 'string' && child.name === 'subject');
const codes = (element: Element): string[] =>
  element
    .getChild('x', NS.mucUser)
    ?.getChildren('status', NS.mucUser)
    .map(({ attrs }) => attrs.code!) ?? [];

/** Receives until `isLast` was true so many times. */
async function gets(peer: Peer, isLast: (element: Element) => boolean, times = 1): Promise<Element[]> {
  const received: Element[] = [];
  for (let left = times; left > 0; ) {
    const element = await peer.receivesAny();
    if (element.getNS() !== NS.client) continue;
    received.push(element);
    if (isLast(element)) left--;
  }
  return received;
}

/** XEP-0045 §7.1: other occupants, the own presence, the history, the subject. */
function isInOrder(received: readonly Element[], others: number, history: number): void {
  const own = received.findIndex((element) => codes(element).includes('110'));
  assert.equal(own, others, 'all others come first');
  assert.ok(received.slice(0, own).every(({ name, attrs }) => name === 'presence' && attrs.type === undefined));
  assert.equal(new Set(received.slice(0, own).map(({ attrs }) => attrs.from)).size, others);
  const messages = received.slice(own + 1);
  assert.equal(messages.length, history + 1);
  assert.ok(isSubject(messages.at(-1)!));
}

for (const transport of ['tcp', 'tls', 'websocket'] as const)
  for (const isManaged of [true, false]) {
    const how = `${transport}, ${isManaged ? 'with' : 'without'} stream management`;
    // Layers below the transports are shared: two transports run everything, the others a part of it.
    const part = (size: number) => (isManaged === (transport === 'tcp') ? size : Math.ceil(size / 5));
    const crowded = transport === 'tls' ? 100 : part(500);

    scenario(`joining a room of ${crowded} (${how})`, { ...busy, alone: true }, async (scene) => {
      const [first] = await crowd(scene, 'agora', crowded);
      for (let at = 0; at < 5; at++)
        await first!(`<message to='agora@${service}' type='groupchat'><body>${at}</body></message>`);
      const juliet = await scene.actor('juliet@localhost/balcony', { transport, presence: true });
      if (isManaged) await juliet.managesStream();
      await juliet.sends(joins(`agora@${service}/juliet`));
      isInOrder(await gets(juliet, isSubject), crowded, 5);
    });

    // Above TLS all is as over TCP, and a room shows its back-pressure.
    if (transport === 'tls') continue;

    scenario(`archive pages, requested without waiting (${how})`, { ...busy, alone: true }, async (scene) => {
      const juliet = await scene.actor('juliet@localhost/balcony', { transport, presence: true });
      if (isManaged) await juliet.managesStream();
      const archive = scene.server.host('localhost')!.provided('archive')!;
      const owner = Jid.parse('juliet@localhost');
      for (let at = 0; at < 300; at++) {
        const body = `<body>${at} ${'x'.repeat(500)}</body>`;
        const message = `<message xmlns='${NS.client}' from='romeo@localhost' to='juliet@localhost'>${body}</message>`;
        await archive.append(owner, Stanza.parse(message), { with: Jid.parse('romeo@localhost') }).durable;
      }
      for (const [pages, max] of [
        [part(100), 50],
        [part(5), 250],
      ] as const) {
        for (let id = 0; id < pages; id++)
          void juliet.sends(
            `<iq type='set' id='page${id}'><query xmlns='${NS.mam}' queryid='${id}'>
              <set xmlns='${NS.rsm}'><max>${max}</max></set></query></iq>`,
          );
        const isFin = ({ name }: Element) => name === 'iq';
        for (let id = 0; id < pages; id++) {
          const page = await gets(juliet, isFin);
          assert.equal(page.length, max + 1);
          assert.equal(page.at(-1)!.attrs.id, `page${id}`);
          assert.equal(page.at(-1)!.attrs.type, 'result');
        }
      }
    });

    scenario(`joining many rooms at once (${how})`, { ...busy, alone: true }, async (scene) => {
      const rooms = Array.from({ length: part(50) }, (_, at) => `room${at}`);
      const sizeOf = (room: string) => (Number(room.slice(4)) < 11 ? 100 : 5);
      for (const room of rooms) await crowd(scene, room, sizeOf(room));
      const juliet = await scene.actor('juliet@localhost/balcony', { transport, presence: true });
      if (isManaged) await juliet.managesStream();
      for (const room of rooms) void juliet.sends(joins(`${room}@${service}/juliet`));
      const received = await gets(juliet, isSubject, rooms.length);
      for (const room of rooms) {
        const ofRoom = received.filter(({ attrs }) => attrs.from!.startsWith(`${room}@`));
        isInOrder(ofRoom, sizeOf(room), 0);
      }
    });

    scenario(`${part(2000)} contacts online at login (${how})`, { ...busy, alone: true }, async (scene) => {
      const roster = ({ bare }: Jid) => scene.stage.home(bare).host('localhost')!.provided('roster')!;
      const owner = Jid.parse('juliet@localhost');
      const juliet = await scene.actor('juliet@localhost/balcony', { transport });
      for (let at = 0; at < part(2000); at++) {
        const contact = Jid.parse(`contact${at}@localhost`);
        const item = { subscription: 'both', groups: [] } as const;
        await Promise.all([roster(owner).set(owner, contact, item), roster(contact).set(contact, owner, item)]);
        await extra(scene, contact.local!)('<presence/>');
      }
      if (isManaged) await juliet.managesStream();
      await juliet.sends('<presence/>');
      const from = new Set<string>();
      while (from.size < part(2000) + 1) from.add((await gets(juliet, () => true))[0]!.attrs.from!);
    });

    scenario(`while others write a lot (${how})`, { ...busy, alone: true }, async (scene) => {
      const juliet = await scene.actor('juliet@localhost/balcony', { transport, presence: true });
      if (isManaged) await juliet.managesStream();
      const peers = ['romeo', 'tybalt', 'nurse'].map((name) => extra(scene, name));
      const text = 'x'.repeat(1000);
      for (let at = 0; at < part(1000); at++)
        for (const says of peers)
          void says(`<message to='juliet@localhost' type='chat'><body>${at} ${text}</body></message>`);
      const next = new Map<string, number>();
      for (let left = 3 * part(1000); left > 0; left--) {
        const [message] = await gets(juliet, () => true);
        const from = message!.attrs.from!;
        assert.equal(Number.parseInt(message!.getChildText('body')!, 10), next.get(from) ?? 0);
        next.set(from, (next.get(from) ?? 0) + 1);
      }
    });
  }

// --- while it lasts -----------------------------------------------------------------------------------------------------------

/** Half a second passes, for all who look at the clock. */
let passed = 0;
const { now } = performance;
performance.now = () => now.call(performance) + passed;

/**
 * Enables stream management, and acknowledges everything received half a second earlier, in a batch, when the test says
 * so.
 */
async function acknowledging(
  peer: Peer,
): Promise<{ takes(): Promise<Element[]>; all(isLast: (element: Element) => boolean): Promise<Element[]> }> {
  await peer.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  await peer.receives(`<enabled xmlns='${NS.sm}'/>`);
  let count = 0;
  let isFirst = true;
  const takes = async () => {
    passed += 500;
    if (!isFirst) await peer.sends(`<a xmlns='${NS.sm}' h='${count}'/>`);
    isFirst = false;
    await peer.sends(`<r xmlns='${NS.sm}'/>`);
    const received: Element[] = [];
    for (let element = await peer.receivesAny(); element.name !== 'a'; element = await peer.receivesAny())
      if (element.getNS() === NS.client) received.push(element);
    count += received.length;
    return received;
  };
  const all = async (isLast: (element: Element) => boolean) => {
    const received: Element[] = [];
    while (!received.some(isLast)) received.push(...(await takes()));
    return received;
  };
  return { takes, all };
}

scenario('XEP-0045 §7.1: events during a join', pacedRoom, async (scene) => {
  const people = await crowd(scene, 'agora', 30);
  const room = `agora@${service}`;
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const { takes, all } = await acknowledging(juliet);
  await juliet.sends(joins(`${room}/juliet`));
  const first = await takes();
  const reported = first.map(({ attrs }) => attrs.from!);
  assert.ok(reported.length >= 5 && reported.length < 20, `the window: ${reported.length}`);
  const [one, two] = reported.map((from) => Number(from.slice(room.length + 1)));
  // Of the announced occupants, one leaves and one keeps changing. Of the others, one leaves, one is renamed, one sends
  // a message.
  await people[one!]!(`<presence to='${room}/${one}' type='unavailable'/>`);
  for (let at = 0; at < 20; at++)
    await people[two!]!(`<presence to='${room}/${two}'><status>${at}</status></presence>`);
  await people[29]!(`<presence to='${room}/29' type='unavailable'/>`);
  await people[28]!(`<presence to='${room}/renamed'/>`);
  await people[27]!(`<message to='${room}' type='groupchat'><body>live</body></message>`);
  await people[26]!(`<presence to='${room}/26'><show>away</show></presence>`);
  await scene.actor('late@localhost/x').then((late) => late.sends(joins(`${room}/late`)).then(() => late.syncs()));
  // Others are heard in between.
  const romeo = await scene.actor('romeo@localhost/x');
  await romeo.sends(`<message to='${juliet.jid}' type='chat'><body>hi</body></message>`);
  await romeo.syncs();
  const isLate = ({ attrs }: Element) => attrs.from === `${room}/late`;
  const rest = await all(isLate);
  const received = [...first, ...rest].filter(({ attrs }) => attrs.from!.startsWith(room));
  assert.ok(rest.findIndex(({ attrs }) => attrs.from === romeo.jid) < rest.findIndex(isSubject));
  const own = received.findIndex((element) => codes(element).includes('110'));
  const before = received.slice(0, own);
  const names = before.map(({ attrs }) => attrs.from!.slice(room.length + 1));
  assert.equal(new Set(names).size, names.length);
  assert.equal(names.length, 29);
  assert.ok(before.every(({ name, attrs }) => name === 'presence' && attrs.type === undefined));
  assert.ok(!names.includes('29') && names.includes('renamed') && !names.includes('28'));
  assert.equal(before[names.indexOf('26')]!.getChildText('show'), 'away');
  const subject = received.findIndex(isSubject);
  assert.ok(subject > own);
  const behind = received
    .slice(subject + 1)
    .map(({ name, attrs }) => `${name} ${attrs.type} ${attrs.from!.slice(room.length + 1)}`);
  assert.deepEqual(behind, [
    `presence unavailable ${one}`,
    `presence undefined ${two}`,
    'message groupchat 27',
    'presence undefined late',
  ]);
  assert.equal(received.at(-3)!.getChildText('status'), '19');
});

scenario('a user who leaves during a join gets the unavailable presence last', pacedRoom, async (scene) => {
  const people = await crowd(scene, 'agora', 30);
  const room = `agora@${service}`;
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const { takes, all } = await acknowledging(juliet);
  await juliet.sends(joins(`${room}/juliet`));
  const first = await takes();
  await juliet.sends(`<presence to='${room}/juliet' type='unavailable'/>`);
  await people[3]!(`<message to='${room}' type='groupchat'><body>gone</body></message>`);
  await juliet.sends(joins(`${room}/again`));
  const isOver = ({ attrs }: Element) => attrs.from === `${room}/again`;
  let isBack = false;
  const rest = await all((element) => {
    isBack ||= isOver(element);
    return isBack && isSubject(element);
  });
  const left = rest.findIndex(({ attrs }) => attrs.from === `${room}/juliet` && attrs.type === 'unavailable');
  assert.ok(left >= 0);
  assert.ok(first.length + left < 30, 'what it does not need any more is not sent');
  const entered = rest.slice(left + 1).filter(({ name }) => name === 'presence');
  assert.equal(entered.length, 31);
  assert.ok(codes(entered.at(-1)!).includes('110'));
});

scenario('XEP-0198 §4: an <r/> that was ignored while output is pending is repeated', pacedRoom, async (scene) => {
  await crowd(scene, 'agora', 30);
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  await juliet.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
  await juliet.receives(`<enabled xmlns='${NS.sm}'/>`);
  await juliet.sends(joins(`agora@${service}/juliet`));
  let count = 0;
  for (let [questions, isIn] = [0, false]; !isIn; ) {
    const element = await juliet.receivesAny();
    if (element.getNS() === NS.client) {
      count++;
      isIn = isSubject(element);
    } else if (element.name === 'r' && ++questions % 2 === 0) await juliet.sends(`<a xmlns='${NS.sm}' h='${count}'/>`);
  }
});

scenario('a resumed session continues its pending output', { ...pacedRoom, ...overTcp }, async (scene) => {
  await crowd(scene, 'agora', 30);
  const room = `agora@${service}`;
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const { id } = (await juliet.managesStream()).attrs;
  const nurse = await scene.actor('nurse@localhost/x', { presence: true });
  juliet.stopsReading();
  await juliet.sends(joins(`${room}/juliet`));
  await nurse.sends(joins(`${room}/nurse`));
  await gets(nurse, isSubject);
  juliet.cut();
  const again = await scene.known('juliet@localhost');
  await again.sends(`<resume xmlns='${NS.sm}' previd='${id}' h='0'/>`);
  await again.receives(`<resumed xmlns='${NS.sm}'/>`);
  const received: Element[] = [];
  let count = 0;
  while (!received.some(isSubject)) {
    const element = await again.receivesAny();
    if (element.getNS() === NS.client) {
      received.push(element);
      count++;
    } else if (element.name === 'r') await again.sends(`<a xmlns='${NS.sm}' h='${count}'/>`);
  }
  const own = received.findIndex((element) => codes(element).includes('110'));
  assert.ok(own >= 30);
});

scenario(
  'a client that requests more than it reads is refused, and answered eventually',
  { ...narrow, alone: true },
  async (scene) => {
    const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
    await juliet.managesStream();
    const count = 2000;
    const ids = Array.from({ length: count }, (_, at) => `${at}`);
    await juliet.sends(
      ids.map((id) => `<iq type='get' id='${id}' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`).join(''),
    );
    const answers = await gets(juliet, () => true, count);
    assert.deepEqual(new Set(answers.map(({ attrs }) => attrs.id)).size, count);
    for (const answer of answers)
      if (answer.attrs.type === 'error')
        assert.ok(answer.getChild('error')!.getChild('resource-constraint', NS.stanzas), String(answer));
  },
);

/** A client's view of a room: the occupants, and its own nickname. */
function pictured(
  received: readonly Element[],
  room: string,
): { readonly present: Set<string>; readonly own: string[] } {
  const present = new Set<string>();
  const own: string[] = [];
  for (const element of received) {
    const { name, attrs } = element;
    if (name !== 'presence' || !attrs.from!.startsWith(`${room}/`)) continue;
    const nick = attrs.from!.slice(room.length + 1);
    if (attrs.type === undefined) present.add(nick);
    else present.delete(nick);
    if (codes(element).includes('110')) own.push(`${attrs.type ?? 'available'} ${nick}`);
  }
  return { present, own };
}

const removals = [
  ['kicked', '307', `<item nick='juliet' role='none'/>`],
  ['banned', '301', `<item jid='juliet@localhost' affiliation='outcast'/>`],
] as const;
for (const [title, code, item] of removals)
  scenario(`XEP-0045 §8.2, §9.1: a user who is ${title} during the join learns it last`, pacedRoom, async (scene) => {
    const people = await crowd(scene, 'agora', 30);
    const room = `agora@${service}`;
    const boss = extra(scene, 'owner');
    await boss(joins(`${room}/boss`));
    const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
    const { takes, all } = await acknowledging(juliet);
    await juliet.sends(joins(`${room}/juliet`));
    const received = await takes();
    await boss(`<iq type='set' id='out' to='${room}'><query xmlns='${NS.mucAdmin}'>${item}</query></iq>`);
    await people[3]!(`<message to='${room}' type='groupchat'><body>gone</body></message>`);
    await people[4]!(`<presence to='${room}/4'><show>away</show></presence>`);
    received.push(...(await all(({ attrs }) => attrs.from === `${room}/juliet` && attrs.type === 'unavailable')));
    const end = received.at(-1)!;
    assert.deepEqual(codes(end).sort(), ['110', code]);
    assert.ok(received.length < 32, 'nobody hears of a room that they are not in');
    const romeo = await scene.actor('romeo@localhost/x');
    await romeo.sends(`<message to='${juliet.jid}' type='chat'><body>last</body></message>`);
    const rest = await all(({ attrs }) => attrs.from === romeo.jid);
    assert.equal(rest.length, 1);
  });

scenario('XEP-0045 §7.6: a change of the nickname during the join', pacedRoom, async (scene) => {
  const people = await crowd(scene, 'agora', 30);
  const room = `agora@${service}`;
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const { takes, all } = await acknowledging(juliet);
  await juliet.sends(joins(`${room}/juliet`));
  const received = await takes();
  await juliet.sends(`<presence to='${room}/capulet'/>`);
  received.push(...(await takes()));
  await people[5]!(`<message to='${room}' type='groupchat'><body>live</body></message>`);
  received.push(...(await all((element) => element.getChildText('body') === 'live')));
  const { present, own } = pictured(received, room);
  assert.deepEqual(own, ['available juliet', 'unavailable juliet', 'available capulet']);
  assert.equal(present.size, 31);
  assert.equal(received.filter(isSubject).length, 1);
});

scenario(
  'XEP-0045 §7.2.3: a second client takes the same nickname during the join of the first',
  pacedRoom,
  async (scene) => {
    const people = await crowd(scene, 'agora', 30);
    const room = `agora@${service}`;
    const clients = [];
    for (const resource of ['balcony', 'garden']) {
      const peer = await scene.actor(`juliet@localhost/${resource}`, { presence: true });
      clients.push({ peer, ...(await acknowledging(peer)) });
    }
    const received: Element[][] = [];
    for (const { peer, takes } of clients) {
      await peer.sends(joins(`${room}/juliet`));
      received.push(await takes());
    }
    await people[7]!(`<presence to='${room}/7' type='unavailable'/>`);
    await people[5]!(`<message to='${room}' type='groupchat'><body>live</body></message>`);
    for (const [at, { all }] of clients.entries()) {
      const mine = received[at]!;
      mine.push(...(await all((element) => element.getChildText('body') === 'live')));
      const { present, own } = pictured(mine, room);
      assert.equal(present.size, 30, `client ${at}`);
      assert.ok(!present.has('7'));
      assert.ok(own.length >= 1 && own.every((one) => one === 'available juliet'));
      const names = mine.filter(({ name }) => name === 'presence').map(({ attrs }) => attrs.from);
      const first = mine.findIndex((element) => codes(element).includes('110'));
      assert.ok(first >= 28, 'all others come first');
      assert.ok(new Set(names).size >= 30);
      assert.equal(mine.filter(isSubject).length, 1);
    }
  },
);

scenario(
  'stored messages follow the pending answers of a client',
  { ...narrow, ...overTcp, alone: true },
  async (scene) => {
    const juliet = await scene.actor('juliet@localhost/balcony');
    const romeo = await scene.actor('romeo@localhost/orchard');
    for (const text of ['one', 'two', 'three'])
      await romeo.sends(`<message to='juliet@localhost' type='chat'><body>${text}</body></message>`);
    await romeo.syncs();
    await juliet.managesStream();
    juliet.stopsReading();
    const request = `<iq type='get' id='q' to='localhost'><query xmlns='${NS.discoInfo}'/></iq>`;
    await juliet.sends(`${request.repeat(1000)}<presence/>`);
    const [session] = scene.server.sessions.of('juliet@localhost');
    while (session!.presence === undefined) await new Promise((resolve) => setImmediate(resolve));
    juliet.readsAgain();
    const received = await gets(juliet, ({ name }) => name === 'message', 3);
    const texts = received.filter(({ name }) => name === 'message').map((message) => message.getChildText('body'));
    assert.deepEqual(texts, ['one', 'two', 'three']);
  },
);

const tight = {
  config: {
    limits: {
      rate: unlimitedRate,
      rate_account: unlimitedRate,
      outbound_bytes: 1_048_576,
      write_queue_bytes: 1_048_576,
    },
  },
};

scenario(
  'one budget: the longest queues of clients that read nothing are dropped first',
  { ...tight, ...overTcp, alone: true },
  async (scene) => {
    const { actor, server } = scene;
    const romeo = await actor('romeo@localhost/orchard');
    const [short, long, reading] = await Promise.all(
      ['short', 'long', 'reading'].map((name) => actor(`${name}@localhost/x`, { presence: true })),
    );
    for (const peer of [short!, long!]) {
      await peer.sends(`<enable xmlns='${NS.sm}' resume='true'/>`);
      await peer.receives(`<enabled xmlns='${NS.sm}'/>`);
    }
    await reading!.managesStream();
    const text = 'x'.repeat(10_000);
    await romeo.sends(`<message to='${short!.jid}' type='chat'><body>${text}</body></message>`.repeat(3));
    let sent = 0;
    while (server.sessions.of('long@localhost').length > 0) {
      assert.ok(sent < 500, 'nothing stops it');
      await romeo.sends(`<message to='long@localhost' type='chat'><body>${sent++} ${text}</body></message>`);
      await romeo.sends(`<message to='reading@localhost' type='chat'><body>${sent} ${text}</body></message>`);
      await romeo.syncs();
      await reading!.syncs();
    }
    assert.ok((await hits(scene, 'outbound_bytes')) + (await hits(scene, 'stream_management.queue')) > 0);
    assert.equal(server.sessions.of('short@localhost').length, 1);
    assert.equal(server.sessions.of('reading@localhost').length, 1);
    const again = await actor('long@localhost/y');
    await again.sends('<presence/>');
    const bodies = (await gets(again, ({ name }) => name === 'message', sent)).filter(({ name }) => name === 'message');
    assert.deepEqual(
      bodies.map((message) => Number.parseInt(message.getChildText('body')!, 10)),
      Array.from({ length: sent }, (_, at) => at),
    );
    assert.match((await server.metrics.text()).text, /^waxwing_outbound_bytes \d+/m);
  },
);
