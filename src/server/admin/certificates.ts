/** `waxwing certificates …`: the certificates of the hosts, and those that are ordered from an authority (ACME). */
import { wall } from '../clock.js';
import type { AcmeStatus } from '../tls/acme/status.js';
import type { Inspection } from '../tls/certificates.js';
import { columns, count, duration, facts, time } from '../words.js';
import { CommandError, type Context, eitherCommand, serverCommand } from './command.js';

/** `acme`: null unless the running server orders the certificates of the host. */
interface CertificateData {
  readonly host: string;
  readonly file: string;
  readonly names: readonly string[];
  /** ISO 8601; null if there is no readable certificate. */
  readonly expires: string | null;
  readonly selfSigned: boolean;
  readonly problems: readonly string[];
  /** Domains of services that it should prove and does not. Known to the running server only. */
  readonly uncovered: readonly string[];
  readonly acme: AcmeStatus | null;
}

async function read({ config, server }: Context): Promise<CertificateData[]> {
  const { inspectCertificates } = await import('../tls/certificates.js');
  const found = server === undefined ? inspectCertificates({ config }) : server.certificates.inspect();
  const ordered = (await server?.acme.statuses()) ?? [];
  return (await found).map((one) => dataOf(one, ordered));
}

function dataOf({ notAfter, usable, ...rest }: Inspection, ordered: readonly AcmeStatus[]): CertificateData {
  const acme = ordered.find(({ host }) => host === rest.host) ?? null;
  return { ...rest, expires: notAfter?.toISOString() ?? null, acme };
}

const left = (expires: string | null): string => {
  if (expires === null) return '';
  const seconds = (Date.parse(expires) - wall()) / 1000;
  return seconds <= 0 ? 'expired' : duration(seconds);
};

/** Where it comes from, and what is wrong. */
function stateOf({ acme, selfSigned, problems }: CertificateData): string {
  const from = selfSigned ? 'self-signed' : acme === null ? 'file' : 'ACME';
  const wrong = acme?.error !== null && acme !== null ? ['the last order failed'] : [];
  return [from, ...wrong, ...(problems.length > 0 ? [count(problems.length, 'problem')] : [])].join(', ');
}

export const list = eitherCommand({
  name: 'certificates list',
  summary: 'Lists the certificates of the hosts, and how long they are valid',
  reads: true,
  run: async (context) => ({ certificates: await read(context) }),
  text: ({ certificates }) =>
    columns(
      certificates.map((one) => [one.host, left(one.expires), stateOf(one), String(one.names.length)]),
      ['HOST', 'VALID FOR', 'STATE', 'NAMES'],
    ),
});

const hostParameter = {
  type: 'text',
  positional: true,
  description: 'The host. Default: all that are ordered.',
} as const;

export const show = eitherCommand({
  name: 'certificates show',
  summary: 'Shows the certificates of a host: names, expiry, renewal, problems',
  reads: true,
  parameters: { host: { type: 'text', positional: true, required: true, description: 'The host.' } },
  async run(context, { host }) {
    const certificates = (await read(context)).filter((one) => one.host === host);
    if (certificates.length === 0) throw new CommandError('not-found', `${host} is not a host of the server`);
    return { certificates };
  },
  text: ({ certificates }) => certificates.map(describe).join('\n\n'),
});

function describe(one: CertificateData): string {
  const { acme } = one;
  const next = acme?.error == null ? '' : `${time(acme.nextAttempt ?? '')} (${count(acme.failures, 'failure')} so far)`;
  return facts([
    ['Host', one.host],
    ['File', one.file],
    ['State', stateOf(one)],
    ['Names', one.names.join(', ')],
    ['Expires', one.expires === null ? '' : `${time(one.expires)} (${left(one.expires)})`],
    ['Renewal', acme?.renewAt == null || acme.error !== null ? '' : renewal(acme.renewAt)],
    ['Last failure', acme?.error ?? ''],
    ['Next attempt', next],
    ...(acme?.leftOut ?? []).map(({ domain, why }): [string, string] => ['Left out', `${domain}: ${why}`]),
    ...one.uncovered.map((domain): [string, string] => ['Not proved', domain]),
    ...one.problems.map((problem): [string, string] => ['Problem', problem]),
  ]);
}

const renewal = (renewAt: string): string => (Date.parse(renewAt) <= wall() ? 'due' : `about ${time(renewAt)}`);

export const renew = serverCommand({
  name: 'certificates renew',
  summary: 'Orders a new certificate now, due or not',
  details:
    "Returns when the certificate is in use. If the order fails, the current one stays. Authorities limit how often they issue a certificate for the same names: Let's Encrypt allows five a week.",
  parameters: {
    host: hostParameter,
    'new-key': {
      type: 'flag',
      description: 'Also replaces the private key, for example because somebody else may have read it.',
    },
  },
  async run({ server, config, progress }, { host, 'new-key': newKey }) {
    const { orderedHosts } = await import('../config/schema.js');
    const all = orderedHosts(config);
    if (host !== undefined && !Object.hasOwn(config.hosts, host))
      throw new CommandError('not-found', `${host} is not a host of the server`);
    const hosts = host === undefined ? all : all.filter((one) => one === host);
    if (hosts.length === 0) throw new CommandError('failed', whyNone(config.tls.acme.agree_terms, host));
    for (const one of hosts) {
      progress(`ordering a certificate for ${one}`);
      await server.acme.renew(one, { newKey }).catch((error: Error) => {
        throw new CommandError('failed', `${one}: ${error.message}`);
      });
    }
    return { renewed: hosts };
  },
  text: ({ renewed }) => `Renewed: ${renewed.join(', ')}.`,
});

function whyNone(isOn: boolean, host: string | undefined): string {
  if (!isOn) return 'no certificates are ordered: set tls.acme.agree_terms = true';
  if (host === undefined) return 'no host is a public domain without a certificate of its own';
  return `${host} has a certificate of its own, or is not a public domain`;
}
