/** Listen addresses, and lists of addresses and networks, in configuration syntax. */
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';

export interface ListenAddress {
  /** An IP address. Undefined for all addresses of the machine, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** 0 for any free port. */
  readonly port: number;
}

/** Parses "127.0.0.1:5222", "[::1]:5222", "*:5222", "localhost:5222". Returns undefined for anything else. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const parts = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)|(\*)|(localhost)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const [, v6, v4, every, local, digits] = parts;
  const port = Number(digits);
  if (port > 65_535) return undefined;
  if (every !== undefined) return { host: undefined, port };
  if (local !== undefined) return { host: '127.0.0.1', port };
  const host = v6 ?? v4!;
  return isIP(host) === (v6 === undefined ? 4 : 6) ? { host, port } : undefined;
}

/** Whether the address is a loopback address: 127.0.0.0/8, ::1. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && isIn(loopback, address);
}

/** Whether the list contains the address. False if it is not an IP address. */
export function isIn(list: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/**
 * Parses a list of addresses ("192.0.2.7") and networks ("10.0.0.0/8", "fd00::/8"). Throws RangeError if one is
 * invalid.
 */
export function networks(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [address = '', prefix, ...rest] = text.split('/');
    const family = isIP(address);
    const longest = family === 6 ? 128 : 32;
    const length = prefix === undefined ? longest : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
    if (family === 0 || rest.length > 0 || !(length <= longest))
      throw new RangeError(`${text} is not an address or network`);
    list.addSubnet(address, length, family === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

// an IPv4 address inside IPv6 (::ffff:127.0.0.1) matches the IPv4 rule
const loopback = networks(['127.0.0.0/8', '::1']);

/**
 * Returns the block that an address is counted under: an IPv4 address itself, the /64 of an IPv6 address, anything else
 * unchanged.
 */
export function addressBlock(address: string): string {
  const plain = address.replace(/%.*$/s, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1];
  if (mapped !== undefined && isIPv4(mapped)) return mapped;
  if (!isIPv6(plain)) return address;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  // "::" replaces the missing groups of zeros; a dotted end counts as two groups.
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - after.length - (plain.includes('.') ? 1 : 0);
  const all = [...groups, ...Array<string>(missing).fill('0'), ...after];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/**
 * Whether a script of this origin may open a stream (RFC 6455 §10.2). Clients other than web pages send no origin, or
 * any.
 */
export function isAllowedOrigin(origin: string | undefined, allowed: readonly string[]): boolean {
  if (origin === undefined || allowed.includes('*')) return true;
  const normal = normalOrigin(origin);
  return normal !== undefined && allowed.some((one) => normalOrigin(one) === normal);
}

/**
 * RFC 6454 §6.1: returns scheme, host and port in lower case, without a default port. Returns undefined if the origin
 * is invalid.
 */
export function normalOrigin(text: string): string | undefined {
  // The origin of local files and sandboxed pages.
  if (text === 'null') return text;
  const { protocol, host, pathname, search, hash, username, password } = URL.canParse(text) ? new URL(text) : none;
  if (host === '' || `${search}${hash}${username}${password}` !== '' || !['', '/'].includes(pathname)) return undefined;
  return text.endsWith('/') ? undefined : `${protocol}//${host}`;
}

const none = { protocol: '', host: '', pathname: '', search: '', hash: '', username: '', password: '' };
