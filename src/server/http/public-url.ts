/** Where clients reach the HTTP server. */
import type { Config } from '../config/schema.js';

interface Listener {
  readonly kind: string;
  readonly port: number;
}

/**
 * The base URL for a host: as configured, else on the TLS port under the name of the host. Browsers accept localhost
 * without TLS, but not its self-signed certificate. Undefined if there is no listener.
 */
export function publicUrl(
  domain: string,
  { hosts }: Pick<Config, 'hosts'>,
  listeners: readonly Listener[],
): string | undefined {
  const configured = hosts[domain]?.public_url ?? '';
  if (configured !== '') return new URL(configured).origin;
  const port = (kind: 'http' | 'https') => listeners.find((one) => one.kind === kind)?.port;
  const plain = port('http');
  const secure = port('https');
  const usesPlain = plain !== undefined && (secure === undefined || domain === 'localhost');
  if (usesPlain) return new URL(`http://${domain}:${plain}`).origin;
  return secure === undefined ? undefined : new URL(`https://${domain}:${secure}`).origin;
}

interface Named {
  readonly hooks: { services(): readonly { readonly domain: string }[] };
}

/** The host that an HTTP request is for, by the name in it: of the host, its public URL or a service; else the first. */
export function hostNamed<H extends Named>(
  name: string,
  all: ReadonlyMap<string, H>,
  { hosts }: Pick<Config, 'hosts'>,
): H {
  const ofUrl = Object.keys(hosts).find((domain) => {
    const { public_url } = hosts[domain]!;
    return public_url !== '' && new URL(public_url).hostname === name;
  });
  const host = all.get(name) ?? all.get(ofUrl ?? '');
  if (host !== undefined) return host;
  const known = [...all.values()];
  return known.find(({ hooks }) => hooks.services().some(({ domain }) => domain === name)) ?? known[0]!;
}
