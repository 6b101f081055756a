/**
 * The connection to Redis or Valkey: a server, a primary that Sentinels know, or a cluster. It connects again by itself.
 * Nothing waits for a lost connection: until there is one, and until it is known whose keys are there, every command is
 * refused.
 */
import type { ConnectionOptions } from 'node:tls';
import { Cluster, Redis } from 'ioredis';
import { StorageError } from '../contract.js';
import { isRefusal, storageError, wantsAnotherServer } from './errors.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A user of Redis. Without a name: the default user, with a password. */
export interface Login {
  readonly user?: string | undefined;
  readonly password?: string | undefined;
}

export interface ClientOptions {
  readonly mode: 'single' | 'sentinel' | 'cluster';
  /** The server, the Sentinels, or some nodes of the cluster. */
  readonly addresses: readonly Address[];
  /** With Sentinels: how they call the primary, and the login at them. */
  readonly primary?: string | undefined;
  readonly sentinelLogin?: Login | undefined;
  readonly login?: Login | undefined;
  readonly database?: number | undefined;
  readonly tls?: ConnectionOptions | undefined;
  /** Time in ms to establish a connection. */
  readonly connectTimeout: number;
  /** Time in ms after which a connection on which no answer comes is closed. */
  readonly answerTimeout: number;
}

export type RedisClient = Redis | Cluster;

export interface ClientParts {
  /** Called on each new connection before it is used. Rejects with StorageError if its keys must not be used. */
  verify(client: RedisClient): Promise<void>;
  /** The connection was lost. */
  lost(error: StorageError): void;
  warn(message: string, error: unknown): void;
}

/** Longest time between two attempts to connect, in ms. */
const longestPause = 1000;
/** Redirections that a command follows in a cluster. Each may take a tenth of a second. */
const redirections = 6;

const pause = (attempt: number): number => Math.min(longestPause, 50 * attempt);

/** Names the server in messages, without a password. */
export function nameOf({ mode, addresses, primary, database = 0 }: ClientOptions): string {
  const places = addresses.map(({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`));
  if (mode === 'cluster') return `Redis Cluster at ${places.join(', ')}`;
  if (mode === 'sentinel') return `Redis "${primary}" of the Sentinels at ${places.join(', ')}`;
  return `Redis at ${places[0]}${database === 0 ? '' : `, database ${database}`}`;
}

export class Connection {
  readonly where: string;
  readonly #client: RedisClient;
  readonly #parts: ClientParts;
  readonly #closeTimeout: number;
  /** Why it cannot be used at the moment. */
  #refusal: StorageError | undefined;
  #cause: unknown;
  #isWarned = false;
  #isClosing = false;
  /** Counts connections, so that the check of an old one is not taken for that of a new one. */
  #connections = 0;
  readonly #pending = new Set<Promise<unknown>>();
  #restart: NodeJS.Timeout | undefined;
  readonly #first: Promise<void>;
  #firstDone!: (error?: StorageError) => void;

  constructor(options: ClientOptions, parts: ClientParts) {
    this.where = nameOf(options);
    this.#parts = parts;
    this.#closeTimeout = options.answerTimeout;
    this.#refusal = new StorageError('unavailable', `${this.where}: not connected`);
    this.#first = new Promise((resolve, reject) => {
      this.#firstDone = (error) => (error === undefined ? resolve() : reject(error));
    });
    this.#first.catch(() => {});
    this.#client = makeClient(options);
    this.#client.on('error', (error: Error) => this.#failed(error));
    this.#client.on('node error', (error: Error) => this.#failed(error));
    this.#client.on('ready', () => void this.#ready());
    this.#client.on('close', () => this.#lose());
    this.#client.on('end', () => this.#ended());
  }

  /**
   * Resolves when it is known whether the first connection can be used: with undefined if it can, and with the reason if there
   * is none yet. Rejects with StorageError if it must not be used, or if the configuration is wrong.
   */
  async opened(within: number): Promise<StorageError | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, within);
    });
    try {
      await Promise.race([this.#first, late]);
    } finally {
      clearTimeout(timer);
    }
    return this.#refusal === undefined ? undefined : this.#refused();
  }

  get isUsable(): boolean {
    return this.#refusal === undefined;
  }

  /** Runs a command. Rejects with StorageError. */
  run<R>(command: (client: RedisClient) => Promise<R>): Promise<R> {
    if (this.#isClosing) return Promise.reject(new StorageError('unavailable', 'the storage is closed'));
    if (this.#refusal !== undefined) return Promise.reject(this.#refused());
    const result = command(this.#client).catch((error: unknown) => {
      throw storageError(error, this.where);
    });
    this.#pending.add(result);
    const done = () => this.#pending.delete(result);
    result.then(done, done);
    return result;
  }

  /** Resolves when every earlier command has been answered or has failed. */
  async flush(): Promise<void> {
    if (this.#isClosing) throw new StorageError('unavailable', 'the storage is closed');
    await Promise.allSettled([...this.#pending]);
  }

  /** Waits for commands under way, but not longer than for an answer. Never rejects. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    clearTimeout(this.#restart);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#closeTimeout);
    });
    await Promise.race([Promise.allSettled([...this.#pending]), late]);
    clearTimeout(timer);
    this.#client.disconnect();
  }

  #refused(): StorageError {
    if (this.#refusal!.failure !== 'unavailable' || this.#cause === undefined) return this.#refusal!;
    return storageError(this.#cause, this.where) as StorageError;
  }

  #failed(error: Error): void {
    if (this.#isClosing) return;
    this.#cause = causeOf(error);
    if (isRefusal(this.#cause)) {
      const refused = storageError(this.#cause, this.where) as StorageError;
      this.#firstDone(refused);
      this.#warnOnce(refused);
    }
  }

  #lose(): void {
    if (this.#isClosing) return;
    this.#connections++;
    const wasUsable = this.#refusal === undefined;
    this.#refusal = new StorageError('unavailable', `${this.where}: the connection was lost`);
    // Sentinels are asked one after the other: one that does not answer says nothing.
    if (this.#cause !== undefined) this.#firstDone();
    if (wasUsable) this.#parts.lost(this.#refused());
  }

  /**
   * The client has given up: ioredis does so if a Sentinel announces another primary while it is still connecting to the
   * one before.
   */
  #ended(): void {
    if (this.#isClosing) return;
    this.#lose();
    this.#restart = setTimeout(() => {
      this.#client.connect().catch((error: Error) => this.#failed(error));
    }, longestPause);
  }

  /** Checks a new connection. Never rejects. */
  async #ready(): Promise<void> {
    const connection = ++this.#connections;
    try {
      await this.#parts.verify(this.#client);
      if (connection !== this.#connections) return;
      this.#refusal = undefined;
      this.#cause = undefined;
      this.#isWarned = false;
      this.#firstDone();
    } catch (error) {
      if (connection !== this.#connections || this.#isClosing) return;
      const failure = storageError(error, this.where) as StorageError;
      this.#refusal = failure;
      if (failure.failure === 'unavailable' && !isRefusal(error)) {
        // It is gone again, or too slow: the next connection is checked anew.
        this.#cause = error;
        this.#firstDone();
        this.#client.disconnect(true);
        return;
      }
      this.#firstDone(failure);
      this.#warnOnce(failure);
    }
  }

  /** What an administrator has to cure. */
  #warnOnce(error: StorageError): void {
    if (this.#isWarned) return;
    this.#isWarned = true;
    this.#parts.warn('what may be lost cannot be stored', error);
  }
}

/** ioredis wraps what has happened. */
function causeOf(error: Error & { readonly lastNodeError?: Error }): Error {
  return error.lastNodeError ?? error;
}

function makeClient(options: ClientOptions): RedisClient {
  const { mode, addresses, login, sentinelLogin, database = 0, tls, connectTimeout, answerTimeout } = options;
  const common = {
    ...(login?.user !== undefined && { username: login.user }),
    ...(login?.password !== undefined && { password: login.password }),
    ...(tls !== undefined && { tls }),
    protocol: 2 as const,
    connectTimeout,
    socketTimeout: answerTimeout,
    keepAlive: 10_000,
    disableClientInfo: true,
    connectionName: 'waxwing',
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    reconnectOnError: (error: Error) => (wantsAnotherServer(error) ? (1 as const) : false),
  };
  if (mode === 'cluster')
    return new Cluster(
      addresses.map(({ host, port }) => ({ host, port })),
      {
        redisOptions: common,
        enableOfflineQueue: false,
        enableAutoPipelining: true,
        maxRedirections: redirections,
        slotsRefreshTimeout: connectTimeout,
        slotsRefreshInterval: 30_000,
        clusterRetryStrategy: pause,
        // Certificates name hosts, and nodes tell addresses: leave names to the nodes (cluster-preferred-endpoint-type).
        dnsLookup: (address, callback) => callback(null, address),
      },
    );
  const single = { ...common, enableAutoPipelining: true, db: database, retryStrategy: pause };
  if (mode === 'single') return new Redis({ ...single, ...addresses[0]! });
  return new Redis({
    ...single,
    sentinels: addresses.map(({ host, port }) => ({ host, port })),
    name: options.primary!,
    sentinelRetryStrategy: pause,
    sentinelCommandTimeout: connectTimeout,
    failoverDetector: true,
    ...(sentinelLogin?.user !== undefined && { sentinelUsername: sentinelLogin.user }),
    ...(sentinelLogin?.password !== undefined && { sentinelPassword: sentinelLogin.password }),
    ...(tls !== undefined && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
  });
}
