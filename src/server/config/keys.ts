/**
 * Kinds of values in a configuration, and what a key's meta says: how it may change and what it holds.
 *
 * - `live`: `reload` applies a change to the running server; without it the change needs a restart.
 * - `path`: a path; a relative one is taken from the folder of the configuration file ('config') or from `data`; 'import':
 *   only where it begins with "./" or "../".
 * - `secret`: never shown.
 */
import { z } from 'zod';
import { Jid } from '../stanza/jid.js';
import { networks, normalOrigin, parseListenAddress } from './address.js';
import { longestTimer, seconds } from './units.js';

/** A type and not an interface, so that it fits the open record that zod takes. */
export type KeyMeta = {
  readonly live?: boolean;
  readonly path?: 'config' | 'data' | 'import';
  readonly secret?: boolean;
  /** What a value looks like, for messages and the reference. */
  readonly example?: string;
};

export const live: KeyMeta = { live: true };

/** A timer's length: never so long that Node would fire it at once. */
export const wait = (min = 0) => seconds({ min, max: longestTimer });

/** A list that may be written as one text where it has one entry. */
export const oneOrMore = (entry: z.ZodType<string>) =>
  z.preprocess((value) => (typeof value === 'string' ? [value] : value), z.array(entry));

/** A refinement whose finding reads "VALUE PROBLEM; HINT". */
export const because = (problem: string, hint: string) => ({ error: problem, params: { hint } });

export const hostName = z.string().check((check) => {
  const name = Jid.tryParse(check.value);
  if (name?.full === check.value && name.local === undefined && name.resource === undefined) return;
  const isDomain = name !== undefined && name.local === undefined && name.resource === undefined;
  check.issues.push({
    code: 'custom',
    input: check.value,
    message: isDomain ? 'is not the usual spelling of this domain' : 'is no domain name',
    params: { hint: isDomain ? `write ${JSON.stringify(name.domain)}` : 'write one such as "example.org"' },
  });
});

export const accountAddress = z.string().refine(
  (text) => {
    const jid = Jid.tryParse(text);
    return jid?.local !== undefined && jid.isBare;
  },
  because('is no account', 'write an address such as "alice@example.org"'),
);

export const listenAddress = z
  .string()
  .refine(
    (text) => parseListenAddress(text) !== undefined,
    because(
      'is no address to listen on',
      'write "address:port", such as "127.0.0.1:5222", "[::1]:5222" or "*:5222" (every address)',
    ),
  );

export const path = (example: string) =>
  z
    .string()
    .refine((text) => /^\/[^\s?#]*$/.test(text), because('is no path', `write one such as "${example}"`))
    .default(example);

export const origin = z
  .string()
  .refine(
    (text) => text === '*' || normalOrigin(text) !== undefined,
    because('is no origin', 'write scheme and host, such as "https://chat.example.org", or "*"'),
  );

export const network = z
  .string()
  .refine(isNetwork, because('is no address or network', 'write one such as "192.0.2.7" or "10.0.0.0/8"'));

function isNetwork(text: string): boolean {
  try {
    networks([text]);
    return true;
  } catch {
    return false;
  }
}
