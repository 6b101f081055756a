/** From the configuration to options of pg. */
import type { ConnectionOptions } from 'node:tls';
import type { ClientConfig } from 'pg';
import type { Storage } from '../contract.js';
import { isThisMachine, readNamed, readSecret, securityOf, type TlsMode } from '../settings.js';
import { openPostgresql, type PostgresqlOptions } from './index.js';

/** The table [storage.postgresql] of the configuration. */
export interface Settings {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password_file: string;
  readonly tls: TlsMode;
  readonly ca_file: string;
  readonly schema: string;
  readonly lanes: number;
  readonly statement_timeout_seconds: number;
  readonly patience_seconds: number;
}

/** Opens the configured database. Rejects with StorageError. */
export async function openConfigured(settings: Settings, warn: PostgresqlOptions['warn']): Promise<Storage> {
  const { schema, lanes, statement_timeout_seconds, patience_seconds } = settings;
  return openPostgresql({
    client: await clientOf(settings),
    schema,
    lanes,
    statementTimeout: statement_timeout_seconds * 1000,
    patience: patience_seconds * 1000,
    warn,
  });
}

/** Rejects with StorageError if a file cannot be read. */
export async function clientOf(settings: Settings): Promise<ClientConfig> {
  const { host, port, database, user, password_file, tls, ca_file } = settings;
  const { isEncrypted, isVerified } = securityOf(tls, host.startsWith('/') || isThisMachine(host));
  const ssl: ConnectionOptions = {
    rejectUnauthorized: isVerified,
    ...(ca_file !== '' && { ca: await readNamed('storage.postgresql.ca_file', ca_file) }),
  };
  return {
    host,
    port,
    database,
    user,
    ...(password_file !== '' && {
      password: await readSecret('storage.postgresql.password_file', password_file),
    }),
    ssl: isEncrypted ? ssl : false,
  };
}
