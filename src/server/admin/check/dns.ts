/**
 * DNS as clients see it (RFC 6120 §3.2, XEP-0368), and whether they can connect where it leads them. What other servers
 * see is in federation.ts.
 */
import { parseListenAddress } from '../../config/address.js';
import { isPrivateName } from '../../config/public-names.js';
import { orderedHosts } from '../../config/schema.js';
import type { DnsResolver } from '../../stream/s2s/lookups.js';
import type { Finding, Subject } from './finding.js';
import { type Place, type Reach, reachability } from './places.js';

/** Most hosts to look up, so as not to flood the resolver. */
const mostHosts = 50;

export interface DnsParts {
  readonly resolver: DnsResolver;
  readonly reach?: Reach;
}

interface Found {
  readonly findings: readonly Finding[];
  /** Where clients connect. */
  readonly places: readonly Place[];
  /** Where an authority does that wants a proof (RFC 8555 §8.3). */
  readonly proofs?: readonly Place[];
}

export async function checkDns(
  { config, running }: Pick<Subject, 'config' | 'running'>,
  { resolver, reach }: DnsParts,
): Promise<Finding[]> {
  const hosts = Object.keys(config.hosts);
  const isPublic = hosts.filter((host) => !isPrivateName(host));
  const found = await Promise.all(
    isPublic
      .slice(0, mostHosts)
      .map((host) =>
        checkHost(host, config, resolver).catch(
          (error: NodeJS.ErrnoException): Found => ({ findings: [noAnswer(host, error)], places: [] }),
        ),
      ),
  );
  const places = found.flatMap((one) => one.places);
  const proofs = found.flatMap((one) => one.proofs ?? []);
  const reached =
    running === undefined
      ? [untried(places)]
      : [
          reachability('dns', 'Clients', places, reach),
          reachability('dns', 'Authorities that issue certificates', proofs, reach),
        ];
  const skipped = hosts.length - isPublic.length;
  return [
    ...(skipped === 0 ? [] : [ok(`${hosts.filter(isPrivateName).slice(0, 5).join(', ')}: not in public DNS`)]),
    ...found.flatMap(({ findings }) => findings),
    ...(await Promise.all(reached)).flat(),
    ...(isPublic.length > mostHosts
      ? [{ area: 'dns', level: 'note', what: `only the first ${mostHosts} hosts were looked up` } as const]
      : []),
  ];
}

function noAnswer(host: string, { code, message }: NodeJS.ErrnoException): Finding {
  return {
    area: 'dns',
    level: 'warning',
    what: `${host}: DNS lookup failed (${code ?? message})`,
    why: 'Clients find the server through DNS.',
    advice: 'Make sure that this machine can reach its resolver (/etc/resolv.conf), then check again.',
  };
}

const untried = (places: readonly Place[]): Finding[] =>
  places.length === 0
    ? []
    : [{ area: 'dns', level: 'note', what: 'the ports for clients were not tried, because the server is not running' }];

/** The records to look up, and the listener that each should lead to. */
const services = [
  { name: '_xmpp-client._tcp', kind: 'c2s', usual: 5222 },
  { name: '_xmpps-client._tcp', kind: 'c2s_tls', usual: undefined },
] as const;

async function checkHost(host: string, config: Subject['config'], resolver: DnsResolver): Promise<Found> {
  const { listen } = config;
  const [own, ...records] = await Promise.all([
    resolver.addresses(host),
    ...services.map(({ name }) => resolver.srv(`${name}.${host}`)),
  ]);
  const target =
    records[0]!.find(({ name }) => name !== '' && name !== '.')?.name ?? (own.length > 0 ? host : 'TARGET');
  const perService = services.map(async ({ name, kind, usual }, index): Promise<Found> => {
    const found = records[index]!;
    const what = `${name}.${host}`;
    const ports = portsOf(listen[kind]);
    // RFC 2782: a lone "." says that there is no such service
    if (found.length === 1 && (found[0]!.name === '' || found[0]!.name === '.'))
      return {
        findings: [{ area: 'dns', level: 'note', what: `${what}: DNS declares that there is no such service` }],
        places: [],
      };
    if (found.length === 0) {
      if (usual === undefined)
        return { findings: ports.slice(0, 1).map((port) => noDirect(what, port, target)), places: [] };
      return {
        findings: [withoutSrv(what, host, own, usual)],
        places: own.map((address) => ({ address, port: usual })),
      };
    }
    const targets = await Promise.all(found.map(({ name: target }) => resolver.addresses(target)));
    return {
      findings: found.map(({ name: target, port }, at) => {
        if (targets[at]!.length === 0) return unknownTarget(what, target);
        return ports.includes(port)
          ? ok(`${what}: ${target}:${port}`)
          : otherPort(what, `${target}:${port}`, kind, ports);
      }),
      places: found.flatMap(({ port }, at) => targets[at]!.map((address) => ({ address, port }))),
    };
  });
  const found = await Promise.all(perService);
  const isProvedOverHttp = config.tls.acme.challenge === 'http-01' && orderedHosts(config).includes(host);
  const proofs = isProvedOverHttp ? own.map((address) => ({ address, port: 80 })) : [];
  return {
    findings: found.flatMap(({ findings }) => findings),
    places: found.flatMap(({ places }) => places),
    proofs,
  };
}

function portsOf(addresses: readonly string[]): number[] {
  return addresses.map((text) => parseListenAddress(text)!.port);
}

/** RFC 6120 §3.2.2: falls back to the host's own addresses and the default port. */
function withoutSrv(what: string, host: string, own: readonly string[], usual: number): Finding {
  if (own.length > 0)
    return { area: 'dns', level: 'ok', what: `${what}: no record, so clients try ${host} itself at port ${usual}` };
  return {
    area: 'dns',
    level: 'error',
    what: `${what}: no record, and ${host} has no address`,
    why: 'Clients cannot find the server.',
    advice: `Add the record ${what}. SRV 0 5 ${usual} TARGET. (TARGET is the name of this machine), or an A or AAAA record for ${host}.`,
  };
}

/** XEP-0368. */
function noDirect(what: string, port: number, target: string): Finding {
  return {
    area: 'dns',
    level: 'note',
    what: `${what}: no record, so clients do not use direct TLS`,
    why: 'Direct TLS saves round trips, and passes firewalls that let only TLS through.',
    advice: `Add the record ${what}. SRV 0 5 ${port} ${target}.`,
  };
}

function unknownTarget(what: string, target: string): Finding {
  return {
    area: 'dns',
    level: 'error',
    what: `${what}: its target ${target} has no address`,
    why: 'Clients that follow the record find no server.',
    advice: `Add an A or AAAA record for ${target}, or correct the SRV record.`,
  };
}

function otherPort(what: string, place: string, kind: string, ports: readonly number[]): Finding {
  return {
    area: 'dns',
    level: 'warning',
    what: `${what} leads to ${place}, but listen.${kind} has ${ports.length === 0 ? 'no port' : `port ${ports.join(', ')}`}`,
    why: 'Unless a proxy or firewall forwards that port, connections to it fail.',
    advice: 'Use the same port in both, unless it is forwarded.',
  };
}

const ok = (what: string): Finding => ({ area: 'dns', level: 'ok', what });
