/** Runs another server as an unprivileged process of its own, in a temporary folder. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { patience, within } from '../server.js';
import type { Place } from './peer.js';

const mostLines = 5000;
/** Patience with a start, in ms: Erlang computes for seconds, which are minutes where the machine has other work. */
const starting = 180_000;
/** The user `nobody`. */
const nobody = 65534;
const isRoot = process.getuid?.() === 0;

/**
 * What the programs are started by: a command that runs its arguments, such as one that enters a chroot. Default: nothing.
 * It must end in the program itself (exec), since that is the process to be ended.
 */
const enter = (process.env.WAXWING_INTEROP_ENTER ?? '').split(' ').filter((word) => word !== '');

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const unprivileged = isRoot ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--'] : [];

function commandOf({ program, args, env = {} }: Command, folder: string): readonly [string, ...string[]] {
  const variables = Object.entries({ HOME: folder, ...env }).map(([name, value]) => `${name}=${value}`);
  return [...enter, ...unprivileged, 'env', ...variables, program, ...args] as unknown as [string, ...string[]];
}

/** What a command writes that ends on its own, such as a question about what is installed. */
export async function outputOf(command: Command): Promise<string> {
  const [program, ...args] = commandOf(command, tmpdir());
  return (await promisify(execFile)(program, args)).stdout;
}

export class Program {
  readonly folder: string;
  readonly #name: string;
  #child: ChildProcess | undefined;
  /** What it wrote, over all starts. */
  readonly log: string[] = [];

  private constructor(name: string, folder: string) {
    this.#name = name;
    this.folder = folder;
  }

  static async create(name: string): Promise<Program> {
    return new Program(name, await mkdtemp(join(tmpdir(), `waxwing-${name}-`)));
  }

  /** Writes a file of the folder. */
  async writes(path: string, text: string): Promise<string> {
    const file = join(this.folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
    return file;
  }

  /** Resolves once it accepts connections at all of these places; at once if it runs. */
  async start(command: Command, places: readonly Place[]): Promise<void> {
    if (this.isRunning) return;
    if (isRoot) await give(this.folder);
    const [program, ...args] = commandOf(command, this.folder);
    const child = spawn(program, args, { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      createInterface(stream).on('line', (line) => {
        this.log.push(line);
        if (this.log.length > mostLines) this.log.shift();
      });
    const exited = once(child, 'exit').then(() => {
      throw new Error(`${this.#name} did not start:\n${this.log.slice(-40).join('\n')}`);
    });
    exited.catch(() => {});
    const accepting = Promise.all(
      places.map((place) => until(`the start of ${this.#name}`, starting, () => accepts(place))),
    );
    await Promise.race([accepting, exited]).catch((error: unknown) => {
      throw new Error(`${error}\n${this.log.slice(-40).join('\n')}`);
    });
  }

  get pid(): number {
    assert.ok(this.#child?.pid !== undefined, `${this.#name} was not started`);
    return this.#child.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    try {
      await within(patience, `the end of ${this.#name}`, () => exited);
    } catch (error) {
      child.kill('SIGKILL');
      await exited;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.end('SIGKILL');
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Everything in a folder belongs to the user that the program runs as. */
async function give(folder: string): Promise<void> {
  await chown(folder, nobody, nobody);
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }))
    await chown(join(entry.parentPath ?? entry.path, entry.name), nobody, nobody);
}

function accepts({ host, port }: Place): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Asks again and again, since other servers do not say when: the first answer that is neither undefined nor false. */
export async function until<T>(what: string, ms: number, look: () => Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + ms;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`${what} took longer than ${ms / 1000} s`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
