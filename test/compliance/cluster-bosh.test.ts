/**
 * BOSH in a cluster (XEP-0124): a session stays at the node that created it, and its requests may come to any node. All
 * dialogues run in this way with WAXWING_TRANSPORT=bosh WAXWING_NODES=2.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { NS } from '../../src/server/stanza/ns.js';
import { type Attributes, type Element, el, serialize } from '../../src/server/xml/element.js';
import { post, type Reply, readBody } from './bosh.js';
import { base64, password, type ScenarioOptions, type Scene, scenario } from './dialogue.js';

const config = { c2s: { allow_sasl_plain_without_tls: true } };
const two: ScenarioOptions = { nodes: 2, config };
/** For dialogues that stop a node. */
const ownTwo: ScenarioOptions = { ...two, alone: true };

const ping = (id: string): string => `<iq xmlns='${NS.client}' type='get' id='${id}'><ping xmlns='${NS.ping}'/></iq>`;
const message = (to: string, text: string): string =>
  `<message xmlns='${NS.client}' type='chat' to='${to}'><body>${text}</body></message>`;

/** The one stanza of an answer. */
function only(body: Element): Element {
  const [child, ...more] = body.getChildElements();
  assert.ok(child !== undefined && more.length === 0, serialize(body));
  return child;
}

/** A session at the first node. */
class Session {
  readonly #scene: Scene;
  rid = 1000;
  sid: string | undefined;
  jid = '';

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  text(attributes: Attributes = {}, payload = ''): string {
    const { rid = String(++this.rid), ...others } = attributes;
    const tag = serialize(el('body', { xmlns: NS.httpBind, 'xmlns:xmpp': NS.xbosh, rid, sid: this.sid, ...others }));
    return `${tag.slice(0, -2)}>${payload}</body>`;
  }

  port(at: number): number {
    const { stage } = this.#scene;
    return stage.port('http', stage.nodes[at]);
  }

  /** Sends a request to a node. */
  posts(at: number, text: string): Promise<Reply | undefined> {
    return post({ port: this.port(at) }, text);
  }

  async asks(at: number, attributes: Attributes = {}, payload = ''): Promise<Element> {
    const reply = await this.posts(at, this.text(attributes, payload));
    assert.equal(reply?.status, 200, reply?.text);
    return readBody(reply.text);
  }

  /** Logs in, with every second request to the second node. */
  async opens(account: string): Promise<this> {
    await this.#scene.stage.account(account);
    const [user] = account.split('@');
    const creation = { to: 'localhost', ver: '1.11', wait: '60', hold: '1', 'xmpp:version': '1.0' };
    this.sid = (await this.asks(0, creation)).attrs.sid;
    const login = `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>${base64(`\0${user}\0${password}`)}</auth>`;
    assert.ok(only(await this.asks(1, {}, login)).is('success', NS.sasl));
    await this.asks(0, { 'xmpp:restart': 'true', to: 'localhost' });
    const bind = `<iq xmlns='${NS.client}' type='set' id='b'><bind xmlns='${NS.bind}'/></iq>`;
    this.jid = only(await this.asks(1, {}, bind))
      .getChild('bind', NS.bind)!
      .getChildText('jid', NS.bind)!;
    return this;
  }
}

/** An account that lives at a node. */
function living({ stage }: Scene, at: number): string {
  for (let n = 0; ; n++) if (stage.home(`user${n}@localhost`) === stage.nodes[at]) return `user${n}@localhost`;
}

function isTerminated(body: Element, condition: string): void {
  assert.equal(body.attrs.type, 'terminate', serialize(body));
  assert.equal(body.attrs.condition, condition, serialize(body));
}

scenario('a large body comes to the other node; one that is too long ends the session there', two, async (scene) => {
  const juliet = await scene.actor('juliet@localhost/balcony', { presence: true });
  const romeo = await new Session(scene).opens('romeo@localhost');
  const text = 'x'.repeat(200_000);
  const large = [1, 2, 3, 4].map((id) => message(juliet.jid, `${id}${text}`));
  await romeo.asks(1, {}, [...large, ping('1')].join(''));
  for (const id of [1, 2, 3, 4]) await juliet.receivesFirst(`<message type='chat'><body>${id}${text}</body></message>`);
  const { attrs } = await romeo.asks(1, {}, `<x xmlns='y'>${'x'.repeat(2 ** 20)}</x>`.repeat(3));
  assert.deepEqual([attrs.type, attrs.condition], ['terminate', 'policy-violation']);
  assert.equal((await romeo.asks(0)).attrs.condition, 'item-not-found');
});

for (const home of [0, 1])
  scenario(`§14.3: an answer is repeated by any node; the account lives at node ${home}`, two, async (scene) => {
    const session = await new Session(scene).opens(living(scene, home));
    for (let n = 0; n < 4; n++) {
      const text = session.text({}, ping(`p${n}`));
      const first = await session.posts(n % 2, text);
      assert.equal(only(readBody(first!.text)).attrs.id, `p${n}`);
      const again = await session.posts((n + 1) % 2, text);
      assert.equal(again?.text, first?.text);
      assert.equal(again?.headers['content-type'], first?.headers['content-type']);
    }
    assert.equal((await session.asks(1, { type: 'terminate' })).attrs.type, 'terminate');
  });

scenario('§14.2: a rid out of the window ends the session through any node', two, async (scene) => {
  const session = await new Session(scene).opens(living(scene, 0));
  isTerminated(await session.asks(1, { rid: '5000' }), 'item-not-found');
  isTerminated(await session.asks(0), 'item-not-found');
});

scenario('§17.2: a sid of no session, of no node, and of a node that is not there', two, async (scene) => {
  const session = await new Session(scene).opens(living(scene, 0));
  const [at, secret] = session.sid!.split('-') as [string, string];
  const other = at === '0' ? '1' : '0';
  for (const sid of [`${other}-${secret}`, secret, `1023-${secret}`, `9999-${secret}`, `-${secret}`, `${at}-`, 'x'])
    for (const node of [0, 1]) isTerminated(await session.asks(node, { sid, rid: '1' }), 'item-not-found');
  assert.equal(only(await session.asks(1, {}, ping('still'))).attrs.id, 'still');
  await session.asks(0, { type: 'terminate' });
});

scenario('§6: a body that is no XML ends the session with the same error', two, async (scene) => {
  const session = await new Session(scene).opens(living(scene, 1));
  const body = await session.asks(1, {}, '<message><body></message>');
  isTerminated(body, 'remote-stream-error');
  assert.ok(body.getChild('error', NS.stream)?.getChild('not-well-formed', NS.streams), serialize(body));
});

scenario('§14.3: what was under way through another node is not lost with its connection', two, async (scene) => {
  const session = await new Session(scene).opens(living(scene, 0));
  const sends = (text: string) => {
    const options = { port: session.port(1), host: '127.0.0.1', path: '/http-bind', method: 'POST' };
    const sent = httpRequest(options);
    sent.on('error', () => {});
    sent.end(text);
    return sent;
  };
  const first = session.text({}, ping('1'));
  const answered = sends(first);
  await once(answered, 'response');
  answered.destroy();
  const second = session.text();
  const held = sends(second);
  await once(held, 'finish');
  held.destroy();
  assert.equal(only(readBody((await session.posts(0, first))!.text)).attrs.id, '1');
  const last = [session.posts(0, second), session.posts(1, session.text({}, ping('2')))];
  last.push(session.posts(0, session.text({ type: 'terminate' })));
  const bodies = (await Promise.all(last)).map((reply) => readBody(reply!.text));
  assert.deepEqual(
    bodies.flatMap((body) => body.getChildElements().map(({ attrs }) => attrs.id)),
    ['2'],
  );
});

scenario('RFC 6120 §4.9.3.20: a client learns through another node that its node stops', ownTwo, async (scene) => {
  const session = await new Session(scene).opens(living(scene, 0));
  const held = session.asks(1);
  await scene.stage.nodes[0]!.stop();
  const body = await held;
  isTerminated(body, 'remote-stream-error');
  assert.ok(body.getChild('error', NS.stream)?.getChild('system-shutdown', NS.streams), serialize(body));
  isTerminated(await session.asks(1), 'item-not-found');
});

scenario('§17.1: a node that stops releases what it has forwarded', ownTwo, async (scene) => {
  const session = await new Session(scene).opens(living(scene, 0));
  const text = session.text();
  const held = session.posts(1, text);
  const sender = await scene.actor(`${living(scene, 0)}/sender`, { node: 0, transport: 'tcp' });
  const stopped = scene.stage.nodes[1]!.stop();
  const reply = await held;
  assert.ok(reply === undefined || reply.status === 503, reply?.text);
  await sender.sends(message(session.jid, 'after it'));
  assert.match((await session.posts(0, text))!.text, /after it/);
  await session.asks(0, { type: 'terminate' });
  await stopped;
});
