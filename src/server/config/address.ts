/** Addresses to listen on, and lists of addresses and networks, as the configuration writes them. */
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';

export interface ListenAddress {
  /** An IP address; undefined: every address of the machine, IPv6 and IPv4. */
  readonly host: string | undefined;
  /** 0: any free port. */
  readonly port: number;
}

/** "127.0.0.1:5222", "[::1]:5222", "*:5222", "localhost:5222"; undefined for anything else. */
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

/** Whether only programs on this machine can have, or reach, the address: 127.0.0.0/8, ::1. */
export function isLoopback(address: string | undefined): boolean {
  return address !== undefined && isIn(loopback, address);
}

/** Whether the list has the address; what is none is in no list. */
export function isIn(list: BlockList, address: string): boolean {
  const family = isIP(address);
  return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

/** A list of addresses ("192.0.2.7") and networks ("10.0.0.0/8", "fd00::/8"). Throws RangeError for anything else. */
export function networks(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [address = '', prefix, ...rest] = text.split('/');
    const family = isIP(address);
    const longest = family === 6 ? 128 : 32;
    const length = prefix === undefined ? longest : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
    if (family === 0 || rest.length > 0 || !(length <= longest)) throw new RangeError(`${text} is no network`);
    list.addSubnet(address, length, family === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

// an IPv4 address inside IPv6 (::ffff:127.0.0.1) matches the IPv4 rule
const loopback = networks(['127.0.0.0/8', '::1']);

/** What stands for an address: an IPv4 address itself, the /64 of an IPv6 address, anything else as it is. */
export function addressBlock(address: string): string {
  const plain = address.replace(/%.*$/s, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain)?.[1];
  if (mapped !== undefined && isIPv4(mapped)) return mapped;
  if (!isIPv6(plain)) return address;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  // "::" stands for as many groups of zeros as are missing; a dotted end is two groups.
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - after.length - (plain.includes('.') ? 1 : 0);
  const all = [...groups, ...Array<string>(missing).fill('0'), ...after];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/**
 * Whether a script of this origin may open a stream (RFC 6455 §10.2). Clients that are no web pages send no origin, and
 * could send any.
 */
export function isAllowedOrigin(origin: string | undefined, allowed: readonly string[]): boolean {
  if (origin === undefined || allowed.includes('*')) return true;
  const normal = normalOrigin(origin);
  return normal !== undefined && allowed.some((one) => normalOrigin(one) === normal);
}

/** RFC 6454 §6.1: scheme, host and port, in small letters and without a default port; undefined for what is none. */
export function normalOrigin(text: string): string | undefined {
  // The origin of files and sandboxed pages.
  if (text === 'null') return text;
  const { protocol, host, pathname, search, hash, username, password } = URL.canParse(text) ? new URL(text) : none;
  if (host === '' || `${search}${hash}${username}${password}` !== '' || !['', '/'].includes(pathname)) return undefined;
  return text.endsWith('/') ? undefined : `${protocol}//${host}`;
}

const none = { protocol: '', host: '', pathname: '', search: '', hash: '', username: '', password: '' };
