/**
 * A stream of another kind on a whole server: a component (XEP-0114) in a hundred lines, from what every stream has: XmlStream
 * reads, slows down, writes and closes; admission checks what comes in; an outbox keeps what goes out. Components of the
 * server itself are yet to come: this shows that they, and streams between servers, need no copy of anything.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { after } from 'node:test';
import { pino } from 'pino';
import { Admission, type Entrance } from '../../src/server/routing/admission.js';
import type { LocalHost } from '../../src/server/routing/host.js';
import { Outbox } from '../../src/server/routing/outbox.js';
import type { Origin } from '../../src/server/routing/passage.js';
import { serverOrigin } from '../../src/server/routing/router.js';
import { Shares } from '../../src/server/shares.js';
import { StanzaError, StreamError } from '../../src/server/stanza/errors.js';
import type { Jid } from '../../src/server/stanza/jid.js';
import { NS } from '../../src/server/stanza/ns.js';
import { type Stanza, stanzaName } from '../../src/server/stanza/stanza.js';
import { Backlog } from '../../src/server/stream/backlog.js';
import { Congestion } from '../../src/server/stream/congestion.js';
import type { Allowance, StreamHandler, StreamParts } from '../../src/server/stream/handler.js';
import { Queues } from '../../src/server/stream/queues.js';
import { XmlStream } from '../../src/server/stream/stream.js';
import { TcpTransport } from '../../src/server/transport/tcp.js';
import type { Transport } from '../../src/server/transport/transport.js';
import { type StreamOpen, type TopLevel, XmlReader } from '../../src/server/xml/reader.js';
import { type Scene, scenario } from './dialogue.js';
import { refusal } from './phrases.js';

const COMPONENT = 'jabber:component:accept';
const domain = 'mantua';
const secret = 'apothecary';

/** All that a dialogue says. */
const bursts = { stanza_burst: 10_000, byte_burst: 100_000_000 };

const handshakeOf = (id: string) => createHash('sha1').update(`${id}${secret}`).digest('hex');

const allowance: Allowance = { rate: (limits) => limits.rate, elementBytes: (limits) => limits.stanza_bytes };

class ComponentStream implements StreamHandler, Entrance, Origin {
  readonly ns = COMPONENT;
  readonly mayLag = 0;
  readonly sender = undefined;
  readonly session = undefined;
  readonly acknowledges = false;
  readonly xml: XmlStream;
  #id = '';

  constructor(
    transport: Transport,
    readonly parts: StreamParts,
    readonly admission: Admission,
    readonly host: LocalHost,
    readonly outbox: Outbox,
  ) {
    this.xml = new XmlStream(transport, this, parts);
  }

  opened({ attrs }: StreamOpen): void {
    if (attrs.to !== domain) throw new StreamError('host-unknown');
    this.#id = this.xml.open(domain);
  }

  element(item: TopLevel): void | Promise<void> {
    if (this.xml.isEstablished) return this.#stanza(item);
    if (item.name !== 'handshake' || item.content !== handshakeOf(this.#id)) throw new StreamError('not-authorized');
    this.xml.admit(allowance, this.parts.shares.ofAccount(domain));
    this.xml.establish();
    this.xml.write('<handshake/>');
    this.send();
  }

  #stanza(item: TopLevel): void | Promise<void> {
    if (item.ns !== COMPONENT || stanzaName(item.name) === undefined) throw new StreamError('unsupported-stanza-type');
    const stanza = this.admission.admit(item, this);
    if (stanza !== undefined) return this.host.route(stanza, this);
  }

  get lang(): string | undefined {
    return this.xml.lang;
  }
  speaksFor(from: Jid): boolean {
    return from.domain === domain;
  }
  refused(stanza: Stanza, error: StanzaError): void {
    this.host.refuse(stanza, error, this);
  }
  acknowledgeAfter(): void {}

  /** What waits for the component, as long as it reads. */
  send(): void {
    while (this.xml.hasRoom) {
      const parcel = this.outbox.take();
      if (parcel === undefined) return;
      this.xml.writeStanza(parcel.stanza);
      parcel.sent();
    }
  }
  drained(): void {
    this.send();
  }

  isFree(): boolean {
    return false;
  }
  ahead(): boolean {
    return false;
  }
  closed(): void {
    this.lost();
  }
  lost(): void {
    this.outbox.refuseAll(new StanzaError('remote-server-timeout'));
  }
  gone(): void {}
}

/** The other side of it. */
class Component {
  readonly socket: Socket;
  readonly #reader = new XmlReader('stream', { stanzaBytes: 1_000_000, depth: 20, attributes: 20 });

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1').on('error', () => {});
    this.socket.write(`<stream:stream xmlns='${COMPONENT}' xmlns:stream='${NS.stream}' to='${domain}' xml:lang='it'>`);
    after(() => this.socket.destroy());
  }

  says(xml: string): void {
    this.socket.write(xml);
  }

  /** The next item that the server says. */
  async hears(): Promise<ReturnType<XmlReader['next']>> {
    for (;;) {
      const item = this.#reader.next();
      if (item !== undefined) return item;
      let chunk = this.socket.read() as Buffer | null;
      while (chunk === null) {
        await once(this.socket, 'readable');
        chunk = this.socket.read() as Buffer | null;
      }
      this.#reader.push(chunk);
    }
  }

  async hearsElement(name: string): Promise<TopLevel> {
    const item = await this.hears();
    assert.ok(item?.kind === 'element' && item.name === name, JSON.stringify(item));
    return item;
  }

  async logsIn(): Promise<void> {
    const open = await this.hears();
    assert.ok(open?.kind === 'open');
    assert.equal(open.attrs.from, domain);
    this.says(`<handshake>${handshakeOf(open.attrs.id!)}</handshake>`);
    await this.hearsElement('handshake');
  }
}

interface Play extends Scene {
  readonly outbox: Outbox;
  readonly made: ComponentStream[];
  component(): Component;
}

function play(title: string, dialogue: (scene: Play) => Promise<void>): void {
  const made: ComponentStream[] = [];
  let host: LocalHost | undefined;
  const outbox = new Outbox({
    bounds: () => ({ stanzas: 10_000, bytes: 2_000_000 }),
    budget: { most: () => 4_000_000, used: 0 },
    limitHit: () => {},
    refuse: (stanza, error) => host!.refuse(stanza, error, serverOrigin),
    filled: () => {
      for (const stream of made) stream.send();
    },
  });
  scenario(title, { remote: outbox, config: { limits: { rate: bursts, rate_account: bursts } } }, async (scene) => {
    host = scene.server.host('localhost') as LocalHost;
    const config = () => scene.server.config;
    const limitHit = () => {};
    const parts: StreamParts = {
      config,
      limitHit,
      counts: { streamErrors: new Map() },
      log: pino({ enabled: false }),
      backlog: new Backlog(() => config().limits, limitHit),
      shares: new Shares(
        () => config().limits,
        limitHit,
        () => false,
      ),
      queues: new Queues(
        () => config().limits.outbound_bytes,
        () => {},
        () => [],
        new Congestion(() => config().limits.outbound_bytes, limitHit),
      ),
    };
    const admission = new Admission({ limits: () => config().limits, limitHit });
    const listener = createServer((socket) => {
      made.push(new ComponentStream(new TcpTransport(socket, () => ({})), parts, admission, host!, outbox));
    }).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    after(() => listener.close());
    const { port } = listener.address() as { port: number };
    await dialogue({ ...scene, outbox, made, component: () => new Component(port) });
    for (const stream of made) stream.xml.abandon();
  });
}

play('a client and a component talk', async ({ actor, component, outbox }) => {
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  await romeo.sends(`<message to='friar@mantua' id='1' type='chat'><body>early</body></message>`);
  const friar = component();
  await friar.logsIn();
  const early = await friar.hearsElement('message');
  assert.deepEqual(
    [early.ns, early.attrs.from, early.attrs.to],
    [COMPONENT, 'romeo@localhost/orchard', 'friar@mantua'],
  );
  friar.says(`<message from='friar@mantua/cell' to='romeo@localhost/orchard' type='chat'><body>late</body></message>`);
  await romeo.receives(
    `<message from='friar@mantua/cell' to='romeo@localhost/orchard' type='chat' xml:lang='it'><body>late</body></message>`,
  );
  friar.says(`<iq type='get' id='2' from='mantua' to='localhost'><ping xmlns='${NS.ping}'/></iq>`);
  const pong = await friar.hearsElement('iq');
  assert.deepEqual([pong.attrs.type, pong.attrs.id, pong.attrs.from], ['result', '2', 'localhost']);
  friar.says(`<iq type='get' from='mantua' to='localhost' id='3'/>`);
  const wrong = await friar.hearsElement('iq');
  assert.deepEqual([wrong.attrs.type, wrong.attrs.id], ['error', '3']);
  assert.match(wrong.content, /<bad-request /);
  assert.equal(outbox.size, 0);
});

play('who does not know the secret is not let in', async ({ component, made }) => {
  const tybalt = component();
  await tybalt.hears();
  tybalt.says(`<handshake>00</handshake><message from='mantua' to='romeo@localhost'/>`);
  assert.match((await tybalt.hearsElement('error')).content, /<not-authorized /);
  assert.equal(made[0]!.xml.isEstablished, false);
});

play('a component that speaks for others is cut off, and what waits for it is refused', async (scene) => {
  const { actor, component, outbox } = scene;
  const romeo = await actor('romeo@localhost/orchard', { presence: true });
  for (const [from, condition] of [
    [`from='juliet@localhost'`, 'invalid-from'],
    [`from='padua'`, 'invalid-from'],
    ['', 'improper-addressing'],
  ] as const) {
    const friar = component();
    await friar.logsIn();
    friar.says(`<message ${from} to='romeo@localhost'><body>false</body></message>`);
    assert.match((await friar.hearsElement('error')).content, new RegExp(`<${condition} `));
  }
  await romeo.sends(`<message to='friar@mantua' id='1' type='chat'><body>?</body></message>`);
  await romeo.receivesNothing();
  assert.equal(outbox.size, 1);
  const friar = component();
  await friar.hears();
  friar.socket.destroy();
  await romeo.receives(
    `<message type='error' id='1' from='friar@mantua'><body/>${refusal('wait', 'remote-server-timeout')}</message>`,
  );
});

play(
  'a component that does not read makes nobody wait; what it is sent is bounded, and stays in order',
  async (scene) => {
    const { actor, component, outbox } = scene;
    const romeo = await actor('romeo@localhost/orchard', { presence: true });
    const friar = component();
    await friar.logsIn();
    const count = 500;
    const filler = 'x'.repeat(20_000);
    let refused = 0;
    let pongs = 0;
    for (let id = 0; id < count; id += 20) {
      let xml = '';
      for (let n = id; n < id + 20; n++)
        xml += `<message to='friar@mantua' id='${n}' type='chat'><body>${filler}</body></message>`;
      await romeo.sends(`${xml}<iq type='get' id='p' to='localhost'><ping xmlns='${NS.ping}'/></iq>`);
      for (let at = pongs; at === pongs; ) {
        const { name, attrs } = await romeo.receivesAny();
        if (name === 'iq') pongs++;
        else if (attrs.type === 'error') refused++;
      }
    }
    assert.equal(pongs, count / 20);
    assert.ok(refused > 0, 'more than there is room for is refused');
    assert.ok(outbox.bytes <= 2_000_000);
    let last = -1;
    for (let heard = 0; heard < count - refused; heard++) {
      const { attrs } = await friar.hearsElement('message');
      assert.ok(Number(attrs.id) > last);
      last = Number(attrs.id);
    }
    await romeo.receivesNothing();
    assert.equal(outbox.size, 0);
  },
);
