/** From the configuration to options of the driver. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { StorageError } from '../contract.js';
import type { Address, ClientOptions, Login } from './client.js';
import { openRedis, type RedisOptions, type RedisStorage } from './index.js';

/** The table [storage.redis] of the configuration. */
export interface Settings {
  readonly mode: 'single' | 'sentinel' | 'cluster';
  readonly addresses: readonly string[];
  readonly primary: string;
  readonly user: string;
  readonly password_file: string;
  readonly sentinel_user: string;
  readonly sentinel_password_file: string;
  readonly database: number;
  readonly prefix: string;
  readonly tls: 'auto' | 'verify-full' | 'require' | 'disable';
  readonly ca_file: string;
  readonly certificate_file: string;
  readonly key_file: string;
  readonly connect_seconds: number;
}

/** Opens the configured server. Rejects with StorageError, but not if the server is only away. */
export async function openConfigured(
  settings: Settings,
  options: Omit<RedisOptions, 'client' | 'prefix'> & { readonly answerTimeout: number },
): Promise<RedisStorage> {
  return openRedis({
    ...options,
    client: await clientOf(settings, options.answerTimeout),
    prefix: settings.prefix,
  });
}

/** Rejects with StorageError if a file cannot be read. `answerTimeout` is in ms. */
export async function clientOf(settings: Settings, answerTimeout: number): Promise<ClientOptions> {
  const { mode, primary, database, connect_seconds } = settings;
  const addresses = settings.addresses.map(addressOf);
  return {
    mode,
    addresses,
    primary,
    database,
    login: await loginOf(settings.user, 'password_file', settings.password_file),
    sentinelLogin: await loginOf(settings.sentinel_user, 'sentinel_password_file', settings.sentinel_password_file),
    tls: await tlsOf(settings, addresses),
    connectTimeout: connect_seconds * 1000,
    answerTimeout,
  };
}

/** Of `HOST`, `HOST:PORT` or `[IPv6]:PORT`. */
export function addressOf(text: string): Address {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text) ?? [];
  return { host: bracketed ?? plain ?? text, port: Number(port ?? 6379) };
}

async function loginOf(user: string, key: string, file: string): Promise<Login> {
  return {
    ...(user !== '' && { user }),
    ...(file !== '' && { password: (await text(key, file)).replace(/\r?\n$/, '') }),
  };
}

async function tlsOf(settings: Settings, addresses: readonly Address[]): Promise<ConnectionOptions | undefined> {
  const { tls, ca_file, certificate_file, key_file } = settings;
  const isVerified = tls === 'verify-full' || (tls === 'auto' && !addresses.every(({ host }) => isHere(host)));
  if (!isVerified && tls !== 'require') return undefined;
  return {
    rejectUnauthorized: isVerified,
    ...(ca_file !== '' && { ca: await text('ca_file', ca_file) }),
    ...(certificate_file !== '' && { cert: await text('certificate_file', certificate_file) }),
    ...(key_file !== '' && { key: await text('key_file', key_file) }),
  };
}

/** Whether the server is on this machine. */
const isHere = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

async function text(key: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new StorageError('unavailable', `storage.redis.${key}: ${(error as Error).message}`, { cause: error });
  }
}
