/** A server of this build, and minimal client connections, for the other benchmarks. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A connection that sends given data and keeps no state. */
export class Wire {
  readonly socket: Socket;
  #seen = '';
  #wanted: { readonly what: string; readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #onText: (text: string) => void = () => {};

  constructor(port: number, localAddress = '127.0.0.1') {
    this.socket = connect({ host: '127.0.0.1', port, localAddress, noDelay: true });
    this.socket.setEncoding('utf8');
    this.socket.on('error', () => {});
    this.socket.on('close', () => this.#wanted?.reject(new Error(`closed before ${this.#wanted.what}`)));
    this.socket.on('data', (text: string) => this.hear(text));
  }

  protected hear(text: string): void {
    this.#onText(text);
    if (this.#wanted === undefined) return;
    this.#seen += text;
    if (!this.#seen.includes(this.#wanted.what)) return;
    const { resolve } = this.#wanted;
    this.#wanted = undefined;
    resolve();
  }

  send(text: string): boolean {
    return this.socket.writable && this.socket.write(text);
  }

  /** Sends a message with the current time. */
  sendTimestamp(to: string, padding = ''): void {
    this.send(`<message to='${to}' type='chat'><body>${performance.now()} ${padding}</body></message>`);
  }

  /** From now on, passes on what arrives. */
  listen(onText: (text: string) => void): void {
    this.#onText = onText;
  }

  /** From now on, records the delay in ms of each such message. */
  recordDelays(delays: number[]): void {
    this.#onText = (text) => {
      for (const [, stamp] of text.matchAll(/<body>([\d.]+) /g)) delays.push(performance.now() - Number(stamp));
    };
  }

  /** Sends text and resolves when `what` has arrived. */
  ask(text: string, what: string): Promise<void> {
    this.#seen = '';
    const came = new Promise<void>((resolve, reject) => {
      this.#wanted = { what, resolve, reject };
    });
    this.send(text);
    return came;
  }

  static readonly header =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";

  protected get header(): string {
    return Wire.header;
  }

  async login(user: string, resource: string): Promise<this> {
    const plain = Buffer.from(`\0${user}\0secret`).toString('base64');
    await this.ask(this.header, '</stream:features>');
    await this.ask(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${plain}</auth>`, '<success');
    await this.ask(this.header, '</stream:features>');
    const bind = `<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>${resource}</resource></bind>`;
    // RFC 7395 §3.3: elements have their own namespace, and a message is one element.
    await this.ask(`<iq xmlns='jabber:client' type='set' id='b'>${bind}</iq>`, 'id="b"');
    this.send("<presence xmlns='jabber:client'/>");
    await this.ask("<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>", 'id="p"');
    return this;
  }

  end(): void {
    this.socket.destroy();
  }
}

async function register(user: string, port: number): Promise<void> {
  const wire = new Wire(port);
  await wire.ask(Wire.header, '</stream:features>');
  const query = `<query xmlns='jabber:iq:register'><username>${user}</username><password>secret</password></query>`;
  await wire.ask(`<iq type='set' id='r'>${query}</iq>`, 'id="r"');
  wire.end();
}

export interface BenchServer {
  /** Resident memory. */
  megabytes(): number;
  /** Memory usage reported by the process; after a garbage collection if `collect`. */
  memory(collect: boolean): Promise<NodeJS.MemoryUsage>;
  /** CPU time of the process, and how long the event loop was busy at a time, since the last call. In ms. */
  load(): Promise<{ readonly cpu: number; readonly p99: number; readonly most: number }>;
  stop(): Promise<void>;
}

/**
 * A server of this build with these accounts, whose passwords are `secret`. Limits have their defaults, except for
 * connections and registrations per address.
 */
export async function startServer(
  port: number,
  accounts: readonly string[],
  more: {
    readonly arguments?: readonly string[];
    readonly env?: NodeJS.ProcessEnv;
    readonly http?: number;
    /** Files of modules to load. */
    readonly load?: readonly string[];
    /** Further tables of the configuration. */
    readonly tables?: string;
  } = {},
): Promise<BenchServer> {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-bench-'));
  const config = join(folder, 'waxwing.toml');
  writeFileSync(
    config,
    `data = "${join(folder, 'data')}"
[listen]
c2s = ["127.0.0.1:${port}"]
c2s_tls = []
http = [${more.http === undefined ? '' : `"127.0.0.1:${more.http}"`}]
https = []
[c2s]
allow_plain_tcp_on_loopback = true
allow_sasl_plain_without_tls = true
[auth]
scram_iterations = 4096
password_min_length = 1
[limits]
connections = 20000
connections_per_address = "unlimited"
[modules.register]
open = true
per_address = "unlimited"
in_all = "unlimited"
[modules]
disabled = ["proxy65"]
load = ${JSON.stringify(more.load ?? [])}
[log]
level = "error"
${more.tables ?? ''}`,
  );
  const program = `import { main } from '${new URL('../src/server/admin/cli.js', import.meta.url)}';
import { monitorEventLoopDelay } from 'node:perf_hooks';
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
let cpu = process.cpuUsage();
process.on('message', (what) => {
  if (what === 'load') {
    const { user, system } = process.cpuUsage(cpu);
    process.send({ cpu: (user + system) / 1000, p99: delay.percentile(99) / 1e6, most: delay.max / 1e6 });
    cpu = process.cpuUsage();
    delay.reset();
    return;
  }
  if (what === 'collect') { gc(); gc(); }
  process.send(process.memoryUsage());
});
process.exitCode = await main(['start', '--config', ${JSON.stringify(config)}]);
process.disconnect();`;
  const options = ['--max-semi-space-size=32', '--expose-gc', ...(more.arguments ?? [])];
  const server = spawn(process.execPath, [...options, '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    env: { ...process.env, ...more.env },
  });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const stop = async () => {
    server.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await new Promise<void>((resolve) => server.stdout?.once('data', () => resolve()));
    const [first, ...others] = accounts;
    for (let tries = 0; ; tries++) {
      try {
        await register(first!, port);
        break;
      } catch (error) {
        if (tries > 100) throw error;
        await pause(100);
      }
    }
    for (const user of others) await register(user, port);
  } catch (error) {
    await stop();
    throw error;
  }
  const megabytes = (): number =>
    Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))?.[1] ?? 0) / 1024);
  const asks = async <T>(what: string): Promise<T> => {
    server.send(what);
    return (await once(server, 'message'))[0] as T;
  };
  const memory = (collect: boolean): Promise<NodeJS.MemoryUsage> => asks(collect ? 'collect' : 'look');
  return { megabytes, memory, load: () => asks('load'), stop };
}

/** The same over WebSocket (RFC 7395), with hand-made masked frames. */
export class WebSocketWire extends Wire {
  #isOpen = false;

  override send(text: string): boolean {
    if (!this.#isOpen) return super.send(text);
    // RFC 7395 §3.3.3
    const payload = Buffer.from(text.replace(/^<(iq|message|presence)\b(?![^>]* xmlns=)/, "<$1 xmlns='jabber:client'"));
    const head = Buffer.from([0x81, 0xfe, payload.length >> 8, payload.length & 0xff, 0, 0, 0, 0]);
    return this.socket.writable && this.socket.write(Buffer.concat([head, payload]));
  }

  protected override get header(): string {
    return "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>";
  }

  override async login(user: string, resource: string): Promise<this> {
    const upgrade = 'GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';
    const key = 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n';
    await this.ask(`${upgrade}${key}Sec-WebSocket-Protocol: xmpp\r\n\r\n`, '\r\n\r\n');
    this.#isOpen = true;
    return super.login(user, resource);
  }
}

/** The same over BOSH (XEP-0124), with a second connection for what is sent while a request is held. */
export class BoshWire extends Wire {
  readonly #sockets: readonly Socket[];
  readonly #idle: Socket[];
  readonly #waiting: string[] = [];
  #rid = 1_000_000;
  #sid = '';

  constructor(port: number) {
    super(port);
    const second = connect({ host: '127.0.0.1', port, noDelay: true });
    second.setEncoding('utf8');
    second.on('error', () => {});
    this.#sockets = [this.socket, second];
    this.#idle = [second, this.socket];
    for (const socket of this.#sockets) {
      let text = '';
      socket.removeAllListeners('data');
      socket.on('data', (chunk: string) => {
        text += chunk;
        const head = text.indexOf('\r\n\r\n') + 4;
        const length = Number(/content-length: (\d+)/i.exec(text.slice(0, head))?.[1]);
        // What is said here is ASCII.
        if (head < 4 || text.length < head + length) return;
        const body = text.slice(head, head + length);
        text = '';
        this.#idle.push(socket);
        this.#answered(body);
      });
    }
  }

  #answered(body: string): void {
    this.#sid ||= / sid="([^"]+)"/.exec(body)?.[1] ?? '';
    this.hear(body);
    if (this.#waiting.length > 0) this.#post(this.#waiting.splice(0).join(''));
    else if (this.#idle.length === 2) this.#post('');
  }

  override send(text: string): boolean {
    if (this.#idle.length > 0) this.#post(text);
    else this.#waiting.push(text);
    return true;
  }

  #post(text: string): void {
    const isHeader = text === this.header;
    const sid = this.#sid === '' ? " wait='60' hold='1' ver='1.11'" : ` sid='${this.#sid}'`;
    const restart = isHeader ? ` to='localhost' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'` : '';
    const again = isHeader && this.#sid !== '' ? " xmpp:restart='true'" : '';
    const tag = `<body xmlns='http://jabber.org/protocol/httpbind' rid='${this.#rid++}'${sid}${restart}${again}>`;
    const body = `${tag}${isHeader ? '' : text}</body>`;
    const head = `POST /http-bind HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n`;
    this.#idle.shift()!.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
  }

  override end(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
