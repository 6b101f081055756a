/** Top-level domains that are never in public DNS (RFC 6761, RFC 6762, RFC 7686, RFC 8375). */
const privateNames = new Set(['localhost', 'test', 'example', 'invalid', 'local', 'onion', 'internal', 'arpa']);

/**
 * Whether the domain is local to this machine or network, or an address, so that no authority issues certificates for
 * it.
 */
export function isPrivateName(domain: string): boolean {
  const labels = domain.split('.');
  return labels.length === 1 || privateNames.has(labels.at(-1)!) || /^\[|^[\d.]+$/.test(domain);
}
