/**
 * What a public domain needs so that other servers reach it and it reaches them: DNS records (RFC 6120 §3.2, XEP-0368),
 * an open port, and certificates for each of its domains. Every question to the network has a time limit, and without
 * an answer the finding says so.
 */
import { Jid } from '../../address/jid.js';
import { parseListenAddress } from '../../config/address.js';
import { isPrivateName } from '../../config/public-names.js';
import { type Config, isFederated } from '../../config/schema.js';
import { Shares } from '../../limits/shares.js';
import type { DnsResolver } from '../../stream/s2s/lookups.js';
import { Policy } from '../../stream/s2s/policy.js';
import { inspectCertificates } from '../../tls/certificates.js';
import type { Finding, Subject } from './finding.js';
import { type Place, type Reach, reachability } from './places.js';

/** Most domains that are looked up. */
const mostDomains = 50;
/** Time limit of a question to DNS, in ms. */
const dnsMs = 10_000;

const usualPort = 5269;

export interface FederationParts {
  readonly resolver: DnsResolver;
  /** By host: the domains of its services and components. */
  readonly domains: ReadonlyMap<string, readonly string[]>;
  readonly reach?: Reach;
  readonly now?: number;
}

type Asked = Pick<Subject, 'config' | 'running'>;

export async function checkFederation(subject: Asked, parts: FederationParts): Promise<Finding[]> {
  const { config, running } = subject;
  if (!isFederated(config)) return [off(config)];
  const wanted = Object.keys(config.hosts)
    .flatMap((host) => [host, ...(parts.domains.get(host) ?? [])])
    .filter((domain) => !isPrivateName(domain));
  const [records, covered] = await Promise.all([
    Promise.all(wanted.slice(0, mostDomains).map((one) => lookUp(one, config, parts.resolver))),
    coverage(config, parts),
  ]);
  const reached = await fromOutside(subject, records, parts.reach);
  return [
    ...state(running),
    ...deniedLists(config, new Set(wanted)),
    ...(wanted.length > mostDomains
      ? [{ area, level: 'note', what: `only the first ${mostDomains} domains were looked up` } as const]
      : []),
    ...records.flatMap(({ findings }) => findings),
    ...notFound(records, config),
    ...unanswered(records),
    ...reached,
    ...covered,
  ];
}

const area = 'federation';
const ok = (what: string): Finding => ({ area, level: 'ok', what });

function off({ s2s }: Config): Finding {
  if (s2s.enabled === 'auto') return ok('off: no host is a public domain');
  return { area, level: 'note', what: 'off (s2s.enabled = false): users cannot talk to users of other servers' };
}

/** The running server may have none although the configuration wants it. */
function state(running: Subject['running']): Finding[] {
  if (running === undefined || typeof running.federation !== 'string') return [];
  return [
    {
      area,
      level: 'error',
      what: `the running server has none: ${running.federation}`,
      why: 'Its users cannot talk to users of other servers.',
      advice: 'Remove the cause, then: waxwing restart.',
    },
  ];
}

/** Block lists of services that the policy has no streams with: they are never fetched. */
function deniedLists(config: Config, own: ReadonlySet<string>): Finding[] {
  const { lists = [], server_lists = [] } = (config.modules.rtbl ?? {}) as Record<string, readonly string[]>;
  const policy = new Policy({
    config: () => config,
    shares: new Shares(
      () => config.limits,
      () => {},
      () => false,
    ),
    host: (domain) => ({ domain, hooks: { serverGates: [] } }),
  });
  return [...new Set([...lists, ...server_lists])].flatMap((name) => {
    const { domain } = Jid.parse(name);
    const hosts = own.has(domain) ? [] : Object.keys(config.hosts).filter((host) => policy.denies(host, domain));
    if (hosts.length === 0) return [];
    const { by } = policy.explain(hosts[0]!, domain);
    return [
      {
        area,
        level: 'warning',
        what: `the block list ${name} cannot be fetched for ${hosts.join(', ')}: ${by} denies ${domain}`,
        why: 'Whom it lists is not blocked.',
        advice: `Allow ${domain} in s2s.domains, or remove the list.`,
      },
    ];
  });
}

// --- DNS ------------------------------------------------------------------------------------------------------------

interface Records {
  readonly domain: string;
  readonly findings: readonly Finding[];
  /** Where other servers connect. */
  readonly places: readonly Place[];
  /** DNS has neither a record nor an address. */
  readonly isMissing?: true;
  /** Why DNS did not answer. */
  readonly unanswered?: string;
}

async function lookUp(domain: string, { listen }: Config, resolver: DnsResolver): Promise<Records> {
  try {
    return await within(dnsMs, recordsOf(domain, listen, resolver));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { domain, findings: [], places: [], unanswered: code ?? message };
  }
}

async function recordsOf(domain: string, listen: Config['listen'], resolver: DnsResolver): Promise<Records> {
  const [plain, direct] = await Promise.all([
    resolver.srv(`_xmpp-server._tcp.${domain}`),
    resolver.srv(`_xmpps-server._tcp.${domain}`),
  ]);
  const all = [
    ...plain.map((record) => ({
      ...record,
      service: `_xmpp-server._tcp.${domain}`,
      ports: portsOf(listen.s2s),
      key: 's2s',
    })),
    ...direct.map((record) => ({
      ...record,
      service: `_xmpps-server._tcp.${domain}`,
      ports: portsOf(listen.s2s_tls),
      key: 's2s_tls',
    })),
  ];
  const usable = all.filter(({ name }) => name !== '' && name !== '.');
  if (all.length > 0 && usable.length === 0) return { domain, findings: [declaredMissing(domain)], places: [] };
  if (all.length === 0) return withoutRecords(domain, listen, await resolver.addresses(domain));
  const addresses = await Promise.all(usable.map(({ name }) => resolver.addresses(name)));
  const findings = usable.map(({ name, port, service, ports, key }, at): Finding => {
    if (addresses[at]!.length === 0)
      return {
        area,
        level: 'error',
        what: `${service}: its target ${name} has no address`,
        why: 'Other servers that follow the record find no server.',
        advice: `Add an A or AAAA record for ${name}, or correct the SRV record.`,
      };
    if (ports.includes(port)) return ok(`${service}: ${name}:${port}`);
    return otherPort(`${service} leads to ${name}:${port}`, `listen.${key}`, ports);
  });
  const places = usable.flatMap(({ port }, at) => addresses[at]!.map((address) => ({ address, port })));
  return { domain, findings, places };
}

/** RFC 6120 §3.2.2: other servers try the domain itself. */
function withoutRecords(domain: string, listen: Config['listen'], own: readonly string[]): Records {
  const places = own.map((address) => ({ address, port: usualPort }));
  if (own.length === 0) return { domain, findings: [], places, isMissing: true };
  const ports = portsOf(listen.s2s);
  const what = `${domain}: no SRV record, so other servers use port ${usualPort} of its address ${own[0]}`;
  return { domain, findings: [ports.includes(usualPort) ? ok(what) : otherPort(what, 'listen.s2s', ports)], places };
}

const declaredMissing = (domain: string): Finding => ({
  area,
  level: 'warning',
  what: `${domain}: DNS declares that it has no XMPP server (an SRV record with the target ".")`,
  why: 'Other servers do not even try to connect.',
  advice: `Correct the record _xmpp-server._tcp.${domain}, or set s2s.enabled = false if this is intended.`,
});

const otherPort = (what: string, key: string, ports: readonly number[]): Finding => ({
  area,
  level: 'warning',
  what: `${what}, but ${key} has ${ports.length === 0 ? 'no port' : `port ${ports.join(', ')}`}`,
  why: 'Unless a proxy or firewall forwards that port, connections to it fail.',
  advice: 'Use the same port in both, unless it is forwarded.',
});

const portsOf = (addresses: readonly string[]): number[] => addresses.map((text) => parseListenAddress(text)!.port);

/** An error for a host; one warning for all services and components, which may be of use to local users alone. */
function notFound(records: readonly Records[], { hosts, listen }: Config): Finding[] {
  const missing = records.filter(({ isMissing }) => isMissing === true).map(({ domain }) => domain);
  const services = missing.filter((domain) => !Object.hasOwn(hosts, domain));
  const port = portsOf(listen.s2s)[0] ?? usualPort;
  const advice = (...domains: readonly string[]) => {
    const wanted = domains.map((domain) => `_xmpp-server._tcp.${domain}. SRV 0 5 ${port} TARGET.`);
    const [which, names] = domains.length === 1 ? ['record', domains[0]] : ['records', 'each of these names'];
    return `Add the ${which} ${wanted.join(' ')} (TARGET is the name of this machine), or an A or AAAA record for ${names}.`;
  };
  return [
    ...missing
      .filter((domain) => Object.hasOwn(hosts, domain))
      .map(
        (domain): Finding => ({
          area,
          level: 'error',
          what: `${domain}: no SRV record _xmpp-server._tcp, and no address`,
          why: 'Other servers cannot find the server.',
          advice: advice(domain),
        }),
      ),
    ...(services.length === 0
      ? []
      : [
          {
            area,
            level: 'warning',
            what: `no SRV record and no address: ${services.join(', ')}`,
            why: 'Users of other servers cannot reach these services.',
            advice: advice(...services),
          } as const,
        ]),
  ];
}

/** One finding for all: usually it is the network of this machine. */
function unanswered(records: readonly Records[]): Finding[] {
  const missing = records.filter((one) => one.unanswered !== undefined);
  if (missing.length === 0) return [];
  const codes = [...new Set(missing.map((one) => one.unanswered))].join(', ');
  return [
    {
      area,
      level: 'warning',
      what: `DNS could not be asked about ${missing.map(({ domain }) => domain).join(', ')} (${codes})`,
      why: 'So it is not known whether other servers find them.',
      advice:
        'Make sure that this machine can reach its resolver (/etc/resolv.conf, or s2s.dns_servers), then check again.',
    },
  ];
}

// --- port -----------------------------------------------------------------------------------------------------------

async function fromOutside(
  { running }: Asked,
  records: readonly Records[],
  reach: Reach | undefined,
): Promise<Finding[]> {
  const places = records.flatMap((one) => one.places);
  if (places.length === 0 || typeof running?.federation === 'string') return [];
  if (running === undefined)
    return [
      { area, level: 'note', what: 'connections from outside were not tried, because the server is not running' },
    ];
  return reachability(area, 'Other servers', places, reach);
}

// --- certificates ---------------------------------------------------------------------------------------------------

/** Whether the certificates prove the services and components to other servers; for hosts, certificates.ts checks it. */
async function coverage(config: Config, { domains, now }: FederationParts): Promise<Finding[]> {
  const inspections = await inspectCertificates({ config, domains }, now);
  return inspections.flatMap(({ host, file, selfSigned, uncovered, notAfter }): Finding[] => {
    // A self-signed one that is our own gets the missing domains at the next start.
    const isOwn = selfSigned && config.hosts[host]!.certificate.length === 0;
    const missing = uncovered.filter((domain) => !isPrivateName(domain));
    if (isOwn || notAfter === undefined || missing.length === 0) return [];
    return [
      {
        area,
        level: 'warning',
        what: `${file} is not for ${missing.join(', ')}`,
        why: 'Other servers refuse streams with these domains, so that their users cannot reach them.',
        advice: `Get a certificate that also has these names: for example with certbot, -d ${[host, ...missing].join(' -d ')}. Domains that only users of this server need can be left out.`,
      },
    ];
  });
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer')), ms);
    const over =
      <A>(settle: (value: A) => void) =>
      (value: A) => {
        clearTimeout(timer);
        settle(value);
      };
    promise.then(over(resolve), over(reject));
  });
}
