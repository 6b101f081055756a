/**
 * Both ends of streams between servers, and of dialback: hostile peers that connect, and hostile peers that were
 * connected to, say what is valid, changed, out of turn or foreign, from any phase on. The server logs no fault of its
 * own, writes well-formed XML, delivers nothing between domains that were not proved, ends every stream, and an honest
 * server notices nothing. SEED and ROUNDS of the environment repeat and lengthen a run.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { NS } from '../../src/server/stanza/ns.js';
import type { Pem } from '../../src/server/tls/self-signed.js';
import { makeSelfSigned } from '../../src/server/tls/self-signed.js';
import { CertificateAuthority } from '../certificate-authority.js';
import type { Peer } from '../compliance/dialogue.js';
import { unlimitedRate } from '../compliance/phrases.js';
import { Servers } from '../compliance/servers.js';
import { StrictReader } from '../strict.js';
import { mulberry32, mutated } from './mutation.js';

const SEED = Number(process.env.SEED ?? 1);
const ROUNDS = Number(process.env.ROUNDS ?? 160);
/** Rounds that run at the same time, and after which the honest servers are looked at. */
const atOnce = 8;
const betweenChecks = 5;
/** How long a usual run may take, in ms. */
const most = process.env.ROUNDS === undefined ? 6000 : Number.POSITIVE_INFINITY;

/** How long the last streams may take to end, in ms. */
const patience = 30_000;

const [montague, capulet] = ['montague.example', 'capulet.example'];
/** In everything that a hostile peer sends to somebody. */
const mark = 'FUZZ';
const authority = new CertificateAuthority('the authority that all trust');
const mallory = 'mallory.example';
const malloryPem = authority.issues([mallory]);

const header = (from: string, more = '') =>
  `<?xml version='1.0'?><stream:stream xmlns='${NS.server}' xmlns:stream='${NS.stream}' xmlns:db='${NS.dialback}' version='1.0' from='${from}' to='${capulet}'${more}>`;
const features = (inner: string) => `<stream:features>${inner}</stream:features>`;
const startTls = `<starttls xmlns='${NS.tls}'><required/></starttls>`;
const external = `<mechanisms xmlns='${NS.sasl}'><mechanism>EXTERNAL</mechanism></mechanisms>`;
const dialback = `<dialback xmlns='${NS.dialbackFeature}'><errors/></dialback>`;
const auth = (text: string, mechanism = 'EXTERNAL') =>
  `<auth xmlns='${NS.sasl}' mechanism='${mechanism}'>${text}</auth>`;

/** "{me}": the domain of the peer; "{true}", "{false}": domains of hostile servers, with a valid certificate or without. */
const stanzas: readonly string[] = [
  ...['{me}', montague, capulet, '{true}', '{false}', 'padua.example', ''].flatMap((domain) => [
    `<message from='x@${domain}' to='juliet@${capulet}' type='chat'><body>${mark}</body></message>`,
    `<presence from='x@${domain}' to='juliet@${capulet}' type='subscribe'><status>${mark}</status></presence>`,
    `<iq from='${domain}' to='juliet@${capulet}/balcony' type='result' id='1'><query xmlns='${NS.version}'><name>${mark}</name></query></iq>`,
  ]),
  `<message to='juliet@${capulet}' type='chat'><body>${mark}</body></message>`,
  `<message from='x@{me}' type='chat'><body>${mark}</body></message>`,
  `<message from='x@{me}' to='friar@padua.example' type='chat'><body>${mark}</body></message>`,
  `<message from='x@{me}' to='room@conference.${capulet}' type='groupchat'><body>${mark}</body></message>`,
  `<message from='x@{me}' to='juliet@${capulet}' type='error'><body>${mark}</body><error type='cancel'/></message>`,
  `<presence from='x@{me}/y' to='room@conference.${capulet}/y'><x xmlns='${NS.muc}'/></presence>`,
  `<iq from='x@{me}/y' to='${capulet}' type='get' id='1'><query xmlns='${NS.discoInfo}'/></iq>`,
  `<iq from='x@{me}/y' to='juliet@${capulet}' type='get' id='1'><vCard xmlns='${NS.vcardTemp}'/></iq>`,
];

const common: readonly string[] = [
  ...['valid', 'invalid', 'error', 'x'].flatMap((type) => [
    `<db:result from='{me}' to='${capulet}' type='${type}'/>`,
    `<db:result from='${montague}' to='${capulet}' type='${type}'/>`,
    `<db:verify from='{me}' to='${capulet}' id='{id}' type='${type}'/>`,
    `<db:verify from='${montague}' to='${capulet}' id='{id}' type='${type}'/>`,
  ]),
  `<enable xmlns='${NS.sm}' resume='true'/>`,
  `<enabled xmlns='${NS.sm}' id='x' resume='true'/>`,
  `<r xmlns='${NS.sm}'/>`,
  `<a xmlns='${NS.sm}' h='0'/>`,
  `<a xmlns='${NS.sm}' h='4294967295'/>`,
  `<resume xmlns='${NS.sm}' previd='x' h='0'/>`,
  `<resumed xmlns='${NS.sm}' previd='x' h='1'/>`,
  `<failed xmlns='${NS.sm}'><item-not-found xmlns='${NS.stanzas}'/></failed>`,
  `<bidi xmlns='urn:xmpp:bidi'/>`,
  header('{me}'),
  header(montague),
  features(''),
  `<stream:error><reset xmlns='${NS.streams}'/></stream:error>`,
  '</stream:stream>',
  `<x xmlns='urn:example:foreign'>${mark}</x>`,
  ' ',
];

const toReceiving: readonly string[] = [
  ...stanzas,
  ...common,
  ...['{me}', montague, capulet, '{true}', '{false}', `conference.${mallory}`].flatMap((domain) => [
    `<db:result from='${domain}' to='${capulet}'>key</db:result>`,
    `<db:result from='${domain}' to='conference.${capulet}'>key</db:result>`,
    `<db:verify from='${domain}' to='${capulet}' id='{id}'>key</db:verify>`,
  ]),
  auth('='),
  auth(Buffer.from(montague).toString('base64')),
  auth('=', 'PLAIN'),
  `<starttls xmlns='${NS.tls}'/>`,
];

const toInitiating: readonly string[] = [
  ...stanzas,
  ...common,
  features(startTls),
  features(external),
  features(dialback),
  features(external + dialback),
  features(`${dialback}<sm xmlns='${NS.sm}'/><bidi xmlns='urn:xmpp:features:bidi'/>`),
  `<proceed xmlns='${NS.tls}'/>`,
  `<failure xmlns='${NS.tls}'/>`,
  `<success xmlns='${NS.sasl}'/>`,
  `<failure xmlns='${NS.sasl}'><not-authorized/></failure>`,
  `<challenge xmlns='${NS.sasl}'>=</challenge>`,
];

/** One end of a connection. */
class Wire {
  socket: Socket;
  /** What the server has said since the connection, or TLS on it, began. */
  text = '';
  #reader: StrictReader | undefined;
  failure: unknown;
  #isOver = false;
  #wake = () => {};

  /** `isStrict`: whether what the server says is one stream, which is read by saxes. */
  constructor(
    socket: Socket,
    readonly isStrict: boolean,
  ) {
    this.socket = socket;
    this.#listens();
  }

  #listens(): void {
    this.text = '';
    this.#isOver = false;
    this.#reader = this.isStrict ? new StrictReader('stream') : undefined;
    const { socket } = this;
    const over = () => {
      this.#isOver = true;
      this.#wake();
    };
    socket.on('error', over).on('close', over).on('end', over);
    socket.on('data', (chunk: Buffer) => {
      this.text += chunk.toString();
      try {
        this.#reader?.read(chunk);
      } catch (error) {
        this.failure = error;
        this.#reader = undefined;
      }
      this.#wake();
    });
  }

  /** Waits for this. Returns false if the connection ends without it. */
  async hears(wanted: RegExp): Promise<boolean> {
    while (!wanted.test(this.text)) {
      if (this.#isOver) return false;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return true;
  }

  async says(xml: string | Buffer, wanted: RegExp): Promise<boolean> {
    this.text = '';
    this.socket.write(xml);
    return this.hears(wanted);
  }

  async over(): Promise<void> {
    await this.hears(/(?!)/);
  }

  startsTls(pem: Pem | undefined, isServer: boolean): void {
    const plain = this.socket;
    plain.removeAllListeners('data');
    const certificate = pem === undefined ? {} : { cert: pem.certificate, key: pem.key };
    this.socket = isServer
      ? new TLSSocket(plain, { isServer, ...certificate })
      : connectTls({ socket: plain, rejectUnauthorized: false, ...certificate });
    this.#listens();
  }
}

type Random = () => number;
const pick = <T>(list: readonly T[], random: Random): T => list[Math.floor(random() * list.length)]!;

/** A few elements of a list, most of them as they are. */
function saying(list: readonly string[], names: Readonly<Record<string, string>>, random: Random): Buffer[] {
  return Array.from({ length: 1 + Math.floor(random() * 8) }, () => {
    const xml = pick(list, random).replace(/\{(\w+)\}/g, (_, name: string) => names[name] ?? 'x');
    return random() < 0.4 ? mutated(xml, random) : Buffer.from(xml);
  });
}

/** Says it, all at once or in pieces, and ends the connection in one of the ways that there are. */
async function finishes(wire: Wire, parts: readonly Buffer[], random: Random): Promise<void> {
  const bytes = Buffer.concat(parts);
  const size = pick([1 + Math.floor(random() * 80), Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY], random);
  for (let at = 0; at < bytes.length && !wire.socket.destroyed; at += size) {
    wire.socket.write(bytes.subarray(at, at + size));
    if (size < bytes.length) await new Promise((resolve) => setImmediate(resolve));
  }
  if (random() < 0.2) wire.socket.destroy();
  else wire.socket.end();
  await wire.over();
  wire.socket.destroy();
}

class Arena {
  /** Where DNS leads: only to the hostile servers of the rounds that run. */
  readonly #leads = new Map<string, number>();
  readonly servers: Servers;
  readonly juliet: Peer;
  readonly romeo: Peer;

  constructor(servers: Servers, juliet: Peer, romeo: Peer) {
    this.servers = servers;
    this.juliet = juliet;
    this.romeo = romeo;
  }

  #lead(domain: string, port: number | undefined): void {
    if (port === undefined) this.#leads.delete(domain);
    else this.#leads.set(domain, port);
    this.servers.dns.zone = { addresses: {}, srv: {} };
    for (const name of [montague, capulet]) this.servers.leads(name, this.servers.stage(name).port('s2s'));
    for (const [name, at] of this.#leads) this.servers.leads(name, at);
  }

  /** A hostile server of a domain, which misbehaves in its own way with each connection. Returns its end. */
  async traps(domain: string, pem: Pem, random: Random): Promise<() => Promise<void>> {
    const listener = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const open = new Set<Promise<void>>();
    listener.on('connection', (socket) => {
      const answered = this.#answers(new Wire(socket, false), domain, pem, random);
      open.add(answered);
      void answered.finally(() => open.delete(answered));
    });
    this.#lead(domain, (listener.address() as AddressInfo).port);
    return async () => {
      this.#lead(domain, undefined);
      listener.close();
      while (open.size > 0) await Promise.all(open);
    };
  }

  async #answers(wire: Wire, domain: string, pem: Pem, random: Random): Promise<void> {
    const names: Record<string, string> = { me: domain, id: 'x', true: domain, false: domain };
    // Often it answers as it should, up to the end.
    const phase = Math.min(5, Math.floor(random() * 8));
    const go = async (): Promise<void> => {
      if (phase === 0 || !(await wire.hears(/<stream:stream[^>]*>/))) return;
      if (phase === 1) return;
      const opened = header(domain, ` id='${Math.floor(random() * 1e9)}'`);
      if (!(await wire.says(`${opened}${features(startTls)}`, /<starttls/)) || phase === 2) return;
      wire.socket.write(`<proceed xmlns='${NS.tls}'/>`);
      wire.startsTls(pem, true);
      if (!(await wire.hears(/<stream:stream[^>]*>/)) || phase === 3) return;
      const isOffered = await wire.says(`${opened}${features(dialback)}`, /<db:(result|verify)[^>]*>[^<]*<\/db:/);
      names.id = / id="([^"]+)"/.exec(wire.text)?.[1] ?? 'x';
      if (!isOffered || phase === 4) return;
      await wire.says(
        wire.text.includes('<db:verify')
          ? `<db:verify from='${domain}' to='${capulet}' id='${names.id}' type='valid'/>`
          : `<db:result from='${domain}' to='${capulet}' type='valid'/>`,
        /./,
      );
    };
    await go();
    await finishes(wire, saying(toInitiating, names, random), random);
  }

  /** A hostile peer that connects. */
  async connects(names: Readonly<Record<string, string>>, seed: number, random: Random): Promise<void> {
    const localAddress = `127.6.${1 + ((seed >> 8) & 0xff)}.${1 + (seed & 0xfd)}`;
    const port = this.servers.stage(capulet).port('s2s');
    const wire = new Wire(connectTcp({ port, host: '127.0.0.1', localAddress, allowHalfOpen: true }), true);
    const phase = Math.floor(random() * 7);
    const isCertified = random() < 0.7;
    let id = 'x';
    const first: Buffer[] = [];
    const go = async (): Promise<void> => {
      if (phase === 0 || !(await wire.says(header(mallory), /<\/stream:features>/)) || phase === 1) return;
      if (!(await wire.says(`<starttls xmlns='${NS.tls}'/>`, /<proceed/))) return;
      wire.startsTls(isCertified ? malloryPem : undefined, false);
      if (phase === 2 || !(await wire.says(header(mallory), /<\/stream:features>/))) return;
      id = / id="([^"]+)"/.exec(wire.text)![1]!;
      if (phase === 3) return;
      const asked = pick([names.true!, names.false!], random);
      if (phase === 6) {
        await wire.says(`<db:result from='${asked}' to='${capulet}'>key</db:result>`, /<db:result/);
        const stanza = `<message from='x@${asked}' to='juliet@${capulet}' type='chat'><body>${mark}</body></message>`;
        if (random() < 0.5) first.push(Buffer.from(stanza));
      } else if (phase === 4)
        await wire.says(`<db:result from='${mallory}' to='${capulet}'>key</db:result>`, /<db:result/);
      else if ((await wire.says(auth('='), /<(success|failure)/)) && wire.text.includes('<success'))
        await wire.says(header(mallory), /<\/stream:features>/);
    };
    await go();
    await finishes(wire, [...first, ...saying(toReceiving, { ...names, me: mallory, id }, random)], random);
    if (wire.failure !== undefined) throw wire.failure;
  }

  async round(seed: number): Promise<void> {
    const random = mulberry32(seed);
    const names = { true: `r${seed}.true.example`, false: `r${seed}.false.example` };
    const ends = [
      await this.traps(names.true, authority.issues([names.true]), random),
      await this.traps(names.false, makeSelfSigned([names.false]), random),
    ];
    for (const domain of Object.values(names))
      await this.juliet.sends(`<message to='x@${domain}' type='chat' id='${domain}'><body>hello</body></message>`);
    await this.connects(names, seed, random);
    for (const end of ends) await end();
  }

  /** What Juliet was sent is from domains that were proved; the honest server is served. */
  async checks(n: number): Promise<void> {
    const { juliet, romeo, servers } = this;
    for (const [one, other] of [
      [romeo, juliet],
      [juliet, romeo],
    ] as const) {
      await one.sends(`<message to='${other.jid}' type='chat' id='honest-${n}'><body>honest</body></message>`);
      for (;;) {
        const element = await other.receivesAny();
        const text = element.toString();
        if (element.attrs.id === `honest-${n}` && element.attrs.from === one.jid) break;
        const domain = (element.attrs.from ?? '').replace(/^[^@/]*@/, '').replace(/\/.*$/s, '');
        if (text.includes(mark)) assert.ok(domain === mallory || /^r\d+\.true\.example$/.test(domain), text);
      }
    }
    for (const name of [montague, capulet]) assert.deepEqual(servers.stage(name).takeErrors(), []);
  }
}

const limits = {
  rate: unlimitedRate,
  rate_account: unlimitedRate,
  rate_unauthenticated: unlimitedRate,
  login_deadline_seconds: 2,
  close_timeout_seconds: 1,
};
const modules = { strangers: { messages: 'allow', subscriptions: 'allow', new_contacts: 'unlimited' } };

test('hostile servers, at both ends of streams, affect nobody else', { timeout: 6 * 3_600_000 }, async () => {
  const options = { trusts: [authority.pem], limits, modules };
  const servers = await Servers.open({ [capulet]: options, [montague]: {} });
  try {
    const juliet = await servers.stage(capulet).actor(`juliet@${capulet}/balcony`, { presence: true });
    const romeo = await servers.stage(montague).actor(`romeo@${montague}/orchard`, { presence: true });
    const arena = new Arena(servers, juliet, romeo);
    await arena.checks(0);
    const started = performance.now();
    for (let done = 0, n = 1; done < ROUNDS && performance.now() - started < most; n++) {
      const seeds = Array.from({ length: atOnce }, () => SEED * 1_000_000 + done++);
      await Promise.all(
        seeds.map((seed) =>
          arena.round(seed).catch((error: unknown) => {
            throw new Error(`seed ${seed}`, { cause: error });
          }),
        ),
      );
      if (n % betweenChecks === 0) await arena.checks(n);
    }
    await arena.checks(Number.MAX_SAFE_INTEGER);
    // Nothing is left of them: at most one stream of the honest server in each direction, and nothing waits. Juliet has
    // a connection and a share, and so has Montague.
    const { server } = servers.stage(capulet);
    const isBounded = () => {
      const { connections, pending, shares, pendingWrites } = server.inspect();
      return connections <= 2 && pending === 0 && shares <= 3 && pendingWrites === 0;
    };
    const figures = async () => (await server.metrics.text()).text;
    const clean = [
      /^waxwing_server_streams\{direction="incoming"\} [01]$/m,
      /^waxwing_server_streams\{direction="outgoing"\} [01]$/m,
      /^waxwing_server_streams_unauthenticated 0$/m,
      /^waxwing_server_waiting_bytes 0$/m,
    ];
    const until = performance.now() + patience;
    for (let text = await figures(); !isBounded() || !clean.every((line) => line.test(text)); text = await figures()) {
      assert.ok(performance.now() < until, `${JSON.stringify(server.inspect())}\n${text}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  } finally {
    await servers.close();
  }
});
