/** Three nodes of a cluster, each a process of its own, over the PostgreSQL of `WAXWING_POSTGRESQL`. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { View } from '../../src/server/cluster/view.js';
import { ServerProcess } from '../interop/server.js';
import { withoutLimits } from '../interop/unlimited.js';
import { newSchema, openIn } from '../postgresql/server.js';

const url = new URL(process.env.WAXWING_POSTGRESQL!);
export const names = ['a', 'b', 'c'] as const;
export type Name = (typeof names)[number];

/** The table [cluster] of all nodes, except their names. On a busy machine processes pause for long. */
export const links = {
  listen: '127.0.0.1:0',
  secret: 'the secret of all nodes of this test',
  unreachable_seconds: Number(process.env.UNREACHABLE ?? 10),
};

/** Ms to wait for a view: longer only if something hangs. */
const patience = 60_000;

export interface ClusterOptions {
  readonly accounts: Readonly<Record<string, string>>;
  /** Laid over the usual configuration of all nodes, or of one. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export class Cluster {
  readonly nodes = new Map<Name, ServerProcess>();
  readonly #folder = mkdtempSync(join(tmpdir(), 'waxwing-cluster-'));
  readonly #schema = newSchema();
  readonly #options: ClusterOptions;

  private constructor(options: ClusterOptions) {
    this.#options = options;
    writeFileSync(join(this.#folder, 'password'), decodeURIComponent(url.password));
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    try {
      for (const name of names) await cluster.add(name);
      await cluster.rests();
    } catch (error) {
      await cluster.close();
      throw error;
    }
    return cluster;
  }

  /** Starts a node for the first time. `more` is laid over its configuration. */
  async add(name: Name, more: Readonly<Record<string, unknown>> = {}): Promise<ServerProcess> {
    const node = await ServerProcess.start(this.options(name, more));
    this.nodes.set(name, node);
    return node;
  }

  /** How a process would be started as a node. */
  options(name: string, more: Readonly<Record<string, unknown>> = {}) {
    const { accounts, config = {} } = this.#options;
    return {
      accounts: name === 'a' ? accounts : {},
      config: {
        cluster: { ...links, node: name },
        storage: {
          driver: 'postgresql',
          low_space_bytes: 0,
          postgresql: {
            host: url.hostname,
            port: Number(url.port),
            user: url.username,
            database: url.pathname.slice(1),
            password_file: join(this.#folder, 'password'),
            schema: this.#schema,
            lanes: 2,
          },
          files: { folder: join(this.#folder, 'files') },
        },
        ...withoutLimits,
        ...config,
        ...more,
      },
    };
  }

  node(name: Name): ServerProcess {
    return this.nodes.get(name)!;
  }

  /** The port for clients of a node that runs, each time of another one, as a load balancer chooses it. */
  port(): number {
    const running = [...this.nodes].filter(([name, node]) => node.running && !this.#frozen.has(name));
    this.#turn++;
    return running[this.#turn % running.length]![1].port('c2s');
  }
  #turn = 0;

  /** Stops a process where it is until a promise resolves. Clients that connect meanwhile are sent to other nodes. */
  async freeze(name: Name, until: Promise<unknown>): Promise<void> {
    this.#frozen.add(name);
    this.node(name).freeze();
    await until;
    this.node(name).thaw();
    this.#frozen.delete(name);
  }
  readonly #frozen = new Set<Name>();

  async view(): Promise<View> {
    const storage = await openIn(this.#schema, { lanes: 1 });
    try {
      return (await storage.document<View>('cluster').get('view'))!;
    } finally {
      await storage.close();
    }
  }

  /** Resolves with the view once it is as wanted. */
  async sees(what: string, isSo: (view: View) => boolean): Promise<View> {
    const until = Date.now() + patience;
    for (;;) {
      const view = await this.view();
      if (isSo(view)) return view;
      if (Date.now() > until) throw new Error(`not seen: ${what}; ${JSON.stringify({ ...view, slots: [] })}`);
      await pause(100);
    }
  }

  /** Resolves when all running nodes are members with even shares. */
  rests(): Promise<View> {
    const running = [...this.nodes].filter(([, node]) => node.running).map(([name]) => name);
    return this.sees(`members ${running}`, ({ members, slots, handingOver }) => {
      const shares = members.map(({ number }) => slots.filter((slot) => slot === number).length);
      const even = 4096 / running.length;
      return (
        handingOver === null &&
        members.length === running.length &&
        running.every((name) => members.some(({ id }) => id === name)) &&
        shares.every((share) => Math.abs(share - even) < even / 8)
      );
    });
  }

  /** Resolves when the other members have expelled a node. */
  expels(name: Name): Promise<View> {
    return this.sees(`no member ${name}`, ({ members }) => members.every(({ id }) => id !== name));
  }

  /** The name of the member where an address lives. */
  async homeOf(slot: number): Promise<Name> {
    const { members, slots } = await this.view();
    return members.find(({ number }) => number === slots[slot])!.id as Name;
  }

  /** What the nodes have logged since this was called last, except lines that `expected` matches. */
  complaints(expected: RegExp): string[] {
    return [...this.nodes.values()].flatMap((node) => node.takeLog()).filter((line) => !expected.test(line));
  }

  async close(): Promise<void> {
    for (const node of this.nodes.values()) await node.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
