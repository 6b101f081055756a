/**
 * Dialogues with a started server over real sockets, in XML: what a client sends and what it has to receive. README.md
 * shows how to write one.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectTcp, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { Jid } from '../../src/server/address/jid.js';
import { LocalNetwork } from '../../src/server/cluster/local-link.js';
import { slotCount, slotOf } from '../../src/server/cluster/slots.js';
import { TlsNetwork } from '../../src/server/cluster/tls-network.js';
import type { Space } from '../../src/server/disk-space.js';
import { type ClusterOptions, createServer, type Server, standardModules } from '../../src/server/index.js';
import type { ListenerKind } from '../../src/server/listeners.js';
import type { ModuleDefinition } from '../../src/server/module/index.js';
import type { Destination } from '../../src/server/routing/router.js';
import type { Connection } from '../../src/server/routing/session.js';
import { NS } from '../../src/server/stanza/ns.js';
import { reset } from '../../src/server/transport/reset.js';
import { type Element, elementOf, parse, serialize } from '../../src/server/xml/element.js';
import type { BlobStorage } from '../../src/storage/blobs.js';
import type { Storage } from '../../src/storage/contract.js';
import { type LateStorage, late } from '../../src/storage/late.js';
import { MemoryStorage } from '../../src/storage/memory.js';
import { mulberry32, routed } from '../../src/storage/wrappers.js';
import { atEndOfFile } from '../endings.js';
import { shuffled } from '../shuffle.js';
import { CheckedReader } from '../strict.js';
import { BoshConnection } from './bosh.js';
import { difference, fillIn } from './match.js';
import { Mover, movingSeed } from './moving.js';
import { digest, mac, Scram, saltPassword } from './scram.js';
import { whole } from './whole.js';

export type TransportName = 'tcp' | 'starttls' | 'tls' | 'websocket' | 'wss' | 'bosh';

/** `WAXWING_TRANSPORT=bosh` runs dialogues over another transport, except where a client names its own. */
const usualTransport = (process.env.WAXWING_TRANSPORT ?? 'tcp') as TransportName;

/** Every account of a dialogue has it, unless it is given another. */
export const password = 'pencil';

/** Turns of the event loop without anything between nodes after which they are at rest. */
const calmTurns = 10;

/** Patience, in ms: only a dialogue that fails waits for so long, or one on a very busy machine. */
const patience = 60_000;

/**
 * `WAXWING_STORAGE=late:SEED` runs dialogues over a storage that is late (src/storage/late.ts); `postgresql`: over a schema
 * of the server that `WAXWING_POSTGRESQL` names, which is late as well; `cassandra`: with archives in a keyspace of the
 * node that `WAXWING_CASSANDRA` names, and everything else in memory; `redis`: the same with what may be lost at the server
 * that `WAXWING_REDIS` names.
 */
const storageOfAll = process.env.WAXWING_STORAGE ?? '';
const lateSeed = ['postgresql', 'cassandra', 'redis'].includes(storageOfAll)
  ? '1'
  : /^late:(\d+)$/.exec(storageOfAll)?.[1];

/** `WAXWING_CONTENTS=s3` keeps the large contents of dialogues in the store that `WAXWING_S3` names. */
const isOnS3 = process.env.WAXWING_CONTENTS === 's3';

/** `WAXWING_MODULES=shuffled:SEED` runs dialogues with the standard modules in another order, which changes nothing. */
const shuffleSeed = /^shuffled:(\d+)$/.exec(process.env.WAXWING_MODULES ?? '')?.[1];
const standard = shuffleSeed === undefined ? standardModules : shuffled(standardModules, Number(shuffleSeed));

/** `WAXWING_NODES=N` runs dialogues on N nodes; each actor connects to the one where its account lives. */
const nodesOfAll = movingSeed === undefined ? Number(process.env.WAXWING_NODES ?? 1) : 2;
/** `WAXWING_SPREAD=SEED`: each connects to a node that the seed chooses instead. */
const spreadSeed = process.env.WAXWING_SPREAD;
const newSpread = () => (spreadSeed === undefined ? undefined : mulberry32(Number(spreadSeed)));
let spread = newSpread();
/** `WAXWING_LINKS=tls` connects nodes over real sockets. */
const overTls = process.env.WAXWING_LINKS === 'tls';
const tlsNetworks: TlsNetwork[] = [];
// A file runs alone as it does after others.
atEndOfFile(() => {
  spread = newSpread();
});

const hosts = { localhost: {}, 'elsewhere.example': {} };

const usual = {
  hosts,
  listen: { c2s: ['127.0.0.1:0'], c2s_tls: ['127.0.0.1:0'], https: ['127.0.0.1:0'], http: ['127.0.0.1:0'] },
  // A client has received everything once the server has answered a later request of another client.
  c2s: { allow_plain_tcp_on_loopback: true, notification_delay_seconds: 0 },
  auth: { scram_iterations: 4096, password_min_length: 4 },
  admin: { shutdown_grace_seconds: 1 },
  // It depends on how busy the machine is.
  limits: { rate_account: { cpu_ms_per_second: 'unlimited', cpu_ms_burst: 'unlimited' } },
  // It depends on the machine's disk.
  storage: { low_space_bytes: 0 },
  log: { level: 'error' },
  modules: { proxy65: { listen: ['127.0.0.1:0'] } },
};

/** A client whose connections are cut is gone soon, and one on a busy machine is not. */
const overBosh = { http: { bosh: { inactivity_seconds: 10, polling_seconds: 0 } } };

/** The configuration of a scenario. Clients that name no transport use BOSH if WAXWING_TRANSPORT says so. */
const configOf = ({ config = {}, transport = usualTransport }: ScenarioOptions) =>
  usualTransport === 'bosh' && transport === 'bosh' ? merged(overBosh, config) : config;

// ---------------------------------------------------------------------------------------------------------------
// Scenarios

export interface ScenarioOptions {
  /** Laid over the usual configuration of dialogues. Scenarios of one file with equal configurations share a server. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Modules besides the standard ones. A server with its own modules or storage is not shared. */
  readonly modules?: readonly ModuleDefinition[];
  readonly storage?: () => Storage;
  /** Where large contents are stored, instead of the folder of the server. A server with this option is not shared. */
  readonly blobs?: () => BlobStorage;
  /** Large contents are in the folder of the server, whatever WAXWING_CONTENTS says. */
  readonly isOnFiles?: boolean;
  /** The server opens the storage that its configuration names. To be used with `alone` and `isTimed`. */
  readonly isConfigured?: boolean;
  /** The storage decides itself when its operations run, and is never late besides. */
  readonly isTimed?: boolean;
  /** Looks for words, or counts what is archived, which not every storage does: such ones are not used. */
  readonly isSearching?: boolean;
  /** Receives stanzas for other servers. */
  readonly remote?: Destination;
  /** The free space on the disk. A server with this option is not shared. */
  readonly space?: () => Promise<Space>;
  /** A server of its own, whatever the configuration. */
  readonly alone?: boolean;
  /** Of clients that name none. For scenarios about one transport, whatever WAXWING_TRANSPORT says. */
  readonly transport?: TransportName;
  /** The number of nodes in this process. 1 ignores WAXWING_NODES, for scenarios about a single process. */
  readonly nodes?: number;
  /** Why its addresses do not move, whatever WAXWING_MOVING says. */
  readonly stays?: string;
  /** Between the nodes, whatever WAXWING_LINKS says. To be used with `alone`. */
  readonly network?: LocalNetwork;
  /** The server may log errors; else one is a failure. */
  readonly errors?: boolean;
}

/**
 * About connections of TCP, or what is sent over them as it stands: over BOSH a client that is cut counts as connected for a
 * while, what it has sent last may not have left, and one that reads nothing asks for nothing.
 */
export const overTcp: ScenarioOptions = { transport: 'tcp' };

/** About the end of a process, and what the next one finds; or about its files. */
export const oneProcess: ScenarioOptions = { nodes: 1, alone: true };

/**
 * About what each node has for itself: its connections, and how many it takes; the keys of TLS tickets; what it counts
 * for a user or a domain in all rooms and accounts that live there (docs/decisions/0011).
 */
export const eachNode: ScenarioOptions = { nodes: 1 };

export interface Scene {
  readonly stage: Stage;
  readonly server: Server;
  /** A client that has logged in as `user@host/resource`; the account is created if it is missing. */
  actor(address: string, options?: ActorOptions): Promise<Peer>;
  /** A client that has authenticated as `user@host`, and has no resource yet. */
  known(address: string, options?: ActorOptions): Promise<Peer>;
  /** A connection on which nothing was sent yet. */
  connect(options?: ConnectOptions): Promise<Peer>;
}

/** One test: a dialogue. Its accounts and all that belongs to them are gone when it ends. */
export function scenario(title: string, play: (scene: Scene) => Promise<void>): void;
export function scenario(title: string, options: ScenarioOptions, play: (scene: Scene) => Promise<void>): void;
export function scenario(
  title: string,
  options: ScenarioOptions | ((scene: Scene) => Promise<void>),
  play?: (scene: Scene) => Promise<void>,
): void {
  const [more, acts] = typeof options === 'function' ? [{}, options] : [options, play!];
  test(title, { timeout: 60_000 }, async () => {
    const problems = await problemsOf(more, acts);
    if (problems.length > 1) throw new AggregateError(problems, 'more than one thing went wrong');
    if (problems.length > 0) throw problems[0];
  });
}

/** The function `scenario` of a file whose scenarios share options. */
export const scenarioWith =
  (shared: ScenarioOptions): typeof scenario =>
  (title: string, ...rest: readonly unknown[]) => {
    const [options, play] = rest.length === 1 ? [{}, rest[0]] : rest;
    scenario(title, { ...shared, ...(options as ScenarioOptions) }, play as (scene: Scene) => Promise<void>);
  };

/** Plays a scenario. Resolves with what went wrong in it, when everybody had left, and in the server. */
async function problemsOf(options: ScenarioOptions, play: (scene: Scene) => Promise<void>): Promise<unknown[]> {
  const stage = await stageFor(options);
  stage.transport = options.transport ?? usualTransport;
  stage.isStill = options.stays !== undefined;
  const problems: unknown[] = [];
  try {
    await play({
      stage,
      get server() {
        return stage.server;
      },
      actor: (address, more) => stage.actor(address, more),
      known: (address, more) => stage.known(address, more),
      connect: (more) => stage.connect(more),
    });
  } catch (error) {
    problems.push(error);
  }
  await stage.clear().catch((error: unknown) => problems.push(error));
  problems.push(...stage.takeFailures());
  const errors = stage.takeErrors();
  if (options.errors !== true && errors.length > 0) problems.push(new Error(`the server logged:\n${errors.join('')}`));
  return problems;
}

/** How often a limit was met, by the metrics. */
export async function hits({ server }: { readonly server: Server }, limit: string): Promise<number> {
  const { text } = await server.metrics.text();
  const line = new RegExp(`^waxwing_limits_hit_total\\{limit="${limit}"\\} (\\d+)`, 'm').exec(text);
  return Number(line?.[1] ?? 0);
}

/** Waits until a limit has been met. */
export async function isHit(scene: { readonly server: Server }, limit: string): Promise<void> {
  while ((await hits(scene, limit)) === 0) await new Promise((resolve) => setImmediate(resolve));
}

/** The client address that the server sees. */
export const connectionOf = ({ server }: { readonly server: Server }, { jid }: Peer): Connection =>
  server.sessions.find(Jid.parse(jid))!.connection!;

const stages = new Map<string, Promise<Stage>>();
const own: Stage[] = [];

// The process would not end with them.
atEndOfFile(closeStages);

async function closeStages(): Promise<void> {
  const shared = await Promise.allSettled(stages.values());
  stages.clear();
  const all = [...own.splice(0), ...shared.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))];
  await Promise.all(all.map((stage) => stage.close()));
  await Promise.all(tlsNetworks.splice(0).map((network) => network.close()));
}

async function stageFor(given: ScenarioOptions): Promise<Stage> {
  const options = { ...given, config: configOf(given) };
  if (
    options.storage !== undefined ||
    options.blobs !== undefined ||
    options.modules !== undefined ||
    options.remote !== undefined ||
    options.alone === true
  ) {
    const stage = await Stage.open(options);
    own.push(stage);
    return stage;
  }
  const key = JSON.stringify([
    options.config,
    options.nodes ?? nodesOfAll,
    isOnS3 && options.isOnFiles === true,
    options.isSearching,
  ]);
  let stage = stages.get(key);
  if (stage === undefined) stages.set(key, (stage = Stage.open(options)));
  return stage;
}

/** A server with the clients that talk to it. */
export class Stage {
  /** All nodes; one if it is no cluster. */
  nodes: readonly Server[];
  /** Of clients of the scenario that name none. */
  transport = usualTransport;
  /** Values of placeholders, for all clients of the scenario. */
  captured = new Map<string, string>();
  readonly #folder: string;
  readonly #options: ScenarioOptions;
  readonly #storage: Storage;
  readonly #late: LateStorage | undefined;
  readonly #dropStorage: () => Promise<void>;
  readonly #errors: string[];
  readonly #failures: Error[] = [];
  #peers: Peer[] = [];
  #accounts = new Set<string>();
  /** Whether the addresses of the scenario stay where they are. */
  isStill = false;
  readonly #mover: Mover | undefined;

  private constructor(
    nodes: readonly Server[],
    folder: string,
    options: ScenarioOptions,
    storage: Storage,
    lateStorage: LateStorage | undefined,
    errors: string[],
    dropStorage: () => Promise<void>,
  ) {
    this.nodes = nodes;
    this.#dropStorage = dropStorage;
    if (movingSeed !== undefined && nodes.length > 1) {
      const isFixed = (bare: string) => this.#peers.some((peer) => peer.logsInto(slotOf(bare)));
      this.#mover = new Mover(
        movingSeed,
        () => this.nodes,
        isFixed,
        (text) => {
          for (const peer of this.#peers) peer.log('M', text);
        },
      );
    }
    this.#late = lateStorage;
    this.#folder = folder;
    this.#options = options;
    this.#storage = storage;
    this.#errors = errors;
  }

  static async open(options: ScenarioOptions = {}): Promise<Stage> {
    const folder = mkdtempSync(join(tmpdir(), 'waxwing-'));
    // Nodes have a handle each, which a wrapper around them all would make one.
    const isLate = lateSeed !== undefined && options.isTimed !== true && (options.nodes ?? nodesOfAll) === 1;
    const isTemporary = isLate && options.storage === undefined && options.isConfigured !== true;
    const temporary = isTemporary ? await temporaryFor(options) : undefined;
    const inner = options.storage?.() ?? temporary?.storage ?? new MemoryStorage();
    const lateStorage = isLate ? late(inner, Number(lateSeed)) : undefined;
    const storage = lateStorage ?? inner;
    const errors: string[] = [];
    const contents =
      isOnS3 && options.blobs === undefined && options.isOnFiles !== true ? await newContents() : undefined;
    const given = contents === undefined ? options : { ...options, blobs: () => contents };
    const nodes = await startedNodes(given, folder, storage, errors);
    const drop = async (): Promise<void> => {
      await temporary?.drop();
      await contents?.close?.();
    };
    return new Stage(nodes, folder, given, storage, lateStorage, errors, drop);
  }

  /** The only one, or all nodes as one. */
  get server(): Server {
    const nodes = this.nodes;
    if (nodes.length === 1) return nodes[0]!;
    if (this.#whole?.nodes !== nodes) this.#whole = { nodes, server: whole(nodes, (jid) => this.#homeOf(jid)) };
    return this.#whole.server;
  }
  #whole: { readonly nodes: readonly Server[]; readonly server: Server } | undefined;

  /** Where an address lives. */
  home(address: string): Server {
    return this.#homeOf(Jid.parse(address));
  }

  #homeOf(jid: Jid): Server {
    return this.nodes.find(({ node }) => node === undefined || node.of(jid) === undefined) ?? this.nodes[0]!;
  }

  port(kind: ListenerKind, server = this.nodes[0]!): number {
    const found = server.listening.find((one) => one.kind === kind);
    assert.ok(found, `nothing listens for ${kind}`);
    return found.port;
  }

  get folder(): string {
    return this.#folder;
  }

  /** Moves what the scenario names, if it is run so. */
  get mover(): Mover | undefined {
    return this.isStill ? undefined : this.#mover;
  }

  /** Stops the server and starts another with the same storage and configuration, after `meanwhile`. */
  async restart(meanwhile: (storage: Storage) => Promise<void> = async () => {}): Promise<void> {
    await this.stop();
    await meanwhile(this.#storage);
    this.nodes = await startedNodes(this.#options, this.#folder, this.#storage, this.#errors);
  }

  /** Stops all nodes, one after the other. */
  async stop(): Promise<void> {
    await this.mover?.rest();
    for (const server of this.nodes) await server.stop();
  }

  async account(address: string, secret?: string): Promise<void> {
    const jid = Jid.parse(address).toBare();
    await this.mover?.rest();
    this.mover?.note(jid.bare);
    const { accounts } = this.home(address);
    if (await accounts.exists(jid.bare)) return;
    this.#accounts.add(jid.bare);
    await accounts.create(jid, secret ?? usualKeys);
  }

  async connect(options: ConnectOptions = {}): Promise<Peer> {
    const peer = new Peer(this, options);
    await this.mover?.rest();
    this.#peers.push(peer);
    await peer.connects();
    return peer;
  }

  async known(address: string, options: ActorOptions = {}): Promise<Peer> {
    const jid = Jid.parse(address);
    if (options.password === undefined) await this.account(address);
    const peer = await this.connect({ account: address, ...options, host: jid.domain, name: address });
    await peer.opens();
    await peer.receivesFeatures();
    await peer.authenticates(jid.local!, options.password);
    return peer;
  }

  async actor(address: string, options: ActorOptions = {}): Promise<Peer> {
    const peer = await this.known(address, options);
    await peer.binds(Jid.parse(address).resource);
    if (options.presence !== undefined) {
      await peer.sends(options.presence === true ? '<presence/>' : options.presence);
      await peer.syncs();
      peer.forgets();
    }
    return peer;
  }

  /** Waits for the storage, if that is late. Returns whether the server may have had to wait for it. */
  async storageIdle(since: number): Promise<boolean> {
    if (this.#late === undefined) return false;
    const { calls, pending } = this.#late;
    await this.#late.idle();
    return pending > 0 || calls !== since;
  }

  /** Operations of a late storage so far. */
  get storageCalls(): number {
    return this.#late?.calls ?? 0;
  }

  /** Waits until the server has dealt with everything that any of its clients sent. */
  async settle(): Promise<void> {
    // Repeated, because the last client may have caused output for one that was already checked.
    for (let round = 0; round < 2; round++) {
      await this.nodesAtRest();
      const bound = this.#peers.filter((peer) => peer.bound);
      // A client whose stream ends meanwhile gets nothing more.
      await Promise.all(bound.map((peer) => peer.syncs().catch((error: Error) => assert.ok(!peer.bound, error))));
    }
  }

  /** Resolves when no node has anything on its way to another. */
  async nodesAtRest(): Promise<void> {
    if (this.nodes.length === 1) return;
    await this.mover?.rest();
    const isBusy = ({ node }: Server): boolean => {
      if (node === undefined) return false;
      const { unconfirmed, held, pending, begun } = node.inspection;
      return unconfirmed + held + pending + begun > 0;
    };
    // The answer to a handled stanza may take some turns.
    for (let calm = 0; calm < calmTurns; calm = this.nodes.some(isBusy) ? 0 : calm + 1)
      await new Promise((resolve) => setImmediate(resolve));
  }

  /** A cluster of which no node is left has nobody to remove accounts. */
  get #isStopped(): boolean {
    const slots = Array.from({ length: slotCount }, (_, slot) => slot);
    return this.nodes.every(({ node }) => node !== undefined && !slots.some((slot) => node.acts(slot)));
  }

  async clear(): Promise<void> {
    await this.mover?.rest();
    this.mover?.forget();
    for (const peer of this.#peers) peer.leaves();
    this.#peers = [];
    this.captured = new Map();
    if (!this.#isStopped) for (const bare of this.#accounts) await this.home(bare).accounts.remove(bare);
    this.#accounts = new Set();
    await this.#holdsNothing();
  }

  /**
   * The server keeps nothing of deleted accounts and disconnected clients: no connection, session, state, request or
   * record.
   */
  async #holdsNothing(): Promise<void> {
    const left = async (): Promise<string[]> => {
      await this.nodesAtRest();
      const held = this.nodes.flatMap((server) => Object.entries(server.inspect())).filter(([, count]) => count > 0);
      if (held.length > 0) return held.map(([what, count]) => `${what}: ${count}`);
      const records = await Promise.all(
        ['stream_management', 'passing'].map(async (name) =>
          (await this.#storage.document(name).owners({ limit: 10 })).map((owner) => `a record of ${name}: ${owner}`),
        ),
      );
      return records.flat();
    };
    // Records are deleted asynchronously, and a slowly read connection ends after close_timeout_seconds.
    const until = performance.now() + patience;
    let found = await left();
    for (let looks = 1; found.length > 0 && performance.now() < until; looks++) {
      // What takes longer than some turns waits for a timer or the disk.
      await new Promise((resolve) => (looks < 20 ? setImmediate(resolve) : setTimeout(resolve, 5)));
      found = await left();
    }
    assert.deepEqual(found, [], 'the server still holds something when all clients and their accounts are gone');
  }

  takeErrors(): string[] {
    return this.#errors.splice(0);
  }

  /** A client received invalid XML. */
  fails(failure: Error): void {
    this.#failures.push(failure);
  }

  takeFailures(): Error[] {
    return this.#failures.splice(0);
  }

  async close(): Promise<void> {
    for (const peer of this.#peers) peer.cut();
    await this.stop();
    await this.#dropStorage();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A storage in a database, if dialogues run over one. */
async function temporaryFor({ isSearching = false }: ScenarioOptions) {
  if (storageOfAll === 'postgresql') return newPostgresql();
  if (storageOfAll === 'redis') return newRedis();
  return storageOfAll === 'cassandra' && !isSearching ? newCassandra() : undefined;
}

/** What may be lost at the server, under a prefix of its own. */
async function newRedis(): Promise<{ storage: Storage; drop: () => Promise<void> }> {
  const { dialogueStorage } = await import('../redis/server.js');
  const storage = await dialogueStorage();
  return { storage, drop: () => storage.close() };
}

let keyspace: Promise<Storage> | undefined;
let archives = 0;
atEndOfFile(async () => {
  await (await keyspace)?.close();
  keyspace = undefined;
});

/** A storage whose archive is one of many in the keyspace of this process. */
async function newCassandra(): Promise<{ storage: Storage; drop: () => Promise<void> }> {
  const { newKeyspace, openIn } = await import('../cassandra/server.js');
  keyspace ??= openIn(newKeyspace());
  const cassandra = await keyspace;
  const name = `archive ${archives++}`;
  const archive: Storage = {
    ...cassandra,
    log: () => cassandra.log(name),
    stores: async () => [{ shape: 'log', name: 'archive' }],
    close: () => cassandra.flush(),
  };
  const storage = routed({ default: new MemoryStorage(), stores: { archive } });
  return { storage, drop: () => storage.close() };
}

/** A storage in a schema of its own. */
async function newPostgresql(): Promise<{ storage: Storage; drop: () => Promise<void> }> {
  const { dropSchema, newSchema, openIn } = await import('../postgresql/server.js');
  const schema = newSchema();
  const storage = await openIn(schema);
  return {
    storage,
    drop: async () => {
      await storage.close();
      await dropSchema(schema);
    },
  };
}

/** Contents under a prefix of their own. */
async function newContents(): Promise<BlobStorage> {
  const { emptyStorage } = await import('../s3/server.js');
  return emptyStorage();
}

/** Real links, with a port of its own. */
async function newTlsNetwork(): Promise<TlsNetwork> {
  const proof = { secrets: ['the secret of all nodes of all dialogues'] };
  const network = await TlsNetwork.open({ host: '127.0.0.1', port: 0, proof, warn: () => {} });
  tlsNetworks.push(network);
  return network;
}

/** One server, or several nodes over shared memory. */
async function startedNodes(
  options: ScenarioOptions,
  folder: string,
  storage: Storage,
  errors: string[],
): Promise<readonly Server[]> {
  const { nodes = nodesOfAll } = options;
  if (nodes === 1 || !(storage instanceof MemoryStorage)) return [await started(options, folder, storage, errors)];
  const local = options.network ?? new LocalNetwork();
  const servers: Server[] = [];
  const shared = { storage: { files: { folder: join(folder, 'files') } } };
  const config = merged(shared, options.config ?? {});
  for (let n = 1; n <= nodes; n++) {
    const network = overTls && options.network === undefined ? await newTlsNetwork() : local;
    const address = network instanceof TlsNetwork ? network.address : `node${n}`;
    const cluster = { node: `node${n}`, address, network };
    servers.push(await started({ ...options, config }, join(folder, `node${n}`), storage.handle(), errors, cluster));
  }
  // Each has its part, and finds the data of the others.
  const isSettled = ({ node }: Server): boolean => {
    const { members, slots, version } = node!.view;
    const share = slots.filter((number) => number === node!.number).length;
    const isNewest = servers.every((other) => other.node!.view.version === version);
    return (
      isNewest &&
      members.length === nodes &&
      Math.abs(share - slots.length / nodes) < slots.length / nodes / 8 &&
      node!.isAtRest
    );
  };
  while (!servers.every(isSettled)) await new Promise((resolve) => setImmediate(resolve));
  return servers;
}

async function started(
  options: ScenarioOptions,
  folder: string,
  storage: Storage,
  errors: string[],
  cluster?: ClusterOptions,
): Promise<Server> {
  const server = await createServer({
    text: '',
    overrides: { ...merged(usual, options.config ?? {}), data: folder },
    standard,
    modules: options.modules,
    remote: options.remote,
    storage: options.isConfigured === true ? undefined : storage,
    blobs: options.blobs?.(),
    space: options.space,
    cluster,
    logTo: { write: (line) => void errors.push(line) },
  });
  await server.start();
  return server;
}

function merged(below: Record<string, unknown>, above: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const result = { ...below };
  for (const [key, value] of Object.entries(above)) {
    const old = result[key];
    const deeper = key !== 'hosts' && isTable(old) && isTable(value);
    result[key] = deeper ? merged(old, value) : value;
  }
  return result;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The keys of the usual password, made once. */
const usualKeys = Object.fromEntries(
  (['SHA-1', 'SHA-256', 'SHA-512'] as const).map((hash) => {
    const salt = Buffer.from('a salt of tests.');
    const iterations = 4096;
    const key = saltPassword(hash, password, salt, iterations);
    const storedKey = digest(hash, mac(hash, key, 'Client Key'));
    return [hash, { salt, iterations, storedKey, serverKey: mac(hash, key, 'Server Key') }];
  }),
);

// ---------------------------------------------------------------------------------------------------------------
// Clients

export interface ConnectOptions {
  /** Default: tcp, without TLS. */
  readonly transport?: TransportName;
  /** The host to talk to, and to ask for by SNI. Default: localhost. */
  readonly host?: string;
  /** Connects to the node where this account lives. Default: the first node. */
  readonly account?: string;
  /** Connects to this node, by its place in `stage.nodes`, wherever the account lives. */
  readonly node?: number;
  /** A port of 127.0.0.1 instead of the server's own: that of a proxy. */
  readonly port?: number;
  /** A loopback address to come from: failed logins and connections are counted by it. Default: any. */
  readonly address?: string;
  readonly tls?: ConnectionOptions;
  /** Sent before anything else, including TLS, like the header of a proxy. */
  readonly preface?: string | Uint8Array | undefined;
  /** Of HTTP, for WebSocket. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether it keeps its half of the connection open after the server has closed its own. */
  readonly halfOpen?: boolean;
  /** Its name in messages. */
  readonly name?: string;
}

export interface ActorOptions extends ConnectOptions {
  /** Of an account with another password than usual; it is not made. */
  readonly password?: string;
  /** Sends presence and ignores the immediate responses; true sends empty presence. */
  readonly presence?: string | true;
}

type Item =
  | { readonly kind: 'open'; readonly attrs: Readonly<Record<string, string>> }
  | { readonly kind: 'element'; readonly element: Element }
  | { readonly kind: 'close' }
  /** The connection, or the server's half of it, is over. */
  | { readonly kind: 'end' };

export interface ReceiveOptions {
  /** No further children or attributes are allowed. */
  readonly exactly?: boolean;
}

let pings = 0;

/** One connection to the server, which sends text and receives elements. */
export class Peer {
  readonly #stage: Stage;
  readonly #options: ConnectOptions;
  #socket: Socket | TLSSocket | undefined;
  #ws: WebSocket | BoshConnection | undefined;
  readonly #reader: CheckedReader;
  #inbox: Item[] = [];
  #wake: (() => void) | undefined;
  readonly #transcript: string[] = [];
  readonly #pings = new Map<string, (error?: Error) => void>();
  #ended = false;
  /** The full address, once it is bound. */
  jid = '';
  /** Sends in pieces of so many bytes, each its own segment if the system allows it. */
  pieceSize = Number.POSITIVE_INFINITY;
  #isPaused = false;
  /** XEP-0198: what managesStream() counts. */
  #acks = false;
  handled = 0;

  constructor(stage: Stage, options: ConnectOptions) {
    this.#stage = stage;
    this.#options = options;
    this.#reader = new CheckedReader(this.#framed ? 'framed' : 'stream');
  }

  get host(): string {
    return this.#options.host ?? 'localhost';
  }
  get bound(): boolean {
    return this.jid !== '' && !this.#ended;
  }
  /** Whether it may be logging in to an account of a slot: it has not bound a resource or resumed a session yet. */
  logsInto(slot: number): boolean {
    if (this.bound || this.#ended || this.#isResumed) return false;
    const { account } = this.#options;
    return account === undefined || slotOf(Jid.parse(account).bare) === slot;
  }
  #isResumed = false;
  get tls(): TLSSocket | undefined {
    const socket = this.#socket;
    return socket !== undefined && 'encrypted' in socket ? socket : undefined;
  }
  get #framed(): boolean {
    return ['websocket', 'wss', 'bosh'].includes(this.#transport);
  }
  get #transport(): TransportName {
    return this.#options.transport ?? this.#stage.transport;
  }
  get #tlsOptions(): ConnectionOptions {
    return { rejectUnauthorized: false, servername: this.host, ...this.#options.tls };
  }

  // --- the connection ---------------------------------------------------------------------------------------------

  async connects(): Promise<void> {
    const { address, preface, headers = {} } = this.#options;
    const transport = this.#transport;
    const server = this.#reached();
    const portOf = (kind: ListenerKind) => this.#options.port ?? this.#stage.port(kind, server);
    const from = address === undefined ? {} : { localAddress: address };
    if (transport === 'bosh') {
      const others = this.#options.port === undefined ? this.#stage.nodes.filter((node) => node !== server) : [];
      const otherPorts = others
        .filter((node) => node.listening.length > 0)
        .map((node) => this.#stage.port('http', node));
      this.#hears(new BoshConnection({ port: portOf('http'), otherPorts, headers, ...from }));
      return;
    }
    if (transport === 'websocket' || transport === 'wss') {
      const [scheme, port] = transport === 'wss' ? ['wss', portOf('https')] : ['ws', portOf('http')];
      const createConnection = () => {
        const plain = connectTcp({ host: '127.0.0.1', port, ...from });
        plain.write(preface!);
        return scheme === 'wss' ? connectTls({ ...this.#tlsOptions, socket: plain }) : plain;
      };
      const ws = new WebSocket(`${scheme}://127.0.0.1:${port}/xmpp-websocket`, 'xmpp', {
        ...this.#tlsOptions,
        ...from,
        headers,
        ...(preface !== undefined && { createConnection }),
      });
      this.#hears(ws);
      await this.#happens('connecting', (done, failed) => ws.once('open', done).once('error', failed));
      return;
    }
    const direct = transport === 'tls';
    const socket = connectTcp({
      host: '127.0.0.1',
      port: portOf(direct ? 'c2s_tls' : 'c2s'),
      allowHalfOpen: this.#options.halfOpen === true,
      ...from,
    });
    socket.setNoDelay(true);
    await this.#happens('connecting', (done, failed) => socket.once('connect', done).once('error', failed));
    this.#socket = socket;
    if (preface !== undefined) socket.write(preface);
    if (direct) await this.startsTls({ ALPNProtocols: ['xmpp-client'] });
    else this.#listens(socket);
    if (transport === 'starttls') {
      await this.opens();
      await this.receivesFeatures();
      await this.sends(`<starttls xmlns='${NS.tls}'/>`);
      await this.receives(`<proceed xmlns='${NS.tls}'/>`);
      await this.startsTls();
    }
  }

  /** The node that it connects to. */
  #reached(): Server {
    const { account, node } = this.#options;
    const { nodes } = this.#stage;
    if (node !== undefined) return nodes[node]!;
    if (spread !== undefined) return nodes[Math.floor(spread() * nodes.length)]!;
    return account === undefined ? this.#stage.nodes[0]! : this.#stage.home(account);
  }

  /** The TLS handshake, at once. */
  async startsTls(options: ConnectionOptions = {}): Promise<void> {
    const plain = this.#socket!;
    plain.removeAllListeners('data').removeAllListeners('end').removeAllListeners('close');
    const socket = connectTls({ ...options, ...this.#tlsOptions, socket: plain });
    this.#reader.restart();
    await this.#happens('the TLS handshake', (done, failed) =>
      socket
        .once('secureConnect', done)
        .once('error', failed)
        .once('close', () => failed(new Error('closed during the handshake'))),
    );
    this.#socket = socket;
    this.#listens(socket);
  }

  #hears(ws: WebSocket | BoshConnection): void {
    this.#ws = ws;
    ws.on('message', (data: Buffer) => this.#heard(data));
    ws.on('error', () => {});
    ws.on('close', () => this.#over());
  }

  #listens(socket: Socket): void {
    socket.on('data', (chunk) => this.#heard(chunk));
    socket.on('end', () => this.#over());
    socket.on('close', () => this.#over());
    socket.on('error', () => {});
  }

  #heard(chunk: Buffer): void {
    this.log('S', chunk.toString());
    try {
      for (const item of this.#reader.read(chunk)) {
        if (item.kind === 'element') this.#heardElement(elementOf(item));
        else if (item.kind === 'open') this.#put({ kind: 'open', attrs: item.attrs });
        else this.#put({ kind: 'close' });
      }
    } catch (error) {
      // All output of the server has to be valid for a strict parser: otherwise the scenario fails, and pending
      // receives reject.
      if (this.#broken === undefined) this.#stage.fails(this.#wrong('XML', `what no client can read: ${error}`));
      this.#broken = error as Error;
      this.#wake?.();
    }
  }
  #broken: Error | undefined;

  #heardElement(element: Element): void {
    const ns = element.getNS();
    if (this.#framed && ns === NS.framing) {
      const attrs = element.attrs as Record<string, string>;
      this.#put(element.name === 'open' ? { kind: 'open', attrs } : { kind: 'close' });
      return;
    }
    if (element.name === 'iq' && element.attrs.type === 'result') {
      const answered = this.#pings.get(element.attrs.id ?? '');
      if (answered !== undefined) {
        this.#pings.delete(element.attrs.id!);
        if (this.#acks) this.handled++;
        answered();
        return;
      }
    }
    if (this.#acks && ns === NS.client) this.handled++;
    if (this.#acks && element.name === 'r' && ns === NS.sm) {
      void this.#says(`<a xmlns='${NS.sm}' h='${this.handled}'/>`);
      return;
    }
    if (element.name === 'resumed' || element.getChild('bound') || element.getChild('resumed')) this.#isResumed = true;
    this.#put({ kind: 'element', element });
  }

  #put(item: Item): void {
    this.#inbox.push(item);
    this.#wake?.();
  }

  #over(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const answered of this.#pings.values()) answered(new Error('the connection ended'));
    this.#pings.clear();
    this.#put({ kind: 'end' });
  }

  log(who: string, text: string): void {
    this.#transcript.push(`${who}: ${text.length > 500 ? `${text.slice(0, 500)}…` : text}`);
    if (this.#transcript.length > 30) this.#transcript.shift();
  }

  // --- saying -----------------------------------------------------------------------------------------------------

  /** Placeholders that were met before are filled in. */
  sends(xml: string | Buffer): Promise<void> {
    return this.#inTurn(() => this.#says(xml));
  }

  /** The same in one message of WebSocket or one request of BOSH, whatever it is. */
  sendsAsOne(xml: string): Promise<void> {
    return this.#inTurn(() => this.#says(xml, true));
  }

  /** After a move between two lines, if there is one. What follows before the line is said waits for it. */
  #inTurn(speak: () => Promise<void> | void): Promise<void> {
    const { mover } = this.#stage;
    if (mover === undefined) return Promise.resolve(speak());
    const turn = this.#turn.then(() => mover.step()).then(speak);
    this.#turn = turn.catch(() => {});
    return turn;
  }
  #turn: Promise<void> = Promise.resolve();

  async #says(xml: string | Buffer, asOne = false): Promise<void> {
    const text = typeof xml === 'string' ? fillIn(xml, this.#stage.captured) : xml;
    this.log('C', text.toString());
    this.#stage.mover?.note(text.toString());
    if (this.#ws !== undefined) {
      const elements = typeof text === 'string' && !asOne ? elementsIn(text).map(withNamespace) : [text];
      await Promise.all(elements.map((element) => this.#writes(element)));
      return;
    }
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += this.pieceSize) {
      await this.#writes(bytes.subarray(at, at + this.pieceSize));
      if (this.pieceSize < bytes.length) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #writes(data: string | Buffer): Promise<void> {
    return new Promise((resolve) => {
      const done = () => resolve();
      if (this.#ws !== undefined) this.#ws.send(data, done);
      else this.#socket!.write(data, done);
    });
  }

  /** The stream header. Attributes may be changed, or left out by undefined. */
  async opens(attributes: Readonly<Record<string, string | undefined>> = {}): Promise<void> {
    const all = { to: this.host, version: '1.0', ...attributes };
    const given = Object.entries(all)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => ` ${name}='${value}'`)
      .join('');
    if (this.#framed) return this.sends(`<open xmlns='${NS.framing}'${given}/>`);
    return this.sends(`<?xml version='1.0'?><stream:stream xmlns='${NS.client}' xmlns:stream='${NS.stream}'${given}>`);
  }

  /** Closes the stream properly. */
  closes(): Promise<void> {
    return this.sends(this.#framed ? `<close xmlns='${NS.framing}'/>` : '</stream:stream>');
  }

  /** Drops the connection without closing the stream. */
  cut(): void {
    this.#ended = true;
    this.#ws?.terminate();
    if (this.#socket !== undefined) {
      this.#socket.removeAllListeners('end').removeAllListeners('close');
      if (this.#socket instanceof Socket && this.tls === undefined) reset(this.#socket);
      else this.#socket.destroy();
    }
  }

  /** The end of the scenario. A BOSH session would be there yet for some seconds. */
  leaves(): void {
    if (this.#ws instanceof BoshConnection) this.#ws.leave();
    else this.cut();
  }

  /** Stops sending, and continues to read. */
  halfCloses(): void {
    void this.#inTurn(() => {
      this.#ws?.close();
      this.#socket?.end();
    });
  }

  /** Stops reading, so that the server's output piles up. */
  stopsReading(): void {
    this.#isPaused = true;
    this.#ws?.pause();
    this.#socket?.pause();
  }

  readsAgain(): void {
    this.#isPaused = false;
    this.#ws?.resume();
    this.#socket?.resume();
  }

  // --- hearing ----------------------------------------------------------------------------------------------------

  /** The next element, which has to be this one. Returns it. */
  async receives(xml: string, options: ReceiveOptions = {}): Promise<Element> {
    return this.#isThis(await this.#next(xml), xml, options);
  }

  /** The next element of this name, which has to be this one. Elements of other names are passed over before it. */
  async receivesFirst(xml: string, options: ReceiveOptions = {}): Promise<Element> {
    const { name } = parse(xml, NS.client);
    for (;;) {
      const item = await this.#next(xml);
      if (item.kind !== 'element' || item.element.name === name) return this.#isThis(item, xml, options);
    }
  }

  #isThis(item: Item, xml: string, options: ReceiveOptions): Element {
    const wanted = parse(xml, NS.client);
    if (item.kind !== 'element') throw this.#wrong(xml, describe(item));
    const captured = new Map(this.#stage.captured);
    const wrong = difference(wanted, item.element, captured, options.exactly === true);
    if (wrong !== undefined) throw this.#wrong(xml, `${serialize(item.element)}\n  ${wrong}`);
    this.#stage.captured = captured;
    return item.element;
  }

  /** Receives as many elements as expected ones, in any order. Returns them in the order of the expected ones. */
  async receivesAnyOrder(wanted: readonly string[], options: ReceiveOptions = {}): Promise<Element[]> {
    const found: (Element | undefined)[] = wanted.map(() => undefined);
    for (let left = wanted.length; left > 0; left--) {
      const missing = wanted.filter((_, at) => found[at] === undefined);
      const item = await this.#next(missing.join('\n'));
      if (item.kind !== 'element') throw this.#wrong(missing.join('\n'), describe(item));
      const at = wanted.findIndex((xml, index) => {
        if (found[index] !== undefined) return false;
        const captured = new Map(this.#stage.captured);
        const wrong = difference(parse(xml, NS.client), item.element, captured, options.exactly === true);
        if (wrong === undefined) this.#stage.captured = captured;
        return wrong === undefined;
      });
      if (at < 0) throw this.#wrong(missing.join('\n'), serialize(item.element));
      found[at] = item.element;
    }
    return found as Element[];
  }

  /** Nothing has come, and nothing is on its way: the server has dealt with what everybody sent before this. */
  async receivesNothing(): Promise<void> {
    await this.#stage.settle();
    const item = this.#inbox[0];
    if (item !== undefined) throw this.#wrong('nothing', describe(item));
  }

  /** Any element: the next one. */
  async receivesAny(): Promise<Element> {
    const item = await this.#next('any element');
    if (item.kind !== 'element') throw this.#wrong('any element', describe(item));
    return item.element;
  }

  async receivesOpen(): Promise<Readonly<Record<string, string>>> {
    const item = await this.#next('a stream header');
    if (item.kind !== 'open') throw this.#wrong('a stream header', describe(item));
    return item.attrs;
  }

  /** The stream header and the features. */
  async receivesFeatures(): Promise<Element> {
    await this.receivesOpen();
    return this.receives(`<features xmlns='${NS.stream}'/>`);
  }

  /** A stream error with this condition, the end of the stream, and the end of the connection. */
  async receivesStreamError(condition: string): Promise<Element> {
    // One that comes of the header comes in a stream of the server's all the same.
    const item = await this.#next(`the stream error ${condition}`);
    if (item.kind !== 'open') this.#inbox.unshift(item);
    const error = await this.receives(`<error xmlns='${NS.stream}'><${condition} xmlns='${NS.streams}'/></error>`);
    await this.isClosed();
    return error;
  }

  /** The server closes the stream, with an error if a condition is given, and then the connection. */
  async closed(condition?: string): Promise<void> {
    if (condition !== undefined) await this.receivesStreamError(condition);
    else await this.isClosed();
  }

  async isClosed(): Promise<void> {
    const close = await this.#next('the end of the stream');
    if (close.kind !== 'close') throw this.#wrong('the end of the stream', describe(close));
    if (this.#framed) {
      // RFC 7395 §3.6: the peer answers with <close/>.
      await this.closes();
    }
    await this.ends();
  }

  /** The server ends the connection. */
  async ends(): Promise<void> {
    const item = await this.#next('the end of the connection');
    if (item.kind !== 'end') throw this.#wrong('the end of the connection', describe(item));
  }

  /** Everything until the server ends the connection. */
  async drains(): Promise<Element[]> {
    const elements: Element[] = [];
    for (;;) {
      const item = await this.#next('the end of the connection');
      if (item.kind === 'end') return elements;
      if (item.kind === 'element') elements.push(item.element);
    }
  }

  /** The connection is torn down, though this end of it was left open. */
  async isCut(): Promise<void> {
    await this.#happens('the connection being cut', (done) => {
      const socket = this.#socket!;
      socket.once('close', () => done());
      // Writes on it fail later.
      const tries = () => {
        if (socket.destroyed) return;
        socket.write(' ');
        setTimeout(tries, 20);
      };
      tries();
    });
  }

  /** Waits until the server has sent everything for earlier stanzas. Needs a bound session. */
  async syncs(): Promise<void> {
    // With late storage, the server may continue work after it has answered a ping.
    for (let calls = this.#stage.storageCalls; ; calls = this.#stage.storageCalls) {
      await this.#isAnswered();
      // Stanzas between nodes take their own time.
      await this.#stage.nodesAtRest();
      if (!(await this.#stage.storageIdle(calls)) && !this.#isBeingServed) break;
    }
    // Its pending output may end after the answer.
    await this.#isAnswered();
  }

  /** The server has more output for it, in a later turn of the event loop or once this client has read more. */
  get #isBeingServed(): boolean {
    const session = this.bound ? this.#stage.home(this.jid).sessions.find(Jid.parse(this.jid)) : undefined;
    if (session?.isPouring !== true) return false;
    return session.hasRoom || (!this.#isPaused && (this.#acks || !session.acknowledges));
  }

  async #isAnswered(): Promise<void> {
    const id = `sync-${++pings}`;
    await this.#happens('the answer to a ping', (done, failed) => {
      this.#pings.set(id, (error) => (error === undefined ? done() : failed(error)));
      const ping = `<iq type='get' id='${id}' to='${this.host}'><ping xmlns='${NS.ping}'/></iq>`;
      void this.#turn.then(() => this.#says(ping));
    });
  }

  /** Ignores everything received so far. */
  forgets(): Element[] {
    const elements = this.#inbox.flatMap((item) => (item.kind === 'element' ? [item.element] : []));
    this.#inbox = [];
    return elements;
  }

  /** The latest sent and received elements. */
  raw(): string {
    return this.#transcript.join('\n');
  }

  async #next(wanted: string): Promise<Item> {
    await this.#stage.mover?.step();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#wake = undefined;
        reject(this.#wrong(wanted, `nothing in ${patience / 1000} s`));
      }, patience);
      const look = () => {
        const item = this.#inbox.shift();
        if (item === undefined && this.#broken === undefined) return;
        clearTimeout(timer);
        this.#wake = undefined;
        if (item === undefined) reject(this.#wrong(wanted, `what no client can read: ${this.#broken}`));
        else resolve(item);
      };
      this.#wake = look;
      look();
    });
  }

  #wrong(wanted: string, came: string): Error {
    const name = this.jid || this.#options.name || 'a client';
    return new assert.AssertionError({
      message: `${name} should have received\n  ${wanted}\nand received\n  ${came}\nThe last that was said:\n${this.raw()}`,
      stackStartFn: this.receives,
    });
  }

  #happens(what: string, start: (done: () => void, failed: (error: Error) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#wrong(what, `nothing in ${patience / 1000} s`)), patience);
      start(
        () => {
          clearTimeout(timer);
          resolve();
        },
        (error) => {
          clearTimeout(timer);
          reject(error);
        },
      );
    });
  }

  // --- logging in -------------------------------------------------------------------------------------------------

  /** Through SCRAM-SHA-1 to the features of the new stream. */
  async authenticates(user: string, secret: string = password): Promise<Element> {
    await this.proves(user, undefined, secret);
    await this.opens();
    return this.receivesFeatures();
  }

  /** SCRAM-SHA-1 up to `<success/>`: a new header is due. `respond` sends the last message, where that is special. */
  async proves(
    user: string,
    respond: (xml: string) => Promise<void> = (xml) => this.sends(xml),
    secret: string = password,
  ): Promise<void> {
    const scram = new Scram({ hash: 'SHA-1', user, password: secret });
    await this.sends(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>${base64(scram.first())}</auth>`);
    const challenge = await this.receives(`<challenge xmlns='${NS.sasl}'>*</challenge>`);
    await respond(`<response xmlns='${NS.sasl}'>${base64(scram.final(plain(challenge)))}</response>`);
    const success = await this.receives(`<success xmlns='${NS.sasl}'>*</success>`);
    assert.ok(scram.verify(plain(success)), 'the server does not know the password');
  }

  async binds(resource?: string): Promise<void> {
    const wanted = resource === undefined ? '' : `<resource>${resource}</resource>`;
    await this.sends(`<iq type='set' id='bind'><bind xmlns='${NS.bind}'>${wanted}</bind></iq>`);
    const result = await this.receives(`<iq type='result' id='bind'><bind xmlns='${NS.bind}'><jid>*</jid></bind></iq>`);
    this.jid = result.getChild('bind', NS.bind)!.getChildText('jid', NS.bind)!;
  }

  /** XEP-0198: enables it, counts, and acknowledges when it is asked. Returns `<enabled/>`. */
  async managesStream(attributes = "resume='true'"): Promise<Element> {
    await this.sends(`<enable xmlns='${NS.sm}' ${attributes}/>`);
    const enabled = await this.receives(`<enabled xmlns='${NS.sm}'/>`);
    this.#acks = true;
    this.handled = 0;
    return enabled;
  }
}

export const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64');
export const plain = (element: Element): string => Buffer.from(element.getText().trim(), 'base64').toString();

/** In RFC 7395 each message declares its namespace; dialogues may omit it. */
/** Elements that follow each other, one by one; anything else as it is. */
function elementsIn(text: string): string[] {
  const found: string[] = [];
  let depth = 0;
  let start = 0;
  for (const { 0: tag, index } of text.matchAll(/<(?:[^>"']|"[^"]*"|'[^']*')*>/g)) {
    if (/^<[?!]/.test(tag)) return [text];
    if (depth === 0 && text.slice(start, index).trim() !== '') return [text];
    depth += tag.startsWith('</') ? -1 : tag.endsWith('/>') ? 0 : 1;
    if (depth < 0) return [text];
    if (depth > 0) continue;
    found.push(text.slice(start, index + tag.length).trim());
    start = index + tag.length;
  }
  return depth === 0 && start > 0 && text.slice(start).trim() === '' ? found : [text];
}

function withNamespace(xml: string): string {
  const tag = /^<(message|presence|iq)(?=[\s/>])((?:[^>"']|"[^"]*"|'[^']*')*)/.exec(xml);
  return tag === null || /\sxmlns=/.test(tag[2]!) ? xml : xml.replace(/^<[a-z]+/, `$& xmlns='${NS.client}'`);
}

function describe(item: Item): string {
  switch (item.kind) {
    case 'element':
      return serialize(item.element);
    case 'open':
      return 'a stream header';
    case 'close':
      return 'the end of the stream';
    case 'end':
      return 'the end of the connection';
  }
}
