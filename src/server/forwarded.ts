/** The clients of HTTP requests that came through a proxy. */
import type { IncomingHttpHeaders } from 'node:http';
import { type BlockList, isIP } from 'node:net';
import { isIn } from './config/address.js';
import { type Incoming, socketOf } from './http/message.js';
import { type Peer, peerOf } from './transport/peer.js';

/** Headers that proxies add. A request with one of them did not originate at the other end of its connection. */
const proxyHeaders = [
  'forwarded',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-real-ip',
  'x-client-ip',
  'true-client-ip',
  'cf-connecting-ip',
] as const satisfies readonly (keyof IncomingHttpHeaders)[];

/**
 * The client of a request. From `proxies`, it is the last address of X-Forwarded-For that is not one of theirs: anyone
 * may have written those before it. Returns undefined if that address is unreadable.
 */
export function requestPeer(request: Incoming, proxies: BlockList): Peer | undefined {
  const peer = peerOf(socketOf(request));
  const { 'x-forwarded-for': header, 'x-forwarded-proto': protocol } = request.headers;
  if (header === undefined || !isIn(proxies, peer.address)) return peer;
  const addresses = [header].flat().join(',').split(',').map(addressOf);
  const at = addresses.findLastIndex((address) => address === undefined || !isIn(proxies, address));
  if (at < 0) return peer;
  const address = addresses[at];
  return address === undefined ? undefined : { address, loopback: false, secure: peer.secure || protocol === 'https' };
}

/**
 * The address of a request for access control by address. Through a proxy it counts only if the proxy is trusted and
 * names the client. Returns undefined if there is none.
 */
export function accessAddress(
  request: Incoming,
  proxies: { readonly protocol: BlockList; readonly forwarded: BlockList },
): string | undefined {
  const { address } = peerOf(socketOf(request));
  const { forwarded, protocol } = proxies;
  // A PROXY header without a client leaves the address of the proxy.
  if (isIn(protocol, address)) return undefined;
  const isHandedOn = proxyHeaders.some((name) => request.headers[name] !== undefined);
  if (!isHandedOn) return address;
  if (!isIn(forwarded, address) || request.headers['x-forwarded-for'] === undefined) return undefined;
  return requestPeer(request, forwarded)?.address;
}

/** Parses an element of X-Forwarded-For: an address, optionally with a port; IPv6 optionally in brackets. */
function addressOf(text: string): string | undefined {
  const [, v6, v4] = /^\s*"?(?:\[([^\]]+)\](?::\d{1,5})?|(\d[\d.]*)(?::\d{1,5})?)"?\s*$/.exec(text) ?? [];
  const address = (v6 ?? v4 ?? text.trim()).toLowerCase();
  if (v6 !== undefined && isIP(address) !== 6) return undefined;
  const mapped = /^::ffff:([\d.]+)$/.exec(address)?.[1];
  if (mapped !== undefined && isIP(mapped) === 4) return mapped;
  return isIP(address) === 0 || address.includes('%') ? undefined : address;
}
