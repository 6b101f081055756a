/**
 * The stanzas of generator.ts through a whole server over its sockets: chats, carbons, rooms and their history,
 * archives, messages to offline and disconnected users, PEP, private storage, and a restart. The received stanzas equal
 * the sent ones, except for elements that the server adds, and no forged element survives. SEED, ROUNDS and BATCH in
 * the environment repeat and extend a run; a round is six batches of messages.
 */
import assert from 'node:assert/strict';
import { NS } from '../../src/server/stanza/ns.js';
import type { Element } from '../../src/server/xml/element.js';
import { escapeAttribute } from '../../src/server/xml/element.js';
import { type Peer, type Scene, scenario, type TransportName } from '../compliance/dialogue.js';
import { unlimitedRate } from '../compliance/phrases.js';
import { enters, founds, service } from '../compliance/rooms.js';
import { addText, strictTree, type Tree, treeOf } from '../strict.js';
import { Generator, pick, type Random, randomOf } from './generator.js';

const SEED = Number(process.env.SEED ?? 1);
const ROUNDS = Number(process.env.ROUNDS ?? 10);
/** Messages of one kind in one round. */
const BATCH = Number(process.env.BATCH ?? 4);
const HISTORY = 8;

const config = {
  limits: {
    rate: unlimitedRate,
    rate_account: unlimitedRate,
    rate_unauthenticated: unlimitedRate,
    connections_per_minute: 'unlimited',
  },
  modules: {
    pubsub: { changes_per_minute: 'unlimited' },
    muc: { presences_per_minute: 'unlimited' },
    mam: { keep_messages: 1000, page_limit: 250 },
  },
};

const outer = { o: 'urn:a', é: 'urn:é', アク: NS.stanzaId };
const romeo = 'romeo@localhost';
const juliet = 'juliet@localhost';
const mercutio = 'mercutio@localhost';
const room = `text@${service}`;
const claimed = [
  romeo,
  juliet,
  mercutio,
  room,
  'JULIET@localhost',
  ' juliet@localhost ',
  'localhost',
  'é漢@localhost/\u{1f600}',
];

const isElement = (child: Tree | string): child is Tree => typeof child !== 'string';
const elementsOf = ([, , , ...content]: Tree): Tree[] => content.filter(isElement);
const attribute = ([, , attributes]: Tree, name: string): string | undefined =>
  attributes.find(([key]) => key === `${name} `)?.[1];
const find = (tree: Tree | undefined, ns: string, name: string): Tree | undefined =>
  tree && elementsOf(tree).find((child) => child[0] === ns && child[1] === name);

/** Accounts and rooms remove forged ids; rooms also remove ids without an owner. */
const others = new Set(['localhost', 'é漢@localhost/\u{1f600}']);
const isAdded = (child: Tree): boolean =>
  (child[0] === NS.stanzaId && child[1] === 'stanza-id' && !others.has(giver(child))) ||
  (child[0] === NS.occupantId && child[1] === 'occupant-id') ||
  (child[0] === NS.delay && child[1] === 'delay');
const giver = (stanzaId: Tree): string => (attribute(stanzaId, 'by') ?? '').trim().toLowerCase();

/** Type, id, language and content, less what servers add, as text that can be compared. */
function essence([, name, , ...content]: Tree, source: Tree): string {
  const rest: Tree = [
    NS.client,
    name,
    source[2].filter(([key]) => key === 'id ' || key.startsWith('lang ') || key === 'type '),
  ];
  for (const child of content) {
    if (!isElement(child)) addText(rest, child);
    else if (!isAdded(child)) rest.push(child);
  }
  return JSON.stringify(rest);
}

/** Stanzas received by one account, with the expected ones. */
class Expected {
  readonly #sent = new Map<string, string>();

  add(tree: Tree): void {
    this.#sent.set(attribute(tree, 'id')!, essence(tree, tree));
  }

  clear(): void {
    this.#sent.clear();
  }

  /** Returns its id. `by`: whose ids are the server's own here. */
  check(tree: Tree, by: string): string {
    const id = attribute(tree, 'id') ?? '';
    const wanted = this.#sent.get(id);
    assert.ok(wanted !== undefined, `nobody sent ${JSON.stringify(tree)}`);
    if (essence(tree, tree) !== wanted) assert.deepEqual(JSON.parse(essence(tree, tree)), JSON.parse(wanted));
    for (const child of elementsOf(tree)) {
      if (!isAdded(child) || child[0] !== NS.stanzaId) continue;
      const claims = (attribute(child, 'by') ?? '').trim().toLowerCase();
      if (claims === by)
        assert.ok(!attribute(child, 'id')?.startsWith('forged'), `a forged id passed: ${JSON.stringify(child)}`);
    }
    return id;
  }
}

/** A client whose stream header declares prefixes for its stanzas to lean on. */
async function client(scene: Scene, address: string, transport: TransportName, header = false): Promise<Peer> {
  if (!header) return scene.actor(address, { transport, presence: true });
  const [bare = '', resource] = address.split('/');
  await scene.stage.account(bare);
  const peer = await scene.connect({ transport, name: address });
  await peer.opens();
  await peer.receivesFeatures();
  await peer.proves(bare.split('@')[0]!);
  await peer.opens(Object.fromEntries(Object.entries(outer).map(([prefix, ns]) => [`xmlns:${prefix}`, ns])));
  await peer.receivesFeatures();
  await peer.binds(resource);
  await peer.sends('<presence/>');
  await peer.syncs();
  peer.forgets();
  return peer;
}

function received(peer: Peer): Tree[] {
  const trees = peer.forgets().map((element: Element) => treeOf(element));
  for (const tree of trees)
    assert.notEqual(attribute(tree, 'type'), 'error', `${peer.jid} was refused: ${JSON.stringify(tree)}`);
  return trees;
}

const wrapped = (tree: Tree): Tree | undefined => {
  const carbon = find(tree, NS.carbons, 'received') ?? find(tree, NS.carbons, 'sent') ?? find(tree, NS.mam, 'result');
  return find(find(carbon, NS.forward, 'forwarded'), NS.client, 'message');
};

class Play {
  readonly #random: Random;
  readonly #expected = new Expected();
  #ids = 0;
  /** With and without the prefixes of a stream header. */
  readonly #leaning: Generator;
  readonly #alone: Generator;

  constructor(random: Random) {
    this.#random = random;
    this.#leaning = new Generator(random, { outer, claimed });
    this.#alone = new Generator(random, { claimed });
  }

  /** A message in random chunks. The expected one is as a client reads it from its whole stream. */
  async #says(peer: Peer, to: string, type: string, isFramed: boolean): Promise<string> {
    const id = `m${++this.#ids}`;
    const generator = isFramed ? this.#alone : this.#leaning;
    const attributes = [
      `to=${generator.spelled(to)}`,
      `id=${generator.spelled(id)}`,
      `type=${generator.spelled(type)}`,
      ...(isFramed ? [`xmlns=${generator.spelled(NS.client)}`] : []),
    ];
    const body = generator.child('body', NS.client, [], `x${generator.text()}`);
    const xml = generator.stanza('message', attributes, [body]);
    // On a stream, outer declarations are part of the meaning.
    const declared = Object.entries(outer)
      .map(([prefix, ns]) => ` xmlns:${prefix}='${ns}'`)
      .join('');
    this.#expected.add(
      isFramed ? strictTree(xml) : elementsOf(strictTree(`<x xmlns='${NS.client}'${declared}>${xml}</x>`))[0]!,
    );
    peer.pieceSize =
      this.#random(3) === 0 ? 1 + this.#random(this.#random(2) === 0 ? 5 : 200) : Number.POSITIVE_INFINITY;
    await peer.sends(xml);
    peer.pieceSize = Number.POSITIVE_INFINITY;
    return id;
  }

  async run(scene: Scene, rounds: number): Promise<void> {
    const random = this.#random;
    const stream = await client(scene, `${romeo}/stream`, 'tcp', true);
    const socket = await client(scene, `${romeo}/socket`, 'websocket');
    const balcony = await client(scene, `${juliet}/balcony`, pick(['tcp', 'tls'], random));
    const chamber = await client(scene, `${juliet}/chamber`, 'websocket');
    for (const peer of [balcony, chamber]) {
      await peer.sends(`<iq type='set' id='carbons'><enable xmlns='${NS.carbons}'/></iq>`);
    }
    await scene.stage.account(mercutio);
    await founds(stream, 'text', 'romeo', { 'muc#roomconfig_persistentroom': '1', mam: '1' });
    await enters(balcony, 'text', 'juliet');
    await enters(chamber, 'text', 'nurse');
    await scene.stage.settle();
    for (const peer of [stream, socket, balcony, chamber]) peer.forgets();

    for (let round = 0; round < rounds; round++) {
      await this.#chats([stream, socket], [balcony, chamber]);
      await this.#groupchats(scene, stream, [balcony, chamber], round);
      await this.#absence(scene, [stream, socket], round);
      await this.#storage(stream, [balcony, chamber], round);
      this.#expected.clear();
    }
    await this.#restart(scene, stream, socket);
  }

  /** To one client, the other gets a carbon, and both archives have it. */
  async #chats(senders: readonly [Peer, Peer], [balcony, chamber]: readonly [Peer, Peer]): Promise<void> {
    this.#expected.clear();
    const sent: string[] = [];
    for (let count = 0; count < BATCH; count++) {
      for (const [at, sender] of senders.entries()) {
        const to = this.#random(2) === 0 ? balcony.jid : juliet;
        sent.push(await this.#says(sender, to, 'chat', at === 1));
      }
    }
    for (const peer of [...senders, balcony, chamber]) await peer.syncs();
    for (const peer of [balcony, chamber]) {
      await peer.syncs();
      const got = received(peer).map((tree) => this.#expected.check(wrapped(tree) ?? tree, juliet));
      // Two connections of one sender: each is in order of its own.
      assert.deepEqual(got.sort(), sent.toSorted(), `to ${peer.jid}`);
    }
    received(senders[0]);
    received(senders[1]);
    await this.#archived(senders[0], undefined, romeo, sent);
    await this.#archived(chamber, undefined, juliet, sent);
  }

  async #archived(peer: Peer, of: string | undefined, by: string, sent: readonly string[]): Promise<void> {
    const to = of === undefined ? '' : ` to='${of}'`;
    await peer.sends(
      `<iq type='set' id='page'${to}><query xmlns='${NS.mam}'><set xmlns='${NS.rsm}'><max>${sent.length}</max><before/></set></query></iq>`,
    );
    await peer.syncs();
    const got = received(peer).flatMap((tree) => {
      const message = wrapped(tree);
      return message === undefined ? [] : [this.#expected.check(message, by)];
    });
    assert.deepEqual(got.sort(), sent.toSorted(), `in the archive of ${by}`);
  }

  async #groupchats(scene: Scene, sender: Peer, others: readonly [Peer, Peer], round: number): Promise<void> {
    this.#expected.clear();
    const sent: string[] = [];
    for (const [at, peer] of [sender, others[1]].entries()) {
      for (let count = 0; count < BATCH; count++) sent.push(await this.#says(peer, room, 'groupchat', at === 1));
      await peer.syncs();
    }
    await scene.stage.settle();
    for (const peer of [sender, ...others]) {
      const got = received(peer).map((tree) => this.#expected.check(tree, room));
      assert.deepEqual(got, sent, `in the room to ${peer.jid}`);
    }
    await this.#archived(others[0], room, room, sent);
    if (round % 3 !== 0) return;
    const late = await client(scene, 'paris@localhost/tomb', pick(['tcp', 'websocket'], this.#random));
    await late.sends(
      `<presence to='${room}/paris'><x xmlns='${NS.muc}'><history maxstanzas='${HISTORY}'/></x></presence>`,
    );
    await late.syncs();
    const got = received(late).flatMap((tree) =>
      tree[1] === 'message' && find(tree, NS.client, 'body') ? [this.#expected.check(tree, room)] : [],
    );
    assert.deepEqual(got, sent.slice(-HISTORY), 'in the history of the room');
    await late.closes();
    await late.drains();
    await scene.stage.settle();
    for (const peer of [sender, ...others]) peer.forgets();
  }

  /** To a user without a session, or with a lost connection. */
  async #absence(scene: Scene, senders: readonly [Peer, Peer], round: number): Promise<void> {
    this.#expected.clear();
    const transport = pick<TransportName>(['tcp', 'websocket'], this.#random);
    const address = `${mercutio}/street${round}`;
    let previd: string | undefined;
    if (this.#random(2) === 0) {
      const before = await scene.actor(address, { transport, presence: true });
      previd = (await before.managesStream()).attrs.id!;
      before.cut();
    }
    const sent: string[] = [];
    for (const [at, sender] of senders.entries()) {
      for (let count = 0; count < BATCH; count++) sent.push(await this.#says(sender, mercutio, 'chat', at === 1));
      await sender.syncs();
    }
    let back: Peer;
    let came: Tree[];
    if (previd === undefined) {
      back = await scene.actor(address, { transport });
      await back.sends('<presence/>');
      await back.syncs();
      came = received(back);
    } else {
      back = await scene.known(address, { transport });
      await back.sends(`<resume xmlns='${NS.sm}' previd='${escapeAttribute(previd)}' h='0'/>`);
      await back.receives(`<resumed xmlns='${NS.sm}'/>`);
      back.jid = address;
      await back.syncs();
      came = received(back).filter(([ns]) => ns !== NS.sm);
      await back.sends(`<a xmlns='${NS.sm}' h='${came.length}'/>`);
    }
    const got = came.flatMap((tree) => (tree[1] === 'message' ? [this.#expected.check(tree, mercutio)] : []));
    assert.deepEqual(got, sent, previd === undefined ? 'to one who was away' : 'in a resumed session');
    await this.#archived(back, undefined, mercutio, sent);
    await back.sends('<presence type="unavailable"/>');
    await back.closes();
    await back.drains();
  }

  /** What another process reads out of the storage: a session to resume, a room and its history. */
  async #restart(scene: Scene, stream: Peer, socket: Peer): Promise<void> {
    const address = `${mercutio}/grave`;
    const before = await scene.actor(address, { presence: true });
    const previd = (await before.managesStream()).attrs.id!;
    before.cut();
    const sent: string[] = [];
    const messages: string[] = [];
    for (let count = 0; count < BATCH; count++) {
      sent.push(await this.#says(stream, mercutio, 'chat', false));
      messages.push(await this.#says(stream, room, 'groupchat', false));
    }
    await stream.syncs();
    for (let count = 0; count < BATCH; count++) sent.push(await this.#says(socket, mercutio, 'chat', true));
    await socket.syncs();
    received(stream);
    received(socket);
    await scene.stage.restart();

    const back = await scene.known(address);
    await back.sends(`<resume xmlns='${NS.sm}' previd='${escapeAttribute(previd)}' h='0'/>`);
    await back.receives(`<resumed xmlns='${NS.sm}'/>`);
    back.jid = address;
    await back.syncs();
    const got = received(back).flatMap((tree) => (tree[1] === 'message' ? [this.#expected.check(tree, mercutio)] : []));
    assert.deepEqual(got, sent, 'in a session that was resumed after a restart');
    await this.#archived(back, undefined, mercutio, sent);
    await back.sends(
      `<presence to='${room}/ghost'><x xmlns='${NS.muc}'><history maxstanzas='${messages.length}'/></x></presence>`,
    );
    await back.syncs();
    const history = received(back).flatMap((tree) =>
      tree[1] === 'message' && find(tree, NS.client, 'body') ? [this.#expected.check(tree, room)] : [],
    );
    assert.deepEqual(history, messages.slice(-history.length), 'in the history of a room that was loaded again');
    assert.ok(history.length >= Math.min(BATCH, HISTORY));
  }

  /** What accounts store, and receive. */
  async #storage(publisher: Peer, [balcony, chamber]: readonly [Peer, Peer], round: number): Promise<void> {
    const generator = this.#alone;
    const payload = generator.element();
    const [ns, name] = strictTree(payload);
    const wanted = JSON.stringify(strictTree(payload));
    const node = 'urn:test:é漢\u{1f600}';
    if (round === 0) {
      const set = (name: string, value: string) => `<field var='pubsub#${name}'><value>${value}</value></field>`;
      const form = `<x xmlns='${NS.dataForms}' type='submit'><field var='FORM_TYPE'><value>${NS.pubsub}#node_config</value></field>${set('access_model', 'open')}</x>`;
      await publisher.sends(
        `<iq type='set' id='create'><pubsub xmlns='${NS.pubsub}'><create node='${node}'/><configure>${form}</configure></pubsub></iq>`,
      );
      await publisher.syncs();
      await balcony.sends(
        `<iq type='set' id='sub' to='${romeo}'><pubsub xmlns='${NS.pubsub}'><subscribe node='${node}' jid='${balcony.jid}'/></pubsub></iq>`,
      );
      await balcony.syncs();
      for (const peer of [publisher, balcony]) received(peer);
    }
    publisher.pieceSize = 1 + this.#random(100);
    await publisher.sends(
      `<iq type='set' id='pub'><pubsub xmlns='${NS.pubsub}'><publish node=${generator.spelled(node)}><item id=${generator.spelled(`é漢${round}`)}>${payload}</item></publish></pubsub></iq>`,
    );
    await publisher.syncs();
    await balcony.syncs();
    const [event] = received(balcony);
    const items = find(find(event, `${NS.pubsub}#event`, 'event'), `${NS.pubsub}#event`, 'items');
    const item = find(items, `${NS.pubsub}#event`, 'item');
    assert.equal(item && attribute(item, 'id'), `é漢${round}`);
    assert.equal(JSON.stringify(item && elementsOf(item)[0]), wanted, 'a notification');

    await chamber.sends(
      `<iq xmlns='${NS.client}' type='get' id='items' to='${romeo}'><pubsub xmlns='${NS.pubsub}'><items node='${node}'/></pubsub></iq>`,
    );
    await chamber.syncs();
    const answer = find(received(chamber)[0], NS.pubsub, 'pubsub');
    const retained = find(find(answer, NS.pubsub, 'items'), NS.pubsub, 'item');
    assert.equal(JSON.stringify(retained && elementsOf(retained)[0]), wanted, 'an item');

    await publisher.sends(`<iq type='set' id='private'><query xmlns='${NS.private}'>${payload}</query></iq>`);
    publisher.pieceSize = Number.POSITIVE_INFINITY;
    await publisher.sends(
      `<iq type='get' id='private'><query xmlns='${NS.private}'><${name} xmlns=${generator.spelled(ns)}/></query></iq>`,
    );
    await publisher.syncs();
    const stored = find(received(publisher).at(-1), NS.private, 'query');
    assert.equal(JSON.stringify(stored && elementsOf(stored)[0]), wanted, 'private storage');
  }
}

scenario('a server forwards content unchanged', { config }, async (scene) => {
  const play = new Play(randomOf(SEED));
  try {
    await play.run(scene, ROUNDS);
  } catch (error) {
    (error as Error).message += `\nSEED=${SEED}`;
    throw error;
  }
});
