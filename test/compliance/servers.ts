/** Several servers that find each other by a DNS server of the test, and programs that pose as one. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as connectTls, TLSSocket } from 'node:tls';
import type { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { NS } from '../../src/server/stanza/ns.js';
import { makeSelfSigned, type Pem } from '../../src/server/tls/self-signed.js';
import { type StreamItem, type TopLevel, XmlReader } from '../../src/server/xml/reader.js';
import type { Storage } from '../../src/storage/contract.js';
import { DnsServer } from '../dns-server.js';
import { Stage } from './dialogue.js';

export interface ServerOptions {
  /** Its certificate. Default: one for the domain and its services, which all others trust. */
  readonly certificate?: Pem;
  /** Further hosts, by the certificate of each. */
  readonly hosts?: Readonly<Record<string, Pem>>;
  /** Further certificates that all trust. */
  readonly trusts?: readonly Pem[];
  readonly s2s?: Readonly<Record<string, unknown>>;
  readonly limits?: Readonly<Record<string, unknown>>;
  readonly modules?: Readonly<Record<string, unknown>>;
  readonly log?: Readonly<Record<string, unknown>>;
  /** More of its configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Of its host. */
  readonly host?: Readonly<Record<string, unknown>>;
  /** Its storage. Default: one in memory. */
  readonly storage?: () => Storage;
  /** Default: as WAXWING_NODES says. */
  readonly nodes?: number;
  /** Between its nodes. */
  readonly network?: LocalNetwork;
}

/** Servers, by the domain of each. */
export class Servers {
  readonly dns: DnsServer;
  readonly folder: string;
  readonly #stages = new Map<string, Stage>();
  readonly #configs = new Map<string, Record<string, object>>();
  readonly #authorities: string[] = [];

  private constructor(dns: DnsServer) {
    this.dns = dns;
    this.folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
  }

  /** Servers of these domains, which trust each other's certificates unless they are given another. */
  static async open(domains: Readonly<Record<string, ServerOptions>>): Promise<Servers> {
    const servers = new Servers(await DnsServer.open({}));
    for (const domain of Object.keys(domains)) servers.trusts(domain, makeSelfSigned(namesOf(domain)));
    for (const [domain, { trusts = [] }] of Object.entries(domains))
      for (const [n, pem] of trusts.entries()) servers.trusts(`${domain}-${n}`, pem);
    for (const [domain, options] of Object.entries(domains)) await servers.#start(domain, options);
    return servers;
  }

  /** The files of a certificate that all servers trust which are started after this. */
  trusts(name: string, pem: Pem): void {
    this.#write(name, pem);
    this.#authorities.push(join(this.folder, `${name}.crt`));
  }

  #write(name: string, { certificate, key }: Pem): void {
    writeFileSync(join(this.folder, `${name}.crt`), certificate);
    writeFileSync(join(this.folder, `${name}.key`), key, { mode: 0o600 });
  }

  async #start(domain: string, options: ServerOptions): Promise<void> {
    const {
      certificate,
      s2s = {},
      limits = {},
      modules = {},
      host = {},
      hosts = {},
      log,
      config: more,
      storage,
      nodes,
      network,
    } = options;
    const name = certificate === undefined ? domain : `${domain}-other`;
    if (certificate !== undefined) this.#write(name, certificate);
    for (const [other, pem] of Object.entries(hosts)) this.#write(other, pem);
    const files = (of: string) => ({
      certificate: join(this.folder, `${of}.crt`),
      key: join(this.folder, `${of}.key`),
    });
    const others = Object.fromEntries(Object.keys(hosts).map((other) => [other, files(other)]));
    const config = {
      hosts: { [domain]: { ...files(name), ...host }, ...others },
      listen: { s2s: ['127.0.0.1:0'], s2s_tls: ['127.0.0.1:0'] },
      tls: { server_authorities: this.#authorities },
      s2s: { enabled: true, dns_servers: [this.dns.address], allow_networks: ['127.0.0.0/8'], ...s2s },
      limits,
      modules,
      ...(log && { log }),
      ...more,
    };
    this.#configs.set(domain, config);
    const stage = await Stage.open({
      config,
      ...(nodes && { nodes }),
      ...(storage && { storage }),
      ...(network && { network }),
    });
    this.#stages.set(domain, stage);
    // Other servers find one port; of several nodes, that of the last.
    this.leads(domain, stage.port('s2s', stage.nodes.at(-1)));
  }

  /** From now on DNS resolves the servers of a domain and its services to a port of 127.0.0.1. */
  leads(domain: string, port: number, isDirectTls = false): void {
    const { addresses = {}, srv = {} } = this.dns.zone;
    const service = isDirectTls ? '_xmpps-server' : '_xmpp-server';
    const records = Object.fromEntries(
      namesOf(domain).map((name) => [`${service}._tcp.${name}`, [`0 0 ${port} here.example`]]),
    );
    this.dns.zone = { addresses: { ...addresses, 'here.example': ['127.0.0.1'] }, srv: { ...srv, ...records } };
  }

  stage(domain: string): Stage {
    return this.#stages.get(domain)!;
  }

  /** Changes the configuration of a server, whose other values stay, and reloads it. */
  async changes(domain: string, config: Readonly<Record<string, Readonly<Record<string, unknown>>>>): Promise<void> {
    const stage = this.stage(domain);
    for (const [table, values] of Object.entries(config)) Object.assign(this.#configs.get(domain)![table]!, values);
    await stage.server.reload();
  }

  pem(domain: string): string {
    return join(this.folder, domain);
  }

  async close(): Promise<void> {
    for (const stage of this.#stages.values()) await stage.close();
    this.dns.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const namesOf = (domain: string) => [domain, `conference.${domain}`];

/** One test with servers of its own. */
export function play(
  title: string,
  domains: Readonly<Record<string, ServerOptions>>,
  dialogue: (servers: Servers) => Promise<void>,
): void {
  test(title, { timeout: 300_000 }, async () => {
    const servers = await Servers.open(domains);
    try {
      await dialogue(servers);
      for (const domain of Object.keys(domains)) assert.deepEqual(servers.stage(domain).takeErrors(), []);
    } finally {
      cutImpostors();
      await servers.close();
      // A server may have connected to one until it stopped.
      cutImpostors();
    }
  });
}

/** As `play`, about what administrators see: they look at one node at a time. */
export const playAlone: typeof play = (title, domains, dialogue) =>
  play(
    title,
    Object.fromEntries(Object.entries(domains).map(([domain, options]) => [domain, { ...options, nodes: 1 }])),
    dialogue,
  );

/** Those of the present test. */
const impostors = new Set<Impostor>();

function cutImpostors(): void {
  for (const impostor of impostors) impostor.cut();
  impostors.clear();
}

/** A program that poses as a server: it opens a stream, or was asked for one. */
export class Impostor {
  #socket: Socket;
  #reader = newReader();
  /** Of its header. */
  readonly attributes: string;

  constructor(socket: Socket, attributes: string) {
    this.attributes = attributes;
    this.#socket = socket.on('error', () => {});
    impostors.add(this);
  }

  /** Connects to a port of 127.0.0.1, from a loopback address. */
  static connect(port: number, attributes: string, localAddress = '127.0.0.1'): Impostor {
    return new Impostor(connectTcp({ port, host: '127.0.0.1', localAddress }), attributes);
  }

  /** The names in the certificate of the other side. */
  get peerNames(): string {
    assert.ok(this.#socket instanceof TLSSocket);
    return this.#socket.getPeerX509Certificate()?.subjectAltName ?? '';
  }

  says(xml: string): void {
    this.#socket.write(xml);
  }

  /** Closes its half of the connection. */
  ends(): void {
    this.#socket.end();
  }

  /** What comes next is a new stream. */
  expectsHeader(): void {
    this.#reader = newReader();
  }

  /** With a new reader for the response. */
  sendsHeader(attributes = this.attributes, reader = newReader()): void {
    this.#reader = reader;
    const namespaces = `xmlns='${NS.server}' xmlns:stream='${NS.stream}' xmlns:db='${NS.dialback}'`;
    this.says(`<stream:stream ${namespaces} version='1.0' ${attributes}>`);
  }

  /** Opens the stream. Returns its id and features. */
  async opens(): Promise<{ readonly id: string; readonly features: TopLevel }> {
    this.sendsHeader();
    const open = await this.hears();
    assert.ok(open.kind === 'open', JSON.stringify(open));
    const features = await this.hears();
    assert.ok(features.kind === 'element' && features.name === 'features', JSON.stringify(features));
    return { id: open.attrs.id!, features };
  }

  /** Opens the stream, starts TLS with the certificate if there is one, and opens it again. */
  async opensWithTls(pem?: Pem): Promise<{ readonly id: string; readonly features: TopLevel }> {
    await this.opens();
    this.says(`<starttls xmlns='${NS.tls}'/>`);
    await this.hearsElement('proceed');
    const plain = this.#socket;
    plain.removeAllListeners('readable');
    const certificate = pem === undefined ? {} : { cert: pem.certificate, key: pem.key };
    this.#socket = connectTls({ socket: plain, rejectUnauthorized: false, ...certificate }).on('error', () => {});
    return this.opens();
  }

  /** Answers an incoming stream, and is asked to start TLS. */
  async isAskedForTls(id: string): Promise<void> {
    assert.equal((await this.hears()).kind, 'open');
    this.sendsHeader(`${this.attributes} id='${id}'`, this.#reader);
    this.says(`<stream:features><starttls xmlns='${NS.tls}'><required/></starttls></stream:features>`);
    await this.hearsElement('starttls');
  }

  /** Answers an incoming stream, with TLS, up to the new header of the other side. */
  async startsTls({ certificate: cert, key }: Pem, id: string): Promise<void> {
    await this.isAskedForTls(id);
    this.says(`<proceed xmlns='${NS.tls}'/>`);
    const plain = this.#socket.removeAllListeners('readable');
    this.#socket = new TLSSocket(plain, { isServer: true, cert, key }).on('error', () => {});
    this.#reader = newReader();
    assert.equal((await this.hears()).kind, 'open');
  }

  /** Answers an incoming stream, with TLS, up to the features: dialback and `more`. */
  async answers(pem: Pem, id: string, more = ''): Promise<void> {
    await this.startsTls(pem, id);
    this.sendsHeader(`${this.attributes} id='${id}'`, this.#reader);
    const dialback = `<dialback xmlns='${NS.dialbackFeature}'><errors/></dialback>`;
    this.says(`<stream:features>${dialback}${more}</stream:features>`);
  }

  /** The next item, or the end of the stream. */
  async hears(): Promise<StreamItem> {
    for (;;) {
      const item = this.#reader.next();
      if (item !== undefined) return item;
      let chunk = this.#socket.read() as Buffer | null;
      while (chunk === null) {
        if (this.#socket.readableEnded || this.#socket.destroyed) return { kind: 'close' };
        await news(this.#socket);
        chunk = this.#socket.read() as Buffer | null;
      }
      this.#reader.push(chunk);
    }
  }

  /** Resolves once there is something to read, whatever it is. */
  async hearsBytes(): Promise<void> {
    if (this.#socket.readableLength === 0) await once(this.#socket, 'readable');
  }

  /** Reads what still comes, whatever it is, until the other side has ended the connection. */
  async isLeft(): Promise<void> {
    if (this.#socket.destroyed) return;
    const socket = this.#socket.removeAllListeners('readable').resume();
    // It may also be reset, if what this end sent was not read.
    await new Promise((resolve) => socket.once('close', resolve));
  }

  /** Breaks the connection. */
  cut(): void {
    this.#socket.destroy();
  }

  async hearsElement(name: string): Promise<TopLevel> {
    const item = await this.hears();
    assert.ok(item.kind === 'element' && item.name === name, JSON.stringify(item));
    return item;
  }

  async hearsError(condition: string): Promise<void> {
    const { content } = await this.hearsElement('error');
    assert.match(content, new RegExp(`<${condition} `));
    assert.equal((await this.hears()).kind, 'close');
  }
}

/** Resolves when there is something to read, or nothing comes any more. */
function news(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of ['readable', 'end', 'close']) socket.removeListener(event, done);
      resolve();
    };
    for (const event of ['readable', 'end', 'close']) socket.on(event, done);
  });
}

function newReader(): XmlReader {
  return new XmlReader('stream', { stanzaBytes: 1_000_000, depth: 20, attributes: 20 });
}

/** Where servers are led to. */
export interface Trap {
  readonly port: number;
  /** Their next connection. */
  next(): Promise<Impostor>;
  /** How many they have made so far. */
  made(): number;
}

/** Waits for servers that connect. */
export async function lure(attributes: string): Promise<Trap> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  after(() => listener.close());
  const came: Impostor[] = [];
  let made = 0;
  listener.on('connection', (socket) => {
    made++;
    came.push(new Impostor(socket, attributes));
  });
  return {
    port: (listener.address() as AddressInfo).port,
    made: () => made,
    async next() {
      while (came.length === 0) await once(listener, 'connection');
      return came.shift()!;
    },
  };
}

/** Passes connections on to a port of 127.0.0.1, and breaks them on request. */
export class Relay {
  readonly port: number;
  /** How many connections were made so far. */
  made = 0;
  readonly #open = new Set<Socket>();

  private constructor(listener: Server, to: number) {
    this.port = (listener.address() as AddressInfo).port;
    listener.on('connection', (near) => {
      this.made++;
      const far = connectTcp(to, '127.0.0.1');
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#open.add(one);
        one.setNoDelay(true);
        one
          .on('error', () => {})
          .on('close', () => {
            this.#open.delete(one);
            other.destroy();
          });
        one.pipe(other);
      }
    });
    after(() => {
      listener.close();
      this.cut();
    });
  }

  static async open(to: number): Promise<Relay> {
    const listener = createServer().listen(0, '127.0.0.1');
    await once(listener, 'listening');
    return new Relay(listener, to);
  }

  cut(): void {
    for (const socket of this.#open) socket.resetAndDestroy();
  }
}
