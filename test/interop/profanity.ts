/** Profanity (libstrophe), in a terminal of tmux: what people type, and what they see. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Patience with what has to be seen, in ms. */
const patience = 15_000;

export class Profanity {
  readonly #home: string;
  /** The name of a tmux server of our own. */
  readonly #name = `waxwing-${randomBytes(6).toString('hex')}`;

  private constructor(home: string) {
    this.#home = home;
  }

  static async start(): Promise<Profanity> {
    const profanity = new Profanity(await mkdtemp(join(tmpdir(), 'waxwing-profanity-')));
    await profanity.#tmux('new-session', '-d', '-x', '160', '-y', '120', 'profanity');
    await profanity.sees(/Type '\/help'/);
    return profanity;
  }

  /** Types a line. */
  async types(text: string): Promise<void> {
    await this.#tmux('send-keys', '-l', '--', text);
    await this.#tmux('send-keys', 'Enter');
  }

  /** Waits until the screen shows it; returns the screen. */
  async sees(what: RegExp): Promise<string> {
    const until = Date.now() + patience;
    for (;;) {
      const screen = await this.screen();
      if (what.test(screen)) return screen;
      if (Date.now() > until) throw new Error(`Profanity does not show ${what}:\n${screen.replace(/\n+/g, '\n')}`);
      await pause(50);
    }
  }

  async screen(): Promise<string> {
    return (await this.#tmux('capture-pane', '-p')).replaceAll(/ +$/gm, '');
  }

  async quits(): Promise<void> {
    await this.#tmux('kill-server').catch(() => {});
    await rm(this.#home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  async #tmux(...args: readonly string[]): Promise<string> {
    const env = {
      PATH: process.env.PATH ?? '',
      TERM: 'xterm-256color',
      LANG: 'C.UTF-8',
      HOME: this.#home,
      TMUX_TMPDIR: this.#home,
      XDG_CONFIG_HOME: join(this.#home, 'config'),
      XDG_DATA_HOME: join(this.#home, 'data'),
    };
    const { stdout } = await run('tmux', ['-u', '-f', '/dev/null', '-L', this.#name, ...args], { env });
    return stdout;
  }
}
