/**
 * Where the server of a domain is reached (RFC 6120 §3.2): SRV records of `_xmpp-server` and of `_xmpps-server` (XEP-0368)
 * in one order, else the addresses of the domain, or what the configuration says instead. Addresses that lead into this
 * machine or its network are refused, since anybody can write them into DNS.
 */
import type { SrvRecord } from 'node:dns';
import { type BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { domainToASCII } from 'node:url';
import { isIn, networks } from '../../config/address.js';
import type { DnsResolver } from './lookups.js';

/** Somewhere to connect to. */
export interface Place {
  /** An IP address. */
  readonly address: string;
  readonly port: number;
  /** TLS begins at once (XEP-0368), not by STARTTLS. */
  readonly isDirectTls: boolean;
}

/** The domain cannot be reached: `none`, it has no server; `unknown`, DNS gave no answer; `refused`, no address is allowed. */
export class UnresolvedError extends Error {
  override readonly name = 'UnresolvedError';
  constructor(
    readonly reason: 'none' | 'unknown' | 'refused',
    message: string,
  ) {
    super(message);
  }
}

export interface ResolveParts {
  readonly dns: DnsResolver;
  /** What the configuration says of a domain instead of DNS: "host:port". */
  override(domain: string): string | undefined;
  /** Addresses that may be used though they lead into this machine or its network. */
  allowed(): BlockList;
  /** At least 0, less than 1. */
  readonly random?: () => number;
}

/** RFC 6120 §3.2.2. */
const usualPort = 5269;
/** SRV records that are followed, addresses of one name, and places in all. */
const mostRecords = 8;
const mostAddresses = 4;
const mostPlaces = 16;

/** Not to be reached over the internet (RFC 6890), multicast, or of one link alone. */
const internal = networks([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
  '::/96',
  '64:ff9b:1::/48',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
]);

interface Target {
  readonly name: string;
  readonly port: number;
  readonly isDirectTls: boolean;
}

/** Places of the server of a domain, in the order in which they are to be tried; at least one. Rejects with UnresolvedError. */
export async function resolve(domain: string, parts: ResolveParts): Promise<readonly Place[]> {
  const override = parts.override(domain);
  if (override !== undefined) return placesOf([targetOf(override)], parts, () => true);
  const literal = domain.replace(/^\[(.*)\]$/, '$1');
  const targets =
    isIP(literal) === 0
      ? await targetsOf(domainToASCII(domain), parts)
      : [{ name: literal, port: usualPort, isDirectTls: false }];
  const own = networks(ownAddresses());
  const allowed = parts.allowed();
  return placesOf(
    targets,
    parts,
    (address) => isIn(allowed, address) || !(isIn(internal, address) || isIn(own, address)),
  );
}

async function targetsOf(name: string, { dns, random = Math.random }: ResolveParts): Promise<readonly Target[]> {
  const [plain, direct] = await Promise.allSettled([
    dns.srv(`_xmpp-server._tcp.${name}`),
    dns.srv(`_xmpps-server._tcp.${name}`),
  ]);
  const records = [...found(plain, false), ...found(direct, true)];
  const services = records.filter((record) => record.name !== '' && record.name !== '.');
  if (services.length > 0) return inOrder(services, random).slice(0, mostRecords);
  // RFC 6120 §3.2.1: a lone "." says that there is no such service.
  if (records.length > 0) throw new UnresolvedError('none', `DNS says that ${name} has no XMPP server`);
  // §3.2.1, §3.2.2: no record, or no answer.
  return [{ name, port: usualPort, isDirectTls: false }];
}

type Found = SrvRecord & Target;

const found = (records: PromiseSettledResult<readonly SrvRecord[]>, isDirectTls: boolean): readonly Found[] =>
  records.status === 'fulfilled' ? records.value.map((record) => ({ ...record, isDirectTls })) : [];

/** RFC 2782: by priority; among equal ones by chance, more likely first the greater their weight. */
function inOrder(records: readonly Found[], random: () => number): Found[] {
  const left = [...records].sort((a, b) => a.priority - b.priority || a.weight - b.weight);
  const ordered: Found[] = [];
  while (left.length > 0) {
    const equal = left.filter(({ priority }) => priority === left[0]!.priority);
    const drawn = Math.floor(random() * (equal.reduce((sum, { weight }) => sum + weight, 0) + 1));
    let sum = 0;
    const at = equal.findIndex(({ weight }) => (sum += weight) >= drawn);
    ordered.push(...left.splice(at, 1));
  }
  return ordered;
}

/** The last colon stands before the port; IPv6 addresses are in brackets. */
function targetOf(text: string): Target {
  const at = text.lastIndexOf(':');
  return { name: text.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(text.slice(at + 1)), isDirectTls: false };
}

async function placesOf(
  targets: readonly Target[],
  { dns }: ResolveParts,
  isAllowed: (address: string) => boolean,
): Promise<readonly Place[]> {
  let isAnswered = false;
  let isRefused = false;
  const perTarget = targets.map(async ({ name, port, isDirectTls }): Promise<Place[]> => {
    // A target that cannot be looked up is left out, others may be there.
    const all = isIP(name) === 0 ? await dns.addresses(domainToASCII(name)).catch(() => undefined) : [name];
    if (all === undefined) return [];
    isAnswered = true;
    const addresses = all.filter(isAllowed);
    isRefused ||= addresses.length < all.length;
    return addresses.slice(0, mostAddresses).map((address) => ({ address, port, isDirectTls }));
  });
  const places = (await Promise.all(perTarget)).flat().slice(0, mostPlaces);
  if (places.length > 0) return places;
  const name = targets[0]!.name;
  if (isRefused)
    throw new UnresolvedError('refused', `${name} has addresses of this network only (s2s.allow_networks)`);
  if (isAnswered) throw new UnresolvedError('none', `${name} has no address`);
  throw new UnresolvedError('unknown', `DNS gives no answer for ${name}`);
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}
