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
    this.socket.on('data', (text: string) => {
      this.#onText(text);
      if (this.#wanted === undefined) return;
      this.#seen += text;
      if (!this.#seen.includes(this.#wanted.what)) return;
      const { resolve } = this.#wanted;
      this.#wanted = undefined;
      resolve();
    });
  }

  send(text: string): boolean {
    return this.socket.writable && this.socket.write(text);
  }

  /** Sends a message with the current time. */
  sendTimestamp(to: string, padding = ''): void {
    this.send(`<message to='${to}' type='chat'><body>${performance.now()} ${padding}</body></message>`);
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
    await this.ask(`<iq type='set' id='b'>${bind}</iq>`, 'id="b"');
    await this.ask("<presence/><iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>", 'id="p"');
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
  stop(): Promise<void>;
}

/**
 * A server of this build with these accounts, whose passwords are `secret`. Limits have their defaults, except for
 * connections and registrations per address.
 */
export async function startServer(
  port: number,
  accounts: readonly string[],
  more: { readonly arguments?: readonly string[]; readonly env?: NodeJS.ProcessEnv; readonly http?: number } = {},
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
[log]
level = "error"
`,
  );
  const program = `import { main } from '${new URL('../src/server/admin/cli.js', import.meta.url)}';
process.on('message', (what) => {
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
  const memory = async (collect: boolean): Promise<NodeJS.MemoryUsage> => {
    server.send(collect ? 'collect' : 'look');
    return (await once(server, 'message'))[0] as NodeJS.MemoryUsage;
  };
  return { megabytes, memory, stop };
}

/** The same over WebSocket (RFC 7395), with hand-made masked frames. */
export class WebSocketWire extends Wire {
  #isOpen = false;

  override send(text: string): boolean {
    if (!this.#isOpen) return super.send(text);
    const payload = Buffer.from(text);
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
