/** From the configuration to options of pg. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { ClientConfig } from 'pg';
import { type Storage, StorageError } from '../contract.js';
import { openPostgresql, type PostgresqlOptions } from './index.js';

/** The table [storage.postgresql] of the configuration. */
export interface Settings {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password_file: string;
  readonly tls: 'auto' | 'verify-full' | 'require' | 'disable';
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
  const isVerified = tls === 'verify-full' || (tls === 'auto' && !isHere(host));
  const ssl: ConnectionOptions = {
    rejectUnauthorized: isVerified,
    ...(ca_file !== '' && { ca: await text('storage.postgresql.ca_file', ca_file) }),
  };
  return {
    host,
    port,
    database,
    user,
    ...(password_file !== '' && {
      password: (await text('storage.postgresql.password_file', password_file)).replace(/\r?\n$/, ''),
    }),
    ssl: isVerified || tls === 'require' ? ssl : false,
  };
}

/** Whether the server is on this machine. */
function isHere(host: string): boolean {
  if (host.startsWith('/') || host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}

async function text(key: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new StorageError('unavailable', `${key}: ${(error as Error).message}`, { cause: error });
  }
}
