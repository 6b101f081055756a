/** A server of this build, and connections to it that do no more than they are told: for the benchmarks beside it. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A connection that says what it is told, and remembers nothing. */
export class Wire {
  readonly socket: Socket;
  #seen = '';
  #wanted: { readonly what: string; readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #heard: (text: string) => void = () => {};

  constructor(port: number, localAddress = '127.0.0.1') {
    this.socket = connect({ host: '127.0.0.1', port, localAddress, noDelay: true });
    this.socket.setEncoding('utf8');
    this.socket.on('error', () => {});
    this.socket.on('close', () => this.#wanted?.reject(new Error(`closed before ${this.#wanted.what}`)));
    this.socket.on('data', (text: string) => {
      this.#heard(text);
      if (this.#wanted === undefined) return;
      this.#seen += text;
      if (!this.#seen.includes(this.#wanted.what)) return;
      const { resolve } = this.#wanted;
      this.#wanted = undefined;
      resolve();
    });
  }

  say(text: string): boolean {
    return this.socket.writable && this.socket.write(text);
  }

  /** Says to somebody what time it is. */
  saysWhen(to: string, padding = ''): void {
    this.say(`<message to='${to}' type='chat'><body>${performance.now()} ${padding}</body></message>`);
  }

  /** Notes, from now on, for how many ms each of those was under way. */
  notes(delays: number[]): void {
    this.#heard = (text) => {
      for (const [, stamp] of text.matchAll(/<body>([\d.]+) /g)) delays.push(performance.now() - Number(stamp));
    };
  }

  /** Says it, and waits until `what` came. */
  ask(text: string, what: string): Promise<void> {
    this.#seen = '';
    const came = new Promise<void>((resolve, reject) => {
      this.#wanted = { what, resolve, reject };
    });
    this.say(text);
    return came;
  }

  static readonly header =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>";

  async login(user: string, resource: string): Promise<this> {
    const plain = Buffer.from(`\0${user}\0secret`).toString('base64');
    await this.ask(Wire.header, '</stream:features>');
    await this.ask(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>${plain}</auth>`, '<success');
    await this.ask(Wire.header, '</stream:features>');
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

/**
 * A server of this build with these accounts, whose passwords are `secret`, and the limits of a new installation but for
 * connections and registrations of one address.
 */
export async function startServer(
  port: number,
  accounts: readonly string[],
): Promise<{ megabytes(): number; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'waxwing-bench-'));
  const config = join(folder, 'waxwing.toml');
  writeFileSync(
    config,
    `data = "${join(folder, 'data')}"
[listen]
c2s = ["127.0.0.1:${port}"]
c2s_tls = []
http = []
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
process.exitCode = await main(['start', '--config', ${JSON.stringify(config)}]);`;
  const server = spawn(process.execPath, ['--max-semi-space-size=32', '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const stop = async () => {
    server.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await new Promise<void>((resolve) => server.stdout.once('data', () => resolve()));
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
  return { megabytes, stop };
}
