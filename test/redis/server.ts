/**
 * The servers that the tests use: the one that `WAXWING_REDIS` (HOST:PORT) names, and others that a test starts, of the same
 * program (`WAXWING_REDIS_PROGRAM`, usually redis-server), in folders of their own.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Storage } from '../../src/storage/contract.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import type { ClientOptions } from '../../src/storage/redis/client.js';
import { openRedis, type RedisOptions, type RedisStorage } from '../../src/storage/redis/index.js';
import { addressOf } from '../../src/storage/redis/settings.js';
import { routed } from '../../src/storage/wrappers.js';
import { freePort } from '../interop/ports.js';

/** Options of a client for the server of the environment. */
export function clientOptions(more: Partial<ClientOptions> = {}): ClientOptions {
  const { WAXWING_REDIS } = process.env;
  assert.ok(WAXWING_REDIS, 'WAXWING_REDIS has to name a server: test/redis/run.sh starts one');
  return { mode: 'single', addresses: [addressOf(WAXWING_REDIS)], connectTimeout: 5000, answerTimeout: 5000, ...more };
}

/** Options of a client for a server on this machine. */
export const clientAt = (port: number, more: Partial<ClientOptions> = {}): ClientOptions => ({
  mode: 'single',
  addresses: [{ host: '127.0.0.1', port }],
  connectTimeout: 5000,
  answerTimeout: 5000,
  ...more,
});

export const newPrefix = (): string => `test-${randomBytes(6).toString('hex')}`;

/** An empty storage; it goes with the server. */
export const emptyStorage = (more: Partial<RedisOptions> = {}): Promise<RedisStorage> =>
  openRedis({ client: clientOptions(), prefix: newPrefix(), server: 'test', ...more });

/** For dialogues: everything in memory, except what may be lost. */
export async function dialogueStorage(): Promise<Storage> {
  const redis = await emptyStorage();
  const stores = { last_activity: redis, last_logins: redis, client_caps: redis };
  return routed({ default: new MemoryStorage(), stores });
}

/** A server of a test, which can be stopped and started again. */
export class Engine {
  readonly port: number;
  readonly #folder = mkdtempSync(join(tmpdir(), 'waxwing-redis-'));
  readonly #arguments: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(port: number, more: readonly string[]) {
    this.port = port;
    this.#arguments = more;
  }

  /** `more`: further arguments of the program. `port`: a free one if it is omitted. */
  static async start(more: readonly string[] = [], port?: number): Promise<Engine> {
    const engine = new Engine(port ?? (await freePort()), more);
    await engine.start();
    return engine;
  }

  /** Resolves when it accepts connections. */
  async start(): Promise<void> {
    const program = process.env.WAXWING_REDIS_PROGRAM ?? 'redis-server';
    const file = join(this.#folder, 'conf');
    // Sentinels write into it.
    writeFileSync(file, '');
    const given = ['--bind', '127.0.0.1', '--port', String(this.port), '--dir', this.#folder, '--save', ''];
    const child = spawn(program, [file, ...given, ...this.#arguments], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    const lines: string[] = [];
    let isReady = false;
    for await (const line of createInterface({ input: child.stdout })) {
      lines.push(line);
      isReady = /Ready to accept connections|Sentinel ID is/.test(line);
      if (isReady) break;
    }
    assert.ok(isReady, lines.join('\n'));
    child.stdout.resume();
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    // One that is stopped sees no other signal.
    child.kill('SIGCONT');
    await ended;
  }

  /** After SIGSTOP it does not answer, and its connections stay open, until SIGCONT. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process!.kill(signal);
  }

  async remove(): Promise<void> {
    await this.stop('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
