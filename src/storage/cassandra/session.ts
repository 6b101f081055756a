/**
 * The connections to a Cassandra cluster: statements, their consistency and timestamps, and how many are under way.
 * Every statement may be run twice: the driver repeats those whose node did not answer at another node.
 */
import cassandra from 'cassandra-driver';
import { StorageError } from '../contract.js';
import { storageError } from './errors.js';

export type Consistency = 'local_quorum' | 'quorum' | 'one' | 'local_one';

export interface SessionOptions {
  /** Names or addresses, each with a port if it is not the usual one. */
  readonly contactPoints: readonly string[];
  readonly port: number;
  readonly localDatacenter: string;
  readonly keyspace: string;
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  readonly tls?: cassandra.ClientOptions['sslOptions'];
  readonly consistency: Consistency;
  /** Time in ms after which a statement is repeated at another node, or has failed. */
  readonly answerWithin: number;
  /** Statements under way at most; further ones wait. */
  readonly most?: number | undefined;
  readonly warn: (message: string, error: unknown) => void;
}

export type Row = Readonly<Record<string, unknown>>;

export interface Statement {
  readonly query: string;
  readonly params: readonly unknown[];
}

/** Time in ms for a change of the schema. */
const schemaTimeout = 120_000;
/** How far timestamps may run ahead of the clock, in ms. */
const mostAhead = 86_400_000;

/**
 * Timestamps of writes: Cassandra keeps the write with the greatest. Those of this process always increase. If data
 * has later ones, as after a clock was set back, they are moved above those.
 */
class Timestamps extends cassandra.policies.timestampGeneration.MonotonicTimestampGenerator {
  /** In ms. */
  #ahead = 0;

  constructor() {
    // It logs nothing: what it is about is said by `advance`.
    super(Number.MAX_SAFE_INTEGER, 0);
  }

  override getDate(): number {
    return super.getDate() + this.#ahead;
  }

  /** Makes later timestamps greater than this one, in µs. Returns whether that is possible. */
  exceed(timestamp: number): boolean {
    const missing = Math.floor(timestamp / 1000) + 1 - this.getDate();
    return missing <= 0 || this.advance(missing);
  }

  advance(ms: number): boolean {
    if (this.#ahead + ms > mostAhead) return false;
    this.#ahead += ms;
    return true;
  }
}

/** What a client is made of, as far as it has to be closed by hand. */
interface Unfinished {
  readonly controlConnection?: {
    shutdown?(): void;
    readonly connection?: { closeAsync?(): Promise<void> } | null;
  };
}

export class Session {
  /** Names the cluster and the keyspace in messages. */
  readonly where: string;
  readonly keyspace: string;
  /** A read sees what a write before it has written. */
  readonly isConsistent: boolean;
  readonly #client: cassandra.Client;
  readonly #timestamps: Timestamps;
  readonly #waiting: (() => void)[] = [];
  #free: number;
  #isClosed = false;

  private constructor(options: SessionOptions) {
    const { contactPoints, port, localDatacenter, keyspace, credentials, consistency, answerWithin, warn } = options;
    this.keyspace = keyspace;
    this.where = `Cassandra keyspace ${keyspace} at ${contactPoints.join(', ')}`;
    this.isConsistent = consistency === 'local_quorum' || consistency === 'quorum';
    this.#free = options.most ?? 1000;
    this.#timestamps = new Timestamps();
    const { loadBalancing, reconnection } = cassandra.policies;
    this.#client = new cassandra.Client({
      contactPoints: [...contactPoints],
      localDataCenter: localDatacenter,
      protocolOptions: { port },
      ...(credentials !== undefined && { credentials }),
      ...(options.tls !== undefined && { sslOptions: options.tls }),
      policies: {
        loadBalancing: new loadBalancing.TokenAwarePolicy(new loadBalancing.DCAwareRoundRobinPolicy(localDatacenter)),
        reconnection: new reconnection.ExponentialReconnectionPolicy(200, 5000),
        timestampGeneration: this.#timestamps,
      },
      pooling: { heartBeatInterval: 10_000 },
      socketOptions: { connectTimeout: 5000, readTimeout: answerWithin },
      queryOptions: { consistency: levels[consistency], prepare: true, isIdempotent: true },
    });
    this.#client.on('hostDown', (host: cassandra.Host) => {
      if (!this.#isClosed) warn(`the Cassandra node ${host.address} does not answer`, undefined);
    });
  }

  /** Connects. Rejects with StorageError. */
  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options);
    try {
      await session.#client.connect();
      return session;
    } catch (error) {
      await session.close();
      throw session.#explained(error);
    }
  }

  /** Rejects with StorageError. */
  read(query: string, params: readonly unknown[]): Promise<Row[]> {
    return this.#run(async () => (await this.#client.execute(query, [...params])).rows as unknown as Row[]);
  }

  write(query: string, params: readonly unknown[]): Promise<Row[]> {
    return this.read(query, params);
  }

  /** Creates something, which all nodes have to hear of. */
  async change(query: string): Promise<void> {
    await this.#run(() => this.#client.execute(query, [], { prepare: false, readTimeout: schemaTimeout }));
  }

  /** A conditional statement, which is never repeated: whether it was applied, and the row there is otherwise. */
  async compare(query: string, params: readonly unknown[]): Promise<{ isApplied: boolean; row: Row }> {
    const [row] = await this.#run(
      async () => (await this.#client.execute(query, [...params], { isIdempotent: false })).rows as unknown as Row[],
    );
    return { isApplied: row?.['[applied]'] === true, row: row ?? {} };
  }

  /** Runs statements on one partition, all or none. */
  async batch(statements: readonly Statement[]): Promise<void> {
    const queries = statements.map(({ query, params }) => ({ query, params: [...params] }));
    await this.#run(() => this.#client.batch(queries, { logged: false }));
  }

  /** Makes later timestamps greater than this one, in µs. Throws StorageError if it is far in the future. */
  exceed(timestamp: number): void {
    if (!this.#timestamps.exceed(timestamp)) throw this.#behind();
  }

  /** Makes later timestamps greater, by so many ms. Throws StorageError if that is too much. */
  advance(ms: number): void {
    if (!this.#timestamps.advance(ms)) throw this.#behind();
  }

  /** Versions of the nodes that are up. */
  get hosts(): { readonly address: string; readonly version: string; readonly datacenter: string; isUp: boolean }[] {
    return this.#client.hosts.values().map((host) => ({
      address: host.address,
      version: host.cassandraVersion,
      datacenter: host.datacenter,
      isUp: host.isUp(),
    }));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#client.shutdown();
    // Which does nothing for a client that could not connect: its first connection would keep the process running.
    const { controlConnection } = this.#client as unknown as Unfinished;
    controlConnection?.shutdown?.();
    await controlConnection?.connection?.closeAsync?.();
  }

  async #run<R>(work: () => Promise<R>): Promise<R> {
    if (this.#isClosed) throw new StorageError('unavailable', 'the storage is closed');
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } catch (error) {
      throw this.#explained(error);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  #explained(error: unknown): unknown {
    return storageError(error, this.where);
  }

  #behind(): StorageError {
    return new StorageError(
      'corrupt',
      `${this.where}: data was written with times more than a day ahead of this clock`,
    );
  }
}

/** A column that a new row does not have; null would write a tombstone. */
export const { unset } = cassandra.types;

const { consistencies } = cassandra.types;
const levels: Readonly<Record<Consistency, cassandra.types.consistencies>> = {
  local_quorum: consistencies.localQuorum,
  quorum: consistencies.quorum,
  one: consistencies.one,
  local_one: consistencies.localOne,
};
