/** One connection to PostgreSQL. Statements are prepared once, and sent without waiting for earlier ones. */
import pg from 'pg';
import { ConnectionLost, endsConnection } from './errors.js';

/** A statement with a name of its own, under which it is prepared. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** A row, as an array of its columns. */
export type Row = readonly unknown[];

/** Runs a statement. Statements of a connection run in the order of the calls. */
export type Query = (statement: Statement | string, values?: readonly unknown[]) => Promise<Row[]>;

export interface ConnectOptions {
  readonly client: pg.ClientConfig;
  /** Maximum time of a statement, in ms, after which the server ends it. */
  readonly statementTimeout: number;
  readonly connectTimeout: number;
}

/** Time in ms beyond the statement's, after which a server that does not answer counts as lost. */
const answerGrace = 5000;

/** Settings of each connection. */
const settings: Readonly<Record<string, string | number>> = {
  // A process stopped within a transaction must not hold its locks: cluster.md, fence.
  idle_in_transaction_session_timeout: 1000,
  client_min_messages: 'warning',
  // Statements join an array of parameters with indexed tables: other plans are never better.
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
  default_transaction_isolation: 'read\\ committed',
  // A peer that disappeared must not hold a connection, or locks, for hours.
  tcp_keepalives_idle: 10,
  tcp_keepalives_interval: 5,
  tcp_keepalives_count: 3,
};

export class Connection {
  readonly #client: pg.Client;
  readonly #timeout: number;
  #isLost = false;
  #pending = 0;
  #deadline: NodeJS.Timeout | undefined;

  private constructor(client: pg.Client, timeout: number) {
    this.#client = client;
    this.#timeout = timeout;
  }

  /** Rejects with the error of the server or of the system. */
  static async open({ client: config, statementTimeout, connectTimeout }: ConnectOptions): Promise<Connection> {
    const options = Object.entries({ ...settings, statement_timeout: statementTimeout });
    const client = new pg.Client({
      ...config,
      application_name: config.application_name ?? 'waxwing',
      connectionTimeoutMillis: connectTimeout,
      options: options.map(([name, value]) => `-c ${name}=${value}`).join(' '),
      keepAlive: true,
      pipeline: true,
    } as pg.ClientConfig);
    const connection = new Connection(client, statementTimeout + answerGrace);
    const lose = (): void => {
      connection.#isLost = true;
      clearTimeout(connection.#deadline);
    };
    // Errors of an idle connection. Those of statements are also given to their callers.
    client.on('error', lose);
    client.on('end', lose);
    await client.connect();
    return connection;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Rejects with the server's error, or with ConnectionLost. */
  readonly query: Query = (statement, values) => {
    if (this.#isLost) return Promise.reject(new ConnectionLost('the connection was lost'));
    if (this.#pending++ === 0) this.#watch();
    return new Promise((resolve, reject) => {
      const config = typeof statement === 'string' ? { text: statement } : statement;
      this.#client.query({ ...config, values: values as unknown[], rowMode: 'array' }, (error, result) => {
        this.#pending--;
        this.#watch();
        if (!error) return resolve(result.rows ?? []);
        if (!endsConnection(error)) return reject(error);
        this.destroy();
        reject(new ConnectionLost(error.message, { cause: error }));
      });
    });
  };

  /** Closes the connection after its statements. Never rejects. */
  async close(): Promise<void> {
    if (this.#isLost) return;
    await this.#client.end().catch(() => {});
    this.#isLost = true;
    clearTimeout(this.#deadline);
  }

  /** Closes the connection at once: its statements reject with ConnectionLost. */
  destroy(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    clearTimeout(this.#deadline);
    streamOf(this.#client).destroy();
  }

  /** Each answer gives the next one its time. */
  #watch(): void {
    if (this.#isLost) return;
    if (this.#pending === 0) {
      clearTimeout(this.#deadline);
      this.#deadline = undefined;
    } else if (this.#deadline === undefined) {
      this.#deadline = setTimeout(() => this.destroy(), this.#timeout).unref();
    } else this.#deadline.refresh();
  }
}

/** The socket of a client, which pg's types do not show. */
function streamOf(client: pg.Client): { destroy(): void } {
  return (client as unknown as { readonly connection: { readonly stream: { destroy(): void } } }).connection.stream;
}
