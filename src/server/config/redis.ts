/** The table [storage.redis]. */
import { z } from 'zod';
import { because } from './keys.js';
import { count, seconds } from './units.js';

const address = z
  .string()
  .regex(
    /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/,
    because('is not the address of a server', 'write one such as "redis.example.org:6379"'),
  )
  .refine(
    (text) => Number(/:(\d{1,5})$/.exec(text)?.[1] ?? 1) <= 65_535 && !/:0+$/.test(text),
    because('has no valid port', 'write one from 1 to 65535'),
  );

export const redis = z
  .strictObject({
    mode: z
      .enum(['single', 'sentinel', 'cluster'])
      .default('single')
      .describe(
        'What the addresses are: "single": one server; "sentinel": Sentinels, which know the primary; "cluster": some nodes of a Redis Cluster, which know the others.',
      ),
    addresses: z
      .array(address)
      .min(1)
      .max(64)
      .default(['localhost:6379'])
      .describe('Addresses with ports; without one, 6379 (a Sentinel usually has 26379).')
      .meta({ example: ['redis-1.example.org:6379'] }),
    primary: z
      .string()
      .min(1)
      .default('mymaster')
      .describe('With "sentinel": the name that the Sentinels have for the primary.'),
    user: z
      .string()
      .default('')
      .describe('User (ACL) to log in as. Empty: the default user.')
      .meta({ example: 'waxwing' }),
    password_file: z
      .string()
      .default('')
      .describe('File with the password of the user. Empty: no password.')
      .meta({ path: 'config', example: '/etc/waxwing/redis.password' }),
    sentinel_user: z
      .string()
      .default('')
      .describe('User to log in as at the Sentinels. Empty: their default user.')
      .meta({ example: 'waxwing' }),
    sentinel_password_file: z
      .string()
      .default('')
      .describe('File with the password for the Sentinels. Empty: no password.')
      .meta({ path: 'config', example: '/etc/waxwing/sentinel.password' }),
    database: count({ min: 0, max: 1_000_000 }).default(0).describe('Number of the database. A cluster has only 0.'),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9_.-]{1,100}$/, because('is not a prefix', 'write one such as "waxwing"'))
      .default('waxwing')
      .describe(
        'Beginning of all keys, followed by ":". Each server needs its own, and refuses one that belongs to another server.',
      ),
    tls: z
      .enum(['auto', 'verify-full', 'require', 'disable'])
      .default('auto')
      .describe(
        'Encryption of the connections, also those to Sentinels. "verify-full" checks the certificate and name of the server; "require" encrypts without checking, so that whoever is in between can read and change everything. "auto" is "disable" if all addresses are on this machine, and otherwise "verify-full".',
      ),
    ca_file: z
      .string()
      .default('')
      .describe('Certificates of the authorities that may have issued the server certificate. Empty: those of Node.js.')
      .meta({ path: 'config', example: '/etc/waxwing/redis-ca.crt' }),
    certificate_file: z
      .string()
      .default('')
      .describe('Certificate of this client, for servers that demand one (tls-auth-clients).')
      .meta({ path: 'config', example: '/etc/waxwing/redis.crt' }),
    key_file: z
      .string()
      .default('')
      .describe('Private key of the certificate.')
      .meta({ path: 'config', example: '/etc/waxwing/redis.key' }),
    connect_seconds: seconds({ min: 1, max: 60 })
      .default(3)
      .describe('Time to establish a connection. The start waits for the first one so long at most.'),
  })
  .prefault({})
  .describe('The Redis and Valkey driver for what may be lost, see docs/storage.md.');

export type RedisConfig = z.output<typeof redis>;

/** Returns what is wrong with a combination of values. */
export function redisProblems(
  { mode, addresses, database, certificate_file, key_file }: RedisConfig,
  isUsed: boolean,
): { readonly at: keyof RedisConfig; readonly problem: string; readonly hint: string }[] {
  const problems: { at: keyof RedisConfig; problem: string; hint: string }[] = [];
  if (!isUsed) return problems;
  if (mode === 'single' && addresses.length > 1)
    problems.push({
      at: 'addresses',
      problem: 'has several servers, and mode = "single" is for one',
      hint: 'set mode to "sentinel" or "cluster", or name one server',
    });
  if (mode === 'cluster' && database !== 0)
    problems.push({ at: 'database', problem: 'is not 0, and a cluster has no other', hint: 'remove it' });
  if ((certificate_file === '') !== (key_file === ''))
    problems.push({
      at: certificate_file === '' ? 'key_file' : 'certificate_file',
      problem: 'has no meaning alone',
      hint: 'set both certificate_file and key_file, or none',
    });
  return problems;
}
