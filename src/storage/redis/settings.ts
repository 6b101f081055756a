/** From the configuration to options of the driver. */
import type { ConnectionOptions } from 'node:tls';
import { isThisMachine, readNamed, readSecret, securityOf, type TlsMode } from '../settings.js';
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
  readonly tls: TlsMode;
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
    ...(file !== '' && { password: await readSecret(`storage.redis.${key}`, file) }),
  };
}

async function tlsOf(settings: Settings, addresses: readonly Address[]): Promise<ConnectionOptions | undefined> {
  const { tls, ca_file, certificate_file, key_file } = settings;
  const isHere = addresses.every(({ host }) => isThisMachine(host));
  const { isEncrypted, isVerified } = securityOf(tls, isHere);
  if (!isEncrypted) return undefined;
  return {
    rejectUnauthorized: isVerified,
    ...(ca_file !== '' && { ca: await readNamed('storage.redis.ca_file', ca_file) }),
    ...(certificate_file !== '' && { cert: await readNamed('storage.redis.certificate_file', certificate_file) }),
    ...(key_file !== '' && { key: await readNamed('storage.redis.key_file', key_file) }),
  };
}
