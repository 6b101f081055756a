/** Options and interface of `createServer()`. */
import type { DestinationStream } from 'pino';
import type { BlobStorage } from '../storage/blobs.js';
import type { DocumentStore, Storage } from '../storage/contract.js';
import type { Usages } from '../storage/usage.js';
import type { Accounts } from './accounts/index.js';
import type { ClusterNode } from './cluster/node.js';
import type { Config } from './config/schema.js';
import type { DiskSpace, Space } from './disk-space.js';
import type { Engines } from './engines.js';
import type { Federation } from './federation.js';
import type { Bound } from './listeners.js';
import type { Logs } from './logging.js';
import type { ClusterOptions } from './membership.js';
import type { Metrics } from './metrics.js';
import type { Host, ModuleDefinition, ModuleListener } from './module/index.js';
import type { Nodes } from './nodes.js';
import type { StoredQuota } from './quotas.js';
import type { SessionDirectory } from './routing/directory.js';
import type { LocalHost } from './routing/host.js';
import type { Destination } from './routing/router.js';
import type { Session } from './routing/session.js';
import type { Components } from './stream/component/index.js';
import type { Acme } from './tls/acme/index.js';
import type { Certificates } from './tls/certificates.js';

export interface ServerOptions {
  /** The configuration file. Default: `text`, or the usual locations, or the defaults. */
  readonly file?: string | undefined;
  /** The configuration in TOML. */
  readonly text?: string | undefined;
  /** Overrides the file; same structure. */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /** Replaces the modules that come with the server (`standardModules`). The order does not matter. */
  readonly standard?: readonly ModuleDefinition[] | undefined;
  /** Modules in addition to the standard ones and those the configuration loads. */
  readonly modules?: readonly ModuleDefinition[] | undefined;
  /** Log destination, instead of the configured one. */
  readonly logTo?: DestinationStream | undefined;
  /** How long to wait for another process that has the data open, such as a command, in ms. Default: 0. */
  readonly storageWithin?: number | undefined;
  /** An open storage, instead of the configured one. The server does not close it. */
  readonly storage?: Storage | undefined;
  /** An open storage of uploaded files and other large contents, instead of the configured one. */
  readonly blobs?: BlobStorage | undefined;
  /** Reads the disk space of a folder, instead of the system call. */
  readonly space?: ((folder: string) => Promise<Space>) | undefined;
  /** The cluster it is a node of; `storage` must be a handle of its own. Default: a single server. */
  readonly cluster?: ClusterOptions | undefined;
  /** Receives stanzas for other servers. Without it they are refused with `remote-server-not-found`. */
  readonly remote?: Destination | undefined;
  /**
   * Stops or restarts the program at the request of an administrator (XEP-0133). Without it the server can be stopped
   * but not restarted.
   */
  readonly halt?: ((how: 'stop' | 'restart') => Promise<void>) | undefined;
}

export interface Reloaded {
  /** Changed keys that have been applied, and those that need a restart. */
  readonly applied: readonly string[];
  readonly restart: readonly string[];
}

/** Counts of what the server holds for clients and components. */
export interface Inspection {
  readonly connections: number;
  /** Connections without a stream or a served request. */
  readonly pending: number;
  readonly streams: number;
  readonly sessions: number;
  /** Stream management states (XEP-0198), and resumable ones. */
  readonly managed: number;
  readonly resumable: number;
  /** Writes that acknowledgements wait for. */
  readonly pendingWrites: number;
  /** Shares of accounts and addresses used by streams. */
  readonly shares: number;
  /** Snapshots of ended sessions still to be deleted. */
  readonly pendingDeletes: number;
  /** Pending requests of the server itself. */
  readonly asks: number;
  /** Anonymous accounts whose data is being written or deleted. */
  readonly anonymous: number;
}

/** A server: createServer() has opened its storage and made its hosts; `start` opens the ports. */
export interface Server {
  readonly config: Config;
  readonly accounts: Accounts;
  readonly logs: Logs;
  readonly metrics: Metrics;
  readonly sessions: SessionDirectory;
  readonly storage: Storage;
  /** Databases and other engines, and whether they work. */
  readonly engines: Pick<Engines, 'states'>;
  /** Storage use of accounts and rooms. */
  readonly usages: Usages;
  /** Bytes stored by stanzas of an account since the server started, by day (UTC). */
  writtenBy(bare: string): { readonly today: number; readonly yesterday: number };
  /** Space on the disk of the data folder. */
  readonly disk: Pick<DiskSpace, 'space' | 'isLow' | 'look'>;
  /** Quotas of individual accounts. */
  readonly quotas: DocumentStore<StoredQuota>;
  readonly certificates: Certificates;
  /** Certificates that are ordered from an authority. */
  readonly acme: Pick<Acme, 'status' | 'statuses' | 'renew' | 'revoke'>;
  /** External components (XEP-0114), and their connections. */
  readonly components: Pick<Components, 'figures' | 'kick'>;
  /** Streams to and from other servers; a text says why there are none. */
  readonly federation: Federation | string;
  readonly version: string;
  readonly startedAt: number;
  /** The same moment by the monotonic clock. */
  readonly started: number;
  /** All modules, running or not. */
  readonly modules: readonly ModuleDefinition[];
  host(domain: string): Host | undefined;
  /** The hosts, with what their modules export and import of accounts (XEP-0227), in the order of the configuration. */
  readonly portableHosts: readonly LocalHost[];
  /** What all nodes of the cluster know together; of a single server, this one. */
  readonly nodes: Pick<Nodes, 'members' | 'sessions' | 'end'>;
  /** Its cluster node, if it is part of a cluster. */
  readonly node: ClusterNode | undefined;
  /** Opens the ports. Rejects with ListenError. */
  start(): Promise<void>;
  /** Open ports of the server. */
  readonly listening: readonly Bound[];
  /** Open ports of its modules. */
  readonly modulesListening: readonly ModuleListener[];
  /** Open connections of clients, by kind of transport. */
  readonly connections: Readonly<Record<string, number>>;
  /** Resumable sessions without a connection. */
  readonly hibernating: number;
  /** Counts what is held for clients. All zero once every client and its session have gone. */
  inspect(): Inspection;
  /** Ends a session, with an error for its client. */
  kick(session: Session, text?: string): void;
  /** Reloads configuration and certificates, and applies what does not need a restart. Rejects with ConfigError. */
  reload(): Promise<Reloaded>;
  /** Closes all streams with `system-shutdown`, saves resumable sessions, and resolves once everything is durable. */
  stop(): Promise<void>;
}
