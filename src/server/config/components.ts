/** The tables `[components."DOMAIN"]`, and the secrets that they name: external components (XEP-0114). */
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
    .describe('What the component proves that it knows, at least 16 characters. Either this or secret_file.')
    .meta({ ...live, secret: true }),
  secret_file: z
    .string()
    .default('')
    .describe('File that holds the secret; spaces and line ends around it do not count.')
    .meta({ ...live, path: 'config', example: '/etc/waxwing/gateway.secret' }),
  allow_from: z
    .array(network)
    .default(['127.0.0.0/8', '::1'])
    .describe(
      'Addresses and networks that it may connect from. The stream is not encrypted: whoever is on the way reads everything.',
    )
    .meta(live),
  connections: count({ min: 1, max: 64 })
    .default(1)
    .describe(
      'Connections that it may have at once. What is sent to it is spread over them by sender. Beyond it the oldest makes room.',
    )
    .meta(live),
  listed: z
    .boolean()
    .default(true)
    .describe(
      'Whether service discovery lists it: at the host that it is below (gateway.example.org at example.org), else at every host.',
    )
    .meta(live),
  name: z
    .string()
    .default('')
    .describe('What service discovery calls it.')
    .meta({ ...live, example: 'Gateway' }),
});

export type ComponentSettings = z.output<typeof component>;

export const components = z
  .record(hostName, component)
  .default({})
  .describe(
    'External components (XEP-0114): programs that answer for a domain of their own over a stream to listen.component. A table each, by the domain.',
  )
  .meta({ example: 'gateway.example.org' });

/** Least characters of a secret: who has seen one handshake can try secrets by the million. */
const shortestSecret = 16;

/** What keeps a text from being a component's secret; undefined: nothing. */
export const secretProblem = (secret: string): string | undefined =>
  secret.length < shortestSecret ? `has fewer than ${shortestSecret} characters` : undefined;

/** What to write instead. */
export const secretHint = 'write a long random text, such as openssl rand -hex 32 makes';

/** The secret of each component. Throws ConfigError where a file cannot be read, or holds too little. */
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
    throw refused(`${file} cannot be read (${code})`, 'name a file that the user that runs the server can read');
  }
  const problem = secretProblem(secret);
  if (problem !== undefined) throw refused(`${file} ${problem}`, secretHint);
  return secret;
}
