/** The domains that the certificates of the hosts have to prove. */

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
