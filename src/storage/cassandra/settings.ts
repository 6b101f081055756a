/** From the configuration to options of the driver. */
import type { Storage } from '../contract.js';
import { isThisMachine, readNamed, readSecret, securityOf, type TlsMode } from '../settings.js';
import { type CassandraOptions, openCassandra } from './index.js';
import type { Consistency, SessionOptions } from './session.js';

/** The table [storage.cassandra] of the configuration. */
export interface Settings {
  readonly contact_points: readonly string[];
  readonly port: number;
  readonly local_datacenter: string;
  readonly keyspace: string;
  readonly replication: Readonly<Record<string, number>>;
  readonly consistency: Consistency;
  readonly username: string;
  readonly password_file: string;
  readonly tls: TlsMode;
  readonly ca_file: string;
  readonly expiry_seconds: number;
  readonly request_timeout_seconds: number;
}

const day = 86_400;
/** Files of entries that a node has at most, beside each other: more make reading slower. */
const windows = 30;
/** Days in a file if nothing expires. */
const endlessWindow = 30;

/** Opens the configured keyspace. Rejects with StorageError. */
export async function openConfigured(
  settings: Settings,
  more: Pick<CassandraOptions, 'warn' | 'server' | 'look'>,
): Promise<Storage> {
  const { replication, expiry_seconds } = settings;
  const isEndless = expiry_seconds === Number.POSITIVE_INFINITY;
  return openCassandra({
    ...(await sessionOf(settings, more.warn)),
    schema: {
      replication,
      windowDays: isEndless ? endlessWindow : Math.max(1, Math.ceil(expiry_seconds / day / windows)),
    },
    expiry: isEndless ? 0 : expiry_seconds,
    ...more,
  });
}

/** Rejects with StorageError if a file cannot be read. */
export async function sessionOf(settings: Settings, warn: SessionOptions['warn']): Promise<SessionOptions> {
  const { contact_points, port, local_datacenter, keyspace, consistency, username, password_file, tls, ca_file } =
    settings;
  const { isEncrypted, isVerified } = securityOf(tls, contact_points.every(isHere));
  const password =
    password_file === ''
      ? (process.env.CASSANDRA_PASSWORD ?? '')
      : await readSecret('storage.cassandra.password_file', password_file);
  return {
    contactPoints: contact_points,
    port,
    localDatacenter: local_datacenter,
    keyspace,
    consistency,
    credentials: username === '' ? undefined : { username, password },
    tls: isEncrypted
      ? {
          rejectUnauthorized: isVerified,
          ...(ca_file !== '' && { ca: [await readNamed('storage.cassandra.ca_file', ca_file)] }),
        }
      : undefined,
    answerWithin: settings.request_timeout_seconds * 1000,
    warn,
  };
}

/** Whether a contact point is on this machine. */
function isHere(point: string): boolean {
  if (point === '::1' || point.startsWith('[::1]')) return true;
  // The end of an IPv6 address is no port.
  return !point.includes('::') && isThisMachine(point.replace(/:\d+$/, ''));
}
