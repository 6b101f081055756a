/** The table `[cluster]`: this process as a node of a cluster, and how nodes prove that they belong to it. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigError } from './findings.js';
import { because, listenAddress, live } from './keys.js';
import { count, seconds } from './units.js';

/** Characters of a secret: a shorter one could be guessed from one recorded handshake. */
const shortestSecret = 32;

export const cluster = z
  .strictObject({
    node: z
      .string()
      .regex(
        /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/,
        because('is not the name of a node', 'write one such as "node-1"'),
      )
      .or(z.literal(''))
      .default('')
      .describe(
        'Name of this node: different for each node, and the same at each start. Empty: a single server without a cluster. A cluster needs a storage that several processes can use (storage.driver = "postgresql").',
      )
      .meta({ example: 'node-1' }),
    listen: listenAddress
      .default('*:5270')
      .describe(
        'Where other nodes connect to this one, "address:port", over TLS. Better an address that only the nodes can reach.',
      ),
    advertise: z
      .string()
      .regex(
        /^(?:\[[0-9a-fA-F:.]+\]|[^:[\]\s]+)(?::\d{1,5})?$/,
        because(
          'is not a host, with or without a port',
          'write one such as "10.0.0.1", "node-1.internal" or "10.0.0.1:5270"',
        ),
      )
      .or(z.literal(''))
      .default('')
      .describe(
        'Host, or "host:port", at which other nodes reach this one. Needed if cluster.listen is not one particular address.',
      )
      .meta({ example: 'node-1.internal' }),
    secret: z
      .string()
      .default('')
      .describe(
        'Shared secret of all nodes, of at least 32 random characters. Set this, or secret_file, or certificate, key and authorities.',
      )
      .meta({ secret: true }),
    secret_file: z
      .string()
      .default('')
      .describe(
        'File with the secret. With several lines, the first secret is used to connect and all are accepted, so that a secret can be replaced node by node.',
      )
      .meta({ path: 'config', example: '/etc/waxwing/cluster.secret' }),
    certificate: z
      .string()
      .default('')
      .describe('Certificate of this node for the host in cluster.advertise, in PEM.')
      .meta({ path: 'config', example: '/etc/waxwing/node-1.crt' }),
    key: z
      .string()
      .default('')
      .describe('Its private key, in PEM.')
      .meta({ path: 'config', example: '/etc/waxwing/node-1.key' }),
    authorities: z
      .string()
      .default('')
      .describe(
        'The authority that has signed the certificates of all nodes, in PEM. Whoever has a certificate of it is a member of the cluster: it must sign for nobody else.',
      )
      .meta({ path: 'config', example: '/etc/waxwing/cluster-ca.crt' }),
    unreachable_seconds: seconds({ min: 1, max: 60 })
      .default(3)
      .describe(
        'Time without a sign of life after which a node is expelled and its accounts are taken over. It can write nothing then, and starts again. More is needed where machines pause for longer.',
      ),
    logins_per_second: count({ min: 1, max: 1_000_000 })
      .default(200)
      .describe(
        'New sessions that begin per second at this node for 60 s after another node has failed, because its clients all return at once. Further ones take turns. Resumed sessions are not held back.',
      )
      .meta(live),
  })
  .prefault({})
  .describe('This server as a node of a cluster. See docs/cluster.md.');

export type ClusterConfig = z.output<typeof cluster>;

const secretHint = 'write a long random text, for example from "openssl rand -hex 32"';

interface Problem {
  readonly at: keyof ClusterConfig;
  readonly problem: string;
  readonly hint: string;
}

/** Returns what is wrong with a combination of values. */
export function clusterProblems({ node, listen, advertise, ...proof }: ClusterConfig, driver: string): Problem[] {
  if (node === '') return [];
  const { secret, secret_file, certificate, key, authorities } = proof;
  const problems: Problem[] = [];
  const files = [certificate, key, authorities].filter((file) => file !== '').length;
  const ways = [secret !== '', secret_file !== '', files > 0].filter(Boolean).length;
  const way = 'set secret_file, or secret, or certificate, key and authorities';
  if (ways === 0)
    problems.push({ at: 'node', problem: 'belongs to a cluster without a secret or certificates', hint: way });
  if (ways > 1) problems.push({ at: 'node', problem: 'has more than one kind of proof', hint: way });
  if (files > 0 && files < 3)
    problems.push({ at: 'certificate', problem: 'goes with key and authorities', hint: 'set all three' });
  if (secret !== '' && secret.length < shortestSecret)
    problems.push({ at: 'secret', problem: `has fewer than ${shortestSecret} characters`, hint: secretHint });
  if (advertise === '' && /^(\*|0\.0\.0\.0|\[::\]):/.test(listen))
    problems.push({
      at: 'advertise',
      problem: `is needed, because "${listen}" is not one particular address`,
      hint: 'write the host at which other nodes reach this one',
    });
  if (driver === 'sqlite')
    problems.push({
      at: 'node',
      problem: 'needs a storage that several processes can use, and storage.driver = "sqlite" is not',
      hint: 'use storage.driver = "postgresql"',
    });
  return problems;
}

/** Reads the secrets, or the certificates. Throws ConfigError. */
export function readProof({
  secret,
  secret_file,
  certificate,
  key,
  authorities,
}: ClusterConfig):
  | { readonly secrets: readonly string[] }
  | { readonly certificate: string; readonly key: string; readonly authorities: string } {
  if (secret !== '') return { secrets: [secret] };
  if (secret_file === '')
    return {
      certificate: fileOf('certificate', certificate),
      key: fileOf('key', key),
      authorities: fileOf('authorities', authorities),
    };
  const secrets = fileOf('secret_file', secret_file)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (secrets.length === 0) throw refused('secret_file', `${secret_file} is empty`, secretHint);
  if (secrets.some(({ length }) => length < shortestSecret))
    throw refused('secret_file', `${secret_file} has a secret of fewer than ${shortestSecret} characters`, secretHint);
  return { secrets };
}

function fileOf(key: keyof ClusterConfig, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw refused(key, `${file} cannot be read (${code})`, 'check the path, and that the server may read the file');
  }
}

const refused = (key: keyof ClusterConfig, problem: string, hint: string): ConfigError =>
  new ConfigError([{ file: undefined, line: undefined, column: undefined, path: `cluster.${key}`, problem, hint }]);
