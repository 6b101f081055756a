/** The domains that the certificates of the hosts have to prove. */
import { isIP } from 'node:net';
import type { Config } from '../config/schema.js';

interface ServedHost {
  readonly domain: string;
  readonly declared: { services(): readonly { readonly domain: string }[] };
}

/**
 * Returns, by host, the domains of its services and of external components. A component belongs to the host that its
 * domain is a subdomain of, the closest if there are several; otherwise to the default host, which is the first.
 */
export function certifiedDomains(
  hosts: readonly ServedHost[],
  components: readonly string[],
): ReadonlyMap<string, readonly string[]> {
  const all = new Map(
    hosts.map(({ domain, declared }) => [domain, declared.services().map((service) => service.domain)]),
  );
  for (const component of components) {
    const parents = hosts.filter(({ domain }) => component.endsWith(`.${domain}`));
    const closest = parents.reduce<string | undefined>(
      (best, { domain }) => (best === undefined || domain.length > best.length ? domain : best),
      undefined,
    );
    all.get(closest ?? hosts[0]?.domain ?? '')?.push(component);
  }
  return all;
}

/**
 * The name under which browsers reach a host, if its certificate has to prove it besides the host's own: that of
 * `public_url`, unless another host has this name.
 */
export function publicName(host: string, { hosts }: Pick<Config, 'hosts'>): string | undefined {
  const url = hosts[host]?.public_url ?? '';
  if (!url.startsWith('https:')) return undefined;
  const { hostname } = new URL(url);
  const isAddress = isIP(hostname) !== 0 || hostname.startsWith('[');
  return isAddress || Object.hasOwn(hosts, hostname) ? undefined : hostname;
}
