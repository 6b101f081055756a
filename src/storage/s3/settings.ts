/** From the configuration to options of the driver. */
import { StorageError } from '../contract.js';
import { readNamed, readSecret } from '../settings.js';
import type { ClientOptions } from './client.js';
import { openS3, type S3Options, type S3Storage } from './index.js';
import type { Credentials } from './sign.js';

/** The table [storage.s3] of the configuration. */
export interface Settings {
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly addressing: 'auto' | 'path' | 'host';
  readonly access_key_id: string;
  readonly secret_key_file: string;
  readonly ca_file: string;
  readonly encryption: 'none' | 'AES256' | 'aws:kms';
  readonly kms_key: string;
  readonly checksums: boolean;
  readonly part_bytes: number;
  readonly memory_bytes: number;
  readonly timeout_seconds: number;
  readonly attempts: number;
  readonly downloads: 'proxy' | 'redirect';
  readonly link_seconds: number;
  readonly public_url: string;
}

/** What surrounds the driver. */
export type Guards = Pick<ClientOptions, 'guard' | 'warn'> & Pick<S3Options, 'unreachable' | 'demandWorking'>;

/** Opens the configured bucket. Rejects with StorageError. */
export async function openConfigured(
  settings: Settings,
  { guard, warn, unreachable, demandWorking, ownership }: Guards & Pick<S3Options, 'ownership'>,
): Promise<S3Storage> {
  const options = await optionsOf(settings);
  const client = { ...options.client, guard, warn };
  return openS3({ ...options, client, ownership, unreachable, demandWorking });
}

/** Rejects with StorageError if a file cannot be read, or there is no key. */
export async function optionsOf(settings: Settings): Promise<Omit<S3Options, 'ownership'>> {
  const { endpoint, region, bucket, prefix, addressing, ca_file, encryption, kms_key, public_url } = settings;
  return {
    client: {
      endpoint: endpoint === '' ? `https://s3.${region}.amazonaws.com` : endpoint,
      region,
      bucket,
      isPathStyle: addressing === 'path' || (addressing === 'auto' && endpoint !== ''),
      credentials: await credentialsOf(settings),
      ca: ca_file === '' ? undefined : await readNamed('storage.s3.ca_file', ca_file),
      timeout: settings.timeout_seconds * 1000,
      attempts: settings.attempts,
    },
    prefix,
    encryption: encryption === 'none' ? undefined : { algorithm: encryption, key: kms_key },
    hasChecksums: settings.checksums,
    partBytes: settings.part_bytes,
    memoryBytes: settings.memory_bytes,
    links:
      settings.downloads === 'proxy'
        ? undefined
        : { seconds: settings.link_seconds, base: public_url === '' ? undefined : public_url.replace(/\/*$/, '/') },
  };
}

/** From the configuration, or from the environment variables that other programs use too. */
async function credentialsOf({ access_key_id, secret_key_file }: Settings): Promise<Credentials> {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env;
  const isOurs = access_key_id !== '';
  const accessKeyId = isOurs ? access_key_id : AWS_ACCESS_KEY_ID;
  const secretKey =
    secret_key_file === '' ? AWS_SECRET_ACCESS_KEY : await readSecret('storage.s3.secret_key_file', secret_key_file);
  if (!accessKeyId || !secretKey)
    throw new StorageError(
      'unavailable',
      `storage.s3 has no ${accessKeyId ? 'secret key: set secret_key_file or AWS_SECRET_ACCESS_KEY' : 'key: set access_key_id or AWS_ACCESS_KEY_ID'}`,
    );
  return { accessKeyId, secretKey, ...(AWS_SESSION_TOKEN && !isOurs && { sessionToken: AWS_SESSION_TOKEN }) };
}
