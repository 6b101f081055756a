/**
 * Value types of configuration keys, and the metadata of a key:
 *
 * - `live`: `reload` applies a change to the running server; otherwise it needs a restart.
 * - `path`: a path. A relative one is resolved from the folder of the configuration file ('config') or from `data`;
 *   'import': only if it begins with "./" or "../".
 * - `secret`: never shown.
 */
import { z } from 'zod';
import { Jid } from '../address/jid.js';
import { networks, normalOrigin, parseListenAddress } from './address.js';
import { longestTimer, seconds } from './units.js';

/** A type, not an interface, so that it is assignable to zod's open record. */
export type KeyMeta = {
  readonly live?: boolean;
  readonly path?: 'config' | 'data' | 'import';
  readonly secret?: boolean;
  /** Example value for messages and the reference. */
  readonly example?: string;
};

export const live: KeyMeta = { live: true };

/** The duration of a timer: never so long that Node would fire it at once. */
export const wait = (min = 0) => seconds({ min, max: longestTimer });

/** A list; a single entry may be written without brackets. */
export const oneOrMore = (entry: z.ZodType<string>) =>
  z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(entry));

/** Parameters for a refinement whose finding reads "VALUE PROBLEM; HINT". */
export const because = (problem: string, hint: string) => ({ error: problem, params: { hint } });

export const hostName = z.string().check((check) => {
  const name = Jid.tryParse(check.value);
  if (name?.full === check.value && name.local === undefined && name.resource === undefined) return;
  const isDomain = name !== undefined && name.local === undefined && name.resource === undefined;
  check.issues.push({
    code: 'custom',
    input: check.value,
    message: isDomain ? 'is not the normalised form of this domain' : 'is not a domain name',
    params: { hint: isDomain ? `write ${JSON.stringify(name.domain)}` : 'write one such as "example.org"' },
  });
});

export const accountAddress = z.string().refine(
  (text) => {
    const jid = Jid.tryParse(text);
    return jid?.local !== undefined && jid.isBare;
  },
  because('is not an account address', 'write an address such as "alice@example.org"'),
);

export const listenAddress = z
  .string()
  .refine(
    (text) => parseListenAddress(text) !== undefined,
    because(
      'is not a listen address',
      'write "address:port", such as "127.0.0.1:5222", "[::1]:5222" or "*:5222" (every address)',
    ),
  );

export const path = (example: string) =>
  z
    .string()
    .refine((text) => /^\/[^\s?#]*$/.test(text), because('is not a URL path', `write one such as "${example}"`))
    .default(example);

export const origin = z
  .string()
  .refine(
    (text) => text === '*' || normalOrigin(text) !== undefined,
    because('is not an origin', 'write scheme and host, such as "https://chat.example.org", or "*"'),
  );

export const network = z
  .string()
  .refine(isNetwork, because('is not an address or network', 'write one such as "192.0.2.7" or "10.0.0.0/8"'));

function isNetwork(text: string): boolean {
  try {
    networks([text]);
    return true;
  } catch {
    return false;
  }
}
