/** The tables `[components."DOMAIN"]` and their secrets: external components (XEP-0114). */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { NS } from '../stanza/ns.js';
import { ConfigError } from './findings.js';
import { because, hostName, live, network, oneOrMore } from './keys.js';
import { formatPath } from './shape.js';
import { count } from './units.js';

/** Which requests a component may send for an account. */
const requests = ['none', 'get', 'set', 'both'] as const;

const namespace = z
  .string()
  .refine((text) => /^[^\s]+$/.test(text), because('is not a namespace', 'write one such as "urn:xmpp:mam:2"'));

const attribute = z
  .string()
  .refine(
    (text) => /^[A-Za-z_][\w.-]*$/.test(text),
    because('is not the name of an attribute', 'write one such as "node", or [] to delegate all requests'),
  );

const privileges = z.strictObject({
  roster: z
    .enum(requests)
    .default('none')
    .describe(
      'Whether the component may read ("get") and change ("set") the contact lists of all accounts of the host.',
    )
    .meta(live),
  roster_push: z
    .boolean()
    .default(true)
    .describe('Whether the component is notified of each change of a contact list, if roster is "get" or "both".')
    .meta(live),
  message: z
    .enum(['none', 'outgoing'])
    .default('none')
    .describe('Whether the component may send messages as any account of the host, and as the host itself.')
    .meta(live),
  presence: z
    .enum(['none', 'managed_entity', 'roster'])
    .default('none')
    .describe(
      'Whether the component receives the presence of all accounts of the host ("managed_entity"), or that of their contacts on other hosts too ("roster", which needs roster = "get" or "both").',
    )
    .meta(live),
  iq: z
    .record(namespace, z.enum(requests))
    .default({})
    .describe('Requests that the component may send as any account of the host, by namespace of the payload.')
    .meta({ ...live, example: 'both' }),
});

type Privileges = z.output<typeof privileges>;

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
  privileges: z
    .record(hostName, privileges)
    .default({})
    .describe(
      'What the component may do for the accounts of a host, one table per host (XEP-0356). The component can then act as any of these accounts: grant only what it needs.',
    )
    .meta({ ...live, example: 'example.org' }),
  delegations: z
    .record(hostName, z.record(namespace, oneOrMore(attribute)))
    .default({})
    .describe(
      'Namespaces of requests to a host and to its accounts that the component answers instead of the server, one table per host (XEP-0355). Each has a list of attributes that the payload must have to be delegated; [] delegates all.',
    )
    .meta({ ...live, example: 'example.org' }),
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

interface Problem {
  readonly at: readonly string[];
  readonly problem: string;
  readonly hint: string;
}

/** Namespaces whose answer is a series of messages: sent to an account, all its clients would get them. */
const answeredByMessages = [NS.mam, NS.inbox] as readonly string[];

/** Returns what is wrong with the privileges of a component on a host. */
export function privilegeProblems(
  host: string,
  { roster, message, presence, iq }: Privileges,
  hosts: Readonly<Record<string, unknown>>,
): readonly Problem[] {
  if (!Object.hasOwn(hosts, host))
    return [{ at: [], problem: `${host} is not a host of the server`, hint: hostHint(hosts) }];
  const problems: Problem[] = [];
  if (roster === 'none' && message === 'none' && presence === 'none' && Object.keys(iq).length === 0)
    problems.push({
      at: [],
      problem: 'grants nothing',
      hint: 'set roster, message, presence or iq, or remove the table',
    });
  // XEP-0356 §7.4
  if (presence === 'roster' && roster !== 'get' && roster !== 'both')
    problems.push({
      at: ['presence'],
      problem: '"roster" needs the right to read contact lists',
      hint: 'set roster to "get" or "both", or presence to "managed_entity"',
    });
  for (const ns of Object.keys(iq)) {
    if (answeredByMessages.includes(ns))
      problems.push({
        at: ['iq', ns],
        problem: `the results of ${ns} are messages, which the clients of the account would receive`,
        hint: 'remove it',
      });
    if (ns === NS.privilege || ns === NS.privilegeOld)
      problems.push({ at: ['iq', ns], problem: 'cannot be granted', hint: 'remove it' });
  }
  return problems;
}

/** XEP-0355 §7.2.4, §7.2.5: service discovery at accounts, as far as the server does not answer it. */
const discoInfoOfAccounts = `${NS.delegation}:bare:disco#info:*`;
const discoItemsOfAccounts = `${NS.delegation}:bare:disco#items:*`;

/** XEP-0355 §8, rule 5, and what would defeat the privileges or the rules of service discovery. */
const undelegated: Readonly<Record<string, string>> = {
  [NS.delegation]: 'remove it',
  [NS.privilege]: 'remove it',
  [NS.privilegeOld]: 'remove it',
  [NS.discoInfo]: `the features of a delegated namespace are included by themselves; for further nodes write "${discoInfoOfAccounts}"`,
  [NS.discoItems]: `write "${discoItemsOfAccounts}"`,
};

/** Returns what is wrong with the delegations of all components. */
export function delegationProblems(
  components: Readonly<Record<string, Pick<ComponentSettings, 'delegations'>>>,
  hosts: Readonly<Record<string, unknown>>,
): readonly Problem[] {
  const taken = new Map<string, string>();
  return Object.entries(components).flatMap(([domain, { delegations }]) =>
    Object.entries(delegations).flatMap(([host, namespaces]): Problem[] => {
      const at = [domain, 'delegations', host];
      if (!Object.hasOwn(hosts, host))
        return [{ at, problem: `${host} is not a host of the server`, hint: hostHint(hosts) }];
      if (Object.keys(namespaces).length === 0)
        return [{ at, problem: 'delegates nothing', hint: 'name a namespace, or remove the table' }];
      return Object.entries(namespaces).flatMap(([ns, attributes]): Problem[] => {
        const problem = (text: string, hint: string): Problem[] => [{ at: [...at, ns], problem: text, hint }];
        if (Object.hasOwn(undelegated, ns)) return problem('cannot be delegated', undelegated[ns]!);
        if ((ns === discoInfoOfAccounts || ns === discoItemsOfAccounts) && attributes.length > 0)
          return problem('has attributes, which do not apply here', 'write []');
        const key = `${host} ${ns}`;
        const other = taken.get(key);
        taken.set(key, domain);
        if (other === undefined) return [];
        return problem(`is also delegated to ${other}`, 'delegate each namespace of a host to one component');
      });
    }),
  );
}

const hostHint = (hosts: Readonly<Record<string, unknown>>): string => `use one of ${Object.keys(hosts).join(', ')}`;

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
