/** Starts Waxwing as a process of its own on free ports of 127.0.0.1, and ends it: in order, or at once. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Bound, ListenerKind } from '../../src/server/listeners.js';
import { freePort } from './ports.js';

/** Commands for serve.ts. */
export interface Settings {
  readonly config: Readonly<Record<string, unknown>>;
  /** Passwords by bare address. Those that are not there yet are made. */
  readonly accounts: Readonly<Record<string, string>>;
  /** How far its wall clock is ahead of ours, in ms. */
  readonly clock?: number;
}

/** The exit code of a server that wants to be started again: other nodes of its cluster have expelled it. */
export const restarts = 75;

/** Output of serve.ts when it listens. */
export interface Ready {
  readonly listening: readonly Bound[];
}

export interface ServerOptions {
  /** Laid over the usual configuration, table by table. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly accounts: Readonly<Record<string, string>>;
  /** Options of Node. */
  readonly node?: readonly string[];
  /** The data folder; default: a temporary one, which goes with the server. */
  readonly data?: string;
}

const usual = {
  // It depends on the machine's disk, and some tests fill a small one.
  storage: { low_space_bytes: 0 },
  hosts: { localhost: {} },
  listen: { c2s: ['127.0.0.1:0'], c2s_tls: ['127.0.0.1:0'], https: ['127.0.0.1:0'], http: ['127.0.0.1:0'] },
  auth: { scram_iterations: 4096, password_min_length: 4 },
  // A stop ends as soon as all streams are closed: on a busy machine that takes more than a moment.
  admin: { shutdown_grace_seconds: 30 },
  log: { level: 'warn' },
  // Several servers run at once.
  modules: { proxy65: { listen: ['127.0.0.1:0'] } },
};

type Listen = Readonly<Partial<Record<ListenerKind, readonly string[]>>>;

/** Replaces each port 0 by a free port. A restarted server then listens on the same addresses. */
async function withPorts(listen: Listen): Promise<Listen> {
  const kinds = Object.entries(listen).map(async ([kind, places]) => [kind, await Promise.all(places.map(withPort))]);
  return Object.fromEntries(await Promise.all(kinds));
}

async function withPort(place: string): Promise<string> {
  const [, host] = /^(.*):0$/.exec(place) ?? [];
  return host === undefined ? place : `${host}:${await freePort(host.replace(/^\[|\]$/g, ''))}`;
}

/** Patience with whatever has to happen, in ms. A test takes this long only if it fails. */
export const patience = 60_000;
const program = fileURLToPath(new URL('./serve.js', import.meta.url));

/** A server that can be ended and started again on the same data and ports. */
export class ServerProcess {
  readonly data: string;
  readonly #isOurs: boolean;
  readonly #accounts: Readonly<Record<string, string>>;
  readonly #node: readonly string[];
  #config: Record<string, unknown>;
  #process: ChildProcess | undefined;
  #lines: Interface | undefined;
  /** The process is gone, and everything that it wrote is in the log. */
  #closed: Promise<unknown> = Promise.resolve();
  #listening: readonly Bound[] = [];
  /** Its log lines over all starts, as JSON. */
  readonly log: string[] = [];

  private constructor(data: string, isOurs: boolean, { config = {}, accounts, node = [] }: ServerOptions) {
    this.data = data;
    this.#isOurs = isOurs;
    this.#accounts = accounts;
    this.#node = node;
    this.#config = merged({ ...usual, data }, config);
  }

  static async start(options: ServerOptions): Promise<ServerProcess> {
    const data = options.data ?? (await mkdtemp(join(tmpdir(), 'waxwing-interop-')));
    const server = new ServerProcess(data, options.data === undefined, options);
    try {
      await server.start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  /** Resolves once it listens. `clock`: how far its wall clock is ahead, in ms. */
  async start({ clock = 0 } = {}): Promise<void> {
    this.#config = merged(this.#config, { listen: await withPorts(this.#config.listen as Listen) });
    const settings: Settings = { config: this.#config, accounts: this.#accounts, clock };
    const child = spawn(process.execPath, [...this.#node, program, JSON.stringify(settings)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#process = child;
    this.#closed = once(child, 'close');
    const lines = createInterface(child.stdout);
    this.#lines = lines;
    createInterface(child.stderr).on('line', (line) => void this.log.push(line));
    const ready = await within(patience, 'the start of the server', async () => {
      const exited = this.#closed.then(() => {
        throw new Error(`the server did not start:\n${this.log.slice(-20).join('\n')}`);
      });
      const [line] = (await Promise.race([once(lines, 'line'), exited])) as [string];
      exited.catch(() => {});
      return JSON.parse(line) as Ready;
    });
    this.#listening = ready.listening;
  }

  /** Sets the wall clock of the running server forward or back. */
  async step(ms: number): Promise<void> {
    await this.#tell(String(ms), 'a step of the clock');
  }

  /** Collects garbage, if it was started with `--expose-gc`. */
  async collect(): Promise<void> {
    await this.#tell('collect', 'a garbage collection');
  }

  async #tell(line: string, what: string): Promise<void> {
    const answered = once(this.#lines!, 'line');
    this.#process!.stdin!.write(`${line}\n`);
    await within(patience, what, () => answered);
  }

  /** The port at an address; by default the last one that was configured. */
  port(kind: ListenerKind, at?: string): number {
    const bound = this.#listening.findLast((one) => one.kind === kind && (at === undefined || one.address === at));
    assert.ok(bound !== undefined, `nothing listens for ${kind}`);
    return bound.port;
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  get pid(): number {
    assert.ok(this.#process?.pid !== undefined, 'the server was not started');
    return this.#process.pid;
  }

  /** Stops the process where it is, until `thaw`. */
  freeze(): void {
    this.#process?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Resolves with the exit code, or the signal, once the process is gone and its log is complete. */
  async gone(): Promise<number | string | null> {
    const child = this.#process!;
    await within(patience, 'the end of the server', () => this.#closed);
    return child.exitCode ?? child.signalCode;
  }

  /** The power goes, as far as the process knows of it. Resolves once it is gone, and its log is complete. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  /** Ends it in order. Rejects where it does not end, or not well. */
  async stop(): Promise<void> {
    const child = this.#process;
    const reported = (what: string) => `the server ${what}:\n${this.log.slice(-20).join('\n')}`;
    assert.ok(this.running, reported(`was gone already, by ${child?.signalCode ?? child?.exitCode}`));
    await this.#end('SIGTERM');
    assert.equal(child?.exitCode ?? child?.signalCode, 0, reported('did not stop well'));
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (this.running) child?.kill(signal);
    try {
      // It may be gone already, and what it wrote last is still on its way.
      await within(patience, `the end of the server by ${signal}`, () => this.#closed);
    } catch (error) {
      child?.kill('SIGKILL');
      await this.#closed;
      throw error;
    }
  }

  /** Errors and warnings that it logged since this was asked last. */
  takeLog(): string[] {
    return this.log.splice(0);
  }

  /** Ends it whatever it does, and removes its data. */
  async close(): Promise<void> {
    await this.kill();
    if (this.#isOurs) await rm(this.data, { recursive: true, force: true });
  }
}

/** Rejects with `what` if the work takes more than so many ms. */
export async function within<T>(ms: number, what: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function merged(below: Readonly<Record<string, unknown>>, above: Readonly<Record<string, unknown>>) {
  const result: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const old = result[key];
    result[key] = key !== 'hosts' && isTable(old) && isTable(value) ? merged(old, value) : value;
  }
  return result;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
