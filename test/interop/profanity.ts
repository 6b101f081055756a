/** Profanity (libstrophe) in a terminal of tmux: typed commands, and displayed text. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Account } from './device.js';
import { patience } from './server.js';

const run = promisify(execFile);

export class Profanity {
  readonly #home: string;
  /** The name of a tmux server of our own. */
  readonly #name = `waxwing-${randomBytes(6).toString('hex')}`;
  /** A client of tmux in control mode, which tells when the screen changes. The terminal ends with it, and so with us. */
  readonly #client: ChildProcess;
  readonly #watchers = new Set<() => void>();

  private constructor(home: string) {
    this.#home = home;
    const size = ['-x', '160', '-y', '120'];
    this.#client = spawn(
      'tmux',
      [...this.#server(), '-C', 'new-session', ...size, 'profanity', ';', 'set', 'destroy-unattached', 'on'],
      { env: this.#env(), stdio: ['pipe', 'pipe', 'ignore'] },
    );
    this.#client.stdout!.on('data', () => {
      for (const look of this.#watchers) look();
    });
  }

  static async start(): Promise<Profanity> {
    const profanity = new Profanity(await mkdtemp(join(tmpdir(), 'waxwing-profanity-')));
    await once(profanity.#client.stdout!, 'data');
    await profanity.sees(/Type '\/help'/);
    return profanity;
  }

  /** Types a line. */
  async types(text: string): Promise<void> {
    await this.#tmux('send-keys', '-l', '--', text);
    await this.#tmux('send-keys', 'Enter');
  }

  /** Begins to log in to 127.0.0.1. `force`: by STARTTLS; `legacy`: TLS from the first byte on. */
  async connects(account: Account, port: number, tls: 'force' | 'legacy'): Promise<void> {
    await this.types(`/connect ${account.bare} server 127.0.0.1 port ${port} tls ${tls}`);
    await this.types(account.password);
  }

  /** Logs in for the first time, and accepts the certificate: this time or always. Returns the screen. */
  async logsIn(
    account: Account,
    port: number,
    tls: 'force' | 'legacy',
    trust: 'allow' | 'always' = 'allow',
  ): Promise<string> {
    await this.connects(account, port, tls);
    await this.sees(/Use '.tls allow'/);
    await this.types(`/tls ${trust}`);
    return this.sees(/logged in successfully/);
  }

  /** Waits until the screen shows it; returns the screen. */
  async sees(what: RegExp): Promise<string> {
    let isLate = false;
    let changed = (): void => {};
    const look = (): void => changed();
    this.#watchers.add(look);
    const timer = setTimeout(() => {
      isLate = true;
      changed();
    }, patience);
    try {
      for (;;) {
        const change = new Promise<void>((resolve) => {
          changed = resolve;
        });
        const screen = await this.screen();
        if (what.test(screen)) return screen;
        if (isLate) throw new Error(`Profanity does not show ${what}:\n${screen.replace(/\n+/g, '\n')}`);
        await change;
      }
    } finally {
      clearTimeout(timer);
      this.#watchers.delete(look);
    }
  }

  async screen(): Promise<string> {
    return (await this.#tmux('capture-pane', '-p')).replaceAll(/ +$/gm, '');
  }

  async quits(): Promise<void> {
    if (this.#client.exitCode === null) {
      const exited = once(this.#client, 'exit');
      this.#client.stdin!.end();
      await exited;
    }
    await rm(this.#home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  async #tmux(...args: readonly string[]): Promise<string> {
    return (await run('tmux', [...this.#server(), ...args], { env: this.#env() })).stdout;
  }

  #server(): string[] {
    return ['-u', '-f', '/dev/null', '-L', this.#name];
  }

  #env(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH ?? '',
      TERM: 'xterm-256color',
      LANG: 'C.UTF-8',
      HOME: this.#home,
      TMUX_TMPDIR: this.#home,
      XDG_CONFIG_HOME: join(this.#home, 'config'),
      XDG_DATA_HOME: join(this.#home, 'data'),
    };
  }
}
