/** Which addresses this server connects to when others name them: nobody may point it at private networks or itself. */
import { type BlockList, isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isIn, networks } from './address.js';

/** Private, link-local, multicast and other addresses that are not globally reachable (RFC 6890). */
const internal = blocked([
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
  '2001::/32',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
]);

/** Whether an address that DNS names may be connected to: it is in `allowed`, or on the public internet. */
export function isReachable(allowed: BlockList): (address: string) => boolean {
  const own = blocked(ownAddresses());
  return (address) => isIn(allowed, address) || !(isIn(internal, address) || isIn(own, address));
}

/**
 * Networks, each IPv4 one also as gateways reach it over IPv6: NAT64 (RFC 6052 §2.1), and 6to4 (RFC 3056 §2).
 */
function blocked(texts: readonly string[]): BlockList {
  const embedded = texts.flatMap((text) => {
    const [address = '', prefix = '32'] = text.split('/');
    if (!isIPv4(address)) return [];
    const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
    const [high, low] = [a * 256 + b, c * 256 + d].map((half) => half.toString(16));
    return [`64:ff9b::${address}/${96 + Number(prefix)}`, `2002:${high}:${low}::/${16 + Number(prefix)}`];
  });
  return networks([...texts, ...embedded]);
}

function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}
