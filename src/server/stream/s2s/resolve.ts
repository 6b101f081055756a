/**
 * Resolves a remote domain to the addresses of its server (RFC 6120 §3.2): from the configuration, else from the SRV
 * records of `_xmpp-server` and `_xmpps-server` (XEP-0368) in one order, else from its host metadata (XEP-0487), and from
 * the domain's own address records.
 * Addresses of this machine and of private networks are refused, since anybody can publish them in DNS.
 */
import type { SrvRecord } from 'node:dns';
import { type BlockList, isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { isReachable } from '../../config/reachable.js';
import { linksOf } from './host-meta.js';
import type { DnsResolver } from './lookups.js';
import { settledSoon } from './soon.js';

/** An address to connect to. */
export interface Place {
  /** An IP address. */
  readonly address: string;
  readonly port: number;
  /** Whether TLS starts immediately (XEP-0368), without STARTTLS. */
  readonly isDirectTls: boolean;
  /** The name for the ClientHello, if it is not the domain. */
  readonly servername?: string;
  /** Places of one priority are tried shortly after each other, those of the next once they have failed. Default: 0. */
  readonly priority?: number;
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
  /** Reads the host metadata of a domain from a web server at one of these addresses. Never rejects. */
  readonly hostMeta?: ((name: string, addresses: readonly string[]) => Promise<string | undefined>) | undefined;
  /** Returns a number as `Math.random` does. */
  readonly random?: () => number;
}

/** RFC 6120 §3.2.2. */
const usualPort = 5269;
/** XEP-0495: how long to wait for further answers once one has helped, in ms. */
const otherAnswersMs = 1000;
/** The most SRV records that are used, the most addresses of one name, and the most places in total. */
const mostRecords = 8;
const mostAddresses = 4;
const mostPlaces = 16;

interface Target {
  readonly name: string;
  readonly port: number;
  readonly isDirectTls: boolean;
  readonly priority?: number;
}

/** Resolves with at least one place, in the order to try them. Rejects with UnresolvedError. */
export async function resolve(domain: string, parts: ResolveParts): Promise<readonly Place[]> {
  const override = parts.override(domain);
  if (override !== undefined) return placesOf([targetOf(override)], parts, () => true);
  const literal = domain.replace(/^\[(.*)\]$/, '$1');
  const isAllowed = isReachable(parts.allowed());
  if (isIP(literal) !== 0) return placesOf([{ name: literal, port: usualPort, isDirectTls: false }], parts, isAllowed);
  const { targets, isComplete, isOwn } = await targetsOf(domainToASCII(domain), parts);
  const places = await placesOf(targets, parts, isAllowed).catch((error: unknown) => {
    // A query without an answer may have had the records that are missing.
    if (error instanceof UnresolvedError && error.reason === 'none' && !isComplete)
      throw new UnresolvedError('unknown', `DNS did not answer for ${domain}`);
    throw error;
  });
  const { hostMeta, random = Math.random } = parts;
  if (isOwn !== true || !isComplete || hostMeta === undefined) return places;
  const meta = await hostMeta(targets[0]!.name, [...new Set(places.map(({ address }) => address))]);
  const linked = inOrder(linksOf(meta ?? ''), random).flatMap(({ ips, port, sni, priority }) =>
    // Before the domain's own address.
    ips
      .filter(isAllowed)
      .map((address) => ({ address, port, isDirectTls: true, servername: sni, priority: priority - 65_536 })),
  );
  return [...linked, ...places].slice(0, mostPlaces);
}

interface Targets {
  readonly targets: readonly Target[];
  /** Whether DNS answered all queries. */
  readonly isComplete: boolean;
  /** Whether there are no SRV records, so that the target is the domain itself. */
  readonly isOwn?: true;
}

async function targetsOf(name: string, { dns, random = Math.random }: ResolveParts): Promise<Targets> {
  const [plain, direct] = await settledSoon(
    [dns.srv(`_xmpp-server._tcp.${name}`), dns.srv(`_xmpps-server._tcp.${name}`)],
    (found) => (found.length === 0 ? undefined : otherAnswersMs),
  );
  const isComplete = plain !== undefined && direct !== undefined;
  const records = [...recordsOf(plain, false), ...recordsOf(direct, true)];
  const services = records.filter((record) => record.name !== '' && record.name !== '.');
  if (services.length > 0) return { targets: inOrder(services, random).slice(0, mostRecords), isComplete };
  // RFC 6120 §3.2.1: a single record with the target "." means that the service does not exist.
  if (records.length > 0) throw new UnresolvedError('none', `DNS says that ${name} has no XMPP server`);
  // §3.2.1, §3.2.2: without SRV records, fall back to the domain itself.
  return { targets: [{ name, port: usualPort, isDirectTls: false }], isComplete, isOwn: true };
}

type Found = SrvRecord & Target;
type Ranked = Pick<SrvRecord, 'priority' | 'weight'>;

const recordsOf = (records: readonly SrvRecord[] | undefined, isDirectTls: boolean): readonly Found[] =>
  (records ?? []).map((record) => ({ ...record, isDirectTls }));

/** Sorts by priority; among equal priorities, in random order weighted by `weight` (RFC 2782). */
function inOrder<R extends Ranked>(records: readonly R[], random: () => number): R[] {
  const left = [...records].sort((a, b) => a.priority - b.priority || a.weight - b.weight);
  const ordered: R[] = [];
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
  const perTarget = targets.map(async ({ name, port, isDirectTls, priority }): Promise<Place[]> => {
    // A target whose lookup fails is skipped; others may succeed.
    const all = isIP(name) === 0 ? await dns.addresses(domainToASCII(name)).catch(() => undefined) : [name];
    if (all === undefined) return [];
    isAnswered = true;
    const addresses = all.filter(isAllowed);
    isRefused ||= addresses.length < all.length;
    return addresses
      .slice(0, mostAddresses)
      .map((address) => ({ address, port, isDirectTls, ...(priority && { priority }) }));
  });
  const resolved = await settledSoon(perTarget, (found) => (found.length === 0 ? undefined : otherAnswersMs));
  const places = resolved.flatMap((found) => found ?? []).slice(0, mostPlaces);
  if (places.length > 0) return places;
  const name = targets[0]!.name;
  if (isRefused)
    throw new UnresolvedError('refused', `${name} has only private addresses that s2s.allow_networks does not allow`);
  if (isAnswered) throw new UnresolvedError('none', `${name} has no address`);
  throw new UnresolvedError('unknown', `DNS did not answer for ${name}`);
}
