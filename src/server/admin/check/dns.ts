/** DNS as clients see it (RFC 6120 §3.2, XEP-0368). What other servers see is in federation.ts. */
import { parseListenAddress } from '../../config/address.js';
import { isPrivateName } from '../../config/public-names.js';
import type { DnsResolver } from '../../stream/s2s/lookups.js';
import type { Finding, Subject } from './finding.js';

/** Most hosts to look up, so as not to flood the resolver. */
const mostHosts = 50;

export async function checkDns({ config }: Pick<Subject, 'config'>, resolver: DnsResolver): Promise<Finding[]> {
  const hosts = Object.keys(config.hosts);
  const isPublic = hosts.filter((host) => !isPrivateName(host));
  const findings = await Promise.all(
    isPublic.slice(0, mostHosts).map((host) =>
      checkHost(host, config.listen, resolver).catch((error: NodeJS.ErrnoException): Finding[] => [
        {
          area: 'dns',
          level: 'warning',
          what: `${host}: DNS lookup failed (${error.code ?? error.message})`,
          why: 'Clients find the server through DNS.',
          advice: 'Make sure that this machine can reach its resolver (/etc/resolv.conf), then check again.',
        },
      ]),
    ),
  );
  const skipped = hosts.length - isPublic.length;
  return [
    ...(skipped === 0 ? [] : [ok(`${hosts.filter(isPrivateName).slice(0, 5).join(', ')}: not in public DNS`)]),
    ...findings.flat(),
    ...(isPublic.length > mostHosts
      ? [{ area: 'dns', level: 'note', what: `only the first ${mostHosts} hosts were looked up` } as const]
      : []),
  ];
}

type Listen = Subject['config']['listen'];

/** The records to look up, and the listener that each should lead to. */
const services = [
  { name: '_xmpp-client._tcp', kind: 'c2s', usual: 5222 },
  { name: '_xmpps-client._tcp', kind: 'c2s_tls', usual: undefined },
] as const;

async function checkHost(host: string, listen: Listen, resolver: DnsResolver): Promise<Finding[]> {
  const [own, ...records] = await Promise.all([
    resolver.addresses(host),
    ...services.map(({ name }) => resolver.srv(`${name}.${host}`)),
  ]);
  const perService = services.map(async ({ name, kind, usual }, index): Promise<Finding[]> => {
    const found = records[index]!;
    const what = `${name}.${host}`;
    // RFC 2782: a lone "." says that there is no such service
    if (found.length === 1 && (found[0]!.name === '' || found[0]!.name === '.'))
      return [{ area: 'dns', level: 'note', what: `${what}: DNS declares that there is no such service` }];
    if (found.length === 0) return usual === undefined ? [] : [withoutSrv(what, host, own, usual)];
    const targets = await Promise.all(found.map(({ name: target }) => resolver.addresses(target)));
    return found.map(({ name: target, port }, at) => {
      if (targets[at]!.length === 0) return unknownTarget(what, target);
      const ports = portsOf(listen[kind]);
      return ports.includes(port)
        ? ok(`${what}: ${target}:${port}`)
        : otherPort(what, `${target}:${port}`, kind, ports);
    });
  });
  return (await Promise.all(perService)).flat();
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
    advice: `Add an SRV record (${what} → this machine, port ${usual}), or an A or AAAA record for ${host}.`,
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
