/** The table [storage.s3]. */
import { z } from 'zod';
import { because } from './keys.js';
import { bytes, count, seconds } from './units.js';

const mebibyte = 2 ** 20;

export const s3 = z
  .strictObject({
    endpoint: z
      .string()
      .refine(
        (text) => text === '' || isAddress(text),
        because('is not the address of a store', 'write one such as "https://minio.example.org:9000"'),
      )
      .default('')
      .describe('Address of the store. Empty: Amazon S3 in the region. Without TLS ("http:") on this machine only.')
      .meta({ example: 'https://minio.example.org:9000' }),
    region: z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]*$/, because('is not the name of a region', 'write one such as "eu-west-1"'))
      .default('us-east-1')
      .describe('Region of the bucket. Stores without regions take any, or "us-east-1".'),
    bucket: z
      .string()
      .regex(
        /^$|^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$/,
        because('is not the name of a bucket', 'write one such as "waxwing-files"'),
      )
      .default('')
      .describe('The bucket. It has to exist.')
      .meta({ example: 'waxwing-files' }),
    prefix: z
      .string()
      .regex(
        /^([A-Za-z0-9!_.*'()-]+\/)*$/,
        because('is not a prefix', 'write one that ends with a slash, such as "waxwing/"'),
      )
      .max(500)
      .default('waxwing/')
      .describe(
        'Beginning of the keys of all objects. Each server needs its own, and refuses one that belongs to another server.',
      ),
    addressing: z
      .enum(['auto', 'path', 'host'])
      .default('auto')
      .describe(
        'Where the bucket is named: in the path of addresses, or in the host name. "auto" is "host" for Amazon S3 and "path" for an endpoint.',
      ),
    access_key_id: z
      .string()
      .default('')
      .describe('Id of the access key. Empty: the environment variable AWS_ACCESS_KEY_ID.')
      .meta({ example: 'AKIAIOSFODNN7EXAMPLE' }),
    secret_key_file: z
      .string()
      .default('')
      .describe('File with the secret of the access key. Empty: the environment variable AWS_SECRET_ACCESS_KEY.')
      .meta({ path: 'config', example: '/etc/waxwing/s3.secret' }),
    ca_file: z
      .string()
      .default('')
      .describe(
        'Certificates of the authorities that may have issued the certificate of the store. Empty: those of Node.js.',
      )
      .meta({ path: 'config', example: '/etc/waxwing/s3-ca.crt' }),
    encryption: z
      .enum(['none', 'AES256', 'aws:kms'])
      .default('none')
      .describe('Encryption by the store that new objects ask for. "none": as the bucket has it.'),
    kms_key: z
      .string()
      .default('')
      .describe('Key for "aws:kms". Empty: the usual one of the store.')
      .meta({ example: 'alias/files' }),
    checksums: z
      .boolean()
      .default(true)
      .describe(
        'Whether the store checks what it gets by a checksum (CRC-32). false is for stores that refuse checksums.',
      ),
    part_bytes: bytes({ min: 5 * mebibyte, max: 1024 * mebibyte })
      .default(8 * mebibyte)
      .describe('Size of the parts in which larger files are uploaded.'),
    memory_bytes: bytes({ min: mebibyte })
      .default(64 * mebibyte)
      .describe(
        'Memory for parts of running uploads. A part in memory is sent again if that fails. When the memory is used up, parts are passed on as clients send them.',
      ),
    timeout_seconds: seconds({ min: 1, max: 600 })
      .default(30)
      .describe('Time after which a request fails if nothing of it moves.'),
    attempts: count({ min: 1, max: 20 })
      .default(4)
      .describe('How often a request is sent at most, with growing pauses.'),
    downloads: z
      .enum(['proxy', 'redirect'])
      .default('proxy')
      .describe(
        'How clients get files. "proxy": through this server. "redirect": this server sends them to the store, with an address that is signed for a short time; the bucket then has to allow other origins (CORS) for web clients.',
      ),
    link_seconds: seconds({ min: 10, max: 604_800 }).default(300).describe('How long a signed address can be used.'),
    public_url: z
      .string()
      .refine(
        (text) => text === '' || (isAddress(text) && !new URL(text).search),
        because('is not the beginning of a web address', 'write one such as "https://cdn.example.org"'),
      )
      .default('')
      .describe(
        'With "redirect": beginning of unsigned addresses instead, those of a network of caches (CDN) that may read the bucket. The keys of objects follow.',
      )
      .meta({ example: 'https://cdn.example.org' }),
  })
  .prefault({})
  .describe('The S3 driver for uploaded files, see docs/storage.md.');

export type S3Config = z.output<typeof s3>;

function isAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return (protocol === 'https:' || protocol === 'http:') && `${username}${password}${search}${hash}` === '';
}

const isHere = (host: string): boolean => host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host);

/** Returns what is wrong with a combination of values. */
export function s3Problems(
  { bucket, endpoint, encryption, kms_key, downloads, public_url }: S3Config,
  isUsed: boolean,
): { readonly at: keyof S3Config; readonly problem: string; readonly hint: string }[] {
  const problems: { at: keyof S3Config; problem: string; hint: string }[] = [];
  if (!isUsed) return problems;
  if (bucket === '')
    problems.push({ at: 'bucket', problem: 'is missing', hint: 'name it, or set storage.files.driver = "folder"' });
  if (endpoint.startsWith('http:') && !isHere(new URL(endpoint).hostname))
    problems.push({
      at: 'endpoint',
      problem: 'has no TLS, and is not on this machine: files and signatures could be read on the way',
      hint: 'write "https:"',
    });
  if (kms_key !== '' && encryption !== 'aws:kms')
    problems.push({
      at: 'kms_key',
      problem: 'has no meaning without encryption = "aws:kms"',
      hint: 'set both or none',
    });
  if (public_url !== '' && downloads !== 'redirect')
    problems.push({
      at: 'public_url',
      problem: 'has no meaning with downloads = "proxy"',
      hint: 'set downloads = "redirect"',
    });
  return problems;
}
