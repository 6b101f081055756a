/** The tables `[components."DOMAIN"]` and their secrets: external components (XEP-0114). */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigError } from './findings.js';
import { hostName, live, network } from './keys.js';
import { formatPath } from './shape.js';
import { count } from './units.js';

const component = z.strictObject({
  secret: z
    .string()
    .default('')
    .describe('Shared secret of at least 16 characters. Set either this or secret_file.')
    .meta({ ...live, secret: true }),
  secret_file: z
    .string()
    .default('')
    .describe('File with the secret; surrounding white space is ignored.')
    .meta({ ...live, path: 'config', example: '/etc/waxwing/gateway.secret' }),
  allow_from: z
    .array(network)
    .default(['127.0.0.0/8', '::1'])
    .describe(
      'Addresses and networks that the component may connect from. The stream is not encrypted: anyone on the path can read everything.',
    )
    .meta(live),
  connections: count({ min: 1, max: 64 })
    .default(1)
    .describe(
      'Maximum concurrent connections of the component. Stanzas to it are distributed over them by sender. A further connection replaces the oldest.',
    )
    .meta(live),
  listed: z
    .boolean()
    .default(true)
    .describe(
      'Whether to list the component in service discovery: on its parent host (gateway.example.org on example.org), otherwise on every host.',
    )
    .meta(live),
  name: z
    .string()
    .default('')
    .describe('Name of the component in service discovery.')
    .meta({ ...live, example: 'Gateway' }),
});

export type ComponentSettings = z.output<typeof component>;

export const components = z
  .record(hostName, component)
  .default({})
  .describe(
    'External components (XEP-0114): programs that serve a domain of their own over a stream to listen.component. One table per domain.',
  )
  .meta({ example: 'gateway.example.org' });

/** Minimum characters of a secret: an observer of one handshake can try millions of secrets offline. */
const minSecret = 16;

/** Returns the problem with a component's secret, or undefined. */
export const secretProblem = (secret: string): string | undefined =>
  secret.length < minSecret ? `has fewer than ${minSecret} characters` : undefined;

/** Hint for a secret with a problem. */
export const secretHint = 'write a long random text, for example from "openssl rand -hex 32"';

/** Returns the secret of each component. Throws ConfigError if a file cannot be read or its secret is too short. */
export function readSecrets(all: Readonly<Record<string, ComponentSettings>>): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(all).map(([domain, { secret, secret_file }]) => [
      domain,
      secret === '' ? secretIn(domain, secret_file) : secret,
    ]),
  );
}

function secretIn(domain: string, file: string): string {
  const path = formatPath(['components', domain, 'secret_file']);
  const refused = (problem: string, hint: string) =>
    new ConfigError([{ file: undefined, line: undefined, column: undefined, path, problem, hint }]);
  let secret: string;
  try {
    secret = readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw refused(`${file} cannot be read (${code})`, 'use a file that is readable for the user that runs the server');
  }
  const problem = secretProblem(secret);
  if (problem !== undefined) throw refused(`${file} ${problem}`, secretHint);
  return secret;
}
