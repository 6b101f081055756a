/**
 * Resolves a remote domain to the addresses of its server (RFC 6120 §3.2): from the configuration, else from the SRV
 * records of `_xmpp-server` and `_xmpps-server` (XEP-0368) in one order, else from the domain's own address records.
 * Addresses of this machine and of private networks are refused, since anybody can publish them in DNS.
 */
import type { SrvRecord } from 'node:dns';
import { type BlockList, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { domainToASCII } from 'node:url';
import { isIn, networks } from '../../config/address.js';
import type { DnsResolver } from './lookups.js';

/** An address to connect to. */
export interface Place {
  /** An IP address. */
  readonly address: string;
  readonly port: number;
  /** Whether TLS starts immediately (XEP-0368), without STARTTLS. */
  readonly isDirectTls: boolean;
}

/** A domain has no usable address: it has no server (`none`), DNS did not answer (`unknown`), or none is allowed (`refused`). */
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
  /** The "host:port" that the configuration sets for a domain. Undefined if DNS decides. */
  override(domain: string): string | undefined;
  /** Addresses of this machine and of private networks that are allowed. */
  allowed(): BlockList;
  /** Returns a number as `Math.random` does. */
  readonly random?: () => number;
}

/** RFC 6120 §3.2.2. */
const usualPort = 5269;
/** The most SRV records that are used, the most addresses of one name, and the most places in total. */
const mostRecords = 8;
const mostAddresses = 4;
const mostPlaces = 16;

/** Private, link-local, multicast and other addresses that are not globally reachable (RFC 6890). */
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

/** Resolves with at least one place, in the order to try them. Rejects with UnresolvedError. */
export async function resolve(domain: string, parts: ResolveParts): Promise<readonly Place[]> {
  const override = parts.override(domain);
  if (override !== undefined) return placesOf([targetOf(override)], parts, () => true);
  const literal = domain.replace(/^\[(.*)\]$/, '$1');
  const isAllowed = isReachable(parts.allowed());
  if (isIP(literal) !== 0) return placesOf([{ name: literal, port: usualPort, isDirectTls: false }], parts, isAllowed);
  const { targets, isComplete } = await targetsOf(domainToASCII(domain), parts);
  return placesOf(targets, parts, isAllowed).catch((error: unknown) => {
    // A query without an answer may have had the records that are missing.
    if (error instanceof UnresolvedError && error.reason === 'none' && !isComplete)
      throw new UnresolvedError('unknown', `DNS did not answer for ${domain}`);
    throw error;
  });
}

/** Whether an address that DNS names may be connected to: it is in `allowed`, or on the public internet. */
export function isReachable(allowed: BlockList): (address: string) => boolean {
  const own = networks(ownAddresses());
  return (address) => isIn(allowed, address) || !(isIn(internal, address) || isIn(own, address));
}

interface Targets {
  readonly targets: readonly Target[];
  /** Whether DNS answered all queries. */
  readonly isComplete: boolean;
}

async function targetsOf(name: string, { dns, random = Math.random }: ResolveParts): Promise<Targets> {
  const [plain, direct] = await Promise.allSettled([
    dns.srv(`_xmpp-server._tcp.${name}`),
    dns.srv(`_xmpps-server._tcp.${name}`),
  ]);
  const isComplete = plain.status === 'fulfilled' && direct.status === 'fulfilled';
  const records = [...found(plain, false), ...found(direct, true)];
  const services = records.filter((record) => record.name !== '' && record.name !== '.');
  if (services.length > 0) return { targets: inOrder(services, random).slice(0, mostRecords), isComplete };
  // RFC 6120 §3.2.1: a single record with the target "." means that the service does not exist.
  if (records.length > 0) throw new UnresolvedError('none', `DNS says that ${name} has no XMPP server`);
  // §3.2.1, §3.2.2: without SRV records, fall back to the domain itself.
  return { targets: [{ name, port: usualPort, isDirectTls: false }], isComplete };
}

type Found = SrvRecord & Target;

const found = (records: PromiseSettledResult<readonly SrvRecord[]>, isDirectTls: boolean): readonly Found[] =>
  records.status === 'fulfilled' ? records.value.map((record) => ({ ...record, isDirectTls })) : [];

/** Sorts by priority; among equal priorities, in random order weighted by `weight` (RFC 2782). */
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

/** Parses "host:port". An IPv6 address is in brackets. */
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
    // A target whose lookup fails is skipped; others may succeed.
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
    throw new UnresolvedError('refused', `${name} has only private addresses that s2s.allow_networks does not allow`);
  if (isAnswered) throw new UnresolvedError('none', `${name} has no address`);
  throw new UnresolvedError('unknown', `DNS did not answer for ${name}`);
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}
