/** What `createServer()` takes and makes. */
import type { DestinationStream } from 'pino';
import type { DocumentStore, Storage } from '../storage/contract.js';
import type { Usages } from '../storage/usage.js';
import type { Accounts } from './accounts/index.js';
import type { ClusterNode } from './cluster/node.js';
import type { Config } from './config/schema.js';
import type { DiskSpace, Space } from './disk-space.js';
import type { Bound } from './listeners.js';
import type { Logs } from './logging.js';
import type { ClusterOptions } from './membership.js';
import type { Metrics } from './metrics.js';
import type { Host, ModuleDefinition, ModuleListener } from './module/index.js';
import type { StoredQuota } from './quotas.js';
import type { SessionDirectory } from './routing/directory.js';
import type { Destination } from './routing/router.js';
import type { Session } from './routing/session.js';
import type { Components } from './stream/component/index.js';
import type { Certificates } from './tls/certificates.js';

export interface ServerOptions {
  /** The configuration file. Without it: `text`, or the usual places, or the defaults. */
  readonly file?: string | undefined;
  /** The configuration itself, in TOML. */
  readonly text?: string | undefined;
  /** Laid over the file, in its structure. */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
  /** Instead of the modules that come with the server (`standardModules`). Their order means nothing. */
  readonly standard?: readonly ModuleDefinition[] | undefined;
  /** Further modules besides the standard ones and those that the configuration loads. */
  readonly modules?: readonly ModuleDefinition[] | undefined;
  /** Where logs go instead of where the configuration says. */
  readonly logTo?: DestinationStream | undefined;
  /** Milliseconds to wait for another process that has the data open, such as another command; 0 is the default. */
  readonly storageWithin?: number | undefined;
  /** A storage that is open already, instead of the configured one; it is not closed with the server. */
  readonly storage?: Storage | undefined;
  /** Says how much room is on the disk of a folder, instead of the system. */
  readonly space?: ((folder: string) => Promise<Space>) | undefined;
  /** The cluster that it is a node of; its `storage` is a handle of its own. Without it, it is all that there is. */
  readonly cluster?: ClusterOptions | undefined;
  /** Takes what is for other servers; without it their addresses are refused with `remote-server-not-found`. */
  readonly remote?: Destination | undefined;
  /**
   * Stops or restarts the program when an administrator asks for it from a client (XEP-0133). Without it the server
   * can be stopped and not restarted.
   */
  readonly halt?: ((how: 'stop' | 'restart') => Promise<void>) | undefined;
}

export interface Reloaded {
  /** Keys that changed and hold now, and those that need a restart. */
  readonly applied: readonly string[];
  readonly restart: readonly string[];
}

/** Counts of what the server holds for clients and components. */
export interface Inspection {
  readonly connections: number;
  /** Connections that are no stream yet and were served no request. */
  readonly pending: number;
  readonly streams: number;
  readonly sessions: number;
  /** Stream management states (XEP-0198), and those of them that can be resumed. */
  readonly managed: number;
  readonly resumable: number;
  /** Writes for which acknowledgements wait. */
  readonly unsettled: number;
  /** Shares of accounts and addresses that streams use. */
  readonly shares: number;
  /** Records of ended sessions that the storage has yet to forget. */
  readonly pendingDeletes: number;
  /** Requests of the server's own that wait for an answer. */
  readonly asks: number;
  /** Anonymous accounts whose data is being written or forgotten. */
  readonly anonymous: number;
}

/** A server: made by createServer(), which has opened its storage and made its hosts; `start` opens the ports. */
export interface Server {
  readonly config: Config;
  readonly accounts: Accounts;
  readonly logs: Logs;
  readonly metrics: Metrics;
  readonly sessions: SessionDirectory;
  readonly storage: Storage;
  /** Bytes that accounts and rooms store. */
  readonly usages: Usages;
  /** Bytes that the stanzas of an account stored since the server started, by days of UTC. */
  writtenBy(bare: string): { readonly today: number; readonly yesterday: number };
  /** Room for the data. */
  readonly disk: Pick<DiskSpace, 'space' | 'isLow' | 'look'>;
  /** Accounts that have quotas of their own. */
  readonly quotas: DocumentStore<StoredQuota>;
  readonly certificates: Certificates;
  /** External components (XEP-0114), and their connections. */
  readonly components: Pick<Components, 'figures' | 'kick'>;
  readonly version: string;
  readonly startedAt: number;
  /** The same moment by the monotonic clock. */
  readonly started: number;
  /** Every module that there is, running or not. */
  readonly modules: readonly ModuleDefinition[];
  host(domain: string): Host | undefined;
  /** Its part in a cluster, if it is a node of one. */
  readonly node: ClusterNode | undefined;
  /** Opens the ports. Rejects with ListenError. */
  start(): Promise<void>;
  /** What it listens on. */
  readonly listening: readonly Bound[];
  /** What its modules listen on besides. */
  readonly modulesListening: readonly ModuleListener[];
  /** Open connections of clients, by kind of transport. */
  readonly connections: Readonly<Record<string, number>>;
  /** Sessions that wait for their clients to come back. */
  readonly hibernating: number;
  /** What is held for clients at this moment. All is zero once every client and its session are gone. */
  inspect(): Inspection;
  /** Ends a session, telling its client why. */
  kick(session: Session, text?: string): void;
  /** Reads the configuration and certificates again and applies what can be applied. Rejects with ConfigError. */
  reload(): Promise<Reloaded>;
  /** Closes all streams with `system-shutdown`, keeps what can be resumed, and ends once all is on disk. */
  stop(): Promise<void>;
}
